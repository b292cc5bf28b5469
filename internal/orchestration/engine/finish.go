package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// abort ends the operation after a failure: what is in progress is given up, the stack fails or begins to
// roll back.
func (r *run) abort(f Failure) error {
	for _, row := range r.allRows() {
		if row.Op != r.st.Op || row.Status != InProgress {
			continue
		}
		if c, err := r.childState(row); err == nil && c != nil && c.Status == InProgress {
			r.cancelChild(c.ID)
		}
		r.state(row, row.Action, Failed, row.Action+" aborted")
		r.e.naps.drop(row.ID)
		r.later(func(tx *store.Tx) error { return r.e.cancelDeployment(tx, row) })
	}
	r.forgetHooks()
	if !r.st.DisableRollback && r.st.ParentID == "" && (r.st.Action == Create || r.st.Action == Update) && !r.st.Cancel {
		r.startRollback(f)
		return r.flush()
	}
	r.failStack(f)
	return r.flush()
}

func (r *run) allRows() []*Row {
	out := slices.Clone(r.old)
	for _, row := range r.rows {
		out = append(out, row)
	}
	slices.SortFunc(out, func(a, b *Row) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

func failReason(action string, f Failure) string {
	if f.Path == "" {
		return f.Msg
	}
	return "Resource " + action + " failed: " + f.Reason()
}

func (r *run) failStack(f Failure) {
	if r.st.Action == Snapshot {
		_ = r.finishSnapshot(Failed, failReason(r.st.Action, f)) // stores nothing that can fail
	}
	r.st.Fail = f
	r.st.Status, r.st.Reason = Failed, failReason(r.st.Action, f)
	r.stDirty = true
	r.events = append(r.events, r.e.stackEvent(r.st))
}

// startRollback begins the operation that restores the state before.
func (r *run) startRollback(f Failure) {
	r.failStack(f)
	update := r.st.Action == Update && r.st.Previous != nil
	r.st.Action, r.st.Status = Rollback, InProgress
	r.st.Reason = "Stack ROLLBACK started"
	r.st.Op++
	r.st.OpStarted = r.e.now()
	r.st.Deadline = deadline(r.st.OpStarted, r.st.TimeoutMins)
	if update {
		r.st.Def = *r.st.Previous
	} else {
		r.st.Previous = nil
	}
	r.events = append(r.events, r.e.stackEvent(r.st))
	r.later(func(tx *store.Tx) error { return r.e.cfg.Jobs.Poke(tx, JobStack, r.st.ID, nil) })
}

// cleanup deletes what the template does not want any more, then completes the stack.
func (r *run) cleanup() error {
	doomed := slices.Clone(r.old)
	for name, row := range r.rows {
		if !r.enabled[name] {
			doomed = append(doomed, row)
		}
	}
	open, err := r.deleteRows(doomed)
	if err != nil {
		return err
	}
	if r.failed {
		return r.abort(r.st.Fail)
	}
	if open > 0 {
		return r.flush()
	}
	return r.completeStack()
}

func (r *run) completeStack() error {
	if len(r.t.Outputs) > 0 {
		if err := r.loadWhole(); err != nil {
			return err
		}
	}
	r.st.Outputs, _ = r.outputs()
	r.st.Volatile = false
	for _, row := range r.rows {
		typ, err := r.e.typeOf(row.Target, r.files)
		if err != nil {
			continue
		}
		if typ.AlwaysUpdate {
			r.st.Volatile = true
		}
		if typ.Nested != nil {
			if c, err := r.childState(row); err == nil && c != nil && c.Volatile {
				r.st.Volatile = true
			}
		}
	}
	r.st.Fail, r.st.Previous, r.st.Def.Converge, r.st.Def.AdoptID, r.st.Def.SnapshotID = Failure{}, nil, false, "", ""
	if r.st.ParentID == "" {
		r.st.Description = r.t.Description
	}
	r.forgetHooks()
	r.st.Status, r.st.Reason = Complete, "Stack "+r.st.Action+" completed successfully"
	r.stDirty = true
	r.events = append(r.events, r.e.stackEvent(r.st))
	return r.flush()
}

// outputs computes the outputs; those that fail are null, with the error beside.
func (r *run) outputs() (*Map, map[string]string) {
	out := yaml11.NewMap()
	errs := map[string]string{}
	for _, o := range r.t.Outputs {
		on, err := r.ev.OutputEnabled(o)
		if err == nil && !on {
			continue
		}
		var v any
		if err == nil {
			v, err = r.ev.Value(o.Value)
		}
		if err != nil {
			errs[o.Name] = err.Error()
		}
		out.Set(o.Name, known(v))
	}
	return out, errs
}

// teardown deletes every resource, then the stack itself; a rollback of a creation keeps the empty stack.
func (r *run) teardown() error {
	open, err := r.deleteRows(r.allRows())
	if err != nil {
		return err
	}
	if r.failed {
		return r.abort(r.st.Fail)
	}
	if open > 0 {
		return r.flush()
	}
	if r.st.Action == Delete {
		if err := r.dropSnapshots(); err != nil {
			return err
		}
		if err := r.dropUserProject(); err != nil {
			return err
		}
		if err := r.dropTrust(); err != nil {
			return err
		}
		r.st.Deleted = r.e.now()
	}
	r.st.Status, r.st.Reason = Complete, "Stack "+r.st.Action+" completed successfully"
	r.st.Outputs = nil
	r.stDirty = true
	r.events = append(r.events, r.e.stackEvent(r.st))
	r.later(func(tx *store.Tx) error {
		_, err := tx.Exec("DELETE FROM heat_inbox WHERE stack_id = ?", r.st.ID)
		return err
	})
	return r.flush()
}

// deleteRows deletes resources in the reverse order of their dependencies and returns how many are left.
func (r *run) deleteRows(doomed []*Row) (open int, err error) {
	left := map[*Row]bool{}
	for _, row := range doomed {
		left[row] = true
	}
	done := make(chan outcome)
	inflight := 0
	defer func() {
		for ; inflight > 0; inflight-- {
			<-done
		}
	}()
	started := map[*Row]bool{}
	for {
		var tasks []*task
		needed := map[string]int{}
		for row := range left {
			for _, d := range row.Requires() {
				needed[d]++
			}
		}
		for _, row := range doomed {
			if r.failed || !left[row] || started[row] || needed[row.Name] > selfNeed(row) {
				continue
			}
			started[row] = true
			t, gone := r.beginDelete(row)
			if gone {
				delete(left, row)
			} else if t != nil {
				tasks = append(tasks, t)
			}
		}
		if err := r.flush(); err != nil {
			return len(left), err
		}
		for _, t := range tasks {
			inflight++
			go func() { done <- r.perform(t) }()
		}
		if inflight == 0 {
			if progress := r.unblocked(doomed, left, started); progress && !r.failed {
				continue
			}
			return len(left), nil
		}
		o := <-done
		inflight--
		r.finishDelete(o, left)
	}
}

func selfNeed(row *Row) int {
	if slices.Contains(row.Requires(), row.Name) {
		return 1
	}
	return 0
}

// unblocked tells whether a resource that was not started yet may begin now.
func (r *run) unblocked(doomed []*Row, left, started map[*Row]bool) bool {
	needed := map[string]int{}
	for row := range left {
		for _, d := range row.Requires() {
			needed[d]++
		}
	}
	for _, row := range doomed {
		if left[row] && !started[row] && needed[row.Name] <= selfNeed(row) {
			return true
		}
	}
	return false
}

// beginDelete starts or continues the deletion of a resource. gone: it does not exist any more.
func (r *run) beginDelete(row *Row) (t *task, gone bool) {
	switch {
	case row.Action == Delete && row.Status == Complete: // deleted, and in the hook after that
		return nil, row.Hook() == "" && r.gone(row)
	case row.Action == Init && row.PhysicalID == "": // never made
		r.removeRow(row)
		return nil, true
	case (row.Op != r.st.Op || row.Action != Delete) && r.pauseAt(row, Delete, "pre"):
		return nil, false
	}
	typ, err := r.e.typeOf(row.Target, r.files)
	if err != nil && hot.IsTemplate(row.Target) { // its file is gone; the nested stack knows what it has
		typ, err = &resources.Type{Name: row.Target, Nested: func(*resources.Resource, []resources.AttrUse) (*resources.Nested, error) { return nil, nil }}, nil
	}
	keep := row.Def().External || row.Def().Deletion == "retain" || r.st.Def.Abandon && r.st.Action == Delete
	if err != nil || keep && (typ.Nested == nil || !r.st.Def.Abandon) || typ.Nested == nil && typ.Delete == nil {
		return nil, r.gone(row)
	}
	if typ.Nested != nil {
		return nil, r.deleteNested(row)
	}
	if row.Action != Delete || row.Status != InProgress || row.Op != r.st.Op {
		row.Op, row.Begun = r.st.Op, r.e.now()
		r.state(row, Delete, InProgress, "state changed")
	}
	props, err := r.rowProps(row, typ)
	if err != nil {
		props = &resources.Props{}
	}
	if typ.Pure {
		res := r.resource(row, typ, props)
		if _, err := typ.Delete(r.ctx, res); err != nil {
			r.failDelete(row, err)
			return nil, false
		}
		return nil, r.gone(row)
	}
	return &task{row: row, typ: typ, props: props, def: *row.Def(), res: r.resource(row, typ, props), step: deleteStep(row, typ)}, false
}

// deleteStep deletes a resource; with the deletion policy Snapshot after its contents were copied. The copy
// stays.
func deleteStep(row *Row, typ *resources.Type) func(context.Context, *resources.Resource) (resources.Step, error) {
	if row.Def().Deletion != "snapshot" || typ.Snapshot == nil || row.PhysicalID == "" {
		return typ.Delete
	}
	return func(ctx context.Context, res *resources.Resource) (resources.Step, error) {
		if res.Data["_copied"] != true {
			step, err := typ.Snapshot(ctx, res)
			if err != nil || !step.Done {
				return step, err
			}
			res.Data["_copied"] = true
			if err := res.Host.Save(ctx, res); err != nil {
				return resources.Step{}, err
			}
		}
		return typ.Delete(ctx, res)
	}
}

// gone takes in that a resource is deleted. It tells whether the row went too: a hook may keep it.
func (r *run) gone(row *Row) bool {
	if r.hookSet(row.Name, "post-delete") && !r.passed(row, "post-delete") {
		row.Op = r.st.Op
		r.state(row, Delete, Complete, "state changed")
		if r.pauseAt(row, Delete, "post") {
			return false
		}
	}
	r.removeRow(row)
	return true
}

func (r *run) deleteNested(row *Row) (gone bool) {
	state, err := r.childState(row)
	if err != nil {
		r.failDelete(row, err)
		return false
	}
	if state == nil || !state.Deleted.IsZero() {
		return r.gone(row)
	}
	mine := row.Action == Delete && row.Status == InProgress && row.Op == r.st.Op
	switch {
	case !mine && state.Action == Delete && state.Status == InProgress:
		row.Op, row.Begun = r.st.Op, r.e.now()
		r.state(row, Delete, InProgress, "state changed")
	case mine && state.Status == Failed:
		r.failDelete(row, nestedError{state.Fail})
	case !mine || state.Status == Complete && state.Action != Delete:
		child, err := r.child(row)
		switch {
		case err != nil:
			r.failDelete(row, err)
			return false
		case child == nil:
			return r.gone(row)
		}
		if !mine {
			row.Op, row.Begun = r.st.Op, r.e.now()
			r.state(row, Delete, InProgress, "state changed")
		}
		child.Def.Abandon = r.st.Def.Abandon && r.st.Action == Delete
		r.beginChild(child, Delete)
		r.later(func(tx *store.Tx) error { return UpdateStack(tx, child) })
	}
	return false
}

func (r *run) finishDelete(o outcome, left map[*Row]bool) {
	row := o.row
	row.PhysicalID = o.res.PhysicalID
	row.SetData(o.res.Data)
	r.touch(row)
	switch {
	case o.err != nil && r.ctx.Err() != nil:
	case o.err != nil:
		r.failDelete(row, o.err)
	case o.result.Done:
		if r.gone(row) {
			delete(left, row)
		}
	default:
		r.wait(o.result)
	}
}

func (r *run) failDelete(row *Row, err error) {
	f := Failure{Type: "Error", Path: pathPart(r.t != nil && r.t.Generated, row.Name)}
	var nested nestedError
	if errors.As(err, &nested) {
		f.Type, f.Msg = nested.f.Type, nested.f.Msg
		if nested.f.Path != "" {
			f.Path += "." + nested.f.Path
		}
	} else {
		f.Msg = err.Error()
		if row.Pos() != "" {
			f.Msg += " (" + row.Pos() + ")"
		}
	}
	row.Op = r.st.Op
	r.state(row, Delete, Failed, f.Reason())
	if !r.failed {
		r.failed, r.st.Fail = true, f
	}
}

// removeRow forgets a resource that does not exist any more.
func (r *run) removeRow(row *Row) {
	if row.Action != Delete || row.Status != Complete {
		row.Action, row.Status, row.Reason = Delete, Complete, "state changed"
		r.event(row)
	}
	delete(r.dirty, row)
	r.e.naps.drop(row.ID)
	if r.rows[row.Name] == row {
		delete(r.rows, row.Name)
	}
	r.old = slices.DeleteFunc(r.old, func(o *Row) bool { return o == row })
	id := row.ID
	r.later(func(tx *store.Tx) error {
		if _, err := tx.Exec("DELETE FROM heat_inbox WHERE resource_id = ?", id); err != nil {
			return err
		}
		_, err := tx.Exec("DELETE FROM heat_resources WHERE id = ?", id)
		return err
	})
}
