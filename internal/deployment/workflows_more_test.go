package deployment_test

import (
	"fmt"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// gitServer serves a repository of the plan over HTTP with Git's own program: branch main, and branch next with another description.
func gitServer(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "--exec-path").Output()
	if err != nil {
		t.Skip("A PLAN FROM GIT IS NOT TESTED: git is not installed")
	}
	root := t.TempDir()
	repo := filepath.Join(root, "plan.git")
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", repo, "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	must(t, os.Mkdir(repo, 0o700))
	git("init")
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(repo, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o700))
		must(t, os.WriteFile(p, []byte(text), 0o600))
	}
	for name, text := range tinyPlan() {
		write(name, text)
	}
	git("add", ".")
	git("commit", "-m", "plan")
	git("branch", "-M", "main")
	git("checkout", "-b", "next")
	write("overcloud.j2.yaml", strings.Replace(tinyPlan()["overcloud.j2.yaml"], "heat_template_version: queens\n", "heat_template_version: queens\ndescription: the next one\n", 1))
	must(t, os.Remove(filepath.Join(repo, "environments/extra.yaml")))
	git("add", "-A")
	git("commit", "-m", "next")
	git("checkout", "main")
	srv := httptest.NewServer(&cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), Dir: root,
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}})
	t.Cleanup(srv.Close)
	return srv.URL + "/plan.git"
}

// TestPlanFromGit: a plan is made from a branch of a repository and refreshed from another; what is no URL of one is refused.
func TestPlanFromGit(t *testing.T) {
	url := gitServer(t)
	r := start(t)
	const pm = "tripleo.plan_management.v1."
	r.ok(pm+"create_deployment_plan", map[string]any{"container": "fromgit", "source_url": url + "@main", "validate_stack": false})
	if code, text := r.object("fromgit", "overcloud.yaml"); code != 200 || strings.Contains(text, "the next one") {
		t.Errorf("the plan of main: %d %s", code, text)
	}
	_, before := r.object("fromgit", "plan-environment.yaml")
	r.ok(pm+"update_deployment_plan", map[string]any{"container": "fromgit", "source_url": url + "@next", "validate_stack": false})
	if _, text := r.object("fromgit", "overcloud.yaml"); !strings.Contains(text, "description: the next one") {
		t.Errorf("the plan of next:\n%s", text)
	}
	if code, _ := r.object("fromgit", "environments/extra.yaml"); code != 200 { // as tripleo-common had it: what is put into a plan adds to it
		t.Errorf("a file that next does not have: %d", code)
	}
	if _, after := r.object("fromgit", "plan-environment.yaml"); passwordOf(before) == "" || passwordOf(before) != passwordOf(after) {
		t.Error("the passwords changed")
	}
	for source, want := range map[string]string{url + "@nowhere": "nowhere", "file:///etc": "file", url + "x": "x"} {
		state, _, info := r.run(pm+"create_deployment_plan", map[string]any{"container": "bad", "source_url": source, "queue_name": ""})
		if state != "ERROR" || !strings.Contains(info, want) {
			t.Errorf("%s: %s %s", source, state, info)
		}
	}
	dir, _ := r.action("tripleo.git.clone", map[string]any{"container": "fromgit", "url": url}).(string)
	if _, err := os.Stat(filepath.Join(dir, "overcloud.j2.yaml")); err != nil {
		t.Error(err)
	}
	r.action("tripleo.git.clean", map[string]any{"container": "fromgit"})
	if _, err := os.Stat(dir); err == nil {
		t.Error("the checkout is left")
	}
}

func passwordOf(env string) string {
	_, rest, _ := strings.Cut(env, "AdminPassword: ")
	word, _, _ := strings.Cut(rest, "\n")
	return word
}

// TestNodeWorkflows: profiles, hints and states of nodes.
func TestNodeWorkflows(t *testing.T) {
	r := start(t)
	r.upload("tiny", tinyPlan())
	r.ok("tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": "tiny", "validate_stack": false})
	var nodes, macs []any
	for i, caps := range []string{"node:controller-0", "node:compute-1", "profile:compute"} {
		macs = append(macs, "52:54:00:24:00:0"+string(rune('1'+i)))
		nodes = append(nodes, map[string]any{"pm_type": "fake-hardware", "name": "n" + string(rune('0'+i)), "mac": []any{macs[i]}, "capabilities": caps})
	}
	r.ok("tripleo.baremetal.v1.register_or_update", map[string]any{"nodes_json": nodes, "initial_state": "enroll"})
	bm, err := r.s.Baremetal()
	must(t, err)
	type node struct {
		UUID  string         `json:"uuid"`
		State string         `json:"provision_state"`
		Power string         `json:"power_state"`
		Props map[string]any `json:"properties"`
	}
	list := func() []node {
		t.Helper()
		var out struct {
			Nodes []node `json:"nodes"`
		}
		_, err := bm.Get(t.Context(), bm.ServiceURL("nodes")+"?detail=True&sort_key=name", &out, nil)
		must(t, err)
		return out.Nodes
	}
	all := list()
	if len(all) != 3 || all[0].State != "enroll" {
		t.Fatalf("nodes %+v", all)
	}
	ids := []any{all[0].UUID, all[1].UUID, all[2].UUID}
	r.ok("tripleo.baremetal.v1.manage", map[string]any{"node_uuids": ids})
	if got := list(); got[0].State != "manageable" || got[2].State != "manageable" {
		t.Errorf("managed: %+v", got)
	}
	if diff := cmp.Diff([]any{ids[0]}, r.ok("tripleo.baremetal.v1.nodes_with_hint", map[string]any{"hint_regex": "^controller-[0-9]+$"})["matching_nodes"]); diff != "" {
		t.Errorf("hints: %s", diff)
	}
	r.ok("tripleo.baremetal.v1.tag_nodes", map[string]any{"tag_node_uuids": ids[:2], "untag_node_uuids": ids[2:], "role": "control", "plan": "tiny"})
	if diff := cmp.Diff(ids[:2], r.ok("tripleo.baremetal.v1.nodes_with_profile", map[string]any{"profile": "control"})["matching_nodes"]); diff != "" {
		t.Errorf("profiles: %s", diff)
	}
	if got := list()[2].Props["capabilities"]; strings.Contains(got.(string), "profile:") {
		t.Errorf("untagged: %v", got)
	}
	if _, env := r.object("tiny", "plan-environment.yaml"); !strings.Contains(env, "ControllerCount: 2") || !strings.Contains(env, "OvercloudControlFlavor: control") {
		t.Errorf("the plan does not know of the profiles:\n%s", env)
	}
	state, _, info := r.run("tripleo.baremetal.v1.set_power_state", map[string]any{"node_uuid": ids[0], "state_action": "on", "target_state": "power on"})
	if got := list()[0].Power; state != "SUCCESS" || got != "power on" {
		t.Errorf("power %s: %s %s", got, state, info)
	}
	state, _, info = r.run("tripleo.baremetal.v1.tag_node", map[string]any{"node_uuid": "00000000-0000-0000-0000-000000000000", "role": "x", "queue_name": ""})
	if state != "ERROR" || !strings.Contains(info, "00000000") {
		t.Errorf("a node that is not there: %s %s", state, info)
	}
	steps := []any{map[string]any{"interface": "deploy", "step": "nothing_of_the_kind"}}
	if state, _, info = r.run("tripleo.baremetal.v1.manual_cleaning", map[string]any{"node_uuid": ids[0], "clean_steps": steps, "timeout": 20, "retry_delay": 1, "retry_count": 10, "queue_name": ""}); state != "ERROR" {
		t.Errorf("a clean step that is not there: %s %s", state, info)
	}
	// The checks before a deployment say what is wrong in a list.
	state, out, _ := r.run("tripleo.validations.v1.collect_flavors", map[string]any{"roles_info": map[string]any{"Controller": []any{"none", 1}}, "queue_name": ""})
	if got, _ := out["errors"].([]any); state != "ERROR" || len(got) != 1 || got[0] != "Flavor 'none' provided for the role 'Controller', does not exist" {
		t.Errorf("a flavor that is not there: %s %v", state, out)
	}
	state, out, _ = r.run("tripleo.validations.v1.check_default_nodes_count", map[string]any{"stack_id": "tiny", "default_role_counts": map[string]any{"ControllerCount": 9}, "queue_name": ""})
	if got, _ := out["errors"].([]any); state != "ERROR" || len(got) != 1 || !strings.HasPrefix(got[0].(string), "Not enough baremetal nodes") {
		t.Errorf("too few nodes: %s %v", state, out)
	}
	out = r.ok("tripleo.validations.v1.check_ironic_boot_configuration", map[string]any{"kernel_id": "k", "ramdisk_id": "r"}) // no node is available
	if got, _ := out["errors"].([]any); len(got) != 0 {
		t.Errorf("boot configuration: %v", out)
	}
	flavors := map[string]any{"control": []any{map[string]any{"capabilities:profile": "control"}, 1}}
	state, out, _ = r.run("tripleo.validations.v1.verify_profiles", map[string]any{"flavors": flavors, "queue_name": ""})
	if got, _ := out["errors"].([]any); state != "ERROR" || len(got) != 1 || !strings.HasPrefix(got[0].(string), "Only 0 of 1 requested ironic nodes are tagged to profile control") {
		t.Errorf("profiles that no free node has: %s %v", state, out)
	}
	r.ok("tripleo.baremetal.v1.provide", map[string]any{"node_uuids": ids[:1]})
	r.ok("tripleo.validations.v1.verify_profiles", map[string]any{"flavors": flavors})
}

// TestDeploymentReports: what a deployment leaves for those who ask afterwards.
func TestDeploymentReports(t *testing.T) {
	r := start(t)
	plan := tinyPlan()
	plan["overcloud.j2.yaml"] += "  EndpointMap: {value: {HorizonPublic: {uri: 'http://10.0.0.9/horizon'}}}\n"
	r.upload("tiny", plan)
	in := map[string]any{"container": "tiny"}
	r.ok("tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": "tiny", "validate_stack": false})
	if got := names(r.ok("tripleo.plan_management.v1.list_available_networks", in)["available_networks"]); got != "External" {
		t.Errorf("available networks %q", got)
	}
	r.ok("tripleo.plan_management.v1.export_deployment_plan", map[string]any{"plan": "tiny"})
	if code, text := r.object("plan-exports", "tiny.tar.gz"); code != 200 || !strings.HasPrefix(text, "\x1f\x8b") {
		t.Errorf("the export: %d, %d bytes", code, len(text))
	}
	if got := r.ok("tripleo.validations.v1.run_validations", map[string]any{"validation_names": []any{"roles-data", "role-services"}, "plan": "tiny"}); got == nil {
		t.Error("run_validations has no output")
	}
	r.ok("tripleo.validations.v1.copy_ssh_key", map[string]any{}) // there are no servers
	r.ok("tripleo.validations.v1.add_validation_ssh_key_parameter", in)
	if _, env := r.object("tiny", "plan-environment.yaml"); !strings.Contains(env, "node_admin_extra_ssh_keys: ssh-rsa ") {
		t.Errorf("the plan has not the key of the validations:\n%s", env)
	}
	r.ok("tripleo.deployment.v1.deploy_plan", map[string]any{"container": "tiny", "timeout": 5})
	if got := r.ok("tripleo.deployment.v1.get_deployment_status", map[string]any{"plan": "tiny"})["deployment_status"]; !strings.Contains(strings.ToUpper(sprint(got)), "DEPLOY_SUCCESS") {
		t.Errorf("status %v", got)
	}
	if got := r.ok("tripleo.deployment.v1.get_deployment_failures", map[string]any{"plan": "tiny"})["deployment_failures"]; strings.Contains(sprint(got), "FAILED") {
		t.Errorf("failures %v", got)
	}
	if got := r.ok("tripleo.deployment.v1.get_horizon_url", map[string]any{"stack": "tiny"})["horizon_url"]; got != "http://10.0.0.9/horizon" {
		t.Errorf("dashboard %v", got)
	}
	r.ok("tripleo.support.v1.create_container", map[string]any{"container": "reports"})
	r.upload("reports", map[string]string{"web/report.tar.gz": "x"})
	r.ok("tripleo.support.v1.delete_container", map[string]any{"container": "reports"})
	if code, _ := r.object("reports", "web/report.tar.gz"); code != 404 {
		t.Error("the reports are left")
	}
	r.ok("tripleo.package_update.v1.converge_upgrade_plan", in)
	r.ok("tripleo.package_update.v1.ffwd_upgrade_converge_plan", in)
	r.ok("tripleo.stack.v1.delete_stack", map[string]any{"stack": "tiny"})
	r.ok("tripleo.stack.v1.wait_for_stack_does_not_exist", map[string]any{"stack": "tiny"})
	// A playbook that is not installed ends in words, not in a stuck workflow.
	for _, name := range []string{"tripleo.skydive_ansible.v1.skydive_install", "tripleo.storage.v1.ceph-install"} {
		if state, _, info := r.run(name, map[string]any{}); state != "ERROR" || !strings.Contains(info, "/usr/share/") && !strings.Contains(info, "ansible") {
			t.Errorf("%s: %s %s", name, state, info)
		}
	}
}

func sprint(v any) string { return fmt.Sprint(v) }
