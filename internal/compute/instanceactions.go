package compute

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// actionDoc is one thing that was done to a server. Actions outlive the server.
type actionDoc struct {
	Action    string        `json:"action"`
	ProjectID string        `json:"project_id"`
	UserID    string        `json:"user_id"`
	Start     string        `json:"start_time"`
	Updated   string        `json:"updated_at"`
	Message   *string       `json:"message"`
	Events    []actionEvent `json:"events"`
}

type actionEvent struct {
	Event     string  `json:"event"`
	Start     string  `json:"start_time"`
	Finish    *string `json:"finish_time"`
	Result    *string `json:"result"`
	Traceback *string `json:"traceback"`
	Details   *string `json:"details"`
}

// actionRow is an action with what its columns hold.
type actionRow struct {
	actionDoc

	serverID, requestID string
}

// record writes down that an action on a server began.
func record(tx *store.Tx, r *http.Request, serverID, action string) error {
	now := stampMicro()
	doc := actionDoc{Action: action, ProjectID: caller(r).ProjectID, UserID: caller(r).UserID, Start: now, Updated: now,
		Events: []actionEvent{{Event: "compute_" + action, Start: now}}}
	_, err := tx.Exec(`INSERT INTO compute_actions (server_id, request_id, doc) VALUES (?, ?, ?)`, serverID, api.RequestID(r.Context()), store.JSON(doc))
	return err
}

// finish ends the latest action of a server that has not ended.
func finish(tx *store.Tx, serverID string, failure string) error {
	var id int64
	var doc actionDoc
	err := tx.Get([]any{&id, store.JSON(&doc)}, `SELECT id, doc FROM compute_actions WHERE server_id = ? ORDER BY id DESC LIMIT 1`, serverID)
	if isNotFound(err) {
		return nil
	}
	if err != nil || len(doc.Events) == 0 || doc.Events[0].Finish != nil {
		return err
	}
	now, result := stampMicro(), "Success"
	if failure != "" {
		result = "Error"
		doc.Message, doc.Events[0].Details = &result, &failure
	}
	doc.Updated, doc.Events[0].Finish, doc.Events[0].Result = now, &now, &result
	_, err = tx.Exec(`UPDATE compute_actions SET doc = ? WHERE id = ?`, store.JSON(doc), id)
	return err
}

func actionsOf(tx *store.Tx, serverID string) ([]actionRow, error) {
	var out []actionRow
	err := tx.Each(func(scan func(...any) error) error {
		row := actionRow{serverID: serverID}
		err := scan(&row.requestID, store.JSON(&row.actionDoc))
		out = append(out, row)
		return err
	}, `SELECT request_id, doc FROM compute_actions WHERE server_id = ? ORDER BY id DESC`, serverID)
	return out, err
}

func (row *actionRow) view(r *http.Request) map[string]any {
	v := map[string]any{
		"action": row.Action, "instance_uuid": row.serverID, "request_id": row.requestID, "project_id": row.ProjectID, "user_id": row.UserID,
		"start_time": row.Start, "message": row.Message,
	}
	if api.AtLeast(r, "2.58") {
		v["updated_at"] = row.Updated
	}
	return v
}

// mayRead says whether the caller may see what was done to a server that may be
// gone: since 2.21 actions outlive it.
func (svc *Service) mayRead(tx *store.Tx, r *http.Request, rows []actionRow) error {
	id := r.PathValue("id")
	_, err := svc.load(tx, r, serverOf)
	if err == nil {
		return nil
	}
	if api.AtLeast(r, "2.21") && len(rows) > 0 && (caller(r).HasRole("admin", "service") || rows[0].ProjectID == caller(r).ProjectID) {
		return nil
	}
	return notFound(err, "Instance %s could not be found.", id)
}

func (svc *Service) listActions(w http.ResponseWriter, r *http.Request) error {
	page, err := api.ParsePage(r, 1000)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	out := []any{}
	err = svc.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		rows, err := actionsOf(tx, r.PathValue("id"))
		if err != nil {
			return err
		}
		if err := svc.mayRead(tx, r, rows); err != nil {
			return err
		}
		skip := page.Marker != ""
		for i := range rows {
			if skip {
				skip = rows[i].requestID != page.Marker
				continue
			}
			since, before := q.Get("changes-since"), q.Get("changes-before")
			if (since == "" || rows[i].Updated >= since) && (before == "" || rows[i].Updated <= before) && len(out) < page.Limit {
				out = append(out, rows[i].view(r))
			}
		}
		if skip {
			return api.Invalid("marker [%s] not found", page.Marker)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"instanceActions": out})
}

func (svc *Service) showAction(w http.ResponseWriter, r *http.Request) error {
	var v map[string]any
	err := svc.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		rows, err := actionsOf(tx, r.PathValue("id"))
		if err != nil {
			return err
		}
		if err := svc.mayRead(tx, r, rows); err != nil {
			return err
		}
		for i := range rows {
			if rows[i].requestID != r.PathValue("request") {
				continue
			}
			v = rows[i].view(r)
			if caller(r).IsAdmin() || api.AtLeast(r, "2.51") {
				v["events"] = eventViews(r, &rows[i])
			}
			return nil
		}
		return api.NotFound("Action for request_id %s on instance %s not found", r.PathValue("request"), r.PathValue("id"))
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"instanceAction": v})
}

func eventViews(r *http.Request, row *actionRow) []any {
	out := []any{}
	for _, e := range row.Events {
		v := map[string]any{"event": e.Event, "start_time": e.Start, "finish_time": e.Finish, "result": e.Result}
		if caller(r).IsAdmin() {
			v["traceback"] = e.Traceback
		}
		if api.AtLeast(r, "2.62") {
			v["hostId"] = row.serverID
			if caller(r).IsAdmin() {
				v["host"] = undercloudHost
			}
		}
		if api.AtLeast(r, "2.84") {
			v["details"] = e.Details
		}
		out = append(out, v)
	}
	return out
}
