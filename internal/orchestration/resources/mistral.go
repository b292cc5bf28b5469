package resources

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

func mistralWorkflow() *Type {
	return &Type{Name: "OS::Mistral::Workflow",
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			err := putWorkflow(ctx, r, "POST")
			if status(err) == 409 && r.Data["creating"] == true {
				err = putWorkflow(ctx, r, "PUT")
			}
			if err != nil {
				return Step{}, err
			}
			return Done(), r.SetID(ctx, workflowName(r))
		},
		Update: func(ctx context.Context, r *Resource) (Step, error) { return Done(), putWorkflow(ctx, r, "PUT") },
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.workflow(ctx)
			if err != nil || r.PhysicalID == "" {
				return Done(), err
			}
			return Done(), c.remove(ctx, "workflows/"+url.PathEscape(r.PhysicalID))
		},
		Signal: func(ctx context.Context, r *Resource, body any) error {
			c, err := r.workflow(ctx)
			if err != nil {
				return err
			}
			m, _ := body.(*Map)
			input := submap(m, "input")
			if input == nil {
				input = yaml11.NewMap()
			}
			params := r.Props.Map("params").Clone()
			for k, v := range submap(m, "params").All() {
				params.Set(k, v)
			}
			made, err := c.call(ctx, "POST", "executions", yaml11.MapOf("workflow_name", r.PhysicalID, "input", hot.PyJSON(input, false), "params", hot.PyJSON(params, false)))
			if err != nil {
				return err
			}
			l, _ := r.Data["executions"].([]any)
			r.Data["executions"] = append(l, str(made, "id"))
			return r.Host.Save(ctx, r)
		},
		Attr: func(ctx context.Context, r *Resource, name string) (any, error) {
			switch name {
			case "data":
				return yaml11.MapOf("name", r.PhysicalID, "input", r.Props.Get("input")), nil
			case "alarm_url":
				return signalURL(ctx, r)
			}
			l, _ := r.Data["executions"].([]any)
			if l == nil {
				l = []any{}
			}
			return l, nil
		},
	}
}

func workflowName(r *Resource) string {
	if n := r.Props.Str("name"); n != "" {
		return n
	}
	return r.PhysicalName(0)
}

// putWorkflow writes the definition in Mistral's language.
func putWorkflow(ctx context.Context, r *Resource, method string) error {
	c, err := r.workflow(ctx)
	if err != nil {
		return err
	}
	tasks := yaml11.NewMap()
	for i, v := range r.Props.List("tasks") {
		m := v.(*Map)
		t := yaml11.NewMap()
		for k, e := range m.All() {
			if k != "name" && e != nil {
				t.Set(strings.ReplaceAll(k, "_", "-"), e)
			}
		}
		name := str(m, "name")
		if name == "" {
			name = fmt.Sprintf("task_%d", i)
		}
		tasks.Set(name, t)
	}
	wf := yaml11.MapOf("type", r.Props.Str("type"))
	copyProps(wf, r.Props, "description", "output", "tags")
	if in := r.Props.Map("input"); in.Len() > 0 {
		l := []any{}
		for k, v := range in.All() {
			if v == nil || v == "" {
				l = append(l, k)
			} else {
				l = append(l, yaml11.MapOf(k, v))
			}
		}
		wf.Set("input", l)
	}
	if d := r.Props.Map("task_defaults"); d.Len() > 0 {
		m := yaml11.NewMap()
		for k, v := range d.All() {
			m.Set(strings.ReplaceAll(k, "_", "-"), v)
		}
		wf.Set("task-defaults", m)
	}
	wf.Set("tasks", tasks)
	text, err := yaml11.Marshal(yaml11.MapOf("version", "2.0", workflowName(r), wf))
	if err != nil {
		return fmt.Errorf("workflow definition: %w", err)
	}
	if method == "POST" {
		defer func() { r.Data["creating"] = true }()
	}
	resp, err := c.Request(ctx, method, c.ServiceURL("workflows"), &gophercloud.RequestOpts{RawBody: bytes.NewReader(text), KeepResponseBody: true,
		MoreHeaders: map[string]string{"Content-Type": "text/plain"}, OkCodes: []int{200, 201}})
	if err != nil {
		return readable(err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.Body.Close()
}

func mistralExternalResource() *Type {
	run := func(ctx context.Context, r *Resource) (Step, error) { return runWorkflow(ctx, r) }
	return &Type{Name: "OS::Mistral::ExternalResource", AlwaysUpdate: true,
		Create: run,
		Update: func(ctx context.Context, r *Resource) (Step, error) {
			if len(r.Changed) == 0 && !r.Props.Bool("always_update") && !r.Repair {
				return Done(), nil
			}
			return runWorkflow(ctx, r)
		},
		Delete: run, Suspend: run, Resume: run,
		Keep: func(_ context.Context, r *Resource) (bool, error) {
			return r.PhysicalID != "" && r.Action != "CREATE", nil
		},
		Attr: func(_ context.Context, r *Resource, _ string) (any, error) { return r.Data["output"], nil },
	}
}

// runWorkflow runs the workflow of the present action once, by an execution id of its own making, and
// waits for its end.
func runWorkflow(ctx context.Context, r *Resource) (Step, error) {
	a := submap(r.Props.Map("actions"), r.Action)
	if a == nil {
		return Done(), nil
	}
	c, err := r.workflow(ctx)
	if err != nil {
		return Step{}, err
	}
	id := configID(r.ID, r.Action+r.Begun.Format(time.RFC3339Nano))
	m, err := c.call(ctx, "GET", "executions/"+id, nil)
	if isNotFound(err) {
		input := r.Props.Map("input").Clone()
		for k, v := range submap(a, "input").All() {
			input.Set(k, v)
		}
		m, err = c.call(ctx, "POST", "executions", yaml11.MapOf("id", id, "workflow_name", str(a, "workflow"), "input", hot.PyJSON(input, false),
			"params", hot.PyJSON(submap(a, "params"), false), "description", "external resource "+r.Name+" of stack "+r.StackName))
		if status(err) == 409 {
			m, err = c.call(ctx, "GET", "executions/"+id, nil)
		}
	}
	if err != nil {
		return Step{}, err
	}
	switch st := str(m, "state"); st {
	case "SUCCESS":
		out, err := yaml11.DecodeJSON([]byte(str(m, "output")))
		if err != nil {
			out = nil
		}
		r.Data["output"] = out
		if r.PhysicalID == "" {
			r.PhysicalID = id
			if o, ok := out.(*Map); ok && str(o, "resource_id") != "" {
				r.PhysicalID = str(o, "resource_id")
			}
		}
		return Done(), r.Host.Save(ctx, r)
	case "ERROR", "CANCELLED":
		return Step{}, Failed("Mistral execution %s of workflow %s went to %s: %s", id, str(a, "workflow"), st, str(m, "state_info"))
	}
	return Wait(15*time.Second, "workflow/execution/"+id), nil
}
