package yaql

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

const benchItems = 100_000

// benchData is what a context holds: maps of strings and integers.
func benchData() []any {
	items := make([]any, benchItems)
	for i := range items {
		state := "up"
		if i%3 == 0 {
			state = "down"
		}
		items[i] = MapOf("uuid", "node-"+strconv.Itoa(i), "state", state, "cpus", int64(i%64), "ram", int64(i))
	}
	return items
}

const benchQuery = "$.where($.state = up and $.cpus > 10).select($.ram + 1)"

// BenchmarkWhereSelect is a filter and a projection over 100,000 maps.
func BenchmarkWhereSelect(b *testing.B) {
	items := benchData()
	x, err := New(Options{LimitIterators: benchItems}).Parse(benchQuery)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		v, err := x.Eval(b.Context(), items, nil)
		if err != nil {
			b.Fatal(err)
		}
		if n := len(v.([]any)); n != 55204 {
			b.Fatalf("%d items", n)
		}
	}
}

// BenchmarkWhereSelectByHand is the same work on the same dynamic values as a
// Go loop: type checks, look-ups, a list of any.
func BenchmarkWhereSelectByHand(b *testing.B) {
	items := benchData()
	b.ReportAllocs()
	for b.Loop() {
		out := []any{}
		for _, it := range items {
			m, ok := it.(*Map)
			if !ok {
				b.Fatal("not a map")
			}
			state, ok := m.Get("state")
			if !ok {
				b.Fatal("no state")
			}
			if s, ok := state.(string); !ok || s != "up" {
				continue
			}
			cpus, ok := m.Get("cpus")
			if !ok {
				b.Fatal("no cpus")
			}
			if n, ok := cpus.(int64); !ok || n <= 10 {
				continue
			}
			ram, ok := m.Get("ram")
			if !ok {
				b.Fatal("no ram")
			}
			n, ok := ram.(int64)
			if !ok {
				b.Fatal("ram is no integer")
			}
			out = append(out, n+1)
		}
		if len(out) != 55204 {
			b.Fatalf("%d items", len(out))
		}
	}
}

// BenchmarkWhereSelectPython runs the same query in the real YAQL, where it is
// installed, over a tenth of the items, and reports its time for all of them.
func BenchmarkWhereSelectPython(b *testing.B) {
	out, err := exec.Command("/usr/bin/python3", "testdata/bench.py", benchQuery).Output()
	if err != nil {
		b.Skip("python3-yaql is not installed")
	}
	ms, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() { // the work was done above, once
	}
	b.ReportMetric(10*ms*1e6, "ns/op")
}
