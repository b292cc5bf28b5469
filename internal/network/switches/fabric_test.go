package switches_test

import (
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/network/switches"
)

func rule(t *testing.T, port, iface string, aggregate bool) switches.Rule {
	t.Helper()
	r, err := switches.NewRule(port, iface, aggregate)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCablesLeadToPorts(t *testing.T) {
	f, err := switches.NewFabric([]switches.Switch{
		{Name: "leaf1", ID: "00-1C-73-AA-BB-01", Driver: switches.Noop{}, Interfaces: []switches.Rule{
			rule(t, "Eth(4[78])", "Port-Channel1", true), rule(t, "Eth([0-9]+)", "Ethernet$1", false),
		}},
		{Name: "leaf2", ID: "00:1c:73:aa:bb:02", Info: "leaf2.example.org", Driver: switches.Noop{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		reason string
		link   switches.Link
		sw     string
		port   switches.Port
		fails  string
	}{
		{"by MAC, however it is written", switches.Link{SwitchID: "00:1C:73:AA:BB:01", PortID: "Eth3"}, "leaf1", switches.Port{Name: "Ethernet3"}, ""},
		{"the first rule that fits", switches.Link{SwitchID: "00:1c:73:aa:bb:01", PortID: "Eth47"}, "leaf1", switches.Port{Name: "Port-Channel1", Aggregate: true}, ""},
		{"by name", switches.Link{SwitchInfo: "leaf1", PortID: "Eth3"}, "leaf1", switches.Port{Name: "Ethernet3"}, ""},
		{"by its own switch_info", switches.Link{SwitchInfo: "leaf2.example.org", PortID: "swp1"}, "leaf2", switches.Port{Name: "swp1"}, ""},
		{"a name nobody has, but the MAC", switches.Link{SwitchInfo: "rack 7", SwitchID: "00:1c:73:aa:bb:02", PortID: "swp1"}, "leaf2", switches.Port{Name: "swp1"}, ""},
		{"two that differ", switches.Link{SwitchInfo: "leaf1", SwitchID: "00:1c:73:aa:bb:02", PortID: "Eth1"}, "", switches.Port{}, `switch_id "00:1c:73:aa:bb:02" is switch "leaf2"`},
		{"no such switch", switches.Link{SwitchID: "00:1c:73:aa:bb:09", PortID: "Eth1"}, "", switches.Port{}, "00:1c:73:aa:bb:09"},
		{"nothing said", switches.Link{PortID: "Eth1"}, "", switches.Port{}, "no switch"},
		{"no rule fits", switches.Link{SwitchInfo: "leaf1", PortID: "mgmt0"}, "", switches.Port{}, `"mgmt0" fits none`},
		{"only a part fits", switches.Link{SwitchInfo: "leaf1", PortID: "xEth1"}, "", switches.Port{}, "fits none"},
		{"no port", switches.Link{SwitchInfo: "leaf2.example.org"}, "", switches.Port{}, "port_id"},
	} {
		sw, port, err := f.Find(tt.link)
		if tt.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("%s: %v, expected an error with %q", tt.reason, err, tt.fails)
			}
			continue
		}
		if err != nil || sw.Name != tt.sw || port != tt.port {
			t.Errorf("%s: %+v of %v, %v, expected %+v of %s", tt.reason, port, sw, err, tt.port, tt.sw)
		}
	}
}

func TestSwitchesThatCannotBe(t *testing.T) {
	ok := switches.Switch{Name: "a", ID: "00:1c:73:aa:bb:01", Driver: switches.Noop{}}
	for want, s := range map[string]switches.Switch{
		"two of that name":     {Name: "a", Info: "other", Driver: switches.Noop{}},
		"is that of switch":    {Name: "b", ID: "00:1C:73:AA:BB:01", Driver: switches.Noop{}},
		`switch_info "a"`:      {Name: "b", Info: "a", Driver: switches.Noop{}},
		`switch_id is "x"`:     {Name: "b", ID: "x", Driver: switches.Noop{}},
		"sessions is 65":       {Name: "b", Sessions: 65, Driver: switches.Noop{}},
		"default_vlan is 4095": {Name: "b", DefaultVLAN: 4095, Driver: switches.Noop{}},
		"no driver":            {Name: "b"},
		"1 to 64 characters":   {Driver: switches.Noop{}},
	} {
		if _, err := switches.NewFabric([]switches.Switch{ok, s}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, expected an error with %q", s, err, want)
		}
	}
	if _, err := switches.NewRule("(", "x", false); err == nil || !strings.Contains(err.Error(), "regular expression") {
		t.Errorf("an expression that is none: %v", err)
	}
}
