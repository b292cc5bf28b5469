package compute

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// quotaDefaults are the bounds of a project of which nothing was said: none but
// those that keep documents small. -1 is Nova's word for none.
var quotaDefaults = map[string]int{ //nolint:gochecknoglobals // constant table
	"instances": -1, "cores": -1, "ram": -1, "key_pairs": -1, "server_groups": -1, "server_group_members": -1, "metadata_items": 128,
	"injected_files": 0, "injected_file_content_bytes": 0, "injected_file_path_bytes": 0, // personality is not supported
	"fixed_ips": -1, "floating_ips": -1, "security_groups": -1, "security_group_rules": -1, // networks are Neutron's
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

const classScope = "class/default"

func projectScope(project string) string { return "project/" + project }

func userScope(project, user string) string { return "user/" + project + "/" + user }

// bounds are what holds for a project, or one of its users.
func bounds(tx *store.Tx, scopes ...string) (map[string]int, error) {
	out := maps.Clone(quotaDefaults)
	for _, scope := range scopes { // the later the more special
		err := tx.Each(func(scan func(...any) error) error {
			var name string
			var n int
			err := scan(&name, &n)
			out[name] = n
			return err
		}, `SELECT resource, bound FROM compute_quotas WHERE scope = ?`, scope)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// checkBound refuses more of a thing than a project may have. The quota's row
// is locked before have counts, so that two requests do not both take the last
// place.
func checkBound(tx *store.Tx, project, user, resource string, have func() (int, error), more int) error {
	bound := quotaDefaults[resource]
	for _, scope := range []string{classScope, projectScope(project), userScope(project, user)} {
		err := tx.Get([]any{&bound}, `SELECT bound FROM compute_quotas WHERE scope = ? AND resource = ?`+tx.ForUpdate(), scope, resource)
		if err != nil && !isNotFound(err) {
			return err
		}
	}
	if bound < 0 {
		return nil
	}
	n, err := have()
	if err == nil && n+more > bound {
		err = api.OverLimit("Quota exceeded for %s: Requested %d, but already used %d of %d %s", resource, more, n, bound, resource)
	}
	return err
}

// none is what a thing has that is bounded by itself.
func none() (int, error) { return 0, nil }

// checkServers bounds new servers by instances, cores and memory.
func checkServers(tx *store.Tx, servers []*Server) error {
	s := servers[0]
	n := len(servers)
	for _, c := range []struct {
		name string
		have func(u used) int
		more int
	}{
		{"instances", func(u used) int { return u.Servers }, n},
		{"cores", func(u used) int { return u.Cores }, n * s.Flavor.VCPUs},
		{"ram", func(u used) int { return u.RAM }, n * s.Flavor.RAM},
	} {
		have := func() (int, error) {
			u, err := usedBy(tx, s.ProjectID)
			return c.have(u), err
		}
		if err := checkBound(tx, s.ProjectID, s.UserID, c.name, have, c.more); err != nil {
			return err
		}
	}
	return checkBound(tx, s.ProjectID, s.UserID, "metadata_items", none, len(s.Metadata))
}

// shownQuotas leaves out what the microversion no longer has.
func shownQuotas(r *http.Request, all map[string]int) map[string]any {
	out := map[string]any{}
	for name, n := range all {
		gone := api.AtLeast(r, "2.36") && (strings.HasPrefix(name, "security_") || strings.HasSuffix(name, "_ips")) ||
			api.AtLeast(r, "2.57") && strings.HasPrefix(name, "injected_")
		if !gone {
			out[name] = n
		}
	}
	return out
}

func (svc *Service) scopes(r *http.Request) []string {
	project := r.PathValue("project")
	out := []string{classScope, projectScope(project)}
	if user := r.URL.Query().Get("user_id"); user != "" {
		out = append(out, userScope(project, user))
	}
	return out
}

func maySeeQuota(r *http.Request) error {
	if caller(r).HasRole("admin", "service") || caller(r).ProjectID == r.PathValue("project") {
		return nil
	}
	return api.Forbidden("Policy doesn't allow os_compute_api:os-quota-sets:show to be performed.")
}

func (svc *Service) showQuota(w http.ResponseWriter, r *http.Request) error {
	if err := maySeeQuota(r); err != nil {
		return err
	}
	return svc.respondQuota(w, r, svc.scopes(r), true)
}

func (svc *Service) defaultQuota(w http.ResponseWriter, r *http.Request) error {
	return svc.respondQuota(w, r, []string{classScope}, true)
}

func (svc *Service) respondQuota(w http.ResponseWriter, r *http.Request, scopes []string, withID bool) error {
	var all map[string]int
	err := svc.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		all, err = bounds(tx, scopes...)
		return err
	})
	if err != nil {
		return err
	}
	out := shownQuotas(r, all)
	if withID {
		out["id"] = r.PathValue("project")
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"quota_set": out})
}

func (svc *Service) detailQuota(w http.ResponseWriter, r *http.Request) error {
	if err := maySeeQuota(r); err != nil {
		return err
	}
	project := r.PathValue("project")
	out := map[string]any{"id": project}
	err := svc.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		all, err := bounds(tx, svc.scopes(r)...)
		if err != nil {
			return err
		}
		u, err := usedBy(tx, project)
		if err != nil {
			return err
		}
		var groups int
		if err := tx.Get([]any{&groups}, `SELECT COUNT(*) FROM compute_groups WHERE project_id = ?`, project); err != nil {
			return err
		}
		in := map[string]int{"instances": u.Servers, "cores": u.Cores, "ram": u.RAM, "server_groups": groups}
		for name := range shownQuotas(r, all) {
			out[name] = map[string]any{"limit": all[name], "in_use": in[name], "reserved": 0}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"quota_set": out})
}

func readQuota(r *http.Request, key string) (map[string]int, bool, error) {
	var in map[string]map[string]json.RawMessage
	if err := api.ReadJSON(r, &in); err != nil {
		return nil, false, err
	}
	set, ok := in[key]
	if !ok {
		return nil, false, api.Invalid("the request body has no %q", key)
	}
	force := false
	out := map[string]int{}
	for name, raw := range set {
		if name == "force" {
			force = strings.Contains(strings.ToLower(string(raw)), "true")
			continue
		}
		if name == "tenant_id" || name == "id" || name == "class_name" {
			continue
		}
		if _, known := quotaDefaults[name]; !known {
			return nil, false, api.Invalid("Additional properties are not allowed ('%s' was unexpected)", name)
		}
		var n int
		if err := json.Unmarshal([]byte(strings.Trim(string(raw), `"`)), &n); err != nil || n < -1 {
			return nil, false, api.Invalid("Invalid input for field/attribute %s. Value: %s. It is no integer of at least -1.", name, raw).Wrap(err)
		}
		out[name] = n
	}
	return out, force, nil
}

func (svc *Service) putQuota(w http.ResponseWriter, r *http.Request) error {
	set, force, err := readQuota(r, "quota_set")
	if err != nil {
		return err
	}
	scopes := svc.scopes(r)
	err = svc.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		u, err := usedBy(tx, r.PathValue("project"))
		if err != nil {
			return err
		}
		have := map[string]int{"instances": u.Servers, "cores": u.Cores, "ram": u.RAM}
		for name, n := range set {
			if !force && n >= 0 && have[name] > n {
				return api.Invalid("Quota limit %d for %s must be greater than or equal to already used and reserved %d.", n, name, have[name])
			}
			if err := putBound(tx, scopes[len(scopes)-1], name, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return svc.respondQuota(w, r, scopes, false)
}

func putBound(tx *store.Tx, scope, name string, n int) error {
	_, err := tx.Exec(`INSERT INTO compute_quotas (scope, resource, bound) VALUES (?, ?, ?)
		ON CONFLICT (scope, resource) DO UPDATE SET bound = excluded.bound`, scope, name, n)
	return err
}

func (svc *Service) deleteQuota(w http.ResponseWriter, r *http.Request) error {
	scopes := svc.scopes(r)
	err := svc.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM compute_quotas WHERE scope = ?`, scopes[len(scopes)-1])
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (svc *Service) quotaClass(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPut {
		set, _, err := readQuota(r, "quota_class_set")
		if err != nil {
			return err
		}
		err = svc.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
			for name, n := range set {
				if err := putBound(tx, "class/"+r.PathValue("class"), name, n); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	var all map[string]int
	err := svc.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		all, err = bounds(tx, "class/"+r.PathValue("class"))
		return err
	})
	if err != nil {
		return err
	}
	out := shownQuotas(r, all)
	if r.Method == http.MethodGet {
		out["id"] = r.PathValue("class")
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"quota_class_set": out})
}
