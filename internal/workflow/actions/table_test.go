package actions

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path"
	"slices"
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
		args, own := map[string]any{}, map[string]any{}
		for k, v := range want.Args {
			if r.Caller[k] != "" {
				own[k] = v
			} else {
				args[k] = v
			}
		}
		in, err := a.Check(args)
		if err != nil {
			t.Errorf("%s: %v", want.Name, err)
			continue
		}
		maps.Copy(in, own)
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

// TestRowsDoWhatTheyAreNamedFor: a recording holds the first request of a method,
// which of some methods is only a search; a name that changes something is no GET.
func TestRowsDoWhatTheyAreNamedFor(t *testing.T) {
	verbs := strings.Fields(`abandon accept add associate attach axfr cancel change create deassociate delete detach disable disassociate enable
		grant import migrate pause post put reboot remove reset restore resume set start stop unset update upload`)
	reads := map[string]string{ // names with such a word that only read
		"designate.zone_imports_get_import_record": "the record of an import", "designate.zone_transfers_get_accept": "an acceptance",
		"glance.images_get_import_info": "what imports are offered", "zun.containers_attach": "where to attach: a console's address",
		"cinder.qos_specs_associate": "the API's own GET", "cinder.qos_specs_disassociate": "the API's own GET", "cinder.qos_specs_disassociate_all": "the API's own GET",
	}
	for _, r := range allRows(t) {
		_, method, _ := strings.Cut(r.Name, ".")
		changes := slices.ContainsFunc(strings.Split(method, "_"), func(word string) bool { return slices.Contains(verbs, word) }) || strings.HasSuffix(method, "_snapshot")
		if (r.Method == http.MethodGet || r.Method == http.MethodHead) && changes && reads[r.Name] == "" {
			t.Errorf("%s is a %s of %s", r.Name, r.Method, r.Path)
		}
		if strings.Contains(r.Path, "/None") {
			t.Errorf("%s asks for %s", r.Name, r.Path)
		}
		if slices.Contains([]string{"links", "self", "id", "checksum"}, r.Key) {
			t.Errorf("the result of %s is the %s of the answer", r.Name, r.Key)
		}
		if by := r.Query["name"]; by != "" && strings.HasSuffix(method, "_get") {
			t.Errorf("%s searches for %s", r.Name, by)
		}
	}
}

// TestOverlay: the rows written by hand are in the tables, and what is said to be
// no action of the table is not; tables.py - DIR brings it about.
func TestOverlay(t *testing.T) {
	data, err := os.ReadFile("testdata/overlay.json")
	if err != nil {
		t.Fatal(err)
	}
	var over struct {
		Drop map[string]string
		Rows []row
	}
	if err := json.Unmarshal(data, &over); err != nil {
		t.Fatal(err)
	}
	rows := map[string]row{}
	for _, r := range allRows(t) {
		rows[r.Name] = r
		for pattern, why := range over.Drop {
			if match, err := path.Match(pattern, r.Name); err != nil || match || why == "" {
				t.Errorf("%s is in the table, %s: %s (%v)", r.Name, pattern, why, err)
			}
		}
	}
	for _, want := range over.Rows {
		if diff := cmp.Diff(want, rows[want.Name]); diff != "" {
			t.Errorf("%s is another in the table: %s", want.Name, diff)
		}
	}
	if len(over.Rows) < 30 || len(over.Drop) == 0 {
		t.Errorf("%d rows, %d dropped", len(over.Rows), len(over.Drop))
	}
}

// TestNamesAreMistrals: every action of Mistral's own list is there, or overlay.json
// says why not; what it says so of is not there.
func TestNamesAreMistrals(t *testing.T) {
	reg, err := NewRegistry(OpenStack())
	if err != nil {
		t.Fatal(err)
	}
	absent, used, n := absentNames(t), map[string]bool{}, 0
	data, err := os.ReadFile("testdata/mistral-names.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		prefix := words[0] + "." + words[1] + "_"
		if words[1] == "-" {
			prefix = words[0] + "."
		}
		for _, verb := range words[2:] {
			name, why := prefix+verb, ""
			for pattern, reason := range absent {
				if match, err := path.Match(pattern, name); err != nil {
					t.Fatal(err)
				} else if match {
					why = reason
					used[pattern] = true
				}
			}
			if n++; (reg.Get(name) == nil) != (why != "") {
				t.Errorf("%s: offered %v, left out because %q", name, reg.Get(name) != nil, why)
			}
		}
	}
	if n != 1280 {
		t.Errorf("%d names are recorded", n)
	}
	for pattern := range absent {
		if !used[pattern] {
			t.Errorf("%s names nothing of Mistral's", pattern)
		}
	}
}

// absentNames are the patterns of Mistral's names that are no actions, with the
// reasons.
func absentNames(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("testdata/overlay.json")
	if err != nil {
		t.Fatal(err)
	}
	var over struct{ Absent map[string]string }
	if err := json.Unmarshal(data, &over); err != nil {
		t.Fatal(err)
	}
	return over.Absent
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
		"cinder.volumes_manage": {"host": "h", "ref": map[string]any{}, "cluster": "c"}, // not silently dropped
		"ironic.driver_update":  {"driver_name": "d", "patch": []any{}, "http_method": "PUT"},
		"designate.zones_get":   {"zone": "a.org."}, // found nowhere
		"nova.servers_delete":   {"server": ".."},
	} {
		if _, err := run(t, c, name, in); err == nil {
			t.Errorf("%s %v is taken", name, in)
		}
	}
}

// TestShapesAreTheClients: what the clients were recorded to send for the
// parameters that the table cannot place.
func TestShapesAreTheClients(t *testing.T) {
	type in = map[string]any
	server := func(more string) string {
		return `POST /servers {"server":{"flavorRef":"f","imageRef":"i",` + more + `"name":"n"}}`
	}
	counted := `"max_count":1,"min_count":1,`
	boot := func(more in) in {
		more["name"], more["image"], more["flavor"] = "n", "i", "f"
		return more
	}
	rows := map[string]row{}
	for _, r := range allRows(t) {
		rows[r.Name] = r
	}
	for _, tt := range []struct {
		action string
		in     in
		want   string // method, path, body, headers; or what the error says
	}{
		{"nova.servers_create", boot(in{}), server(counted)},
		{"nova.servers_create", boot(in{"min_count": int64(2)}), server(`"max_count":2,"min_count":2,`)},
		{"nova.servers_create", boot(in{"max_count": int64(3)}), server(`"max_count":3,"min_count":1,`)},
		{"nova.servers_create", boot(in{"min_count": int64(2), "max_count": int64(5)}), server(`"max_count":5,"min_count":2,`)},
		{"nova.servers_create", boot(in{"security_groups": []any{"a", "b"}}), `POST /servers {"server":{"flavorRef":"f","imageRef":"i",` + counted + `"name":"n","security_groups":[{"name":"a"},{"name":"b"}]}}`},
		{"nova.servers_create", boot(in{"userdata": "text"}), `POST /servers {"server":{"flavorRef":"f","imageRef":"i",` + counted + `"name":"n","user_data":"dGV4dA=="}}`},
		{"nova.servers_create", boot(in{"files": in{"/a": "x"}}), `POST /servers {"server":{"flavorRef":"f","imageRef":"i",` + counted + `"name":"n","personality":[{"contents":"eA==","path":"/a"}]}}`},
		{"nova.servers_create", boot(in{"block_device_mapping": in{"vda": "v1"}}), `POST /servers {"server":{"block_device_mapping":[{"device_name":"vda","volume_id":"v1"}],"flavorRef":"f","imageRef":"i",` + counted + `"name":"n"}}`},
		{"nova.servers_create", boot(in{"block_device_mapping": in{"vda": "v1:snap:10:1"}}), `POST /servers {"server":{"block_device_mapping":[{"delete_on_termination":"1","device_name":"vda","snapshot_id":"v1","volume_size":"10"}],"flavorRef":"f","imageRef":"i",` + counted + `"name":"n"}}`},
		{"nova.servers_create", boot(in{"block_device_mapping_v2": []any{in{"uuid": "u"}}}), `POST /servers {"server":{"block_device_mapping_v2":[{"boot_index":0,"delete_on_termination":true,"destination_type":"local","source_type":"image","uuid":"i"},{"uuid":"u"}],"flavorRef":"f","imageRef":"i",` + counted + `"name":"n"}}`},
		{"nova.servers_create", boot(in{"nics": []any{in{"net-id": "n1", "v4-fixed-ip": "1.2.3.4"}, in{"port-id": "p"}}}), `POST /servers {"server":{"flavorRef":"f","imageRef":"i",` + counted + `"name":"n","networks":[{"fixed_ip":"1.2.3.4","uuid":"n1"},{"port":"p"}]}}`},
		{"nova.servers_create", boot(in{"nics": []any{}}), server(counted)},
		{"nova.servers_create", boot(in{"nics": "auto"}), "expected a list"},
		{"nova.servers_create", boot(in{"nics": []any{in{"net-id": "n", "tag": "t"}}}), "nics[0] has the key tag"},
		{"nova.servers_create", boot(in{"scheduler_hints": in{"a": "b"}}), `POST /servers {"os:scheduler_hints":{"a":"b"},"server":{"flavorRef":"f","imageRef":"i",` + counted + `"name":"n"}}`},
		{"nova.servers_create", boot(in{"meta": in{"a": "b"}, "key_name": "k", "availability_zone": "z", "config_drive": true}),
			`POST /servers {"server":{"availability_zone":"z","config_drive":true,"flavorRef":"f","imageRef":"i","key_name":"k","max_count":1,"metadata":{"a":"b"},"min_count":1,"name":"n"}}`},
		{"nova.servers_create", boot(in{"host": "h"}), "parameter host is not supported"}, // since 2.74: the client of Mistral refuses it too
		{"nova.servers_rescue", in{"server": "s"}, `POST /servers/s/action {"rescue":null}`},
		{"nova.servers_rescue", in{"server": "s", "password": "p", "image": "i"}, `POST /servers/s/action {"rescue":{"adminPass":"p","rescue_image_ref":"i"}}`},
		{"nova.servers_rebuild", in{"server": "s", "image": "i", "preserve_ephemeral": true, "files": in{"/a": "x"}}, `POST /servers/s/action {"rebuild":{"imageRef":"i","personality":[{"contents":"eA==","path":"/a"}],"preserve_ephemeral":true}}`},
		{"cinder.backups_delete", in{"backup": "B"}, "DELETE /backups/B null"},
		{"cinder.backups_delete", in{"backup": "B", "force": true}, `POST /backups/B/action {"os-force_delete":null}`},
		{"cinder.volume_snapshots_delete", in{"snapshot": "B", "force": true}, `POST /snapshots/B/action {"os-force_delete":null}`},
		{"keystone.roles_list", in{}, "GET /roles null"},
		{"keystone.roles_list", in{"user": "u", "project": "p"}, "GET /projects/p/users/u/roles null"},
		{"keystone.roles_list", in{"group": "g", "domain": "d"}, "GET /domains/d/groups/g/roles null"},
		{"keystone.roles_list", in{"user": "u", "system": "all"}, "GET /system/users/u/roles null"},
		{"keystone.roles_list", in{"user": "u", "project": "p", "os_inherit_extension_inherited": true}, "GET /OS-INHERIT/projects/p/users/u/roles/inherited_to_projects null"},
		{"keystone.roles_list", in{"user": "u"}, "project, domain or system"},
		{"keystone.limits_create", in{"project": "p", "service": "s", "resource_name": "r", "resource_limit": int64(1), "description": "d", "region": "R"},
			`POST /limits {"limits":[{"description":"d","project_id":"p","region_id":"R","resource_limit":1,"resource_name":"r","service_id":"s"}]}`},
		{"keystone.trusts_create", in{"trustee_user": "a", "trustor_user": "b", "role_names": []any{"x"}, "role_ids": []any{"y"}},
			`POST /OS-TRUST/trusts {"trust":{"impersonation":false,"roles":[{"name":"x"},{"id":"y"}],"trustee_user_id":"a","trustor_user_id":"b"}}`},
		{"keystone.application_credentials_create", in{"name": "n", "user": "u", "roles": []any{"r1", in{"name": "r2"}}},
			`POST /users/u/application_credentials {"application_credential":{"name":"n","roles":[{"id":"r1"},{"name":"r2"}],"unrestricted":false}}`},
		{"keystone.users_create", in{"name": "n", "project": "p"}, `POST /users {"user":{"default_project_id":"p","enabled":true,"name":"n"}}`},
		{"glance.images_image_import", in{"image_id": "i", "method": "web-download", "uri": "http://x"}, `POST /v2/images/i/import {"method":{"name":"web-download","uri":"http://x"}}`},
		{"glance.images_image_import", in{"image_id": "i", "stores": []any{"a"}}, `POST /v2/images/i/import {"all_stores_must_succeed":false,"method":{"name":"glance-direct"},"stores":["a"]}`},
		{"glance.images_image_import", in{"image_id": "i", "all_stores": true, "allow_failure": false}, `POST /v2/images/i/import {"all_stores":true,"method":{"name":"glance-direct"}}`},
		{"glance.images_image_import", in{"image_id": "i", "backend": "b"}, `POST /v2/images/i/import {"method":{"name":"glance-direct"}} map[x-image-meta-store:b]`},
		{"glance.metadefs_tag_create_multiple", in{"namespace": "n", "tags": []any{"a", "b"}}, `POST /v2/metadefs/namespaces/n/tags {"tags":[{"name":"a"},{"name":"b"}]}`},
		{"glance.images_add_location", in{"image_id": "i", "url": "u", "metadata": in{}, "validation_data": in{"checksum": "c"}},
			`PATCH /v2/images/i [{"op":"add","path":"/locations/-","value":{"metadata":{},"url":"u","validation_data":{"checksum":"c"}}}] map[Content-Type:application/openstack-images-v2.1-json-patch]`},
		{"keystone.roles_grant", in{"role": "r", "group": "g", "domain": "d"}, "PUT /domains/d/groups/g/roles/r null"},
		{"keystone.roles_revoke", in{"role": "r", "user": "u", "project": "p", "os_inherit_extension_inherited": true}, "DELETE /OS-INHERIT/projects/p/users/u/roles/r/inherited_to_projects null"},
		{"keystone.roles_check", in{"role": "r", "user": "u", "system": "all"}, "HEAD /system/users/u/roles/r null"},
		{"keystone.roles_grant", in{"role": "r"}, "neither user nor group"},
		{"keystone.roles_grant", in{"role": "r", "user": "u"}, "project, domain or system"},
		{"nova.servers_trigger_crash_dump", in{"server": "s"}, `POST /servers/s/action {"trigger_crash_dump":null} map[OpenStack-API-Version:compute 2.17]`},
		{"cinder.attachments_complete", in{"attachment": "a"}, `POST /attachments/a/action {"os-complete":null} map[OpenStack-API-Version:volume 3.44]`},
		{"neutron.update_network", in{"network": "n", "body": in{"network": in{}}, "revision_number": int64(3)}, `PUT /v2.0/networks/n {"network":{}} map[If-Match:revision_number=3]`},
	} {
		r := rows[tt.action]
		input, extra := parseInput(r.Input)
		a := Action{Name: r.Name, Input: input, Extra: extra}
		checked, err := a.Check(tt.in)
		if err != nil {
			t.Errorf("%s %v: %v", tt.action, tt.in, err)
			continue
		}
		c, err := r.call(input, checked)
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s %v: got %v, want %s", tt.action, tt.in, err, tt.want)
			}
			continue
		}
		body, err := json.Marshal(c.body)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%s %s %s", c.method, c.path, body)
		if len(c.headers) > 0 {
			got += fmt.Sprint(" ", c.headers)
		}
		if got != tt.want {
			t.Errorf("%s %v:\ngot  %s\nwant %s", tt.action, tt.in, got, tt.want)
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
	b.WriteString("\n## Names of Mistral that are no actions here\n| name | why |\n| --- | --- |\n")
	absent := absentNames(t)
	for _, pattern := range slices.Sorted(maps.Keys(absent)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", pattern, absent[pattern])
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
All of Mistral's names are here, except those at the end of this page.

**Names and parameters** are those of Mistral: an action of an OpenStack project is the method of that name of the project's Python client, and sends
what the client sends. A parameter that cannot be sent is refused, not dropped (nova and cinder at the oldest version of their API that has the call, ironic at 1.81 or ` + "`os_ironic_api_version`" + `). ` + "`action_region`" + ` picks the region of the catalog. A project that is
not in the catalog gives *service ... is not in the catalog*.

**Results** of nova, cinder, keystone, manila and trove are the objects' attributes, and all of them again under ` + "`_info`" + `.

**After a crash** an action is run again, but not one that creates something (a POST) or reaches outside (` + "`std.http`, `std.email`, `std.ssh`, `std.mistral_http`" + `):
it ends in ERROR unless the task says ` + "`safe-rerun: true`" + `.

**Limits.** ` + "`std.http`, `std.email` and `std.ssh`" + ` reach no loopback, link-local, multicast or metadata address, checked at every connection after name
resolution, redirects included, unless ` + "`workflow.allow_local` or `workflow.allowed_targets`" + ` of the [configuration](configuration.md) allow it. Answers have at most 8 MiB, requests end after 60 s unless ` + "`timeout`" + ` says otherwise (at most an hour). An email has at
most 100 recipients and 8 MiB; ssh at most 100 hosts, 8 MiB of output each and an hour. A script of ` + "`std.js`" + ` runs for 10 s (` + "`workflow.js_time`" + `) and 256 MiB (` + "`workflow.js_memory`" + `) at most, without files, network and modules.

**ssh keys.** ` + "`private_key`" + ` is the key's text; ` + "`private_key_filename`" + ` names a file within the folder ` + "`workflow.ssh_keys`" + `, and is refused without one.
The password also opens a locked key. Without ` + "`workflow.ssh_known_hosts`" + ` any host key is taken, as by Mistral: the host is not verified. ` + "`proxy_command`" + ` is refused: it would run on the server.

| action | input |
| --- | --- |
`

// TestMediaTypes: what is no JSON is sent and asked for as what it is.
func TestMediaTypes(t *testing.T) {
	for action, tt := range map[string]struct {
		in           map[string]any
		header, want string
		result       any
	}{
		"designate.zone_imports_create":     {map[string]any{"zone_file_contents": "$ORIGIN a.org."}, "Content-Type", "text/dns", nil},
		"designate.zone_exports_get_export": {map[string]any{"zone_export_id": "e"}, "Accept", "text/dns", "$ORIGIN a.org."},
		"glance.images_upload":              {map[string]any{"image_id": "i", "image_data": "x"}, "Content-Type", "application/octet-stream", nil},
		"glance.images_stage":               {map[string]any{"image_id": "i", "image_data": "x"}, "Content-Type", "application/octet-stream", nil},
		"glance.images_add_location":        {map[string]any{"image_id": "i", "url": "u", "metadata": map[string]any{}}, "Content-Type", imagePatch, nil},
		"mistral.workflows_create":          {map[string]any{"definition": "version: '2.0'"}, "Content-Type", "text/plain", nil},
	} {
		got := ""
		c := session(t, func(w http.ResponseWriter, r *http.Request) {
			got = r.Header.Get(tt.header)
			_, _ = w.Write([]byte("$ORIGIN a.org."))
		})
		if result, err := run(t, c, action, tt.in); err != nil || got != tt.want || result != tt.result {
			t.Errorf("%s: %s is %s, want %s; result %v, %v", action, tt.header, got, tt.want, result, err)
		}
	}
}
