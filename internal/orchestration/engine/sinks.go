package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/messaging/v2/messages"

	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// JobSink is the kind of the jobs that carry events to the queues an environment names in event_sinks.
const JobSink = "heat.sink"

// sinkTTL is how long a message lives in a queue when the sink does not say it, in seconds; Zaqar's default.
const sinkTTL = 3600

// sinkBatch is how many messages one call posts.
const sinkBatch = 20

// record writes events, and puts them into the outbox for the event sinks of env.
func (e *Engine) record(tx *store.Tx, env *hot.Environment, events ...*Event) error {
	if err := insert(tx, "heat_events", eventColumns, len(events), func(i int) []any { return events[i].values() }); err != nil {
		return err
	}
	for _, ev := range events {
		if err := e.tell(tx, ev); err != nil {
			return err
		}
	}
	if env == nil || len(env.EventSinks) == 0 {
		return nil
	}
	for _, ev := range events {
		for _, sink := range env.EventSinks {
			if err := e.mail(tx, sink, ev); err != nil {
				return err
			}
		}
	}
	return nil
}

// tell notifies of what befell a stack, as Heat does on exchange heat:
// orchestration.stack.create.start, .end or .error.
func (e *Engine) tell(tx *store.Tx, ev *Event) error {
	phase := map[string]string{InProgress: "start", Complete: "end", Failed: "error"}[ev.Status]
	if phase == "" || ev.PhysicalID != ev.StackID {
		return nil
	}
	return e.cfg.Bus.Tell(tx, notify.Notification{Exchange: "heat", Topic: "notifications", Publisher: "orchestration.tripleo", Project: ev.ProjectID,
		EventType: "orchestration.stack." + strings.ToLower(ev.Action) + "." + phase,
		Payload: map[string]any{"tenant_id": ev.ProjectID, "stack_name": ev.StackName, "stack_identity": ev.StackID, "root_stack_id": ev.RootID,
			"state": ev.Action + "_" + ev.Status, "state_reason": ev.Reason, "create_at": ev.Created.UTC().Format("2006-01-02T15:04:05Z")}})
}

// recordStack writes the event of a stack's present state.
func (e *Engine) recordStack(tx *store.Tx, st *Stack) error {
	env, err := e.env(tx, st.Def.EnvID)
	if err != nil {
		return err
	}
	return e.record(tx, env, e.stackEvent(st))
}

func (e *Engine) mail(tx *store.Tx, sink any, ev *Event) error {
	m, _ := sink.(*Map)
	if kind, _ := m.Get("type"); kind != "zaqar-queue" {
		return nil // refused by validation
	}
	target, _ := m.Get("target")
	ttl := int64(sinkTTL)
	if v, ok := m.Get("ttl"); ok {
		if n, ok := hot.ToNumber(v); ok {
			if i, ok := n.(int64); ok && i > 0 {
				ttl = i
			}
		}
	}
	body := yaml11.MapOf("timestamp", ev.Created.UTC().Format("2006-01-02T15:04:05Z"), "version", "0.1", "type", "os.heat.event", "id", ev.ID,
		"payload", yaml11.MapOf("version", "0.1", "stack_id", ev.StackID, "stack_name", ev.StackName, "project_id", ev.ProjectID, "root_stack_id", ev.RootID,
			"resource_name", ev.ResourceName, "resource_type", ev.ResourceType, "resource_action", ev.Action, "resource_status", ev.Status,
			"resource_status_reason", ev.Reason, "physical_resource_id", ev.PhysicalID, "resource_path", ev.Path))
	if _, err := tx.Exec("INSERT INTO heat_outbox (root_id, queue, ttl, body) VALUES (?, ?, ?, ?)", ev.RootID, hot.PyStr(target), ttl, store.JSON(body)); err != nil {
		return fmt.Errorf("event sink: %w", err)
	}
	return e.cfg.Jobs.Poke(tx, JobSink, ev.RootID, nil)
}

// letter is a row of heat_outbox.
type letter struct {
	seq, ttl int64
	queue    string
	body     map[string]any
}

// runSink posts what the outbox of a tree of stacks holds, in order. A crash between posting and forgetting
// posts a message again: its id tells.
func (e *Engine) runSink(ctx ctxType, j jobs.Job) jobs.Result {
	var list []letter
	var trust string
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) error {
		st, err := GetStack(tx, j.Key)
		if err != nil {
			return err
		}
		trust = st.TrustID
		return tx.Each(func(scan func(...any) error) error {
			var l letter
			err := scan(&l.seq, &l.queue, &l.ttl, store.JSON(&l.body))
			list = append(list, l)
			return err
		}, "SELECT seq, queue, ttl, body FROM heat_outbox WHERE root_id = ? ORDER BY seq LIMIT ?", j.Key, sinkBatch)
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return jobs.Done()
	case err != nil:
		return jobs.Fail(err)
	case len(list) == 0:
		return jobs.Done()
	}
	same := 1
	for same < len(list) && list[same].queue == list[0].queue {
		same++
	}
	list = list[:same]
	if err := e.deliver(ctx, trust, list); err != nil {
		if j.Attempt < 5 {
			return jobs.Fail(fmt.Errorf("event sink %s: %w", list[0].queue, err))
		}
		e.cfg.Log.WarnContext(ctx, "events dropped: their sink cannot be reached", "queue", list[0].queue, "stack", j.Key, "error", err)
	}
	err = e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec("DELETE FROM heat_outbox WHERE root_id = ? AND seq <= ?", j.Key, list[len(list)-1].seq)
		return err
	})
	if err != nil {
		return jobs.Fail(err)
	}
	return jobs.After(0)
}

func (e *Engine) deliver(ctx ctxType, trust string, list []letter) error {
	s, err := e.session(ctx, trust)
	if err != nil {
		return err
	}
	zaqar, err := s.Messaging(uuid.NewString())
	if err != nil {
		return err
	}
	opts := make(messages.BatchCreateOpts, len(list))
	for i, l := range list {
		opts[i] = messages.CreateOpts{TTL: int(l.ttl), Body: l.body}
	}
	return messages.Create(ctx, zaqar, list[0].queue, opts).Err
}
