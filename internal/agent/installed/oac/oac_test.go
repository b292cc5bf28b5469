package oac

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/installed/collect"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

const metadata = `{"a": "text <&> \"q\"", "n": 5, "f": 1.50, "yes": true, "no": false, "nothing": null, "empty": "", "zero": 0,
	"list": ["x", "y"], "none": [], "maps": [{"k": "1", "list": [1, 2]}, {"k": "2"}], "m": {"b": {"c": "deep", "u": "ü€😀\n"}}, "über": "ok"}`

// templates are rendered by Render and, where it is installed, by the real os-apply-config.
func templates() map[string]string {
	return map[string]string{
		"plain":      "no tags\n",
		"values":     "{{a}}|{{{a}}}|{{&a}}|{{n}}|{{f}}|{{yes}}|{{no}}|{{nothing}}|{{missing}}|{{ m.b.c }}|{{m.x.c}}|{{a.b}}|{{über}}|",
		"json":       "{{list}} {{maps}} {{m}}",
		"sections":   "{{#yes}}y{{/yes}}{{#no}}n{{/no}}{{^no}}!n{{/no}}{{#zero}}0{{/zero}}{{^zero}}!0{{/zero}}{{#a}}{{.}}{{/a}}{{^none}}empty{{/none}}{{#missing}}x{{/missing}}",
		"list":       "{{#list}}[{{.}}]{{/list}}\n{{#maps}}\n<{{k}} {{n}}{{#list}} {{.}}{{/list}}>\n{{/maps}}\nend",
		"scope":      "{{#m}}{{b.c}}{{#b}}{{c}}{{n}}{{/b}}{{/m}}",
		"standalone": "begin\n  {{#yes}}\n  in\n  {{/yes}}\n{{! a comment\n of two lines }}\nafter {{! inline }}x\n",
		"delimiters": "{{=<% %>=}}<% a %> {{a}}\n<%={{ }}=%>\n{{n}}",
		"partial":    "x{{>part}}y\n{{> part}}\nz",
		"crlf":       "a\r\n{{#yes}}\r\nb\r\n{{/yes}}\r\nc",
		"dir/nested": "[DEFAULT]\nkey = {{n}}\n",
	}
}

// tree writes the templates below dir.
func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
}

// content is every file below dir with its mode.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		info, err := e.Info()
		rel, _ := filepath.Rel(dir, p)
		out[rel] = fmt.Sprintf("%v %s", info.Mode().Perm(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAgainstOsApplyConfig renders the same templates with the real os-apply-config and compares every file.
func TestAgainstOsApplyConfig(t *testing.T) {
	if testing.Short() {
		t.Skip("runs os-apply-config")
	}
	if _, err := exec.LookPath("os-apply-config"); err != nil {
		t.Skip("SKIPPED, NOT TESTED WITH THE REAL PROGRAM: os-apply-config is not installed")
	}
	files := templates()
	files["program"] = "#!/bin/sh\ngrep -o deep\n"
	files["restricted"], files["restricted.oac"] = "{{n}}", "mode: 0600\nowner: root\ngroup: 0\n"
	files["gone"], files["gone.oac"] = "{{missing}}", "allow_empty: false\n"
	files["kept"], files["kept.oac"] = "{{missing}}", ""
	dir := t.TempDir()
	tree(t, filepath.Join(dir, "templates"), files)
	tree(t, dir, map[string]string{"meta.json": metadata})
	run := func(program func(out string) error) map[string]string {
		out := t.TempDir()
		tree(t, out, map[string]string{"gone": "old", "values": "old"})
		if err := os.Chmod(filepath.Join(out, "values"), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := program(out); err != nil {
			t.Fatal(err)
		}
		return content(t, out)
	}
	args := func(out string) []string {
		return []string{"--templates", filepath.Join(dir, "templates"), "--output", out, "--metadata", filepath.Join(dir, "meta.json")}
	}
	real := run(func(out string) error {
		text, err := exec.CommandContext(t.Context(), "os-apply-config", args(out)...).CombinedOutput()
		if err != nil {
			t.Logf("%s", text)
		}
		return err
	})
	ours := run(func(out string) error {
		cmd := Command(host.NewReal("/"))
		cmd.SetArgs(args(out))
		cmd.SetErr(new(bytes.Buffer))
		return cmd.ExecuteContext(t.Context())
	})
	// Python keeps the keys of a map in their order, ours are sorted: those of the test are in order.
	if diff := cmp.Diff(real, ours); diff != "" {
		t.Errorf("-os-apply-config +ours\n%s", diff)
	}
	for _, key := range [][]string{{"--key", "a", "--type", "raw"}, {"--key", "list.1"}, {"--key", "list.7"}, {"--key", "m", "--type", "raw"}, {"--key", "n", "--type", "int"},
		{"--key", "a", "--type", "int"}, {"--key", "yes"}, {"--key", "x.y", "--key-default", "d"}, {"--key", "nothing"}, {"--boolean-key", "yes"}, {"--boolean-key", "no"}, {"--boolean-key", "a"}} {
		argv := append(key, "--metadata", filepath.Join(dir, "meta.json"))
		want, err := exec.CommandContext(t.Context(), "os-apply-config", argv...).Output()
		wantCode := 0
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			wantCode = e.ExitCode()
		}
		var out bytes.Buffer
		cmd := Command(host.NewReal("/"))
		cmd.SetArgs(argv)
		cmd.SetOut(&out)
		code := 0
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			code = 1
			if c, ok := errors.AsType[ExitError](err); ok {
				code = int(c)
			}
		}
		if code != wantCode || out.String() != string(want) {
			t.Errorf("%v: %d %q, expected %d %q", key, code, out.String(), wantCode, want)
		}
	}
}

// TestRender has what the real program's run shows, for runs without it.
func TestRender(t *testing.T) {
	config, err := collect.ParseMap([]byte(metadata))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"values":     "text <&> \"q\"|text <&> \"q\"|text <&> \"q\"|5|1.5|true|false|||deep|||ok|",
		"sections":   "y!n!0text <&> \"q\"empty",
		"list":       "[x][y]\n<1 5 1 2>\n<2 5 x y>\nend",
		"standalone": "begin\n  in\nafter x\n",
		"delimiters": "text <&> \"q\" {{a}}\n5",
		"partial":    "xy\nz",
	} {
		if got, err := Render(templates()[name], config); err != nil || got != want {
			t.Errorf("%s: %q %v, expected %q", name, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"a\n{{#b}}": `line 2: section "b" does not end`, "{{#a}}{{/b}}": `section "b" ends where "a" is open`, "{{a": `a tag does not end with "}}"`,
		"{{/x}}": `section "x" ends where "" is open`, "{{=x=}}": "expected two delimiters",
		strings.Repeat("{{#a}}", 200): "more than 100 sections",
	} {
		if got, err := Render(text, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q %v, expected %q", text, got, err, want)
		}
	}
}

// TestApply: all or nothing, idempotent, and control files that are wrong are said.
func TestApply(t *testing.T) {
	root := t.TempDir()
	h := host.NewReal(root)
	tree(t, filepath.Join(root, TemplatesDir), map[string]string{"etc/a.conf": "{{n}}", "etc/b.conf": "b"})
	config, err := collect.ParseMap([]byte(metadata))
	if err != nil {
		t.Fatal(err)
	}
	a := Applier{Host: h}
	for _, want := range [][]string{{"/etc/a.conf written", "/etc/b.conf written"}, nil} {
		got, err := a.Apply(t.Context(), config, false)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v -want +got\n%s", err, diff)
		}
	}
	for control, want := range map[string]string{
		"mode: 01777": "0777", "mode: rw": "mode", "owner: nobody-there": "owner", "group: [1]": "group", "allow_empty: 3": "allow_empty", "color: red": `"color"`, "- 1": "expected a map", "{": "b.conf.oac",
	} {
		tree(t, filepath.Join(root, TemplatesDir), map[string]string{"etc/a.conf": "changed", "etc/b.conf.oac": control})
		tree(t, root, map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\n"})
		if _, err := a.Apply(t.Context(), config, false); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), TemplatesDir+"/etc/b.conf") {
			t.Errorf("%s: %v, expected %q", control, err, want)
		}
		if data, _ := h.ReadFile("/etc/a.conf"); string(data) != "5" {
			t.Errorf("%s: a file was written although another failed: %q", control, data)
		}
	}
}

func FuzzRender(f *testing.F) {
	for _, t := range templates() {
		f.Add(t)
	}
	config, err := collect.ParseMap([]byte(metadata))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			t.Skip()
		}
		_, _ = Render(text, config) // must return
	})
}
