package baremetal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/baremetal/states"
	"github.com/tripleo/tripleo/internal/store"
)

// PowerRun is a power change under way that a client asked for.
type PowerRun struct {
	Target string        `json:"target"`
	Phase  string        `json:"phase"` // "off" or "on": the state worked on
	Began  time.Time     `json:"began"` // of the phase
	Limit  time.Duration `json:"limit"` // of the phase
	Sent   time.Time     `json:"sent,omitzero"`
}

func (p *PowerRun) soft() bool {
	return p.Phase == "off" && (p.Target == targetSoftOff || p.Target == targetSoftReboot)
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func (s *Service) startPower(tx *store.Tx, n *Node, target string, limit time.Duration) error {
	phase, show := "off", targetOff
	if target == targetOn {
		phase = "on"
	}
	switch target {
	case targetOn, targetReboot, targetSoftReboot:
		show = targetOn
	}
	n.LastError, n.TargetPowerState = "", show
	n.Power = &PowerRun{Target: target, Phase: phase, Began: s.now(), Limit: limit}
	return s.wake(tx, n)
}

// powerTick works on a power change once and says how long to wait for the
// next time; 0 when it has ended.
func (s *Service) powerTick(ctx context.Context, n *Node) (time.Duration, error) {
	p := n.Power
	want, action := drivers.PowerOff, drivers.Off
	switch {
	case p.Phase == "on":
		want, action = drivers.PowerOn, drivers.On
	case p.soft():
		action = drivers.SoftOff
	}
	state, err := s.powerTry(ctx, n, want, action)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err == nil && state == want {
		return 0, s.powerReached(ctx, n, state)
	}
	if s.now().Sub(p.Began) < p.Limit && (err == nil || retryable(err)) {
		return s.cfg.PowerPoll, nil
	}
	cause := fmt.Sprintf("the machine is not in state %q after %v", want, p.Limit)
	if err != nil {
		cause = err.Error()
	}
	text := fmt.Sprintf("Failed to change power state of node %s to %q: %s", n.display(), p.Target, cause)
	return 0, s.endPower(ctx, n, func(tx *store.Tx, n *Node) error {
		n.LastError = text
		return addHistory(tx, n.UUID, historyEvent{CreatedAt: s.now(), Severity: "ERROR", EventType: "conductor", Event: text})
	})
}

// powerTry reads the state and sends the command when it is due.
func (s *Service) powerTry(ctx context.Context, n *Node, want drivers.Power, a drivers.Action) (drivers.Power, error) {
	m, err := s.drivers.Machine(n.target())
	if err != nil {
		return "", err
	}
	state, err := m.Power(ctx)
	if err != nil || state == want {
		return state, err
	}
	now := s.now()
	if sent := n.Power.Sent; !sent.IsZero() && now.Sub(sent) < s.cfg.PowerRetry {
		return state, nil
	}
	_, err = s.mutate(ctx, n.UUID, func(_ *store.Tx, n *Node) error {
		if n.Power == nil {
			return errSuperseded
		}
		n.Power.Sent = now
		return nil
	})
	if errors.Is(err, errSuperseded) {
		return state, nil
	}
	if err != nil {
		return state, err
	}
	if err := m.SetPower(ctx, a); err != nil {
		return state, err
	}
	return m.Power(ctx) // many are there at once
}

func (s *Service) powerReached(ctx context.Context, n *Node, state drivers.Power) error {
	reboot := n.Power.Target == targetReboot || n.Power.Target == targetSoftReboot
	if reboot && n.Power.Phase == "off" {
		_, err := s.mutate(ctx, n.UUID, func(_ *store.Tx, n *Node) error {
			if n.Power != nil {
				n.Power.Phase, n.Power.Began, n.Power.Sent = "on", s.now(), time.Time{}
			}
			n.PowerState = state
			n.ramdiskGone()
			return nil
		})
		return err
	}
	return s.endPower(ctx, n, func(_ *store.Tx, n *Node) error {
		if n.PowerState = state; state == drivers.PowerOff {
			n.ramdiskGone()
		}
		return nil
	})
}

func (s *Service) endPower(ctx context.Context, n *Node, fn func(tx *store.Tx, n *Node) error) error {
	_, err := s.mutate(ctx, n.UUID, func(tx *store.Tx, n *Node) error {
		n.Power, n.TargetPowerState = nil, ""
		return fn(tx, n)
	})
	return err
}

// syncPower compares the power state of every managed node with what its
// controller says, again and again. Failures of one controller cost a worker
// for one bounded operation and put the node into maintenance after a few.
func (s *Service) syncPower(ctx context.Context) error {
	if s.cfg.SyncInterval <= 0 {
		<-ctx.Done()
		return nil
	}
	t := time.NewTicker(s.cfg.SyncInterval)
	defer t.Stop()
	misses := map[string]int{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if err := s.syncOnce(ctx, misses); err != nil && ctx.Err() == nil {
			s.log.Error("power sync failed", "error", err)
		}
	}
}

const (
	syncWorkers = 8
	maxMisses   = 3 // failures in a row before maintenance, Ironic's default
	faultPower  = "power failure"
	faultClean  = "clean failure" // ends when the node is made manageable again
)

func (s *Service) syncOnce(ctx context.Context, misses map[string]int) error {
	var nodes []*Node
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		nodes = nil
		return tx.Each(func(scan func(...any) error) error {
			n, err := scanNode(scan)
			if err == nil && s.syncs(n) {
				nodes = append(nodes, n)
			}
			return err
		}, `SELECT `+nodeColumns+` FROM baremetal_nodes WHERE running = 0 AND driver <> 'fake-hardware' AND conductor_group = ?`, s.cfg.ConductorGroup)
	})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	work := make(chan *Node)
	var wg sync.WaitGroup
	for range syncWorkers {
		wg.Go(func() {
			for n := range work {
				state, err := s.observe(ctx, n)
				if ctx.Err() != nil {
					continue
				}
				mu.Lock()
				if err != nil {
					misses[n.UUID]++
				} else {
					delete(misses, n.UUID)
				}
				count := misses[n.UUID]
				mu.Unlock()
				if err := s.synced(ctx, n, state, err, count); err != nil && ctx.Err() == nil && !isNotFound(err) {
					s.log.Error("cannot record power state", "node", n.display(), "error", err)
				}
			}
		})
	}
	for _, n := range nodes {
		work <- n
	}
	close(work)
	wg.Wait()
	return nil
}

func (s *Service) syncs(n *Node) bool {
	return n.ProvisionState != states.Enroll && (!n.Maintenance || n.Fault == faultPower)
}

func (s *Service) observe(ctx context.Context, n *Node) (drivers.Power, error) {
	m, err := s.drivers.Machine(n.target())
	if err != nil {
		return "", err
	}
	return m.Power(ctx)
}

// synced records what was seen, unless somebody works on the node meanwhile.
func (s *Service) synced(ctx context.Context, seen *Node, state drivers.Power, cause error, count int) error {
	recovered := cause == nil && seen.Fault == faultPower
	lost := cause != nil && count == maxMisses && !seen.Maintenance
	if !recovered && !lost && (cause != nil || state == drivers.PowerUnknown || state == seen.PowerState) {
		return nil //nolint:nilerr // the cause counts only when it stays
	}
	_, err := s.mutate(ctx, seen.UUID, func(tx *store.Tx, n *Node) error {
		if n.Run != nil || n.Power != nil {
			return nil
		}
		event := ""
		switch {
		case lost:
			event = fmt.Sprintf("During sync_power_state, max retries exceeded for node %s: %s", n.display(), cause)
			n.Maintenance, n.MaintenanceReason, n.Fault, n.LastError = true, event, faultPower, event
		case cause == nil:
			if n.Fault == faultPower {
				n.Maintenance, n.MaintenanceReason, n.Fault = false, "", ""
				event = "the BMC answers again"
			} else if n.PowerState != state {
				event = fmt.Sprintf("power state changed from %q to %q outside of this service", n.PowerState, state)
			}
			if n.PowerState = state; state == drivers.PowerOff {
				n.ramdiskGone()
			}
		}
		if event == "" {
			return nil
		}
		return addHistory(tx, n.UUID, historyEvent{CreatedAt: s.now(), Severity: "INFO", EventType: "monitoring", Event: event})
	})
	return err
}
