package switches

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Bounds of a fabric.
const (
	MaxSwitches = 4096
	MaxSessions = 64
)

// Switch is a switch as the operator describes it. Times of zero mean the
// defaults that NewFabric fills in.
type Switch struct {
	Name   string
	ID     string // MAC that LLDP calls the chassis: switch_id of a cable; "": found by Info only
	Info   string // switch_info of a cable; default Name
	Driver Driver

	Sessions    int           // calls at once, each of up to MaxTogether ports, of each undercloud process; default 1
	Timeout     time.Duration // of one call; default 30 s
	GiveUp      time.Duration // how long a port may wait for the switch before its binding counts as failed; default 2 min
	Retry       time.Duration // first pause after a failure, doubled up to 60 s; default 1 s
	Resync      time.Duration // how often the switch is compared with what it should have; default 5 min
	DefaultVLAN int           // untagged VLAN of a port that nobody has; 0: none
	// PhysicalNetworks are those the switch carries; none: all.
	PhysicalNetworks []string
	Interfaces       []Rule // how ports are called; none: as port_id says

	calls *sessions
}

// Rule names the switch's interface of a cable.
type Rule struct {
	Port      *regexp.Regexp // matches the whole of port_id
	Interface string         // may refer to groups, as regexp.Expand has them
	Aggregate bool
}

// NewRule makes a rule of an expression that has to match the whole of
// port_id; "" takes every one, and an interface "" leaves its name.
func NewRule(port, iface string, aggregate bool) (Rule, error) {
	if port == "" {
		port = ".*"
	}
	re, err := regexp.Compile(`\A(?:` + port + `)\z`)
	if err != nil {
		return Rule{}, fmt.Errorf("%q, expected a regular expression: %w", port, err)
	}
	if iface == "" {
		iface = "$0"
	}
	return Rule{re, iface, aggregate}, nil
}

// Link is where a cable ends: an entry of local_link_information.
type Link struct{ SwitchID, PortID, SwitchInfo string }

// Fabric is all the switches.
type Fabric struct {
	all    []*Switch
	byName map[string]*Switch
	byID   map[string]*Switch
	byInfo map[string]*Switch
}

// NewFabric checks the switches against each other. Errors name the switch,
// the field and its value.
func NewFabric(list []Switch) (*Fabric, error) {
	f := &Fabric{byName: map[string]*Switch{}, byID: map[string]*Switch{}, byInfo: map[string]*Switch{}}
	if len(list) > MaxSwitches {
		return nil, fmt.Errorf("%d switches, expected at most %d", len(list), MaxSwitches)
	}
	var errs []error
	for i := range list {
		s := list[i]
		s.defaults()
		if err := f.add(&s); err != nil {
			errs = append(errs, fmt.Errorf("switch %q: %w", s.Name, err))
		}
	}
	return f, errors.Join(errs...)
}

func (s *Switch) defaults() {
	if s.Info == "" {
		s.Info = s.Name
	}
	if s.Sessions == 0 {
		s.Sessions = 1
	}
	for p, v := range map[*time.Duration]time.Duration{&s.Timeout: 30 * time.Second, &s.GiveUp: 2 * time.Minute, &s.Retry: time.Second, &s.Resync: 5 * time.Minute} {
		if *p == 0 {
			*p = v
		}
	}
}

func (f *Fabric) add(s *Switch) error {
	if s.Name == "" || len(s.Name) > 64 {
		return fmt.Errorf("name %q, expected 1 to 64 characters", s.Name)
	}
	if s.Driver == nil {
		return errors.New("it has no driver")
	}
	if s.Sessions < 1 || s.Sessions > MaxSessions {
		return fmt.Errorf("sessions is %d, expected 1 to %d", s.Sessions, MaxSessions)
	}
	if s.DefaultVLAN < 0 || s.DefaultVLAN > MaxVLAN {
		return fmt.Errorf("default_vlan is %d, expected 1 to %d, or 0 for none", s.DefaultVLAN, MaxVLAN)
	}
	if s.ID != "" {
		mac, err := net.ParseMAC(s.ID)
		if err != nil || len(mac) != 6 {
			return fmt.Errorf("switch_id is %q, expected a MAC address", s.ID)
		}
		s.ID = mac.String()
		if o := f.byID[s.ID]; o != nil {
			return fmt.Errorf("switch_id %s is that of switch %q already", s.ID, o.Name)
		}
	}
	if o := f.byName[s.Name]; o != nil {
		return errors.New("there are two of that name")
	}
	if o := f.byInfo[s.Info]; o != nil {
		return fmt.Errorf("switch_info %q is that of switch %q already", s.Info, o.Name)
	}
	s.calls = newSessions(s.Driver, s.Sessions, s.Timeout)
	f.all = append(f.all, s)
	f.byName[s.Name], f.byInfo[s.Info] = s, s
	if s.ID != "" {
		f.byID[s.ID] = s
	}
	return nil
}

// Switches lists all of them, in the order they were given.
func (f *Fabric) Switches() []*Switch { return f.all }

// Named returns a switch by its name, nil if there is none.
func (f *Fabric) Named(name string) *Switch { return f.byName[name] }

// Find tells the switch and the port of a cable: the switch that switch_info
// names, else the one with the MAC switch_id. (networking-generic-switch has
// the same order.)
func (f *Fabric) Find(l Link) (*Switch, Port, error) {
	id := strings.ToLower(l.SwitchID)
	if mac, err := net.ParseMAC(l.SwitchID); err == nil {
		id = mac.String()
	}
	s := f.byInfo[l.SwitchInfo]
	if s == nil && id != "" {
		s = f.byID[id]
	}
	if s == nil {
		return nil, Port{}, fmt.Errorf("no switch of network.switches has the switch_id %q or the switch_info %q", l.SwitchID, l.SwitchInfo)
	}
	if other := f.byID[id]; other != nil && other != s {
		return nil, Port{}, fmt.Errorf("switch_info %q is switch %q, but switch_id %q is switch %q", l.SwitchInfo, s.Name, l.SwitchID, other.Name)
	}
	port, err := s.port(l.PortID)
	return s, port, err
}

func (s *Switch) port(id string) (Port, error) {
	if id == "" || len(id) > 255 {
		return Port{}, fmt.Errorf("port_id is %.300q, expected the name of a port of switch %q, of at most 255 characters", id, s.Name)
	}
	if len(s.Interfaces) == 0 {
		return Port{Name: id}, nil
	}
	for _, r := range s.Interfaces {
		if m := r.Port.FindStringSubmatchIndex(id); m != nil {
			name := string(r.Port.ExpandString(nil, r.Interface, id, m))
			if name == "" || len(name) > 255 {
				return Port{}, fmt.Errorf("port_id %q becomes the interface %q by the rules of switch %q, expected a name", id, name, s.Name)
			}
			return Port{Name: name, Aggregate: r.Aggregate}, nil
		}
	}
	return Port{}, fmt.Errorf("port_id %q fits none of the interfaces of switch %q", id, s.Name)
}

// Carries says whether the switch is part of a physical network.
func (s *Switch) Carries(physical string) bool {
	return len(s.PhysicalNetworks) == 0 || slices.Contains(s.PhysicalNetworks, physical)
}
