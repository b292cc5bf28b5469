package compute

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// used is what servers take up of a project's limits.
type used struct{ Servers, Cores, RAM int }

func usedBy(tx *store.Tx, project string) (used, error) {
	var u used
	all, err := serversOf(tx, `WHERE project_id = ?`, project)
	for _, srv := range all {
		u.Servers++
		u.Cores += srv.Flavor.VCPUs
		u.RAM += srv.Flavor.RAM
	}
	return u, err
}

// showLimits answers GET /limits. Nothing but the machines bounds a project here:
// limits are -1, Nova's word for none, except those that requests are checked by.
func (s *Service) showLimits(w http.ResponseWriter, r *http.Request) error {
	project := caller(r).ProjectID
	if other := r.URL.Query().Get("tenant_id"); other != "" && other != project {
		if !caller(r).HasRole("admin", "service") {
			return api.Forbidden("only an administrator may see the limits of another project")
		}
		project = other
	}
	var u used
	var b map[string]int
	groups := 0
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		if u, err = usedBy(tx, project); err != nil {
			return err
		}
		if b, err = bounds(tx, classScope, projectScope(project)); err != nil {
			return err
		}
		return tx.Get([]any{&groups}, `SELECT COUNT(*) FROM compute_groups WHERE project_id = ?`, project)
	})
	if err != nil {
		return err
	}
	absolute := map[string]any{
		"maxTotalInstances": b["instances"], "maxTotalCores": b["cores"], "maxTotalRAMSize": b["ram"], "maxTotalKeypairs": b["key_pairs"],
		"maxServerMeta": b["metadata_items"], "maxServerGroups": b["server_groups"], "maxServerGroupMembers": b["server_group_members"],
		"totalInstancesUsed": u.Servers, "totalCoresUsed": u.Cores, "totalRAMUsed": u.RAM, "totalServerGroupsUsed": groups,
	}
	if !api.AtLeast(r, "2.36") { // networks are Neutron's since
		for _, key := range []string{"maxTotalFloatingIps", "maxSecurityGroups", "maxSecurityGroupRules"} {
			absolute[key] = -1
		}
		absolute["totalFloatingIpsUsed"], absolute["totalSecurityGroupsUsed"] = 0, 0
	}
	if !api.AtLeast(r, "2.57") { // personality went then
		absolute["maxImageMeta"], absolute["maxPersonality"], absolute["maxPersonalitySize"] = -1, 0, 0
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"limits": map[string]any{"rate": []any{}, "absolute": absolute}})
}
