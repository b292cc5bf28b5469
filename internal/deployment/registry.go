package deployment

import (
	"context"
	"errors"
	"slices"

	"github.com/tripleo/tripleo/internal/workflow/actions"
)

type actionFunc func(r *run, in input) (any, error)

// row is one action of the table.
type row struct {
	name, description string
	params            []actions.Param
	fn                actionFunc
}

// Actions returns the tripleo.* actions.
func Actions(cfg Config) []actions.Action {
	var out []actions.Action
	for _, rw := range table() {
		out = append(out, actions.Action{
			Name: rw.name, Description: rw.description, Input: rw.params,
			Run: func(ctx context.Context, c *actions.Context, in map[string]any) (any, error) {
				if c.Session == nil {
					return nil, errors.New(rw.name + " needs the rights of a caller")
				}
				return rw.fn(&run{ctx: ctx, s: c.Session, ac: c, cfg: &cfg}, newInput(in))
			},
		})
	}
	return out
}

func table() []row {
	req, opt := actions.Req, actions.Opt
	container := req("container")
	plan := func(def string) actions.Param { return opt("container", def) }
	return append([]row{
		{"tripleo.plan.create_container", "Create the container of a plan", []actions.Param{container}, planCreateContainer},
		{"tripleo.plan.list", "List the plans", nil, planList},
		{"tripleo.plan.delete", "Delete a plan that no stack uses", []actions.Param{container}, planDelete},
		{"tripleo.plan.export", "Pack a plan as a tarball", []actions.Param{req("plan"), opt("delete_after", 3600), opt("exports_container", "plan-exports")}, planExport},
		{"tripleo.plan.update_plan_environment", "Change a parameter of the plan environment", []actions.Param{req("parameter"), req("env_key"), opt("value", nil), opt("delete", false), plan("overcloud")}, updatePlanEnvironment},
		{"tripleo.role.list", "List the roles of a plan", []actions.Param{plan("overcloud"), opt("role_file_name", rolesFile), opt("detail", false)}, roleList},
		{"tripleo.templates.upload", "Put the default templates into a plan", []actions.Param{plan("overcloud"), opt("templates_path", "")}, templatesUpload},
		{"tripleo.templates.upload_default", "Put the default templates into a plan", []actions.Param{plan("overcloud"), opt("templates_path", "")}, templatesUpload},
		{"tripleo.templates.upload_plan_environment", "Replace the plan environment", []actions.Param{container, req("plan_environment")}, uploadPlanEnvironment},
		{"tripleo.templates.process", "Render the templates of a plan for Heat", []actions.Param{plan("overcloud")}, templatesProcess},
		{"tripleo.parameters.get", "Heat's view of a plan's parameters", []actions.Param{plan("overcloud")}, parametersGet},
		{"tripleo.parameters.get_flatten", "Heat's view of a plan's parameters, flattened", []actions.Param{plan("overcloud")}, parametersGetFlatten},
		{"tripleo.parameters.update", "Change parameters of a plan", []actions.Param{req("parameters"), plan("overcloud"), opt("key", "parameter_defaults"), opt("validate", true)}, parametersUpdate},
		{"tripleo.parameters.reset", "Drop the parameters of a plan", []actions.Param{plan("overcloud"), opt("key", "parameter_defaults")}, parametersReset},
		{"tripleo.parameters.generate_passwords", "Give a plan the passwords it lacks", []actions.Param{plan("overcloud")}, generatePasswords},
		{"tripleo.parameters.get_passwords", "Show the passwords of a plan", []actions.Param{plan("overcloud")}, getPasswords},
		{"tripleo.deployment.deploy", "Create or update the stack of a plan", []actions.Param{req("timeout"), plan("overcloud"), opt("skip_deploy_identifier", false)}, deploymentDeploy},
		{"tripleo.deployment.follow", "Wait for the stack of a plan and tell how it goes", []actions.Param{plan("overcloud"), opt("queue_name", "tripleo"), opt("type", "tripleo.deployment.v1.deploy_plan"), opt("timeout", 240)}, follow},
		{"tripleo.deployment.overcloudrc", "Credentials of a deployed cloud", []actions.Param{plan("overcloud"), opt("no_proxy", "")}, overcloudrc},
		{"tripleo.deployment.get_deployment_failures", "Why a deployment failed", []actions.Param{opt("plan", "overcloud")}, deploymentFailures},
		{"tripleo.deployment.get_status", "What a plan's deployment last said", []actions.Param{opt("plan", "overcloud")}, deploymentStatus},
		{"tripleo.messaging.send", "Post a message of a workflow and keep it", []actions.Param{req("queue_name"), req("type"), req("execution"), opt("status", "SUCCESS"), opt("message", nil), opt("payload", map[string]any{}), opt("plan_name", nil), opt("deployment_status", nil)}, messagingSend},
		{"tripleo.stack.wait", "Wait until a stack is in one of some states", []actions.Param{req("stack"), req("states"), opt("timeout", 14400)}, stackWait},
		{"tripleo.swift.tempurl", "A temporary URL of an object", []actions.Param{container, req("obj"), opt("method", "GET"), opt("valid", "86400")}, tempURL},
		{"tripleo.stack.delete", "Ask Heat to delete a stack", []actions.Param{req("stack")}, stackDelete},
	}, slices.Concat(baremetalTable(), planTable(), nodeTable(), checkTable(), ansibleTable())...)
}

func baremetalTable() []row {
	req, opt := actions.Req, actions.Opt
	return []row{
		{"tripleo.baremetal.validate_nodes", "Check the nodes of an instackenv.json", []actions.Param{req("nodes_json")}, validateNodes},
		{"tripleo.baremetal.register_or_update_nodes", "Register nodes, or update them", []actions.Param{req("nodes_json"), opt("remove", false), opt("kernel_name", nil), opt("ramdisk_name", nil), opt("instance_boot_option", "local")}, registerOrUpdateNodes},
		{"tripleo.baremetal.configure_boot", "Set the deployment images of a node", []actions.Param{req("node_uuid"), opt("kernel_name", "bm-deploy-kernel"), opt("ramdisk_name", "bm-deploy-ramdisk"), opt("instance_boot_option", nil)}, configureBoot},
		{"tripleo.baremetal.configure_root_device", "Choose the root disk of a node", []actions.Param{req("node_uuid"), opt("root_device", nil), opt("minimum_size", 4), opt("overwrite", false)}, configureRootDevice},
		{"tripleo.baremetal.update_node_capability", "Set a capability of a node", []actions.Param{req("node_uuid"), req("capability"), req("value")}, updateNodeCapability},
		{"tripleo.baremetal.wait_provision_state", "Wait until a node is in a provision state", []actions.Param{req("node_uuid"), req("target_state"), opt("error_states", []any{}), opt("timeout", 1800), opt("problem", nil)}, waitProvisionState},
		{"tripleo.baremetal.wait_power_state", "Wait until a node has a power state", []actions.Param{req("node_uuid"), req("target_state"), opt("error_state", "error"), opt("timeout", 120)}, waitPowerState},
		{"tripleo.baremetal.introspect", "Introspect a node and wait for the end", []actions.Param{req("node_uuid"), opt("timeout", 1200), opt("raise", true)}, introspectNode},
		{"tripleo.baremetal.get_profile", "The profile of a node", []actions.Param{req("node")}, capabilityOf("profile", "profile")},
		{"tripleo.baremetal.get_node_hint", "The scheduler hint of a node", []actions.Param{req("node")}, capabilityOf("node", "hint")},
		{"tripleo.baremetal.cell_v2_discover_hosts", "Make Nova know new machines", nil, cellDiscover},
	}
}
