package deployment_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestQueensShapes deploys, unchanged, a plan that uses every construct of TripleO's Queens templates, for servers
// somebody else installed (environment deployed-server) whose software is configured by config-download.
func TestQueensShapes(t *testing.T) {
	ar, err := txtar.ParseFile("testdata/queens.txtar")
	must(t, err)
	files := map[string]string{}
	for _, f := range ar.Files {
		files[f.Name] = string(f.Data)
	}
	for _, env := range []string{"docker", "config-download-environment", "deployed-server-environment"} {
		files["plan-environment.yaml"] += "  - path: environments/" + env + ".yaml\n"
	}
	// There are neither flavors nor images for such servers; deployed-server-roles-data.yaml says the same.
	for _, role := range []string{"Controller", "Compute"} {
		files["roles_data.yaml"] = strings.Replace(files["roles_data.yaml"], "- name: "+role+"\n", "- name: "+role+"\n  disable_constraints: True\n", 1)
	}
	steps := t.TempDir()
	files["common/deploy-steps.j2"] = strings.Replace(files["common/deploy-steps.j2"], "/var/lib/steps", steps, 1)
	r := start(t)
	r.upload("queens", files)
	r.ok("tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": "queens", "validate_stack": true})
	for name, want := range map[string]string{
		"overcloud.yaml":              "# first role is: Controller\n",
		"puppet/compute-role.yaml":    "  NovaCompute:\n    type: OS::TripleO::ComputeServer\n",
		"puppet/controller-role.yaml": "  - controllerExtraConfig\n  - OvercloudControlFlavor\n  - controllerImage\n",
		"common/post.yaml":            `copy: content="{{puppet_config | to_json}}"`,
		"network/internal_api.yaml":   "default: [{'start': '172.16.2.4', 'end': '172.16.2.250'}]",
		"network/external_v6.yaml":    `default: "2001:db8:fd00:1000::/64"`,
		"network/service_net_map.yaml": "CephStorageHostnameResolveNetwork: ctlplane\n" +
			"      ControllerHostnameResolveNetwork: internal_api",
		"network/config/multiple-nics/compute.yaml": "name: nic2",
	} {
		if code, text := r.object("queens", name); code != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d, expected %q:\n%s", name, code, want, text)
		}
	}
	if code, _ := r.object("queens", "network/internal_api_v6.yaml"); code != 404 {
		t.Error("network/internal_api_v6.yaml is among the excludes and was rendered")
	}
	r.ok("tripleo.deployment.v1.deploy_plan", map[string]any{"container": "queens", "timeout": 5})
	// The client puts its plan there anew before it deploys again; what the undercloud had added comes back.
	r.upload("queens", map[string]string{"plan-environment.yaml": files["plan-environment.yaml"]})
	r.ok("tripleo.plan_management.v1.update_deployment_plan", map[string]any{"container": "queens"})
	nova, err := r.s.Compute()
	must(t, err)
	if _, err := nova.Get(t.Context(), nova.ServiceURL("os-keypairs", "default"), nil, nil); err != nil {
		t.Errorf("the key pair that the roles name: %v", err)
	}
	got := r.outputs("queens")
	want := map[string]any{
		"KeystoneURL":      "http://192.0.2.10:5000/v3",
		"KeystoneAdminVip": "192.0.2.10",
		"ManagedEndpoints": true,
		"MetadataHost":     "127.0.0.1",
		"EnabledServices":  map[string]any{"Controller": []any{"keystone", "mysql"}, "Compute": []any{"mysql"}, "CephStorage": []any{}},
		"RoleTags":         map[string]any{"Controller": []any{"primary", "controller"}, "Compute": []any{}, "CephStorage": []any{}},
		"HostsEntry": "192.0.2.10  overcloud.ctlplane.localdomain\n192.0.2.10  overcloud.localdomain\n" +
			"192.0.2.11 queens-controller-0.localdomain queens-controller-0\n192.0.2.11 queens-controller-0.external.localdomain queens-controller-0.external\n",
		"ServiceIps": map[string]any{
			"keystone_admin_api_node_ips": []any{"192.0.2.11"}, "keystone_public_api_node_ips": []any{"192.0.2.11"}, "mysql_node_ips": []any{"192.0.2.11", "192.0.2.12"},
		},
	}
	for name, w := range want {
		g := got[name]
		if s, ok := w.(string); ok && name == "HostsEntry" {
			if text, _ := g.(string); !strings.HasPrefix(text, s) {
				t.Errorf("HostsEntry %q, expected it to begin with %q", text, s)
			}
			continue
		}
		if diff := cmp.Diff(w, g); diff != "" {
			t.Errorf("output %s: -want +got\n%s", name, diff)
		}
	}
	data, err := json.Marshal(got["RoleData"])
	must(t, err)
	for _, w := range []string{
		`"keystone::db::mysql::allowed_hosts":["%","%{hiera('mysql_bind_host')}"]`, `"keystone::wsgi::apache::servername":"%{hiera('fqdn_internal_api')}"`,
		`"mysql_max_connections":4096`, `"step_config":"include ::tripleo::profile::base::database::mysql\n"`, `"mysql_network_cidr":"192.0.2.0/24"`,
		`"upgrade_tasks":[{"name":"Stop service","service":"name=mariadb state=stopped","tags":"step2"}]`,
	} {
		if !strings.Contains(string(data), w) {
			t.Errorf("RoleData has no %s:\n%s", w, data)
		}
	}
	r.withAnsible(steps)
}

// withAnsible deploys the configuration with the real ansible-playbook, whose plays run on this host, and looks at what
// they left; then once more with a playbook of its own, tags, variables and a task that fails.
func (r *rig) withAnsible(steps string) {
	r.t.Helper()
	if testing.Short() {
		return
	}
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		r.t.Log("NOT TESTED WITH THE REAL PROGRAM: ansible-playbook is not installed")
		return
	}
	r.ok("tripleo.deployment.v1.config_download_deploy", map[string]any{"plan_name": "queens", "timeout": 5, "blacklist": []any{"queens-novacompute-0"}})
	for _, n := range []string{"1", "2"} {
		got, err := os.ReadFile(filepath.Join(steps, "queens-controller-0-"+n))
		if err != nil || string(got) != "Controller 192.0.2.11 tripleo-admin" {
			r.t.Errorf("step %s: %q %v", n, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(steps, "queens-novacompute-0-1")); err == nil {
		r.t.Error("a host of the blacklist was configured")
	}
	play := []any{map[string]any{"hosts": "all", "connection": "local", "gather_facts": false, "tasks": []any{
		map[string]any{"debug": map[string]any{"msg": "says {{ word }}"}, "tags": []any{"good"}},
		map[string]any{"command": "/bin/false", "tags": []any{"bad"}},
	}}}
	in := map[string]any{"playbook": play, "inventory": "one,two,", "limit_hosts": "two", "extra_vars": map[string]any{"word": "hello"}, "tags": "good", "verbosity": 0}
	out, _ := r.action("tripleo.ansible-playbook", in).(map[string]any)
	text, _ := out["stdout"].(string)
	if !strings.Contains(text, "says hello") || !strings.Contains(text, "two") || strings.Contains(text, "[one]") {
		r.t.Errorf("playbook: %v", out)
	}
	in["tags"], in["queue_name"] = "bad", "tripleo"
	if out, _ = r.action("tripleo.ansible-playbook", in).(map[string]any); out["returncode"] != 2.0 {
		r.t.Errorf("a task that fails: %v", out)
	}
	out, _ = r.action("tripleo.ansible", map[string]any{"hosts": "localhost", "module": "ping", "extra_vars": map[string]any{"ansible_connection": "local"}, "verbosity": 0}).(map[string]any)
	if text, _ = out["stdout"].(string); !strings.Contains(text, "pong") {
		r.t.Errorf("module: %v", out)
	}
}

// outputs are the outputs of a stack.
func (r *rig) outputs(stack string) map[string]any {
	r.t.Helper()
	heat, err := r.s.Orchestration()
	must(r.t, err)
	var reply struct {
		Stack struct {
			Outputs []struct {
				Key   string `json:"output_key"`
				Value any    `json:"output_value"`
				Error string `json:"output_error"`
			} `json:"outputs"`
		} `json:"stack"`
	}
	_, err = heat.Get(r.t.Context(), heat.ServiceURL("stacks", stack), &reply, nil)
	must(r.t, err)
	out := map[string]any{}
	for _, o := range reply.Stack.Outputs {
		if o.Error != "" {
			r.t.Errorf("output %s: %s", o.Key, o.Error)
		}
		out[o.Key] = o.Value
	}
	return out
}
