package installed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/agent/installed/apply"
	"github.com/tripleo/tripleo/internal/agent/installed/collect"
	"github.com/tripleo/tripleo/internal/agent/installed/heatconfig"
	"github.com/tripleo/tripleo/internal/agent/installed/hooks"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
	"github.com/tripleo/tripleo/internal/agent/installed/service"
)

// StateDir is the agent's own folder on a node.
const StateDir = "/var/lib/tripleo-agent"

// reachTimeout is how long one try to connect to the undercloud takes.
const reachTimeout = 5 * time.Second

// Options of Run. The zero value is right on a real node, apart from Log.
type Options struct {
	Root        string        // root of the machine's files; "" is "/"
	ConfigDrive string        // a device, image file or directory; "" searches the block devices for label config-2
	MetadataURL string        // overrides the collected os-collect-config.request.metadata_url
	Once        bool          // collect once, apply, send the results, return; for tests and operators
	AllowApt    bool          // the service hook may install missing packages
	DriveWait   time.Duration // how long to wait for a config drive at the very first start; 0 is 30 s
	Host        *host.Host    // replaces the machine, for tests
	Client      *http.Client  // for metadata and signals; nil makes one without proxy
	Log         *slog.Logger
}

type agent struct {
	opt     Options
	host    *host.Host
	log     *slog.Logger
	request *collect.Request
	server  *collect.Server
	runner  *heatconfig.Runner
	applier *apply.Applier

	mu      sync.Mutex
	sources map[string]map[string]any // collector -> its last map
	changed chan struct{}             // cap 1: sources have changed
}

// collectors in the order in which they are merged, that of os-collect-config.
func collectors() []string { return []string{"heat_local", "ec2", "request", "local"} }

// Run is the agent: it returns when ctx ends (nil), or when its own state cannot be kept.
func Run(ctx context.Context, opt Options) error {
	a, err := newAgent(opt)
	if err != nil {
		return err
	}
	if err := a.start(ctx); err != nil {
		return err
	}
	if a.opt.Once {
		return a.once(ctx)
	}
	ctx, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { a.runner.Signals(ctx) })
	wg.Go(func() { a.follow(ctx) })
	err = a.work(ctx)
	stop(err)
	wg.Wait()
	return err
}

func newAgent(opt Options) (*agent, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Root == "" {
		opt.Root = "/"
	}
	if opt.DriveWait == 0 {
		opt.DriveWait = 30 * time.Second
	}
	if opt.Client == nil {
		opt.Client = newClient()
	}
	h := opt.Host
	if h == nil {
		h = host.NewReal(opt.Root)
	}
	a := &agent{opt: opt, host: h, log: opt.Log, sources: map[string]map[string]any{}, changed: make(chan struct{}, 1)}
	a.request = &collect.Request{Client: opt.Client}
	a.server = &collect.Server{Client: opt.Client, Now: func() time.Time { return h.Now() }}
	a.applier = &apply.Applier{Host: h, Reach: a.reach}
	svc, err := service.New(service.Config{Host: h, StateDir: StateDir, AllowApt: opt.AllowApt})
	if err != nil {
		return nil, err
	}
	applyHook := hooks.Func(a.applyHook)
	a.runner = heatconfig.New(heatconfig.Config{
		Host: h, StateDir: StateDir, Client: opt.Client, Log: opt.Log,
		Hooks: map[string]hooks.Hook{
			"script": hooks.Script{Host: h}, "json-file": hooks.JSONFile{Host: h}, "service": svc,
			"puppet": hooks.Puppet{Host: h}, "ansible": hooks.Ansible{Host: h}, "hiera": hooks.Hiera{Host: h, Legacy: a.legacyHiera},
			"docker-cmd": hooks.Containers{Host: h}, "atomic": hooks.Containers{Host: h, One: true},
			"apply-config": applyHook, "os-apply-config": applyHook, "Heat::Ungrouped": applyHook,
		},
	})
	return a, nil
}

// newClient makes a client for the provisioning network: no proxy, no redirects (they would carry a signature elsewhere),
// bounded waits for everything but the answer of a long poll, which has its own bound.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConns:        4,
			IdleConnTimeout:     90 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// start takes up what is known from earlier and reads the config drive.
func (a *agent) start(ctx context.Context) error {
	// Everything below it is for root's eyes, whoever made the folder.
	if _, err := a.host.PutDir(StateDir, 0o700, "", ""); err != nil {
		return err
	}
	for _, name := range collectors() {
		data, err := a.host.ReadFile(a.cachePath(name))
		if err != nil {
			continue
		}
		if m, err := collect.ParseMap(data); err == nil {
			a.sources[name] = m
		}
	}
	if back, err := a.applier.RecoverNetwork(ctx); err != nil {
		a.log.Error("a change of the network was interrupted", "error", err)
	} else if back {
		a.log.Warn("a change of the network was interrupted and the undercloud could not be reached: the old one is back")
	}
	drive, err := a.configDrive(ctx)
	if err != nil {
		// Without a drive there may still be local files or a metadata URL from earlier.
		a.log.Warn("no config drive", "error", err)
	} else if err := a.useDrive(ctx, drive); err != nil {
		return err
	}
	return a.readLocal()
}

// reach tries whether the undercloud, as the metadata name it, can be connected to.
func (a *agent) reach(ctx context.Context) error {
	text := a.opt.MetadataURL
	if text == "" {
		text = collect.MetadataURL(a.merged())
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return errNoURL
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	conn, err := (&net.Dialer{Timeout: reachTimeout}).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}

func (a *agent) configDrive(ctx context.Context) (*collect.ConfigDrive, error) {
	if a.opt.ConfigDrive != "" {
		if d, err := collect.ReadConfigDriveDir(a.opt.ConfigDrive); err == nil {
			return d, nil
		}
		return collect.ReadConfigDriveDevice(a.opt.ConfigDrive)
	}
	deadline := a.host.Now().Add(a.opt.DriveWait)
	for {
		d, err := collect.FindConfigDrive(a.host.Path("/dev"), a.host.Path("/sys/class/block"))
		// A drive that was used before is not waited for: it may be gone for good.
		if err == nil || a.host.Exists(path.Join(StateDir, "meta_data.json")) || a.host.Now().After(deadline) || a.opt.Once {
			return d, err
		}
		if !sleep(ctx, time.Second) {
			return nil, ctx.Err()
		}
	}
}

// useDrive keeps the drive's files, sets the host name and takes the first metadata from the user data.
func (a *agent) useDrive(ctx context.Context, d *collect.ConfigDrive) error {
	for name, data := range map[string][]byte{
		"meta_data.json": d.MetaData, "user_data": d.UserData, "network_data.json": d.NetworkData, "vendor_data.json": d.VendorData,
	} {
		if data == nil {
			continue
		}
		if err := a.host.PutState(path.Join(StateDir, name), data); err != nil {
			return err
		}
	}
	meta, err := collect.ParseMap(d.MetaData)
	if err != nil {
		return fmt.Errorf("%s, meta_data.json: %w", d.Source, err)
	}
	a.log.Info("config drive read", "source", d.Source, "uuid", meta["uuid"], "hostname", meta["hostname"])
	if name, ok := meta["hostname"].(string); ok && name != "" {
		if _, err := a.applier.Hostname(ctx, name); err != nil {
			a.log.Error("host name not set", "error", err)
		}
	}
	if keys := publicKeys(meta); len(keys) > 0 {
		if err := a.authorize(keys); err != nil {
			a.log.Error("ssh keys not written", "error", err)
		}
	}
	init, err := collect.CfnInitData(d.UserData)
	if err != nil {
		a.log.Error("user data not understood", "error", err)
	}
	if init != nil {
		return a.set("ec2", init)
	}
	return nil
}

func (a *agent) readLocal() error {
	for name, read := range map[string]func(*host.Host) (map[string]any, error){"heat_local": collect.HeatLocal, "local": collect.Local} {
		m, err := read(a.host)
		if err != nil {
			a.log.Warn("collector skipped", "collector", name, "error", err)
			continue
		}
		if m != nil {
			if err := a.set(name, m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *agent) cachePath(collector string) string {
	return path.Join(StateDir, "collected", collector+".json")
}

// set keeps what a collector found, on disk first, and wakes the worker.
func (a *agent) set(name string, m map[string]any) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := a.host.PutState(a.cachePath(name), data); err != nil {
		return err
	}
	a.mu.Lock()
	a.sources[name] = m
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
	return nil
}

// merged is everything collected, in order, with the configs of apply-config deployments on top of the settings they make.
func (a *agent) merged() map[string]any {
	a.mu.Lock()
	defer a.mu.Unlock()
	var maps []map[string]any
	for _, name := range collectors() {
		if m := a.sources[name]; m != nil {
			maps = append(maps, m)
		}
	}
	return collect.Merge(maps...)
}

// follow keeps asking for the node's metadata.
func (a *agent) follow(ctx context.Context) {
	for ctx.Err() == nil {
		begin := time.Now()
		err := a.fetch(ctx, true)
		wait := a.request.Next(err, time.Since(begin))
		if err != nil && !errors.Is(err, collect.ErrNotModified) && ctx.Err() == nil {
			a.log.Warn("metadata not fetched", "error", err, "again_in", wait)
		}
		if wait > 0 && !sleep(ctx, wait) {
			return
		}
	}
}

var errNoURL = errors.New("no metadata_url known yet")

func (a *agent) fetch(ctx context.Context, wait bool) error {
	url := a.opt.MetadataURL
	if url == "" {
		url = collect.MetadataURL(a.merged())
	}
	var m map[string]any
	var err error
	if url == "" {
		if m, err = a.server.Fetch(ctx, a.merged()); errors.Is(err, collect.ErrNoTransport) {
			if err := a.readLocal(); err != nil {
				return err
			}
			return errNoURL
		}
	} else {
		m, err = a.request.Fetch(ctx, url, wait)
	}
	if err != nil {
		return err
	}
	a.log.Info("metadata changed")
	return a.set("request", m)
}

// work goes through the phases once at the start and after each change.
func (a *agent) work(ctx context.Context) error {
	for {
		if err := a.refresh(ctx); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the end was asked for, what it broke off is no failure
			}
			a.log.Error("refresh failed, will be repeated", "error", err)
			if !sleep(ctx, 5*time.Second) {
				return nil
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.changed:
		}
	}
}

// once collects, applies and sends a single time.
func (a *agent) once(ctx context.Context) error {
	if err := a.fetch(ctx, false); err != nil && !errors.Is(err, errNoURL) && !errors.Is(err, collect.ErrNotModified) {
		return fmt.Errorf("metadata: %w", err)
	}
	if err := a.refresh(ctx); err != nil {
		return err
	}
	return a.runner.Flush(ctx)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
