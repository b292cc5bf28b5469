package orchestration_test

import (
	"fmt"
	"net/http"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/store"
)

// TestResourceLists: filters, counts and what needs whom are the same for rows of this version and of an earlier one, which
// had no column for them.
func TestResourceLists(t *testing.T) {
	u := newUndercloud(t)
	id := u.createStack("s", map[string]any{"template": hot + `resources:
  a: {type: OS::Heat::Value, properties: {value: x}}
  b: {type: OS::Heat::Value, description: of b, properties: {value: {get_attr: [a, value]}}}
  group: {type: OS::Heat::ResourceGroup, depends_on: b, properties: {count: 2, resource_def: {type: OS::Heat::RandomString}}}
`})
	u.stack("s", "CREATE_COMPLETE")
	list := func(query string) (lines []string, counts any) {
		t.Helper()
		code, out := u.request("GET", "stacks/s/"+id+"/resources?"+query, nil)
		if code != http.StatusOK {
			t.Fatalf("%s: %d %v", query, code, out)
		}
		all, _ := out["resources"].([]any)
		for _, v := range all {
			m, _ := v.(map[string]any)
			links, _ := m["links"].([]any)
			lines = append(lines, fmt.Sprintf("%v %v, for %v, %d links, %q", m["resource_name"], m["resource_status"], m["required_by"], len(links), m["description"]))
		}
		sort.Strings(lines)
		return lines, out["counts"]
	}
	const (
		zero, one = `0 CREATE_COMPLETE, for [], 2 links, ""`, `1 CREATE_COMPLETE, for [], 2 links, ""`
		a, b      = `a CREATE_COMPLETE, for [b], 2 links, ""`, `b CREATE_COMPLETE, for [group], 2 links, "of b"`
		group     = `group CREATE_COMPLETE, for [], 3 links, ""`
	)
	look := func(when string) {
		t.Helper()
		for query, want := range map[string][]string{
			"":               {a, b, group},
			"nested_depth=1": {zero, one, a, b, group},
			"name=a":         {a},
			"nested_depth=1&type=OS::Heat::RandomString&name=1": {one},
			"status=CREATE_COMPLETE&name=b&name=group":          {b, group},
			"status=COMPLETE&action=CREATE&name=a":              {a},
			"status=IN_PROGRESS":                                nil,
		} {
			if got, _ := list(query); !cmp.Equal(want, got) {
				t.Errorf("%s, %q (-want +got):\n%s", when, query, cmp.Diff(want, got))
			}
		}
		if _, counts := list("nested_depth=1&with_counts=true&status=FAILED"); !cmp.Equal(counts, map[string]any{"CREATE_COMPLETE": float64(5)}) {
			t.Errorf("%s: counts %v, expected 5 CREATE_COMPLETE", when, counts)
		}
	}
	look("new rows")
	err := u.DB.Tx(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("UPDATE heat_resources SET brief = ''")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	look("rows of an earlier version")
	if code, out := u.request("GET", "stacks/s/"+id+"/resources?"+strings.Repeat("name=a&", 2001), nil); code != http.StatusBadRequest || !strings.Contains(text(out), "at most 2000") {
		t.Errorf("2001 names: %d %v", code, out)
	}
}
