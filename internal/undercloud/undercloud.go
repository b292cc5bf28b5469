package undercloud

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/auth/seal"
	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

// Undercloud is everything one process runs.
type Undercloud struct {
	cfg      Config
	log      *slog.Logger
	secrets  secrets
	baseURL  string
	listener net.Listener
	profiles net.Listener // nil: none
	lock     *os.File

	db       *store.DB
	blobs    blob.Store
	bus      *notify.Bus
	jobs     *jobs.Queue
	tokens   *auth.Tokens
	metadata http.Handler // of the compute service, for machines
	keys     *seal.Keys
	rows     *seal.Keys // of the database, and of what is locked in it once more
	cloud    *cloud.Cloud
	services []service
	ready    atomic.Bool
	// discover is the bare metal service's answer to DHCP clients nobody knows.
	discover func(ctx context.Context, mac net.HardwareAddr) error
}

// service is one row of the house: who it is, what it serves and what it runs.
type service struct {
	prefix  string // of its paths, e.g. "/identity"
	handler http.Handler
	node    http.Handler // what machines may reach; nil: nothing
	run     func(ctx context.Context) error
}

// New opens the stores, binds the API listener and makes the services. Nothing
// runs before Run; Close must be called when Run is not.
func New(ctx context.Context, cfg Config, log *slog.Logger) (_ *Undercloud, err error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	u := &Undercloud{cfg: cfg, log: log, bus: notify.New()}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Close())
		}
	}()
	for _, dir := range []string{cfg.DataDir, cfg.Shared} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("data folder: %w", err)
		}
	}
	if u.lock, err = lockDir(cfg.DataDir); err != nil {
		return nil, err
	}
	if u.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("API listener: %w", err)
	}
	if cfg.Profile != "" {
		if u.profiles, err = openProfiling(ctx, cfg.Profile); err != nil {
			return nil, err
		}
	}
	_, port, err := net.SplitHostPort(u.listener.Addr().String())
	if err != nil {
		return nil, err
	}
	u.baseURL = cfg.baseURL(port)
	if cfg.TLS.Mode == "on" {
		cert, err := openCertificate(&cfg, time.Now, log)
		if err != nil {
			return nil, err
		}
		u.listener = tls.NewListener(u.listener, cert.config())
	}
	if u.secrets, err = loadSecrets(cfg.Shared); err != nil {
		return nil, err
	}
	if u.db, err = store.Open(ctx, cfg.Database); err != nil {
		return nil, err
	}
	if u.blobs, err = openBlobs(ctx, cfg); err != nil {
		return nil, err
	}
	if u.jobs, err = jobs.New(u.db, u.bus, log); err != nil {
		return nil, err
	}
	if u.tokens, err = auth.OpenTokens(filepath.Join(cfg.Shared, "token-keys")); err != nil {
		return nil, err
	}
	if u.keys, err = seal.OpenKeys(filepath.Join(cfg.Shared, "credential-keys")); err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if u.rows, err = seal.OpenKeys(filepath.Join(cfg.Shared, "row-keys")); err != nil {
		return nil, fmt.Errorf("encryption of the database: %w", err)
	}
	u.db.Protect(u.rows)
	transport, err := u.transport()
	if err != nil {
		return nil, err
	}
	u.cloud = cloud.New(cloud.Options{
		AuthURL: u.baseURL + "/identity/v3", Region: cfg.Region, Transport: transport,
		User: "tripleo", Password: u.secrets.ServicePassword, Project: "service", Domain: "Default",
	})
	if err := u.makeServices(); err != nil {
		return nil, err
	}
	return u, u.credentials()
}

func openBlobs(ctx context.Context, cfg Config) (blob.Store, error) {
	if cfg.Blob.S3.Endpoint != "" {
		s, err := blob.OpenS3(ctx, cfg.Blob.S3)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	d, err := blob.OpenDir(filepath.Join(cfg.Shared, "blobs"))
	if err != nil {
		return nil, err
	}
	return d, nil
}

// transport is how the services reach each other.
func (u *Undercloud) transport() (http.RoundTripper, error) {
	tcp, err := cloud.Transport(u.cfg.caFile())
	if err != nil || u.cfg.OverTCP {
		return tcp, err
	}
	return cloud.NewLocal(u.baseURL, u.handler(), tcp), nil
}

// Close releases what New opened.
func (u *Undercloud) Close() error {
	var errs []error
	for _, l := range []net.Listener{u.listener, u.profiles} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if u.blobs != nil {
		errs = append(errs, u.blobs.Close())
	}
	if u.db != nil {
		errs = append(errs, u.db.Close())
	}
	if u.lock != nil {
		errs = append(errs, u.lock.Close())
	}
	return errors.Join(errs...)
}

// BaseURL is where the API is served.
func (u *Undercloud) BaseURL() string { return u.baseURL }

// CloudsFile is the clouds.yaml with the cloud "undercloud".
func (u *Undercloud) CloudsFile() string { return filepath.Join(u.cfg.DataDir, "clouds.yaml") }

// RCFile is the shell file with the OS_* variables.
func (u *Undercloud) RCFile() string { return filepath.Join(u.cfg.DataDir, "undercloudrc") }

// drainTime is how long requests under way may take at shutdown.
const drainTime = 5 * time.Second

// Run serves until ctx ends, then drains and closes everything.
func (u *Undercloud) Run(ctx context.Context) error {
	defer func() {
		if err := u.Close(); err != nil {
			u.log.Error("shutdown", "error", err)
		}
	}()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveHTTP(ctx, u.listener, durable(u.handler(), u.db.Sync)) })
	if u.profiles != nil {
		g.Go(func() error { return serveHTTP(ctx, u.profiles, profilingHandler()) })
	}
	g.Go(func() error { return u.bus.Share(ctx, u.db, u.log) })
	g.Go(func() error { return u.jobs.Run(ctx) })
	g.Go(func() error { return u.serveMachines(ctx) })
	for _, s := range u.services {
		if s.run != nil {
			g.Go(func() error { return s.run(ctx) })
		}
	}
	g.Go(func() error {
		err := u.bootstrap(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // interrupted; the next start goes on
		}
		if err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
		u.ready.Store(true)
		u.log.Info("undercloud is ready", "url", u.baseURL, "clouds", u.CloudsFile())
		return nil
	})
	return g.Wait()
}

// serveHTTP serves handler on l until ctx ends, then lets requests finish.
func serveHTTP(ctx context.Context, l net.Listener, handler http.Handler) error {
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		if srv.Shutdown(drain) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(l)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// handler routes the API's paths to the services; it may be made before them.
func (u *Undercloud) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.route(w, r, func(s *service) http.Handler { return s.handler })
	})
}

func (u *Undercloud) nodeHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if metadataPath.MatchString(r.URL.Path) {
			u.metadata.ServeHTTP(w, r)
			return
		}
		u.route(w, r, func(s *service) http.Handler { return s.node })
	})
}

func (u *Undercloud) route(w http.ResponseWriter, r *http.Request, pick func(*service) http.Handler) {
	if r.URL.Path == "/healthz" {
		u.health(w)
		return
	}
	if swiftPath(r.URL.Path) {
		r = r.Clone(r.Context())
		r.URL.Path = "/object-store" + r.URL.Path
		if r.URL.RawPath != "" {
			r.URL.RawPath = "/object-store" + r.URL.RawPath
		}
	}
	for i := range u.services {
		s := &u.services[i]
		if r.URL.Path != s.prefix && !strings.HasPrefix(r.URL.Path, s.prefix+"/") {
			continue
		}
		if h := pick(s); h != nil {
			http.StripPrefix(s.prefix, h).ServeHTTP(w, r)
			return
		}
	}
	http.Error(w, "there is nothing here; services are under /identity, /image, /object-store, /messaging, /network, /compute, /baremetal, /introspection, /orchestration, /placement and /workflow", http.StatusNotFound)
}

// metadataPath is what machines ask 169.254.169.254 for.
var metadataPath = regexp.MustCompile(`^/(openstack|latest|1\.0|20[0-9]{2}-[0-9]{2}-[0-9]{2})(/|$)`) //nolint:gochecknoglobals // constant

// swiftPath says whether a path is one where clients of Swift expect it
// without a prefix: capabilities, and accounts, as temporary URLs name them.
func swiftPath(p string) bool { return p == "/info" || strings.HasPrefix(p, "/v1/AUTH_") }

func (u *Undercloud) health(w http.ResponseWriter) {
	if !u.ready.Load() {
		http.Error(w, "starting", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}
