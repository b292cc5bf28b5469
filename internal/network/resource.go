package network

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

// resource is one kind of thing of the API: its attributes and where it
// differs from the others. Hooks run in the transaction of the request.
type resource struct {
	kind         string // in bodies: {"security_group": {…}}
	plural, path string // "security_groups", "security-groups"
	attrs        []attr
	missing      string // of %s, when it does not exist
	missingType  string
	inUse        string // of %s, when others refer to it
	inUseType    string
	parent       string // the attribute with the id of what it belongs to and ends before
	shared       string // its object_type in RBAC policies
	quota        bool
	admin        bool // for administrators only
	plain        bool // without description, tags, times and revision
	unowned      bool // without a project
	noPut        bool
	nested       bool // served only below another resource

	prepare func(c *call, d, old doc) error // checks and completes; old is nil at creation
	stored  func(c *call, d, old doc) error // what follows from it, after it was written
	release func(c *call, d doc) error      // before it is deleted
	view    func(c *call, d doc) error      // adds computed attributes
	visible func(c *call, d doc) (bool, error)
	foreign func(c *call, d doc) error // says whether the caller may change what it sees of another project
}

// call is one request in one transaction.
type call struct {
	s      *Service
	tx     *store.Tx
	r      *http.Request
	who    *auth.Identity
	given  map[string]any // what the body of the request gave
	shares map[string]map[string]bool

	networks map[string]doc // as read by this request
	common   *common        // nil: what it reads is for this request only
	fresh    bool           // what is shown was made by this request
}

// admin says whether the caller manages the cloud.
func (c *call) admin() bool { return c.who.IsAdmin() || c.who.HasRole("service") }

func (s *Service) in(r *http.Request, write bool, fn func(c *call) error) error {
	run := s.cfg.DB.View
	if write {
		run = s.cfg.DB.Tx
	}
	return s.inside(r, run, fn)
}

// inside calls fn in a transaction of the given kind.
func (s *Service) inside(r *http.Request, run func(context.Context, func(*store.Tx) error) error, fn func(c *call) error) error {
	who, _ := auth.FromContext(r.Context())
	return run(r.Context(), func(tx *store.Tx) error {
		return fn(&call{s: s, tx: tx, r: r, who: who})
	})
}

func (k *resource) notFound(id string) *api.Error {
	return api.NotFound(k.missing, id).Named(k.missingType)
}

func (k *resource) attr(name string) *attr {
	for i := range k.attrs {
		if k.attrs[i].name == name {
			return &k.attrs[i]
		}
	}
	return nil
}

func newID() string { return uuid.NewString() }

func stamp() string { return time.Now().UTC().Format(api.TimeFormat) }

// load reads one thing, whoever asks.
func (c *call) load(k *resource, id string) (doc, error) {
	if k.kind != "network" {
		return c.loadWith(k, id, "")
	}
	// A port's network is looked at again and again: by one request once.
	if n, ok := c.networks[id]; ok {
		return n.clone(), nil
	}
	n, err := c.loadWith(k, id, "")
	if err == nil {
		if c.networks == nil {
			c.networks = map[string]doc{}
		}
		c.networks[id] = n.clone()
	}
	return n, err
}

// lock is load that keeps others from changing or using it until the end of
// the transaction.
func (c *call) lock(k *resource, id string) (doc, error) {
	return c.loadWith(k, id, c.tx.ForUpdate())
}

func (c *call) loadWith(k *resource, id, suffix string) (doc, error) {
	d := doc{}
	err := c.tx.Get([]any{store.JSON(&d)}, `SELECT doc FROM network_resources WHERE id = ? AND kind = ?`+suffix, id, k.kind)
	if isNotFound(err) {
		return nil, k.notFound(id).Wrap(err)
	}
	return d, err
}

// find reads all things of a kind that meet a condition on the columns.
func (c *call) find(k *resource, where string, args ...any) ([]doc, error) {
	var out []doc
	err := c.tx.Each(func(scan func(...any) error) error {
		d := doc{}
		if err := scan(store.JSON(&d)); err != nil {
			return err
		}
		out = append(out, d)
		return nil
	}, `SELECT doc FROM network_resources WHERE kind = ?`+where, append([]any{k.kind}, args...)...)
	return out, err
}

// children reads the things of a kind that belong to a parent.
func (c *call) children(k *resource, parent string) ([]doc, error) {
	return c.find(k, ` AND parent_id = ? ORDER BY id`, parent)
}

// sees says whether the caller may see d.
func (c *call) sees(k *resource, d doc) (bool, error) {
	if c.admin() || !k.unowned && !k.admin && d.project() == c.who.ProjectID {
		return true, nil
	}
	if k.shared != "" {
		acts, err := c.sharing(d.id())
		if err != nil || len(acts) > 0 {
			return err == nil, err
		}
	}
	if k.visible != nil {
		return k.visible(c, d)
	}
	return false, nil
}

// see reads one thing that the caller may see.
func (c *call) see(k *resource, id string) (doc, error) {
	d, err := c.load(k, id)
	if err != nil {
		return nil, err
	}
	ok, err := c.sees(k, d)
	if err == nil && !ok {
		err = k.notFound(id)
	}
	return d, err
}

// own reads one thing that the caller may change.
func (c *call) own(k *resource, id string) (doc, error) {
	d, err := c.lock(k, id)
	if err != nil {
		return nil, err
	}
	ok, err := c.sees(k, d)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, k.notFound(id)
	case c.admin() || d.project() == c.who.ProjectID:
		return d, nil
	case k.foreign != nil:
		return d, k.foreign(c, d)
	default:
		return nil, api.Forbidden("%s %s belongs to another project", k.kind, id)
	}
}

// accept checks what a request gives for a thing, and returns the thing with
// it: a new one when old is nil.
func (c *call) accept(k *resource, given map[string]any, old doc) (doc, error) {
	c.given = given
	if v, ok := given["tenant_id"]; ok {
		if p, both := given["project_id"]; both && p != v {
			return nil, api.Invalid("'project_id' and 'tenant_id' do not match")
		}
		given["project_id"] = v
		delete(given, "tenant_id")
	}
	for name := range given {
		if err := c.known(k, name, old == nil); err != nil {
			return nil, err
		}
	}
	d := old.clone()
	if old == nil {
		d = doc{"id": newID()}
		if !k.unowned {
			asked, _ := given["project_id"].(string)
			project, err := c.projectFor(asked)
			if err != nil {
				return nil, err
			}
			d["project_id"] = project
		}
	}
	for i := range k.attrs {
		if err := c.set(k, &k.attrs[i], d, old == nil); err != nil {
			return nil, err
		}
	}
	return d, c.mayGive(k, old)
}

// mayGive keeps the attributes that are for administrators.
func (c *call) mayGive(k *resource, old doc) error {
	for name := range c.given {
		if a := k.attr(name); a != nil && a.mode&setBy != 0 && !c.admin() {
			return api.Forbidden("(rule:%s_%s and rule:%s_%s:%s) is disallowed by policy", verbOf(old), k.kind, verbOf(old), k.kind, name)
		}
	}
	return nil
}

// wellFormed checks what a request gives before anything is looked up.
func (c *call) wellFormed(k *resource, given map[string]any) error {
	c.given = given
	for name := range given {
		if err := c.known(k, name, false); err != nil {
			return err
		}
		if a := k.attr(name); a != nil {
			if _, why := a.parse(given[name]); why != "" {
				return badInput(name, why)
			}
		}
	}
	return nil
}

// known refuses attributes that there are not, or not at this time.
func (c *call) known(k *resource, name string, fresh bool) error {
	a := k.attr(name)
	switch {
	case name == "project_id" && !k.unowned && fresh:
		return nil
	case name == "project_id" || name == "id" || name == "tenant_id" || a == nil && (name == "created_at" || name == "updated_at" || name == "revision_number" || name == "tags"):
		if fresh {
			return api.Invalid("Attribute '%s' not allowed in POST", name).Named("HTTPBadRequest")
		}
		return api.Invalid("Cannot update read-only attribute %s", name).Named("HTTPBadRequest")
	case a == nil:
		return api.Invalid("Unrecognized attribute(s) '%s'", name).Named("HTTPBadRequest")
	case fresh && a.mode&post == 0:
		return api.Invalid("Attribute '%s' not allowed in POST", name).Named("HTTPBadRequest")
	case !fresh && a.mode&put == 0:
		return api.Invalid("Cannot update read-only attribute %s", name).Named("HTTPBadRequest")
	}
	return nil
}

func (c *call) set(k *resource, a *attr, d doc, fresh bool) error {
	v, given := c.given[a.name]
	if given {
		parsed, why := a.parse(v)
		if why != "" {
			return badInput(a.name, why)
		}
		d[a.name] = parsed
		return nil
	}
	if !fresh {
		return nil
	}
	if a.mode&need != 0 {
		return api.Invalid("Failed to parse request. Required attribute '%s' not specified", a.name).Named("HTTPBadRequest")
	}
	if _, absent := a.def.(noDefault); !absent && a.mode&post != 0 {
		d[a.name] = a.def
	}
	return nil
}

// projectFor is the project a new thing belongs to: the one asked for, which
// only an administrator may choose, else the caller's.
func (c *call) projectFor(asked string) (string, error) {
	if asked == "" || asked == c.who.ProjectID {
		return c.who.ProjectID, nil
	}
	if !c.admin() {
		return "", api.Invalid("Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin privileges").Named("HTTPBadRequest")
	}
	return asked, nil
}

// create makes a thing of what the body gives.
func (c *call) create(k *resource, given map[string]any) (doc, error) {
	d, err := c.accept(k, given, nil)
	if err != nil {
		return nil, err
	}
	return d, c.add(k, d)
}

// add stores a new thing.
func (c *call) add(k *resource, d doc) error {
	if k.quota {
		if err := c.room(k, d.project(), 1); err != nil {
			return err
		}
	}
	if !k.plain {
		d["tags"], d["created_at"], d["revision_number"] = []any{}, stamp(), 1
		d["updated_at"] = d["created_at"]
	}
	if err := c.checkRefs(k, d, nil); err != nil {
		return err
	}
	if k.prepare != nil {
		if err := k.prepare(c, d, nil); err != nil {
			return err
		}
	}
	want, _ := d["shared"].(bool)
	delete(d, "shared")
	var parent any
	if k.parent != "" && d.str(k.parent) != "" {
		parent = d.str(k.parent)
	}
	if err := c.insert(k, d, parent); err != nil {
		return err
	}
	if err := c.putRefs(k, d, nil); err != nil {
		return err
	}
	if want {
		if err := c.share(k, d, asShared, true); err != nil {
			return err
		}
	}
	if k.stored != nil {
		return k.stored(c, d, nil)
	}
	return nil
}

// nameOf is what the column name holds: RBAC policies are looked up by their
// target.
func (k *resource) nameOf(d doc) string {
	if k.kind == "rbac_policy" {
		return d.str("target_tenant")
	}
	return d.str("name")
}

func column(d doc, key string) any {
	if v, ok := d[key].(string); ok {
		return v
	}
	return nil
}

// change gives a thing new values.
func (c *call) change(k *resource, old doc, given map[string]any) (doc, error) {
	if err := c.matchRevision(old); err != nil {
		return nil, err
	}
	d, err := c.accept(k, given, old)
	if err != nil {
		return nil, err
	}
	if err := c.checkRefs(k, d, old); err != nil {
		return nil, err
	}
	if k.prepare != nil {
		if err := k.prepare(c, d, old); err != nil {
			return nil, err
		}
	}
	want, _ := d["shared"].(bool)
	_, asked := c.given["shared"]
	delete(d, "shared")
	if err := c.save(k, d, old); err != nil {
		return nil, err
	}
	if asked && k.shared != "" {
		if err := c.share(k, d, asShared, want); err != nil {
			return nil, err
		}
	}
	if k.stored != nil {
		err = k.stored(c, d, old)
	}
	return d, err
}

// save stores a changed thing and counts its revision.
func (c *call) save(k *resource, d, old doc) error {
	delete(c.networks, d.id())
	if !k.plain {
		d["updated_at"], d["revision_number"] = stamp(), d.num("revision_number")+1
	}
	_, err := c.tx.Exec(`UPDATE network_resources SET name = ?, mac = ?, device_id = ?, doc = ? WHERE id = ?`,
		k.nameOf(d), column(d, "mac_address"), column(d, "device_id"), store.JSON(d), d.id())
	if err != nil {
		return err
	}
	return c.putRefs(k, d, old)
}

// touch counts a revision of a thing one of whose parts changed.
func (c *call) touch(k *resource, id string) error {
	d, err := c.lock(k, id)
	if err != nil {
		return err
	}
	return c.save(k, d, d)
}

// matchRevision keeps to "If-Match: revision_number=N" (extension
// revision-if-match).
func (c *call) matchRevision(d doc) error {
	for _, h := range c.r.Header.Values("If-Match") {
		text, ok := strings.CutPrefix(strings.TrimSpace(h), "revision_number=")
		if !ok {
			continue
		}
		want, err := strconv.Atoi(text)
		if err != nil {
			return api.Invalid("If-Match holds %q, expected revision_number=N", h).Wrap(err)
		}
		if want != d.num("revision_number") {
			return api.PreconditionFailed("Constrained to %d, but current revision is %d", want, d.num("revision_number")).Named("RevisionNumberConstraintFailed")
		}
	}
	return nil
}

// destroy deletes a thing that nothing uses.
func (c *call) destroy(k *resource, d doc) error {
	if err := c.matchRevision(d); err != nil {
		return err
	}
	if k.release != nil {
		if err := k.release(c, d); err != nil {
			return err
		}
	}
	if k.shared != "" {
		if _, err := c.tx.Exec(`DELETE FROM network_resources WHERE parent_id = ? AND kind = 'rbac_policy'`, d.id()); err != nil {
			return err
		}
	}
	used, err := c.used(d.id())
	if err != nil {
		return err
	}
	if used {
		return api.Conflict(k.inUse, d.id()).Named(k.inUseType)
	}
	_, err = c.tx.Exec(`DELETE FROM network_resources WHERE id = ?`, d.id())
	return err
}

// used says whether something refers to the thing or belongs to it.
func (c *call) used(id string) (bool, error) {
	var n int
	err := c.tx.Get([]any{&n}, `SELECT (SELECT COUNT(*) FROM network_refs WHERE to_id = ?) + (SELECT COUNT(*) FROM network_resources WHERE parent_id = ?)`, id, id)
	return n > 0, err
}

// checkRefs looks for what the request names: it must exist and be visible.
func (c *call) checkRefs(k *resource, d, old doc) error {
	for i := range k.attrs {
		a := &k.attrs[i]
		if _, given := c.given[a.name]; a.ref == "" || !given {
			continue
		}
		if a.ref == "policy" && old.str(a.name) != "" && old.str(a.name) != d.str(a.name) { // one that an administrator gave
			if _, err := c.see(c.s.kinds["policy"], old.str(a.name)); err != nil {
				return api.Forbidden("QoS policy %s of %s %s is not the caller's to take away", old.str(a.name), k.kind, d.id()).Wrap(err)
			}
		}
		for _, to := range targets(d[a.name]) {
			if _, err := c.see(c.s.kinds[a.ref], to); err != nil {
				return err
			}
		}
	}
	return nil
}

func targets(v any) []string {
	switch x := v.(type) {
	case string:
		if x != "" {
			return []string{x}
		}
	case []any:
		return doc{"": x}.strs("")
	case []string:
		return x
	}
	return nil
}

// putRefs writes down what the thing refers to, so that nobody deletes it.
func (c *call) putRefs(k *resource, d, old doc) error {
	for i := range k.attrs {
		a := &k.attrs[i]
		if a.ref == "" || a.name == k.parent {
			continue
		}
		now := targets(d[a.name])
		if old != nil {
			if show(old[a.name]) == show(d[a.name]) {
				continue
			}
			if _, err := c.tx.Exec(`DELETE FROM network_refs WHERE from_id = ? AND role = ?`, d.id(), a.name); err != nil {
				return err
			}
		}
		for _, to := range now {
			if err := c.refer(d.id(), a.name, to); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *call) refer(from, role, to string) error {
	_, err := c.tx.Exec(`INSERT INTO network_refs (from_id, role, to_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, from, role, to)
	return err
}

// referrers returns the ids of what refers to a thing in a role.
func (c *call) referrers(to, role string) ([]string, error) {
	return texts(c.tx, `SELECT from_id FROM network_refs WHERE to_id = ? AND role = ? ORDER BY from_id`, to, role)
}

// texts reads the only column of a query.
func texts(tx *store.Tx, q string, args ...any) ([]string, error) {
	var out []string
	err := tx.Each(func(scan func(...any) error) error {
		var s string
		err := scan(&s)
		out = append(out, s)
		return err
	}, q, args...)
	return out, err
}

// shown is a thing as the caller gets it.
func (c *call) shown(k *resource, stored doc) (doc, error) {
	d := stored.clone()
	if k.view != nil {
		if err := k.view(c, d); err != nil {
			return nil, err
		}
	}
	if !k.unowned {
		d["tenant_id"] = d["project_id"]
	}
	if k.shared != "" {
		acts, err := c.sharing(d.id())
		if err != nil {
			return nil, err
		}
		d["shared"] = acts["access_as_shared"]
	}
	for i := range k.attrs {
		if a := &k.attrs[i]; a.mode&seenBy != 0 && !c.admin() {
			delete(d, a.name)
		}
	}
	return d, nil
}

// body reads {kind: {…}}, or {plural: [{…}, …]} for many at once.
func body(r *http.Request, k *resource) (items []map[string]any, many bool, err error) {
	var envelope map[string]json.RawMessage
	if err := api.ReadJSON(r, &envelope); err != nil {
		return nil, false, err
	}
	if raw, ok := envelope[k.plural]; ok && k.plural != k.kind {
		if err := api.DecodeJSON(raw, &items); err != nil {
			return nil, false, err
		}
		if len(items) == 0 || len(items) > 10000 {
			return nil, false, api.Invalid("%s holds %d items, expected 1 to 10000", k.plural, len(items))
		}
		for i, it := range items { // some clients wrap each
			if inner, ok := it[k.kind].(map[string]any); ok && len(it) == 1 {
				items[i] = inner
			}
		}
		return items, true, nil
	}
	raw, ok := envelope[k.kind]
	if !ok {
		return nil, false, api.Invalid("Resource body required: expected {%q: {…}}", k.kind).Named("HTTPBadRequest")
	}
	var one map[string]any
	if err := api.DecodeJSON(raw, &one); err != nil {
		return nil, false, err
	}
	if one == nil {
		one = map[string]any{}
	}
	return []map[string]any{one}, false, nil
}

func (s *Service) postResource(k *resource) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		items, many, err := body(r, k)
		if err != nil {
			return err
		}
		return s.respondCreated(w, r, k, items, many)
	}
}

// maxTogether is how many ports one request may make while others wait for the
// same commit.
const maxTogether = 32

func (s *Service) respondCreated(w http.ResponseWriter, r *http.Request, k *resource, items []map[string]any, many bool) error {
	var out []doc
	run := s.cfg.DB.Tx
	if k.kind == "port" && len(items) < maxTogether {
		run = s.cfg.DB.Group
	}
	err := s.inside(r, run, func(c *call) error {
		out, c.fresh = nil, true
		if k.kind == "port" {
			c.shareReads()
		}
		for _, given := range items {
			d, err := c.create(k, cloned(given))
			if err != nil {
				return err
			}
			shown, err := c.shown(k, d)
			if err != nil {
				return err
			}
			out = append(out, shown)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if many {
		return api.WriteJSON(w, http.StatusCreated, map[string]any{k.plural: out})
	}
	return api.WriteJSON(w, http.StatusCreated, map[string]any{k.kind: out[0]})
}

// cloned keeps the body as it came: a transaction may run twice.
func cloned(m map[string]any) map[string]any { return doc(m).clone() }

func (s *Service) getResource(k *resource) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var out doc
		err := s.in(r, false, func(c *call) error {
			d, err := c.see(k, r.PathValue("id"))
			if err != nil {
				return err
			}
			out, err = c.shown(k, d)
			return err
		})
		if err != nil {
			return err
		}
		if fields := r.URL.Query()["fields"]; len(fields) > 0 {
			out = only(out, fields)
		}
		return api.WriteJSON(w, http.StatusOK, map[string]any{k.kind: out})
	}
}

func (s *Service) putResource(k *resource) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		items, _, err := body(r, k)
		if err != nil {
			return err
		}
		var out doc
		err = s.in(r, true, func(c *call) error {
			if err := c.wellFormed(k, cloned(items[0])); err != nil {
				return err
			}
			old, err := c.own(k, r.PathValue("id"))
			if err != nil {
				return err
			}
			d, err := c.change(k, old, cloned(items[0]))
			if err != nil {
				return err
			}
			out, err = c.shown(k, d)
			return err
		})
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, map[string]any{k.kind: out})
	}
}

func (s *Service) deleteResource(k *resource) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := s.in(r, true, func(c *call) error {
			d, err := c.own(k, r.PathValue("id"))
			if err != nil {
				return err
			}
			return c.destroy(k, d)
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// action is a PUT on /{resource}/{id}/{verb}: fn changes the thing and answers.
func (s *Service) action(k *resource, fn func(c *call, d doc, in map[string]any) (any, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		in := map[string]any{}
		if err := api.ReadJSON(r, &in); err != nil {
			return err
		}
		var out any
		err := s.in(r, true, func(c *call) error {
			d, err := c.own(k, r.PathValue("id"))
			if err != nil {
				return err
			}
			out, err = fn(c, d, cloned(in))
			return err
		})
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, out)
	}
}
