package compute

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"

	"github.com/tripleo/tripleo/internal/compute/scheduler"
)

// nodeBoard is what a look at all of Ironic's nodes showed. Servers that look
// for a node at the same time share one look, as each costs time in proportion
// to the nodes. It may be out of date: a node counts as taken only when Ironic
// has said so, and what Ironic then says of the node is checked again.
type nodeBoard struct {
	mu    sync.Mutex // of the fields below
	nodes []scheduler.Node
	at    time.Time // when the look began

	looking sync.Mutex
}

// boardAge is how old a look may be that a server starts from.
const boardAge = 2 * time.Second

// since returns the nodes of a look that began at t or later.
func (n *nodeBoard) since(ctx context.Context, t time.Time, ironic *gophercloud.ServiceClient) ([]scheduler.Node, error) {
	if list, ok := n.last(t); ok {
		return list, nil
	}
	n.looking.Lock()
	defer n.looking.Unlock()
	if list, ok := n.last(t); ok { // somebody else's, while this one waited
		return list, nil
	}
	began := time.Now()
	all, err := lookAtNodes(ctx, ironic)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes, n.at = schedulerNodes(all), began
	return slices.Clone(n.nodes), nil
}

func (n *nodeBoard) last(t time.Time) ([]scheduler.Node, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at.Before(t) || n.at.IsZero() {
		return nil, false
	}
	return slices.Clone(n.nodes), true
}

// take notes that a server is about to claim a node; false: another one is.
func (n *nodeBoard) take(id, server string) bool { return n.mark(id, "", server) }

// drop takes a note back.
func (n *nodeBoard) drop(id, server string) { n.mark(id, server, "") }

func (n *nodeBoard) mark(id, from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.IndexFunc(n.nodes, func(x scheduler.Node) bool { return x.ID == id })
	if i < 0 {
		return true // gone in a newer look: Ironic decides
	}
	if n.nodes[i].Instance != from {
		return false
	}
	n.nodes[i].Instance = to
	return true
}

// lookAtNodes lists all nodes with no more than the scheduler asks for: most of
// what a node has is of no interest here and costs more than the rest.
func lookAtNodes(ctx context.Context, ironic *gophercloud.ServiceClient) ([]nodes.Node, error) {
	page, err := nodes.List(ironic, nodes.ListOpts{Fields: []string{"uuid", "name", "provision_state", "power_state", "maintenance", "retired",
		"instance_uuid", "resource_class", "traits", "properties"}}).AllPages(ctx)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return nodes.ExtractNodes(page)
}

// claimOf returns the node that a server has claimed, nil without one.
func claimOf(ctx context.Context, ironic *gophercloud.ServiceClient, server string) (*nodes.Node, error) {
	page, err := nodes.ListDetail(ironic, nodes.ListOpts{InstanceUUID: server}).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	list, err := nodes.ExtractNodes(page)
	i := slices.IndexFunc(list, func(n nodes.Node) bool { return n.InstanceUUID == server })
	if err != nil || i < 0 {
		return nil, err
	}
	return &list[i], nil
}
