package yaql

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestErrorsNameTheColumn(t *testing.T) {
	tests := []struct {
		reason, src string
		kind        ErrorKind
		column      int
	}{
		{"an unknown function", "1 + foo(2)", ErrName, 5},
		{"an unknown method", "$.l.foo()", ErrName, 5},
		{"a missing key deep inside", "$.d.b.zz + 1", ErrKey, 7},
		{"inside a lambda that runs lazily", "$.l.select($ + a)", ErrArgs, 14},
		{"a stray token", "1 2", ErrSyntax, 3},
		{"columns count characters, not bytes", "'äöü' + 1", ErrArgs, 7},
		{"an unclosed string", "'abc", ErrSyntax, 1},
		{"an unclosed call", "len($.l", ErrSyntax, 8},
	}
	eng := New(Options{})
	for _, tt := range tests {
		_, err := eng.Eval(t.Context(), tt.src, testData(t), nil)
		var e *Error
		if !errors.As(err, &e) || e.Kind != tt.kind || e.Column != tt.column {
			t.Errorf("%s: %s: got %#v, want kind %d at column %d", tt.reason, tt.src, e, tt.kind, tt.column)
		}
	}
}

func TestLimits(t *testing.T) {
	deep := strings.Repeat("[", 500) + strings.Repeat("]", 500)
	tests := []struct {
		reason, src string
		opts        Options
	}{
		{"an endless sequence", "sequence().len()", Options{LimitIterators: 1000}},
		{"an endless result", "sequence()", Options{LimitIterators: 1000}},
		{"a string that doubles", "generate(a, true, $ + $).last()", Options{MemoryQuota: 1 << 20}},
		{"a huge repetition", "'abc' * 9000000000000000000", Options{}},
		{"a huge list repetition", "[1] * 9000000000000000000", Options{}},
		{"a long computation", "sequence().where(false).first()", Options{MaxSteps: 100_000, LimitIterators: 1 << 30}},
		{"endless recursion", "def(f, f($ + 1)) -> f(1)", Options{}},
		{"a long expression", strings.Repeat("1+", 100_000) + "1", Options{}},
		{"a value that doubles by sharing", strings.Repeat("let(a => [$a, $a]) -> ", 60) + "str($a)", Options{}},
		{"a result that doubles by sharing", "range(60).aggregate([$1, $1], 1)", Options{}},
		{"nested queries multiply", "range(900).select(range(900).select(range(900).len()).sum()).sum()", Options{MaxSteps: 1_000_000}},
	}
	for _, tt := range tests {
		_, err := New(tt.opts).Eval(t.Context(), tt.src, nil, nil)
		if !IsKind(err, ErrLimit) {
			t.Errorf("%s: %s: got %v, want a limit error", tt.reason, shorten(tt.src, 60), err)
		}
	}
	if _, err := New(Options{}).Parse(deep); !IsKind(err, ErrSyntax) {
		t.Errorf("deep nesting parses: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(Options{LimitIterators: 1 << 30}).Eval(ctx, "sequence().len()", nil, nil); !IsKind(err, ErrCanceled) {
		t.Errorf("canceled: got %v", err)
	}
}

func TestGoValuesAndFunctions(t *testing.T) {
	type named string
	data := map[string]any{"z": 1, "a": []string{"x", "y"}, "m": map[named]int{"k": 2}, "u": uint8(3), "f": float32(0.5)}
	eng := New(Options{})
	vars := eng.NewContext()
	vars.Set("limit", 7)
	mustRegister(t, vars, Function{Sig: "task(name: str?=null)", Call: func(_ context.Context, a *Args) (any, error) {
		if a.Value(0) == nil {
			return a.Var("limit"), nil
		}
		if a.String(0) == "bad" {
			return nil, errors.New("no such task")
		}
		return map[string]any{"name": a.String(0)}, nil
	}})
	mustRegister(t, vars, Function{Sig: "twice(list: list, f: func)", Method: true, Call: func(_ context.Context, a *Args) (any, error) {
		var out []any
		for _, it := range a.Value(0).([]any) {
			v, err := a.Call(1, it)
			if err != nil {
				return nil, err
			}
			out = append(out, v, v)
		}
		return out, nil
	}})
	tests := []struct {
		reason, src string
		want        any
	}{
		{"ints are int64", "$.z + $.u", int64(4)},
		{"typed slices", "$.a.len() + $.m.k", int64(4)},
		{"float32", "$.f * 2", 1.0},
		{"a Go map iterates in key order", "$.keys().toList()", []any{"a", "f", "m", "u", "z"}},
		{"variables", "$limit + 1", int64(8)},
		{"defaults", "task()", int64(7)},
		{"keyword arguments", "task(name => x).name", "x"},
		{"bare words are strings", "task(foo).name", "foo"},
		{"lists arrive as lists, functions as functions", "$.a.where($ = x).twice($ + '!')", []any{"x!", "x!"}},
	}
	for _, tt := range tests {
		got, err := eng.Eval(t.Context(), tt.src, data, vars)
		if err != nil {
			t.Errorf("%s: %s: %v", tt.reason, tt.src, err)
			continue
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s: (-want +got)\n%s", tt.reason, tt.src, d)
		}
	}
	if _, err := eng.Eval(t.Context(), "task(bad)", data, vars); !IsKind(err, ErrFunction) || !strings.Contains(err.Error(), "no such task") {
		t.Errorf("a function's error is lost: %v", err)
	}
	if _, err := eng.Eval(t.Context(), "task(5)", data, vars); !IsKind(err, ErrArgs) {
		t.Errorf("argument types are not checked: %v", err)
	}
}

func mustRegister(t *testing.T, c *Context, f Function) {
	t.Helper()
	if err := c.Register(f); err != nil {
		t.Fatal(err)
	}
}

func TestJSONKeepsOrder(t *testing.T) {
	const text = `{"z":1,"a":[1.5,2.0,"<&>",null,true],"m":{"y":{},"b":1e+30},"z2":"ü"}`
	v, err := ParseJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out, err := JSON(v)
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != text {
		t.Errorf("got %s\nwant %s", out, text)
	}
	if _, err := ParseJSON([]byte(`{} x`)); err == nil {
		t.Error("text behind the value is accepted")
	}
	if _, err := ParseJSON([]byte(strings.Repeat("[", 10_000))); err == nil {
		t.Error("deep nesting is accepted")
	}
}

func TestMapDelete(t *testing.T) {
	m := NewMap(0)
	for i := range 20 {
		m.Set(i, i*i)
	}
	m.Delete(3)
	m.Delete(99)
	if _, ok := m.Get(3); ok || m.Len() != 19 || m.Value(19) != 361 || m.Value(4.0) != 16 {
		t.Errorf("after delete: %s", pyRepr(m))
	}
}

func FuzzEval(f *testing.F) {
	corpus, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range strings.Split(string(corpus), "\n") {
		f.Add(line)
	}
	eng := New(Options{LimitIterators: 1000, MemoryQuota: 1 << 20, MaxSteps: 100_000, MaxLength: 1000})
	data := testData(f)
	f.Fuzz(func(t *testing.T, src string) {
		x, err := eng.Parse(src)
		if err != nil {
			return
		}
		if v, err := x.Eval(t.Context(), data, nil); err == nil {
			_ = Str(v)
			_, _ = JSON(v)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	eng := New(Options{})
	for b.Loop() {
		if _, err := eng.Parse("$.nodes.where($.get(state, '') = up and not $.n in [1, 2]).select(dict(a => $.uuid))"); err != nil {
			b.Fatal(err)
		}
	}
}

// TestBudget evaluates the same expression until what all evaluations may take together is spent.
func TestBudget(t *testing.T) {
	x, err := New(Options{}).Parse("range(4000).sum()")
	if err != nil {
		t.Fatal(err)
	}
	b := &Budget{Steps: 20_000}
	for range 100 {
		if _, err = x.EvalWithin(t.Context(), nil, nil, b); err != nil {
			break
		}
	}
	var e *Error
	if !errors.As(err, &e) || e.Kind != ErrLimit || b.Steps > 20_000 {
		t.Errorf("error %v, %d steps left", err, b.Steps)
	}
	if _, err := x.Eval(t.Context(), nil, nil); err != nil {
		t.Errorf("without the budget: %v", err)
	}
}
