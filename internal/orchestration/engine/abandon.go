package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Export returns what a stack is made of, as "stack abandon" and "stack export" print it and "stack adopt"
// takes it: template, environment, files and, for each resource, the id and data of the real thing. The
// entry of a nested stack is the export of that stack.
func (e *Engine) Export(ctx context.Context, st *Stack) (*Map, error) {
	t, env, files, err := e.Source(ctx, st)
	if err != nil {
		return nil, err
	}
	var rows []*Row
	var children []*Stack
	err = e.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		if rows, err = FindRows(tx, "stack_id = ? AND replaced = 0 ORDER BY created_at, name", st.ID); err != nil {
			return err
		}
		children, err = FindStacks(tx, "parent_id = ? AND deleted_at = 0", st.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	nested := map[string]*Stack{}
	for _, c := range children {
		nested[c.ID] = c
	}
	list := yaml11.NewMap()
	for _, row := range rows {
		entry := yaml11.NewMap()
		if c := nested[row.PhysicalID]; c != nil {
			if entry, err = e.Export(ctx, c); err != nil {
				return nil, err
			}
		}
		data := yaml11.NewMap()
		for k, v := range row.Data() {
			if !strings.HasPrefix(k, "_") { // those are the engine's own
				data.Set(k, v)
			}
		}
		for _, kv := range []struct {
			k string
			v any
		}{{"name", row.Name}, {"resource_id", row.PhysicalID}, {"type", row.Type}, {"action", row.Action}, {"status", row.Status},
			{"metadata", mapOrEmpty(row.Def().Metadata)}, {"resource_data", data}} {
			entry.Set(kv.k, kv.v)
		}
		list.Set(row.Name, entry)
	}
	names := yaml11.NewMap()
	for k, v := range files {
		names.Set(k, v)
	}
	environment := env.Value()
	environment.Set("parameters", st.Def.Params)
	tags := []any{}
	for _, tag := range st.Tags {
		tags = append(tags, tag)
	}
	return yaml11.MapOf("name", st.Name, "id", st.ID, "action", st.Action, "status", st.Status, "template", t.Value(), "files", names, "environment", environment,
		"resources", list, "project_id", st.ProjectID, "stack_user_project_id", st.ProjectID, "tags", tags), nil
}

func mapOrEmpty(m *Map) *Map {
	if m == nil {
		return yaml11.NewMap()
	}
	return m
}

func (e *Engine) storeAdoption(ctx context.Context, data *Map) (string, error) {
	b, err := yaml11.EncodeJSON(data)
	if err != nil {
		return "", fmt.Errorf("adoption data: %w", err)
	}
	return e.ensureRaw(ctx, b)
}

// adoption returns what the data of an adoption says of a resource, nil if nothing.
func (r *run) adoption(name string) (*Map, error) {
	if r.adopting == nil {
		r.adopting = yaml11.NewMap()
		var data []byte
		err := r.e.cfg.DB.View(r.ctx, func(tx *store.Tx) (err error) {
			data, err = getRaw(tx, r.st.Def.AdoptID)
			return err
		})
		if err != nil {
			return nil, err
		}
		v, err := yaml11.DecodeJSON(data)
		if err != nil {
			return nil, fmt.Errorf("adoption data: %w", err)
		}
		m, _ := v.(*Map)
		list, _ := m.Get("resources")
		if l, ok := list.(*Map); ok {
			r.adopting = l
		}
	}
	v, _ := r.adopting.Get(name)
	m, _ := v.(*Map)
	return m, nil
}

// adopt takes over the real thing of a resource instead of making one. A nested stack adopts in its turn.
func (r *run) adopt(g *graph, name string, def *hot.ResourceDef, target string, typ *resources.Type, props *resources.Props, rd RowDef, used *hot.Mapping) (*task, error) {
	entry, err := r.adoption(name)
	if err != nil {
		return nil, err
	}
	row := r.newRow(name, def, target, rd)
	row.Op, row.Begun = r.st.Op, r.e.now()
	r.state(row, Adopt, InProgress, "state changed")
	id, _ := entry.Get("resource_id")
	if entry == nil || id == nil || id == "" {
		return nil, resources.Failed("Resource ID was not provided.")
	}
	if typ.Nested != nil {
		return nil, r.startNested(g, row, typ, props, used)
	}
	row.PhysicalID = hot.PyStr(id)
	if data, _ := entry.Get("resource_data"); data != nil {
		m, ok := data.(*Map)
		if !ok {
			return nil, resources.Failed("resource_data must be a map, got %s", hot.KindOf(data))
		}
		for k, v := range m.All() {
			if !strings.HasPrefix(k, "_") {
				row.Data()[k] = v
			}
		}
	}
	return r.carryOut(g, row, typ, props, rd, used, adopted, false)
}

// adopted is the step of a resource that is there already.
func adopted(context.Context, *resources.Resource) (resources.Step, error) {
	return resources.Done(), nil
}
