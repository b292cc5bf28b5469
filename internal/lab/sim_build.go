package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/bmc/redfish"
	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/sim"
)

// buildSim makes simulated machines: one Redfish service and one listener for
// all agents, both on loopback.
func (s *server) buildSim() error {
	c := s.rec.Config
	listen := func(port int) (net.Listener, error) {
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // lives as long as the lab
		if err != nil {
			return nil, fmt.Errorf("simulated lab: %w", err)
		}
		return l, nil
	}
	bmcs, err := listen(c.SimPort)
	if err != nil {
		return err
	}
	agents, err := listen(c.SimPort + 1)
	if err != nil {
		return errors.Join(err, bmcs.Close())
	}
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 256, IdleConnTimeout: 90 * time.Second, ResponseHeaderTimeout: 3 * time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	byPath := map[string]http.Handler{}
	var systems []redfish.Entry
	nodes := s.rec.nodes()
	for _, n := range nodes {
		log := s.log.With("node", n.Name)
		hw := sim.New(sim.Config{
			Info: n.Info, MAC: n.MAC.String(), NodeURL: strings.TrimRight(c.NodeURL, "/"),
			CallbackURL: fmt.Sprintf("http://%s/%s", agents.Addr(), n.Info.UUID),
			Address:     fmt.Sprintf("10.%d.%d.%d", 128+(n.Index>>16)&0x3f, n.Index>>8&0xff, n.Index&0xff),
			Speed:       c.SimSpeed, FailureRate: c.SimFailures, Seed: c.Seed, Index: n.Index, Client: client, Log: log, Now: time.Now,
		})
		m := machine.New(machine.Options{Info: n.Info, Hardware: hw, Console: io.Discard, Log: log, Now: time.Now, Devices: []bmc.BootDevice{bmc.Disk, bmc.PXE, bmc.CDROM}})
		s.units = append(s.units, &unit{node: n, machine: m})
		s.run = append(s.run, m.Run)
		byPath[n.Info.UUID] = hw
		systems = append(systems, redfish.Entry{ID: n.RedfishSystem, System: m})
	}
	s.serveHTTP(bmcs, redfish.New(redfish.Options{Systems: systems, User: nodes[0].User, Password: nodes[0].Password, UUID: nodes[0].Info.UUID, Log: s.log, Now: time.Now}))
	s.serveHTTP(agents, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		h, ok := byPath[id]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
	return nil
}
