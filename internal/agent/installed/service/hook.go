package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/installed/hooks"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

const (
	whenBefore   = "before_units"
	whenAfter    = "after_units"
	stateStarted = "started"
	stateStopped = "stopped"
	stateAny     = "any"
)

// Config is what New needs. SQL, Broker and HTTP are the drivers; nil takes the real ones.
type Config struct {
	Host     *host.Host
	StateDir string // e.g. /var/lib/tripleo-agent
	AllowApt bool   // install packages that are missing; else they are an error
	SQL      SQLDriver
	Broker   Broker
	HTTP     *http.Client // for checks and the catalog
	Sleep    func(ctx context.Context, d time.Duration) error
}

// Hook implements hooks.Hook for the group `service`.
type Hook struct{ cfg Config }

// New makes the hook.
func New(cfg Config) (*Hook, error) {
	if cfg.Host == nil || !path.IsAbs(cfg.StateDir) {
		return nil, errors.New("service hook: needs a host and an absolute state folder")
	}
	if cfg.SQL == nil {
		cfg.SQL = mysqlDriver{}
	}
	if cfg.Broker == nil {
		cfg.Broker = rabbitctl{cfg.Host}
	}
	if cfg.HTTP == nil {
		// One connection a request: a service that was restarted must not answer from an old socket.
		cfg.HTTP = &http.Client{Timeout: 30 * time.Second, Transport: freshRoots{cfg.Host}}
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	return &Hook{cfg: cfg}, nil
}

// Run implements hooks.Hook.
func (h *Hook) Run(ctx context.Context, d hooks.Deployment, log io.Writer) (hooks.Result, error) {
	r := &run{Config: h.cfg, log: log, bootstrap: isBootstrap(d), masks: newMasks()}
	spec, err := r.prepare(d)
	if err != nil {
		return hooks.Failed("%s", r.masks.text("deployment "+d.Name+": "+err.Error())), nil //nolint:nilerr // it is in the result, which goes to Heat
	}
	begin := r.Host.Now()
	err = r.all(ctx, spec)
	if ctx.Err() != nil {
		return hooks.Result{}, ctx.Err()
	}
	r.emit(event{Service: "*", Action: "done", Target: fmt.Sprintf("step %d", spec.Step), Changed: r.changes > 0,
		Detail: fmt.Sprintf("%d services, %d changes", len(spec.Services), r.changes), Seconds: seconds(r.Host.Now().Sub(begin))})
	res := hooks.Result{Stdout: r.out.String(), Outputs: map[string]any{}}
	if err == nil {
		return res, nil
	}
	res.Code, res.Stderr = 1, r.masks.text(err.Error())+"\n"
	if e, ok := errors.AsType[*StepError](err); ok {
		res.Stderr = r.masks.text(e.Report())
		if e.Code != 0 {
			res.Code = e.Code
		}
	}
	return res, nil
}

// isBootstrap tells whether this node is the first of its role. Without the input there is nobody else.
func isBootstrap(d hooks.Deployment) bool {
	first := d.InputText("bootstrap_server_id")
	return first == "" || first == d.InputText("deploy_server_id")
}

// run is one run of the hook.
type run struct {
	Config
	log       io.Writer
	out       bytes.Buffer
	masks     *masks
	bootstrap bool
	changes   int
	service   *Service        // now at work
	changed   map[string]bool // files of this run that changed
	reload    bool            // a unit file changed since systemd last looked
}

func (r *run) prepare(d hooks.Deployment) (*Spec, error) {
	config, err := d.ConfigMap()
	if err != nil {
		return nil, err
	}
	facts, err := readFacts(r.Host)
	if err != nil {
		return nil, fmt.Errorf("facts of this node: %w", err)
	}
	inputs := map[string]any{}
	for _, in := range d.Inputs {
		inputs[in.Name] = hooks.Text(in.Value)
	}
	facts["input"] = inputs
	m, err := Expand(config, facts)
	if err != nil {
		return nil, err
	}
	r.masks.collect(m)
	spec, err := ParseSpec(m)
	if err != nil {
		return nil, err
	}
	spec.Services, err = order(spec.Services)
	return spec, err
}

func (r *run) all(ctx context.Context, spec *Spec) error {
	r.changed = map[string]bool{}
	for i := range spec.Services {
		r.service = &spec.Services[i]
		if bool(r.service.BootstrapOnly) && !r.bootstrap {
			continue
		}
		if err := r.one(ctx); err != nil {
			return err
		}
	}
	return nil
}

// one makes r.service so. The order of the actions is part of the schema.
func (r *run) one(ctx context.Context) error {
	s := r.service
	actions := []func(context.Context) error{
		r.packages, r.groups, r.users, r.directories, r.files, r.mysql, r.rabbitmq,
		func(ctx context.Context) error { return r.commands(ctx, whenBefore) },
		r.units, r.checks,
		func(ctx context.Context) error { return r.commands(ctx, whenAfter) },
		r.catalog,
	}
	for _, act := range actions {
		if err := act(ctx); err != nil {
			if e, ok := errors.AsType[*StepError](err); ok && e.Journal == nil {
				e.Journal = r.journals(ctx, s)
			}
			return err
		}
	}
	return nil
}

// event is one line of the report.
type event struct {
	Service string  `json:"service"`
	Action  string  `json:"action"`
	Target  string  `json:"target"`
	Changed bool    `json:"changed"`
	Detail  string  `json:"detail,omitempty"`
	Seconds float64 `json:"seconds"`
}

func (r *run) emit(e event) {
	e.Detail, e.Target = r.masks.text(e.Detail), r.masks.text(e.Target)
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	line = append(line, '\n')
	r.out.Write(line)
	_, _ = r.log.Write(line)
}

// report counts and writes an event of the service at work. What was as it should be is only logged when it took time.
func (r *run) report(action, target string, changed bool, detail string, begin time.Time) {
	took := r.Host.Now().Sub(begin)
	if changed {
		r.changes++
	}
	if changed || detail != "" || took > time.Second {
		r.emit(event{r.service.Name, action, target, changed, detail, seconds(took)})
	}
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// StepError is what stopped a run.
type StepError struct {
	Service, Action, Target string
	Command                 string // as it was run, without environment
	Code                    int    // its exit code, 0 when it was no command
	Output                  string // its last lines
	Err                     error
	Journal                 []string // lines of the service's units
}

func (e *StepError) Error() string {
	text := fmt.Sprintf("service %s, %s %s", e.Service, e.Action, e.Target)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	} else {
		text += fmt.Sprintf(": exit code %d", e.Code)
	}
	return text
}

// Unwrap implements errors.Unwrap.
func (e *StepError) Unwrap() error { return e.Err }

// Report is the error with all that helps to find its cause.
func (e *StepError) Report() string {
	var b strings.Builder
	b.WriteString(e.Error() + "\n")
	if e.Command != "" {
		fmt.Fprintf(&b, "command: %s\n", e.Command)
	}
	if e.Output != "" {
		fmt.Fprintf(&b, "output:\n%s\n", indent(e.Output))
	}
	if len(e.Journal) > 0 {
		fmt.Fprintf(&b, "journal:\n%s\n", indent(strings.Join(e.Journal, "\n")))
	}
	return b.String()
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}

// fail wraps what went wrong in the service at work.
func (r *run) fail(action, target string, err error) error {
	return &StepError{Service: r.service.Name, Action: action, Target: target, Err: err}
}

// must runs a command that has to succeed.
func (r *run) must(ctx context.Context, action, target string, c host.Command) (host.Result, error) {
	res, err := r.Host.Run.Run(ctx, c)
	if err != nil {
		return res, &StepError{Service: r.service.Name, Action: action, Target: target, Command: c.String(), Err: err, Output: lastLines(res, 20)}
	}
	if res.Code != 0 {
		return res, &StepError{Service: r.service.Name, Action: action, Target: target, Command: c.String(), Code: res.Code, Output: lastLines(res, 20)}
	}
	return res, nil
}

func lastLines(res host.Result, n int) string {
	text := strings.TrimRight(string(res.Stdout), "\n")
	if e := strings.TrimRight(string(res.Stderr), "\n"); e != "" {
		text = strings.TrimLeft(text+"\n"+e, "\n")
	}
	lines := strings.Split(text, "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// until repeats try every interval until it succeeds or the time is over; then it gives the last error.
func (r *run) until(ctx context.Context, timeout, interval time.Duration, try func(context.Context) error) error {
	deadline := r.Host.Now().Add(timeout)
	for {
		err := try(ctx)
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if f, ok := errors.AsType[finalError](err); ok {
			return f.error
		}
		if !r.Host.Now().Before(deadline) {
			return fmt.Errorf("not so within %s: %w", timeout, err)
		}
		if err := r.Sleep(ctx, interval); err != nil {
			return err
		}
	}
}

// finalError marks an error that waiting does not cure.
type finalError struct{ error }

// Unwrap implements errors.Unwrap.
func (e finalError) Unwrap() error { return e.error }
