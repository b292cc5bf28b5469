package undercloud

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	"github.com/tripleo/tripleo/internal/cloud"
)

// Names of TripleO that templates and operators rely on.
const (
	ctlplane       = "ctlplane"
	ctlplaneSubnet = "ctlplane-subnet"
)

// bootstrap makes what an undercloud has from its first start on: the
// provisioning network and the flavors. It goes through the REST APIs as the
// administrator and changes nothing that is there.
func (u *Undercloud) bootstrap(ctx context.Context) error {
	s, err := u.cloud.Password(ctx, "admin", u.secrets.AdminPassword, "admin", "Default")
	if err != nil {
		return err
	}
	if err := u.bootstrapNetwork(ctx, s); err != nil {
		return fmt.Errorf("network %s: %w", ctlplane, err)
	}
	return bootstrapFlavors(ctx, s)
}

// flatNetwork adds the provider attributes to a network's creation.
type flatNetwork struct{ networks.CreateOpts }

// ToNetworkCreateMap implements networks.CreateOptsBuilder.
func (f flatNetwork) ToNetworkCreateMap() (map[string]any, error) {
	m, err := f.CreateOpts.ToNetworkCreateMap()
	if err != nil {
		return nil, err
	}
	if inner, ok := m["network"].(map[string]any); ok {
		inner["provider:network_type"], inner["provider:physical_network"] = "flat", ctlplane
	}
	return m, nil
}

func (u *Undercloud) bootstrapNetwork(ctx context.Context, s *cloud.Session) error {
	neutron, err := s.Network()
	if err != nil {
		return err
	}
	page, err := networks.List(neutron, networks.ListOpts{Name: ctlplane}).AllPages(ctx)
	if err != nil {
		return err
	}
	found, err := networks.ExtractNetworks(page)
	if err != nil {
		return err
	}
	var id string
	if len(found) > 0 {
		id = found[0].ID
	} else {
		n, err := networks.Create(ctx, neutron, flatNetwork{networks.CreateOpts{Name: ctlplane, Shared: gophercloud.Enabled}}).Extract()
		if err != nil {
			return err
		}
		id = n.ID
	}
	page, err = subnets.List(neutron, subnets.ListOpts{NetworkID: id}).AllPages(ctx)
	if err != nil {
		return err
	}
	have, err := subnets.ExtractSubnets(page)
	if err != nil || len(have) > 0 {
		return err
	}
	p := u.cfg.Provisioning
	gateway := p.Address.Addr().String()
	opts := subnets.CreateOpts{
		NetworkID: id, Name: ctlplaneSubnet, CIDR: p.Address.Masked().String(), IPVersion: gophercloud.IPv4,
		GatewayIP: &gateway, EnableDHCP: gophercloud.Enabled, DNSNameservers: p.DNS,
		AllocationPools: []subnets.AllocationPool{{Start: p.PoolStart.String(), End: p.PoolEnd.String()}},
	}
	if p.Address.Addr().Is6() {
		// Machines get their ports' addresses by DHCPv6, and learn from advertisements to ask for them.
		opts.IPVersion, opts.IPv6AddressMode, opts.IPv6RAMode = gophercloud.IPv6, "dhcpv6-stateful", "dhcpv6-stateful"
	}
	_, err = subnets.Create(ctx, neutron, opts).Extract()
	return err
}

// profiles are the flavors of TripleO's undercloud and the profile each asks
// for; "" takes any node.
var profiles = []struct{ flavor, profile string }{ //nolint:gochecknoglobals // constant table
	{"baremetal", ""}, {"control", "control"}, {"compute", "compute"}, {"ceph-storage", "ceph-storage"},
	{"block-storage", "block-storage"}, {"swift-storage", "swift-storage"},
}

func bootstrapFlavors(ctx context.Context, s *cloud.Session) error {
	nova, err := s.Compute()
	if err != nil {
		return err
	}
	page, err := flavors.ListDetail(nova, flavors.ListOpts{}).AllPages(ctx)
	if err != nil {
		return fmt.Errorf("list flavors: %w", err)
	}
	have, err := flavors.ExtractFlavors(page)
	if err != nil {
		return fmt.Errorf("list flavors: %w", err)
	}
	names := map[string]bool{}
	for _, f := range have {
		names[f.Name] = true
	}
	for _, p := range profiles {
		if names[p.flavor] {
			continue
		}
		if err := createFlavor(ctx, nova, p.flavor, p.profile); err != nil {
			return fmt.Errorf("flavor %s: %w", p.flavor, err)
		}
	}
	return nil
}

func createFlavor(ctx context.Context, nova *gophercloud.ServiceClient, name, profile string) error {
	disk := 40
	f, err := flavors.Create(ctx, nova, flavors.CreateOpts{Name: name, ID: name, RAM: 4096, VCPUs: 1, Disk: &disk}).Extract()
	if gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		return nil // another process made it
	}
	if err != nil {
		return err
	}
	extra := flavors.ExtraSpecsOpts{
		"resources:CUSTOM_BAREMETAL": "1", "resources:VCPU": "0", "resources:MEMORY_MB": "0", "resources:DISK_GB": "0",
		"capabilities:boot_option": "local",
	}
	if profile != "" {
		extra["capabilities:profile"] = profile
	}
	_, err = flavors.CreateExtraSpecs(ctx, nova, f.ID, extra).Extract()
	return err
}
