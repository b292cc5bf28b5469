package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// attachDeployment follows the deployment of a plan that runs.
func (o *operator) attachDeployment(ctx context.Context, f *deployFlags) error {
	lctx, stop := context.WithCancel(ctx)
	defer stop()
	frames, err := o.messages(lctx)
	if err != nil {
		return err
	}
	id, began, err := o.runningDeployment(ctx, f.stack)
	if err != nil {
		return err
	}
	p := o.a.newProgress(false)
	if t, err := time.Parse("2006-01-02 15:04:05", began); err == nil && t.Before(p.start) {
		p.start = t // elapsed is the time of the deployment, not of the watching
	}
	p.say("attached to the deployment of %s (execution %s)", f.stack, id)
	if err := o.showSnapshot(ctx, f.stack, p); err != nil {
		return err
	}
	out, err := o.attach(ctx, deployWorkflow, id, frames, p)
	return o.deployed(ctx, f, p, out, err)
}

// runningDeployment finds the execution that deploys a plan.
func (o *operator) runningDeployment(ctx context.Context, plan string) (id, began string, err error) {
	c, err := o.s.Workflow()
	if err != nil {
		return "", "", err
	}
	v, _, err := o.call(ctx, c, http.MethodGet, below(c, "v2", "executions")+"?workflow_name="+deployWorkflow+"&state=RUNNING&sort_keys=created_at&sort_dirs=desc&limit=100", nil, nil)
	if err != nil {
		return "", "", err
	}
	for _, x := range items(lookup(v, "executions")) {
		input, err := jsonText(lookup(x, "input"))
		if err == nil && str(lookup(input, "container")) == plan {
			return str(lookup(x, "id")), str(lookup(x, "created_at")), nil
		}
	}
	text := "no deployment of plan " + plan + " runs"
	if st, err := o.action(ctx, "tripleo.deployment.get_status", map[string]any{"plan": plan}); err == nil && str(lookup(st, "deployment_status")) != "" {
		text += "; the last one ended with " + str(lookup(st, "deployment_status"))
	}
	return "", "", errors.New(text)
}

// showSnapshot shows how far a deployment is: its messages tell only what changes.
func (o *operator) showSnapshot(ctx context.Context, plan string, p *progress) error {
	names, err := o.listObjects(ctx, plan+"-messages")
	if hasStatus(err, 404) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if !strings.HasPrefix(n, "progress/") {
			continue
		}
		data, err := o.getObject(ctx, plan+"-messages", n)
		if hasStatus(err, 404) {
			continue // it has just ended
		}
		if err != nil {
			return err
		}
		v, err := yaml11.DecodeJSON(data)
		if err != nil {
			return fmt.Errorf("%s-messages/%s: %w", plan, n, err)
		}
		p.show(message{deployWorkflow, yaml11.MapOf("progress", v)})
	}
	return nil
}

// dryRun makes the plan as it would become under another name, asks Heat what deploying it as the stack would change,
// and deletes it again.
func (o *operator) dryRun(ctx context.Context, f *deployFlags, exists bool) (err error) {
	old, planExists, err := o.oldPlanEnv(ctx, f.stack)
	if err != nil {
		return err
	}
	// The name is in no other text, so that putting the stack's in its place gives what the real plan would be.
	trial := *f
	trial.stack = f.stack + "-dry-run-" + strings.ReplaceAll(uuid.NewString(), "-", "")
	defer func() { err = errors.Join(err, o.dropTrial(context.WithoutCancel(ctx), trial.stack)) }()
	if _, err := o.action(ctx, "tripleo.plan.create_container", map[string]any{"container": trial.stack}); err != nil {
		return err
	}
	if planExists && f.noCleanup {
		if err := o.copyPlan(ctx, f.stack, trial.stack); err != nil {
			return err
		}
	}
	env, err := o.uploadPlan(ctx, &trial, false)
	if err != nil {
		return err
	}
	if err := trial.mergeEnvironments(ctx, o, env, old); err != nil {
		return err
	}
	params, _ := lookup(env, "parameter_defaults").(*yaml11.OrderedMap)
	action := "CREATE"
	if exists {
		action = "UPDATE"
	}
	params.Set("StackAction", action)
	params.Set("UpdateIdentifier", "")
	if !f.skipIdentifier {
		params.Set("DeployIdentifier", time.Now().Unix())
	}
	if err := o.putPlanEnv(ctx, trial.stack, env); err != nil {
		return err
	}
	if _, err := o.run(ctx, "tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": trial.stack,
		"generate_passwords": !f.noPasswords, "validate_stack": false, "queue_name": defaultQueue}); err != nil {
		return err
	}
	v, err := o.action(ctx, "tripleo.templates.process", map[string]any{"container": trial.stack})
	if err != nil {
		return err
	}
	text, err := yaml11.EncodeJSON(v)
	if err != nil {
		return err
	}
	v, err = yaml11.DecodeJSON([]byte(strings.ReplaceAll(string(text), trial.stack, f.stack)))
	if err != nil {
		return err
	}
	body, ok := v.(*yaml11.OrderedMap)
	if !ok {
		return fmt.Errorf("action tripleo.templates.process: expected a mapping, got %s", short(v))
	}
	body.Set("stack_name", f.stack)
	body.Set("template_file", firstNonEmpty(str(lookup(env, "template")), "overcloud.yaml"))
	return o.preview(ctx, f.stack, exists, body)
}

// preview asks Heat what a stack would become.
func (o *operator) preview(ctx context.Context, stack string, exists bool, body *yaml11.OrderedMap) error {
	if !exists {
		heat, err := o.s.Orchestration()
		if err != nil {
			return err
		}
		answer, err := heatCall(ctx, heat, http.MethodPost, heat.ServiceURL("stacks", "preview"), body)
		if err != nil {
			return err
		}
		return (&diffFlags{}).print(o.a, stack, yaml11.MapOf("added", flatPreview(lookup(answer, "stack", "resources"), stack)))
	}
	heat, found, err := o.a.findStack(ctx, stack)
	if err != nil {
		return err
	}
	answer, err := heatCall(ctx, heat, http.MethodPut, heat.ServiceURL("stacks", found.Name, found.ID, "preview")+"?show_nested=true", body)
	if err != nil {
		return err
	}
	changes, _ := lookup(answer, "resource_changes").(*yaml11.OrderedMap)
	return (&diffFlags{}).print(o.a, stack, changes)
}

// flatPreview makes one list of the resources of a stack that is not there; those of a nested stack are a list in it.
func flatPreview(v any, stack string) []any {
	out := []any{}
	for _, r := range items(v) {
		if nested, ok := r.([]any); ok {
			out = append(out, flatPreview(nested, stack)...)
			continue
		}
		m, ok := r.(*yaml11.OrderedMap)
		if !ok {
			continue
		}
		place := strings.TrimPrefix(strings.TrimPrefix(str(lookup(m, "stack_name")), stack), "-")
		m.Set("resource_path", strings.TrimPrefix(strings.ReplaceAll(place, "-", ".")+"."+str(lookup(m, "resource_name")), "."))
		m.Delete("properties") // hundreds of lines a resource; the template has them
		out = append(out, m)
	}
	return out
}

// copyPlan copies the files of a plan.
func (o *operator) copyPlan(ctx context.Context, from, to string) error {
	names, err := o.listObjects(ctx, from)
	if err != nil {
		return err
	}
	c, err := o.s.ObjectStore()
	if err != nil {
		return err
	}
	for _, n := range names {
		source := url.PathEscape(from) + "/" + strings.ReplaceAll(url.PathEscape(n), "%2F", "/")
		if _, _, err := o.raw(ctx, c, http.MethodPut, objectPath(c, to, n), nil, map[string]string{"X-Copy-From": source, "Content-Length": "0"}); err != nil {
			return fmt.Errorf("copy %s/%s: %w", from, n, err)
		}
	}
	return nil
}

// dropTrial deletes the plan of a dry run and what its workflows left.
func (o *operator) dropTrial(ctx context.Context, plan string) error {
	_, err := o.action(ctx, "tripleo.plan.delete", map[string]any{"container": plan})
	if err != nil {
		err = fmt.Errorf("delete the plan of the dry run: %w", err)
	}
	for _, suffix := range []string{"-messages", "-swift-rings"} {
		err = errors.Join(err, o.dropContainer(ctx, plan+suffix))
	}
	return err
}

// dropContainer deletes a container with its objects, if it is there.
func (o *operator) dropContainer(ctx context.Context, name string) error {
	names, err := o.listObjects(ctx, name)
	if hasStatus(err, 404) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := o.s.ObjectStore()
	if err != nil {
		return err
	}
	for _, n := range append(names, "") { // the container itself at last
		if _, _, err := o.raw(ctx, c, http.MethodDelete, objectPath(c, name, n), nil, map[string]string{"Accept": "*/*"}); err != nil && !hasStatus(err, 404) {
			return fmt.Errorf("delete %s/%s: %w", name, n, err)
		}
	}
	return nil
}

// decodeArgument reads JSON or YAML that is given as text, or in a file of that name.
func decodeArgument(what, arg string) (*yaml11.OrderedMap, error) {
	if isInline(arg) {
		return parseMapping(what, []byte(arg))
	}
	text, err := readFile(arg)
	if err != nil {
		return nil, err
	}
	return parseMapping(arg, []byte(text))
}

// isInline tells an argument that is data itself from the name of a file.
func isInline(arg string) bool {
	return strings.ContainsAny(arg, "{:\n") && !strings.HasSuffix(arg, ".yaml") && !strings.HasSuffix(arg, ".json")
}
