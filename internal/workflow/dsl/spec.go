// Package dsl is Mistral's workflow language, version 2: workbooks, workflows,
// tasks, ad-hoc actions. It is pure: text in, a checked specification out, or
// all the errors of the text, each with path, line and column.
package dsl

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// Kinds of workflows.
const (
	Direct  = "direct"
	Reverse = "reverse"
)

// Workbook is a named bundle of workflows and ad-hoc actions.
type Workbook struct {
	Name, Description string
	Tags              []string
	Workflows         []*Workflow
	Actions           []*AdhocAction
}

// Workflow is a workflow definition.
type Workflow struct {
	Name, Description string // Name is without the workbook's prefix
	Type              string // Direct or Reverse
	Tags              []string
	Input             []InputParam
	Vars              *yaml11.OrderedMap
	Output            any // nil: none declared
	OutputOnError     any
	Defaults          *Task // task-defaults, nil without
	Tasks             []*Task
	Text              string // YAML of this workflow alone, with version
	Spec              any    // as Mistral shows it: the definition as data

	byName  map[string]*Task
	inbound map[string][]*Task
	starts  []*Task
}

// InputParam is a declared input.
type InputParam struct {
	Name     string
	Default  any
	Required bool
}

// AdhocAction is an action made of another one.
type AdhocAction struct {
	Name, Description, Base string
	Tags                    []string
	Input                   []InputParam
	BaseInput               any
	Output                  any
	Text                    string
	Spec                    any
}

// Task is a task of a workflow. Values may hold expressions.
type Task struct {
	Name, Description string
	Tags              []string
	Action, Workflow  string // name or expression; both empty: std.noop
	Input             any    // map with expressions, or an expression; nil
	With              []Iterator
	Publish           *Publish
	PublishOnError    *Publish
	PublishOnSkip     *Publish
	OnSuccess         *Clause
	OnError           *Clause
	OnComplete        *Clause
	OnSkip            *Clause
	Join              *Join
	Requires          []string
	Policies          Policies
	Target            string
	KeepResult        any // bool or expression; nil is true
	SafeRerun         any // nil is false
	Spec              any
	Line              int
}

// Iterator is one "x in <% list %>" of with-items.
type Iterator struct {
	Name string
	List any // expression or literal list
}

// Join says how many inbound routes a task waits for; Count 0 is all.
type Join struct{ Count int }

// Publish is what a task makes known: to its branch, or to the whole workflow.
type Publish struct {
	Branch, Global, Atomic *yaml11.OrderedMap
	Whole                  string // the branch as one expression giving a map
}

// Clause is an on-success, on-error or on-complete.
type Clause struct {
	Next    []Transition
	Publish *Publish
}

// Transition is a task or engine command, possibly under a condition.
type Transition struct {
	Target    string
	Condition string // expression; "" is always
	Params    *yaml11.OrderedMap
}

// Engine commands.
const (
	CmdFail    = "fail"
	CmdSucceed = "succeed"
	CmdPause   = "pause"
	CmdNoop    = "noop"
)

// IsCommand says whether a transition's target is an engine command.
func IsCommand(name string) bool {
	switch name {
	case CmdFail, CmdSucceed, CmdPause, CmdNoop:
		return true
	}
	return false
}

// Policies change how a task runs. Values are literals or expressions; nil is
// unset. Times are seconds.
type Policies struct {
	WaitBefore, WaitAfter, Timeout, PauseBefore, Concurrency, FailOn any
	Retry                                                            *Retry
}

// Retry runs a task again.
type Retry struct {
	Count, Delay      any
	BreakOn, Continue any // expressions
}

// Task returns the task of this name, or nil.
func (w *Workflow) Task(name string) *Task { return w.byName[name] }

// Starts returns the tasks of a direct workflow that no other leads to.
func (w *Workflow) Starts() []*Task { return w.starts }

// Inbound returns the tasks with a transition to the named one.
func (w *Workflow) Inbound(name string) []*Task { return w.inbound[name] }

// Clause returns the effective clause of a task: its own, or when that leads
// nowhere the one of task-defaults. kind is "on-success", "on-error", "on-complete" or "on-skip".
func (w *Workflow) Clause(t *Task, kind string) *Clause {
	get := func(t *Task) *Clause {
		if t == nil {
			return nil
		}
		switch kind {
		case "on-success":
			return t.OnSuccess
		case "on-error":
			return t.OnError
		case "on-skip":
			return t.OnSkip
		}
		return t.OnComplete
	}
	own, def := get(t), get(w.Defaults)
	if def == nil || own != nil && len(own.Next) > 0 {
		return own
	}
	// Of task-defaults only the transitions count, and none from a task to itself.
	out := &Clause{}
	if own != nil {
		out.Publish = own.Publish
	}
	for _, next := range def.Next {
		if next.Target != t.Name {
			out.Next = append(out.Next, next)
		}
	}
	return out
}

// PoliciesOf returns the task's policies with those of task-defaults behind.
func (w *Workflow) PoliciesOf(t *Task) Policies {
	p := t.Policies
	if w.Defaults == nil {
		return p
	}
	d := w.Defaults.Policies
	fill := func(dst *any, src any) {
		if *dst == nil {
			*dst = src
		}
	}
	fill(&p.WaitBefore, d.WaitBefore)
	fill(&p.WaitAfter, d.WaitAfter)
	fill(&p.Timeout, d.Timeout)
	fill(&p.PauseBefore, d.PauseBefore)
	fill(&p.Concurrency, d.Concurrency)
	fill(&p.FailOn, d.FailOn)
	if p.Retry == nil {
		p.Retry = d.Retry
	}
	return p
}

// SafeRerun returns the task's safe-rerun, else that of task-defaults; nil is
// false.
func (w *Workflow) SafeRerun(t *Task) any {
	if t.SafeRerun == nil && w.Defaults != nil {
		return w.Defaults.SafeRerun
	}
	return t.SafeRerun
}

// Requires returns the tasks that a task of a reverse workflow needs: its own
// and those of task-defaults.
func (w *Workflow) Requires(t *Task) []string {
	if w.Defaults == nil {
		return t.Requires
	}
	out := slices.Clone(t.Requires)
	for _, r := range w.Defaults.Requires {
		if r != t.Name && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

var clauseKinds = [...]string{"on-success", "on-error", "on-complete", "on-skip"}

// index builds the graph; defaults lead from every task except to itself.
func (w *Workflow) index() {
	w.byName = make(map[string]*Task, len(w.Tasks))
	w.inbound = make(map[string][]*Task, len(w.Tasks))
	for _, t := range w.Tasks {
		w.byName[t.Name] = t
	}
	for _, t := range w.Tasks {
		seen := map[string]bool{}
		for _, kind := range clauseKinds {
			c := w.Clause(t, kind)
			if c == nil {
				continue
			}
			for _, n := range c.Next {
				if !seen[n.Target] && w.byName[n.Target] != nil {
					seen[n.Target] = true
					w.inbound[n.Target] = append(w.inbound[n.Target], t)
				}
			}
		}
	}
	for _, t := range w.Tasks {
		if len(w.inbound[t.Name]) == 0 {
			w.starts = append(w.starts, t)
		}
	}
}

// InputText is the input as Mistral's API shows it: `a, b=null`.
func InputText(params []InputParam) string {
	parts := make([]string, len(params))
	for i, p := range params {
		parts[i] = p.Name
		if !p.Required {
			parts[i] += "=" + literal(p.Default)
		}
	}
	return strings.Join(parts, ", ")
}

func literal(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	b, err := yaml11.MapOf("v", v).MarshalJSON()
	if err != nil {
		return "null"
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(b), `{"v":`), "}")
}

// Problem is one error of a definition.
type Problem struct {
	Path         string // "workflows.deploy.tasks.a.on-success"
	Line, Column int
	Message      string
}

func (p Problem) String() string {
	s := p.Message
	if p.Path != "" {
		s = p.Path + ": " + s
	}
	if p.Line > 0 {
		s = fmt.Sprintf("%d:%d: %s", p.Line, p.Column, s)
	}
	return s
}

// Errors are all errors of a definition, in order of place.
type Errors []Problem

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return "Invalid DSL: " + strings.Join(lines, "; ")
}

func (e Errors) sorted() Errors {
	sort.SliceStable(e, func(i, j int) bool {
		if e[i].Line != e[j].Line {
			return e[i].Line < e[j].Line
		}
		return e[i].Column < e[j].Column
	})
	return e
}
