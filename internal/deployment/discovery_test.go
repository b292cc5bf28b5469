package deployment_test

import (
	"net"
	"testing"
)

// TestProbeNobody: where no BMC answers there is no node, neither found nor left in Ironic, after as many attempts as are asked for.
func TestProbeNobody(t *testing.T) {
	t.Parallel() // most of it is waiting
	r := start(t)
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0") // a port that is free, and closed again
	must(t, err)
	_, port, err := net.SplitHostPort(conn.LocalAddr().String())
	must(t, err)
	must(t, conn.Close())
	in := map[string]any{"ip": "127.0.0.1", "port": port, "username": "u", "password": "p", "attempts": 2, "ipmi_driver": "ipmi"}
	if got := r.action("tripleo.baremetal.probe_node", in); got != nil {
		t.Errorf("found %v", got)
	}
	bm, err := r.s.Baremetal()
	must(t, err)
	var list struct {
		Nodes []any `json:"nodes"`
	}
	_, err = bm.Get(t.Context(), bm.ServiceURL("nodes"), &list, nil)
	must(t, err)
	if len(list.Nodes) > 0 {
		t.Errorf("left: %v", list.Nodes)
	}
}
