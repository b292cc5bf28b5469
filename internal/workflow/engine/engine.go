package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/internal/workflow/expr"
)

// Kinds of the engine's jobs.
const (
	KindExecution = "workflow.execution" // key: execution id
	KindAction    = "workflow.action"    // key: action execution id
	KindExpiry    = "workflow.expiry"    // one key, ""
	KindEvent     = "workflow.event"     // key: id of a stored event; handled by the service
	KindTrust     = "workflow.trust"     // key: id of a root execution whose trust goes
)

// Params of an execution that mean something to the engine.
const (
	// ParamReadOnly forbids every change of the execution by the API, except to
	// delete it.
	ParamReadOnly    = "read_only"
	ParamTriggeredBy = "triggered_by"
	TriggerCron      = "cron_trigger"
	TriggerEvent     = "event_trigger"
)

// Config is what the engine is made of.
type Config struct {
	DB      *store.DB
	Bus     *notify.Bus
	Jobs    *jobs.Queue
	Log     *slog.Logger
	Cloud   *cloud.Cloud // nil: actions get no session (tests)
	Actions *actions.Registry
	Now     func() time.Time // nil: time.Now
	// Workers bounds the actions that run at once in this process (default 64).
	Workers int
	// Groups are the names by which a task's "target" finds this process.
	Groups []string
	// Expiry says when ended executions go; the zero value keeps them.
	Expiry Expiry
	// MaxField bounds input, output, context and results, in bytes of JSON;
	// default 16 MiB, as the undercloud sets Mistral's
	// execution_field_size_limit_kb.
	MaxField int
}

// Engine runs workflows. Create it with New, before jobs.Queue.Run.
type Engine struct {
	db      *store.DB
	bus     *notify.Bus
	jobs    *jobs.Queue
	log     *slog.Logger
	cloud   *cloud.Cloud
	actions *actions.Registry
	expr    *expr.Evaluator
	now     func() time.Time
	expiry  Expiry
	limit   int
	// failpoint is called before and after each commit; tests let it fail.
	failpoint func(stage string) error

	mu      sync.Mutex
	specs   map[string]*parsedSpec
	running map[string]context.CancelFunc // actions of this process
}

type parsedSpec struct {
	wf   *dsl.Workflow
	book string
}

// New returns an engine and registers its jobs.
func New(cfg Config) (*Engine, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 64
	}
	if cfg.MaxField <= 0 {
		cfg.MaxField = 16 << 20
	}
	ev, err := expr.New(cfg.Now)
	if err != nil {
		return nil, err
	}
	e := &Engine{db: cfg.DB, bus: cfg.Bus, jobs: cfg.Jobs, log: cfg.Log, cloud: cfg.Cloud, actions: cfg.Actions, expr: ev,
		now: cfg.Now, expiry: cfg.Expiry, limit: cfg.MaxField, failpoint: func(string) error { return nil }, specs: map[string]*parsedSpec{}, running: map[string]context.CancelFunc{}}
	e.jobs.Register(KindExecution, 16, e.drive)
	e.jobs.Register(KindAction, cfg.Workers, e.perform)
	for _, group := range cfg.Groups {
		e.jobs.Register(targetKind(group), cfg.Workers, e.perform)
	}
	e.jobs.Register(KindExpiry, 1, e.expire)
	e.jobs.Register(KindTrust, 4, e.dropTrust)
	return e, nil
}

// Check reports what is wrong with the expressions of a string.
func (e *Engine) Check(s string) error { return e.expr.Check(s) }

// Actions returns the registered actions.
func (e *Engine) Actions() *actions.Registry { return e.actions }

// Topic is what is published when an execution changes.
func Topic(id string) string { return "workflow/execution/" + id }

const maxSpecs = 2000

// spec returns the parsed definition that executions of this spec id follow.
func (e *Engine) spec(ctx context.Context, id string) (*dsl.Workflow, string, error) {
	e.mu.Lock()
	s := e.specs[id]
	e.mu.Unlock()
	if s != nil {
		return s.wf, s.book, nil
	}
	var book, name, text string
	err := e.db.View(ctx, func(tx *store.Tx) error {
		return tx.Get([]any{&book, &name, &text}, `SELECT workbook, name, definition FROM workflow_specs WHERE id = ?`, id)
	})
	if err != nil {
		return nil, "", fmt.Errorf("read workflow spec %s: %w", id, err)
	}
	list, err := dsl.ParseWorkflows(text, nil)
	if err != nil {
		return nil, "", fmt.Errorf("parse workflow spec %s: %w", id, err)
	}
	for _, wf := range list {
		if wf.Name == name {
			s = &parsedSpec{wf, book}
		}
	}
	if s == nil {
		return nil, "", fmt.Errorf("workflow spec %s does not define %s", id, name)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.specs) >= maxSpecs {
		clear(e.specs)
	}
	e.specs[id] = s
	return s.wf, s.book, nil
}

// drive is the actor of one execution.
func (e *Engine) drive(ctx context.Context, j jobs.Job) jobs.Result {
	for {
		more, wake, err := e.driveOnce(ctx, j.Key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return jobs.Done() // deleted
		case errors.Is(err, errStale):
			continue
		case errors.As(err, new(*TooLargeError)):
			if err := e.db.Tx(ctx, func(tx *store.Tx) error { return e.cancelTx(tx, j.Key, Error, err.Error()) }); err != nil {
				return jobs.Fail(err)
			}
			continue
		case err != nil:
			return jobs.Fail(err)
		case more:
			continue
		case wake.IsZero():
			return jobs.Done()
		}
		return jobs.After(max(wake.Sub(e.now()), time.Millisecond))
	}
}

func (e *Engine) driveOnce(ctx context.Context, id string) (more bool, wake time.Time, err error) {
	r, err := e.load(ctx, id)
	if err != nil {
		return false, wake, err
	}
	for {
		more, err := r.step()
		if err != nil {
			return false, wake, err
		}
		if err := r.commit(); err != nil {
			return false, wake, err
		}
		if !more {
			return false, r.wake, nil
		}
		if ctx.Err() != nil {
			return false, wake, ctx.Err()
		}
		r.now, r.wake = e.now(), time.Time{}
	}
}

// commit writes what a step has computed, in one transaction.
func (r *run) commit() error {
	if !r.changed {
		return nil
	}
	if err := r.e.failpoint("before commit"); err != nil {
		return err
	}
	if err := r.bounded(); err != nil {
		return err
	}
	err := r.e.db.Tx(r.ctx, func(tx *store.Tx) error {
		r.x.Updated = r.now
		if err := updateExecution(tx, r.x); err != nil {
			return err
		}
		if err := r.writeRows(tx); err != nil {
			return err
		}
		return r.wakeOthers(tx)
	})
	if err != nil {
		return err
	}
	r.clean()
	return r.e.failpoint("after commit")
}

func (r *run) writeRows(tx *store.Tx) error {
	for _, t := range r.tasks {
		if t.dirty {
			if err := writeTask(tx, t); err != nil {
				return err
			}
		}
	}
	for _, list := range r.actions {
		for _, a := range list {
			switch {
			case a.dirty && !a.fresh && !Completed(a.State):
				if err := acceptAction(tx, a, r.now); err != nil {
					return err
				}
			case a.dirty:
				if err := writeAction(tx, a); err != nil {
					return err
				}
			}
		}
	}
	for _, x := range r.started {
		if err := insertExecution(tx, x); err != nil {
			return err
		}
		if err := r.e.jobs.Poke(tx, KindExecution, x.ID, nil); err != nil {
			return err
		}
	}
	for _, id := range r.unaccept {
		if _, err := tx.Exec(`UPDATE workflow_executions SET accepted = 0 WHERE id = ?`, id); err != nil {
			return err
		}
	}
	for _, id := range r.cancel {
		if err := r.e.cancelTx(tx, id, Cancelled, "The parent no longer waits for it"); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) wakeOthers(tx *store.Tx) error {
	for _, a := range r.jobs {
		if err := r.e.jobs.Poke(tx, a.kind(), a.ID, nil); err != nil {
			return err
		}
	}
	if r.paused {
		if err := r.e.pauseTree(tx, r.x.RootID(), r.x.ID); err != nil {
			return err
		}
	}
	for _, id := range r.pokes {
		if err := r.e.jobs.Poke(tx, KindExecution, id, nil); err != nil {
			return err
		}
	}
	if r.x.Finalized && r.x.Root == "" && r.x.Doc.Caller.Owned {
		if err := r.e.jobs.Poke(tx, KindTrust, r.x.ID, nil); err != nil {
			return err
		}
	}
	if r.ended && r.x.Root == "" {
		if err := r.e.tell(tx, r.x, r.now); err != nil {
			return err
		}
	}
	topics := []string{Topic(r.x.ID)}
	if r.x.Root != "" {
		topics = append(topics, Topic(r.x.Root))
	}
	r.e.bus.PublishTx(tx, topics...)
	if stopped := r.stopped; len(stopped) > 0 {
		tx.AfterCommit(func() { r.e.stop(stopped) })
	}
	return nil
}

func (r *run) clean() {
	for _, t := range r.tasks {
		t.dirty, t.fresh = false, false
		if t.full && Completed(t.State) && t.Processed && t.Rank+1000 < r.x.Doc.Ranks {
			t.In, t.Published, t.Result, t.full = nil, nil, nil, false // can be read again
		}
	}
	for id, list := range r.actions {
		for _, a := range list {
			a.dirty, a.fresh = false, false
		}
		if t := r.taskByID(id); t == nil || Completed(t.State) {
			delete(r.actions, id)
			delete(r.children, id)
		}
	}
	r.started, r.jobs, r.unaccept, r.cancel, r.stopped, r.pokes = nil, nil, nil, nil, nil, nil
	r.changed, r.ended, r.paused, r.execution = false, false, false, nil
}

// stop cancels actions that run in this process.
func (e *Engine) stop(ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, id := range ids {
		if cancel := e.running[id]; cancel != nil {
			cancel()
		}
	}
}
