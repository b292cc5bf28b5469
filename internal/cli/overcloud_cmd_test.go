package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/deployment/deploymenttest"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
)

// tripleo runs a command line as a shell would, in the current folder.
func tripleo(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func mustRun(t *testing.T, want []string, args ...string) string {
	t.Helper()
	out, err := tripleo(t, args...)
	if err != nil {
		t.Fatalf("tripleo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("tripleo %s: %q is missing in\n%s", strings.Join(args, " "), w, out)
		}
	}
	return out
}

func commandRig(t *testing.T) {
	t.Helper()
	srv := deploymenttest.Start(t)
	dir := t.TempDir()
	t.Chdir(dir)
	for k, v := range map[string]string{"OS_AUTH_URL": srv.AuthURL, "OS_USERNAME": "admin", "OS_PASSWORD": identitytest.AdminPassword, "OS_PROJECT_NAME": "admin",
		"HOME": dir, "OS_CLOUD": "", "OS_REGION_NAME": "regionOne", "OS_CLIENT_CONFIG_FILE": filepath.Join(dir, "clouds.yaml")} {
		t.Setenv(k, v)
	}
}

// TestDeployCommands goes the operator's way with a small plan of its own: plan, deployment, failure, repair, end.
func TestDeployCommands(t *testing.T) {
	commandRig(t)
	files := map[string]string{
		"tht/plan-environment.yaml": "template: overcloud.yaml\nenvironments: [{path: base.yaml}]\n",
		"tht/base.yaml":             "resource_registry: {'OS::T::Role': nested/one.yaml}\nparameter_defaults: {Fail: false, Surplus: 1, DockerKeystoneImage: x}\n",
		"tht/roles_data.yaml":       "- name: Controller\n- name: Compute\n",
		"tht/network_data.yaml":     "[]\n",
		"tht/overcloud.j2.yaml":     "heat_template_version: queens\nresources:\n{% for r in roles %}\n  {{ r.name }}: {type: OS::T::Role}\n{% endfor %}\noutputs:\n  KeystoneURL: {value: 'http://10.0.0.9:5000'}\n",
		"tht/nested/one.yaml":       "heat_template_version: queens\nparameters:\n  Fail: {type: boolean}\nresources:\n  Thing:\n    type: OS::Heat::TestResource\n    properties: {fail: {get_param: Fail}}\n",
		"roles.yaml":                "- name: Only\n",
		"fail.yaml":                 "parameter_defaults: {Fail: true}\n",
	}
	write(t, ".", files)
	mustRun(t, []string{"+ Controller.Thing (OS::Heat::TestResource)", "2 to create"}, "overcloud", "deploy", "--templates", "tht", "--disable-validations", "--dry-run")
	if got := mustRun(t, nil, "overcloud", "plan", "list", "-f", "value"); got != "" {
		t.Errorf("a dry run leaves the plan %q", got)
	}
	out, err := tripleo(t, "overcloud", "deploy", "--templates", "tht", "--disable-validations", "-r", "roles.yaml", "-e", "fail.yaml", "-t", "5")
	var exit exitError
	if err == nil || !strings.Contains(out, "Only.Thing") || !strings.Contains(out, "nested/one.yaml:5:") {
		t.Fatalf("a deployment that fails: %v (%v)\n%s", err, exit, out)
	}
	mustRun(t, []string{"Only.Thing", "template: nested/one.yaml:5:"}, "overcloud", "failures")
	mustRun(t, []string{"DEPLOY_FAILED", "CREATE_FAILED"}, "overcloud", "status")
	mustRun(t, []string{"Overcloud deployed.", "Overcloud Endpoint: http://10.0.0.9:5000/v3", "parameters are set that nothing uses: Surplus"}, "overcloud", "deploy", "--templates", "tht", "--disable-validations", "-t", "5")
	if conf, err := os.ReadFile("tempest-deployer-input.conf"); err != nil || !strings.Contains(string(conf), "[auth]\ntempest_roles = ") {
		t.Errorf("tempest-deployer-input.conf: %v\n%s", err, conf)
	}
	rc, err := os.ReadFile("overcloudrc")
	if err != nil || !strings.Contains(string(rc), "OS_AUTH_URL=http://10.0.0.9:5000/v3") {
		t.Errorf("overcloudrc: %v\n%s", err, rc)
	}
	clouds, err := os.ReadFile("clouds.yaml")
	if err != nil || !strings.Contains(string(clouds), "overcloud:") {
		t.Errorf("clouds.yaml: %v\n%s", err, clouds)
	}
	mustRun(t, []string{"DEPLOY_SUCCESS", "UPDATE_COMPLETE"}, "overcloud", "status", "-f", "json")
	mustRun(t, []string{"No failures."}, "overcloud", "failures")
	if out, err := tripleo(t, "overcloud", "deploy", "--attach"); err == nil || !strings.Contains(err.Error(), "the last one ended with DEPLOY_SUCCESS") {
		t.Errorf("attached to nothing: %v\n%s", err, out)
	}
	mustRun(t, []string{"Set Fail in plan overcloud"}, "overcloud", "parameters", "set", "overcloud", "parameter_defaults: {Fail: false}")
	write(t, ".", map[string]string{"more.yaml": "parameter_defaults: {Fail: true}\n"})
	mustRun(t, []string{"Compute.resources.Thing", "fail: false -> true"}, "overcloud", "deploy", "--templates", "tht", "--disable-validations", "--dry-run", "-e", "more.yaml")
	mustRun(t, []string{"DEPLOY_SUCCESS", "UPDATE_COMPLETE"}, "overcloud", "status")
	if got := mustRun(t, nil, "overcloud", "plan", "list", "-f", "value"); got != "overcloud\n" {
		t.Errorf("plan list: %q", got)
	}
	mustRun(t, nil, "overcloud", "plan", "export", "overcloud")
	if st, err := os.Stat("overcloud.tar.gz"); err != nil || st.Size() == 0 {
		t.Errorf("export: %v", err)
	}
	mustRun(t, []string{"Success."}, "overcloud", "delete", "-y")
	if got := mustRun(t, nil, "overcloud", "plan", "list", "-f", "value"); got != "" {
		t.Errorf("plan list: %q", got)
	}
}

// TestBuiltinPlan: --templates without a folder makes the plan that comes with the program.
func TestBuiltinPlan(t *testing.T) {
	commandRig(t)
	mustRun(t, []string{"Plan created."}, "overcloud", "deploy", "--templates", "--disable-validations", "--update-plan-only", "-e", "environments/low-memory-usage.yaml")
	mustRun(t, []string{"Plan updated."}, "overcloud", "deploy", "--templates", "--disable-validations", "--update-plan-only")
	mustRun(t, []string{"Deleted plan overcloud"}, "overcloud", "plan", "delete", "overcloud")
}

// TestNodeCommands registers fake machines from a file and makes them available.
func TestNodeCommands(t *testing.T) {
	commandRig(t)
	write(t, ".", map[string]string{
		"instackenv.json": `{"nodes": [{"pm_type": "fake-hardware", "name": "a", "mac": ["52:54:00:24:00:01"]}, {"pm_type": "fake-hardware", "name": "b", "mac": ["52:54:00:24:00:02"]}]}`,
		"bad.yaml":        "nodes:\n- pm_type: ipmi\n",
	})
	if out, err := tripleo(t, "overcloud", "node", "import", "bad.yaml", "--validate-only"); err == nil || !strings.Contains(err.Error(), "missing mandatory field pm_addr") {
		t.Errorf("a node without an address: %v\n%s", err, out)
	}
	out := mustRun(t, []string{"Successfully registered node UUID"}, "overcloud", "node", "import", "instackenv.json", "--no-deploy-image")
	if n := strings.Count(out, "Successfully registered"); n != 2 {
		t.Errorf("%d nodes registered:\n%s", n, out)
	}
	mustRun(t, []string{"available"}, "overcloud", "node", "provide", "a")
	mustRun(t, []string{"available"}, "overcloud", "node", "provide", "--all-manageable")
}
