package plan_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestEbtables deletes a rule that names MAC addresses, as the Linux bridge agent does when a port changes, in a network
// namespace of its own.
func TestEbtables(t *testing.T) {
	const nft = "/usr/sbin/ebtables-nft"
	if _, err := os.Stat(nft); err != nil || os.Getuid() != 0 {
		t.Skip("no root, or no " + nft + " (Debian package iptables): the script before ebtables is not tried")
	}
	script := content(t, services(t, false)["step_4"]["neutron_linuxbridge_agent"], "/usr/local/sbin/ebtables")
	file := filepath.Join(t.TempDir(), "ebtables")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(script, "real=/usr/sbin/ebtables\n", "real="+nft+"\n")), 0o700); err != nil { //nolint:gosec // G306: a script
		t.Fatal(err)
	}
	const rule = "-i tap1 --among-src fa:16:3e:0:0:1,fa:16:3e:0:0:2 -j RETURN"
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "/bin/bash", "-ec", `
		e() { "$0" -t nat --concurrent "$@"; }
		e -N mac -P DROP
		e -A mac -j DROP
		for n in 0 1; do e -I mac -i tap$n --among-src fa:16:3e:0:0:1,fa:16:3e:0:0:2 -j RETURN; done
		e -L mac | grep tap1 >/dev/null # it is there, or its deletion would prove nothing
		e -D mac $(e -L mac | grep tap1)
		e -L mac | grep '^-'
		if e -D mac -i tap9 --among-src fa:16:3e:0:0:9 -j RETURN; then exit 9; fi
		e -D mac -j DROP
		e -L mac | grep '^-'`, file)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kept := strings.ReplaceAll(rule, "tap1", "tap0")
	want := []string{kept, "-j DROP", "ebtables: chain mac has no rule -i tap9 --among-src fa:16:3e:0:0:9 -j RETURN", kept}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, line := range got {
		line = strings.Join(strings.Fields(line), " ")
		got[i] = strings.Replace(line, "fa:16:3e:0:0:2,fa:16:3e:0:0:1", "fa:16:3e:0:0:1,fa:16:3e:0:0:2", 1) // the kernel has them in any order
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
