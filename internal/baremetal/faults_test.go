package baremetal_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"

	"github.com/tripleo/tripleo/internal/baremetal"
	"github.com/tripleo/tripleo/internal/baremetal/baremetaltest"
)

// TestControllersThatMisbehave: whatever a BMC does wrong for a while, the node
// is deployed once, and its machine ends in the state that was asked for.
func TestControllersThatMisbehave(t *testing.T) {
	var n atomic.Int64
	every := func(k int64) bool { return n.Add(1)%k == 0 }
	reset := func(r *http.Request) bool {
		return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/Reset")
	}
	for _, c := range []struct {
		name, reason string
		do           func(m *baremetaltest.Machine) func(w http.ResponseWriter, r *http.Request) bool
	}{
		{"unavailable", "every fifth answer is 503", func(*baremetaltest.Machine) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, _ *http.Request) bool {
				if every(5) {
					w.WriteHeader(http.StatusServiceUnavailable)
					return true
				}
				return false
			}
		}},
		{"lossy", "every fourth connection breaks without an answer", func(*baremetaltest.Machine) func(http.ResponseWriter, *http.Request) bool {
			return func(http.ResponseWriter, *http.Request) bool {
				if every(4) {
					panic(http.ErrAbortHandler)
				}
				return false
			}
		}},
		{"late", "a command is carried out after its answer was an error", func(m *baremetaltest.Machine) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !reset(r) || !every(2) {
					return false
				}
				m.Spoil(func(s *baremetaltest.Spoil) { s.Controller = nil })
				rec := discard{http.Header{}}
				m.BMC.Config.Handler.ServeHTTP(rec, r) // it happens all the same
				w.WriteHeader(http.StatusGatewayTimeout)
				return true
			}
		}},
		{"liar", "the first power commands are accepted and forgotten", func(*baremetaltest.Machine) func(http.ResponseWriter, *http.Request) bool {
			var lies atomic.Int64
			return func(w http.ResponseWriter, r *http.Request) bool {
				if reset(r) && lies.Add(1) <= 2 {
					w.WriteHeader(http.StatusNoContent)
					return true
				}
				return false
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, nil)
			m, id := h.enroll()
			body := h.prepareDeploy(id)
			do := c.do(m)
			m.Spoil(func(s *baremetaltest.Spoil) { s.Controller = do })
			h.verb(id, nodes.TargetActive)
			n := h.until(id, "active", func(n *nodes.Node) bool { return n.ProvisionState == "active" || n.ProvisionState == "deploy failed" })
			if s := m.Seen(); n.ProvisionState != "active" || s.Power != "On" || len(s.Disk) != len(body) || s.Prepares != 1 {
				t.Errorf("%s: the node is %s (%s), its machine %s with %d bytes written in %d attempts", c.reason, n.ProvisionState, n.LastError, s.Power, len(s.Disk), s.Prepares)
			}
		})
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// TestAgentDiesAtEachCommand: a ramdisk that starts anew in the middle loses
// what it was told; it is told again, or the node says which command it was,
// and deploys the next time.
func TestAgentDiesAtEachCommand(t *testing.T) {
	for _, command := range []string{"standby.prepare_image", "image.install_bootloader", "standby.power_off"} {
		t.Run(command, func(t *testing.T) {
			h := newHarness(t, func(c *baremetal.Config) { c.AgentLost = 500 * time.Millisecond })
			m, id := h.enroll()
			body := h.prepareDeploy(id)
			m.Spoil(func(s *baremetaltest.Spoil) { s.DieAt = command })
			h.verb(id, nodes.TargetActive)
			ended := func(n *nodes.Node) bool { return n.ProvisionState == "active" || n.ProvisionState == "deploy failed" }
			n := h.until(id, "an end", ended)
			if n.ProvisionState == "deploy failed" {
				if !strings.Contains(n.LastError, "node-1") || !strings.Contains(n.LastError, "step ") {
					t.Errorf("last error %q", n.LastError)
				}
				h.until(id, "tidied up", func(n *nodes.Node) bool { return m.Seen().Power == "Off" })
				h.verb(id, nodes.TargetActive)
				n = h.until(id, "an end", ended)
			}
			if s := m.Seen(); n.ProvisionState != "active" || len(s.Disk) != len(body) || s.Power != "On" {
				t.Errorf("the node is %s (%s), its machine %s with %d bytes", n.ProvisionState, n.LastError, s.Power, len(s.Disk))
			}
		})
	}
}
