package apply

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// networkdFiles renders a parsed list as systemd-networkd's files (systemd.netdev(5), systemd.network(5)).
func networkdFiles(items []networkItem, macOf func(string) string) []host.FileSpec {
	vlans := map[string][]string{}
	for _, it := range items {
		if it.Type == kindVLAN {
			vlans[it.Device] = append(vlans[it.Device], it.ifname())
		}
	}
	var out []host.FileSpec
	for _, it := range items {
		if netdev := it.netdev(macOf); netdev != "" {
			out = append(out, host.FileSpec{Path: networkdPath(it.ifname(), ".netdev"), Mode: 0o644, Data: []byte(netdev)})
		}
		out = append(out, host.FileSpec{Path: networkdPath(it.ifname(), ".network"), Mode: 0o644, Data: []byte(it.network(vlans[it.ifname()]))})
	}
	return out
}

const (
	networkdDir    = "/etc/systemd/network"
	networkdPrefix = "10-tripleo-"
)

func networkdPath(ifname, suffix string) string {
	return networkdDir + "/" + networkdPrefix + ifname + suffix
}

// netdev is the content of the file that makes the interface; "" for one that is hardware.
func (it networkItem) netdev(macOf func(string) string) string {
	switch it.Type {
	case kindVLAN:
		return fmt.Sprintf("[NetDev]\nName=%s\nKind=vlan\n\n[VLAN]\nId=%d\n", it.ifname(), it.VlanID)
	case kindBridge:
		return it.netdevHead("bridge", macOf) + "\n[Bridge]\nSTP=no\nForwardDelaySec=0\n"
	case kindBond:
		options, err := bondOptions(it.BondingOptions)
		if err != nil {
			return "" // check has refused it
		}
		return it.netdevHead("bond", macOf) + "\n[Bond]\n" + strings.Join(options, "")
	}
	return ""
}

// netdevHead names the interface and gives it the MAC address of the port it stands for: the DHCP server knows machines
// by it.
func (it networkItem) netdevHead(kind string, macOf func(string) string) string {
	primary := it.Members[0]
	for _, m := range it.Members {
		if m.Primary {
			primary = m
			break
		}
	}
	for primary.Type == kindBond {
		primary = primary.Members[0]
	}
	text := fmt.Sprintf("[NetDev]\nName=%s\nKind=%s\n", it.Name, kind)
	if mac := macOf(primary.ifname()); mac != "" {
		text += "MACAddress=" + mac + "\n"
	}
	return text
}

// bondOptions turns options of the kernel's bonding module into networkd's.
func bondOptions(text string) ([]string, error) {
	modes := []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}
	names := map[string]string{
		"mode": "Mode", "miimon": "MIIMonitorSec", "updelay": "UpDelaySec", "downdelay": "DownDelaySec", "lacp_rate": "LACPTransmitRate",
		"xmit_hash_policy": "TransmitHashPolicy", "primary_reselect": "PrimaryReselectPolicy", "ad_select": "AdSelect",
		"fail_over_mac": "FailOverMACPolicy", "min_links": "MinLinks",
	}
	var out []string
	for _, o := range strings.Fields(text) {
		key, value, ok := strings.Cut(o, "=")
		name := names[key]
		if !ok || name == "" || !ifValueRE.MatchString(value) {
			return nil, fmt.Errorf("%q is not understood", o)
		}
		switch key {
		case "mode":
			if n, err := strconv.Atoi(value); err == nil && n >= 0 && n < len(modes) {
				value = modes[n]
			}
		case "miimon", "updelay", "downdelay": // the kernel counts milliseconds
			value += "ms"
		case "lacp_rate":
			value = map[string]string{"0": "slow", "1": "fast"}[value] + strings.Trim(value, "01")
		}
		out = append(out, name+"="+value+"\n")
	}
	return out, nil
}

// network is the content of the file that configures the interface.
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
	if it.bond != "" {
		fmt.Fprintf(&b, "Bond=%s\n", it.bond)
		if it.Primary {
			b.WriteString("PrimarySlave=true\n")
		}
	}
	switch {
	case it.UseDHCP && it.UseDHCPv6:
		b.WriteString("DHCP=yes\n")
	case it.UseDHCP:
		b.WriteString("DHCP=ipv4\n")
	case it.UseDHCPv6:
		b.WriteString("DHCP=ipv6\n")
	}
	for _, v := range vlans {
		fmt.Fprintf(&b, "VLAN=%s\n", v)
	}
	for _, s := range it.DNS {
		fmt.Fprintf(&b, "DNS=%s\n", s)
	}
	if domains, err := it.domains(); err == nil && len(domains) > 0 {
		fmt.Fprintf(&b, "Domains=%s\n", strings.Join(domains, " "))
	}
	for _, ad := range it.Addresses {
		fmt.Fprintf(&b, "Address=%s\n", ad.IPNetmask)
	}
	for _, r := range it.Routes {
		lines, err := r.lines()
		if err == nil {
			b.WriteString("\n[Route]\n" + lines)
		}
	}
	for _, r := range it.Rules {
		lines, err := r.lines()
		if err == nil {
			b.WriteString("\n[RoutingPolicyRule]\n" + lines)
		}
	}
	noGateway := it.DefRoute != nil && !*it.DefRoute
	if it.UseDHCP {
		// The address of the provisioning network must survive a restart of networkd.
		b.WriteString("\n[DHCPv4]\nClientIdentifier=mac\nUseHostname=false\n")
		if noGateway {
			b.WriteString("UseGateway=false\n")
		}
	}
	if it.UseDHCPv6 && noGateway {
		b.WriteString("\n[IPv6AcceptRA]\nUseGateway=false\n")
	}
	return b.String()
}

// lines is the section [Route].
func (r networkRoute) lines() (string, error) {
	hop, to := r.NextHop+r.Nexthop, r.IPNetmask
	if to == "" {
		to = r.Destination
	}
	if _, err := netip.ParseAddr(hop); err != nil {
		return "", fmt.Errorf("next_hop: %w", err)
	}
	var b strings.Builder
	if !r.Default {
		if _, err := netip.ParsePrefix(to); err != nil {
			return "", err
		}
		if to != "0.0.0.0/0" && to != "::/0" {
			fmt.Fprintf(&b, "Destination=%s\n", to)
		}
	}
	fmt.Fprintf(&b, "Gateway=%s\n", hop)
	table := r.Table
	if table == nil {
		table = r.RouteTable
	}
	if table != nil {
		n, err := number(table)
		if err != nil {
			return "", fmt.Errorf("table: %w", err)
		}
		fmt.Fprintf(&b, "Table=%d\n", n)
	}
	words := strings.Fields(r.Options)
	for i := 0; i < len(words); i++ {
		if words[i] == "onlink" {
			b.WriteString("GatewayOnLink=true\n")
			continue
		}
		name := map[string]string{"metric": "Metric", "mtu": "MTUBytes", "table": "Table"}[words[i]]
		if name == "" || i+1 == len(words) {
			return "", fmt.Errorf("route_options: %q is not understood", words[i])
		}
		n, err := number(words[i+1])
		if err != nil {
			return "", fmt.Errorf("route_options: %s: %w", words[i], err)
		}
		fmt.Fprintf(&b, "%s=%d\n", name, n)
		i++
	}
	return b.String(), nil
}

// lines is the section [RoutingPolicyRule].
func (r networkRule) lines() (string, error) {
	words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(r.Rule), "add "))
	if len(words) == 0 || len(words)%2 != 0 {
		return "", errors.New("expected pairs as in ip-rule(8): from, to, table, priority, iif, oif, fwmark")
	}
	var b strings.Builder
	for ; len(words) > 0; words = words[2:] {
		key, value := words[0], words[1]
		switch key {
		case "from", "to":
			if value == "all" {
				continue
			}
			if _, err := netip.ParsePrefix(value); err != nil {
				if _, err := netip.ParseAddr(value); err != nil {
					return "", err
				}
			}
			fmt.Fprintf(&b, "%s=%s\n", map[string]string{"from": "From", "to": "To"}[key], value)
		case "table", "lookup", "priority", "pref", "fwmark":
			n, err := number(value)
			if err != nil {
				return "", fmt.Errorf("%s: %w", key, err)
			}
			fmt.Fprintf(&b, "%s=%d\n", map[string]string{"table": "Table", "lookup": "Table", "priority": "Priority", "pref": "Priority", "fwmark": "FirewallMark"}[key], n)
		case "iif", "oif":
			if !ifnameRE.MatchString(value) {
				return "", fmt.Errorf("%q is no interface name", value)
			}
			fmt.Fprintf(&b, "%s=%s\n", map[string]string{"iif": "IncomingInterface", "oif": "OutgoingInterface"}[key], value)
		default:
			return "", fmt.Errorf("%q is not understood", key)
		}
	}
	return b.String(), nil
}

// number reads a number that JSON may have as a number or a text; names of tables are the kernel's three.
func number(v any) (uint64, error) {
	text := fmt.Sprint(v)
	if n, ok := map[string]uint64{"default": 253, "main": 254, "local": 255}[text]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(text, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return n, nil
}
