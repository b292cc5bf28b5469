package hooks

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

func TestScript(t *testing.T) {
	in := func(name, raw string) Input { return Input{Name: name, Value: json.RawMessage(raw)} }
	for _, tt := range []struct {
		reason string
		d      Deployment
		want   Result
	}{
		{"the exit code and both streams are kept", Deployment{Config: json.RawMessage(`"#!/bin/sh\necho out; echo why >&2; exit 3"`)},
			Result{Code: 3, Stdout: "out\n", Stderr: "why\n", Outputs: map[string]any{}}},
		{"inputs are environment: maps as JSON, booleans as Python writes them", Deployment{Config: json.RawMessage(`"printf '%s|' \"$text\" \"$map\" \"$flag\" \"$number\" \"$none\""`),
			Inputs: []Input{in("text", `"a b"`), in("map", `{"k": [1]}`), in("flag", `true`), in("number", `1.50`), in("none", `null`), in("bad=name", `"x"`)}},
			Result{Stdout: `a b|{"k": [1]}|True|1.50||`, Outputs: map[string]any{}}},
		{"outputs are files; one that is not written is left out", Deployment{Config: json.RawMessage(`"printf 1 >$heat_outputs_path.a"`), Outputs: []Output{{Name: "a"}, {Name: "b"}}},
			Result{Outputs: map[string]any{"a": "1"}}},
		{"an output's name cannot leave the folder", Deployment{Config: json.RawMessage(`"true"`), Outputs: []Output{{Name: "../../../../etc/passwd"}}},
			Result{Outputs: map[string]any{}}},
		{"a timeout", Deployment{Config: json.RawMessage(`"echo before; exec sleep 60"`), Options: map[string]any{"timeout": "0.2"}},
			Result{Code: 124, Stdout: "before\n", Stderr: "the script was ended: option timeout is over\n"}},
		{"no script", Deployment{Config: json.RawMessage(`""`)}, Result{Code: 1, Stderr: "the script is empty\n"}},
		{"a killed script", Deployment{Config: json.RawMessage(`"kill -9 $$"`)}, Result{Code: 137, Outputs: map[string]any{}}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			tt.d.ID = "id"
			got, err := Script{Host: host.NewReal(t.TempDir())}.Run(t.Context(), tt.d, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestJSONFile(t *testing.T) {
	h := host.NewReal(t.TempDir())
	d := Deployment{Group: "json-file", Config: json.RawMessage(`{"/etc/a.json": {"k": 1.0, "u": "<&>"}}`)}
	for _, want := range []string{"/etc/a.json changed=true\n", "/etc/a.json changed=false\n"} {
		got, err := JSONFile{Host: h}.Run(t.Context(), d, io.Discard)
		if err != nil || got.Code != 0 || got.Stdout != want {
			t.Errorf("%+v %v, want %q", got, err, want)
		}
	}
	data, _ := h.ReadFile("/etc/a.json")
	if string(data) != "{\n  \"k\": 1.0,\n  \"u\": \"<&>\"\n}\n" {
		t.Errorf("content %s", data)
	}
	if info, err := os.Stat(h.Path("/etc/a.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	d = Deployment{Config: json.RawMessage(`{"x": 1}`), Inputs: []Input{{Name: "path", Value: json.RawMessage(`"/b.json"`)}}}
	if got, _ := (JSONFile{Host: h}).Run(t.Context(), d, io.Discard); got.Code != 0 || !h.Exists("/b.json") {
		t.Errorf("with input path: %+v", got)
	}
	d.Inputs = nil
	if got, _ := (JSONFile{Host: h}).Run(t.Context(), d, io.Discard); got.Code != 1 || !strings.Contains(got.Stderr, `"x" is no absolute path`) {
		t.Errorf("a relative key: %+v", got)
	}
}

func TestSafeName(t *testing.T) {
	for in, want := range map[string]string{"a/b": "a_b", "../x": "_x", "": "unnamed", "ok-1_2.3": "ok-1_2.3", "ü": "_"} {
		if got := SafeName(in); got != want {
			t.Errorf("SafeName(%q) = %q, want %q", in, got, want)
		}
	}
}
