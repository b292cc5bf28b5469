package orchestration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/orchestration"
)

// TestLimits meets every limit: what is over is refused with Heat's words, and what is below goes on.
func TestLimits(t *testing.T) {
	u := newUndercloudWith(t, func(cfg *orchestration.Config) {
		cfg.Limits = orchestration.Limits{Stacks: 2, Resources: 3, Depth: 1, Events: 10, TemplateSize: 2000, BodySize: 6000}
	})
	group := func(n int) map[string]any {
		return map[string]any{"template": fmt.Sprintf("heat_template_version: wallaby\nresources: {g: {type: OS::Heat::ResourceGroup, properties: {count: %d, resource_def: {type: OS::Heat::None}}}}", n)}
	}
	deep := map[string]any{"template": "heat_template_version: wallaby\nresources: {a: {type: b.yaml}}", "files": map[string]any{
		"b.yaml": "heat_template_version: wallaby\nresources: {a: {type: c.yaml}}", "c.yaml": "heat_template_version: wallaby"}}
	id := u.createStack("fits", group(2))
	u.stack("fits", "CREATE_COMPLETE")
	for _, tt := range []struct {
		reason string
		code   int
		want   string
		body   map[string]any
	}{
		{"four resources in the tree", 400, "Maximum resources per stack exceeded", group(3)},
		{"two levels below the root", 400, "recursion depth exceeds 1", deep},
		{"a long template", 400, "Template size (2", map[string]any{"template": "heat_template_version: wallaby\n#" + strings.Repeat("x", 2000)}},
		{"a long nested template", 400, "exceeds maximum allowed size", map[string]any{"template": deep["template"], "files": map[string]any{"b.yaml": "heat_template_version: wallaby\n#" + strings.Repeat("x", 2000)}}},
		{"a long request", 413, "larger than 6000 bytes", map[string]any{"template": "x", "files": map[string]any{"f": strings.Repeat("x", 7000)}}},
	} {
		tt.body["stack_name"] = "more"
		if code, out := u.request("POST", "stacks", tt.body); code != tt.code || !strings.Contains(text(out), tt.want) {
			t.Errorf("%s: %d %v, expected %d %s", tt.reason, code, out, tt.code, tt.want)
		}
	}
	u.createStack("second", map[string]any{"template": "heat_template_version: wallaby"})
	if code, out := u.request("POST", "stacks", map[string]any{"stack_name": "third", "template": "heat_template_version: wallaby"}); code != 400 || !strings.Contains(text(out), "maximum stacks per tenant, 2") {
		t.Errorf("a third stack: %d %v", code, out)
	}
	for range 6 {
		if code, out := u.request("POST", "stacks/fits/"+id+"/actions", map[string]any{"check": nil}); code != 200 {
			t.Fatal(code, out)
		}
		u.stack("fits", "CHECK_COMPLETE")
	}
	u.eventually("events to be forgotten", func() bool {
		_, out := u.request("GET", "stacks/fits/"+id+"/events", nil)
		n := len(out["events"].([]any))
		return n > 0 && n <= 10
	})
}

// TestLimitsOff has no limits.
func TestLimitsOff(t *testing.T) {
	u := newUndercloudWith(t, func(cfg *orchestration.Config) {
		cfg.Limits = orchestration.Limits{Stacks: -1, Resources: -1, Depth: -1, Events: -1, TemplateSize: -1, BodySize: -1}
	})
	u.createStack("s", map[string]any{"template": "heat_template_version: wallaby\nresources: {r: {type: OS::Heat::None}}"})
	u.stack("s", "CREATE_COMPLETE")
}
