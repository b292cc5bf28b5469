package cli

import (
	"strings"
	"testing"
)

// TestNodeJoin: each server that Nova does not install has its command, at any depth of the stack.
func TestNodeJoin(t *testing.T) {
	commandRig(t)
	write(t, ".", map[string]string{
		"tht/plan-environment.yaml": "template: overcloud.yaml\nenvironments: [{path: base.yaml}]\n",
		"tht/base.yaml":             "resource_registry: {'OS::T::Server': nested/server.yaml}\n",
		"tht/roles_data.yaml":       "- name: Controller\n",
		"tht/network_data.yaml":     "[]\n",
		"tht/overcloud.j2.yaml": "heat_template_version: queens\nresources:\n  Group: {type: OS::Heat::ResourceGroup, properties: {count: 2, resource_def: {type: OS::T::Server, properties: {name: node-%index%, transport: POLL_TEMP_URL}}}}\n" +
			"  Other: {type: OS::T::Server, properties: {name: other, transport: POLL_SERVER_HEAT}}\noutputs:\n  KeystoneURL: {value: 'http://10.0.0.9:5000'}\n",
		"tht/nested/server.yaml": "heat_template_version: queens\nparameters: {name: {type: string}, transport: {type: string}}\nresources:\n" +
			"  server: {type: OS::Heat::DeployedServer, properties: {name: {get_param: name}, software_config_transport: {get_param: transport}, deployment_swift_data: {container: c, object: {get_param: name}}}}\n",
	})
	mustRun(t, nil, "overcloud", "deploy", "--templates", "tht", "--disable-validations", "-t", "5")
	out := mustRun(t, []string{"node-0: tripleo-agent join 'http", "node-1: tripleo-agent join 'http", "other: tripleo-agent join ey"}, "overcloud", "node", "join")
	if n := strings.Count(out, "\n"); n != 3 {
		t.Errorf("%d lines:\n%s", n, out)
	}
	if out := mustRun(t, []string{"node-1: "}, "overcloud", "node", "join", "node-1"); strings.Contains(out, "node-0") {
		t.Errorf("another server:\n%s", out)
	}
	if _, err := tripleo(t, "overcloud", "node", "join", "node-7"); err == nil || !strings.Contains(err.Error(), "node-7") {
		t.Errorf("a server that is not there: %v", err)
	}
}
