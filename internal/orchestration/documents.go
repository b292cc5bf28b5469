package orchestration

import (
	"net/http"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

func (s *Service) showTemplate(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	t, _, _, err := s.e.Source(r.Context(), st)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, t.Value())
}

// showEnvironment returns the environment with the parameters in it. Values of parameters that the template, or any of
// the files, hides are masked, as Heat does.
func (s *Service) showEnvironment(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	t, env, files, err := s.e.Source(r.Context(), st)
	if err != nil {
		return err
	}
	v := env.Value()
	given := s.visibleParams(r, st, env)
	sections := []*Map{given}
	if defaults, ok := value[*Map](v, "parameter_defaults"); ok {
		defaults = defaults.Clone()
		v.Set("parameter_defaults", defaults)
		sections = append(sections, defaults)
	}
	hidden := hiddenNames(t, files)
	for _, m := range sections {
		for _, name := range m.Keys() {
			if value, _ := m.Get(name); value != nil && (hidden[name] || encrypted(env, name)) {
				m.Set(name, masked)
			}
		}
	}
	v.Set("parameters", given)
	return api.WriteJSON(w, http.StatusOK, v)
}

func (s *Service) showFiles(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	_, _, files, err := s.e.Source(r.Context(), st)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, files)
}

func (s *Service) listOutputs(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	t, _, _, err := s.e.Source(r.Context(), st)
	if err != nil {
		return err
	}
	out := []any{}
	for _, o := range t.Outputs {
		desc := o.Description
		if desc == "" {
			desc = "No description given"
		}
		out = append(out, map[string]any{"output_key": o.Name, "description": desc})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"outputs": out})
}

func (s *Service) showOutput(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	look, err := s.e.Look(r.Context(), st.ID)
	if err != nil {
		return err
	}
	list := outputList(look, r.PathValue("output"))
	if len(list) == 0 {
		return api.NotFound("Specified output key %s not found.", r.PathValue("output"))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"output": list[0]})
}

func (s *Service) validate(w http.ResponseWriter, r *http.Request) error {
	if _, err := caller(r); err != nil {
		return err
	}
	m, err := body(r)
	if err != nil {
		return err
	}
	src, err := s.source(r, m, nil, nil)
	if err != nil {
		return err
	}
	t, tree, err := s.e.CheckSource(r.Context(), src, true)
	if err != nil {
		return err
	}
	out := yaml11.NewMap()
	out.Set("Description", describe(t.Description))
	out.Set("Parameters", parametersView(tree, src.Env.Defaults))
	groups := []any{}
	for _, g := range t.Groups {
		groups = append(groups, yaml11.MapOf("label", g.Label, "description", g.Description, "parameters", yaml11.Normalize(g.Parameters)))
	}
	if len(groups) > 0 {
		out.Set("ParameterGroups", groups)
	}
	env := src.Env.Value()
	env.Delete("encrypted_param_names") // the engine's own
	given := src.Given().Clone()
	maskHidden(given, t, src.Env)
	env.Set("parameters", given)
	if registry, ok := value[*Map](env, "resource_registry"); ok {
		usedTemplates(registry, tree) // Heat's registry has learnt them by then
	}
	out.Set("Environment", env)
	if truthy(r, "show_nested") {
		out.Set("NestedParameters", nestedView(tree, src.Env.Defaults))
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

// usedTemplates adds the template files that a tree names as types to a resource_registry, each as itself.
func usedTemplates(registry *Map, tree *engine.Tree) {
	for _, n := range tree.Nodes {
		if _, ok := registry.Get(n.Def.Type); !ok && hot.IsTemplate(n.Def.Type) {
			registry.Set(n.Def.Type, n.Def.Type)
		}
		if n.Nested != nil && !n.Nested.Template.Generated {
			usedTemplates(registry, n.Nested)
		}
	}
}

// parametersView lists the parameters of a template as "validate" shows them: Default is that of
// parameter_defaults before that of the template, Value what was given for the parameter itself.
func parametersView(tree *engine.Tree, defaults *Map) *Map {
	out := yaml11.NewMap()
	types := map[string]string{hot.TypeString: "String", hot.TypeNumber: "Number", hot.TypeBool: "Boolean", hot.TypeJSON: "Json", hot.TypeList: "CommaDelimitedList"}
	for _, p := range tree.Template.Parameters {
		label := p.Label
		if label == "" {
			label = p.Name
		}
		v := yaml11.MapOf("Type", types[p.Type], "Description", p.Description, "Label", label, "NoEcho", map[bool]string{true: "true", false: "false"}[p.Hidden])
		shown := func(key string, val any, ok bool) {
			switch {
			case !ok || val == nil || hot.HasUnknown(val):
			case p.Hidden:
				v.Set(key, masked)
			default:
				v.Set(key, val)
			}
		}
		if p.HasDefault {
			v.Set("Default", p.Default) // written in the template, which the caller has
		}
		d, ok := defaults.Get(p.Name)
		shown("Default", d, ok)
		g, ok := tree.Given.Get(p.Name)
		shown("Value", g, ok)
		for _, c := range p.Constraints {
			constraintView(v, c)
		}
		if len(p.Tags) > 0 {
			v.Set("Tags", yaml11.Normalize(p.Tags))
		}
		out.Set(p.Name, v)
	}
	return out
}

func constraintView(v *Map, c hot.Constraint) {
	switch c.Kind {
	case "allowed_values":
		v.Set("AllowedValues", c.Values)
	case "allowed_pattern":
		v.Set("AllowedPattern", c.Pattern)
	case "length", "range":
		unit := map[string]string{"length": "Length", "range": "Value"}[c.Kind]
		if c.Min != nil {
			v.Set("Min"+unit, whole(*c.Min))
		}
		if c.Max != nil {
			v.Set("Max"+unit, whole(*c.Max))
		}
	case "modulo":
		v.Set("Step", c.Step)
		v.Set("Offset", c.Off)
	case "custom_constraint":
		v.Set("CustomConstraint", c.Custom)
	}
	if c.Description != "" {
		before, _ := v.Get("ConstraintDescription")
		text, _ := before.(string)
		v.Set("ConstraintDescription", strings.TrimSpace(text+" "+c.Description))
	}
}

func nestedView(tree *engine.Tree, defaults *Map) *Map {
	out := yaml11.NewMap()
	for _, n := range tree.Nodes {
		if n.Nested == nil {
			continue
		}
		v := yaml11.MapOf("Type", n.Def.Type, "Description", describe(n.Nested.Template.Description), "Parameters", parametersView(n.Nested, defaults))
		if sub := nestedView(n.Nested, defaults); sub.Len() > 0 {
			v.Set("NestedParameters", sub)
		}
		groups := []any{}
		for _, g := range n.Nested.Template.Groups {
			groups = append(groups, yaml11.MapOf("label", g.Label, "description", g.Description, "parameters", yaml11.Normalize(g.Parameters)))
		}
		if len(groups) > 0 {
			v.Set("ParameterGroups", groups)
		}
		out.Set(n.Def.Name, v)
	}
	return out
}
