package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// networkItem is the part of os-net-config's language that static addresses, VLANs and bridges on plain interfaces need.
type networkItem struct {
	Type      string `json:"type"` // interface, vlan or linux_bridge
	Name      string `json:"name"`
	Device    string `json:"device"`  // of a vlan: the interface below
	VlanID    int    `json:"vlan_id"` // 1-4094
	UseDHCP   bool   `json:"use_dhcp"`
	MTU       int    `json:"mtu"`
	Addresses []struct {
		IPNetmask string `json:"ip_netmask"`
	} `json:"addresses"`
	Routes []struct {
		IPNetmask string `json:"ip_netmask"`
		NextHop   string `json:"next_hop"`
		Default   bool   `json:"default"`
	} `json:"routes"`
	DNS []string `json:"dns_servers"`
	// Members of a bridge: interfaces and VLANs. The bridge has the MAC address of the primary one, else of the first.
	Members []networkItem `json:"members"`
	Primary bool          `json:"primary"`
	bridge  string        // of a member
}

const (
	kindInterface = "interface"
	kindVLAN      = "vlan"
	kindBridge    = "linux_bridge"
)

var ifnameRE = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,15}$`)

const networkdDir = "/etc/systemd/network"

// Network writes systemd-networkd's files for the list and reloads networkd when one changed.
func (a *Applier) Network(ctx context.Context, v any) ([]string, error) {
	files, err := networkFiles(v, a.macOf)
	if err != nil {
		return nil, err
	}
	var changes []string
	for _, f := range files {
		changed, err := a.Host.Put(f)
		if err != nil {
			return changes, err
		}
		if changed {
			changes = append(changes, f.Path+" written")
		}
	}
	if changes == nil {
		return nil, nil
	}
	res, err := a.Host.Run.Run(ctx, host.Command{Args: []string{"networkctl", "reload"}})
	if err != nil {
		return changes, err
	}
	if res.Code != 0 {
		return changes, fmt.Errorf("networkctl reload: exit code %d: %s", res.Code, strings.TrimSpace(string(res.Stderr)))
	}
	return append(changes, "systemd-networkd reloaded"), nil
}

// macOf reads the MAC address of an interface of this node; "" if there is none (yet).
func (a *Applier) macOf(name string) string {
	data, err := a.Host.ReadFile("/sys/class/net/" + name + "/address")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// flatten puts the members of bridges beside them.
func flatten(items []networkItem) ([]networkItem, error) {
	var out []networkItem
	for i, it := range items {
		if err := it.check(); err != nil {
			return nil, fmt.Errorf("entry %d (%s): %w", i, it.Name, err)
		}
		out = append(out, it)
		for j, m := range it.Members {
			if err := m.check(); err != nil {
				return nil, fmt.Errorf("entry %d (%s), member %d: %w", i, it.Name, j, err)
			}
			m.bridge = it.Name
			out = append(out, m)
		}
	}
	return out, nil
}

func networkFiles(v any, macOf func(string) string) ([]host.FileSpec, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var items []networkItem
	if err := json.Unmarshal(data, &items); err != nil {
		return nil, fmt.Errorf("expected os-net-config's list: %w", err)
	}
	if items, err = flatten(items); err != nil {
		return nil, err
	}
	vlans := map[string][]string{}
	for _, it := range items {
		if it.Type == kindVLAN {
			vlans[it.Device] = append(vlans[it.Device], it.ifname())
		}
	}
	var out []host.FileSpec
	seen := map[string]bool{}
	for _, it := range items {
		seen[it.ifname()] = true
		if netdev := it.netdev(macOf); netdev != "" {
			out = append(out, host.FileSpec{Path: fmt.Sprintf("%s/10-tripleo-%s.netdev", networkdDir, it.ifname()), Mode: 0o644, Data: []byte(netdev)})
		}
		out = append(out, host.FileSpec{Path: fmt.Sprintf("%s/10-tripleo-%s.network", networkdDir, it.ifname()), Mode: 0o644,
			Data: []byte(it.network(vlans[it.ifname()]))})
	}
	for dev := range vlans {
		if !seen[dev] {
			return nil, fmt.Errorf("a vlan is on %s, which has no entry of its own", dev)
		}
	}
	return out, nil
}

// netdev is the content of the file that makes the interface; "" for one that is hardware.
func (it networkItem) netdev(macOf func(string) string) string {
	switch it.Type {
	case kindVLAN:
		return fmt.Sprintf("[NetDev]\nName=%s\nKind=vlan\n\n[VLAN]\nId=%d\n", it.ifname(), it.VlanID)
	case kindBridge:
		primary := it.Members[0]
		for _, m := range it.Members {
			if m.Primary {
				primary = m
				break
			}
		}
		text := fmt.Sprintf("[NetDev]\nName=%s\nKind=bridge\n", it.Name)
		// The DHCP server knows machines by their MAC address, so a bridge has that of the port it stands for.
		if mac := macOf(primary.ifname()); mac != "" {
			text += "MACAddress=" + mac + "\n"
		}
		return text + "\n[Bridge]\nSTP=no\nForwardDelaySec=0\n"
	}
	return ""
}

func (it networkItem) ifname() string {
	if it.Type == kindVLAN && it.Name == "" {
		return fmt.Sprintf("vlan%d", it.VlanID)
	}
	return it.Name
}

func (it networkItem) check() error {
	switch it.Type {
	case kindInterface, kindVLAN:
		if len(it.Members) > 0 {
			return fmt.Errorf("type %s has no members", it.Type)
		}
	case kindBridge:
		if len(it.Members) == 0 {
			return errors.New("a bridge needs members")
		}
		for _, m := range it.Members {
			if m.Type == kindBridge {
				return errors.New("a bridge cannot be the member of a bridge")
			}
		}
	default:
		return fmt.Errorf("type %q is not known here; known are interface, vlan and linux_bridge", it.Type)
	}
	if !ifnameRE.MatchString(it.ifname()) {
		return fmt.Errorf("%q is no interface name", it.ifname())
	}
	if it.Type == kindVLAN && (it.VlanID < 1 || it.VlanID > 4094 || !ifnameRE.MatchString(it.Device)) {
		return errors.New("a vlan needs device and a vlan_id from 1 to 4094")
	}
	for _, ad := range it.Addresses {
		if _, err := netip.ParsePrefix(ad.IPNetmask); err != nil {
			return fmt.Errorf("address: %w", err)
		}
	}
	for _, r := range it.Routes {
		if _, err := netip.ParseAddr(r.NextHop); err != nil {
			return fmt.Errorf("route: next_hop: %w", err)
		}
		if _, err := netip.ParsePrefix(r.IPNetmask); err != nil && !r.Default {
			return fmt.Errorf("route: %w", err)
		}
	}
	for _, s := range it.DNS {
		if _, err := netip.ParseAddr(s); err != nil {
			return fmt.Errorf("dns_servers: %w", err)
		}
	}
	return nil
}

func (it networkItem) network(vlans []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Match]\nName=%s\n", it.ifname())
	if it.MTU > 0 {
		fmt.Fprintf(&b, "\n[Link]\nMTUBytes=%d\n", it.MTU)
	}
	b.WriteString("\n[Network]\n")
	if it.bridge != "" {
		fmt.Fprintf(&b, "Bridge=%s\n", it.bridge)
	}
	if it.UseDHCP {
		b.WriteString("DHCP=ipv4\n")
	}
	for _, v := range vlans {
		fmt.Fprintf(&b, "VLAN=%s\n", v)
	}
	for _, s := range it.DNS {
		fmt.Fprintf(&b, "DNS=%s\n", s)
	}
	for _, ad := range it.Addresses {
		fmt.Fprintf(&b, "Address=%s\n", ad.IPNetmask)
	}
	for _, r := range it.Routes {
		b.WriteString("\n[Route]\n")
		if !r.Default && r.IPNetmask != "0.0.0.0/0" && r.IPNetmask != "::/0" {
			fmt.Fprintf(&b, "Destination=%s\n", r.IPNetmask)
		}
		fmt.Fprintf(&b, "Gateway=%s\n", r.NextHop)
	}
	if it.UseDHCP {
		// The address of the provisioning network must survive a restart of networkd.
		b.WriteString("\n[DHCPv4]\nClientIdentifier=mac\nUseHostname=false\n")
	}
	return b.String()
}
