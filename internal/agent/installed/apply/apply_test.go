package apply

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

func TestHosts(t *testing.T) {
	const local = "127.0.0.1 localhost\n"
	const block = "\n# HEAT_HOSTS_START - Do not edit manually within this section!\n10.0.0.1 a.d a\n10.0.0.2 b.d b\n# HEAT_HOSTS_END\n"
	for _, tt := range []struct{ reason, before, want string }{
		{"a block at the end; the loopback line of the own name goes", local + "127.0.1.1 a\n", local + block},
		{"the block is replaced, what is around it stays", local + "\n# HEAT_HOSTS_START x\nold\n# HEAT_HOSTS_END\n1.2.3.4 mine\n", local + "\n1.2.3.4 mine\n" + block},
		{"as it is", local + block, local + block},
	} {
		rec := &host.Recorder{}
		a := &Applier{Host: host.New(t.TempDir(), rec)}
		if _, err := a.Host.Put(host.FileSpec{Path: "/etc/hosts", Data: []byte(tt.before)}); err != nil {
			t.Fatal(err)
		}
		changes, err := a.Apply(t.Context(), map[string]any{"hosts": []any{"10.0.0.1 a.d a\n10.0.0.2 b.d b\n", "10.0.0.1 a.d a", nil}})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := a.Host.ReadFile("/etc/hosts")
		if diff := cmp.Diff(tt.want, string(got)); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.reason, diff)
		}
		if (tt.before == tt.want) != (changes == nil) {
			t.Errorf("%s: changes %q", tt.reason, changes)
		}
	}
}

func TestHostname(t *testing.T) {
	a := &Applier{Host: host.New(t.TempDir(), &host.Recorder{})}
	if _, err := a.Hostname(t.Context(), "Over-Controller-0.Localdomain"); err != nil {
		t.Fatal(err)
	}
	name, _ := a.Host.ReadFile("/etc/hostname")
	hosts, _ := a.Host.ReadFile("/etc/hosts")
	if string(name) != "over-controller-0\n" || string(hosts) != "127.0.1.1 over-controller-0.localdomain over-controller-0\n" {
		t.Errorf("%q, %q", name, hosts)
	}
	for _, bad := range []string{"a b", "-a", "a\nb", "a..b", strings.Repeat("a", 300)} {
		if _, err := a.Hostname(t.Context(), bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestNetwork(t *testing.T) {
	rec := &host.Recorder{}
	a := &Applier{Host: host.New(t.TempDir(), rec)}
	var cfg map[string]any
	if err := json.Unmarshal([]byte(`{"network_config": [
	  {"type": "interface", "name": "eth0", "use_dhcp": true, "mtu": 1450},
	  {"type": "vlan", "device": "eth0", "vlan_id": 20, "addresses": [{"ip_netmask": "172.16.2.5/24"}],
	   "routes": [{"default": true, "next_hop": "172.16.2.1"}, {"ip_netmask": "10.1.0.0/16", "next_hop": "172.16.2.2"}], "dns_servers": ["172.16.2.1"]}]}`), &cfg); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]string{{"networkctl reload"}, nil} {
		if _, err := a.Apply(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, rec.Take()); diff != "" {
			t.Errorf("run %d: -want +got\n%s", i, diff)
		}
	}
	for file, want := range map[string]string{
		"10-tripleo-eth0.network":   "[Match]\nName=eth0\n\n[Link]\nMTUBytes=1450\n\n[Network]\nDHCP=ipv4\nVLAN=vlan20\n\n[DHCPv4]\nClientIdentifier=mac\nUseHostname=false\n",
		"10-tripleo-vlan20.netdev":  "[NetDev]\nName=vlan20\nKind=vlan\n\n[VLAN]\nId=20\n",
		"10-tripleo-vlan20.network": "[Match]\nName=vlan20\n\n[Network]\nDNS=172.16.2.1\nAddress=172.16.2.5/24\n\n[Route]\nGateway=172.16.2.1\n\n[Route]\nDestination=10.1.0.0/16\nGateway=172.16.2.2\n",
	} {
		got, _ := a.Host.ReadFile(networkdDir + "/" + file)
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s: -want +got\n%s", file, diff)
		}
	}
	for _, tt := range []struct{ reason, cfg, want string }{
		{"an unknown type says which are known", `[{"type": "ovs_bridge", "name": "br-ex"}]`, "known are interface, vlan, linux_bridge and linux_bond"},
		{"a name cannot leave the folder", `[{"type": "interface", "name": "../x"}]`, "is no interface name"},
		{"an address without prefix", `[{"type": "interface", "name": "a", "addresses": [{"ip_netmask": "1.2.3.4"}]}]`, "address: "},
		{"a bridge of nothing", `[{"type": "linux_bridge", "name": "br-ex"}]`, "a bridge needs members"},
		{"a bridge in a bridge", `[{"type": "linux_bridge", "name": "a", "members": [{"type": "linux_bridge", "name": "b"}]}]`, "cannot be the member"},
		{"an interface with members", `[{"type": "interface", "name": "a", "members": [{"type": "interface", "name": "b"}]}]`, "has no members"},
		{"a vlan on nothing", `[{"type": "vlan", "device": "eth9", "vlan_id": 3}]`, "eth9, which has no entry"},
	} {
		var v any
		if err := json.Unmarshal([]byte(tt.cfg), &v); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Network(t.Context(), v); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.reason, err)
		}
	}
}

// A bridge takes over address and MAC address of the port it stands for.
func TestNetworkBridge(t *testing.T) {
	rec := &host.Recorder{}
	a := &Applier{Host: host.New(t.TempDir(), rec)}
	if _, err := a.Host.Put(host.FileSpec{Path: "/sys/class/net/eth1/address", Data: []byte("52:54:00:24:00:01\n"), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal([]byte(`[{"type": "linux_bridge", "name": "br-ex", "use_dhcp": true, "mtu": 1500, "members": [
	  {"type": "interface", "name": "eth0"}, {"type": "interface", "name": "eth1", "primary": true}]}]`), &v); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Network(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"10-tripleo-br-ex.netdev":  "[NetDev]\nName=br-ex\nKind=bridge\nMACAddress=52:54:00:24:00:01\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n",
		"10-tripleo-br-ex.network": "[Match]\nName=br-ex\n\n[Link]\nMTUBytes=1500\n\n[Network]\nDHCP=ipv4\n\n[DHCPv4]\nClientIdentifier=mac\nUseHostname=false\n",
		"10-tripleo-eth0.network":  "[Match]\nName=eth0\n\n[Network]\nBridge=br-ex\n",
		"10-tripleo-eth1.network":  "[Match]\nName=eth1\n\n[Network]\nBridge=br-ex\n",
	} {
		got, _ := a.Host.ReadFile(networkdDir + "/" + file)
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s: -want +got\n%s", file, diff)
		}
	}
}
