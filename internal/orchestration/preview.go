package orchestration

import (
	"net/http"
	"slices"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
)

// previewStack shows what a creation would make, values that are not known yet as null.
func (s *Service) previewStack(w http.ResponseWriter, r *http.Request) error {
	id, err := caller(r)
	if err != nil {
		return err
	}
	m, err := body(r)
	if err != nil {
		return err
	}
	name, _ := value[string](m, "stack_name")
	if !validName(name) {
		return invalidName(name)
	}
	src, err := s.source(r, m, nil, nil)
	if err != nil {
		return err
	}
	t, tree, err := s.e.CheckSource(r.Context(), src, false)
	if err != nil {
		return err
	}
	o, err := s.options(m)
	if err != nil {
		return err
	}
	params := map[string]any{"OS::stack_name": name, "OS::stack_id": "None", "OS::project_id": id.ProjectID}
	for k, v := range tree.Params {
		if !hot.HasUnknown(v) {
			params[k] = showText(t.Parameter(k), v)
		}
	}
	p := preview{tenant: r.PathValue("tenant")}
	st := map[string]any{"id": "None", "stack_name": name, "description": describe(t.Description), "template_description": describe(t.Description), "parameters": params,
		"resources": p.nodes(tree, name, ""), "links": []any{}, "timeout_mins": o.TimeoutMins, "disable_rollback": o.DisableRollback == nil || *o.DisableRollback,
		"capabilities": []any{}, "notification_topics": []any{}, "stack_owner": id.UserName, "parent": nil, "tags": o.Tags, "creation_time": nil, "updated_time": nil,
		"deletion_time": nil, "stack_user_project_id": nil, "stack_status": "INIT_COMPLETE", "stack_status_reason": ""}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"stack": st})
}

// preview writes resources that do not exist yet.
type preview struct{ tenant string }

// nodes lists the resources of a stack; a nested one is a list in the list.
func (p preview) nodes(tree *engine.Tree, stack, parent string) []any {
	requiredBy := map[string][]any{}
	for _, n := range tree.Nodes {
		deps := slices.Clone(n.Deps)
		slices.Sort(deps)
		for _, d := range slices.Compact(deps) {
			requiredBy[d] = append(requiredBy[d], n.Def.Name)
		}
	}
	out := []any{}
	for _, n := range tree.Nodes {
		if n.Nested != nil {
			out = append(out, p.nodes(n.Nested, stack+"-"+n.Def.Name, n.Def.Name))
			continue
		}
		v := p.resource(n.Def.Name, n.Def.Type, n.Def.Pos, stack, "None")
		v["properties"], v["attributes"], v["description"] = engine.NodeProps(n), attributesOf(n.Type), n.Def.Description
		if by := requiredBy[n.Def.Name]; by != nil {
			v["required_by"] = by
		}
		if parent != "" {
			v["parent_resource"] = parent
		}
		out = append(out, v)
	}
	return out
}

// resource is what Heat shows of a resource that was not made yet.
func (p preview) resource(name, typ, pos, stack, stackID string) map[string]any {
	identity := func(path string) map[string]any {
		return map[string]any{"stack_name": stack, "stack_id": stackID, "tenant": p.tenant, "path": path}
	}
	return map[string]any{"resource_name": name, "logical_resource_id": name, "resource_type": typ, "resource_action": engine.Init, "resource_status": engine.Complete,
		"resource_status_reason": "", "physical_resource_id": "", "stack_name": stack, "stack_identity": identity(""), "resource_identity": identity("/resources/" + name),
		"properties": map[string]any{}, "metadata": map[string]any{}, "attributes": map[string]any{}, "required_by": []any{}, "description": "",
		"creation_time": nil, "updated_time": nil, "position": pos}
}

func attributesOf(t *resources.Type) map[string]any {
	out := map[string]any{}
	for _, a := range t.Attrs {
		out[a.Name] = nil
	}
	return out
}

// previewUpdate compares the resources of a stack with what its template would become; with show_nested
// those of nested stacks too. Beyond Heat "changes" has old and new value of each property that differs.
func (s *Service) previewUpdate(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	src, _, err := s.updateSource(r, st)
	if err != nil {
		return err
	}
	_, tree, err := s.e.CheckSource(r.Context(), src, false)
	if err != nil {
		return err
	}
	changes, err := s.e.Compare(r.Context(), st.ID, tree)
	if err != nil {
		return err
	}
	nested := truthy(r, "show_nested")
	p := preview{tenant: r.PathValue("tenant")}
	out := map[string][]any{"unchanged": {}, "updated": {}, "replaced": {}, "added": {}, "deleted": {}}
	for _, c := range changes {
		if c.Depth > 0 && !nested {
			continue
		}
		out[c.Kind] = append(out[c.Kind], p.change(c))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"resource_changes": out})
}

func (p preview) change(c engine.Change) map[string]any {
	v := p.resource(c.Name, c.Type, c.Pos, c.StackName, c.StackID)
	v["physical_resource_id"], v["description"], v["resource_path"], v["changes"] = c.PhysicalID, c.Description, c.Path, c.Changed
	if c.Props != nil {
		v["properties"] = c.Props
	}
	if row := c.Row; row != nil {
		v["resource_action"], v["resource_status"], v["resource_status_reason"] = row.Action, row.Status, row.Reason
		v["creation_time"], v["updated_time"] = api.FormatTime(row.Created), api.FormatTime(row.Updated)
		v["metadata"], v["attributes"] = row.Def().Metadata, row.Attrs()
	}
	return v
}
