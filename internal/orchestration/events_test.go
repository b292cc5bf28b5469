package orchestration_test

import (
	"slices"
	"testing"
)

// TestEventsSorted sorts and pages events as Heat's API does.
func TestEventsSorted(t *testing.T) {
	u := newUndercloud(t)
	id := u.createStack("s", map[string]any{"template": "heat_template_version: wallaby\nresources:\n  b: {type: OS::Heat::None}\n  a: {type: OS::Heat::Value, properties: {value: 1}, depends_on: b}"})
	u.stack("s", "CREATE_COMPLETE")
	list := func(query string) (types, ids []string) {
		t.Helper()
		code, out := u.request("GET", "stacks/s/"+id+"/events?"+query, nil)
		if code != 200 {
			t.Fatal(query, code, out)
		}
		for _, e := range out["events"].([]any) {
			types = append(types, e.(map[string]any)["resource_type"].(string))
			ids = append(ids, e.(map[string]any)["id"].(string))
		}
		return types, ids
	}
	_, all := list("")
	if _, ids := list("sort_keys=event_time&sort_dir=desc"); !slices.Equal(ids, reversed(all)) {
		t.Errorf("newest first: %v, expected the reverse of %v", ids, all)
	}
	types, ids := list("sort_keys=resource_type&sort_dir=asc")
	if !slices.IsSorted(types) || len(ids) != len(all) {
		t.Errorf("by type: %v", types)
	}
	if types, _ := list("sort_keys=resource_type&sort_dir=desc"); !slices.IsSorted(reversed(types)) {
		t.Errorf("by type, last first: %v", types)
	}
	if _, rest := list("sort_keys=resource_type&limit=2&marker=" + ids[1]); !slices.Equal(rest, ids[2:4]) {
		t.Errorf("the second page: %v, expected %v", rest, ids[2:4])
	}
	if _, same := list("sort_keys=physical_resource_id"); !slices.Equal(same, all) {
		t.Errorf("a key that Heat ignores: %v", same)
	}
}

func reversed(l []string) []string {
	out := slices.Clone(l)
	slices.Reverse(out)
	return out
}
