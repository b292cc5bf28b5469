package baremetal

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
)

// root serves "/", the list of API versions.
func (s *Service) root(w http.ResponseWriter, _ *http.Request) error {
	v := s.versionDoc()
	return api.WriteJSON(w, http.StatusOK, map[string]any{
		"name": "OpenStack Ironic API", "description": "Bare metal provisioning with Ironic's API.",
		"default_version": v, "versions": []any{v},
	})
}

func (s *Service) versionDoc() map[string]any {
	return map[string]any{
		"id": "v1", "status": "CURRENT", "min_version": minVersion, "version": maxVersion,
		"links": []any{map[string]any{"rel": "self", "href": s.cfg.BaseURL + "/v1/"}},
	}
}

// v1 serves "/v1", the list of resources.
func (s *Service) v1(w http.ResponseWriter, _ *http.Request) error {
	out := map[string]any{
		"id": "v1", "version": s.versionDoc(),
		"links":       []any{map[string]any{"rel": "self", "href": s.cfg.BaseURL + "/v1/"}},
		"media_types": []any{map[string]any{"base": "application/json", "type": "application/vnd.openstack.ironic.v1+json"}},
	}
	for _, c := range []string{"nodes", "ports", "portgroups", "chassis", "drivers", "conductors", "allocations", "deploy_templates", "events", "volume", "shards", "lookup", "heartbeat"} {
		out[c] = []any{
			map[string]any{"rel": "self", "href": s.cfg.BaseURL + "/v1/" + c + "/"},
			map[string]any{"rel": "bookmark", "href": s.cfg.BaseURL + "/" + c + "/"},
		}
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

func (s *Service) driverDoc(h drivers.HardwareType, detail bool) map[string]any {
	m := map[string]any{
		"name": h.Name, "hosts": []string{s.cfg.Hostname}, "type": "dynamic",
		"links":      links(s.cfg.BaseURL, "drivers", h.Name),
		"properties": links(s.cfg.BaseURL, "drivers/"+h.Name, "properties"),
	}
	if detail {
		for _, i := range drivers.InterfaceNames() {
			m["default_"+i+"_interface"] = h.Default(i)
			m["enabled_"+i+"_interfaces"] = h.Interfaces[i]
		}
	}
	return m
}

func (s *Service) listDrivers(w http.ResponseWriter, r *http.Request) error {
	detail, err := wantBool("detail", r.URL.Query().Get("detail"))
	if err != nil {
		return err
	}
	list := []any{}
	if t := r.URL.Query().Get("type"); t != "" && t != "dynamic" && t != "classic" {
		return api.Invalid("type is %q, expected classic or dynamic", t)
	} else if t != "classic" {
		for _, h := range drivers.HardwareTypes() {
			list = append(list, s.driverDoc(h, detail))
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"drivers": list})
}

func driverNotFound(name string) error {
	return api.NotFound("Could not find the following driver(s) or hardware type(s): %s.", name).Named("DriverNotFound")
}

func (s *Service) getDriver(w http.ResponseWriter, r *http.Request) error {
	h, ok := drivers.Hardware(r.PathValue("driver"))
	if !ok {
		return driverNotFound(r.PathValue("driver"))
	}
	return api.WriteJSON(w, http.StatusOK, s.driverDoc(h, true))
}

func (s *Service) driverProperties(w http.ResponseWriter, r *http.Request) error {
	h, ok := drivers.Hardware(r.PathValue("driver"))
	if !ok {
		return driverNotFound(r.PathValue("driver"))
	}
	return api.WriteJSON(w, http.StatusOK, h.Properties)
}

// writeFault writes Ironic's envelope: error_message is text that holds the
// fault as JSON. Debian's ironicclient (5.0.1) fails on anything but text,
// whatever the microversion.
func writeFault(w http.ResponseWriter, _ *http.Request, f api.Fault) {
	_ = writeStatus(w, f.Status, f.Message)
}

func writeStatus(w http.ResponseWriter, status int, message string) error {
	code := "Client"
	if status >= 500 {
		code = "Server"
	}
	doc := map[string]any{"faultcode": code, "faultstring": message, "debuginfo": nil}
	return api.WriteJSON(w, status, map[string]any{"error_message": jsonText(doc)})
}
