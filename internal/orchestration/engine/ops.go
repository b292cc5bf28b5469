package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Source is the text of a stack: what a client sends.
type Source struct {
	Template     any    // text, or data of a template
	TemplateFile string // name shown in messages; "" is "template"
	Files        map[string]string
	Env          *hot.Environment
	Params       *Map // explicit parameters, over those of the environment
}

// Parse reads the template.
func (s *Source) Parse() (*hot.Template, error) {
	file := s.TemplateFile
	if file == "" {
		file = "template"
	}
	if text, ok := s.Template.(string); ok {
		t, _, err := hot.Parse(file, []byte(text))
		return t, err
	}
	return hot.ParseValue(file, s.Template)
}

// given returns the explicit parameters.
func (s *Source) given() *Map {
	m := s.Env.Parameters.Clone()
	for k, v := range s.Params.All() {
		m.Set(k, v)
	}
	return m
}

// Given returns the parameters of the environment with the explicit ones over them.
func (s *Source) Given() *Map { return s.given() }

// define stores the source and returns the definition.
func (e *Engine) define(ctx context.Context, s *Source) (Definition, error) {
	raw := rawTemplate{File: s.TemplateFile}
	if raw.File == "" {
		raw.File = "template"
	}
	if text, ok := s.Template.(string); ok {
		raw.Text = text
	} else {
		b, err := yaml11.EncodeJSON(yaml11.Normalize(s.Template))
		if err != nil {
			return Definition{}, fmt.Errorf("template: %w", err)
		}
		raw.Value = b
	}
	def := Definition{Params: s.given()}
	b, err := json.Marshal(raw)
	if err != nil {
		return def, fmt.Errorf("template: %w", err)
	}
	if def.TemplateID, err = e.ensureRaw(ctx, b); err != nil {
		return def, err
	}
	files := s.Files
	if files == nil {
		files = map[string]string{}
	}
	if b, err = json.Marshal(files); err != nil {
		return def, fmt.Errorf("files: %w", err)
	}
	if def.FilesID, err = e.ensureRaw(ctx, b); err != nil {
		return def, err
	}
	env := *s.Env
	env.Parameters = yaml11.NewMap()
	if b, err = yaml11.EncodeJSON(env.Value()); err != nil {
		return def, fmt.Errorf("environment: %w", err)
	}
	def.EnvID, err = e.ensureRaw(ctx, b)
	return def, err
}

// Options are the settings of a stack besides its source; nil fields of an update keep what is.
type Options struct {
	TimeoutMins     *int64
	DisableRollback *bool
	Tags            *[]string
	TrustID         string
	UserID          string
	Username        string
	ProjectID       string
	Converge        bool // update: look at the real things first
	Adopt           *Map // create: what to take over, as Export returned it
	NewTags         bool // update: no tags given means none
}

func deadline(from time.Time, mins int64) time.Time {
	if mins <= 0 {
		mins = 240
	}
	return from.Add(time.Duration(mins) * time.Minute)
}

// CheckSource parses and validates a source.
func (e *Engine) CheckSource(ctx context.Context, s *Source, lenient bool) (*hot.Template, *Tree, error) {
	t, syntax := s.Parse()
	if t == nil {
		return nil, nil, invalid(syntax)
	}
	tree, err := e.Validate(ctx, t, s.Env, s.Files, s.given(), lenient)
	if err = hot.Join(syntax, err); err != nil {
		return t, tree, invalid(err)
	}
	return t, tree, e.checkTreeLimit(tree)
}

func invalid(err error) error {
	typ := "StackValidationFailed"
	for _, e := range hot.List(err) {
		if len(e.Msg) > 14 && e.Msg[:14] == "the parameter " {
			typ = "UserParameterMissing"
		}
	}
	return api.Invalid("%s", hot.List(err).Error()).Named(typ)
}

// CreateStack validates and begins a new stack.
func (e *Engine) CreateStack(ctx context.Context, name string, s *Source, o Options) (*Stack, error) {
	t, _, err := e.CheckSource(ctx, s, false)
	if err != nil {
		return nil, err
	}
	def, err := e.define(ctx, s)
	if err != nil {
		return nil, err
	}
	action := Create
	if o.Adopt != nil {
		action = Adopt
		if def.AdoptID, err = e.storeAdoption(ctx, o.Adopt); err != nil {
			return nil, err
		}
	}
	now := e.now()
	st := &Stack{ID: newID(), Name: name, ProjectID: o.ProjectID, UserID: o.UserID, Username: o.Username, Action: action, Status: InProgress,
		Reason: "Stack " + action + " started", Op: 1, OpStarted: now, Def: def, Description: t.Description,
		TrustID: o.TrustID, DisableRollback: true, Created: now}
	st.RootID = st.ID
	st.set(o)
	st.Deadline = deadline(now, st.TimeoutMins)
	err = e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		if err := e.checkStackLimit(tx, st.ProjectID); err != nil {
			return err
		}
		if err := InsertStack(tx, st); err != nil {
			return err
		}
		if err := e.recordStack(tx, st); err != nil {
			return err
		}
		e.publish(tx, st)
		return e.cfg.Jobs.Poke(tx, JobStack, st.ID, nil)
	})
	if errors.Is(err, store.ErrConflict) {
		return nil, api.Conflict("The Stack (%s) already exists.", name).Named("StackExists")
	}
	return st, err
}

func (st *Stack) set(o Options) {
	if o.TimeoutMins != nil {
		st.TimeoutMins = *o.TimeoutMins
	}
	if o.DisableRollback != nil {
		st.DisableRollback = *o.DisableRollback
	}
	if o.Tags != nil {
		st.Tags = *o.Tags
	} else if o.NewTags {
		st.Tags = nil
	}
	if o.TrustID != "" {
		st.TrustID = o.TrustID
	}
}

func busy(st *Stack) error {
	return api.Conflict("Stack %s already has an action (%s) in progress.", st.Name, st.Action).Named("ActionInProgress")
}

// UpdateStack validates and begins an update.
func (e *Engine) UpdateStack(ctx context.Context, id string, s *Source, o Options) (*Stack, error) {
	t, _, err := e.CheckSource(ctx, s, false)
	if err != nil {
		return nil, err
	}
	def, err := e.define(ctx, s)
	if err != nil {
		return nil, err
	}
	return e.begin(ctx, id, func(st *Stack) error {
		if st.Status == InProgress {
			return busy(st)
		}
		if st.Action == Suspend && st.Status == Complete {
			return api.Invalid("Updating a stack when it is suspended is not supported.").Named("NotSupported")
		}
		prev := st.Def
		st.Previous = &prev
		def.Converge = o.Converge
		st.Def, st.Description = def, t.Description
		st.set(o)
		st.Action = Update
		st.Updated = e.now()
		return nil
	})
}

// DeleteStack begins the deletion; it may interrupt another operation. Deleting twice is no error. abandon
// leaves the real things alone; a stack in the middle of an operation cannot be abandoned.
func (e *Engine) DeleteStack(ctx context.Context, id string, abandon bool) (*Stack, error) {
	return e.begin(ctx, id, func(st *Stack) error {
		switch {
		case abandon && st.Status == InProgress:
			return busy(st)
		case st.Action == Delete && st.Status == InProgress:
			return errNothing
		}
		st.Action, st.Def.Abandon = Delete, abandon
		return nil
	})
}

// Act begins CHECK, SUSPEND or RESUME. What is suspended or resumed already stays as it is.
func (e *Engine) Act(ctx context.Context, id, action string) (*Stack, error) {
	return e.begin(ctx, id, func(st *Stack) error {
		if st.Status == InProgress {
			return busy(st)
		}
		if action != Check && st.Action == action && st.Status == Complete {
			return errNothing
		}
		st.Action = action
		return nil
	})
}

// Cancel gives up an update (or creation) under way, with or without going back.
func (e *Engine) Cancel(ctx context.Context, id string, rollback bool) error {
	return e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		st, err := GetStack(tx, id)
		if err != nil {
			return err
		}
		if st.Status != InProgress || st.Action != Update && st.Action != Create {
			return api.Invalid("Cancelling update when stack is ('%s', '%s') is not supported.", st.Action, st.Status).Named("NotSupported")
		}
		if rollback && st.Action != Update {
			return api.Invalid("Cancelling update when stack is ('%s', '%s') is not supported.", st.Action, st.Status).Named("NotSupported")
		}
		if rollback && st.Previous != nil {
			st.Action, st.Reason = Rollback, "Stack ROLLBACK started"
			st.Def = *st.Previous
			return e.commit(tx, st)
		}
		if _, err := tx.Exec("UPDATE heat_stacks SET cancel = 1 WHERE id = ?", id); err != nil {
			return err
		}
		return e.cfg.Jobs.Poke(tx, JobStack, id, nil)
	})
}

var errNothing = errors.New("nothing to do")

// begin puts a stack into a new operation.
func (e *Engine) begin(ctx context.Context, id string, change func(*Stack) error) (*Stack, error) {
	return e.beginWith(ctx, id, func(_ *store.Tx, st *Stack) error { return change(st) })
}

func (e *Engine) beginWith(ctx context.Context, id string, change func(*store.Tx, *Stack) error) (*Stack, error) {
	var st *Stack
	err := e.cfg.DB.Tx(ctx, func(tx *store.Tx) (err error) {
		if st, err = GetStack(tx, id); err != nil {
			return err
		}
		if !st.Deleted.IsZero() {
			return store.ErrNotFound
		}
		if err := change(tx, st); err != nil {
			return err
		}
		st.Reason = "Stack " + st.Action + " started"
		return e.commit(tx, st)
	})
	if errors.Is(err, errNothing) {
		err = nil
	}
	return st, err
}

func (e *Engine) commit(tx *store.Tx, st *Stack) error {
	st.Status, st.Cancel, st.Fail = InProgress, false, Failure{}
	st.Op++
	st.OpStarted = e.now()
	st.Deadline = deadline(st.OpStarted, st.TimeoutMins)
	if err := UpdateStack(tx, st); err != nil {
		return err
	}
	if err := e.recordStack(tx, st); err != nil {
		return err
	}
	e.publish(tx, st)
	return e.cfg.Jobs.Poke(tx, JobStack, st.ID, nil)
}

// Signal queues a signal for a resource.
func (e *Engine) Signal(ctx context.Context, row *Row, body []byte) error {
	if len(body) == 0 || !json.Valid(body) {
		b, err := json.Marshal(string(body))
		if err != nil {
			return fmt.Errorf("signal: %w", err)
		}
		body = b
	}
	return e.post(ctx, row, "signal", string(body))
}

// MarkUnhealthy sets a resource to CHECK_FAILED (replaced by the next update), or one that is so back to
// CHECK_COMPLETE. A stack in the middle of an operation refuses.
func (e *Engine) MarkUnhealthy(ctx context.Context, row *Row, unhealthy bool, reason string) error {
	if unhealthy && row.Action == Delete || !unhealthy && (row.Action != Check || row.Status != Failed) {
		return nil
	}
	row.Action, row.Status, row.Reason = Check, Complete, reason
	if unhealthy {
		row.Status = Failed
	}
	if row.Reason == "" {
		row.Reason = "state changed by resource_mark_unhealthy api"
	}
	row.Updated = e.now()
	return e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		st, err := GetStack(tx, row.StackID)
		if err != nil {
			return err
		}
		if st.Status == InProgress {
			return busy(st)
		}
		if _, err := tx.Exec("UPDATE heat_resources SET action=?, status=?, status_reason=?, updated_at=? WHERE id=?", row.Action, row.Status, row.Reason, store.At(row.Updated), row.ID); err != nil {
			return err
		}
		env, err := e.env(tx, st.Def.EnvID)
		if err != nil {
			return err
		}
		r := &run{e: e, ctx: ctx, st: st}
		e.publish(tx, st)
		return e.record(tx, env, r.eventOf(row))
	})
}

// Source returns what a stack was made of.
func (e *Engine) Source(ctx context.Context, st *Stack) (t *hot.Template, env *hot.Environment, files map[string]string, err error) {
	err = e.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		if t, err = e.template(tx, st.Def.TemplateID); err != nil {
			return err
		}
		if env, err = e.env(tx, st.Def.EnvID); err != nil {
			return err
		}
		files, err = e.filesOf(tx, st.Def.FilesID)
		return err
	})
	return t, env, files, err
}

// TemplateSource returns a stack's template as it was sent, as a Source without environment.
func (e *Engine) TemplateSource(ctx context.Context, st *Stack) (*Source, error) {
	var raw rawTemplate
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) error {
		b, err := getRaw(tx, st.Def.TemplateID)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &raw)
	})
	if err != nil {
		return nil, err
	}
	s := &Source{TemplateFile: raw.File, Template: raw.Text}
	if raw.Value != nil {
		if s.Template, err = yaml11.DecodeJSON(raw.Value); err != nil {
			return nil, fmt.Errorf("stored template: %w", err)
		}
	}
	return s, nil
}

// Look opens a stack for reading: parameters, outputs and attributes as they are now.
type Look struct{ r *run }

// Look returns a view of a stack. An error of the stored definition is returned with what could be read.
func (e *Engine) Look(ctx context.Context, id string) (*Look, error) {
	r := &run{e: e, ctx: ctx, dirty: map[*Row]bool{}}
	if err := r.load(id); err != nil {
		return nil, err
	}
	return &Look{r}, r.prepare()
}

// Outputs returns the outputs and the errors of those that cannot be computed.
func (l *Look) Outputs() (*Map, map[string]string) { return l.r.outputs() }

// Params returns the values of the parameters.
func (l *Look) Params() map[string]any { return l.r.params }

// Environment returns the stack's environment.
func (l *Look) Environment() *hot.Environment { return l.r.env }

// Template returns the stack's template.
func (l *Look) Template() *hot.Template { return l.r.t }

// Row returns the current resource of a name, nil if there is none.
func (l *Look) Row(name string) *Row { return l.r.rows[name] }

// Requires returns the names that the resource depends on and the names that depend on it.
func (l *Look) Requires(name string) (requires, requiredBy []string) {
	requires = append([]string{}, l.r.deps[name]...)
	requiredBy = []string{}
	for _, n := range l.r.names {
		for _, d := range l.r.deps[n] {
			if d == name {
				requiredBy = append(requiredBy, n)
			}
		}
	}
	return requires, requiredBy
}

// Attributes asks a resource for all its attributes now; one that fails is null.
func (l *Look) Attributes(row *Row) *Map {
	out := yaml11.NewMap()
	typ, err := l.r.e.typeOf(row.Target, l.r.files)
	if err != nil {
		return out
	}
	props, err := l.r.rowProps(row, typ)
	if err != nil {
		return out
	}
	res := l.r.resource(row, typ, props)
	for _, a := range typ.Attrs {
		var v any
		switch {
		case typ.Nested != nil:
			v, err = l.r.Attr(row.Name, a.Name, nil)
		case typ.Attr != nil && row.PhysicalID != "":
			v, err = typ.Attr(l.r.ctx, res, a.Name)
		}
		if err != nil {
			v, _ = row.Attrs().Get(a.Name)
		}
		out.Set(a.Name, known(yaml11.Normalize(v)))
	}
	for k, v := range row.Attrs().All() {
		if _, ok := out.Get(k); !ok {
			out.Set(k, v)
		}
	}
	return out
}
