// Package scheduler picks the bare-metal node for a server: pure, and able to
// say of each node why it was refused.
package scheduler

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/resourceclass"
)

// Node is what the scheduler looks at.
type Node struct {
	ID, Name         string
	State            string // Ironic's provision state
	PowerState       string
	Maintenance      bool
	Retired          bool
	Instance         string // the instance the node is taken by
	ResourceClass    string
	Capabilities     map[string]string
	Traits           []string
	CPUs, MemoryMB   int
	DiskGB           int
	AvailabilityZone string
}

// Request is what a server asks for.
type Request struct {
	Flavor     string
	VCPUs      int
	MemoryMB   int
	DiskGB     int
	ExtraSpecs map[string]string
	Hints      map[string]string // scheduler hints
	Host       string            // node named by an availability zone "nova:host:node", or ""
	Zone       string            // availability zone, or ""
	Exclude    map[string]string // node id -> why it must not be taken
}

// Refusal says why a node was not taken.
type Refusal struct{ Node, Reason string }

// Pick returns the nodes that fit, best first, and why the others do not. The
// best node is the one with the least to spare: no capability that another
// request might need, then the smallest; ties go by name and id, so that equal
// questions get equal answers.
func Pick(nodes []Node, req Request) (fit []Node, refused []Refusal) {
	for _, n := range nodes {
		if reason := refuse(n, req); reason != "" {
			refused = append(refused, Refusal{label(n), reason})
			continue
		}
		fit = append(fit, n)
	}
	spare := func(n Node) int {
		count := 0
		for k := range n.Capabilities {
			if _, asked := req.ExtraSpecs["capabilities:"+k]; !asked && (k == "profile" || k == "node") {
				count++
			}
		}
		return count
	}
	sort.SliceStable(fit, func(i, j int) bool {
		a, b := fit[i], fit[j]
		if x, y := spare(a), spare(b); x != y {
			return x < y
		}
		if a.MemoryMB != b.MemoryMB {
			return a.MemoryMB < b.MemoryMB
		}
		if a.Name != b.Name {
			return a.Name < b.Name
		}
		return a.ID < b.ID
	})
	return fit, refused
}

func label(n Node) string {
	if n.Name != "" {
		return n.Name
	}
	return n.ID
}

// refuse returns why n cannot serve req, or "".
func refuse(n Node, req Request) string {
	switch {
	case req.Exclude[n.ID] != "":
		return req.Exclude[n.ID]
	case req.Host != "" && req.Host != n.ID && req.Host != n.Name:
		return fmt.Sprintf("the availability zone asks for node %s", req.Host)
	case req.Zone != "" && req.Zone != n.AvailabilityZone:
		return fmt.Sprintf("in availability zone %s, %s is asked for", n.AvailabilityZone, req.Zone)
	case n.Instance != "":
		return "in use by instance " + n.Instance
	case n.State != "available":
		return fmt.Sprintf("provision state is %q, not available", n.State)
	case n.Maintenance:
		return "in maintenance"
	case n.Retired:
		return "retired"
	}
	for _, check := range []func(Node, Request) string{refuseClass, refuseSize, refuseCapabilities, refuseTraits} {
		if reason := check(n, req); reason != "" {
			return reason
		}
	}
	return ""
}

func refuseClass(n Node, req Request) string {
	for key, amount := range req.ExtraSpecs {
		class, ok := strings.CutPrefix(key, "resources:CUSTOM_")
		if !ok || amount == "0" {
			continue
		}
		if amount != "1" {
			return fmt.Sprintf("flavor %s asks for %s of CUSTOM_%s, a node has one", req.Flavor, amount, class)
		}
		if have := resourceclass.Custom(n.ResourceClass); have != "CUSTOM_"+class {
			return fmt.Sprintf("resource class is %q, flavor %s asks for CUSTOM_%s", n.ResourceClass, req.Flavor, class)
		}
	}
	return ""
}

// refuseSize compares sizes unless the flavor overrides them, as flavors for
// bare metal do with resources:VCPU=0 and the like.
func refuseSize(n Node, req Request) string {
	for _, c := range []struct {
		class      string
		have, want int
		unit       string
	}{
		{"VCPU", n.CPUs, req.VCPUs, "CPUs"}, {"MEMORY_MB", n.MemoryMB, req.MemoryMB, "MB of memory"}, {"DISK_GB", n.DiskGB, req.DiskGB, "GB of disk"},
	} {
		want := c.want
		if s, ok := req.ExtraSpecs["resources:"+c.class]; ok {
			if v, err := strconv.Atoi(s); err == nil {
				want = v
			}
		}
		if c.have < want {
			return fmt.Sprintf("%d %s, flavor %s asks for %d", c.have, c.unit, req.Flavor, want)
		}
	}
	return ""
}

// soft are capabilities that say how to deploy, not which node to take.
var soft = map[string]bool{"boot_option": true} //nolint:gochecknoglobals // constant table

func refuseCapabilities(n Node, req Request) string {
	for key, want := range req.ExtraSpecs {
		name, ok := strings.CutPrefix(key, "capabilities:")
		if !ok {
			continue
		}
		have, has := n.Capabilities[name]
		if !has && soft[name] {
			continue
		}
		if !has || !Matches(have, want) {
			return fmt.Sprintf("capability %s is %q, flavor %s asks for %q", name, have, req.Flavor, want)
		}
	}
	if want := req.Hints["capabilities:node"]; want != "" && n.Capabilities["node"] != want {
		return fmt.Sprintf("capability node is %q, the scheduler hint asks for %q", n.Capabilities["node"], want)
	}
	return ""
}

func refuseTraits(n Node, req Request) string {
	have := map[string]bool{}
	for _, t := range n.Traits {
		have[t] = true
	}
	for key, mode := range req.ExtraSpecs {
		trait, ok := strings.CutPrefix(key, "trait:")
		if !ok {
			continue
		}
		if mode == "required" && !have[trait] {
			return fmt.Sprintf("trait %s is missing, flavor %s requires it", trait, req.Flavor)
		}
		if mode == "forbidden" && have[trait] {
			return fmt.Sprintf("trait %s is forbidden by flavor %s", trait, req.Flavor)
		}
	}
	return ""
}

// Matches compares a capability with an extra spec, which may begin with one
// of the operators of Nova's extra_specs_ops: =, ==, !=, >=, <=, s==, s!=,
// s>=, s>, s<=, s<, <in>, <all-in>, <or>.
func Matches(have, want string) bool {
	op, rest, found := strings.Cut(strings.TrimSpace(want), " ")
	rest = strings.TrimSpace(rest)
	if !found {
		return have == want
	}
	number := func(cmp func(a, b float64) bool) bool {
		a, err1 := strconv.ParseFloat(have, 64)
		b, err2 := strconv.ParseFloat(rest, 64)
		return err1 == nil && err2 == nil && cmp(a, b)
	}
	switch op {
	case "=", ">=":
		return number(func(a, b float64) bool { return a >= b })
	case "<=":
		return number(func(a, b float64) bool { return a <= b })
	case "==":
		return number(func(a, b float64) bool { return a == b })
	case "!=":
		return number(func(a, b float64) bool { return a != b })
	case "s==":
		return have == rest
	case "s!=":
		return have != rest
	case "s>=":
		return have >= rest
	case "s>":
		return have > rest
	case "s<=":
		return have <= rest
	case "s<":
		return have < rest
	case "<in>":
		return strings.Contains(have, rest)
	case "<all-in>":
		for word := range strings.SplitSeq(want, "<all-in>") {
			if !strings.Contains(have, strings.TrimSpace(word)) {
				return false
			}
		}
		return true
	case "<or>":
		for word := range strings.SplitSeq(want, "<or>") {
			if w := strings.TrimSpace(word); w != "" && w == have {
				return true
			}
		}
		return false
	default:
		return have == want
	}
}

// Explain puts refusals into one line for a person.
func Explain(refused []Refusal) string {
	if len(refused) == 0 {
		return "there are no nodes"
	}
	const most = 20
	var parts []string
	for i, r := range refused {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(refused)-most))
			break
		}
		parts = append(parts, r.Node+": "+r.Reason)
	}
	return strings.Join(parts, "; ")
}
