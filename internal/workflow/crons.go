package workflow

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/engine"
	"github.com/tripleo/tripleo/yaql"
)

const kindCron = "workflow.cron" // key: id of the trigger

const cronColumns = `id, name, project_id, scope, workflow_name, workflow_id, input, params, pattern, remaining, first_at, next_at, caller, created_at, updated_at`

// cron is a cron trigger. remaining < 0 means without end.
type cron struct {
	id, name, project, scope, workflow, workflowID, input, params, pattern string
	remaining                                                              int64
	first, next, created, updated                                          time.Time
	caller                                                                 engine.Caller
}

func scanCron(tx *store.Tx, scan func(...any) error) (*cron, error) {
	c := &cron{}
	input, params := c.secrets(tx)
	err := scan(&c.id, &c.name, &c.project, &c.scope, &c.workflow, &c.workflowID, input, params, &c.pattern, &c.remaining,
		store.Time(&c.first), store.Time(&c.next), store.JSON(&c.caller), store.Time(&c.created), store.Time(&c.updated))
	return c, err
}

// secrets are the encrypted ones of cronColumns.
func (c *cron) secrets(tx *store.Tx) (input, params any) {
	return tx.SealedText(&c.input, "workflow_crons.input"), tx.SealedText(&c.params, "workflow_crons.params")
}

func (c *cron) doc() *yaql.Map {
	var remaining, pat any
	if c.remaining >= 0 {
		remaining = c.remaining
	}
	if c.pattern != "" {
		pat = c.pattern
	}
	return yaql.MapOf("id", c.id, "name", c.name, "workflow_name", c.workflow, "workflow_id", c.workflowID, "workflow_input", c.input,
		"workflow_params", c.params, "pattern", pat, "remaining_executions", remaining, "first_execution_time", stamp(c.first),
		"next_execution_time", stamp(c.next), "scope", c.scope, "project_id", c.project, "created_at", stamp(c.created), "updated_at", stamp(c.updated))
}

func (s *Service) getCron(tx *store.Tx, ident string, id *auth.Identity) (*cron, error) {
	c, err := scanCron(tx, tx.QueryRow(`SELECT `+cronColumns+` FROM workflow_crons WHERE (name = ? OR id = ?) AND project_id = ? LIMIT 1`,
		ident, ident, id.ProjectID).Scan)
	if err = store.Wrap(err); errors.Is(err, store.ErrNotFound) {
		return nil, api.NotFound("Cron trigger not found [name=%s]", ident)
	}
	return c, err
}

// cronList lists cron triggers.
func cronList() *listing {
	text := func(sql string) column { return column{sql: sql} }
	return &listing{key: "cron_triggers", from: "workflow_crons", selects: cronColumns, id: "id", sort: "created_at",
		scan: func(tx *store.Tx, scan func(...any) error) (*yaql.Map, error) {
			c, err := scanCron(tx, scan)
			return c.doc(), err
		},
		columns: map[string]column{
			"id": text("id"), "name": text("name"), "scope": text("scope"), "project_id": text("project_id"), "pattern": text("pattern"),
			"workflow_name": text("workflow_name"), "workflow_id": text("workflow_id"),
			"workflow_input": {"input", kindJSON, ""}, "workflow_params": {"params", kindJSON, ""}, "remaining_executions": text("remaining"),
			"first_execution_time": {"first_at", kindTime, ""}, "next_execution_time": {"next_at", kindTime, ""},
			"created_at": {"created_at", kindTime, ""}, "updated_at": {"updated_at", kindTime, ""},
		}}
}

func (s *Service) listCrons(w http.ResponseWriter, r *http.Request) error {
	where, args, err := ownOrAll(r, "cron triggers")
	if err != nil {
		return err
	}
	return s.reply(w, r, cronList(), where, args...)
}

func (s *Service) showCron(w http.ResponseWriter, r *http.Request) error {
	var c *cron
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		c, err = s.getCron(tx, r.PathValue("name"), identity(r))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, c.doc())
}

// parseCron reads a request for a trigger.
func (s *Service) parseCron(in *yaql.Map) (*cron, error) {
	now := s.cfg.Now()
	c := &cron{id: uuid.NewString(), name: str(in, "name"), scope: "private", workflow: str(in, "workflow_name"), workflowID: str(in, "workflow_id"),
		pattern: str(in, "pattern"), remaining: -1, created: now, updated: now}
	if c.name == "" {
		return nil, api.Invalid("Cron trigger name is required.")
	}
	if v := in.Value("remaining_executions"); v != nil {
		n, err := strconv.ParseInt(yaql.Str(v), 10, 64)
		if err != nil || n < 1 {
			return nil, api.Invalid("remaining_executions must be a positive number, not %s", yaql.Str(v))
		}
		c.remaining = n
	}
	first := str(in, "first_execution_time")
	if c.pattern == "" && first == "" {
		return nil, api.Invalid("Pattern or first_execution_time must be specified.")
	}
	if c.pattern == "" {
		if c.remaining > 1 {
			return nil, api.Invalid("Pattern must be provided if count is superior to 1.")
		}
		c.remaining = 1
	}
	if first != "" {
		at, err := parseMoment(first)
		if err != nil {
			return nil, api.Invalid("first_execution_time %q is not of the form YYYY-MM-DD HH:MM", first)
		}
		if at.Before(now.Add(time.Minute)) {
			return nil, api.Invalid("First_execution_time must be at least 1 minute in the future.")
		}
		c.first, c.next = at, at
	}
	if c.pattern != "" {
		p, err := parsePattern(c.pattern)
		if err != nil {
			return nil, api.Invalid("%v", err)
		}
		if c.next.IsZero() {
			c.next = p.next(now)
		}
	}
	for key, dst := range map[string]*string{"workflow_input": &c.input, "workflow_params": &c.params} {
		m, err := jsonField(in.Value(key), key)
		if err != nil {
			return nil, err
		}
		if *dst, err = jsonText(m); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// alone refuses another name for the same work at the same times, as Mistral
// does.
func (c *cron) alone(tx *store.Tx) error {
	return tx.Each(func(scan func(...any) error) error {
		other, err := scanCron(tx, scan)
		if err == nil && other.input == c.input && other.params == c.params {
			err = api.Conflict("Duplicate entry for CronTrigger: %s does the same as another", c.name)
		}
		return err
	}, `SELECT `+cronColumns+` FROM workflow_crons WHERE project_id = ? AND workflow_id = ? AND pattern = ? AND remaining = ? AND first_at = ?`,
		c.project, c.workflowID, c.pattern, c.remaining, store.At(c.first))
}

func (s *Service) createCron(w http.ResponseWriter, r *http.Request) error {
	in, err := body(r)
	if err != nil {
		return err
	}
	c, err := s.parseCron(in)
	if err != nil {
		return err
	}
	ident := c.workflowID
	if ident == "" {
		ident = c.workflow
	}
	id := identity(r)
	def, err := s.eng.FindWorkflow(r.Context(), stranger(id), ident, "")
	if err != nil {
		return problem(err)
	}
	input, err := jsonField(c.input, "workflow_input")
	if err != nil {
		return err
	}
	if err := s.eng.CheckInput(def, input); err != nil {
		return problem(err)
	}
	c.workflow, c.workflowID, c.project = def.Name, def.ID, id.ProjectID
	if c.caller, err = s.caller(r.Context(), id, time.Time{}); err != nil {
		return err
	}
	err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		if err := c.alone(tx); err != nil {
			return err
		}
		input, params := c.secrets(tx)
		_, err := tx.Exec(`INSERT INTO workflow_crons (`+cronColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`, c.id, c.name, c.project, c.scope,
			c.workflow, c.workflowID, input, params, c.pattern, c.remaining, store.At(c.first), store.At(c.next), store.JSON(c.caller),
			store.At(c.created), store.At(c.updated))
		if errors.Is(err, store.ErrConflict) {
			return api.Conflict("Duplicate entry for CronTrigger: %s", c.name)
		}
		if err != nil {
			return err
		}
		return s.cfg.Jobs.PokeAt(tx, kindCron, c.id, nil, c.next)
	})
	if err != nil {
		if c.caller.Owned {
			s.eng.DropTrust(context.WithoutCancel(r.Context()), c.caller.TrustID)
		}
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, c.doc())
}

func (s *Service) deleteCron(w http.ResponseWriter, r *http.Request) error {
	var c *cron
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if c, err = s.getCron(tx, r.PathValue("name"), identity(r)); err != nil {
			return err
		}
		_, err = tx.Exec(`DELETE FROM workflow_crons WHERE id = ?`, c.id)
		return err
	})
	if err != nil {
		return err
	}
	if c.caller.Owned {
		s.eng.DropTrust(context.WithoutCancel(r.Context()), c.caller.TrustID)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// fireCron starts the workflow of a trigger and plans the next time, in one
// transaction, so that no time is lost or done twice. Times missed while the
// process was down are made up for once.
func (s *Service) fireCron(ctx context.Context, j jobs.Job) jobs.Result {
	var c *cron
	err := s.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		c, err = scanCron(tx, tx.QueryRow(`SELECT `+cronColumns+` FROM workflow_crons WHERE id = ?`, j.Key).Scan)
		return store.Wrap(err)
	})
	if errors.Is(err, store.ErrNotFound) {
		return jobs.Done()
	}
	if err != nil {
		return jobs.Fail(err)
	}
	now := s.cfg.Now()
	if now.Before(c.next) {
		return jobs.After(c.next.Sub(now))
	}
	input, err1 := jsonField(c.input, "input")
	params, err2 := jsonField(c.params, "params")
	if err := errors.Join(err1, err2); err != nil {
		return jobs.Fail(err)
	}
	c.advance(now)
	params, err = s.withEnv(ctx, params, c.caller.ProjectID)
	if err != nil {
		s.cfg.Log.Error("cron trigger cannot start its workflow", "trigger", c.name, "workflow", c.workflow, "error", err)
		return s.nextCron(c, s.cfg.DB.Tx(ctx, c.save))
	}
	params.Set(engine.ParamTriggeredBy, yaql.MapOf("type", engine.TriggerCron, "id", c.id, "name", c.name))
	caller := c.caller
	caller.Owned = caller.Owned && c.remaining == 0 // the last execution takes the trust along
	_, err = s.eng.Start(ctx, engine.Start{Workflow: c.workflowID, Input: input, Params: params, Caller: caller,
		Description: "Workflow execution created by cron trigger '" + c.name + "'."}, c.save)
	if engine.IsNotFound(err) || errors.As(err, new(*engine.InputError)) {
		s.cfg.Log.Error("cron trigger cannot start its workflow", "trigger", c.name, "workflow", c.workflow, "error", err)
		err = s.cfg.DB.Tx(ctx, c.save)
	}
	return s.nextCron(c, err)
}

// nextCron plans the next time of a trigger.
func (s *Service) nextCron(c *cron, err error) jobs.Result {
	switch {
	case err != nil:
		return jobs.Fail(err)
	case c.remaining == 0 || c.next.IsZero():
		return jobs.Done()
	}
	return jobs.After(c.next.Sub(s.cfg.Now()))
}

func (c *cron) advance(now time.Time) {
	if c.remaining > 0 {
		c.remaining--
	}
	c.next, c.updated = time.Time{}, now
	if p, err := parsePattern(c.pattern); err == nil {
		c.next = p.next(now)
	}
}

func (c *cron) save(tx *store.Tx) error {
	if c.remaining == 0 || c.next.IsZero() {
		_, err := tx.Exec(`DELETE FROM workflow_crons WHERE id = ?`, c.id)
		return err
	}
	_, err := tx.Exec(`UPDATE workflow_crons SET remaining = ?, next_at = ?, updated_at = ? WHERE id = ?`, c.remaining, store.At(c.next), store.At(c.updated), c.id)
	return err
}
