package orchestration

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

const maxNested = 50

// depth reads nested_depth: a number, "max" or a boolean.
func depth(r *http.Request) (int, error) {
	v := r.URL.Query().Get("nested_depth")
	switch v {
	case "":
		return 0, nil
	case "max", "MAX", "true", "True":
		return maxNested, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0, api.Invalid("nested_depth must be a number that is not negative, got %q", v)
	}
	return n, nil
}

// family returns the stack and, to the given depth below it, the stacks nested in it.
func (s *Service) family(r *http.Request, st *engine.Stack, levels int) ([]*engine.Stack, error) {
	out := []*engine.Stack{st}
	if levels == 0 {
		return out, nil
	}
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		all, err := engine.ListStacks(tx, "root_id = ? AND depth > ? AND depth <= ? AND deleted_at = 0 ORDER BY depth, created_at", st.RootID, st.Depth, st.Depth+levels)
		if err != nil {
			return err
		}
		in := map[string]bool{st.ID: true}
		for _, c := range all {
			if in[c.ParentID] {
				in[c.ID] = true
				out = append(out, c)
			}
		}
		return nil
	})
	return out, err
}

func (s *Service) resourceView(st *engine.Stack, row *engine.Brief, requiredBy []string, nested *engine.Stack) map[string]any {
	links := []any{link("self", s.stackURL(st)+"/resources/"+url.PathEscape(row.Name)), link("stack", s.stackURL(st))}
	if nested != nil {
		links = append(links, link("nested", s.stackURL(nested)))
	}
	if requiredBy == nil {
		requiredBy = []string{}
	}
	updated := row.Updated
	if updated.IsZero() {
		updated = row.Created
	}
	v := map[string]any{"resource_name": row.Name, "logical_resource_id": row.Name, "links": links, "resource_status": row.Action + "_" + row.Status,
		"resource_status_reason": row.Reason, "physical_resource_id": row.PhysicalID, "resource_type": row.Type, "creation_time": api.FormatTime(row.Created),
		"updated_time": api.FormatTime(updated), "required_by": requiredBy, "description": row.Description(), "position": row.Pos()}
	if st.ParentResource != "" {
		v["parent_resource"] = st.ParentResource
	}
	return v
}

func (s *Service) listResources(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	levels, err := depth(r)
	if err != nil {
		return err
	}
	family, err := s.family(r, st, levels)
	if err != nil {
		return err
	}
	var l listing
	if err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error { return l.read(tx, r, st, family) }); err != nil {
		return err
	}
	out := make([]any, 0, len(l.rows))
	for _, row := range l.rows {
		v := s.resourceView(l.stacks[row.StackID], row, l.requiredBy[row.StackID][row.Name], l.stacks[row.PhysicalID])
		if full := l.full[row.ID]; full != nil {
			v["attributes"] = full.Attrs()
			v["properties"] = s.visibleProps(full)
		}
		out = append(out, v)
	}
	res := map[string]any{"resources": out}
	if l.counts != nil {
		res["counts"] = l.counts
	}
	return api.WriteJSON(w, http.StatusOK, res)
}

// listing is what a list of resources is made of.
type listing struct {
	rows       []*engine.Brief // in the order of their stacks
	stacks     map[string]*engine.Stack
	requiredBy map[string]map[string][]string // by stack and name
	full       map[string]*engine.Row         // with_detail only
	counts     map[string]int                 // with_counts only: by state, filters left out
}

// idsTogether is how many ids one statement names.
const idsTogether = 500

func (l *listing) read(tx *store.Tx, r *http.Request, st *engine.Stack, family []*engine.Stack) error {
	ids := make([]string, 0, len(family))
	l.stacks = make(map[string]*engine.Stack, len(family))
	for _, c := range family {
		ids = append(ids, c.ID)
		l.stacks[c.ID] = c
	}
	where, args, err := rowFilters(r.URL.Query())
	if err != nil {
		return err
	}
	byStack := map[string][]*engine.Brief{}
	for rest := ids; len(rest) > 0; rest = rest[min(len(rest), idsTogether):] {
		n := min(len(rest), idsTogether)
		list, err := engine.FindBriefs(tx, "stack_id IN "+store.In(n)+" AND replaced = 0"+where+" ORDER BY created_at, name", append(store.Args(rest[:n]), args...)...)
		if err != nil {
			return err
		}
		for _, row := range list {
			byStack[row.StackID] = append(byStack[row.StackID], row)
		}
	}
	var among []string // the stacks that the list shows something of
	for _, id := range ids {
		if len(byStack[id]) > 0 {
			among = append(among, id)
			l.rows = append(l.rows, byStack[id]...)
		}
	}
	if err := l.relate(tx, byStack, among, where != ""); err != nil {
		return err
	}
	if err := l.nested(tx, st, family); err != nil {
		return err
	}
	if truthy(r, "with_counts") {
		if l.counts, err = engine.CountStates(tx, ids); err != nil {
			return err
		}
	}
	if truthy(r, "with_detail") {
		return l.detail(tx)
	}
	return nil
}

// relate finds out which resources need each other; siblings of what a filter chose have to be read for it.
func (l *listing) relate(tx *store.Tx, byStack map[string][]*engine.Brief, among []string, filtered bool) error {
	l.requiredBy = map[string]map[string][]string{}
	add := func(row *engine.Brief) {
		for _, d := range row.Requires() {
			if l.requiredBy[row.StackID] == nil {
				l.requiredBy[row.StackID] = map[string][]string{}
			}
			l.requiredBy[row.StackID][d] = append(l.requiredBy[row.StackID][d], row.Name)
		}
	}
	if !filtered {
		for _, row := range l.rows {
			add(row)
		}
		return nil
	}
	for len(among) > 0 {
		n := min(len(among), idsTogether)
		list, err := engine.FindBriefs(tx, "stack_id IN "+store.In(n)+" AND replaced = 0 ORDER BY created_at, name", store.Args(among[:n])...)
		if err != nil {
			return err
		}
		for _, row := range list {
			add(row)
		}
		among = among[n:]
	}
	return nil
}

// nested finds the stacks below the resources of the last level; those of the others are known.
func (l *listing) nested(tx *store.Tx, st *engine.Stack, family []*engine.Stack) error {
	last := family[len(family)-1].Depth
	below, err := engine.ListStacks(tx, "root_id = ? AND parent_id <> '' AND deleted_at = 0 AND depth > ?", st.RootID, last)
	for _, c := range below {
		l.stacks[c.ID] = c
	}
	return err
}

func (l *listing) detail(tx *store.Tx) error {
	l.full = map[string]*engine.Row{}
	for rest := l.rows; len(rest) > 0; rest = rest[min(len(rest), idsTogether):] {
		n := min(len(rest), idsTogether)
		ids := make([]any, n)
		for i, row := range rest[:n] {
			ids[i] = row.ID
		}
		list, err := engine.FindRows(tx, "id IN "+store.In(n), ids...)
		if err != nil {
			return err
		}
		for _, row := range list {
			l.full[row.ID] = row
		}
	}
	return nil
}

// maxFilter is how many values a filter may have; a statement has room for some 30,000.
const maxFilter = 2000

// rowFilters turns the filters name, type, status, action, id and physical_resource_id into a condition. A status is one
// alone, or with its action.
func rowFilters(q url.Values) (where string, args []any, err error) {
	for _, f := range []struct{ param, column string }{{"name", "name"}, {"type", "type"}, {"status", "status"}, {"action", "action"}, {"id", "id"}, {"physical_resource_id", "physical_id"}} {
		v := q[f.param]
		if len(v) == 0 {
			continue
		}
		if len(v) > maxFilter {
			return "", nil, api.Invalid("filter %s has %d values, expected at most %d", f.param, len(v), maxFilter)
		}
		in := store.In(len(v))
		if f.param == "status" {
			where += " AND (status IN " + in + " OR action || '_' || status IN " + in + ")"
			args = append(args, store.Args(v)...)
		} else {
			where += " AND " + f.column + " IN " + in
		}
		args = append(args, store.Args(v)...)
	}
	return where, args, nil
}

// resource returns the resource a request is about.
func (s *Service) resource(r *http.Request) (*engine.Stack, *engine.Row, error) {
	if id, ok := auth.FromContext(r.Context()); ok && stackUser(id) {
		if _, err := caller(r); err != nil {
			return nil, nil, err
		}
		return s.ownResource(r, id, strings.HasSuffix(r.URL.Path, "/signal"))
	}
	st, _, err := s.find(r)
	if err != nil {
		return nil, nil, err
	}
	name := r.PathValue("resource")
	var rows []*engine.Row
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		rows, err = engine.FindRows(tx, "stack_id = ? AND name = ? ORDER BY replaced LIMIT 1", st.ID, name)
		if err == nil && len(rows) == 0 && r.Method == http.MethodPatch { // mark_unhealthy takes a physical id too
			rows, err = engine.FindRows(tx, "stack_id = ? AND physical_id = ? ORDER BY replaced LIMIT 1", st.ID, name)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if len(rows) == 0 {
		return nil, nil, api.NotFound("The Resource (%s) could not be found in Stack %s.", name, st.Name).Named("EntityNotFound")
	}
	return st, rows[0], nil
}

func (s *Service) showResource(w http.ResponseWriter, r *http.Request) error {
	st, row, err := s.resource(r)
	if err != nil {
		return err
	}
	var nested *engine.Stack
	var requiredBy []string
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		if row.PhysicalID != "" {
			list, err := engine.FindStacks(tx, "id = ?", row.PhysicalID)
			if err != nil {
				return err
			}
			if len(list) > 0 {
				nested = list[0]
			}
		}
		all, err := engine.FindBriefs(tx, "stack_id = ? AND replaced = 0", st.ID)
		for _, other := range all {
			for _, d := range other.Requires() {
				if d == row.Name {
					requiredBy = append(requiredBy, other.Name)
				}
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	v := s.resourceView(st, row.InBrief(), requiredBy, nested)
	v["attributes"] = row.Attrs()
	if look, err := s.e.Look(r.Context(), st.ID); err == nil {
		v["attributes"] = look.Attributes(row)
	}
	v["properties"] = s.visibleProps(row)
	return api.WriteJSON(w, http.StatusOK, map[string]any{"resource": v})
}

// masked stands for the value of a hidden parameter or property.
const masked = "******"

// visibleProps leaves out the values of hidden properties.
func (s *Service) visibleProps(row *engine.Row) *Map {
	typ := s.e.Type(row.Target)
	if typ == nil || row.Def().Props == nil {
		return row.Def().Props
	}
	return maskProps(typ, row.Def().Props)
}

// maskProps hides the values of hidden properties in a copy.
func maskProps(typ *resources.Type, props *Map) *Map {
	m := props.Clone()
	for _, p := range typ.Props {
		if _, ok := m.Get(p.Name); ok && p.Hidden {
			m.Set(p.Name, masked)
		}
	}
	return m
}

// visibleParams are a stack's parameters without the values of hidden ones.
func (s *Service) visibleParams(r *http.Request, st *engine.Stack, env *hot.Environment) *Map {
	out := st.Def.Params.Clone()
	t, _, _, err := s.e.Source(r.Context(), st)
	if err != nil {
		t = nil
	}
	maskHidden(out, t, env)
	return out
}

// maskHidden masks the values of the parameters that a template hides or an environment names in
// encrypted_param_names.
func maskHidden(params *Map, t *hot.Template, env *hot.Environment) {
	for _, name := range params.Keys() {
		v, _ := params.Get(name)
		hidden := t == nil || t.Parameter(name) != nil && t.Parameter(name).Hidden // what cannot be read may be hidden
		if (hidden || encrypted(env, name)) && v != nil {
			params.Set(name, masked)
		}
	}
}

// hiddenNames are the parameters that a template, or a template among its files, hides. Where they differ about a name
// the template has the last word, as in Heat.
func hiddenNames(t *hot.Template, files map[string]string) map[string]bool {
	names := map[string]bool{}
	for file, text := range files {
		nested, _, err := hot.Parse(file, []byte(text))
		if err != nil {
			continue // a script, or an environment
		}
		for _, p := range nested.Parameters {
			names[p.Name] = names[p.Name] || p.Hidden
		}
	}
	for _, p := range t.Parameters {
		names[p.Name] = p.Hidden
	}
	return names
}

// encrypted tells whether an environment names a parameter in encrypted_param_names.
func encrypted(env *hot.Environment, name string) bool {
	return slices.ContainsFunc(env.EncryptedParams, func(v any) bool { return hot.PyStr(v) == name })
}

// findResources finds resources of the project in all its stacks by their physical id or name: additive,
// Heat has it only within a stack.
func (s *Service) findResources(w http.ResponseWriter, r *http.Request) error {
	if _, err := caller(r); err != nil {
		return err
	}
	q := r.URL.Query()
	var where []string
	var args []any
	for param, column := range map[string]string{"physical_resource_id": "physical_id", "resource_name": "name", "name": "name", "type": "type"} {
		if v := q[param]; len(v) > 0 {
			where, args = append(where, column+" IN "+store.In(len(v))), append(args, store.Args(v)...)
		}
	}
	if len(where) == 0 {
		return api.Invalid("name a physical_resource_id, a name or a type to find")
	}
	out := []any{}
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		rows, err := engine.FindRows(tx, strings.Join(where, " AND ")+" AND replaced = 0 AND stack_id IN (SELECT id FROM heat_stacks WHERE project_id = ? AND deleted_at = 0) ORDER BY created_at, id LIMIT 1000",
			append(args, r.PathValue("tenant"))...)
		for _, row := range rows {
			st, err := engine.GetStack(tx, row.StackID)
			if err != nil {
				return err
			}
			v := s.resourceView(st, row.InBrief(), nil, nil)
			v["stack_name"], v["stack_id"] = st.Name, st.ID
			out = append(out, v)
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"resources": out})
}

func (s *Service) resourceMetadata(w http.ResponseWriter, r *http.Request) error {
	_, row, err := s.resource(r)
	if err != nil {
		return err
	}
	meta, err := s.e.Metadata(r.Context(), row)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"metadata": meta})
}

func (s *Service) signalResource(w http.ResponseWriter, r *http.Request) error {
	_, row, err := s.resource(r)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return api.Invalid("the signal could not be read").Wrap(err)
	}
	if hook, err := unsetHook(data); err != nil || hook != "" {
		if id, ok := auth.FromContext(r.Context()); ok && stackUser(id) {
			return api.Forbidden("You are not authorized to clear hooks.")
		}
		if err == nil {
			err = s.e.ClearHook(r.Context(), row, hook)
		}
		return err
	}
	if err := s.signalRow(r.Context(), row, data); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// unsetHook reads the hook that a signal clears, "" if it is another signal.
func unsetHook(data []byte) (string, error) {
	v, err := yaml11.DecodeJSON(data)
	m, ok := v.(*Map)
	if err != nil || !ok {
		return "", nil //nolint:nilerr // signals may be any text
	}
	hook, ok := m.Get("unset_hook")
	if !ok {
		return "", nil
	}
	name, ok := hook.(string)
	if !ok || name == "" {
		return "", api.Invalid("unset_hook must be the name of a hook, got %s", hot.Show(hook)).Named("InvalidBreakPointHook")
	}
	return name, nil
}

func (s *Service) markUnhealthy(w http.ResponseWriter, r *http.Request) error {
	_, row, err := s.resource(r)
	if err != nil {
		return err
	}
	m, err := body(r)
	if err != nil {
		return err
	}
	for k := range m.All() {
		if k != "mark_unhealthy" && k != "resource_status_reason" {
			return api.Invalid("Unexpected keys in mark unhealthy request: (%s)", k)
		}
	}
	v, ok := m.Get("mark_unhealthy")
	bad, isBool := hot.ToBool(v)
	if !ok {
		return api.Invalid("Missing mandatory (mark_unhealthy) key from mark unhealthy request")
	}
	if !isBool {
		return api.Invalid("Unrecognized value %s for mark_unhealthy, acceptable values are: true, false", hot.Show(v))
	}
	reason, _ := value[string](m, "resource_status_reason")
	return s.e.MarkUnhealthy(r.Context(), row, bad, reason)
}
