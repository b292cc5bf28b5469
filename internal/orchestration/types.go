package orchestration

import (
	"net/http"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/yaml11"
)

func (s *Service) listTypes(w http.ResponseWriter, r *http.Request) error {
	if _, err := caller(r); err != nil {
		return err
	}
	types := slices.Clone(s.e.Types())
	slices.SortFunc(types, func(a, b *resources.Type) int { return strings.Compare(a.Name, b.Name) })
	name := r.URL.Query().Get("name")
	out := []any{}
	for _, t := range types {
		if name != "" && !strings.Contains(t.Name, name) {
			continue
		}
		if truthy(r, "with_description") {
			out = append(out, map[string]any{"resource_type": t.Name, "description": t.Doc})
		} else {
			out = append(out, t.Name)
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"resource_types": out})
}

func (s *Service) typeOf(r *http.Request) (*resources.Type, error) {
	if _, err := caller(r); err != nil {
		return nil, err
	}
	t := s.e.Type(r.PathValue("type"))
	if t == nil {
		return nil, api.NotFound("The Resource Type (%s) could not be found.", r.PathValue("type")).Named("EntityNotFound")
	}
	return t, nil
}

func propView(p resources.Prop) map[string]any {
	kind := string(p.Kind)
	if kind == "" {
		kind = "any"
	}
	v := map[string]any{"type": kind, "required": p.Required, "update_allowed": p.Update, "immutable": false, "description": p.Doc}
	if p.Default != nil {
		v["default"] = p.Default
	}
	cons := []any{}
	if len(p.Values) > 0 {
		cons = append(cons, map[string]any{"allowed_values": p.Values})
	}
	if p.Min != nil || p.Max != nil {
		rng := map[string]any{}
		if p.Min != nil {
			rng["min"] = *p.Min
		}
		if p.Max != nil {
			rng["max"] = *p.Max
		}
		cons = append(cons, map[string]any{"range": rng})
	}
	if len(cons) > 0 {
		v["constraints"] = cons
	}
	if p.Sub != nil {
		sub := map[string]any{}
		for _, f := range p.Sub {
			sub[f.Name] = propView(f)
		}
		if p.Kind == resources.List {
			v["schema"] = map[string]any{"*": map[string]any{"type": "map", "schema": sub, "required": false, "update_allowed": p.Update, "immutable": false}}
		} else {
			v["schema"] = sub
		}
	}
	return v
}

func attrsView(t *resources.Type) map[string]any {
	attrs := map[string]any{"show": map[string]any{"type": "map", "description": "Detailed information about resource."}}
	for _, a := range t.Attrs {
		attrs[a.Name] = map[string]any{"type": string(a.Kind), "description": a.Doc}
	}
	return attrs
}

func (s *Service) showType(w http.ResponseWriter, r *http.Request) error {
	t, err := s.typeOf(r)
	if err != nil {
		return err
	}
	props := map[string]any{}
	for _, p := range t.Props {
		props[p.Name] = propView(p)
	}
	v := map[string]any{"resource_type": t.Name, "properties": props, "attributes": attrsView(t),
		"support_status": map[string]any{"status": "SUPPORTED", "version": nil, "message": nil, "previous_status": nil}}
	if truthy(r, "with_description") {
		v["description"] = t.Doc
	}
	return api.WriteJSON(w, http.StatusOK, v)
}

// typeTemplate shows a template with one resource of the type and a parameter a property.
func (s *Service) typeTemplate(w http.ResponseWriter, r *http.Request) error {
	t, err := s.typeOf(r)
	if err != nil {
		return err
	}
	kinds := map[resources.Kind]string{resources.String: "string", resources.Integer: "number", resources.Number: "number", resources.Boolean: "boolean",
		resources.List: "comma_delimited_list", resources.Mapping: "json", resources.Any: "json"}
	params, props, outputs := yaml11.NewMap(), yaml11.NewMap(), yaml11.NewMap()
	for _, p := range t.Props {
		prm := yaml11.MapOf("type", kinds[p.Kind], "description", p.Doc)
		if p.Default != nil {
			prm.Set("default", yaml11.Normalize(p.Default))
		}
		params.Set(p.Name, prm)
		props.Set(p.Name, yaml11.MapOf("get_param", p.Name))
	}
	name := t.Name[strings.LastIndexByte(t.Name, ':')+1:]
	for _, a := range t.Attrs {
		outputs.Set(a.Name, yaml11.MapOf("description", a.Doc, "value", yaml11.MapOf("get_attr", []any{name, a.Name})))
	}
	return api.WriteJSON(w, http.StatusOK, yaml11.MapOf("heat_template_version", "2016-10-14", "description", "Initial template of "+name, "parameters", params,
		"resources", yaml11.MapOf(name, yaml11.MapOf("type", t.Name, "properties", props)), "outputs", outputs))
}

func (s *Service) listVersions(w http.ResponseWriter, r *http.Request) error {
	if _, err := caller(r); err != nil {
		return err
	}
	out := []any{}
	for _, v := range hot.Versions() {
		aliases := v.Aliases
		if aliases == nil {
			aliases = []string{}
		}
		out = append(out, map[string]any{"version": v.Name, "type": v.Kind, "aliases": aliases})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"template_versions": out})
}

func (s *Service) listFunctions(w http.ResponseWriter, r *http.Request) error {
	if _, err := caller(r); err != nil {
		return err
	}
	names := hot.FunctionNames(r.PathValue("version"), truthy(r, "with_condition_func"))
	if len(names) == 0 {
		return api.NotFound("The template version is invalid: %q.", r.PathValue("version"))
	}
	out := []any{}
	for _, n := range names {
		out = append(out, map[string]any{"functions": n, "description": hot.FunctionDoc(n)})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"template_functions": out})
}

func (s *Service) buildInfo(w http.ResponseWriter, r *http.Request) error {
	if _, err := caller(r); err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"api": map[string]any{"revision": "unknown"}, "engine": map[string]any{"revision": "unknown"}})
}

// listServices shows the engine: it is part of this process.
func (s *Service) listServices(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"services": []any{map[string]any{"binary": "heat-engine", "host": "undercloud", "hostname": "undercloud",
		"topic": "engine", "engine_id": "undercloud", "status": "up", "report_interval": 60, "created_at": api.FormatTime(s.now()), "updated_at": api.FormatTime(s.now()), "deleted_at": nil}}})
}
