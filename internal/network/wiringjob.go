package network

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/network/switches"
	"github.com/tripleo/tripleo/internal/store"
)

const (
	resyncJob = "network.switches" // key: a switch; looks whether its ports are as they should be
	notifyJob = "network.notify"   // key: a port; tells the bare metal service of it

	// notifyAttempts is how often the bare metal service is told; it looks by itself, too.
	notifyAttempts = 5
	notifyWorkers  = 4
	maxRetryPause  = time.Minute
)

// switchJob is the kind of the jobs of one switch; the key is the switch's name
// of the port. More of them run than there are sessions: those that wait for
// one go together.
func switchJob(name string) string { return "network.switch/" + name }

// registerSwitches makes the fabric and names the jobs' handlers.
func (s *Service) registerSwitches() error {
	if len(s.cfg.Switches) == 0 {
		return nil
	}
	if s.cfg.Jobs == nil {
		return errors.New("network: switches need a job queue")
	}
	fabric, err := switches.NewFabric(s.cfg.Switches)
	if err != nil {
		return err
	}
	s.fabric = fabric
	for _, sw := range fabric.Switches() {
		s.cfg.Jobs.Register(switchJob(sw.Name), sw.Sessions+switches.MaxTogether, s.drive(sw))
	}
	s.cfg.Jobs.Register(resyncJob, 1, s.resync)
	s.cfg.Jobs.Register(notifyJob, notifyWorkers, s.notifyBaremetal)
	return nil
}

// startSwitches brings what is stored in line with the configured switches: a
// port that was bound before there were any, or when there were others, gets
// its cables now.
func (s *Service) startSwitches(ctx context.Context) error {
	if s.fabric == nil {
		return nil
	}
	if err := s.adoptAll(ctx); ctx.Err() == nil {
		return err
	}
	return nil // stopped before it was done; the next start does it
}

func (s *Service) adoptAll(ctx context.Context) error {
	var bound []string
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		bound, err = texts(tx, `SELECT id FROM network_resources WHERE kind = 'port' AND (doc LIKE '%"local_link_information"%' OR id IN (SELECT port_id FROM network_cables)) ORDER BY id`)
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range bound {
		err := s.cfg.DB.Tx(ctx, func(tx *store.Tx) error { return (&call{s: s, tx: tx}).adopt(id) })
		if err != nil {
			return fmt.Errorf("wire port %s: %w", id, err)
		}
	}
	return s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		for _, sw := range s.fabric.Switches() {
			if err := s.cfg.Jobs.Poke(tx, resyncJob, sw.Name, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// adopt wires a port whose cables or problems are not those of now.
func (c *call) adopt(id string) error {
	p, err := c.lock(c.s.kinds["port"], id)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	old := p.clone()
	if p.str("binding:vif_type") == vifFailed { // perhaps the configuration was the reason
		c.bind(p, nil)
	}
	c.changed(id)
	return c.wire(p, old, false)
}

// switchPort is a row of network_switch_ports.
type switchPort struct {
	place
	wanted           switches.VLANs
	aggregate        bool
	version, applied int64
	attempts, since  int64 // failures in a row, and when the first was, in µs
}

func (p *switchPort) port() switches.Port {
	return switches.Port{Name: p.place.port, Aggregate: p.aggregate}
}

func readSwitchPort(tx *store.Tx, at place, suffix string) (*switchPort, error) {
	p := &switchPort{place: at}
	var aggregate int64
	err := tx.Get([]any{store.JSON(&p.wanted), &aggregate, &p.version, &p.applied, &p.attempts, &p.since},
		`SELECT wanted, aggregate, version, applied, attempts, failing_since FROM network_switch_ports WHERE switch = ? AND port = ?`+suffix, at.sw, at.port)
	p.aggregate = aggregate != 0
	return p, err
}

// drive is the handler of a switch's jobs: it brings one port to what it is to
// have. What that is may change meanwhile; the switch's last word then counts
// for nothing and the port is set again.
func (s *Service) drive(sw *switches.Switch) jobs.Handler {
	return func(ctx context.Context, j jobs.Job) jobs.Result {
		var p *switchPort
		err := s.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
			p, err = readSwitchPort(tx, place{sw.Name, j.Key}, "")
			return err
		})
		switch {
		case isNotFound(err):
			return jobs.Done()
		case err != nil:
			return jobs.Fail(err)
		}
		if p.applied == p.version {
			return s.verify(ctx, sw, p)
		}
		asked := sw.Set(ctx, p.port(), p.wanted)
		if ctx.Err() != nil {
			return jobs.Fail(ctx.Err()) // stopped; the next process sets it again
		}
		return s.record(ctx, sw, p, asked)
	}
}

// record keeps what came of setting a port, and the status of who has it.
func (s *Service) record(ctx context.Context, sw *switches.Switch, p *switchPort, asked error) jobs.Result {
	next := jobs.Done()
	err := s.changeSwitchPort(ctx, p, func(tx *store.Tx, now *switchPort) (err error) {
		switch {
		case now.version != p.version: // somebody wants something else by now
			next = jobs.After(0)
		case asked != nil:
			next, err = s.recordFailure(tx, sw, now, asked)
		default:
			next = jobs.Done()
			_, err = tx.Exec(`UPDATE network_switch_ports SET applied = version, attempts = 0, failing_since = 0, failed = 0, failure = '' WHERE switch = ? AND port = ?`, p.sw, p.place.port)
		}
		return err
	})
	if err != nil {
		return jobs.Fail(err)
	}
	return next
}

// changeSwitchPort changes a row, if it is still there, and then the status of
// the ports that claim it.
func (s *Service) changeSwitchPort(ctx context.Context, p *switchPort, fn func(tx *store.Tx, now *switchPort) error) error {
	return s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		c := &call{s: s, tx: tx}
		owners, err := c.lockClaims(p.place)
		if err != nil {
			return err
		}
		now, err := readSwitchPort(tx, p.place, tx.ForUpdate())
		if isNotFound(err) {
			return nil
		}
		if err == nil {
			err = fn(tx, now)
		}
		for _, o := range owners {
			if err == nil {
				err = c.resettle(o)
			}
		}
		return err
	})
}

func (s *Service) recordFailure(tx *store.Tx, sw *switches.Switch, p *switchPort, asked error) (jobs.Result, error) {
	now := time.Now()
	if p.since == 0 {
		p.since = now.UnixMicro()
	}
	failed := 0
	if errors.Is(asked, switches.ErrRefused) || now.Sub(time.UnixMicro(p.since)) >= sw.GiveUp {
		failed = 1
	}
	pause := min(maxRetryPause, sw.Retry<<min(p.attempts, 16))
	if p.attempts == 0 || failed == 1 {
		tx.AfterCommit(func() {
			s.cfg.Log.Warn("a switch did not take the VLANs of a port, it will be asked again", "switch", p.sw, "port", p.place.port, "in", pause, "error", asked)
		})
	}
	_, err := tx.Exec(`UPDATE network_switch_ports SET attempts = attempts + 1, failing_since = ?, failed = CASE WHEN failed > 0 THEN failed ELSE ? END, failure = ? WHERE switch = ? AND port = ?`,
		p.since, failed, asked.Error(), p.sw, p.place.port)
	return jobs.After(pause), err
}

// lockClaims reads the ports that claim a switch port, by id and locked: ports
// are locked before switch ports, here as in requests.
func (c *call) lockClaims(at place) ([]doc, error) {
	ids, err := c.claims(at)
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	var out []doc
	for _, id := range ids {
		p, err := c.lock(c.s.kinds["port"], id)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// verify compares a port with what it should have: a switch that was reset, or
// changed by hand, is set again.
func (s *Service) verify(ctx context.Context, sw *switches.Switch, p *switchPort) jobs.Result {
	has, known, err := sw.Read(ctx, p.port())
	if !known {
		return jobs.Done()
	}
	if ctx.Err() != nil {
		return jobs.Fail(ctx.Err())
	}
	if err != nil {
		s.cfg.Log.Debug("a switch does not tell the VLANs of a port", "switch", p.sw, "port", p.place.port, "error", err)
		return jobs.Done() // the next comparison is not far
	}
	if has.Equal(p.wanted) {
		return jobs.Done()
	}
	s.cfg.Log.Warn("a port of a switch has other VLANs than it should, it is set again", "switch", p.sw, "port", p.place.port, "has", fmt.Sprint(has), "expected", fmt.Sprint(p.wanted))
	err = s.changeSwitchPort(ctx, p, func(tx *store.Tx, _ *switchPort) error {
		_, err := tx.Exec(`UPDATE network_switch_ports SET applied = -1 WHERE switch = ? AND port = ? AND version = ?`, p.sw, p.place.port, p.version)
		return err
	})
	if err != nil {
		return jobs.Fail(err)
	}
	return jobs.After(0)
}

// resync has each port of a switch looked at, again and again.
func (s *Service) resync(ctx context.Context, j jobs.Job) jobs.Result {
	sw := s.fabric.Named(j.Key)
	if sw == nil {
		return jobs.Done()
	}
	err := s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		ports, err := texts(tx, `SELECT port FROM network_switch_ports WHERE switch = ? AND applied = version ORDER BY port`, sw.Name)
		for _, port := range ports {
			if err == nil {
				err = s.cfg.Jobs.Poke(tx, switchJob(sw.Name), port, nil)
			}
		}
		return err
	})
	if err != nil {
		return jobs.Fail(err)
	}
	return jobs.After(sw.Resync)
}

// portEvent is what the bare metal service is told, in the form of Neutron's
// own notifier (POST /v1/events).
type portEvent struct {
	Event    string `json:"event"`
	PortID   string `json:"port_id"`
	MAC      string `json:"mac_address"`
	Status   string `json:"status"`
	DeviceID string `json:"device_id"`
	HostID   string `json:"binding:host_id"`
	VNICType string `json:"binding:vnic_type"`
}

// told has the bare metal service told of a change of a port's status.
func (c *call) told(p, old doc) error {
	was, is := "DOWN", p.str("status")
	if old != nil {
		was = old.str("status")
	}
	switch {
	case was == is:
		return nil
	case was == "ACTIVE":
		return c.tell("network.unbind_port", p)
	case is == "ACTIVE" || is == statusError:
		return c.tell("network.bind_port", p)
	default:
		return nil
	}
}

func (c *call) toldDeleted(p doc) error { return c.tell("network.delete_port", p) }

func (c *call) tell(event string, p doc) error {
	if c.s.cfg.Cloud == nil || p.str("binding:vnic_type") != vnicMetal {
		return nil
	}
	return c.s.cfg.Jobs.Poke(c.tx, notifyJob, p.id(), portEvent{event, p.id(), p.str("mac_address"), p.str("status"), p.str("device_id"), p.str("binding:host_id"), vnicMetal})
}

// notifyBaremetal tells the bare metal service of a port.
func (s *Service) notifyBaremetal(ctx context.Context, j jobs.Job) jobs.Result {
	err := s.postEvent(ctx, j)
	switch {
	case err == nil:
		return jobs.Done()
	case j.Attempt+1 >= notifyAttempts:
		s.cfg.Log.Warn("the bare metal service was not told of a port", "port", j.Key, "error", err)
		return jobs.Done()
	default:
		return jobs.Fail(err)
	}
}

func (s *Service) postEvent(ctx context.Context, j jobs.Job) error {
	session, err := s.cfg.Cloud.Service(ctx)
	if err != nil {
		return err
	}
	c, err := session.Baremetal()
	if err != nil {
		return err
	}
	c.Microversion = "1.54" // the first that takes events
	_, err = c.Post(ctx, c.ServiceURL("events"), map[string]any{"events": []any{j.Payload}}, nil, &gophercloud.RequestOpts{OkCodes: []int{http.StatusNoContent}})
	return err
}
