package hot

import (
	"errors"
	"fmt"
	"slices"
)

// function is one intrinsic function. Either eval gets the computed argument, none of it Unknown, or lazy
// computes what it needs itself.
type function struct {
	name  string
	check func(arg *Expr) *Error // static shape, may be nil
	eval  func(ev *Evaluator, arg any) (any, error)
	lazy  func(ev *Evaluator, e *Expr) (any, error)
	cond  bool // may stand in the conditions section
}

// versions lists heat_template_version values with the release name each stands for, oldest first.
// Source: heat/engine/hot/template.py.
func versions() []struct{ Date, Release string } {
	return []struct{ Date, Release string }{
		{"2013-05-23", ""}, {"2014-10-16", ""}, {"2015-04-30", ""}, {"2015-10-15", ""}, {"2016-04-08", ""},
		{"2016-10-14", "newton"}, {"2017-02-24", "ocata"}, {"2017-09-01", "pike"}, {"2018-03-02", "queens"},
		{"2018-08-31", "rocky"}, {"2021-04-16", "wallaby"},
	}
}

// VersionNames returns every accepted heat_template_version.
func VersionNames() []string {
	var out []string
	for _, v := range versions() {
		out = append(out, v.Date)
		if v.Release != "" {
			out = append(out, v.Release)
		}
	}
	return out
}

// versionDate returns the date of a version given by date or release name, "" if there is none.
func versionDate(name string) string {
	for _, v := range versions() {
		if v.Date == name || v.Release != "" && v.Release == name {
			return v.Date
		}
	}
	return ""
}

// functionRow says in which versions a function exists: since inclusive, until exclusive.
type functionRow struct {
	fn           function
	since, until string
}

// functionTable is the contents page of the language. Source of the versions: heat/engine/hot/template.py.
func functionTable() []functionRow {
	const y13, y14, y15, y15b, y16 = "2013-05-23", "2014-10-16", "2015-04-30", "2015-10-15", "2016-04-08"
	const newton, ocata, pike = "2016-10-14", "2017-02-24", "2017-09-01"
	return []functionRow{
		{function{name: "get_param", check: checkNameOrPath, lazy: evalGetParam, cond: true}, y13, ""},
		{function{name: "get_resource", check: checkName, lazy: evalGetResource}, y13, ""},
		{function{name: "get_attr", check: checkGetAttr, lazy: evalGetAttr}, y13, ""},
		{function{name: "get_file", eval: evalGetFile}, y13, ""},
		{function{name: "str_replace", check: checkKeys("template", "params"), eval: evalStrReplace(false, true)}, y13, ""},
		{function{name: "list_join", check: checkList(2), eval: evalListJoin}, y13, ""},
		{function{name: "resource_facade", check: checkName, eval: evalFacade}, y13, ""},
		{function{name: "repeat", check: checkKeys("template", "for_each", "?permutations"), lazy: evalRepeat}, y15, ""},
		{function{name: "digest", check: checkList(2), eval: evalDigest}, y15, ""},
		{function{name: "str_split", check: checkList(2), eval: evalStrSplit}, y15b, ""},
		{function{name: "map_merge", eval: evalMapMerge}, y16, ""},
		{function{name: "yaql", check: checkKeys("expression", "data"), lazy: evalYaql, cond: true}, newton, ""},
		{function{name: "map_replace", check: checkList(2), eval: evalMapReplace}, newton, ""},
		{function{name: "if", check: checkList(2), lazy: evalIf}, newton, ""},
		{function{name: "equals", check: checkList(2), eval: evalEquals, cond: true}, newton, ""},
		{function{name: "not", lazy: evalNot, cond: true}, newton, ""},
		{function{name: "and", check: checkList(2), lazy: evalAndOr(false), cond: true}, newton, ""},
		{function{name: "or", check: checkList(2), lazy: evalAndOr(true), cond: true}, newton, ""},
		{function{name: "filter", check: checkList(2), eval: evalFilter}, ocata, ""},
		{function{name: "str_replace_strict", check: checkKeys("template", "params"), eval: evalStrReplace(true, true)}, ocata, ""},
		{function{name: "str_replace_vstrict", check: checkKeys("template", "params"), eval: evalStrReplace(true, false)}, pike, ""},
		{function{name: "make_url", eval: evalMakeURL}, pike, ""},
		{function{name: "list_concat", eval: evalListConcat(false)}, pike, ""},
		{function{name: "list_concat_unique", eval: evalListConcat(true)}, pike, ""},
		{function{name: "contains", check: checkList(2), eval: evalContains, cond: true}, pike, ""},
		{function{name: "Fn::Select", check: checkList(2), eval: evalSelect}, y13, y15},
		{function{name: "Fn::Join", check: checkList(2), eval: evalListJoin}, y13, y15},
		{function{name: "Fn::Split", check: checkList(2), eval: evalStrSplit}, y13, y15},
		{function{name: "Fn::Base64", eval: func(_ *Evaluator, v any) (any, error) { return v, nil }}, y13, y15},
	}
}

// functionsOf returns the functions of a version by name.
func functionsOf(date string) map[string]*function {
	out := map[string]*function{}
	for _, row := range functionTable() {
		if row.since <= date && (row.until == "" || date < row.until) {
			out[row.fn.name] = &row.fn
		}
	}
	return out
}

// FunctionNames returns the functions of a version (by date or release), sorted; condition functions only
// where conditions is true.
func FunctionNames(version string, conditions bool) []string {
	var out []string
	for name, f := range functionsOf(versionDate(version)) {
		if !conditions || f.cond {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func checkName(arg *Expr) *Error {
	if arg.kind == exprList || arg.kind == exprMap || arg.kind == exprLit && !isString(arg.lit) {
		return arg.errorf("expected a name, got %s", kindOfExpr(arg))
	}
	return nil
}

func checkNameOrPath(arg *Expr) *Error {
	if arg.kind == exprList {
		if len(arg.subs) == 0 {
			return arg.errorf("expected a name or a list of a name and a path, got an empty list")
		}
		return nil
	}
	return checkName(arg)
}

func checkGetAttr(arg *Expr) *Error {
	if arg.kind == exprCall {
		return nil
	}
	if arg.kind != exprList || len(arg.subs) == 0 {
		return arg.errorf("expected [resource, attribute, (path ...)], got %s", kindOfExpr(arg))
	}
	return nil
}

// checkList wants at least n items where the argument is a literal list, and no other literal.
func checkList(n int) func(*Expr) *Error {
	return func(arg *Expr) *Error {
		if arg.kind == exprCall {
			return nil
		}
		if arg.kind != exprList {
			return arg.errorf("expected a list of %d arguments, got %s", n, kindOfExpr(arg))
		}
		if len(arg.subs) < n {
			return arg.errorf("expected at least %d arguments, got %d", n, len(arg.subs))
		}
		return nil
	}
}

// checkKeys wants exactly these keys in a literal map; a key that begins with ? may be left out.
func checkKeys(keys ...string) func(*Expr) *Error {
	return func(arg *Expr) *Error {
		if arg.kind == exprCall {
			return nil
		}
		if arg.kind != exprMap {
			return arg.errorf("expected a map with %s, got %s", keys, kindOfExpr(arg))
		}
		for _, k := range keys {
			if k[0] != '?' && arg.Field(k) == nil {
				return arg.errorf("%q is missing", k)
			}
		}
		for i, k := range arg.keys {
			if !slices.Contains(keys, k) && !slices.Contains(keys, "?"+k) {
				return arg.subs[i].errorf("unknown key %q%s", k, DidYouMean(k, keys))
			}
		}
		return nil
	}
}

func isString(v any) bool { _, ok := v.(string); return ok }

func kindOfExpr(e *Expr) string {
	switch e.kind {
	case exprList:
		return "a list"
	case exprMap:
		return "a map"
	case exprCall:
		return "a call of " + e.fn.name
	}
	return KindOf(e.lit) + " " + Show(e.lit)
}

// nameAndPath computes an argument that is a name or a list of a name and path steps.
func nameAndPath(ev *Evaluator, arg *Expr) (name string, path []any, unknown bool, err error) {
	v, err := ev.value(arg)
	if err != nil {
		return "", nil, false, err
	}
	if HasUnknown(v) {
		return "", nil, true, nil
	}
	if l, ok := v.([]any); ok {
		if len(l) == 0 {
			return "", nil, false, errors.New("the list is empty")
		}
		v, path = l[0], l[1:]
	}
	name, ok := v.(string)
	if !ok {
		return "", nil, false, fmt.Errorf("expected a name, got %s %s", KindOf(v), Show(v))
	}
	return name, path, false, nil
}

// evalGetParam: a path that leads nowhere gives "" (heat/engine/hot/functions.py, GetParam).
func evalGetParam(ev *Evaluator, e *Expr) (any, error) {
	name, path, unknown, err := nameAndPath(ev, e.arg)
	if err != nil || unknown {
		return Unknown{}, err
	}
	v, ok := ev.S.Param(name)
	if !ok {
		return nil, fmt.Errorf("parameter %q is not defined%s", name, DidYouMean(name, ev.T.ParameterNames()))
	}
	if len(path) == 0 {
		return v, nil
	}
	if r, ok := dig(v, path); ok {
		return r, nil
	}
	return "", nil
}

func evalGetResource(ev *Evaluator, e *Expr) (any, error) {
	name, _, unknown, err := nameAndPath(ev, e.arg)
	if err != nil || unknown {
		return Unknown{}, err
	}
	if ev.T.Resource(name) == nil {
		return nil, fmt.Errorf("resource %q is not defined%s", name, DidYouMean(name, ev.T.ResourceNames()))
	}
	return ev.S.Resource(name)
}

// attrArgs computes the arguments of get_attr. attr is "" when only the resource is named.
func attrArgs(ev *Evaluator, e *Expr) (res, attr string, path []any, unknown bool, err error) {
	res, rest, unknown, err := nameAndPath(ev, e.arg)
	if err != nil || unknown {
		return "", "", nil, unknown, err
	}
	if ev.T.Resource(res) == nil {
		return "", "", nil, false, fmt.Errorf("resource %q is not defined%s", res, DidYouMean(res, ev.T.ResourceNames()))
	}
	if len(rest) == 0 {
		return res, "", nil, false, nil
	}
	attr, ok := rest[0].(string)
	if !ok {
		attr = PyStr(rest[0])
	}
	return res, attr, rest[1:], false, nil
}

func evalGetAttr(ev *Evaluator, e *Expr) (any, error) {
	res, attr, path, unknown, err := attrArgs(ev, e)
	if err != nil || unknown {
		return Unknown{}, err
	}
	return ev.S.Attr(res, attr, path)
}

func evalGetFile(ev *Evaluator, arg any) (any, error) {
	name, ok := arg.(string)
	if !ok {
		return nil, fmt.Errorf("expected the name of a file, got %s", KindOf(arg))
	}
	content, ok := ev.S.File(name)
	if !ok {
		return nil, fmt.Errorf("no content found in the \"files\" section for %s", name)
	}
	return content, nil
}

func evalFacade(ev *Evaluator, arg any) (any, error) {
	switch arg {
	case "metadata", "deletion_policy", "update_policy":
		return ev.S.Facade(arg.(string))
	}
	return nil, fmt.Errorf("expected metadata, deletion_policy or update_policy, got %s", Show(arg))
}

func evalYaql(ev *Evaluator, e *Expr) (any, error) {
	arg, err := ev.value(e.arg)
	if err != nil {
		return nil, err
	}
	if HasUnknown(arg) {
		return Unknown{}, nil
	}
	m, ok := arg.(*Map)
	if !ok {
		return nil, fmt.Errorf("expected a map with expression and data, got %s", KindOf(arg))
	}
	x, _ := m.Get("expression")
	text, ok := x.(string)
	if !ok {
		return nil, fmt.Errorf("expression must be a string, got %s", KindOf(x))
	}
	data, _ := m.Get("data")
	v, err := ev.S.Yaql(text, data)
	if err != nil {
		return nil, fmt.Errorf("%w in expression %q", err, text)
	}
	return v, nil
}

// Aliases returns the release names of a version given by date.
func Aliases(date string) []string {
	out := []string{}
	for _, v := range versions() {
		if v.Date == date && v.Release != "" {
			out = append(out, "heat_template_version."+v.Release)
		}
	}
	return out
}

// FunctionDoc describes a function in one sentence.
func FunctionDoc(name string) string {
	return map[string]string{
		"get_param": "The value of a parameter.", "get_resource": "The id of a resource.", "get_attr": "An attribute of a resource.", "get_file": "The content of a file.",
		"str_replace": "Text with placeholders replaced.", "str_replace_strict": "str_replace that wants every placeholder used.",
		"str_replace_vstrict": "str_replace_strict that refuses empty values.", "list_join": "Lists joined into text.", "resource_facade": "A property of the resource this stack stands for.",
		"repeat": "A template repeated for each value.", "digest": "A hash of a text.", "str_split": "Text split at a delimiter.", "map_merge": "Maps merged, the last wins.",
		"yaql": "A YAQL expression over data.", "map_replace": "A map with keys and values replaced.", "if": "One of two values, by a condition.", "equals": "Whether two values are equal.",
		"not": "The opposite of a condition.", "and": "Whether all conditions hold.", "or": "Whether one condition holds.", "filter": "A list without certain values.",
		"make_url": "A URL from its parts.", "list_concat": "Lists one after the other.", "list_concat_unique": "Lists one after the other, each value once.",
		"contains": "Whether a value is in a list.", "Fn::Select": "One item of a list or map.", "Fn::Join": "A list joined into text.", "Fn::Split": "Text split at a delimiter.",
		"Fn::Base64": "The text itself.",
	}[name]
}
