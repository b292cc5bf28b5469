package yaql

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOptions holds what the real YAQL 2.0.0 answers with the same options.
func TestOptions(t *testing.T) {
	iterable, delegates := Options{IterableDicts: true}, Options{AllowDelegates: true}
	arrow, colon, none := Options{KeywordOperator: "->"}, Options{KeywordOperator: ":"}, Options{KeywordOperator: NoKeywords}
	tests := []struct {
		reason string
		opts   Options
		src    string
		want   any
		kind   ErrorKind
	}{
		{"a dict is its keys", iterable, "{a=>1,b=>2}.select($)", []any{"a", "b"}, 0},
		{"but keeps its own methods", iterable, "{a=>1}.len() + {a=>1}.get(a)", int64(2), 0},
		{"is itself as an argument of any type", iterable, "list({a=>1})[0].a", int64(1), 0},
		{"is no iterable to isIterable", iterable, "isIterable({a=>1})", false, 0},
		{"is contained in", iterable, "a in {a=>1}", true, 0},
		{"adds to a list", iterable, "{a=>1}+[1]", []any{"a", int64(1)}, 0},
		{"and to a dict", iterable, "({a=>1}+{b=>2}).len()", int64(2), 0},
		{"stays whole inside of a list", iterable, "[{a=>1}].flatten().len()", int64(1), 0},
		{"not so by default", Options{}, "{a=>1}.select($)", nil, ErrArgs},
		{"nor in", Options{}, "a in {a=>1}", nil, ErrArgs},
		{"a value that is a function", delegates, "let(f => lambda($ + 1)) -> $f(2)", int64(3), 0},
		{"called at once", delegates, "lambda($+1)(3)", int64(4), 0},
		{"with a keyword", delegates, "lambda($x+1)(x => 3)", int64(4), 0},
		{"a number is no function", delegates, "(1)(2)", nil, ErrArgs},
		{"functions stay what they are", delegates, "len(a)", int64(1), 0},
		{"no grammar for it by default", Options{}, "lambda($+1)(3)", nil, ErrSyntax},
		{"and no lambda()", Options{}, "lambda($)", nil, ErrName},
		{"another keyword operator", arrow, "dict(a -> 1).a", int64(1), 0},
		{"of one letter", colon, "{a : 1}.a", int64(1), 0},
		{"instead of the usual", colon, "{a => 1}", nil, ErrSyntax},
		{"none at all", none, "dict(a => 1)", nil, ErrSyntax},
		{"which does not matter to calls", none, "[1].select($)", []any{int64(1)}, 0},
	}
	for _, tt := range tests {
		got, err := New(tt.opts).Eval(t.Context(), tt.src, nil, nil)
		if tt.kind != 0 && !IsKind(err, tt.kind) || tt.kind == 0 && err != nil {
			t.Errorf("%s: %s: got %v, %v", tt.reason, tt.src, got, err)
			continue
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s: (-want +got)\n%s", tt.reason, tt.src, d)
		}
	}
}
