package orchestration

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/store"
)

// find returns the stack a request is about, by id or by name.
func (s *Service) find(r *http.Request) (*engine.Stack, *auth.Identity, error) {
	id, err := caller(r)
	if err != nil {
		return nil, nil, err
	}
	key := r.PathValue("id")
	if key == "" {
		key = r.PathValue("name")
	}
	st, err := s.stackBy(r, id, key)
	if err != nil {
		return nil, nil, err
	}
	if name := r.PathValue("name"); r.PathValue("id") != "" && name != st.Name && name != st.ID {
		return nil, nil, stackNotFound(name)
	}
	return st, id, nil
}

func stackNotFound(name string) error {
	return api.NotFound("The Stack (%s) could not be found.", name).Named("EntityNotFound")
}

func (s *Service) stackBy(r *http.Request, id *auth.Identity, key string) (*engine.Stack, error) {
	var st *engine.Stack
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		st, err = engine.GetStack(tx, key)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		list, err := engine.FindStacks(tx, "project_id = ? AND name = ? AND deleted_at = 0 ORDER BY depth LIMIT 1", r.PathValue("tenant"), key)
		if err == nil && len(list) > 0 {
			st = list[0]
			return nil
		}
		if err == nil {
			err = store.ErrNotFound
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, stackNotFound(key)
	}
	if err != nil {
		return nil, err
	}
	if st.ProjectID != r.PathValue("tenant") && !id.IsAdmin() {
		return nil, stackNotFound(key)
	}
	return st, nil
}

func (s *Service) stackURL(st *engine.Stack) string {
	return s.cfg.BaseURL + "/v1/" + st.ProjectID + "/stacks/" + url.PathEscape(st.Name) + "/" + st.ID
}

func link(rel, href string) map[string]any { return map[string]any{"rel": rel, "href": href} }

// lookup redirects from a name to name and id, keeping what follows.
func (s *Service) lookup(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	u := s.stackURL(st)
	if parts := strings.Split(strings.TrimSuffix(r.URL.Path, "/"), "/stacks/"); len(parts) == 2 {
		if _, rest, ok := strings.Cut(parts[1], "/"); ok {
			u += "/" + rest
		}
	}
	if r.URL.RawQuery != "" {
		u += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", u)
	return api.WriteJSON(w, http.StatusFound, map[string]any{"message": "The resource was found at another location.", "code": "302 Found", "title": "Found"})
}

// describe is a template's description as Heat shows it.
func describe(d string) string {
	if d == "" {
		return "No description"
	}
	return d
}

func brief(s *Service, st *engine.Stack) map[string]any {
	var parent any
	if st.ParentID != "" {
		parent = st.ParentID
	}
	var tags any
	if st.Tags != nil {
		tags = st.Tags
	}
	return map[string]any{"id": st.ID, "stack_name": st.Name, "links": []any{link("self", s.stackURL(st))}, "description": describe(st.Description),
		"stack_status": st.Action + "_" + st.Status, "stack_status_reason": st.Reason, "creation_time": api.FormatTime(st.Created),
		"updated_time": api.FormatTime(st.Updated), "deletion_time": api.FormatTime(st.Deleted), "stack_owner": st.Username, "parent": parent,
		"stack_user_project_id": st.ProjectID, "tags": tags}
}

// showText writes a parameter's value as Heat shows it: text.
func showText(p *hot.Parameter, v any) string {
	if p != nil && p.Hidden {
		return masked
	}
	switch x := v.(type) {
	case nil:
		return ""
	case []any:
		if p != nil && p.Type == hot.TypeList {
			parts := make([]string, len(x))
			for i, e := range x {
				parts[i] = hot.PyStr(e)
			}
			return strings.Join(parts, ",")
		}
	}
	return hot.PyStr(v)
}

func (s *Service) show(r *http.Request, st *engine.Stack, resolve bool) map[string]any {
	v := brief(s, st)
	v["template_description"], v["timeout_mins"], v["disable_rollback"] = describe(st.Description), st.TimeoutMins, st.DisableRollback
	if st.TimeoutMins == 0 {
		v["timeout_mins"] = nil
	}
	v["capabilities"], v["notification_topics"] = []any{}, []any{}
	params := map[string]any{"OS::stack_name": st.Name, "OS::stack_id": st.ID, "OS::project_id": st.ProjectID}
	v["parameters"] = params
	look, err := s.e.Look(r.Context(), st.ID)
	if look == nil {
		return v
	}
	if err == nil {
		for name, val := range look.Params() {
			params[name] = showText(look.Template().Parameter(name), val)
			if encrypted(look.Environment(), name) {
				params[name] = masked
			}
		}
	}
	if resolve && err == nil && st.Deleted.IsZero() {
		v["outputs"] = outputList(look, "")
	}
	return v
}

// outputList returns the outputs with values; only the one named, if name is given.
func outputList(look *engine.Look, name string) []any {
	values, errs := look.Outputs()
	out := []any{}
	for _, o := range look.Template().Outputs {
		val, ok := values.Get(o.Name)
		if !ok || name != "" && name != o.Name {
			continue
		}
		desc := o.Description
		if desc == "" {
			desc = "No description given"
		}
		m := map[string]any{"output_key": o.Name, "output_value": val, "description": desc}
		if e := errs[o.Name]; e != "" {
			m["output_error"] = e
		}
		out = append(out, m)
	}
	return out
}

func (s *Service) showStack(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	resolve := r.URL.Query().Get("resolve_outputs") == "" || truthy(r, "resolve_outputs")
	return api.WriteJSON(w, http.StatusOK, map[string]any{"stack": s.show(r, st, resolve)})
}

func validName(name string) bool {
	return regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_.-]{0,254}$`).MatchString(name)
}

func invalidName(name string) error {
	return api.Invalid("Invalid stack name %s must contain only alphanumeric or \"_-.\" characters, must start with alpha and must be 255 characters or less.", name).Named("StackValidationFailed")
}

func (s *Service) options(m *Map) (engine.Options, error) {
	var o engine.Options
	if v, _ := m.Get("timeout_mins"); v != nil {
		n, ok := hot.ToNumber(v)
		i, isInt := n.(int64)
		if !ok || !isInt || i < 0 {
			return o, api.Invalid("timeout_mins must be a number of minutes, got %s", hot.Show(v))
		}
		o.TimeoutMins = &i
	}
	if v, _ := m.Get("disable_rollback"); v != nil {
		b, ok := hot.ToBool(v)
		if !ok {
			return o, api.Invalid("disable_rollback must be a boolean, got %s", hot.Show(v))
		}
		o.DisableRollback = &b
	}
	if v, _ := m.Get("converge"); v != nil {
		b, ok := hot.ToBool(v)
		if !ok {
			return o, api.Invalid("converge must be a boolean, got %s", hot.Show(v))
		}
		o.Converge = b
	}
	switch v, _ := m.Get("tags"); t := v.(type) {
	case string:
		tags := []string{}
		for _, p := range strings.FieldsFunc(t, comma) {
			tags = append(tags, strings.TrimSpace(p))
		}
		o.Tags = &tags
	case []any:
		tags := []string{}
		for _, p := range t {
			tags = append(tags, hot.PyStr(p))
		}
		o.Tags = &tags
	}
	return o, checkTags(o.Tags)
}

// checkTags bounds tags as Heat does.
func checkTags(tags *[]string) error {
	if tags == nil {
		return nil
	}
	for _, t := range *tags {
		if len([]rune(t)) > 80 {
			return api.Invalid("Invalid tag, \"%s\" is longer than 80 characters", t)
		}
		if t == "" || strings.ContainsRune(t, ',') {
			return api.Invalid("Invalid tag, %q: a tag is not empty and holds no comma", t)
		}
	}
	return nil
}

func (s *Service) createStack(w http.ResponseWriter, r *http.Request) error {
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
	base, adoption, err := s.adoption(m)
	if err != nil {
		return err
	}
	src, err := s.source(r, m, base, nil)
	if err != nil {
		return err
	}
	o, err := s.options(m)
	if err != nil {
		return err
	}
	o.Adopt = adoption
	// Faults first: a trust is made only for a stack that can be made.
	if _, _, err := s.e.CheckSource(r.Context(), src, false); err != nil {
		return err
	}
	if o.TrustID, err = s.trust(r.Context(), id, nil); err != nil {
		return err
	}
	o.UserID, o.Username, o.ProjectID = id.UserID, id.UserName, r.PathValue("tenant")
	st, err := s.e.CreateStack(r.Context(), name, src, o)
	if err != nil {
		return err
	}
	w.Header().Set("Location", s.stackURL(st))
	return api.WriteJSON(w, http.StatusCreated, map[string]any{"stack": map[string]any{"id": st.ID, "links": []any{link("self", s.stackURL(st))}}})
}

// updateSource reads a PUT (everything anew) or a PATCH (on top of what is).
func (s *Service) updateSource(r *http.Request, st *engine.Stack) (*engine.Source, *Map, error) {
	m, err := body(r)
	if err != nil {
		return nil, nil, err
	}
	var base *engine.Source
	clear, _ := value[[]any](m, "clear_parameters")
	if r.Method == http.MethodPatch {
		if base, err = s.e.TemplateSource(r.Context(), st); err != nil {
			return nil, nil, err
		}
		if _, base.Env, base.Files, err = s.e.Source(r.Context(), st); err != nil {
			return nil, nil, err
		}
		env := hot.NewEnvironment()
		env.Merge(base.Env)
		base.Env, base.Params = env, st.Def.Params
	}
	src, err := s.source(r, m, base, clear)
	if err == nil && base != nil {
		dropUndeclared(src)
	}
	return src, m, err
}

func (s *Service) updateStack(w http.ResponseWriter, r *http.Request) error {
	st, id, err := s.find(r)
	if err != nil {
		return err
	}
	src, m, err := s.updateSource(r, st)
	if err != nil {
		return err
	}
	o, err := s.options(m)
	if err != nil {
		return err
	}
	if _, _, err := s.e.CheckSource(r.Context(), src, false); err != nil {
		return err
	}
	if o.TrustID, err = s.trust(r.Context(), id, st); err != nil {
		return err
	}
	o.NewTags = r.Method == http.MethodPut
	if st, err = s.e.UpdateStack(r.Context(), st.ID, src, o); err != nil {
		return gone(err, r)
	}
	return api.WriteJSON(w, http.StatusAccepted, map[string]any{"stack": map[string]any{"id": st.ID, "links": []any{link("self", s.stackURL(st))}}})
}

func gone(err error, r *http.Request) error {
	if errors.Is(err, store.ErrNotFound) {
		return stackNotFound(r.PathValue("name"))
	}
	return err
}

func (s *Service) deleteStack(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	if !st.Deleted.IsZero() {
		return stackNotFound(st.Name)
	}
	if _, err := s.e.DeleteStack(r.Context(), st.ID, false); err != nil {
		return gone(err, r)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) stackAction(w http.ResponseWriter, r *http.Request) error {
	st, _, err := s.find(r)
	if err != nil {
		return err
	}
	m, err := body(r)
	if err != nil {
		return err
	}
	if m.Len() != 1 {
		return api.Invalid("the body must name one action: suspend, resume, check, cancel_update or cancel_without_rollback")
	}
	switch action := m.Keys()[0]; action {
	case "suspend", "resume", "check":
		_, err = s.e.Act(r.Context(), st.ID, strings.ToUpper(action))
	case "cancel_update":
		err = s.e.Cancel(r.Context(), st.ID, true)
	case "cancel_without_rollback":
		err = s.e.Cancel(r.Context(), st.ID, false)
	default:
		return api.Invalid("unknown action %q, expected suspend, resume, check, cancel_update or cancel_without_rollback", action)
	}
	if err != nil {
		return gone(err, r)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
