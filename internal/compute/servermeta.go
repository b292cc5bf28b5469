package compute

import (
	"net/http"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

const (
	maxTags   = 50
	maxTagLen = 60
)

func checkMetadata(m map[string]string) error {
	for k, v := range m {
		if k == "" || len(k) > 255 || len(v) > 255 {
			return api.Invalid("metadata key %q is empty, or it or its value is longer than 255 characters", k)
		}
	}
	return nil
}

type metadataBody struct {
	Metadata map[string]string `json:"metadata"`
	Meta     map[string]string `json:"meta"`
}

func (svc *Service) serverMetadata(w http.ResponseWriter, r *http.Request) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"metadata": s.Metadata})
}

// setServerMetadata merges (POST) or replaces (PUT) the metadata of a server.
func (svc *Service) setServerMetadata(w http.ResponseWriter, r *http.Request) error {
	var in metadataBody
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if in.Metadata == nil {
		return api.Invalid("the request body has no \"metadata\"")
	}
	if err := checkMetadata(in.Metadata); err != nil {
		return err
	}
	s, err := svc.changeMetadata(r, func(have map[string]string) (map[string]string, error) {
		if r.Method == http.MethodPut {
			return in.Metadata, nil
		}
		for k, v := range in.Metadata {
			have[k] = v
		}
		return have, nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"metadata": s.Metadata})
}

func (svc *Service) changeMetadata(r *http.Request, fn func(have map[string]string) (map[string]string, error)) (*Server, error) {
	return svc.change(r, func(tx *store.Tx, s *Server) error {
		if err := s.locked(r); err != nil {
			return err
		}
		next, err := fn(s.Metadata)
		if err != nil {
			return err
		}
		s.Metadata = next
		return checkBound(tx, s.ProjectID, s.UserID, "metadata_items", none, len(next))
	})
}

func (svc *Service) showMetadataItem(w http.ResponseWriter, r *http.Request) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	v, ok := s.Metadata[r.PathValue("key")]
	if !ok {
		return api.NotFound("Metadata item was not found")
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"meta": map[string]string{r.PathValue("key"): v}})
}

func (svc *Service) putMetadataItem(w http.ResponseWriter, r *http.Request) error {
	var in metadataBody
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	key := r.PathValue("key")
	v, ok := in.Meta[key]
	if !ok || len(in.Meta) != 1 {
		return api.Invalid("Request body and URI mismatch: expected just the item %q", key)
	}
	if err := checkMetadata(in.Meta); err != nil {
		return err
	}
	_, err := svc.changeMetadata(r, func(have map[string]string) (map[string]string, error) {
		have[key] = v
		return have, nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"meta": in.Meta})
}

func (svc *Service) deleteMetadataItem(w http.ResponseWriter, r *http.Request) error {
	key := r.PathValue("key")
	_, err := svc.changeMetadata(r, func(have map[string]string) (map[string]string, error) {
		if _, ok := have[key]; !ok {
			return nil, api.NotFound("Metadata item was not found")
		}
		delete(have, key)
		return have, nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func checkTags(tags []string) ([]string, error) {
	out := []string{}
	for _, t := range tags {
		if t == "" || len(t) > maxTagLen || strings.ContainsAny(t, ",/") {
			return nil, api.Invalid("tag %q is empty, longer than %d characters or holds ',' or '/'", t, maxTagLen)
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	if len(out) > maxTags {
		return nil, api.Invalid("%d tags, expected at most %d", len(out), maxTags)
	}
	return out, nil
}

func (svc *Service) listServerTags(w http.ResponseWriter, r *http.Request) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"tags": append([]string{}, s.Tags...)})
}

func (svc *Service) replaceServerTags(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Tags []string `json:"tags"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	tags, err := checkTags(in.Tags)
	if err != nil {
		return err
	}
	if _, err := svc.change(r, func(_ *store.Tx, s *Server) error { s.Tags = tags; return nil }); err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"tags": tags})
}

func (svc *Service) deleteServerTags(w http.ResponseWriter, r *http.Request) error {
	if _, err := svc.change(r, func(_ *store.Tx, s *Server) error { s.Tags = nil; return nil }); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// serverTag serves one tag: GET asks for it, PUT adds it, DELETE removes it.
func (svc *Service) serverTag(w http.ResponseWriter, r *http.Request) error {
	tag := r.PathValue("tag")
	absent := api.NotFound("Server %s has no tag '%s'", r.PathValue("id"), tag)
	status := http.StatusNoContent
	if r.Method == http.MethodGet {
		s, err := svc.get(r)
		if err == nil && !slices.Contains(s.Tags, tag) {
			err = absent
		}
		if err != nil {
			return err
		}
		w.WriteHeader(status)
		return nil
	}
	_, err := svc.change(r, func(_ *store.Tx, s *Server) error {
		i := slices.Index(s.Tags, tag)
		switch {
		case r.Method == http.MethodPut && i < 0:
			status = http.StatusCreated
			w.Header().Set("Location", svc.cfg.BaseURL+r.URL.Path)
			next, err := checkTags(append(slices.Clone(s.Tags), tag))
			s.Tags = next
			return err
		case r.Method == http.MethodDelete && i < 0:
			return absent
		case r.Method == http.MethodDelete:
			s.Tags = slices.Delete(s.Tags, i, i+1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(status)
	return nil
}

// serverPassword: the installed system may leave an encrypted password through
// the metadata service.
func (svc *Service) serverPassword(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodDelete {
		if _, err := svc.change(r, func(_ *store.Tx, s *Server) error { s.Password = ""; return nil }); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"password": s.Password})
}

// serverDiagnostics says what is known of a machine from outside.
func (svc *Service) serverDiagnostics(w http.ResponseWriter, r *http.Request) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	if s.Status == statusBuild || s.NodeID == "" {
		return api.Conflict("Cannot 'get_diagnostics' instance %s while it is in vm_state %s", s.ID, vmStates[s.Status])
	}
	state := map[string]string{statusActive: "running", statusShutoff: "shutdown"}[s.Status]
	if state == "" {
		state = "pending"
	}
	nics := []any{}
	for _, p := range s.Ports {
		nics = append(nics, map[string]any{"mac_address": p.MAC})
	}
	if !api.AtLeast(r, "2.48") {
		return api.WriteJSON(w, http.StatusOK, map[string]any{"state": state, "num_nics": len(nics)})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{
		"state": state, "driver": "ironic", "hypervisor": "ironic", "hypervisor_os": nil, "uptime": nil, "num_cpus": s.Flavor.VCPUs,
		"num_nics": len(nics), "num_disks": 1, "config_drive": s.ConfigDrive, "memory_details": map[string]any{"maximum": s.Flavor.RAM, "used": nil},
		"cpu_details": []any{}, "nic_details": []any{}, // their counters are in the machine
		"disk_details": []any{},
	})
}

func (svc *Service) serverNetworkIPs(w http.ResponseWriter, r *http.Request) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	name := r.PathValue("network")
	list, ok := s.addresses()[name]
	if !ok {
		return api.NotFound("Network not found")
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{name: list})
}

// Machines do not move: there are no migrations.

func (svc *Service) serverMigrations(w http.ResponseWriter, r *http.Request) error {
	if _, err := svc.get(r); err != nil {
		return err
	}
	return svc.migrations(w, r)
}

func (svc *Service) migrations(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, map[string]any{"migrations": []any{}})
}

// noVolumes answers what the block storage service would be needed for.
func (svc *Service) noVolumes(w http.ResponseWriter, r *http.Request) error {
	if _, err := svc.get(r); err != nil {
		return err
	}
	if r.Method == http.MethodGet && r.PathValue("volume") == "" {
		return api.WriteJSON(w, http.StatusOK, map[string]any{"volumeAttachments": []any{}})
	}
	if r.Method == http.MethodPost {
		return api.Invalid("Volumes cannot be attached: an undercloud has no block storage service. Boot from volume is the bare-metal service's: openstack baremetal volume target create.")
	}
	return api.NotFound("volume_id not found: %s", r.PathValue("volume"))
}
