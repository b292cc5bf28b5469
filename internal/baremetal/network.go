package baremetal

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/store"
)

// neutron is what the engine asks of the network service. Every call may be
// repeated: what is there already is taken as it is.
type neutron struct {
	cloud *cloud.Cloud
	name  string // of the provisioning network
}

// ownerProvisioning marks the Neutron ports that this service made for a
// ramdisk, so that it deletes only those.
const ownerProvisioning = "baremetal:none"

// ownerDiscovery marks those of machines that nobody knows.
const ownerDiscovery = "baremetal:discovery"

type dhcpOption struct {
	Name  string `json:"opt_name"`
	Value any    `json:"opt_value"` // null removes the option
	IP    int    `json:"ip_version,omitempty"`
}

type neutronPort struct {
	ID          string       `json:"id"`
	NetworkID   string       `json:"network_id"`
	MAC         string       `json:"mac_address"`
	DeviceID    string       `json:"device_id"`
	DeviceOwner string       `json:"device_owner"`
	Options     []dhcpOption `json:"extra_dhcp_opts"`
	Status      string       `json:"status"`
	VIFType     string       `json:"binding:vif_type"`
	VIFDetails  struct {
		Error string `json:"binding_error"` // of our network service; others give none
	} `json:"binding:vif_details"`
}

// permanent says that an OpenStack service has refused for good.
func permanent(err error) bool {
	for _, code := range []int{http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge} {
		if gophercloud.ResponseCodeIs(err, code) {
			return true
		}
	}
	return false
}

func (n *neutron) client(ctx context.Context) (*gophercloud.ServiceClient, error) {
	if n.cloud == nil {
		return nil, fmt.Errorf("%w: no cloud is configured, network_interface must be noop", errPermanent)
	}
	s, err := n.cloud.Service(ctx)
	if err != nil {
		return nil, err
	}
	return s.Network()
}

func (n *neutron) list(ctx context.Context, c *gophercloud.ServiceClient, collection string, q url.Values, out any) error {
	_, err := c.Get(ctx, c.ServiceURL(collection)+"?"+q.Encode(), out, nil)
	return err
}

// networkID finds a network by UUID or name; name "" is the provisioning
// network.
func (n *neutron) networkID(ctx context.Context, c *gophercloud.ServiceClient, name string) (string, error) {
	if name == "" {
		name = n.name
	}
	if _, err := uuid.Parse(name); err == nil {
		return name, nil
	}
	var out struct {
		Networks []struct {
			ID string `json:"id"`
		} `json:"networks"`
	}
	if err := n.list(ctx, c, "networks", url.Values{"name": {name}}, &out); err != nil {
		return "", fmt.Errorf("look up network %q: %w", name, err)
	}
	if len(out.Networks) != 1 {
		return "", fmt.Errorf("%w: there are %d networks named %q, expected one (option provisioning network)", errPermanent, len(out.Networks), name)
	}
	return out.Networks[0].ID, nil
}

func (n *neutron) update(ctx context.Context, c *gophercloud.ServiceClient, id string, attrs map[string]any) error {
	_, err := c.Put(ctx, c.ServiceURL("ports", id), map[string]any{"port": attrs}, nil, &gophercloud.RequestOpts{OkCodes: []int{200, 201}})
	return err
}

// ensure gives a card a port on a network (name "": the provisioning network):
// the one that has its MAC already, whoever made it, or a new one. It returns
// the port's id.
func (n *neutron) ensure(ctx context.Context, name, node, mac string, profile map[string]any, opts []dhcpOption) (string, error) {
	c, err := n.client(ctx)
	if err != nil {
		return "", err
	}
	network, err := n.networkID(ctx, c, name)
	if err != nil {
		return "", err
	}
	var found struct {
		Ports []neutronPort `json:"ports"`
	}
	if err := n.list(ctx, c, "ports", url.Values{"network_id": {network}, "mac_address": {mac}}, &found); err != nil {
		return "", fmt.Errorf("look up the port of %s: %w", mac, err)
	}
	attrs := map[string]any{"extra_dhcp_opts": opts, "binding:host_id": node, "binding:vnic_type": "baremetal"}
	if profile != nil {
		attrs["binding:profile"] = profile
	}
	if len(found.Ports) > 0 {
		id := found.Ports[0].ID
		if found.Ports[0].DeviceOwner == ownerDiscovery {
			attrs["device_owner"], attrs["device_id"] = ownerProvisioning, node
		}
		if err := n.update(ctx, c, id, attrs); err != nil {
			return "", fmt.Errorf("update port %s: %w", id, err)
		}
		return id, nil
	}
	attrs["network_id"], attrs["mac_address"], attrs["admin_state_up"] = network, mac, true
	attrs["device_id"], attrs["device_owner"], attrs["name"] = node, ownerProvisioning, "provisioning-"+mac
	var made struct {
		Port neutronPort `json:"port"`
	}
	_, err = c.Post(ctx, c.ServiceURL("ports"), map[string]any{"port": attrs}, &made, &gophercloud.RequestOpts{OkCodes: []int{201}})
	if err != nil {
		return "", fmt.Errorf("create a port for %s on network %s: %w", mac, network, err)
	}
	return made.Port.ID, nil
}

// discover makes a port for a machine that nobody knows.
func (n *neutron) discover(ctx context.Context, mac string, opts []dhcpOption) error {
	c, err := n.client(ctx)
	if err != nil {
		return err
	}
	network, err := n.networkID(ctx, c, "")
	if err != nil {
		return err
	}
	port := map[string]any{"network_id": network, "mac_address": mac, "device_owner": ownerDiscovery, "name": "discovery-" + mac, "extra_dhcp_opts": opts}
	_, err = c.Post(ctx, c.ServiceURL("ports"), map[string]any{"port": port}, nil, &gophercloud.RequestOpts{OkCodes: []int{201}})
	if gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		return nil // it was there
	}
	return err
}

// forgetDiscovered removes the ports of unknown machines that are older.
func (n *neutron) forgetDiscovered(ctx context.Context, before time.Time) error {
	c, err := n.client(ctx)
	if err != nil {
		return err
	}
	var found struct {
		Ports []struct {
			ID      string    `json:"id"`
			Created time.Time `json:"created_at"`
		} `json:"ports"`
	}
	if err := n.list(ctx, c, "ports", url.Values{"device_owner": {ownerDiscovery}}, &found); err != nil {
		return err
	}
	for _, p := range found.Ports {
		if p.Created.After(before) {
			continue
		}
		if _, err := c.Delete(ctx, c.ServiceURL("ports", p.ID), nil); err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			return err
		}
	}
	return nil
}

// bind prepares the instance's own port: its MAC is the card's, its host the
// node, and the ramdisk boots through it.
func (n *neutron) bind(ctx context.Context, id, node, mac string, profile map[string]any, opts []dhcpOption) error {
	c, err := n.client(ctx)
	if err != nil {
		return err
	}
	attrs := map[string]any{"binding:host_id": node, "binding:vnic_type": "baremetal"}
	if mac != "" {
		attrs["mac_address"] = mac
	}
	if profile != nil {
		attrs["binding:profile"] = profile
	}
	if opts != nil {
		attrs["extra_dhcp_opts"] = opts
	}
	if err := n.update(ctx, c, id, attrs); err != nil {
		return fmt.Errorf("bind VIF port %s: %w", id, err)
	}
	return nil
}

// takeMAC gives an instance's port the MAC of its card; a stale port of ours
// that holds it gives way.
func (n *neutron) takeMAC(ctx context.Context, id, mac string) error {
	c, err := n.client(ctx)
	if err != nil {
		return err
	}
	err = n.update(ctx, c, id, map[string]any{"mac_address": mac})
	if !gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		return err
	}
	var found struct {
		Ports []neutronPort `json:"ports"`
	}
	if err := n.list(ctx, c, "ports", url.Values{"mac_address": {mac}}, &found); err != nil {
		return err
	}
	for _, p := range found.Ports {
		if p.DeviceOwner == ownerProvisioning {
			if err := n.remove(ctx, p.ID); err != nil {
				return err
			}
		}
	}
	return n.update(ctx, c, id, map[string]any{"mac_address": mac})
}

// clearBoot takes the boot options off a port, so that its machine starts from
// its disk. A port that is gone has none.
func (n *neutron) clearBoot(ctx context.Context, id string) error {
	c, err := n.client(ctx)
	if err != nil {
		return err
	}
	var out struct {
		Port neutronPort `json:"port"`
	}
	_, err = c.Get(ctx, c.ServiceURL("ports", id), &out, nil)
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read port %s: %w", id, err)
	}
	var none []dhcpOption
	for _, o := range out.Port.Options {
		if isBootOption(o.Name) {
			none = append(none, dhcpOption{Name: o.Name, Value: nil, IP: o.IP})
		}
	}
	if len(none) == 0 {
		return nil
	}
	if err := n.update(ctx, c, id, map[string]any{"extra_dhcp_opts": none}); err != nil {
		return fmt.Errorf("remove the boot options of port %s: %w", id, err)
	}
	return nil
}

// remove deletes a port this service made.
func (n *neutron) remove(ctx context.Context, id string) error {
	c, err := n.client(ctx)
	if err != nil {
		return err
	}
	var out struct {
		Port neutronPort `json:"port"`
	}
	_, err = c.Get(ctx, c.ServiceURL("ports", id), &out, nil)
	if err == nil && out.Port.DeviceOwner == ownerProvisioning {
		_, err = c.Delete(ctx, c.ServiceURL("ports", id), nil)
	} else if err == nil {
		return n.clearBoot(ctx, id) // somebody else's: only lent
	}
	if err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return fmt.Errorf("delete port %s: %w", id, err)
	}
	return nil
}

// unbind detaches an instance's port from the node. The port gets a MAC of its
// own again (null makes Neutron choose one): the card's is needed for the
// cleaning that follows.
func (n *neutron) unbind(ctx context.Context, id string) error {
	if err := n.clearBoot(ctx, id); err != nil {
		return err
	}
	c, err := n.client(ctx)
	if err != nil {
		return err
	}
	err = n.update(ctx, c, id, map[string]any{"binding:host_id": "", "binding:profile": map[string]any{}, "mac_address": nil})
	if err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return fmt.Errorf("unbind VIF port %s: %w", id, err)
	}
	return nil
}

// taskNetwork names the network of what the run does: driver_info may have one
// for each, "" is the provisioning network.
func (n *Node) taskNetwork() string {
	key := map[string]string{flowClean: "cleaning_network", flowRescue: "rescuing_network", flowInspect: "inspection_network",
		flowService: "servicing_network"}[n.Run.Flow]
	if key == "" {
		key = "provisioning_network"
	}
	return n.info(key)
}

// networkProvision puts the node's cards on the provisioning network. With the
// flat interface a card that carries an instance's port boots through that one;
// all others get a port of ours, each for its own cable, whatever portgroup it
// is in. With the neutron interface it waits until they are wired.
func networkProvision(ctx context.Context, w *work) outcome {
	if w.n.Interfaces["network"] == "noop" {
		return done()
	}
	all, err := w.s.ports(ctx, w.n.UUID)
	if err != nil {
		return broken(err)
	}
	ports, err := w.n.bootPorts(all)
	if err != nil {
		return failed(err)
	}
	if w.n.wires() {
		if !w.n.Run.Sent.IsZero() {
			return w.awaitPorts(ctx, provisioned(ports))
		}
		if err := w.unplugTenant(ctx); err != nil {
			return w.cloudTrouble(ctx, err)
		}
	}
	for _, p := range ports {
		opts := w.s.bootOptions(w.n, p.Address)
		cable := w.n.profile(attachment{members: []*Port{p}})
		if vif := p.vif(); vif != "" && w.n.Run.Flow == flowDeploy && !w.n.wires() {
			if err := w.s.network.takeMAC(ctx, vif, p.Address); err != nil {
				return w.cloudTrouble(ctx, err)
			}
			if err := w.s.network.bind(ctx, vif, w.n.UUID, p.Address, cable, opts); err != nil {
				return w.cloudTrouble(ctx, err)
			}
			continue
		}
		id, err := w.s.network.ensure(ctx, w.n.taskNetwork(), w.n.UUID, p.Address, cable, opts)
		if err != nil {
			return w.cloudTrouble(ctx, err)
		}
		if err := w.s.setPortInfo(ctx, p.UUID, infoProvisPort, id); err != nil {
			return broken(err)
		}
	}
	if w.n.wires() {
		return brokenOr(w.sentPorts(ctx), again(0))
	}
	return done()
}

// provisioned are the Neutron ports of cards whose cables are known.
func provisioned(ports []*Port) []awaited {
	var out []awaited
	for _, p := range ports {
		if id, _ := p.InternalInfo[infoProvisPort].(string); id != "" && !p.unmanaged() && p.unplugged() == "" {
			out = append(out, awaited{id, p.Address})
		}
	}
	return out
}

// setPortInfo keeps a value of a port's internal_info; "" removes it.
func (s *Service) setPortInfo(ctx context.Context, port, key, value string) error {
	return s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		p, err := portByUUID(tx, port)
		if err != nil {
			return err
		}
		if p.InternalInfo == nil {
			p.InternalInfo = map[string]any{}
		}
		if value == "" {
			delete(p.InternalInfo, key)
		} else {
			p.InternalInfo[key] = value
		}
		return savePort(tx, p)
	})
}

// networkClear takes the node off the provisioning network.
func networkClear(ctx context.Context, w *work) outcome {
	if w.n.Interfaces["network"] == "noop" {
		return done()
	}
	ports, err := w.s.ports(ctx, w.n.UUID)
	if err != nil {
		return broken(err)
	}
	for _, p := range ports {
		if id, _ := p.InternalInfo[infoProvisPort].(string); id != "" {
			if err := w.s.network.remove(ctx, id); err != nil {
				return w.cloudTrouble(ctx, err)
			}
			if err := w.s.setPortInfo(ctx, p.UUID, infoProvisPort, ""); err != nil {
				return broken(err)
			}
		}
	}
	all, err := w.s.attachmentsOf(ctx, w.n.UUID)
	if err != nil {
		return broken(err)
	}
	for _, a := range all {
		if vif := a.vif(); vif != "" {
			if err := w.s.network.clearBoot(ctx, vif); err != nil {
				return w.cloudTrouble(ctx, err)
			}
		}
	}
	return done()
}

// networkTenant leaves the instance's ports as the only ones of the node. An
// instance that lives in a ramdisk boots through them.
func networkTenant(ctx context.Context, w *work) outcome {
	if w.n.Interfaces["network"] == "noop" {
		return done()
	}
	all, err := w.s.attachmentsOf(ctx, w.n.UUID)
	if err != nil {
		return broken(err)
	}
	var ports []awaited
	for _, a := range all {
		if a.vif() == "" {
			continue
		}
		if err := w.n.checkCables(a.members); err != nil {
			return failed(err)
		}
		if w.n.profile(a) != nil {
			ports = append(ports, awaited{a.vif(), a.name()})
		}
	}
	if w.n.wires() && !w.n.Run.Sent.IsZero() {
		return w.awaitPorts(ctx, ports)
	}
	if out := networkClear(ctx, w); out.kind != stepDone {
		return out
	}
	for _, a := range all {
		if a.vif() == "" {
			continue
		}
		var opts []dhcpOption
		if w.n.Interfaces["deploy"] == "ramdisk" && a.pxe() {
			opts = w.s.bootOptions(w.n, a.members[0].Address)
		}
		if a.address() != "" {
			if err := w.s.network.takeMAC(ctx, a.vif(), a.address()); err != nil {
				return w.cloudTrouble(ctx, err)
			}
		}
		if err := w.s.network.bind(ctx, a.vif(), w.n.UUID, a.address(), w.n.profile(a), opts); err != nil {
			return w.cloudTrouble(ctx, err)
		}
	}
	if w.n.wires() {
		return brokenOr(w.sentPorts(ctx), again(0))
	}
	return done()
}

// networkUnbind lets go of the instance's ports.
func networkUnbind(ctx context.Context, w *work) outcome {
	if w.n.Interfaces["network"] == "noop" {
		return done()
	}
	all, err := w.s.attachmentsOf(ctx, w.n.UUID)
	if err != nil {
		return broken(err)
	}
	var problems []error
	for _, a := range all {
		if vif := a.vif(); vif != "" {
			if err := w.s.network.unbind(ctx, vif); err != nil {
				problems = append(problems, err)
			}
		}
	}
	if err := errors.Join(problems...); err != nil && !permanent(err) {
		return w.cloudTrouble(ctx, err)
	}
	return done()
}
