package workflow

import (
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/yaql"
)

// A private workflow is shared with another project by making that project a
// member: "pending" until the member accepts, and seen by it only then. The
// owner makes and removes members, each member sets its own status.

const memberColumns = `id, resource_id, resource_type, project_id, member_id, status, created_at, updated_at`

func scanMember(scan func(...any) error) (*yaql.Map, error) {
	var id, resource, kind, project, member, status string
	var created, updated time.Time
	err := scan(&id, &resource, &kind, &project, &member, &status, store.Time(&created), store.Time(&updated))
	return yaql.MapOf("id", id, "resource_id", resource, "resource_type", kind, "project_id", project, "member_id", member,
		"status", status, "created_at", stamp(created), "updated_at", stamp(updated)), err
}

// owned returns the workflow of the path if the caller owns it.
func (s *Service) owned(tx *store.Tx, r *http.Request) (id, scope string, err error) {
	ident := r.PathValue("id")
	err = tx.Get([]any{&id, &scope}, `SELECT id, scope FROM workflow_definitions WHERE kind = 'workflow' AND (id = ? OR name = ?) AND project_id = ?
		ORDER BY CASE WHEN id = ? THEN 0 ELSE 1 END LIMIT 1`, ident, ident, identity(r).ProjectID, ident)
	if errors.Is(err, store.ErrNotFound) {
		err = api.NotFound("Workflow not found [workflow_identifier=%s]", ident)
	}
	return id, scope, err
}

// member reads the member of the path; only its owner and itself see it.
func member(tx *store.Tx, r *http.Request) (*yaql.Map, error) {
	project := identity(r).ProjectID
	m, err := scanMember(tx.QueryRow(`SELECT `+memberColumns+` FROM workflow_members
		WHERE resource_id = ? AND resource_type = 'workflow' AND member_id = ? AND (project_id = ? OR member_id = ?)`,
		r.PathValue("id"), r.PathValue("member"), project, project).Scan)
	if err = store.Wrap(err); errors.Is(err, store.ErrNotFound) {
		return nil, api.NotFound("Resource member not found [resource_id=%s, resource_type=workflow, member_id=%s]", r.PathValue("id"), r.PathValue("member"))
	}
	return m, err
}

func (s *Service) listMembers(w http.ResponseWriter, r *http.Request) error {
	text := func(sql string) column { return column{sql: sql} }
	project := identity(r).ProjectID
	return s.reply(w, r, &listing{key: "members", from: "workflow_members", selects: memberColumns, id: "id", sort: "created_at", scan: plain(scanMember),
		columns: map[string]column{"id": text("id"), "member_id": text("member_id"), "project_id": text("project_id"), "status": text("status"),
			"resource_id": text("resource_id"), "resource_type": text("resource_type"),
			"created_at": {"created_at", kindTime, ""}, "updated_at": {"updated_at", kindTime, ""}}},
		`resource_id = ? AND resource_type = 'workflow' AND (project_id = ? OR member_id = ?)`, r.PathValue("id"), project, project)
}

func (s *Service) showMember(w http.ResponseWriter, r *http.Request) error {
	var m *yaql.Map
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		m, err = member(tx, r)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, m)
}

func (s *Service) createMember(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	who := str(in, "member_id")
	if who == "" {
		return api.Invalid("Member id must be provided.")
	}
	var m *yaql.Map
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		id, scope, err := s.owned(tx, r)
		if err != nil {
			return err
		}
		if scope != "private" {
			return api.Invalid("Only private resource could be shared.")
		}
		now := s.cfg.Now()
		row := uuid.NewString()
		_, err = tx.Exec(`INSERT INTO workflow_members (`+memberColumns+`) VALUES (?, ?, 'workflow', ?, ?, 'pending', ?, ?)`,
			row, id, identity(r).ProjectID, who, store.At(now), store.At(now))
		if errors.Is(err, store.ErrConflict) {
			return api.Conflict("Duplicate entry for ResourceMember: %s", who)
		}
		if err != nil {
			return err
		}
		m, err = scanMember(tx.QueryRow(`SELECT `+memberColumns+` FROM workflow_members WHERE id = ?`, row).Scan)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, m)
}

// updateMember accepts or rejects: only the member itself does.
func (s *Service) updateMember(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	status := str(in, "status")
	switch status {
	case "pending", "accepted", "rejected":
	case "":
		return api.Invalid("Status must be provided.")
	default:
		return api.Invalid("Invalid input for field/attribute status. Value: '%s'. Value should be one of: accepted, pending, rejected", status)
	}
	var m *yaql.Map
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		if m, err = member(tx, r); err != nil {
			return err
		}
		if str(m, "member_id") != identity(r).ProjectID {
			return api.NotFound("Resource member not found [resource_id=%s, resource_type=workflow, member_id=%s]", r.PathValue("id"), r.PathValue("member"))
		}
		if _, err := tx.Exec(`UPDATE workflow_members SET status = ?, updated_at = ? WHERE id = ?`, status, store.At(s.cfg.Now()), m.Value("id")); err != nil {
			return err
		}
		m, err = member(tx, r)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, m)
}

func (s *Service) deleteMember(w http.ResponseWriter, r *http.Request) error {
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		n, err := tx.Exec(`DELETE FROM workflow_members WHERE resource_id = ? AND resource_type = 'workflow' AND member_id = ? AND project_id = ?`,
			r.PathValue("id"), r.PathValue("member"), identity(r).ProjectID)
		if err == nil && n == 0 {
			return api.NotFound("Resource member not found [resource_id=%s, resource_type=workflow, member_id=%s]", r.PathValue("id"), r.PathValue("member"))
		}
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
