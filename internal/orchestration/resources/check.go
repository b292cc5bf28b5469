package resources

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
)

// Checker answers what only the services know: whether a type's service is there, and whether a value meets
// a custom constraint. It remembers answers, so one is made for each operation. Its methods may be used
// concurrently. A nil Checker accepts everything.
type Checker struct {
	session func(context.Context) (*cloud.Session, error)
	now     func() time.Time

	mu    sync.Mutex
	known map[string]error
	ext   map[string]map[string]bool // extensions by service
}

// maxKnown bounds what one operation remembers.
const maxKnown = 20_000

// NewChecker returns a Checker that asks as whoever session is.
func NewChecker(session func(context.Context) (*cloud.Session, error), now func() time.Time) *Checker {
	return &Checker{session: session, now: now, known: map[string]error{}, ext: map[string]map[string]bool{}}
}

type checkerKey struct{}

// WithChecker gives the Checker to everything that validates within ctx.
func WithChecker(ctx context.Context, c *Checker) context.Context {
	return context.WithValue(ctx, checkerKey{}, c)
}

// CheckerOf returns the Checker of ctx, nil if it has none.
func CheckerOf(ctx context.Context) *Checker {
	c, _ := ctx.Value(checkerKey{}).(*Checker)
	return c
}

// Available returns an UnavailableError for a type whose service, or whose extension of a service, is not
// there.
func (c *Checker) Available(ctx context.Context, t *Type) error {
	switch {
	case c == nil || t == nil || t.Client == "heat" || t.Client == "" && !t.Unavailable:
		return nil
	case t.Unavailable && (t.Client == "" || services(t.Client)[0] == "compute" || services(t.Client)[0] == "network"):
		return &UnavailableError{t.Name, t.Client, "resources of this type are not supported by this cloud."}
	}
	return c.remember("type "+t.Client+" "+t.Extension, func() error {
		s, err := c.session(ctx)
		if err != nil {
			return err
		}
		if !s.Has(services(t.Client)...) || t.Unavailable {
			return Unavailable(t.Name, t.Client)
		}
		if t.Extension == "" || services(t.Client)[0] != "network" {
			return nil
		}
		ext, err := c.extensions(ctx, s)
		if err != nil {
			return err
		}
		if !ext[t.Extension] {
			return &UnavailableError{t.Name, t.Client, fmt.Sprintf("Required extension %s in %s service is not available.", t.Extension, t.Client)}
		}
		return nil
	}).named(t.Name)
}

// Probe asks where the resource will be whether it can be; see Type.Probe.
func (c *Checker) Probe(ctx context.Context, t *Type, p *Props, files map[string]string, env *Map) error {
	if c == nil || t.Probe == nil || hot.HasUnknown(p.All()) {
		return nil
	}
	s, err := c.session(ctx)
	if err != nil {
		return err
	}
	return t.Probe(ctx, s, p, files, env)
}

// checkResult is a remembered answer; an unavailable service is told for each type by its own name.
type checkResult struct{ err error }

func (r checkResult) named(typ string) error {
	var u *UnavailableError
	if errors.As(r.err, &u) {
		return &UnavailableError{typ, u.Service, u.Reason}
	}
	return r.err
}

func (c *Checker) remember(key string, ask func() error) checkResult {
	c.mu.Lock()
	err, ok := c.known[key]
	c.mu.Unlock()
	if ok {
		return checkResult{err}
	}
	err = ask()
	if err != nil && Transient(err) {
		return checkResult{err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) > maxKnown {
		clear(c.known)
	}
	c.known[key] = err
	return checkResult{err}
}

func (c *Checker) extensions(ctx context.Context, s *cloud.Session) (map[string]bool, error) {
	c.mu.Lock()
	ext := c.ext["network"]
	c.mu.Unlock()
	if ext != nil {
		return ext, nil
	}
	n, err := s.Network()
	if err != nil {
		return nil, err
	}
	m, err := client{n}.call(ctx, "GET", "extensions", nil)
	if err != nil {
		return nil, err
	}
	ext = map[string]bool{}
	for _, e := range items(m, "extensions") {
		ext[str(e, "alias")] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ext["network"] = ext
	return ext, nil
}

// collections says where a constraint looks for a name or id: service and collection.
func collections() map[string][2]string {
	return map[string][2]string{
		"glance.image": {"glance", "images"}, "nova.server": {"nova", "servers"}, "nova.host": {"nova", "os-hosts"},
		"neutron.network": {"neutron", "networks"}, "neutron.subnet": {"neutron", "subnets"}, "neutron.port": {"neutron", "ports"}, "neutron.router": {"neutron", "routers"},
		"neutron.security_group": {"neutron", "security-groups"}, "neutron.subnetpool": {"neutron", "subnetpools"}, "neutron.address_scope": {"neutron", "address-scopes"},
		"neutron.qos_policy": {"neutron", "qos/policies"}, "neutron.segment": {"neutron", "segments"}, "neutron.flow_classifier": {"neutron", "sfc/flow_classifiers"},
		"neutron.port_pair": {"neutron", "sfc/port_pairs"}, "neutron.port_pair_group": {"neutron", "sfc/port_pair_groups"}, "neutron.taas.tap_service": {"neutron", "taas/tap_services"},
		"neutron.taas.tap_flow": {"neutron", "taas/tap_flows"},
		"keystone.domain":       {"keystone", "domains"}, "keystone.group": {"keystone", "groups"}, "keystone.project": {"keystone", "projects"}, "keystone.region": {"keystone", "regions"},
		"keystone.role": {"keystone", "roles"}, "keystone.service": {"keystone", "services"}, "keystone.user": {"keystone", "users"},
		"ironic.node": {"ironic", "nodes"}, "ironic.portgroup": {"ironic", "portgroups"}, "mistral.workflow": {"mistral", "workflows"},
		"cinder.volume": {"cinder", "volumes"}, "cinder.snapshot": {"cinder", "snapshots"}, "cinder.backup": {"cinder", "backups"}, "cinder.vtype": {"cinder", "types"}, "cinder.qos_specs": {"cinder", "qos-specs"},
		"designate.zone": {"designate", "zones"}, "manila.share_network": {"manila", "share-networks"}, "manila.share_snapshot": {"manila", "snapshots"}, "manila.share_type": {"manila", "types"},
		"octavia.loadbalancer": {"octavia", "lbaas/loadbalancers"}, "octavia.listener": {"octavia", "lbaas/listeners"}, "octavia.pool": {"octavia", "lbaas/pools"},
		"octavia.l7policy": {"octavia", "lbaas/l7policies"}, "octavia.flavor": {"octavia", "lbaas/flavors"}, "octavia.flavorprofile": {"octavia", "lbaas/flavorprofiles"},
		"magnum.cluster_template": {"magnum", "clustertemplates"},
	}
}

// CustomConstraint tells whether there is a constraint of that name.
func CustomConstraint(name string) bool {
	if _, ok := collections()[name]; ok || plainCheck(name) != nil {
		return true
	}
	service, _, _ := strings.Cut(name, ".")
	return services(service) != nil || name == "test_constr" || name == "nova.network"
}

// Meets returns why a value does not meet a custom constraint. A Checker is needed for those that ask a
// service.
func (c *Checker) Meets(ctx context.Context, name string, v any) error {
	if v == nil || hot.HasUnknown(v) {
		return nil
	}
	if l, ok := v.([]any); ok {
		for _, e := range l {
			if err := c.Meets(ctx, name, e); err != nil {
				return err
			}
		}
		return nil
	}
	value := hot.PyStr(v)
	if check := plainCheck(name); check != nil {
		now := time.Now
		if c != nil {
			now = c.now
		}
		return check(value, now())
	}
	if c == nil {
		return nil
	}
	err := c.remember(name+" "+value, func() error { return c.ask(ctx, name, value) }).err
	if err != nil && !Transient(err) {
		return fmt.Errorf("Error validating value '%s': %w", value, err) //nolint:staticcheck // Heat's words, which clients match
	}
	return err
}

// ask looks a value up. Who may not look, and services that are not there, do not make a value wrong: the
// creation will tell.
func (c *Checker) ask(ctx context.Context, name, value string) error {
	r := &Resource{TypeName: name, Type: &Type{}, Host: sessionHost{session: c.session}}
	err := find(ctx, r, name, value)
	var missing *UnavailableError
	switch {
	case err == nil || errors.As(err, &missing) || status(err) == 403 || status(err) == 401:
		return nil
	case isNotFound(err):
		kind := name[strings.LastIndexByte(name, '.')+1:]
		return &notFoundError{strings.ToUpper(kind[:1]) + kind[1:], value}
	}
	return err
}

func find(ctx context.Context, r *Resource, name, value string) error {
	switch name {
	case "nova.flavor", "trove.flavor":
		c, err := r.service(ctx, "nova")
		if err != nil {
			return err
		}
		_, err = flavorID(ctx, c, value)
		return err
	case "nova.keypair":
		if value == "" { // a key pair that this stack makes
			return nil
		}
		c, err := r.service(ctx, "nova")
		if err != nil {
			return err
		}
		_, err = c.call(ctx, "GET", "os-keypairs/"+url.PathEscape(value), nil)
		return err
	case "mistral.workflow":
		c, err := r.service(ctx, "mistral")
		if err != nil {
			return err
		}
		_, err = c.call(ctx, "GET", "workflows/"+url.PathEscape(value), nil)
		return err
	case "zaqar.queue":
		c, err := r.zaqar(ctx)
		if err != nil {
			return err
		}
		_, err = c.call(ctx, "GET", "queues/"+url.PathEscape(value)+"/stats", nil)
		return err
	case "barbican.secret", "barbican.container":
		c, err := r.service(ctx, "barbican")
		if err != nil {
			return err
		}
		_, err = c.call(ctx, "GET", strings.TrimPrefix(name, "barbican.")+"s/"+url.PathEscape(value[strings.LastIndexByte(value, '/')+1:]), nil)
		return err
	}
	in, ok := collections()[name]
	if !ok {
		return nil // a service that nothing of ours speaks to
	}
	c, err := r.service(ctx, in[0])
	if err != nil {
		return err
	}
	if name == "ironic.node" || name == "keystone.region" {
		_, err = c.call(ctx, "GET", in[1]+"/"+url.PathEscape(value), nil)
		return err
	}
	_, err = c.find(ctx, in[1], value)
	return err
}

// sessionHost is a Host that has a session and nothing else.
type sessionHost struct {
	Host
	session func(context.Context) (*cloud.Session, error)
}

// Session returns it.
func (h sessionHost) Session(ctx context.Context, _ *Resource) (*cloud.Session, error) {
	return h.session(ctx)
}

// Custom visits every value of a property that has a custom constraint.
func (p *Props) Custom(visit func(path []string, constraint string, v any)) {
	customIn(p.decl, p.vals, nil, visit)
}

func customIn(decl []Prop, m *Map, path []string, visit func([]string, string, any)) {
	for i := range decl {
		if v, ok := m.Get(decl[i].Name); ok && v != nil {
			customOf(&decl[i], v, append(path[:len(path):len(path)], decl[i].Name), visit)
		}
	}
}

func customOf(d *Prop, v any, path []string, visit func([]string, string, any)) {
	if d.Custom != "" {
		visit(path, d.Custom, v)
	}
	switch x := v.(type) {
	case *Map:
		if d.Sub != nil {
			customIn(d.Sub, x, path, visit)
		}
	case []any:
		if d.Items == nil {
			return
		}
		for i, e := range x {
			if e != nil {
				customOf(d.Items, e, append(path[:len(path):len(path)], fmt.Sprint(i)), visit)
			}
		}
	}
}

// Check returns every value of the properties that does not meet its custom constraint.
func (c *Checker) Check(ctx context.Context, p *Props, at func(path []string) *hot.Expr) error {
	conv := converter{at: at}
	var transient error
	p.Custom(func(path []string, constraint string, v any) {
		if err := c.Meets(ctx, constraint, v); err != nil {
			if Transient(err) {
				transient = err
				return
			}
			if conv.hidden(path) {
				err = fmt.Errorf("the value does not meet the constraint %s", constraint)
			}
			conv.fail(path, "%v", err)
		}
	})
	if transient != nil {
		return transient
	}
	return conv.errs.Or()
}
