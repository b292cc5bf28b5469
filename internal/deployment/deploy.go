package deployment

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// deploymentDeploy creates or updates the stack of a plan: inputs timeout (minutes), container,
// skip_deploy_identifier. It returns {stack_name, stack_id, action} as soon as Heat has accepted.
func deploymentDeploy(r *run, in input) (any, error) {
	container := in.str("container")
	timeout, err := in.integer("timeout", 240)
	if err != nil {
		return nil, err
	}
	st, begun, err := r.idleStack(container)
	if err != nil {
		return nil, err
	}
	if begun {
		return accepted(container, st, strings.TrimSuffix(text(st, "stack_status"), inProgress)), nil
	}
	action := "CREATE"
	if st != nil {
		action = "UPDATE"
	}
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	params := section(env, "parameter_defaults").Clone()
	if !in.boolean("skip_deploy_identifier") {
		params.Set("DeployIdentifier", r.ac.Started.Unix()) // the same when this action is run again
	}
	params.Set("UpdateIdentifier", "")
	params.Set("StackAction", action)
	env.Set("parameter_defaults", params)
	if err := r.writePlanEnv(container, env); err != nil {
		return nil, err
	}
	p, err := r.process(container)
	if err != nil {
		return nil, err
	}
	if err := r.ensureDefaultKeyPair(); err != nil {
		return nil, fmt.Errorf("key pair %s of Nova: %w", defaultKeyPair, err)
	}
	body := yaml11.MapOf("stack_name", container, "template", p.template, "environment", p.environment, "files", p.files,
		"timeout_mins", timeout, "disable_rollback", true, "template_file", p.templateFile)
	c, err := r.s.Orchestration()
	if err != nil {
		return nil, err
	}
	if st == nil {
		var out any
		if _, err = r.request(c, http.MethodPost, c.ServiceURL("stacks"), body, &out, 201); err != nil {
			return nil, r.explain(container, err)
		}
		m, _ := dig(out, "stack").(*yaml11.OrderedMap)
		return accepted(container, m, action), nil
	}
	// A whole update, not a patch: what a plan no longer says goes back to its default.
	if _, err := r.request(c, http.MethodPut, c.ServiceURL("stacks", container, text(st, "id")), body, nil, 202); err != nil {
		return nil, r.explain(container, err)
	}
	return accepted(container, st, action), nil
}

const inProgress = "_IN_PROGRESS"

// idleStack finds the stack of a plan, nil when there is none, and refuses one that Heat works on; begun tells that it
// works on what this action asked for: it had accepted before this server was stopped.
func (r *run) idleStack(container string) (st *yaml11.OrderedMap, begun bool, err error) {
	st, err = r.findStack(container)
	if err != nil || st == nil {
		return nil, false, err
	}
	status := text(st, "stack_status")
	switch {
	case !strings.HasSuffix(status, inProgress):
		return st, false, nil
	case r.ac.Attempt > 1:
		return st, true, nil
	}
	return nil, false, fmt.Errorf("stack %s is %s: wait until it is done, or delete it", container, status)
}

func accepted(name string, st *yaml11.OrderedMap, action string) *yaml11.OrderedMap {
	return yaml11.MapOf("stack_name", name, "stack_id", text(st, "id"), "action", action)
}

// explain shortens the URLs of the plan in an error of Heat to names of its files, and says what they were rendered from.
func (r *run) explain(container string, err error) error {
	if err == nil {
		return nil
	}
	c, cerr := r.s.ObjectStore()
	if cerr != nil {
		return err
	}
	return r.origins(container).explained(errors.New(shorten(err.Error(), objectURL(c, container, "")+"/")))
}

func shorten(s, base string) string { return strings.ReplaceAll(s, base, "") }

// stackDelete asks Heat to delete a stack and returns its id; null when there is none.
func stackDelete(r *run, in input) (any, error) {
	st, err := r.findStack(in.str("stack"))
	if err != nil || st == nil {
		return nil, err
	}
	c, err := r.s.Orchestration()
	if err != nil {
		return nil, err
	}
	_, err = r.request(c, http.MethodDelete, c.ServiceURL("stacks", text(st, "stack_name"), text(st, "id")), nil, nil, 204, 202, 404)
	return text(st, "id"), err
}

// overcloudrc returns the text of the file that points clients to the deployed cloud, and its parts.
func overcloudrc(r *run, in input) (any, error) {
	container := in.str("container")
	st, err := r.findStack(container)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return nil, fmt.Errorf("The Heat stack %s could not be found.", container) //nolint:staticcheck // the text clients know
	}
	out := outputs(st)
	url := text(out, "KeystoneURL")
	if url == "" {
		return nil, fmt.Errorf("The Heat stack %s does not have a KeystoneURL output", container) //nolint:staticcheck // as above
	}
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	password := text(env, "parameter_defaults", "AdminPassword")
	if password == "" {
		password = text(env, "passwords", "AdminPassword")
	}
	if password == "" {
		return nil, fmt.Errorf("Unable to find the AdminPassword in the plan environment of %s", container) //nolint:staticcheck // as above
	}
	region := text(env, "parameter_defaults", "KeystoneRegion")
	if region == "" {
		region = "regionOne"
	}
	rc := rcText(container, url, password, region, in.str("no_proxy"))
	return yaml11.MapOf("overcloudrc", rc, "overcloudrc.v3", rc, "auth_url", authV3(url), "region", region, "password", password,
		"ca_certificate", text(out, "SSLRootCertificate")), nil
}

func authV3(url string) string {
	url = strings.TrimSuffix(url, "/")
	for _, v := range []string{"/v2.0", "/v3"} {
		url = strings.TrimSuffix(url, v)
	}
	return url + "/v3"
}

// shellQuote makes a word of a POSIX shell.
func shellQuote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:,@%+=", r))
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func rcText(stack, url, password, region, noProxy string) string {
	vars := [][2]string{
		{"OS_NO_CACHE", "True"}, {"COMPUTE_API_VERSION", "1.1"}, {"OS_USERNAME", "admin"}, {"OS_PASSWORD", password},
		{"OS_AUTH_URL", authV3(url)}, {"OS_PROJECT_NAME", "admin"}, {"OS_PROJECT_DOMAIN_NAME", "Default"}, {"OS_USER_DOMAIN_NAME", "Default"},
		{"OS_REGION_NAME", region}, {"OS_IDENTITY_API_VERSION", "3"}, {"OS_IMAGE_API_VERSION", "2"}, {"OS_VOLUME_API_VERSION", "3"},
		{"OS_CLOUDNAME", stack}, {"NOVA_VERSION", "1.1"}, {"OS_AUTH_TYPE", "password"},
	}
	var sb strings.Builder
	sb.WriteString("# Clear any old environment that may conflict.\nfor key in $( set | awk '{FS=\"=\"}  /^OS_/ {print $1}' ); do unset $key ; done\n")
	for _, kv := range vars {
		sb.WriteString("export " + kv[0] + "=" + shellQuote(kv[1]) + "\n")
	}
	if noProxy != "" {
		sb.WriteString("export no_proxy=" + shellQuote(noProxy) + "\n")
	}
	sb.WriteString(`# Add OS_CLOUDNAME to PS1
if [ -z "${CLOUDPROMPT_ENABLED:-}" ]; then
    export PS1=${PS1:-""}
    export PS1=\${OS_CLOUDNAME:+"(\$OS_CLOUDNAME)"}\ $PS1
    export CLOUDPROMPT_ENABLED=1
fi
`)
	return sb.String()
}
