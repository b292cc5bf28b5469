package deployment

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// stack returns the stack of a name, a 404 fault when there is none.
func (r *run) stack(name string) (*yaml11.OrderedMap, error) {
	c, err := r.s.Orchestration()
	if err != nil {
		return nil, err
	}
	var out any
	if _, err := r.request(c, "GET", c.ServiceURL("stacks", url.PathEscape(name)), nil, &out); err != nil {
		return nil, err
	}
	st, ok := dig(out, "stack").(*yaml11.OrderedMap)
	if !ok {
		return nil, fmt.Errorf("stack %s: Heat's answer has no stack", name)
	}
	return st, nil
}

// findStack is stack with nil instead of a 404.
func (r *run) findStack(name string) (*yaml11.OrderedMap, error) {
	st, err := r.stack(name)
	if isStatus(err, 404) {
		return nil, nil
	}
	return st, err
}

func outputs(stack *yaml11.OrderedMap) *yaml11.OrderedMap {
	m := yaml11.NewMap()
	list, _ := dig(stack, "outputs").([]any)
	for _, o := range list {
		v, _ := o.(*yaml11.OrderedMap).Get("output_value")
		m.Set(text(o, "output_key"), v)
	}
	return m
}

// stackEnvironment returns parameter_defaults of a stack.
func (r *run) stackEnvironment(name string, st any) (*yaml11.OrderedMap, error) {
	c, err := r.s.Orchestration()
	if err != nil {
		return nil, err
	}
	var out any
	if _, err := r.request(c, "GET", c.ServiceURL("stacks", name, text(st, "id"), "environment"), nil, &out); err != nil {
		return nil, err
	}
	if m, ok := dig(out, "parameter_defaults").(*yaml11.OrderedMap); ok {
		return m, nil
	}
	return yaml11.NewMap(), nil
}

// resource is a row of a nested resource listing.
type resource struct {
	name, typ, status, reason, physicalID, stackID, parent string
	nested                                                 string // id of the stack it stands for
	position                                               string // file:line:column of its definition, if Heat tells
}

// resources lists the resources of a stack and of the stacks below it.
func (r *run) resources(stack *yaml11.OrderedMap, depth int) ([]resource, error) {
	all, _, err := r.chosenResources(stack, depth, nil)
	return all, err
}

// chosenResources lists those that the filters choose. counts are those of all resources by state where the filters have
// with_counts and Heat knows it, else nil.
func (r *run) chosenResources(stack *yaml11.OrderedMap, depth int, filters url.Values) (all []resource, counts *yaml11.OrderedMap, err error) {
	c, err := r.s.Orchestration()
	if err != nil {
		return nil, nil, err
	}
	var out any
	u := c.ServiceURL("stacks", text(stack, "stack_name"), text(stack, "id"), "resources") + fmt.Sprintf("?nested_depth=%d", depth)
	if len(filters) > 0 {
		u += "&" + filters.Encode()
	}
	if _, err := r.request(c, "GET", u, nil, &out); err != nil {
		return nil, nil, err
	}
	list, _ := dig(out, "resources").([]any)
	for _, v := range list {
		res := resource{name: text(v, "resource_name"), typ: text(v, "resource_type"), status: text(v, "resource_status"),
			reason: text(v, "resource_status_reason"), physicalID: text(v, "physical_resource_id"), parent: text(v, "parent_resource"), position: text(v, "position")}
		links, _ := dig(v, "links").([]any)
		for _, l := range links {
			switch text(l, "rel") {
			case "stack":
				res.stackID = lastSegment(text(l, "href"))
			case "nested":
				res.nested = lastSegment(text(l, "href"))
			}
		}
		all = append(all, res)
	}
	counts, _ = dig(out, "counts").(*yaml11.OrderedMap)
	return all, counts, nil
}

func lastSegment(u string) string {
	u = strings.TrimSuffix(u, "/")
	return u[strings.LastIndexByte(u, '/')+1:]
}

// paths gives every resource its path from the top, like Controller.0.Controller: nested stacks are found by their ids.
func paths(all []resource) []string {
	owner := map[string]int{} // nested stack id -> resource that stands for it
	for i, res := range all {
		if res.nested != "" {
			owner[res.nested] = i
		} else if res.physicalID != "" {
			owner[res.physicalID] = i
		}
	}
	out := make([]string, len(all))
	for i, res := range all {
		parts := []string{res.name}
		id := res.stackID
		for range 20 {
			j, ok := owner[id]
			if !ok || j == i {
				break
			}
			parts = append([]string{all[j].name}, parts...)
			id = all[j].stackID
		}
		out[i] = strings.Join(parts, ".")
	}
	return out
}

// validate asks Heat to check a processed plan with all its nested stacks.
func (r *run) validate(p *processed) (*yaml11.OrderedMap, error) {
	c, err := r.s.Orchestration()
	if err != nil {
		return nil, err
	}
	var out any
	body := yaml11.MapOf("template", p.template, "files", p.files, "environment", p.environment, "template_file", p.templateFile)
	if _, err := r.request(c, "POST", c.ServiceURL("validate")+"?show_nested=true", body, &out); err != nil {
		return nil, r.explain(p.stackName, err)
	}
	m, _ := out.(*yaml11.OrderedMap)
	return m, nil
}
