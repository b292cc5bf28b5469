package compute

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/mtu"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/jobs"
)

// connect gives the server a port for each network asked for and attaches the
// ports to the node. A port made before a crash is found again by the server's
// id, which is its device_id, and the position, which ends its name.
func (b *build) connect(ctx context.Context) (jobs.Result, bool, error) {
	have, err := b.ownPorts(ctx)
	if err != nil {
		return jobs.Result{}, false, err
	}
	b.s.Ports = nil
	for i, req := range b.s.Networks {
		p, err := b.port(ctx, fmt.Sprintf("%s-%d", b.s.Name, i), req, have)
		if refused(err) {
			b.s.fail(http.StatusBadRequest, "Cannot give server %s a port: %s", b.s.Name, reason(err))
			return jobs.Done(), false, b.save(ctx)
		}
		if err != nil {
			return jobs.Result{}, false, err
		}
		if err := b.attach(ctx, p.ID); err != nil {
			if refused(err) && !gophercloud.ResponseCodeIs(err, http.StatusConflict) {
				b.s.fail(http.StatusInternalServerError, "Cannot attach port %s to node %s: %s", p.ID, b.label(), reason(err))
				return jobs.Done(), false, b.save(ctx)
			}
			return b.busy(err, "attach a port to node")
		}
		described, err := b.describe(ctx, p.ID, req.Port == "")
		if err != nil {
			return jobs.Result{}, false, err
		}
		described.Tag = req.Tag
		b.s.Ports = append(b.s.Ports, *described)
	}
	b.s.Task = taskSpawning
	return jobs.Result{}, true, b.save(ctx)
}

// letGo makes a port nobody's again.
func (b *build) letGo(ctx context.Context, portID string) error {
	none := ""
	_, err := ports.Update(ctx, b.neutron, portID, ports.UpdateOpts{DeviceID: &none, DeviceOwner: &none}).Extract()
	return err
}

// refused says whether the other service will never take the request as it is,
// or we will not, for what the other service has.
func refused(err error) bool {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e.Status() < http.StatusInternalServerError
	}
	for _, code := range []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusForbidden} {
		if gophercloud.ResponseCodeIs(err, code) {
			return true
		}
	}
	return false
}

func (b *build) ownPorts(ctx context.Context) ([]ports.Port, error) {
	page, err := ports.List(b.neutron, ports.ListOpts{DeviceID: b.s.ID}).AllPages(ctx)
	if err != nil {
		return nil, fmt.Errorf("list ports of server %s: %w", b.s.ID, err)
	}
	return ports.ExtractPorts(page)
}

// port is the port of one interface: the given one, or one of that name, which
// a run of before may have made. Only what follows the last dash of the name
// counts, as the server may get another name.
func (b *build) port(ctx context.Context, name string, req NetworkRequest, have []ports.Port) (*ports.Port, error) {
	owner := "compute:nova"
	if req.Port != "" {
		p, err := ports.Get(ctx, b.neutron, req.Port).Extract()
		if err != nil {
			return nil, fmt.Errorf("get port %s: %w", req.Port, err)
		}
		if p.DeviceID != "" && p.DeviceID != b.s.ID {
			return nil, api.Conflict("Port %s is still in use.", req.Port)
		}
		// The revision keeps two servers from taking one port.
		opts := ports.UpdateOpts{DeviceID: &b.s.ID, DeviceOwner: &owner, RevisionNumber: &p.RevisionNumber}
		if p, err = ports.Update(ctx, b.neutron, req.Port, opts).Extract(); err != nil {
			return nil, fmt.Errorf("bind port %s: %w", req.Port, err)
		}
		return p, nil
	}
	mark := name[strings.LastIndexByte(name, '-'):]
	at := slices.IndexFunc(have, func(p ports.Port) bool { return p.NetworkID == req.UUID && strings.HasSuffix(p.Name, mark) })
	if at >= 0 {
		return &have[at], nil
	}
	opts := ports.CreateOpts{
		NetworkID: req.UUID, DeviceID: b.s.ID, DeviceOwner: owner, Name: name, ProjectID: b.s.ProjectID,
	}
	if req.FixedIP != "" {
		opts.FixedIPs = []ports.IP{{IPAddress: req.FixedIP}}
	}
	if len(b.s.SecurityGroups) > 0 {
		ids := []string{}
		for _, name := range b.s.SecurityGroups {
			id, err := b.groupID(ctx, name)
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
		opts.SecurityGroups = &ids
	}
	p, err := ports.Create(ctx, b.neutron, opts).Extract()
	if err != nil {
		return nil, fmt.Errorf("create port on network %s: %w", req.UUID, err)
	}
	return p, nil
}

func (b *build) attach(ctx context.Context, portID string) error {
	vifs, err := nodes.ListVirtualInterfaces(ctx, b.ironic, b.s.NodeID).Extract()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(vifs, func(v nodes.VIF) bool { return v.ID == portID }) {
		return nil
	}
	return nodes.AttachVirtualInterface(ctx, b.ironic, b.s.NodeID, nodes.VirtualInterfaceOpts{ID: portID}).ExtractErr()
}

func (b *build) detachVIFs(ctx context.Context) error {
	vifs, err := nodes.ListVirtualInterfaces(ctx, b.ironic, b.s.NodeID).Extract()
	if err != nil {
		return fmt.Errorf("list interfaces of node %s: %w", b.label(), err)
	}
	for _, v := range vifs {
		if err := b.detachOne(ctx, v.ID); err != nil {
			return err
		}
	}
	return nil
}

func (b *build) detachOne(ctx context.Context, id string) error {
	err := nodes.DetachVirtualInterface(ctx, b.ironic, b.s.NodeID, id).ExtractErr()
	if err != nil && !refused(err) {
		return fmt.Errorf("detach interface %s of node %s: %w", id, b.label(), err)
	}
	return nil
}

// describe reads what the API and the config drive say of a port. Its MAC is
// the node's after the attachment.
func (b *build) describe(ctx context.Context, id string, ours bool) (*ServerPort, error) {
	p, err := ports.Get(ctx, b.neutron, id).Extract()
	if err != nil {
		return nil, fmt.Errorf("get port %s: %w", id, err)
	}
	var n struct {
		networks.Network
		mtu.NetworkMTUExt
	}
	if err := networks.Get(ctx, b.neutron, p.NetworkID).ExtractInto(&n); err != nil {
		return nil, fmt.Errorf("get network %s: %w", p.NetworkID, err)
	}
	out := &ServerPort{ID: p.ID, NetworkID: p.NetworkID, Network: n.Name, MAC: p.MACAddress, MTU: n.MTU, Ours: ours}
	for _, ip := range p.FixedIPs {
		sub, err := subnets.Get(ctx, b.neutron, ip.SubnetID).Extract()
		if err != nil {
			return nil, fmt.Errorf("get subnet %s: %w", ip.SubnetID, err)
		}
		entry := portIP{
			Address: ip.IPAddress, SubnetID: ip.SubnetID, CIDR: sub.CIDR, Gateway: sub.GatewayIP, DNS: sub.DNSNameservers, DHCP: sub.EnableDHCP,
		}
		for _, hr := range sub.HostRoutes {
			entry.Routes = append(entry.Routes, route{hr.DestinationCIDR, hr.NextHop})
		}
		out.FixedIPs = append(out.FixedIPs, entry)
	}
	return out, nil
}

// disconnect deletes the ports made for the server and lets go of the others.
func (b *build) disconnect(ctx context.Context) error {
	given := map[string]bool{}
	for _, req := range b.s.Networks {
		given[req.Port] = !req.Ours
	}
	if op := b.s.InterfaceOp; op != nil && op.Attach != nil {
		given[op.Attach.Port] = true
	}
	have, err := b.ownPorts(ctx)
	if err != nil {
		return err
	}
	for _, p := range have {
		if !given[p.ID] {
			err = ports.Delete(ctx, b.neutron, p.ID).ExtractErr()
		} else {
			err = b.letGo(ctx, p.ID)
		}
		if err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			return fmt.Errorf("release port %s: %w", p.ID, err)
		}
	}
	return nil
}

// metaData is meta_data.json.
func (s *Server) metaData() map[string]any {
	seed := make([]byte, 512)
	_, _ = rand.Read(seed) // never fails, crypto/rand
	m := map[string]any{
		"uuid": s.ID, "name": s.Name, "hostname": s.hostname(), "launch_index": s.LaunchIndex, "availability_zone": s.zone(),
		"project_id": s.ProjectID, "meta": s.Metadata, "devices": s.devices(), "dedicated_cpus": []any{}, "random_seed": base64.StdEncoding.EncodeToString(seed),
	}
	if s.PublicKey != "" {
		m["public_keys"] = map[string]string{s.KeyName: s.PublicKey}
		m["keys"] = []any{map[string]any{"name": s.KeyName, "type": "ssh", "data": s.PublicKey}}
	}
	return m
}

// devices names the tagged interfaces, as network-interface tags are for.
func (s *Server) devices() []any {
	out := []any{}
	for _, p := range s.Ports {
		if p.Tag != "" {
			out = append(out, map[string]any{"type": "nic", "mac": p.MAC, "bus": "none", "address": "none", "tags": []any{p.Tag}})
		}
	}
	return out
}

// networkData is network_data.json.
func (s *Server) networkData() map[string]any {
	links, nets, services := []any{}, []any{}, []any{}
	seen := map[string]bool{}
	for i, p := range s.Ports {
		link := fmt.Sprintf("tap%.11s", p.ID)
		links = append(links, map[string]any{"id": link, "type": "phy", "ethernet_mac_address": p.MAC, "mtu": p.MTU, "vif_id": p.ID})
		for _, ip := range p.FixedIPs {
			nets = append(nets, networkEntry(fmt.Sprintf("network%d", len(nets)), link, &s.Ports[i], ip))
			for _, d := range ip.DNS {
				if !seen[d] {
					seen[d] = true
					services = append(services, map[string]any{"type": "dns", "address": d})
				}
			}
		}
	}
	return map[string]any{"links": links, "networks": nets, "services": services}
}

func networkEntry(id, link string, p *ServerPort, ip portIP) map[string]any {
	kind, mask, all := "ipv4", "", "0.0.0.0"
	prefix, err := netip.ParsePrefix(ip.CIDR)
	if err == nil {
		mask = net.IP(net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())).String()
		if prefix.Addr().Is6() {
			kind, all = "ipv6", "::"
		}
	}
	routes := []any{}
	if ip.Gateway != "" {
		routes = append(routes, map[string]any{"network": all, "netmask": all, "gateway": ip.Gateway})
	}
	for _, r := range ip.Routes {
		if dst, err := netip.ParsePrefix(r.Destination); err == nil {
			routes = append(routes, map[string]any{
				"network": dst.Addr().String(), "netmask": net.IP(net.CIDRMask(dst.Bits(), dst.Addr().BitLen())).String(), "gateway": r.NextHop,
			})
		}
	}
	return map[string]any{
		"id": id, "network_id": p.NetworkID, "type": kind, "link": link, "ip_address": ip.Address, "netmask": mask, "routes": routes,
	}
}
