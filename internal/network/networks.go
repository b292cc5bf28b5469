package network

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Network is a network as the API shows it.
type Network struct {
	ID              string   `json:"id"`
	Name            string   `json:"name"`
	ProjectID       string   `json:"project_id"`
	TenantID        string   `json:"tenant_id"`
	Description     string   `json:"description"`
	AdminStateUp    bool     `json:"admin_state_up"`
	Status          string   `json:"status"`
	Shared          bool     `json:"shared"`
	External        bool     `json:"router:external"`
	MTU             int      `json:"mtu"`
	Subnets         []string `json:"subnets"`
	NetworkType     string   `json:"provider:network_type"`
	PhysicalNetwork *string  `json:"provider:physical_network"`
	SegmentationID  *int     `json:"provider:segmentation_id"`
	PortSecurity    bool     `json:"port_security_enabled"`
	Zones           []string `json:"availability_zones"`
	ZoneHints       []string `json:"availability_zone_hints"`
	DNSDomain       string   `json:"dns_domain"`
	Tags            []string `json:"tags"`
	CreatedAt       string   `json:"created_at"`
	UpdatedAt       string   `json:"updated_at"`
	Revision        int      `json:"revision_number"`
}

const networkNotFound = "NetworkNotFound"

// immutable lists attributes no update may change.
var networkImmutable = []string{ //nolint:gochecknoglobals // constant table
	"id", "status", "subnets", "project_id", "tenant_id", "created_at", "updated_at", "revision_number",
	"provider:network_type", "provider:physical_network", "provider:segmentation_id",
}

func stamp() string { return time.Now().UTC().Format(api.TimeFormat) }

// patch overlays the attributes of body on v, a pointer to a struct, refusing
// those that are unknown or named in fixed.
func patch(v any, body map[string]json.RawMessage, fixed []string) error {
	doc, err := asDoc(v)
	if err != nil {
		return err
	}
	for key := range body {
		if _, ok := doc[key]; !ok {
			return api.Invalid("Unrecognized attribute(s) '%s'", key).Named("HTTPBadRequest")
		}
		if slices.Contains(fixed, key) {
			return api.Invalid("Cannot update read-only attribute %s", key).Named("HTTPBadRequest")
		}
	}
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return api.DecodeJSON(b, v)
}

// body reads {name: {...}}.
func body(r *http.Request, name string) (map[string]json.RawMessage, error) {
	var envelope map[string]map[string]json.RawMessage
	if err := api.ReadJSON(r, &envelope); err != nil {
		return nil, err
	}
	inner, ok := envelope[name]
	if !ok {
		return nil, api.Invalid("the request body has no %q", name)
	}
	return inner, nil
}

func text(b map[string]json.RawMessage, keys ...string) string {
	for _, k := range keys {
		var s string
		if json.Unmarshal(b[k], &s) == nil && s != "" {
			return s
		}
	}
	return ""
}

func (s *Service) createNetwork(w http.ResponseWriter, r *http.Request) error {
	attrs, err := body(r, "network")
	if err != nil {
		return err
	}
	project, err := owner(r, text(attrs, "project_id", "tenant_id"))
	if err != nil {
		return err
	}
	n := Network{
		ID: uuid.NewString(), ProjectID: project, TenantID: project, AdminStateUp: true, Status: "ACTIVE", MTU: 1500,
		Subnets: []string{}, NetworkType: "flat", Zones: []string{}, ZoneHints: []string{}, Tags: []string{},
		CreatedAt: stamp(), UpdatedAt: stamp(), Revision: 1, PortSecurity: true,
	}
	delete(attrs, "project_id")
	delete(attrs, "tenant_id")
	if err := patch(&n, attrs, []string{"id", "status", "subnets"}); err != nil {
		return err
	}
	if err := checkSegment(&n); err != nil {
		return err
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO network_networks (id, project_id, name, doc) VALUES (?, ?, ?, ?)`,
			n.ID, n.ProjectID, n.Name, store.JSON(n))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, map[string]any{"network": n})
}

func checkSegment(n *Network) error {
	switch n.NetworkType {
	case "flat", "local":
		if n.SegmentationID != nil {
			return api.Invalid("segmentation_id must not be specified for %s network", n.NetworkType)
		}
	case "vlan":
		if n.SegmentationID != nil && (*n.SegmentationID < 1 || *n.SegmentationID > 4094) {
			return api.Invalid("segmentation_id is %d, expected 1 to 4094", *n.SegmentationID)
		}
	default:
		return api.Invalid("provider:network_type is %q, expected flat, vlan or local", n.NetworkType)
	}
	return nil
}

func networkOf(tx *store.Tx, id string) (*Network, error) {
	var n Network
	err := tx.Get([]any{store.JSON(&n)}, `SELECT doc FROM network_networks WHERE id = ?`, id)
	if err != nil {
		return nil, missing(err, "Network %s could not be found.", id, networkNotFound)
	}
	n.Subnets = []string{}
	err = tx.Each(func(scan func(...any) error) error {
		var sid string
		if err := scan(&sid); err != nil {
			return err
		}
		n.Subnets = append(n.Subnets, sid)
		return nil
	}, `SELECT id FROM network_subnets WHERE network_id = ? ORDER BY id`, id)
	return &n, err
}

func (s *Service) listNetworks(w http.ResponseWriter, r *http.Request) error {
	var out []Network
	subnets := map[string][]string{}
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		err := tx.Each(func(scan func(...any) error) error {
			var n Network
			if err := scan(store.JSON(&n)); err != nil {
				return err
			}
			if visible(r, n.ProjectID, n.Shared) {
				out = append(out, n)
			}
			return nil
		}, `SELECT doc FROM network_networks`)
		if err != nil {
			return err
		}
		return tx.Each(func(scan func(...any) error) error {
			var nid, sid string
			err := scan(&nid, &sid)
			subnets[nid] = append(subnets[nid], sid)
			return err
		}, `SELECT network_id, id FROM network_subnets ORDER BY id`)
	})
	if err != nil {
		return err
	}
	for i := range out {
		out[i].Subnets = append([]string{}, subnets[out[i].ID]...)
	}
	return respondList(w, r, s.cfg.BaseURL, "networks", out)
}

// missing names what was not found; other errors pass.
func missing(err error, format, id, typ string) error {
	if isNotFound(err) {
		return api.NotFound(format, id).Named(typ).Wrap(err)
	}
	return err
}

func changeNetwork(tx *store.Tx, n *Network, attrs map[string]json.RawMessage) error {
	if err := patch(n, attrs, networkImmutable); err != nil {
		return err
	}
	n.UpdatedAt, n.Revision = stamp(), n.Revision+1
	_, err := tx.Exec(`UPDATE network_networks SET name = ?, doc = ? WHERE id = ?`, n.Name, store.JSON(n), n.ID)
	return err
}

func dropNetwork(tx *store.Tx, n *Network) error {
	var ports int
	if err := tx.Get([]any{&ports}, `SELECT COUNT(*) FROM network_ports WHERE network_id = ?`, n.ID); err != nil {
		return err
	}
	if ports > 0 {
		return api.Conflict("Unable to complete operation on network %s. There are one or more ports still in use on the network.", n.ID).Named("NetworkInUse")
	}
	if _, err := tx.Exec(`DELETE FROM network_subnets WHERE network_id = ?`, n.ID); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM network_networks WHERE id = ?`, n.ID)
	return err
}
