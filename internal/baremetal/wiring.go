package baremetal

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/api"
)

// wires says that the node's cables are moved from network to network: its
// network interface is neutron. With flat they stay where they are.
func (n *Node) wires() bool { return n.Interfaces["network"] == "neutron" }

// profile is binding:profile of a port of this node: where the cables end, so
// that the network service wires them, nil if it is not to.
func (n *Node) profile(a attachment) map[string]any {
	if !n.wires() {
		return nil
	}
	return a.profile()
}

// unmanaged says that the card's cable ends at a switch that is not to be
// configured (Ironic's network_type of local_link_connection).
func (p *Port) unmanaged() bool { return p.LocalLinkConnection["network_type"] == "unmanaged" }

// unplugged says what is not known of a card's cable, "" if everything is.
func (p *Port) unplugged() string {
	if p.unmanaged() {
		return ""
	}
	text := func(key string) string { s, _ := p.LocalLinkConnection[key].(string); return s }
	var missing []string
	if text("port_id") == "" {
		missing = append(missing, "port_id")
	}
	if text("switch_id") == "" && text("switch_info") == "" {
		missing = append(missing, "switch_id")
	}
	if len(missing) == 0 {
		return ""
	}
	return fmt.Sprintf("local_link_connection of port %s (%s) has no %s", p.UUID, p.Address, strings.Join(missing, " and no "))
}

// checkCables says why cards cannot be put on a network: nobody knows where
// their cables end.
func (n *Node) checkCables(ports []*Port) error {
	if !n.wires() {
		return nil
	}
	var missing []string
	for _, p := range ports {
		if why := p.unplugged(); why != "" {
			missing = append(missing, why)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return api.Invalid("network_interface neutron: %s; introspection learns it by LLDP, or set it with `openstack baremetal port set --local-link-connection`", strings.Join(missing, "; "))
}

// bootPorts are the cards that may boot the ramdisk. Where the cables are
// moved they have to be known, but for an inspection, which finds them out.
func (n *Node) bootPorts(ports []*Port) ([]*Port, error) {
	var out, lost []*Port
	for _, p := range ports {
		switch {
		case !p.PXEEnabled:
		case n.wires() && (n.Run == nil || n.Run.Flow != flowInspect) && p.unplugged() != "":
			lost = append(lost, p)
		default:
			out = append(out, p)
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case len(lost) > 0:
		return nil, n.checkCables(lost)
	default:
		return nil, api.Invalid("the node has no port that is enabled for PXE")
	}
}

// unplugTenant takes the instance's ports off the node's cables while its
// ramdisk has them. They keep their MAC addresses.
func (w *work) unplugTenant(ctx context.Context) error {
	all, err := w.s.attachmentsOf(ctx, w.n.UUID)
	if err != nil {
		return err
	}
	for _, a := range all {
		if vif := a.vif(); vif != "" {
			if err := w.s.network.unplug(ctx, vif); err != nil {
				return err
			}
		}
	}
	return nil
}

// unplug takes an instance's port off the node. A port that is gone is off.
func (n *neutron) unplug(ctx context.Context, id string) error {
	c, err := n.client(ctx)
	if err != nil {
		return err
	}
	err = n.update(ctx, c, id, map[string]any{"binding:host_id": "", "binding:profile": map[string]any{}})
	if err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return fmt.Errorf("take port %s off the node: %w", id, err)
	}
	return nil
}

// awaited is a Neutron port that the step waits for, and the cards it has.
type awaited struct{ id, of string }

// awaitPorts waits until the network service says that ports are wired. It
// tells when that is (POST /v1/events), so that the wait is short; asking again
// is for what gets lost.
func (w *work) awaitPorts(ctx context.Context, ports []awaited) outcome {
	for _, a := range ports {
		p, err := w.s.network.show(ctx, a.id)
		switch {
		case gophercloud.ResponseCodeIs(err, http.StatusNotFound):
			return failf("network port %s of %s was deleted", a.id, a.of)
		case err != nil:
			return w.cloudTrouble(ctx, err)
		case p.Status == "ACTIVE":
			continue
		case p.Status == "ERROR" || p.VIFType == "binding_failed":
			why := p.VIFDetails.Error
			if why == "" {
				why = "the network service gives no reason"
			}
			return failf("network port %s of %s could not be put on network %s (status %s, binding:vif_type %s): %s", a.id, a.of, p.NetworkID, p.Status, p.VIFType, why)
		}
		return w.note(ctx, fmt.Errorf("network port %s of %s on network %s is %s, expected ACTIVE", a.id, a.of, p.NetworkID, p.Status), w.s.cfg.CloudRetry)
	}
	return done()
}

// sentPorts notes that ports were asked for, so that the step only waits from
// now on.
func (w *work) sentPorts(ctx context.Context) error {
	return w.save(ctx, func(n *Node) { n.Run.Sent = w.s.now() })
}

func (n *neutron) show(ctx context.Context, id string) (*neutronPort, error) {
	c, err := n.client(ctx)
	if err != nil {
		return nil, err
	}
	var out struct {
		Port neutronPort `json:"port"`
	}
	if _, err := c.Get(ctx, c.ServiceURL("ports", id), &out, nil); err != nil {
		return nil, fmt.Errorf("read port %s: %w", id, err)
	}
	return &out.Port, nil
}
