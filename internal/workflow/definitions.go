package workflow

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/internal/workflow/engine"
	"github.com/tripleo/tripleo/yaql"
)

// save says how definitions are to be stored.
type save struct {
	text, scope, namespace string
	create, replace        bool // may create; may replace
	lenient                bool // equal text: nothing to do
	ident                  string
}

// definition is a row to store.
type definition struct {
	kind, name, workbook, description, input, text string
	tags                                           []string
}

func namespaceOf(r *http.Request) string {
	if ns := r.PathValue("namespace"); ns != "" {
		return ns
	}
	return r.URL.Query().Get("namespace")
}

func readText(r *http.Request) (string, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			return "", api.TooLarge("The definition is larger than %d bytes", tooBig.Limit)
		}
		return "", api.Invalid("cannot read the definition: %v", err)
	}
	return string(data), nil
}

func saveFrom(r *http.Request) (save, error) {
	text, err := readText(r)
	q := r.URL.Query()
	sv := save{text: text, scope: q.Get("scope"), namespace: q.Get("namespace"), ident: r.PathValue("id")}
	if sv.scope == "" {
		sv.scope = "private"
	}
	if sv.scope != "private" && sv.scope != "public" {
		return sv, api.Invalid("scope is %q, must be private or public", sv.scope)
	}
	return sv, err
}

func invalidDSL(err error) error {
	var probs dsl.Errors
	if errors.As(err, &probs) {
		return api.Invalid("%s", probs.Error())
	}
	return err
}

// put stores one definition and returns its resource.
func (s *Service) put(tx *store.Tx, id *auth.Identity, d definition, sv save, now time.Time) (*yaql.Map, error) {
	spec := ""
	if d.kind == "workflow" {
		var err error
		if spec, err = engine.SaveSpec(tx, d.workbook, shortName(d.workbook, d.name), d.text); err != nil {
			return nil, err
		}
	}
	var have string
	err := tx.Get([]any{&have}, `SELECT id FROM workflow_definitions WHERE kind = ? AND name = ? AND namespace = ? AND project_id = ?`,
		d.kind, d.name, sv.namespace, id.ProjectID)
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return nil, err
	case err == nil && !sv.replace:
		return nil, api.Conflict("Duplicate entry for %s ['name', 'namespace', 'project_id']: %s", kindClass(d.kind), d.name)
	case err != nil && !sv.create:
		return nil, api.NotFound("%s not found [name=%s, namespace=%s]", kindClass(d.kind), d.name, sv.namespace)
	case err == nil:
		_, err = tx.Exec(`UPDATE workflow_definitions SET scope = ?, workbook = ?, description = ?, input = ?, tags = ?, definition = ?,
			spec_id = ?, updated_at = ? WHERE id = ?`, sv.scope, d.workbook, d.description, d.input, store.JSON(nonNil(d.tags)), d.text, spec,
			store.At(now), have)
	default:
		have = uuid.NewString()
		_, err = tx.Exec(`INSERT INTO workflow_definitions (id, kind, name, namespace, project_id, scope, workbook, description, input,
			tags, definition, spec_id, created_at, updated_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)`, have, d.kind, d.name, sv.namespace,
			id.ProjectID, sv.scope, d.workbook, d.description, d.input, store.JSON(nonNil(d.tags)), d.text, spec, store.At(now), store.At(now))
	}
	if err != nil {
		return nil, err
	}
	return s.getDefinition(tx, d.kind, have, "", id)
}

// shortName is the key of the workflow in its text.
func shortName(book, name string) string {
	if book != "" {
		return name[len(book)+1:]
	}
	return name
}

func kindClass(kind string) string {
	if kind == "action" {
		return "ActionDefinition"
	}
	return "WorkflowDefinition"
}

func nonNil(tags []string) []string {
	if tags == nil {
		return []string{}
	}
	return tags
}

const definitionColumns = `id, kind, name, namespace, project_id, scope, workbook, description, input, tags, definition, is_system, created_at, updated_at`

func scanDefinition(scan func(...any) error) (*yaql.Map, error) {
	var id, kind, name, namespace, project, scope, book, description, input, text string
	var tags []string
	var system int64
	var created, updated time.Time
	err := scan(&id, &kind, &name, &namespace, &project, &scope, &book, &description, &input, store.JSON(&tags), &text, &system,
		store.Time(&created), store.Time(&updated))
	if err != nil {
		return nil, err
	}
	m := yaql.MapOf("id", id, "name", name, "namespace", namespace, "input", input, "definition", text, "description", description,
		"tags", tagList(tags), "scope", scope, "project_id", project, "created_at", stamp(created), "updated_at", stamp(updated))
	if kind == "action" {
		m.Set("is_system", system != 0)
		if system != 0 {
			m.Set("definition", nil)
		}
	}
	return m, nil
}

// visibleTo is the condition for rows that an identity sees.
func visibleTo(id *auth.Identity) (string, []any) {
	return `(project_id = ? OR scope = 'public')`, []any{id.ProjectID}
}

// sharedWith is visibleTo for definitions, which may be shared with a project
// that has accepted it.
func sharedWith(id *auth.Identity) (string, []any) {
	return engine.VisibleDefinitions, []any{id.ProjectID, id.ProjectID}
}

// getDefinition finds a definition by id or name, in the namespace or, for
// names, the default one.
func (s *Service) getDefinition(tx *store.Tx, kind, ident, namespace string, id *auth.Identity) (*yaql.Map, error) {
	where, args := sharedWith(id)
	args = append([]any{kind, ident, ident, namespace}, args...)
	args = append(args, id.ProjectID)
	m, err := scanDefinition(tx.QueryRow(`SELECT `+definitionColumns+` FROM workflow_definitions
		WHERE kind = ? AND (id = ? OR name = ? AND namespace IN (?, '')) AND `+where+`
		ORDER BY CASE WHEN project_id = ? THEN 0 ELSE 1 END, namespace DESC LIMIT 1`, args...).Scan)
	if err = store.Wrap(err); errors.Is(err, store.ErrNotFound) {
		what := "Workflow not found [workflow_identifier="
		if kind == "action" {
			what = "Action not found [action_name="
		}
		return nil, api.NotFound("%s%s, namespace=%s]", what, ident, namespace)
	}
	return m, err
}

// definitionList lists workflows or actions.
func definitionList(kind string) *listing {
	text := func(sql string) column { return column{sql: sql} }
	l := &listing{key: kind + "s", from: "workflow_definitions", selects: definitionColumns, id: "id", sort: "name", scan: plain(scanDefinition),
		columns: map[string]column{
			"id": text("id"), "name": text("name"), "namespace": text("namespace"), "scope": text("scope"), "project_id": text("project_id"),
			"description": text("description"), "input": text("input"), "definition": text("definition"), "tags": {"tags", kindTags, ""},
			"created_at": {"created_at", kindTime, ""}, "updated_at": {"updated_at", kindTime, ""},
		}}
	if kind == "action" {
		l.columns["is_system"] = column{"is_system", kindBool, ""}
	}
	return l
}

func (s *Service) listDefinitions(w http.ResponseWriter, r *http.Request, kind string) error {
	q, id := r.URL.Query(), identity(r)
	where, args := sharedWith(id)
	all, _ := strconv.ParseBool(q.Get("all_projects"))
	if id.IsAdmin() && (all || q.Has("project_id")) {
		where, args = `1 = 1`, nil
	}
	return s.reply(w, r, definitionList(kind), `kind = ? AND `+where, append([]any{kind}, args...)...)
}

// Workflows.

func (s *Service) listWorkflows(w http.ResponseWriter, r *http.Request) error {
	return s.listDefinitions(w, r, "workflow")
}

func (s *Service) createWorkflows(w http.ResponseWriter, r *http.Request) error {
	return s.putWorkflows(w, r, http.StatusCreated, func(sv *save) { sv.create = true })
}

func (s *Service) updateWorkflows(w http.ResponseWriter, r *http.Request) error {
	return s.putWorkflows(w, r, http.StatusOK, func(sv *save) { sv.replace = true })
}

func (s *Service) putWorkflows(w http.ResponseWriter, r *http.Request, status int, how func(*save)) error {
	sv, err := saveFrom(r)
	if err != nil {
		return err
	}
	how(&sv)
	list, err := dsl.ParseWorkflows(sv.text, s.eng.Check)
	if err != nil {
		return invalidDSL(err)
	}
	if sv.ident != "" && len(list) != 1 {
		return api.Invalid("to update workflow %s the definition must hold exactly one workflow, it holds %d", sv.ident, len(list))
	}
	out := []any{}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		out = out[:0]
		for _, wf := range list {
			m, err := s.put(tx, identity(r), workflowRow("", wf), sv, s.cfg.Now())
			if err != nil {
				return err
			}
			out = append(out, m)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if sv.ident != "" {
		return api.WriteJSON(w, status, out[0])
	}
	return api.WriteJSON(w, status, map[string]any{"workflows": out})
}

func workflowRow(book string, wf *dsl.Workflow) definition {
	name := wf.Name
	if book != "" {
		name = book + "." + name
	}
	return definition{kind: "workflow", name: name, workbook: book, description: wf.Description, input: dsl.InputText(wf.Input),
		text: wf.Text, tags: wf.Tags}
}

func actionRow(book string, a *dsl.AdhocAction) definition {
	name := a.Name
	if book != "" {
		name = book + "." + name
	}
	return definition{kind: "action", name: name, workbook: book, description: a.Description, input: dsl.InputText(a.Input),
		text: a.Text, tags: a.Tags}
}

func (s *Service) showWorkflow(w http.ResponseWriter, r *http.Request) error {
	return s.showDefinition(w, r, "workflow")
}

func (s *Service) showDefinition(w http.ResponseWriter, r *http.Request, kind string) error {
	var m *yaql.Map
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		m, err = s.getDefinition(tx, kind, r.PathValue("id"), namespaceOf(r), identity(r))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, m)
}

func (s *Service) deleteWorkflow(w http.ResponseWriter, r *http.Request) error {
	return s.deleteDefinition(w, r, "workflow")
}

func (s *Service) deleteDefinition(w http.ResponseWriter, r *http.Request, kind string) error {
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		m, err := s.getDefinition(tx, kind, r.PathValue("id"), namespaceOf(r), identity(r))
		if err != nil {
			return err
		}
		if err := owns(identity(r), m); err != nil {
			return err
		}
		if m.Value("is_system") == true {
			return api.Invalid("Attempt to delete a system action: %s", m.Value("name"))
		}
		if kind == "workflow" {
			if err := unused(tx, m); err != nil {
				return err
			}
		}
		_, err = tx.Exec(`DELETE FROM workflow_definitions WHERE id = ?`, m.Value("id"))
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// unused refuses to delete a workflow that triggers start, and ends its sharing.
func unused(tx *store.Tx, m *yaql.Map) error {
	for _, t := range [][2]string{{"workflow_crons", "cron"}, {"workflow_event_triggers", "event"}} {
		var n int
		if err := tx.Get([]any{&n}, `SELECT COUNT(*) FROM `+t[0]+` WHERE workflow_id = ?`, m.Value("id")); err != nil {
			return err
		}
		if n > 0 {
			return api.Invalid("Can't delete workflow that has %s triggers associated. [workflow=%s, id=%s]", t[1], str(m, "name"), str(m, "id"))
		}
	}
	_, err := tx.Exec(`DELETE FROM workflow_members WHERE resource_id = ? AND resource_type = 'workflow'`, m.Value("id"))
	return err
}

// owns refuses changes to what belongs to others.
func owns(id *auth.Identity, m *yaql.Map) error {
	if str(m, "project_id") != id.ProjectID && !id.IsAdmin() {
		return api.Forbidden("%s belongs to another project", str(m, "name"))
	}
	return nil
}

func verdict(w http.ResponseWriter, err error) error {
	if err != nil {
		return api.WriteJSON(w, http.StatusOK, map[string]any{"valid": false, "error": err.Error()})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"valid": true})
}

func (s *Service) validateWorkflows(w http.ResponseWriter, r *http.Request) error {
	text, err := readText(r)
	if err != nil {
		return err
	}
	_, err = dsl.ParseWorkflows(text, s.eng.Check)
	return verdict(w, err)
}

// Actions.

func (s *Service) listActions(w http.ResponseWriter, r *http.Request) error {
	return s.listDefinitions(w, r, "action")
}

// installActions keeps a row for each action that comes with the program.
func (s *Service) installActions(ctx context.Context) error {
	have := map[string]string{}
	now := s.cfg.Now()
	return s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		err := tx.Each(func(scan func(...any) error) error {
			var name, input, description string
			err := scan(&name, &input, &description)
			have[name] = input + "\x00" + description
			return err
		}, `SELECT name, input, description FROM workflow_definitions WHERE kind = 'action' AND is_system = 1`)
		if err != nil {
			return err
		}
		for _, name := range s.eng.Actions().Names() {
			a := s.eng.Actions().Get(name)
			input := a.Signature()
			if was, ok := have[name]; ok && was == input+"\x00"+a.Description {
				continue
			}
			_, err := tx.Exec(`INSERT INTO workflow_definitions (id, kind, name, namespace, project_id, scope, workbook, description, input,
				tags, definition, spec_id, is_system, created_at, updated_at) VALUES (?, 'action', ?, '', '', 'public', '', ?, ?, '[]', '', '', 1, ?, ?)
				ON CONFLICT (kind, name, namespace, project_id) DO UPDATE SET input = excluded.input, description = excluded.description,
				is_system = 1, updated_at = excluded.updated_at`,
				uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String(), name, a.Description, input, store.At(now), store.At(now))
			if err != nil {
				return err
			}
		}
		for name := range have {
			if s.eng.Actions().Get(name) == nil {
				if _, err := tx.Exec(`DELETE FROM workflow_definitions WHERE kind = 'action' AND is_system = 1 AND name = ?`, name); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (s *Service) showAction(w http.ResponseWriter, r *http.Request) error {
	return s.showDefinition(w, r, "action")
}

func (s *Service) createActions(w http.ResponseWriter, r *http.Request) error {
	return s.putActions(w, r, http.StatusCreated, func(sv *save) { sv.create = true })
}

func (s *Service) updateActions(w http.ResponseWriter, r *http.Request) error {
	return s.putActions(w, r, http.StatusOK, func(sv *save) { sv.replace = true })
}

func (s *Service) putActions(w http.ResponseWriter, r *http.Request, status int, how func(*save)) error {
	sv, err := saveFrom(r)
	if err != nil {
		return err
	}
	how(&sv)
	list, err := dsl.ParseActions(sv.text, s.eng.Check)
	if err != nil {
		return invalidDSL(err)
	}
	out := []any{}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		out = out[:0]
		for _, a := range list {
			if s.eng.Actions().Get(a.Name) != nil {
				return api.Invalid("Attempt to modify a system action: %s", a.Name)
			}
			m, err := s.put(tx, identity(r), actionRow("", a), sv, s.cfg.Now())
			if err != nil {
				return err
			}
			out = append(out, m)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, status, map[string]any{"actions": out})
}

func (s *Service) deleteAction(w http.ResponseWriter, r *http.Request) error {
	return s.deleteDefinition(w, r, "action")
}

func (s *Service) validateActions(w http.ResponseWriter, r *http.Request) error {
	text, err := readText(r)
	if err != nil {
		return err
	}
	_, err = dsl.ParseActions(text, s.eng.Check)
	return verdict(w, err)
}

var errUnchanged = errors.New("unchanged")
