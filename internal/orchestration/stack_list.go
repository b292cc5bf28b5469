package orchestration

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/store"
)

func (s *Service) listStacks(w http.ResponseWriter, r *http.Request) error {
	return s.list(w, r, false)
}

func (s *Service) detailStacks(w http.ResponseWriter, r *http.Request) error {
	return s.list(w, r, true)
}

func (s *Service) list(w http.ResponseWriter, r *http.Request, detail bool) error {
	id, err := caller(r)
	if err != nil {
		return err
	}
	page, err := api.ParsePage(r, 0)
	if err != nil {
		return err
	}
	global, err := globalTenant(r, id)
	if err != nil {
		return err
	}
	where, args := stackFilters(r, global)
	var list []*engine.Stack
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		list, err = engine.FindStacks(tx, where+" ORDER BY "+stackOrder(page), args...)
		return err
	})
	if err != nil {
		return err
	}
	list = s.filterTags(list, r)
	count := len(list)
	if list, err = cut(list, page); err != nil {
		return err
	}
	out := []any{}
	for _, st := range list {
		v := brief(s, st)
		if detail {
			v = s.show(r, st, false)
		}
		if global {
			v["project"] = st.ProjectID
		}
		out = append(out, v)
	}
	res := map[string]any{"stacks": out}
	if page.Limit > 0 && len(list) == page.Limit {
		q := r.URL.Query()
		q.Set("marker", list[len(list)-1].ID)
		res["links"] = []any{link("next", s.cfg.BaseURL+"/v1/"+r.PathValue("tenant")+"/stacks?"+q.Encode())}
	}
	if truthy(r, "with_count") {
		res["count"] = count
	}
	return api.WriteJSON(w, http.StatusOK, res)
}

// globalTenant tells whether the stacks of all projects are asked for, which is an administrator's right.
func globalTenant(r *http.Request, id *auth.Identity) (bool, error) {
	if !truthy(r, "global_tenant") {
		return false, nil
	}
	if !id.IsAdmin() {
		return false, api.Forbidden("You are not authorized to list the stacks of all projects.")
	}
	return true, nil
}

// stackFilters turns the query into a condition. Statuses may be written as COMPLETE or CREATE_COMPLETE.
func stackFilters(r *http.Request, global bool) (string, []any) {
	where, args := []string{"1 = 1"}, []any{}
	add := func(cond string, a ...any) { where, args = append(where, cond), append(args, a...) }
	q := r.URL.Query()
	if !global {
		add("project_id = ?", r.PathValue("tenant"))
	} else if v := q["tenant"]; len(v) > 0 {
		add("project_id IN "+store.In(len(v)), store.Args(v)...)
	}
	if !truthy(r, "show_nested") && len(q["owner_id"]) == 0 {
		add("parent_id = ''")
	}
	if !truthy(r, "show_deleted") {
		add("deleted_at = 0")
	}
	for _, f := range [][2]string{{"name", "name"}, {"stack_name", "name"}, {"id", "id"}, {"action", "action"}, {"stack_action", "action"}, {"username", "username"},
		{"stack_owner", "username"}, {"owner_id", "parent_id"}, {"parent", "parent_id"}} {
		if v := q[f[0]]; len(v) > 0 {
			add(f[1]+" IN "+store.In(len(v)), store.Args(v)...)
		}
	}
	for _, param := range []string{"status", "stack_status"} {
		if v := q[param]; len(v) > 0 {
			add("(status IN "+store.In(len(v))+" OR action || '_' || status IN "+store.In(len(v))+")", append(store.Args(v), store.Args(v)...)...)
		}
	}
	return strings.Join(where, " AND "), args
}

// stackOrder is the order of a list: the newest first unless asked otherwise; unknown keys are passed over,
// as in Heat.
func stackOrder(page api.Page) string {
	columns := map[string]string{"name": "name", "stack_name": "name", "status": "status", "stack_status": "status", "creation_time": "created_at",
		"created_at": "created_at", "updated_time": "updated_at", "updated_at": "updated_at", "id": "id", "stack_id": "id", "stack_owner": "username", "action": "action", "stack_action": "action"}
	var order []string
	for i, key := range page.SortKeys {
		column, ok := columns[key]
		if !ok {
			continue
		}
		dir := " ASC"
		if page.SortDirs[i] == "desc" {
			dir = " DESC"
		}
		order = append(order, column+dir)
	}
	if len(order) == 0 {
		dir := " DESC"
		if len(page.SortDirs) > 0 && page.Ascending {
			dir = " ASC"
		}
		order = append(order, "created_at"+dir)
	}
	return strings.Join(append(order, "id"), ", ")
}

// tagFilter is one way to select by tags: how many of the wanted a stack has must please it.
type tagFilter struct {
	param  string
	accept func(has, wanted int) bool
}

func (s *Service) filterTags(list []*engine.Stack, r *http.Request) []*engine.Stack {
	filters := []tagFilter{
		{"tags", func(has, wanted int) bool { return has == wanted }},
		{"tags_any", func(has, _ int) bool { return has > 0 }},
		{"not_tags", func(has, wanted int) bool { return has < wanted }},
		{"not_tags_any", func(has, _ int) bool { return has == 0 }},
	}
	hidden := s.cfg.HiddenTags
	if truthy(r, "show_hidden") {
		hidden = nil
	}
	q := r.URL.Query()
	return slices.DeleteFunc(list, func(st *engine.Stack) bool {
		for _, tag := range st.Tags {
			if slices.Contains(hidden, tag) {
				return true
			}
		}
		return slices.ContainsFunc(filters, func(f tagFilter) bool { return !f.pass(st, q) })
	})
}

func (f tagFilter) pass(st *engine.Stack, q url.Values) bool {
	wanted := strings.FieldsFunc(strings.Join(q[f.param], ","), comma)
	has := 0
	for _, t := range wanted {
		if slices.Contains(st.Tags, t) {
			has++
		}
	}
	return len(wanted) == 0 || f.accept(has, len(wanted))
}

func comma(r rune) bool { return r == ',' }

// cut takes a page out of a list.
func cut(list []*engine.Stack, page api.Page) ([]*engine.Stack, error) {
	if page.Marker != "" {
		i := slices.IndexFunc(list, func(st *engine.Stack) bool { return st.ID == page.Marker })
		if i < 0 {
			return nil, api.Invalid("the marker %s is not a stack of the list", page.Marker)
		}
		list = list[i+1:]
	}
	if page.Limit > 0 && len(list) > page.Limit {
		list = list[:page.Limit]
	}
	return list, nil
}
