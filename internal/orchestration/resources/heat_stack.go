package resources

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// heatStack is a stack of its own, made through the orchestration API: of this region, or of the region
// that its context names. It gets the files and the environment of the stack it belongs to.
func heatStack() *Type {
	return &Type{Name: "OS::Heat::Stack",
		Validate: func(p *Props) error {
			if c := p.Map("context"); str(c, "credential_secret_id") != "" || str(c, "ca_cert") != "" {
				return fmt.Errorf("context.credential_secret_id and context.ca_cert need a key manager, which this cloud does not have; region_name works without")
			}
			return nil
		},
		Probe: probeStack,
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := stackClient(ctx, r)
			if err != nil {
				return Step{}, err
			}
			if r.PhysicalID == "" {
				if err := makeStack(ctx, r, c); err != nil {
					return Step{}, err
				}
			}
			return stackDone(ctx, r, c, "CREATE")
		},
		Update: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := stackClient(ctx, r)
			if err != nil {
				return Step{}, err
			}
			if key := r.Begun.Format(time.RFC3339Nano); r.Str("update_sent") != key {
				b, err := stackBody(r)
				if err != nil {
					return Step{}, err
				}
				if _, err := c.call(ctx, "PUT", stackPath(r), b); err != nil {
					return Step{}, err
				}
				r.Data["update_sent"] = key
				if err := r.Host.Save(ctx, r); err != nil {
					return Step{}, err
				}
			}
			return stackDone(ctx, r, c, "UPDATE")
		},
		Delete:  deleteStack,
		Suspend: stackVerb("suspend"), Resume: stackVerb("resume"),
		Check: func(ctx context.Context, r *Resource) error {
			m, _, err := getStack(ctx, r)
			if err == nil && strings.HasSuffix(str(m, "stack_status"), "FAILED") {
				err = Failed("stack %s is %s: %s", str(m, "stack_name"), str(m, "stack_status"), str(m, "stack_status_reason"))
			}
			return err
		},
		Keep: func(ctx context.Context, r *Resource) (bool, error) {
			_, _, err := getStack(ctx, r)
			if isNotFound(err) || r.PhysicalID == "" {
				return false, nil
			}
			return err == nil, err
		},
		Attr: func(ctx context.Context, r *Resource, name string) (any, error) {
			m, _, err := getStack(ctx, r)
			if err != nil {
				return nil, err
			}
			switch name {
			case "stack_name":
				return str(m, "stack_name"), nil
			case "outputs":
				out := yaml11.NewMap()
				for _, o := range items(m, "outputs") {
					v, _ := o.Get("output_value")
					out.Set(str(o, "output_key"), v)
				}
				return out, nil
			}
			return m, nil
		},
	}
}

func stackClient(ctx context.Context, r *Resource) (client, error) {
	s, err := r.Cloud(ctx)
	if err != nil {
		return client{}, err
	}
	if region := str(r.Props.Map("context"), "region_name"); region != "" {
		s = s.InRegion(region)
	}
	c, err := s.Orchestration()
	if err != nil {
		return client{}, fmt.Errorf("orchestration of region %q: %w", str(r.Props.Map("context"), "region_name"), err)
	}
	return client{c}, nil
}

// probeStack has the orchestration of the region validate the template, as Heat does.
func probeStack(ctx context.Context, s *cloud.Session, p *Props, files map[string]string, env *Map) error {
	region := str(p.Map("context"), "region_name")
	if region != "" {
		s = s.InRegion(region)
	}
	sc, err := s.Orchestration()
	var absent gophercloud.ErrEndpointNotFound
	if errors.As(err, &absent) {
		err = fmt.Errorf("public endpoint for orchestration service in %s region not found", region)
	}
	if err != nil {
		return Failed("Cannot establish connection to Heat endpoint at region %q due to \"%v\"", region, err)
	}
	all := yaml11.NewMap()
	for k, v := range files {
		all.Set(k, v)
	}
	_, err = client{sc}.call(ctx, "POST", "validate", yaml11.MapOf("template", p.Str("template"), "files", all, "environment", env))
	if err != nil && !Transient(err) {
		return Failed("Failed validating stack template using Heat endpoint at region %q due to \"%v\"", region, err)
	}
	return nil
}

func stackPath(r *Resource) string {
	return "stacks/" + url.PathEscape(r.Str("stack_name")) + "/" + url.PathEscape(r.PhysicalID)
}

func stackBody(r *Resource) (*Map, error) {
	params := r.Props.Map("parameters")
	files, env := r.Host.Sources()
	all := yaml11.NewMap()
	for k, v := range files {
		all.Set(k, v)
	}
	b := yaml11.MapOf("stack_name", r.Str("stack_name"), "disable_rollback", true, "parameters", params, "files", all, "environment", env)
	switch t := r.Props.Get("template").(type) {
	case string:
		b.Set("template", t)
	default:
		return nil, fmt.Errorf("template must be a text, got %s", hot.KindOf(t))
	}
	if m := r.Props.Int("timeout"); m > 0 {
		b.Set("timeout_mins", m)
	}
	return b, nil
}

// makeStack makes the stack unless an attempt before a crash has: its name is the resource's own.
func makeStack(ctx context.Context, r *Resource, c client) error {
	tried := r.Str("stack_name") != ""
	r.Data["stack_name"] = r.PhysicalName(0)
	if err := r.Host.Save(ctx, r); err != nil {
		return err
	}
	if tried {
		m, err := c.call(ctx, "GET", "stacks?name="+url.QueryEscape(r.Str("stack_name")), nil)
		if err != nil {
			return err
		}
		for _, s := range items(m, "stacks") {
			if str(s, "stack_name") == r.Str("stack_name") {
				return r.SetID(ctx, str(s, "id"))
			}
		}
	}
	b, err := stackBody(r)
	if err != nil {
		return err
	}
	m, err := c.call(ctx, "POST", "stacks", b)
	if err != nil {
		return err
	}
	return r.SetID(ctx, hot.PyStr(get(m, "stack", "id")))
}

func getStack(ctx context.Context, r *Resource) (*Map, client, error) {
	c, err := stackClient(ctx, r)
	if err != nil {
		return nil, c, err
	}
	m, err := c.call(ctx, "GET", stackPath(r), nil)
	return submap(m, "stack"), c, err
}

// stackDone waits until the action on the stack has ended.
func stackDone(ctx context.Context, r *Resource, c client, action string) (Step, error) {
	m, err := c.call(ctx, "GET", stackPath(r), nil)
	if err != nil {
		return Step{}, err
	}
	s := submap(m, "stack")
	switch st := str(s, "stack_status"); {
	case strings.HasSuffix(st, "_FAILED"), st == "ROLLBACK_COMPLETE":
		return Step{}, Failed("%s of stack %s: %s", st, str(s, "stack_name"), str(s, "stack_status_reason"))
	case st == action+"_COMPLETE":
		return Done(), nil
	}
	return Wait(5*time.Second, "orchestration/stack/"+r.PhysicalID), nil
}

func stackVerb(verb string) func(context.Context, *Resource) (Step, error) {
	return func(ctx context.Context, r *Resource) (Step, error) {
		c, err := stackClient(ctx, r)
		if err != nil {
			return Step{}, err
		}
		if key := verb + r.Begun.Format(time.RFC3339Nano); r.Str("verb_sent") != key {
			if _, err := c.call(ctx, "POST", stackPath(r)+"/actions", yaml11.MapOf(verb, nil)); err != nil {
				return Step{}, err
			}
			r.Data["verb_sent"] = key
			if err := r.Host.Save(ctx, r); err != nil {
				return Step{}, err
			}
		}
		return stackDone(ctx, r, c, strings.ToUpper(verb))
	}
}

func deleteStack(ctx context.Context, r *Resource) (Step, error) {
	if r.Str("stack_name") == "" {
		return Done(), nil
	}
	c, err := stackClient(ctx, r)
	if err != nil {
		return Step{}, err
	}
	m, err := c.call(ctx, "GET", "stacks?show_deleted=false&name="+url.QueryEscape(r.Str("stack_name")), nil)
	if err != nil {
		return Step{}, err
	}
	for _, s := range items(m, "stacks") {
		if str(s, "stack_name") != r.Str("stack_name") {
			continue
		}
		id, st := str(s, "id"), str(s, "stack_status")
		switch {
		case st == "DELETE_FAILED" && r.Data["deleting"] == true:
			return Step{}, Failed("%s of stack %s: %s", st, str(s, "stack_name"), str(s, "stack_status_reason"))
		case st != "DELETE_IN_PROGRESS":
			if err := c.remove(ctx, "stacks/"+url.PathEscape(r.Str("stack_name"))+"/"+url.PathEscape(id)); err != nil {
				return Step{}, err
			}
			r.Data["deleting"] = true
		}
		return Wait(5*time.Second, "orchestration/stack/"+id), nil
	}
	return Done(), nil
}
