package engine

import (
	"errors"
	"time"

	"github.com/tripleo/tripleo/internal/store"
)

// childState is how a nested stack is, without what it holds: that of a group's members is looked at in each run of the
// group, and what they hold in few.
type childState struct {
	ID, Name, ProjectID    string
	Action, Status, Reason string
	Fail                   Failure
	Volatile               bool
	Deleted                time.Time
}

func (s *Stack) state() *childState {
	return &childState{ID: s.ID, Name: s.Name, ProjectID: s.ProjectID, Action: s.Action, Status: s.Status, Reason: s.Reason, Fail: s.Fail, Volatile: s.Volatile, Deleted: s.Deleted}
}

func (r *run) loadChildren() error {
	if r.children != nil {
		return nil
	}
	r.children = map[string]*childState{}
	return r.e.cfg.DB.View(r.ctx, func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			c := &childState{}
			var volatile int64
			err := scan(&c.ID, &c.Name, &c.ProjectID, &c.Action, &c.Status, &c.Reason, store.JSON(&c.Fail), &volatile, store.Time(&c.Deleted))
			c.Volatile = volatile != 0
			r.children[c.ID] = c
			return store.Wrap(err)
		}, "SELECT id, name, project_id, action, status, status_reason, fail, volatile, deleted_at FROM heat_stacks WHERE parent_id = ?", r.st.ID)
	})
}

// childState returns how the nested stack of a row was when the run began, or what this run made of it; nil if there is
// none.
func (r *run) childState(row *Row) (*childState, error) {
	if row.PhysicalID == "" {
		return nil, nil //nolint:nilnil // a row without a stack is no error
	}
	if st := r.whole[row.PhysicalID]; st != nil {
		return st.state(), nil
	}
	if err := r.loadChildren(); err != nil {
		return nil, err
	}
	return r.children[row.PhysicalID], nil
}

// child returns the nested stack of a row with all it holds, nil if there is none.
func (r *run) child(row *Row) (*Stack, error) {
	if row.PhysicalID == "" {
		return nil, nil //nolint:nilnil // a row without a stack is no error
	}
	if st, ok := r.whole[row.PhysicalID]; ok {
		return st, nil
	}
	var st *Stack
	err := r.e.cfg.DB.View(r.ctx, func(tx *store.Tx) (err error) {
		st, err = GetStack(tx, row.PhysicalID)
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if err != nil || st.ParentID != r.st.ID {
		st = nil
	}
	r.know(row.PhysicalID, st)
	return st, nil
}

func (r *run) know(id string, st *Stack) {
	if r.whole == nil {
		r.whole = map[string]*Stack{}
	}
	r.whole[id] = st
}

// loadWhole reads all nested stacks together, for what needs every one of them.
func (r *run) loadWhole() error {
	return r.e.cfg.DB.View(r.ctx, func(tx *store.Tx) error {
		list, err := FindStacks(tx, "parent_id = ? AND deleted_at = 0", r.st.ID)
		for _, c := range list {
			if _, ok := r.whole[c.ID]; !ok {
				r.know(c.ID, c)
			}
		}
		return err
	})
}
