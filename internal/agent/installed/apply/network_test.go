package apply

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// nodeWith is a node with ports; those that begin with "-" have no link.
func nodeWith(t *testing.T, ports ...string) (*Applier, *host.Recorder) {
	t.Helper()
	rec := &host.Recorder{}
	a := &Applier{Host: host.New(t.TempDir(), rec), ReachWait: 20 * time.Millisecond}
	for i, p := range ports {
		name, down := strings.CutPrefix(p, "-")
		carrier := "1"
		if down {
			carrier = "0"
		}
		for file, text := range map[string]string{"type": "1", "carrier": carrier, "device/vendor": "0x1af4", "address": "52:54:00:24:00:0" + string(rune('1'+i))} {
			if _, err := a.Host.Put(host.FileSpec{Path: "/sys/class/net/" + name + "/" + file, Data: []byte(text + "\n"), Mode: 0o644}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return a, rec
}

func list(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func (a *Applier) files(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(a.Host.Path(networkdDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := a.Host.ReadFile(networkdDir + "/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimPrefix(e.Name(), networkdPrefix)] = string(data)
	}
	return out
}

// TestNetworkLanguage: what os-net-config describes, as networkd's files.
func TestNetworkLanguage(t *testing.T) {
	const dhcp4 = "\n[DHCPv4]\nClientIdentifier=mac\nUseHostname=false\n"
	for _, tt := range []struct {
		reason, cfg string
		want        map[string]string
	}{
		{
			"nicN counts ports with a link, those on the board first, by their numbers",
			`[{"type": "interface", "name": "nic1", "use_dhcp": true, "defroute": false}, {"type": "interface", "name": "nic3", "use_dhcp": true, "use_dhcpv6": true},
			  {"type": "vlan", "device": "nic2", "vlan_id": 10}, {"type": "interface", "name": "nic2"}]`,
			map[string]string{
				"eno1.network":    "[Match]\nName=eno1\n\n[Network]\nDHCP=ipv4\n" + dhcp4 + "UseGateway=false\n",
				"enp3s0.network":  "[Match]\nName=enp3s0\n\n[Network]\nVLAN=vlan10\n",
				"enp10s0.network": "[Match]\nName=enp10s0\n\n[Network]\nDHCP=yes\n" + dhcp4,
				"vlan10.netdev":   "[NetDev]\nName=vlan10\nKind=vlan\n\n[VLAN]\nId=10\n",
				"vlan10.network":  "[Match]\nName=vlan10\n\n[Network]\n",
			},
		},
		{
			"a bond in a bridge has the MAC address of its primary port",
			`[{"type": "linux_bridge", "name": "br-ex", "members": [{"type": "linux_bond", "name": "bond1", "mtu": 9000, "bonding_options": "mode=4 miimon=100 lacp_rate=1 xmit_hash_policy=layer3+4",
			   "members": [{"type": "interface", "name": "enp3s0"}, {"type": "interface", "name": "eno1", "primary": true}]}]}]`,
			map[string]string{
				"br-ex.netdev":   "[NetDev]\nName=br-ex\nKind=bridge\nMACAddress=52:54:00:24:00:02\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n",
				"br-ex.network":  "[Match]\nName=br-ex\n\n[Network]\n",
				"bond1.netdev":   "[NetDev]\nName=bond1\nKind=bond\nMACAddress=52:54:00:24:00:03\n\n[Bond]\nMode=802.3ad\nMIIMonitorSec=100ms\nLACPTransmitRate=fast\nTransmitHashPolicy=layer3+4\n",
				"bond1.network":  "[Match]\nName=bond1\n\n[Link]\nMTUBytes=9000\n\n[Network]\nBridge=br-ex\n",
				"enp3s0.network": "[Match]\nName=enp3s0\n\n[Network]\nBond=bond1\n",
				"eno1.network":   "[Match]\nName=eno1\n\n[Network]\nBond=bond1\nPrimarySlave=true\n",
			},
		},
		{
			"routes and rules with tables, both address families, domains",
			`[{"type": "interface", "name": "eno1", "addresses": [{"ip_netmask": "192.0.2.5/24"}, {"ip_netmask": "2001:db8::5/64"}], "domain": ["a.example", "b.example"],
			   "routes": [{"default": true, "nexthop": "192.0.2.1", "route_table": 200, "route_options": "metric 50 onlink"}, {"destination": "2001:db8:1::/48", "next_hop": "2001:db8::1", "table": "main"}],
			   "rules": [{"rule": "add from 192.0.2.0/24 table 200 priority 1000"}, {"rule": "from all iif eno1 lookup 201"}]}]`,
			map[string]string{
				"eno1.network": "[Match]\nName=eno1\n\n[Network]\nDomains=a.example b.example\nAddress=192.0.2.5/24\nAddress=2001:db8::5/64\n" +
					"\n[Route]\nGateway=192.0.2.1\nTable=200\nMetric=50\nGatewayOnLink=true\n\n[Route]\nDestination=2001:db8:1::/48\nGateway=2001:db8::1\nTable=254\n" +
					"\n[RoutingPolicyRule]\nFrom=192.0.2.0/24\nTable=200\nPriority=1000\n\n[RoutingPolicyRule]\nIncomingInterface=eno1\nTable=201\n",
			},
		},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			a, _ := nodeWith(t, "enp10s0", "enp3s0", "eno1", "-eth0")
			if _, err := a.Network(t.Context(), list(t, tt.cfg)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, a.files(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNetworkRefusals(t *testing.T) {
	for _, tt := range []struct{ reason, cfg, want string }{
		{"a port that is not there", `[{"type": "interface", "name": "nic2"}]`, "nic2: the node has 1 ports with a link: eno1"},
		{"the same interface twice", `[{"type": "interface", "name": "eno1"}, {"type": "interface", "name": "nic1"}]`, "eno1 has two entries"},
		{"an option that would leave its line", `[{"type": "linux_bond", "name": "b", "bonding_options": "mode=x\u000bminlinks", "members": [{"type": "interface", "name": "eno1"}]}]`, "bonding_options"},
		{"an unknown bonding option", `[{"type": "linux_bond", "name": "b", "bonding_options": "colour=red", "members": [{"type": "interface", "name": "eno1"}]}]`, `"colour=red" is not understood`},
		{"a bond of VLANs", `[{"type": "linux_bond", "name": "b", "members": [{"type": "vlan", "device": "eno1", "vlan_id": 3}]}]`, "members of a bond are interfaces"},
		{"a rule that is none", `[{"type": "interface", "name": "eno1", "rules": [{"rule": "prohibit"}]}]`, "expected pairs as in ip-rule(8)"},
		{"a table without a number", `[{"type": "interface", "name": "eno1", "routes": [{"default": true, "next_hop": "1.2.3.4", "table": "mine"}]}]`, `table: "mine" is no number`},
		{"a domain that is two lines", `[{"type": "interface", "name": "eno1", "domain": ["a\nDNS=1.2.3.4"]}]`, "is no domain"},
	} {
		a, _ := nodeWith(t, "eno1")
		if _, err := a.Network(t.Context(), list(t, tt.cfg)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.reason, err, tt.want)
		}
		if got := a.files(t); len(got) != 0 {
			t.Errorf("%s: files were written: %v", tt.reason, got)
		}
	}
}

// TestNetworkThatCutsTheNodeOffIsTakenBack, and is not tried again; another one is.
func TestNetworkThatCutsTheNodeOffIsTakenBack(t *testing.T) {
	a, rec := nodeWith(t, "eno1")
	cut := errors.New("no route to host")
	reached := true
	a.Reach = func(context.Context) error {
		data, _ := a.Host.ReadFile(networkdPath("eno1", ".network"))
		if reached && !strings.Contains(string(data), "VLAN=vlan66") {
			return nil
		}
		return cut
	}
	good := list(t, `[{"type": "interface", "name": "eno1", "use_dhcp": true}, {"type": "vlan", "device": "eno1", "vlan_id": 5}]`)
	if _, err := a.Network(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	before := a.files(t)
	rec.Take()
	if err := os.MkdirAll(a.Host.Path("/sys/class/net/vlan5"), 0o755); err != nil {
		t.Fatal(err)
	}
	bad := list(t, `[{"type": "interface", "name": "eno1"}, {"type": "vlan", "device": "eno1", "vlan_id": 66}]`)
	if _, err := a.Network(t.Context(), bad); !errors.Is(err, cut) || !strings.Contains(err.Error(), "the old one is back") {
		t.Errorf("%v, want that the old network is back", err)
	}
	if diff := cmp.Diff(before, a.files(t)); diff != "" {
		t.Errorf("the files of before (-want +got):\n%s", diff)
	}
	// The VLAN of before goes with its file and comes back with it; the new one was never made.
	if diff := cmp.Diff([]string{"networkctl reload", "networkctl delete vlan5", "networkctl reload"}, rec.Take()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	if _, err := a.Network(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "change it") || rec.Take() != nil {
		t.Errorf("the same network again: %v, want a refusal without a try", err)
	}
	if _, err := a.Network(t.Context(), list(t, `[{"type": "interface", "name": "eno1", "use_dhcp": true, "mtu": 9000}]`)); err != nil {
		t.Errorf("another network: %v", err)
	}
	if _, ok := a.files(t)["vlan5.netdev"]; ok {
		t.Error("the file of a VLAN that is not wanted any more is still there")
	}
	if a.Host.Exists(networkJournal) {
		t.Error("the trial is over, but its journal is there")
	}
}

// TestInterruptedTrial: an agent that starts after a trial was cut short decides it.
func TestInterruptedTrial(t *testing.T) {
	for _, reachable := range []bool{true, false} {
		a, _ := nodeWith(t, "eno1")
		ctx, cancel := context.WithCancel(t.Context())
		tries := 0
		a.Reach = func(context.Context) error {
			if tries++; tries > 1 { // the agent is killed while it waits
				cancel()
				return errors.New("no route to host")
			}
			return nil
		}
		if _, err := a.Network(ctx, list(t, `[{"type": "interface", "name": "eno1"}]`)); err == nil {
			t.Fatal("an interrupted trial succeeded")
		}
		if !a.Host.Exists(networkJournal) {
			t.Fatal("an interrupted trial left no journal")
		}
		a.Reach = func(context.Context) error {
			if reachable {
				return nil
			}
			return errors.New("no route to host")
		}
		back, err := a.RecoverNetwork(t.Context())
		if err != nil || back == reachable {
			t.Errorf("reachable %v: rolled back %v, %v", reachable, back, err)
		}
		if got := len(a.files(t)); (got == 1) != reachable {
			t.Errorf("reachable %v: %d files", reachable, got)
		}
		if a.Host.Exists(networkJournal) {
			t.Error("the journal is still there")
		}
		a.Reach = func(context.Context) error { return nil }
		_, err = a.Network(t.Context(), list(t, `[{"type": "interface", "name": "eno1"}]`))
		if refused := err != nil && strings.Contains(err.Error(), "this network was tried"); refused == reachable {
			t.Errorf("reachable %v: the same network once more: %v", reachable, err)
		}
	}
}
