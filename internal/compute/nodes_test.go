package compute_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/allocations"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github.com/tripleo/tripleo/internal/store/storetest"
)

// owners is the model: who has which node. A node has an owner from the answer
// to its claim until somebody asks for its release.
type owners struct {
	mu    sync.Mutex
	of    map[string]string // node -> owner
	names map[string]string // server name -> owner it was deployed as
	lost  map[string]bool   // servers whose node an operator took away
	wrong []string
}

func (o *owners) claimed(node, owner string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if have := o.of[node]; have != "" && have != owner {
		o.wrong = append(o.wrong, fmt.Sprintf("node %s was given to %s, it was that of %s", node, owner, have))
	}
	for n, have := range o.of {
		if have == owner && n != node {
			o.wrong = append(o.wrong, fmt.Sprintf("%s was given node %s, it has %s", owner, node, n))
		}
	}
	o.of[node] = owner
}

func (o *owners) released(node string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of[node] = ""
}

func (o *owners) deployed(node, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	owner := o.of[node]
	if have := o.names[name]; owner == "" || have != "" && have != owner {
		o.wrong = append(o.wrong, fmt.Sprintf("server %s was deployed on node %s of %q, before on one of %q", name, node, owner, have))
	}
	o.names[name] = owner
}

// see follows a request of a compute service to Ironic.
func (o *owners) see(r *http.Request, serve func(r *http.Request) int) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if r.Method == http.MethodGet || len(path) < 3 || path[1] != "nodes" {
		serve(r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		serve(r)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	node := path[2]
	var order struct{ Target string }
	var patch []struct {
		Op, Path string
		Value    any
	}
	if r.Method == http.MethodPatch {
		_ = json.Unmarshal(body, &patch) // Ironic says what is wrong with it
	} else {
		_ = json.Unmarshal(body, &order)
	}
	if order.Target == "deleted" {
		o.released(node)
	}
	for _, op := range patch {
		info, _ := op.Value.(map[string]any)
		name, _ := info["display_name"].(string)
		if op.Path == "/instance_info/display_name" {
			name, _ = op.Value.(string)
		}
		if name != "" {
			o.deployed(node, name)
		}
		if op.Op == "remove" && op.Path == "/instance_uuid" {
			o.released(node)
		}
	}
	code := serve(r)
	for _, op := range patch {
		if owner, ok := op.Value.(string); ok && op.Path == "/instance_uuid" && code == http.StatusOK {
			o.claimed(node, owner)
		}
	}
}

// chaos is one random schedule.
type chaos struct {
	*yard
	flavor string
	owners *owners

	mu      sync.Mutex
	rnd     *rand.Rand
	left    int // requests until the next kill
	over    bool
	serial  int
	servers []string
	claims  map[string]string // outside: owner -> node
	allocs  []string
	kills   sync.WaitGroup
}

func (c *chaos) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rnd.IntN(n)
}

// watch follows the requests of compute services, and kills one now and then,
// before or after the effect of what it asks for.
func (c *chaos) watch(r *http.Request, next http.Handler, w http.ResponseWriter) bool {
	c.mu.Lock()
	c.left--
	kill := c.left == 0 && !c.over
	after := kill && c.rnd.IntN(2) == 0
	c.mu.Unlock()
	if kill && !after {
		c.kill(r.Header.Get(fromNova))
		return true
	}
	rec := httptest.NewRecorder()
	c.owners.see(r, func(r *http.Request) int {
		next.ServeHTTP(rec, r)
		return rec.Code
	})
	if kill {
		c.kill(r.Header.Get(fromNova))
		return true
	}
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
	return true
}

// kill ends a process and starts it again, which takes a while.
func (c *chaos) kill(name string) {
	for _, p := range c.processes {
		if strings.HasSuffix(p.dir, name) {
			c.yard.mu.Lock()
			v := p.victim
			c.yard.mu.Unlock()
			v.Kill()
			c.kills.Go(func() {
				c.restart(p)
				c.mu.Lock()
				c.left = 5 + c.rnd.IntN(60)
				c.mu.Unlock()
			})
		}
	}
}

// act does one random thing. What is refused, or is lost with a process, is so.
func (c *chaos) act() {
	ctx := c.Context()
	pick := func(list []string) string {
		if len(list) == 0 {
			return uuid.NewString()
		}
		return list[c.n(len(list))]
	}
	c.mu.Lock()
	known, allocs := append([]string{}, c.servers...), append([]string{}, c.allocs...)
	c.serial++
	serial := c.serial
	c.mu.Unlock()
	node := c.nodes[c.n(len(c.nodes))]
	dice := c.n(100)
	if dice < 30 && len(known) > 2*len(c.nodes) {
		dice = 30 // too many wait for a node already
	}
	switch {
	case dice < 30:
		s, err := servers.Create(ctx, c.member.nova, servers.CreateOpts{
			Name: fmt.Sprintf("server%d", serial), ImageRef: imageID, FlavorRef: c.flavor, Networks: []servers.Network{{UUID: c.netID}}, Min: 1, Max: 1 + c.n(6)/5,
		}, nil).Extract()
		if err == nil {
			c.mu.Lock()
			c.servers = append(c.servers, s.ID)
			c.mu.Unlock()
			if c.n(4) > 0 {
				c.settle(s.ID)
			}
		}
	case dice < 60:
		id := pick(known)
		if servers.Delete(ctx, c.member.nova, id).ExtractErr() == nil {
			c.mu.Lock()
			c.servers = slices.DeleteFunc(c.servers, func(s string) bool { return s == id })
			c.mu.Unlock()
		}
	case dice < 72:
		_, _ = servers.Rebuild(ctx, c.member.nova, pick(known), servers.RebuildOpts{ImageRef: imageID}).Extract()
	case dice < 80: // a node fails, or is mended
		if c.n(3) == 0 {
			_ = nodes.SetMaintenance(ctx, c.metal, node, nodes.MaintenanceOpts{Reason: "broken"}).ExtractErr()
		} else {
			_ = nodes.UnsetMaintenance(ctx, c.metal, node).ExtractErr()
		}
	case dice < 90: // somebody else's allocation, one at a time
		if len(allocs) > 0 {
			c.endAllocation(allocs[0])
			return
		}
		c.allocate()
	case dice < 95: // somebody claims a node by hand
		c.claimOutside(node)
	default: // an operator takes a machine from its server
		c.takeAway(node)
	}
}

// settle gives a server the time to become something.
func (c *chaos) settle(id string) {
	for range 300 {
		s, err := servers.Get(c.Context(), c.admin.nova, id).Extract()
		if err == nil && s.Status != "BUILD" || gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			return
		}
		c.wake()
		time.Sleep(10 * time.Millisecond) // other processes work
	}
}

func (c *chaos) allocate() {
	a, err := allocations.Create(c.Context(), c.metal, allocations.CreateOpts{ResourceClass: "baremetal"}).Extract()
	if err != nil {
		return
	}
	if now, err := allocations.Get(c.Context(), c.metal, a.UUID).Extract(); err == nil && now.NodeUUID != "" {
		c.owners.claimed(now.NodeUUID, a.UUID)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.allocs = append(c.allocs, a.UUID)
}

func (c *chaos) endAllocation(id string) {
	a, err := allocations.Get(c.Context(), c.metal, id).Extract()
	if err == nil && a.NodeUUID != "" {
		c.owners.released(a.NodeUUID)
	}
	if err := allocations.Delete(c.Context(), c.metal, id).ExtractErr(); err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return // its node is locked
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.allocs = slices.DeleteFunc(c.allocs, func(a string) bool { return a == id })
}

// claimOutside claims a node, or gives the one that is claimed back.
func (c *chaos) claimOutside(node string) {
	c.mu.Lock()
	claims := maps.Clone(c.claims)
	c.mu.Unlock()
	for me, node := range claims {
		c.owners.released(node)
		_, err := nodes.Update(c.Context(), c.metal, node, nodes.UpdateOpts{nodes.UpdateOperation{Op: nodes.RemoveOp, Path: "/instance_uuid"}}).Extract()
		if err == nil {
			c.mu.Lock()
			delete(c.claims, me)
			c.mu.Unlock()
		}
		return
	}
	me := uuid.NewString()
	_, err := nodes.Update(c.Context(), c.metal, node, nodes.UpdateOpts{nodes.UpdateOperation{Op: nodes.AddOp, Path: "/instance_uuid", Value: me}}).Extract()
	if err != nil {
		return
	}
	c.owners.claimed(node, me)
	c.mu.Lock()
	c.claims[me] = node
	c.mu.Unlock()
}

func (c *chaos) takeAway(node string) {
	n, err := nodes.Get(c.Context(), c.metal, node).Extract()
	if err != nil || n.ProvisionState != "active" {
		return
	}
	c.owners.mu.Lock()
	c.owners.lost[n.InstanceUUID] = true
	c.owners.of[node] = ""
	c.owners.mu.Unlock()
	_ = nodes.ChangeProvisionState(c.Context(), c.metal, node, nodes.ProvisionStateOpts{Target: nodes.TargetDeleted}).ExtractErr()
}

// quiet waits until nobody does anything.
func (c *chaos) quiet() {
	c.Helper()
	c.until("nothing is under way", func() bool {
		for _, s := range c.all() {
			if s.Status != "ACTIVE" && s.Status != "ERROR" || s.TaskState != "" {
				return false
			}
		}
		for _, id := range c.nodes {
			if st := c.node(id).ProvisionState; st != "available" && st != "active" {
				return false
			}
		}
		return true
	})
}

// outsiders are the owners of nodes that are no servers.
func (c *chaos) outsiders() map[string]bool {
	out := map[string]bool{}
	for me := range c.claims {
		out[me] = true
	}
	for _, id := range c.allocs {
		out[id] = true
	}
	return out
}

// TestNoNodeIsGivenToTwoServers runs random schedules of creations, deletions,
// rebuilds, failures of nodes and claims by others, all at once, while compute
// services are killed, and compares with a model: no node has two owners, no
// owner two nodes, nothing is deployed on another's node, and in the end
// nothing is left. CHAOS_SEED repeats one schedule's decisions.
func TestNoNodeIsGivenToTwoServers(t *testing.T) {
	t.Parallel()
	noNodeIsGivenToTwoServers(t)
}

func noNodeIsGivenToTwoServers(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("processes are killed without -short")
	}
	seed := rand.Uint64()
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		seed = must[uint64](t)(strconv.ParseUint(text, 10, 64))
	}
	t.Logf("CHAOS_SEED=%d", seed)
	dsn := storetest.DSN(t)
	processes := 1
	if strings.HasPrefix(dsn, "postgres:") {
		processes = 3
	}
	y := newYard(t, dsn, 5, processes)
	c := &chaos{yard: y, flavor: y.flavor(), rnd: rand.New(rand.NewPCG(seed, seed)), left: 20, claims: map[string]string{},
		owners: &owners{of: map[string]string{}, names: map[string]string{}, lost: map[string]bool{}}}
	y.watching(c.watch)
	const workers, acts = 6, 80
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range acts {
				c.act()
			}
		})
	}
	wg.Wait()
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.kills.Wait()
	for _, id := range y.nodes {
		_ = nodes.UnsetMaintenance(t.Context(), y.metal, id).ExtractErr()
	}
	c.quiet()
	c.check()
	c.clear()
}

// check compares with the model once all is quiet.
func (c *chaos) check() {
	c.Helper()
	for _, wrong := range c.owners.wrong {
		c.Error(wrong)
	}
	active := 0
	for _, s := range c.all() {
		if s.Status != "ACTIVE" || c.owners.lost[s.ID] {
			continue
		}
		active++
		n := c.node(s.HypervisorHostname)
		if n.InstanceUUID != s.ID || n.ProvisionState != "active" || c.owners.of[n.UUID] != s.ID {
			c.Errorf("server %s is active on node %s, which is %s and has instance %q, of %q in the model", s.ID, n.UUID, n.ProvisionState, n.InstanceUUID, c.owners.of[n.UUID])
		}
	}
	c.Logf("%d servers, %d of them active; %d claims and %d allocations of others; %d deployments", len(c.all()), active, len(c.claims), len(c.allocs), len(c.owners.names))
	if len(c.owners.names) == 0 {
		c.Error("nothing was ever deployed")
	}
}

// clear gives everything back and looks for what is left.
func (c *chaos) clear() {
	c.Helper()
	for _, s := range c.all() {
		if err := servers.Delete(c.Context(), c.member.nova, s.ID).ExtractErr(); err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			c.Error(err)
		}
	}
	for _, id := range c.allocs {
		c.endAllocation(id)
	}
	for me, node := range c.claims {
		if c.node(node).InstanceUUID == me {
			must[*nodes.Node](c.T)(nodes.Update(c.Context(), c.metal, node, nodes.UpdateOpts{nodes.UpdateOperation{Op: nodes.RemoveOp, Path: "/instance_uuid"}}).Extract())
		}
	}
	c.until("all servers are gone", func() bool { return len(c.all()) == 0 })
	c.quiet()
	for _, wrong := range c.audit(c.outsiders()) {
		c.Error(wrong)
	}
	for _, id := range c.nodes {
		if n := c.node(id); n.InstanceUUID != "" || n.ProvisionState != "available" {
			c.Errorf("node %s is %s and has instance %q in the end", n.Name, n.ProvisionState, n.InstanceUUID)
		}
	}
}
