package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// EventQuery selects events.
type EventQuery struct {
	StackID, RootID                 string
	Depth, Levels                   int // of the stack; how many levels below it
	Resource, ID                    string
	Names, Types, Actions, Statuses []string
	Limit                           int
	Marker                          string
	Descending                      bool
	ByType                          bool // by the resource's type first, which TypeDescending turns round
	TypeDescending                  bool
}

// Events returns events in the order they happened, and the stacks they belong to by id.
func (e *Engine) Events(ctx context.Context, q EventQuery) ([]*Event, map[string]*Stack, error) {
	var out []*Event
	stacks := map[string]*Stack{}
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) error {
		where, args := []string{"stack_id = ?"}, []any{q.StackID}
		if q.Levels > 0 {
			all, err := ListStacks(tx, "root_id = ? AND depth >= ? AND depth <= ? ORDER BY depth", q.RootID, q.Depth, q.Depth+q.Levels)
			if err != nil {
				return err
			}
			for _, s := range all {
				if s.ID == q.StackID || stacks[s.ParentID] != nil {
					stacks[s.ID] = s
				}
			}
			where, args = []string{"root_id = ?"}, []any{q.RootID}
		} else {
			s, err := GetStack(tx, q.StackID)
			if err != nil {
				return err
			}
			stacks[s.ID] = s
		}
		if root, err := GetStack(tx, q.RootID); err == nil && stacks[root.ID] == nil {
			defer func() { stacks[root.ID] = root }()
		}
		for column, values := range map[string][]string{"resource_name": q.Names, "resource_type": q.Types, "action": q.Actions, "status": q.Statuses} {
			if len(values) > 0 {
				where, args = append(where, column+" IN "+store.In(len(values))), append(args, store.Args(values)...)
			}
		}
		if q.Resource != "" {
			where, args = append(where, "resource_name = ?"), append(args, q.Resource)
		}
		if q.ID != "" {
			where, args = append(where, "id = ?"), append(args, q.ID)
		}
		order, after := "seq ASC", "seq > ?"
		if q.Descending {
			order, after = "seq DESC", "seq < ?"
		}
		skip := q.ByType && q.Marker != ""
		if q.ByType {
			order = map[bool]string{false: "resource_type ASC, ", true: "resource_type DESC, "}[q.TypeDescending] + order
		} else if q.Marker != "" {
			var seq int64
			if err := tx.Get([]any{&seq}, "SELECT seq FROM heat_events WHERE id = ?", q.Marker); err == nil {
				where, args = append(where, after), append(args, seq)
			}
		}
		return readEvents(tx, strings.Join(where, " AND ")+" ORDER BY "+order, args, func(ev *Event) bool {
			switch {
			case skip:
				skip = ev.ID != q.Marker
			case stacks[ev.StackID] != nil:
				out = append(out, ev)
			}
			return q.Limit == 0 || len(out) < q.Limit
		})
	})
	return out, stacks, err
}

func readEvents(tx *store.Tx, where string, args []any, take func(*Event) bool) error {
	rows, err := tx.Query("SELECT seq, id, stack_id, root_id, resource_name, resource_type, physical_id, action, status, reason, path, pos, created_at FROM heat_events WHERE "+where, args...)
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		ev := &Event{}
		if err := rows.Scan(&ev.Seq, &ev.ID, &ev.StackID, &ev.RootID, &ev.ResourceName, &ev.ResourceType, &ev.PhysicalID, &ev.Action, &ev.Status, &ev.Reason, &ev.Path, &ev.Pos, store.Time(&ev.Created)); err != nil {
			return fmt.Errorf("events: %w", err)
		}
		if !take(ev) {
			break
		}
	}
	return rows.Err()
}

// Metadata returns a resource's metadata as a server sees it: with its deployments.
func (e *Engine) Metadata(ctx context.Context, row *Row) (*Map, error) {
	meta := yaml11.NewMap()
	if row.Def().Metadata != nil {
		meta = row.Def().Metadata.Clone()
	}
	if row.PhysicalID == "" {
		return meta, nil
	}
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) error {
		target := yaml11.NewMap()
		found := false
		err := tx.Each(func(scan func(...any) error) error {
			found = true
			return scan(tx.SealedJSON(target, "heat_targets.metadata"))
		}, "SELECT metadata FROM heat_targets WHERE server_id = ?", row.PhysicalID)
		if err != nil || !found {
			return err
		}
		meta = target
		deployments, err := e.DeploymentsMetadata(tx, row.PhysicalID)
		meta.Set("deployments", deployments)
		return err
	})
	return meta, err
}

// Purge forgets stacks that were deleted longer than age ago, and documents nobody refers to.
func (e *Engine) Purge(ctx context.Context, age time.Duration) error {
	limit := store.At(e.now().Add(-age))
	// From here on documents in use are stamped anew.
	e.mu.Lock()
	clear(e.stored)
	clear(e.childEnvs)
	e.mu.Unlock()
	return e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		for _, q := range []string{
			"DELETE FROM heat_events WHERE stack_id IN (SELECT id FROM heat_stacks WHERE deleted_at > 0 AND deleted_at < ?)",
			"DELETE FROM heat_resources WHERE stack_id IN (SELECT id FROM heat_stacks WHERE deleted_at > 0 AND deleted_at < ?)",
		} {
			if _, err := tx.Exec(q, limit); err != nil {
				return fmt.Errorf("purge: %w", err)
			}
		}
		if err := purgeContents(tx, limit); err != nil {
			return err
		}
		n, err := tx.Exec("DELETE FROM heat_stacks WHERE deleted_at > 0 AND deleted_at < ?", limit)
		if err != nil || n == 0 {
			return err
		}
		_, err = tx.Exec(`DELETE FROM heat_raw WHERE used_at < ? AND id NOT IN (SELECT template_id FROM heat_stacks UNION SELECT files_id FROM heat_stacks UNION SELECT env_id FROM heat_stacks)
 AND NOT EXISTS (SELECT 1 FROM heat_stacks WHERE previous <> 'null') AND NOT EXISTS (SELECT 1 FROM heat_snapshots)`, limit)
		if err != nil {
			return fmt.Errorf("purge documents: %w", err)
		}
		return nil
	})
}
