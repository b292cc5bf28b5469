package engine

import (
	"context"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
)

// walk is one pass of CHECK, SUSPEND, RESUME or SNAPSHOT over the resources of a stack.
type walk struct {
	r        *run
	rows     []*Row
	byName   map[string]*Row
	uses     map[string][]string // resource -> resources that need it
	finished map[*Row]bool
	started  map[*Row]bool
	failures []string
}

// visit carries out CHECK, SUSPEND, RESUME and SNAPSHOT: a resource after those it needs, when suspending
// before them. A failed check does not keep the others from being checked.
func (r *run) visit() error {
	w := &walk{r: r, byName: map[string]*Row{}, uses: map[string][]string{}, finished: map[*Row]bool{}, started: map[*Row]bool{}}
	for _, row := range r.allRows() {
		if row.Replaced || row.Action == Init || row.Action == Delete {
			continue
		}
		w.rows = append(w.rows, row)
		w.byName[row.Name] = row
		w.finished[row] = row.Op == r.st.Op && row.Status != InProgress
		for _, d := range row.Requires() {
			w.uses[d] = append(w.uses[d], row.Name)
		}
	}
	if err := w.run(); err != nil {
		return err
	}
	open := false
	for _, row := range w.rows {
		open = open || !w.finished[row]
		if row.Op == r.st.Op && row.Status == Failed {
			w.failures = append(w.failures, r.pathPart(row.Name)+": "+row.Reason)
			r.failed = true
		}
	}
	switch {
	case r.failed && (!open || r.st.Action != Check):
		return r.abort(Failure{Type: "Error", Path: "", Msg: "Resource " + r.st.Action + " failed: " + strings.Join(w.failures, "; ")})
	case open:
		return r.flush()
	}
	if r.st.Action == Snapshot {
		if err := r.finishSnapshot(Complete, "Stack SNAPSHOT completed successfully"); err != nil {
			return err
		}
	}
	r.st.Status, r.st.Reason = Complete, "Stack "+r.st.Action+" completed successfully"
	r.stDirty = true
	r.events = append(r.events, r.e.stackEvent(r.st))
	return r.flush()
}

func (w *walk) run() error {
	r := w.r
	done := make(chan outcome)
	inflight := 0
	defer func() {
		for ; inflight > 0; inflight-- {
			<-done
		}
	}()
	for {
		var tasks []*task
		again := false
		for _, row := range w.rows {
			if w.started[row] || w.finished[row] || w.blocked(row) || r.failed && r.st.Action != Check {
				continue
			}
			w.started[row] = true
			t := w.begin(row)
			if t != nil {
				tasks = append(tasks, t)
			}
			again = again || w.finished[row]
		}
		if err := r.flush(); err != nil {
			return err
		}
		for _, t := range tasks {
			inflight++
			go func() { done <- r.perform(t) }()
		}
		if inflight == 0 {
			if again {
				continue
			}
			return nil
		}
		w.take(<-done)
		inflight--
	}
}

// blocked tells whether a resource has to wait for others.
func (w *walk) blocked(row *Row) bool {
	before := row.Requires()
	if w.r.st.Action == Suspend {
		before = w.uses[row.Name]
	}
	return slices.ContainsFunc(before, func(n string) bool {
		other := w.byName[n]
		return other != nil && other != row && !w.finished[other]
	})
}

func (w *walk) begin(row *Row) *task {
	r := w.r
	typ, err := r.e.typeOf(row.Target, r.files)
	if err != nil {
		w.finished[row] = true
		return nil
	}
	began := row.Op == r.st.Op
	if !began {
		row.Op, row.Begun = r.st.Op, r.e.now()
		r.state(row, r.st.Action, InProgress, "state changed")
	}
	if typ.Nested != nil {
		w.finished[row] = r.visitNested(row, began)
		return nil
	}
	props, err := r.rowProps(row, typ)
	if err != nil {
		r.state(row, r.st.Action, Failed, err.Error())
		w.finished[row] = true
		return nil
	}
	return &task{row: row, typ: typ, props: props, def: *row.Def(), res: r.resource(row, typ, props), step: visitStep(typ, r.st.Action)}
}

func (w *walk) take(o outcome) {
	r := w.r
	o.row.SetData(o.res.Data)
	r.touch(o.row)
	switch {
	case o.err != nil && r.ctx.Err() != nil: // goes on after the restart
	case o.err != nil:
		r.state(o.row, r.st.Action, Failed, o.err.Error())
		w.finished[o.row], r.failed = true, r.failed || r.st.Action != Check
	case o.result.Done:
		if r.st.Action == Snapshot && o.res.Snapshot != nil {
			r.saveCopy(o.row, o.res.Snapshot)
		}
		r.state(o.row, r.st.Action, Complete, "state changed")
		w.finished[o.row] = true
	default:
		r.wait(o.result)
	}
}

func visitStep(typ *resources.Type, action string) func(context.Context, *resources.Resource) (resources.Step, error) {
	return func(ctx context.Context, res *resources.Resource) (resources.Step, error) {
		var f func(context.Context, *resources.Resource) (resources.Step, error)
		switch action {
		case Check:
			if typ.Check != nil {
				return resources.Done(), typ.Check(ctx, res)
			}
		case Suspend:
			f = typ.Suspend
		case Resume:
			f = typ.Resume
		case Snapshot:
			f = typ.Snapshot
		}
		if f != nil {
			return f(ctx, res)
		}
		return resources.Done(), nil
	}
}

func (r *run) visitNested(row *Row, began bool) (done bool) {
	child, err := r.childState(row)
	if err != nil || child == nil || !child.Deleted.IsZero() {
		r.state(row, r.st.Action, Failed, "the nested stack does not exist any more")
		return true
	}
	switch {
	case !began:
		child, err := r.child(row)
		if err != nil || child == nil {
			r.state(row, r.st.Action, Failed, "the nested stack does not exist any more")
			return true
		}
		if child.Status != InProgress {
			child.Def.SnapshotID = r.st.Def.SnapshotID
			r.beginChild(child, r.st.Action)
			r.later(func(tx *store.Tx) error { return UpdateStack(tx, child) })
		}
		return false
	case child.Status == Failed:
		r.state(row, r.st.Action, Failed, child.Reason)
		r.failed = r.failed || r.st.Action != Check
		return true
	case child.Status == Complete && child.Action == r.st.Action:
		r.state(row, r.st.Action, Complete, "state changed")
		return true
	}
	return false
}
