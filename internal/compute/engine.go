package compute

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/compute/configdrive"
	"github.com/tripleo/tripleo/internal/compute/scheduler"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

// safetyPoll stands behind the notifications of a node's changes.
const safetyPoll = 15 * time.Second

// build is one run of a server's job.
type build struct {
	svc     *Service
	s       *Server
	session *cloud.Session
	ironic  *gophercloud.ServiceClient
	neutron *gophercloud.ServiceClient
}

// runServer makes the next step of a server. Each step is idempotent: it looks
// at the node and the ports before it changes them.
func (svc *Service) runServer(ctx context.Context, j jobs.Job) jobs.Result {
	b, err := svc.open(ctx, j.Key)
	if errors.Is(err, store.ErrNotFound) {
		return jobs.Done()
	}
	if err != nil {
		return jobs.Fail(err)
	}
	for {
		res, again, err := b.step(ctx)
		if err != nil {
			return jobs.Fail(err)
		}
		if !again {
			return res
		}
	}
}

func (svc *Service) open(ctx context.Context, id string) (*build, error) {
	b := &build{svc: svc}
	err := svc.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		b.s, err = serverOf(tx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	if b.session, err = svc.cfg.Cloud.Service(ctx); err != nil {
		return nil, err
	}
	if b.ironic, err = b.session.Baremetal(); err != nil {
		return nil, err
	}
	b.neutron, err = b.session.Network()
	return b, err
}

func (b *build) step(ctx context.Context) (jobs.Result, bool, error) {
	switch b.s.Task {
	case taskDeleting:
		return b.tearDown(ctx)
	case taskScheduling:
		return b.schedule(ctx)
	case taskRebuilding:
		return b.rebuild(ctx)
	case taskNetworking:
		return b.connect(ctx)
	case taskSpawning:
		return b.spawn(ctx)
	case taskInterfaces:
		return b.interfaces(ctx)
	default:
		return jobs.Done(), false, nil
	}
}

// save stores the server unless somebody asked for its deletion meanwhile:
// then the deletion goes on from what was reached.
func (b *build) save(ctx context.Context) error {
	return b.svc.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		now, err := lockServer(tx, b.s.ID)
		if err != nil {
			return err
		}
		if now.Task == taskDeleting {
			b.s.Task = taskDeleting
		}
		b.s.Name, b.s.Metadata, b.s.Description, b.s.Tags, b.s.Hostname = now.Name, now.Metadata, now.Description, now.Tags, now.Hostname
		b.s.Locked, b.s.LockedReason, b.s.LockedByAdmin = now.Locked, now.LockedReason, now.LockedByAdmin
		b.s.AccessIPv4, b.s.AccessIPv6, b.s.DiskConfig, b.s.Password = now.AccessIPv4, now.AccessIPv6, now.DiskConfig, now.Password
		if b.s.Task == "" { // what was asked for has ended
			failure := ""
			if b.s.Fault != nil && b.s.Status == statusError {
				failure = b.s.Fault.Message
			}
			if err := finish(tx, b.s.ID, failure); err != nil {
				return err
			}
		}
		return b.svc.saveServer(tx, b.s)
	})
}

func (b *build) node(ctx context.Context) (*nodes.Node, error) {
	return nodes.Get(ctx, b.ironic, b.s.NodeID).Extract()
}

func (b *build) wait() jobs.Result { return jobs.Wait(safetyPoll, "baremetal/node/"+b.s.NodeID) }

// schedule takes a node: the claim is the node's instance_uuid, which Ironic
// gives to one only.
func (b *build) schedule(ctx context.Context) (jobs.Result, bool, error) {
	had, err := claimOf(ctx, b.ironic, b.s.ID)
	if err != nil {
		return jobs.Result{}, false, err
	}
	if had != nil { // a claim made before a crash
		if res, ok, err := b.confirm(ctx, had); ok || err != nil {
			return res, ok, err
		}
	}
	now := time.Now()
	var candidates []scheduler.Node
	var req scheduler.Request
	var refused []scheduler.Refusal
	for _, since := range []time.Time{now.Add(-boardAge), now} { // the last look may do; that there is no node is said after a new one
		if candidates, err = b.svc.board.since(ctx, since, b.ironic); err != nil {
			return jobs.Result{}, false, err
		}
		if req, err = b.question(ctx, candidates); err != nil {
			return jobs.Result{}, false, err
		}
		var fit []scheduler.Node
		fit, refused = scheduler.Pick(candidates, req)
		for _, n := range fit {
			res, next, why, err := b.attempt(ctx, n)
			if why == "" {
				return res, next, err
			}
			refused = append(refused, scheduler.Refusal{Node: n.Name, Reason: why})
		}
	}
	if b.soonFree(candidates, req) {
		return jobs.Wait(safetyPoll, "baremetal/node/*"), false, nil
	}
	b.s.fail(http.StatusInternalServerError, "No valid host was found for server %s with flavor %s. %s", b.s.Name, b.s.Flavor.Name, scheduler.Explain(refused))
	b.svc.cfg.Log.Warn("no node for server", "server", b.s.ID, "name", b.s.Name, "reason", b.s.Fault.Message)
	return jobs.Done(), false, b.save(ctx)
}

// attempt claims a node; why says that it is not to be had, and another one may
// be tried.
func (b *build) attempt(ctx context.Context, n scheduler.Node) (res jobs.Result, next bool, why string, err error) {
	const taken = "taken by another server just now"
	if !b.svc.board.take(n.ID, b.s.ID) {
		return res, false, taken, nil
	}
	got, err := b.claim(ctx, n.ID)
	switch {
	case err == nil:
		res, next, err = b.confirm(ctx, got)
		if !next && err == nil {
			return res, false, "it has changed just now", nil
		}
		return res, next, "", err
	case gophercloud.ResponseCodeIs(err, http.StatusConflict):
		current, getErr := nodes.Get(ctx, b.ironic, n.ID).Extract()
		if getErr == nil && current.InstanceUUID == "" {
			b.svc.board.drop(n.ID, b.s.ID)
			return jobs.After(time.Second), false, "", nil // locked for a moment
		}
		return res, false, taken, nil
	}
	b.svc.board.drop(n.ID, b.s.ID)
	return res, false, "", fmt.Errorf("claim node %s: %w", n.ID, err)
}

// confirm goes on with a claimed node if it still is as the server needs it,
// else gives it back: the look that it was picked from may be out of date.
func (b *build) confirm(ctx context.Context, n *nodes.Node) (jobs.Result, bool, error) {
	candidates := schedulerNodes([]nodes.Node{*n})
	candidates[0].Instance = ""
	req, err := b.question(ctx, candidates)
	if err != nil {
		return jobs.Result{}, false, err
	}
	if fit, _ := scheduler.Pick(candidates, req); len(fit) > 0 {
		return b.claimed(ctx, n.UUID, n.Name)
	}
	_, err = nodes.Update(ctx, b.ironic, n.UUID, nodes.UpdateOpts{nodes.UpdateOperation{Op: nodes.RemoveOp, Path: "/instance_uuid"}}).Extract()
	if err != nil {
		return jobs.Result{}, false, fmt.Errorf("give node %s back: %w", n.UUID, err)
	}
	return jobs.Result{}, false, nil
}

// soonFreeFor is how long a server waits for a node that is being cleaned.
const soonFreeFor = 10 * time.Minute

// soonFree says whether a node that would fit is on its way to available, as
// the nodes of an overcloud are that was deleted a moment ago.
func (b *build) soonFree(coming []scheduler.Node, req scheduler.Request) bool {
	if time.Since(b.s.Created) > soonFreeFor {
		return false
	}
	for i := range coming {
		switch coming[i].State {
		case "cleaning", "clean wait", "deleting":
			coming[i].State, coming[i].Instance = "available", ""
		}
	}
	fit, _ := scheduler.Pick(coming, req)
	return len(fit) > 0
}

func (b *build) claim(ctx context.Context, nodeID string) (*nodes.Node, error) {
	return nodes.Update(ctx, b.ironic, nodeID, nodes.UpdateOpts{
		nodes.UpdateOperation{Op: nodes.AddOp, Path: "/instance_uuid", Value: b.s.ID},
	}).Extract()
}

func (b *build) claimed(ctx context.Context, id, name string) (jobs.Result, bool, error) {
	b.s.NodeID, b.s.NodeName, b.s.Task = id, name, taskNetworking
	err := b.svc.cfg.DB.View(ctx, func(tx *store.Tx) error {
		zones, err := zonesOf(tx)
		b.s.Zone = zoneOf(zones, id)
		return err
	})
	if err != nil {
		return jobs.Result{}, false, err
	}
	b.svc.cfg.Log.Info("node taken for server", "server", b.s.ID, "name", b.s.Name, "node", id, "node_name", name)
	return jobs.Result{}, true, b.save(ctx)
}

func listNodes(ctx context.Context, ironic *gophercloud.ServiceClient) ([]nodes.Node, error) {
	page, err := nodes.ListDetail(ironic, nodes.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	all, err := nodes.ExtractNodes(page)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return all, nil
}

func schedulerNodes(all []nodes.Node) []scheduler.Node {
	out := make([]scheduler.Node, 0, len(all))
	for _, n := range all {
		out = append(out, scheduler.Node{
			ID: n.UUID, Name: n.Name, State: n.ProvisionState, PowerState: n.PowerState, Maintenance: n.Maintenance,
			Retired: n.Retired, Instance: n.InstanceUUID, ResourceClass: n.ResourceClass, Traits: n.Traits,
			Capabilities: Capabilities(n.Properties["capabilities"]), CPUs: number(n.Properties["cpus"]),
			MemoryMB: number(n.Properties["memory_mb"]), DiskGB: number(n.Properties["local_gb"]),
		})
	}
	return out
}

// Capabilities parses Ironic's "k1:v1,k2:v2".
func Capabilities(v any) map[string]string {
	out := map[string]string{}
	text, _ := v.(string)
	for pair := range strings.SplitSeq(text, ",") {
		if k, val, ok := strings.Cut(strings.TrimSpace(pair), ":"); ok {
			out[k] = val
		}
	}
	return out
}

// number reads a property, which operators write as text or as a number.
func number(v any) int {
	switch x := v.(type) {
	case float64:
		return int(x)
	case string:
		n, err := strconv.Atoi(x)
		if err == nil {
			return n
		}
	}
	return 0
}

// question is what the scheduler is asked, with the machines that the server's
// group, its hints or an operator exclude; the candidates get their zones.
func (b *build) question(ctx context.Context, candidates []scheduler.Node) (scheduler.Request, error) {
	req := b.request()
	err := b.svc.cfg.DB.View(ctx, func(tx *store.Tx) error {
		zones, err := zonesOf(tx)
		if err != nil {
			return err
		}
		for i := range candidates {
			candidates[i].AvailabilityZone = zoneOf(zones, candidates[i].ID)
		}
		states, err := hostStates(tx)
		if err != nil {
			return err
		}
		for host, st := range states {
			if st.Down {
				req.Exclude[host] = "its compute service is forced down"
			}
			if st.Disabled {
				req.Exclude[host] = "its compute service is disabled"
				if st.Reason != nil {
					req.Exclude[host] += ": " + *st.Reason
				}
			}
		}
		return b.excludeByGroup(tx, candidates, &req)
	})
	return req, err
}

// excludeByGroup turns group policies and the hints same_host and
// different_host into machines that are not to be taken.
func (b *build) excludeByGroup(tx *store.Tx, candidates []scheduler.Node, req *scheduler.Request) error {
	if b.s.Group == "" && len(b.s.Hints) == 0 {
		return nil
	}
	others, err := serversOf(tx, ``)
	if err != nil {
		return err
	}
	nodeOf := map[string]string{}
	for _, o := range others {
		nodeOf[o.ID] = o.NodeID
	}
	apart, together := strings.Split(b.s.Hints["different_host"], ","), strings.Split(b.s.Hints["same_host"], ",")
	policy := ""
	if b.s.Group != "" {
		if g, err := groupOf(tx, b.s.Group); err == nil {
			policy = g.Policy
		}
	}
	for _, o := range others {
		switch {
		case o.ID == b.s.ID || o.NodeID == "":
		case slices.Contains(apart, o.ID):
			req.Exclude[o.NodeID] = "carries server " + o.ID + ", which the hint different_host names"
		case o.Group == b.s.Group && policy == "anti-affinity":
			req.Exclude[o.NodeID] = "carries server " + o.ID + " of the same anti-affinity group"
		case o.Group == b.s.Group && policy == "affinity":
			excludeOthers(candidates, req, o.NodeID, "server group "+b.s.Group+" has policy affinity: all of its servers must be on node "+o.NodeID)
		case slices.Contains(together, o.ID):
			excludeOthers(candidates, req, o.NodeID, "the hint same_host names server "+o.ID+" on node "+nodeOf[o.ID])
		}
	}
	return nil
}

func excludeOthers(candidates []scheduler.Node, req *scheduler.Request, node, why string) {
	for _, n := range candidates {
		if n.ID != node && req.Exclude[n.ID] == "" {
			req.Exclude[n.ID] = why
		}
	}
}

func (b *build) request() scheduler.Request {
	f := &b.s.Flavor
	return scheduler.Request{
		Flavor: f.Name, VCPUs: f.VCPUs, MemoryMB: f.RAM, DiskGB: f.Disk, ExtraSpecs: specs(f), Hints: b.s.Hints, Host: b.s.Host, Zone: b.s.AskedZone,
		Exclude: map[string]string{},
	}
}

// spawn has the node deployed and waits for the end of it.
func (b *build) spawn(ctx context.Context) (jobs.Result, bool, error) {
	n, err := b.node(ctx)
	if err != nil {
		return jobs.Result{}, false, fmt.Errorf("get node %s: %w", b.s.NodeID, err)
	}
	if n.InstanceUUID != b.s.ID {
		b.s.fail(http.StatusInternalServerError, "Node %s no longer belongs to this server.", b.label())
		return jobs.Done(), false, b.save(ctx)
	}
	if !b.s.Deploying {
		return b.deploy(ctx, n)
	}
	switch n.ProvisionState {
	case "active":
		b.s.Status, b.s.Task, b.s.Launched = statusActive, "", time.Now().UTC()
		b.svc.cfg.Log.Info("server is active", "server", b.s.ID, "name", b.s.Name, "node", b.s.NodeID)
		return jobs.Done(), false, b.save(ctx)
	case "deploy failed", "error":
		b.s.fail(http.StatusInternalServerError, "Failed to provision server %s on node %s: %s", b.s.Name, b.label(), n.LastError)
		return jobs.Done(), false, b.save(ctx)
	case "available": // the order got lost with a crash between two stores
		b.s.Deploying = false
		return jobs.Result{}, true, b.save(ctx)
	default:
		return b.wait(), false, nil
	}
}

func (b *build) label() string {
	if b.s.NodeName != "" {
		return b.s.NodeName
	}
	return b.s.NodeID
}

// rebuild has the machine written anew. The order to Ironic is given once: the
// node's instance_info names the image from then on.
func (b *build) rebuild(ctx context.Context) (jobs.Result, bool, error) {
	n, err := b.node(ctx)
	if err != nil {
		return jobs.Result{}, false, fmt.Errorf("get node %s: %w", b.s.NodeID, err)
	}
	if n.InstanceUUID != b.s.ID {
		b.s.fail(http.StatusInternalServerError, "Node %s no longer belongs to this server.", b.label())
		return jobs.Done(), false, b.save(ctx)
	}
	switch n.ProvisionState {
	case "active", "error", "deploy failed":
	default: // a rebuild that goes on, or something else that ends
		if b.s.Deploying {
			b.s.Task = taskSpawning
			return jobs.Result{}, true, b.save(ctx)
		}
		return b.wait(), false, nil
	}
	_, err = nodes.Update(ctx, b.ironic, b.s.NodeID, nodes.UpdateOpts{
		nodes.UpdateOperation{Op: nodes.AddOp, Path: "/instance_info/image_source", Value: b.s.ImageID},
		nodes.UpdateOperation{Op: nodes.AddOp, Path: "/instance_info/display_name", Value: b.s.Name},
		nodes.UpdateOperation{Op: nodes.AddOp, Path: "/instance_info/preserve_ephemeral", Value: b.s.KeepEphemeral},
	}).Extract()
	if err != nil {
		return b.busy(err, "prepare node")
	}
	drive, err := b.configDrive()
	if err != nil {
		return jobs.Result{}, false, err
	}
	b.s.Deploying = true
	if err := b.save(ctx); err != nil {
		return jobs.Result{}, false, err
	}
	err = nodes.ChangeProvisionState(ctx, b.ironic, b.s.NodeID, nodes.ProvisionStateOpts{Target: nodes.TargetRebuild, ConfigDrive: drive}).ExtractErr()
	if err != nil {
		return b.busy(err, "rebuild node")
	}
	b.s.Task = taskSpawning
	return b.wait(), false, b.save(ctx)
}

func (b *build) deploy(ctx context.Context, n *nodes.Node) (jobs.Result, bool, error) {
	if n.ProvisionState == "available" {
		info := map[string]any{
			"image_source": b.s.ImageID, "root_gb": strconv.Itoa(b.s.Flavor.Disk), "swap_mb": strconv.Itoa(b.s.Flavor.Swap),
			"display_name": b.s.Name, "vcpus": strconv.Itoa(b.s.Flavor.VCPUs), "memory_mb": strconv.Itoa(b.s.Flavor.RAM),
			"local_gb": fmt.Sprint(n.Properties["local_gb"]), "nova_host_id": "tripleo", "capabilities": b.instanceCapabilities(),
		}
		if b.s.Flavor.Ephemeral > 0 {
			info["ephemeral_gb"] = strconv.Itoa(b.s.Flavor.Ephemeral)
		}
		_, err := nodes.Update(ctx, b.ironic, b.s.NodeID, nodes.UpdateOpts{
			nodes.UpdateOperation{Op: nodes.AddOp, Path: "/instance_info", Value: info},
		}).Extract()
		if err != nil {
			return b.busy(err, "prepare node")
		}
		drive, err := b.configDrive()
		if err != nil {
			return jobs.Result{}, false, err
		}
		err = nodes.ChangeProvisionState(ctx, b.ironic, b.s.NodeID, nodes.ProvisionStateOpts{
			Target: nodes.TargetActive, ConfigDrive: drive,
		}).ExtractErr()
		if err != nil {
			return b.busy(err, "deploy node")
		}
	}
	b.s.Deploying = true
	return b.wait(), false, b.save(ctx)
}

// busy waits out a locked node and fails the server for what will not pass.
func (b *build) busy(err error, doing string) (jobs.Result, bool, error) {
	if gophercloud.ResponseCodeIs(err, http.StatusConflict) || gophercloud.ResponseCodeIs(err, http.StatusServiceUnavailable) {
		return jobs.After(time.Second), false, nil
	}
	if gophercloud.ResponseCodeIs(err, http.StatusBadRequest) {
		b.s.fail(http.StatusInternalServerError, "Cannot %s %s for server %s: %s", doing, b.label(), b.s.Name, reason(err))
		return jobs.Done(), false, b.save(context.Background())
	}
	return jobs.Result{}, false, fmt.Errorf("%s %s: %w", doing, b.label(), err)
}

// reason is what the other service said.
func reason(err error) string {
	var unexpected gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &unexpected) {
		return strings.TrimSpace(string(unexpected.Body))
	}
	return err.Error()
}

func (b *build) instanceCapabilities() map[string]string {
	out := map[string]string{}
	for k, v := range b.s.Flavor.ExtraSpecs {
		if name, ok := strings.CutPrefix(k, "capabilities:"); ok {
			out[name] = v
		}
	}
	return out
}

func (b *build) configDrive() (string, error) {
	tree, err := b.s.drive()
	if err != nil {
		return "", err
	}
	return configdrive.Build(tree)
}

// tearDown frees the node and the ports, then forgets the server.
func (b *build) tearDown(ctx context.Context) (jobs.Result, bool, error) {
	if b.s.NodeID == "" { // perhaps claimed, but not written down
		had, err := claimOf(ctx, b.ironic, b.s.ID)
		if err != nil {
			return jobs.Result{}, false, err
		}
		if had != nil {
			b.s.NodeID, b.s.NodeName = had.UUID, had.Name
		}
	}
	if b.s.NodeID != "" {
		freed, res, err := b.freeNode(ctx)
		if err != nil || !freed {
			return res, false, err
		}
	}
	if err := b.disconnect(ctx); err != nil {
		return jobs.Result{}, false, err
	}
	err := b.svc.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(`DELETE FROM compute_servers WHERE id = ?`, b.s.ID); err != nil {
			return err
		}
		if err := account(tx, b.s, time.Now().UTC()); err != nil {
			return err
		}
		if err := finish(tx, b.s.ID, ""); err != nil {
			return err
		}
		b.svc.cfg.Bus.PublishTx(tx, "compute/server/"+b.s.ID)
		return b.svc.tell(tx, b.s, "compute.instance.delete.end", b.s.Status)
	})
	return jobs.Done(), false, err
}

func (b *build) freeNode(ctx context.Context) (bool, jobs.Result, error) {
	n, err := b.node(ctx)
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return true, jobs.Result{}, nil
	}
	if err != nil {
		return false, jobs.Result{}, fmt.Errorf("get node %s: %w", b.s.NodeID, err)
	}
	if n.InstanceUUID != b.s.ID {
		return true, jobs.Result{}, nil
	}
	switch n.ProvisionState {
	case "available", "manageable", "enroll":
		if err := b.detachVIFs(ctx); err != nil {
			return false, jobs.Result{}, err
		}
		_, err = nodes.Update(ctx, b.ironic, b.s.NodeID, nodes.UpdateOpts{
			nodes.UpdateOperation{Op: nodes.RemoveOp, Path: "/instance_uuid"},
			nodes.UpdateOperation{Op: nodes.AddOp, Path: "/instance_info", Value: map[string]any{}},
		}).Extract()
	case "active", "deploy failed", "wait call-back", "error", "rescue", "rescue failed", "inspect failed":
		err = nodes.ChangeProvisionState(ctx, b.ironic, b.s.NodeID, nodes.ProvisionStateOpts{Target: nodes.TargetDeleted}).ExtractErr()
	default: // on its way; it tells us when it is there
		return false, b.wait(), nil
	}
	if gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		return false, jobs.After(time.Second), nil
	}
	if err != nil {
		return false, jobs.Result{}, fmt.Errorf("free node %s: %w", b.label(), err)
	}
	return false, b.wait(), nil
}
