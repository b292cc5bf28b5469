package messaging

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/auth/seal"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Bounds, as Zaqar's where they are part of the API. Times are seconds, sizes
// bytes.
const (
	maxBody         = 4 << 20 // of a request or frame; TripleO's messages carry whole executions
	maxMetadata     = 64 << 10
	defaultPostSize = 2 << 20 // as TripleO's undercloud sets it; Zaqar's own default is 256 KiB
	maxQueueName    = 64
	minTTL          = 60
	maxTTL          = 1_209_600
	defaultTTL      = 3_600
	maxGrace        = 43_200
	minGrace        = 60
	maxDelay        = 900
	maxMessages     = 20 // of a page, a claim or a batch of ids
	defaultPage     = 10
	maxQueuesPage   = 20
	maxPostBatch    = 1_000
	maxSockets      = 20_000
	maxSocketQueue  = 1_000 // messages that wait for a slow socket
	maxSocketSubs   = 100
)

const (
	kindExpire  = "messaging.expire"
	kindDeliver = "messaging.deliver"
	kindTrust   = "messaging.trust"
	jobKey      = "all"
	webhookTime = 15 * time.Second // for a webhook's answer
)

// Config is what the service needs.
type Config struct {
	DB        *store.DB
	Bus       *notify.Bus
	Jobs      *jobs.Queue
	Log       *slog.Logger
	Auth      auth.Validator
	Transport http.RoundTripper // for webhooks; nil: http.DefaultTransport
	Now       func() time.Time

	Cloud               *cloud.Cloud // for trust+ subscriptions; nil: they are refused
	BaseURL             string       // as subscribers reach it, for links in confirmations
	Secret              []byte       // signs URLs and encrypts bodies; the same in all processes and after a restart
	MaxPostSize         int64        // bytes of one post unless its queue says otherwise; 0 is 2 MiB
	RequireConfirmation bool         // webhooks and mail must be confirmed by who receives them
	SMTP                *SMTP        // for mailto: subscriptions; nil: they are refused
}

// Service is Zaqar.
type Service struct {
	cfg     Config
	db      *store.DB
	bus     *notify.Bus
	now     func() time.Time
	hub     *hub
	web     *http.Client      // for webhooks: it follows no redirects
	actions map[string]action // of sockets
	stop    chan struct{}     // closed when Run ends: sockets close
	once    sync.Once

	signKey []byte    // of pre-signed URLs
	bodies  *seal.Box // of encrypted queues
}

// New migrates the database and returns the service.
func New(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MaxPostSize == 0 {
		cfg.MaxPostSize = defaultPostSize
	}
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("messaging: %w", err)
	}
	ctx := context.Background()
	if err := cfg.DB.Migrate(ctx, "messaging", sub); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, db: cfg.DB, bus: cfg.Bus, now: cfg.Now, hub: newHub(), actions: actions(),
		web:  &http.Client{Transport: cfg.Transport, Timeout: webhookTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		stop: make(chan struct{})}
	if err := s.keys(cfg.Secret); err != nil {
		return nil, fmt.Errorf("messaging: %w", err)
	}
	cfg.Jobs.Register(kindExpire, 1, s.expire)
	cfg.Jobs.Register(kindTrust, 2, s.endTrust)
	cfg.Jobs.Register(kindDeliver, 8, s.deliver)
	return s, nil
}

// Run waits for ctx to end and then closes the sockets.
func (s *Service) Run(ctx context.Context) error {
	<-ctx.Done()
	s.once.Do(func() { close(s.stop) })
	return nil
}

// Handler answers Zaqar's API; paths begin at "/".
func (s *Service) Handler() http.Handler {
	return s.signed(api.NewHandler(api.HandlerOptions{
		Service: "messaging", Routes: s.routes(), Auth: s.cfg.Auth, Log: s.cfg.Log, Fault: fault, MaxBody: maxBody,
	}))
}

func (s *Service) routes() []api.Route {
	const (
		get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
		queue                      = "/v2/queues/{queue}"
	)
	return withOlder([]api.Route{
		{Method: get, Pattern: "/{$}", Policy: api.Public, Handler: s.versions},
		{Method: get, Pattern: "/v2", Policy: api.Public, Handler: s.home},
		{Method: get, Pattern: "/v2/{$}", Policy: api.Public, Handler: s.home},
		{Method: get, Pattern: "/v2/ping", Policy: api.Public, Handler: s.ping},
		{Method: get, Pattern: "/v2/health", Policy: api.Admin, Handler: s.health},
		// A socket authenticates by its first frame.
		{Method: get, Pattern: "/v2/websocket", Policy: api.Public, Handler: s.websocket},

		{Method: get, Pattern: "/v2/queues", Policy: api.Reader, Handler: s.withClient(s.listQueues)},
		{Method: put, Pattern: queue, Policy: api.Member, Handler: s.withClient(s.putQueue)},
		{Method: get, Pattern: queue, Policy: api.Reader, Handler: s.withClient(s.getQueue)},
		{Method: patch, Pattern: queue, Policy: api.Member, Handler: s.withClient(s.patchQueue)},
		{Method: del, Pattern: queue, Policy: api.StackMember, Handler: s.withClient(s.deleteQueue)},
		{Method: get, Pattern: queue + "/stats", Policy: api.Reader, Handler: s.withClient(s.queueStats)},
		{Method: post, Pattern: queue + "/purge", Policy: api.Member, Handler: s.withClient(s.purgeQueue)},
		{Method: post, Pattern: queue + "/share", Policy: api.Member, Handler: s.withClient(s.shareQueue)},

		{Method: post, Pattern: queue + "/messages", Policy: api.StackMember, Handler: s.withClient(s.postMessages)},
		{Method: get, Pattern: queue + "/messages", Policy: api.StackUser, Handler: s.withClient(s.listMessages)},
		{Method: del, Pattern: queue + "/messages", Policy: api.StackMember, Handler: s.withClient(s.deleteMessages)},
		{Method: get, Pattern: queue + "/messages/{message}", Policy: api.StackUser, Handler: s.withClient(s.getMessage)},
		{Method: del, Pattern: queue + "/messages/{message}", Policy: api.StackMember, Handler: s.withClient(s.deleteMessage)},

		{Method: post, Pattern: queue + "/claims", Policy: api.StackMember, Handler: s.withClient(s.createClaim)},
		{Method: get, Pattern: queue + "/claims/{claim}", Policy: api.StackUser, Handler: s.withClient(s.getClaim)},
		{Method: patch, Pattern: queue + "/claims/{claim}", Policy: api.StackMember, Handler: s.withClient(s.updateClaim)},
		{Method: del, Pattern: queue + "/claims/{claim}", Policy: api.StackMember, Handler: s.withClient(s.deleteClaim)},

		{Method: post, Pattern: queue + "/subscriptions", Policy: api.Member, Handler: s.withClient(s.createSubscription)},
		{Method: get, Pattern: queue + "/subscriptions", Policy: api.Reader, Handler: s.withClient(s.listSubscriptions)},
		{Method: get, Pattern: queue + "/subscriptions/{subscription}", Policy: api.Reader, Handler: s.withClient(s.getSubscription)},
		{Method: patch, Pattern: queue + "/subscriptions/{subscription}", Policy: api.Member, Handler: s.withClient(s.updateSubscription)},
		{Method: del, Pattern: queue + "/subscriptions/{subscription}", Policy: api.Member, Handler: s.withClient(s.deleteSubscription)},
		{Method: put, Pattern: queue + "/subscriptions/{subscription}/confirm", Policy: api.Member, Handler: s.withClient(s.confirmSubscription)},

		{Method: get, Pattern: "/v2/pools", Policy: api.Admin, Handler: s.listPools},
		{Method: put, Pattern: "/v2/pools/{name}", Policy: api.Admin, Handler: s.putPool},
		{Method: get, Pattern: "/v2/pools/{name}", Policy: api.Admin, Handler: s.getPool},
		{Method: patch, Pattern: "/v2/pools/{name}", Policy: api.Admin, Handler: s.patchPool},
		{Method: del, Pattern: "/v2/pools/{name}", Policy: api.Admin, Handler: s.deletePool},
		{Method: get, Pattern: "/v2/flavors", Policy: api.Reader, Handler: s.listFlavors},
		{Method: put, Pattern: "/v2/flavors/{name}", Policy: api.Admin, Handler: s.putFlavor},
		{Method: get, Pattern: "/v2/flavors/{name}", Policy: api.Reader, Handler: s.getFlavor},
		{Method: patch, Pattern: "/v2/flavors/{name}", Policy: api.Admin, Handler: s.patchFlavor},
		{Method: del, Pattern: "/v2/flavors/{name}", Policy: api.Admin, Handler: s.deleteFlavor},
	})
}

// withOlder adds version 1.1 of the API, which os-collect-config speaks: queues, messages and claims as in version 2, whose paths the
// answers name.
func withOlder(routes []api.Route) []api.Route {
	for _, r := range routes {
		rest, ok := strings.CutPrefix(r.Pattern, "/v2/queues")
		if !ok || strings.Contains(rest, "/subscriptions") || strings.HasSuffix(rest, "/purge") || strings.HasSuffix(rest, "/share") {
			continue
		}
		r.Pattern = "/v1.1/queues" + rest
		routes = append(routes, r)
	}
	return routes
}

// fault writes Zaqar's error envelope.
func fault(w http.ResponseWriter, _ *http.Request, f api.Fault) {
	_ = api.WriteJSON(w, f.Status, map[string]string{"title": http.StatusText(f.Status), "description": f.Message})
}

// actor is on whose behalf a call runs.
type actor struct {
	project string
	client  string // Client-ID: a UUID that tells consumers of one project apart
}

type actorHandler func(w http.ResponseWriter, r *http.Request, a actor) error

// withClient takes the project from the token and the client from its header.
func (s *Service) withClient(h actorHandler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, ok := auth.FromContext(r.Context())
		if !ok || id.ProjectID == "" {
			return api.Forbidden("queues belong to a project: the token is not scoped to one")
		}
		a, err := newActor(id, r.Header.Get("Client-ID"))
		if err != nil {
			return err
		}
		return h(w, r, a)
	}
}

func newActor(id *auth.Identity, client string) (actor, error) {
	parsed, err := uuid.Parse(client)
	if err != nil {
		return actor{}, api.Invalid("header Client-ID is %q, expected a UUID", client)
	}
	return actor{project: id.ProjectID, client: parsed.String()}, nil
}

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

func newID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

type document = map[string]any

func (s *Service) versions(w http.ResponseWriter, r *http.Request) error {
	if r.Header.Get("Upgrade") != "" { // the classic port serves sockets at its root
		return s.websocket(w, r)
	}
	media := []document{{"base": "application/json", "type": "application/vnd.openstack.messaging-v2+json"}}
	old := []document{{"base": "application/json", "type": "application/vnd.openstack.messaging-v1_1+json"}}
	return api.WriteJSON(w, http.StatusMultipleChoices, document{"versions": []document{
		{"id": "1.1", "status": "DEPRECATED", "updated": "2016-7-29T02:22:47Z", "media-types": old, "links": []document{{"href": "/v1.1/", "rel": "self"}}},
		{"id": "2", "status": "CURRENT", "updated": "2014-9-24T04:06:47Z", "media-types": media, "links": []document{{"href": "/v2/", "rel": "self"}}},
	}})
}

// home is the JSON home document: where the resources are.
func (s *Service) home(w http.ResponseWriter, _ *http.Request) error {
	entry := func(template string, allow ...string) document {
		vars := document{}
		for part := range strings.SplitSeq(template, "{") {
			if name, _, ok := strings.Cut(part, "}"); ok {
				vars[strings.TrimPrefix(name, "?")] = "param/" + name
			}
		}
		return document{"href-template": template, "href-vars": vars, "hints": document{"allow": allow, "formats": document{"application/json": document{}}}}
	}
	return api.WriteJSON(w, http.StatusOK, document{"resources": document{
		"rel/queues":        entry("/v2/queues{?marker,limit,detailed}", "GET"),
		"rel/queue":         entry("/v2/queues/{queue_name}", "PUT", "GET", "PATCH", "DELETE"),
		"rel/queue_stats":   entry("/v2/queues/{queue_name}/stats", "GET"),
		"rel/messages":      entry("/v2/queues/{queue_name}/messages{?marker,limit,echo,include_claimed}", "GET"),
		"rel/message":       entry("/v2/queues/{queue_name}/messages/{message_id}", "GET", "DELETE"),
		"rel/post_messages": entry("/v2/queues/{queue_name}/messages", "POST"),
		"rel/claim":         entry("/v2/queues/{queue_name}/claims/{claim_id}", "GET", "PATCH", "DELETE"),
		"rel/post_claim":    entry("/v2/queues/{queue_name}/claims{?limit}", "POST"),
		"rel/subscriptions": entry("/v2/queues/{queue_name}/subscriptions", "GET", "POST"),
		"rel/ping":          entry("/v2/ping", "GET"),
	}})
}

func (s *Service) ping(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// health answers GET /v2/health: whether the store can be read.
func (s *Service) health(w http.ResponseWriter, r *http.Request) error {
	var queues int64
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		return tx.Get([]any{&queues}, `SELECT COUNT(*) FROM messaging_queues`)
	})
	return api.WriteJSON(w, http.StatusOK, document{"catalog_reachable": err == nil, "sockets": s.hub.sockets()})
}
