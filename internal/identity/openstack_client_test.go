package identity_test

import (
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/identity/identitytest"
)

// TestOpenstackClient runs Debian's client, which nobody here wrote.
func TestOpenstackClient(t *testing.T) {
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	s := identitytest.Start(t)
	run := func(want string, args ...string) {
		t.Helper()
		if out := strings.TrimSpace(s.Client("openstack", args...)); !strings.Contains(out, want) {
			t.Errorf("openstack %s printed %q, expected it to hold %q", strings.Join(args, " "), out, want)
		}
	}
	run("T", "token", "issue", "-f", "value", "-c", "expires")
	run("keystone", "catalog", "list")
	run("tester", "user", "create", "--password", "pw", "--project", "admin", "tester", "-f", "value", "-c", "name")
	run("blue", "project", "create", "--description", "d", "blue", "-f", "value", "-c", "name")
	run("", "role", "add", "--user", "tester", "--project", "blue", "member")
	run("tester@Default", "role", "assignment", "list", "--names", "--project", "blue")
	run("red", "domain", "create", "red", "-f", "value", "-c", "name")
	run("ops", "group", "create", "ops", "-f", "value", "-c", "name")
	run("", "group", "add", "user", "ops", "tester")
	run("tester", "user", "list", "--group", "ops")
	run("", "user", "set", "--email", "t@example.org", "tester")
	run("t@example.org", "user", "show", "tester")
	run("operator", "role", "create", "operator", "-f", "value", "-c", "name")
	run("", "implied", "role", "create", "operator", "--implied-role", "reader")
	run("operator", "implied", "role", "list")
	run("probe", "service", "create", "--name", "probe", "probe", "-f", "value", "-c", "name")
	run("http", "endpoint", "create", "--region", "regionOne", "probe", "public", "http://192.0.2.1:1/", "-f", "value", "-c", "url")
	run("regionOne", "region", "list")
	run("", "trust", "list")
	run("app", "application", "credential", "create", "app", "-f", "value", "-c", "name")
	run("", "ec2", "credentials", "create")
	run("", "project", "delete", "blue")
	run("", "user", "delete", "tester")
}
