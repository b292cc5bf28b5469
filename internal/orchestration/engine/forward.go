package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// parallel is how many steps with effects one stack runs at the same time.
const parallel = 16

// batchSize is how many pure resources go into one transaction.
const batchSize = 500

// task is a step of a resource that has an effect, on its way to a goroutine.
type task struct {
	row   *Row
	typ   *resources.Type
	props *resources.Props
	def   RowDef // to store when done
	res   *resources.Resource
	uses  []resources.AttrUse
	keep  bool    // ask Keep first
	first []*task // deletions that must be over before this begins, see Type.DeleteFirst
	step  func(ctx context.Context, res *resources.Resource) (resources.Step, error)
}

type outcome struct {
	*task
	result resources.Step
	attrs  *Map
	gone   []*Row // of first
	err    error
	seq    uint64 // publication before the step
}

// forward creates and updates resources in the order of the graph, then removes what is not wanted.
func (r *run) forward() error {
	if err := r.prepare(); err != nil {
		return r.abort(Failure{Msg: hot.List(err).Error()})
	}
	g := newGraph(r)
	done := make(chan outcome)
	inflight := 0
	defer func() {
		for ; inflight > 0; inflight-- {
			<-done
		}
	}()
	sem := make(chan struct{}, parallel)
	for {
		var tasks []*task
		for !r.failed {
			if p := r.pause(); p > 0 && len(g.running) == 0 && g.open < len(r.names) {
				r.wait(resources.Wait(p))
				break
			}
			name, ok := g.next()
			if !ok {
				break
			}
			t, err := r.begin(g, name)
			if err != nil {
				r.failResource(g, name, err)
				break
			}
			if t != nil {
				tasks = append(tasks, t)
			}
			if len(r.dirty) >= batchSize {
				if err := r.flush(); err != nil {
					return err
				}
			}
		}
		if err := r.flush(); err != nil { // state first, then effect
			return err
		}
		if r.st.Cancel {
			return r.abort(Failure{Msg: canceled(r.st)})
		}
		for _, t := range tasks {
			inflight++
			go func() {
				sem <- struct{}{}
				o := r.perform(t)
				<-sem
				done <- o
			}()
		}
		if inflight == 0 {
			break
		}
		o := <-done
		inflight--
		r.finishTask(g, o)
	}
	switch {
	case r.failed:
		return r.abort(r.st.Fail)
	case g.open > 0:
		return r.flush()
	}
	return r.cleanup()
}

// perform runs one step in a goroutine. Panics of a type fail its resource, not the process.
func (r *run) perform(t *task) (o outcome) {
	o = outcome{task: t, seq: r.e.cfg.Bus.Seq()}
	defer func() {
		if p := recover(); p != nil {
			o.err = fmt.Errorf("internal error in %s: %v", t.typ.Name, p)
		}
	}()
	for _, f := range t.first {
		if o.result, o.err = f.step(r.ctx, f.res); o.err != nil || !o.result.Done {
			return o.forgive()
		}
		o.gone = append(o.gone, f.row)
	}
	if t.keep {
		ok, err := t.typ.Keep(r.ctx, t.res)
		if err != nil || !ok {
			o.result, o.err = resources.Replace(), err
			return o
		}
	}
	if o.err = r.custom(t); o.err != nil {
		return o.forgive()
	}
	o.result, o.err = t.step(r.ctx, t.res)
	if o.err == nil && o.result.Done {
		o.attrs, o.err = fetchAttrs(r.ctx, t.typ, t.res, t.uses, nil)
	}
	return o.forgive()
}

// custom asks the services whether the properties meet their custom constraints, once before the first step
// of a creation or an update. What other resources gave was unknown when the template was validated.
func (r *run) custom(t *task) error {
	if a := t.row.Action; r.check == nil || a != Create && a != Update || t.row.Def().External || t.res.Data["_checked"] == r.st.Op {
		return nil
	}
	err := r.check.Available(r.ctx, t.typ)
	if err == nil {
		err = r.check.Check(r.ctx, t.props, propPlace(r.t.Resource(t.row.Name)))
	}
	if err == nil {
		t.res.Data["_checked"] = r.st.Op
	}
	return err
}

// maxRetries is how often a step is tried again after an error that may pass, some 3 s apart.
const maxRetries = 20

// forgive turns the error of a service that cannot be reached, or is overloaded, into waiting. Steps are
// re-entrant, so trying again is always right.
func (o outcome) forgive() outcome {
	if o.err == nil {
		delete(o.res.Data, "_retries")
		return o
	}
	var failed *resources.FailedError
	if errors.As(o.err, &failed) || !resources.Transient(o.err) {
		return o
	}
	n, _ := o.res.Data["_retries"].(int64)
	if n >= maxRetries {
		return o
	}
	o.res.Data["_retries"] = n + 1
	o.result, o.err = resources.Wait(3*time.Second), nil
	return o
}

// fetchAttrs asks a type for the attributes that somebody refers to.
func fetchAttrs(ctx context.Context, typ *resources.Type, res *resources.Resource, uses []resources.AttrUse, have *Map) (*Map, error) {
	out := yaml11.NewMap()
	for k, v := range have.All() {
		out.Set(k, v)
	}
	if typ.Attr == nil {
		return out, nil
	}
	want := []string{}
	for _, u := range uses {
		if u.Attr == "" {
			for _, a := range typ.Attrs {
				want = append(want, a.Name)
			}
			continue
		}
		want = append(want, u.Attr)
	}
	for _, a := range want {
		if _, ok := out.Get(a); ok {
			continue
		}
		if typ.KnownAttr(a) != nil {
			continue // the reference is reported where it stands
		}
		v, err := typ.Attr(ctx, res, a)
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", a, err)
		}
		out.Set(a, yaml11.Normalize(v))
	}
	return out, nil
}

// begin decides what becomes of a resource whose dependencies are there. It returns a task when that
// needs a step with effects.
func (r *run) begin(g *graph, name string) (*task, error) {
	def := r.t.Resource(name)
	row := r.rows[name]
	target, used, err := r.env.Registry.Resolve(def.Type, name)
	if err != nil {
		return nil, &hot.Error{Pos: def.Pos, Path: "resources." + name + ".type", Msg: err.Error()}
	}
	typ, err := r.e.typeOf(target, r.files)
	if err != nil {
		return nil, placeType(def, err)
	}
	if row != nil && row.Op == r.st.Op && row.Status == InProgress {
		return r.resumeTask(g, row, typ, def, used)
	}
	if r.waitsAtHook(row) {
		g.waiting(name)
		return nil, nil
	}
	props, rd, err := r.definition(def, typ)
	if err != nil {
		return nil, err
	}
	rd.Requires = r.deps[name]
	if props, rd, err = r.restored(def, typ, props, rd); err != nil {
		return nil, err
	}
	if err := r.sameExternal(row, def, rd); err != nil {
		return nil, err
	}
	unhealthy := row != nil && row.Action == Check && row.Status == Failed && (typ.Nested == nil || r.marked(row))
	switch {
	case row == nil && r.st.Action == Adopt:
		return r.adopt(g, name, def, target, typ, props, rd, used)
	case row == nil || row.Action == Init:
		return r.create(g, name, def, target, typ, props, rd, used)
	case row.Target != target && !(hot.IsTemplate(row.Target) && hot.IsTemplate(target)):
		return r.replace(g, row, def, target, typ, props, rd, used)
	case unhealthy:
		return r.replace(g, row, def, target, typ, props, rd, used)
	case row.Status == Complete && row.Action != Delete && row.Action != Init:
		return r.update(g, row, def, target, typ, props, rd, used)
	}
	// It failed, or an operation that was replaced left it half done.
	if typ.Nested == nil && typ.Keep == nil {
		return r.replace(g, row, def, target, typ, props, rd, used)
	}
	return r.change(g, row, target, typ, props, rd, used, typ.Nested == nil)
}

// sameExternal refuses another external_id for a resource that exists.
func (r *run) sameExternal(row *Row, def *hot.ResourceDef, rd RowDef) error {
	if row == nil || row.Action == Init || !rd.External && !row.Def().External {
		return nil
	}
	at := &hot.Error{Pos: def.Pos, Path: "resources." + def.Name + ".external_id", Msg: "Update to property external_id of " + def.Name + " is not supported"}
	if !rd.External || !row.Def().External {
		return at
	}
	v, err := r.ev.Value(def.ExternalID)
	if err == nil && hot.PyStr(v) != row.PhysicalID {
		return at
	}
	return err
}

// marked tells whether somebody marked a nested stack unhealthy; one that failed a check is unhealthy only
// where its own resources are.
func (r *run) marked(row *Row) bool {
	child, err := r.childState(row)
	return err == nil && child != nil && !(child.Action == Check && child.Status == Failed)
}

func placeType(def *hot.ResourceDef, err error) error {
	var l hot.Errors
	if errors.As(err, &l) { // the faults of a template file have their own places
		return l
	}
	return &hot.Error{Pos: def.Pos, Path: "resources." + def.Name + ".type", Msg: err.Error(), Err: err}
}

// definition computes the properties and the rest of a resource's definition.
func (r *run) definition(def *hot.ResourceDef, typ *resources.Type) (*resources.Props, RowDef, error) {
	rd := RowDef{Pos: def.Pos, Description: def.Description, External: def.ExternalID != nil}
	raw, err := r.ev.Value(def.Properties)
	if err != nil {
		return nil, rd, err
	}
	m, ok := raw.(*Map)
	if !ok && raw != nil {
		return nil, rd, &hot.Error{Pos: def.Properties.Pos(), Path: def.Properties.Path(), Msg: "properties must be a map, got " + hot.KindOf(raw)}
	}
	rd.Props = clean(m)
	props, err := resources.NewProps(typ, rd.Props, propPlace(def))
	if err != nil {
		return nil, rd, err
	}
	meta, err := r.ev.Value(def.Metadata)
	if err != nil {
		return nil, rd, err
	}
	rd.Metadata, _ = meta.(*Map)
	up, err := r.ev.Value(def.UpdatePolicy)
	if err != nil {
		return nil, rd, err
	}
	rd.UpdatePolicy, _ = up.(*Map)
	dp, err := r.ev.Value(def.DeletionPolicy)
	if err != nil {
		return nil, rd, err
	}
	if rd.Deletion, err = hot.Policy(dp); err == nil {
		err = snapshotPolicy(rd.Deletion, typ)
	}
	if err != nil {
		return nil, rd, &hot.Error{Pos: def.DeletionPolicy.Pos(), Path: def.DeletionPolicy.Path(), Msg: err.Error()}
	}
	return props, rd, nil
}

// clean drops what is unknown at the time of use: it counts as null, as in Heat.
func clean(m *Map) *Map {
	if m == nil {
		return yaml11.NewMap()
	}
	if !hot.HasUnknown(m) {
		return m
	}
	return known(m).(*Map)
}

func known(v any) any {
	switch x := v.(type) {
	case hot.Unknown:
		return nil
	case *Map:
		out := yaml11.NewMap()
		for k, e := range x.All() {
			out.Set(k, known(e))
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = known(e)
		}
		return out
	}
	return v
}

// propPlace finds the expression of a property by its path.
func propPlace(def *hot.ResourceDef) func(path []string) *hot.Expr {
	return func(path []string) *hot.Expr {
		e := def.Properties
		for _, p := range path {
			if e = e.At(p); e == nil {
				return nil
			}
		}
		return e
	}
}

func (r *run) create(g *graph, name string, def *hot.ResourceDef, target string, typ *resources.Type, props *resources.Props, rd RowDef, used *hot.Mapping) (*task, error) {
	row := r.newRow(name, def, target, rd)
	if r.pauseAt(row, Create, "pre") {
		g.waiting(name)
		return nil, nil
	}
	row.Op, row.Begun = r.st.Op, r.e.now()
	if def.ExternalID != nil {
		v, err := r.ev.Value(def.ExternalID)
		if err != nil {
			return nil, err
		}
		row.PhysicalID = hot.PyStr(v)
		r.state(row, Check, InProgress, "state changed")
		return &task{row: row, typ: typ, props: props, def: *row.Def(), res: r.resource(row, typ, props), uses: r.uses[name],
			step: func(context.Context, *resources.Resource) (resources.Step, error) { return resources.Done(), nil }}, nil
	}
	r.state(row, Create, InProgress, "state changed")
	return r.carryOut(g, row, typ, props, rd, used, typ.Create, false)
}

// newRow returns the row of a resource that is to be made: a new one, or the one that waited for that.
func (r *run) newRow(name string, def *hot.ResourceDef, target string, rd RowDef) *Row {
	if row := r.rows[name]; row != nil && row.Action == Init && !row.Replaced {
		row.Type, row.Target = def.Type, target
		row.SetDef(rd)
		return row
	}
	now := r.e.now()
	row := newRow(r.st.ID, name, def.Type, target, rd, now)
	row.Action, row.Status = Init, Complete
	r.rows[name] = row
	return row
}

// waitsAtHook tells whether a resource waits at a hook: before the update of this operation, or after what
// this operation did to it.
func (r *run) waitsAtHook(row *Row) bool {
	switch {
	case row == nil || row.Action == Init:
		return false // asked when it is made
	case row.Op == r.st.Op:
		return row.Hook() != ""
	}
	return r.st.Action != Adopt && r.pauseAt(row, Update, "pre")
}

// carryOut starts the work on a row that was just put in progress: a batch entry, a nested stack or a task.
func (r *run) carryOut(g *graph, row *Row, typ *resources.Type, props *resources.Props, rd RowDef, used *hot.Mapping,
	step func(context.Context, *resources.Resource) (resources.Step, error), keep bool) (*task, error) {
	switch {
	case typ.Nested != nil:
		return nil, r.startNested(g, row, typ, props, used)
	case typ.Pure:
		res := r.resource(row, typ, props)
		result, err := step(r.ctx, res)
		if err != nil {
			return nil, err
		}
		if result.Replace {
			return r.replace(g, row, r.t.Resource(row.Name), row.Target, typ, props, rd, used)
		}
		row.PhysicalID = res.PhysicalID
		row.SetData(res.Data)
		r.complete(g, row)
		return nil, nil
	}
	res := r.resource(row, typ, props)
	t := &task{row: row, typ: typ, props: props, def: rd, res: res, uses: r.uses[row.Name], keep: keep, step: step}
	if typ.DeleteFirst && row.Action == Create {
		t.first = r.deleteFirst(row.Name)
	}
	return t, nil
}

// deleteFirst begins the deletion of what a new resource replaces.
func (r *run) deleteFirst(name string) []*task {
	var out []*task
	for _, old := range r.old {
		typ, err := r.e.typeOf(old.Target, r.files)
		if old.Name != name || err != nil || typ.Delete == nil || typ.Nested != nil || old.Def().External || old.Def().Deletion == "retain" {
			continue
		}
		if old.Action != Delete || old.Status != InProgress || old.Op != r.st.Op {
			old.Op, old.Begun = r.st.Op, r.e.now()
			r.state(old, Delete, InProgress, "state changed")
		}
		props, err := r.rowProps(old, typ)
		if err != nil {
			props = &resources.Props{}
		}
		out = append(out, &task{row: old, typ: typ, props: props, def: *old.Def(), res: r.resource(old, typ, props), step: typ.Delete})
	}
	return out
}

func (r *run) complete(g *graph, row *Row) {
	row.Op = r.st.Op
	r.state(row, row.Action, Complete, "state changed")
	if (row.Action == Create || row.Action == Update) && r.pauseAt(row, row.Action, "post") {
		g.waiting(row.Name)
		return
	}
	g.finished(row.Name)
}

// update compares a healthy resource with its new definition.
func (r *run) update(g *graph, row *Row, def *hot.ResourceDef, target string, typ *resources.Type, props *resources.Props, rd RowDef, used *hot.Mapping) (*task, error) {
	old, err := r.rowProps(row, typ)
	if err != nil {
		return nil, err
	}
	if rd.External {
		row.Op = r.st.Op
		d := *row.Def()
		d.Requires, d.Deletion, d.Metadata = rd.Requires, rd.Deletion, rd.Metadata
		row.SetDef(d)
		r.touch(row)
		g.finished(row.Name)
		return nil, nil
	}
	changed := props.Changed(old)
	metaChanged := !hot.Equal(mapOrNil(rd.Metadata), mapOrNil(row.Def().Metadata))
	if typ.Nested != nil {
		return r.change(g, row, target, typ, props, rd, used, false)
	}
	if len(changed) == 0 && !metaChanged && !typ.AlwaysUpdate {
		row.Op, row.Type, row.Target = r.st.Op, def.Type, target
		row.SetDef(rd)
		r.touch(row)
		if r.st.Def.Converge && typ.Check != nil && !rd.External {
			return r.verify(row, typ, props, rd), nil
		}
		if typ.Pure || r.hasAttrs(row, typ) {
			g.finished(row.Name)
			return nil, nil
		}
		// Somebody refers to an attribute that was not asked for before.
		return &task{row: row, typ: typ, props: props, def: rd, res: r.resource(row, typ, props), uses: r.uses[row.Name],
			step: func(context.Context, *resources.Resource) (resources.Step, error) { return resources.Done(), nil }}, nil
	}
	if deny := r.env.Registry.Restricted(row.Name); contains(deny, "update") {
		return nil, errors.New("update is restricted for resource")
	}
	if name := props.Immutable(changed); name != "" {
		return nil, &hot.Error{Pos: def.Pos, Path: "resources." + row.Name + ".properties." + name, Msg: "updating this property is not allowed: it is immutable"}
	}
	name, ok := props.Updatable(changed)
	if typ.Update == nil && len(changed) > 0 || !ok {
		if typ.NeverReplace {
			return nil, &hot.Error{Pos: def.Pos, Path: "resources." + row.Name + ".properties." + name, Msg: "updating this property is not allowed: it would replace the resource"}
		}
		return r.replace(g, row, def, target, typ, props, rd, used)
	}
	return r.change(g, row, target, typ, props, rd, used, false)
}

// verify looks whether the real thing of an unchanged resource is still well; if not it is replaced.
func (r *run) verify(row *Row, typ *resources.Type, props *resources.Props, rd RowDef) *task {
	return &task{row: row, typ: typ, props: props, def: rd, res: r.resource(row, typ, props), uses: r.uses[row.Name],
		step: func(ctx context.Context, res *resources.Resource) (resources.Step, error) {
			if err := typ.Check(ctx, res); err != nil {
				if resources.Transient(err) {
					return resources.Step{}, err
				}
				return resources.Replace(), nil
			}
			return resources.Done(), nil
		}}
}

func contains(l []string, s string) bool {
	for _, e := range l {
		if e == s {
			return true
		}
	}
	return false
}

func (r *run) hasAttrs(row *Row, typ *resources.Type) bool {
	for _, u := range r.uses[row.Name] {
		if u.Attr == "" {
			for _, a := range typ.Attrs {
				if _, ok := row.Attrs().Get(a.Name); !ok {
					return false
				}
			}
			continue
		}
		if _, ok := row.Attrs().Get(u.Attr); !ok && typ.KnownAttr(u.Attr) == nil {
			return false
		}
	}
	return true
}

// change updates a resource in place.
func (r *run) change(g *graph, row *Row, target string, typ *resources.Type, props *resources.Props, rd RowDef, used *hot.Mapping, keep bool) (*task, error) {
	old, err := r.rowProps(row, typ)
	if err != nil {
		return nil, err
	}
	row.Op, row.Begun, row.Target, row.Type = r.st.Op, r.e.now(), target, r.t.Resource(row.Name).Type
	if typ.Nested == nil {
		changed := props.Changed(old)
		keys := make([]any, 0, len(changed))
		for k := range changed {
			keys = append(keys, k)
		}
		// Remembered for a restart in the middle: the new definition replaces the old one now.
		row.Data()["_changed"] = keys
		if keep {
			row.Data()["_repair"] = true
		}
		row.SetDef(rd)
		r.state(row, Update, InProgress, "state changed")
		step := typ.Update
		if step == nil {
			step = func(context.Context, *resources.Resource) (resources.Step, error) { return resources.Done(), nil }
		}
		t, err := r.carryOut(g, row, typ, props, rd, used, step, keep)
		if t != nil {
			t.res.Old, t.res.Changed = old, changed
		}
		return t, err
	}
	row.SetDef(rd)
	return nil, r.startNested(g, row, typ, props, used)
}

// replace makes a new resource of the same name; the old one is deleted when the stack is done.
func (r *run) replace(g *graph, row *Row, def *hot.ResourceDef, target string, typ *resources.Type, props *resources.Props, rd RowDef, used *hot.Mapping) (*task, error) {
	if deny := r.env.Registry.Restricted(row.Name); contains(deny, "replace") {
		return nil, errors.New("replace is restricted for resource")
	}
	row.Replaced = true
	r.touch(row)
	r.old = append(r.old, row)
	return r.create(g, row.Name, def, target, typ, props, rd, used)
}

// resumeTask goes on with a resource that is in progress in this operation.
func (r *run) resumeTask(g *graph, row *Row, typ *resources.Type, def *hot.ResourceDef, used *hot.Mapping) (*task, error) {
	if typ.Nested != nil {
		return nil, r.checkNested(g, row, typ, used)
	}
	if nap, ok := r.e.asleep(row); ok {
		g.waiting(row.Name)
		r.wait(nap)
		return nil, nil
	}
	props, err := r.rowProps(row, typ)
	if err != nil {
		return nil, err
	}
	if row.Def().External {
		return r.carryOut(g, row, typ, props, *row.Def(), used, func(context.Context, *resources.Resource) (resources.Step, error) { return resources.Done(), nil }, false)
	}
	step := typ.Create
	if row.Action == Adopt {
		step = adopted
	}
	if row.Action == Update {
		step = typ.Update
		if step == nil {
			step = func(context.Context, *resources.Resource) (resources.Step, error) { return resources.Done(), nil }
		}
	}
	t, err := r.carryOut(g, row, typ, props, *row.Def(), used, step, false)
	if t != nil && row.Action == Update {
		t.res.Changed = map[string]bool{}
		if l, ok := row.Data()["_changed"].([]any); ok {
			for _, k := range l {
				t.res.Changed[hot.PyStr(k)] = true
			}
		}
	}
	return t, err
}

// finishTask takes in the outcome of a step.
func (r *run) finishTask(g *graph, o outcome) {
	row := o.row
	row.PhysicalID = o.res.PhysicalID
	row.SetData(o.res.Data)
	r.touch(row)
	for _, f := range o.first {
		f.row.PhysicalID = f.res.PhysicalID
		f.row.SetData(f.res.Data)
		r.touch(f.row)
	}
	for _, gone := range o.gone {
		r.removeRow(gone)
	}
	switch {
	case o.err != nil && r.ctx.Err() != nil:
		// The process stops: the step runs again after the restart.
		g.waiting(row.Name)
	case o.err != nil:
		r.failResource(g, row.Name, o.err)
	case o.result.Replace:
		def := r.t.Resource(row.Name)
		if row.Action == Update {
			row.Status = Complete
		}
		t, err := r.replace(g, row, def, row.Target, o.typ, o.props, o.def, nil)
		if err != nil {
			r.failResource(g, row.Name, err)
			return
		}
		if t != nil {
			g.requeue(row.Name)
		}
	case o.result.Done:
		delete(row.Data(), "_changed")
		delete(row.Data(), "_repair")
		delete(row.Data(), "_checked")
		row.SetAttrs(o.attrs)
		row.SetDef(o.def)
		if row.Status == InProgress {
			r.complete(g, row)
		} else {
			g.finished(row.Name)
		}
	default:
		r.e.naps.put(row, o.result, o.seq, r.e.now(), r.e.cfg.SafetyPoll)
		g.waiting(row.Name)
		r.wait(o.result)
		return
	}
	r.e.naps.drop(row.ID)
}

func (r *run) wait(s resources.Step) {
	if s.Again > 0 && (r.again == 0 || s.Again < r.again) {
		r.again = s.Again
	}
	r.topics = append(r.topics, s.Topics...)
}

// failResource marks a resource failed and remembers the first failure of the operation.
func (r *run) failResource(g *graph, name string, err error) {
	row := r.rows[name]
	def := r.t.Resource(name)
	f := Failure{Type: "Error", Path: pathPart(r.t.Generated, name)}
	var nested nestedError
	var failed *resources.FailedError
	switch {
	case errors.As(err, &nested):
		f.Type, f.Msg = nested.f.Type, nested.f.Msg
		if nested.f.Path != "" {
			f.Path += "." + nested.f.Path
		}
	case errors.As(err, &failed):
		f.Msg = failed.Reason + at(def)
	default:
		if l := hot.List(err); len(l) > 0 && l[0].Pos != "" {
			f.Type, f.Msg = "StackValidationFailed", strings.ReplaceAll(l.Error(), "\n", "; ")
		} else {
			f.Msg = err.Error() + at(def)
		}
	}
	reason := f.Type + ": " + f.Path + ": " + f.Msg
	if row == nil {
		now := r.e.now()
		target, _, rerr := r.env.Registry.Resolve(def.Type, name)
		if rerr != nil {
			target = def.Type
		}
		row = newRow(r.st.ID, name, def.Type, target, RowDef{Pos: def.Pos, Props: yaml11.NewMap()}, now)
		row.Action = Create
		r.rows[name] = row
	} else if row.Op != r.st.Op {
		row.Action = map[bool]string{true: Create, false: Update}[row.Action == Init]
	}
	row.Op = r.st.Op
	r.state(row, row.Action, Failed, reason)
	g.waiting(name)
	if !r.failed {
		r.failed, r.st.Fail = true, f
	}
}

func at(def *hot.ResourceDef) string {
	if def == nil || def.Pos == "" {
		return ""
	}
	return " (" + def.Pos + ")"
}
