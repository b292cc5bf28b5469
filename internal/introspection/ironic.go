package introspection

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/ports"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/introspection/hooks"
	"github.com/tripleo/tripleo/internal/introspection/rules"
)

// ironic is what this service asks of the bare metal service.
type ironic struct{ c *gophercloud.ServiceClient }

// node is a node as Ironic's API shows it; rules may look at every field.
type node map[string]any

func (n node) uuid() string  { s, _ := n["uuid"].(string); return s }
func (n node) state() string { s, _ := n["provision_state"].(string); return s }
func (n node) text(key string) string {
	s, _ := n[key].(string)
	return s
}

func (s *Service) ironic(ctx context.Context) (*ironic, error) {
	session, err := s.cfg.Cloud.Service(ctx)
	if err != nil {
		return nil, api.Unavailable("the bare metal service is out of reach").Wrap(err)
	}
	c, err := session.Baremetal()
	if err != nil {
		return nil, api.Unavailable("the bare metal service is out of reach").Wrap(err)
	}
	return &ironic{c}, nil
}

func (i *ironic) node(ctx context.Context, ident string) (node, error) {
	var n node
	_, err := i.c.Get(ctx, i.c.ServiceURL("nodes", ident), &n, nil)
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return nil, api.NotFound("Node %s was not found in Ironic", ident)
	}
	if err != nil {
		return nil, api.Unavailable("node %s cannot be read from Ironic", ident).Wrap(err)
	}
	return n, nil
}

// byMACs finds the one node that has a port with any of the addresses.
func (i *ironic) byMACs(ctx context.Context, macs []string) (node, error) {
	if len(macs) == 0 {
		return nil, api.Invalid("the data names no network interface with a MAC address, so the node cannot be found")
	}
	found := map[string]bool{}
	for _, mac := range macs {
		pages, err := ports.ListDetail(i.c, ports.ListOpts{Address: mac}).AllPages(ctx)
		if err != nil {
			return nil, api.Unavailable("ports cannot be read from Ironic").Wrap(err)
		}
		list, err := ports.ExtractPorts(pages)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			found[p.NodeUUID] = true
		}
	}
	if len(found) == 0 {
		return nil, api.NotFound("Could not find a node for MAC addresses %v", macs).Wrap(errUnknownMachine)
	}
	if len(found) != 1 {
		return nil, api.NotFound("Could not find a node for MAC addresses %v: %d nodes have them", macs, len(found))
	}
	for id := range found {
		return i.node(ctx, id)
	}
	return nil, nil
}

func (i *ironic) provision(ctx context.Context, id string, target nodes.TargetProvisionState) error {
	return nodes.ChangeProvisionState(ctx, i.c, id, nodes.ProvisionStateOpts{Target: target}).ExtractErr()
}

// patch applies changes; traits have resources of their own.
func (i *ironic) patch(ctx context.Context, id string, ops []rules.Op) error {
	var body []map[string]any
	for _, op := range ops {
		if trait, ok := traitOf(op.Path); ok {
			if err := i.trait(ctx, id, trait, op.Op == "add"); err != nil {
				return err
			}
			continue
		}
		m := map[string]any{"op": op.Op, "path": op.Path}
		if op.Op != "remove" {
			m["value"] = op.Value
		}
		body = append(body, m)
	}
	if len(body) == 0 {
		return nil
	}
	_, err := i.c.Patch(ctx, i.c.ServiceURL("nodes", id), body, nil, &gophercloud.RequestOpts{OkCodes: []int{200}})
	return err
}

func traitOf(path string) (string, bool) {
	const prefix = "/traits/"
	if len(path) > len(prefix) && path[:len(prefix)] == prefix {
		return path[len(prefix):], true
	}
	return "", false
}

func (i *ironic) trait(ctx context.Context, id, name string, add bool) error {
	target := i.c.ServiceURL("nodes", id, "traits", url.PathEscape(name))
	if add {
		_, err := i.c.Put(ctx, target, nil, nil, &gophercloud.RequestOpts{OkCodes: []int{204}})
		return err
	}
	_, err := i.c.Delete(ctx, target, nil)
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return nil
	}
	return err
}

// ensurePorts creates the ports that are missing and corrects which of them
// boot.
func (i *ironic) ensurePorts(ctx context.Context, id string, want []hooks.Port) error {
	pages, err := ports.ListDetail(i.c, ports.ListOpts{NodeUUID: id}).AllPages(ctx)
	if err != nil {
		return fmt.Errorf("list ports: %w", err)
	}
	list, err := ports.ExtractPorts(pages)
	if err != nil {
		return err
	}
	have := map[string]ports.Port{}
	for _, p := range list {
		have[p.Address] = p
	}
	for _, p := range want {
		old, ok := have[p.MAC]
		pxe := p.PXE
		if !ok {
			_, err := ports.Create(ctx, i.c, ports.CreateOpts{NodeUUID: id, Address: p.MAC, PXEEnabled: &pxe, LocalLinkConnection: p.Link}).Extract()
			if gophercloud.ResponseCodeIs(err, http.StatusConflict) {
				return fmt.Errorf("%w: MAC address %s belongs to a port of another node", errPermanent, p.MAC)
			}
			if err != nil {
				return fmt.Errorf("create port %s: %w", p.MAC, err)
			}
			continue
		}
		var change ports.UpdateOpts
		if old.PXEEnabled != pxe {
			change = append(change, ports.UpdateOperation{Op: ports.ReplaceOp, Path: "/pxe_enabled", Value: pxe})
		}
		if p.Link != nil && len(old.LocalLinkConnection) == 0 { // an operator's own stays
			change = append(change, ports.UpdateOperation{Op: ports.AddOp, Path: "/local_link_connection", Value: p.Link})
		}
		if len(change) == 0 {
			continue
		}
		if _, err := ports.Update(ctx, i.c, old.UUID, change).Extract(); err != nil {
			return fmt.Errorf("update port %s: %w", p.MAC, err)
		}
	}
	return nil
}

// finish tells Ironic the end of an inspection, with the data or an error.
func (i *ironic) finish(ctx context.Context, id string, body map[string]any) error {
	_, err := i.c.Post(ctx, i.c.ServiceURL("continue_inspection")+"?node_uuid="+url.QueryEscape(id), body, nil, &gophercloud.RequestOpts{OkCodes: []int{202}})
	return err
}

// errPermanent marks an error that a repetition will not change.
var errPermanent = errors.New("refused")

func permanent(err error) bool {
	if errors.Is(err, errPermanent) {
		return true
	}
	for _, code := range []int{http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusNotAcceptable, http.StatusUnprocessableEntity} {
		if gophercloud.ResponseCodeIs(err, code) {
			return true
		}
	}
	var e *api.Error
	return errors.As(err, &e) && (e.Kind == api.KindNotFound || e.Kind == api.KindInvalid)
}
