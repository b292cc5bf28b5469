package compute

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

func accessView(id string, projects []string) map[string]any {
	out := []any{}
	for _, p := range projects {
		out = append(out, map[string]any{"flavor_id": id, "tenant_id": p})
	}
	return map[string]any{"flavor_access": out}
}

// listAccess answers who may use a flavor that is not public.
func (s *Service) listAccess(w http.ResponseWriter, r *http.Request) error {
	var projects []string
	f, err := s.withFlavor(r, unchanged)
	if err != nil {
		return err
	}
	if f.Public {
		return api.NotFound("Access list not available for public flavors.")
	}
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		projects, err = accessOf(tx, f.ID)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, accessView(f.ID, projects))
}

// flavorAction gives a project access to a flavor, or takes it away.
func (s *Service) flavorAction(w http.ResponseWriter, r *http.Request) error {
	var in map[string]json.RawMessage
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	var out []string
	id := r.PathValue("id")
	for name, args := range in {
		var who struct {
			Tenant string `json:"tenant"`
		}
		if err := api.DecodeJSON(args, &who); err != nil {
			return err
		}
		if who.Tenant == "" || name != "addTenantAccess" && name != "removeTenantAccess" {
			return api.Invalid("action %q for project %q: expected addTenantAccess or removeTenantAccess with a tenant", name, who.Tenant)
		}
		err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
			f, err := flavorOf(tx, id)
			if err != nil {
				return err
			}
			if f.Public {
				return api.Conflict("Can not add access to a public flavor.")
			}
			have, err := accessOf(tx, id)
			if err != nil {
				return err
			}
			switch has := slices.Contains(have, who.Tenant); {
			case name == "addTenantAccess" && has:
				return api.Conflict("Flavor access already exists for flavor %s and project %s combination.", id, who.Tenant)
			case name == "addTenantAccess":
				_, err = tx.Exec(`INSERT INTO compute_flavor_access (flavor_id, project_id) VALUES (?, ?)`, id, who.Tenant)
			case !has:
				return api.NotFound("Flavor access not found for %s / %s combination.", id, who.Tenant)
			default:
				_, err = tx.Exec(`DELETE FROM compute_flavor_access WHERE flavor_id = ? AND project_id = ?`, id, who.Tenant)
			}
			if err != nil {
				return err
			}
			out, err = accessOf(tx, id)
			return err
		})
		if err != nil {
			return err
		}
	}
	return api.WriteJSON(w, http.StatusOK, accessView(id, out))
}
