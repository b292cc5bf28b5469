package dsl

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// CheckExpr reports what is wrong with the expressions in a string; nil when
// there is nothing wrong or no expression.
type CheckExpr func(s string) error

// HasExpr says whether a string holds an expression.
func HasExpr(s string) bool {
	return strings.Contains(s, "<%") && strings.Contains(s, "%>") || strings.Contains(s, "{{") && strings.Contains(s, "}}") ||
		strings.Contains(s, "{%") && strings.Contains(s, "%}")
}

// limits of a definition: Mistral's field limit is 1 MiB by default.
var limits = yaml11.Limits{MaxBytes: 4 << 20, MaxDepth: 100, MaxNodes: 500_000} //nolint:gochecknoglobals // constant

type parser struct {
	check  CheckExpr
	errs   Errors
	source string
}

func (p *parser) add(n *yaml11.Node, path, format string, args ...any) {
	pr := Problem{Path: path, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		pr.Line, pr.Column = n.Line, n.Column
	}
	if len(p.errs) < 200 {
		p.errs = append(p.errs, pr)
	}
}

func open(text string, check CheckExpr) (*parser, *yaml11.Node, error) {
	p := &parser{check: check, source: text}
	if p.check == nil {
		p.check = func(string) error { return nil }
	}
	root, _, err := yaml11.Parse("", []byte(text), limits)
	if err != nil {
		var ye *yaml11.Error
		if errors.As(err, &ye) {
			return nil, nil, Errors{{Line: ye.Line, Column: ye.Column, Message: ye.Msg}}
		}
		return nil, nil, Errors{{Message: err.Error()}}
	}
	if root == nil || root.Kind != yaml11.Map {
		return nil, nil, Errors{{Line: 1, Message: "a definition is a map with \"version: '2.0'\""}}
	}
	v := root.Get("version")
	switch {
	case v == nil:
		p.add(root, "", "\"version: '2.0'\" is missing")
	case v.Raw != "2.0" && v.Raw != "2":
		p.add(v, "version", "version %q is not supported, only '2.0'", v.Raw)
	}
	return p, root, nil
}

func (p *parser) done() error {
	if len(p.errs) > 0 {
		return p.errs.sorted()
	}
	return nil
}

// ParseWorkbook reads a workbook.
func ParseWorkbook(text string, check CheckExpr) (*Workbook, error) {
	p, root, err := open(text, check)
	if err != nil {
		return nil, err
	}
	wb := &Workbook{
		Name: p.text(root.Get("name"), "name"), Description: p.text(root.Get("description"), "description"),
		Tags: p.texts(root.Get("tags"), "tags"),
	}
	if root.Get("name") == nil || strings.TrimSpace(wb.Name) == "" {
		p.add(root, "", "a workbook needs a \"name\"")
	}
	p.keys(root, "", "version", "name", "description", "tags", "workflows", "actions")
	for _, pair := range p.members(root.Get("workflows"), "workflows", true) {
		wb.Workflows = append(wb.Workflows, p.workflow(pair, "workflows."))
	}
	for _, pair := range p.members(root.Get("actions"), "actions", true) {
		wb.Actions = append(wb.Actions, p.adhoc(pair, "actions."))
	}
	if err := p.done(); err != nil {
		return nil, err
	}
	return wb, p.cut(wb)
}

// cut gives every workflow and action its own text.
func (p *parser) cut(wb *Workbook) error {
	for _, w := range wb.Workflows {
		w.Text = ownText(w.Name, w.Spec)
	}
	for _, a := range wb.Actions {
		a.Text = ownText(a.Name, a.Spec)
	}
	return nil
}

func ownText(name string, spec any) string {
	b, err := yaml11.Marshal(yaml11.MapOf("version", "2.0", name, spec))
	if err != nil {
		return ""
	}
	return string(b)
}

// ParseWorkflows reads a document of one or more workflows.
func ParseWorkflows(text string, check CheckExpr) ([]*Workflow, error) {
	p, root, err := open(text, check)
	if err != nil {
		return nil, err
	}
	var out []*Workflow
	for _, pair := range root.Pairs {
		if pair.Key != "version" {
			out = append(out, p.workflow(pair, ""))
		}
	}
	if len(out) == 0 {
		p.add(root, "", "no workflow is defined")
	}
	if err := p.done(); err != nil {
		return nil, err
	}
	for _, w := range out {
		w.Text = text
		if len(out) > 1 {
			w.Text = ownText(w.Name, w.Spec)
		}
	}
	return out, nil
}

// ParseActions reads a document of ad-hoc actions.
func ParseActions(text string, check CheckExpr) ([]*AdhocAction, error) {
	p, root, err := open(text, check)
	if err != nil {
		return nil, err
	}
	var out []*AdhocAction
	for _, pair := range root.Pairs {
		if pair.Key != "version" {
			out = append(out, p.adhoc(pair, ""))
		}
	}
	if len(out) == 0 {
		p.add(root, "", "no action is defined")
	}
	if err := p.done(); err != nil {
		return nil, err
	}
	for _, a := range out {
		a.Text = ownText(a.Name, a.Spec)
	}
	return out, nil
}

func (p *parser) members(n *yaml11.Node, path string, optional bool) []yaml11.Pair {
	if n == nil && optional {
		return nil
	}
	if n == nil || n.Kind != yaml11.Map {
		p.add(n, path, "must be a map")
		return nil
	}
	var out []yaml11.Pair
	for _, pair := range n.Pairs {
		if pair.Key != "version" { // Mistral puts one into every section
			out = append(out, pair)
		}
	}
	return out
}

func (p *parser) keys(n *yaml11.Node, path string, known ...string) {
	for _, pair := range n.Pairs {
		ok := false
		for _, k := range known {
			ok = ok || k == pair.Key
		}
		if !ok {
			p.add(pair.KeyNode, path, "unknown key %q (known: %s)", pair.Key, strings.Join(known, ", "))
		}
	}
}

func (p *parser) text(n *yaml11.Node, path string) string {
	if n == nil || n.Kind == yaml11.Null {
		return ""
	}
	if n.Kind == yaml11.Seq || n.Kind == yaml11.Map {
		p.add(n, path, "must be a string, not a %s", n.Kind)
		return ""
	}
	if n.Kind != yaml11.String {
		return n.Raw
	}
	s, _ := n.Value().(string)
	return s
}

func (p *parser) texts(n *yaml11.Node, path string) []string {
	if n == nil || n.Kind == yaml11.Null {
		return nil
	}
	if n.Kind != yaml11.Seq {
		return []string{p.text(n, path)}
	}
	out := make([]string, len(n.Items))
	for i, it := range n.Items {
		out[i] = p.text(it, fmt.Sprintf("%s[%d]", path, i))
	}
	return out
}

// value returns the data of a node, with the expressions in it checked.
func (p *parser) value(n *yaml11.Node, path string) any {
	if n == nil {
		return nil
	}
	p.expressions(n, path)
	return n.Value()
}

func (p *parser) expressions(n *yaml11.Node, path string) {
	switch n.Kind {
	case yaml11.String:
		if s, _ := n.Value().(string); HasExpr(s) {
			if err := p.check(s); err != nil {
				p.add(n, path, "%v", err)
			}
		}
	case yaml11.Seq:
		for i, it := range n.Items {
			p.expressions(it, fmt.Sprintf("%s[%d]", path, i))
		}
	case yaml11.Map:
		for _, pair := range n.Pairs {
			p.expressions(pair.Value, path+"."+pair.Key)
		}
	}
}

func (p *parser) mapping(n *yaml11.Node, path string) *yaml11.OrderedMap {
	if n == nil || n.Kind == yaml11.Null {
		return nil
	}
	if n.Kind != yaml11.Map {
		p.add(n, path, "must be a map, not a %s", n.Kind)
		return nil
	}
	m, _ := p.value(n, path).(*yaml11.OrderedMap)
	return m
}

// namePattern follows Mistral: no white space and nothing that is syntax.
func (p *parser) name(pair yaml11.Pair, what, path string) {
	if strings.TrimSpace(pair.Key) == "" || len(pair.Key) > 255 || strings.ContainsAny(pair.Key, " \t\n\"'<>{}") {
		p.add(pair.KeyNode, path, "%q is not a name for a %s", pair.Key, what)
	}
}

func (p *parser) inputs(n *yaml11.Node, path string) []InputParam {
	if n == nil || n.Kind == yaml11.Null {
		return nil
	}
	if n.Kind != yaml11.Seq {
		p.add(n, path, "must be a list, not a %s", n.Kind)
		return nil
	}
	var out []InputParam
	seen := map[string]bool{}
	for i, it := range n.Items {
		at := fmt.Sprintf("%s[%d]", path, i)
		var in InputParam
		switch {
		case it.Kind == yaml11.Map && len(it.Pairs) == 1:
			in = InputParam{Name: it.Pairs[0].Key, Default: p.value(it.Pairs[0].Value, at)}
		case it.Kind == yaml11.Map, it.Kind == yaml11.Seq:
			p.add(it, at, "must be a name, or one \"name: default\"")
			continue
		default:
			in = InputParam{Name: p.text(it, at), Required: true}
		}
		if seen[in.Name] {
			p.add(it, at, "input %q is declared twice", in.Name)
		}
		seen[in.Name] = true
		out = append(out, in)
	}
	return out
}

func (p *parser) workflow(pair yaml11.Pair, prefix string) *Workflow {
	path, n := prefix+pair.Key, pair.Value
	w := &Workflow{Name: pair.Key, Type: Direct}
	p.name(pair, "workflow", path)
	if n == nil || n.Kind != yaml11.Map {
		p.add(pair.KeyNode, path, "a workflow must be a map")
		return w
	}
	p.keys(n, path, "version", "name", "type", "description", "tags", "input", "vars", "output", "output-on-error", "task-defaults", "tasks")
	w.Spec = n.Value()
	w.Description = p.text(n.Get("description"), path+".description")
	w.Tags = p.texts(n.Get("tags"), path+".tags")
	w.Input = p.inputs(n.Get("input"), path+".input")
	w.Vars = p.mapping(n.Get("vars"), path+".vars")
	w.Output = p.value(n.Get("output"), path+".output")
	w.OutputOnError = p.value(n.Get("output-on-error"), path+".output-on-error")
	if t := n.Get("type"); t != nil {
		w.Type = p.text(t, path+".type")
		if w.Type != Direct && w.Type != Reverse {
			p.add(t, path+".type", "type is %q, must be direct or reverse", w.Type)
		}
	}
	if d := n.Get("task-defaults"); d != nil && d.Kind == yaml11.Map {
		w.Defaults = p.task("task-defaults", d, path+".task-defaults", true)
	} else if d != nil && d.Kind != yaml11.Null {
		p.add(d, path+".task-defaults", "must be a map")
	}
	tasks := n.Get("tasks")
	if tasks == nil || tasks.Kind != yaml11.Map || len(tasks.Pairs) == 0 {
		p.add(n, path, "a workflow needs \"tasks\", a map with at least one task")
		return w
	}
	for _, t := range tasks.Pairs {
		at := path + ".tasks." + t.Key
		if t.Key == "version" {
			continue
		}
		p.name(t, "task", at)
		if IsCommand(t.Key) {
			p.add(t.KeyNode, at, "%q is an engine command, not a name for a task", t.Key)
		}
		if t.Value.Kind == yaml11.Null {
			t.Value = &yaml11.Node{Kind: yaml11.Map, Line: t.KeyNode.Line, Column: t.KeyNode.Column}
		}
		if t.Value.Kind != yaml11.Map {
			p.add(t.Value, at, "a task must be a map, not a %s", t.Value.Kind)
			continue
		}
		w.Tasks = append(w.Tasks, p.task(t.Key, t.Value, at, false))
	}
	w.index()
	p.graph(w, n, path)
	return w
}

// graph checks that transitions lead to tasks and that the workflow starts.
func (p *parser) graph(w *Workflow, n *yaml11.Node, path string) {
	tasks := append([]*Task(nil), w.Tasks...)
	if w.Defaults != nil {
		tasks = append(tasks, w.Defaults)
	}
	for _, t := range tasks {
		tn := n.Get("tasks").Get(t.Name)
		at := path + ".tasks." + t.Name
		if t == w.Defaults {
			tn, at = n.Get("task-defaults"), path+".task-defaults"
		}
		for i, c := range []*Clause{t.OnSuccess, t.OnError, t.OnComplete, t.OnSkip} {
			if c == nil {
				continue
			}
			kind := clauseKinds[i]
			if w.Type == Reverse {
				p.add(tn.Get(kind), at+"."+kind, "a task of a reverse workflow has no %s", kind)
			}
			for _, next := range c.Next {
				if !IsCommand(next.Target) && w.byName[next.Target] == nil {
					p.add(tn.Get(kind), at+"."+kind, "no task %q", next.Target)
				}
			}
		}
		for _, r := range t.Requires {
			if w.byName[r] == nil {
				p.add(tn.Get("requires"), at+".requires", "no task %q", r)
			}
		}
		if t.Join != nil && t.Join.Count == 0 && len(w.inbound[t.Name]) == 0 && t != w.Defaults {
			p.add(tn.Get("join"), at+".join", "join waits for all routes, but none leads here")
		}
		if t.Join != nil && t.Join.Count > len(w.inbound[t.Name]) && t != w.Defaults {
			p.add(tn.Get("join"), at+".join", "join waits for %d routes, but only %d lead here", t.Join.Count, len(w.inbound[t.Name]))
		}
	}
	if w.Type == Direct && len(w.starts) == 0 && len(w.Tasks) > 0 {
		p.add(n.Get("tasks"), path+".tasks", "there is no task to start with: each is the target of another")
	}
}

func (p *parser) adhoc(pair yaml11.Pair, prefix string) *AdhocAction {
	path, n := prefix+pair.Key, pair.Value
	a := &AdhocAction{Name: pair.Key}
	p.name(pair, "action", path)
	if n == nil || n.Kind != yaml11.Map {
		p.add(pair.KeyNode, path, "an action must be a map")
		return a
	}
	p.keys(n, path, "version", "name", "description", "tags", "base", "base-input", "input", "output")
	a.Spec = n.Value()
	a.Description = p.text(n.Get("description"), path+".description")
	a.Tags = p.texts(n.Get("tags"), path+".tags")
	a.Input = p.inputs(n.Get("input"), path+".input")
	a.Output = p.value(n.Get("output"), path+".output")
	base := p.text(n.Get("base"), path+".base")
	if base == "" {
		p.add(n, path, "an action needs a \"base\"")
	}
	name, inline := parseCommand(base)
	a.Base = name
	in := p.mapping(n.Get("base-input"), path+".base-input")
	a.BaseInput = mergeInput(in, inline)
	return a
}

// mergeInput puts inline parameters over those of the input map.
func mergeInput(in, inline *yaml11.OrderedMap) any {
	if inline.Len() == 0 {
		if in == nil {
			return nil
		}
		return in
	}
	out := yaml11.NewMap()
	if in != nil {
		out = in.Clone()
	}
	for k, v := range inline.All() {
		out.Set(k, v)
	}
	return out
}

var (
	commandPattern = regexp.MustCompile(`^[\w.]+[^=(\s"]*`)
	// What Mistral recognises as an inline parameter; anything else silently
	// disappears (inventory 3.3, 1).
	paramPattern = regexp.MustCompile(`([-_\w]+)=("[^"]*"|'[^']*'|<%.*?%>|\{\{.*?\}\}|\[.*\]|true|false|null|\d+)`)
)

// parseCommand splits "std.http url=<% $.x %> timeout=3" into name and
// parameters.
func parseCommand(s string) (string, *yaml11.OrderedMap) {
	name := commandPattern.FindString(s)
	if name == "" {
		return strings.TrimSpace(s), yaml11.NewMap()
	}
	return name, parseParams(s[len(name):])
}

func parseParams(s string) *yaml11.OrderedMap {
	params := yaml11.NewMap()
	for _, m := range paramPattern.FindAllStringSubmatch(s, -1) {
		v := strings.TrimSpace(m[2])
		if v[0] == '"' || v[0] == '\'' {
			params.Set(m[1], v[1:len(v)-1])
			continue
		}
		if data, err := yaml11.DecodeJSON([]byte(v)); err == nil {
			params.Set(m[1], data)
			continue
		}
		params.Set(m[1], v)
	}
	return params
}
