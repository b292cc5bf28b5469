package engine

import (
	"testing"

	"github.com/tripleo/tripleo/yaql"
)

const loads = `
version: '2.0'
chain:
  input: [n]
  tasks:
    init: {publish: {i: 0}, on-success: inc}
    inc: {action: std.noop, publish: {i: <% $.i + 1 %>}, on-success: [{inc: "<% $.i < $.n %>"}]}
fan:
  input: [n]
  tasks:
    f: {with-items: "i in <% range($.n) %>", action: std.echo output=<% $.i %>}
five:
  tasks: {a: {on-success: b}, b: {on-success: c}, c: {on-success: d}, d: {on-success: e}, e: {}}
`

// BenchmarkSequential runs chains of std.noop tasks.
func BenchmarkSequential(b *testing.B) {
	r := newRig(b)
	r.define(loads)
	const n = 10_000
	for b.Loop() {
		if x := r.end(r.begin("chain", yaql.MapOf("n", n), nil)); x.State != Success {
			b.Fatal(x.Info)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkItems runs one task over many items.
func BenchmarkItems(b *testing.B) {
	r := newRig(b)
	r.define(loads)
	for b.Loop() {
		if x := r.end(r.begin("fan", yaql.MapOf("n", 10_000), nil)); x.State != Success {
			b.Fatal(x.Info)
		}
	}
}

// BenchmarkConcurrent runs many small executions at once.
func BenchmarkConcurrent(b *testing.B) {
	r := newRig(b)
	r.define(loads)
	for b.Loop() {
		ids := make([]string, 1000)
		for i := range ids {
			ids[i] = r.begin("five", nil, nil)
		}
		for _, id := range ids {
			r.end(id)
		}
	}
	b.ReportMetric(float64(1000*b.N)/b.Elapsed().Seconds(), "executions/s")
}
