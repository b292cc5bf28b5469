package engine_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/orchestration/engine"
)

func randomStrings(n int) string {
	var b strings.Builder
	b.WriteString("heat_template_version: queens\nresources:\n")
	for i := range n {
		fmt.Fprintf(&b, "  r%d: {type: OS::Heat::RandomString}\n", i)
	}
	return b.String()
}

func chain(n int) string {
	var b strings.Builder
	b.WriteString("heat_template_version: queens\nresources:\n  r0: {type: OS::Heat::Value, properties: {value: x}}\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "  r%d: {type: OS::Heat::Value, properties: {value: {get_attr: [r%d, value]}}}\n", i, i-1)
	}
	return b.String()
}

func nested(stacks, each int) string {
	return fmt.Sprintf(`heat_template_version: queens
resources:
  group: {type: OS::Heat::ResourceGroup, properties: {count: %d, resource_def: {type: inner.yaml}}}
outputs: {n: {value: {get_attr: [group, out]}}}
-- inner.yaml --
%soutputs: {out: {value: {get_attr: [r0, value]}}}
`, stacks, randomStrings(each))
}

func benchCreate(b *testing.B, text string) {
	for i := range b.N {
		h := newHouse(b)
		st := h.create(fmt.Sprintf("s%d", i), text)
		h.wait(st.ID, "CREATE_COMPLETE")
		h.stop()
	}
}

func BenchmarkRandomString1000(b *testing.B) { benchCreate(b, randomStrings(1000)) }
func BenchmarkChain1000(b *testing.B)        { benchCreate(b, chain(1000)) }
func BenchmarkNested200x50(b *testing.B)     { benchCreate(b, nested(200, 50)) }

// The cost of a resource is the same in stacks of any size.
func BenchmarkLinear1k(b *testing.B)  { benchEach(b, nested(20, 50), 1_000) }
func BenchmarkLinear10k(b *testing.B) { benchEach(b, nested(200, 50), 10_000) }
func BenchmarkLinear50k(b *testing.B) { benchEach(b, nested(1000, 50), 50_000) }

// benchEach reports the time of creation a resource, and the most memory the program ever held.
func benchEach(b *testing.B, text string, n int) {
	benchCreate(b, text)
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "µs/resource")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MB-sys")
}

// BenchmarkNoopUpdate200x50 is an update that changes nothing.
func BenchmarkNoopUpdate200x50(b *testing.B) {
	h := newHouse(b)
	text := nested(200, 50)
	st := h.create("s", text)
	h.wait(st.ID, "CREATE_COMPLETE")
	b.ResetTimer()
	for range b.N {
		if _, err := h.e.UpdateStack(context.Background(), st.ID, source(b, text), engine.Options{}); err != nil {
			b.Fatal(err)
		}
		h.wait(st.ID, "UPDATE_COMPLETE")
	}
}
