package objectstore_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// manyCommands runs commands of Debian's clients in one Python process: what
// each prints, and how it ends.
const manyCommands = `
import contextlib, io, json, sys
import openstackclient.shell, swiftclient.shell
results = []
for command in json.load(sys.stdin):
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    err = io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if command[0] == "swift":
                swiftclient.shell.main(command)
            else:
                code = openstackclient.shell.main(command[1:])
        except SystemExit as e:
            code = e.code
    results.append({"code": code or 0, "out": out.buffer.getvalue().decode("utf-8", "replace"), "err": err.getvalue()})
json.dump(results, sys.stdout)
`

// TestClients runs every verb of Debian's clients for objects, which nobody
// here wrote.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	python := "/usr/bin/python3"
	if err := exec.CommandContext(t.Context(), python, "-c", "import openstackclient, swiftclient").Run(); err != nil { //nolint:gosec // a constant
		t.Skip("CLIENT MISSING: apt-get install python3-openstackclient python3-swiftclient")
	}
	e := start(t)
	e.Mount("/info", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/info"
		e.service.Handler().ServeHTTP(w, r)
	}))
	t.Chdir(t.TempDir())
	big := strings.Repeat("0123456789", 30_000)
	for name, content := range map[string]string{"tree/a.yaml": "a: 1\n", "tree/sub/b.yaml": "b: 2\n", "big": big} {
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.FromSlash(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	commands := []struct{ command, want string }{
		{"openstack container create plan", "plan"},
		{"openstack container create --public open", "open"},
		{"openstack object create plan big", "big"},
		{"openstack object create plan tree/a.yaml --name renamed", "renamed"},
		{"openstack object list plan", "big"},
		{"openstack object list plan --long --prefix b", "300000"},
		{"openstack object list plan --all -f value", "renamed"},
		{"openstack object show plan big", "300000"},
		{"openstack object set --property Color=red plan big", ""},
		{"openstack object show plan big -f json", "red"},
		{"openstack object unset --property Color plan big", ""},
		{"openstack object save --file back plan big", ""},
		{"openstack container set --property Usage-Tripleo=plan plan", ""},
		{"openstack container show plan", "Usage-Tripleo"},
		{"openstack container unset --property Usage-Tripleo plan", ""},
		{"openstack container list --long", "plan"},
		{"openstack container list --all --prefix pl -f value", "plan"},
		{"openstack container save open", ""},
		{"openstack object store account set --property Temp-URL-Key=k", ""},
		{"openstack object store account show", "Containers"},
		{"openstack object store account unset --property Nothing", ""},
		{"openstack object delete plan big renamed", ""},
		{"openstack container delete --recursive open", ""},

		{"swift auth", "OS_AUTH_TOKEN"},
		{"swift capabilities", "symlink"},
		{"swift info", "slo"},
		{"swift upload plan tree", "tree/sub/b.yaml"},
		{"swift upload --changed plan tree", ""},
		{"swift upload --skip-identical plan tree", ""},
		{"swift upload --use-slo --segment-size 100000 --object-name segmented plan big", "segmented"},
		{"swift upload --segment-size 100000 --object-name dynamic -H X-Object-Meta-A:b plan big", "dynamic"},
		{"swift upload -c --use-slo --segment-size 100000 --object-name segmented plan big", ""},
		{"swift list", "plan_segments"},
		{"swift list --lh", "plan"},
		{"swift list plan -p tree/ -d /", "tree/sub/"},
		{"swift list plan --long", "application/x-yaml"},
		{"swift list plan --json", "\"name\""},
		{"swift stat", "Containers: 2"},
		{"swift stat plan", "Objects: 4"},
		{"swift stat plan segmented", "Content Length: 300000"},
		{"swift post plan -r .r:* -w *:* -m Color:red", ""},
		{"swift stat plan -v", "Read ACL: .r:*"},
		{"swift post plan tree/a.yaml -m Kind:template -H X-Delete-After:10000", ""},
		{"swift stat plan tree/a.yaml", "Meta Kind: template"},
		{"swift post -m Quantity:many", ""},
		{"swift post made", ""},
		{"swift copy -d /made/copy -m New:1 plan segmented", ""},
		{"swift copy --fresh-metadata -d /made plan tree/a.yaml", ""},
		{"swift download plan segmented -o segback", "segmented"},
		{"swift download plan dynamic -o dynback", "dynamic"},
		{"swift download plan -D down -p tree/", "tree/sub/b.yaml"},
		{"swift download made --no-download", "copy"},
		{"swift tempurl GET 60 " + e.account + "/plan/tree/a.yaml k", "temp_url_sig"},
		{"swift tempurl --prefix-based GET 60 " + e.account + "/plan/tree/ k", "temp_url_prefix=tree/"},
		{"swift tempurl --ip-range 127.0.0.0/8 GET 60 " + e.account + "/plan/tree/a.yaml k", "temp_url_ip_range"},
		{"swift tempurl --absolute --iso8601 GET 2100-01-01 " + e.account + "/plan/tree/a.yaml k", "temp_url_expires="},
		{"swift delete made copy", "copy"},
		{"swift delete plan -p tree/", "tree/a.yaml"},
		{"swift delete --versions plan segmented", ""},
		{"swift delete plan", ""},
		{"swift delete --all", ""},
		{"openstack container list -f value", ""},
	}
	var argv [][]string
	for _, c := range commands {
		argv = append(argv, strings.Fields(c.command))
	}
	input, err := json.Marshal(argv)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-W", "ignore", "-c", manyCommands) //nolint:gosec // a constant
	cmd.Env = append(append(os.Environ(), e.ClientEnv()...), "http_proxy=", "https_proxy=", "no_proxy=*")
	cmd.Stdin = bytes.NewReader(input)
	var failed strings.Builder
	cmd.Stderr = &failed
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, failed.String())
	}
	var results []struct {
		Code     any
		Out, Err string
	}
	if err := json.Unmarshal(output, &results); err != nil {
		t.Fatal(err)
	}
	e.want(201, e.do(e.admin, "PUT", e.account+"/plan", ""))
	e.want(201, e.do(e.admin, "PUT", e.account+"/plan/tree/a.yaml", "signed"))
	e.want(204, e.do(e.admin, "POST", e.account, "", "X-Account-Meta-Temp-URL-Key: k"))
	for i, c := range commands {
		r := results[i]
		if r.Code != 0.0 && c.command != "swift delete --versions plan segmented" || !strings.Contains(r.Out, c.want) || strings.HasPrefix(r.Out, "usage:") {
			t.Errorf("%s: ended with %v, printed %.600q and %.600q; expected it to hold %q", c.command, r.Code, r.Out, r.Err, c.want)
		}
		if strings.HasPrefix(c.command, "swift tempurl") {
			e.checkClientURL(c.command, strings.TrimSpace(r.Out))
		}
	}
	for _, name := range []string{"back", "segback", "dynback"} {
		if got, err := os.ReadFile(filepath.Join(".", name)); err != nil || string(got) != big {
			t.Errorf("%s holds %d bytes (%v), expected %d", name, len(got), err, len(big))
		}
	}
	if got, err := os.ReadFile("down/tree/sub/b.yaml"); err != nil || string(got) != "b: 2\n" {
		t.Errorf("download of a prefix gave %q (%v)", got, err)
	}
}

// checkClientURL uses a temporary URL that the client made.
func (e *env) checkClientURL(command, url string) {
	e.t.Helper()
	url = strings.Replace(url, "/plan/tree/?", "/plan/tree/a.yaml?", 1) // one for all that begins so
	for _, door := range []string{"/object-store", "/node"} {
		if got := e.doURL(nil, "GET", e.URL+door+url, ""); got.status != 200 || got.body != "signed" {
			e.t.Errorf("%s: its URL %q at %s is answered with %d %q", command, url, door, got.status, got.body)
		}
	}
}
