package deployment

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// overcloudConfigContainer is where the original keeps the configuration of whatever plan was last asked for.
const overcloudConfigContainer = "overcloud-config"

var stepOfTask = regexp.MustCompile(`step\s*(?:\|\s*int)?\s*==\s*(\d+)`)

// getOvercloudConfig writes the configuration of a deployed plan, as Ansible reads it, into a container: the tasks and
// playbooks of roles, the playbooks of the plan, and the software deployments of every server. It returns the names.
func getOvercloudConfig(r *run, in input) (any, error) {
	stackName := in.str("container")
	st, err := r.findStack(stackName)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return nil, fmt.Errorf("there is no stack %s", stackName)
	}
	files, err := roleFiles(outputs(st))
	if err != nil {
		return nil, err
	}
	if err := r.serverFiles(st, files); err != nil {
		return nil, err
	}
	container := firstText(in.str("container_config"), overcloudConfigContainer)
	if err := r.createContainer(container, nil); err != nil {
		return nil, err
	}
	old, err := r.listObjects(container)
	if err != nil {
		return nil, err
	}
	for _, n := range old {
		if _, ok := files[n]; !ok {
			if err := r.deleteObject(container, n); err != nil {
				return nil, err
			}
		}
	}
	names := []any{}
	for _, n := range sortedKeys(files) {
		if err := r.putObject(container, n, files[n]); err != nil {
			return nil, err
		}
		names = append(names, n)
	}
	return yaml11.MapOf("container", container, "files", names), nil
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// safeName tells whether a name from a stack may be a file's name.
func safeName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\\\x00")
}

// roleFiles are the files that the outputs RoleData and RoleConfig make: pure.
func roleFiles(out *yaml11.OrderedMap) (map[string][]byte, error) {
	files := map[string][]byte{}
	put := func(name string, v any) error {
		var data []byte
		var err error
		if s, ok := v.(string); ok {
			data = []byte(s)
		} else if data, err = yaml11.Marshal(v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		files[name] = data
		return nil
	}
	roles, _ := dig(out, "RoleData").(*yaml11.OrderedMap)
	if roles == nil {
		return nil, errors.New("the stack has no output RoleData")
	}
	for role, data := range roles.All() {
		m, ok := data.(*yaml11.OrderedMap)
		if !ok || !safeName(role) {
			continue
		}
		for key, v := range m.All() {
			if !safeName(key) || key == "external_deploy_tasks" || key == "external_post_deploy_tasks" {
				continue
			}
			name := key + ".yaml"
			if key == "step_config" {
				if list, ok := v.([]any); ok {
					v = joinLines(list)
				}
				name = "step_config.pp"
			}
			if err := put(path.Join(role, name), v); err != nil {
				return nil, err
			}
			if !strings.Contains(key, "upgrade_tasks") {
				continue
			}
			tasks, _ := v.([]any)
			play := []any{yaml11.MapOf("hosts", role, "name", role+" "+key, "tasks", sortedTasks(tasks))}
			if err := put(path.Join(role, key+"_playbook.yaml"), play); err != nil {
				return nil, err
			}
		}
	}
	config, _ := dig(out, "RoleConfig").(*yaml11.OrderedMap)
	for key, v := range config.All() {
		if safeName(key) {
			if err := put(key+".yaml", v); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}

func joinLines(list []any) string {
	parts := make([]string, len(list))
	for i, l := range list {
		parts[i] = fmt.Sprint(l)
	}
	return strings.Join(parts, "\n")
}

// sortedTasks orders tasks by the step that their `when` names, as text; those without one come first.
func sortedTasks(tasks []any) []any {
	step := func(t any) string {
		when := dig(t, "when")
		if list, ok := when.([]any); ok {
			when = joinLines(list)
		}
		if m := stepOfTask.FindStringSubmatch(fmt.Sprint(when)); m != nil {
			return m[1]
		}
		return ""
	}
	out := slices.Clone(tasks)
	slices.SortStableFunc(out, func(a, b any) int { return strings.Compare(step(a), step(b)) })
	return out
}

// serverFiles adds, for each server of a role, the configs of its software deployments in the order they were made,
// and group_vars/<Role> with their names.
func (r *run) serverFiles(st *yaml11.OrderedMap, files map[string][]byte) error {
	out := outputs(st)
	hosts, _ := dig(out, "RoleNetHostnameMap").(*yaml11.OrderedMap)
	ids, _ := dig(out, "ServerIdData", "server_ids").(*yaml11.OrderedMap)
	c, err := r.s.Orchestration()
	if err != nil {
		return err
	}
	for role, list := range ids.All() {
		servers, _ := list.([]any)
		names, _ := dig(hosts, role, "ctlplane").([]any)
		var order []any
		for i, id := range servers {
			host := fmt.Sprint(id)
			if i < len(names) {
				host, _, _ = strings.Cut(strings.ToLower(fmt.Sprint(names[i])), ".")
			}
			if !safeName(role) || !safeName(host) {
				continue
			}
			var answer any
			if _, err := r.request(c, "GET", c.ServiceURL("software_deployments", "metadata", fmt.Sprint(id)), nil, &answer); err != nil {
				return fmt.Errorf("deployments of server %s: %w", host, err)
			}
			metadata, _ := dig(answer, "metadata").([]any)
			for _, d := range metadata {
				name := text(d, "name")
				if !safeName(name) {
					continue
				}
				data, err := yaml11.Marshal(withoutSignals(d))
				if err != nil {
					return err
				}
				files[path.Join(role, host, name)] = data
				if !slices.Contains(order, any(name)) {
					order = append(order, name)
				}
			}
		}
		data, err := yaml11.Marshal(yaml11.MapOf("pre_deployments", order, "post_deployments", []any{}))
		if err != nil {
			return err
		}
		files[path.Join("group_vars", role)] = data
	}
	return nil
}

// withoutSignals leaves the inputs out that say how to report to Heat: they hold signed URLs.
func withoutSignals(d any) any {
	m, ok := d.(*yaml11.OrderedMap)
	if !ok {
		return d
	}
	m = m.Clone()
	inputs, _ := dig(m, "inputs").([]any)
	kept := []any{}
	for _, in := range inputs {
		n := text(in, "name")
		if strings.HasPrefix(n, "deploy_signal") || n == "deploy_password" || n == "deploy_auth_url" {
			continue
		}
		kept = append(kept, in)
	}
	m.Set("inputs", kept)
	return m
}

// downloadConfig copies the objects of a container into a folder below the actions' folder and returns it.
func downloadConfig(r *run, in input) (any, error) {
	if err := r.onlyAdmin("tripleo.config.download_config"); err != nil {
		return nil, err
	}
	dir, err := r.runFolder(in.str("work_dir"))
	if err != nil {
		return nil, err
	}
	container := firstText(in.str("container_config"), overcloudConfigContainer)
	names, err := r.listObjects(container)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	for _, n := range names {
		data, err := r.getObject(container, n)
		if err != nil {
			return nil, err
		}
		if err := root.MkdirAll(filepath.Dir(n), 0o700); err != nil {
			return nil, err
		}
		if err := root.WriteFile(n, data, 0o600); err != nil {
			return nil, err
		}
	}
	return dir, nil
}

// stockWorkDir is the folder that the original's inputs name; ours is that of the configuration.
const stockWorkDir = "/var/lib/mistral"

// runFolder is a folder for one run of Ansible: work_dir if it is below our own, else one by the execution's id.
func (r *run) runFolder(workDir string) (string, error) {
	if rest, ok := strings.CutPrefix(workDir, stockWorkDir); ok {
		workDir = strings.TrimPrefix(rest, "/")
	}
	if workDir == "" {
		workDir = firstText(r.ac.WorkflowExecutionID, r.ac.ActionExecutionID, "run")
	}
	dir, err := r.inside(workDir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o700)
}
