package resources

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

func smallTypes() []*Type {
	return []*Type{accessPolicy(), haRestarter(), softwareComponent(), awsStack()}
}

// accessPolicy names resources whose metadata the users of the stack's other resources may read.
func accessPolicy() *Type {
	return &Type{Name: "OS::Heat::AccessPolicy", Create: named, Update: nil, Attr: noAttr, Pure: true}
}

// haRestarter does nothing, as in Heat, which keeps the type for old templates and has removed what it did.
func haRestarter() *Type {
	return &Type{Name: "OS::Heat::HARestarter", Create: named, Update: named, Pure: true, Attr: noAttr,
		Signal: func(context.Context, *Resource, any) error { return nil }}
}

// softwareComponent is a config with a part for each action of the lifecycle.
func softwareComponent() *Type {
	t := heatSoftwareConfig("OS::Heat::SoftwareComponent", Any)
	t.Validate = func(p *Props) error {
		seen := map[string]bool{}
		for _, v := range p.List("configs") {
			l, _ := v.(*Map).Get("actions")
			actions, _ := l.([]any)
			for _, a := range actions {
				if !slices.Contains([]string{"CREATE", "UPDATE", "DELETE", "SUSPEND", "RESUME"}, hot.PyStr(a)) {
					return fmt.Errorf("%s is not an allowed action", hot.Show(a))
				}
				if seen[hot.PyStr(a)] {
					return fmt.Errorf("the action %s is in two configs, expected one config an action", hot.PyStr(a))
				}
				seen[hot.PyStr(a)] = true
			}
		}
		return nil
	}
	t.Create = func(ctx context.Context, r *Resource) (Step, error) {
		r.PhysicalID = configID(r.ID, "config")
		c := &Config{ID: r.PhysicalID, ProjectID: r.ProjectID, Name: r.PhysicalName(0), Group: "component",
			Config: yaml11.MapOf("configs", r.Props.List("configs")), Inputs: r.Props.List("inputs"), Outputs: r.Props.List("outputs"), Options: r.Props.Map("options"), Created: r.Host.Now()}
		return Done(), r.Host.PutConfig(ctx, r, c)
	}
	t.Attr = func(_ context.Context, r *Resource, name string) (any, error) {
		if name == "config" || name == "configs" {
			return r.Props.Get("configs"), nil
		}
		return nil, nil
	}
	return t
}

// componentPart returns the config of a component for an action, nil if it has none.
func componentPart(c *Config, action string) *Map {
	m, _ := c.Config.(*Map)
	for _, part := range items(m, "configs") {
		l, _ := part.Get("actions")
		actions, _ := l.([]any)
		if len(actions) == 0 {
			actions = []any{"CREATE", "UPDATE"}
		}
		if hasText(actions, action) {
			return part
		}
	}
	return nil
}

// awsStack is a stack made from a template at a web address, which is read with the stack's files: clients
// send what it names.
func awsStack() *Type {
	return &Type{Name: "AWS::CloudFormation::Stack",
		Nested: func(r *Resource, _ []AttrUse) (*Nested, error) {
			address := r.Props.Str("TemplateURL")
			if _, err := url.Parse(address); err != nil {
				return nil, fmt.Errorf("TemplateURL: %w", err)
			}
			n := &Nested{File: address, FromFiles: true, Params: r.Props.Map("Parameters"), Timeout: time.Duration(r.Props.Int("TimeoutInMinutes")) * time.Minute}
			return n, nil
		},
		NestedAttr: func(r *Resource, name string, path []any) (any, error) {
			output, ok := strings.CutPrefix(name, "Outputs.")
			v, has := r.Outputs.Get(output)
			if !ok || !has {
				return nil, fmt.Errorf("the stack of %s has no output %q; ask for Outputs.<name>", r.Name, name)
			}
			return hot.Dig(v, path), nil
		},
		FreeAttrs: true,
	}
}
