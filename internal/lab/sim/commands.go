package sim

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/agent/disk"
	"github.com/tripleo/tripleo/internal/agent/installed/collect"
	"github.com/tripleo/tripleo/internal/lab/machine"
)

const (
	managerName    = "generic_hardware_manager"
	managerClass   = "GenericHardwareManager"
	managerVersion = "1.2"
	// maxCommand bounds a command's JSON in bytes: a config drive of 64 MiB in base64.
	maxCommand = 100 << 20
	maxJobs    = 100
	progresses = 10
)

// job is one command as the API shows it.
type job struct {
	ID     string          `json:"id"`
	Name   string          `json:"command_name"`
	Params json.RawMessage `json:"command_params"`
	Status string          `json:"command_status"`
	Error  *jobError       `json:"command_error"`
	Result any             `json:"command_result"`
}

type jobError struct {
	Type    string `json:"type"`
	Code    int    `json:"code"`
	Message string `json:"message"`
	Details string `json:"details"`
}

func (e *jobError) Error() string { return e.Message + ": " + e.Details }

func failure(typ string, code int, format string, a ...any) *jobError {
	return &jobError{Type: typ, Code: code, Message: typ, Details: fmt.Sprintf(format, a...)}
}

// jobs runs one command at a time.
type jobs struct {
	mu   sync.Mutex
	busy bool
	all  []*job
}

// ServeHTTP is ironic-python-agent's API, below the path of CallbackURL. While
// no ramdisk runs nobody listens, so the connection just ends.
func (m *Machine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	a := m.agent
	m.mu.Unlock()
	if a == nil {
		panic(http.ErrAbortHandler)
	}
	given := r.URL.Query().Get("agent_token")
	if a.token != "" && subtle.ConstantTimeCompare([]byte(given), []byte(a.token)) != 1 && (r.Method != http.MethodGet || given != "") {
		answer(w, http.StatusUnauthorized, failure("Unauthorized", http.StatusUnauthorized, "token invalid"))
		return
	}
	p := strings.TrimRight(r.URL.Path, "/")
	switch {
	case r.Method == http.MethodGet && strings.HasSuffix(p, "/v1/status"):
		answer(w, http.StatusOK, map[string]any{"started_at": float64(a.started.UnixMilli()) / 1000, "version": agentVersion})
	case r.Method == http.MethodGet && strings.HasSuffix(p, "/v1/commands"):
		answer(w, http.StatusOK, map[string]any{"commands": a.jobs.list()})
	case r.Method == http.MethodGet && strings.HasSuffix(path.Dir(p), "/v1/commands"):
		if j := a.jobs.find(path.Base(p)); j != nil {
			answer(w, http.StatusOK, j)
			return
		}
		answer(w, http.StatusNotFound, failure("RequestedObjectNotFoundError", http.StatusNotFound, "command %s was not found", path.Base(p)))
	case r.Method == http.MethodPost && strings.HasSuffix(p, "/v1/commands"):
		a.post(w, r)
	default:
		answer(w, http.StatusNotFound, failure("NotFound", http.StatusNotFound, "no resource %s", p))
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (a *ramdisk) post(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name   string
		Params json.RawMessage
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCommand)).Decode(&in); err != nil {
		answer(w, http.StatusBadRequest, failure("InvalidContentError", http.StatusBadRequest, "%v", err))
		return
	}
	run, async := a.command(in.Name)
	if run == nil {
		answer(w, http.StatusBadRequest, failure("InvalidCommandError", http.StatusBadRequest, "unknown command %q", in.Name))
		return
	}
	j, ok := a.jobs.begin(in.Name)
	if !ok {
		answer(w, http.StatusConflict, failure("AgentIsBusy", http.StatusConflict, "agent is busy executing a command"))
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		result, err := run(a.ctx, in.Params, func(percent int) { a.jobs.progress(j, percent) })
		a.jobs.end(j, result, err)
		select {
		case a.beat <- struct{}{}:
		default:
		}
	}()
	if !async || strings.EqualFold(r.URL.Query().Get("wait"), "true") {
		select {
		case <-done:
		case <-r.Context().Done():
		}
	}
	answer(w, http.StatusOK, a.jobs.find(j.ID))
}

func (js *jobs) begin(name string) (*job, bool) {
	js.mu.Lock()
	defer js.mu.Unlock()
	if js.busy {
		return nil, false
	}
	js.busy = true
	j := &job{ID: uuid.NewString(), Name: name, Params: json.RawMessage("{}"), Status: "RUNNING"} // parameters hold secrets: not shown
	js.all = append(js.all, j)
	if len(js.all) > maxJobs {
		js.all = js.all[1:]
	}
	return j, true
}

func (js *jobs) progress(j *job, percent int) {
	js.mu.Lock()
	defer js.mu.Unlock()
	j.Result = map[string]any{"progress": percent}
}

func (js *jobs) end(j *job, result any, err error) {
	js.mu.Lock()
	defer js.mu.Unlock()
	js.busy = false
	j.Status, j.Result = "SUCCEEDED", result
	if text, ok := result.(string); ok {
		j.Result = map[string]any{"result": text}
	}
	if err != nil {
		var je *jobError
		if !errors.As(err, &je) {
			je = failure("CommandExecutionError", http.StatusInternalServerError, "%v", err)
		}
		j.Status, j.Result, j.Error = "FAILED", nil, je
	}
}

func (js *jobs) find(id string) *job {
	js.mu.Lock()
	defer js.mu.Unlock()
	for _, j := range js.all {
		if j.ID == id {
			c := *j
			return &c
		}
	}
	return nil
}

func (js *jobs) list() []job {
	js.mu.Lock()
	defer js.mu.Unlock()
	out := make([]job, 0, len(js.all))
	for _, j := range js.all {
		out = append(out, *j)
	}
	return out
}

type commandFunc func(ctx context.Context, params json.RawMessage, progress func(int)) (any, error)

// command finds a command's function; async ones are answered before they end.
func (a *ramdisk) command(name string) (run commandFunc, async bool) {
	say := func(v any) commandFunc {
		return func(context.Context, json.RawMessage, func(int)) (any, error) { return v, nil }
	}
	switch name {
	case "clean.get_clean_steps":
		return say(steps("clean_steps", step{"erase_devices_metadata", 99, "deploy", false, true}, step{"erase_devices", 10, "deploy", false, true})), false
	case "deploy.get_deploy_steps":
		return say(steps("deploy_steps", step{"write_image", 0, "deploy", false, false})), false
	case "service.get_service_steps":
		return say(steps("service_steps", step{"erase_devices_metadata", 0, "deploy", false, true})), false
	case "service.execute_service_step":
		return a.deployStep, true
	case "rescue.finalize_rescue":
		return say("rescue is open"), false
	case "clean.execute_clean_step":
		return a.cleanStep, true
	case "deploy.execute_deploy_step":
		return a.deployStep, true
	case "standby.cache_image", "standby.prepare_image":
		return a.prepareImage, true
	case "image.install_bootloader":
		return say("the image boots by itself"), true
	case "standby.sync":
		return say("synced"), false
	case "standby.get_partition_uuids":
		return say(map[string]string{"root uuid": a.m.cfg.Info.UUID}), false
	case "standby.run_image":
		return a.power(machine.Restart), true
	case "standby.power_off":
		return a.power(machine.PoweredOff), true
	case "log.collect_system_logs":
		return a.logs, false
	case "poll.get_hardware_info":
		return say(map[string]any{"hardware_info": a.m.inventory()}), false
	}
	return nil, false
}

type step struct {
	Step      string `json:"step"`
	Priority  int    `json:"priority"`
	Interface string `json:"interface"`
	Reboot    bool   `json:"reboot_requested"`
	Abortable bool   `json:"abortable"`
}

func steps(key string, list ...step) any {
	return map[string]any{key: map[string]any{managerClass: list}, "hardware_manager_version": map[string]string{managerName: managerVersion}}
}

type stepParams struct {
	Step json.RawMessage `json:"step"`
}

func (p stepParams) name() (name string, args json.RawMessage, err error) {
	var s struct {
		Step string
		Args json.RawMessage
	}
	if err := json.Unmarshal(p.Step, &s); err != nil {
		return "", nil, failure("InvalidCommandParamsError", http.StatusBadRequest, "step: %v", err)
	}
	return s.Step, s.Args, nil
}

func (a *ramdisk) cleanStep(ctx context.Context, params json.RawMessage, _ func(int)) (any, error) {
	var p stepParams
	if err := json.Unmarshal(params, &p); err != nil {
		return nil, failure("InvalidCommandParamsError", http.StatusBadRequest, "%v", err)
	}
	name, _, err := p.name()
	if err != nil {
		return nil, err
	}
	d := metadataTime
	switch name {
	case "erase_devices_metadata":
	case "erase_devices":
		d = eraseTime
	default:
		return nil, failure("HardwareManagerMethodNotFound", http.StatusBadRequest, "there is no clean step %q", name)
	}
	if err := a.m.wait(ctx, d); err != nil {
		return nil, err
	}
	a.m.mu.Lock()
	a.m.disk = contents{}
	a.m.mu.Unlock()
	return map[string]any{"clean_result": nil, "clean_step": p.Step}, nil
}

func (a *ramdisk) deployStep(ctx context.Context, params json.RawMessage, progress func(int)) (any, error) {
	var p stepParams
	if err := json.Unmarshal(params, &p); err != nil {
		return nil, failure("InvalidCommandParamsError", http.StatusBadRequest, "%v", err)
	}
	name, args, err := p.name()
	if err != nil {
		return nil, err
	}
	if name != "write_image" {
		return nil, failure("HardwareManagerMethodNotFound", http.StatusBadRequest, "there is no deploy step %q", name)
	}
	result, err := a.prepareImage(ctx, args, progress)
	if err != nil {
		return nil, err
	}
	return map[string]any{"deploy_result": result, "deploy_step": p.Step}, nil
}

// prepareImage "writes" an image: its address is tried, its checksum must be
// one, and then time passes.
func (a *ramdisk) prepareImage(ctx context.Context, params json.RawMessage, progress func(int)) (any, error) {
	var p struct {
		Image struct {
			ID        string   `json:"id"`
			URLs      []string `json:"urls"`
			Checksum  string   `json:"checksum"`
			HashAlgo  string   `json:"os_hash_algo"`
			HashValue string   `json:"os_hash_value"`
		} `json:"image_info"`
		ConfigDrive string `json:"configdrive"`
	}
	if err := json.Unmarshal(params, &p); err != nil {
		return nil, failure("InvalidCommandParamsError", http.StatusBadRequest, "%v", err)
	}
	if _, err := disk.ParseChecksum(p.Image.HashAlgo, p.Image.HashValue, p.Image.Checksum); err != nil {
		return nil, failure("InvalidCommandParamsError", http.StatusBadRequest, "image %s: %v", p.Image.ID, err)
	}
	drive, err := a.configDrive(ctx, p.ConfigDrive)
	if err != nil {
		return nil, failure("ConfigDriveWriteError", http.StatusInternalServerError, "%v", err)
	}
	errs := []error{errors.New("no address")}
	for _, u := range p.Image.URLs {
		_, err := a.m.peek(ctx, u, 1)
		if errs = append(errs, err); err == nil {
			errs = nil
			break
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, failure("ImageDownloadError", http.StatusInternalServerError, "image %s: %v", p.Image.ID, err)
	}
	for i := range progresses {
		progress(100 * i / progresses)
		if err := a.m.wait(ctx, imageTime/progresses); err != nil {
			return nil, err
		}
	}
	a.m.mu.Lock()
	a.m.disk = contents{image: p.Image.ID, drive: drive, done: map[string]*result{}}
	a.m.mu.Unlock()
	return fmt.Sprintf("image (%s) written to device /dev/sda root_uuid=%s", p.Image.ID, a.m.cfg.Info.UUID), nil
}

// configDrive reads the drive's files out of its image.
func (a *ramdisk) configDrive(ctx context.Context, value string) (*collect.ConfigDrive, error) {
	img, err := disk.DecodeConfigDrive(ctx, a.m.cfg.Client, value)
	if err != nil || img == nil {
		return nil, err
	}
	f, err := os.CreateTemp("", "sim-drive-*")
	if err != nil {
		return nil, fmt.Errorf("config drive: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(img)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("config drive: %w", err)
	}
	return collect.ReadConfigDriveDevice(f.Name())
}

func (a *ramdisk) power(out machine.Outcome) commandFunc {
	return func(context.Context, json.RawMessage, func(int)) (any, error) {
		a.ended <- out
		return "the machine is about to end", nil
	}
}

// logs packs a log as base64 of a tar.gz.
func (a *ramdisk) logs(context.Context, json.RawMessage, func(int)) (any, error) {
	var text strings.Builder
	for _, j := range a.jobs.list() {
		fmt.Fprintf(&text, "%s %s\n", j.Name, j.Status)
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	err := t.WriteHeader(&tar.Header{Name: "agent.log", Mode: 0o644, Size: int64(text.Len()), ModTime: a.m.cfg.Now().Truncate(time.Second)})
	if err == nil {
		_, err = t.Write([]byte(text.String()))
	}
	if err := errors.Join(err, t.Close(), z.Close()); err != nil {
		return nil, fmt.Errorf("pack the log: %w", err)
	}
	return map[string]any{"system_logs": base64.StdEncoding.EncodeToString(out.Bytes())}, nil
}
