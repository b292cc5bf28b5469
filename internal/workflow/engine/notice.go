package engine

import (
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/yaql"
)

// Exchange and topic of the events that the engine itself tells.
const (
	ExchangeMistral = "mistral"
	TopicNotices    = "notifications"

	// EventPayload is the encrypted column of events.
	EventPayload = "workflow_events.payload"
)

// tell stores the event of an execution's end in the same transaction, if a
// trigger might hear it. What an event started tells nothing: a trigger must
// not feed itself.
func (e *Engine) tell(tx *store.Tx, x *Execution, now time.Time) error {
	if by, ok := x.Params.Value(ParamTriggeredBy).(*yaql.Map); ok && by.Value("type") == TriggerEvent {
		return nil
	}
	name := map[string]string{Success: "WORKFLOW_SUCCEEDED", Error: "WORKFLOW_FAILED", Cancelled: "WORKFLOW_CANCELLED"}[x.State]
	payload, err := sealed(tx, yaql.MapOf("id", x.ID, "name", x.Workflow, "workflow_id", x.WorkflowID, "namespace", x.Namespace, "state", x.State,
		"state_info", nilIfEmpty(x.Info), "project_id", x.ProjectID, "created_at", moment(x.Created), "updated_at", moment(x.Updated)), EventPayload)
	if err != nil {
		return err
	}
	id := uuid.NewString()
	n, err := tx.Exec(`INSERT INTO workflow_events (id, project_id, exchange, topic, event, publisher, payload, created_at)
		SELECT ?, ?, ?, ?, ?, 'workflow', ?, ? FROM workflow_event_triggers WHERE exchange = ? AND topic = ? AND (project_id = ? OR scope = 'public') LIMIT 1`,
		id, x.ProjectID, ExchangeMistral, TopicNotices, name, payload, store.At(now), ExchangeMistral, TopicNotices, x.ProjectID)
	if err != nil || n == 0 {
		return err
	}
	return e.jobs.Poke(tx, KindEvent, id, nil)
}
