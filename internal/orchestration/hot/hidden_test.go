package hot_test

import (
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// TestHiddenInErrors makes every function fail on the value of a hidden parameter: the value is in no
// message.
func TestHiddenInErrors(t *testing.T) {
	const secret = "s3cr3t-value"
	for _, expr := range []string{
		`{list_join: [",", {get_param: p}]}`, `{list_join: [{get_param: p}, [1]]}`, `{str_split: [",", {get_param: p}, 7]}`, `{str_replace: {template: [{get_param: p}], params: {}}}`,
		`{str_replace_strict: {template: "x", params: {get_param: j}}}`, `{map_merge: [{get_param: p}]}`, `{map_replace: [{get_param: j}, {keys: [{get_param: p}]}]}`,
		`{digest: [{get_param: p}, x]}`, `{get_file: {get_param: p}}`, `{get_resource: {get_param: p}}`, `{get_attr: [{get_param: p}, x]}`, `{get_param: [{get_param: p}]}`,
		`{filter: [{get_param: p}, [a]]}`, `{make_url: {scheme: http, port: {get_param: p}}}`, `{list_concat: [{get_param: p}]}`, `{contains: [1, {get_param: p}]}`,
		`{yaql: {expression: "$.data.nope()", data: {get_param: p}}}`, `{yaql: {expression: {get_param: p}, data: 1}}`, `{repeat: {template: x, for_each: {x: {get_param: p}}}}`,
		`{if: [{get_param: p}, a, b]}`, `{if: [{not: {get_param: p}}, a, b]}`, `{if: [c, a, b]}`, `{resource_facade: metadata, x: {list_join: [",", {get_param: p}]}}`,
	} {
		tm, _, err := hot.Parse("t", []byte("heat_template_version: wallaby\nparameters:\n  p: {type: string, hidden: true}\n  j: {type: json, hidden: true}\nconditions: {c: {get_param: p}}\noutputs: {o: {value: "+expr+"}}\n"))
		if err != nil {
			t.Fatal(expr, err)
		}
		params, err := tm.Values(yaml11.MapOf("p", secret, "j", yaml11.MapOf(secret, secret)), nil, false, false)
		if err != nil {
			t.Fatal(err)
		}
		ev := hot.NewEvaluator(tm, &scope{params: params, attrs: yaml11.NewMap(), yaql: hot.NewYaql()})
		if _, err = ev.Value(tm.Outputs[0].Value); err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v", expr, err)
		}
	}
	tm, _, err := hot.Parse("t", []byte("heat_template_version: wallaby\nparameters: {p: {type: number, hidden: true, constraints: [{range: {max: 5}}]}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{secret, int64(777)} {
		if _, err := tm.Values(yaml11.MapOf("p", v), nil, false, false); err == nil || strings.Contains(err.Error(), "s3cr3t") || strings.Contains(err.Error(), "777") {
			t.Errorf("%v: %v", v, err)
		}
	}
}
