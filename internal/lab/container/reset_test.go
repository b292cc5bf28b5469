package container

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/tripleo/tripleo/internal/netns"
)

// TestResetForgetsTheLastSystem: a firewall and links that a system left do not keep the next one from the network, and
// what other namespaces have stays.
func TestResetForgetsTheLastSystem(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED WHAT A MACHINE FORGETS: network namespaces need root")
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput() //nolint:gosec // G204: of this test
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	const machine, other = "labt-reset", "labt-reset-other"
	for _, ns := range []string{machine, other} {
		run("ip", "netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() }) //nolint:gosec,noctx // G204: of this test
		run("ip", "netns", "exec", ns, "nft", "add table inet tripleo")
		run("ip", "netns", "exec", ns, "nft", "add chain inet tripleo input { type filter hook input priority 0; policy drop; }")
	}
	run("ip", "-n", machine, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", other)
	run("ip", "-n", machine, "link", "add", "br-ex", "type", "bridge")
	// The second end goes with the first, before its turn comes.
	run("ip", "-n", machine, "link", "add", "tap0", "type", "veth", "peer", "name", "tap1")
	var nic netlink.Link
	if err := netns.Do(machine, func() (err error) { nic, err = netlink.LinkByName("eth0"); return err }); err != nil {
		t.Fatal(err)
	}
	if err := resetInterface(machine, "eth0", nic.Attrs().HardwareAddr, 1500); err != nil {
		t.Fatal(err)
	}
	if rules := run("ip", "netns", "exec", machine, "nft", "list ruleset"); rules != "" {
		t.Errorf("the firewall is still there:\n%s", rules)
	}
	if rules := run("ip", "netns", "exec", other, "nft", "list ruleset"); !strings.Contains(rules, "table inet tripleo") {
		t.Errorf("another namespace's firewall is gone:\n%s", rules)
	}
	if links := run("ip", "-n", machine, "-brief", "link"); strings.Contains(links, "br-ex") || strings.Contains(links, "tap") || !strings.Contains(links, "eth0") {
		t.Errorf("links:\n%s", links)
	}
}
