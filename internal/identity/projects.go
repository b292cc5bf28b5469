package identity

import (
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth/policy"
	"github.com/tripleo/tripleo/internal/store"
)

// maxProjectDepth is how deep projects may be nested, as Keystone's default.
const maxProjectDepth = 5

// Bounds of a project's tags, as Keystone's.
const (
	maxProjectTags = 80
	maxTagLength   = 255
)

// asProject shows a domain as the project it also is.
func asProject(domain document) document {
	doc := document{}
	for k, v := range domain {
		doc[k] = v
	}
	doc["domain_id"], doc["parent_id"], doc["is_domain"] = nil, nil, true
	return doc
}

// createProject answers POST /v3/projects; one with is_domain is a domain.
func (s *Service) createProject(w http.ResponseWriter, r *http.Request) error {
	var in map[string]document
	if err := body(r, &in); err != nil {
		return err
	}
	doc := in["project"]
	if doc["is_domain"] != true {
		return s.entities.projects.handleCreate(w, r)
	}
	if !s.rules.Allows("identity:create_domain", caller(r), nil) {
		return api.Forbidden("You are not authorized to perform the requested action: %s.", "identity:create_domain")
	}
	if str(doc["parent_id"]) != "" {
		return api.Invalid("project.parent_id is %v, but a project that is a domain has no parent", doc["parent_id"])
	}
	for _, k := range []string{"is_domain", "domain_id", "parent_id", "links"} {
		delete(doc, k)
	}
	e := s.entities.domains
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if err := e.fill(doc); err != nil {
			return err
		}
		return e.insert(tx, doc)
	})
	if err != nil {
		return err
	}
	return s.entities.projects.reply(w, http.StatusCreated, asProject(doc))
}

// domainToo lets a project be changed that is a domain, by who may change
// domains.
func (s *Service) domainToo(handler func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		e, id := s.entities.domains, r.PathValue("id")
		if _, err := s.viewDoc(r, e, id); err != nil {
			return handler(w, r)
		}
		action := map[string]string{patch: "identity:update_domain", del: "identity:delete_domain"}[r.Method]
		if !s.rules.Allows(action, caller(r), policy.Target{"target.domain.id": id}) {
			return api.Forbidden("You are not authorized to perform the requested action: %s.", action)
		}
		if r.Method == del {
			return e.handleDelete(w, r)
		}
		changes, err := s.entities.projects.decode(r)
		if err != nil {
			return err
		}
		for _, k := range []string{"is_domain", "domain_id", "parent_id"} {
			delete(changes, k)
		}
		doc, err := e.update(r, changes)
		if err != nil {
			return err
		}
		return s.entities.projects.reply(w, http.StatusOK, asProject(doc))
	}
}

// listProjects answers GET /v3/projects.
func (s *Service) listProjects(w http.ResponseWriter, r *http.Request) error {
	q, e := r.URL.Query(), s.entities.projects
	if isDomain, err := parseBool(q.Get("is_domain")); q.Has("is_domain") && err == nil && isDomain == 1 {
		return s.listDomainsAsProjects(w, r)
	}
	where, args, err := e.filters(q)
	if err != nil {
		return err
	}
	var docs []document
	err = s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		docs, err = e.list(tx, where+" ORDER BY id", args...)
		return err
	})
	if err != nil {
		return err
	}
	docs = slices.DeleteFunc(docs, func(d document) bool { return !tagsMatch(tagsOf(d), q) })
	return e.replyList(w, r, e.shown(r, docs))
}

func (s *Service) listDomainsAsProjects(w http.ResponseWriter, r *http.Request) error {
	docs := []document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		all, err := s.entities.domains.list(tx, " ORDER BY id")
		for _, d := range all {
			if c := caller(r).DomainID; c == "" || d["id"] == c {
				docs = append(docs, asProject(d))
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.entities.projects.replyList(w, r, docs)
}

func tagsOf(doc document) []string {
	out := []string{}
	list, _ := doc["tags"].([]any)
	for _, t := range list {
		out = append(out, str(t))
	}
	return out
}

// tagsMatch applies tags, tags-any, not-tags and not-tags-any.
func tagsMatch(tags []string, q map[string][]string) bool {
	split := func(name string) []string {
		if v := q[name]; len(v) > 0 && v[0] != "" {
			return strings.Split(v[0], ",")
		}
		return nil
	}
	count := func(want []string) (n int) {
		for _, w := range want {
			if slices.Contains(tags, w) {
				n++
			}
		}
		return n
	}
	every, some, notEvery, notAny := split("tags"), split("tags-any"), split("not-tags"), split("not-tags-any")
	return count(every) == len(every) && (some == nil || count(some) > 0) &&
		(notEvery == nil || count(notEvery) < len(notEvery)) && count(notAny) == 0
}

// getProject answers GET /v3/projects/{id}, with what is above and below it
// as the query asks.
func (s *Service) getProject(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	var doc document
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		doc, err = s.entities.projects.get(tx, r.PathValue("id"))
		if isNotFound(err) {
			domain, domainErr := s.entities.domains.get(tx, r.PathValue("id"))
			if domainErr == nil {
				doc = asProject(domain)
				return nil
			}
		}
		if err != nil {
			return err
		}
		if q.Has("parents_as_list") && q.Has("parents_as_ids") || q.Has("subtree_as_list") && q.Has("subtree_as_ids") {
			return api.Invalid("only one of the forms as_list and as_ids may be asked for")
		}
		id := str(doc["id"])
		if q.Has("parents_as_list") || q.Has("parents_as_ids") {
			if err := s.addParents(tx, r, doc, q.Has("parents_as_ids")); err != nil {
				return err
			}
		}
		if q.Has("subtree_as_list") {
			below, err := s.below(tx, id)
			if err != nil {
				return err
			}
			doc["subtree"] = s.projectRefs(r, tx, below)
		}
		if q.Has("subtree_as_ids") {
			doc["subtree"], err = s.subtreeIDs(tx, id, 0)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.entities.projects.reply(w, http.StatusOK, doc)
}

// addParents adds the projects above: nested ids, or a list of those the
// caller has a role on.
func (s *Service) addParents(tx *store.Tx, r *http.Request, doc document, asIDs bool) error {
	var chain []document
	for up := str(doc["parent_id"]); up != "" && up != str(doc["domain_id"]); {
		p, err := s.entities.projects.get(tx, up)
		if err != nil {
			return err
		}
		chain = append(chain, p)
		up = str(p["parent_id"])
	}
	if !asIDs {
		doc["parents"] = s.projectRefs(r, tx, chain)
		return nil
	}
	var nested any = document{str(doc["domain_id"]): nil}
	for _, p := range slices.Backward(chain) {
		nested = document{str(p["id"]): nested}
	}
	doc["parents"] = nested
	return nil
}

// projectRefs shows the projects that the caller may see.
func (s *Service) projectRefs(r *http.Request, tx *store.Tx, docs []document) []document {
	out := []document{}
	c := caller(r)
	for _, d := range docs {
		roles, err := s.effectiveRoles(tx, c.UserID, "project", str(d["id"]))
		if err == nil && len(roles) > 0 || s.rules.Allows("cloud_reader", c, nil) {
			out = append(out, document{"project": s.entities.projects.present(d)})
		}
	}
	return out
}

func (s *Service) below(tx *store.Tx, id string) ([]document, error) {
	return s.entities.projects.list(tx, ` WHERE id IN (WITH RECURSIVE down (id) AS (
			SELECT id FROM identity_projects WHERE parent_id = ?
			UNION SELECT p.id FROM identity_projects p JOIN down ON p.parent_id = down.id)
		SELECT id FROM down) ORDER BY id`, id)
}

func (s *Service) subtreeIDs(tx *store.Tx, id string, depth int) (any, error) {
	children, err := stringsOf(tx, `SELECT id FROM identity_projects WHERE parent_id = ? ORDER BY id`, id)
	if err != nil || len(children) == 0 || depth > 4*maxProjectDepth {
		return nil, err
	}
	out := document{}
	for _, c := range children {
		if out[c], err = s.subtreeIDs(tx, c, depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// checkProjectTags makes the tags of a project what they may be.
func checkProjectTags(doc document) error {
	if doc["tags"] == nil {
		return nil
	}
	list, ok := doc["tags"].([]any)
	if !ok || len(list) > maxProjectTags {
		return api.Invalid("project.tags is %v, expected a list of at most %d strings", doc["tags"], maxProjectTags)
	}
	seen := map[string]bool{}
	for _, t := range list {
		tag, ok := t.(string)
		if !ok || tag == "" || utf8.RuneCountInString(tag) > maxTagLength || strings.ContainsAny(tag, ",/") || seen[tag] {
			return api.Invalid("project tag %v, expected different strings of 1 to %d characters without comma and slash", t, maxTagLength)
		}
		seen[tag] = true
	}
	return nil
}

// projectTags answers GET, PUT and DELETE /v3/projects/{id}/tags.
func (s *Service) projectTags(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Tags []any `json:"tags"`
	}
	if r.Method == http.MethodPut {
		if err := api.ReadJSON(r, &in); err != nil {
			return err
		}
		if in.Tags == nil {
			return api.Invalid("the request body has no list %q", "tags")
		}
	}
	doc, err := s.editProject(r, func(doc document) (bool, error) {
		switch r.Method {
		case http.MethodPut:
			doc["tags"] = in.Tags
		case http.MethodDelete:
			doc["tags"] = []any{}
		default:
			return false, nil
		}
		return true, checkProjectTags(doc)
	})
	if err != nil {
		return err
	}
	if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return api.WriteJSON(w, http.StatusOK, document{"tags": tagsOf(doc), "links": s.listLinks(r)})
}

// projectTag answers GET, PUT and DELETE /v3/projects/{id}/tags/{tag}.
func (s *Service) projectTag(w http.ResponseWriter, r *http.Request) error {
	tag := r.PathValue("tag")
	_, err := s.editProject(r, func(doc document) (bool, error) {
		tags := tagsOf(doc)
		i := slices.Index(tags, tag)
		list, _ := doc["tags"].([]any)
		switch {
		case r.Method == http.MethodPut && i < 0:
			doc["tags"] = append(list, tag)
			return true, checkProjectTags(doc)
		case r.Method == http.MethodPut:
			return false, nil
		case i < 0:
			return false, api.NotFound("Could not find project tag: %s.", tag)
		case r.Method == http.MethodDelete:
			doc["tags"] = slices.Delete(list, i, i+1)
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if r.Method == http.MethodPut {
		w.Header().Set("Location", s.base+"/projects/"+r.PathValue("id")+"/tags/"+tag)
		w.WriteHeader(http.StatusCreated)
		return nil
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) editProject(r *http.Request, edit func(document) (bool, error)) (document, error) {
	var doc document
	work := s.db.Tx
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		work = s.db.View
	}
	err := work(r.Context(), func(tx *store.Tx) (err error) {
		if doc, err = s.entities.projects.get(tx, r.PathValue("id")); err != nil {
			return err
		}
		changed, err := edit(doc)
		if err != nil || !changed {
			return err
		}
		return s.entities.projects.save(tx, doc)
	})
	return doc, err
}
