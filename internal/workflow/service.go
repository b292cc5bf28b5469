package workflow

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/workflow/engine"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Workbook is a workbook that comes with the program: it is stored when the
// service starts, public, and belongs to no project.
type Workbook struct{ Name, YAML string }

// Config is what the service is made of.
type Config struct {
	DB      *store.DB
	Bus     *notify.Bus
	Jobs    *jobs.Queue
	Log     *slog.Logger
	Auth    auth.Validator
	Cloud   *cloud.Cloud // nil only in tests: actions get no session
	BaseURL string       // public, e.g. http://127.0.0.1:8000/workflow

	// Actions are offered besides std.* and those of the OpenStack services.
	Actions   []actions.Action
	Workbooks []Workbook
	// Workers bounds the actions that run at once in this process (default 64).
	Workers int
	// Std bounds the std.* actions: what they reach, trust and use up.
	Std actions.StdOptions
	// Expiry says when ended executions are deleted; the zero value keeps them.
	Expiry engine.Expiry
	// Groups are the names by which a task's "target" finds this process.
	Groups []string
	Now    func() time.Time // nil: time.Now
}

// Service is the workflow service.
type Service struct {
	cfg Config
	eng *engine.Engine
}

// New migrates the service's tables, stores the built-in workbooks and
// registers the jobs.
func New(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := cfg.DB.Migrate(context.Background(), "workflow", sub); err != nil {
		return nil, err
	}
	reg, err := actions.NewRegistry(actions.Std(cfg.Std), actions.OpenStack(), cfg.Actions)
	if err != nil {
		return nil, err
	}
	eng, err := engine.New(engine.Config{DB: cfg.DB, Bus: cfg.Bus, Jobs: cfg.Jobs, Log: cfg.Log, Cloud: cfg.Cloud, Actions: reg,
		Now: cfg.Now, Workers: cfg.Workers, Expiry: cfg.Expiry, Groups: cfg.Groups})
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, eng: eng}
	cfg.Jobs.Register(kindCron, 4, s.fireCron)
	cfg.Jobs.Register(kindEvent, 4, s.deliver)
	cfg.Jobs.Register(kindQueue, 4, s.listen)
	return s, s.install(context.Background())
}

// install stores the built-in workbooks whose text has changed.
func (s *Service) install(ctx context.Context) error {
	if err := s.installActions(ctx); err != nil {
		return fmt.Errorf("store the actions: %w", err)
	}
	owner := &auth.Identity{Roles: []string{"admin"}}
	if err := s.installWorkflows(ctx, owner); err != nil {
		return fmt.Errorf("store the standard workflows: %w", err)
	}
	for _, wb := range s.cfg.Workbooks {
		err := s.saveWorkbook(ctx, owner, save{text: wb.YAML, scope: "public", replace: true, create: true, lenient: true})
		if err != nil {
			return fmt.Errorf("built-in workbook %s: %w", wb.Name, err)
		}
	}
	return nil
}

// Handler serves the API.
func (s *Service) Handler() http.Handler {
	return api.NewHandler(api.HandlerOptions{Service: "workflow", Routes: s.routes(), Auth: s.cfg.Auth, Log: s.cfg.Log,
		Fault: fault, MaxBody: 20 << 20})
}

// Run plans the look for expired executions and waits: the work is done by jobs.
func (s *Service) Run(ctx context.Context) error {
	if err := s.eng.PlanExpiry(ctx); err != nil {
		return fmt.Errorf("plan the expiry of executions: %w", err)
	}
	<-ctx.Done()
	return nil
}

// fault is Mistral's envelope of errors.
func fault(w http.ResponseWriter, _ *http.Request, f api.Fault) {
	code := "Client"
	if f.Status >= 500 {
		code = "Server"
	}
	_ = api.WriteJSON(w, f.Status, map[string]any{"faultcode": code, "faultstring": f.Message, "debuginfo": nil})
}

func identity(r *http.Request) *auth.Identity {
	id, ok := auth.FromContext(r.Context())
	if !ok {
		return &auth.Identity{}
	}
	return id
}

// stranger is a caller by whom the engine cannot act yet.
func stranger(id *auth.Identity) engine.Caller {
	return engine.Caller{ProjectID: id.ProjectID, ProjectName: id.ProjectName, UserID: id.UserID, UserName: id.UserName, Admin: id.IsAdmin()}
}

// caller makes the durable stand-in of an identity: a trust by which the engine
// acts later. expires bounds the trust; zero is forever.
func (s *Service) caller(ctx context.Context, id *auth.Identity, expires time.Time) (engine.Caller, error) {
	c := stranger(id)
	if s.cfg.Cloud == nil {
		return c, nil
	}
	if id.ProjectID == "" {
		return c, api.Forbidden("a workflow runs in a project: the token is scoped to none")
	}
	if id.TrustID != "" {
		c.TrustID = id.TrustID
		return c, nil
	}
	svc, err := s.cfg.Cloud.Service(ctx)
	if err != nil {
		return c, fmt.Errorf("session of the service user: %w", err)
	}
	if id.UserID == svc.UserID && id.ProjectID == svc.ProjectID {
		c.TrustID = engine.ServiceTrust
		return c, nil
	}
	if c.TrustID, err = s.cfg.Cloud.NewTrust(ctx, id, expires, false); err != nil {
		return c, api.Forbidden("no trust could be made to act for the caller later").Wrap(err)
	}
	c.Owned = true
	return c, nil
}

// problem turns errors of the engine and the store into faults.
func problem(err error) error {
	var in *engine.InputError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &in):
		return api.Invalid("%s", in.Error())
	case errors.Is(err, store.ErrNotFound):
		return api.NotFound("%s", firstOf(err)).Wrap(err)
	case errors.Is(err, engine.ErrState):
		return api.Invalid("%s", err.Error())
	case errors.Is(err, engine.ErrActive):
		return api.Forbidden("%s", err.Error())
	}
	return err
}

// firstOf cuts the wrapped cause off a message.
func firstOf(err error) string {
	msg := err.Error()
	if inner := errors.Unwrap(err); inner != nil {
		if n := len(msg) - len(inner.Error()); n > 2 && msg[n:] == inner.Error() {
			return msg[:n-2]
		}
	}
	return msg
}
