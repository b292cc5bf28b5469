package rules

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func object(t testing.TB, s string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

const data = `{"memory_mb": 8192, "local_gb": 39, "empty": "", "inventory": {"bmc_address": "192.168.100.11",
	"system_vendor": {"manufacturer": "HP", "product_name": "ProLiant DL360"}, "cpu": {"count": 4},
	"interfaces": [{"name": "eth0", "mac_address": "52:54:00:00:00:01"}, {"name": "eth1", "mac_address": "aa:54:00:00:00:02"}],
	"disks": [{"size": 10}, {"size": 20}]}}`

const node = `{"name": "node-1", "driver": "ipmi", "properties": {"capabilities": "profile:control"}, "extra": {"list": ["a"]}, "driver_info": {}}`

func TestConditions(t *testing.T) {
	for _, c := range []struct {
		cond   string
		want   bool
		reason string
	}{
		{`{"op": "eq", "field": "memory_mb", "value": 8192}`, true, "number"},
		{`{"op": "eq", "field": "memory_mb", "value": "8192"}`, true, "text is coerced when the field is a number"},
		{`{"op": "ne", "field": "memory_mb", "value": 8192}`, false, "ne"},
		{`{"op": "ge", "field": "data://local_gb", "value": 39}`, true, "explicit scheme"},
		{`{"op": "lt", "field": "local_gb", "value": 39}`, false, "strictly less"},
		{`{"op": "eq", "field": "local_gb", "value": 1, "invert": true}`, true, "inverted"},
		{`{"op": "!eq", "field": "local_gb", "value": 39}`, false, "newer form of invert"},
		{`{"op": "in-net", "field": "inventory.bmc_address", "value": "192.168.100.0/24"}`, true, "network"},
		{`{"op": "in-net", "field": "inventory.bmc_address", "value": "10.0.0.0/8"}`, false, "other network"},
		{`{"op": "matches", "field": "inventory.system_vendor.product_name", "value": "ProLiant"}`, false, "matches is anchored at both ends"},
		{`{"op": "matches", "field": "inventory.system_vendor.product_name", "value": "ProLiant.*"}`, true, "matches"},
		{`{"op": "contains", "field": "inventory.system_vendor.product_name", "value": "DL3[0-9]+"}`, true, "contains searches"},
		{`{"op": "is-empty", "field": "empty"}`, true, "empty text"},
		{`{"op": "is-empty", "field": "missing"}`, true, "a missing field is empty"},
		{`{"op": "is-empty", "field": "memory_mb"}`, false, "a number is not"},
		{`{"op": "eq", "field": "missing", "value": 1}`, false, "a missing field equals nothing"},
		{`{"op": "eq", "field": "missing", "value": 1, "invert": true}`, false, "nor does it differ, as inspector has it"},
		{`{"op": "eq", "field": "node://driver", "value": "ipmi"}`, true, "the node's own field"},
		{`{"op": "contains", "field": "inventory.interfaces[*].mac_address", "value": "^aa:"}`, true, "any is the default"},
		{`{"op": "contains", "field": "inventory.interfaces[*].mac_address", "value": "^aa:", "multiple": "all"}`, false, "all"},
		{`{"op": "contains", "field": "inventory.interfaces[*].mac_address", "value": "^aa:", "multiple": "first"}`, false, "first"},
		{`{"op": "eq", "field": "inventory.disks[-1].size", "value": 20}`, true, "index from the end"},
		{`{"op": "eq", "field": "inventory[\"cpu\"].count", "value": 4}`, true, "quoted name"},
	} {
		r := Rule{Conditions: []map[string]any{object(t, c.cond)}, Actions: []map[string]any{{"action": "fail", "message": "x"}}}
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", c.cond, err)
			continue
		}
		got, err := r.Matches(object(t, data), object(t, node))
		if err != nil || got != c.want {
			t.Errorf("%s: got %v %v, want %v (%s)", c.cond, got, err, c.want, c.reason)
		}
	}
}

func TestActions(t *testing.T) {
	for _, c := range []struct {
		action string
		want   []Op
		err    string
		reason string
	}{
		{`{"action": "set-attribute", "path": "/driver_info/ipmi_address", "value": "{data[inventory][bmc_address]}"}`,
			[]Op{{"add", "/driver_info/ipmi_address", "192.168.100.11"}}, "", "discovered nodes get their BMC so"},
		{`{"action": "set-attribute", "path": "driver_info.ipmi_address", "value": "x"}`,
			[]Op{{"add", "/driver_info/ipmi_address", "x"}}, "", "dotted path of old rules"},
		{`{"action": "set-attribute", "path": "/extra/nics", "value": ["{data[inventory][interfaces][1][name]}", "{{literal}}"]}`,
			[]Op{{"add", "/extra/nics", []any{"eth1", "{literal}"}}}, "", "lists are formatted too"},
		{`{"action": "set-attribute", "path": "/driver", "value": "ipmi"}`, nil, "", "nothing changes, nothing is sent"},
		{`{"action": "set-attribute", "path": "/extra/x", "value": "{data[nothing]}"}`, nil, `there is no "nothing"`, "a missing key is an error"},
		{`{"action": "set-attribute", "path": "/nowhere/x/y", "value": 1}`, nil, "there is no nowhere", "missing parent"},
		{`{"action": "set-capability", "name": "compute_profile", "value": "1"}`,
			[]Op{{"add", "/properties/capabilities", "compute_profile:1,profile:control"}}, "", "merged and sorted"},
		{`{"action": "set-capability", "name": "profile", "value": "control"}`, nil, "", "there already"},
		{`{"action": "extend-attribute", "path": "/extra/list", "value": "b"}`, []Op{{"add", "/extra/list", []any{"a", "b"}}}, "", "appended"},
		{`{"action": "extend-attribute", "path": "/extra/list", "value": "a", "unique": true}`, nil, "", "unique"},
		{`{"action": "extend-attribute", "path": "/driver", "value": "a"}`, nil, "holds no list", "not a list"},
		{`{"action": "add-trait", "name": "CUSTOM_A"}`, []Op{{"add", "/traits/CUSTOM_A", nil}}, "", "trait"},
		{`{"action": "fail", "message": "{data[memory_mb]} MiB"}`, nil, "8192 MiB", "fail"},
	} {
		r := Rule{UUID: "u", Actions: []map[string]any{object(t, c.action)}}
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", c.action, err)
			continue
		}
		got, err := Apply([]Rule{r}, object(t, data), object(t, node))
		if (c.err == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: error %v, want %q (%s)", c.action, err, c.err, c.reason)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (%s):\n%s", c.action, c.reason, diff)
		}
	}
}

func TestLaterRulesSeeEarlierChanges(t *testing.T) {
	n := object(t, node)
	rules := []Rule{
		{Actions: []map[string]any{{"action": "set-attribute", "path": "/extra/rack", "value": "r7"}}},
		{Conditions: []map[string]any{{"op": "eq", "field": "node://extra.rack", "value": "r7"}}, Actions: []map[string]any{{"action": "fail", "message": "seen"}}},
	}
	if _, err := Apply(rules, object(t, data), n); !errors.Is(err, ErrFailed) {
		t.Errorf("got %v, want the second rule to see the first one's change", err)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct{ rule, want string }{
		{`{"actions": []}`, "at least one action"},
		{`{"actions": [{"action": "explode"}]}`, "actions[0]"},
		{`{"actions": [{"action": "fail"}]}`, "needs message"},
		{`{"conditions": [{"op": "like", "field": "a", "value": 1}], "actions": [{"action": "fail", "message": "x"}]}`, "conditions[0]: op is"},
		{`{"conditions": [{"op": "eq", "field": "a"}], "actions": [{"action": "fail", "message": "x"}]}`, "needs a value"},
		{`{"conditions": [{"op": "eq", "field": "http://a", "value": 1}], "actions": [{"action": "fail", "message": "x"}]}`, "scheme"},
		{`{"conditions": [{"op": "matches", "field": "a", "value": "("}], "actions": [{"action": "fail", "message": "x"}]}`, "regular expression"},
		{`{"conditions": [{"op": "in-net", "field": "a", "value": "x"}], "actions": [{"action": "fail", "message": "x"}]}`, "no network"},
		{`{"conditions": [{"op": "eq", "field": "a[", "value": 1}], "actions": [{"action": "fail", "message": "x"}]}`, "without ]"},
		{`{"conditions": [{"op": "eq", "field": "a", "value": 1, "multiple": "some"}], "actions": [{"action": "fail", "message": "x"}]}`, "multiple"},
	} {
		var r Rule
		if err := json.Unmarshal([]byte(c.rule), &r); err != nil {
			t.Fatal(err)
		}
		if err := r.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.rule, err, c.want)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"a.b[0].*", `$.a["b"]`, "[", "..", "a[-1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parsePath(s); err == nil {
			find(object(t, data), p)
		}
	})
}
