package plan_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/agent/installed/service"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
)

// chain answers for a role's template: what its services gave, and its resources of type Value.
type chain struct {
	*scope
	services any
}

func (c *chain) Attr(resource, _ string, _ []any) (any, error) {
	if resource == "ServiceChain" {
		return c.services, nil
	}
	def := c.tmpl.Resource(resource)
	return hot.NewEvaluator(c.tmpl, c).Value(def.Properties.Field("value"))
}

// TestFirewallHasTheRulesOfAllServices evaluates a role's services.
func TestFirewallHasTheRulesOfAllServices(t *testing.T) {
	p := load(t, stock(t))
	c := &chain{scope: &scope{t: t, tmpl: p.templates["common/controller-services.yaml"], yaql: hot.NewYaql()}}
	c.services = ordered(t, map[string]any{"list": []any{
		map[string]any{"service_name": "a", "config_settings": map[string]any{"a_x": 1, "tripleo.a.firewall_rules": map[string]any{"111 a": map[string]any{"dport": []any{5000, "13000-13001"}}}},
			"service": map[string]any{"step_1": map[string]any{"name": "a"}}},
		nil,
		map[string]any{"service_name": "tripleo_firewall", "config_settings": map[string]any{"tripleo.tripleo_firewall.firewall_rules": map[string]any{"300 own": map[string]any{"proto": "udp", "dport": 514}}},
			"service": map[string]any{"step_1": map[string]any{"name": "tripleo_firewall", "firewall": map[string]any{"rules": map[string]any{}}}}},
		map[string]any{"service_name": "b", "config_settings": map[string]any{"tripleo.b.firewall_rules": map[string]any{"106 vrrp": map[string]any{"proto": "vrrp"}}},
			"service": map[string]any{"step_3": map[string]any{"name": "b"}}},
	}})["list"]
	steps, err := c.Attr("Step1", "value", nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"step": 1, "services": steps})
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	spec, err := service.ParseSpec(config)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if len(spec.Services) != 2 || len(spec.Services[0].Files) != 0 {
		t.Fatalf("services are %s", data)
	}
	text := *spec.Services[1].Files[0].Content
	want := "    # 106 vrrp\n    meta l4proto 112 accept\n    # 111 a\n    tcp dport { 5000, 13000-13001 } accept\n    # 300 own\n    udp dport { 514 } accept\n    # 999"
	if !strings.Contains(text, want) {
		t.Errorf("rules:\n%s\nwant in them:\n%s", text, want)
	}
}
