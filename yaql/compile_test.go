package yaql

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCompiledIsWalked: a compiled lambda gives what a walked one gives: value,
// error with its column, steps.
func TestCompiledIsWalked(t *testing.T) {
	items := []any{MapOf("n", int64(3), "s", "a", "f", 1.5, "m", MapOf("k", int64(1)), "l", []any{int64(1)}, "none", nil, "b", true),
		MapOf("n", int64(math.MaxInt64), "s", "b", "f", 0.0, "m", MapOf(), "l", []any{}, "none", int64(0), "b", false),
		map[string]any{"n": int64(math.MinInt64), "s": "", "f": -1.0, "m": nil, "l": "x", "none": "", "b": nil}, int64(7), "text", nil}
	bodies := []string{"$", "$1", "1", "word", "$.n", "$.m.k", "$?.n", "$.m?.k", "$.n?.k", "-$.n", "+$.f", "not $.b", "$.n > 1", "$.n >= 3", "$.n < 1.5", "$.n <= 3", "$.n = 3", "$.n != 3",
		"$.n = true", "$.n + 1", "$.n - 1", "$.n + -1", "$.n - 0", "$.n * 2", "$.n / 2", "$.n mod 2", "$.f + 1", "$.f > 1", "$.s = a", "$.s != a", "$.s > a", "$.s + x", "$.n = a",
		"$.b and $.n > 1", "$.b or $.s", "$.s = a and $.n > 1 or $.f < 0", "1 in $.l", "k in $.m", "$.l + $.l", "$.m + $.m", "$.s =~ a", "$.none > 1", "$.none = null", "$.n + $.none",
		"$.n > $.f", "3 > $.n", "$.missing", "$.n.hour", "$.n / 0", "not ($.n > 1)", "$.b = true"}
	for _, dicts := range []bool{false, true} {
		for _, body := range bodies {
			for i, it := range items {
				var got [2]string
				var steps [2]int
				for way := range got {
					x, err := New(Options{IterableDicts: dicts, compileAtOnce: way == 1}).Parse("list($).select(" + body + ")")
					if err != nil {
						t.Fatal(body, err)
					}
					budget := &Budget{Steps: 1000}
					v, err := x.EvalWithin(t.Context(), []any{it}, nil, budget)
					got[way], steps[way] = fmt.Sprint(asJSON(tagged(v)), err), budget.Steps
				}
				if d := cmp.Diff(got[0], got[1]); d != "" || steps[0] != steps[1] {
					t.Errorf("%s of item %d: %s, steps left %v", body, i, d, steps)
				}
			}
		}
	}
	eng := New(Options{MaxSteps: 5000, compileAtOnce: true})
	if _, err := eng.Eval(t.Context(), "range(10000).where($ > 1 and $ = a).len()", nil, nil); !IsKind(err, ErrLimit) {
		t.Errorf("compiled lambdas take no end of steps: %v", err)
	}
}
