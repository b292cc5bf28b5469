package compute_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/attachinterfaces"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/instanceactions"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
)

// crashCase is one thing done to a server, which is killed in between.
type crashCase struct {
	start func(y *yard, c *crashState)       // before it
	do    func(y *yard, c *crashState) error // fails, too, if the answer gets lost
	verb  string                             // its action
	ended func(y *yard, c *crashState) bool
	end   func(y *yard, c *crashState) string // how it ended, which must not depend on crashes
}

type crashState struct {
	given, server, flavor string
}

func (y *yard) create(c *crashState) error {
	s, err := servers.Create(y.Context(), y.member.nova, servers.CreateOpts{
		Name: "s", ImageRef: imageID, FlavorRef: c.flavor, Networks: []servers.Network{{UUID: y.netID}, {Port: c.given}},
	}, nil).Extract()
	if err == nil {
		c.server = s.ID
	}
	return err
}

// begun says whether what was asked for is under way, or has ended, though the
// answer got lost.
func (y *yard) begun(c *crashState, verb string) bool {
	y.Helper()
	if verb == "create" {
		for _, s := range y.all() {
			c.server = s.ID
		}
		return c.server != ""
	}
	page, err := instanceactions.List(y.admin.nova, c.server, nil).AllPages(y.Context())
	if err != nil {
		y.Fatal(err)
	}
	return slices.ContainsFunc(must[[]instanceactions.InstanceAction](y.T)(instanceactions.ExtractInstanceActions(page)), func(a instanceactions.InstanceAction) bool { return a.Action == verb })
}

func (y *yard) status(c *crashState) string {
	s, err := servers.Get(y.Context(), y.member.nova, c.server).Extract()
	if err != nil {
		return fmt.Sprint(err)
	}
	return s.Status
}

func (y *yard) created(c *crashState) {
	if err := y.create(c); err != nil {
		y.Fatal(err)
	}
	y.until("the server is active", func() bool { return y.status(c) == "ACTIVE" })
}

func (y *yard) gone(c *crashState) bool {
	all, err := y.list()
	return err == nil && !slices.ContainsFunc(all, func(s servers.Server) bool { return s.ID == c.server })
}

func (y *yard) deleted(c *crashState) {
	y.until("the server can be deleted", func() bool {
		return servers.Delete(y.Context(), y.member.nova, c.server).ExtractErr() == nil || y.gone(c)
	})
	y.until("the server is gone", func() bool { return y.gone(c) })
}

// whole describes a server and what it has.
func (y *yard) whole(c *crashState) string {
	y.Helper()
	s := must[*servers.Server](y.T)(servers.Get(y.Context(), y.member.nova, c.server).Extract())
	n := y.node(y.nodes[0])
	addresses := 0
	for _, list := range s.Addresses {
		all, _ := list.([]any)
		addresses += len(all)
	}
	given := must[*ports.Port](y.T)(ports.Get(y.Context(), y.admin.neutron, c.given).Extract())
	return fmt.Sprintf("%s, node %s %s its own: %t, %d addresses, %d ports, the given one is its own: %t",
		s.Status, n.ProvisionState, n.Name, n.InstanceUUID == c.server, addresses, len(y.ports(c.server)), given.DeviceID == c.server)
}

// settled says whether the last action has ended.
func (y *yard) settled(c *crashState) bool {
	page, err := instanceactions.List(y.member.nova, c.server, nil).AllPages(y.Context())
	if err != nil {
		return false
	}
	all, err := instanceactions.ExtractInstanceActions(page)
	if err != nil || len(all) == 0 {
		return false
	}
	a, err := instanceactions.Get(y.Context(), y.admin.nova, c.server, all[0].RequestID).Extract()
	return err == nil && a.Events != nil && len(*a.Events) > 0 && (*a.Events)[0].Result != ""
}

func active(y *yard, c *crashState) bool { return y.status(c) == "ACTIVE" && y.settled(c) }

func crashCases() map[string]crashCase {
	attach := func(opts func(y *yard, c *crashState) attachinterfaces.CreateOpts) func(y *yard, c *crashState) error {
		return func(y *yard, c *crashState) error {
			_, err := attachinterfaces.Create(y.Context(), y.member.nova, c.server, opts(y, c)).Extract()
			return err
		}
	}
	without := func(y *yard, c *crashState) {
		given := c.given
		c.given = y.member.port(y.netID)
		y.created(c)
		must[*ports.Port](y.T)(ports.Get(y.Context(), y.member.neutron, given).Extract())
		c.given = given
	}
	return map[string]crashCase{
		"create": {start: func(*yard, *crashState) {}, do: (*yard).create, verb: "create", ended: active, end: (*yard).whole},
		"rebuild": {start: (*yard).created, verb: "rebuild", do: func(y *yard, c *crashState) error {
			_, err := servers.Rebuild(y.Context(), y.member.nova, c.server, servers.RebuildOpts{ImageRef: imageID}).Extract()
			return err
		}, ended: active, end: (*yard).whole},
		"delete": {start: (*yard).created, verb: "delete", do: func(y *yard, c *crashState) error {
			return servers.Delete(y.Context(), y.member.nova, c.server).ExtractErr()
		}, ended: (*yard).gone, end: func(y *yard, c *crashState) string {
			given := must[*ports.Port](y.T)(ports.Get(y.Context(), y.admin.neutron, c.given).Extract())
			return fmt.Sprintf("node %s, %d ports, the given one of %q", y.node(y.nodes[0]).ProvisionState, len(y.ports(c.server)), given.DeviceID)
		}},
		"attach a network": {start: (*yard).created, verb: "attach_interface", do: attach(func(y *yard, _ *crashState) attachinterfaces.CreateOpts {
			return attachinterfaces.CreateOpts{NetworkID: y.netID}
		}), ended: active, end: (*yard).whole},
		"attach a port": {start: without, verb: "attach_interface", do: attach(func(_ *yard, c *crashState) attachinterfaces.CreateOpts {
			return attachinterfaces.CreateOpts{PortID: c.given}
		}), ended: active, end: (*yard).whole},
		"detach": {start: (*yard).created, verb: "detach_interface", do: func(y *yard, c *crashState) error {
			return attachinterfaces.Delete(y.Context(), y.member.nova, c.server, c.given).ExtractErr()
		}, ended: active, end: (*yard).whole},
	}
}

// TestKilledAtEachStep kills the compute service before, and again after, each
// request that it makes of Ironic and Neutron: in between lie all of its
// commits but those between two questions. Whatever it was doing ends as if nothing had happened.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("some hundred processes are killed without -short")
	}
	for name, tc := range crashCases() {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			y := newYard(t, "sqlite:"+filepath.Join(t.TempDir(), "nova.db"), 1, 1)
			flavor := y.flavor()
			calls, want := y.crash(tc, flavor, 0, false)
			kills := 0
			for at := 1; at <= len(calls); at++ {
				if at > 1 && calls[at-1] == http.MethodGet && calls[at-2] == http.MethodGet {
					continue // nothing happened in between
				}
				for _, after := range []bool{false, true} {
					if after && calls[at-1] == http.MethodGet {
						continue // has no effect, so that it is before the next one
					}
					if _, got := y.crash(tc, flavor, at, after); got != want {
						t.Errorf("killed at request %d (%s), after its effect: %t: %s, expected %s", at, calls[at-1], after, got, want)
					}
					kills++
				}
			}
			if kills < 5 {
				t.Errorf("only %d places to be killed at: %v", kills, calls)
			}
			t.Logf("%d kills; each time: %s", kills, want)
		})
	}
}

// crash does tc with a kill at the request of that number (0: none) and returns
// the methods of all requests and how it ended.
func (y *yard) crash(tc crashCase, flavor string, at int, after bool) ([]string, string) {
	y.Helper()
	c := &crashState{flavor: flavor, given: y.member.port(y.netID)}
	tc.start(y, c)
	var calls []string
	down := make(chan struct{})
	y.watching(func(r *http.Request, next http.Handler, _ http.ResponseWriter) bool {
		y.mu.Lock()
		calls = append(calls, r.Method)
		n := len(calls)
		y.mu.Unlock()
		if n != at {
			return false
		}
		if after {
			unanswered(next, r)
		}
		y.processes[0].victim.Kill()
		close(down)
		return true
	})
	err := tc.do(y, c)
	killed := false
	y.until("the process is killed, or done with fewer requests", func() bool {
		select {
		case <-down:
			killed = true
			return true
		default:
			return err == nil && tc.ended(y, c)
		}
	})
	if killed {
		y.restart(y.processes[0])
		if err != nil && !y.begun(c, tc.verb) {
			err = tc.do(y, c)
		} else {
			err = nil
		}
	}
	if err != nil {
		y.Fatal(err)
	}
	y.until("it ends", func() bool { return tc.ended(y, c) })
	y.watching(nil)
	end := tc.end(y, c)
	for _, wrong := range y.audit(nil) {
		y.Errorf("killed at request %d, after its effect: %t: %s", at, after, wrong)
	}
	if !y.gone(c) {
		y.deleted(c)
	}
	for _, p := range y.ports("") {
		if strings.HasPrefix(p.DeviceOwner, "compute:") {
			y.Errorf("killed at request %d, after its effect: %t: port %s is left of server %s", at, after, p.Name, p.DeviceID)
		}
		if err := ports.Delete(y.Context(), y.admin.neutron, p.ID).ExtractErr(); err != nil {
			y.Fatal(err)
		}
	}
	return calls, end
}
