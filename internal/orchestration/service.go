package orchestration

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Map is the ordered mapping of all values.
type Map = yaml11.OrderedMap

// Limits bound what projects and their stacks may take.
type Limits = engine.Limits

// Config is what the service needs.
type Config struct {
	DB      *store.DB
	Bus     *notify.Bus
	Jobs    *jobs.Queue
	Log     *slog.Logger
	Auth    auth.Validator
	Cloud   *cloud.Cloud // nil: only resource types that need no other service work
	BaseURL string       // as clients reach it, e.g. http://127.0.0.1:8000/orchestration
	NodeURL string       // as machines reach the undercloud, e.g. http://192.168.24.1:8088
	AuthURL string       // of Keystone as machines reach it, for HEAT_SIGNAL
	Region  string
	Now     func() time.Time
	// SignalTransport of deployments that name none; "" is TEMP_URL_SIGNAL.
	SignalTransport string
	SafetyPoll      time.Duration // see engine.Config
	Limits          Limits
	// HiddenTags: stacks with one of them are listed only with show_hidden; nil is Heat's
	// data-processing-cluster, and hidden.
	HiddenTags []string
	Types      []*resources.Type // nil: all
	// Revision that build_info tells; "" is the commit the binary was built from.
	Revision string
}

// Service is Heat.
type Service struct {
	cfg Config
	e   *engine.Engine
	now func() time.Time
}

// New migrates the tables and registers the jobs.
func New(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Types == nil {
		cfg.Types = resources.All()
	}
	if cfg.Revision == "" {
		cfg.Revision = builtFrom(debug.ReadBuildInfo())
	}
	if cfg.HiddenTags == nil {
		cfg.HiddenTags = []string{"data-processing-cluster", "hidden"}
	}
	cfg.BaseURL = strings.TrimSuffix(cfg.BaseURL, "/")
	e, err := engine.New(context.Background(), engine.Config{DB: cfg.DB, Bus: cfg.Bus, Jobs: cfg.Jobs, Log: cfg.Log, Cloud: cfg.Cloud, Types: cfg.Types,
		NodeURL: strings.TrimSuffix(cfg.NodeURL, "/"), BaseURL: cfg.BaseURL, AuthURL: cfg.AuthURL, Region: cfg.Region, Now: cfg.Now, SignalTransport: cfg.SignalTransport, SafetyPoll: cfg.SafetyPoll,
		Limits: cfg.Limits})
	if err != nil {
		return nil, err
	}
	return &Service{cfg: cfg, e: e, now: cfg.Now}, nil
}

// Run purges what was deleted long ago until ctx ends. The work itself is done by jobs.
func (s *Service) Run(ctx context.Context) error {
	t := time.NewTicker(time.Hour)
	defer t.Stop()
	for {
		if err := s.e.Purge(ctx, 24*time.Hour); err != nil && ctx.Err() == nil {
			s.cfg.Log.WarnContext(ctx, "purging deleted stacks", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// Handler serves the API.
func (s *Service) Handler() http.Handler {
	routes := append(s.routes(), s.machineRoutes()...)
	for i := range routes {
		routes[i].Handler = s.checked(routes[i].Handler)
	}
	return api.NewHandler(api.HandlerOptions{Service: "orchestration", Routes: routes, Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: fault, MaxBody: int64(s.e.Limits().BodySize)})
}

// checked gives a request a Checker that asks the other services with the caller's token.
func (s *Service) checked(next func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, ok := auth.FromContext(r.Context())
		if !ok || s.cfg.Cloud == nil {
			return next(w, r)
		}
		open := sync.OnceValues(func() (*cloud.Session, error) { return s.cfg.Cloud.Token(context.WithoutCancel(r.Context()), id.Token) })
		c := resources.NewChecker(func(context.Context) (*cloud.Session, error) { return open() }, s.now)
		return next(w, r.WithContext(resources.WithChecker(r.Context(), c)))
	}
}

// NodeHandler serves what machines may reach with a token of their resource's user: its metadata and signals.
func (s *Service) NodeHandler() http.Handler {
	return api.NewHandler(api.HandlerOptions{Service: "orchestration", Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: fault, MaxBody: maxCFN, Routes: s.machineRoutes()})
}

// machineRoutes are what the user of a resource may do.
func (s *Service) machineRoutes() []api.Route {
	const res = "/v1/{tenant}/stacks/{name}/{id}/resources/{resource}"
	return []api.Route{
		{Method: "GET", Pattern: res + "/metadata", Policy: api.StackUser, Handler: s.resourceMetadata},
		{Method: "POST", Pattern: res + "/signal", Policy: api.StackMember, Handler: s.signalResource},
		{Method: "GET", Pattern: "/v1/{tenant}/software_deployments/metadata/{server}", Policy: api.StackUser, Handler: s.deploymentMetadata},
	}
}

// fault writes Heat's error envelope.
func fault(w http.ResponseWriter, _ *http.Request, f api.Fault) {
	typ := "HTTPException"
	if f.Err != nil && f.Err.Type != "" {
		typ = f.Err.Type
	} else if t, ok := map[int]string{400: "HTTPBadRequest", 401: "HTTPUnauthorized", 403: "Forbidden", 404: "EntityNotFound", 409: "HTTPConflict", 413: "RequestLimitExceeded"}[f.Status]; ok {
		typ = t
	}
	title := http.StatusText(f.Status)
	explanation := map[int]string{400: "The server could not comply with the request since it is either malformed or otherwise incorrect.", 404: "The resource could not be found.",
		409: "There was a conflict when trying to complete your request.", 403: "Access was denied to this resource."}[f.Status]
	if explanation == "" {
		explanation = f.Message
	}
	_ = api.WriteJSON(w, f.Status, map[string]any{"explanation": explanation, "code": f.Status, "title": title,
		"error": map[string]any{"message": f.Message, "type": typ, "traceback": nil}})
}

func (s *Service) routes() []api.Route {
	const t, st = "/v1/{tenant}", "/v1/{tenant}/stacks/{name}/{id}"
	return []api.Route{
		{Method: "GET", Pattern: "/", Policy: api.Public, Handler: s.versions},
		{Method: "GET", Pattern: "/v1", Policy: api.Public, Handler: s.versions},
		{Method: "GET", Pattern: t + "/stacks", Policy: api.Reader, Handler: s.listStacks},
		{Method: "GET", Pattern: t + "/stacks/detail", Policy: api.Reader, Handler: s.detailStacks},
		{Method: "POST", Pattern: t + "/stacks", Policy: api.Member, Handler: s.createStack},
		{Method: "POST", Pattern: t + "/stacks/preview", Policy: api.Member, Handler: s.previewStack},
		{Method: "POST", Pattern: t + "/validate", Policy: api.Reader, Handler: s.validate},
		{Method: "GET", Pattern: t + "/stacks/{name}", Policy: api.Reader, Handler: s.lookup},
		{Method: "PUT", Pattern: t + "/stacks/{name}", Policy: api.Member, Handler: s.updateStack},
		{Method: "PATCH", Pattern: t + "/stacks/{name}", Policy: api.Member, Handler: s.updateStack},
		{Method: "DELETE", Pattern: t + "/stacks/{name}", Policy: api.Member, Handler: s.deleteStack},
		{Method: "GET", Pattern: t + "/stacks/{name}/resources", Policy: api.Reader, Handler: s.lookup},
		{Method: "GET", Pattern: t + "/stacks/{name}/events", Policy: api.Reader, Handler: s.lookup},
		{Method: "GET", Pattern: t + "/stacks/{name}/outputs", Policy: api.Reader, Handler: s.lookup},
		{Method: "GET", Pattern: t + "/stacks/{name}/snapshots", Policy: api.Reader, Handler: s.lookup},
		{Method: "GET", Pattern: t + "/stacks/{name}/timeline", Policy: api.Reader, Handler: s.lookup},
		{Method: "GET", Pattern: t + "/resources", Policy: api.Reader, Handler: s.findResources},
		{Method: "GET", Pattern: t + "/stacks/{name}/template", Policy: api.Reader, Handler: s.lookup},
		{Method: "GET", Pattern: t + "/stacks/{name}/environment", Policy: api.Reader, Handler: s.lookup},
		{Method: "GET", Pattern: t + "/stacks/{name}/files", Policy: api.Reader, Handler: s.lookup},
		{Method: "POST", Pattern: t + "/stacks/{name}/actions", Policy: api.Member, Handler: s.stackAction},
		{Method: "GET", Pattern: st, Policy: api.Reader, Handler: s.showStack},
		{Method: "PUT", Pattern: st, Policy: api.Member, Handler: s.updateStack},
		{Method: "PATCH", Pattern: st, Policy: api.Member, Handler: s.updateStack},
		{Method: "DELETE", Pattern: st, Policy: api.Member, Handler: s.deleteStack},
		{Method: "PUT", Pattern: st + "/preview", Policy: api.Member, Handler: s.previewUpdate},
		{Method: "PATCH", Pattern: st + "/preview", Policy: api.Member, Handler: s.previewUpdate},
		{Method: "GET", Pattern: st + "/template", Policy: api.Reader, Handler: s.showTemplate},
		{Method: "GET", Pattern: st + "/environment", Policy: api.Reader, Handler: s.showEnvironment},
		{Method: "GET", Pattern: st + "/files", Policy: api.Reader, Handler: s.showFiles},
		{Method: "GET", Pattern: st + "/outputs", Policy: api.Reader, Handler: s.listOutputs},
		{Method: "GET", Pattern: st + "/outputs/{output}", Policy: api.Reader, Handler: s.showOutput},
		{Method: "POST", Pattern: st + "/actions", Policy: api.Member, Handler: s.stackAction},
		{Method: "DELETE", Pattern: st + "/abandon", Policy: api.Member, Handler: s.abandonStack},
		{Method: "GET", Pattern: st + "/export", Policy: api.Member, Handler: s.exportStack},
		{Method: "GET", Pattern: st + "/timeline", Policy: api.Reader, Handler: s.timeline},
		{Method: "GET", Pattern: st + "/snapshots", Policy: api.Reader, Handler: s.listSnapshots},
		{Method: "POST", Pattern: st + "/snapshots", Policy: api.Member, Handler: s.takeSnapshot},
		{Method: "GET", Pattern: st + "/snapshots/{snapshot}", Policy: api.Reader, Handler: s.showSnapshot},
		{Method: "DELETE", Pattern: st + "/snapshots/{snapshot}", Policy: api.Member, Handler: s.deleteSnapshot},
		{Method: "POST", Pattern: st + "/snapshots/{snapshot}/restore", Policy: api.Member, Handler: s.restoreSnapshot},
		{Method: "GET", Pattern: st + "/resources", Policy: api.Reader, Handler: s.listResources},
		{Method: "GET", Pattern: st + "/resources/{resource}", Policy: api.Reader, Handler: s.showResource},
		{Method: "PATCH", Pattern: st + "/resources/{resource}", Policy: api.Member, Handler: s.markUnhealthy},
		{Method: "GET", Pattern: st + "/events", Policy: api.Reader, Handler: s.listEvents},
		{Method: "GET", Pattern: st + "/resources/{resource}/events", Policy: api.Reader, Handler: s.listEvents},
		{Method: "GET", Pattern: st + "/resources/{resource}/events/{event}", Policy: api.Reader, Handler: s.showEvent},
		{Method: "GET", Pattern: t + "/software_configs", Policy: api.Reader, Handler: s.listConfigs},
		{Method: "POST", Pattern: t + "/software_configs", Policy: api.Member, Handler: s.createConfig},
		{Method: "GET", Pattern: t + "/software_configs/{config}", Policy: api.Reader, Handler: s.showConfig},
		{Method: "DELETE", Pattern: t + "/software_configs/{config}", Policy: api.Member, Handler: s.deleteConfig},
		{Method: "GET", Pattern: t + "/software_deployments", Policy: api.Reader, Handler: s.listDeployments},
		{Method: "POST", Pattern: t + "/software_deployments", Policy: api.Member, Handler: s.createDeployment},
		{Method: "GET", Pattern: t + "/software_deployments/{deployment}", Policy: api.Reader, Handler: s.showDeployment},
		{Method: "PUT", Pattern: t + "/software_deployments/{deployment}", Policy: api.Member, Handler: s.updateDeployment},
		{Method: "DELETE", Pattern: t + "/software_deployments/{deployment}", Policy: api.Member, Handler: s.deleteDeployment},
		{Method: "GET", Pattern: t + "/resource_types", Policy: api.Reader, Handler: s.listTypes},
		{Method: "GET", Pattern: t + "/resource_types/{type}", Policy: api.Reader, Handler: s.showType},
		{Method: "GET", Pattern: t + "/resource_types/{type}/template", Policy: api.Reader, Handler: s.typeTemplate},
		{Method: "GET", Pattern: t + "/template_versions", Policy: api.Reader, Handler: s.listVersions},
		{Method: "GET", Pattern: t + "/template_versions/{version}/functions", Policy: api.Reader, Handler: s.listFunctions},
		{Method: "GET", Pattern: t + "/build_info", Policy: api.Reader, Handler: s.buildInfo},
		{Method: "GET", Pattern: t + "/services", Policy: api.Admin, Handler: s.listServices},
	}
}

func (s *Service) versions(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusMultipleChoices, map[string]any{"versions": []any{map[string]any{
		"id": "v1.0", "status": "CURRENT", "links": []any{map[string]any{"rel": "self", "href": s.cfg.BaseURL + "/v1/"}}}}})
}

// caller returns the identity and checks the project in the path.
func caller(r *http.Request) (*auth.Identity, error) {
	id, ok := auth.FromContext(r.Context())
	if !ok {
		return nil, api.Unauthorized("The request you have made requires authentication.")
	}
	if t := r.PathValue("tenant"); t != "" && t != id.ProjectID && !id.IsAdmin() {
		return nil, api.Forbidden("You are not authorized to use orchestration of project %s.", t)
	}
	return id, nil
}

// body reads a JSON object with its keys in order.
func body(r *http.Request) (*Map, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, api.TooLarge("the request is larger than %d bytes", tooLarge.Limit).Named("RequestLimitExceeded")
		}
		return nil, api.Invalid("the request could not be read").Wrap(err)
	}
	v, err := yaml11.DecodeJSON(data)
	if err != nil {
		return nil, api.Invalid("malformed JSON: %v", err)
	}
	m, ok := v.(*Map)
	if !ok {
		return nil, api.Invalid("the body must be a JSON object")
	}
	return m, nil
}

// trust returns a trust by which jobs act for the caller. A caller who came by a
// trust gives one more: his own ends with his work (a Mistral execution), the stack lives on.
func (s *Service) trust(ctx context.Context, id *auth.Identity, st *engine.Stack) (string, error) {
	if s.cfg.Cloud == nil {
		return "", nil
	}
	if st != nil && st.TrustID != "" && st.UserID == id.UserID {
		return st.TrustID, nil
	}
	trust, err := s.cfg.Cloud.NewTrust(ctx, id, time.Time{}, true)
	if err != nil {
		return "", api.Forbidden("the stack cannot act for its owner: Keystone made no trust: %v", err).Wrap(err)
	}
	return trust, nil
}

// truthy reads a boolean query parameter.
func truthy(r *http.Request, name string) bool {
	switch strings.ToLower(r.URL.Query().Get(name)) {
	case "1", "true", "yes", "on", "t":
		return true
	}
	return false
}
