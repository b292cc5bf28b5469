package orchestration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/installed/collect"
)

// TestOsCollectConfig lets Debian's os-collect-config fetch a server's metadata by each transport, with the configuration that the
// server's attribute gives, and compares what it prints with what our agent collects.
func TestOsCollectConfig(t *testing.T) {
	program, err := exec.LookPath("os-collect-config")
	if err != nil || testing.Short() {
		t.Skip("SKIPPED, NOT TRIED WITH THE REAL PROGRAM: os-collect-config is not installed, or this is a short run")
	}
	u := newUndercloud(t)
	for i, tt := range [][2]string{{"POLL_SERVER_CFN", "cfn"}, {"POLL_SERVER_HEAT", "heat"}, {"POLL_TEMP_URL", "request"}, {"ZAQAR_MESSAGE", "zaqar"}} {
		t.Run(tt[0], func(t *testing.T) {
			u.T = t
			name := fmt.Sprintf("occ%d", i)
			u.createStack(name, map[string]any{"template": hot + `resources:
  server: {type: OS::Heat::DeployedServer, metadata: {mine: {a: [1, 2.5, null, ü]}}, properties: {name: node, software_config_transport: ` + tt[0] + `}}
  config: {type: OS::Heat::SoftwareConfig, properties: {config: echo, group: script}}
  settings: {type: OS::Heat::StructuredConfig, properties: {config: {k: v}, group: os-apply-config}}
  deploy: {type: OS::Heat::SoftwareDeployment, properties: {server: {get_resource: server}, config: {get_resource: config}, signal_transport: NO_SIGNAL, name: step}}
  apply: {type: OS::Heat::StructuredDeployment, properties: {server: {get_resource: server}, config: {get_resource: settings}, signal_transport: NO_SIGNAL, name: applied}}
outputs:
  occ: {value: {get_attr: [server, os_collect_config]}}
`})
			occ, _ := outputsOf(u.stack(name, "CREATE_COMPLETE"))["occ"].(map[string]any)
			conf := filepath.Join(t.TempDir(), "occ.conf")
			if err := os.WriteFile(conf, []byte(iniOf(occ)), 0o600); err != nil {
				t.Fatal(err)
			}
			var printed, got map[string]any
			var list []any
			var log strings.Builder
			for range 5 { // a queue has a message of each change, and each run takes one
				cmd := exec.CommandContext(t.Context(), program, "--config-file", conf, "--one-time", "--print", "--cachedir", t.TempDir(), tt[1])
				cmd.Stderr = &log
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%v\n%s", err, log.String())
				}
				printed = nil
				if err := json.Unmarshal(out, &printed); err != nil {
					t.Fatalf("%v\n%s\n%s", err, out, log.String())
				}
				got, _ = printed[tt[1]].(map[string]any)
				if list, _ = got["deployments"].([]any); len(list) == 2 || tt[1] != "zaqar" {
					break
				}
			}
			if len(list) != 2 || list[0].(map[string]any)["name"] != "applied" || list[1].(map[string]any)["name"] != "step" {
				t.Errorf("deployments %v\n%s", printed, log.String())
			}
			if diff := cmp.Diff(map[string]any{"a": []any{1.0, 2.5, nil, "ü"}}, got["mine"]); diff != "" {
				t.Error(diff)
			}
			applied, _ := printed["applied"].(map[string]any) // a file of its own, for os-apply-config
			if diff := cmp.Diff(map[string]any{"k": "v"}, applied); diff != "" {
				t.Errorf("%s in %v", diff, printed)
			}
			if tt[1] == "zaqar" {
				return // the message is taken
			}
			var ours map[string]any
			if tt[1] == "request" {
				r := &collect.Request{Client: http.DefaultClient}
				ours, err = r.Fetch(t.Context(), collect.MetadataURL(map[string]any{"os-collect-config": occ}), false)
			} else {
				ours, err = (&collect.Server{Client: http.DefaultClient, Now: time.Now}).Fetch(t.Context(), map[string]any{"os-collect-config": occ})
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(ours)
			if err != nil {
				t.Fatal(err)
			}
			var mine map[string]any
			if err := json.Unmarshal(text, &mine); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, mine); diff != "" {
				t.Errorf("-real +ours\n%s", diff)
			}
		})
	}
}

// iniOf writes the sections of an os_collect_config as os-collect-config reads them.
func iniOf(occ map[string]any) string {
	var sb strings.Builder
	for section, v := range occ {
		m, ok := v.(map[string]any)
		if !ok {
			continue
		}
		fmt.Fprintf(&sb, "[%s]\n", section)
		for k, v := range m {
			if v != nil {
				fmt.Fprintf(&sb, "%s = %v\n", k, v)
			}
		}
	}
	return sb.String()
}
