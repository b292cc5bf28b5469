package actions

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/cloud"
)

var update = flag.Bool("update", false, "write docs/workflow-actions.md")

// recorded is what a Python client was seen to send (testdata/calls.jsonl).
type recorded struct {
	Name   string            `json:"name"`
	Args   map[string]any    `json:"args"`
	Method string            `json:"method"`
	Path   string            `json:"path"`
	Query  map[string]string `json:"query"`
	Body   any               `json:"body"`
}

// TestCallsAreTheClients compares each action of the table, called with marked
// arguments, with what the project's Python client sends for them.
func TestCallsAreTheClients(t *testing.T) {
	rows := map[string]row{}
	for _, p := range projects() {
		data, err := tables.ReadFile("table/" + p.name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var list []row
		if err := json.Unmarshal(data, &list); err != nil {
			t.Fatalf("table of %s: %v", p.name, err)
		}
		for _, r := range list {
			rows[r.Name] = r
		}
	}
	data, err := os.ReadFile("testdata/calls.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); n++ {
		var want recorded
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		r, ok := rows[want.Name]
		if !ok {
			t.Errorf("%s is not in the table", want.Name)
			continue
		}
		input, extra := parseInput(r.Input)
		a := Action{Name: r.Name, Input: input, Extra: extra}
		in, err := a.Check(want.Args)
		if err != nil {
			t.Errorf("%s: %v", want.Name, err)
			continue
		}
		got, err := r.call(input, in)
		if err != nil {
			t.Errorf("%s: %v", want.Name, err)
			continue
		}
		query := map[string]string{}
		for k := range got.query {
			query[k] = got.query.Get(k)
		}
		text, err := json.Marshal(unquoted(got.body))
		if err != nil {
			t.Fatal(err)
		}
		var body any
		if err := json.Unmarshal(text, &body); err != nil {
			t.Fatal(err)
		}
		if got.method != want.Method || got.path != want.Path || !cmp.Equal(query, want.Query, cmpEmpty()) || !cmp.Equal(body, unquoted(want.Body)) {
			t.Errorf("%s: got %s %s %v %s\nwant %s %s %v %s", want.Name, got.method, got.path, query, text, want.Method, want.Path, want.Query, cmp.Diff(unquoted(want.Body), body))
		}
	}
	if n < 1200 || n != len(rows) {
		t.Errorf("%d calls are recorded for %d rows", n, len(rows))
	}
}

// unquoted reads JSON text within a body: the client encodes a marked text once
// more, where a workflow gives a dict or ready JSON text.
func unquoted(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, item := range x {
			out[k] = unquoted(item)
		}
		return out
	case string:
		var inner string
		if json.Unmarshal([]byte(x), &inner) == nil {
			return inner
		}
	}
	return v
}

func cmpEmpty() cmp.Option {
	return cmp.FilterValues(func(a, b map[string]string) bool { return len(a) == 0 && len(b) == 0 }, cmp.Comparer(func(_, _ map[string]string) bool { return true }))
}

// TestInputsAreTheClients: each action of ours has the parameters that Mistral
// derives from the client's method of its name.
func TestInputsAreTheClients(t *testing.T) {
	more := map[string]string{ // parameters of ours that the client's method lacks
		"nova.servers_list": "**", "nova.flavors_list": "search_opts detailed", "nova.hypervisors_list": "search_opts marker limit", "nova.keypairs_list": "search_opts detailed",
	}
	ours := map[string]*Action{}
	list := OpenStack()
	for i := range list {
		ours[list[i].Name] = &list[i]
	}
	for _, r := range allRows(t) {
		a := ours[r.Name]
		if a == nil {
			t.Errorf("%s is not offered", r.Name)
			continue
		}
		want, _ := parseInput(r.Input)
		wanted := map[string]bool{"action_region": true}
		for _, p := range want {
			wanted[p.Name] = true
		}
		has := map[string]bool{}
		for _, p := range a.Input {
			has[p.Name] = true
			if !wanted[p.Name] && !strings.Contains(r.Input, "**") && !strings.Contains(more[r.Name], p.Name) {
				t.Errorf("%s has a parameter %s that the client lacks (%s)", r.Name, p.Name, r.Input)
			}
		}
		for _, p := range want {
			if !has[p.Name] {
				t.Errorf("%s lacks the parameter %s", r.Name, p.Name)
			}
		}
	}
}

func allRows(t *testing.T) []row {
	t.Helper()
	var out []row
	for _, p := range projects() {
		data, err := tables.ReadFile("table/" + p.name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var list []row
		if err := json.Unmarshal(data, &list); err != nil {
			t.Fatal(err)
		}
		out = append(out, list...)
	}
	return out
}

func TestServiceNotInCatalog(t *testing.T) {
	p := &gophercloud.ProviderClient{}
	p.EndpointLocator = func(gophercloud.EndpointOpts) (string, error) { return "", &gophercloud.ErrEndpointNotFound{} }
	_, err := run(t, &Context{Session: &cloud.Session{Provider: p}}, "cinder.volumes_list", nil)
	if err == nil || err.Error() != "service volumev3 is not in the catalog: cinder actions need it" {
		t.Errorf("got %v", err)
	}
	_, err = run(t, &Context{Session: &cloud.Session{Provider: p}}, "cinder.volumes_list", map[string]any{"action_region": "two"})
	if err == nil || !strings.Contains(err.Error(), "of region two") {
		t.Errorf("got %v", err)
	}
}

func TestTableRequests(t *testing.T) {
	for _, tt := range []struct {
		reason, action string
		in             map[string]any
		want           string // method, path, body
	}{
		{"a parameter that changes the path", "keystone.projects_list", map[string]any{"user": "u"}, "GET /identity/v3/users/u/projects "},
		{"further parameters go into the query", "neutron.list_networks", map[string]any{"name": "n"}, "GET /network/v2.0/networks?name=n "},
		{"further parameters go into the body", "keystone.users_create", map[string]any{"name": "u", "nick": "x", "enabled": false}, `POST /identity/v3/users {"user":{"enabled":false,"name":"u","nick":"x"}}`},
		{"defaults stand", "keystone.users_create", map[string]any{"name": "u"}, `POST /identity/v3/users {"user":{"enabled":true,"name":"u"}}`},
		{"an object stands for its id", "nova.servers_delete", map[string]any{"server": map[string]any{"id": "7"}}, "DELETE /compute/v2.1/servers/7 "},
		{"a path is no way out", "nova.servers_delete", map[string]any{"server": "../x"}, "DELETE /compute/v2.1/servers/..%2Fx "},
		{"the whole body is a parameter", "neutron.create_network", map[string]any{"body": map[string]any{"network": map[string]any{}}}, `POST /network/v2.0/networks {"network":{}}`},
		{"a definition is sent as text", "mistral.workflows_create", map[string]any{"definition": "version: '2.0'"}, "POST /workflow/v2/workflows?namespace=&scope=private version: '2.0'"},
	} {
		got := ""
		c := session(t, func(w http.ResponseWriter, r *http.Request) {
			var b bytes.Buffer
			_, _ = b.ReadFrom(r.Body)
			got = fmt.Sprintf("%s %s %s", r.Method, strings.Replace(r.URL.RequestURI(), "workflowv2", "workflow", 1), b.String())
			_, _ = w.Write([]byte(`{}`))
		})
		if _, err := run(t, c, tt.action, tt.in); err != nil || got != tt.want {
			t.Errorf("%s: got %s, %v; want %s", tt.reason, got, err, tt.want)
		}
	}
	c := session(t, func(http.ResponseWriter, *http.Request) {})
	for name, in := range map[string]map[string]any{
		"cinder.backups_delete": {"backup": "b", "force": true}, // not silently dropped
		"nova.servers_delete":   {"server": ".."},
	} {
		if _, err := run(t, c, name, in); err == nil {
			t.Errorf("%s %v is taken", name, in)
		}
	}
}

// TestDoc keeps docs/workflow-actions.md equal to the code (-update writes it).
func TestDoc(t *testing.T) {
	var b strings.Builder
	b.WriteString(docHead)
	for _, a := range append(Std(StdOptions{}), OpenStack()...) {
		sig := a.Signature()
		fmt.Fprintf(&b, "| `%s` | %s |\n", a.Name, strings.ReplaceAll(codeOr(sig), "|", `\|`))
	}
	const path = "../../../docs/workflow-actions.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil { //nolint:gosec // documentation is for all
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != b.String() {
		t.Errorf("%s is not up to date: go test ./internal/workflow/actions -run TestDoc -update (%v)", path, err)
	}
}

func codeOr(s string) string {
	if s == "" {
		return "none"
	}
	return "`" + s + "`"
}

const docHead = `# Actions of the workflow service

Generated from the code; ` + "`openstack action definition list`" + ` shows the same, and besides them the ` + "`tripleo.*`" + ` actions and your own.

**Names and parameters** are those of Mistral: an action of an OpenStack project is the method of that name of the project's Python client, and sends
what the client sends. A parameter that cannot be sent is refused, not dropped. ` + "`action_region`" + ` picks the region of the catalog. A project that is
not in the catalog gives *service ... is not in the catalog*.

**Results** of nova, cinder, keystone, manila and trove are the objects' attributes, and all of them again under ` + "`_info`" + `.

**After a crash** an action is run again, but not one that creates something (a POST) or reaches outside (` + "`std.http`, `std.email`, `std.ssh`, `std.mistral_http`" + `):
it ends in ERROR unless the task says ` + "`safe-rerun: true`" + `.

**Limits.** ` + "`std.http`, `std.email` and `std.ssh`" + ` reach no loopback, link-local, multicast or metadata address, checked at every connection after name
resolution, redirects included. Answers have at most 8 MiB, requests end after 60 s unless ` + "`timeout`" + ` says otherwise (at most an hour). An email has at
most 100 recipients and 8 MiB; ssh at most 100 hosts, 8 MiB of output each and an hour. A script of ` + "`std.js`" + ` runs for 10 s and 256 MiB at most, without files, network and modules.

**ssh keys.** ` + "`private_key`" + ` is the key's text; ` + "`private_key_filename`" + ` names a file within the server's configured folder of keys, and is refused without one.
The password also opens a locked key. Without a configured file of known hosts any host key is taken. ` + "`proxy_command`" + ` is refused: it would run on the server.

| action | input |
| --- | --- |
`
