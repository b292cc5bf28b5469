package yaql

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// notOurs are definitions of the original that have no counterpart, with the reason.
func notOurs() map[string]string {
	return map[string]string{
		"f #finalize(obj)":               "part of the original's machinery: the conversion of results, here Options.KeepSets and Expr.Eval",
		"f #indexer(obj, key)":           "for Python objects that were made visible (yaqlization); Go data is plain",
		"f #iter(iterator)":              "part of the original's machinery: LimitIterators",
		"m zip(*collections)":            "the receiver is a parameter of its own",
		"m zipLongest(*collections, **)": "the receiver is a parameter of its own",
		"fm concat(*collections)":        "of the two kinds of concat, each is an overload of its own",
		"f dict(items)":                  "ours takes rules beside the items",
		"m set(dict, key, value)":        "ours takes rules as well",
		"m set(dict, replacements)":      "ours takes rules as well",
	}
}

// operatorExamples hold for every definition that a grammar rule calls an
// expression that needs just this one.
func operatorExamples() map[string]string {
	return map[string]string{
		"#get_context_data(name)":            "$",
		"#indexer(dict, key)":                "$.d[a]",
		"#indexer(dict, key, default)":       "$.d[zz, 5]",
		"#indexer(list, index)":              "$.l[0]",
		"#list(*args)":                       "[1, 2]",
		"#map(*args)":                        "{a => 1}",
		"#operator_!~(string, pattern)":      "a !~ b",
		"#operator_!~(string, regexp)":       "a !~ regex(b)",
		"#operator_*(left, right)":           "2 * 3",
		"#operator_*(n, ts)":                 "2 * timespan(hours => 1)",
		"#operator_*(ts, n)":                 "timespan(hours => 1) * 2",
		"#operator_+(*args)":                 "1 + 2",
		"#operator_+(dt, ts)":                "datetime(2000, 1, 1) + timespan(hours => 1)",
		"#operator_+(left, right)":           "[1] + [2]",
		"#operator_+(ts, dt)":                "timespan(hours => 1) + datetime(2000, 1, 1)",
		"#operator_+(ts1, ts2)":              "timespan(hours => 1) + timespan(hours => 1)",
		"#operator_-(dt, ts)":                "datetime(2000, 1, 1) - timespan(hours => 1)",
		"#operator_-(dt1, dt2)":              "datetime(2000, 1, 2) - datetime(2000, 1, 1)",
		"#operator_-(left, right)":           "2 - 1",
		"#operator_-(ts1, ts2)":              "timespan(hours => 1) - timespan(hours => 1)",
		"#operator_->(left, right)":          "let(a => 1) -> $a",
		"#operator_.(collection, attribute)": "[{a => 1}].a",
		"#operator_.(dict, key)":             "{a => 1}.a",
		"#operator_.(obj, attr)":             "datetime(2000, 1, 1).year",
		"#operator_.(obj, name)":             "timespan(hours => 1).hours",
		"#operator_.(receiver, expr)":        "[1].len()",
		"#operator_/(left, right)":           "4 / 2",
		"#operator_/(ts, n)":                 "timespan(hours => 1) / 2",
		"#operator_/(ts1, ts2)":              "timespan(hours => 1) / timespan(hours => 2)",
		"#operator_<(dt1, dt2)":              "datetime(2000, 1, 1) < datetime(2000, 1, 2)",
		"#operator_<(left, right)":           "1 < 2",
		"#operator_<(ts1, ts2)":              "timespan(hours => 1) < timespan(hours => 2)",
		"#operator_<=(dt1, dt2)":             "datetime(2000, 1, 1) <= datetime(2000, 1, 2)",
		"#operator_<=(left, right)":          "1 <= 2",
		"#operator_<=(ts1, ts2)":             "timespan(hours => 1) <= timespan(hours => 2)",
		"#operator_=~(string, pattern)":      "a =~ b",
		"#operator_=~(string, regexp)":       "a =~ regex(b)",
		"#operator_>(dt1, dt2)":              "datetime(2000, 1, 1) > datetime(2000, 1, 2)",
		"#operator_>(left, right)":           "1 > 2",
		"#operator_>(ts1, ts2)":              "timespan(hours => 1) > timespan(hours => 2)",
		"#operator_>=(dt1, dt2)":             "datetime(2000, 1, 1) >= datetime(2000, 1, 2)",
		"#operator_>=(left, right)":          "1 >= 2",
		"#operator_>=(ts1, ts2)":             "timespan(hours => 1) >= timespan(hours => 2)",
		"#operator_?.(receiver, expr)":       "null?.len()",
		"#operator_and(left, right)":         "true and false",
		"#operator_in(left, right)":          "a in abc",
		"#operator_in(value, collection)":    "1 in [1]",
		"#operator_mod(left, right)":         "5 mod 2",
		"#operator_or(left, right)":          "true or false",
		"#property#date(obj)":                "datetime(2000, 1, 1).date",
		"#property#day(obj)":                 "datetime(2000, 1, 1).day",
		"#property#days(obj)":                "timespan(hours => 30).days",
		"#property#hour(obj)":                "datetime(2000, 1, 1).hour",
		"#property#hours(obj)":               "timespan(hours => 30).hours",
		"#property#microsecond(obj)":         "datetime(2000, 1, 1).microsecond",
		"#property#microseconds(obj)":        "timespan(hours => 30).microseconds",
		"#property#milliseconds(obj)":        "timespan(hours => 30).milliseconds",
		"#property#minute(obj)":              "datetime(2000, 1, 1).minute",
		"#property#minutes(obj)":             "timespan(hours => 30).minutes",
		"#property#month(obj)":               "datetime(2000, 1, 1).month",
		"#property#offset(obj)":              "datetime(2000, 1, 1).offset",
		"#property#second(obj)":              "datetime(2000, 1, 1).second",
		"#property#seconds(obj)":             "timespan(hours => 30).seconds",
		"#property#time(obj)":                "datetime(2000, 1, 1).time",
		"#property#timestamp(obj)":           "datetime(2000, 1, 1).timestamp",
		"#property#utc(obj)":                 "datetime(2000, 1, 1).utc",
		"#property#weekday(obj)":             "datetime(2000, 1, 1).weekday",
		"#property#year(obj)":                "datetime(2000, 1, 1).year",
		"#unary_operator_+(op)":              "+1",
		"#unary_operator_+(ts)":              "+timespan(hours => 1)",
		"#unary_operator_-(op)":              "-1",
		"#unary_operator_-(ts)":              "-timespan(hours => 1)",
		"#unary_operator_not(arg)":           "not true",
		"*equal(left, right)":                "1 = 1",
		"*not_equal(left, right)":            "1 != 2",
	}
}

// signature writes an overload as testdata/registry.py does.
func signature(o *overload) string {
	kind := ""
	if o.isFunc {
		kind = "f"
	}
	if o.isMethod {
		kind += "m"
	}
	var ps []string
	for _, p := range o.params {
		switch {
		case p.variadic:
			ps = append(ps, "*"+p.name)
		case p.optional:
			ps = append(ps, p.name+"=")
		default:
			ps = append(ps, p.name)
		}
	}
	if o.kwargs {
		ps = append(ps, "**")
	}
	if o.rules {
		ps = append(ps, "*args")
	}
	return kind + " " + o.name + "(" + strings.Join(ps, ", ") + ")"
}

// TestLibraryIsComplete compares our library with what the real YAQL registers.
func TestLibraryIsComplete(t *testing.T) {
	raw, err := os.ReadFile("testdata/registry.txt")
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]bool{}
	for _, os := range New(Options{}).lib.funcs {
		for _, o := range os {
			ours[signature(o)] = true
		}
	}
	want := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if len(want) < 250 {
		t.Fatalf("only %d definitions", len(want))
	}
	data := testData(t)
	for _, line := range want {
		_, name, _ := strings.Cut(line, " ")
		if notOurs()[line] != "" {
			continue
		}
		if strings.HasPrefix(name, "#") || strings.HasPrefix(name, "*") {
			src, ok := operatorExamples()[name]
			if !ok {
				t.Errorf("%s: no example", name)
			} else if _, err := New(Options{}).Eval(t.Context(), src, data, nil); err != nil {
				t.Errorf("%s: %s: %v", name, src, err)
			}
			continue
		}
		if !ours[line] {
			t.Errorf("missing: %s", line)
		}
		delete(ours, line)
	}
	var more []string
	for sig := range ours {
		more = append(more, sig)
	}
	slices.Sort(more)
	t.Logf("overloads of ours beyond:\n%s", strings.Join(more, "\n"))
}

// TestCorpusIsComplete wants every function and method of the library in the differential corpus.
func TestCorpusIsComplete(t *testing.T) {
	raw, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Builder{}
	n := 0
	for src := range readExpected(t, raw) {
		all.WriteString(src + "\n")
		n++
	}
	if n < 5000 {
		t.Fatalf("only %d expressions", n)
	}
	text := all.String()
	for name := range New(Options{}).lib.funcs {
		if !strings.Contains(text, name+"(") {
			t.Errorf("the corpus has no %s()", name)
		}
	}
}

// TestRegistryIsReal asks the real YAQL where it is installed.
func TestRegistryIsReal(t *testing.T) {
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import yaql").Run(); err != nil {
		t.Skip("python3-yaql is not installed")
	}
	now, err := exec.Command(python, "testdata/registry.py").Output()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/registry.txt")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(raw), string(now)); d != "" {
		t.Errorf("testdata/registry.txt is stale, run testdata/registry.py (-recorded +real):\n%s", d)
	}
}
