package deployment

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Groups of validations: when in the life of a cloud they tell something.
const (
	groupPrep             = "prep"
	groupPreIntrospection = "pre-introspection"
	groupPreDeployment    = "pre-deployment"
	groupPostDeployment   = "post-deployment"
	groupPreUpgrade       = "pre-upgrade"
	groupPostUpgrade      = "post-upgrade"
)

func groupDescriptions() [][2]string {
	return [][2]string{
		{groupPrep, "Before anything else: the undercloud's own machine"},
		{groupPreIntrospection, "Before nodes are introspected: their BMCs, ports and the provisioning network"},
		{groupPreDeployment, "Before a plan is deployed: nodes, flavors, networks, parameters"},
		{groupPostDeployment, "After a deployment: stack, servers, services"},
		{groupPreUpgrade, "Before an update or upgrade"},
		{groupPostUpgrade, "After an update or upgrade"},
	}
}

// validation is one check that can be listed and run singly.
type validation struct {
	id, name, description string
	groups                []string
	check                 func(c *checker) error
}

// checker is one run of a validation: what it looks at, and what it found.
type checker struct {
	*run
	plan string
	report
	notes []string // what was looked at and is right
}

func (c *checker) ok(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// validations is the table of all.
func validations() []validation {
	return slices.Concat(undercloudValidations(), nodeValidations(), planValidations(), networkValidations(), liveValidations())
}

func (v *validation) view() *yaml11.OrderedMap {
	groups := make([]any, len(v.groups))
	for i, g := range v.groups {
		groups[i] = g
	}
	return yaml11.MapOf("id", v.id, "name", v.name, "groups", groups, "description", v.description, "metadata", yaml11.NewMap())
}

// listValidations returns the validations of some groups, of all if groups is empty: [{id, name, groups, description, metadata}].
func listValidations(_ *run, in input) (any, error) {
	groups := in.list("groups")
	var known []string
	for _, g := range groupDescriptions() {
		known = append(known, g[0])
	}
	for _, g := range groups {
		if !slices.Contains(known, fmt.Sprint(g)) {
			return nil, fmt.Errorf("there is no group of validations %q; there are %s", fmt.Sprint(g), strings.Join(known, ", "))
		}
	}
	out := []any{}
	for _, v := range validations() {
		if len(groups) == 0 || slices.ContainsFunc(v.groups, func(g string) bool { return slices.Contains(groups, any(g)) }) {
			out = append(out, v.view())
		}
	}
	return out, nil
}

// listGroups returns the groups: [{id, name, description}].
func listGroups(_ *run, _ input) (any, error) {
	out := []any{}
	for _, g := range groupDescriptions() {
		out = append(out, yaml11.MapOf("id", g[0], "name", g[0], "description", g[1]))
	}
	return out, nil
}

// runValidation runs one validation on a plan: {stdout, stderr}; with errors found it fails with the same.
func runValidation(r *run, in input) (any, error) {
	id := in.str("validation")
	all := validations()
	i := slices.IndexFunc(all, func(v validation) bool { return v.id == id })
	if i < 0 {
		var ids []string
		for _, v := range all {
			ids = append(ids, v.id)
		}
		return nil, fmt.Errorf("there is no validation %q; there are %s", id, strings.Join(ids, ", "))
	}
	c := &checker{run: r, plan: in.str("plan")}
	if err := all[i].check(c); err != nil {
		c.fail("the validation could not look: %v", err)
	}
	result := yaml11.MapOf("stdout", c.stdout(), "stderr", lines(c.errors), "warnings", orEmpty(c.warnings), "errors", orEmpty(c.errors))
	if len(c.errors) > 0 {
		return nil, &actions.FailureError{Result: yaml11.Plain(result)}
	}
	return result, nil
}

func (c *checker) stdout() string {
	var sb strings.Builder
	for _, n := range c.notes {
		sb.WriteString("ok: " + n + "\n")
	}
	for _, w := range c.warnings {
		fmt.Fprintf(&sb, "warning: %v\n", w)
	}
	for _, e := range c.errors {
		fmt.Fprintf(&sb, "error: %v\n", e)
	}
	return sb.String()
}

func lines(l []any) string {
	var sb strings.Builder
	for _, e := range l {
		fmt.Fprintf(&sb, "%v\n", e)
	}
	return sb.String()
}

var errNoPlan = errors.New("no plan")

// planEnv returns the environment of the plan; without a plan there is nothing to check, which is said.
func (c *checker) planEnv() (*yaml11.OrderedMap, error) {
	env, err := c.readPlanEnv(c.plan)
	if isStatus(err, 404) {
		c.warn("there is no plan %s: nothing was checked", c.plan)
		return nil, errNoPlan
	}
	return env, err
}

// skipNoPlan makes "no plan" no error of a check.
func skipNoPlan(err error) error {
	if errors.Is(err, errNoPlan) {
		return nil
	}
	return err
}

// parameters are the parameters that the plan gives: those of its environments in their order, then its own.
func (c *checker) parameters() (*yaml11.OrderedMap, error) {
	env, err := c.planEnv()
	if err != nil {
		return nil, err
	}
	out := yaml11.NewMap()
	for _, path := range environmentPaths(env) {
		data, err := c.getObject(c.plan, path)
		if isStatus(err, 404) {
			continue // rendered only when the plan is processed
		}
		if err != nil {
			return nil, err
		}
		m, err := parseMap(path, data)
		if err != nil {
			return nil, err
		}
		if p, ok := dig(m, "parameter_defaults").(*yaml11.OrderedMap); ok {
			deepMerge(out, p)
		}
	}
	if p, ok := dig(env, "parameter_defaults").(*yaml11.OrderedMap); ok {
		deepMerge(out, p)
	}
	return out, nil
}

// roleCount is a role with how many nodes it gets and their flavor.
type roleCount struct {
	name, flavor string
	count        int
	data         any
}

// roleCounts are the roles of the plan with their counts.
func (c *checker) roleCounts() ([]roleCount, error) {
	params, err := c.parameters()
	if err != nil {
		return nil, err
	}
	roles, _, err := c.readListFile(c.plan, rolesFile)
	if err != nil {
		return nil, err
	}
	var out []roleCount
	for _, role := range roles {
		rc := roleCount{name: text(role, "name"), data: role, count: intOf(dig(role, "CountDefault"))}
		if v, ok := params.Get(rc.name + "Count"); ok {
			rc.count = intOf(v)
		}
		_, old, _ := roleOfProfile(profileOfRole(rc.name))
		for _, p := range []string{"Overcloud" + rc.name + "Flavor", text(role, "deprecated_param_flavor"), old} {
			if v := text(params, p); p != "" && v != "" {
				rc.flavor = v
				break
			}
		}
		rc.flavor = firstText(rc.flavor, text(role, "FlavorDefault"), "baremetal")
		out = append(out, rc)
	}
	return out, nil
}

// profileOfRole is the other direction of roleOfProfile.
func profileOfRole(role string) string {
	for _, p := range []string{"control", "compute", "ceph-storage", "swift-storage", "block-storage"} {
		if r, _, _ := roleOfProfile(p); r == role {
			return p
		}
	}
	return role
}
