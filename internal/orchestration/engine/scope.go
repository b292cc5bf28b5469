package engine

import (
	"fmt"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Param implements hot.Scope.
func (r *run) Param(name string) (any, bool) {
	switch name {
	case "OS::stack_name":
		return r.st.Name, true
	case "OS::stack_id":
		return r.st.ID, true
	case "OS::project_id":
		return r.st.ProjectID, true
	}
	v, ok := r.params[name]
	return v, ok
}

// Resource implements hot.Scope: the physical id, for nested stacks the output OS::stack_id or the
// identifier of the stack.
func (r *run) Resource(name string) (any, error) {
	row := r.rows[name]
	if row == nil {
		if !r.enabled[name] {
			return nil, nil // the condition of the resource does not hold
		}
		return hot.Unknown{}, nil
	}
	return r.reference(row)
}

func (r *run) reference(row *Row) (any, error) {
	typ, err := r.e.typeOf(row.Target, r.files)
	if err != nil {
		return row.PhysicalID, nil //nolint:nilerr // a type that is gone still has an id
	}
	if typ.Nested != nil {
		if row.PhysicalID == "" {
			return hot.Unknown{}, nil
		}
		if !hot.IsTemplate(row.Target) {
			c, err := r.childState(row)
			if err != nil {
				return nil, err
			}
			if c == nil {
				return row.PhysicalID, nil
			}
			return arn(c.ProjectID, c.Name, c.ID), nil
		}
		child, err := r.child(row)
		if err != nil {
			return nil, err
		}
		if child == nil {
			return row.PhysicalID, nil
		}
		if v, ok := child.Outputs.Get("OS::stack_id"); ok {
			return v, nil
		}
		return Arn(child), nil
	}
	if typ.Ref != nil {
		return typ.Ref(r.resource(row, typ, nil)), nil
	}
	if row.PhysicalID == "" {
		return hot.Unknown{}, nil
	}
	return row.PhysicalID, nil
}

// Arn returns the identifier of a stack as Heat writes it.
func Arn(st *Stack) string { return arn(st.ProjectID, st.Name, st.ID) }

func arn(project, name, id string) string {
	return "arn:openstack:heat::" + project + ":stacks/" + name + "/" + id
}

// Attr implements hot.Scope.
func (r *run) Attr(name, attr string, path []any) (any, error) {
	row := r.rows[name]
	if row == nil {
		if !r.enabled[name] {
			return nil, nil
		}
		return hot.Unknown{}, nil
	}
	typ, err := r.e.typeOf(row.Target, r.files)
	if err != nil {
		return nil, err
	}
	if row.Status != Complete && typ.Nested == nil && row.Attrs().Len() == 0 {
		return hot.Unknown{}, nil
	}
	if attr == "" {
		return r.allAttrs(row, typ)
	}
	switch {
	case typ.Nested != nil:
		child, err := r.child(row)
		if err != nil {
			return nil, err
		}
		if child == nil || child.Outputs == nil {
			return hot.Unknown{}, nil
		}
		res := r.resource(row, typ, nil)
		res.Outputs, res.NestedArn = child.Outputs, Arn(child)
		return typ.NestedAttr(res, attr, path)
	case typ.Pure:
		if row.PhysicalID == "" {
			return hot.Unknown{}, nil
		}
		props, err := r.rowProps(row, typ)
		if err != nil {
			return nil, err
		}
		v, err := typ.Attr(r.ctx, r.resource(row, typ, props), attr)
		if err != nil {
			return nil, err
		}
		return hot.Dig(v, path), nil
	}
	v, ok := row.Attrs().Get(attr)
	if !ok {
		if err := typ.KnownAttr(attr); err != nil && r.t.Generated {
			return nil, nil // members of a group may lack an attribute
		} else if err != nil {
			return nil, err
		}
		return nil, nil
	}
	return hot.Dig(v, path), nil
}

func (r *run) allAttrs(row *Row, typ *resources.Type) (any, error) {
	m := yaml11.NewMap()
	for _, a := range typ.Attrs {
		v, err := r.Attr(row.Name, a.Name, nil)
		if err != nil {
			return nil, err
		}
		m.Set(a.Name, v)
	}
	return m, nil
}

// File implements hot.Scope.
func (r *run) File(name string) (string, bool) {
	s, ok := r.files[name]
	return s, ok
}

// Facade implements hot.Scope.
func (r *run) Facade(key string) (any, error) {
	if r.st.ParentID == "" {
		return nil, fmt.Errorf("resource_facade is of use in nested stacks only")
	}
	switch key {
	case "metadata":
		return mapOrNil(r.st.Context.Metadata), nil
	case "update_policy":
		return mapOrNil(r.st.Context.UpdatePolicy), nil
	}
	return r.st.Context.DeletionPolicy, nil
}

func mapOrNil(m *Map) any {
	if m == nil {
		return nil
	}
	return m
}

// Yaql implements hot.Scope.
func (r *run) Yaql(expression string, data any, budget *hot.YaqlBudget) (any, error) {
	return r.e.yaql.Eval(r.ctx, expression, data, budget)
}

// typeOf returns the type of a resolved name: a native type or one made of a template file.
func (e *Engine) typeOf(target string, files map[string]string) (*resources.Type, error) {
	if t := e.types[target]; t != nil {
		return t, nil
	}
	if hot.IsTemplate(target) {
		return e.templateType(target, files)
	}
	return nil, fmt.Errorf("the Resource Type (%s) could not be found%s", target, hot.DidYouMean(target, e.typeNames()))
}

func (e *Engine) typeNames() []string {
	out := make([]string, 0, len(e.types))
	for n := range e.types {
		out = append(out, n)
	}
	return out
}

// fileKey is a template file. Files of the same stack share their texts, so that keys are soon compared.
type fileKey struct{ name, text string }

// templateType returns the type of a template file.
func (e *Engine) templateType(file string, files map[string]string) (*resources.Type, error) {
	text, ok := files[file]
	if !ok {
		return nil, fmt.Errorf("the template %s of the resource is not among the files of the stack", file)
	}
	key := fileKey{file, text}
	e.mu.Lock()
	typ := e.fileTypes[key]
	e.mu.Unlock()
	if typ != nil {
		return typ, nil
	}
	typ, err := e.makeType(file, text)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.fileTypes) > cacheSize {
		clear(e.fileTypes)
	}
	e.fileTypes[key] = typ
	return typ, nil
}

// makeType makes a type of a template file: its parameters are properties, its outputs attributes.
func (e *Engine) makeType(file, text string) (*resources.Type, error) {
	t, err := e.parseCached(file, text)
	if err != nil {
		return nil, err
	}
	typ := &resources.Type{Name: file, Doc: t.Description}
	for _, p := range t.Parameters {
		kind := map[string]resources.Kind{hot.TypeString: resources.String, hot.TypeNumber: resources.Number, hot.TypeBool: resources.Boolean,
			hot.TypeJSON: resources.Any, hot.TypeList: resources.List}[p.Type]
		typ.Props = append(typ.Props, resources.Prop{Name: p.Name, Kind: kind, Doc: p.Description, Update: true, Hidden: p.Hidden})
	}
	for _, o := range t.Outputs {
		typ.Attrs = append(typ.Attrs, resources.Attr{Name: o.Name, Kind: resources.Any, Doc: o.Description})
	}
	typ.Nested = func(r *resources.Resource, _ []resources.AttrUse) (*resources.Nested, error) {
		params := yaml11.NewMap()
		for k, v := range r.Props.All().All() {
			params.Set(k, v)
		}
		return &resources.Nested{Text: text, File: file, Params: params}, nil
	}
	typ.NestedAttr = func(r *resources.Resource, name string, path []any) (any, error) {
		if v, ok := r.Outputs.Get(name); ok {
			return hot.Dig(v, path), nil
		}
		if name == "OS::stack_id" {
			return r.NestedArn, nil
		}
		return nil, missingOutputError{r.Name, file, name}
	}
	return typ, nil
}

// missingOutputError is an attribute that a template does not have; members of groups may lack one.
type missingOutputError struct{ resource, file, name string }

func (m missingOutputError) Error() string {
	return fmt.Sprintf("the template %s of resource %s has no output %q", m.file, m.resource, m.name)
}

// parseCached parses a file once.
func (e *Engine) parseCached(file, text string) (*hot.Template, error) {
	key := file + "\x00" + rawID([]byte(text))
	e.mu.Lock()
	t := e.templates[key]
	e.mu.Unlock()
	if t != nil {
		return t, nil
	}
	if err := e.checkTemplateSize(text); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	t, _, err := hot.Parse(file, []byte(text))
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.templates[key] = t
	return t, nil
}

// rowProps converts the properties a row was last made with.
func (r *run) rowProps(row *Row, typ *resources.Type) (*resources.Props, error) {
	lenient := *typ
	lenient.AnyProps, lenient.Validate = true, nil
	return resources.NewProps(&lenient, row.Def().Props, nil)
}

// resource makes the handle a type works with.
func (r *run) resource(row *Row, typ *resources.Type, props *resources.Props) *resources.Resource {
	data := make(map[string]any, len(row.Data()))
	for k, v := range row.Data() {
		data[k] = v
	}
	return &resources.Resource{ID: row.ID, Name: row.Name, TypeName: typ.Name, Type: typ, StackID: r.st.ID, StackName: r.st.Name, ProjectID: r.st.ProjectID,
		PhysicalID: row.PhysicalID, Props: props, Data: data, Metadata: row.Def().Metadata, UpdatePolicy: row.Def().UpdatePolicy, Action: row.Action,
		Begun: row.Begun, Repair: row.Data()["_repair"] == true, Restoring: r.st.Action == Restore, TimeoutAt: r.st.Deadline, Pos: row.Def().Pos, Host: &host{r: r, trust: r.st.TrustID}}
}
