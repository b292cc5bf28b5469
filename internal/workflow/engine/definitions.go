package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/yaql"
)

// Definition is what starting a workflow needs to know of it.
type Definition struct {
	ID, Name, Namespace, SpecID string
	workflow                    *dsl.Workflow
}

// SaveSpec stores the text that executions follow, once for equal texts.
func SaveSpec(tx *store.Tx, book, name, definition string) (string, error) {
	sum := sha256.Sum256([]byte(book + "\x00" + name + "\x00" + definition))
	id := hex.EncodeToString(sum[:16])
	_, err := tx.Exec(`INSERT INTO workflow_specs (id, workbook, name, definition) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		id, book, name, definition)
	return id, err
}

// VisibleDefinitions is the SQL condition for the definitions that a project
// sees: its own, public ones, and those shared with it that it has accepted. It
// takes the project's id twice.
const VisibleDefinitions = `(project_id = ? OR scope = 'public' OR id IN (SELECT resource_id FROM workflow_members
	WHERE resource_type = 'workflow' AND member_id = ? AND status = 'accepted'))`

// FindWorkflow looks a workflow up by id or name, in its namespace or the
// default one, as the caller sees it: an administrator sees those of all
// projects, those of the own first.
func (e *Engine) FindWorkflow(ctx context.Context, who Caller, ident, namespace string) (*Definition, error) {
	return e.findWorkflow(ctx, who, "", ident, namespace)
}

func (e *Engine) findWorkflow(ctx context.Context, who Caller, book, ident, namespace string) (*Definition, error) {
	d, project := &Definition{}, who.ProjectID
	err := e.db.View(ctx, func(tx *store.Tx) error {
		tries := []string{ident}
		if book != "" {
			tries = []string{book + "." + ident, ident}
		}
		for _, name := range tries {
			for _, ns := range []string{namespace, ""} {
				err := tx.Get([]any{&d.ID, &d.Name, &d.Namespace, &d.SpecID},
					`SELECT id, name, namespace, spec_id FROM workflow_definitions
					WHERE kind = 'workflow' AND (name = ? OR id = ?) AND namespace = ? AND (`+VisibleDefinitions+` OR ? = 1)
					ORDER BY CASE WHEN project_id = ? THEN 0 WHEN scope = 'public' THEN 1 ELSE 2 END LIMIT 1`, name, name, ns, project, project, flag(who.Admin), project)
				if !errors.Is(err, store.ErrNotFound) {
					return err
				}
			}
		}
		return store.ErrNotFound
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("Workflow not found [workflow_identifier=%s, namespace=%s]: %w", ident, namespace, err) //nolint:revive,staticcheck // Mistral's wording
	}
	if err != nil {
		return nil, err
	}
	d.workflow, _, err = e.spec(ctx, d.SpecID)
	return d, err
}

// newExecution checks the input of a workflow and makes an execution, not yet
// stored. Of a sub-workflow, input that it does not declare becomes params.
func (e *Engine) newExecution(d *Definition, input, params *yaql.Map, sub bool) (*Execution, error) {
	in := yaql.NewMap(len(d.workflow.Input))
	declared := map[string]bool{}
	var missing, unknown []string
	for _, p := range d.workflow.Input {
		declared[p.Name] = true
		v, ok := input.Get(p.Name)
		switch {
		case ok:
			in.Set(p.Name, v)
		case p.Required:
			missing = append(missing, p.Name)
		default:
			in.Set(p.Name, p.Default)
		}
	}
	for k, v := range input.All() {
		name := yaql.Str(k)
		if declared[name] {
			continue
		}
		if sub {
			params.Set(name, v)
			continue
		}
		unknown = append(unknown, name)
	}
	if len(missing)+len(unknown) > 0 {
		msg := fmt.Sprintf("Invalid input [workflow=%s", d.Name)
		if len(missing) > 0 {
			msg += ", missing=" + yaql.Str(missing)
		}
		if len(unknown) > 0 {
			msg += ", unexpected=" + yaql.Str(unknown)
		}
		return nil, &InputError{msg + "]"}
	}
	now := e.now()
	return &Execution{ID: uuid.NewString(), Workflow: d.Name, WorkflowID: d.ID, Namespace: d.Namespace, SpecID: d.SpecID,
		State: Running, Input: in, Params: params, Context: yaql.NewMap(2), Created: now, Updated: now, Accepted: true,
		Doc: ExecutionDoc{Tags: d.workflow.Tags}}, nil
}

// InputError is input that a workflow or action does not take.
type InputError struct{ msg string }

func (e *InputError) Error() string { return e.msg }

// resolved is an action with ad-hoc definitions unwound.
type resolved struct {
	action *actions.Action
	adhoc  []string
	input  *yaql.Map
	plain  map[string]any
}

const maxAdhoc = 10 // ad-hoc actions upon each other

// resolve finds an action and checks its input.
func (e *Engine) resolve(ctx context.Context, project, book, name string, input *yaql.Map) (*resolved, error) {
	res := &resolved{input: input}
	for depth := 0; ; depth++ {
		if act := e.actions.Get(name); act != nil {
			res.action = act
			break
		}
		if depth > maxAdhoc {
			return nil, fmt.Errorf("ad-hoc action %s is based on more than %d others", name, maxAdhoc)
		}
		id, def, err := e.findAdhoc(ctx, project, book, name)
		if err != nil {
			return nil, err
		}
		if res.input, err = e.adhocInput(ctx, def, res.input); err != nil {
			return nil, err
		}
		if def.Output != nil {
			res.adhoc = append([]string{id}, res.adhoc...)
		}
		name = def.Base
	}
	plain, _ := yaql.Plain(res.input).(map[string]any)
	checked, err := res.action.Check(plain)
	if err != nil {
		return nil, &InputError{err.Error()}
	}
	res.plain = checked
	return res, nil
}

func (e *Engine) findAdhoc(ctx context.Context, project, book, name string) (string, *dsl.AdhocAction, error) {
	var id, text string
	err := e.db.View(ctx, func(tx *store.Tx) error {
		tries := []string{name}
		if book != "" {
			tries = []string{book + "." + name, name}
		}
		for _, n := range tries {
			err := tx.Get([]any{&id, &text}, `SELECT id, definition FROM workflow_definitions
				WHERE kind = 'action' AND is_system = 0 AND name = ? AND (project_id = ? OR scope = 'public')
				ORDER BY CASE WHEN project_id = ? THEN 0 ELSE 1 END LIMIT 1`, n, project, project)
			if !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return store.ErrNotFound
	})
	if errors.Is(err, store.ErrNotFound) {
		return "", nil, fmt.Errorf("Failed to find action [action_name=%s]: %w", name, err) //nolint:revive,staticcheck // Mistral's wording
	}
	if err != nil {
		return "", nil, err
	}
	list, err := dsl.ParseActions(text, nil)
	if err != nil {
		return "", nil, err
	}
	return id, list[0], nil
}

func (e *Engine) adhocInput(ctx context.Context, def *dsl.AdhocAction, input *yaql.Map) (*yaql.Map, error) {
	in := yaql.NewMap(len(def.Input))
	var missing []string
	for _, p := range def.Input {
		v, ok := input.Get(p.Name)
		if !ok && p.Required {
			missing = append(missing, p.Name)
		}
		if !ok {
			v = p.Default
		}
		in.Set(p.Name, v)
	}
	for k := range input.All() {
		if _, ok := in.Get(k); !ok {
			return nil, &InputError{fmt.Sprintf("Invalid input [name=%s, class=AdHocAction, unexpected=['%v']]", def.Name, k)}
		}
	}
	if len(missing) > 0 {
		return nil, &InputError{fmt.Sprintf("Invalid input [name=%s, class=AdHocAction, missing=['%s']]", def.Name, strings.Join(missing, "', '"))}
	}
	if def.BaseInput == nil {
		return yaql.NewMap(0), nil
	}
	v, err := e.expr.Value(ctx, def.BaseInput, in)
	if err != nil {
		return nil, fmt.Errorf("base-input of %s: %w", def.Name, err)
	}
	m, ok := v.(*yaql.Map)
	if !ok {
		return nil, fmt.Errorf("base-input of %s: %w", def.Name, errNotMap)
	}
	return m, nil
}

// adhocOutput applies the output of ad-hoc actions to a result; $ is the result.
func (e *Engine) adhocOutput(ctx context.Context, ids []string, result any) (any, error) {
	for _, id := range ids {
		var text string
		err := e.db.View(ctx, func(tx *store.Tx) error {
			return tx.Get([]any{&text}, `SELECT definition FROM workflow_definitions WHERE id = ?`, id)
		})
		if errors.Is(err, store.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		list, err := dsl.ParseActions(text, nil)
		if err != nil {
			return nil, err
		}
		if result, err = e.expr.Value(ctx, list[0].Output, result); err != nil {
			return nil, fmt.Errorf("output of %s: %w", list[0].Name, err)
		}
	}
	return result, nil
}
