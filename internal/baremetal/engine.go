package baremetal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/baremetal/states"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

// jobKind is the kind of the engine's jobs on the nodes of a conductor group;
// the key is the node's UUID, so a node is worked on by one handler at a time,
// in a process of its group.
func jobKind(group string) string {
	if group == "" {
		return "baremetal.node"
	}
	return "baremetal.node/" + group
}

// wake lets the engine look at a node.
func (s *Service) wake(tx *store.Tx, n *Node) error {
	return s.cfg.Jobs.Poke(tx, jobKind(n.ConductorGroup), n.UUID, nil)
}

// Run is work under way on a node: where it is in its flow, and what has been
// sent. It is written before each effect, so that whoever takes the node up
// after a crash knows what may have happened.
type Run struct {
	ID        string    `json:"id"` // guards against a handler of an earlier run
	Flow      string    `json:"flow"`
	Step      string    `json:"step"`
	Began     time.Time `json:"began"` // of the step
	User      string    `json:"user,omitempty"`
	Manual    bool      `json:"manual,omitempty"`    // a manual cleaning: ends in manageable
	Heartbeat time.Time `json:"heartbeat,omitzero"`  // last one of this run's ramdisk
	Sent      time.Time `json:"sent,omitzero"`       // when the step's effect was last sent
	Command   string    `json:"command,omitempty"`   // id of the agent's command
	Reissued  int       `json:"reissued,omitempty"`  // commands sent again because the agent lost them
	LostSince time.Time `json:"lost_since,omitzero"` // first failed call of the agent in a row
	LastTry   string    `json:"last_try,omitempty"`  // why the latest attempt of the step failed
	Last      string    `json:"last,omitempty"`      // id of the agent's command of the hardware step before
	Steps     []HWStep  `json:"steps,omitempty"`     // hardware steps of a cleaning, deployment or servicing
	Index     int       `json:"index,omitempty"`     // of the hardware step under way
	Shown     int       `json:"shown,omitempty"`     // Index+1 once clients see that step
	Phase     string    `json:"phase,omitempty"`     // of a reboot within a hardware step
	Released  bool      `json:"released,omitempty"`  // the operator has ended the hold
	NoRamdisk bool      `json:"no_ramdisk,omitempty"`
	Fast      bool      `json:"fast,omitempty"`    // the ramdisk runs already, nothing is booted
	Version   any       `json:"version,omitempty"` // hardware manager versions, for the agent's steps
	Data      *dataCame `json:"data,omitempty"`    // inspection: the ramdisk's report was dealt with
}

// dataCame is the end of an inspection as continue_inspection told it.
type dataCame struct {
	Error string `json:"error,omitempty"`
}

// outcome is what a step says of itself.
type outcome struct {
	kind  outcomeKind
	delay time.Duration
	err   error
}

type outcomeKind int

const (
	stepDone outcomeKind = iota
	stepWait
	stepFailed
	stepBroken // our own trouble (database): the job queue tries again
)

func done() outcome                    { return outcome{kind: stepDone} }
func again(d time.Duration) outcome    { return outcome{kind: stepWait, delay: d} }
func failed(err error) outcome         { return outcome{kind: stepFailed, err: err} }
func broken(err error) outcome         { return outcome{kind: stepBroken, err: err} }
func failf(f string, a ...any) outcome { return failed(fmt.Errorf(f, a...)) }
func brokenOr(err error, o outcome) outcome {
	if err != nil {
		return broken(err)
	}
	return o
}

// step is one step of a flow. run may be called any number of times, after a
// crash too, until it returns done.
type step struct {
	name  string
	state states.State                  // provision state while in the step; "" leaves it
	limit func(c *Config) time.Duration // nil: no limit
	run   func(ctx context.Context, w *work) outcome
	soft  bool // a failure is noted and passed over
}

// work is a step's view of its node.
type work struct {
	s   *Service
	n   *Node // as last read or written
	log *slog.Logger
}

var errSuperseded = errors.New("the run was replaced by another")

// save changes the node on behalf of the step under way; errSuperseded if the
// run is no longer the node's.
func (w *work) save(ctx context.Context, fn func(n *Node)) error {
	n, err := w.s.mutate(ctx, w.n.UUID, func(_ *store.Tx, n *Node) error {
		if n.Run == nil || n.Run.ID != w.n.Run.ID || n.Run.Step != w.n.Run.Step {
			return errSuperseded
		}
		fn(n)
		return nil
	})
	if err == nil {
		w.n = n
	}
	return err
}

func (w *work) machine() (drivers.Machine, error) { return w.s.drivers.Machine(w.n.target()) }

// note keeps the reason of a failed attempt, for the message should the step
// run out of time, and waits.
func (w *work) note(ctx context.Context, err error, d time.Duration) outcome {
	if text := err.Error(); text != w.n.Run.LastTry {
		w.log.Debug("step will be tried again", "error", err)
		if err := w.save(ctx, func(n *Node) { n.Run.LastTry = text }); err != nil {
			return broken(err)
		}
	}
	return again(d)
}

// handle is the job handler: it works on a node until there is something to
// wait for.
func (s *Service) handle(ctx context.Context, j jobs.Job) jobs.Result {
	for ctx.Err() == nil {
		n, err := s.node(ctx, j.Key)
		switch {
		case isNotFound(err):
			return jobs.Done()
		case err != nil:
			return jobs.Fail(err)
		case n.Power != nil:
			if wait, err := s.powerTick(ctx, n); err != nil {
				return jobs.Fail(err)
			} else if wait > 0 {
				return jobs.After(wait)
			}
			continue
		case n.Run == nil:
			return jobs.Done()
		}
		res, more := s.advance(ctx, n)
		if !more {
			return res
		}
	}
	return jobs.Fail(ctx.Err())
}

func isNotFound(err error) bool {
	var e *api.Error
	return errors.Is(err, store.ErrNotFound) || errors.As(err, &e) && e.Kind == api.KindNotFound
}

// advance runs the node's current step once; more says that the next step can
// follow at once.
func (s *Service) advance(ctx context.Context, n *Node) (res jobs.Result, more bool) {
	fl, i := s.find(n)
	if i < 0 {
		err := fmt.Errorf("flow %q has no step %q", n.Run.Flow, n.Run.Step)
		return s.settle(ctx, &work{s: s, n: n, log: s.log}, fl, step{name: n.Run.Step}, failed(err))
	}
	st := fl.steps[i]
	w := &work{s: s, n: n, log: s.log.With("node", n.display(), "uuid", n.UUID, "flow", n.Run.Flow, "step", st.name)}
	out := st.run(ctx, w)
	if ctx.Err() != nil {
		return jobs.Fail(ctx.Err()), false
	}
	if out.kind == stepWait && st.limit != nil && !states.Held(w.n.ProvisionState) {
		limit := st.limit(&s.cfg)
		left := w.n.Run.Began.Add(limit).Sub(s.now())
		if left <= 0 {
			out = failed(timeoutError(st.name, limit, w.n.Run.LastTry))
		}
		out.delay = min(out.delay, max(left, 0))
	}
	return s.settle(ctx, w, fl, st, out)
}

func timeoutError(step string, limit time.Duration, last string) error {
	text := fmt.Sprintf("not done after %v", limit)
	switch step {
	case "wait-agent":
		text = fmt.Sprintf("the ramdisk did not call back within %v", limit)
	case "wait-data":
		text = fmt.Sprintf("the ramdisk did not deliver its inspection data within %v", limit)
	}
	if last != "" {
		text += "; last attempt: " + last
	}
	return errors.New(text)
}

// settle makes a step's outcome durable.
func (s *Service) settle(ctx context.Context, w *work, fl flow, st step, out outcome) (jobs.Result, bool) {
	if out.kind == stepFailed && st.soft {
		w.log.Warn("step failed, going on", "error", out.err)
		out = done()
	}
	var err error
	switch out.kind {
	case stepWait:
		return jobs.After(out.delay), false
	case stepBroken:
		err = out.err
	case stepFailed:
		err = s.failRun(ctx, w, fl, st, out.err)
	case stepDone:
		err = s.nextStep(ctx, w, fl, st)
	}
	if err == nil || errors.Is(err, errSuperseded) {
		return jobs.Result{}, true
	}
	return jobs.Fail(err), false
}

// nextStep moves the run on, or ends it.
func (s *Service) nextStep(ctx context.Context, w *work, fl flow, st step) error {
	now := s.now()
	var next *step
	for i := range fl.steps {
		if fl.steps[i].name == st.name && i+1 < len(fl.steps) {
			next = &fl.steps[i+1]
		}
	}
	_, err := s.mutate(ctx, w.n.UUID, func(tx *store.Tx, n *Node) error {
		if n.Run == nil || n.Run.ID != w.n.Run.ID || n.Run.Step != st.name {
			return errSuperseded
		}
		if next == nil {
			return s.endRun(tx, n, fl)
		}
		r := n.Run
		r.Step, r.Began, r.Sent, r.Command, r.LastTry, r.LostSince = next.name, now, time.Time{}, "", "", time.Time{}
		if next.state != "" && next.state != n.ProvisionState {
			n.setState(next.state, now)
		}
		n.showStep(fl, next.name)
		return nil
	})
	return err
}

// showStep sets deploy_step and clean_step, by which clients follow.
func (n *Node) showStep(fl flow, name string) {
	switch fl.name {
	case flowDeploy:
		n.DeployStep = map[string]any{"interface": "deploy", "step": name}
	case flowClean:
		n.CleanStep = map[string]any{"interface": "deploy", "step": name}
	case flowService:
		n.ServiceStep = map[string]any{"interface": "deploy", "step": name}
	}
}

func (s *Service) endRun(tx *store.Tx, n *Node, fl flow) error {
	now, user := s.now(), n.Run.User
	ev := states.Done
	if fl.name == flowClean && (n.Run.Manual || n.Retired) { // a retired node is not offered any more
		ev = states.Manage
	}
	n.Run = nil
	n.DeployStep, n.CleanStep, n.ServiceStep = nil, nil, nil
	if fl.name == flowCleanup {
		return nil
	}
	if fl.name == flowUndeploy {
		n.setState(states.Cleaning, now)
		return s.startFlow(tx, n, flowClean, user)
	}
	to, ok := states.Next(n.ProvisionState, ev)
	if !ok {
		return fmt.Errorf("flow %s ended in state %s, from which %s leads nowhere", fl.name, n.ProvisionState, ev)
	}
	n.setState(to, now)
	n.LastError = ""
	if fl.name == flowInspect {
		n.InspectionFinishedAt = now
	}
	delete(n.DriverInternalInfo, "deploy_progress")
	s.log.Info("node reached its state", "node", n.display(), "uuid", n.UUID, "flow", fl.name, "state", to)
	return addHistory(tx, n.UUID, historyEvent{CreatedAt: now, Severity: "INFO", EventType: fl.event, Event: fl.name + " finished: " + string(to), User: user})
}

// failRun ends a run in its failure state and starts what tidies up after it.
func (s *Service) failRun(ctx context.Context, w *work, fl flow, st step, cause error) error {
	_, err := s.mutate(ctx, w.n.UUID, func(tx *store.Tx, n *Node) error {
		if n.Run == nil || n.Run.ID != w.n.Run.ID || n.Run.Step != w.n.Run.Step {
			return errSuperseded
		}
		text := fmt.Sprintf("Failed to %s node %s: step %s: %s", fl.name, n.display(), st.name, errText(cause))
		return s.fail(tx, n, fl, states.Fail, text)
	})
	return err
}

const maxErrorText = 4000 // bytes of last_error

// fail moves the node by ev (Fail or Abort) and leaves text in last_error.
func (s *Service) fail(tx *store.Tx, n *Node, fl flow, ev states.Event, text string) error {
	now, user := s.now(), ""
	if n.Run != nil {
		user = n.Run.User
	}
	text = text[:min(len(text), maxErrorText)]
	s.log.Warn("node failed", "node", n.display(), "uuid", n.UUID, "flow", fl.name, "error", text)
	if to, ok := states.Next(n.ProvisionState, ev); ok {
		n.setState(to, now)
	}
	n.LastError = text
	if fl.name == flowClean && ev == states.Fail {
		n.Maintenance, n.MaintenanceReason, n.Fault = true, text, faultClean
	}
	n.Run = nil
	n.DeployStep, n.CleanStep, n.ServiceStep = nil, nil, nil
	delete(n.DriverInternalInfo, "deploy_progress")
	err := addHistory(tx, n.UUID, historyEvent{CreatedAt: now, Severity: "ERROR", EventType: fl.event, Event: text, User: user})
	if err != nil || !fl.tidy {
		return err
	}
	return s.startFlow(tx, n, flowCleanup, user)
}

// startFlow makes a flow the node's run and wakes the engine; what the run
// knows already (a manual cleaning, its steps) stays.
func (s *Service) startFlow(tx *store.Tx, n *Node, name, user string) error {
	if n.Run == nil {
		n.Run = &Run{}
	}
	n.Run.ID, n.Run.Flow, n.Run.Began, n.Run.User = uuid.NewString(), name, s.now(), user
	fl, _ := s.find(n)
	if len(fl.steps) == 0 {
		return s.endRun(tx, n, fl)
	}
	n.Run.Step = fl.steps[0].name
	n.showStep(fl, n.Run.Step)
	return s.wake(tx, n)
}

// startVerb starts what an operator's verb asks for, with what run says of it.
// The transition is known to be allowed.
func (s *Service) startVerb(tx *store.Tx, n *Node, ev states.Event, to states.State, user string, run Run) error {
	now := s.now()
	switch {
	case ev == states.Abort && n.ProvisionState == states.ServiceFail:
		n.LastError = ""
		n.setState(to, now)
		return nil
	case ev == states.Abort:
		fl, _ := s.find(n)
		return s.fail(tx, n, fl, states.Abort, fmt.Sprintf("Failed to %s node %s: aborted by request", fl.name, n.display()))
	case ev == states.Unhold:
		if n.Run == nil {
			return fmt.Errorf("node %s is in state %s without work under way", n.UUID, n.ProvisionState)
		}
		n.Run.Released, n.Run.Began = true, now
		n.setState(to, now)
		return s.wake(tx, n)
	}
	n.LastError = ""
	if ev == states.Manage && to == states.Manageable {
		if n.Fault == faultClean {
			n.Maintenance, n.MaintenanceReason, n.Fault = false, "", ""
		}
		n.setState(to, now) // a tidying run goes on
		return nil
	}
	flowName := map[states.Event]string{
		states.Manage: flowVerify, states.Inspect: flowInspect, states.Provide: flowClean, states.Clean: flowClean,
		states.Deploy: flowDeploy, states.Rebuild: flowDeploy, states.Delete: flowUndeploy, states.Adopt: flowAdopt,
		states.ToRescue: flowRescue, states.Unrescue: flowUnrescue, states.Service: flowService,
	}[ev]
	if ev == states.Inspect {
		n.InspectionStartedAt, n.InspectionFinishedAt = now, time.Time{}
	}
	n.Run = &run
	n.setState(to, now)
	return s.startFlow(tx, n, flowName, user)
}

// resume wakes every node with work under way; Run calls it once, should a
// job's row have been lost.
func (s *Service) resume(ctx context.Context) error {
	return s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		var nodes []*Node
		err := tx.Each(func(scan func(...any) error) error {
			n, err := scanNode(scan)
			nodes = append(nodes, n)
			return err
		}, `SELECT `+nodeColumns+` FROM baremetal_nodes WHERE running = 1 AND conductor_group = ?`, s.cfg.ConductorGroup)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if err := s.wake(tx, n); err != nil {
				return err
			}
		}
		return nil
	})
}
