package deployment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	ansibleTime   = 4 * 60 * 60 // seconds of one run, unless the caller says otherwise
	ansibleOutput = 1 << 20     // bytes kept of a run's output
	progressEvery = 5 * time.Second

	// Files of a run that hold secrets: they are removed when it ends.
	privateKeyFile = "ssh_private_key"
	extraVarsFile  = "extra_vars.json"
)

// ansibleRun is one call of ansible or ansible-playbook.
type ansibleRun struct {
	r       *run
	in      input
	dir     string
	args    []string
	sockets string // folder of the sockets of SSH connections
}

// ansiblePlaybook runs a playbook on this host with the program ansible-playbook: {stdout, stderr, returncode}.
// With queue_name its output goes to that queue as it comes, and an exit code other than 0 is the caller's to look at.
func ansiblePlaybook(r *run, in input) (any, error) {
	a, err := newAnsible(r, in, "tripleo.ansible-playbook")
	if err != nil {
		return nil, err
	}
	defer a.forget()
	playbook, err := a.file("playbook", "playbook.yaml")
	if err != nil {
		return nil, err
	}
	if err := a.common(); err != nil {
		return nil, err
	}
	if v := in.str("limit_hosts"); v != "" {
		a.args = append(a.args, "--limit", v)
	} else if black := in.list("blacklisted_hostnames"); len(black) > 0 {
		var parts []string
		for _, h := range black {
			if s := fmt.Sprint(h); s != "" && h != nil {
				parts = append(parts, "!"+s)
			}
		}
		if len(parts) > 0 {
			a.args = append(a.args, "--limit", "all:"+strings.Join(parts, ":"))
		}
	}
	for _, f := range [][2]string{{"tags", "--tags"}, {"skip_tags", "--skip-tags"}} {
		if v := in.str(f[0]); v != "" {
			a.args = append(a.args, f[1], v)
		}
	}
	if in.boolean("flush_cache") {
		a.args = append(a.args, "--flush-cache")
	}
	a.args = append(a.args, playbook)
	if in.boolean("reproduce_command") {
		if err := a.reproduce("ansible-playbook"); err != nil {
			return nil, err
		}
	}
	return a.run("ansible-playbook")
}

// ansibleModule runs one module on hosts with the program ansible.
func ansibleModule(r *run, in input) (any, error) {
	a, err := newAnsible(r, in, "tripleo.ansible")
	if err != nil {
		return nil, err
	}
	if in.str("hosts") == "" || in.str("module") == "" {
		return nil, errors.New("hosts and module are needed")
	}
	defer a.forget()
	a.args = append(a.args, in.str("hosts"), "--module-name", in.str("module"))
	if v := in.str("module_args"); v != "" {
		a.args = append(a.args, "--args", v)
	}
	if v := in.str("limit_hosts"); v != "" {
		a.args = append(a.args, "--limit", v)
	}
	if err := a.common(); err != nil {
		return nil, err
	}
	return a.run("ansible")
}

func newAnsible(r *run, in input, action string) (*ansibleRun, error) {
	if err := r.onlyAdmin(action); err != nil {
		return nil, err
	}
	dir, err := r.runFolder(in.str("work_dir"))
	if err != nil {
		return nil, err
	}
	return &ansibleRun{r: r, in: in, dir: dir}, nil
}

// file returns the path of an input that is a path below the run's folder, or text or data that is written there.
func (a *ansibleRun) file(name, as string) (string, error) {
	v := a.in.value(name)
	if s, ok := v.(string); ok && !strings.Contains(s, "\n") {
		if !filepath.IsAbs(s) {
			s = filepath.Join(a.dir, s)
		}
		if rel, err := filepath.Rel(stockWorkDir, s); err == nil && !strings.HasPrefix(rel, "..") {
			s = filepath.Join(a.r.cfg.WorkDir, rel)
		}
		if _, err := os.Stat(s); err == nil { //nolint:gosec // an administrator names a playbook of the undercloud
			return s, nil
		}
		if name == "playbook" || filepath.IsAbs(a.in.str(name)) {
			return "", fmt.Errorf("%s: there is no file %s", name, s)
		}
		return a.in.str(name), nil // an inventory may be "host1,host2,"
	}
	data := []byte(a.in.str(name))
	if _, ok := v.(string); !ok {
		var err error
		if data, err = yaml11.Marshal(v); err != nil {
			return "", err
		}
	}
	path := filepath.Join(a.dir, as)
	return path, os.WriteFile(path, data, 0o600)
}

// common adds the options that both programs have.
func (a *ansibleRun) common() error {
	in := a.in
	if v := in.value("inventory"); v != nil && v != "" {
		inv, err := a.file("inventory", "inventory.yaml")
		if err != nil {
			return err
		}
		a.args = append(a.args, "--inventory", inv)
	}
	if in.value("ssh_private_key") != nil && in.str("ssh_private_key") != "" {
		path := filepath.Join(a.dir, privateKeyFile)
		if err := os.WriteFile(path, []byte(strings.TrimRight(in.str("ssh_private_key"), "\n")+"\n"), 0o600); err != nil {
			return err
		}
		a.args = append(a.args, "--private-key", path)
	}
	if vars := in.value("extra_vars"); truthy(vars) {
		data, err := json.Marshal(yaml11.Plain(vars))
		if s, ok := vars.(string); ok {
			data, err = []byte(s), nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(a.dir, extraVarsFile) // a file: the variables may be secret, and arguments are seen by all
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
		a.args = append(a.args, "--extra-vars", "@"+path)
	}
	for _, f := range [][2]string{{"module_path", "--module-path"}, {"remote_user", "--user"}, {"become_user", "--become-user"}, {"forks", "--forks"}, {"timeout", "--timeout"},
		{"ssh_extra_args", "--ssh-extra-args"}, {"ssh_common_args", "--ssh-common-args"}} {
		if v := in.str(f[0]); v != "" {
			a.args = append(a.args, f[1]+"="+v)
		}
	}
	if in.boolean("become") {
		a.args = append(a.args, "--become")
	}
	v, err := in.integer("verbosity", 5)
	if err != nil {
		return err
	}
	if v >= 1 && v <= 5 {
		a.args = append(a.args, "-"+strings.Repeat("v", v))
	}
	return a.config()
}

// forget removes the run's secrets; the folder itself stays for its log.
func (a *ansibleRun) forget() {
	for _, f := range []string{privateKeyFile, extraVarsFile} {
		if err := os.Remove(filepath.Join(a.dir, f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.r.ac.Log.Warn("a secret of a run of Ansible cannot be removed", "error", err)
		}
	}
	if a.sockets != "" {
		if err := os.RemoveAll(a.sockets); err != nil {
			a.r.ac.Log.Warn("the sockets of a run of Ansible cannot be removed", "error", err)
		}
	}
}

// profileTasks is Ansible's callback that tells how long tasks took. It is not in ansible-core.
const profileTasks = "ansible.posix.profile_tasks"

// AnsibleConfig is the text of an ansible.cfg for deployments: its log and temporary files are below dir; user is who logs in on nodes
// ("": Ansible's default); sockets is a folder for the sockets of its SSH connections ("": Ansible's own), whose names must be short
// (108 bytes at the most, unix(7)); profile shows how long tasks took, with the collection ansible.posix.
func AnsibleConfig(dir, user, sockets string, profile bool) string {
	cfg := "[defaults]\nretry_files_enabled = False\nhost_key_checking = False\nforks = 20\ntimeout = 30\ngathering = smart\n" +
		"log_path = " + filepath.Join(dir, "ansible.log") + "\nlocal_tmp = " + filepath.Join(dir, ".ansible") + "\n"
	if user != "" {
		cfg += "remote_user = " + user + "\n"
	}
	if profile {
		cfg += "callbacks_enabled = " + profileTasks + "\n"
	}
	cfg += "[ssh_connection]\n"
	if sockets != "" {
		cfg += "control_path_dir = " + sockets + "\n"
	}
	return cfg + "retries = 8\npipelining = True\nssh_args = -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o ControlMaster=auto -o ControlPersist=60s\n"
}

// config writes the ansible.cfg of the run.
func (a *ansibleRun) config() error {
	var err error
	if a.sockets, err = os.MkdirTemp("", "tripleo-ssh-"); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(a.dir, "ansible.cfg"), []byte(AnsibleConfig(a.dir, "", a.sockets, a.profile())), 0o600)
}

// profile tells whether the times of tasks are wanted and can be had: a run must not fail because they cannot.
func (a *ansibleRun) profile() bool {
	if !a.in.boolean("profile_tasks") {
		return false
	}
	home, _ := os.UserHomeDir()
	for _, dir := range append(filepath.SplitList(os.Getenv("ANSIBLE_COLLECTIONS_PATH")), filepath.Join(home, ".ansible", "collections"), "/usr/share/ansible/collections",
		"/usr/lib/python3/dist-packages", "/usr/local/lib/python3/dist-packages") {
		if _, err := os.Stat(filepath.Join(dir, "ansible_collections", "ansible", "posix", "plugins", "callback", "profile_tasks.py")); err == nil {
			return true
		}
	}
	a.r.ac.Log.Info("the times of tasks are not shown: the collection ansible.posix is not installed")
	return false
}

// reproduce leaves a script that does the same again, with --private-key and --extra-vars as they are given to it: the
// run's own are not kept.
func (a *ansibleRun) reproduce(program string) error {
	words := []string{"ANSIBLE_CONFIG=" + shellQuote(filepath.Join(a.dir, "ansible.cfg")), program}
	for i := 0; i < len(a.args); i++ {
		if i+1 < len(a.args) && (a.args[i+1] == filepath.Join(a.dir, privateKeyFile) || a.args[i+1] == "@"+filepath.Join(a.dir, extraVarsFile)) {
			i++ // with its flag
			continue
		}
		words = append(words, shellQuote(a.args[i]))
	}
	return os.WriteFile(filepath.Join(a.dir, program+"-command.sh"), []byte("#!/bin/sh\ncd "+shellQuote(a.dir)+" || exit 1\n"+strings.Join(words, " ")+" \"$@\"\n"), 0o700) //nolint:gosec // it is a script
}

func (a *ansibleRun) env() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + a.dir, "LANG=C.UTF-8", "ANSIBLE_CONFIG=" + filepath.Join(a.dir, "ansible.cfg"), "ANSIBLE_NOCOLOR=1"}
	if n := a.in.str("profile_tasks_limit"); n != "" {
		env = append(env, "PROFILE_TASKS_TASK_OUTPUT_LIMIT="+n)
	}
	for k, v := range a.in.mapping("extra_env_variables").All() {
		text := fmt.Sprint(v)
		if k == "ANSIBLE_LOG_PATH" && strings.HasPrefix(text, "/var/log/mistral/") {
			continue // the original's folder for logs: ours is the run's own
		}
		env = append(env, k+"="+text)
	}
	if a.in.boolean("use_openstack_credentials") {
		env = append(env, "OS_AUTH_TYPE=token", "OS_TOKEN="+a.r.s.Provider.Token(), "OS_AUTH_URL="+a.r.s.Provider.IdentityEndpoint)
	}
	return env
}

// run starts the program. A second call after a crash of the undercloud starts it again: playbooks are idempotent.
func (a *ansibleRun) run(program string) (any, error) {
	queue := a.in.str("queue_name")
	limit, err := a.in.integer("run_timeout", ansibleTime)
	if err != nil {
		return nil, err
	}
	out := &boundedBuffer{limit: ansibleOutput}
	if queue != "" {
		most, err := a.in.integer("max_message_size", maxAnsibleMessage)
		if err != nil {
			return nil, err
		}
		out.each = a.progress(queue, most)
	}
	code, err := a.r.command(time.Duration(limit)*time.Second, a.dir, a.env(), out, program, a.args...)
	if out.each != nil {
		out.each(nil) // the rest
	}
	if err != nil {
		return nil, err
	}
	stdout := out.String()
	if a.in.boolean("trash_output") {
		stdout = ""
	}
	result := yaml11.MapOf("stdout", stdout, "stderr", "", "returncode", code, "log_path", filepath.Join(a.dir, "ansible.log"))
	if err := os.RemoveAll(filepath.Join(a.dir, ".ansible")); err != nil {
		return nil, err
	}
	if code != 0 && queue == "" {
		return nil, &actions.FailureError{Result: map[string]any{"stdout": stdout, "stderr": tail(out.String()), "returncode": code}}
	}
	if code != 0 {
		result.Set("stderr", tail(out.String()))
	}
	return result, nil
}

// maxAnsibleMessage is how large a message with output may be at the most, in bytes, unless the caller says otherwise.
const maxAnsibleMessage = 1 << 20

// progress posts what the program writes, every few seconds, in messages of at most the given size. Half of that is output: in JSON it
// is longer, and the message has more than that.
func (a *ansibleRun) progress(queue string, most int) func([]byte) {
	id := firstText(a.in.str("execution_id"), a.r.ac.WorkflowExecutionID)
	return inPieces(max(most/2, 1), a.r.ac.Now, func(text []byte) {
		body := yaml11.MapOf("type", "tripleo.ansible-playbook", "payload", yaml11.MapOf("message", strings.ToValidUTF8(string(text), ""), "status", "RUNNING",
			"execution", yaml11.MapOf("id", id), "execution_id", id, "root_execution_id", firstText(a.r.ac.RootExecutionID, id)))
		if err := a.r.post(queue, body); err != nil {
			a.r.ac.Log.Warn("progress of Ansible cannot be posted", "queue", queue, "error", err)
		}
	})
}

// inPieces gathers what it is given and posts it in pieces of at most so many bytes, when there is as much, when progressEvery has passed,
// and at the end, which is a nil.
func inPieces(most int, now func() time.Time, post func([]byte)) func([]byte) {
	var pending []byte
	last := now()
	return func(p []byte) {
		pending = append(pending, p...)
		for len(pending) >= most {
			n := messageEnd(pending, most)
			post(pending[:n])
			pending, last = pending[n:], now()
		}
		if len(pending) == 0 || p != nil && now().Sub(last) < progressEvery {
			return
		}
		post(pending)
		pending, last = nil, now()
	}
}

// messageEnd is where a message of at most so many bytes ends: after its last line, else at a character's end.
func messageEnd(text []byte, most int) int {
	if i := bytes.LastIndexByte(text[:most], '\n'); i >= 0 {
		return i + 1
	}
	n := most
	for n > 0 && n < len(text) && !utf8.RuneStart(text[n]) {
		n--
	}
	return max(n, 1)
}

// generateInventory writes the Ansible inventory of a deployed plan and returns its path.
func generateInventory(r *run, in input) (any, error) {
	if err := r.onlyAdmin("tripleo.ansible-generate-inventory"); err != nil {
		return nil, err
	}
	name := in.str("plan_name")
	st, err := r.findStack(name)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return nil, fmt.Errorf("there is no stack %s", name)
	}
	dir, err := r.runFolder(in.str("work_dir"))
	if err != nil {
		return nil, err
	}
	inv := inventoryOf(outputs(st), in.str("ansible_ssh_user"))
	swift, err := r.s.ObjectStore()
	if err != nil {
		return nil, err
	}
	auth := r.s.Provider.IdentityEndpoint
	if u, err := url.Parse(auth); err == nil {
		auth = u.String()
	}
	inv.Set("Undercloud", yaml11.MapOf("hosts", yaml11.MapOf("undercloud", yaml11.NewMap()), "vars", yaml11.MapOf("ansible_connection", "local",
		"ansible_host", "localhost", "ansible_remote_tmp", "/tmp/ansible-${USER}", "auth_url", auth, "plan", name, "undercloud_swift_url", swift.Endpoint,
		"overcloud_keystone_url", dig(outputs(st), "KeystoneURL"), "overcloud_horizon_url", dig(outputs(st), "EndpointMap", "HorizonPublic", "uri"))))
	data, err := yaml11.Marshal(inv)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "tripleo-ansible-inventory.yaml")
	return path, os.WriteFile(path, data, 0o600)
}

// shortName is a node's name in inventories: lower case, without its domain.
func shortName(fqdn any) string {
	short, _, _ := strings.Cut(strings.ToLower(fmt.Sprint(fqdn)), ".")
	return short
}

// inventoryOf makes the groups of an inventory from a stack's outputs: one for each role, overcloud, and one for each
// enabled service; pure.
func inventoryOf(out *yaml11.OrderedMap, sshUser string) *yaml11.OrderedMap {
	inv := yaml11.NewMap()
	children := yaml11.NewMap()
	services := map[string][]string{}
	hosts, _ := dig(out, "RoleNetHostnameMap").(*yaml11.OrderedMap)
	for role, byNet := range hosts.All() {
		names, _ := dig(byNet, "ctlplane").([]any)
		ips, _ := dig(out, "RoleNetIpMap", role).(*yaml11.OrderedMap)
		ids, _ := dig(out, "ServerIdData", "server_ids", role).([]any)
		group := yaml11.NewMap()
		for i, n := range names {
			short := shortName(n)
			vars := yaml11.NewMap()
			if i < len(ids) {
				vars.Set("deploy_server_id", ids[i])
			}
			var enabled []any
			for net, list := range ips.All() {
				l, _ := list.([]any)
				if i >= len(l) || l[i] == nil {
					continue
				}
				enabled = append(enabled, net)
				vars.Set(net+"_ip", l[i])
				if net == "ctlplane" {
					vars.Set("ansible_host", l[i])
				}
			}
			vars.Set("enabled_networks", enabled)
			group.Set(short, vars)
		}
		if group.Len() == 0 {
			continue
		}
		inv.Set(role, yaml11.MapOf("hosts", group, "vars", yaml11.MapOf("ansible_ssh_user", sshUser, "bootstrap_server_id", dig(out, "ServerIdData", "bootstrap_server_id"),
			"role_name", role, "tripleo_role_name", role)))
		children.Set(role, yaml11.NewMap())
		list, _ := dig(out, "EnabledServices", role).([]any)
		for _, s := range list {
			name := strings.ToLower(fmt.Sprint(s))
			services[name] = append(services[name], role)
		}
	}
	vips := yaml11.NewMap()
	vipMap, _ := dig(out, "VipMap").(*yaml11.OrderedMap)
	for net, ip := range vipMap.All() {
		if !strings.HasSuffix(net, "_uri") && !strings.HasSuffix(net, "_subnet") && ip != nil {
			vips.Set(net+"_vip", ip)
		}
	}
	inv.Set("overcloud", yaml11.MapOf("children", children, "vars", vips))
	for _, s := range sortedKeys(services) {
		if _, taken := inv.Get(s); taken {
			continue
		}
		roles := yaml11.NewMap()
		for _, role := range services[s] {
			roles.Set(role, yaml11.NewMap())
		}
		inv.Set(s, yaml11.MapOf("children", roles))
	}
	return inv
}
