package ramdisk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tripleo/tripleo/internal/agent/disk"
	"github.com/tripleo/tripleo/internal/agent/hardware"
	"github.com/tripleo/tripleo/internal/agent/lldp"
	"github.com/tripleo/tripleo/internal/agent/rescue"
)

// Action is what the machine shall do when the agent is finished.
type Action string

// What Run returns.
const (
	ActionNone     Action = ""
	ActionReboot   Action = "reboot"
	ActionPowerOff Action = "power off"
)

// DefaultPort is where ironic-python-agent listens.
const DefaultPort = "9999"

// Version is what the agent calls itself in heartbeats and in /v1/status. Ironic derives from it which commands
// and parameters an agent knows, so it is the version of ironic-python-agent whose protocol this is.
const Version = "9.4.0"

// Options of Run. Everything outside the process comes in here.
type Options struct {
	Config  Config
	Sources hardware.Sources
	Log     *slog.Logger
	Logs    *LogBuffer // what Log writes to
	Client  *http.Client
	// Listener is where the agent's API is served; its port is announced.
	Listener net.Listener
	// AdvertiseIP returns the address under which the given URL's host can reach us.
	AdvertiseIP func(ctx context.Context, target string) (string, error)
	OpenDisk    func(path string) (disk.Device, error)
	// OpenShared opens a disk of which software RAID holds partitions.
	OpenShared func(path string) (disk.Device, error)
	// Arrays assembles and stops software RAID; nil: there is none.
	Arrays Assembler
	// ListenLLDP hears what the switches say, for at most the given time; nil: nobody listens.
	ListenLLDP func(ctx context.Context, timeout time.Duration) map[string][]lldp.TLV
	EFIVars    string // where the firmware's variables are; "": there are none to write
	Version    string
	Now        func() time.Time
	Random     func() float64 // 0 ≤ x < 1, for jitter
	// Backoff returns the wait before attempt n+1 (n from 1), at most limit.
	Backoff func(n int, limit time.Duration) time.Duration
	// Grace is how long the API stays up after a power command succeeded, so that its result can be fetched.
	Grace time.Duration
	// ListenRescue opens the socket for SSH; nil: a rescue is refused.
	ListenRescue func() (net.Listener, error)
	// ImagePatience bounds one outage of the image server; zero is the default of package disk.
	ImagePatience time.Duration
}

// Backoff is the usual Options.Backoff: 1, 2, 4 … seconds up to limit.
func Backoff(n int, limit time.Duration) time.Duration {
	return min(time.Second<<min(max(n-1, 0), 10), limit)
}

type agent struct {
	o           Options
	log         *slog.Logger
	started     time.Time
	token       string
	callbackURL string
	beat        chan struct{} // wakes the heartbeat
	commands    *executor

	mu         sync.Mutex
	known      Node
	cached     string // id of the image on the disk
	cachedDisk string
	layout     disk.Layout

	rescueMu sync.Mutex
	rescue   *rescue.Server // nil: nobody is let in
}

func (a *agent) node() Node {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known
}

func (a *agent) setNode(n Node) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n.UUID != "" && (n.Properties != nil || a.known.UUID != n.UUID) {
		a.known = n
	}
}

// Run inspects the machine if asked to, then serves Ironic until a command ends it. It returns what the machine
// shall do next. It owns o.Listener.
func Run(ctx context.Context, o Options) (Action, error) {
	a := &agent{o: o, log: o.Log, started: o.Now(), token: o.Config.Token, beat: make(chan struct{}, 1)}
	a.commands = newExecutor(a)
	defer o.Listener.Close()
	a.assembleRAID()
	var uuid string
	if o.Config.InspectionURL != "" {
		var err error
		if uuid, err = a.inspect(ctx); err != nil {
			if o.Config.APIURL == "" || ctx.Err() != nil {
				return ActionNone, err
			}
			a.log.Error("inspection failed; going on to lookup", "err", err)
		}
	}
	if o.Config.APIURL == "" {
		a.log.Info("inspected; nothing else to do")
		<-ctx.Done()
		return ActionNone, ctx.Err()
	}
	answer, err := a.lookup(ctx, a.macs(), uuid)
	if err != nil {
		return ActionNone, err
	}
	a.setNode(answer.Node)
	if answer.Config.AgentToken != "" {
		a.token = answer.Config.AgentToken
	}
	if a.callbackURL, err = a.advertise(ctx); err != nil {
		return ActionNone, err
	}
	return a.serve(ctx, time.Duration(max(answer.Config.HeartbeatTimeout, 30))*time.Second)
}

// macs are the addresses Ironic can know the machine by.
func (a *agent) macs() []string {
	var macs []string
	for _, nic := range hardware.Collect(a.o.Sources).Interfaces {
		if nic.MACAddress != "" {
			macs = append(macs, nic.MACAddress)
		}
	}
	return macs
}

func (a *agent) advertise(ctx context.Context) (string, error) {
	ip, err := a.o.AdvertiseIP(ctx, a.o.Config.APIURL)
	if err != nil {
		return "", fmt.Errorf("which address does %s reach us by: %w", a.o.Config.APIURL, err)
	}
	_, port, err := net.SplitHostPort(a.o.Listener.Addr().String())
	if err != nil {
		return "", err
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(ip, port)}
	return u.String(), nil
}

var errFinished = errors.New("finished")

func (a *agent) serve(ctx context.Context, timeout time.Duration) (Action, error) {
	server := &http.Server{Handler: a.handler(), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}
	action := ActionNone
	g, gctx := errgroup.WithContext(ctx)
	a.log.Info("serving", "url", a.callbackURL, "version", a.o.Version)
	g.Go(func() error {
		if err := server.Serve(a.o.Listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("agent API: %w", err)
		}
		return nil
	})
	g.Go(func() error { return a.heartbeats(gctx, timeout) })
	g.Go(func() error { return a.commands.run(gctx) })
	g.Go(func() error {
		select {
		case <-gctx.Done():
			return gctx.Err()
		case action = <-a.commands.action:
		}
		a.log.Info("the machine is about to", "action", action)
		if err := sleep(gctx, a.o.Grace); err != nil {
			return err
		}
		return errFinished
	})
	g.Go(func() error {
		<-gctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.o.Grace+time.Second)
		defer cancel()
		if err := server.Shutdown(stop); err != nil {
			return server.Close() // a client that waits for a command must not keep us
		}
		return nil
	})
	err := g.Wait()
	if errors.Is(err, errFinished) {
		return action, nil
	}
	return ActionNone, err
}
