package introspection

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"

	"github.com/tripleo/tripleo/internal/introspection/hooks"
	"github.com/tripleo/tripleo/internal/introspection/rules"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

// handle works on one introspection until it has to wait.
func (s *Service) handle(ctx context.Context, j jobs.Job) jobs.Result {
	for ctx.Err() == nil {
		var r *record
		err := s.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
			r, err = getRecord(tx, j.Key)
			return err
		})
		if errors.Is(err, store.ErrNotFound) || err == nil && r.finished() {
			return jobs.Done()
		}
		if err != nil {
			return jobs.Fail(err)
		}
		wait, err := s.advance(ctx, r)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errSuperseded) {
			continue
		}
		if err != nil {
			if wait, err = s.trouble(ctx, r, err); err != nil {
				return jobs.Fail(err)
			}
		}
		if wait > 0 {
			left := r.StartedAt.Add(s.cfg.Timeout).Sub(s.now())
			return jobs.Wait(min(wait, max(left, time.Second)), "baremetal/node/"+r.UUID)
		}
	}
	return jobs.Fail(ctx.Err())
}

// trouble deals with an error of a stage: what may pass is tried again, the
// rest ends the introspection.
func (s *Service) trouble(ctx context.Context, r *record, cause error) (time.Duration, error) {
	if !permanent(cause) && s.now().Sub(r.StartedAt) < s.cfg.Timeout {
		if cause.Error() != r.LastTry {
			s.log.Info("introspection step will be tried again", "node", r.UUID, "state", r.State, "error", cause)
		}
		_, err := s.change(ctx, r, func(_ *store.Tx, r *record) error { r.LastTry = cause.Error(); return nil })
		if errors.Is(err, errSuperseded) {
			err = nil
		}
		return s.cfg.Retry, err
	}
	err := s.fail(ctx, r, cause.Error())
	if errors.Is(err, errSuperseded) {
		err = nil
	}
	return 0, err
}

// fail leads to state error, by way of Ironic if that has a part in it still.
func (s *Service) fail(ctx context.Context, r *record, problem string) error {
	_, err := s.change(ctx, r, func(_ *store.Tx, r *record) error {
		if r.Asked && !r.Told && r.State != stateFinishing && r.State != stateAborting {
			r.State, r.Problem, r.LastTry = stateFinishing, problem, ""
			return nil
		}
		if r.Problem != "" {
			problem = r.Problem
		}
		s.end(r, problem)
		return nil
	})
	return err
}

func (s *Service) end(r *record, problem string) {
	r.State, r.Error, r.FinishedAt, r.LastTry = stateFinished, problem, s.now(), ""
	if problem != "" {
		r.State = stateError
		s.log.Warn("introspection failed", "node", r.UUID, "error", problem)
		return
	}
	s.log.Info("introspection finished", "node", r.UUID, "elapsed", r.FinishedAt.Sub(r.StartedAt).String())
}

// advance does the work of the record's state once and returns how long to
// wait before the next look; 0 is at once.
func (s *Service) advance(ctx context.Context, r *record) (time.Duration, error) {
	ironic, err := s.ironic(ctx)
	if err != nil {
		return 0, err
	}
	switch r.State {
	case stateStarting:
		return s.ask(ctx, ironic, r)
	case stateWaiting:
		return s.watch(ctx, ironic, r)
	case stateProcessing, stateReapplying:
		return 0, s.process(ctx, ironic, r)
	case stateFinishing:
		return s.finish(ctx, ironic, r)
	case stateAborting:
		return s.cancel(ctx, ironic, r)
	default:
		return 0, fmt.Errorf("%w: unknown state %q", errPermanent, r.State)
	}
}

// ask has Ironic inspect the node.
func (s *Service) ask(ctx context.Context, ironic *ironic, r *record) (time.Duration, error) {
	n, err := ironic.node(ctx, r.UUID)
	if err != nil {
		return 0, err
	}
	if n.state() != "inspecting" && n.state() != "inspect wait" {
		if err := ironic.provision(ctx, r.UUID, nodes.TargetInspect); err != nil {
			return 0, fmt.Errorf("ask Ironic to inspect: %w", briefly(err))
		}
	}
	_, err = s.change(ctx, r, func(_ *store.Tx, r *record) error {
		r.State, r.Asked, r.LastTry = stateWaiting, true, ""
		return nil
	})
	return 0, err
}

// briefly shortens a client library's error to the service's own words.
func briefly(err error) error {
	var code gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &code) {
		return err
	}
	return &shortError{text: fmt.Sprintf("answer %d: %s", code.Actual, faultText(code.Body)), cause: err}
}

type shortError struct {
	text  string
	cause error
}

func (e *shortError) Error() string { return e.text }
func (e *shortError) Unwrap() error { return e.cause }

func faultText(body []byte) string {
	var outer struct {
		Message json.RawMessage `json:"error_message"`
	}
	if json.Unmarshal(body, &outer) == nil && len(outer.Message) > 0 {
		raw := []byte(outer.Message)
		var inner string
		if json.Unmarshal(raw, &inner) == nil {
			raw = []byte(inner)
		}
		var fault struct {
			Text string `json:"faultstring"`
		}
		if json.Unmarshal(raw, &fault) == nil && fault.Text != "" {
			return fault.Text
		}
	}
	return string(body[:min(len(body), 300)])
}

// watch waits for the ramdisk's data; Ironic may give up earlier.
func (s *Service) watch(ctx context.Context, ironic *ironic, r *record) (time.Duration, error) {
	n, err := ironic.node(ctx, r.UUID)
	if err != nil {
		return 0, err
	}
	switch {
	case n.state() == "inspecting" || n.state() == "inspect wait":
		if s.now().Sub(r.StartedAt) >= s.cfg.Timeout {
			return 0, s.fail(ctx, r, fmt.Sprintf("Introspection timeout: no data within %v", s.cfg.Timeout))
		}
		return s.cfg.Poll, nil
	case n.text("last_error") != "":
		return 0, s.failHere(ctx, r, n.text("last_error"))
	default:
		return 0, s.failHere(ctx, r, fmt.Sprintf("the node left inspection for state %q before its ramdisk sent any data", n.state()))
	}
}

// failHere ends the introspection at once: Ironic knows already.
func (s *Service) failHere(ctx context.Context, r *record, problem string) error {
	_, err := s.change(ctx, r, func(_ *store.Tx, r *record) error { s.end(r, problem); return nil })
	return err
}

// process makes node properties, ports and stored data of what the ramdisk
// found. All of it may be repeated.
func (s *Service) process(ctx context.Context, ironic *ironic, r *record) error {
	var raw string
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		return tx.Get([]any{&raw}, `SELECT body FROM introspection_data WHERE uuid = ?`, r.UUID)
	})
	if err != nil {
		return fmt.Errorf("read the data: %w", err)
	}
	var data map[string]any
	if err := json.Unmarshal([]byte(raw), &data); err != nil {
		return fmt.Errorf("%w: the data is not JSON: %w", errPermanent, err)
	}
	if err := s.save(ctx, r.UUID, unprocessedSuffix, data); err != nil {
		return err
	}
	n, err := ironic.node(ctx, r.UUID)
	if err != nil {
		return err
	}
	if err := s.apply(ctx, ironic, n, data); err != nil {
		return err
	}
	if err := s.save(ctx, r.UUID, "", data); err != nil {
		return err
	}
	_, err = s.change(ctx, r, func(tx *store.Tx, r *record) error {
		if r.State == stateReapplying || !r.Asked { // Ironic has no part in it
			s.end(r, "")
			return dropData(tx, r.UUID)
		}
		r.State, r.LastTry = stateFinishing, ""
		return nil
	})
	return err
}

func dropData(tx *store.Tx, id string) error {
	_, err := tx.Exec(`DELETE FROM introspection_data WHERE uuid = ?`, id)
	return err
}

// apply runs hooks and rules and carries their changes to Ironic.
func (s *Service) apply(ctx context.Context, ironic *ironic, n node, data map[string]any) error {
	res, err := hooks.Run(s.opts, data, n)
	if err != nil {
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	var ops []rules.Op
	props, ok := n["properties"].(map[string]any)
	if !ok {
		props = map[string]any{}
		n["properties"] = props
	}
	for k, v := range res.Properties {
		if props[k] != v {
			props[k] = v
			ops = append(ops, rules.Op{Op: "add", Path: "/properties/" + k, Value: v})
		}
	}
	ops = append(ops, rules.SetCapabilities(n, res.Capabilities)...)
	list, err := s.allRules(ctx)
	if err != nil {
		return err
	}
	more, err := rules.Apply(list, data, n)
	if err != nil {
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	if err := ironic.patch(ctx, n.uuid(), append(ops, more...)); err != nil {
		return fmt.Errorf("update the node: %w", briefly(err))
	}
	if err := ironic.ensurePorts(ctx, n.uuid(), res.Ports); err != nil {
		return fmt.Errorf("update the node's ports: %w", briefly(err))
	}
	return nil
}

// finish hands Ironic the end and waits until the node has left inspection.
func (s *Service) finish(ctx context.Context, ironic *ironic, r *record) (time.Duration, error) {
	if !r.Told {
		if err := s.tell(ctx, ironic, r); err != nil {
			return 0, err
		}
		seen, err := s.change(ctx, r, func(_ *store.Tx, r *record) error { r.Told, r.LastTry = true, ""; return nil })
		if err != nil {
			return 0, err
		}
		r = seen
	}
	n, err := ironic.node(ctx, r.UUID)
	if err != nil {
		return 0, err
	}
	if st := n.state(); (st == "inspecting" || st == "inspect wait") && s.now().Sub(r.StartedAt) < s.cfg.Timeout {
		return s.cfg.Poll, nil
	}
	_, err = s.change(ctx, r, func(tx *store.Tx, r *record) error {
		problem := r.Problem
		if problem == "" && n.state() == "inspect failed" {
			problem = n.text("last_error")
		}
		s.end(r, problem)
		return dropData(tx, r.UUID)
	})
	return 0, err
}

// tell posts continue_inspection. A node that no longer waits for it was told
// before a crash of ours.
func (s *Service) tell(ctx context.Context, ironic *ironic, r *record) error {
	body := map[string]any{"error": r.Problem}
	if r.Problem == "" {
		raw, err := s.load(ctx, r.UUID, "")
		if err != nil {
			return err
		}
		body = map[string]any{}
		if err := json.Unmarshal(raw, &body); err != nil {
			return fmt.Errorf("%w: stored data: %w", errPermanent, err)
		}
		delete(body, "error")
	}
	err := ironic.finish(ctx, r.UUID, body)
	if gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end the inspection in Ironic: %w", briefly(err))
	}
	return nil
}

// cancel aborts the inspection in Ironic, which it can do only while that
// waits for the ramdisk.
func (s *Service) cancel(ctx context.Context, ironic *ironic, r *record) (time.Duration, error) {
	n, err := ironic.node(ctx, r.UUID)
	if err != nil {
		return 0, err
	}
	switch n.state() {
	case "inspecting":
		if s.now().Sub(r.StartedAt) < s.cfg.Timeout {
			return s.cfg.Retry, nil
		}
	case "inspect wait":
		if err := ironic.provision(ctx, r.UUID, nodes.TargetAbort); err != nil {
			return 0, fmt.Errorf("abort the inspection in Ironic: %w", briefly(err))
		}
	}
	return 0, s.failHere(ctx, r, r.Problem)
}
