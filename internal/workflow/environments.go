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
	"github.com/tripleo/tripleo/yaql"
)

const environmentColumns = `id, name, project_id, scope, description, variables, created_at, updated_at`

// environmentSecrets is the encrypted one of environmentColumns.
const environmentSecrets = "workflow_environments.variables"

func scanEnvironment(tx *store.Tx, scan func(...any) error) (*yaql.Map, error) {
	var id, name, project, scope, description, variables string
	var created, updated time.Time
	err := scan(&id, &name, &project, &scope, &description, tx.SealedText(&variables, environmentSecrets), store.Time(&created), store.Time(&updated))
	return yaql.MapOf("id", id, "name", name, "description", description, "variables", variables, "scope", scope, "project_id", project,
		"created_at", stamp(created), "updated_at", stamp(updated)), err
}

func (s *Service) getEnvironment(tx *store.Tx, name string, id *auth.Identity) (*yaql.Map, error) {
	where, args := visibleTo(id)
	m, err := scanEnvironment(tx, tx.QueryRow(`SELECT `+environmentColumns+` FROM workflow_environments WHERE name = ? AND `+where+`
		ORDER BY CASE WHEN project_id = ? THEN 0 ELSE 1 END LIMIT 1`, append(append([]any{name}, args...), id.ProjectID)...).Scan)
	if err = store.Wrap(err); errors.Is(err, store.ErrNotFound) {
		return nil, api.NotFound("Environment not found [name=%s]", name)
	}
	return m, err
}

// environment returns the variables of a stored environment.
func (s *Service) environment(ctx context.Context, name string, id *auth.Identity) (*yaql.Map, error) {
	var vars *yaql.Map
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		m, err := s.getEnvironment(tx, name, id)
		if err != nil {
			return err
		}
		vars, err = jsonField(m.Value("variables"), "variables")
		return err
	})
	return vars, err
}

// withEnv puts a stored environment in place of its name, as which "env" of an
// execution's params may be given; a dict is the environment itself.
func (s *Service) withEnv(ctx context.Context, params *yaql.Map, project string) (*yaql.Map, error) {
	named, is := params.Value("env").(string)
	if !is || named == "" {
		return params, nil
	}
	env, err := s.environment(ctx, named, &auth.Identity{ProjectID: project})
	if err != nil {
		return nil, err
	}
	params = params.Clone()
	params.Set("env", env)
	return params, nil
}

// environmentList lists environments.
func environmentList() *listing {
	text := func(sql string) column { return column{sql: sql} }
	return &listing{key: "environments", from: "workflow_environments", selects: environmentColumns, id: "id", sort: "created_at", scan: scanEnvironment,
		columns: map[string]column{
			"id": text("id"), "name": text("name"), "scope": text("scope"), "project_id": text("project_id"),
			"description": text("description"), "variables": {"variables", kindJSON, ""},
			"created_at": {"created_at", kindTime, ""}, "updated_at": {"updated_at", kindTime, ""},
		}}
}

func (s *Service) listEnvironments(w http.ResponseWriter, r *http.Request) error {
	where, args := visibleTo(identity(r))
	return s.reply(w, r, environmentList(), where, args...)
}

func (s *Service) showEnvironment(w http.ResponseWriter, r *http.Request) error {
	return s.writeEnvironment(w, r, r.PathValue("name"), http.StatusOK)
}

func (s *Service) writeEnvironment(w http.ResponseWriter, r *http.Request, name string, status int) error {
	var m *yaql.Map
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		m, err = s.getEnvironment(tx, name, identity(r))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, status, m)
}

func (s *Service) createEnvironment(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	name := str(in, "name")
	if name == "" {
		return api.Invalid("Environment name is required.")
	}
	vars, err := jsonField(in.Value("variables"), "variables")
	if err != nil {
		return err
	}
	if vars.Len() == 0 {
		return api.Invalid("Please provide environment variables.")
	}
	text, err := jsonText(vars)
	if err != nil {
		return err
	}
	scope := str(in, "scope")
	if scope == "" {
		scope = "private"
	}
	now := s.cfg.Now()
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO workflow_environments (`+environmentColumns+`) VALUES (?,?,?,?,?,?,?,?)`, uuid.NewString(), name,
			identity(r).ProjectID, scope, str(in, "description"), tx.SealedText(&text, environmentSecrets), store.At(now), store.At(now))
		if errors.Is(err, store.ErrConflict) {
			return api.Conflict("Duplicate entry for Environment: %s", name)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.writeEnvironment(w, r, name, http.StatusCreated)
}

func (s *Service) updateEnvironment(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	name := str(in, "name")
	if name == "" {
		return api.Invalid("Name of the environment is not provided.")
	}
	vars, err := jsonField(in.Value("variables"), "variables")
	if err != nil {
		return err
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		m, err := s.getEnvironment(tx, name, identity(r))
		if err != nil {
			return err
		}
		if err := owns(identity(r), m); err != nil {
			return err
		}
		for _, k := range []string{"description", "scope"} {
			if v := in.Value(k); v != nil {
				m.Set(k, yaql.Str(v))
			}
		}
		if _, ok := in.Get("variables"); ok {
			text, err := jsonText(vars)
			if err != nil {
				return err
			}
			m.Set("variables", text)
		}
		variables := yaql.Str(m.Value("variables"))
		_, err = tx.Exec(`UPDATE workflow_environments SET description = ?, scope = ?, variables = ?, updated_at = ? WHERE id = ?`,
			m.Value("description"), m.Value("scope"), tx.SealedText(&variables, environmentSecrets), store.At(s.cfg.Now()), m.Value("id"))
		return err
	})
	if err != nil {
		return err
	}
	return s.writeEnvironment(w, r, name, http.StatusOK)
}

func (s *Service) deleteEnvironment(w http.ResponseWriter, r *http.Request) error {
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		m, err := s.getEnvironment(tx, r.PathValue("name"), identity(r))
		if err != nil {
			return err
		}
		if err := owns(identity(r), m); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM workflow_environments WHERE id = ?`, m.Value("id"))
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
