package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// networkItem is an entry of os-net-config's language (its schema.yaml), as far as systemd-networkd can do it.
type networkItem struct {
	Type      string           `json:"type"`
	Name      string           `json:"name"`
	Device    string           `json:"device"`  // of a vlan: the interface below
	VlanID    int              `json:"vlan_id"` // 1-4094
	UseDHCP   bool             `json:"use_dhcp"`
	UseDHCPv6 bool             `json:"use_dhcpv6"`
	DefRoute  *bool            `json:"defroute"` // false: DHCP's gateway is not taken
	MTU       int              `json:"mtu"`
	Addresses []networkAddress `json:"addresses"`
	Routes    []networkRoute   `json:"routes"`
	Rules     []networkRule    `json:"rules"`
	DNS       []string         `json:"dns_servers"`
	Domain    any              `json:"domain"` // a text or a list
	// Members of a bridge or bond. A bridge has the MAC address of the primary one, else of the first.
	Members        []networkItem `json:"members"`
	Primary        bool          `json:"primary"`
	BondingOptions string        `json:"bonding_options"` // as the kernel's bonding module: "mode=802.3ad miimon=100"

	bridge, bond string // of a member
}

type networkAddress struct {
	IPNetmask string `json:"ip_netmask"`
}

type networkRoute struct {
	IPNetmask   string `json:"ip_netmask"`
	Destination string `json:"destination"` // the newer name of ip_netmask
	NextHop     string `json:"next_hop"`
	Nexthop     string `json:"nexthop"` // the newer name
	Default     bool   `json:"default"`
	Table       any    `json:"table"` // a number
	RouteTable  any    `json:"route_table"`
	Options     string `json:"route_options"` // of ip-route(8): metric, mtu, onlink
}

type networkRule struct {
	Rule string `json:"rule"` // of ip-rule(8)
}

const (
	kindInterface = "interface"
	kindVLAN      = "vlan"
	kindBridge    = "linux_bridge"
	kindBond      = "linux_bond"

	maxNesting = 3 // an interface in a bond in a bridge
)

var (
	ifnameRE = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,15}$`)
	// ifValueRE keeps an option inside its line.
	ifValueRE = regexp.MustCompile(`^[a-zA-Z0-9.+_-]{1,40}$`)
	nicRE     = regexp.MustCompile(`^nic([1-9][0-9]{0,2})$`)
)

// parseNetwork reads a list of entries and puts the members of bridges and bonds beside them. nics are the node's ports
// in the order of os-net-config; nicN in the list stands for the Nth.
func parseNetwork(v any, nics []string) ([]networkItem, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var items []networkItem
	if err := json.Unmarshal(data, &items); err != nil {
		return nil, fmt.Errorf("expected os-net-config's list: %w", err)
	}
	items, err = flatten(items, nics, 1)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, it := range items {
		if seen[it.ifname()] {
			return nil, fmt.Errorf("%s has two entries", it.ifname())
		}
		seen[it.ifname()] = true
	}
	for _, it := range items {
		if it.Type == kindVLAN && !seen[it.Device] {
			return nil, fmt.Errorf("a vlan is on %s, which has no entry of its own", it.Device)
		}
	}
	return items, nil
}

func flatten(items []networkItem, nics []string, depth int) ([]networkItem, error) {
	var out []networkItem
	for i := range items {
		it := &items[i]
		if err := errors.Join(mapNIC(&it.Name, nics), mapNIC(&it.Device, nics)); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		if err := it.check(); err != nil {
			return nil, fmt.Errorf("entry %d (%s): %w", i, it.Name, err)
		}
		if depth > maxNesting {
			return nil, fmt.Errorf("entry %d (%s): members are nested too deep", i, it.Name)
		}
		for j := range it.Members {
			m := &it.Members[j]
			switch {
			case it.Type == kindBridge:
				m.bridge = it.Name
			case m.Type != kindInterface:
				return nil, fmt.Errorf("entry %d (%s): the members of a bond are interfaces, not %s", i, it.Name, m.Type)
			default:
				m.bond = it.Name
			}
		}
		members, err := flatten(it.Members, nics, depth+1)
		if err != nil {
			return nil, fmt.Errorf("entry %d (%s), members: %w", i, it.Name, err)
		}
		out = append(append(out, *it), members...)
	}
	return out, nil
}

// mapNIC replaces nicN by the name of the node's Nth port.
func mapNIC(name *string, nics []string) error {
	m := nicRE.FindStringSubmatch(*name)
	if m == nil {
		return nil
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return err
	}
	if n > len(nics) {
		return fmt.Errorf("%s: the node has %d ports with a link: %s", *name, len(nics), strings.Join(nics, ", "))
	}
	*name = nics[n-1]
	return nil
}

// orderNICs sorts ports as os-net-config numbers them: those on the board (em, eth, eno) first, then the others, each by
// their numbers.
func orderNICs(names []string) []string {
	embedded := regexp.MustCompile(`^(em|eth|eno)[0-9]+`)
	out := slices.Clone(names)
	slices.SortStableFunc(out, func(a, b string) int {
		if x, y := embedded.MatchString(a), embedded.MatchString(b); x != y {
			if x {
				return -1
			}
			return 1
		}
		return natural(a, b)
	})
	return out
}

// natural compares texts with numbers in them by the numbers' values.
func natural(a, b string) int {
	digits := func(s string) (string, string) {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return strings.TrimLeft(s[:n], "0"), s[n:]
	}
	for a != "" && b != "" {
		if x, restA := digits(a); len(restA) < len(a) {
			if y, restB := digits(b); len(restB) < len(b) {
				if len(x) != len(y) {
					return len(x) - len(y)
				}
				if c := strings.Compare(x, y); c != 0 {
					return c
				}
				a, b = restA, restB
				continue
			}
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
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
	case kindBridge, kindBond:
		if len(it.Members) == 0 {
			return fmt.Errorf("a %s needs members", strings.TrimPrefix(it.Type, "linux_"))
		}
		for _, m := range it.Members {
			if m.Type == kindBridge {
				return fmt.Errorf("a bridge cannot be the member of a %s", strings.TrimPrefix(it.Type, "linux_"))
			}
		}
	default:
		return fmt.Errorf("type %q is not known here; known are interface, vlan, linux_bridge and linux_bond", it.Type)
	}
	if !ifnameRE.MatchString(it.ifname()) {
		return fmt.Errorf("%q is no interface name", it.ifname())
	}
	if it.Type == kindVLAN && (it.VlanID < 1 || it.VlanID > 4094 || !ifnameRE.MatchString(it.Device)) {
		return errors.New("a vlan needs device and a vlan_id from 1 to 4094")
	}
	if it.Type == kindBond {
		if _, err := bondOptions(it.BondingOptions); err != nil {
			return fmt.Errorf("bonding_options: %w", err)
		}
	}
	return it.checkAddresses()
}

func (it networkItem) checkAddresses() error {
	for _, ad := range it.Addresses {
		if _, err := netip.ParsePrefix(ad.IPNetmask); err != nil {
			return fmt.Errorf("address: %w", err)
		}
	}
	for _, r := range it.Routes {
		if _, err := r.lines(); err != nil {
			return fmt.Errorf("route: %w", err)
		}
	}
	for _, r := range it.Rules {
		if _, err := r.lines(); err != nil {
			return fmt.Errorf("rule %q: %w", r.Rule, err)
		}
	}
	for _, s := range it.DNS {
		if _, err := netip.ParseAddr(s); err != nil {
			return fmt.Errorf("dns_servers: %w", err)
		}
	}
	_, err := it.domains()
	return err
}

var domainRE = regexp.MustCompile(`^[a-zA-Z0-9.-]{1,253}$`)

func (it networkItem) domains() ([]string, error) {
	var out []string
	switch d := it.Domain.(type) {
	case nil:
	case string:
		out = strings.Fields(d)
	case []any:
		for _, v := range d {
			out = append(out, fmt.Sprint(v))
		}
	default:
		return nil, fmt.Errorf("domain: %v is neither a text nor a list", d)
	}
	for _, d := range out {
		if !domainRE.MatchString(d) {
			return nil, fmt.Errorf("domain: %q is no domain", d)
		}
	}
	return out, nil
}
