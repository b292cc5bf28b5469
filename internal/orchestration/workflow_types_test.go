package orchestration_test

import (
	"testing"

	"github.com/tripleo/tripleo/internal/workflow"
)

// TestWorkflowTypes makes workflows, triggers and subscriptions with our own Mistral and Zaqar.
func TestWorkflowTypes(t *testing.T) {
	u := newUndercloud(t)
	mistral, err := workflow.New(workflow.Config{DB: u.DB, Bus: u.Bus, Jobs: u.Jobs, Log: u.Log, Auth: u.Tokens, Cloud: u.Cloud, BaseURL: u.URL + "/workflow"})
	if err != nil {
		t.Fatal(err)
	}
	u.Mount("/workflow", mistral.Handler())
	u.live(lifecycle{name: "wf", reason: "workflow, cron trigger and a trigger of a queue",
		create: hot + `resources:
  w: {type: OS::Mistral::Workflow, properties: {name: probe, type: direct, input: {x: 1}, tasks: [{name: t, action: std.echo output="hi"}]}}
  c: {type: OS::Mistral::CronTrigger, properties: {name: nightly, pattern: "0 0 * * *", workflow: {name: {get_resource: w}, input: {x: 2}}}}
  q: {type: OS::Zaqar::Queue, properties: {name: events}}
  m: {type: OS::Zaqar::MistralTrigger, properties: {queue_name: {get_resource: q}, workflow_id: {get_resource: w}, input: {x: 3}}}
outputs:
  w: {value: {get_attr: [w, data, name]}}
  next: {value: {get_attr: [c, next_execution_time]}}
  m: {value: {get_resource: m}}
`, made: map[string]any{"w": "probe", "next": nil, "m": nil}})
}
