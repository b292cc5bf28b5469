package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
)

// JobSnapshot is the kind of the jobs that delete snapshots.
const JobSnapshot = "heat.snapshot"

// StackSnapshot is a row of heat_snapshots: the definition of a stack at a time, with the copies its
// resources made of what they hold (heat_copies, by the path of the resource).
type StackSnapshot struct {
	ID, StackID, Name string
	Status, Reason    string
	Def               Definition
	Data              *Map // what Export returned when it was complete
	Created           time.Time
}

const snapshotColumns = "id, stack_id, name, status, status_reason, definition, data, created_at"

// FindSnapshots returns snapshots by a condition, without those that are being deleted.
func FindSnapshots(tx *store.Tx, where string, args ...any) ([]*StackSnapshot, error) {
	var out []*StackSnapshot
	err := tx.Each(func(scan func(...any) error) error {
		s := &StackSnapshot{}
		err := scan(&s.ID, &s.StackID, &s.Name, &s.Status, &s.Reason, tx.SealedJSON(&s.Def, "heat_snapshots.definition"), tx.SealedJSON(&s.Data, "heat_snapshots.data"), store.Time(&s.Created))
		out = append(out, s)
		return err
	}, "SELECT "+snapshotColumns+" FROM heat_snapshots WHERE doomed = 0 AND "+where, args...)
	return out, err
}

// GetSnapshot returns a snapshot of a stack.
func GetSnapshot(tx *store.Tx, stackID, id string) (*StackSnapshot, error) {
	list, err := FindSnapshots(tx, "stack_id = ? AND id = ?", stackID, id)
	if err == nil && len(list) == 0 {
		err = api.NotFound("The Snapshot (%s) for Stack (%s) could not be found.", id, stackID).Named("EntityNotFound")
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// TakeSnapshot begins SNAPSHOT and returns the snapshot that it makes.
func (e *Engine) TakeSnapshot(ctx context.Context, id, name string) (*StackSnapshot, error) {
	snap := &StackSnapshot{ID: newID(), StackID: id, Name: name, Status: InProgress, Reason: "Stack SNAPSHOT started", Created: e.now()}
	if name == "" {
		snap.Name = snap.ID
	}
	_, err := e.beginWith(ctx, id, func(tx *store.Tx, st *Stack) error {
		if st.Status == InProgress {
			return busy(st)
		}
		snap.Def = st.Def
		st.Action, st.Def.SnapshotID = Snapshot, snap.ID
		_, err := tx.Exec("INSERT INTO heat_snapshots ("+snapshotColumns+", doomed) VALUES (?, ?, ?, ?, ?, ?, 'null', ?, 0)",
			snap.ID, snap.StackID, snap.Name, snap.Status, snap.Reason, tx.SealedJSON(snap.Def, "heat_snapshots.definition"), store.At(snap.Created))
		return err
	})
	return snap, err
}

// finishSnapshot stores how a snapshot ended, with what the root stack is then.
func (r *run) finishSnapshot(status, reason string) error {
	if r.st.ParentID != "" || r.st.Def.SnapshotID == "" {
		return nil
	}
	var data *Map
	if status == Complete {
		var err error
		if data, err = r.e.Export(r.ctx, r.st); err != nil {
			return err
		}
		data.Set("action", Snapshot)
		data.Set("status", Complete)
	}
	id := r.st.Def.SnapshotID
	r.st.Def.SnapshotID = ""
	r.stDirty = true
	r.later(func(tx *store.Tx) error {
		_, err := tx.Exec("UPDATE heat_snapshots SET status=?, status_reason=?, data=? WHERE id=?", status, reason, tx.SealedJSON(data, "heat_snapshots.data"), id)
		return err
	})
	return nil
}

func (r *run) saveCopy(row *Row, data map[string]any) {
	snapshot, path, target := r.st.Def.SnapshotID, r.path(row.Name), row.Target
	r.later(func(tx *store.Tx) error {
		_, err := tx.Exec("INSERT INTO heat_copies (snapshot_id, path, type, data) VALUES (?, ?, ?, ?) ON CONFLICT (snapshot_id, path) DO UPDATE SET data = excluded.data",
			snapshot, path, target, tx.SealedJSON(data, "heat_copies.data"))
		return err
	})
}

// RestoreSnapshot takes a stack back to a snapshot.
func (e *Engine) RestoreSnapshot(ctx context.Context, id, snapshotID string) error {
	_, err := e.beginWith(ctx, id, func(tx *store.Tx, st *Stack) error {
		snap, err := GetSnapshot(tx, id, snapshotID)
		if err != nil {
			return err
		}
		if st.Status == InProgress {
			return busy(st)
		}
		if snap.Status != Complete {
			return api.Invalid("The snapshot %s is %s; only a complete one can be restored.", snap.ID, snap.Status).Named("NotSupported")
		}
		prev := st.Def
		st.Previous = &prev
		st.Def, st.Action, st.Updated = snap.Def, Restore, e.now()
		st.Def.SnapshotID = snap.ID
		return nil
	})
	return err
}

// restored lets a resource's type change the properties with which it goes back to a snapshot.
func (r *run) restored(def *hot.ResourceDef, typ *resources.Type, props *resources.Props, rd RowDef) (*resources.Props, RowDef, error) {
	if r.st.Def.SnapshotID == "" || typ.Restore == nil {
		return props, rd, nil
	}
	data, err := r.e.copyOf(r.ctx, r.st.Def.SnapshotID, r.path(def.Name))
	if err != nil || data == nil {
		return props, rd, err
	}
	m := rd.Props.Clone()
	typ.Restore(&resources.Resource{Name: def.Name, Snapshot: data}, m)
	rd.Props = m
	props, err = resources.NewProps(typ, m, propPlace(def))
	return props, rd, err
}

func (e *Engine) copyOf(ctx context.Context, snapshot, path string) (map[string]any, error) {
	var data map[string]any
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) error {
		return tx.Get([]any{tx.SealedJSON(&data, "heat_copies.data")}, "SELECT data FROM heat_copies WHERE snapshot_id = ? AND path = ?", snapshot, path)
	})
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return data, err
}

// snapshotPolicy refuses the deletion policy Snapshot for types that cannot copy what they hold.
func snapshotPolicy(policy string, typ *resources.Type) error {
	if policy == "snapshot" && typ.Snapshot == nil {
		return fmt.Errorf("%q deletion policy not supported by %s", "Snapshot", typ.Name)
	}
	return nil
}

// DeleteSnapshot deletes a snapshot that is not being taken; the copies go in a job.
func (e *Engine) DeleteSnapshot(ctx context.Context, stackID, id string) error {
	return e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		snap, err := GetSnapshot(tx, stackID, id)
		if err != nil {
			return err
		}
		if snap.Status == InProgress {
			return api.Invalid("Deleting in-progress snapshot is not supported.").Named("NotSupported")
		}
		if _, err := tx.Exec("UPDATE heat_snapshots SET doomed = 1 WHERE id = ?", id); err != nil {
			return err
		}
		return e.cfg.Jobs.Poke(tx, JobSnapshot, id, nil)
	})
}

func (e *Engine) runSnapshot(ctx context.Context, j jobs.Job) jobs.Result {
	var st *Stack
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) error {
		var stackID string
		if err := tx.Get([]any{&stackID}, "SELECT stack_id FROM heat_snapshots WHERE id = ?", j.Key); err != nil {
			return err
		}
		var err error
		st, err = GetStack(tx, stackID)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return jobs.Done()
	}
	if err == nil {
		err = e.dropSnapshot(ctx, st, j.Key)
	}
	if err != nil {
		return jobs.Fail(err)
	}
	return jobs.Done()
}

// dropSnapshot deletes the copies of a snapshot, then the snapshot.
func (e *Engine) dropSnapshot(ctx context.Context, st *Stack, id string) error {
	type held struct {
		path, typ string
		data      map[string]any
	}
	var list []held
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var c held
			err := scan(&c.path, &c.typ, tx.SealedJSON(&c.data, "heat_copies.data"))
			list = append(list, c)
			return err
		}, "SELECT path, type, data FROM heat_copies WHERE snapshot_id = ?", id)
	})
	if err != nil {
		return err
	}
	r := &run{e: e, ctx: ctx, st: st}
	for _, c := range list {
		typ := e.types[c.typ]
		if typ == nil || typ.DropSnapshot == nil {
			continue
		}
		res := &resources.Resource{Name: c.path, TypeName: c.typ, StackID: st.ID, StackName: st.Name, ProjectID: st.ProjectID, Snapshot: c.data,
			Data: map[string]any{}, Host: &host{r: r, trust: st.TrustID}}
		if err := typ.DropSnapshot(ctx, res); err != nil {
			return fmt.Errorf("copy of %s in snapshot %s: %w", c.path, id, err)
		}
	}
	return e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec("DELETE FROM heat_copies WHERE snapshot_id = ?", id); err != nil {
			return err
		}
		_, err := tx.Exec("DELETE FROM heat_snapshots WHERE id = ?", id)
		return err
	})
}

// dropSnapshots deletes all snapshots of a stack that is being deleted, before its trust goes.
func (r *run) dropSnapshots() error {
	if r.st.ParentID != "" {
		return nil
	}
	var ids []string
	err := r.e.cfg.DB.View(r.ctx, func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			ids = append(ids, id)
			return err
		}, "SELECT id FROM heat_snapshots WHERE stack_id = ?", r.st.ID)
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := r.e.dropSnapshot(r.ctx, r.st, id); err != nil {
			return err
		}
	}
	return nil
}
