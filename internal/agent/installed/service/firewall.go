package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// FirewallPath is where the rules are that a service with the key `firewall` writes, for nft -f.
const FirewallPath = "/etc/tripleo/firewall.nft"

// Firewall says what may come in from other machines; all else is dropped. Rules are in the order of their names, as
// TripleO's are: a number of three digits and a text.
type Firewall struct {
	Rules map[string]FirewallRule `json:"rules"`
}

// FirewallRule has the keys of TripleO's `tripleo.<service>.firewall_rules` that say something about incoming packets.
type FirewallRule struct {
	DPort       Ports  `json:"dport"`
	SPort       Ports  `json:"sport"`
	Proto       string `json:"proto"` // tcp (default), udp, sctp, icmp, vrrp, gre, esp, ah or all
	Source      string `json:"source"`
	Destination string `json:"destination"`
	InInterface string `json:"iniface"`
	Action      string `json:"action"` // accept (default), drop or reject
}

// Ports are ports and ranges of them: a number, "first-last", or a list of these.
type Ports []string

// UnmarshalJSON implements json.Unmarshaler.
func (p *Ports) UnmarshalJSON(b []byte) error {
	var list []json.RawMessage
	if json.Unmarshal(b, &list) != nil {
		list = []json.RawMessage{b}
	}
	*p = nil
	for _, e := range list {
		text := strings.Trim(string(e), `"`)
		if text == "" || text == "null" {
			continue
		}
		first, last, isRange := strings.Cut(text, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil || from == 0 || from > to {
			return fmt.Errorf("a port is a number from 1 to 65535 or a range such as 5900-6923, not %s", e)
		}
		*p = append(*p, text)
	}
	return nil
}

var (
	ruleName      = regexp.MustCompile(`^[0-9]{3} [[:print:]]+$`)
	interfaceName = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,15}$`)
	// protocols that nft's `meta l4proto` knows by name or number; vrrp is 112 (RFC 5798).
	protocols = map[string]string{"": "tcp", "tcp": "tcp", "udp": "udp", "sctp": "sctp", "icmp": "icmp", "vrrp": "112", "gre": "gre", "esp": "esp", "ah": "ah", "all": ""}
)

// text is the ruleset. Loading it replaces the table in one transaction; tables of others stay.
func (f *Firewall) text() (string, error) {
	var b strings.Builder
	b.WriteString(`table inet tripleo
delete table inet tripleo
table inet tripleo {
  chain input {
    type filter hook input priority filter; policy drop;
    # 000 accept related established
    ct state established,related accept
    # 001 accept all icmp
    meta l4proto { icmp, ipv6-icmp } accept
    # 002 accept all to lo interface
    iifname "lo" accept
    # 003 accept ssh
    tcp dport 22 accept
    # 004 accept the node's own dhcp
    udp dport 68 udp sport 67 accept
    ip6 saddr fe80::/10 udp dport 546 accept
`)
	for _, name := range slices.Sorted(maps.Keys(f.Rules)) {
		if !ruleName.MatchString(name) {
			return "", fmt.Errorf("rule %q: a name is a number of three digits, a space and a text", name)
		}
		line, err := f.Rules[name].line()
		if err != nil {
			return "", fmt.Errorf("rule %q: %w", name, err)
		}
		fmt.Fprintf(&b, "    # %s\n    %s\n", name, line)
	}
	b.WriteString("    # 999 drop all\n    counter drop\n  }\n}\n")
	return b.String(), nil
}

// line is the rule in nft's language.
func (r FirewallRule) line() (string, error) {
	var parts []string
	proto, ok := protocols[r.Proto]
	if !ok {
		return "", fmt.Errorf("proto is one of %s, not %q", strings.Join(slices.Sorted(maps.Keys(protocols))[1:], ", "), r.Proto)
	}
	if r.InInterface != "" {
		if !interfaceName.MatchString(r.InInterface) {
			return "", fmt.Errorf("iniface %q is no name of an interface", r.InInterface)
		}
		parts = append(parts, `iifname "`+r.InInterface+`"`)
	}
	for _, a := range []struct{ key, word, value string }{{"source", "saddr", r.Source}, {"destination", "daddr", r.Destination}} {
		if a.value == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(a.value)
		if addr, e := netip.ParseAddr(a.value); e == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return "", fmt.Errorf("%s: %q is no address and no network such as 192.0.2.0/24", a.key, a.value)
		}
		family := "ip"
		if prefix.Addr().Is6() {
			family = "ip6"
		}
		parts = append(parts, family+" "+a.word+" "+prefix.Masked().String())
	}
	withPorts := len(r.DPort)+len(r.SPort) > 0
	if withPorts && proto != "tcp" && proto != "udp" && proto != "sctp" {
		return "", fmt.Errorf("proto %q has no ports", r.Proto)
	}
	for _, p := range []struct {
		word  string
		ports Ports
	}{{"sport", r.SPort}, {"dport", r.DPort}} {
		if len(p.ports) > 0 {
			parts = append(parts, proto+" "+p.word+" { "+strings.Join(p.ports, ", ")+" }")
		}
	}
	if !withPorts && proto != "" {
		parts = append(parts, "meta l4proto "+proto)
	}
	if len(parts) == 0 && r.Action != "drop" {
		return "", errors.New("it would let everything in: say proto, dport, source, destination or iniface")
	}
	switch r.Action {
	case "":
		return strings.Join(append(parts, "accept"), " "), nil
	case "accept", "drop", "reject":
		return strings.Join(append(parts, r.Action), " "), nil
	}
	return "", fmt.Errorf("action is accept, drop or reject, not %q", r.Action)
}
