package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/cli"
)

// TestStackLint runs the command over files: output with places, JSON, exit codes.
func TestStackLint(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"good.yaml":       "heat_template_version: wallaby\nparameters: {n: {type: number}}\nresources: {a: {type: sub/nested.yaml, properties: {p: {get_param: n}}}}\n",
		"warn.yaml":       "heat_template_version: wallaby\nparameters: {n: {type: number, default: 1}}\n",
		"env.yaml":        "parameters: {n: 5}\n",
		"wrong.yaml":      "parameters: {n: text}\n",
		"sub/nested.yaml": "heat_template_version: wallaby\nparameters: {p: {type: number, constraints: [{range: {max: 9}}]}}\noutputs: {o: {value: [{get_param: p}, {get_file: file.txt}]}}\n",
		"sub/file.txt":    "text",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := func(n string) string { return filepath.Join(dir, n) }
	for _, tc := range []struct {
		reason string
		args   []string
		code   int
		want   string // in stdout; "" nothing
	}{
		{"nothing to find", []string{at("good.yaml")}, 0, ""},
		{"nothing to find with an environment", []string{at("good.yaml"), "-e", at("env.yaml")}, 0, ""},
		{"a constraint of a nested template with a given value", []string{at("good.yaml"), "--parameter", "n=10"}, 1, at("good.yaml") + ":3:56: error: resources.a.properties.p: 10 is out of range"},
		{"a wrong environment", []string{at("good.yaml"), "-e", at("wrong.yaml")}, 1, at("good.yaml") + ":2:14: error: parameters.n"},
		{"a file that is not there", []string{at("nope.yaml")}, 1, at("nope.yaml") + ": error: "},
		{"a warning is no failure", []string{at("warn.yaml")}, 0, at("warn.yaml") + ":2:14: warning: parameters.n: "},
		{"but one with --strict", []string{at("warn.yaml"), "--strict"}, 1, "[unused-parameter]"},
		{"several files", []string{at("good.yaml"), at("warn.yaml")}, 0, at("warn.yaml")},
		{"an unknown format", []string{at("good.yaml"), "-f", "table"}, 1, ""},
	} {
		var stdout, stderr bytes.Buffer
		code := cli.Main(append([]string{"stack", "lint"}, tc.args...), &stdout, &stderr)
		if code != tc.code || !strings.Contains(stdout.String(), tc.want) || tc.want == "" && stdout.Len() > 0 {
			t.Errorf("%s: exit code %d, want %d with %q, got\n%s%s", tc.reason, code, tc.code, tc.want, stdout.String(), stderr.String())
		}
	}
	var stdout, stderr bytes.Buffer
	if code := cli.Main([]string{"stack", "lint", "-f", "json", at("warn.yaml"), at("good.yaml")}, &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	var found []map[string]any
	if err := json.Unmarshal(stdout.Bytes(), &found); err != nil || len(found) != 1 || found[0]["line"] != 2.0 || found[0]["rule"] != "unused-parameter" || found[0]["severity"] != "warning" {
		t.Errorf("%v %v", err, found)
	}
}
