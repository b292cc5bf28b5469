package introspection

import (
	"context"
	"errors"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// The states of an introspection, as the API shows them.
const (
	stateStarting   = "starting"
	stateWaiting    = "waiting"
	stateProcessing = "processing"
	stateReapplying = "reapplying"
	stateFinishing  = "finishing"
	stateFinished   = "finished"
	stateError      = "error"
	stateAborting   = "aborting"
)

// record is the introspection of one node, the latest one.
type record struct {
	UUID       string    `json:"uuid"` // of the node
	State      string    `json:"state"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
	Error      string    `json:"error"`
	Problem    string    `json:"problem,omitempty"` // what Error becomes once Ironic is told
	LastTry    string    `json:"last_try,omitempty"`
	Asked      bool      `json:"asked,omitempty"` // Ironic has accepted the verb inspect
	Told       bool      `json:"told,omitempty"`  // Ironic has accepted the end
	Discovered bool      `json:"discovered,omitempty"`
}

func (r *record) finished() bool { return r.State == stateFinished || r.State == stateError }

// topic is where changes of an introspection are announced.
func topic(uuid string) string { return "introspection/node/" + uuid }

func getRecord(tx *store.Tx, id string) (*record, error) {
	r := &record{}
	err := tx.Get([]any{store.JSON(r)}, `SELECT doc FROM introspection_nodes WHERE uuid = ?`, id)
	return r, err
}

func (s *Service) putRecord(tx *store.Tx, r *record) error {
	finished := 0
	if r.finished() {
		finished = 1
	}
	_, err := tx.Exec(`INSERT INTO introspection_nodes (uuid, state, finished, started_at, doc) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (uuid) DO UPDATE SET state = excluded.state, finished = excluded.finished, started_at = excluded.started_at, doc = excluded.doc`,
		r.UUID, r.State, finished, store.At(r.StartedAt), store.JSON(r))
	s.cfg.Bus.PublishTx(tx, topic(r.UUID))
	return err
}

var errSuperseded = errors.New("the introspection was replaced by another")

// change alters a record that is still in the state the caller saw.
func (s *Service) change(ctx context.Context, seen *record, fn func(tx *store.Tx, r *record) error) (*record, error) {
	var out *record
	err := s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		r, err := getRecord(tx, seen.UUID)
		if err != nil {
			return err
		}
		if r.State != seen.State || !r.StartedAt.Equal(seen.StartedAt) {
			return errSuperseded
		}
		if err := fn(tx, r); err != nil {
			return err
		}
		out = r
		return s.putRecord(tx, r)
	})
	return out, err
}

func (s *Service) record(ctx context.Context, id string) (r *record, err error) {
	err = s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		r, err = getRecord(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			return api.NotFound("Could not find introspection of node %s in cache", id)
		}
		return err
	})
	return r, err
}

const timeLayout = "2006-01-02T15:04:05"

func wireTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(timeLayout)
}

func (s *Service) wire(r *record) map[string]any {
	state := r.State
	switch state { // our own names for parts of what inspector knows
	case stateFinishing, stateAborting:
		state = stateProcessing
	}
	var problem any
	if r.Error != "" {
		problem = r.Error
	}
	return map[string]any{
		"uuid": r.UUID, "finished": r.finished(), "state": state, "started_at": wireTime(r.StartedAt), "finished_at": wireTime(r.FinishedAt),
		"error": problem, "links": s.link("/v1/introspection/" + r.UUID),
	}
}
