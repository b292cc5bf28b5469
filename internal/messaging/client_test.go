package messaging_test

import (
	"strings"
	"testing"
)

// TestClients runs Debian's client, which nobody here wrote.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	s := start(t)
	t.Setenv("OS_MESSAGE_CLIENT_ID", "3381af92-2b9e-11e3-b191-71861300734c")
	run := func(want string, args ...string) {
		t.Helper()
		if out := s.Client("openstack", append([]string{"messaging"}, args...)...); !strings.Contains(out, want) {
			t.Errorf("openstack messaging %s printed %q, expected it to hold %q", strings.Join(args, " "), out, want)
		}
	}
	run("", "queue", "create", "tripleo")
	run("tripleo", "queue", "list")
	run("", "queue", "set", "metadata", "tripleo", `{"a": "b"}`)
	run("a", "queue", "get", "metadata", "tripleo")
	run("", "message", "post", "tripleo", `[{"body": "hello", "ttl": 300}]`)
	run("hello", "message", "list", "tripleo", "--echo")
	run("total", "queue", "stats", "tripleo")
	run("hello", "claim", "create", "tripleo")
	run("", "subscription", "create", "tripleo", "http://192.0.2.1:1/hook", "600")
	run("192.0.2.1", "subscription", "list", "tripleo")
	run("", "queue", "purge", "tripleo")
	run("", "pool", "create", "p", "sqlite:///x", "10")
	run("p", "pool", "list")
	run("", "flavor", "create", "f", "--pool_list", "p")
	run("f", "flavor", "list")
	run("", "ping")
	run("", "health")
	run("", "queue", "delete", "tripleo")
}
