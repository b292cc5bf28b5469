package resources

import (
	"context"
	"net/url"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

func novaKeyPair() *Type {
	return &Type{Name: "OS::Nova::KeyPair",
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.compute(ctx)
			if err != nil {
				return Step{}, err
			}
			name := r.Props.Str("name")
			if r.Data["creating"] == true { // made before a crash?
				if m, err := c.call(ctx, "GET", "os-keypairs/"+url.PathEscape(name), nil); err == nil {
					have := hot.PyStr(get(m, "keypair", "public_key"))
					if want := r.Props.Str("public_key"); want == "" || want == have {
						r.Data["public_key"] = have
						return Done(), r.SetID(ctx, name)
					}
				}
			}
			r.Data["creating"] = true
			if err := r.Host.Save(ctx, r); err != nil {
				return Step{}, err
			}
			m, err := c.call(ctx, "POST", "os-keypairs", yaml11.MapOf("keypair", copyProps(yaml11.MapOf("name", name), r.Props, "public_key")))
			if err != nil {
				return Step{}, err
			}
			r.Data["public_key"] = get(m, "keypair", "public_key")
			if r.Props.Bool("save_private_key") {
				r.Data["private_key"] = get(m, "keypair", "private_key")
			}
			return Done(), r.SetID(ctx, name)
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.compute(ctx)
			if err != nil || r.PhysicalID == "" {
				return Done(), err
			}
			return Done(), c.remove(ctx, "os-keypairs/"+url.PathEscape(r.PhysicalID))
		},
		Attr: func(_ context.Context, r *Resource, name string) (any, error) {
			if v := r.Data[name]; v != nil {
				return v, nil
			}
			return "", nil
		},
	}
}

func novaFlavor() *Type {
	return &Type{Name: "OS::Nova::Flavor",
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.compute(ctx)
			if err != nil {
				return Step{}, err
			}
			id := r.Props.Str("flavorid")
			if id == "" || id == "auto" {
				id = configID(r.ID, "flavor")
			}
			if r.PhysicalID == "" {
				_, err := c.call(ctx, "GET", "flavors/"+url.PathEscape(id), nil)
				if isNotFound(err) {
					b := yaml11.MapOf("id", id, "name", flavorName(r), "OS-FLV-EXT-DATA:ephemeral", r.Props.Int("ephemeral"), "os-flavor-access:is_public", r.Props.Bool("is_public"))
					copyProps(b, r.Props, "name", "ram", "vcpus", "disk", "swap", "rxtx_factor")
					_, err = c.call(ctx, "POST", "flavors", yaml11.MapOf("flavor", b))
				} else if err == nil && r.Data["creating"] != true && r.Props.Str("flavorid") != "" {
					return Step{}, Failed("Flavor %s exists already", id)
				}
				if err != nil {
					return Step{}, err
				}
				r.Data["creating"] = true
				if err := r.SetID(ctx, id); err != nil {
					return Step{}, err
				}
			}
			return flavorSpecs(ctx, r, c)
		},
		Update: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.compute(ctx)
			if err != nil {
				return Step{}, err
			}
			m, err := c.call(ctx, "GET", "flavors/"+r.PhysicalID+"/os-extra_specs", nil)
			if err != nil {
				return Step{}, err
			}
			want := r.Props.Map("extra_specs")
			for k := range submap(m, "extra_specs").All() {
				if _, keep := want.Get(k); !keep {
					if err := c.remove(ctx, "flavors/"+r.PhysicalID+"/os-extra_specs/"+url.PathEscape(k)); err != nil {
						return Step{}, err
					}
				}
			}
			return flavorSpecs(ctx, r, c)
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.compute(ctx)
			if err != nil || r.PhysicalID == "" {
				return Done(), err
			}
			return Done(), c.remove(ctx, "flavors/"+url.PathEscape(r.PhysicalID))
		},
		Attr: func(_ context.Context, r *Resource, name string) (any, error) { return r.Props.Get(name), nil },
	}
}

func flavorName(r *Resource) string {
	if n := r.Props.Str("name"); n != "" {
		return n
	}
	return r.PhysicalName(0)
}

// flavorAccess gives a flavor that is not public to the projects of the template, and to no other.
func flavorAccess(ctx context.Context, r *Resource, c client) error {
	had, _ := r.Data["tenants"].([]any)
	if r.Props.Bool("is_public") || len(r.Props.List("tenants"))+len(had) == 0 {
		return nil
	}
	k, err := r.service(ctx, "keystone")
	if err != nil {
		return err
	}
	want, err := k.findAll(ctx, "projects", r.Props.List("tenants"))
	if err != nil {
		return err
	}
	for _, e := range []struct {
		verb     string
		from, to []any
	}{{"removeTenantAccess", had, want}, {"addTenantAccess", want, had}} {
		for _, t := range e.from {
			if hasText(e.to, hot.PyStr(t)) {
				continue
			}
			if _, err := c.call(ctx, "POST", "flavors/"+url.PathEscape(r.PhysicalID)+"/action", yaml11.MapOf(e.verb, yaml11.MapOf("tenant", t))); err != nil && status(err) != 409 && !isNotFound(err) {
				return err
			}
		}
	}
	r.Data["tenants"] = want
	return r.Host.Save(ctx, r)
}

func flavorSpecs(ctx context.Context, r *Resource, c client) (Step, error) {
	if err := flavorAccess(ctx, r, c); err != nil {
		return Step{}, err
	}
	specs := yaml11.NewMap()
	for k, v := range r.Props.Map("extra_specs").All() {
		specs.Set(k, hot.PyStr(v))
	}
	if specs.Len() > 0 {
		if _, err := c.call(ctx, "POST", "flavors/"+url.PathEscape(r.PhysicalID)+"/os-extra_specs", yaml11.MapOf("extra_specs", specs)); err != nil {
			return Step{}, err
		}
	}
	return Done(), nil
}
