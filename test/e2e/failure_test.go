package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// promptly bounds a deployment that must fail on its own plan.
const promptly = 10 * time.Second

// powerTimeout is how long a power change may take here, in seconds.
const powerTimeout = 4

// contains expects every text in what a command said.
func contains(t *testing.T, what, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q:\n%s", what, w, text)
		}
	}
}

// forPeople expects that a message holds nothing that is for programs.
func forPeople(t *testing.T, text string) {
	t.Helper()
	for _, bad := range []string{`\n`, `{"`, "task_ex_id", "Traceback", "temp_url_sig"} {
		if strings.Contains(text, bad) {
			t.Errorf("an operator is shown %q:\n%s", bad, text)
		}
	}
}

// replaceIn changes one text of a file, which must be there.
func replaceIn(t *testing.T, path, old, text string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		t.Fatalf("%s has no %q", path, old)
	}
	writeFile(t, path, strings.Replace(string(data), old, text, 1))
}

// serverIDs maps the names of the servers in a status to their ids.
func (h *house) serverIDs(status string) map[string]string {
	h.t.Helper()
	out := map[string]string{}
	for _, s := range rows(h.t, h.openstack("server", "list")) {
		if s["Status"] == status {
			out[fmt.Sprint(s["Name"])] = fmt.Sprint(s["ID"])
		}
	}
	return out
}

// A failure is shown promptly, with its place and cause, and a repaired
// deployment goes on from there. Simulated machines are enough for the plan and
// for the power; what needs the real ramdisk and a real script is below.
func TestFailuresAreShownAndRepaired(t *testing.T) {
	h, lab := newSim(t, 18250, 3, powerTimeout, "")
	h.tinyImages()
	h.deadBMC(lab)
	h.tripleo(time.Minute, "overcloud", "node", "provide", "--all-manageable")
	plan := smallPlan(t, h.dir, 3, "#!/bin/sh\necho configured")
	deploy := []string{"overcloud", "deploy", "--templates", plan, "-e", filepath.Join(h.dir, "small.yaml")}
	for _, tc := range []struct {
		why, file, old, text string
		want                 []string
		stays                bool // Heat found it, so that `overcloud failures` tells of it afterwards
	}{
		{"an unknown property, as Heat finds it in a nested template", "node.yaml", "flavor: {", "flavour: {",
			[]string{"node.yaml:11:", `unknown property "flavour"`, "resources.Server"}, true},
		{"an unknown resource type", "node.yaml", "OS::Nova::Server", "OS::Nova::Severe", []string{"node.yaml:6:", "OS::Nova::Severe"}, true},
		{"a reference to nothing in a rendered template", "overcloud.j2.yaml", "get_resource: Config", "get_resource: Konfig",
			[]string{"overcloud.yaml:26:", "(overcloud.j2.yaml:29)", `"Konfig"`, "resources.ComputeDeployment"}, true},
		{"bad YAML in a template", "node.yaml", "outputs:\n", "   outputs: [\n", []string{"node.yaml:15", "YAML"}, false},
		{"bad Jinja", "overcloud.j2.yaml", "{%- endfor %}\noutputs", "outputs", []string{"overcloud.j2.yaml:", "endfor"}, false},
	} {
		t.Run(tc.why, func(t *testing.T) {
			h := h.within(t)
			replaceIn(t, filepath.Join(plan, tc.file), tc.old, tc.text)
			defer replaceIn(t, filepath.Join(plan, tc.file), tc.text, tc.old)
			text := h.tripleoFails(promptly, deploy...)
			contains(t, "deploy", text, tc.want...)
			forPeople(t, text)
			h.executionFailed(tc.want[0])
			if tc.stays {
				contains(t, "overcloud failures", h.tripleo(time.Minute, "overcloud", "failures"), tc.want...)
			}
		})
	}
	t.Run("a machine that does not power on", func(t *testing.T) { h.within(t).powerStuck(lab, deploy) })
}

// within is the same house in a subtest.
func (h *house) within(t *testing.T) *house {
	sub := *h
	sub.t = t
	return &sub
}

// executionFailed looks for the cause in Mistral's answer about the last
// execution of a plan's or a deployment's workflow.
func (h *house) executionFailed(cause string) {
	h.t.Helper()
	var last map[string]any
	for _, e := range rows(h.t, h.openstack("workflow", "execution", "list")) {
		name := fmt.Sprint(e["Workflow name"])
		if (strings.Contains(name, "deploy_plan") || strings.Contains(name, "_deployment_plan")) && (last == nil || fmt.Sprint(e["Created at"]) >= fmt.Sprint(last["Created at"])) {
			last = e
		}
	}
	if last == nil || last["State"] != "ERROR" {
		h.t.Fatalf("the last execution is %v, expected one in state ERROR", last)
	}
	out := h.openstackText("workflow", "execution", "show", fmt.Sprint(last["ID"]), "-f", "value", "-c", "State info")
	contains(h.t, "the execution", out, cause)
}

// deadBMC imports nodes of which two have BMCs that do not answer.
func (h *house) deadBMC(lab string) {
	h.t.Helper()
	for _, n := range []string{"node-1", "node-2"} {
		h.tripleo(time.Minute, "lab", "fault", "--dir", lab, n, "bmc-dead")
	}
	file := filepath.Join(lab, "instackenv.json")
	text := h.tripleoFails(time.Minute, "overcloud", "node", "import", file)
	forPeople(h.t, text)
	for _, n := range []string{"node-1", "node-2"} {
		if !regexp.MustCompile(`(?m)^  ` + n + `  enroll  .*the BMC does not answer`).MatchString(text) {
			h.t.Errorf("import has no line with node, state and cause for %s:\n%s", n, text)
		}
		h.tripleo(time.Minute, "lab", "fault", "--dir", lab, n, "bmc-dead", "--clear")
	}
	h.tripleo(time.Minute, "overcloud", "node", "import", file)
}

func (h *house) powerStuck(lab string, deploy []string) {
	h.t.Helper()
	h.tripleo(time.Minute, "lab", "fault", "--dir", lab, "node-1", "power-stuck")
	begin := time.Now()
	text := h.tripleoFails(time.Minute, deploy...)
	if took := time.Since(begin); took > 20*time.Second { // with three installations that go well meanwhile
		h.t.Errorf("the failure was shown after %s", took)
	}
	said := []string{".Server\n", "node.yaml:6:", "node: compute-", "(bare-metal node node-1)", "power-on", "still not in state"}
	contains(h.t, "deploy", text, said...)
	forPeople(h.t, text)
	contains(h.t, "overcloud failures", h.tripleo(time.Minute, "overcloud", "failures"), said...)
	contains(h.t, "stack failures list", h.openstackText("stack", "failures", "list", "overcloud"), "Server:", "CREATE_FAILED", "on node node-1", "power-on")
	if status := h.openstackText("stack", "show", "overcloud", "-f", "value", "-c", "stack_status"); strings.TrimSpace(status) != "CREATE_FAILED" {
		h.t.Errorf("the stack is %s", status)
	}
	var fine map[string]string // the failure did not wait for them
	h.until("the two other servers are ACTIVE", time.Minute, func() (bool, string) {
		fine = h.serverIDs("ACTIVE")
		return len(fine) == 2, fmt.Sprint(fine)
	})
	h.tripleo(time.Minute, "lab", "fault", "--dir", lab, "node-1", "power-stuck", "--clear")
	h.tripleo(time.Minute, deploy...)
	after := h.serverIDs("ACTIVE")
	if len(after) != 3 {
		h.t.Errorf("servers after the repair: %v, expected three", after)
	}
	for name, id := range fine {
		if after[name] != id {
			h.t.Errorf("%s was installed anew: %s, before %s", name, after[name], id)
		}
	}
	h.stackComplete()
	contains(h.t, "overcloud failures", h.tripleo(time.Minute, "overcloud", "failures"), "No failures.")
}

// TestBrokenImageAndScriptOnAContainerMachine: a body in Glance's store that
// has rotted, and a script that exits 3; each is repaired.
func TestBrokenImageAndScriptOnAContainerMachine(t *testing.T) {
	needRoot(t)
	const name = "failab"
	h := newHouse(t, 18320, "provisioning: {namespace: "+name+"}\nbaremetal: {clean_metadata: false, power_timeout: 20, callback_timeout: 60}\n")
	lab := filepath.Join(h.dir, "lab")
	t.Cleanup(func() {
		if out, err := exec.Command(h.bin, "lab", "down", "--dir", lab).CombinedOutput(); err != nil {
			t.Errorf("lab down: %v\n%s", err, out)
		}
	})
	h.tripleo(time.Minute, "lab", "up", "--nodes", "1", "--dir", lab, "--name", name, "--profiles", "compute")
	cache := imageCache(t)
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	h.tripleo(15*time.Minute, "overcloud", "image", "build", "--profile", "small", "--output-directory", cache,
		"--cache-directory", filepath.Join(filepath.Dir(cache), "build"))
	h.tripleo(5*time.Minute, "overcloud", "image", "upload", "--image-path", cache)
	h.tripleo(time.Minute, "overcloud", "node", "import", filepath.Join(lab, "instackenv.json"))
	h.tripleo(time.Minute, "overcloud", "node", "provide", "--all-manageable")

	plan := smallPlan(t, h.dir, 1, "#!/bin/sh\necho begun\necho 'cannot reach the repository' >&2\nexit 3")
	deploy := []string{"overcloud", "deploy", "--templates", plan, "-e", filepath.Join(h.dir, "small.yaml")}
	body := h.largestBlob()
	flipBit(t, body)
	h.rotten(deploy)
	flipBit(t, body)
	id := h.exit3(deploy)
	replaceIn(t, filepath.Join(h.dir, "small.yaml"), "exit 3", "exit 0")
	h.tripleo(2*time.Minute, deploy...)
	if after := h.serverIDs("ACTIVE"); len(after) != 1 || after["compute-0"] != id {
		t.Errorf("servers after the repair: %v, expected compute-0 with id %s", after, id)
	}
	h.stackComplete()
	contains(t, "overcloud failures", h.tripleo(time.Minute, "overcloud", "failures"), "No failures.")
	contains(t, "the stack's output", h.openstackText("stack", "output", "show", "overcloud", "Stdouts"), "begun")
}

// largestBlob is the file of the operating system image in the undercloud's
// data folder.
func (h *house) largestBlob() string {
	h.t.Helper()
	var path string
	var size int64
	err := filepath.Walk(filepath.Join(h.data(), "blobs"), func(p string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && info.Size() > size {
			path, size = p, info.Size()
		}
		return err
	})
	if err != nil || path == "" {
		h.t.Fatalf("no body in the data folder: %v", err)
	}
	return path
}

// flipBit changes one bit in the middle of a file; twice changes nothing.
func flipBit(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], info.Size()/2); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], info.Size()/2); err != nil {
		t.Fatal(err)
	}
}

// rotten deploys an image whose body in the store has rotted: the store hands
// out no byte that it cannot verify, and the machine says where that ends.
func (h *house) rotten(deploy []string) {
	h.t.Helper()
	text := h.tripleoFails(2*time.Minute, deploy...)
	image := strings.TrimSpace(h.openstackText("image", "show", "overcloud-full", "-f", "value", "-c", "id"))
	said := []string{"Compute.0.Server\n", "node.yaml:6:", "compute-0 (bare-metal node node-0)", "broke off before byte", "may be damaged", image}
	contains(h.t, "deploy", text, said...)
	contains(h.t, "overcloud failures", h.tripleo(time.Minute, "overcloud", "failures"), said...)
	forPeople(h.t, text)
	node := h.openstackText("baremetal", "node", "show", "node-0", "-f", "value", "-c", "provision_state", "-c", "last_error")
	contains(h.t, "the node", node, "deploy failed", "may be damaged")
}

// exit3 deploys with a script that fails, and returns the server's id.
func (h *house) exit3(deploy []string) string {
	h.t.Helper()
	text := h.tripleoFails(3*time.Minute, deploy...)
	said := []string{"ComputeDeployment.0\n", "overcloud.yaml:22:3 (overcloud.j2.yaml:25)", "compute-0 (bare-metal node node-0)", "exit code: 3\n", "begun\n", "cannot reach the repository\n"}
	contains(h.t, "deploy", text, said...)
	contains(h.t, "overcloud failures", h.tripleo(time.Minute, "overcloud", "failures"), said...)
	forPeople(h.t, text)
	contains(h.t, "stack failures list", h.openstackText("stack", "failures", "list", "overcloud"),
		"overcloud.ComputeDeployment.0", "status code: 3", "cannot reach the repository")
	deployments := rows(h.t, h.openstack("software", "deployment", "list"))
	if len(deployments) != 1 || deployments[0]["status"] != "FAILED" {
		h.t.Fatalf("software deployments: %v, expected one that FAILED", deployments)
	}
	show := h.openstackText("software", "deployment", "show", fmt.Sprint(deployments[0]["id"]), "--long", "-f", "json")
	contains(h.t, "software deployment show", show, "FAILED", "cannot reach the repository")
	id := h.serverIDs("ACTIVE")["compute-0"]
	if id == "" {
		h.t.Fatal("the server is not ACTIVE: the script failed, not the machine")
	}
	return id
}
