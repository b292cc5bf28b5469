package resources

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// object is a resource type that is one object of a REST collection: a row of a table. Properties become
// fields of the object, with the exceptions the row names.
type object struct {
	Type string
	Path string // of the collection; {name} stands for the id of the property's object, see Find
	Key  string // around one object in bodies; "" is none
	List string // around a list; "" is Key+"s"
	ID   string // field with the id; "" is id

	Method string            // of updates; "" is PUT, "-" none: every change replaces
	Rename map[string]string // property to field; "" is no field
	// Find maps a property to the collection that gives an id for a name ("subnets", "neutron:subnets"); the
	// field is property_id unless it is renamed.
	Find   map[string]string
	Reset  bool   // updates send every field that may change, not only the changed ones
	NoName bool   // the object has no name of its own making
	Plain  bool   // the object has no description, where Neutron's have one
	Status string // field with the state; "" is status
	Gone   bool   // deletion takes time: wait until it is gone
	Only   bool   // the collection has at most this one, and is read as the object

	// Body completes the fields; changed is nil for a creation.
	Body func(ctx context.Context, r *Resource, c client, b *Map, changed map[string]bool) error
	// After does what takes more calls, following creation and updates; it may be called again.
	After func(ctx context.Context, r *Resource, c client, changed map[string]bool) error
	// Before does what must be done before the deletion.
	Before func(ctx context.Context, r *Resource, c client) error
	// Attr answers attributes that are no field of the object m.
	Attr func(ctx context.Context, r *Resource, c client, m *Map, name string) (v any, ok bool, err error)
}

// typ makes the type of a row.
func (o object) typ() *Type {
	if o.List == "" {
		o.List = o.Key + "s"
	}
	if o.ID == "" {
		o.ID = "id"
	}
	if o.Method == "" {
		o.Method = "PUT"
	}
	if o.Status == "" {
		o.Status = "status"
	}
	t := &Type{Name: o.Type, Create: o.create, Delete: o.remove, Check: o.check, Keep: o.keep, Attr: o.attr}
	if o.Method != "-" {
		t.Update = o.update
	}
	return t
}

func (o object) wrap(b *Map) *Map {
	if o.Key == "" {
		return b
	}
	return yaml11.MapOf(o.Key, b)
}

func (o object) unwrap(m *Map) *Map {
	if o.Key == "" {
		return m
	}
	return submap(m, o.Key)
}

// path returns the path of the collection, with the ids of the properties it names.
func (o object) path(ctx context.Context, r *Resource, c client) (string, error) {
	p := o.Path
	for strings.Contains(p, "{") {
		before, rest, _ := strings.Cut(p, "{")
		name, after, _ := strings.Cut(rest, "}")
		id := r.Str("in_" + name)
		if id == "" {
			id = r.Props.Str(name)
			if in := o.Find[name]; in != "" {
				var err error
				if id, err = r.lookup(ctx, c, in, id); err != nil {
					return "", err
				}
			}
			r.Data["in_"+name] = id
		}
		p = before + url.PathEscape(id) + after
	}
	return p, nil
}

func (o object) one(ctx context.Context, r *Resource, c client) (string, error) {
	p, err := o.path(ctx, r, c)
	return p + "/" + url.PathEscape(r.PhysicalID), err
}

// fields turns properties into the fields of the object. only restricts them to the changed properties.
func (o object) fields(ctx context.Context, r *Resource, c client, only map[string]bool) (*Map, error) {
	b := yaml11.NewMap()
	for _, d := range r.Props.decl {
		if d.Replaced || only != nil && !only[d.Name] && !(o.Reset && d.Update) || strings.Contains(o.Path, "{"+d.Name+"}") {
			continue
		}
		v := r.Props.Get(d.Name)
		if d.Name == "value_specs" {
			for k, e := range r.Props.Map(d.Name).All() {
				b.Set(k, e)
			}
			continue
		}
		if d.Name == "name" && !o.NoName && (v == nil || v == "") && o.Rename[d.Name] == "" {
			v = r.PhysicalName(nameLimit(r))
		}
		field, renamed := o.Rename[d.Name]
		if !renamed {
			if field = d.Name; o.Find[d.Name] != "" {
				field += "_id"
			}
		}
		if field == "" || d.Name == "tags" && !renamed || v == nil && only == nil {
			continue
		}
		if in := o.Find[d.Name]; in != "" && v != nil && v != "" {
			id, err := r.lookup(ctx, c, in, hot.PyStr(v))
			if err != nil {
				return nil, err
			}
			v = id
		}
		b.Set(field, v)
	}
	if o.Body != nil {
		if err := o.Body(ctx, r, c, b, only); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func nameLimit(r *Resource) int {
	if r.Type.NameLimit > 0 {
		return r.Type.NameLimit
	}
	return 255
}

func (o object) create(ctx context.Context, r *Resource) (Step, error) {
	c, err := r.client(ctx)
	if err != nil {
		return Step{}, err
	}
	if r.PhysicalID == "" {
		b, err := o.fields(ctx, r, c, nil)
		if err != nil {
			return Step{}, err
		}
		if err := o.make(ctx, r, c, b); err != nil {
			return Step{}, err
		}
	}
	return o.ready(ctx, r, c, nil, true)
}

// made finds what an attempt before a crash has made: by the mark in its description, or as an object that
// was not there before and has the fields of the request.
func (o object) made(ctx context.Context, r *Resource, c client, path string, b *Map) (*Map, error) {
	m, err := c.call(ctx, "GET", path+o.query(b), nil)
	if err != nil {
		return nil, err
	}
	before, _ := r.Data["before"].([]any)
	for _, e := range items(m, o.List) {
		if str(e, "description") == r.marker() {
			return e, nil
		}
		if r.Data["marked"] != true && !hasText(before, str(e, o.ID)) && sameFields(e, b) {
			return e, nil
		}
	}
	return nil, nil
}

// query narrows a list to the objects of the name in a request.
func (o object) query(b *Map) string {
	if n := str(b, "name"); n != "" {
		return "?name=" + url.QueryEscape(n)
	}
	return ""
}

// sameFields tells whether an object has the plain fields of a request.
func sameFields(e, b *Map) bool {
	for k, want := range b.All() {
		switch want.(type) {
		case string, bool, int64:
			if have, ok := e.Get(k); ok && !hot.Equal(have, want) {
				return false
			}
		}
	}
	return true
}

// make creates the object unless an attempt before a crash did.
func (o object) make(ctx context.Context, r *Resource, c client, b *Map) error {
	path, err := o.path(ctx, r, c)
	if err != nil {
		return err
	}
	if r.Data["creating"] == true {
		e, err := o.made(ctx, r, c, path, b)
		if err != nil {
			return err
		}
		if e != nil {
			return r.SetID(ctx, str(e, o.ID))
		}
	} else if err := o.prepare(ctx, r, c, path, b); err != nil {
		return err
	}
	if r.Data["marked"] == true {
		b.Set("description", r.marker())
	}
	m, err := c.call(ctx, "POST", path, o.wrap(b))
	if err != nil {
		return err
	}
	id := str(o.unwrap(m), o.ID)
	if id == "" {
		return Failed("the service gave no id for the %s it made", o.Key)
	}
	return r.SetID(ctx, id[strings.LastIndexByte(id, '/')+1:])
}

// prepare remembers how to find the object after a crash, before it is made.
func (o object) prepare(ctx context.Context, r *Resource, c client, path string, b *Map) error {
	_, described := b.Get("description")
	has := slices.ContainsFunc(r.Props.decl, func(p Prop) bool { return p.Name == "description" })
	if (has || r.inNeutron() && !o.Plain) && !described {
		r.Data["marked"] = true
	} else {
		m, err := c.call(ctx, "GET", path+o.query(b), nil)
		if err != nil {
			return err
		}
		before := []any{}
		for _, e := range items(m, o.List) {
			before = append(before, str(e, o.ID))
		}
		r.Data["before"] = before
	}
	r.Data["creating"] = true
	return r.Host.Save(ctx, r)
}

func (o object) update(ctx context.Context, r *Resource) (Step, error) {
	c, err := r.client(ctx)
	if err != nil {
		return Step{}, err
	}
	if len(r.Changed) > 0 {
		b, err := o.fields(ctx, r, c, r.Changed)
		if err != nil {
			return Step{}, err
		}
		if r.Data["marked"] == true && str(b, "description") == "" && r.Changed["description"] {
			b.Set("description", "")
		}
		path, err := o.one(ctx, r, c)
		if err != nil {
			return Step{}, err
		}
		if b.Len() > 0 {
			if _, err := c.call(ctx, o.Method, path, o.wrap(b)); err != nil {
				return Step{}, err
			}
		}
	}
	return o.ready(ctx, r, c, r.Changed, false)
}

// ready does what follows a creation or an update, and waits until the object is built.
func (o object) ready(ctx context.Context, r *Resource, c client, changed map[string]bool, created bool) (Step, error) {
	path, err := o.one(ctx, r, c)
	if err != nil {
		return Step{}, err
	}
	if l, ok := r.Props.Get("tags").([]any); ok && r.inNeutron() && (created || changed["tags"]) {
		if _, err := c.call(ctx, "PUT", path+"/tags", yaml11.MapOf("tags", l)); err != nil {
			return Step{}, err
		}
	}
	m, err := c.call(ctx, "GET", path, nil)
	if err != nil && !(status(err) == 405 || isNotFound(err) && o.Status == "-") {
		return Step{}, err
	}
	switch st := strings.ToUpper(hot.PyStr(get(o.unwrap(m), o.Status))); {
	case st == "ERROR" || st == "FAILED" || strings.HasPrefix(st, "ERROR_"):
		return Step{}, Failed("Went to status %s due to \"%s\"", st, reason(o.unwrap(m)))
	case strings.HasPrefix(st, "BUILD") || strings.HasPrefix(st, "PENDING") || strings.HasSuffix(st, "ING") || strings.HasSuffix(st, "_IN_PROGRESS") || st == "QUEUED":
		return Wait(2 * time.Second), nil
	}
	if o.After != nil {
		if err := o.After(ctx, r, c, changed); err != nil {
			var later waitError
			if errors.As(err, &later) {
				return Wait(later.d), nil
			}
			return Step{}, err
		}
	}
	return Done(), nil
}

// waitError is how After says that it is to be called again.
type waitError struct{ d time.Duration }

func (waitError) Error() string { return "not ready yet" }

func reason(m *Map) string {
	for _, k := range []string{"status_reason", "fault", "error_message", "operating_status"} {
		if s := str(m, k); s != "" {
			return s
		}
	}
	return "Unknown"
}

// maxBusy is how long a deletion is tried while something still uses the object; its owner is being deleted
// too, as a rule.
const maxBusy = 2 * time.Minute

func (o object) remove(ctx context.Context, r *Resource) (Step, error) {
	c, err := r.client(ctx)
	if err != nil {
		if r.PhysicalID == "" && r.Data["creating"] != true {
			return Done(), nil
		}
		return Step{}, err
	}
	if r.PhysicalID == "" && r.Data["creating"] == true {
		path, err := o.path(ctx, r, c)
		if err != nil {
			return Step{}, err
		}
		b, err := o.fields(ctx, r, c, nil)
		if err != nil {
			return Step{}, err
		}
		e, err := o.made(ctx, r, c, path, b)
		if err != nil {
			return Step{}, err
		}
		if e != nil {
			r.PhysicalID = str(e, o.ID)
		}
	}
	if r.PhysicalID == "" {
		return Done(), nil
	}
	if o.Before != nil {
		if err := o.Before(ctx, r, c); err != nil && !isNotFound(err) {
			return Step{}, err
		}
	}
	path, err := o.one(ctx, r, c)
	if err != nil {
		return Step{}, err
	}
	if err := c.remove(ctx, path); err != nil {
		if status(err) == 409 && r.Host.Now().Sub(r.Begun) < maxBusy {
			return Wait(2 * time.Second), nil
		}
		return Step{}, err
	}
	if o.Gone {
		m, err := c.call(ctx, "GET", path, nil)
		if err == nil && !strings.EqualFold(hot.PyStr(get(o.unwrap(m), o.Status)), "DELETED") {
			return Wait(2 * time.Second), nil
		}
		if err != nil && !isNotFound(err) {
			return Step{}, err
		}
	}
	return Done(), nil
}

func (o object) get(ctx context.Context, r *Resource) (*Map, client, error) {
	c, err := r.client(ctx)
	if err != nil {
		return nil, c, err
	}
	if o.Only {
		path, err := o.path(ctx, r, c)
		if err != nil {
			return nil, c, err
		}
		m, err := c.call(ctx, "GET", path, nil)
		if err == nil && str(m, o.ID) == "" {
			err = gophercloud.ErrUnexpectedResponseCode{Method: "GET", URL: c.ServiceURL(path), Actual: http.StatusNotFound, Body: []byte(o.Key + " is not there")}
		}
		return m, c, err
	}
	path, err := o.one(ctx, r, c)
	if err != nil {
		return nil, c, err
	}
	m, err := c.call(ctx, "GET", path, nil)
	return o.unwrap(m), c, err
}

func (o object) keep(ctx context.Context, r *Resource) (bool, error) {
	if r.PhysicalID == "" || o.Method == "-" {
		return false, nil
	}
	m, _, err := o.get(ctx, r)
	if isNotFound(err) {
		return false, nil
	}
	return !strings.HasPrefix(strings.ToUpper(str(m, o.Status)), "ERROR"), err
}

func (o object) check(ctx context.Context, r *Resource) error {
	m, _, err := o.get(ctx, r)
	if err != nil {
		return err
	}
	if st := strings.ToUpper(str(m, o.Status)); strings.HasPrefix(st, "ERROR") {
		return Failed("%s %s is in status %s", o.Key, r.PhysicalID, st)
	}
	return nil
}

func (o object) attr(ctx context.Context, r *Resource, name string) (any, error) {
	m, c, err := o.get(ctx, r)
	if err != nil {
		return nil, err
	}
	if name == "show" {
		return m, nil
	}
	if o.Attr != nil {
		if v, ok, err := o.Attr(ctx, r, c, m, name); ok || err != nil {
			return v, err
		}
	}
	if v, ok := m.Get(name); ok {
		return v, nil
	}
	if field := o.Rename[name]; field != "" {
		v, _ := m.Get(field)
		return v, nil
	}
	return nil, nil
}

// find returns the id of the object of a collection that is named so, or has that id.
func (c client) find(ctx context.Context, collection, nameOrID string) (string, error) {
	base, _, _ := strings.Cut(collection, "?")
	key := strings.ReplaceAll(base[strings.LastIndexByte(base, '/')+1:], "-", "_")
	return c.idOf(ctx, collection, key, nameOrID)
}

// lookup is find in a collection of another service too: "neutron:subnets".
func (r *Resource) lookup(ctx context.Context, c client, in, nameOrID string) (string, error) {
	if service, collection, ok := strings.Cut(in, ":"); ok {
		other, err := r.service(ctx, service)
		if err != nil {
			return "", err
		}
		c, in = other, collection
	}
	return c.find(ctx, in, nameOrID)
}

// findAll is find for a list.
func (c client) findAll(ctx context.Context, collection string, l []any) ([]any, error) {
	out := make([]any, 0, len(l))
	for _, v := range l {
		id, err := c.find(ctx, collection, hot.PyStr(v))
		if err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, nil
}

// client returns a client of the service that the type needs.
func (r *Resource) client(ctx context.Context) (client, error) { return r.service(ctx, r.Type.Client) }

// inNeutron tells whether the type is an object of Neutron.
func (r *Resource) inNeutron() bool { return slices.Contains(services(r.Type.Client), "network") }

// service returns a client of a service by Heat's name of it.
func (r *Resource) service(ctx context.Context, name string) (client, error) {
	s, err := r.Cloud(ctx)
	if err != nil {
		return client{}, err
	}
	for _, t := range services(name) {
		if !s.Has(t) {
			continue
		}
		c, err := s.Client(t)
		if err != nil {
			return client{}, fmt.Errorf("service %s: %w", name, err)
		}
		return client{c}, nil
	}
	return client{}, Unavailable(r.TypeName, name)
}

// UnavailableError is a type whose service is not there.
type UnavailableError struct{ Type, Service, Reason string }

// Error says it as Heat does.
func (e *UnavailableError) Error() string {
	return fmt.Sprintf("HEAT-E99001 Service %s is not available for resource type %s, reason: %s", e.Service, e.Type, e.Reason)
}

// Unavailable returns the error of a type whose service the catalog does not have.
func Unavailable(typ, client string) error {
	kind := "?"
	if l := services(client); len(l) > 0 {
		kind = l[0]
	}
	return &UnavailableError{typ, client, fmt.Sprintf("%s %s endpoint is not in service catalog.", client, kind)}
}
