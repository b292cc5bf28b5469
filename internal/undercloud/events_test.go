package undercloud_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/clienttest"
	"github.com/tripleo/tripleo/internal/undercloud"
)

const heardWorkflows = `version: '2.0'
heard:
  output:
    event: <% execution().params.get(event_params, {}).get(event_type) %>
    payload: <% execution().params.get(event_params, {}).get(payload) %>
    body: <% env().get(notification, {}).get(body) %>
  tasks:
    t: {action: std.noop}
`

const triggerStack = `heat_template_version: queens
parameters:
  workflow: {type: string}
resources:
  queue: {type: 'OS::Zaqar::Queue', properties: {name: bells}}
  trigger:
    type: OS::Zaqar::MistralTrigger
    properties:
      queue_name: {get_resource: queue}
      workflow_id: {get_param: workflow}
`

// heard runs a client against an undercloud until the executions of a workflow
// tell what is waited for.
type heard struct {
	t     *testing.T
	shell *clienttest.Shell
}

func (h heard) run(want string, args ...string) string {
	h.t.Helper()
	return strings.TrimSpace(h.shell.Run(want, "openstack", args...))
}

// outputs are the outputs of the ended executions, by the event they name.
func (h heard) outputs(key string) map[string]map[string]any {
	out := map[string]map[string]any{}
	var list []map[string]any
	if err := json.Unmarshal([]byte(h.run("", "workflow", "execution", "list", "--filter", "workflow_name=heard", "--filter", "state=SUCCESS", "-f", "json")), &list); err != nil {
		h.t.Fatal(err)
	}
	for _, x := range list {
		var o map[string]any
		if err := json.Unmarshal([]byte(h.run("", "workflow", "execution", "output", "show", x["ID"].(string))), &o); err != nil {
			h.t.Fatal(err)
		}
		if name, ok := o[key].(string); ok {
			out[name] = o
		}
	}
	return out
}

func (h heard) until(key string, want ...string) map[string]map[string]any {
	h.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		got, missing := h.outputs(key), ""
		for _, name := range want {
			if got[name] == nil {
				missing = name
			}
		}
		if missing == "" {
			return got
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("no execution heard %s; those heard are %v", missing, got)
		}
	}
}

// TestNotificationsStartWorkflows: what the services do starts the workflows of
// event triggers, a message on a queue that of an OS::Zaqar::MistralTrigger.
func TestNotificationsStartWorkflows(t *testing.T) {
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	cfg := undercloud.Config{DataDir: t.TempDir()}
	start(t, cfg)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	h := heard{t, clienttest.Start(t, "OS_CLIENT_CONFIG_FILE="+filepath.Join(cfg.DataDir, "clouds.yaml"), "OS_CLOUD=undercloud", "OS_MESSAGE_CLIENT_ID=6d2b1c6e-4e6a-4f0e-8a51-0d9f2a4f4f0e")}
	wf := h.run("", "workflow", "create", write("wf.yaml", heardWorkflows), "-c", "ID", "-f", "value")
	for name, at := range map[string][]string{
		"images": {"glance", "notifications", "image.upload"}, "stacks": {"heat", "notifications", "orchestration.stack.*.end"},
		"nodes": {"ironic", "ironic_versioned_notifications", "baremetal.node.provision_set.success"},
	} {
		h.run(name, append([]string{"event", "trigger", "create", name, wf}, at...)...)
	}
	image := h.run("", "image", "create", "heard-image", "--file", write("image", "bytes"), "--container-format", "bare", "--disk-format", "raw", "-c", "id", "-f", "value")
	h.run("", "stack", "create", "heard-stack", "-t", write("stack.yaml", triggerStack), "--parameter", "workflow="+wf, "--wait")
	node := h.run("", "baremetal", "node", "create", "--driver", "fake-hardware", "-c", "uuid", "-f", "value")
	h.run("", "baremetal", "node", "manage", node)
	got := h.until("event", "image.upload", "orchestration.stack.create.end", "baremetal.node.provision_set.success")
	for event, want := range map[string]string{"image.upload": `"id":"` + image + `"`, "orchestration.stack.create.end": `"state":"CREATE_COMPLETE"`,
		"baremetal.node.provision_set.success": `"previous_provision_state":"verifying"`} {
		text, err := json.Marshal(got[event]["payload"])
		if err != nil || !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s tells %s, %v; want %s", event, text, err, want)
		}
	}
	h.run("", "messaging", "message", "post", "bells", `[{"body": "ding", "ttl": 60}]`)
	h.until("body", "ding")
	h.run("", "stack", "delete", "heard-stack", "-y", "--wait")
	h.until("event", "orchestration.stack.delete.end")
}
