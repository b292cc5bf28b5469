// Package actions is what an action of the workflow engine is: a name, its
// parameters, and a Go function. It holds the std.* actions ([Std]) and those of
// the OpenStack services ([OpenStack]); other packages (internal/deployment)
// build their own on the same types and give them to the engine by its Config.
package actions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/yaql"
)

// Action is one action that workflows can call by name.
type Action struct {
	Name        string // "std.echo", "heat.stacks_get", "tripleo.plan.delete"
	Description string // one line, shown by "action-definition list"
	Input       []Param
	// Extra lets any further input through (Python's **kwargs).
	Extra bool
	// Once says that the action must not be run again when the server died while
	// it ran: its execution then ends in ERROR unless the task says safe-rerun.
	// All others are run again, so they must bear it.
	Once bool
	// Async says that the result comes by the API (PUT action_executions), not
	// from Run; an error of Run still fails it.
	Async bool
	// Pure says that Run neither waits nor reaches out, so that the engine calls it
	// within its own step, without a job. Session is nil then. When it returns
	// [Wait] all the same, a job calls it again.
	Pure bool
	// Run does the work. Input holds plain Go values (map[string]any, []any,
	// string, bool, int64, float64, nil) with defaults filled in. The result may be
	// anything that encodes as JSON, *yaql.Map where the order of keys matters.
	// It must return soon after ctx is done; it is then called again after the
	// restart. To wait without holding a worker it returns [Wait].
	Run func(ctx context.Context, c *Context, input map[string]any) (any, error)
}

// Param is a parameter of an action.
type Param struct {
	Name     string
	Default  any
	Required bool
}

// Req is a required parameter.
func Req(name string) Param { return Param{Name: name, Required: true} }

// Opt is a parameter with a default.
func Opt(name string, def any) Param { return Param{Name: name, Default: def} }

// Context is what an action may know about its caller.
type Context struct {
	Session *cloud.Session // acts with the rights of who started the execution; nil for std.* in tests
	Log     *slog.Logger
	Now     func() time.Time

	ActionExecutionID   string
	TaskID, TaskName    string // "" when run directly through POST action_executions
	WorkflowName        string
	WorkflowExecutionID string
	RootExecutionID     string // equals WorkflowExecutionID in a root execution
	ProjectID, UserID   string

	// Started is when the action was first run, Attempt counts the calls of Run
	// (1-based; more than 1 after Wait or a restart).
	Started time.Time
	Attempt int
}

// FailureError is an error with a structured result: the action ends in ERROR and
// task().result is Result (as Mistral's Result(error=...) does). Any other error
// gives its text.
type FailureError struct {
	Result any
}

func (f *FailureError) Error() string { return yaql.Str(f.Result) }

// waiting is the error returned by Wait.
type waiting struct {
	after  time.Duration
	topics []string
}

func (w *waiting) Error() string { return "action waits" }

// Wait makes the engine call Run again after atMost, or as soon as something is
// published on one of the notify topics. No worker is held meanwhile, and the
// wait survives a restart.
func Wait(atMost time.Duration, topics ...string) error { return &waiting{atMost, topics} }

// Waits reports whether err comes from Wait, and what it waits for.
func Waits(err error) (atMost time.Duration, topics []string, ok bool) {
	var w *waiting
	if !errors.As(err, &w) {
		return 0, nil, false
	}
	return w.after, w.topics, true
}

// Signature is the input as Mistral shows it: "name, region=null".
func (a *Action) Signature() string {
	parts := make([]string, 0, len(a.Input))
	for _, p := range a.Input {
		if p.Required {
			parts = append(parts, p.Name)
			continue
		}
		def, err := yaql.JSON(p.Default)
		if err != nil {
			def = []byte("null")
		}
		parts = append(parts, p.Name+"="+string(def))
	}
	if a.Extra {
		parts = append(parts, "**kwargs")
	}
	return strings.Join(parts, ", ")
}

// Check fills in defaults and refuses missing and unknown input.
func (a *Action) Check(input map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(a.Input))
	known := make(map[string]bool, len(a.Input))
	var missing []string
	for _, p := range a.Input {
		known[p.Name] = true
		v, ok := input[p.Name]
		switch {
		case ok:
			out[p.Name] = v
		case p.Required:
			missing = append(missing, p.Name)
		default:
			out[p.Name] = p.Default
		}
	}
	var unknown []string
	for k, v := range input {
		if known[k] {
			continue
		}
		if !a.Extra {
			unknown = append(unknown, k)
			continue
		}
		out[k] = v
	}
	if len(missing)+len(unknown) > 0 {
		return nil, inputError(a.Name, missing, unknown)
	}
	return out, nil
}

// inputError words the fault like Mistral does.
func inputError(name string, missing, unknown []string) error {
	msg := fmt.Sprintf("Invalid input [name=%s, class=Action", name)
	if len(missing) > 0 {
		msg += fmt.Sprintf(", missing=%s", yaql.Str(missing))
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		msg += fmt.Sprintf(", unexpected=%s", yaql.Str(unknown))
	}
	return errors.New(msg + "]")
}

// Registry is a set of actions by name.
type Registry struct {
	byName map[string]*Action
	names  []string
}

// NewRegistry collects actions; of equal names the last wins.
func NewRegistry(lists ...[]Action) (*Registry, error) {
	r := &Registry{byName: make(map[string]*Action)}
	for _, list := range lists {
		for i := range list {
			a := &list[i]
			if a.Name == "" || a.Run == nil {
				return nil, fmt.Errorf("workflow: action %q has no name or no function", a.Name)
			}
			r.byName[a.Name] = a
		}
	}
	for n := range r.byName {
		r.names = append(r.names, n)
	}
	sort.Strings(r.names)
	return r, nil
}

// Get returns the action of this name, or nil.
func (r *Registry) Get(name string) *Action { return r.byName[name] }

// Names returns all names, sorted.
func (r *Registry) Names() []string { return r.names }

// Access to input by actions.

// String returns in[key] as text; numbers and booleans are written as Python
// does, null gives "".
func String(in map[string]any, key string) string {
	switch v := in[key].(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		return yaql.Str(v)
	}
}

// Int returns in[key] as an integer, or def when it is none.
func Int(in map[string]any, key string, def int64) int64 {
	switch v := in[key].(type) {
	case int64:
		return v
	case int:
		return int64(v)
	case float64:
		return int64(v)
	}
	return def
}

// Bool returns the truth of in[key] (Python's).
func Bool(in map[string]any, key string) bool { return yaql.Truth(in[key]) }

// Map returns in[key] as a map, or an empty one.
func Map(in map[string]any, key string) map[string]any {
	m, _ := in[key].(map[string]any)
	if m == nil {
		m = map[string]any{}
	}
	return m
}

// List returns in[key] as a list; a single value becomes a list of one, null an
// empty one.
func List(in map[string]any, key string) []any {
	switch v := in[key].(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}
