package scheduler_test

import (
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/compute/scheduler"
)

func node(name string, change func(*scheduler.Node)) scheduler.Node {
	n := scheduler.Node{
		ID: "id-" + name, Name: name, State: "available", ResourceClass: "baremetal",
		Capabilities: map[string]string{"boot_option": "local"}, CPUs: 2, MemoryMB: 4096, DiskGB: 39,
	}
	if change != nil {
		change(&n)
	}
	return n
}

func control() scheduler.Request {
	return scheduler.Request{Flavor: "control", VCPUs: 1, MemoryMB: 4096, DiskGB: 40, ExtraSpecs: map[string]string{
		"resources:CUSTOM_BAREMETAL": "1", "resources:VCPU": "0", "resources:MEMORY_MB": "0", "resources:DISK_GB": "0",
		"capabilities:profile": "control", "capabilities:boot_option": "local",
	}}
}

func profile(p string) func(*scheduler.Node) {
	return func(n *scheduler.Node) { n.Capabilities["profile"] = p }
}

func TestRefusalsNameTheCause(t *testing.T) {
	for _, tc := range []struct {
		reason string
		change func(*scheduler.Node)
		want   string // "" fits
	}{
		{"the profile fits", profile("control"), ""},
		{"no profile", nil, `capability profile is ""`},
		{"another profile", profile("compute"), `"compute"`},
		{"taken", func(n *scheduler.Node) { profile("control")(n); n.Instance = "i1" }, "in use by instance i1"},
		{"not cleaned yet", func(n *scheduler.Node) { profile("control")(n); n.State = "clean wait" }, "clean wait"},
		{"maintenance", func(n *scheduler.Node) { profile("control")(n); n.Maintenance = true }, "maintenance"},
		{"other class", func(n *scheduler.Node) { profile("control")(n); n.ResourceClass = "gold-1" }, "CUSTOM_BAREMETAL"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			fit, refused := scheduler.Pick([]scheduler.Node{node("n0", tc.change)}, control())
			if tc.want == "" {
				if len(fit) != 1 {
					t.Errorf("refused: %v", refused)
				}
				return
			}
			if len(refused) != 1 || !strings.Contains(scheduler.Explain(refused), tc.want) {
				t.Errorf("got %v and %v, expected a refusal with %q", fit, refused, tc.want)
			}
		})
	}
}

func TestSizesCountUnlessOverridden(t *testing.T) {
	req := scheduler.Request{Flavor: "big", MemoryMB: 8192}
	if fit, _ := scheduler.Pick([]scheduler.Node{node("n0", nil)}, req); len(fit) != 0 {
		t.Error("a node of 4096 MB was taken for a flavor of 8192 MB")
	}
	req.ExtraSpecs = map[string]string{"resources:MEMORY_MB": "0"}
	if fit, _ := scheduler.Pick([]scheduler.Node{node("n0", nil)}, req); len(fit) != 1 {
		t.Error("the override to 0 was ignored")
	}
}

func TestPlainFlavorSparesNodesWithProfile(t *testing.T) {
	nodes := []scheduler.Node{node("a", profile("control")), node("b", nil), node("c", func(n *scheduler.Node) { n.MemoryMB = 2048 })}
	fit, _ := scheduler.Pick(nodes, scheduler.Request{Flavor: "baremetal"})
	var names []string
	for _, n := range fit {
		names = append(names, n.Name)
	}
	if got := strings.Join(names, " "); got != "c b a" {
		t.Errorf("order %q, expected the smallest without a profile first: c b a", got)
	}
}

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		have, want string
		ok         bool
	}{
		{"control", "control", true}, {"control", "s== control", true}, {"control", "s!= control", false},
		{"12", ">= 9", true}, {"9", "> 9", false}, {"12", "<= 9", false}, {"x", ">= 9", false},
		{"abc", "<in> b", true}, {"b", "<or> a <or> b", true}, {"c", "<or> a <or> b", false},
		{"aes mmx", "<all-in> aes <all-in> mmx", true}, {"aes", "<all-in> aes <all-in> mmx", false},
	} {
		if got := scheduler.Matches(tc.have, tc.want); got != tc.ok {
			t.Errorf("Matches(%q, %q) = %t", tc.have, tc.want, got)
		}
	}
}
