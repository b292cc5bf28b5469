package heatconfig

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestSignalBodyIsTrimmedFromTheFront(t *testing.T) {
	big := strings.Repeat("x", 600_000)
	for _, tt := range []struct {
		reason  string
		outputs map[string]any
		check   func(got map[string]any) bool
	}{
		{"small: as it is", map[string]any{"deploy_stdout": "a", "deploy_status_code": 0, "r": "v"},
			func(m map[string]any) bool { return m["deploy_stdout"] == "a" && m["r"] == "v" }},
		{"errors are at the end of a stream", map[string]any{"deploy_stdout": big + "END", "deploy_stderr": big + "CAUSE", "deploy_status_code": 3},
			func(m map[string]any) bool {
				return strings.HasSuffix(m["deploy_stdout"].(string), "END") && strings.HasSuffix(m["deploy_stderr"].(string), "CAUSE") && m["deploy_status_code"] == 3.0
			}},
		{"every byte is written as six", map[string]any{"deploy_stdout": strings.Repeat("\x01", 400_000), "deploy_stderr": "", "deploy_status_code": 0},
			func(m map[string]any) bool { return len(m["deploy_stdout"].(string)) > 100_000 }},
		{"a cut inside a character leaves text", map[string]any{"deploy_stdout": strings.Repeat("ü", 600_000), "deploy_stderr": "", "deploy_status_code": 0},
			func(m map[string]any) bool { return !strings.Contains(m["deploy_stdout"].(string), "\uFFFD") }},
		{"an output that is too long ends the deployment instead of hanging it", map[string]any{"deploy_stdout": "s", "deploy_stderr": "e", "deploy_status_code": 0, "r": big + big},
			func(m map[string]any) bool {
				return m["deploy_status_code"] == 1.0 && strings.Contains(m["deploy_stderr"].(string), "a signal may have 950000")
			}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			body, err := signalBody(tt.outputs)
			if err != nil {
				t.Fatal(err)
			}
			if len(body) > maxSignal {
				t.Errorf("%d bytes", len(body))
			}
			var got map[string]any
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatal(err)
			}
			if !tt.check(got) {
				t.Errorf("body of %d bytes is not as it should be", len(body))
			}
		})
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ reason, in, want string }{
		{"no id: nothing could say that it is done", `{"deployments": [{"name": "x"}]}`, "entry 0 (x): no id"},
		{"no list", `{"deployments": {"a": 1}}`, "metadata key deployments"},
		{"none", `{}`, ""},
		{"null", `{"deployments": null}`, ""},
	} {
		var m map[string]any
		if err := json.Unmarshal([]byte(tt.in), &m); err != nil {
			t.Fatal(err)
		}
		_, err := Parse(m)
		if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.reason, err, tt.want)
		}
	}
}
