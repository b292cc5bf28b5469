package network

import (
	"crypto/rand"
	"encoding/json"
	"net"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Port is a port as the API shows it.
type Port struct {
	ID             string         `json:"id"`
	Name           string         `json:"name"`
	NetworkID      string         `json:"network_id"`
	ProjectID      string         `json:"project_id"`
	TenantID       string         `json:"tenant_id"`
	Description    string         `json:"description"`
	MACAddress     string         `json:"mac_address"`
	AdminStateUp   bool           `json:"admin_state_up"`
	Status         string         `json:"status"`
	DeviceID       string         `json:"device_id"`
	DeviceOwner    string         `json:"device_owner"`
	FixedIPs       []FixedIP      `json:"fixed_ips"`
	AllowedPairs   []AddressPair  `json:"allowed_address_pairs"`
	ExtraDHCPOpts  []DHCPOpt      `json:"extra_dhcp_opts"`
	SecurityGroups []string       `json:"security_groups"`
	PortSecurity   bool           `json:"port_security_enabled"`
	HostID         string         `json:"binding:host_id"`
	VNICType       string         `json:"binding:vnic_type"`
	VIFType        string         `json:"binding:vif_type"`
	VIFDetails     map[string]any `json:"binding:vif_details"`
	Profile        map[string]any `json:"binding:profile"`
	DNSName        string         `json:"dns_name"`
	DNSDomain      string         `json:"dns_domain"`
	QoSPolicyID    *string        `json:"qos_policy_id"`
	Tags           []string       `json:"tags"`
	CreatedAt      string         `json:"created_at"`
	UpdatedAt      string         `json:"updated_at"`
	Revision       int            `json:"revision_number"`
}

// FixedIP is an address of a port.
type FixedIP struct {
	SubnetID  string `json:"subnet_id,omitempty"`
	IPAddress string `json:"ip_address,omitempty"`
}

// AddressPair is a further address a port may send from.
type AddressPair struct {
	IPAddress  string `json:"ip_address"`
	MACAddress string `json:"mac_address,omitempty"`
}

// DHCPOpt is a DHCP option of a port (extension extra_dhcp_opt). A null value
// removes the option.
type DHCPOpt struct {
	Name      string  `json:"opt_name"`
	Value     *string `json:"opt_value"`
	IPVersion int     `json:"ip_version,omitempty"`
}

const portNotFound = "PortNotFound"

var portImmutable = []string{ //nolint:gochecknoglobals // constant table
	"id", "network_id", "project_id", "tenant_id", "status", "created_at", "updated_at", "revision_number",
	"binding:vif_type", "binding:vif_details",
}

func (s *Service) createPort(w http.ResponseWriter, r *http.Request) error {
	attrs, err := body(r, "port")
	if err != nil {
		return err
	}
	project, err := owner(r, text(attrs, "project_id", "tenant_id"))
	if err != nil {
		return err
	}
	delete(attrs, "project_id")
	delete(attrs, "tenant_id")
	p := Port{
		ID: uuid.NewString(), ProjectID: project, TenantID: project, AdminStateUp: true, Status: "DOWN",
		AllowedPairs: []AddressPair{}, ExtraDHCPOpts: []DHCPOpt{}, SecurityGroups: []string{}, PortSecurity: true,
		VNICType: "normal", VIFType: "unbound", VIFDetails: map[string]any{}, Profile: map[string]any{}, Tags: []string{},
		CreatedAt: stamp(), UpdatedAt: stamp(), Revision: 1,
	}
	if err := normalise(attrs); err != nil {
		return err
	}
	if err := patch(&p, attrs, []string{"id", "status"}); err != nil {
		return err
	}
	_, ipsGiven := attrs["fixed_ips"]
	if err := checkPort(&p); err != nil {
		return err
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error { return insertPort(tx, &p, ipsGiven) })
	if err != nil {
		return err
	}
	s.changed(&p)
	return api.WriteJSON(w, http.StatusCreated, map[string]any{"port": p})
}

// normalise rewrites what clients may send in two forms: fixed_ips as one
// mapping, and options to be left out as null.
func normalise(attrs map[string]json.RawMessage) error {
	if raw, ok := attrs["fixed_ips"]; ok && strings.HasPrefix(strings.TrimSpace(string(raw)), "{") {
		attrs["fixed_ips"] = json.RawMessage("[" + string(raw) + "]")
	}
	if raw, ok := attrs["extra_dhcp_opts"]; ok && string(raw) != "null" {
		var opts []DHCPOpt
		if err := json.Unmarshal(raw, &opts); err != nil {
			return api.Invalid("extra_dhcp_opts is malformed, expected a list of {opt_name, opt_value}").Wrap(err)
		}
	}
	if string(attrs["mac_address"]) == "null" { // the port is to have a new one
		mac, err := newMAC()
		if err != nil {
			return err
		}
		attrs["mac_address"] = json.RawMessage(`"` + mac + `"`)
	}
	for _, key := range []string{"fixed_ips", "security_groups", "allowed_address_pairs", "extra_dhcp_opts", "binding:profile"} {
		if string(attrs[key]) == "null" {
			delete(attrs, key)
		}
	}
	return nil
}

func checkPort(p *Port) error {
	if p.MACAddress == "" {
		mac, err := newMAC()
		if err != nil {
			return err
		}
		p.MACAddress = mac
	}
	mac, err := net.ParseMAC(p.MACAddress)
	if err != nil || len(mac) != 6 {
		return api.Invalid("mac_address is %q, expected six hexadecimal octets", p.MACAddress).Wrap(err)
	}
	p.MACAddress = mac.String()
	for i := range p.ExtraDHCPOpts {
		o := &p.ExtraDHCPOpts[i]
		if o.Name == "" {
			return api.Invalid("extra_dhcp_opts[%d] has no opt_name", i)
		}
		if o.IPVersion == 0 {
			o.IPVersion = 4
		}
	}
	if p.HostID != "" && p.VIFType == "unbound" {
		p.VIFType = "other"
	}
	if p.HostID == "" {
		p.VIFType = "unbound"
	}
	p.Status = "DOWN"
	if p.HostID != "" && p.AdminStateUp {
		p.Status = "ACTIVE"
	}
	return nil
}

// newMAC makes an address from Neutron's default base, fa:16:3e.
func newMAC() (string, error) {
	mac := net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 0}
	if _, err := rand.Read(mac[3:]); err != nil {
		return "", err
	}
	return mac.String(), nil
}

func insertPort(tx *store.Tx, p *Port, ipsGiven bool) error {
	if _, err := networkOf(tx, p.NetworkID); err != nil {
		return err
	}
	if err := macFree(tx, p); err != nil {
		return err
	}
	asked := p.FixedIPs
	p.FixedIPs = []FixedIP{}
	_, err := tx.Exec(`INSERT INTO network_ports (id, network_id, project_id, name, mac, device_id, doc) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		p.ID, p.NetworkID, p.ProjectID, p.Name, p.MACAddress, p.DeviceID, store.JSON(p))
	if err != nil {
		return err
	}
	if err := allocate(tx, p, asked, ipsGiven); err != nil {
		return err
	}
	return savePort(tx, p)
}

func macFree(tx *store.Tx, p *Port) error {
	var n int
	err := tx.Get([]any{&n}, `SELECT COUNT(*) FROM network_ports WHERE network_id = ? AND mac = ? AND id <> ?`, p.NetworkID, p.MACAddress, p.ID)
	if err == nil && n > 0 {
		return api.Conflict("Unable to complete operation for network %s. The mac address %s is in use.", p.NetworkID, p.MACAddress).Named("MacAddressInUse")
	}
	return err
}

func savePort(tx *store.Tx, p *Port) error {
	_, err := tx.Exec(`UPDATE network_ports SET name = ?, mac = ?, device_id = ?, doc = ? WHERE id = ?`,
		p.Name, p.MACAddress, p.DeviceID, store.JSON(p), p.ID)
	return err
}

func portOf(tx *store.Tx, id string) (*Port, error) {
	var p Port
	if err := tx.Get([]any{store.JSON(&p)}, `SELECT doc FROM network_ports WHERE id = ?`, id); err != nil {
		return nil, missing(err, "Port %s could not be found.", id, portNotFound)
	}
	return &p, nil
}

func (s *Service) listPorts(w http.ResponseWriter, r *http.Request) error {
	query, args := `SELECT doc FROM network_ports`, []any(nil)
	q := r.URL.Query()
	switch { // the filters that matter for speed; the others come after
	case len(q["device_id"]) == 1:
		query, args = query+` WHERE device_id = ?`, []any{q.Get("device_id")}
	case len(q["network_id"]) == 1 && len(q["mac_address"]) == 1:
		query, args = query+` WHERE network_id = ? AND mac = ?`, []any{q.Get("network_id"), strings.ToLower(q.Get("mac_address"))}
	case len(q["network_id"]) == 1:
		query, args = query+` WHERE network_id = ?`, []any{q.Get("network_id")}
	case len(q["id"]) == 1:
		query, args = query+` WHERE id = ?`, []any{q.Get("id")}
	}
	var out []Port
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var p Port
			if err := scan(store.JSON(&p)); err != nil {
				return err
			}
			if visible(r, p.ProjectID, false) {
				out = append(out, p)
			}
			return nil
		}, query, args...)
	})
	if err != nil {
		return err
	}
	return respondList(w, r, s.cfg.BaseURL, "ports", out)
}

// changePort changes a port and tells who waits for it.
func (s *Service) changePort(tx *store.Tx, p *Port, attrs map[string]json.RawMessage) error {
	if err := normalise(attrs); err != nil {
		return err
	}
	tx.AfterCommit(func() { s.changed(p) })
	return applyPort(tx, p, attrs)
}

func (s *Service) dropPort(tx *store.Tx, p *Port) error {
	tx.AfterCommit(func() { s.changed(p) })
	if _, err := tx.Exec(`DELETE FROM network_addresses WHERE port_id = ?`, p.ID); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM network_ports WHERE id = ?`, p.ID)
	return err
}

func applyPort(tx *store.Tx, p *Port, attrs map[string]json.RawMessage) error {
	had, opts := p.FixedIPs, p.ExtraDHCPOpts
	_, ips := attrs["fixed_ips"]
	_, newOpts := attrs["extra_dhcp_opts"]
	if ips {
		p.FixedIPs = nil
	}
	if newOpts {
		p.ExtraDHCPOpts = nil
	}
	if _, ok := attrs["binding:profile"]; ok {
		p.Profile = map[string]any{}
	}
	if err := patch(p, attrs, portImmutable); err != nil {
		return err
	}
	if newOpts {
		p.ExtraDHCPOpts = mergeOpts(opts, p.ExtraDHCPOpts)
	}
	if err := checkPort(p); err != nil {
		return err
	}
	if err := macFree(tx, p); err != nil {
		return err
	}
	if ips {
		asked := p.FixedIPs
		p.FixedIPs = had
		if err := reallocate(tx, p, asked); err != nil {
			return err
		}
	}
	p.UpdatedAt, p.Revision = stamp(), p.Revision+1
	return savePort(tx, p)
}

// mergeOpts applies an update of extra_dhcp_opts: options are replaced by name,
// those with a null value removed, others kept.
func mergeOpts(have, update []DHCPOpt) []DHCPOpt {
	out := []DHCPOpt{}
	replaced := map[string]bool{}
	for _, o := range update {
		replaced[o.Name] = true
	}
	for _, o := range have {
		if !replaced[o.Name] {
			out = append(out, o)
		}
	}
	for _, o := range update {
		if o.Value != nil {
			out = append(out, o)
		}
	}
	return out
}

func (s *Service) changed(p *Port) {
	if s.cfg.Bus != nil {
		s.cfg.Bus.Publish("network/port/" + p.ID)
	}
}
