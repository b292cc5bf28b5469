package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// nestedError is the failure of a nested stack.
type nestedError struct{ f Failure }

func (n nestedError) Error() string { return n.f.Reason() }

// startNested creates or updates the stack below a resource. The resource's row says IN_PROGRESS in the
// same transaction as the new state of the child, so neither exists without the other.
func (r *run) startNested(g *graph, row *Row, typ *resources.Type, props *resources.Props, used *hot.Mapping) error {
	child, err := r.child(row)
	if err != nil {
		return err
	}
	if child != nil && !child.Deleted.IsZero() {
		child = nil
	}
	if child != nil && child.Status == InProgress {
		// Left over from an operation that was given up. It ends soon, then it is our turn.
		row.Data()["_pending"] = true
		r.cancelChild(child.ID)
		r.state(row, Update, InProgress, "state changed")
		return nil
	}
	delete(row.Data(), "_pending")
	res := r.resource(row, typ, props)
	res.Action = Create
	if child != nil {
		res.Action, res.Outputs = Update, child.Outputs
	}
	n, err := typ.Nested(res, r.uses[row.Name])
	if err != nil {
		return err
	}
	row.SetData(res.Data)
	row.setMore(n)
	def, err := r.nestedDefinition(row, n, used)
	if err != nil {
		return err
	}
	ctx := Context{Metadata: row.Def().Metadata, DeletionPolicy: row.Def().Deletion, UpdatePolicy: row.Def().UpdatePolicy, Path: r.path(row.Name)}
	if child == nil {
		return r.createChild(row, n, def, ctx)
	}
	if child.Status == Complete && child.Action != Delete && !child.Volatile && sameDef(child.Def, def) && sameContext(child.Context, ctx) {
		row.Op = r.st.Op
		if n.More {
			r.state(row, Update, InProgress, "state changed")
			g.waiting(row.Name)
			r.wait(resources.Wait(n.Pause))
			return nil
		}
		if row.Status == Complete {
			r.touch(row)
			g.finished(row.Name)
			return nil
		}
		r.complete(g, row)
		return nil
	}
	child.Def, child.Context = def, ctx
	r.beginChild(child, Update)
	r.later(func(tx *store.Tx) error { return UpdateStack(tx, child) })
	r.state(row, Update, InProgress, "state changed")
	return nil
}

// beginChild puts a child into a new operation; the caller stores it.
func (r *run) beginChild(child *Stack, action string) {
	child.Action, child.Status, child.Reason = action, InProgress, "Stack "+action+" started"
	child.Op++
	child.OpStarted, child.Deadline, child.Cancel, child.Fail = r.e.now(), r.st.Deadline, false, Failure{}
	child.TrustID = r.st.TrustID
	if action == Update {
		child.Updated = r.e.now()
	}
	r.events = append(r.events, r.e.stackEvent(child))
	r.later(func(tx *store.Tx) error {
		r.e.publish(tx, child)
		return r.e.cfg.Jobs.Poke(tx, JobStack, child.ID, nil)
	})
}

func (r *run) createChild(row *Row, n *resources.Nested, def Definition, ctx Context) error {
	if r.st.Depth+1 > r.e.cfg.Limits.Depth {
		return fmt.Errorf("recursion depth exceeds %d: stacks are nested too deeply", r.e.cfg.Limits.Depth)
	}
	name := n.Name
	if name == "" {
		name = resources.PhysicalName(r.st.Name, row.Name, row.ID, 0)
	}
	child := &Stack{ID: newID(), Name: name, ProjectID: r.st.ProjectID, UserID: r.st.UserID, Username: r.st.Username, ParentID: r.st.ID,
		ParentResource: row.Name, RootID: r.st.RootID, Depth: r.st.Depth + 1, Def: def, Context: ctx, DisableRollback: true, TimeoutMins: r.st.TimeoutMins, Created: r.e.now()}
	action := Create
	if r.st.Action == Adopt {
		action = Adopt
		entry, err := r.adoption(row.Name)
		if err == nil {
			child.Def.AdoptID, err = r.e.storeAdoption(r.ctx, entry)
		}
		if err != nil {
			return err
		}
	}
	if err := r.checkResourceLimit(1); err != nil {
		return err
	}
	r.beginChild(child, action)
	if n.Timeout > 0 {
		child.Deadline = r.e.now().Add(n.Timeout)
	}
	row.PhysicalID = child.ID
	r.know(child.ID, child)
	// Before the poke of beginChild runs, in the same transaction, the row must exist.
	r.fns = append([]func(*store.Tx) error{func(tx *store.Tx) error { return InsertStack(tx, child) }}, r.fns...)
	if row.Status != InProgress {
		r.state(row, row.Action, InProgress, "state changed")
	}
	r.touch(row)
	return nil
}

func sameDef(a, b Definition) bool {
	return a.TemplateID == b.TemplateID && a.FilesID == b.FilesID && a.EnvID == b.EnvID && hot.Equal(mapOrNil(a.Params), mapOrNil(b.Params))
}

func sameContext(a, b Context) bool {
	return a.DeletionPolicy == b.DeletionPolicy && hot.Equal(mapOrNil(a.Metadata), mapOrNil(b.Metadata)) && hot.Equal(mapOrNil(a.UpdatePolicy), mapOrNil(b.UpdatePolicy))
}

func (r *run) nestedDefinition(row *Row, n *resources.Nested, used *hot.Mapping) (Definition, error) {
	raw := rawTemplate{File: n.File, Text: n.Text, Generated: n.Generated}
	if n.FromFiles {
		var err error
		if raw.Text, err = r.e.fetchTemplate(r.ctx, n.File, r.files); err != nil {
			return Definition{}, err
		}
	}
	if n.Template != nil {
		b, err := yaml11.EncodeJSON(n.Template)
		if err != nil {
			return Definition{}, fmt.Errorf("template of %s: %w", row.Name, err)
		}
		raw.Value = rawMessage(string(b))
	}
	b, err := json.Marshal(raw)
	if err != nil {
		return Definition{}, fmt.Errorf("template of %s: %w", row.Name, err)
	}
	def := Definition{FilesID: r.st.Def.FilesID, Params: n.Params, BatchSize: n.BatchSize, BatchPause: n.BatchPause}
	if def.Params == nil {
		def.Params = yaml11.NewMap()
	}
	if def.TemplateID, err = r.e.ensureRaw(r.ctx, b); err != nil {
		return def, err
	}
	def.EnvID, err = r.e.childEnvID(r.ctx, r.st.Def.EnvID, r.env, row.Name, used)
	return def, err
}

// checkNested looks at the stack below a resource in progress.
func (r *run) checkNested(g *graph, row *Row, typ *resources.Type, used *hot.Mapping) error {
	child, err := r.childState(row)
	if err != nil {
		return err
	}
	if child == nil {
		return fmt.Errorf("the nested stack %s does not exist any more", row.PhysicalID)
	}
	if row.Data()["_pending"] == true {
		if child.Status == InProgress {
			g.waiting(row.Name)
			return nil
		}
		props, err := r.rowProps(row, typ)
		if err != nil {
			return err
		}
		return r.startNested(g, row, typ, props, used)
	}
	switch child.Status {
	case Complete:
		if left, more := row.moreIn(r.e.now()); more && left > 0 {
			r.touch(row)
			g.waiting(row.Name)
			r.wait(resources.Wait(left))
			return nil
		} else if more {
			props, err := r.rowProps(row, typ)
			if err != nil {
				return err
			}
			return r.startNested(g, row, typ, props, used)
		}
		r.complete(g, row)
	case Failed:
		f := child.Fail
		if f.Msg == "" {
			f.Msg = child.Reason
		}
		return nestedError{f}
	default:
		g.waiting(row.Name)
	}
	return nil
}

// cancelChild asks a child to give up what it is doing.
func (r *run) cancelChild(id string) {
	r.later(func(tx *store.Tx) error {
		n, err := tx.Exec("UPDATE heat_stacks SET cancel = 1 WHERE id = ? AND status = ? AND action <> ?", id, InProgress, Delete)
		if err != nil || n == 0 {
			return err
		}
		return r.e.cfg.Jobs.Poke(tx, JobStack, id, nil)
	})
}

// ensureRaw stores a document and returns its id; what is known to be stored costs nothing.
func (e *Engine) ensureRaw(ctx ctxType, data []byte) (string, error) {
	id := rawID(data)
	e.mu.Lock()
	known := e.stored[id]
	e.mu.Unlock()
	if known {
		return id, nil
	}
	err := e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		return putRaw(tx, data, e.now())
	})
	if err != nil {
		return "", err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.stored) > 50_000 {
		clear(e.stored)
	}
	e.stored[id] = true
	return id, nil
}

// pause returns how long a batch still has to wait before the next begins.
func (r *run) pause() time.Duration {
	if r.st.Def.BatchPause == 0 || r.st.Def.BatchSize == 0 {
		return 0
	}
	var last time.Time
	for _, row := range r.rows {
		if row.Op == r.st.Op && row.Updated.After(last) {
			last = row.Updated
		}
	}
	return last.Add(r.st.Def.BatchPause).Sub(r.e.now())
}

// setMore notes whether the stack below the row changes in another batch after this one.
func (row *Row) setMore(n *resources.Nested) {
	delete(row.Data(), "_more")
	delete(row.Data(), "_next")
	if n.More {
		row.Data()["_more"] = n.Pause.Seconds()
	}
}

// moreIn tells whether another batch follows now that one is done, and how long it has to wait.
func (row *Row) moreIn(now time.Time) (time.Duration, bool) {
	var pause float64
	switch v := row.Data()["_more"].(type) {
	case float64:
		pause = v
	case int64:
		pause = float64(v)
	default:
		return 0, false
	}
	next, err := time.Parse(time.RFC3339Nano, hot.PyStr(row.Data()["_next"]))
	if err != nil {
		next = now.Add(time.Duration(pause * float64(time.Second)))
		row.Data()["_next"] = next.Format(time.RFC3339Nano)
	}
	return next.Sub(now), true
}

// fetchTemplate reads a template that came with the stack, or from a web address.
func (e *Engine) fetchTemplate(ctx context.Context, address string, files map[string]string) (string, error) {
	if text, ok := files[address]; ok {
		return text, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("the template %q is neither among the files of the stack nor at an http or https address", address)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", fmt.Errorf("template %s: %w", address, err)
	}
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		return "", fmt.Errorf("template %s: %w", address, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, int64(e.cfg.Limits.TemplateSize)+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("template %s: %w", address, err)
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("template %s: the server answers %s", address, resp.Status)
	case len(data) > e.cfg.Limits.TemplateSize:
		return "", fmt.Errorf("template %s is larger than %d bytes", address, e.cfg.Limits.TemplateSize)
	}
	return string(data), nil
}
