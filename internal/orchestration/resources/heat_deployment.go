package resources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// heatDeployment is OS::Heat::SoftwareDeployment, and with structured StructuredDeployment.
// Source of the rules: inventory 5.2.
func heatDeployment(name string, structured bool) *Type {
	d := deployer{structured}
	return &Type{Name: name, FreeAttrs: true,
		Create: d.step,
		Update: func(ctx context.Context, r *Resource) (Step, error) {
			// Only a change of what it runs, or an earlier failure, makes it run again.
			if len(r.Changed) == 0 && !r.Repair {
				return Done(), nil
			}
			return d.step(ctx, r)
		},
		Delete: d.remove, Suspend: d.step, Resume: d.step,
		Keep: func(context.Context, *Resource) (bool, error) { return true, nil },
		Attr: func(ctx context.Context, r *Resource, attr string) (any, error) {
			dep, err := r.Host.Deployment(ctx, r, r.PhysicalID)
			if errors.Is(err, store.ErrNotFound) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			v, _ := dep.Outputs.Get(attr)
			return v, nil
		},
		Signal: func(ctx context.Context, r *Resource, body any) error {
			_, err := r.Host.SignalDeployment(ctx, r.PhysicalID, body)
			return err
		},
	}
}

type deployer struct{ structured bool }

// step runs the deployment once for each operation, then waits for its outcome.
func (d deployer) step(ctx context.Context, r *Resource) (Step, error) {
	if r.PhysicalID == "" {
		if err := r.SetID(ctx, configID(r.ID, "deployment")); err != nil {
			return Step{}, err
		}
	}
	if on, err := d.wanted(ctx, r); !on || err != nil {
		return Done(), err
	}
	begun := r.Begun.Format(time.RFC3339Nano) + r.Action
	if r.Str("begun") != begun {
		r.Data["begun"], r.Data["derived"] = begun, uuid.NewString()
		for _, k := range []string{"sent", "signal_object", "signal_seen"} { // an old report is none
			delete(r.Data, k)
		}
		if err := r.Host.Save(ctx, r); err != nil {
			return Step{}, err
		}
	}
	if r.Data["sent"] != true {
		if err := d.send(ctx, r); err != nil {
			return Step{}, err
		}
		r.Data["sent"] = true
		if err := r.Host.Save(ctx, r); err != nil {
			return Step{}, err
		}
	}
	return d.check(ctx, r)
}

// wanted tells whether the present action runs the deployment. A component says so itself, by the actions
// of its parts.
func (d deployer) wanted(ctx context.Context, r *Resource) (bool, error) {
	id := r.Props.Str("config")
	if id != "" {
		cfg, err := r.Host.Config(ctx, r, id)
		if errors.Is(err, store.ErrNotFound) && r.Action == "DELETE" {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if cfg.Group == "component" {
			return componentPart(cfg, r.Action) != nil, nil
		}
	}
	return slices.Contains(r.Props.Strs("actions"), r.Action) && (id != "" || r.Action != "DELETE"), nil
}

func transport(r *Resource) string {
	if t := r.Props.Str("signal_transport"); t != "" {
		return t
	}
	return r.Host.DefaultSignalTransport()
}

// send publishes the derived config: the config with values for its inputs.
func (d deployer) send(ctx context.Context, r *Resource) error {
	cfg := &Config{Group: "Heat::Ungrouped", Config: ""}
	if id := r.Props.Str("config"); id != "" {
		var err error
		if cfg, err = r.Host.Config(ctx, r, id); err != nil {
			return err
		}
	}
	name := r.Props.Str("name")
	if name == "" {
		name = cfg.Name
	}
	if name == "" {
		name = r.PhysicalName(0)
	}
	inputs, err := d.inputs(ctx, r, cfg)
	if err != nil {
		return err
	}
	content := cfg.Config
	if d.structured {
		if content, err = d.fill(r, cfg, inputs); err != nil {
			return err
		}
	}
	now := r.Host.Now()
	derived := &Config{ID: r.Str("derived"), ProjectID: r.ProjectID, Name: name, Group: cfg.Group, Config: content, Inputs: inputs, Outputs: cfg.Outputs, Options: cfg.Options, Created: now}
	if err := r.Host.PutConfig(ctx, r, derived); err != nil {
		return err
	}
	old, err := r.Host.Deployment(ctx, r, r.PhysicalID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	dep := &Deployment{ID: r.PhysicalID, ProjectID: r.ProjectID, ServerID: r.Props.Str("server"), ConfigID: derived.ID, Action: r.Action, Status: "IN_PROGRESS",
		Reason: "Deploy data available", Inputs: r.Props.Map("input_values"), Outputs: yaml11.NewMap(), Created: now}
	if transport(r) == NoSignal {
		dep.Status, dep.Reason = "COMPLETE", "Not waiting for outputs signal"
	}
	if old != nil {
		dep.Created, dep.Updated = old.Created, now
	}
	if err := r.Host.PutDeployment(ctx, r, dep); err != nil {
		return err
	}
	if old != nil && old.ConfigID != derived.ID {
		return r.Host.DeleteConfig(ctx, r, old.ConfigID)
	}
	return nil
}

// inputs lists the inputs of the derived config: declared ones with value or default, undeclared values,
// and what the node needs to report.
func (d deployer) inputs(ctx context.Context, r *Resource, cfg *Config) ([]any, error) {
	given := r.Props.Map("input_values")
	var out []any
	seen := map[string]bool{}
	add := func(name, typ string, value any, desc string) {
		seen[name] = true
		m := yaml11.MapOf("name", name, "type", typ, "value", value)
		if desc != "" {
			m.Set("description", desc)
		}
		out = append(out, m)
	}
	for _, v := range cfg.Inputs {
		m, ok := v.(*Map)
		if !ok {
			continue
		}
		name, typ := str(m, "name"), str(m, "type")
		if typ == "" {
			typ = "String"
		}
		value, has := given.Get(name)
		if !has || value == nil {
			value, _ = m.Get("default")
		}
		if value == nil && r.Props.Str("input_values_validate") == "STRICT" {
			return nil, Failed("Required input '%s' was not provided.", name)
		}
		add(name, typ, value, str(m, "description"))
	}
	for name, value := range given.All() {
		if !seen[name] {
			add(name, "String", value, "")
		}
	}
	add("deploy_server_id", "String", r.Props.Str("server"), "ID of the server being deployed to")
	add("deploy_action", "String", r.Action, "Name of the current action being deployed")
	add("deploy_stack_id", "String", r.StackName+"/"+r.StackID, "ID of the stack this deployment belongs to")
	add("deploy_resource_name", "String", r.Name, "Name of this deployment resource in the stack")
	add("deploy_signal_transport", "String", transport(r), "How the server should signal to heat with the deployment output values.")
	return out, d.signalInputs(ctx, r, add)
}

// signalInputs adds what the node needs for its report.
func (d deployer) signalInputs(ctx context.Context, r *Resource, add func(name, typ string, value any, desc string)) error {
	t := transport(r)
	m, err := signalling(ctx, r, t, "signal")
	if err != nil {
		return err
	}
	switch t {
	case CFNSignal, TempURLSignal:
		verb := "POST"
		if t == TempURLSignal {
			verb = "PUT"
		}
		add("deploy_signal_id", "String", str(m, "alarm_url"), "ID of signal to use for signaling output values")
		add("deploy_signal_verb", "String", verb, "HTTP verb to use for signaling output values")
	case HeatSignal, ZaqarSignal:
		for _, f := range []string{"auth_url", "username", "user_id", "password", "project_id", "region_name"} {
			add("deploy_"+f, "String", str(m, f), "Of the user that signals: "+f)
		}
		add("deploy_domain_name", "String", stackUserDomain, "Domain of the user that signals")
		if t == ZaqarSignal {
			add("deploy_queue_id", "String", str(m, "queue_id"), "ID of queue to use for signaling output values")
		}
	}
	return nil
}

// stackUserDomain is the domain of the users of resources.
const stackUserDomain = "heat_stack"

// check looks whether the node has reported.
func (d deployer) check(ctx context.Context, r *Resource) (Step, error) {
	dep, err := r.Host.Deployment(ctx, r, r.PhysicalID)
	if err != nil {
		return Step{}, fmt.Errorf("software deployment %s: %w", r.PhysicalID, err)
	}
	topics := []string{"orchestration/deployment/" + dep.ID}
	if dep.Status == "IN_PROGRESS" {
		more, err := polled(ctx, r, transport(r), func(body any) (err error) {
			dep, err = r.Host.SignalDeployment(ctx, dep.ID, body)
			return err
		})
		if err != nil {
			return Step{}, err
		}
		topics = append(topics, more...)
	}
	switch dep.Status {
	case "COMPLETE":
		return Done(), nil
	case "FAILED":
		return Step{}, Failed("Deployment to server failed: %s", dep.Reason)
	}
	return Wait(pollAfter(transport(r)), topics...), nil
}

// fill replaces {get_input: name} in a structured config.
func (d deployer) fill(r *Resource, cfg *Config, inputs []any) (any, error) {
	values := map[string]any{}
	for _, v := range inputs {
		m := v.(*Map)
		values[str(m, "name")], _ = m.Get("value")
	}
	key := r.Props.Str("input_key")
	strict := r.Props.Str("input_values_validate") == "STRICT"
	var walk func(v any) (any, error)
	walk = func(v any) (any, error) {
		switch x := v.(type) {
		case *Map:
			if name, ok := x.Get(key); ok && x.Len() == 1 {
				if text, isText := name.(string); isText {
					value, known := values[text]
					if !known && strict {
						return nil, Failed("Required input '%s' was not provided.", text)
					}
					return value, nil
				}
			}
			out := yaml11.NewMap()
			for k, e := range x.All() {
				w, err := walk(e)
				if err != nil {
					return nil, err
				}
				out.Set(k, w)
			}
			return out, nil
		case []any:
			out := make([]any, len(x))
			for i, e := range x {
				w, err := walk(e)
				if err != nil {
					return nil, err
				}
				out[i] = w
			}
			return out, nil
		}
		return v, nil
	}
	return walk(cfg.Config)
}

// remove runs the deployment for DELETE where it is asked to, then forgets it.
func (d deployer) remove(ctx context.Context, r *Resource) (Step, error) {
	if r.PhysicalID == "" {
		return Done(), nil
	}
	if step, err := d.step(ctx, r); err != nil || !step.Done {
		return step, err
	}
	if err := r.Host.DeleteDeployment(ctx, r, r.PhysicalID); err != nil && !errors.Is(err, store.ErrNotFound) {
		return Step{}, err
	}
	return deleteSignals(ctx, r)
}
