package introspection

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/introspection/hooks"
	"github.com/tripleo/tripleo/internal/store"
)

// maxData bounds what a ramdisk may send, in bytes; most of it is its logs.
const maxData = 32 << 20

func (s *Service) start(w http.ResponseWriter, r *http.Request) error {
	ironic, err := s.ironic(r.Context())
	if err != nil {
		return err
	}
	n, err := ironic.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	switch n.state() {
	case "manageable", "inspect failed", "inspecting", "inspect wait":
	default:
		return api.Invalid("Invalid provision state for introspection: %q, valid states are \"['manageable', 'inspecting', 'inspect wait', 'inspect failed']\"", n.state())
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		old, err := getRecord(tx, n.uuid())
		if err == nil && !old.finished() {
			return api.Conflict("Introspection of node %s is under way (%s)", n.uuid(), old.State)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := s.putRecord(tx, &record{UUID: n.uuid(), State: stateStarting, StartedAt: s.now()}); err != nil {
			return err
		}
		return s.cfg.Jobs.Poke(tx, jobNode, n.uuid(), nil)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// resolve turns a node's name into its UUID.
func (s *Service) resolve(r *http.Request) (string, error) {
	ident := r.PathValue("node")
	if id, err := uuid.Parse(ident); err == nil {
		return id.String(), nil
	}
	ironic, err := s.ironic(r.Context())
	if err != nil {
		return "", err
	}
	n, err := ironic.node(r.Context(), ident)
	if err != nil {
		return "", err
	}
	return n.uuid(), nil
}

func (s *Service) status(w http.ResponseWriter, r *http.Request) error {
	id, err := s.resolve(r)
	if err != nil {
		return err
	}
	rec, err := s.record(r.Context(), id)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, s.wire(rec))
}

// list serves all introspections, the latest first.
func (s *Service) list(w http.ResponseWriter, r *http.Request) error {
	page, err := api.ParsePage(r, 1000)
	if err != nil {
		return err
	}
	out := []any{}
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		q, args := `SELECT doc FROM introspection_nodes`, []any{}
		if page.Marker != "" {
			var at, id int64
			err := tx.Get([]any{&at, &id}, `SELECT started_at, id FROM introspection_nodes WHERE uuid = ?`, page.Marker)
			if errors.Is(err, store.ErrNotFound) {
				return api.NotFound("Could not find marker %s", page.Marker)
			}
			if err != nil {
				return err
			}
			q, args = q+` WHERE (started_at < ? OR (started_at = ? AND id < ?))`, []any{at, at, id}
		}
		args = append(args, page.Limit)
		return tx.Each(func(scan func(...any) error) error {
			rec := &record{}
			if err := scan(store.JSON(rec)); err != nil {
				return err
			}
			out = append(out, s.wire(rec))
			return nil
		}, q+` ORDER BY started_at DESC, id DESC LIMIT ?`, args...)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"introspection": out})
}

func (s *Service) abort(w http.ResponseWriter, r *http.Request) error {
	id, err := s.resolve(r)
	if err != nil {
		return err
	}
	rec, err := s.record(r.Context(), id)
	if err != nil {
		return err
	}
	if rec.finished() || rec.State == stateAborting {
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	_, err = s.change(r.Context(), rec, func(tx *store.Tx, rec *record) error {
		rec.State, rec.Problem = stateAborting, "Canceled by operator"
		return s.cfg.Jobs.Poke(tx, jobNode, id, nil)
	})
	if errors.Is(err, errSuperseded) {
		return api.Conflict("Introspection of node %s has just changed, try again", id)
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// proceed takes what a ramdisk found. Who sends it need not be known: it
// counts only for a node that Ironic has in inspection.
func (s *Service) proceed(w http.ResponseWriter, r *http.Request) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var data map[string]any
	if err := api.DecodeJSON(raw, &data); err != nil {
		return err
	}
	ironic, err := s.ironic(r.Context())
	if err != nil {
		return err
	}
	n, err := ironic.byMACs(r.Context(), hooks.MACs(data))
	discovered := errors.Is(err, errUnknownMachine) && s.cfg.EnrollDriver != ""
	if discovered {
		if n, err = s.enroll(r.Context(), ironic, data); err != nil {
			return err
		}
		data["auto_discovered"] = true
		if raw, err = json.Marshal(data); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	id := n.uuid()
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		rec, err := getRecord(tx, id)
		switch {
		case err == nil && rec.Discovered && rec.State == stateFinished && n.state() == "enroll":
			return nil // the ramdisk repeats itself: its first report has made the node
		case errors.Is(err, store.ErrNotFound) || err == nil && rec.finished():
			if discovered {
				rec = &record{UUID: id, StartedAt: s.now(), Discovered: true}
				break
			}
			// `openstack baremetal node inspect`: Ironic has started by itself.
			if n.state() != "inspect wait" && n.state() != "inspecting" {
				return api.NotFound("Node %s is not being introspected (its state is %s)", id, n.state())
			}
			rec = &record{UUID: id, StartedAt: s.now(), Asked: true}
		case err != nil:
			return err
		case rec.State == stateProcessing || rec.State == stateFinishing:
			return nil // the ramdisk repeats itself: its first report was taken
		case rec.State != stateWaiting && rec.State != stateStarting:
			return api.Conflict("Introspection of node %s takes no data in state %s", id, rec.State)
		}
		rec.State, rec.Asked, rec.LastTry = stateProcessing, !discovered, ""
		if err := s.putRecord(tx, rec); err != nil {
			return err
		}
		if err := putData(tx, id, raw); err != nil {
			return err
		}
		return s.cfg.Jobs.Poke(tx, jobNode, id, nil)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"uuid": id})
}

func putData(tx *store.Tx, id string, raw []byte) error {
	_, err := tx.Exec(`INSERT INTO introspection_data (uuid, body) VALUES (?, ?) ON CONFLICT (uuid) DO UPDATE SET body = excluded.body`, id, string(raw))
	return err
}

func (s *Service) data(w http.ResponseWriter, r *http.Request) error {
	name := ""
	if v := r.URL.Query().Get("processed"); v == "False" || v == "false" || v == "0" {
		name = unprocessedSuffix
	}
	return s.writeData(w, r, name)
}

func (s *Service) unprocessed(w http.ResponseWriter, r *http.Request) error {
	return s.writeData(w, r, unprocessedSuffix)
}

func (s *Service) writeData(w http.ResponseWriter, r *http.Request, suffix string) error {
	id, err := s.resolve(r)
	if err != nil {
		return err
	}
	raw, err := s.load(r.Context(), id, suffix)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, json.RawMessage(raw))
}

// reapply processes stored data (or the data given) again, after hints or
// rules were changed. The machine is left alone.
func (s *Service) reapply(w http.ResponseWriter, r *http.Request) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	id, err := s.resolve(r)
	if err != nil {
		return err
	}
	if len(raw) > 0 {
		var data map[string]any
		if err := api.DecodeJSON(raw, &data); err != nil {
			return err
		}
	} else if raw, err = s.load(r.Context(), id, unprocessedSuffix); err != nil {
		return err
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		rec, err := getRecord(tx, id)
		if err == nil && !rec.finished() {
			return api.Conflict("Introspection of node %s is under way (%s)", id, rec.State)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := s.putRecord(tx, &record{UUID: id, State: stateReapplying, StartedAt: s.now()}); err != nil {
			return err
		}
		if err := putData(tx, id, raw); err != nil {
			return err
		}
		return s.cfg.Jobs.Poke(tx, jobNode, id, nil)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}
