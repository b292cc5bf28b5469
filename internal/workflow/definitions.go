package workflow

import (
	"context"
	"errors"
	"io"
	"net/http"
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
	if sv.scope == "public" && !identity(r).IsAdmin() {
		return sv, api.Forbidden("only an administrator makes definitions public")
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

const definitionColumns = `id, kind, name, namespace, project_id, scope, workbook, description, input, tags, definition, created_at, updated_at`

func scanDefinition(scan func(...any) error) (*yaql.Map, error) {
	var id, kind, name, namespace, project, scope, book, description, input, text string
	var tags []string
	var created, updated time.Time
	err := scan(&id, &kind, &name, &namespace, &project, &scope, &book, &description, &input, store.JSON(&tags), &text,
		store.Time(&created), store.Time(&updated))
	if err != nil {
		return nil, err
	}
	list := make([]any, len(tags))
	for i, t := range tags {
		list[i] = t
	}
	m := yaql.MapOf("id", id, "name", name, "namespace", namespace, "input", input, "definition", text, "description", description,
		"tags", list, "scope", scope, "project_id", project, "created_at", stamp(created), "updated_at", stamp(updated))
	if kind == "action" {
		m.Set("is_system", false)
	}
	return m, nil
}

// visibleTo is the condition for rows that an identity sees.
func visibleTo(id *auth.Identity) (string, []any) {
	return `(project_id = ? OR scope = 'public')`, []any{id.ProjectID}
}

// getDefinition finds a definition by id or name, in the namespace or, for
// names, the default one.
func (s *Service) getDefinition(tx *store.Tx, kind, ident, namespace string, id *auth.Identity) (*yaql.Map, error) {
	where, args := visibleTo(id)
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
		return nil, api.NotFound("%s%s]", what, ident)
	}
	return m, err
}

func (s *Service) listDefinitions(ctx context.Context, kind string, id *auth.Identity) ([]*yaql.Map, error) {
	var out []*yaql.Map
	where, args := visibleTo(id)
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			m, err := scanDefinition(scan)
			out = append(out, m)
			return err
		}, `SELECT `+definitionColumns+` FROM workflow_definitions WHERE kind = ? AND `+where+` ORDER BY name`, append([]any{kind}, args...)...)
	})
	return out, err
}

// Workflows.

func (s *Service) listWorkflows(w http.ResponseWriter, r *http.Request) error {
	items, err := s.listDefinitions(r.Context(), "workflow", identity(r))
	if err != nil {
		return err
	}
	return s.reply(w, r, "workflows", items, "name")
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
		if kind == "workflow" {
			var n int
			if err := tx.Get([]any{&n}, `SELECT COUNT(*) FROM workflow_crons WHERE workflow_id = ?`, m.Value("id")); err != nil {
				return err
			}
			if n > 0 {
				return api.Invalid("Can't delete workflow that has cron triggers associated. [workflow=%s]", str(m, "name"))
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
	items, err := s.listDefinitions(r.Context(), "action", identity(r))
	if err != nil {
		return err
	}
	for _, name := range s.eng.Actions().Names() {
		items = append(items, s.systemAction(name))
	}
	return s.reply(w, r, "actions", items, "name")
}

func (s *Service) systemAction(name string) *yaql.Map {
	a := s.eng.Actions().Get(name)
	return yaql.MapOf("id", uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String(), "name", name, "namespace", "", "input", a.Signature(),
		"definition", nil, "description", a.Description, "tags", []any{}, "scope", "public", "project_id", "",
		"created_at", nil, "updated_at", nil, "is_system", true)
}

func (s *Service) showAction(w http.ResponseWriter, r *http.Request) error {
	ident := r.PathValue("id")
	if s.eng.Actions().Get(ident) != nil {
		return api.WriteJSON(w, http.StatusOK, s.systemAction(ident))
	}
	for _, name := range s.eng.Actions().Names() {
		if m := s.systemAction(name); m.Value("id") == ident {
			return api.WriteJSON(w, http.StatusOK, m)
		}
	}
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
	if s.eng.Actions().Get(r.PathValue("id")) != nil {
		return api.Invalid("Attempt to delete a system action: %s", r.PathValue("id"))
	}
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
