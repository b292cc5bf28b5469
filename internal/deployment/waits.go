package deployment

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// overdue tells whether an action has waited longer than its input timeout (seconds) allows.
func (r *run) overdue(in input, def int) (bool, error) {
	timeout, err := in.integer("timeout", def)
	return err == nil && r.ac.Now().Sub(r.ac.Started) > time.Duration(timeout)*time.Second, err
}

// waitProvisionState waits until a node is in target_state; an error when it got into one of error_states.
func waitProvisionState(r *run, in input) (any, error) {
	_, node, err := r.node(in.str("node_uuid"))
	if err != nil {
		return nil, err
	}
	state, name := text(node, "provision_state"), firstText(text(node, "name"), text(node, "uuid"))
	if state == in.str("target_state") {
		return yaml11.MapOf("uuid", text(node, "uuid"), "provision_state", state), nil
	}
	// A node that is at rest elsewhere did not make it, whatever the state is called.
	stuck := text(node, "target_provision_state") == ""
	if stuck || slices.Contains(in.list("error_states"), any(state)) {
		return nil, fmt.Errorf("Node %s is in state %q instead of %q: %s", name, state, in.str("target_state"), firstText(text(node, "last_error"), in.str("problem"), "no reason given")) //nolint:staticcheck // the text clients know
	}
	late, err := r.overdue(in, 1800)
	if err != nil {
		return nil, err
	}
	if late {
		return nil, fmt.Errorf("Node %s is still in state %q, not %q: %s", name, state, in.str("target_state"), firstText(text(node, "last_error"), "timed out")) //nolint:staticcheck // as above
	}
	return nil, actions.Wait(3*time.Second, "baremetal/node/"+text(node, "uuid"))
}

func waitPowerState(r *run, in input) (any, error) {
	_, node, err := r.node(in.str("node_uuid"))
	if err != nil {
		return nil, err
	}
	state, name := text(node, "power_state"), firstText(text(node, "name"), text(node, "uuid"))
	switch {
	case state == in.str("target_state"):
		return yaml11.MapOf("uuid", text(node, "uuid"), "power_state", state), nil
	case state == in.str("error_state"):
		return nil, fmt.Errorf("Node %s: power: %s", name, text(node, "last_error")) //nolint:staticcheck // as above
	}
	late, err := r.overdue(in, 120)
	if err != nil {
		return nil, err
	}
	if late {
		return nil, fmt.Errorf("Node %s is %q, not %q: %s", name, state, in.str("target_state"), firstText(text(node, "last_error"), "timed out")) //nolint:staticcheck // as above
	}
	return nil, actions.Wait(3*time.Second, "baremetal/node/"+text(node, "uuid"))
}

// introspectNode introspects a node and waits for the end: {uuid, finished, error}. A failure is an error of the
// action unless raise is false.
func introspectNode(r *run, in input) (any, error) {
	id := in.str("node_uuid")
	c, err := r.s.Introspection()
	if err != nil {
		return nil, err
	}
	end := func(problem string) (any, error) {
		if problem != "" && in.boolean("raise") {
			return nil, fmt.Errorf("Introspection of node %s: %s", id, problem) //nolint:staticcheck // the text clients know
		}
		var reason any
		if problem != "" {
			reason = problem
		}
		return yaml11.MapOf("uuid", id, "finished", true, "error", reason), nil
	}
	status, err := r.introspectionStatus(c, id)
	if err != nil {
		return nil, err
	}
	if status == nil || staleIntrospection(status, r.ac.Started) {
		if _, err := r.request(c, http.MethodPost, versioned(c, "v1", "introspection", id), nil, nil, 202); err != nil {
			return end(err.Error())
		}
	} else if truthy(dig(status, "finished")) {
		return end(text(status, "error"))
	}
	late, err := r.overdue(in, 1200)
	if err != nil {
		return nil, err
	}
	if late {
		if _, err := r.request(c, http.MethodPost, versioned(c, "v1", "introspection", id, "abort"), nil, nil, 202); err != nil {
			return end("timed out, and could not be aborted: " + err.Error())
		}
		return end("timed out")
	}
	return nil, actions.Wait(3*time.Second, "baremetal/node/"+id, "introspection/node/"+id)
}

func (r *run) introspectionStatus(c *gophercloud.ServiceClient, id string) (any, error) {
	var status any
	_, err := r.request(c, http.MethodGet, versioned(c, "v1", "introspection", id), nil, &status)
	if isStatus(err, 404) {
		return nil, nil
	}
	return status, err
}

// staleIntrospection tells whether a status is that of an introspection that ended before ours began.
func staleIntrospection(status any, began time.Time) bool {
	if !truthy(dig(status, "finished")) {
		return false
	}
	at := text(status, "finished_at")
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, at); err == nil {
			return t.Before(began.Truncate(time.Second))
		}
	}
	return false
}

// stackWait waits until a stack's status is one of states: COMPLETE, FAILED, IN_PROGRESS or GONE.
func stackWait(r *run, in input) (any, error) {
	name := in.str("stack")
	st, err := r.findStack(name)
	if err != nil {
		return nil, err
	}
	status := "GONE"
	if st != nil && text(st, "stack_status") != "DELETE_COMPLETE" {
		status = text(st, "stack_status")
	}
	for _, s := range in.list("states") {
		if want, ok := s.(string); ok && strings.HasSuffix(status, want) {
			return yaml11.MapOf("stack", name, "stack_status", status), nil
		}
	}
	if status == "DELETE_FAILED" {
		return nil, fmt.Errorf("stack %s: %s", name, text(st, "stack_status_reason"))
	}
	if status == "GONE" {
		return nil, fmt.Errorf("there is no stack %s", name)
	}
	late, err := r.overdue(in, 14400)
	if err != nil {
		return nil, err
	}
	if late {
		return nil, fmt.Errorf("stack %s is still %s: %s", name, status, text(st, "stack_status_reason"))
	}
	return nil, actions.Wait(5*time.Second, "orchestration/stack/"+text(st, "id"))
}
