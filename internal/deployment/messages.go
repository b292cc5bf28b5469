package deployment

import (
	"github.com/tripleo/tripleo/internal/yaml11"
)

// hiddenInputs are inputs of workflows that hold secrets or are large: they are left out of messages.
func hiddenInputs() []string {
	return []string{"nodes_json", "credentials", "ssh_private_key", "user_inputs", "plan_environment", "parameters", "source_url"}
}

// messagePayload is the payload of a message: both layouts that clients read, the `execution` map and the ids.
func messagePayload(in input) *yaml11.OrderedMap {
	ex := in.mapping("execution")
	short := yaml11.NewMap()
	for _, k := range []string{"id", "name", "created_at", "root_execution_id"} {
		short.Set(k, dig(ex, k))
	}
	if args, ok := dig(ex, "input").(*yaml11.OrderedMap); ok {
		args = args.Clone()
		for _, k := range hiddenInputs() {
			args.Delete(k)
		}
		short.Set("input", args)
	}
	id := text(ex, "id")
	root := dig(ex, "root_execution_id")
	if root == nil {
		root = id
	}
	p := yaml11.MapOf("status", in.str("status"), "message", in.value("message"), "execution", short,
		"execution_id", id, "root_execution_id", root, "plan_name", in.value("plan_name"), "deployment_status", in.value("deployment_status"))
	if in.value("message") == nil {
		p.Set("message", "")
	}
	if extra := in.mapping("payload"); extra != nil {
		shallowUpdate(p, extra)
	}
	return p
}

// messagingSend posts a message of a workflow to a queue, and keeps it, for a plan, in the container <plan>-messages.
// It returns {type, payload}.
func messagingSend(r *run, in input) (any, error) {
	typ := in.str("type")
	body := yaml11.MapOf("type", typ, "payload", messagePayload(in))
	if err := r.keepMessage(in.str("plan_name"), in.str("deployment_status"), typ, body); err != nil {
		return nil, err
	}
	return body, r.post(in.str("queue_name"), body)
}

func (r *run) keepMessage(plan, deploymentStatus, typ string, body *yaml11.OrderedMap) error {
	if plan == "" {
		return nil
	}
	container := plan + "-messages"
	if err := r.createContainer(container, nil); err != nil {
		return err
	}
	data, err := yaml11.Marshal(body)
	if err != nil {
		return err
	}
	name := typ + "/" + r.ac.Now().UTC().Format("2006-01-02_15:04:05") + ".yaml"
	if err := r.putObject(container, name, data); err != nil || deploymentStatus == "" {
		return err
	}
	data, err = yaml11.Marshal(yaml11.MapOf("deployment_status", deploymentStatus, "workflow_status", body))
	if err != nil {
		return err
	}
	return r.putObject(container, "deployment_status.yaml", data)
}

// deploymentStatus returns what the last message with a deployment status said; null when there was none.
func deploymentStatus(r *run, in input) (any, error) {
	data, err := r.getObject(in.str("plan")+"-messages", "deployment_status.yaml")
	if isStatus(err, 404) {
		return yaml11.MapOf("deployment_status", nil), nil
	}
	if err != nil {
		return nil, err
	}
	return parseMap("deployment_status.yaml", data)
}
