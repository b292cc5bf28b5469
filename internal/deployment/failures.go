package deployment

import (
	"regexp"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	stackDepth = 7       // as deep as Heat lets stacks nest
	tailBytes  = 4 << 10 // of a script's output in a message
)

// deploymentFailures says why a stack failed: for each resource that failed by itself its path, type, reason, and
// for a deployment the node, the exit code and the end of what the script wrote.
func deploymentFailures(r *run, in input) (any, error) {
	st, err := r.findStack(in.str("plan"))
	if err != nil {
		return nil, err
	}
	if st == nil {
		return yaml11.MapOf("message", "There is no stack "+in.str("plan")+".", "failures", yaml11.NewMap(), "resources", []any{}), nil
	}
	list, err := r.failures(st)
	if err != nil {
		return nil, err
	}
	// The shape of the original, by host, beside the list.
	byHost := yaml11.NewMap()
	for _, f := range list {
		host := text(f, "node")
		if host == "" {
			host = "undercloud"
		}
		tasks, _ := dig(byHost, host).([]any)
		byHost.Set(host, append(tasks, []any{text(f, "path"), f}))
	}
	return yaml11.MapOf("message", text(st, "stack_status_reason"), "stack_status", text(st, "stack_status"), "failures", byHost, "resources", list), nil
}

func (r *run) failures(st *yaml11.OrderedMap) ([]any, error) {
	out := []any{}
	if !strings.HasSuffix(text(st, "stack_status"), "_FAILED") {
		return out, nil
	}
	all, err := r.resources(st, stackDepth)
	if err != nil {
		return nil, err
	}
	names, err := r.serverNames()
	if err != nil {
		return nil, err
	}
	machines, err := r.machines()
	if err != nil {
		return nil, err
	}
	base := ""
	if c, err := r.s.ObjectStore(); err == nil {
		base = objectURL(c, text(st, "stack_name"), "") + "/"
	}
	origin := r.origins(text(st, "stack_name"))
	for _, i := range failedLeaves(all) {
		res := all[i]
		f := yaml11.MapOf("path", paths(all)[i], "resource_type", shorten(res.typ, base), "status", res.status, "reason", shorten(res.reason, base))
		if res.position != "" {
			f.Set("template", shorten(res.position, base))
		}
		if err := r.describeFailure(f, res, names, machines); err != nil {
			return nil, err
		}
		if c := cause(text(f, "reason"), text(f, "template")); c != "" {
			f.Set("cause", origin.explain(c))
		}
		if p := text(f, "template"); p != "" {
			f.Set("template", origin.explain(p))
		}
		out = append(out, f)
	}
	if len(out) == 0 { // the stack failed before any resource did
		out = append(out, yaml11.MapOf("path", text(st, "stack_name"), "resource_type", "OS::Heat::Stack", "status", text(st, "stack_status"),
			"reason", shorten(text(st, "stack_status_reason"), base), "cause", cause(shorten(text(st, "stack_status_reason"), base), "")))
	}
	return out, nil
}

// failedLeaves are the failed resources that do not merely stand for a nested stack in which another failed.
func failedLeaves(all []resource) []int {
	inside := map[string]bool{}
	for _, res := range all {
		if strings.HasSuffix(res.status, "_FAILED") {
			inside[res.stackID] = true
		}
	}
	var out []int
	cancelled := []int{}
	for i, res := range all {
		if !strings.HasSuffix(res.status, "_FAILED") {
			continue
		}
		id := res.nested
		if id == "" {
			id = res.physicalID
		}
		switch {
		case id != "" && inside[id]:
		case strings.Contains(res.reason, "aborted") || strings.Contains(res.reason, "cancelled"):
			cancelled = append(cancelled, i) // stopped because of another failure: only shown if there is no other
		default:
			out = append(out, i)
		}
	}
	if len(out) == 0 {
		return cancelled
	}
	return out
}

var (
	resourceError = regexp.MustCompile(`^(?:Resource (?:CREATE|UPDATE|DELETE) failed: )?[A-Z]\w*: (?:resources(?:\.[^:]+|\[[^\]]*\]): )?`)
	wentToStatus  = regexp.MustCompile(`(?s)^Went to status \w+ due to "(?:Message: )?(.*?)(?:, Code: \d+)?"$`)
)

// cause is what is left of Heat's reason without the wrapping that is shown beside it anyway: the exception's name,
// the resource, the status and the place in the template.
func cause(reason, position string) string {
	s := strings.TrimSuffix(reason, " ("+position+")")
	s = resourceError.ReplaceAllString(s, "")
	if m := wentToStatus.FindStringSubmatch(s); m != nil {
		s = m[1]
	}
	return s
}

// describeFailure adds what is known about the server or the software deployment behind a resource: node is the
// server's name, baremetal_node that of the machine under it.
func (r *run) describeFailure(f *yaml11.OrderedMap, res resource, names map[string]string, machines map[string]any) error {
	host := func(id string) {
		if n := firstText(names[id], id); n != "" {
			f.Set("node", n)
		}
		if m := machines[id]; m != nil {
			f.Set("baremetal_node", firstText(text(m, "name"), text(m, "uuid")))
		}
	}
	if names[res.physicalID] != "" {
		host(res.physicalID)
		return nil
	}
	if !strings.Contains(res.typ, "Deployment") || res.physicalID == "" {
		return nil
	}
	c, err := r.s.Orchestration()
	if err != nil {
		return err
	}
	var out any
	_, err = r.request(c, "GET", c.ServiceURL("software_deployments", res.physicalID), nil, &out)
	if isStatus(err, 404) {
		return nil
	}
	if err != nil {
		return err
	}
	d := dig(out, "software_deployment")
	host(text(d, "server_id"))
	for _, k := range []string{"deploy_stderr", "deploy_stdout"} {
		if t := text(d, "output_values", k); t != "" {
			f.Set(k, tail(t))
		}
	}
	if v := dig(d, "output_values", "deploy_status_code"); v != nil {
		f.Set("deploy_status_code", v)
	}
	if t := text(d, "status_reason"); t != "" && text(f, "reason") == "" {
		f.Set("reason", t)
	}
	return nil
}

// tail keeps the end of a text, from the start of a line.
func tail(s string) string {
	s = strings.TrimRight(s, "\n")
	if len(s) <= tailBytes {
		return s
	}
	s = strings.ToValidUTF8(s[len(s)-tailBytes:], "")
	if i := strings.IndexByte(s, '\n'); i >= 0 && i < len(s)-1 {
		s = s[i+1:]
	}
	return "…\n" + s
}

// serverNames maps the ids of servers to their names.
func (r *run) serverNames() (map[string]string, error) {
	servers, err := r.servers()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, s := range servers {
		out[text(s, "id")] = text(s, "name")
	}
	return out, nil
}

func (r *run) servers() ([]any, error) {
	c, err := r.s.Compute()
	if err != nil {
		return nil, err
	}
	return r.pages(c, c.ServiceURL("servers", "detail")+"?limit=1000", "servers", "id")
}
