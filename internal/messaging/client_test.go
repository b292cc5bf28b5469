package messaging_test

import (
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/clienttest"
)

// TestClients runs Debian's client, which nobody here wrote.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	s := start(t)
	sh := clienttest.Start(t, append(s.ClientEnv(), "OS_MESSAGE_CLIENT_ID=3381af92-2b9e-11e3-b191-71861300734c")...)
	run := func(want string, args ...string) string {
		t.Helper()
		return strings.TrimSpace(sh.Run(want, "openstack", append([]string{"messaging"}, args...)...))
	}
	// Most verbs have an older name, too, without the first word.
	for _, name := range []string{"messaging", ""} {
		run := func(want string, args ...string) string {
			t.Helper()
			return strings.TrimSpace(sh.Run(want, "openstack", append(strings.Fields(name), args...)...))
		}
		run("", "queue", "create", "tripleo")
		listed := "tripleo"
		if name == "" {
			listed = "" // the older verb takes the client's pair of list and count for the list
		}
		run(listed, "queue", "list")
		run("", "queue", "set", "metadata", "tripleo", `{"a": "b"}`)
		run("a", "queue", "get", "metadata", "tripleo")
		run("", "message", "post", "tripleo", `[{"body": "hello", "ttl": 300}]`)
		run("hello", "message", "list", "tripleo", "--echo")
		run("total", "queue", "stats", "tripleo")
		run("Signature", "queue", "signed", "url", "tripleo", "--paths", "messages", "--methods", "GET", "--ttl-seconds", "600")
		claim := run("", "claim", "create", "tripleo", "--ttl", "300", "--grace", "60", "-f", "value", "-c", "Claim_ID")
		run("hello", "claim", "query", "tripleo", claim)
		run("hello", "claim", "renew", "tripleo", claim, "--ttl", "600", "--grace", "60")
		run("", "claim", "release", "tripleo", claim)
		run("", "subscription", "create", "tripleo", "http://192.0.2.1:1/hook", "600")
		subscription := run("", "subscription", "list", "tripleo", "-f", "value", "-c", "ID")
		run("192.0.2.1", "subscription", "show", "tripleo", subscription)
		run("", "subscription", "update", "tripleo", subscription, "--ttl", "900")
		run("900", "subscription", "list", "tripleo")
		run("", "subscription", "delete", "tripleo", subscription)
		run("", "queue", "purge", "tripleo")
		run("", "pool", "create", "p", "sqlite:///x", "10")
		run("p", "pool", "list")
		run("", "pool", "update", "p", "--pool_weight", "20")
		run("20", "pool", "show", "p")
		run("", "pool", "delete", "p")
		run("", "queue", "delete", "tripleo")
	}
	run("", "pool", "create", "p", "sqlite:///x", "10")
	run("", "flavor", "create", "f", "--pool_list", "p")
	run("f", "flavor", "list")
	run("f", "flavor", "show", "f")
	run("", "flavor", "update", "f", "--pool_list", "p")
	run("", "flavor", "delete", "f")
	run("", "pool", "delete", "p")
	run("", "ping")
	run("", "health")
	run("rel/queue", "homedoc")
	sh.EveryVerb("python_zaqarclient", "openstack.messaging.v2", nil)
}
