package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/plan"
)

// mostWarnings are shown: hundreds of nodes may have the same.
const mostWarnings = 20

// checkBefore finds what a deployment would fail for: images, flavors, nodes and their profiles. Errors keep it from starting
// unless --validation-errors-nonfatal is given; warnings are shown, and keep it from starting with --validation-warnings-fatal.
func (o *operator) checkBefore(ctx context.Context, f *deployFlags, create bool) error {
	if f.noValidations {
		return nil
	}
	problems, err := o.precheck(ctx, create)
	if err != nil {
		return err
	}
	found, warnings, err := o.checkWorkflow(ctx, f)
	if err != nil {
		return err
	}
	problems = append(problems, found...)
	for i, w := range warnings {
		if i == mostWarnings {
			_, _ = fmt.Fprintf(o.a.stderr, "WARNING: … and %d more\n", len(warnings)-i)
			break
		}
		_, _ = fmt.Fprintf(o.a.stderr, "WARNING: %s\n", w)
	}
	switch {
	case len(problems) > 0 && !f.errorsNonfatal:
		return fmt.Errorf("%s\n(--disable-validations deploys nevertheless)", strings.Join(problems, "\n"))
	case len(warnings) > 0 && f.warningsFatal:
		return fmt.Errorf("there are %d warnings, and --validation-warnings-fatal is given", len(warnings))
	}
	for _, p := range problems {
		_, _ = fmt.Fprintf(o.a.stderr, "WARNING: %s\n", p)
	}
	return nil
}

// precheck finds missing images and, for a new cloud, that there is no node at all.
func (o *operator) precheck(ctx context.Context, create bool) ([]string, error) {
	c, err := o.s.Image()
	if err != nil {
		return nil, err
	}
	var problems []string
	v, _, err := o.call(ctx, c, http.MethodGet, below(c, "v2", "images")+"?name="+url.QueryEscape("overcloud-full"), nil, nil)
	if err != nil {
		return nil, err
	}
	if len(items(lookup(v, "images"))) == 0 {
		problems = append(problems, "there is no image overcloud-full: run `tripleo overcloud image upload`")
	}
	if create {
		b, err := o.s.Baremetal()
		if err != nil {
			return nil, err
		}
		v, _, err := o.call(ctx, b, http.MethodGet, below(b, "v1", "nodes")+"?provision_state=available&maintenance=False&limit=1", nil, nil)
		if err != nil {
			return nil, err
		}
		if len(items(lookup(v, "nodes"))) == 0 {
			problems = append(problems, "no node is available: run `tripleo overcloud node import` and `node introspect --provide`")
		}
	}
	return problems, nil
}

// checkWorkflow runs the workflow of the checks with the roles, counts and flavors that the files and flags of the operator ask for.
func (o *operator) checkWorkflow(ctx context.Context, f *deployFlags) (problems, warnings []string, err error) {
	old, _, err := o.oldPlanEnv(ctx, f.stack)
	if err != nil {
		return nil, nil, err
	}
	params, err := f.localParameters(old)
	if err != nil {
		return nil, nil, err
	}
	roles, err := f.localRoles()
	if err != nil {
		return nil, nil, err
	}
	info, counts := roleWishes(roles, params)
	const name = "tripleo.validations.v1.check_pre_deployment_validations"
	out, err := o.workflow(ctx, name, map[string]any{"deploy_kernel_name": "bm-deploy-kernel", "deploy_ramdisk_name": "bm-deploy-ramdisk",
		"roles_info": yaml11.Plain(info), "stack_id": f.stack, "parameters": yaml11.Plain(params), "default_role_counts": yaml11.Plain(counts), "run_validations": true, "queue_name": defaultQueue}, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range items(lookup(out.last, "errors")) {
		problems = append(problems, str(e))
	}
	for _, w := range items(lookup(out.last, "warnings")) {
		warnings = append(warnings, str(w))
	}
	if err := out.failed(name); err != nil && len(problems) == 0 {
		return nil, nil, err // it did not come to its end
	}
	if n, _ := lookup(counts, "ControllerCount").(int64); n > 1 && str(lookup(params, "NtpServer")) == "" {
		warnings = append(warnings, "there are several controllers and no NtpServer: give --ntp-server or the parameter")
	}
	return unique(problems), unique(warnings), nil
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// template reads a file of the templates that are deployed, before they are in the plan.
func (f *deployFlags) template(name string) ([]byte, error) {
	if f.templates == "" {
		return fs.ReadFile(plan.FS(), name)
	}
	return os.ReadFile(filepath.Join(f.templates, filepath.FromSlash(name))) //nolint:gosec // named by the operator
}

// localParameters are the parameter_defaults that files of the operator and of the plan give, as far as they need not be rendered.
func (f *deployFlags) localParameters(old *yaml11.OrderedMap) (*yaml11.OrderedMap, error) {
	params := yaml11.NewMap()
	merge := func(m *yaml11.OrderedMap) {
		p, _ := lookup(m, "parameter_defaults").(*yaml11.OrderedMap)
		for k, v := range p.All() {
			params.Set(k, v)
		}
	}
	read := func(file string, data []byte, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // rendered later
		}
		if err != nil {
			return err
		}
		m, err := parseMapping(file, data)
		if err == nil {
			merge(m)
		}
		return err
	}
	env := yaml11.NewMap()
	var data []byte
	var err error
	if f.planEnv != "" {
		data, err = os.ReadFile(f.planEnv)
	} else {
		data, err = f.template(planEnvFile)
	}
	if err == nil {
		env, err = parseMapping(planEnvFile, data)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range items(lookup(env, "environments")) {
		if name := str(lookup(e, "path")); fs.ValidPath(name) {
			data, err := f.template(name)
			if err := read(name, data, err); err != nil {
				return nil, err
			}
		}
	}
	merge(env)
	merge(old)
	files, err := f.environmentFiles()
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		data, err := os.ReadFile(file) //nolint:gosec // named by the operator
		if errors.Is(err, fs.ErrNotExist) && fs.ValidPath(filepath.ToSlash(filepath.Clean(file))) {
			data, err = f.template(filepath.ToSlash(filepath.Clean(file)))
		}
		if err := read(file, data, err); err != nil {
			return nil, err
		}
	}
	for k, v := range f.parameters {
		params.Set(k, v)
	}
	return params, nil
}

// localRoles are the entries of the roles file that is deployed; none, if the templates have none.
func (f *deployFlags) localRoles() ([]any, error) {
	file := firstNonEmpty(f.roles, "roles_data.yaml")
	var data []byte
	err := fs.ErrNotExist
	if f.roles != "" {
		data, err = os.ReadFile(f.roles)
	}
	if errors.Is(err, fs.ErrNotExist) && fs.ValidPath(filepath.ToSlash(filepath.Clean(file))) {
		data, err = f.template(filepath.ToSlash(filepath.Clean(file)))
	}
	if errors.Is(err, fs.ErrNotExist) && f.roles == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	node, _, err := yaml11.Parse(file, data, yaml11.Limits{})
	if err != nil {
		return nil, err
	}
	return items(node.Value()), nil
}

// roleWishes are, of each role, its flavor and count, and the parameters of the counts: {role: [flavor, count]}, {RoleCount: count}.
// Roles of machines that somebody else installed (disable_constraints) need neither.
func roleWishes(roles []any, params *yaml11.OrderedMap) (info, counts *yaml11.OrderedMap) {
	info, counts = yaml11.NewMap(), yaml11.NewMap()
	for _, role := range roles {
		name := str(lookup(role, "name"))
		if name == "" || lookup(role, "disable_constraints") == true {
			continue
		}
		count := number(lookup(role, "CountDefault"))
		if v, ok := params.Get(name + "Count"); ok {
			count = number(v)
		}
		flavor := firstNonEmpty(str(lookup(role, "FlavorDefault")), "baremetal")
		for _, p := range []string{"Overcloud" + name + "Flavor", str(lookup(role, "deprecated_param_flavor"))} {
			if v, ok := params.Get(p); ok && str(v) != "" {
				flavor = str(v)
			}
		}
		info.Set(name, []any{flavor, count})
		counts.Set(name+"Count", count)
	}
	return info, counts
}

// number reads a count as environments write it: 3 or '3'; anything else is 0.
func number(v any) int64 {
	var n int64
	if _, err := fmt.Sscanf(str(v), "%d", &n); err != nil {
		return 0
	}
	return n
}

// keepNetworks refuses to take a network away from a deployed cloud because an environment was forgotten: Heat would delete it.
func (o *operator) keepNetworks(ctx context.Context, f *deployFlags) error {
	c, err := o.s.Orchestration()
	if err != nil {
		return err
	}
	live, _, err := o.call(ctx, c, http.MethodGet, below(c, "", "stacks", f.stack), nil, nil)
	if err != nil {
		return err
	}
	live, _, err = o.call(ctx, c, http.MethodGet, below(c, "", "stacks", f.stack, str(lookup(live, "stack", "id")), "environment"), nil, nil)
	if err != nil {
		return err
	}
	v, err := o.action(ctx, "tripleo.templates.process", map[string]any{"container": f.stack})
	if err != nil {
		return err
	}
	return lostNetworks(live, lookup(v, "environment"))
}

var networkType = regexp.MustCompile(`^OS::TripleO::Network::[^:]+$`)

// lostNetworks compares the environment of a stack with the one it is to get.
func lostNetworks(live, next any) error {
	const none = "OS::Heat::None"
	was, _ := lookup(live, "resource_registry").(*yaml11.OrderedMap)
	var lost []string
	for typ, v := range was.All() {
		if to := str(lookup(next, "resource_registry", typ)); networkType.MatchString(typ) && str(v) != none && (to == none || to == "") {
			lost = append(lost, typ)
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("the stack has networks that the environments do not map any more: %s\n(an update needs the environments of the deployment, network-isolation.yaml among them)", strings.Join(lost, ", "))
	}
	before, after := str(lookup(live, "parameter_defaults", "CephClusterFSID")), str(lookup(next, "parameter_defaults", "CephClusterFSID"))
	if before != "" && after != "" && before != after {
		return fmt.Errorf("the stack's CephClusterFSID is %s, the environments say %s: it cannot change", before, after)
	}
	return nil
}

// quietUnused are parameters that environments set whether a plan has the service or not.
var quietUnused = regexp.MustCompile(`^((Docker|Container).*Image|SwiftFetchDir(Get|Put)Tempurl|PythonInterpreter)$`)

// warnOfParameters shows parameters of the plan that are deprecated, that nothing uses, or that a role may not have.
// A plan that cannot be looked at is no reason to stop: the deployment says better what is wrong with it.
func (o *operator) warnOfParameters(ctx context.Context, plan string) error {
	const name = "tripleo.plan_management.v1.get_deprecated_parameters"
	out, err := o.workflow(ctx, name, map[string]any{"container": plan, "queue_name": defaultQueue}, nil)
	if err != nil {
		return err
	}
	if err := out.failed(name); err != nil {
		_, _ = fmt.Fprintf(o.a.stderr, "WARNING: the parameters were not checked: %v\n", err)
		return nil
	}
	for _, kind := range [][2]string{{"deprecated", "deprecated parameters are set"}, {"unused", "parameters are set that nothing uses"},
		{"invalid_role_specific", "parameters are set for a role that cannot be"}} {
		var names []string
		for _, p := range items(lookup(out.last, kind[0])) {
			name := firstNonEmpty(str(lookup(p, "name")), str(p))
			if kind[0] != "unused" || !quietUnused.MatchString(name) {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			slices.Sort(names)
			_, _ = fmt.Fprintf(o.a.stderr, "WARNING: %s: %s\n", kind[1], strings.Join(names, ", "))
		}
	}
	return nil
}
