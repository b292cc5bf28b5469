package resources

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// imagePoll is how often an image on its way is looked at.
const imagePoll = 2 * time.Second

func (r *Resource) zaqar(ctx context.Context) (client, error) {
	s, err := r.Cloud(ctx)
	if err != nil {
		return client{}, err
	}
	return zaqarOf(s, r)
}

func zaqarTypes() []*Type {
	return []*Type{zaqarQueue(), zaqarSubscription("OS::Zaqar::Subscription", plainSubscription), zaqarSubscription("OS::Zaqar::MistralTrigger", triggerSubscription), zaqarSignedURL()}
}

func zaqarQueue() *Type {
	put := func(ctx context.Context, r *Resource) (Step, error) {
		c, err := r.zaqar(ctx)
		if err != nil {
			return Step{}, err
		}
		name := r.PhysicalID
		if name == "" {
			if name = r.Props.Str("name"); name == "" {
				name = r.PhysicalName(64)
			}
		}
		meta := r.Props.Map("metadata")
		if meta == nil {
			meta = yaml11.NewMap()
		}
		if r.Action == "UPDATE" { // a queue that is put again keeps its metadata
			err = patchQueue(ctx, r, c, name, meta)
		} else {
			_, err = c.call(ctx, "PUT", "queues/"+url.PathEscape(name), meta)
		}
		if err != nil {
			return Step{}, err
		}
		return Done(), r.SetID(ctx, name)
	}
	return &Type{Name: "OS::Zaqar::Queue", Create: put, Update: put,
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.zaqar(ctx)
			if err != nil || r.PhysicalID == "" {
				return Done(), err
			}
			return Done(), c.remove(ctx, "queues/"+url.PathEscape(r.PhysicalID))
		},
		Attr: func(ctx context.Context, r *Resource, name string) (any, error) {
			c, err := r.zaqar(ctx)
			if err != nil {
				return nil, err
			}
			switch name {
			case "queue_id":
				return r.PhysicalID, nil
			case "href":
				return "/v2/queues/" + r.PhysicalID, nil
			}
			return c.call(ctx, "GET", "queues/"+url.PathEscape(r.PhysicalID), nil)
		},
	}
}

// patchQueue brings the metadata of a queue to what the template says; other keys, Zaqar's own, stay.
func patchQueue(ctx context.Context, r *Resource, c client, name string, meta *Map) error {
	path := "queues/" + url.PathEscape(name)
	have, err := c.call(ctx, "GET", path, nil)
	if err != nil {
		return err
	}
	ops := []any{}
	op := func(verb, key string) *Map {
		o := yaml11.MapOf("op", verb, "path", "/metadata/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(key))
		ops = append(ops, o)
		return o
	}
	for k, v := range meta.All() {
		verb := "add"
		if _, ok := have.Get(k); ok {
			verb = "replace"
		}
		op(verb, k).Set("value", v)
	}
	if r.Old != nil {
		for k := range r.Old.Map("metadata").All() {
			if _, keep := meta.Get(k); !keep {
				op("remove", k)
			}
		}
	}
	if len(ops) == 0 {
		return nil
	}
	return c.patch(ctx, path, "application/openstack-messaging-v2.0-json-patch", ops)
}

func plainSubscription(_ context.Context, r *Resource) (string, *Map, error) {
	o := r.Props.Map("options")
	if o == nil {
		o = yaml11.NewMap()
	}
	return r.Props.Str("subscriber"), o, nil
}

// triggerSubscription starts a workflow for each message. The subscriber is Mistral, called with the trust
// of the one who subscribes.
func triggerSubscription(ctx context.Context, r *Resource) (string, *Map, error) {
	c, err := r.workflow(ctx)
	if err != nil {
		return "", nil, err
	}
	endpoint := strings.TrimSuffix(c.ServiceURL("executions"), "/")
	input := yaml11.NewMap()
	for k, v := range r.Props.Map("input").All() {
		input.Set(k, v)
	}
	env := yaml11.MapOf("notification", "$zaqar_message$")
	all := r.Props.Map("params").Clone()
	if e := submap(all, "env"); e != nil {
		env = e.Clone()
		env.Set("notification", "$zaqar_message$")
	}
	all.Set("env", env)
	post := yaml11.MapOf("workflow_id", r.Props.Str("workflow_id"), "input", input, "params", all)
	return "trust+" + endpoint, yaml11.MapOf("post_data", hot.PyJSON(post, true)), nil
}

// zaqarSubscription is a subscription to a queue, whose subscriber and options make gives.
func zaqarSubscription(name string, what func(context.Context, *Resource) (string, *Map, error)) *Type {
	path := func(r *Resource) string {
		return "queues/" + url.PathEscape(r.Props.Str("queue_name")) + "/subscriptions"
	}
	return &Type{Name: name,
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.zaqar(ctx)
			if err != nil {
				return Step{}, err
			}
			subscriber, options, err := what(ctx, r)
			if err != nil {
				return Step{}, err
			}
			// Zaqar gives the same subscription for the same subscriber and refuses a second one.
			m, err := c.call(ctx, "POST", path(r), yaml11.MapOf("subscriber", subscriber, "ttl", r.Props.Get("ttl"), "options", options))
			if err != nil {
				return Step{}, err
			}
			return Done(), r.SetID(ctx, str(m, "subscription_id"))
		},
		Update: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.zaqar(ctx)
			if err != nil {
				return Step{}, err
			}
			subscriber, options, err := what(ctx, r)
			if err != nil {
				return Step{}, err
			}
			_, err = c.call(ctx, "PATCH", path(r)+"/"+url.PathEscape(r.PhysicalID), yaml11.MapOf("subscriber", subscriber, "ttl", r.Props.Get("ttl"), "options", options))
			return Done(), err
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.zaqar(ctx)
			if err != nil || r.PhysicalID == "" {
				return Done(), err
			}
			return Done(), c.remove(ctx, path(r)+"/"+url.PathEscape(r.PhysicalID))
		},
		Attr: func(ctx context.Context, r *Resource, _ string) (any, error) {
			c, err := r.zaqar(ctx)
			if err != nil {
				return nil, err
			}
			return c.call(ctx, "GET", path(r)+"/"+url.PathEscape(r.PhysicalID), nil)
		},
	}
}

// zaqarSignedURL is an address signed in advance, by which somebody without a token may use a queue.
func zaqarSignedURL() *Type {
	return &Type{Name: "OS::Zaqar::SignedQueueURL",
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.zaqar(ctx)
			if err != nil {
				return Step{}, err
			}
			b := copyProps(yaml11.NewMap(), r.Props, "paths", "methods")
			if ttl := r.Props.Int("ttl"); ttl > 0 {
				b.Set("expires", r.Host.Now().UTC().Add(time.Duration(ttl)*time.Second).Format("2006-01-02T15:04:05"))
			}
			m, err := c.call(ctx, "POST", "queues/"+url.PathEscape(r.Props.Str("queue"))+"/share", b)
			if err != nil {
				return Step{}, err
			}
			r.Data["signed"] = m
			return Done(), r.SetID(ctx, r.PhysicalName(0))
		},
		Attr: func(_ context.Context, r *Resource, name string) (any, error) {
			m, _ := yaml11.Normalize(r.Data["signed"]).(*Map)
			if name != "query_str" {
				v, _ := m.Get(name)
				return v, nil
			}
			join := func(key string) string {
				l, _ := get(m, key).([]any)
				parts := make([]string, len(l))
				for i, v := range l {
					parts[i] = hot.PyStr(v)
				}
				return strings.Join(parts, ",")
			}
			return url.Values{"signature": {str(m, "signature")}, "expires": {str(m, "expires")}, "paths": {join("paths")}, "methods": {join("methods")},
				"project_id": {str(m, "project")}, "queue_name": {r.Props.Str("queue")}}.Encode(), nil
		},
	}
}
