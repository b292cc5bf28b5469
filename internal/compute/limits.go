package compute

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// used is what servers take up of a project's limits.
type used struct{ Servers, Cores, RAM int }

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
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var srv Server
			if err := scan(store.JSON(&srv)); err != nil {
				return err
			}
			u.Servers++
			u.Cores += srv.Flavor.VCPUs
			u.RAM += srv.Flavor.RAM
			return nil
		}, `SELECT doc FROM compute_servers WHERE project_id = ?`, project)
	})
	if err != nil {
		return err
	}
	absolute := map[string]any{
		"maxTotalInstances": -1, "maxTotalCores": -1, "maxTotalRAMSize": -1, "maxTotalKeypairs": -1,
		"maxServerMeta": -1, "maxServerGroups": 0, "maxServerGroupMembers": 0,
		"totalInstancesUsed": u.Servers, "totalCoresUsed": u.Cores, "totalRAMUsed": u.RAM, "totalServerGroupsUsed": 0,
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

// listZonesDetail answers GET /os-availability-zone/detail: the one zone, with the
// nodes that can carry servers as its hosts.
func (s *Service) listZonesDetail(w http.ResponseWriter, r *http.Request) error {
	all, err := s.nodes(r)
	if err != nil {
		return err
	}
	hosts := map[string]any{}
	for i := range all {
		if usable(&all[i]) {
			hosts[all[i].UUID] = map[string]any{"nova-compute": map[string]any{"active": true, "available": true, "updated_at": nil}}
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"availabilityZoneInfo": []any{map[string]any{
		"zoneName": "nova", "zoneState": map[string]any{"available": true}, "hosts": hosts,
	}}})
}
