package identity

import (
	"encoding/json"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth/policy"
	"github.com/tripleo/tripleo/internal/store"
)

// limitIncoming checks what both kinds of limits have in common; number is the
// name of the amount, -1 of which means no limit.
func (s *Service) limitIncoming(tx *store.Tx, doc document, number string) error {
	n, ok := doc[number].(float64)
	if !ok || n != float64(int64(n)) || n < -1 || n > 1<<31-1 {
		return api.Invalid("%s is %v, expected an integer of at least -1", number, doc[number])
	}
	if _, err := s.entities.services.get(tx, str(doc["service_id"])); err != nil {
		return api.Invalid("service %v does not exist", doc["service_id"]).Wrap(err)
	}
	if region := str(doc["region_id"]); region != "" {
		if _, err := s.entities.regions.get(tx, region); err != nil {
			return api.Invalid("region %s does not exist", region).Wrap(err)
		}
	}
	return nil
}

// projectLimitIncoming is a limit for one project or domain: the resource must
// be registered, and no project may have more than what is above it.
func (s *Service) projectLimitIncoming(tx *store.Tx, old, doc document) error {
	if err := s.limitIncoming(tx, doc, "resource_limit"); err != nil {
		return err
	}
	project, domain := str(doc["project_id"]), str(doc["domain_id"])
	if (project == "") == (domain == "") {
		return api.Invalid("a limit is for a project or for a domain: exactly one of project_id and domain_id is required")
	}
	if old != nil {
		return nil
	}
	e, id := s.entities.projects, project
	if domain != "" {
		e, id = s.entities.domains, domain
	}
	if _, err := e.get(tx, id); err != nil {
		return api.Invalid("%s %s does not exist", e.singular, id).Wrap(err)
	}
	_, err := s.entities.registeredLimits.find(tx, `service_id = ? AND COALESCE(region_id, '') = ? AND resource_name = ?`,
		doc["service_id"], str(doc["region_id"]), doc["resource_name"])
	if isNotFound(err) {
		return api.Forbidden("No registered limit for resource %v of service %v in region %v.", doc["resource_name"], doc["service_id"], doc["region_id"])
	}
	return err
}

func (s *Service) registeredLimitDeleting(tx *store.Tx, doc document) error {
	var n int64
	err := tx.Get([]any{&n}, `SELECT COUNT(*) FROM identity_limits WHERE service_id = ? AND COALESCE(region_id, '') = ? AND resource_name = ?`,
		doc["service_id"], str(doc["region_id"]), doc["resource_name"])
	if err == nil && n > 0 {
		return api.Forbidden("Unable to delete registered limit %v: limits refer to it.", doc["id"])
	}
	return err
}

// limitTarget describes a limit to the rules.
func limitTarget(doc document) policy.Target {
	t := policy.Target{}
	for _, k := range []string{"project_id", "domain_id"} {
		if v := str(doc[k]); v != "" {
			t["target.limit."+k] = v
		}
	}
	if d := str(doc["_project_domain"]); d != "" {
		t["target.limit.project.domain_id"] = d
	}
	delete(doc, "_project_domain")
	return t
}

// aboutLimit is a limit and the domain of its project.
func (s *Service) aboutLimit(r *http.Request) (policy.Target, error) {
	doc, err := s.viewDoc(r, s.entities.limits, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if p := str(doc["project_id"]); p != "" {
		if project, err := s.viewDoc(r, s.entities.projects, p); err == nil {
			doc["_project_domain"] = project["domain_id"]
		}
	}
	return limitTarget(doc), nil
}

// createLimits answers POST of limits and registered limits, whose body is a
// list that is made as a whole or not at all.
func (e *entity) createLimits(w http.ResponseWriter, r *http.Request) error {
	var in map[string]json.RawMessage
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	var docs []document
	if err := api.DecodeJSON(in[e.plural], &docs); err != nil || len(docs) == 0 {
		return api.Invalid("the request body has no list %q", e.plural)
	}
	err := e.s.db.Tx(r.Context(), func(tx *store.Tx) error {
		for _, doc := range docs {
			if doc == nil {
				return api.Invalid("%s holds null, expected objects", e.plural)
			}
			if err := e.fill(doc); err != nil {
				return err
			}
			if err := e.incoming(tx, nil, doc); err != nil {
				return err
			}
			if err := e.insert(tx, doc); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range docs {
		e.present(d)
	}
	return api.WriteJSON(w, http.StatusCreated, document{e.plural: docs})
}

// listLimits answers GET /v3/limits: for a domain or project those of its own.
func (s *Service) listLimits(w http.ResponseWriter, r *http.Request) error {
	e := s.entities.limits
	where, args, err := e.filters(r.URL.Query())
	if err != nil {
		return err
	}
	var docs []document
	err = s.db.View(r.Context(), func(tx *store.Tx) error {
		if docs, err = e.list(tx, where+" ORDER BY id", args...); err != nil {
			return err
		}
		for _, d := range docs {
			if p := str(d["project_id"]); p != "" {
				project, err := s.entities.projects.get(tx, p)
				if err != nil {
					return err
				}
				d["_project_domain"] = project["domain_id"]
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return e.replyList(w, r, e.shown(r, docs))
}

// limitModel answers GET /v3/limits/model.
func (s *Service) limitModel(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, document{"model": document{
		"name": "flat", "description": "Limit enforcement and validation does not take project hierarchy into consideration.",
	}})
}
