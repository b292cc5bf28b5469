package workflow

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/engine"
	"github.com/tripleo/tripleo/yaql"
)

const eventTriggerColumns = `id, name, project_id, scope, workflow_id, input, params, exchange, topic, event, caller, created_at, updated_at`

// eventTrigger starts a workflow when an event of its exchange, topic and type
// comes (see events.go for where events come from).
type eventTrigger struct {
	id, name, project, scope, workflowID, input, params, exchange, topic, event string
	caller                                                                      engine.Caller
	created, updated                                                            time.Time
}

func scanEventTrigger(tx *store.Tx, scan func(...any) error) (*eventTrigger, error) {
	t := &eventTrigger{}
	input, params := t.secrets(tx)
	err := scan(&t.id, &t.name, &t.project, &t.scope, &t.workflowID, input, params, &t.exchange, &t.topic, &t.event,
		store.JSON(&t.caller), store.Time(&t.created), store.Time(&t.updated))
	return t, err
}

// secrets are the encrypted ones of eventTriggerColumns.
func (t *eventTrigger) secrets(tx *store.Tx) (input, params any) {
	return tx.SealedText(&t.input, "workflow_event_triggers.input"), tx.SealedText(&t.params, "workflow_event_triggers.params")
}

func (t *eventTrigger) doc() *yaql.Map {
	return yaql.MapOf("id", t.id, "name", t.name, "workflow_id", t.workflowID, "workflow_input", t.input, "workflow_params", t.params,
		"exchange", t.exchange, "topic", t.topic, "event", t.event, "scope", t.scope, "project_id", t.project,
		"created_at", stamp(t.created), "updated_at", stamp(t.updated))
}

func (s *Service) getEventTrigger(tx *store.Tx, r *http.Request) (*eventTrigger, error) {
	t, err := scanEventTrigger(tx, tx.QueryRow(`SELECT `+eventTriggerColumns+` FROM workflow_event_triggers WHERE id = ? AND (project_id = ? OR scope = 'public')`,
		r.PathValue("id"), identity(r).ProjectID).Scan)
	if err = store.Wrap(err); errors.Is(err, store.ErrNotFound) {
		return nil, api.NotFound("Event trigger not found [id=%s].", r.PathValue("id"))
	}
	return t, err
}

func (s *Service) listEventTriggers(w http.ResponseWriter, r *http.Request) error {
	text := func(sql string) column { return column{sql: sql} }
	where, args, err := ownOrAll(r, "event triggers")
	if err != nil {
		return err
	}
	if len(args) > 0 {
		where = "(" + where + " OR scope = 'public')"
	}
	return s.reply(w, r, &listing{key: "event_triggers", from: "workflow_event_triggers", selects: eventTriggerColumns, id: "id", sort: "created_at",
		scan: func(tx *store.Tx, scan func(...any) error) (*yaql.Map, error) {
			t, err := scanEventTrigger(tx, scan)
			return t.doc(), err
		},
		columns: map[string]column{"id": text("id"), "name": text("name"), "workflow_id": text("workflow_id"), "exchange": text("exchange"),
			"topic": text("topic"), "event": text("event"), "scope": text("scope"), "project_id": text("project_id"),
			"workflow_input": {"input", kindJSON, ""}, "workflow_params": {"params", kindJSON, ""},
			"created_at": {"created_at", kindTime, ""}, "updated_at": {"updated_at", kindTime, ""}}}, where, args...)
}

func (s *Service) showEventTrigger(w http.ResponseWriter, r *http.Request) error {
	var t *eventTrigger
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		t, err = s.getEventTrigger(tx, r)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, t.doc())
}

// read takes over the fields of a request and checks the workflow and its input.
func (t *eventTrigger) read(ctx context.Context, s *Service, in *yaql.Map, admin bool) error {
	for key, dst := range map[string]*string{"name": &t.name, "scope": &t.scope, "workflow_id": &t.workflowID} {
		if v := str(in, key); v != "" {
			*dst = v
		}
	}
	if t.scope != "private" && t.scope != "public" {
		return api.Invalid("scope is %q, must be private or public", t.scope)
	}
	if t.scope == "public" && !admin {
		return api.Forbidden("only an administrator makes event triggers public: they hear the events of all projects")
	}
	if _, err := uuid.Parse(t.workflowID); err != nil {
		return api.Invalid("Invalid input for field/attribute workflow_id. Value: '%s'. Expected a uuid", t.workflowID)
	}
	for key, dst := range map[string]*string{"workflow_input": &t.input, "workflow_params": &t.params} {
		if _, ok := in.Get(key); !ok {
			continue
		}
		m, err := jsonField(in.Value(key), key)
		if err != nil {
			return err
		}
		if *dst, err = jsonText(m); err != nil {
			return err
		}
	}
	def, err := s.eng.FindWorkflow(ctx, engine.Caller{ProjectID: t.project, Admin: admin}, t.workflowID, "")
	if err != nil {
		return problem(err)
	}
	input, err := jsonField(t.input, "workflow_input")
	if err != nil {
		return err
	}
	return problem(s.eng.CheckInput(def, input))
}

func (s *Service) createEventTrigger(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	now, id := s.cfg.Now(), identity(r)
	t := &eventTrigger{id: uuid.NewString(), project: id.ProjectID, scope: "private", input: "{}", params: "{}",
		exchange: str(in, "exchange"), topic: str(in, "topic"), event: str(in, "event"), created: now, updated: now}
	if t.exchange == "" || t.topic == "" || t.event == "" || str(in, "workflow_id") == "" {
		return api.Invalid("Params exchange, topic, event and workflow_id must be provided for creating event trigger.")
	}
	if err := t.read(r.Context(), s, in, id.IsAdmin()); err != nil {
		return err
	}
	if t.caller, err = s.caller(r.Context(), id, time.Time{}); err != nil {
		return err
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		input, params := t.secrets(tx)
		_, err := tx.Exec(`INSERT INTO workflow_event_triggers (`+eventTriggerColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)`, t.id, t.name, t.project,
			t.scope, t.workflowID, input, params, t.exchange, t.topic, t.event, store.JSON(t.caller), store.At(t.created), store.At(t.updated))
		if errors.Is(err, store.ErrConflict) {
			return api.Conflict("Duplicate entry for EventTrigger ['exchange', 'topic', 'event', 'workflow_id', 'project_id']: %s, %s, %s",
				t.exchange, t.topic, t.event)
		}
		if err != nil || t.exchange != exchangeZaqar {
			return err
		}
		return s.cfg.Jobs.Poke(tx, kindQueue, t.id, nil)
	})
	if err != nil {
		if t.caller.Owned {
			s.eng.DropTrust(context.WithoutCancel(r.Context()), t.caller.TrustID)
		}
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, t.doc())
}

func (s *Service) updateEventTrigger(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	if str(in, "exchange")+str(in, "topic")+str(in, "event") != "" {
		return api.Invalid("Can not update fields exchange, topic, event of event trigger.")
	}
	var t *eventTrigger
	get := func(tx *store.Tx) (err error) {
		if t, err = s.getEventTrigger(tx, r); err == nil && t.project != identity(r).ProjectID && !identity(r).IsAdmin() {
			err = api.Forbidden("event trigger %s belongs to another project", t.id)
		}
		return err
	}
	if err := s.cfg.DB.View(r.Context(), get); err != nil {
		return err
	}
	if err := t.read(r.Context(), s, in, identity(r).IsAdmin()); err != nil {
		return err
	}
	t.updated = s.cfg.Now()
	made, dropped, err := s.takeOver(r, t)
	if err != nil {
		return err
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		input, params := t.secrets(tx)
		_, err := tx.Exec(`UPDATE workflow_event_triggers SET name = ?, scope = ?, workflow_id = ?, input = ?, params = ?, caller = ?, updated_at = ? WHERE id = ?`,
			t.name, t.scope, t.workflowID, input, params, store.JSON(t.caller), store.At(t.updated), t.id)
		return err
	})
	if err != nil {
		dropped = made
	}
	if dropped != "" {
		s.eng.DropTrust(context.WithoutCancel(r.Context()), dropped)
	}
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, t.doc())
}

// takeOver makes who changes a trigger the one it acts for, unless that is an administrator or the same user with the same rights:
// nobody steers what acts with the rights of another. It returns the trusts to drop when the change fails, and
// when it is made.
func (s *Service) takeOver(r *http.Request, t *eventTrigger) (made, old string, err error) {
	id := identity(r)
	if id.IsAdmin() || id.UserID == t.caller.UserID && !t.caller.Admin {
		return "", "", nil
	}
	was := t.caller
	if t.caller, err = s.caller(r.Context(), id, time.Time{}); err != nil {
		return "", "", err
	}
	if t.caller.Owned {
		made = t.caller.TrustID
	}
	if was.Owned {
		old = was.TrustID
	}
	return made, old, nil
}

func (s *Service) deleteEventTrigger(w http.ResponseWriter, r *http.Request) error {
	var t *eventTrigger
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if t, err = s.getEventTrigger(tx, r); err != nil {
			return err
		}
		if t.project != identity(r).ProjectID && !identity(r).IsAdmin() {
			return api.Forbidden("event trigger %s belongs to another project", t.id)
		}
		if _, err := tx.Exec(`DELETE FROM workflow_queue_marks WHERE trigger_id = ?`, t.id); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM workflow_event_triggers WHERE id = ?`, t.id)
		return err
	})
	if err != nil {
		return err
	}
	if t.caller.Owned {
		s.eng.DropTrust(context.WithoutCancel(r.Context()), t.caller.TrustID)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// hears says whether a trigger's event covers a type of event: "*" stands for
// any text.
func (t *eventTrigger) hears(event string) bool {
	pattern := t.event
	if !strings.Contains(pattern, "*") {
		return pattern == event
	}
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(event, parts[0]) {
		return false
	}
	event = event[len(parts[0]):]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(event, part)
		if i < 0 {
			return false
		}
		event = event[i+len(part):]
	}
	return strings.HasSuffix(event, parts[len(parts)-1])
}
