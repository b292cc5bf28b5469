package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/orchestration/v1/stacks"
)

// stackIs creates or updates a stack with the request that the diff command would send, and waits for its end.
func stackIs(t *testing.T, name string, f diffFlags) {
	t.Helper()
	a := &app{stdout: t.Output(), stderr: t.Output()}
	body, err := f.body()
	if err != nil {
		t.Fatal(err)
	}
	body.Set("stack_name", name)
	s, err := a.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	heat, err := s.Orchestration()
	if err != nil {
		t.Fatal(err)
	}
	method, url := "POST", heat.ServiceURL("stacks")
	if found, err := stacks.Find(t.Context(), heat, name).Extract(); err == nil {
		method, url = "PUT", heat.ServiceURL("stacks", name, found.ID)
	}
	resp, err := heat.Request(t.Context(), method, url, &gophercloud.RequestOpts{JSONBody: body, OkCodes: []int{201, 202}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	err = gophercloud.WaitFor(t.Context(), func(ctx context.Context) (bool, error) {
		st, err := stacks.Find(ctx, heat, name).Extract()
		if err == nil && strings.HasSuffix(st.Status, "_FAILED") {
			err = errors.New(st.StatusReason)
		}
		return err == nil && strings.HasSuffix(st.Status, "_COMPLETE"), err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestStackDiffAndTimeline compares a stack with changed files, and looks at how long its parts took.
func TestStackDiffAndTimeline(t *testing.T) {
	commandRig(t)
	root := "heat_template_version: wallaby\nparameters: {v: {type: string, default: one}, secret: {type: string, hidden: true, default: s3cr3t}}\nresources:\n" +
		"  kept: {type: OS::Heat::Value, properties: {value: {get_param: v}}}\n" +
		"  again: {type: OS::Heat::RandomString, properties: {length: 8, salt: {get_param: secret}}}\n" +
		"  user: {type: OS::Heat::Value, properties: {value: {get_attr: [again, value]}}}\n" +
		"  gone: {type: OS::Heat::None}\n" +
		"  deep: {type: sub/deep.yaml, properties: {v: {get_param: v}}}\n" +
		"  slow: {type: OS::Heat::TestResource, depends_on: deep, properties: {wait_secs: 0.2}}\n"
	write(t, ".", map[string]string{
		"root.yaml":      root,
		"env.yaml":       "resource_registry: {'My::Leaf': sub/leaf.yaml}\n",
		"sub/deep.yaml":  "heat_template_version: wallaby\nparameters: {v: {type: string}}\nresources: {leaf: {type: 'My::Leaf', properties: {v: {get_param: v}}}}\n",
		"sub/leaf.yaml":  "heat_template_version: wallaby\nparameters: {v: {type: string}}\nresources: {low: {type: OS::Heat::Value, properties: {value: {list_join: ['-', [{get_param: v}, {get_file: text.txt}]]}}}}\n",
		"sub/text.txt":   "text",
		"unrelated.yaml": "not: read\n",
	})
	f := diffFlags{template: "root.yaml", environments: []string{"env.yaml"}}
	stackIs(t, "s", f)
	mustRun(t, []string{"would not change"}, "stack", "diff", "s", "-t", "root.yaml", "-e", "env.yaml", "--exit-code")
	write(t, ".", map[string]string{"changed.yaml": strings.NewReplacer("length: 8", "length: 9", "  gone: {type: OS::Heat::None}\n", "  fresh: {type: OS::Heat::RandomString}\n").Replace(root)})
	out := mustRun(t, []string{
		"+ resources.fresh (OS::Heat::RandomString)  changed.yaml:7:3", "length: 32",
		"~ resources.kept (OS::Heat::Value)", `value: "one" -> "two"`,
		"-/+ resources.again (OS::Heat::RandomString)", "length: 8 -> 9",
		"- resources.gone (OS::Heat::None)",
		"~ resources.deep.resources.leaf.resources.low (OS::Heat::Value)", `value: "one-text" -> "two-text"`,
		"Stack s: 1 to create, ",
	}, "stack", "diff", "s", "-t", "changed.yaml", "-e", "env.yaml", "--parameter", "v=two")
	if strings.Contains(out, "s3cr3t") {
		t.Errorf("a hidden value in\n%s", out)
	}
	_, err := tripleo(t, "stack", "diff", "s", "--existing", "--parameter", "v=two", "--exit-code")
	var exit exitError
	if !errors.As(err, &exit) || exit.code != 2 {
		t.Errorf("--exit-code with changes: %v", err)
	}
	var parsed map[string][]map[string]any
	if err := json.Unmarshal([]byte(mustRun(t, nil, "stack", "diff", "s", "-f", "json", "--existing", "--parameter", "v=two")), &parsed); err != nil || len(parsed["updated"]) == 0 {
		t.Errorf("json: %v %v", err, parsed)
	}
	for _, bad := range [][]string{{"nobody", "-t", "root.yaml"}, {"s"}, {"s", "-t", "nope.yaml"}, {"s", "-t", "root.yaml", "-f", "table"}, {"s", "-t", "root.yaml", "--parameter", "x"}} {
		if out, err := tripleo(t, append([]string{"stack", "diff"}, bad...)...); err == nil {
			t.Errorf("diff %v succeeded: %s", bad, out)
		}
	}
	mustRun(t, []string{"CREATE_COMPLETE", "operation 1 of 1", "resources.slow", "resources.deep.resources.leaf.resources.low", "="}, "stack", "timeline", "s")
	if out := mustRun(t, []string{"resources.kept", "resources.slow"}, "stack", "timeline", "s", "--all", "-f", "csv"); strings.Count(out, "\n") != 9 {
		t.Errorf("timeline --all: want 8 resources and a head:\n%s", out)
	}
	if _, err := tripleo(t, "stack", "timeline", "s", "--operation", "7"); err == nil {
		t.Error("a timeline of an operation that never was")
	}
}
