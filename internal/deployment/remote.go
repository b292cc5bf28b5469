package deployment

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// remoteDeployment is one script (or other config) on one server, outside of any stack.
type remoteDeployment struct {
	container       string // of the signal; also the mark by which a repeated call knows its deployment
	deployID, cfgID string
	server          string
}

const signalObject = "signal"

// deploymentConfig runs a config of a group (script) on a server by its agent and waits for the result:
// {deploy_stdout, deploy_stderr, deploy_status_code, …}. An exit code other than 0, or no answer within timeout seconds, is an error.
func deploymentConfig(r *run, in input) (any, error) {
	if t := in.str("signal_transport"); t != "" && t != "TEMP_URL_SIGNAL" {
		return nil, fmt.Errorf("signal_transport must be TEMP_URL_SIGNAL, not %s", t)
	}
	d := &remoteDeployment{server: in.str("server_id"), container: "deployment-" + r.ac.ActionExecutionID}
	if err := r.findRemote(d); err != nil {
		return nil, err
	}
	if d.deployID == "" {
		if r.ac.Attempt > 1 {
			if answer, done, err := r.remoteAnswer(d); done || err != nil {
				return answer, err // it was cleaned up before a restart
			}
		}
		if err := r.startRemote(d, in); err != nil {
			return nil, err
		}
	}
	answer, done, err := r.remoteAnswer(d)
	if err != nil {
		return nil, err
	}
	if !done {
		late, err := r.overdue(in, 600)
		if err != nil {
			return nil, err
		}
		if !late {
			return nil, actions.Wait(3*time.Second, r.objectTopic(d.container, signalObject))
		}
		answer = yaml11.MapOf("deploy_stdout", "", "deploy_stderr", "timed out: the server's agent did not answer", "deploy_status_code", -1)
	}
	if err := r.cleanRemote(d); err != nil {
		return nil, err
	}
	if code := dig(answer, "deploy_status_code"); code != nil && fmt.Sprint(code) != "0" {
		return nil, &actions.FailureError{Result: yaml11.Plain(answer)}
	}
	return answer, nil
}

// objectTopic is what is published when an object changes.
func (r *run) objectTopic(container, object string) string {
	account := ""
	if c, err := r.s.ObjectStore(); err == nil {
		account = lastSegment(c.Endpoint)
	}
	return "objectstore/" + account + "/" + container + "/" + object
}

// findRemote looks for the deployment that an earlier call of the same action made.
func (r *run) findRemote(d *remoteDeployment) error {
	c, err := r.s.Orchestration()
	if err != nil {
		return err
	}
	var out any
	if _, err := r.request(c, http.MethodGet, c.ServiceURL("software_deployments")+"?server_id="+url.QueryEscape(d.server), nil, &out); err != nil {
		return err
	}
	list, _ := dig(out, "software_deployments").([]any)
	for _, x := range list {
		if text(x, "input_values", "deploy_action_execution") == d.container {
			d.deployID, d.cfgID = text(x, "id"), text(x, "config_id")
		}
	}
	return nil
}

func (r *run) startRemote(d *remoteDeployment, in input) error {
	if err := r.createContainer(d.container, nil); err != nil {
		return err
	}
	if err := r.putObject(d.container, signalObject, nil); err != nil {
		return err
	}
	timeout, err := in.integer("timeout", 600)
	if err != nil {
		return err
	}
	signal, err := r.signedURL(http.MethodPut, d.container, signalObject, timeout+600)
	if err != nil {
		return err
	}
	inputs := []any{}
	for _, v := range in.list("input_values") {
		if m, ok := v.(*yaml11.OrderedMap); ok {
			inputs = append(inputs, m)
		}
	}
	given, _ := in.value("input_values").(*yaml11.OrderedMap)
	for k, v := range given.All() {
		inputs = append(inputs, deployInput(k, v))
	}
	for _, kv := range [][2]string{{"deploy_server_id", d.server}, {"deploy_action", in.str("action")}, {"deploy_stack_id", "tripleo/" + d.container},
		{"deploy_resource_name", in.str("name")}, {"deploy_signal_transport", "TEMP_URL_SIGNAL"}, {"deploy_signal_id", r.nodeURL(signal)}, {"deploy_signal_verb", "PUT"}} {
		inputs = append(inputs, deployInput(kv[0], kv[1]))
	}
	c, err := r.s.Orchestration()
	if err != nil {
		return err
	}
	outputs := []any{yaml11.MapOf("name", "deploy_stdout"), yaml11.MapOf("name", "deploy_stderr"), yaml11.MapOf("name", "deploy_status_code", "error_output", true)}
	body := yaml11.MapOf("name", in.str("name"), "group", in.str("group"), "config", in.value("config"), "inputs", inputs, "outputs", outputs, "options", yaml11.NewMap())
	var made any
	if _, err := r.request(c, http.MethodPost, c.ServiceURL("software_configs"), body, &made); err != nil {
		return fmt.Errorf("software config %s: %w", in.str("name"), err)
	}
	d.cfgID = text(made, "software_config", "id")
	body = yaml11.MapOf("config_id", d.cfgID, "server_id", d.server, "action", in.str("action"), "status", "IN_PROGRESS",
		"input_values", yaml11.MapOf("deploy_action_execution", d.container))
	if _, err := r.request(c, http.MethodPost, c.ServiceURL("software_deployments"), body, &made); err != nil {
		return fmt.Errorf("software deployment %s: %w", in.str("name"), err)
	}
	d.deployID = text(made, "software_deployment", "id")
	return nil
}

func deployInput(name string, v any) *yaml11.OrderedMap {
	return yaml11.MapOf("name", name, "type", "String", "value", v)
}

// remoteAnswer reads what the server signalled; done is false as long as it has not.
func (r *run) remoteAnswer(d *remoteDeployment) (answer any, done bool, err error) {
	data, err := r.getObject(d.container, signalObject)
	if isStatus(err, 404) || err == nil && strings.TrimSpace(string(data)) == "" {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	answer, err = yaml11.DecodeJSON(data)
	if err != nil {
		return nil, false, fmt.Errorf("server %s: its answer is no JSON: %w", d.server, err)
	}
	return answer, true, nil
}

// cleanRemote removes deployment, config and container.
func (r *run) cleanRemote(d *remoteDeployment) error {
	c, err := r.s.Orchestration()
	if err != nil {
		return err
	}
	for _, path := range []string{c.ServiceURL("software_deployments", d.deployID), c.ServiceURL("software_configs", d.cfgID)} {
		if _, err := r.request(c, http.MethodDelete, path, nil, nil, 204, 404); err != nil {
			return err
		}
	}
	return r.emptyAndDelete(d.container)
}
