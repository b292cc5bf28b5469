package workflow

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/yaql"
)

const workbookColumns = `id, name, namespace, project_id, scope, definition, tags, created_at, updated_at`

func scanWorkbook(scan func(...any) error) (*yaql.Map, error) {
	var id, name, namespace, project, scope, text string
	var tags []string
	var created, updated time.Time
	if err := scan(&id, &name, &namespace, &project, &scope, &text, store.JSON(&tags), store.Time(&created), store.Time(&updated)); err != nil {
		return nil, err
	}
	return yaql.MapOf("id", id, "name", name, "namespace", namespace, "definition", text, "tags", tagList(tags), "scope", scope,
		"project_id", project, "created_at", stamp(created), "updated_at", stamp(updated)), nil
}

func (s *Service) getWorkbook(tx *store.Tx, name, namespace string, id *auth.Identity) (*yaql.Map, error) {
	where, args := visibleTo(id)
	args = append([]any{name, namespace}, args...)
	m, err := scanWorkbook(tx.QueryRow(`SELECT `+workbookColumns+` FROM workflow_workbooks WHERE name = ? AND namespace = ? AND `+where+`
		ORDER BY CASE WHEN project_id = ? THEN 0 ELSE 1 END LIMIT 1`, append(args, id.ProjectID)...).Scan)
	if err = store.Wrap(err); errors.Is(err, store.ErrNotFound) {
		return nil, api.NotFound("Workbook not found [workbook_name=%s, namespace=%s]", name, namespace)
	}
	return m, err
}

// saveWorkbook stores a workbook with its workflows and actions, atomically.
func (s *Service) saveWorkbook(ctx context.Context, id *auth.Identity, sv save) error {
	wb, err := dsl.ParseWorkbook(sv.text, s.eng.Check)
	if err != nil {
		return invalidDSL(err)
	}
	now := s.cfg.Now()
	err = s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		if err := s.putWorkbook(tx, id, wb, sv, now); err != nil {
			return err
		}
		// What the workbook no longer holds is gone; running executions keep their text.
		_, err := tx.Exec(`DELETE FROM workflow_definitions WHERE workbook = ? AND namespace = ? AND project_id = ? AND updated_at < ?`,
			wb.Name, sv.namespace, id.ProjectID, store.At(now))
		return err
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

func (s *Service) putWorkbook(tx *store.Tx, id *auth.Identity, wb *dsl.Workbook, sv save, now time.Time) error {
	var have, text string
	err := tx.Get([]any{&have, &text}, `SELECT id, definition FROM workflow_workbooks WHERE name = ? AND namespace = ? AND project_id = ?`,
		wb.Name, sv.namespace, id.ProjectID)
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case err == nil && sv.lenient && text == sv.text:
		return errUnchanged
	case err == nil && !sv.replace:
		return api.Conflict("Duplicate entry for Workbook ['name', 'namespace', 'project_id']: %s", wb.Name)
	case err != nil && !sv.create:
		return api.NotFound("Workbook not found [workbook_name=%s, namespace=%s]", wb.Name, sv.namespace)
	case err == nil:
		_, err = tx.Exec(`UPDATE workflow_workbooks SET scope = ?, definition = ?, tags = ?, updated_at = ? WHERE id = ?`,
			sv.scope, sv.text, store.JSON(nonNil(wb.Tags)), store.At(now), have)
	default:
		_, err = tx.Exec(`INSERT INTO workflow_workbooks (`+workbookColumns+`) VALUES (?,?,?,?,?,?,?,?,?)`, uuid.NewString(), wb.Name,
			sv.namespace, id.ProjectID, sv.scope, sv.text, store.JSON(nonNil(wb.Tags)), store.At(now), store.At(now))
	}
	if err != nil {
		return err
	}
	sv.create, sv.replace = true, true
	for _, wf := range wb.Workflows {
		row := workflowRow(wb.Name, wf)
		if _, err := s.put(tx, id, row, sv, now); err != nil {
			return err
		}
	}
	for _, a := range wb.Actions {
		if _, err := s.put(tx, id, actionRow(wb.Name, a), sv, now); err != nil {
			return err
		}
	}
	return nil
}

// workbookList lists workbooks.
func workbookList() *listing {
	text := func(sql string) column { return column{sql: sql} }
	return &listing{key: "workbooks", from: "workflow_workbooks", selects: workbookColumns, id: "id", sort: "created_at", scan: plain(scanWorkbook),
		columns: map[string]column{
			"id": text("id"), "name": text("name"), "scope": text("scope"), "project_id": text("project_id"),
			"tags": {"tags", kindTags, ""}, "namespace": text("namespace"), "definition": text("definition"),
			"created_at": {"created_at", kindTime, ""}, "updated_at": {"updated_at", kindTime, ""},
		}}
}

func (s *Service) listWorkbooks(w http.ResponseWriter, r *http.Request) error {
	where, args := visibleTo(identity(r))
	return s.reply(w, r, workbookList(), where, args...)
}

func (s *Service) createWorkbook(w http.ResponseWriter, r *http.Request) error {
	return s.storeWorkbook(w, r, http.StatusCreated, func(sv *save) { sv.create = true })
}

func (s *Service) updateWorkbook(w http.ResponseWriter, r *http.Request) error {
	return s.storeWorkbook(w, r, http.StatusOK, func(sv *save) { sv.replace = true })
}

func (s *Service) storeWorkbook(w http.ResponseWriter, r *http.Request, status int, how func(*save)) error {
	sv, err := saveFrom(r)
	if err != nil {
		return err
	}
	how(&sv)
	if err := s.saveWorkbook(r.Context(), identity(r), sv); err != nil {
		return err
	}
	wb, err := dsl.ParseWorkbook(sv.text, nil)
	if err != nil {
		return err
	}
	return s.writeWorkbook(w, r, wb.Name, sv.namespace, status)
}

func (s *Service) writeWorkbook(w http.ResponseWriter, r *http.Request, name, namespace string, status int) error {
	var m *yaql.Map
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		m, err = s.getWorkbook(tx, name, namespace, identity(r))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, status, m)
}

func (s *Service) showWorkbook(w http.ResponseWriter, r *http.Request) error {
	return s.writeWorkbook(w, r, r.PathValue("name"), r.URL.Query().Get("namespace"), http.StatusOK)
}

// deleteWorkbook removes a workbook and, unlike Mistral, what it defined: a
// leftover "<workbook>.<workflow>" could neither be seen as stale nor replaced.
func (s *Service) deleteWorkbook(w http.ResponseWriter, r *http.Request) error {
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		m, err := s.getWorkbook(tx, r.PathValue("name"), r.URL.Query().Get("namespace"), identity(r))
		if err != nil {
			return err
		}
		if err := owns(identity(r), m); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM workflow_definitions WHERE workbook = ? AND namespace = ? AND project_id = ?`,
			m.Value("name"), m.Value("namespace"), m.Value("project_id")); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM workflow_workbooks WHERE id = ?`, m.Value("id"))
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) validateWorkbook(w http.ResponseWriter, r *http.Request) error {
	text, err := readText(r)
	if err != nil {
		return err
	}
	_, err = dsl.ParseWorkbook(text, s.eng.Check)
	return verdict(w, err)
}
