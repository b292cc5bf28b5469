package dsl

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

var taskKeys = []string{"version", "name", "type", "description", "tags", "action", "workflow", "input", "with-items", //nolint:gochecknoglobals // constant
	"publish", "publish-on-error", "publish-on-skip", "on-success", "on-error", "on-complete", "on-skip", "join", "requires", "retry", "timeout",
	"wait-before", "wait-after", "pause-before", "concurrency", "fail-on", "target", "keep-result", "safe-rerun"}

var defaultKeys = []string{"on-success", "on-error", "on-complete", "on-skip", "requires", "retry", "timeout", "wait-before", //nolint:gochecknoglobals // constant
	"wait-after", "pause-before", "concurrency", "fail-on", "safe-rerun", "version", "policies"}

func (p *parser) task(name string, n *yaml11.Node, path string, defaults bool) *Task {
	t := &Task{Name: name, Line: n.Line, Spec: n.Value()}
	if defaults {
		p.keys(n, path, defaultKeys...)
	} else {
		p.keys(n, path, taskKeys...)
	}
	t.Description = p.text(n.Get("description"), path+".description")
	t.Tags = p.texts(n.Get("tags"), path+".tags")
	t.Target = p.text(n.Get("target"), path+".target")
	p.callee(t, n, path)
	t.With = p.withItems(n.Get("with-items"), path+".with-items")
	t.Publish = p.publish(n.Get("publish"), path+".publish")
	t.PublishOnError = p.publish(n.Get("publish-on-error"), path+".publish-on-error")
	t.PublishOnSkip = p.publish(n.Get("publish-on-skip"), path+".publish-on-skip")
	t.OnSuccess = p.clause(n.Get("on-success"), path+".on-success")
	t.OnError = p.clause(n.Get("on-error"), path+".on-error")
	t.OnComplete = p.clause(n.Get("on-complete"), path+".on-complete")
	t.OnSkip = p.clause(n.Get("on-skip"), path+".on-skip")
	t.Requires = p.texts(n.Get("requires"), path+".requires")
	t.KeepResult = p.boolean(n.Get("keep-result"), path+".keep-result")
	t.SafeRerun = p.boolean(n.Get("safe-rerun"), path+".safe-rerun")
	p.join(t, n.Get("join"), path+".join")
	p.policies(t, n, path)
	return t
}

func (p *parser) callee(t *Task, n *yaml11.Node, path string) {
	action, workflow := n.Get("action"), n.Get("workflow")
	if action != nil && workflow != nil {
		p.add(workflow, path, "a task has an \"action\" or a \"workflow\", not both")
	}
	inline := yaml11.NewMap()
	read := func(n *yaml11.Node, key string) string {
		if n == nil {
			return ""
		}
		s := p.text(n, path+"."+key)
		if strings.TrimSpace(s) == "" {
			p.add(n, path+"."+key, "is empty")
		}
		p.expressions(n, path+"."+key)
		var name string
		name, inline = parseCommand(s)
		return name
	}
	t.Action, t.Workflow = read(action, "action"), read(workflow, "workflow")
	in := n.Get("input")
	switch {
	case in == nil || in.Kind == yaml11.Null:
		t.Input = mergeInput(nil, inline)
	case in.Kind == yaml11.Map:
		t.Input = mergeInput(p.mapping(in, path+".input"), inline)
	case in.Kind == yaml11.String && HasExpr(in.Raw):
		t.Input = p.value(in, path+".input")
	default:
		p.add(in, path+".input", "must be a map or an expression, not a %s", in.Kind)
	}
}

var withItemsPattern = regexp.MustCompile(`(?s)^\s*([\w-]+)\s+in\s+(.+?)\s*$`)

func (p *parser) withItems(n *yaml11.Node, path string) []Iterator {
	if n == nil || n.Kind == yaml11.Null {
		return nil
	}
	var out []Iterator
	for i, s := range p.texts(n, path) {
		at := path
		if n.Kind == yaml11.Seq {
			at = fmt.Sprintf("%s[%d]", path, i)
		}
		m := withItemsPattern.FindStringSubmatch(s)
		if m == nil {
			p.add(n, at, "must be \"name in <%% list %%>\", not %q", s)
			continue
		}
		it := Iterator{Name: m[1], List: m[2]}
		if HasExpr(m[2]) {
			if err := p.check(m[2]); err != nil {
				p.add(n, at, "%v", err)
			}
		} else if list, _, err := yaml11.Parse("", []byte(m[2]), limits); err == nil && list.Kind == yaml11.Seq {
			it.List = list.Value()
		} else {
			p.add(n, at, "%q is neither an expression nor a list", m[2])
		}
		out = append(out, it)
	}
	return out
}

func (p *parser) publish(n *yaml11.Node, path string) *Publish {
	if n == nil || n.Kind == yaml11.Null {
		return nil
	}
	if n.Kind == yaml11.String && HasExpr(n.Raw) {
		s, _ := p.value(n, path).(string)
		return &Publish{Whole: s}
	}
	return &Publish{Branch: p.mapping(n, path)}
}

func (p *parser) scoped(n *yaml11.Node, path string) *Publish {
	if n == nil || n.Kind == yaml11.Null {
		return nil
	}
	if n.Kind != yaml11.Map {
		p.add(n, path, "must be a map with branch, global or atomic")
		return nil
	}
	p.keys(n, path, "branch", "global", "atomic")
	return &Publish{
		Branch: p.mapping(n.Get("branch"), path+".branch"),
		Global: p.mapping(n.Get("global"), path+".global"),
		Atomic: p.mapping(n.Get("atomic"), path+".atomic"),
	}
}

// clause reads "a", ["a", {"b": cond}], {"a": cond} or {publish, next}.
func (p *parser) clause(n *yaml11.Node, path string) *Clause {
	if n == nil || n.Kind == yaml11.Null {
		return nil
	}
	c := &Clause{}
	if n.Kind == yaml11.Map && (n.Get("next") != nil || n.Get("publish") != nil) {
		p.keys(n, path, "publish", "next")
		c.Publish = p.scoped(n.Get("publish"), path+".publish")
		if next := n.Get("next"); next != nil {
			c.Next = p.transitions(next, path+".next")
		}
		return c
	}
	c.Next = p.transitions(n, path)
	return c
}

func (p *parser) transitions(n *yaml11.Node, path string) []Transition {
	switch n.Kind {
	case yaml11.Null:
		return nil
	case yaml11.Seq:
		var out []Transition
		for i, it := range n.Items {
			at := fmt.Sprintf("%s[%d]", path, i)
			if it.Kind == yaml11.Seq {
				p.add(it, at, "must be a task name, or \"task: <%% condition %%>\"")
				continue
			}
			out = append(out, p.transitions(it, at)...)
		}
		return out
	case yaml11.Map:
		var out []Transition
		for _, pair := range n.Pairs {
			t := p.target(pair.Key)
			if pair.Value.Kind == yaml11.Bool {
				if v, _ := pair.Value.Value().(bool); !v {
					continue // never
				}
			} else {
				t.Condition = p.text(pair.Value, path+"."+pair.Key)
				if !HasExpr(t.Condition) {
					p.add(pair.Value, path+"."+pair.Key, "the condition %q is not an expression", t.Condition)
				}
				p.expressions(pair.Value, path+"."+pair.Key)
			}
			out = append(out, t)
		}
		return out
	}
	s := p.text(n, path)
	t := p.target(s)
	for _, v := range t.Params.All() {
		if s, ok := v.(string); ok && HasExpr(s) {
			if err := p.check(s); err != nil {
				p.add(n, path, "%v", err)
			}
		}
	}
	return []Transition{t}
}

// target reads `name`, `fail(msg="...")` and `fail msg="..."`.
func (p *parser) target(s string) Transition {
	name, params := parseCommand(strings.TrimSpace(s))
	if !IsCommand(name) {
		return Transition{Target: strings.TrimSpace(s)}
	}
	return Transition{Target: name, Params: params}
}

func (p *parser) boolean(n *yaml11.Node, path string) any {
	if n == nil || n.Kind == yaml11.Null {
		return nil
	}
	if n.Kind != yaml11.Bool && !(n.Kind == yaml11.String && HasExpr(n.Raw)) {
		p.add(n, path, "must be true, false or an expression, not %q", n.Raw)
		return nil
	}
	return p.value(n, path)
}

func (p *parser) join(t *Task, n *yaml11.Node, path string) {
	if n == nil || n.Kind == yaml11.Null {
		return
	}
	switch v := n.Value().(type) {
	case int64:
		if v < 0 {
			p.add(n, path, "join counts routes, %d is negative", v)
		}
		t.Join = &Join{Count: int(v)}
	case string:
		switch v {
		case "all":
			t.Join = &Join{}
		case "one":
			t.Join = &Join{Count: 1}
		default:
			p.add(n, path, "join is %q, must be all, one or a number", v)
		}
	default:
		p.add(n, path, "join must be all, one or a number")
	}
}

func (p *parser) policies(t *Task, n *yaml11.Node, path string) {
	if inner := n.Get("policies"); inner != nil && inner.Kind == yaml11.Map {
		n = inner
	}
	number := func(key string) any {
		v := n.Get(key)
		if v == nil || v.Kind == yaml11.Null {
			return nil
		}
		if v.Kind != yaml11.Int && !(v.Kind == yaml11.String && HasExpr(v.Raw)) {
			p.add(v, path+"."+key, "must be a whole number or an expression, not %q", v.Raw)
			return nil
		}
		if i, ok := v.Value().(int64); ok && i < 0 {
			p.add(v, path+"."+key, "must not be negative")
		}
		return p.value(v, path+"."+key)
	}
	t.Policies = Policies{
		WaitBefore: number("wait-before"), WaitAfter: number("wait-after"), Timeout: number("timeout"),
		Concurrency: number("concurrency"), PauseBefore: p.boolean(n.Get("pause-before"), path+".pause-before"),
		FailOn: p.boolean(n.Get("fail-on"), path+".fail-on"),
	}
	t.Policies.Retry = p.retry(n.Get("retry"), path+".retry")
}

func (p *parser) retry(n *yaml11.Node, path string) *Retry {
	if n == nil || n.Kind == yaml11.Null {
		return nil
	}
	var m *yaml11.OrderedMap
	switch n.Kind {
	case yaml11.Map:
		p.keys(n, path, "count", "delay", "break-on", "continue-on")
		m = p.mapping(n, path)
	case yaml11.String:
		p.expressions(n, path)
		m = parseParams(p.text(n, path))
	default:
		p.add(n, path, "must be a map or \"count=N delay=S\"")
		return nil
	}
	get := func(k string) any { v, _ := m.Get(k); return v }
	r := &Retry{Count: get("count"), Delay: get("delay"), BreakOn: get("break-on"), Continue: get("continue-on")}
	if r.Count == nil {
		p.add(n, path, "retry needs a \"count\"")
	}
	for i, v := range []any{r.Count, r.Delay} {
		key := []string{"count", "delay"}[i]
		s, isText := v.(string)
		if _, ok := v.(int64); v != nil && !ok && !(isText && HasExpr(s)) {
			p.add(n, path+"."+key, "must be a whole number or an expression, not %v", v)
		}
	}
	return r
}
