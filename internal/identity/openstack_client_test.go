package identity_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/clienttest"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
)

// client runs commands of Debian's client, which nobody here wrote.
type client struct{ sh *clienttest.Shell }

// run runs a command that must succeed and print want.
func (c client) run(want string, args ...string) string {
	return strings.TrimSpace(c.sh.Run(want, "openstack", args...))
}

// id runs a command and returns the id of what it made.
func (c client) id(args ...string) string {
	return c.value("id", args...)
}

func (c client) value(column string, args ...string) string {
	return c.run("", append(args, "-f", "value", "-c", column)...)
}

// gone fails unless the command fails.
func (c client) gone(t *testing.T, args ...string) {
	t.Helper()
	if r := c.sh.Try("openstack", args...); r.Code == 0 {
		t.Errorf("openstack %s printed %q, expected it to fail", strings.Join(args, " "), r.Stdout)
	}
}

// notHere are the verbs that are not run here, with the reason.
func notHere() map[string]string {
	return map[string]string{
		"federation protocol set": "the client 6.0 takes its own answer for an error; what the verb did is looked at",
	}
}

// TestOpenstackClient runs every identity verb of the client.
func TestOpenstackClient(t *testing.T) {
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	s := identitytest.Start(t)
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"filters":   `{"interface": "public"}`,
		"mapping":   `[{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "REMOTE_USER"}]}]`,
		"mapping2":  `[{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "OIDC-sub"}]}]`,
		"filters2":  `{"interface": "internal"}`,
		"policy":    `{"a": "role:admin"}`,
		"policy2":   `{"b": "role:reader"}`,
		"rules":     `[{"service": "image", "method": "GET", "path": "/v2/images"}]`,
		"remoteids": "https://idp.example.org/a\nhttps://idp.example.org/b\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := client{clienttest.Start(t, s.ClientEnv()...)}
	parts := map[string]func(*testing.T, client){
		"catalog": catalogVerbs, "credentials": credentialVerbs, "endpoint groups": endpointGroupVerbs,
		"federation": federationVerbs, "limits": limitVerbs, "people": peopleVerbs, "roles": roleVerbs, "tokens": tokenVerbs,
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		parts[name](t, c)
	}
	c.sh.EveryVerb("python_openstackclient", "openstack.identity.v3", notHere())
}

func peopleVerbs(t *testing.T, c client) {
	c.run("red", "domain", "create", "--description", "d", "red")
	c.run("red", "domain", "list", "--name", "red")
	c.run("", "domain", "set", "--description", "warm", "--disable", "red")
	c.run("warm", "domain", "show", "red")
	blue := c.id("project", "create", "--description", "d", "--tag", "t1", "--property", "k=v", "blue")
	c.id("project", "create", "--parent", "blue", "navy")
	c.run(blue, "project", "create", "--or-show", "blue")
	c.run("navy", "project", "list", "--parent", "blue")
	c.run("blue", "project", "list", "--tags", "t1", "--long")
	c.run("", "project", "set", "--property", "k=w", "--description", "sea", "blue")
	c.run("sea", "project", "show", "blue", "--children")
	c.run("tester", "user", "create", "--password", "pw", "--project", "blue", "--email", "a@example.org", "--enable-lock-password", "tester")
	c.run("tester", "user", "list", "--long")
	c.run("", "user", "set", "--email", "t@example.org", "--disable-lock-password", "--multi-factor-auth-rule", "password,totp", "tester")
	c.run("t@example.org", "user", "show", "tester")
	c.run("ops", "group", "create", "--description", "d", "ops")
	c.run("", "group", "add", "user", "ops", "tester")
	c.run("tester in group ops", "group", "contains", "user", "ops", "tester")
	c.run("tester", "user", "list", "--group", "ops")
	c.run("ops", "group", "list", "--user", "tester")
	c.run("", "group", "set", "--name", "crew", "ops")
	c.run("crew", "group", "show", "crew")
	c.run("", "group", "remove", "user", "crew", "tester")
	if r := c.sh.Try("openstack", "group", "contains", "user", "crew", "tester"); !strings.Contains(r.Stderr, "tester not in group crew") {
		t.Errorf("a user who was removed from a group: %+v, expected it to be told so", r)
	}
	c.run("", "group", "delete", "crew")
	c.run("", "user", "delete", "tester")
	c.run("", "project", "delete", "navy", "blue")
	c.gone(t, "project", "show", "blue")
	c.run("", "domain", "delete", "red")
}

func roleVerbs(t *testing.T, c client) {
	c.run("operator", "role", "create", "--description", "d", "operator")
	c.run("operator", "role", "list")
	c.run("", "role", "set", "--description", "runs it", "operator")
	c.run("runs it", "role", "show", "operator")
	c.run("prior_role", "implied", "role", "create", "operator", "--implied-role", "reader")
	c.run("operator", "implied", "role", "list")
	c.run("", "implied", "role", "delete", "operator", "--implied-role", "reader")
	c.run("", "role", "add", "--user", "admin", "--project", "admin", "operator")
	c.run("", "role", "add", "--user", "admin", "--system", "all", "operator")
	c.run("", "role", "add", "--user", "admin", "--domain", "Default", "--inherited", "operator")
	c.run("operator", "role", "assignment", "list", "--names", "--user", "admin", "--project", "admin")
	c.run("all", "role", "assignment", "list", "--names", "--system", "all")
	c.run("True", "role", "assignment", "list", "--names", "--domain", "Default", "--inherited")
	c.run("", "role", "remove", "--user", "admin", "--domain", "Default", "--inherited", "operator")
	c.run("", "role", "remove", "--user", "admin", "--system", "all", "operator")
	c.run("", "role", "remove", "--user", "admin", "--project", "admin", "operator")
	c.run("", "role", "delete", "operator")
	c.gone(t, "role", "show", "operator")
}

func catalogVerbs(t *testing.T, c client) {
	c.run("keystone", "catalog", "list")
	c.run("/image", "catalog", "show", "glance")
	c.run("probe", "service", "create", "--name", "probe", "--description", "d", "probing")
	c.run("probe", "service", "list", "--long")
	c.run("", "service", "set", "--description", "asks", "--disable", "probe")
	c.run("asks", "service", "show", "probe")
	c.run("north", "region", "create", "--description", "d", "north")
	c.run("north", "region", "create", "--parent-region", "north", "north-east")
	c.run("north-east", "region", "list", "--parent-region", "north")
	c.run("", "region", "set", "--description", "cold", "north")
	c.run("cold", "region", "show", "north")
	endpoint := c.id("endpoint", "create", "--region", "north", "probing", "public", "http://192.0.2.1:1/")
	c.run(endpoint, "endpoint", "list", "--service", "probe", "--interface", "public")
	c.run("", "endpoint", "set", "--url", "http://192.0.2.2:1/%(project_id)s", endpoint)
	c.run("192.0.2.2", "endpoint", "show", endpoint)
	c.run("", "endpoint", "add", "project", endpoint, "admin")
	c.run(endpoint, "endpoint", "list", "--project", "admin")
	c.run("admin", "endpoint", "list", "--endpoint", endpoint)
	c.run("", "endpoint", "remove", "project", endpoint, "admin")
	c.run("", "endpoint", "delete", endpoint)
	c.gone(t, "endpoint", "show", endpoint)
	c.run("", "region", "delete", "north-east", "north")
	c.run("", "service", "delete", "probe")
	policy := c.id("policy", "create", "--type", "application/json", "policy")
	c.run(policy, "policy", "list", "--long")
	c.run("", "policy", "set", "--rules", "policy2", policy)
	c.run("role:reader", "policy", "show", policy)
	c.run("", "policy", "delete", policy)
}

func endpointGroupVerbs(_ *testing.T, c client) {
	c.run("publics", "endpoint", "group", "create", "--description", "d", "publics", "filters")
	c.run("publics", "endpoint", "group", "list")
	c.run("", "endpoint", "group", "set", "--filters", "filters2", "--description", "inner", "publics")
	c.run("internal", "endpoint", "group", "show", "publics")
	c.run("", "endpoint", "group", "add", "project", "publics", "admin")
	c.run("publics", "endpoint", "group", "list", "--project", "admin")
	c.run("admin", "endpoint", "group", "list", "--endpointgroup", "publics")
	c.run("", "endpoint", "group", "remove", "project", "publics", "admin")
	c.run("", "endpoint", "group", "delete", "publics")
}

func limitVerbs(_ *testing.T, c client) {
	registered := c.id("registered", "limit", "create", "--service", "glance", "--region", "regionOne", "--default-limit", "10", "images")
	c.run("images", "registered", "limit", "list", "--resource-name", "images")
	c.run("20", "registered", "limit", "set", "--default-limit", "20", registered)
	c.run("20", "registered", "limit", "show", registered)
	limit := c.id("limit", "create", "--project", "admin", "--service", "glance", "--region", "regionOne", "--resource-limit", "5", "images")
	c.run(limit, "limit", "list", "--project", "admin")
	c.run("7", "limit", "set", "--resource-limit", "7", limit)
	c.run("7", "limit", "show", limit)
	c.run("", "limit", "delete", limit)
	c.run("", "registered", "limit", "delete", registered)
}

func credentialVerbs(t *testing.T, c client) {
	credential := c.id("credential", "create", "--type", "cert", "admin", "data")
	c.run(credential, "credential", "list", "--type", "cert")
	c.run("", "credential", "set", "--user", "admin", "--type", "cert", "--data", "other", credential)
	c.run("other", "credential", "show", credential)
	c.run("", "credential", "delete", credential)
	access := c.value("access", "ec2", "credentials", "create")
	c.run(access, "ec2", "credentials", "list")
	c.run(access, "ec2", "credentials", "show", access)
	c.run("", "ec2", "credentials", "delete", access)
	c.gone(t, "ec2", "credentials", "show", access)
	c.run("app", "application", "credential", "create", "--role", "member", "--expiration", "2100-01-01T00:00:00", "--access-rules", "rules", "app")
	c.run("app", "application", "credential", "list")
	c.run("app", "application", "credential", "show", "app")
	rule := c.value("ID", "access", "rule", "list")
	c.run("/v2/images", "access", "rule", "show", rule)
	c.gone(t, "access", "rule", "delete", rule) // in use
	c.run("", "application", "credential", "delete", "app")
	c.run("", "access", "rule", "delete", rule)
	c.run("friend", "user", "create", "--password", "pw", "friend")
	trust := c.id("trust", "create", "--project", "admin", "--role", "member", "--impersonate", "admin", "friend")
	c.run(trust, "trust", "list")
	c.run("True", "trust", "show", trust)
	c.run("", "trust", "delete", trust)
	c.gone(t, "trust", "show", trust)
	c.run("", "user", "delete", "friend")
}

func federationVerbs(t *testing.T, c client) {
	c.run("idp", "identity", "provider", "create", "--remote-id", "https://idp.example.org/", "--description", "d", "idp")
	c.run("idp", "identity", "provider", "list")
	c.run("", "identity", "provider", "set", "--remote-id-file", "remoteids", "--disable", "idp")
	c.run("idp.example.org/b", "identity", "provider", "show", "idp")
	c.run("people", "mapping", "create", "--rules", "mapping", "people")
	c.run("people", "mapping", "list")
	c.run("", "mapping", "set", "--rules", "mapping2", "people")
	c.run("OIDC-sub", "mapping", "show", "people")
	of := []string{"--identity-provider", "idp"}
	protocol := func(verb string, more ...string) []string {
		return append(append([]string{"federation", "protocol", verb}, of...), more...)
	}
	c.run("people", protocol("create", "--mapping", "people", "openid")...)
	c.run("openid", protocol("list")...)
	c.run("others", "mapping", "create", "--rules", "mapping", "others")
	c.sh.Try("openstack", protocol("set", "--mapping", "others", "openid")...) // its exit code says nothing, see notHere
	c.run("others", protocol("show", "openid")...)
	c.run("", protocol("delete", "openid")...)
	c.run("", "mapping", "delete", "people", "others")
	c.run("", "identity", "provider", "delete", "idp")
	c.run("", "role", "add", "--user", "admin", "--domain", "Default", "admin")
	c.run("Default", "federation", "domain", "list")
	c.run("", "role", "remove", "--user", "admin", "--domain", "Default", "admin")
	c.run("admin", "federation", "project", "list")
	c.run("sp", "service", "provider", "create", "--auth-url", "https://sp.example.org/auth", "--service-provider-url", "https://sp.example.org/sp", "sp")
	c.run("sp", "service", "provider", "list")
	c.run("", "service", "provider", "set", "--description", "there", "--disable", "sp")
	c.run("there", "service", "provider", "show", "sp")
	c.run("", "service", "provider", "delete", "sp")
	consumer := c.id("consumer", "create", "--description", "d")
	c.run(consumer, "consumer", "list")
	c.run("", "consumer", "set", "--description", "eats", consumer)
	c.run("eats", "consumer", "show", consumer)
	c.run("", "consumer", "delete", consumer)
	oauthVerbs(t, c)
}

// oauthVerbs delegate by OAuth 1.0a.
func oauthVerbs(t *testing.T, c client) {
	show := func(args ...string) map[string]string {
		t.Helper()
		out := map[string]string{}
		if err := json.Unmarshal([]byte(c.sh.Run("", "openstack", append(args, "-f", "json")...)), &out); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		return out
	}
	k := show("consumer", "create")
	by := []string{"--consumer-key", k["id"], "--consumer-secret", k["secret"]}
	c.gone(t, append([]string{"request", "token", "create", "--project", "admin"}, by[0], by[1], by[2], "wrong")...)
	q := show(append([]string{"request", "token", "create", "--project", "admin"}, by...)...)
	c.gone(t, append([]string{"access", "token", "create", "--request-key", q["id"], "--request-secret", q["secret"], "--verifier", "guess"}, by...)...)
	v := show("request", "token", "authorize", "--request-key", q["id"], "--role", "reader")
	a := show(append([]string{"access", "token", "create", "--request-key", q["id"], "--request-secret", q["secret"], "--verifier", v["oauth_verifier"]}, by...)...)
	if a["id"] == "" || a["secret"] == "" {
		t.Errorf("access token %v", a)
	}
	c.gone(t, append([]string{"access", "token", "create", "--request-key", q["id"], "--request-secret", q["secret"], "--verifier", v["oauth_verifier"]}, by...)...)
}

// tokenVerbs come last: they revoke a token and change the password.
func tokenVerbs(t *testing.T, c client) {
	token := c.id("token", "issue")
	c.run("", "token", "revoke", token)
	c.gone(t, "token", "revoke", token)
	c.run("", "user", "password", "set", "--original-password", identitytest.AdminPassword, "--password", "another-secret")
	c.gone(t, "token", "issue")
}
