package deployment_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/crypto/ssh"
)

// nodeScript makes a node of a mount namespace: its own accounts, home folders and sudoers over those of this machine, and an sshd at
// an address of the loopback. What Ansible changes there goes with it.
const nodeScript = `set -e
d=$1 ip=$2
mount --make-rprivate /
mount -t tmpfs none "$d"
for p in etc home; do
  mkdir -p "$d/$p.up" "$d/$p.work"
  mount -t overlay none -o "lowerdir=/$p,upperdir=$d/$p.up,workdir=$d/$p.work" "/$p"
done
mount -t tmpfs none /var/mail
mount -t tmpfs -o mode=0700 none /root
mkdir -p /run/sshd "$HOME/.ssh"
printf '%s\n' "$KEY" >"$HOME/.ssh/authorized_keys"
chmod -R go= "$HOME/.ssh"
sed -i /pam_loginuid/d /etc/pam.d/sshd
ssh-keygen -q -N '' -t ed25519 -f "$d/host"
printf 'ListenAddress %s\nHostKey %s/host\nUsePAM yes\nPermitRootLogin prohibit-password\nPasswordAuthentication no\nPidFile none\nSubsystem sftp internal-sftp\n' "$ip" "$d" >"$d/sshd_config"
exec /usr/sbin/sshd -D -e -f "$d/sshd_config"
`

// sshNodes starts a node at each address; the key opens root on it. It skips where there is no sshd or no right to do that.
func sshNodes(t *testing.T, addresses ...string) (private string) {
	t.Helper()
	skip := func(why string) {
		t.Helper()
		t.Skip("ANSIBLE OVER SSH IS NOT TESTED: " + why)
	}
	if testing.Short() {
		skip("a short run")
	}
	for _, p := range []string{"/usr/sbin/sshd", "ansible-playbook", "unshare", "sudo"} {
		if _, err := exec.LookPath(p); err != nil {
			skip(p + " is not installed")
		}
	}
	if os.Getuid() != 0 {
		skip("mount namespaces need root")
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(priv, "")
	must(t, err)
	key, err := ssh.NewPublicKey(pub)
	must(t, err)
	for _, ip := range addresses {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(ip, "22"))
		if err != nil {
			skip(err.Error())
		}
		must(t, l.Close())
		cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", nodeScript, "node", t.TempDir(), ip)
		cmd.Env = append(os.Environ(), "HOME=/root", "KEY="+string(ssh.MarshalAuthorizedKey(key)))
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		must(t, cmd.Start())
		gone := make(chan struct{})
		go func() { _ = cmd.Wait(); close(gone) }()
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-gone
			if t.Failed() {
				t.Logf("node %s: %s", ip, out.String())
			}
		})
		for { // until it listens or has ended
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", net.JoinHostPort(ip, "22"))
			if err == nil {
				must(t, conn.Close())
				break
			}
			select {
			case <-gone:
				t.Fatalf("node %s: %s", ip, out.String())
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return string(pem.EncodeToMemory(block))
}

// updatePlaybooks are what the steps of a plan of Queens have for updates and upgrades: one node after the other, step by step.
const updatePlaybooks = `{% raw %}
      update_steps_playbook: |
        - hosts: overcloud
          serial: 1
          tasks:
            - include_tasks: update_steps_tasks.yaml
              with_sequence: start=1 end=2
              loop_control:
                loop_var: step
      update_steps_tasks: |
        - include_tasks: "{{ role_name }}/update_tasks.yaml"
      upgrade_steps_playbook: |
        - hosts: overcloud
          become: true
          tasks:
            - include_tasks: upgrade_steps_tasks.yaml
              with_sequence: start=1 end=2
              loop_control:
                loop_var: step
      upgrade_steps_tasks: |
        - shell: "echo upgrade {{ inventory_hostname }} {{ step }} >> LOG"
          tags: always
        - shell: "echo validation >> LOG"
          tags: validation
{% endraw %}
`

const updateTasks = `
      update_tasks:
        - name: "step {{ step }}"
          shell: "echo update {{ inventory_hostname }} {{ step }} $(id -un) >> LOG"
        - command: test ! -e LOG.{{ inventory_hostname }}
`

// TestAnsibleOverSSH deploys a configuration to nodes over SSH, and takes them through an update and an upgrade step by step. The
// undercloud gets its user on them through a key of the operator.
func TestAnsibleOverSSH(t *testing.T) {
	t.Parallel() // most of it is waiting
	private := sshNodes(t, "127.0.77.11", "127.0.77.12")
	ar, err := txtar.ParseFile("testdata/queens.txtar")
	must(t, err)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777)) //nolint:gosec // the nodes' user writes there, too
	log := filepath.Join(dir, "log")
	files := map[string]string{}
	for _, f := range ar.Files {
		files[f.Name] = strings.ReplaceAll(strings.ReplaceAll(string(f.Data), "192.0.2.11", "127.0.77.11"), "192.0.2.12", "127.0.77.12")
	}
	for _, env := range []string{"docker", "config-download-environment", "deployed-server-environment"} {
		files["plan-environment.yaml"] += "  - path: environments/" + env + ".yaml\n"
	}
	for _, role := range []string{"Controller", "Compute"} {
		files["roles_data.yaml"] = strings.Replace(files["roles_data.yaml"], "- name: "+role+"\n", "- name: "+role+"\n  disable_constraints: True\n", 1)
	}
	change := func(file, from, to string) {
		t.Helper()
		if !strings.Contains(files[file], from) {
			t.Fatalf("%s has no %q", file, from)
		}
		files[file] = strings.Replace(files[file], from, strings.ReplaceAll(to, "LOG", log), 1)
	}
	change("common/deploy-steps.j2", "/var/lib/steps", dir)
	change("common/deploy-steps.j2", "              connection: local\n              gather_facts: false\n              become: false\n", "")
	change("common/deploy-steps.j2", "      external_deploy_steps_tasks: []\n", "      external_deploy_steps_tasks: []\n"+updatePlaybooks)
	change("common/services.yaml", "    value:\n      service_names:", "    value:"+updateTasks+"      service_names:")
	r := start(t)
	r.patience = 5 * time.Minute // Ansible takes its time, the more so on a busy machine
	r.upload("queens", files)
	r.ok("tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": "queens", "validate_stack": false})
	r.ok("tripleo.deployment.v1.deploy_plan", map[string]any{"container": "queens", "timeout": 5})
	admin := map[string]any{"ssh_servers": []any{"127.0.77.11", "127.0.77.12"}, "ssh_user": "root", "ssh_private_key": private}
	r.ok("tripleo.access.v1.enable_ssh_admin", admin)
	admin["overcloud_admin"] = "heat-admin" // the user of updates
	r.ok("tripleo.access.v1.enable_ssh_admin", admin)
	r.ok("tripleo.deployment.v1.config_download_deploy", map[string]any{"plan_name": "queens", "timeout": 5})
	for file, want := range map[string]string{"queens-controller-0-1": "Controller 127.0.77.11 tripleo-admin", "queens-novacompute-0-2": "Compute 127.0.77.12 tripleo-admin"} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", file, got, err)
		}
	}
	written := func() []string {
		t.Helper()
		got, err := os.ReadFile(log) //nolint:gosec // of this test
		must(t, err)
		must(t, os.Remove(log))
		return strings.Split(strings.TrimSpace(string(got)), "\n")
	}
	lines := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, written()); diff != "" {
			t.Error(diff)
		}
	}
	r.ok("tripleo.package_update.v1.get_config", map[string]any{"container": "queens"})
	update := map[string]any{"container": "queens", "nodes": "all", "playbook": "update_steps_playbook.yaml", "inventory_file": "", "ansible_queue_name": ""}
	nodes := func() {
		t.Helper()
		if state, out, info := r.run("tripleo.package_update.v1.update_nodes", update); state != "SUCCESS" {
			t.Fatalf("%v: %s %v\n%s", update, state, out, info)
		}
	}
	nodes()
	lines("update queens-controller-0 1 root", "update queens-controller-0 2 root", "update queens-novacompute-0 1 root", "update queens-novacompute-0 2 root")
	update["nodes"] = "Compute"
	nodes()
	lines("update queens-novacompute-0 1 root", "update queens-novacompute-0 2 root")
	// A node that fails ends it; the ones after it are as they were.
	must(t, os.WriteFile(log+".queens-controller-0", nil, 0o600))
	update["nodes"] = "all"
	state, out, info := r.run("tripleo.package_update.v1.update_nodes", update)
	if state != "ERROR" || !strings.Contains(info, "queens-controller-0") {
		t.Errorf("a node that fails: %s %v\n%s", state, out, info)
	}
	lines("update queens-controller-0 1 root")
	update["playbook"], update["skip_tags"] = "upgrade_steps_playbook.yaml", "validation"
	nodes()
	got := written()
	for step := range slices.Chunk(got, 2) { // the nodes of a step work at the same time, and either is the first
		slices.Sort(step)
	}
	want := []string{"upgrade queens-controller-0 1", "upgrade queens-novacompute-0 1", "upgrade queens-controller-0 2", "upgrade queens-novacompute-0 2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
