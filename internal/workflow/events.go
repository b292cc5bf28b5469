package workflow

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/engine"
	"github.com/tripleo/tripleo/yaql"
)

// Events come from four places:
//
//   - the services of the undercloud, which tell what they did (notify.Bus.Tell)
//     under the names of OpenStack's notifications, in the transaction that did it.
//   - POST /v2/events, for services and whatever else has something to tell: a
//     notification {exchange, topic, event_type, publisher_id, payload}. It is
//     stored first and given to the triggers by a job.
//   - the queues of Zaqar: a trigger of exchange "zaqar" hears the messages of
//     the queue named by its topic; the type of a message is the member
//     "event_type" or "type" of its body.
//   - this service itself: exchange "mistral", topic "notifications", events
//     WORKFLOW_SUCCEEDED, WORKFLOW_FAILED and WORKFLOW_CANCELLED when a root
//     execution ends (except for those that an event trigger started, so that a
//     trigger cannot feed itself).
//
// A private trigger hears the events of its own project, a public one those of
// all; what belongs to no project (a node without an owner) is heard by the
// triggers that an administrator made. The execution's params hold the event as "event_params"; its id follows
// from event and trigger, so that an event starts a workflow once.

const (
	kindEvent     = engine.KindEvent // key: id of the event
	kindQueue     = "workflow.queue" // key: id of a trigger of exchange "zaqar"
	exchangeZaqar = "zaqar"

	maxEvent = 1 << 20 // bytes of a payload
)

// event is what a trigger hears.
type event struct {
	id, project, exchange, topic, name, publisher string
	payload                                       any
	at                                            time.Time
}

func (s *Service) createEvent(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	id := identity(r)
	e := event{id: uuid.NewString(), project: id.ProjectID, exchange: str(in, "exchange"), topic: str(in, "topic"), name: str(in, "event_type"),
		publisher: str(in, "publisher_id"), payload: in.Value("payload"), at: s.cfg.Now()}
	if p := str(in, "project_id"); p != "" && p != e.project {
		if !id.HasRole("admin", "service") {
			return api.Forbidden("only a service or an administrator tells events of other projects")
		}
		e.project = p
	}
	if e.exchange == "" || e.topic == "" || e.name == "" {
		return api.Invalid("exchange, topic and event_type must be provided.")
	}
	text, err := jsonText(e.payload)
	if err != nil {
		return err
	}
	if len(text) > maxEvent {
		return api.TooLarge("the payload has %d bytes, the limit is %d", len(text), maxEvent)
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error { return s.keepEvent(tx, e, text) })
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusAccepted, yaql.MapOf("id", e.id))
}

// Hear takes a notification of a service in the transaction of what it tells of.
// One that no trigger waits for costs a look at the triggers.
func (s *Service) Hear(tx *store.Tx, n notify.Notification) error {
	triggers := 0
	err := tx.Get([]any{&triggers}, `SELECT COUNT(*) FROM workflow_event_triggers WHERE exchange = ? AND topic = ? AND (project_id = ? OR scope = 'public' OR ? = '')`,
		n.Exchange, n.Topic, n.Project, n.Project)
	if err != nil || triggers == 0 {
		return err
	}
	payload, err := yaql.JSON(n.Payload)
	if err != nil {
		return fmt.Errorf("payload of %s: %w", n.EventType, err)
	}
	if len(payload) > maxEvent {
		s.cfg.Log.Warn("a notification is too large for event triggers", "event", n.EventType, "bytes", len(payload), "limit", maxEvent)
		return nil
	}
	return s.keepEvent(tx, event{id: uuid.NewString(), project: n.Project, exchange: n.Exchange, topic: n.Topic, name: n.EventType, publisher: n.Publisher,
		at: s.cfg.Now()}, string(payload))
}

// keepEvent stores an event for the job that delivers it.
func (s *Service) keepEvent(tx *store.Tx, e event, payload string) error {
	_, err := tx.Exec(`INSERT INTO workflow_events (id, project_id, exchange, topic, event, publisher, payload, created_at) VALUES (?,?,?,?,?,?,?,?)`,
		e.id, e.project, e.exchange, e.topic, e.name, e.publisher, tx.SealedText(&payload, engine.EventPayload), store.At(e.at))
	if err != nil {
		return err
	}
	return s.cfg.Jobs.Poke(tx, kindEvent, e.id, nil)
}

// deliver gives a stored event to the triggers that hear it.
func (s *Service) deliver(ctx context.Context, j jobs.Job) jobs.Result {
	e := event{id: j.Key}
	var payload string
	var triggers []*eventTrigger
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		err := tx.Get([]any{&e.project, &e.exchange, &e.topic, &e.name, &e.publisher, tx.SealedText(&payload, engine.EventPayload), store.Time(&e.at)},
			`SELECT project_id, exchange, topic, event, publisher, payload, created_at FROM workflow_events WHERE id = ?`, e.id)
		if err != nil {
			return err
		}
		return tx.Each(func(scan func(...any) error) error {
			t, err := scanEventTrigger(tx, scan)
			if err == nil && t.hears(e.name) && (e.project != "" || t.scope == "public" || t.caller.Admin) {
				triggers = append(triggers, t)
			}
			return err
		}, `SELECT `+eventTriggerColumns+` FROM workflow_event_triggers WHERE exchange = ? AND topic = ? AND (project_id = ? OR scope = 'public' OR ? = '')
			ORDER BY created_at`, e.exchange, e.topic, e.project, e.project)
	})
	if errors.Is(err, store.ErrNotFound) {
		return jobs.Done()
	}
	if err == nil {
		e.payload, err = yaql.ParseJSON([]byte(payload))
	}
	if err != nil {
		return jobs.Fail(err)
	}
	for _, t := range triggers {
		if err := s.trigger(ctx, t, e, nil); err != nil {
			return jobs.Fail(err)
		}
	}
	err = s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM workflow_events WHERE id = ?`, e.id)
		return err
	})
	if err != nil {
		return jobs.Fail(err)
	}
	return jobs.Done()
}

// trigger starts the workflow of a trigger for an event, once. before runs in
// the transaction that starts it.
func (s *Service) trigger(ctx context.Context, t *eventTrigger, e event, before func(tx *store.Tx) error) error {
	input, err1 := jsonField(t.input, "workflow_input")
	params, err2 := jsonField(t.params, "workflow_params")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if params, err1 = s.withEnv(ctx, params, t.project); err1 != nil {
		s.cfg.Log.Error("event trigger cannot start its workflow", "trigger", t.id, "workflow", t.workflowID, "error", err1)
		return nil
	}
	params.Set("event_params", yaql.MapOf("event_type", e.name, "exchange", e.exchange, "topic", e.topic, "publisher_id", e.publisher,
		"timestamp", stamp(e.at), "project_id", e.project, "payload", e.payload))
	params.Set(engine.ParamTriggeredBy, yaql.MapOf("type", engine.TriggerEvent, "id", t.id, "name", t.name))
	caller := t.caller
	caller.Owned = false // the trust is the trigger's
	_, err := s.eng.Start(ctx, engine.Start{ID: uuid.NewSHA1(uuid.NameSpaceOID, []byte(t.id+"\x00"+e.id)).String(), Workflow: t.workflowID,
		Input: input, Params: params, Caller: caller, Description: "Workflow execution created by event trigger '" + t.name + "'."}, before)
	switch {
	case errors.Is(err, store.ErrConflict):
		return nil // it was started before a crash
	case engine.IsNotFound(err), errors.As(err, new(*engine.InputError)):
		s.cfg.Log.Error("event trigger cannot start its workflow", "trigger", t.id, "workflow", t.workflowID, "error", err)
		return nil
	}
	return err
}

// listen reads the queue of a trigger of exchange "zaqar" from where it
// stopped, and waits for more.
func (s *Service) listen(ctx context.Context, j jobs.Job) jobs.Result {
	var t *eventTrigger
	marker := ""
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		t, err = scanEventTrigger(tx, tx.QueryRow(`SELECT `+eventTriggerColumns+` FROM workflow_event_triggers WHERE id = ?`, j.Key).Scan)
		if err = store.Wrap(err); err != nil {
			return err
		}
		err = tx.Get([]any{&marker}, `SELECT marker FROM workflow_queue_marks WHERE trigger_id = ?`, t.id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return jobs.Done()
	}
	if err != nil {
		return jobs.Fail(err)
	}
	session, err := s.eng.Session(ctx, t.caller)
	if err != nil || session == nil {
		return jobs.Fail(errors.Join(err, errors.New("no session to read the queue with")))
	}
	client, err := session.Messaging(t.id)
	if err != nil {
		return jobs.Fail(err)
	}
	for {
		page, err := readQueue(ctx, client, t.topic, marker)
		if err != nil {
			return jobs.Fail(err)
		}
		for _, m := range page.Messages {
			if err := s.hear(ctx, t, m); err != nil {
				return jobs.Fail(err)
			}
		}
		if next := page.marker(); next != "" && next != marker {
			marker = next
			if err := s.mark(ctx, t.id, marker); err != nil {
				return jobs.Fail(err)
			}
		}
		if len(page.Messages) == 0 {
			return jobs.Wait(time.Minute, "messaging/queue/"+t.project+"/"+t.topic)
		}
	}
}

func (s *Service) mark(ctx context.Context, trigger, marker string) error {
	return s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO workflow_queue_marks (trigger_id, marker) VALUES (?, ?) ON CONFLICT (trigger_id) DO UPDATE SET marker = excluded.marker`,
			trigger, marker)
		return err
	})
}

// hear starts the workflow if a message is one the trigger waits for and came
// after the trigger was made.
func (s *Service) hear(ctx context.Context, t *eventTrigger, m queueMessage) error {
	at := s.cfg.Now().Add(-time.Duration(m.Age) * time.Second)
	if at.Before(t.created.Add(-2 * time.Second)) { // ages are whole seconds
		return nil
	}
	name := ""
	if obj, ok := m.Body.(map[string]any); ok {
		for _, key := range []string{"type", "event_type"} {
			if v, ok := obj[key].(string); ok {
				name = v
			}
		}
	}
	if !t.hears(name) {
		return nil
	}
	return s.trigger(ctx, t, event{id: m.ID, project: t.project, exchange: exchangeZaqar, topic: t.topic, name: name, payload: m.Body, at: at}, nil)
}

// queueMessage is a message of Zaqar.
type queueMessage struct {
	ID   string `json:"id"`
	Age  int64  `json:"age"`
	Body any    `json:"body"`
}

type queuePage struct {
	Messages []queueMessage `json:"messages"`
	Links    []struct {
		Rel  string `json:"rel"`
		Href string `json:"href"`
	} `json:"links"`
}

// marker is where the next page begins.
func (p *queuePage) marker() string {
	for _, l := range p.Links {
		if u, err := url.Parse(l.Href); err == nil && l.Rel == "next" {
			return u.Query().Get("marker")
		}
	}
	return ""
}

// readQueue reads a page of a queue, all producers' messages, claimed or not.
func readQueue(ctx context.Context, client *gophercloud.ServiceClient, queue, marker string) (*queuePage, error) {
	q := url.Values{"echo": {"true"}, "include_claimed": {"true"}, "limit": {"20"}}
	if marker != "" {
		q.Set("marker", marker)
	}
	page := &queuePage{}
	target := client.ServiceURL("v2", "queues", url.PathEscape(queue), "messages") + "?" + q.Encode()
	_, err := client.Get(ctx, target, page, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK, http.StatusNoContent}, MoreHeaders: client.MoreHeaders})
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return page, nil // the queue comes with its first message
	}
	return page, err
}
