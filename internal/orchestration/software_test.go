package orchestration_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/agent/installed"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
	"github.com/tripleo/tripleo/internal/store"
)

// TestEmptyConfigIsDeployed: a configuration that says nothing is given to its server all the same, because the
// deployment waits for the answer. The nic configuration "noop" of TripleO's plans is such a one.
func TestEmptyConfigIsDeployed(t *testing.T) {
	u := newUndercloud(t)
	id := u.createStack("s", map[string]any{"template": hot + `resources:
  server: {type: OS::Heat::DeployedServer, properties: {name: n, software_config_transport: POLL_SERVER_HEAT}}
  config: {type: OS::Heat::StructuredConfig, properties: {group: apply-config}}
  deploy: {type: OS::Heat::StructuredDeployment, properties: {server: {get_resource: server}, config: {get_resource: config}, signal_transport: NO_SIGNAL, name: NetworkDeployment, actions: [CREATE, UPDATE]}}
outputs:
  server: {value: {get_resource: server}}
`})
	u.stack("s", "CREATE_COMPLETE")
	_, out := u.request("GET", "stacks/s/"+id+"/outputs/server", nil)
	output, _ := out["output"].(map[string]any)
	code, meta := u.request("GET", fmt.Sprint("software_deployments/metadata/", output["output_value"]), nil)
	list, _ := meta["metadata"].([]any)
	if code != 200 || len(list) != 1 {
		t.Fatalf("metadata: %d %v of %v", code, meta, out)
	}
	if d, _ := list[0].(map[string]any); d["name"] != "NetworkDeployment" || d["group"] != "apply-config" {
		t.Errorf("deployment %v", d)
	}
}

// TestAgentJoins: a machine that somebody else installed joins a stack, by each transport of metadata and of signals, with
// what its server resource says.
func TestAgentJoins(t *testing.T) {
	u := newUndercloud(t)
	binary := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(binary, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	for transport, signal := range map[string]string{"POLL_SERVER_CFN": "CFN_SIGNAL", "POLL_SERVER_HEAT": "HEAT_SIGNAL", "POLL_TEMP_URL": "TEMP_URL_SIGNAL", "ZAQAR_MESSAGE": "ZAQAR_SIGNAL"} {
		t.Run(transport, func(t *testing.T) {
			u.T = t
			name := "j-" + strings.ToLower(strings.ReplaceAll(transport, "_", "-"))
			id := u.createStack(name, map[string]any{"template": hot + `resources:
  server: {type: OS::Heat::DeployedServer, properties: {name: n, software_config_transport: ` + transport + `, deployment_swift_data: {container: c, object: ` + name + `}}}
  config: {type: OS::Heat::SoftwareConfig, properties: {group: script, config: "printf $who >$heat_outputs_path.result", inputs: [{name: who}], outputs: [{name: result}]}}
  deploy: {type: OS::Heat::SoftwareDeployment, properties: {server: {get_resource: server}, config: {get_resource: config}, signal_transport: ` + signal + `, input_values: {who: you}}}
outputs:
  result: {value: {get_attr: [deploy, result]}}
`})
			u.waiting(name)
			_, res := u.request("GET", "stacks/"+name+"/"+id+"/resources/server?with_attr=os_collect_config", nil)
			resource, _ := res["resource"].(map[string]any)
			attrs, _ := resource["attributes"].(map[string]any)
			config, err := json.Marshal(attrs["os_collect_config"])
			if err != nil {
				t.Fatal(err)
			}
			rec := &host.Recorder{}
			root := t.TempDir()
			var out bytes.Buffer
			opt := installed.JoinOptions{Host: host.New(root, rec), Binary: binary, Out: &out}
			if err := installed.Join(t.Context(), base64.StdEncoding.EncodeToString(config), opt); err != nil {
				t.Fatalf("%v, config %s", err, config)
			}
			if cmds := rec.Take("systemctl restart"); len(cmds) != 1 || !strings.Contains(out.String(), "joined") {
				t.Errorf("commands %v, said %q", cmds, out.String())
			}
			for _, p := range []string{"usr/bin/tripleo-agent", "etc/systemd/system/tripleo-agent.service"} {
				if _, err := os.Stat(filepath.Join(root, p)); err != nil {
					t.Error(err)
				}
			}
			if err := installed.Run(t.Context(), installed.Options{Host: host.NewReal(root), ConfigDrive: t.TempDir(), Once: true}); err != nil {
				t.Fatal(err)
			}
			if got := outputsOf(u.stack(name, "CREATE_COMPLETE"))["result"]; got != "you" {
				t.Errorf("output %v", got)
			}
			u.request("DELETE", "stacks/"+name+"/"+id, nil)
			u.stack(name, "DELETE_COMPLETE")
		})
	}
	rec := &host.Recorder{}
	for arg, want := range map[string]string{"nonsense!": "base64", u.URL + "/object-store/v1/nothing": "nothing was changed", "e30=": "no transport"} {
		root := t.TempDir()
		if err := installed.Join(t.Context(), arg, installed.JoinOptions{Host: host.New(root, rec), Binary: binary}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", arg, err, want)
		}
		if left, _ := os.ReadDir(root); len(left) > 0 || len(rec.Take()) > 0 {
			t.Errorf("%s: it changed the machine: %v", arg, left)
		}
	}
}

// TestLongConfigsAreStoredOnce: the same long content of many configs is one row, and every machine gets it whole.
func TestLongConfigsAreStoredOnce(t *testing.T) {
	u := newUndercloud(t)
	long := strings.Repeat("line of a long list\n", 500)
	u.createStack("s", map[string]any{"parameters": map[string]any{"long": long}, "template": hot + `parameters:
  long: {type: string}
resources:
  config: {type: OS::Heat::StructuredConfig, properties: {group: script, config: {text: {get_param: long}, who: {get_input: who}}}}
  one: {type: OS::Heat::DeployedServer, properties: {name: one, software_config_transport: POLL_SERVER_HEAT}}
  two: {type: OS::Heat::DeployedServer, properties: {name: two, software_config_transport: POLL_SERVER_HEAT}}
  d1: {type: OS::Heat::StructuredDeployment, properties: {server: {get_resource: one}, config: {get_resource: config}, signal_transport: NO_SIGNAL, input_values: {who: same}}}
  d2: {type: OS::Heat::StructuredDeployment, properties: {server: {get_resource: two}, config: {get_resource: config}, signal_transport: NO_SIGNAL, input_values: {who: same}}}
outputs:
  servers: {value: [{get_resource: one}, {get_resource: two}]}
`})
	servers, _ := outputsOf(u.stack("s", "CREATE_COMPLETE"))["servers"].([]any)
	for _, server := range servers {
		_, meta := u.request("GET", fmt.Sprint("software_deployments/metadata/", server), nil)
		list, _ := meta["metadata"].([]any)
		if len(list) != 1 {
			t.Fatalf("metadata of %v: %v", server, meta)
		}
		d, _ := list[0].(map[string]any)
		if c, _ := d["config"].(map[string]any); c["text"] != long || c["who"] != "same" {
			t.Errorf("server %v got %.200v", server, d)
		}
	}
	n := 0
	err := u.DB.View(t.Context(), func(tx *store.Tx) error { return tx.Get([]any{&n}, "SELECT COUNT(*) FROM heat_contents") })
	if err != nil || n != 2 { // of the config, and of those made of it
		t.Errorf("%d contents are stored, expected 2: %v", n, err)
	}
}
