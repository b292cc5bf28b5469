package ramdisk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// Status of a command, ironic-python-agent's words.
const (
	statusRunning         = "RUNNING"
	statusSucceeded       = "SUCCEEDED"
	statusFailed          = "FAILED"
	statusVersionMismatch = "CLEAN_VERSION_MISMATCH"
)

// maxCommands bounds how many finished commands are remembered.
const maxCommands = 200

// commandError is an error in ironic-python-agent's envelope.
type commandError struct {
	Type    string `json:"type"`
	Code    int    `json:"code"`
	Message string `json:"message"`
	Details string `json:"details"`
	cause   error
}

func (e *commandError) Error() string { return e.Message + ": " + e.Details }
func (e *commandError) Unwrap() error { return e.cause }

// commandErr builds one with the type and message of the original's exception classes (errors.py).
func commandErr(kind string, code int, message string, cause error) *commandError {
	return &commandError{Type: kind, Code: code, Message: message, Details: cause.Error(), cause: cause}
}

func invalidParams(format string, args ...any) *commandError {
	return commandErr("InvalidCommandParamsError", http.StatusBadRequest, "Invalid command parameters", fmt.Errorf(format, args...))
}

// Command is one execution as the API shows it.
type Command struct {
	ID            string          `json:"id"`
	CommandName   string          `json:"command_name"`
	CommandParams json.RawMessage `json:"command_params"`
	Status        string          `json:"command_status"`
	Error         *commandError   `json:"command_error"`
	Result        any             `json:"command_result"`
}

// call is what a command gets to work with.
type call struct {
	params   json.RawMessage
	progress func(percent int)
}

func (c call) decode(v any) error {
	if len(c.params) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.params, v); err != nil {
		return invalidParams("%w", err)
	}
	return nil
}

// command is a row of the table in newExecutor.
type command struct {
	// async commands answer at once and go on in the background; the others are answered when they are done.
	async bool
	run   commandFunc
}

type commandFunc func(ctx context.Context, c call) (any, error)

// executor runs one command at a time and remembers the results.
type executor struct {
	a      *agent
	table  map[string]command
	work   chan *entry
	action chan Action // what a finished command wants the machine to do

	mu    sync.Mutex
	busy  *entry
	all   []*entry
	newID func() string
}

type entry struct {
	cmd    Command // guarded by executor.mu
	run    command
	call   call
	done   chan struct{}
	action Action
}

func newExecutor(a *agent) *executor {
	x := &executor{a: a, work: make(chan *entry, 1), action: make(chan Action, 1), newID: uuid.NewString}
	x.table = map[string]command{
		"clean.get_clean_steps":        {false, a.listSteps("clean")},
		"clean.execute_clean_step":     {true, a.executeStep("clean")},
		"deploy.get_deploy_steps":      {false, a.listSteps("deploy")},
		"deploy.execute_deploy_step":   {true, a.executeStep("deploy")},
		"image.install_bootloader":     {true, a.installBootloader},
		"log.collect_system_logs":      {false, a.collectSystemLogs},
		"poll.get_hardware_info":       {false, a.getHardwareInfo},
		"poll.set_node_info":           {false, a.setNodeInfo},
		"rescue.finalize_rescue":       {false, a.finalizeRescue},
		"service.get_service_steps":    {false, a.listSteps("service")},
		"service.execute_service_step": {true, a.executeStep("service")},
		"standby.cache_image":          {true, a.cacheImage},
		"standby.prepare_image":        {true, a.prepareImage},
		"standby.get_partition_uuids":  {false, a.getPartitionUUIDs},
		"standby.sync":                 {false, a.syncDisks},
		"standby.run_image":            {true, x.power(ActionReboot)},
		"standby.power_off":            {true, x.power(ActionPowerOff)},
	}
	return x
}

// run executes what submit accepted until ctx ends.
func (x *executor) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-x.work:
			x.execute(ctx, e)
		}
	}
}

// submit starts a command. Errors are *commandError: unknown command, busy.
func (x *executor) submit(name string, params json.RawMessage) (*entry, error) {
	run, ok := x.table[name]
	if !ok {
		return nil, commandErr("InvalidCommandError", http.StatusBadRequest, "Invalid command",
			fmt.Errorf("unknown command %q; known are %s", name, strings.Join(slices.Sorted(maps.Keys(x.table)), ", ")))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.busy != nil {
		return nil, commandErr("AgentIsBusy", http.StatusConflict, "Agent is busy",
			fmt.Errorf("agent is busy executing command %s", x.busy.cmd.CommandName))
	}
	e := &entry{run: run, done: make(chan struct{}), cmd: Command{
		ID: x.newID(), CommandName: name, CommandParams: withoutSecrets(params), Status: statusRunning,
	}}
	e.call = call{params: params, progress: func(percent int) {
		x.mu.Lock()
		defer x.mu.Unlock()
		if e.cmd.Status == statusRunning {
			e.cmd.Result = map[string]any{"progress": percent}
		}
	}}
	x.busy = e
	x.all = append(x.all, e)
	if len(x.all) > maxCommands {
		x.all = slices.Delete(x.all, 0, len(x.all)-maxCommands)
	}
	x.work <- e // never blocks: only one is accepted at a time
	return e, nil
}

func (x *executor) execute(ctx context.Context, e *entry) {
	x.a.log.Info("command started", "command", e.cmd.CommandName, "id", e.cmd.ID)
	result, err := x.guarded(ctx, e)
	if text, ok := result.(string); ok {
		result = map[string]any{"result": text}
		if e.run.async { // the original prefixes asynchronous results with the command's name
			_, short, _ := strings.Cut(e.cmd.CommandName, ".")
			result = map[string]any{"result": short + ": " + text}
		}
	}
	x.mu.Lock()
	e.cmd.Result, e.cmd.Status = result, statusSucceeded
	if err != nil {
		e.cmd.Result, e.cmd.Status, e.cmd.Error = nil, statusFailed, asCommandError(err)
		if errors.Is(err, errVersionMismatch) {
			e.cmd.Status = statusVersionMismatch
		}
	}
	x.busy = nil
	action := e.action
	x.mu.Unlock()
	close(e.done)
	if err != nil {
		x.a.log.Error("command failed", "command", e.cmd.CommandName, "id", e.cmd.ID, "err", err)
	} else {
		x.a.log.Info("command succeeded", "command", e.cmd.CommandName, "id", e.cmd.ID)
	}
	select {
	case x.a.beat <- struct{}{}:
	default:
	}
	if err == nil && action != ActionNone {
		select {
		case x.action <- action:
		default:
		}
	}
}

// guarded turns a panic into a failed command: the agent is PID 1, its end would be a kernel panic.
func (x *executor) guarded(ctx context.Context, e *entry) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			result, err = nil, fmt.Errorf("internal error: %v", p)
		}
	}()
	return e.run.run(ctx, e.call)
}

func asCommandError(err error) *commandError {
	var c *commandError
	if errors.As(err, &c) {
		return c
	}
	return commandErr("CommandExecutionError", http.StatusInternalServerError, "Command execution failed", err)
}

// power returns a command that syncs the disks and then ends the agent with an action.
func (x *executor) power(action Action) func(ctx context.Context, c call) (any, error) {
	return func(ctx context.Context, c call) (any, error) {
		if _, err := x.a.syncDisks(ctx, c); err != nil {
			return nil, err
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		x.busy.action = action
		return string(action), nil
	}
}

// snapshot copies a command's state for the API.
func (x *executor) snapshot(e *entry) Command {
	x.mu.Lock()
	defer x.mu.Unlock()
	return e.cmd
}

func (x *executor) list() []Command {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make([]Command, 0, len(x.all))
	for _, e := range x.all {
		out = append(out, e.cmd)
	}
	return out
}

func (x *executor) find(id string) *entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.all {
		if e.cmd.ID == id {
			return e
		}
	}
	return nil
}

// withoutSecrets is params as they may be shown: the config drive holds passwords, URLs hold signatures.
func withoutSecrets(params json.RawMessage) json.RawMessage {
	dec := json.NewDecoder(bytes.NewReader(params))
	dec.UseNumber()
	var v any
	if len(params) == 0 || dec.Decode(&v) != nil {
		return json.RawMessage("{}")
	}
	b, err := json.Marshal(hide(v))
	if err != nil {
		return json.RawMessage("{}")
	}
	return b
}

func hide(v any) any {
	switch t := v.(type) {
	case map[string]any:
		for k, e := range t {
			switch k {
			case "configdrive", "driver_info", "instance_info", "driver_internal_info", "agent_token", "image_server_password":
				if e != nil {
					t[k] = "***"
				}
			default:
				t[k] = hide(e)
			}
		}
		return t
	case []any:
		for i := range t {
			t[i] = hide(t[i])
		}
		return t
	case string:
		if before, _, found := strings.Cut(t, "?"); found && strings.Contains(before, "://") {
			return before + "?***"
		}
	}
	return v
}
