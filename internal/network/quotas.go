package network

import (
	"math"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
)

// quotaNames are the kinds that quotas count. Nothing bounds a project until
// somebody sets a quota: -1.
func (s *Service) quotaNames() []string {
	var out []string
	for _, k := range s.all {
		if k.quota {
			out = append(out, k.kind)
		}
	}
	return out
}

func (c *call) quotas(project string) (map[string]any, error) {
	out := map[string]any{}
	for _, name := range c.s.quotaNames() {
		out[name] = -1
	}
	err := c.tx.Each(func(scan func(...any) error) error {
		var name string
		var bound int64
		err := scan(&name, &bound)
		out[name] = bound
		return err
	}, `SELECT resource, bound FROM network_quotas WHERE project_id = ?`, project)
	return out, err
}

// room refuses more things than a quota allows. It counts only what is bounded. The rows of a project's quotas are
// locked, so that two requests do not both take the last place.
func (c *call) room(k *resource, project string, more int64) error {
	if c.common != nil && k.kind == "port" && c.common.unbounded[project] {
		return nil
	}
	var bound int64
	err := c.tx.Get([]any{&bound}, `SELECT bound FROM network_quotas WHERE project_id = ? AND resource = ?`+c.tx.ForUpdate(), project, k.kind)
	if isNotFound(err) || err == nil && bound < 0 {
		if c.common != nil && k.kind == "port" {
			c.common.unbounded[project] = true
		}
		return nil
	}
	if err != nil {
		return err
	}
	n, err := c.count(k.kind, project)
	if err == nil && n+more > bound {
		err = api.Conflict("Quota exceeded for resources: ['%s'].", k.kind).Named("OverQuota")
	}
	return err
}

func (c *call) count(kind, project string) (int64, error) {
	var n int64
	err := c.tx.Get([]any{&n}, `SELECT COUNT(*) FROM network_resources WHERE kind = ? AND project_id = ?`, kind, project)
	return n, err
}

func (c *call) maySeeQuotas(project string) error {
	if c.admin() || project == c.who.ProjectID {
		return nil
	}
	return api.Forbidden("(rule:get_quota) is disallowed by policy")
}

func (s *Service) showQuotas(w http.ResponseWriter, r *http.Request) error {
	var out map[string]any
	err := s.in(r, false, func(c *call) error {
		if err := c.maySeeQuotas(r.PathValue("project")); err != nil {
			return err
		}
		var err error
		out, err = c.quotas(r.PathValue("project"))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"quota": out})
}

func (s *Service) defaultQuotas(w http.ResponseWriter, r *http.Request) error {
	out := map[string]any{}
	for _, name := range s.quotaNames() {
		out[name] = -1
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"quota": out})
}

// detailQuotas is extension quota_details.
func (s *Service) detailQuotas(w http.ResponseWriter, r *http.Request) error {
	out := map[string]any{}
	err := s.in(r, false, func(c *call) error {
		project := r.PathValue("project")
		if err := c.maySeeQuotas(project); err != nil {
			return err
		}
		bounds, err := c.quotas(project)
		if err != nil {
			return err
		}
		for name, bound := range bounds {
			used, err := c.count(name, project)
			if err != nil {
				return err
			}
			out[name] = map[string]any{"limit": bound, "used": used, "reserved": 0}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"quota": out})
}

func (s *Service) putQuotas(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Quota map[string]any `json:"quota"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	force, _ := in.Quota["force"].(bool)
	check, _ := in.Quota["check_limit"].(bool)
	var out map[string]any
	err := s.in(r, true, func(c *call) error {
		have, err := c.quotas(r.PathValue("project"))
		if err != nil {
			return err
		}
		for name, v := range in.Quota {
			if name == "force" || name == "check_limit" || name == "project_id" || name == "tenant_id" {
				continue
			}
			if _, ok := have[name]; !ok {
				return api.Invalid("Unrecognized attribute(s) '%s'", name).Named("HTTPBadRequest")
			}
			n, why := integer(-1, math.MaxInt32)(v)
			if why != "" {
				return badInput(name, why)
			}
			bound := int64(n.(float64))
			if check && !force && bound >= 0 {
				used, err := c.count(name, r.PathValue("project"))
				if err != nil {
					return err
				}
				if used > bound {
					return api.Invalid("Quota limit for %s is %d, but %d are in use", name, bound, used).Named("QuotaUpdateError")
				}
			}
			if err := c.setQuota(r.PathValue("project"), name, bound); err != nil {
				return err
			}
		}
		out, err = c.quotas(r.PathValue("project"))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"quota": out})
}

func (c *call) setQuota(project, name string, bound int64) error {
	_, err := c.tx.Exec(`INSERT INTO network_quotas (project_id, resource, bound) VALUES (?, ?, ?)
		ON CONFLICT (project_id, resource) DO UPDATE SET bound = excluded.bound`, project, name, bound)
	return err
}

func (s *Service) deleteQuotas(w http.ResponseWriter, r *http.Request) error {
	err := s.in(r, true, func(c *call) error {
		n, err := c.tx.Exec(`DELETE FROM network_quotas WHERE project_id = ?`, r.PathValue("project"))
		if err == nil && n == 0 {
			err = api.NotFound("Quota for tenant %s could not be found.", r.PathValue("project")).Named("TenantQuotaNotFound")
		}
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) listQuotas(w http.ResponseWriter, r *http.Request) error {
	out := []any{}
	err := s.in(r, false, func(c *call) error {
		var projects []string
		err := c.tx.Each(func(scan func(...any) error) error {
			var p string
			err := scan(&p)
			projects = append(projects, p)
			return err
		}, `SELECT DISTINCT project_id FROM network_quotas ORDER BY project_id`)
		if err != nil {
			return err
		}
		for _, p := range projects {
			q, err := c.quotas(p)
			if err != nil {
				return err
			}
			q["project_id"], q["tenant_id"] = p, p
			out = append(out, q)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"quotas": out})
}
