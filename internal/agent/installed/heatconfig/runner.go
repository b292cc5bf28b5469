// Package heatconfig runs the deployments a node is given, in their order, and tells the results to the orchestration
// service, as heat-config and heat-config-notify do; with two differences that matter after a crash:
//
//   - a deployment counts as done when its result is on disk, not before its hook runs, so a hook that was cut off by a
//     kill or a reboot is run again;
//   - a result is sent until the server has accepted it, over restarts of the agent, the machine and the undercloud.
//
// State is one file a deployment, <StateDir>/deployments/<id>.json (0600).
package heatconfig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/agent/installed/hooks"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

const (
	// LogDir holds one log a deployment name.
	LogDir      = "/var/log/tripleo-agent"
	stateSubdir = "deployments"
	maxLog      = 8 << 20            // a log larger than this is moved to .1 before the next run
	keepResults = 7 * 24 * time.Hour // results of deployments that are not listed any more
	dirMode     = fs.FileMode(0o700) //
	logMode     = fs.FileMode(0o600) // scripts of operators may print what they should not
	maxDeploys  = 10000              // entries of one metadata document
	runningName = "running.json"     // names the deployment whose hook runs now
)

// Config is what New needs.
type Config struct {
	Host     *host.Host
	StateDir string // e.g. /var/lib/tripleo-agent
	Hooks    map[string]hooks.Hook
	Client   *http.Client // for signals
	Log      *slog.Logger
}

// Runner runs deployments one after the other.
type Runner struct {
	cfg    Config
	wake   chan struct{} // cap 1: there is something to send
	mu     sync.Mutex
	listed map[string]bool // ids in the metadata of the last Apply; nil before the first
}

// New makes a Runner.
func New(cfg Config) *Runner {
	return &Runner{cfg: cfg, wake: make(chan struct{}, 1)}
}

// record is the state of one deployment on disk.
type record struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Group    string         `json:"group"`
	Outputs  map[string]any `json:"outputs"` // with deploy_stdout, deploy_stderr, deploy_status_code
	Signal   signal         `json:"signal"`
	Signaled bool           `json:"signaled"`
	Started  time.Time      `json:"started"`
	Finished time.Time      `json:"finished"`
}

// Parse reads the list under the key `deployments` of merged metadata.
func Parse(merged map[string]any) ([]hooks.Deployment, error) {
	list, ok := merged["deployments"]
	if !ok || list == nil {
		return nil, nil
	}
	data, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	var out []hooks.Deployment
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("metadata key deployments: %w", err)
	}
	if len(out) > maxDeploys {
		return nil, fmt.Errorf("metadata key deployments: %d entries, at most %d are taken", len(out), maxDeploys)
	}
	for i, d := range out {
		if d.ID == "" {
			return nil, fmt.Errorf("metadata key deployments, entry %d (%s): no id", i, d.Name)
		}
		if d.Group == "" {
			out[i].Group = "Heat::Ungrouped"
		}
	}
	return out, nil
}

// Apply runs, in order, the deployments that have no result yet. A failed one does not stop those after it: they are
// deployments of their own, and the orchestration service decides what depends on what. It returns an error only when it
// was cut off or its own state cannot be kept.
func (r *Runner) Apply(ctx context.Context, list []hooks.Deployment) error {
	listed := make(map[string]bool, len(list))
	for _, d := range list {
		listed[d.ID] = true
	}
	r.mu.Lock()
	r.listed = listed
	r.mu.Unlock()
	for _, d := range list {
		if _, err := r.load(d.ID); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			r.cfg.Log.Warn("result cannot be read, the deployment is run again", "deployment", d.Name, "error", err)
		}
		if err := r.run(ctx, d); err != nil {
			return err
		}
	}
	r.prune(listed)
	r.poke()
	return nil
}

func (r *Runner) run(ctx context.Context, d hooks.Deployment) error {
	log := r.cfg.Log.With("deployment", d.Name, "id", d.ID, "group", d.Group)
	rec := record{ID: d.ID, Name: d.Name, Group: d.Group, Signal: signalOf(d), Started: r.cfg.Host.Now()}
	if data, err := json.Marshal(rec); err == nil {
		if err := r.cfg.Host.PutState(r.statePath(runningName), data); err != nil {
			return err
		}
	}
	out, closeLog, err := r.openLog(d, rec.Started)
	if err != nil {
		return err
	}
	defer closeLog()
	log.Info("hook starts")
	var res hooks.Result
	if hook, ok := r.cfg.Hooks[d.Group]; ok {
		res, err = hook.Run(ctx, d, out)
	} else {
		// heat-config sends nothing here, and the deployment hangs until its timeout.
		res = hooks.Failed("deployment %s: this node has no hook for config group %q", d.Name, d.Group)
	}
	if err != nil {
		_, _ = fmt.Fprintf(out, "=== cut off: %v\n", err)
		return fmt.Errorf("deployment %s was cut off and will be run again: %w", d.Name, err)
	}
	rec.Finished = r.cfg.Host.Now()
	rec.Outputs = map[string]any{}
	for k, v := range res.Outputs {
		rec.Outputs[k] = v
	}
	rec.Outputs["deploy_stdout"], rec.Outputs["deploy_stderr"], rec.Outputs["deploy_status_code"] = res.Stdout, res.Stderr, res.Code
	_, _ = fmt.Fprintf(out, "=== exit code %d after %s\n%s", res.Code, rec.Finished.Sub(rec.Started).Round(time.Millisecond), res.Stderr)
	rec.Signaled = rec.Signal.none()
	if err := r.save(rec); err != nil {
		return err
	}
	_ = os.Remove(r.cfg.Host.Path(r.statePath(runningName)))
	log.Info("hook ended", "code", res.Code, "took", rec.Finished.Sub(rec.Started))
	r.poke()
	return nil
}

func (r *Runner) openLog(d hooks.Deployment, now time.Time) (io.Writer, func(), error) {
	dir := r.cfg.Host.Path(LogDir)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, nil, err
	}
	name := path.Join(dir, hooks.SafeName(d.Name)+".log")
	if info, err := os.Stat(name); err == nil && info.Size() > maxLog {
		if err := os.Rename(name, name+".1"); err != nil {
			return nil, nil, err
		}
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, logMode)
	if err != nil {
		return nil, nil, err
	}
	_, _ = fmt.Fprintf(f, "=== %s deployment %s group %s id %s\n", now.UTC().Format(time.RFC3339), d.Name, d.Group, d.ID)
	return f, func() { _ = f.Close() }, nil
}

func (r *Runner) statePath(name string) string {
	return path.Join(r.cfg.StateDir, stateSubdir, name)
}

func (r *Runner) recordPath(id string) string {
	return r.statePath(hooks.SafeName(id) + ".json")
}

func (r *Runner) load(id string) (record, error) {
	var rec record
	data, err := r.cfg.Host.ReadFile(r.recordPath(id))
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return rec, err
	}
	if rec.ID != id {
		return rec, fmt.Errorf("it belongs to %s", rec.ID)
	}
	return rec, nil
}

func (r *Runner) save(rec record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("result of deployment %s: %w", rec.Name, err)
	}
	return r.cfg.Host.PutState(r.recordPath(rec.ID), data)
}

// all returns the records on disk; a broken one is skipped, Apply runs that deployment again.
func (r *Runner) all() []record {
	entries, err := os.ReadDir(r.cfg.Host.Path(r.statePath("")))
	if err != nil {
		return nil
	}
	var out []record
	for _, e := range entries {
		if e.Name() == runningName || path.Ext(e.Name()) != ".json" {
			continue
		}
		data, err := r.cfg.Host.ReadFile(r.statePath(e.Name()))
		if err != nil {
			continue
		}
		var rec record
		if json.Unmarshal(data, &rec) == nil && rec.ID != "" {
			out = append(out, rec)
		}
	}
	return out
}

func (r *Runner) prune(listed map[string]bool) {
	for _, rec := range r.all() {
		if !listed[rec.ID] && r.cfg.Host.Now().Sub(rec.Finished) > keepResults {
			_ = os.Remove(r.cfg.Host.Path(r.recordPath(rec.ID)))
		}
	}
}

func (r *Runner) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
