package orchestration

import (
	"errors"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// supportStatuses are the states a type may be listed by.
func supportStatuses() []string {
	return []string{"UNKNOWN", "SUPPORTED", "DEPRECATED", "UNSUPPORTED", "HIDDEN"}
}

func statusOf(s *resources.Support) string {
	if s.Status == "" {
		return "SUPPORTED"
	}
	return s.Status
}

// listTypes lists the types that may be used: not hidden, their service in the catalog. name is a regular
// expression for the beginning of the name.
func (s *Service) listTypes(w http.ResponseWriter, r *http.Request) error {
	if _, err := caller(r); err != nil {
		return err
	}
	q := r.URL.Query()
	want := q.Get("support_status")
	if want != "" && !slices.Contains(supportStatuses(), want) {
		return api.Invalid("Invalid support status and should be one of %v", supportStatuses())
	}
	var name *regexp.Regexp
	if n := q.Get("name"); n != "" {
		var err error
		if name, err = regexp.Compile(`\A(?:` + n + `)`); err != nil {
			return api.WriteJSON(w, http.StatusOK, map[string]any{"resource_types": []any{}})
		}
	}
	types := slices.Clone(s.e.Types())
	slices.SortFunc(types, func(a, b *resources.Type) int { return strings.Compare(a.Name, b.Name) })
	out := []any{}
	for _, t := range types {
		status := statusOf(&t.Support)
		if status == "HIDDEN" || want != "" && status != want || name != nil && !name.MatchString(t.Name) || q.Has("version") && t.Support.Since != q.Get("version") {
			continue
		}
		if err := resources.CheckerOf(r.Context()).Available(r.Context(), t); err != nil {
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
	name := r.PathValue("type")
	t := s.e.Type(name)
	if t == nil {
		return nil, api.NotFound("The Resource Type (%s) could not be found.", name).Named("EntityNotFound")
	}
	if t.Support.Status == "HIDDEN" {
		return nil, api.Invalid("%s is not supported.", name).Named("NotSupported")
	}
	return t, nil
}

func supportView(s *resources.Support) any {
	if s == nil {
		return nil
	}
	v := map[string]any{"status": statusOf(s), "version": nil, "message": nil, "previous_status": supportView(s.Previous)}
	if s.Since != "" {
		v["version"] = s.Since
	}
	return v
}

func limitView(l hot.Constraint) map[string]any {
	bounds := map[string]any{}
	if l.Min != nil {
		bounds["min"] = whole(*l.Min)
	}
	if l.Max != nil {
		bounds["max"] = whole(*l.Max)
	}
	switch l.Kind {
	case "allowed_values":
		return map[string]any{l.Kind: l.Values}
	case "allowed_pattern":
		return map[string]any{l.Kind: l.Pattern}
	case "modulo":
		return map[string]any{l.Kind: map[string]any{"step": l.Step, "offset": l.Off}}
	}
	return map[string]any{l.Kind: bounds}
}

func whole(f float64) any {
	if f == float64(int64(f)) {
		return int64(f)
	}
	return f
}

func limitViews(p *resources.Prop) []any {
	cons := []any{}
	for _, l := range p.Limits {
		cons = append(cons, limitView(l))
	}
	if p.Custom != "" {
		cons = append(cons, map[string]any{"custom_constraint": p.Custom})
	}
	return cons
}

func propView(p *resources.Prop) map[string]any {
	kind := string(p.Kind)
	if kind == "" {
		kind = "any"
	}
	v := map[string]any{"type": kind, "required": p.Required, "update_allowed": p.Update, "immutable": p.Immutable}
	if p.Doc != "" {
		v["description"] = p.Doc
	}
	if p.Default != nil {
		v["default"] = p.Default
	}
	if cons := limitViews(p); len(cons) > 0 {
		v["constraints"] = cons
	}
	switch {
	case p.Sub != nil:
		sub := map[string]any{}
		for i := range p.Sub {
			sub[p.Sub[i].Name] = propView(&p.Sub[i])
		}
		v["schema"] = sub
	case p.Items != nil:
		v["schema"] = map[string]any{"*": propView(p.Items)}
	}
	return v
}

func attrsView(t *resources.Type) map[string]any {
	attrs := map[string]any{}
	for _, a := range append(slices.Clone(t.Attrs), resources.Attr{Name: "show", Kind: resources.Mapping, Doc: "Detailed information about resource."}) {
		if a.Support.Status == "HIDDEN" {
			continue
		}
		v := map[string]any{"description": a.Doc}
		if a.Kind != resources.Any {
			v["type"] = string(a.Kind)
		}
		attrs[a.Name] = v
	}
	return attrs
}

func (s *Service) showType(w http.ResponseWriter, r *http.Request) error {
	t, err := s.typeOf(r)
	if err != nil {
		return err
	}
	if err := resources.CheckerOf(r.Context()).Available(r.Context(), t); err != nil {
		var missing *resources.UnavailableError
		if errors.As(err, &missing) {
			return api.Invalid("%s", missing.Error()).Named("ResourceTypeUnavailable")
		}
		return err
	}
	props := map[string]any{}
	for i, p := range t.Props {
		if p.Support.Status != "HIDDEN" {
			props[p.Name] = propView(&t.Props[i])
		}
	}
	v := map[string]any{"resource_type": t.Name, "properties": props, "attributes": attrsView(t), "support_status": supportView(&t.Support)}
	if truthy(r, "with_description") {
		v["description"] = t.Doc
	}
	return api.WriteJSON(w, http.StatusOK, v)
}

// typeTemplate shows a template with one resource of the type, a parameter a property and an output an
// attribute. Without template_type it is a CloudFormation template, as in Heat.
func (s *Service) typeTemplate(w http.ResponseWriter, r *http.Request) error {
	t, err := s.typeOf(r)
	if err != nil {
		return err
	}
	name := t.Name[strings.LastIndexByte(t.Name, ':')+1:]
	switch kind := r.URL.Query().Get("template_type"); kind {
	case "", "cfn":
		return api.WriteJSON(w, http.StatusOK, cfnTypeTemplate(t, name))
	case "hot":
		return api.WriteJSON(w, http.StatusOK, hotTypeTemplate(t, name))
	default:
		return api.Invalid("template_type is not valid: %q, expected cfn or hot", kind)
	}
}

func hotTypeTemplate(t *resources.Type, name string) *Map {
	kinds := map[resources.Kind]string{resources.String: "string", resources.Integer: "number", resources.Number: "number", resources.Boolean: "boolean",
		resources.List: "comma_delimited_list", resources.Mapping: "json", resources.Any: "json"}
	params, props, outputs := yaml11.NewMap(), yaml11.NewMap(), yaml11.NewMap()
	for i, p := range t.Props {
		if p.Support.Status == "HIDDEN" {
			continue
		}
		prm := yaml11.MapOf("type", kinds[p.Kind])
		if p.Doc != "" {
			prm.Set("description", p.Doc)
		}
		if p.Default != nil {
			prm.Set("default", yaml11.Normalize(p.Default))
		}
		if cons := limitViews(&t.Props[i]); len(cons) > 0 {
			prm.Set("constraints", cons)
		}
		params.Set(p.Name, prm)
		props.Set(p.Name, yaml11.MapOf("get_param", p.Name))
	}
	for _, a := range templateAttrs(t) {
		outputs.Set(a.Name, yaml11.MapOf("description", a.Doc, "value", yaml11.MapOf("get_attr", []any{name, a.Name})))
	}
	outputs.Set("OS::stack_id", yaml11.MapOf("value", yaml11.MapOf("get_resource", name)))
	return yaml11.MapOf("heat_template_version", "2016-10-14", "description", "Initial template of "+name, "parameters", params,
		"resources", yaml11.MapOf(name, yaml11.MapOf("type", t.Name, "properties", props)), "outputs", outputs)
}

func templateAttrs(t *resources.Type) []resources.Attr {
	out := []resources.Attr{}
	for _, a := range t.Attrs {
		if a.Support.Status != "HIDDEN" {
			out = append(out, a)
		}
	}
	return append(out, resources.Attr{Name: "show", Doc: "Detailed information about resource."})
}

func cfnTypeTemplate(t *resources.Type, name string) *Map {
	kinds := map[resources.Kind]string{resources.String: "String", resources.Integer: "Number", resources.Number: "Number", resources.Boolean: "Boolean",
		resources.List: "CommaDelimitedList", resources.Mapping: "Json", resources.Any: "Json"}
	params, props, outputs := yaml11.NewMap(), yaml11.NewMap(), yaml11.NewMap()
	for i, p := range t.Props {
		if p.Support.Status == "HIDDEN" {
			continue
		}
		params.Set(p.Name, cfnParameter(&t.Props[i], kinds[p.Kind]))
		var value any = yaml11.MapOf("Ref", p.Name)
		if p.Kind == resources.List {
			value = yaml11.MapOf("Fn::Split", []any{",", value})
		}
		props.Set(p.Name, value)
	}
	for _, a := range templateAttrs(t) {
		outputs.Set(a.Name, yaml11.MapOf("Description", a.Doc, "Value", yaml11.MapOf("Fn::GetAtt", []any{name, a.Name})))
	}
	outputs.Set("OS::stack_id", yaml11.MapOf("Value", yaml11.MapOf("Ref", name)))
	return yaml11.MapOf("HeatTemplateFormatVersion", "2012-12-12", "Description", "Initial template of "+name, "Parameters", params,
		"Resources", yaml11.MapOf(name, yaml11.MapOf("Type", t.Name, "Properties", props)), "Outputs", outputs)
}

func cfnParameter(p *resources.Prop, kind string) *Map {
	prm := yaml11.MapOf("Type", kind)
	if p.Doc != "" {
		prm.Set("Description", p.Doc)
	}
	if p.Default != nil {
		prm.Set("Default", yaml11.Normalize(p.Default))
	}
	for _, l := range p.Limits {
		suffix := map[string]string{"length": "Length", "range": "Value"}[l.Kind]
		if l.Min != nil && suffix != "" {
			prm.Set("Min"+suffix, whole(*l.Min))
		}
		if l.Max != nil && suffix != "" {
			prm.Set("Max"+suffix, whole(*l.Max))
		}
		switch l.Kind {
		case "allowed_values":
			prm.Set("AllowedValues", l.Values)
		case "allowed_pattern":
			prm.Set("AllowedPattern", l.Pattern)
		}
	}
	return prm
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
	revision := map[string]any{"revision": s.cfg.Revision}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"api": revision, "engine": revision})
}

// builtFrom is the commit that a binary was built from, the version of its module where only that is known.
func builtFrom(info *debug.BuildInfo, ok bool) string {
	if !ok {
		return "unknown"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	switch {
	case revision != "":
		return revision + dirty
	case info.Main.Version != "" && info.Main.Version != "(devel)":
		return info.Main.Version
	}
	return "unknown"
}

// listServices shows the engine: it is part of this process.
func (s *Service) listServices(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"services": []any{map[string]any{"binary": "heat-engine", "host": "undercloud", "hostname": "undercloud",
		"topic": "engine", "engine_id": "undercloud", "status": "up", "report_interval": 60, "created_at": api.FormatTime(s.now()), "updated_at": api.FormatTime(s.now()), "deleted_at": nil}}})
}
