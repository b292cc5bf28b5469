package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
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
}

// Events returns events in the order they happened, and the stacks they belong to by id.
func (e *Engine) Events(ctx context.Context, q EventQuery) ([]*Event, map[string]*Stack, error) {
	var out []*Event
	stacks := map[string]*Stack{}
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) error {
		where, args := []string{"stack_id = ?"}, []any{q.StackID}
		if q.Levels > 0 {
			all, err := FindStacks(tx, "root_id = ? AND depth >= ? AND depth <= ? ORDER BY depth", q.RootID, q.Depth, q.Depth+q.Levels)
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
		if q.Marker != "" {
			var seq int64
			if err := tx.Get([]any{&seq}, "SELECT seq FROM heat_events WHERE id = ?", q.Marker); err == nil {
				where, args = append(where, after), append(args, seq)
			}
		}
		return readEvents(tx, strings.Join(where, " AND ")+" ORDER BY "+order, args, func(ev *Event) bool {
			if stacks[ev.StackID] != nil {
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
	if row.Def.Metadata != nil {
		meta = row.Def.Metadata.Clone()
	}
	if row.PhysicalID == "" {
		return meta, nil
	}
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) error {
		target := yaml11.NewMap()
		found := false
		err := tx.Each(func(scan func(...any) error) error {
			found = true
			return scan(store.JSON(target))
		}, "SELECT metadata FROM heat_targets WHERE server_id = ?", row.PhysicalID)
		if err != nil || !found {
			return err
		}
		meta = target
		deployments, err := DeploymentsMetadata(tx, row.PhysicalID)
		meta.Set("deployments", deployments)
		return err
	})
	return meta, err
}

// Change is what an update would do to one resource.
type Change struct {
	Kind               string // unchanged, updated, replaced, added or deleted
	Name, Type         string
	StackName, StackID string
	PhysicalID, Pos    string
	Changed            map[string]any // property -> {old, new}
}

// Compare tells what an update to tree would change, nested stacks included. Values that are not known
// before resources exist count as unchanged.
func (e *Engine) Compare(ctx context.Context, stackID string, tree *Tree) ([]Change, error) {
	var st *Stack
	var rows []*Row
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		if st, err = GetStack(tx, stackID); err != nil {
			return err
		}
		rows, err = FindRows(tx, "stack_id = ? AND replaced = 0 ORDER BY created_at", stackID)
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []Change
	wanted := map[string]bool{}
	for _, n := range tree.Nodes {
		wanted[n.Def.Name] = true
		c := Change{Kind: "added", Name: n.Def.Name, Type: n.Def.Type, StackName: st.Name, StackID: st.ID, Pos: n.Def.Pos, Changed: map[string]any{}}
		i := slices.IndexFunc(rows, func(r *Row) bool { return r.Name == n.Def.Name })
		if i < 0 {
			out = append(out, c)
			continue
		}
		row := rows[i]
		c.PhysicalID = row.PhysicalID
		c.Kind = compareRow(row, n, c.Changed)
		if n.Nested != nil && row.PhysicalID != "" && c.Kind != "replaced" {
			sub, err := e.Compare(ctx, row.PhysicalID, n.Nested)
			if err == nil {
				out = append(out, sub...)
				if slices.ContainsFunc(sub, func(s Change) bool { return s.Kind != "unchanged" }) && c.Kind == "unchanged" {
					c.Kind = "updated"
				}
			}
		}
		out = append(out, c)
	}
	for _, row := range rows {
		if !wanted[row.Name] {
			out = append(out, Change{Kind: "deleted", Name: row.Name, Type: row.Type, StackName: st.Name, StackID: st.ID, PhysicalID: row.PhysicalID, Pos: row.Def.Pos})
		}
	}
	return out, nil
}

func compareRow(row *Row, n *Node, changed map[string]any) string {
	if row.Target != n.Target && !(hot.IsTemplate(row.Target) && hot.IsTemplate(n.Target)) {
		return "replaced"
	}
	if row.Status == Failed && n.Type.Nested == nil && n.Type.Keep == nil {
		return "replaced"
	}
	kind := "unchanged"
	for k, v := range n.Props.All() {
		old, _ := row.Def.Props.Get(k)
		if hot.HasUnknown(v) || hot.Equal(old, v) {
			continue
		}
		p := slices.IndexFunc(n.Type.Props, func(p resources.Prop) bool { return p.Name == k })
		if p >= 0 && n.Type.Props[p].Hidden {
			changed[k] = map[string]any{"old": "******", "new": "******"}
		} else {
			changed[k] = map[string]any{"old": old, "new": v}
		}
		if n.Type.Nested == nil && (n.Type.Update == nil || p >= 0 && !n.Type.Props[p].Update) {
			kind = "replaced"
		} else if kind == "unchanged" {
			kind = "updated"
		}
	}
	for k, old := range row.Def.Props.All() {
		if _, ok := n.Props.Get(k); !ok && old != nil && kind == "unchanged" {
			changed[k] = map[string]any{"old": old, "new": nil}
			kind = "updated"
		}
	}
	return kind
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
