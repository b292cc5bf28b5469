package plan_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/installed/service"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

const lonely = `
- {name: Controller, tags: [primary], CountDefault: 1, ServicesDefault: ["OS::TripleO::Services::Keystone"]}
`

const custom = `
- {name: ControllerOpenstack, CountDefault: 3, tags: [primary, controller], networks: [InternalApi], disable_constraints: true,
   ServicesDefault: ["OS::TripleO::Services::Ntp"]}
- {name: Database, CountDefault: 0, networks: [InternalApi], ServicesDefault: ["OS::TripleO::Services::MySQL"], RoleParametersDefault: {A: true}}
- {name: Empty, CountDefault: 0}
`

// templates parses everything that is rendered and holds what a deployment would use.
type templates struct {
	files     map[string]string
	templates map[string]*hot.Template
	env       *hot.Environment
}

func load(t *testing.T, v variant, environments ...string) *templates {
	t.Helper()
	p := &templates{files: render(t, v), templates: map[string]*hot.Template{}}
	for _, name := range slices.Sorted(maps.Keys(p.files)) {
		text := p.files[name]
		if strings.HasSuffix(name, ".j2.yaml") || !strings.Contains(text, "heat_template_version:") {
			continue
		}
		tmpl, warnings, err := hot.Parse(name, []byte(text))
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		for _, w := range warnings {
			t.Errorf("%s: %v", name, w)
		}
		p.templates[name] = tmpl
	}
	p.env = hot.NewEnvironment()
	for _, name := range append([]string{"overcloud-resource-registry.yaml"}, environments...) {
		env, warnings, err := hot.ParseEnvironment(name, []byte(p.files[name]))
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%s: %v %v", name, err, warnings)
		}
		p.env.Merge(env)
	}
	return p
}

// target is the template behind a resource type, relative to the plan's root; nil for a native type.
func (p *templates) target(t *testing.T, res *hot.ResourceDef) *hot.Template {
	t.Helper()
	to, _, err := p.env.Registry.Resolve(res.Type, res.Name)
	if err != nil {
		t.Errorf("%s: resource %s: %v", res.Pos, res.Name, err)
		return nil
	}
	if !hot.IsTemplate(to) {
		if strings.HasPrefix(to, "OS::TripleO::") {
			t.Errorf("%s: resource %s: nothing is registered for %s", res.Pos, res.Name, to)
		}
		return nil
	}
	for strings.HasPrefix(to, "../") { // as an environment in a folder names it
		to = strings.TrimPrefix(to, "../")
	}
	to = strings.TrimPrefix(path.Clean(to), "file:///")
	tmpl := p.templates[to]
	if tmpl == nil {
		t.Errorf("%s: resource %s: %s leads to %s, which the plan does not have", res.Pos, res.Name, res.Type, to)
	}
	return tmpl
}

func TestEveryPartFitsTheOthers(t *testing.T) {
	for _, tt := range []struct {
		reason  string
		variant func(t *testing.T) variant
		envs    []string
	}{
		{"the stock roles and networks", stock, nil},
		{"isolated networks", stock, []string{"environments/network-isolation.yaml"}},
		{"three controllers", stock, []string{"environments/ha.yaml"}},
		{"TLS for the public, by address", stock, []string{"environments/ssl/enable-tls.yaml", "environments/ssl/inject-trust-anchor.yaml", "environments/ssl/tls-endpoints-public-ip.yaml"}},
		{"TLS for the public, by name", stock, []string{"environments/ssl/enable-tls.yaml", "environments/ssl/tls-endpoints-public-dns.yaml"}},
		{"one role without networks of its own", func(t *testing.T) variant { return variant{roles: parseList(t, "roles", lonely)} }, nil},
		{"custom roles, one without services", func(t *testing.T) variant {
			return variant{roles: parseList(t, "roles", custom), networks: stock(t).networks}
		}, []string{"environments/network-isolation.yaml", "environments/low-memory-usage.yaml"}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			p := load(t, tt.variant(t), tt.envs...)
			root := p.templates["overcloud.yaml"]
			if root == nil {
				t.Fatal("no overcloud.yaml")
			}
			seen := map[string]bool{}
			p.walk(t, root, seen)
			if !seen["common/deploy-steps.yaml"] {
				t.Errorf("the steps are not reached from overcloud.yaml: %v", slices.Sorted(maps.Keys(seen)))
			}
		})
	}
}

// walk checks a template and those below it: properties are parameters there, attributes are outputs there, parameters
// without default are given.
func (p *templates) walk(t *testing.T, tmpl *hot.Template, seen map[string]bool) {
	if seen[tmpl.File] {
		return
	}
	seen[tmpl.File] = true
	attrs := map[string][]string{}
	for _, m := range attrRefs(p.files[tmpl.File]) {
		attrs[m[0]] = append(attrs[m[0]], m[1])
	}
	for name := range attrs {
		if tmpl.Resource(name) == nil {
			t.Errorf("%s: get_attr of %s, which is no resource of it", tmpl.File, name)
		}
	}
	for _, res := range tmpl.Resources {
		props, typ := res.Properties, res
		group := res.Type == "OS::Heat::ResourceGroup"
		if group {
			def, _ := props.Field("resource_def").Field("type").Literal()
			typ = &hot.ResourceDef{Name: res.Name, Type: fmt.Sprint(def), Pos: res.Pos}
			props = props.Field("resource_def").Field("properties")
		}
		inner := p.target(t, typ)
		if inner == nil {
			continue
		}
		given := map[string]bool{}
		if props != nil {
			keys, _ := props.Keys()
			for _, k := range keys {
				given[k] = true
				if inner.Parameter(k) == nil {
					t.Errorf("%s: property %s of %s is no parameter of %s", res.Pos, k, res.Name, inner.File)
				}
			}
		}
		for _, param := range inner.Parameters {
			if _, ok := p.env.Defaults.Get(param.Name); ok {
				continue
			}
			if param.Default == nil && !given[param.Name] && !passwords[param.Name] && param.Name != "role_data" {
				t.Errorf("%s: parameter %s of %s has no default and is not given", res.Pos, param.Name, inner.File)
			}
		}
		for _, a := range attrs[res.Name] {
			if group && (a == "attributes" || a == "refs" || a == "refs_map") {
				continue
			}
			if !slices.ContainsFunc(inner.Outputs, func(o *hot.Output) bool { return o.Name == a }) {
				t.Errorf("%s: get_attr [%s, %s]: %s has no such output", tmpl.File, res.Name, a, inner.File)
			}
		}
		p.walk(t, inner, seen)
	}
}

// attrRefs finds [resource, attribute] of get_attr in the text.
func attrRefs(text string) [][2]string {
	var out [][2]string
	for _, part := range strings.Split(text, "get_attr: [")[1:] {
		args, _, _ := strings.Cut(part, "]")
		f := strings.SplitN(args, ",", 3)
		if len(f) < 2 {
			continue
		}
		out = append(out, [2]string{strings.TrimSpace(f[0]), strings.TrimSpace(f[1])})
	}
	return out
}

// passwords are parameters that the plan's generated passwords give (tripleo.parameters.generate_passwords).
var passwords = map[string]bool{"AdminPassword": true, "AdminToken": true, "RabbitPassword": true,
	"KeystoneCredential0": true, "KeystoneCredential1": true, "GlancePassword": true, "PlacementPassword": true, "NovaPassword": true,
	"NeutronPassword": true, "NeutronMetadataProxySharedSecret": true, "HAProxyStatsPassword": true,
	"HeatPassword": true, "HeatStackDomainAdminPassword": true, "HeatAuthEncryptionKey": true, "SwiftPassword": true, "CinderPassword": true, "HorizonSecret": true, "SwiftHashSuffix": true}

// scope answers for a service template's parameters.
type scope struct {
	t     *testing.T
	tmpl  *hot.Template
	given map[string]any
	yaql  *hot.Yaql
}

func (s *scope) Param(name string) (any, bool) {
	v, ok := s.given[name]
	p := s.tmpl.Parameter(name)
	if p == nil {
		return nil, false
	}
	if !ok {
		v = p.Default
	}
	parsed, err := p.Parse(v)
	if err != nil {
		s.t.Errorf("%s: parameter %s: %v", s.tmpl.File, name, err)
	}
	return parsed, true
}
func (s *scope) Resource(string) (any, error)            { return hot.Unknown{}, nil }
func (s *scope) Attr(string, string, []any) (any, error) { return hot.Unknown{}, nil }
func (s *scope) File(string) (string, bool)              { return "", false }
func (s *scope) Facade(string) (any, error)              { return nil, nil }
func (s *scope) Yaql(expression string, data any, budget *hot.YaqlBudget) (any, error) {
	return s.yaql.Eval(s.t.Context(), expression, data, budget)
}

func (s *scope) output(name string) any {
	s.t.Helper()
	ev := hot.NewEvaluator(s.tmpl, s)
	for _, o := range s.tmpl.Outputs {
		if o.Name == name {
			v, err := ev.Value(o.Value)
			if err != nil {
				s.t.Fatalf("%s: output %s: %v", s.tmpl.File, name, err)
			}
			return v
		}
	}
	s.t.Fatalf("%s: no output %s", s.tmpl.File, name)
	return nil
}

// property evaluates a property of a resource; path goes into it.
func (s *scope) property(resource string, path ...string) any {
	s.t.Helper()
	ev := hot.NewEvaluator(s.tmpl, s)
	for _, r := range s.tmpl.Resources {
		if r.Name != resource {
			continue
		}
		v, err := ev.Value(r.Properties)
		if err != nil {
			s.t.Fatalf("%s: resource %s: %v", s.tmpl.File, resource, err)
		}
		for _, key := range path {
			v = field(v, key)
		}
		return v
	}
	s.t.Fatalf("%s: no resource %s", s.tmpl.File, resource)
	return nil
}

// ordered gives parameter values the shape they have after a request's JSON was decoded.
func ordered(t *testing.T, values map[string]any) map[string]any {
	t.Helper()
	out := map[string]any{}
	for k, v := range values {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if out[k], err = yaml11.DecodeJSON(data); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// services evaluates every service of the stock roles, on a node with all of them whose address is 192.168.24.9, and gives its
// data to the hook's parser: by step and name.
func services(t *testing.T, withTLS bool, envs ...string) map[string]map[string]service.Service {
	t.Helper()
	p := load(t, stock(t), envs...)
	yaql := hot.NewYaql()
	ips := map[string]any{}
	for _, n := range []string{"ctlplane", "storage", "storage_mgmt", "internal_api", "tenant", "external"} {
		ips[n], ips[n+"_uri"], ips[n+"_subnet"] = "192.168.24.9", "192.168.24.9", "192.168.24.9/24"
	}
	netMap := (&scope{t: t, tmpl: p.templates["network/service_net_map.yaml"], yaql: yaql}).output("service_net_map")
	endpoints := (&scope{t: t, tmpl: p.templates["network/endpoints/endpoint_map.yaml"], yaql: yaql,
		given: ordered(t, withFaces(p, map[string]any{"NetIpMap": ips, "ServiceNetMap": netMap}))}).output("endpoint_map")
	given := map[string]any{
		"ServiceNetMap": netMap, "EndpointMap": endpoints, "VipMap": ips, "NtpServer": "0.pool.ntp.org,1.pool.ntp.org",
		"AdminPassword": "adminpassword", "AdminToken": "databasepassword", "RabbitPassword": "rabbitpassword", "RabbitCookie": "cookie",
		"KeystoneCredential0": "c0", "KeystoneCredential1": "c1", "MysqlRootPassword": "",
		"GlancePassword": "glancepassword", "PlacementPassword": "placementpassword", "NovaPassword": "novapassword", "NeutronPassword": "neutronpassword",
		"NeutronMetadataProxySharedSecret": "metadatasecret", "HAProxyStatsPassword": "statspassword",
		"HeatPassword": "heatpassword", "HeatStackDomainAdminPassword": "domainpassword", "HeatAuthEncryptionKey": "encryptionkey", "SwiftPassword": "swiftpassword", "CinderPassword": "cinderpassword", "HorizonSecret": "horizonsecret", "SwiftHashSuffix": "salt",
		"DefaultPasswords":   map[string]any{"mysql_root_password": "drawn", "rabbit_cookie": "drawn"},
		"KeystoneFernetKeys": map[string]any{"/etc/keystone/fernet-keys/0": map[string]any{"content": "k0"}},
	}
	bind, tls := ips, map[string]any{"enabled": "false", "ca_file": "", "database": ""}
	if withTLS {
		given["EnableInternalTLS"] = true
		bind = map[string]any{}
		for n := range ips {
			bind[n] = "127.0.0.1"
		}
		tls = map[string]any{"enabled": "true", "ca_file": "/etc/pki/tripleo/ca.crt", "database": "&ssl_ca=/etc/pki/tripleo/ca.crt"}
	}
	given = ordered(t, given)
	node := map[string]any{"name": "c0", "fqdn": "c0.localdomain", "ip": ips}
	var names []any
	for _, line := range strings.Split(strings.Join(slices.Collect(maps.Values(p.files)), "\n"), "\n") {
		if name, ok := strings.CutPrefix(line, "      service_name: "); ok {
			names = append(names, name)
		}
	}
	node["services"] = names
	facts := map[string]any{"node": map[string]any{"hostname": "c0", "fqdn": "c0.localdomain", "index": "0", "ip": ips, "bind": bind,
		"tls": tls, "nodes": []any{node}}}
	all := map[string]map[string]service.Service{}
	for name, tmpl := range p.templates {
		if !strings.HasPrefix(name, "services/") {
			continue
		}
		data, err := json.Marshal((&scope{t: t, tmpl: tmpl, given: given, yaql: yaql}).output("role_data"))
		if err != nil {
			t.Fatal(err)
		}
		var role struct {
			ServiceName string         `json:"service_name"`
			Settings    map[string]any `json:"config_settings"`
			Service     map[string]any `json:"service"`
		}
		if err := json.Unmarshal(data, &role); err != nil {
			t.Fatal(err)
		}
		if role.ServiceName == "" || len(role.Service) == 0 {
			t.Errorf("%s: role_data lacks service_name or service: %s", name, data)
		}
		for step, work := range role.Service {
			if !slices.Contains([]string{"step_1", "step_2", "step_3", "step_4", "step_5"}, step) {
				t.Errorf("%s: %s is no step", name, step)
			}
			config, err := service.Expand(map[string]any{"step": 1, "services": []any{work}}, facts)
			if err != nil {
				t.Errorf("%s, %s: %v", name, step, err)
				continue
			}
			spec, err := service.ParseSpec(config)
			if err != nil {
				t.Errorf("%s, %s: %v", name, step, err)
				continue
			}
			if all[step] == nil {
				all[step] = map[string]service.Service{}
			}
			all[step][spec.Services[0].Name] = spec.Services[0]
		}
	}
	return all
}

// withFaces adds the entries of EndpointMap that an environment has, if any.
func withFaces(p *templates, given map[string]any) map[string]any {
	if faces, ok := p.env.Defaults.Get("EndpointMap"); ok {
		given["EndpointMap"] = faces
	}
	return given
}

// content is the text that a service writes to a file.
func content(t *testing.T, s service.Service, path string) string {
	t.Helper()
	for _, f := range s.Files {
		if f.Path == path && f.Content != nil {
			return *f.Content
		}
	}
	t.Errorf("%s has no file %s with content", s.Name, path)
	return ""
}

// TestServicesGiveWhatTheHookTakes looks at what the services say without TLS.
func TestServicesGiveWhatTheHookTakes(t *testing.T) {
	all := services(t, false)
	k := all["step_3"]["keystone"]
	ini := k.Files[0].INI
	want := "mysql+pymysql://keystone:databasepassword@192.168.24.9:3306/keystone?charset=utf8mb4"
	if diff := cmp.Diff(want, ini["database"].(map[string]any)["connection"]); diff != "" {
		t.Errorf("keystone's database: %s", diff)
	}
	if diff := cmp.Diff("rabbit://guest:rabbitpassword@192.168.24.9:5672/", ini["DEFAULT"].(map[string]any)["transport_url"]); diff != "" {
		t.Errorf("keystone's transport: %s", diff)
	}
	if got := all["step_2"]["mysql"].MySQL.RootPassword; got != "drawn" {
		t.Errorf("root's password %q, want the drawn one, as none is given", got)
	}
	if got := *all["step_1"]["rabbitmq"].Files[0].Content; got != "cookie" {
		t.Errorf("cookie %q, want the given one", got)
	}
	if got := *all["step_1"]["chrony"].Files[0].Content; !strings.HasPrefix(got, "server 0.pool.ntp.org iburst\nserver 1.pool.ntp.org iburst\ndriftfile ") {
		t.Errorf("chrony.conf:\n%s", got)
	}
	settings := *all["step_4"]["horizon"].Files[0].Content
	for _, line := range []string{"ALLOWED_HOSTS = ['*']\n", "SECRET_KEY = 'horizonsecret'\n", "OPENSTACK_KEYSTONE_URL = 'http://192.168.24.9:5000/v3'\n",
		"DEFAULT_SERVICE_REGIONS = {'*': 'regionOne'}\n", "'LOCATION': ['192.168.24.9:11211']}}\n", "CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE = False\n"} {
		if !strings.Contains(settings, line) {
			t.Errorf("Horizon's settings lack %q:\n%s", line, settings)
		}
	}
	for path, want := range map[string]string{
		"10-keystone.cfg": "listen keystone\n  bind 192.168.24.9:5000 transparent\n  mode http\n  option forwardfor\n  http-request set-header X-Forwarded-Proto https if { ssl_fc }\n  http-request set-header X-Forwarded-Proto http if !{ ssl_fc }\n  server c0 192.168.24.9:5000",
		"10-mysql.cfg":    "listen mysql\n  bind 192.168.24.9:3306 transparent\n  mode tcp\n  option tcpka\n  timeout client 90m\n  timeout server 90m\n  server c0 192.168.24.9:3306 on-marked-down shutdown-sessions",
	} {
		i := slices.IndexFunc(all["step_1"]["haproxy"].Files, func(f service.File) bool { return strings.HasSuffix(f.Path, path) })
		if i < 0 {
			t.Errorf("haproxy has no file %s", path)
			continue
		}
		if diff := cmp.Diff(want, *all["step_1"]["haproxy"].Files[i].Content); diff != "" {
			t.Errorf("%s: -want +got\n%s", path, diff)
		}
	}
}

// TestPublicEndpointsWithTLS evaluates HAProxy with the environment of TLS: public ports are encrypted, others are not.
func TestPublicEndpointsWithTLS(t *testing.T) {
	p := load(t, stock(t), "environments/ssl/enable-tls.yaml", "environments/ssl/tls-endpoints-public-ip.yaml")
	yaql := hot.NewYaql()
	ips := map[string]any{}
	for i, n := range []string{"ctlplane", "storage", "storage_mgmt", "internal_api", "tenant", "external"} {
		ip := fmt.Sprintf("10.0.%d.9", i)
		ips[n], ips[n+"_uri"], ips[n+"_subnet"] = ip, ip, ip+"/24"
	}
	netMap := (&scope{t: t, tmpl: p.templates["network/service_net_map.yaml"], yaql: yaql}).output("service_net_map")
	faces, _ := p.env.Defaults.Get("EndpointMap")
	given := ordered(t, map[string]any{"NetIpMap": ips, "ServiceNetMap": netMap, "EndpointMap": faces})
	endpoints := (&scope{t: t, tmpl: p.templates["network/endpoints/endpoint_map.yaml"], yaql: yaql, given: given}).output("endpoint_map")
	data, err := json.Marshal((&scope{t: t, tmpl: p.templates["services/haproxy.yaml"], yaql: yaql, given: ordered(t, map[string]any{
		"ServiceNetMap": netMap, "EndpointMap": endpoints, "VipMap": ips, "HAProxyStatsPassword": "statspassword",
		"SSLCertificate": "CERT\n", "SSLKey": "KEY\n"})}).output("role_data"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, want := range []string{
		`bind 10.0.5.9:13000 transparent ssl crt /etc/pki/tls/private/overcloud_endpoint.pem\n  bind 10.0.3.9:5000 transparent\n  bind 10.0.0.9:5000 transparent\n`,
		`bind 10.0.5.9:443 transparent ssl crt`, `bind 10.0.3.9:8776 transparent\n`, `"content":"CERT\n\n\nKEY\n"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("haproxy lacks %s:\n%s", want, text)
		}
	}
	if strings.Contains(text, "10.0.5.9:3306") {
		t.Error("the database is on the public address")
	}
}

// TestDeployedServerRoles compares the roles of machines that somebody else installed with the stock ones: they are the same but
// for the images and flavors, which need not be there.
func TestDeployedServerRoles(t *testing.T) {
	without := func(list []any) []map[string]any {
		var out []map[string]any
		for _, r := range list {
			m := map[string]any{}
			for k, v := range r.(*yaml11.OrderedMap).All() {
				if k != "disable_constraints" {
					m[k] = v
				}
			}
			out = append(out, m)
		}
		return out
	}
	for _, r := range deployed(t).roles {
		if field(r, "disable_constraints") != true {
			t.Errorf("role %s asks for an image and a flavor", str(r, "name"))
		}
	}
	if diff := cmp.Diff(without(stock(t).roles), without(deployed(t).roles), cmp.AllowUnexported(yaml11.OrderedMap{})); diff != "" {
		t.Errorf("deployed-server-roles-data.yaml is not what roles_data.yaml is: -want +got\n%s", diff)
	}
}

// TestDeployedServer gives a machine the address that the operator says, and Heat its name and address.
func TestDeployedServer(t *testing.T) {
	p := load(t, deployed(t), "environments/deployed-server-environment.yaml")
	s := &scope{t: t, tmpl: p.templates["deployed-server/deployed-neutron-port.yaml"], yaql: hot.NewYaql(), given: ordered(t, map[string]any{"name": "c0-ctlplane",
		"DeployedServerPortMap": map[string]any{"c0-ctlplane": map[string]any{"fixed_ips": []any{map[string]any{"ip_address": "192.0.2.7"}}}}})}
	list, _ := s.output("fixed_ips").([]any)
	if len(list) != 1 || str(list[0], "ip_address") != "192.0.2.7" {
		t.Errorf("the address is %v", list)
	}
}
