package identity

import (
	"net/http"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// assignment is one grant: an actor (user, group) has a role on a target
// (project, domain, system "all"); inherited ones hold on the projects below
// the target and not on the target itself.
type assignment struct {
	actorType, actorID, targetType, targetID, roleID string
	inherited                                        bool
}

func (a assignment) args() []any {
	inherited := int64(0)
	if a.inherited {
		inherited = 1
	}
	return []any{a.actorType, a.actorID, a.targetType, a.targetID, a.roleID, inherited}
}

const assignmentWhere = ` WHERE actor_type = ? AND actor_id = ? AND target_type = ? AND target_id = ? AND role_id = ? AND inherited = ?`

func (s *Service) grant(tx *store.Tx, a assignment) error {
	_, err := tx.Exec(`INSERT INTO identity_assignments (actor_type, actor_id, target_type, target_id, role_id, inherited)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, a.args()...)
	return err
}

// revokeHolders ends the tokens of all who are given something by the
// assignments that match.
func (s *Service) revokeHolders(tx *store.Tx, where string, args ...any) error {
	users, err := stringsOf(tx, `SELECT actor_id FROM identity_assignments WHERE actor_type = 'user' AND `+where+`
		UNION SELECT m.user_id FROM identity_assignments JOIN identity_group_members m ON m.group_id = actor_id
		WHERE actor_type = 'group' AND `+where, append(slices.Clone(args), args...)...)
	if err != nil {
		return err
	}
	for _, u := range users {
		if err := s.revoke(tx, "user", u); err != nil {
			return err
		}
	}
	return nil
}

// role is what a token carries of a role.
type role struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// effectiveRoles returns the roles a user has on a target: own and through
// groups, inherited from the domain and the projects above, implied ones
// included; sorted by name.
func (s *Service) effectiveRoles(tx *store.Tx, userID, targetType, targetID string) ([]role, error) {
	actors, err := stringsOf(tx, `SELECT group_id FROM identity_group_members WHERE user_id = ?`, userID)
	if err != nil {
		return nil, err
	}
	actors = append(actors, userID)
	ids, err := stringsOf(tx, `SELECT role_id FROM identity_assignments WHERE inherited = 0 AND target_type = ? AND target_id = ? AND actor_id IN `+store.In(len(actors)),
		append([]any{targetType, targetID}, store.Args(actors)...)...)
	if err != nil {
		return nil, err
	}
	if targetType == "project" {
		above, err := s.above(tx, targetID)
		if err != nil {
			return nil, err
		}
		args := append(store.Args(above), store.Args(actors)...)
		inherited, err := stringsOf(tx, `SELECT role_id FROM identity_assignments WHERE inherited = 1 AND target_id IN `+store.In(len(above))+` AND actor_id IN `+store.In(len(actors)), args...)
		if err != nil {
			return nil, err
		}
		ids = append(ids, inherited...)
	}
	return s.expandRoles(tx, ids)
}

// above returns the ids of the projects above a project and of its domain.
func (s *Service) above(tx *store.Tx, projectID string) ([]string, error) {
	return stringsOf(tx, `WITH RECURSIVE up (id) AS (
			SELECT parent_id FROM identity_projects WHERE id = ?
			UNION SELECT p.parent_id FROM identity_projects p JOIN up ON p.id = up.id)
		SELECT id FROM up`, projectID)
}

// expandRoles adds implied roles and returns names. Roles of a domain serve to
// imply others and are in no token themselves.
func (s *Service) expandRoles(tx *store.Tx, ids []string) ([]role, error) {
	out := []role{}
	if len(ids) == 0 {
		return out, nil
	}
	err := tx.Each(func(scan func(...any) error) error {
		var r role
		err := scan(&r.ID, &r.Name)
		out = append(out, r)
		return err
	}, `WITH RECURSIVE have (id) AS (
			SELECT id FROM identity_roles WHERE id IN `+store.In(len(ids))+`
			UNION SELECT i.implied_id FROM identity_implied_roles i JOIN have ON have.id = i.prior_id)
		SELECT r.id, r.name FROM identity_roles r JOIN have ON have.id = r.id WHERE COALESCE(r.domain_id, '') = '' ORDER BY r.name`, store.Args(ids)...)
	return out, err
}

// assignmentRoutes are the routes of grants, one set a target and actor.
func (s *Service) assignmentRoutes() []api.Route {
	var out []api.Route
	add := func(prefix, suffix, actorType, targetType string, inherited bool) {
		base, grant, grants := prefix+"/"+actorType+"s/{actor}/roles", "grant", "grants"
		if targetType == "system" {
			grant, grants = "system_grant", "system_grants"
		}
		h, about := s.grantHandler(actorType, targetType, inherited), s.aboutGrant(actorType, targetType)
		for method, verb := range map[string]string{put: "create", http.MethodHead: "check", get: "check", del: "revoke"} {
			out = append(out, on(method, base+"/{role}"+suffix, verb+"_"+grant, about, h))
		}
		out = append(out, on(get, base+suffix, "list_"+grants, about, s.grantList(actorType, targetType, inherited)))
	}
	for _, actor := range []string{"user", "group"} {
		for _, target := range []string{"project", "domain"} {
			add("/"+target+"s/{target}", "", actor, target, false)
			add("/OS-INHERIT/"+target+"s/{target}", "/inherited_to_projects", actor, target, true)
		}
		add("/system", "", actor, "system", false)
	}
	return out
}

func pathAssignment(r *http.Request, actorType, targetType string, inherited bool) assignment {
	a := assignment{actorType, r.PathValue("actor"), targetType, r.PathValue("target"), r.PathValue("role"), inherited}
	if targetType == "system" {
		a.targetID = "all"
	}
	return a
}

// known checks that actor and target exist.
func (s *Service) known(tx *store.Tx, a assignment) error {
	actors := map[string]*entity{"user": s.entities.users, "group": s.entities.groups}
	if _, err := actors[a.actorType].get(tx, a.actorID); err != nil {
		return err
	}
	targets := map[string]*entity{"project": s.entities.projects, "domain": s.entities.domains}
	if e := targets[a.targetType]; e != nil {
		if _, err := e.get(tx, a.targetID); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) grantHandler(actorType, targetType string, inherited bool) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		a := pathAssignment(r, actorType, targetType, inherited)
		err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
			if _, err := s.entities.roles.get(tx, a.roleID); err != nil {
				return err
			}
			if err := s.known(tx, a); err != nil {
				return err
			}
			switch r.Method {
			case http.MethodPut:
				return s.grant(tx, a)
			case http.MethodDelete:
				return s.ungrant(tx, a)
			default:
				var one int64
				err := tx.Get([]any{&one}, `SELECT 1 FROM identity_assignments`+assignmentWhere, a.args()...)
				return noAssignment(err, a)
			}
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func noAssignment(err error, a assignment) error {
	if isNotFound(err) {
		return api.NotFound("Could not find role assignment with role: %s, user or group: %s, project, domain, or system: %s.", a.roleID, a.actorID, a.targetID)
	}
	return err
}

func (s *Service) ungrant(tx *store.Tx, a assignment) error {
	n, err := tx.Exec(`DELETE FROM identity_assignments`+assignmentWhere, a.args()...)
	if err != nil {
		return err
	}
	if n == 0 {
		return noAssignment(store.ErrNotFound, a)
	}
	users := []string{a.actorID}
	if a.actorType == "group" {
		if users, err = s.memberIDs(tx, a.actorID); err != nil {
			return err
		}
	}
	for _, u := range users {
		if a.inherited { // any project below may be meant
			err = s.revoke(tx, "user", u)
		} else if a.targetType == "system" {
			err = s.revoke(tx, "grant", u, "system")
		} else {
			err = s.revoke(tx, "grant", u, a.targetID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) grantList(actorType, targetType string, inherited bool) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		a := pathAssignment(r, actorType, targetType, inherited)
		var docs []document
		err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
			if err := s.known(tx, a); err != nil {
				return err
			}
			args := a.args()
			docs, err = s.entities.roles.list(tx, ` WHERE id IN (SELECT role_id FROM identity_assignments
				WHERE actor_type = ? AND actor_id = ? AND target_type = ? AND target_id = ? AND inherited = ?) ORDER BY name`,
				append(slices.Clone(args[:4]), args[5])...)
			return err
		})
		if err != nil {
			return err
		}
		return s.entities.roles.replyList(w, r, docs)
	}
}

// listAssignments answers GET /v3/role_assignments.
func (s *Service) listAssignments(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	on := func(name string) bool {
		return q.Has(name) && !strings.EqualFold(q.Get(name), "false") && q.Get(name) != "0"
	}
	out := []document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		rows, err := s.assignments(tx)
		if err != nil {
			return err
		}
		if on("effective") {
			if rows, err = s.effectiveAssignments(tx, rows); err != nil {
				return err
			}
		}
		subtree := map[string]bool{}
		if root := q.Get("scope.project.id"); on("include_subtree") {
			if root == "" {
				return api.Invalid("include_subtree needs scope.project.id")
			}
			below, err := s.below(tx, root)
			if err != nil {
				return err
			}
			for _, p := range below {
				subtree[str(p["id"])] = true
			}
		}
		match := func(param, value string) bool { return !q.Has(param) || q.Get(param) == value }
		names := map[string]document{}
		for _, a := range rows {
			actorOK := match("user.id", "") || a.actorType == "user" && match("user.id", a.actorID)
			groupOK := match("group.id", "") || a.actorType == "group" && match("group.id", a.actorID)
			projectOK := match("scope.project.id", "") || a.targetType == "project" && (match("scope.project.id", a.targetID) || subtree[a.targetID])
			domainOK := match("scope.domain.id", "") || a.targetType == "domain" && match("scope.domain.id", a.targetID)
			systemOK := !q.Has("scope.system") || a.targetType == "system"
			inheritOK := !q.Has("scope.OS-INHERIT:inherited_to") || a.inherited
			if !(actorOK && groupOK && projectOK && domainOK && systemOK && inheritOK && match("role.id", a.roleID)) {
				continue
			}
			if mine, err := s.inDomain(tx, a, caller(r).DomainID); err != nil || !mine {
				if err != nil {
					return err
				}
				continue
			}
			doc, err := s.showAssignment(tx, a, on("include_names"), names)
			if err != nil {
				return err
			}
			out = append(out, doc)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"role_assignments": out, "links": s.listLinks(r)})
}

// inDomain says whether an assignment's target belongs to a domain; domain ""
// is any.
func (s *Service) inDomain(tx *store.Tx, a assignment, domain string) (bool, error) {
	switch {
	case domain == "":
		return true, nil
	case a.targetType == "domain":
		return a.targetID == domain, nil
	case a.targetType == "project":
		p, err := s.entities.projects.get(tx, a.targetID)
		if isNotFound(err) {
			return false, nil
		}
		return err == nil && p["domain_id"] == domain, err
	}
	return false, nil
}

func (s *Service) assignments(tx *store.Tx) ([]assignment, error) {
	var out []assignment
	err := tx.Each(func(scan func(...any) error) error {
		var a assignment
		var inherited int64
		err := scan(&a.actorType, &a.actorID, &a.targetType, &a.targetID, &a.roleID, &inherited)
		a.inherited = inherited != 0
		out = append(out, a)
		return err
	}, `SELECT actor_type, actor_id, target_type, target_id, role_id, inherited FROM identity_assignments ORDER BY target_type, target_id, actor_type, actor_id, role_id`)
	return out, err
}

// effectiveAssignments expands groups to users, inheritance to projects and
// implied roles.
func (s *Service) effectiveAssignments(tx *store.Tx, rows []assignment) ([]assignment, error) {
	seen := map[assignment]bool{}
	var out []assignment
	for _, a := range rows {
		users, targets := []string{a.actorID}, []string{a.targetID}
		var err error
		if a.actorType == "group" {
			if users, err = s.memberIDs(tx, a.actorID); err != nil {
				return nil, err
			}
		}
		if a.inherited {
			if targets, err = stringsOf(tx, `WITH RECURSIVE down (id) AS (
					SELECT id FROM identity_projects WHERE parent_id = ?
					UNION SELECT p.id FROM identity_projects p JOIN down ON p.parent_id = down.id)
				SELECT id FROM down`, a.targetID); err != nil {
				return nil, err
			}
			a.targetType = "project"
		}
		roles, err := s.expandRoles(tx, []string{a.roleID})
		if err != nil {
			return nil, err
		}
		for _, u := range users {
			for _, t := range targets {
				for _, r := range roles {
					e := assignment{"user", u, a.targetType, t, r.ID, false}
					if !seen[e] {
						seen[e] = true
						out = append(out, e)
					}
				}
			}
		}
	}
	return out, nil
}

func (s *Service) showAssignment(tx *store.Tx, a assignment, withNames bool, cache map[string]document) (document, error) {
	ref := func(e *entity, id string) (document, error) {
		if !withNames || e == nil {
			return document{"id": id}, nil
		}
		key := e.plural + "/" + id
		if d, ok := cache[key]; ok {
			return d, nil
		}
		full, err := e.get(tx, id)
		if err != nil {
			return nil, err
		}
		d := document{"id": id, "name": full["name"]}
		if domain := str(full["domain_id"]); domain != "" {
			dd, err := s.entities.domains.get(tx, domain)
			if err != nil {
				return nil, err
			}
			d["domain"] = document{"id": domain, "name": dd["name"]}
		}
		cache[key] = d
		return d, nil
	}
	roleDoc, err := ref(s.entities.roles, a.roleID)
	if err != nil {
		return nil, err
	}
	actorDoc, err := ref(map[string]*entity{"user": s.entities.users, "group": s.entities.groups}[a.actorType], a.actorID)
	if err != nil {
		return nil, err
	}
	scope := document{"system": document{"all": true}}
	if a.targetType != "system" {
		target, err := ref(map[string]*entity{"project": s.entities.projects, "domain": s.entities.domains}[a.targetType], a.targetID)
		if err != nil {
			return nil, err
		}
		scope = document{a.targetType: target}
	}
	if a.inherited {
		scope["OS-INHERIT:inherited_to"] = "projects"
	}
	return document{"role": roleDoc, a.actorType: actorDoc, "scope": scope, "links": document{"assignment": s.base + "/role_assignments"}}, nil
}
