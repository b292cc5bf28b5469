package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"

	"github.com/tripleo/tripleo/internal/cloud"
)

// imageCache is where images are built once for all runs.
func imageCache(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("TRIPLEO_IMAGE_CACHE"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../../.cache/images-small")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, THE LAB IS NOT TESTED: network namespaces, loop devices and mounts need root")
	}
}

// inLab runs a program inside the lab's network namespace.
func (h *house) inLab(args ...string) (string, string, error) {
	h.t.Helper()
	return h.command(2*time.Minute, "ip", append([]string{"netns", "exec", "tripleo-lab"}, args...)...)
}

// crashWhen kills the undercloud with SIGKILL once the condition holds, and
// starts it again.
func (h *house) crashWhen(what string, limit time.Duration, condition func() (bool, string)) {
	h.t.Helper()
	h.until(what, limit, condition)
	h.kill(syscall.SIGKILL)
	h.t.Logf("killed the undercloud while %s", what)
	h.start()
}

// anyNode says whether a node is in one of the provision states.
func (h *house) anyNode(states ...string) func() (bool, string) {
	return func() (bool, string) {
		found, err := h.nodeStates()
		if err != nil {
			return false, err.Error()
		}
		return slices.ContainsFunc(found, func(s string) bool { return slices.Contains(states, s) }), fmt.Sprint(found)
	}
}

// nodeStates asks Ironic itself: a client's process takes longer to start than
// a state may last.
func (h *house) nodeStates() ([]string, error) {
	session, err := h.session()
	if err != nil {
		return nil, err
	}
	ironic, err := session.Baremetal()
	if err != nil {
		return nil, err
	}
	page, err := nodes.List(ironic, nodes.ListOpts{}).AllPages(h.t.Context())
	if err != nil {
		return nil, err
	}
	all, err := nodes.ExtractNodes(page)
	var out []string
	for _, n := range all {
		out = append(out, n.ProvisionState)
	}
	return out, err
}

// session logs in as the administrator.
func (h *house) session() (*cloud.Session, error) {
	rc, err := os.ReadFile(filepath.Join(h.data(), "undercloudrc"))
	if err != nil {
		return nil, err
	}
	value := func(name string) string {
		_, rest, _ := strings.Cut(string(rc), "export "+name+"=")
		v, _, _ := strings.Cut(rest, "\n")
		return v
	}
	return cloud.New(cloud.Options{AuthURL: value("OS_AUTH_URL")}).Password(h.t.Context(), "admin", value("OS_PASSWORD"), "admin", "Default")
}

// background runs our command line and delivers how it ended.
func (h *house) background(limit time.Duration, args ...string) <-chan string {
	done := make(chan string, 1)
	go func() {
		_, text, err := h.command(limit, h.bin, args...)
		if err != nil {
			text = fmt.Sprintf("FAILED: %v\n%s", err, text)
		}
		done <- text
	}()
	return done
}

func (h *house) wait(what string, done <-chan string) string {
	h.t.Helper()
	text := <-done
	if strings.HasPrefix(text, "FAILED: ") {
		h.t.Fatalf("%s %s", what, text)
	}
	return text
}

// TestOvercloudOnContainerMachinesSurvivesCrashes walks the whole way on three
// container-backed machines, with the undercloud killed during introspection,
// during the writing of images and during a deployment step.
func TestOvercloudOnContainerMachinesSurvivesCrashes(t *testing.T) {
	needRoot(t)
	h := newHouse(t, 18000, "")
	lab := filepath.Join(h.dir, "lab")
	t.Cleanup(func() {
		if out, err := exec.Command(h.bin, "lab", "down", "--dir", lab).CombinedOutput(); err != nil {
			t.Errorf("lab down: %v\n%s", err, out)
		}
		nothingLeft(t, "tripleo-lab", lab)
	})
	h.tripleo(time.Minute, "lab", "up", "--nodes", "3", "--dir", lab)
	cache := imageCache(t)
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	h.tripleo(15*time.Minute, "overcloud", "image", "build", "--profile", "small", "--output-directory", cache, "--cache-directory", filepath.Join(filepath.Dir(cache), "build"))
	h.tripleo(5*time.Minute, "overcloud", "image", "upload", "--image-path", cache)
	h.tripleo(2*time.Minute, "overcloud", "node", "import", filepath.Join(lab, "instackenv.json"))
	h.oneBMCOfEachKind()

	introspection := h.background(10*time.Minute, "overcloud", "node", "introspect", "--all-manageable", "--provide")
	h.crashWhen("nodes are being introspected", 3*time.Minute, h.anyNode("inspecting", "inspect wait"))
	h.wait("introspection", introspection)
	h.inspected()

	env := filepath.Join(h.dir, "demo.yaml")
	writeFile(t, env, "parameter_defaults:\n  ControllerCount: 1\n  ComputeCount: 2\n")
	roles, err := filepath.Abs("testdata/roles_small.yaml")
	if err != nil {
		t.Fatal(err)
	}
	deploy := []string{"overcloud", "deploy", "--templates", "-r", roles, "-e", env}
	deployment := h.background(15*time.Minute, deploy...)
	h.crashWhen("images are being written", 5*time.Minute, h.anyNode("wait call-back", "deploying"))
	h.crashWhen("a deployment step runs", 5*time.Minute, func() (bool, string) {
		out, text, err := h.command(time.Minute, "openstack", "stack", "resource", "list", "-n", "5", "overcloud",
			"--filter", "status=IN_PROGRESS", "-f", "value", "-c", "resource_name")
		return err == nil && strings.Contains(out, "Deployment_Step"), text
	})
	h.wait("deployment", deployment)

	h.serves()
	h.stackComplete()
	h.restOfTheTour()
	t.Run("a second deploy changes nothing", func(t *testing.T) { h.deployAgain(t, deploy) })
	t.Run("delete frees everything", func(t *testing.T) { h.deleteOvercloud(t) })
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (h *house) oneBMCOfEachKind() {
	h.t.Helper()
	drivers := map[any]int{}
	for _, n := range rows(h.t, h.openstack("baremetal", "node", "list", "--fields", "name", "driver", "provision_state")) {
		drivers[n["Driver"]]++
		if n["Provisioning State"] != "manageable" {
			h.t.Errorf("node %v is %v after the import, expected manageable", n["Name"], n["Provisioning State"])
		}
	}
	if drivers["ipmi"] == 0 || drivers["redfish"] == 0 {
		h.t.Errorf("drivers %v, expected ipmi and redfish", drivers)
	}
}

// inspected checks what introspection has recorded of each node.
func (h *house) inspected() {
	h.t.Helper()
	nodes := rows(h.t, h.openstack("baremetal", "node", "list", "--fields", "uuid", "provision_state", "properties"))
	if len(nodes) != 3 {
		h.t.Fatalf("%d nodes, expected 3", len(nodes))
	}
	for _, n := range nodes {
		props, _ := n["Properties"].(map[string]any)
		if n["Provisioning State"] != "available" || props["memory_mb"] == nil || props["cpus"] == nil || props["local_gb"] == nil {
			h.t.Errorf("node %v is %v with properties %v, expected available with cpus, memory_mb and local_gb", n["UUID"], n["Provisioning State"], props)
		}
		data, err := h.introspectionData(fmt.Sprint(n["UUID"]))
		inv, _ := data["inventory"].(map[string]any)
		disks, _ := inv["disks"].([]any)
		nics, _ := inv["interfaces"].([]any)
		if err != nil || len(disks) != 1 || len(nics) == 0 {
			h.t.Errorf("introspection data of %v: %v, %v; expected one disk and an interface", n["UUID"], inv, err)
		}
	}
}

// introspectionData reads what the inspector keeps of a node. (Debian's package
// of its client holds no program.)
func (h *house) introspectionData(node string) (map[string]any, error) {
	session, err := h.session()
	if err != nil {
		return nil, err
	}
	inspector, err := session.Introspection()
	if err != nil {
		return nil, err
	}
	var data map[string]any
	_, err = inspector.Get(h.t.Context(), inspector.ServiceURL("introspection", node, "data"), &data, nil)
	return data, err
}

// serves asks the overcloud's own Keystone.
func (h *house) serves() {
	h.t.Helper()
	for _, args := range [][]string{{"token", "issue"}, {"endpoint", "list"}} {
		_, text, err := h.inLab(append([]string{"openstack", "--os-cloud", "overcloud"}, args...)...)
		if err != nil {
			h.t.Fatalf("openstack --os-cloud overcloud %s: %v\n%s", strings.Join(args, " "), err, text)
		}
		if args[0] == "endpoint" && strings.Count(text, "keystone") < 3 {
			h.t.Errorf("expected three endpoints of keystone:\n%s", text)
		}
	}
}

// restOfTheTour tries the verbs of the README that nothing else here uses.
func (h *house) restOfTheTour() {
	h.t.Helper()
	if text := h.openstackText("catalog", "list"); strings.Count(text, "http://127.0.0.1") < 10 {
		h.t.Errorf("catalog:\n%s", text)
	}
	if text := h.tripleo(time.Minute, "overcloud", "status", "-f", "json"); !strings.Contains(text, "DEPLOY_SUCCESS") {
		h.t.Errorf("status:\n%s", text)
	}
	if text := h.tripleo(time.Minute, "overcloud", "failures"); !strings.Contains(text, "No failures") {
		h.t.Errorf("failures:\n%s", text)
	}
	h.tripleo(time.Minute, "overcloud", "credentials", "overcloud", "--directory", h.dir)
	rc, err := os.Stat(filepath.Join(h.dir, "overcloudrc"))
	if err != nil || rc.Mode().Perm() != 0o600 {
		h.t.Errorf("overcloudrc: %v, %v, expected a file of mode 0600", rc, err)
	}
	if text := h.tripleo(time.Minute, "lab", "status", "--dir", filepath.Join(h.dir, "lab")); strings.Count(text, "node-") < 3 {
		h.t.Errorf("lab status:\n%s", text)
	}
	_, text, err := h.inLab("bash", "-c", fmt.Sprintf("source %s/overcloudrc && env -u OS_CLOUD -u OS_CLIENT_CONFIG_FILE openstack token issue", h.dir))
	if err != nil {
		h.t.Errorf("overcloudrc does not open the overcloud: %v\n%s", err, text)
	}
}

func (h *house) stackComplete() {
	h.t.Helper()
	for _, s := range rows(h.t, h.openstack("stack", "list", "--nested")) {
		if status := fmt.Sprint(s["Stack Status"]); !strings.HasSuffix(status, "_COMPLETE") {
			h.t.Errorf("stack %v is %s", s["Stack Name"], status)
		}
	}
}

// deployAgain expects that neither a server nor a service is touched.
func (h *house) deployAgain(t *testing.T, deploy []string) {
	before := h.openstackText("server", "list", "-f", "value", "-c", "ID", "-c", "Status")
	h.tripleo(5*time.Minute, deploy...)
	if after := h.openstackText("server", "list", "-f", "value", "-c", "ID", "-c", "Status"); after != before {
		t.Errorf("servers before\n%s\nand after the second deploy\n%s", before, after)
	}
	h.serves()
}

func (h *house) deleteOvercloud(t *testing.T) {
	h.tripleo(10*time.Minute, "overcloud", "delete", "-y", "overcloud")
	if left := strings.TrimSpace(h.openstackText("server", "list", "-f", "value")); left != "" {
		t.Errorf("servers are left: %s", left)
	}
	h.until("the nodes are cleaned", 2*time.Minute, func() (bool, string) {
		out := h.openstackText("baremetal", "node", "list", "-f", "value", "-c", "Provisioning State")
		return strings.Count(out, "available") == 3, out
	})
	for _, n := range rows(t, h.openstack("baremetal", "node", "list")) {
		if n["Provisioning State"] != "available" || n["Power State"] != "power off" || n["Instance UUID"] != nil {
			t.Errorf("node %v is %v, %v, instance %v; expected available and off", n["Name"], n["Provisioning State"], n["Power State"], n["Instance UUID"])
		}
	}
	if left := strings.TrimSpace(h.openstackText("port", "list", "-f", "value")); left != "" {
		t.Errorf("ports are left: %s", left)
	}
}

// nothingLeft looks for traces of a lab on the host.
func nothingLeft(t *testing.T, name, dir string) {
	t.Helper()
	out, err := exec.Command("ip", "netns", "list").CombinedOutput()
	if err != nil {
		t.Errorf("look for network namespaces: %v\n%s", err, out)
	}
	for line := range strings.SplitSeq(string(out), "\n") {
		if ns, _, _ := strings.Cut(line, " "); ns == name || strings.HasPrefix(ns, name+"-") {
			t.Errorf("the lab left a network namespace behind: %s", line)
		}
	}
	for what, command := range map[string]string{
		"mounts":       "grep " + dir + " /proc/mounts",
		"loop devices": "losetup -l -n -O BACK-FILE | grep " + dir, "processes": "ps -eo args | grep -v grep | grep " + dir,
	} {
		out, err := exec.Command("sh", "-c", command+" || true").CombinedOutput()
		if err != nil {
			t.Errorf("look for %s: %v", what, err)
		}
		for line := range strings.SplitSeq(string(out), "\n") {
			if line != "" && !strings.Contains(line, "sh -c") {
				t.Errorf("the lab left %s behind: %s", what, line)
			}
		}
	}
}
