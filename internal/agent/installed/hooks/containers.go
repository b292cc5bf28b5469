package hooks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// containerDir marks a node whose containers this hook has to look after.
const containerDir = "/var/lib/heat-config/heat-config-docker-cmd"

// managedBy is the label by which the hook knows its own containers.
const managedBy = "managed_by=docker-cmd"

// Containers starts containers as group docker-cmd says: a map of names to how each is run (image, command, environment,
// env_file, net, pid, privileged, restart, user, volumes, volumes_from, detach, exit_codes), in the order of their
// start_order; `action: exec` runs a command in one of them. With One set the config is a single container, as group
// atomic has it: image, name and the same settings. podman is used, else docker.
type Containers struct {
	Host *host.Host
	One  bool
}

// container is how one container is run.
type container struct {
	name       string
	Image      string   `json:"image"`
	Action     string   `json:"action"`
	StartOrder int      `json:"start_order"`
	Detach     *bool    `json:"detach"`
	Command    any      `json:"command"`
	Env        []string `json:"environment"`
	EnvFile    any      `json:"env_file"`
	Net        string   `json:"net"`
	PID        string   `json:"pid"`
	Privileged *bool    `json:"privileged"`
	Restart    string   `json:"restart"`
	User       string   `json:"user"`
	Volumes    []string `json:"volumes"`
	From       []string `json:"volumes_from"`
	ExitCodes  []int    `json:"exit_codes"`
}

// Run implements Hook.
func (c Containers) Run(ctx context.Context, d Deployment, log io.Writer) (Result, error) {
	if d.InputText("deploy_action") == "DELETE" {
		return Result{}, nil // Prune removes them when the deployment is gone
	}
	list, err := c.parse(d)
	if err != nil {
		return Failed("deployment %s: %v", d.Name, err), nil
	}
	if len(list) == 0 {
		return Result{}, nil
	}
	if _, err := c.Host.PutDir(containerDir, 0o700, "", ""); err != nil {
		return Result{}, err
	}
	runCtx, cancel, err := withTimeout(ctx, d.Options)
	if err != nil {
		return Failed("%v", err), nil
	}
	defer cancel()
	out := Result{}
	for _, one := range list {
		res, err := c.start(runCtx, one, d, log)
		switch {
		case ctx.Err() != nil:
			return Result{}, ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			out.Code, out.Stderr = 124, out.Stderr+"container "+one.name+" was ended: option timeout is over\n"
			return out, nil
		case err != nil:
			return Failed("container %s: %v", one.name, err), nil
		}
		out.Stdout += string(res.Stdout)
		out.Stderr += string(res.Stderr)
		if !slices.Contains(one.ExitCodes, res.Code) && (res.Code != 0 || len(one.ExitCodes) > 0) {
			out.Code = max(res.Code, 1)
			out.Stderr += fmt.Sprintf("container %s: exit code %d\n", one.name, res.Code)
		}
	}
	return out, nil
}

// parse reads the config, given as a map or as YAML, in the order in which the containers are started.
func (c Containers) parse(d Deployment) ([]container, error) {
	doc, _, err := yaml11.Parse("config", []byte(d.ConfigText()), yaml11.Limits{})
	if err != nil {
		return nil, fmt.Errorf("config of group %s: %w", d.Group, err)
	}
	data, err := json.Marshal(yaml11.Plain(doc.Value()))
	if err != nil {
		return nil, err
	}
	configs := map[string]json.RawMessage{}
	if c.One {
		var named struct{ Name string }
		if err := json.Unmarshal(data, &named); err != nil || named.Name == "" {
			return nil, fmt.Errorf("config of group %s: expected a map with image and name", d.Group)
		}
		configs[named.Name] = data
	} else if err := json.Unmarshal(data, &configs); err != nil {
		return nil, fmt.Errorf("config of group %s: expected a map of containers: %w", d.Group, err)
	}
	var list []container
	for name, raw := range configs {
		one := container{name: name, Action: "run"}
		if err := json.Unmarshal(raw, &one); err != nil {
			return nil, fmt.Errorf("container %s: %w", name, err)
		}
		switch {
		case one.Action == "run" && one.Image == "":
			return nil, fmt.Errorf("container %s: image is missing", name)
		case one.Action == "exec" && len(words(one.Command)) < 2:
			return nil, fmt.Errorf("container %s: action exec needs a command that begins with the name of a container", name)
		case one.Action != "run" && one.Action != "exec":
			return nil, fmt.Errorf("container %s: action %q, expected run or exec", name, one.Action)
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b container) int {
		return cmp.Or(cmp.Compare(a.StartOrder, b.StartOrder), strings.Compare(a.name, b.name))
	})
	return list, nil
}

// words are a command's arguments, given as a list or as a text with blanks between them.
func words(v any) []string {
	switch v := v.(type) {
	case string:
		return strings.Fields(v)
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
		return out
	}
	return nil
}

// start runs one container or a command in one. What an earlier, cut off run of the same config started is replaced.
func (c Containers) start(ctx context.Context, one container, d Deployment, log io.Writer) (host.Result, error) {
	if one.Action == "exec" {
		args := []string{"exec"}
		if one.Privileged != nil {
			args = append(args, fmt.Sprintf("--privileged=%t", *one.Privileged))
		}
		if one.User != "" {
			args = append(args, "--user="+one.User)
		}
		command := words(one.Command)
		if own, err := c.names(ctx, "container_name="+command[0], "config_id="+d.ID); err == nil && len(own) > 0 {
			command[0] = own[0]
		}
		return c.engine(ctx, log, append(args, command...)...)
	}
	old, err := c.names(ctx, managedBy, "container_name="+one.name)
	if err != nil {
		return host.Result{}, err
	}
	if len(old) > 0 {
		if res, err := c.engine(ctx, log, append([]string{"rm", "--force"}, old...)...); err != nil || res.Code != 0 {
			return res, err
		}
	}
	args := []string{"run", "--name", one.name}
	for _, l := range []string{
		"deploy_stack_id=" + d.InputText("deploy_stack_id"), "deploy_resource_name=" + d.InputText("deploy_resource_name"),
		"config_id=" + d.ID, "container_name=" + one.name, managedBy,
	} {
		args = append(args, "--label", l)
	}
	args = append(args, one.arguments()...)
	return c.engine(ctx, log, append(append(args, one.Image), words(one.Command)...)...)
}

func (one container) arguments() []string {
	var args []string
	add := func(flag string, values ...string) {
		for _, v := range values {
			if v != "" {
				args = append(args, "--"+flag+"="+v)
			}
		}
	}
	if one.Detach == nil || *one.Detach {
		add("detach", "true")
	}
	if file, ok := one.EnvFile.(string); ok {
		add("env-file", file)
	} else {
		add("env-file", words(one.EnvFile)...)
	}
	add("env", one.Env...)
	add("net", one.Net)
	add("pid", one.PID)
	if one.Privileged != nil {
		add("privileged", fmt.Sprint(*one.Privileged))
	}
	add("restart", one.Restart)
	add("user", one.User)
	add("volume", one.Volumes...)
	add("volumes-from", one.From...)
	return args
}

// names are the containers that carry all the labels.
func (c Containers) names(ctx context.Context, labels ...string) ([]string, error) {
	args := []string{"ps", "--all", "--format", "{{.Names}}"}
	for _, l := range labels {
		args = append(args, "--filter", "label="+l)
	}
	res, err := c.engine(ctx, nil, args...)
	if err != nil {
		return nil, err
	}
	if res.Code != 0 {
		return nil, fmt.Errorf("the list of containers: exit code %d: %s", res.Code, strings.TrimSpace(string(res.Stderr)))
	}
	return strings.Fields(string(res.Stdout)), nil
}

// engine runs podman, or docker where there is no podman.
func (c Containers) engine(ctx context.Context, log io.Writer, args ...string) (host.Result, error) {
	for _, name := range []string{"podman", "docker"} {
		res, err := c.Host.Run.Run(ctx, host.Command{Args: append([]string{name}, args...), Log: log})
		if !errors.Is(err, exec.ErrNotFound) {
			return res, err
		}
	}
	return host.Result{}, errors.New("neither podman nor docker is installed on this node")
}

// Prune removes the containers of deployments that are not listed any more.
func (c Containers) Prune(ctx context.Context, listed map[string]bool) error {
	if !c.Host.Exists(path.Clean(containerDir)) {
		return nil
	}
	res, err := c.engine(ctx, nil, "ps", "--all", "--filter", "label="+managedBy, "--format", `{{.Names}} {{index .Labels "config_id"}}`)
	if err != nil {
		return err
	}
	if res.Code != 0 {
		return fmt.Errorf("the list of containers: exit code %d: %s", res.Code, strings.TrimSpace(string(res.Stderr)))
	}
	var gone []string
	for line := range strings.Lines(string(res.Stdout)) {
		f := strings.Fields(line)
		if len(f) == 2 && !listed[f[1]] {
			gone = append(gone, f[0])
		}
	}
	if len(gone) == 0 {
		return nil
	}
	res, err = c.engine(ctx, nil, append([]string{"rm", "--force"}, gone...)...)
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("containers %s: exit code %d: %s", strings.Join(gone, ", "), res.Code, strings.TrimSpace(string(res.Stderr)))
	}
	return err
}
