package network

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/network/ipam"
	"github.com/tripleo/tripleo/internal/store"
)

// Subnet is a subnet as the API shows it.
type Subnet struct {
	ID              string      `json:"id"`
	Name            string      `json:"name"`
	NetworkID       string      `json:"network_id"`
	ProjectID       string      `json:"project_id"`
	TenantID        string      `json:"tenant_id"`
	Description     string      `json:"description"`
	IPVersion       int         `json:"ip_version"`
	CIDR            string      `json:"cidr"`
	GatewayIP       *string     `json:"gateway_ip"`
	AllocationPools []ipam.Pool `json:"allocation_pools"`
	DNSNameservers  []string    `json:"dns_nameservers"`
	HostRoutes      []HostRoute `json:"host_routes"`
	EnableDHCP      bool        `json:"enable_dhcp"`
	IPv6AddressMode *string     `json:"ipv6_address_mode"`
	IPv6RAMode      *string     `json:"ipv6_ra_mode"`
	SubnetPoolID    *string     `json:"subnetpool_id"`
	SegmentID       *string     `json:"segment_id"`
	ServiceTypes    []string    `json:"service_types"`
	Tags            []string    `json:"tags"`
	CreatedAt       string      `json:"created_at"`
	UpdatedAt       string      `json:"updated_at"`
	Revision        int         `json:"revision_number"`
}

// HostRoute is a static route given to the machines.
type HostRoute struct {
	Destination string `json:"destination"`
	NextHop     string `json:"nexthop"`
}

const subnetNotFound = "SubnetNotFound"

var subnetImmutable = []string{ //nolint:gochecknoglobals // constant table
	"id", "network_id", "project_id", "tenant_id", "ip_version", "cidr", "subnetpool_id", "created_at", "updated_at", "revision_number",
}

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

func (s *Service) createSubnet(w http.ResponseWriter, r *http.Request) error {
	attrs, err := body(r, "subnet")
	if err != nil {
		return err
	}
	project, err := owner(r, text(attrs, "project_id", "tenant_id"))
	if err != nil {
		return err
	}
	delete(attrs, "project_id")
	delete(attrs, "tenant_id")
	sub := Subnet{
		ID: uuid.NewString(), ProjectID: project, TenantID: project, IPVersion: 4, EnableDHCP: true,
		DNSNameservers: []string{}, HostRoutes: []HostRoute{}, ServiceTypes: []string{}, Tags: []string{},
		CreatedAt: stamp(), UpdatedAt: stamp(), Revision: 1,
	}
	if err := patch(&sub, attrs, []string{"id"}); err != nil {
		return err
	}
	_, gatewayGiven := attrs["gateway_ip"]
	if err := complete(&sub, gatewayGiven); err != nil {
		return err
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := networkOf(tx, sub.NetworkID); err != nil {
			return err
		}
		if err := checkOverlap(tx, &sub); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO network_subnets (id, network_id, project_id, name, cidr, last_address, doc)
			VALUES (?, ?, ?, ?, ?, '', ?)`, sub.ID, sub.NetworkID, sub.ProjectID, sub.Name, sub.CIDR, store.JSON(sub))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, map[string]any{"subnet": sub})
}

// complete checks a new subnet and fills in the gateway and pools that were
// not given.
func complete(sub *Subnet, gatewayGiven bool) error {
	prefix, err := netip.ParsePrefix(sub.CIDR)
	if err != nil {
		return api.Invalid("Invalid input for cidr. Reason: '%s' is not a valid IP subnet.", sub.CIDR).Wrap(err)
	}
	if prefix != prefix.Masked() {
		return api.Invalid("Invalid input for cidr. Reason: '%s' isn't a recognized IP subnet cidr, '%s' is recommended.", sub.CIDR, prefix.Masked())
	}
	if (sub.IPVersion == 4) != prefix.Addr().Is4() {
		return api.Invalid("ip_version is %d but cidr is %s", sub.IPVersion, sub.CIDR)
	}
	if !gatewayGiven {
		g := ipam.DefaultGateway(prefix).String()
		sub.GatewayIP = &g
	}
	gateway, err := gatewayOf(sub)
	if err != nil {
		return err
	}
	if sub.AllocationPools == nil { // an empty list is none: only given addresses are used
		sub.AllocationPools = ipam.DefaultPools(prefix, gateway)
	}
	if err := ipam.Check(prefix, gateway, sub.AllocationPools); err != nil {
		return api.Invalid("%s", err.Error()).Named("InvalidAllocationPool")
	}
	for _, d := range sub.DNSNameservers {
		if _, err := netip.ParseAddr(d); err != nil {
			return api.Invalid("dns_nameservers holds %q, expected IP addresses", d).Wrap(err)
		}
	}
	for _, hr := range sub.HostRoutes {
		_, err1 := netip.ParsePrefix(hr.Destination)
		_, err2 := netip.ParseAddr(hr.NextHop)
		if err := errors.Join(err1, err2); err != nil {
			return api.Invalid("host route %q via %q is malformed", hr.Destination, hr.NextHop).Wrap(err)
		}
	}
	return nil
}

func gatewayOf(sub *Subnet) (netip.Addr, error) {
	if sub.GatewayIP == nil || *sub.GatewayIP == "" {
		sub.GatewayIP = nil
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(*sub.GatewayIP)
	if err != nil {
		return netip.Addr{}, api.Invalid("gateway_ip is %q, expected an IP address", *sub.GatewayIP).Wrap(err)
	}
	return a, nil
}

func checkOverlap(tx *store.Tx, sub *Subnet) error {
	prefix := netip.MustParsePrefix(sub.CIDR)
	return tx.Each(func(scan func(...any) error) error {
		var id, cidr string
		if err := scan(&id, &cidr); err != nil {
			return err
		}
		if other, err := netip.ParsePrefix(cidr); err == nil && other.Overlaps(prefix) {
			return api.Invalid("Invalid input for operation: Requested subnet with cidr: %s for network: %s overlaps with another subnet.", sub.CIDR, sub.NetworkID).Named("InvalidInput")
		}
		return nil
	}, `SELECT id, cidr FROM network_subnets WHERE network_id = ?`, sub.NetworkID)
}

func subnetsOf(tx *store.Tx, where string, args ...any) ([]Subnet, error) {
	var out []Subnet
	err := tx.Each(func(scan func(...any) error) error {
		var sub Subnet
		if err := scan(store.JSON(&sub)); err != nil {
			return err
		}
		out = append(out, sub)
		return nil
	}, `SELECT doc FROM network_subnets `+where, args...)
	return out, err
}

func subnetOf(tx *store.Tx, id string) (*Subnet, error) {
	subs, err := subnetsOf(tx, `WHERE id = ?`, id)
	if err != nil {
		return nil, err
	}
	if len(subs) == 0 {
		return nil, api.NotFound("Subnet %s could not be found.", id).Named(subnetNotFound)
	}
	return &subs[0], nil
}

func (s *Service) listSubnets(w http.ResponseWriter, r *http.Request) error {
	var out []Subnet
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		subs, err := subnetsOf(tx, "")
		for _, sub := range subs {
			shared := false
			if n, err := networkOf(tx, sub.NetworkID); err == nil {
				shared = n.Shared
			}
			if visible(r, sub.ProjectID, shared) {
				out = append(out, sub)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return respondList(w, r, s.cfg.BaseURL, "subnets", out)
}

func changeSubnet(tx *store.Tx, sub *Subnet, attrs map[string]json.RawMessage) error {
	if raw, ok := attrs["allocation_pools"]; ok { // replaced, not merged
		sub.AllocationPools = nil
		if err := json.Unmarshal(raw, &sub.AllocationPools); err != nil {
			return api.Invalid("allocation_pools is malformed").Wrap(err)
		}
	}
	if err := patch(sub, attrs, subnetImmutable); err != nil {
		return err
	}
	if err := complete(sub, true); err != nil {
		return err
	}
	sub.UpdatedAt, sub.Revision = stamp(), sub.Revision+1
	_, err := tx.Exec(`UPDATE network_subnets SET name = ?, doc = ? WHERE id = ?`, sub.Name, store.JSON(sub), sub.ID)
	return err
}

func dropSubnet(tx *store.Tx, sub *Subnet) error {
	var used int
	if err := tx.Get([]any{&used}, `SELECT COUNT(*) FROM network_addresses WHERE subnet_id = ?`, sub.ID); err != nil {
		return err
	}
	if used > 0 {
		return api.Conflict("Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", sub.ID).Named("SubnetInUse")
	}
	_, err := tx.Exec(`DELETE FROM network_subnets WHERE id = ?`, sub.ID)
	return err
}
