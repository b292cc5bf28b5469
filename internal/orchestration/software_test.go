package orchestration_test

import (
	"fmt"
	"testing"
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
