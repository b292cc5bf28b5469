package network

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
)

// extensions lists what this service offers beyond the core, by the aliases
// clients look for before they send an attribute.
var extensions = [][2]string{ //nolint:gochecknoglobals // constant table
	{"provider", "Provider Network"}, {"binding", "Port Binding"}, {"extra_dhcp_opt", "Neutron Extra DHCP options"},
	{"allowed-address-pairs", "Allowed Address Pairs"}, {"standard-attr-tag", "Tag support for resources with standard attribute"},
	{"external-net", "Neutron external network"}, {"net-mtu", "Network MTU"}, {"subnet_allocation", "Subnet Allocation"},
	{"pagination", "Pagination support"}, {"sorting", "Sorting support"}, {"project-id", "project_id field enabled"},
}

func extension(e [2]string) map[string]any {
	return map[string]any{"alias": e[0], "name": e[1], "description": e[1], "updated": "2020-01-01T00:00:00-00:00", "links": []any{}}
}

func (s *Service) listExtensions(w http.ResponseWriter, _ *http.Request) error {
	out := []any{}
	for _, e := range extensions {
		out = append(out, extension(e))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"extensions": out})
}

func (s *Service) showExtension(w http.ResponseWriter, r *http.Request) error {
	alias := r.PathValue("alias")
	for _, e := range extensions {
		if e[0] == alias {
			return api.WriteJSON(w, http.StatusOK, map[string]any{"extension": extension(e)})
		}
	}
	return api.NotFound("Extension with alias %s does not exist", alias).Named("ExtensionNotFound")
}
