package image

import (
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// task is one import and how far it is: pending, processing, success, failure.
type task struct {
	id, imageID, owner, userID, requestID, kind, status, message string
	input                                                        importRequest
	created, updated, expires                                    time.Time
}

func (t *task) done() bool { return t.status == "success" || t.status == "failure" }

const taskColumns = `id, image_id, owner, user_id, request_id, type, status, message, input, created, updated, expires`

func scanTask(scan func(...any) error) (*task, error) {
	t := &task{}
	err := scan(&t.id, &t.imageID, &t.owner, &t.userID, &t.requestID, &t.kind, &t.status, &t.message, store.JSON(&t.input),
		store.Time(&t.created), store.Time(&t.updated), store.Time(&t.expires))
	return t, store.Wrap(err)
}

func getTask(tx *store.Tx, id string) (*task, error) {
	return scanTask(tx.QueryRow(`SELECT `+taskColumns+` FROM image_tasks WHERE id = ?`, id).Scan)
}

func (t *task) insert(tx *store.Tx) error {
	values := []any{
		t.id, t.imageID, t.owner, t.userID, t.requestID, t.kind, t.status, t.message, store.JSON(t.input),
		store.At(t.created), store.At(t.updated), store.At(t.expires),
	}
	_, err := tx.Exec(`INSERT INTO image_tasks (`+taskColumns+`) VALUES `+store.In(len(values)), values...)
	return err
}

// saveTask writes a task's state, and forgets tasks that ended long ago.
func (s *Service) saveTask(tx *store.Tx, t *task) error {
	t.updated = s.now()
	if t.done() {
		t.expires = t.updated.Add(taskLife)
	}
	if _, err := tx.Exec(`UPDATE image_tasks SET status = ?, message = ?, updated = ?, expires = ? WHERE id = ?`,
		t.status, t.message, store.At(t.updated), store.At(t.expires), t.id); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM image_tasks WHERE expires > 0 AND expires < ?`, store.At(t.updated))
	return err
}

func (t *task) document(full bool) document {
	doc := document{
		"id": t.id, "type": t.kind, "status": t.status, "owner": t.owner, "expires_at": api.FormatTime(t.expires),
		"created_at": api.FormatTime(t.created), "updated_at": api.FormatTime(t.updated), "self": "/v2/tasks/" + t.id, "schema": "/v2/schemas/task",
	}
	if !full {
		return doc
	}
	doc["message"], doc["image_id"], doc["request_id"], doc["user_id"] = t.message, t.imageID, t.requestID, t.userID
	doc["input"] = document{"image_id": t.imageID, "import_req": t.input}
	doc["result"] = nil
	if t.status == "success" {
		doc["result"] = document{"image_id": t.imageID}
	}
	return doc
}

// imageTasks answers GET /v2/images/{id}/tasks.
func (s *Service) imageTasks(w http.ResponseWriter, r *http.Request) error {
	out := []document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		m, err := changeable(tx, caller(r), r.PathValue("id"))
		if err != nil {
			return err
		}
		return tx.Each(func(scan func(...any) error) error {
			t, err := scanTask(scan)
			out = append(out, t.document(true))
			return err
		}, `SELECT `+taskColumns+` FROM image_tasks WHERE image_id = ? ORDER BY created`, m.id)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"tasks": out})
}

// listTasks answers GET /v2/tasks: those of the caller's project, of all for
// administrators.
func (s *Service) listTasks(w http.ResponseWriter, r *http.Request) error {
	page, err := api.ParsePage(r, maxLimit)
	if err != nil {
		return err
	}
	if !r.URL.Query().Has("limit") {
		page.Limit = defaultLimit
	}
	q, owner := r.URL.Query(), caller(r).ProjectID
	if seesAll(caller(r)) {
		owner = q.Get("owner")
	}
	out, next := []document{}, ""
	err = s.db.View(r.Context(), func(tx *store.Tx) error {
		after := &task{}
		if page.Marker != "" {
			var err error
			if after, err = getTask(tx, page.Marker); err != nil {
				return api.Invalid("Invalid marker %s: no such task", page.Marker).Wrap(err)
			}
		}
		return tx.Each(func(scan func(...any) error) error {
			t, err := scanTask(scan)
			if err != nil {
				return err
			}
			if len(out) == page.Limit {
				next = str(out[len(out)-1]["id"])
				return nil
			}
			out = append(out, t.document(false))
			return nil
		}, `SELECT `+taskColumns+` FROM image_tasks WHERE (? = '' OR owner = ?) AND (? = '' OR status = ?) AND (? = '' OR type = ?)
			AND (? = '' OR created < ? OR created = ? AND id > ?) ORDER BY created DESC, id LIMIT ?`,
			owner, owner, q.Get("status"), q.Get("status"), q.Get("type"), q.Get("type"),
			after.id, store.At(after.created), store.At(after.created), after.id, page.Limit+1)
	})
	if err != nil {
		return err
	}
	doc := document{"tasks": out, "first": "/v2/tasks" + query(q, ""), "schema": "/v2/schemas/tasks"}
	if next != "" {
		doc["next"] = "/v2/tasks" + query(q, next)
	}
	return api.WriteJSON(w, http.StatusOK, doc)
}

func (s *Service) showTask(w http.ResponseWriter, r *http.Request) error {
	var t *task
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		t, err = getTask(tx, r.PathValue("id"))
		if isNotFound(err) || err == nil && t.owner != caller(r).ProjectID && !seesAll(caller(r)) {
			return api.NotFound("Could not find task %s", r.PathValue("id"))
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, t.document(true))
}

// createTask answers POST /v2/tasks: the older way to import from a URL, which
// makes the image too.
func (s *Service) createTask(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Type  string `json:"type"`
		Input struct {
			From       string   `json:"import_from"`
			Format     string   `json:"import_from_format"`
			Properties document `json:"image_properties"`
		} `json:"input"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	if in.Type != "import" {
		return api.Invalid("task type is %q, expected import", in.Type)
	}
	if err := s.checkURI(in.Input.From); err != nil {
		return err
	}
	c, now := caller(r), s.now()
	m := &image{
		id: uuid.NewString(), owner: c.ProjectID, visibility: "shared", status: "queued",
		tags: []string{}, properties: map[string]string{}, created: now, updated: now,
	}
	props := document{"disk_format": in.Input.Format, "container_format": "bare"}
	for k, v := range in.Input.Properties {
		props[k] = v
	}
	for name, value := range props {
		if err := m.set(c, name, value); err != nil {
			return err
		}
	}
	m.status = "importing"
	var req importRequest
	req.Method.Name, req.Method.URI = "web-download", in.Input.From
	var t *task
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if err := insert(tx, m); err != nil {
			return err
		}
		if err := s.startTask(tx, r, m.id, "import", req); err != nil {
			return err
		}
		var err error
		t, err = scanTask(tx.QueryRow(`SELECT `+taskColumns+` FROM image_tasks WHERE image_id = ?`, m.id).Scan)
		return err
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", s.cfg.BaseURL+"/v2/tasks/"+t.id)
	return api.WriteJSON(w, http.StatusCreated, t.document(true))
}

func str(v any) string { s, _ := v.(string); return s }
