package deployment

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const imagesFile = "environments/containers-default-parameters.yaml"

var imageParameter = regexp.MustCompile(`^(?:Docker|Container)(\w+?)(Config)?Image$`)

// prepareImages writes an environment with the container images of a plan of containers, and makes the plan use it.
// Which parameters name images is read from the plan's own templates, so every plan gets those it asks for; a plan
// without containers gets nothing.
func prepareImages(r *run, in input) (any, error) {
	container := in.str("container")
	names, err := r.listObjects(container)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, n := range names {
		if !strings.HasPrefix(n, "docker/") && !strings.HasPrefix(n, "deployment/") || !strings.HasSuffix(n, ".yaml") || strings.HasSuffix(n, ".j2.yaml") {
			continue
		}
		data, err := r.getObject(container, n)
		if err != nil {
			return nil, err
		}
		m, err := parseMap(container+"/"+n, data)
		if err != nil {
			return nil, err
		}
		for _, p := range ImageParameters(m) {
			found[p] = true
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	defaults := DefaultImageNames().Images(slices.Sorted(maps.Keys(found)))
	data, err := yaml11.Marshal(yaml11.MapOf("parameter_defaults", defaults))
	if err != nil {
		return nil, err
	}
	if err := r.putObject(container, imagesFile, data); err != nil {
		return nil, err
	}
	env, err := r.readPlanEnv(container)
	if err != nil {
		return nil, err
	}
	if ensureEnvironments(env, imagesFile) {
		return nil, r.writePlanEnv(container, env)
	}
	return nil, nil
}

// ImageParameters are the parameters of a template that name images of containers.
func ImageParameters(template *yaml11.OrderedMap) []string {
	var out []string
	params, _ := dig(template, "parameters").(*yaml11.OrderedMap)
	for p := range params.All() {
		if imageParameter.MatchString(p) {
			out = append(out, p)
		}
	}
	return out
}

// ImageNames says how images of containers are called: NAMESPACE/PREFIXserviceSUFFIX:TAG.
type ImageNames struct {
	Namespace, Prefix, Suffix, Tag    string
	CephNamespace, CephImage, CephTag string
	NeutronDriver                     string // ovn or odl: images of Neutron's server with that driver
}

// DefaultImageNames are those of the public registry of the release Queens.
func DefaultImageNames() ImageNames {
	return ImageNames{Namespace: "docker.io/tripleoqueens", Prefix: "centos-binary-", Tag: "current-tripleo",
		CephNamespace: "docker.io/ceph", CephImage: "daemon", CephTag: "v3.0-stable-3.0-luminous-centos-7-x86_64"}
}

// Images gives each parameter an image.
func (n ImageNames) Images(params []string) *yaml11.OrderedMap {
	special := map[string]string{
		"NeutronDHCP": "neutron-dhcp-agent", "NeutronL3Agent": "neutron-l3-agent",
		"NeutronApi": "neutron-server", "Neutron": "neutron-server", "Mysql": "mariadb", "MysqlClient": "mariadb", "HAProxy": "haproxy", "Cinder": "cinder-api",
		"Nova": "nova-base", "NovaMetadata": "nova-api", "NovaVncProxy": "nova-novncproxy", "NovaLibvirt": "nova-libvirt", "Glance": "glance-api", "Heat": "heat-api",
		"Aodh": "aodh-api", "Gnocchi": "gnocchi-api", "Panko": "panko-api", "Ceilometer": "ceilometer-central", "Barbican": "barbican-api", "Swift": "swift-proxy-server",
		"OpenvswitchPlugin": "neutron-openvswitch-agent", "OpenvswitchAgent": "neutron-openvswitch-agent", "Ironic": "ironic-pxe", "Octavia": "octavia-api", "Sahara": "sahara-api",
		"Manila": "manila-api", "Mistral": "mistral-api", "Designate": "designate-worker", "Zaqar": "zaqar", "Collectd": "collectd", "Rabbitmq": "rabbitmq",
	}
	drivers := map[string]string{"ovn": "-ovn", "odl": "-opendaylight"}
	out := yaml11.NewMap()
	for _, p := range params {
		m := imageParameter.FindStringSubmatch(p)
		if m == nil {
			continue
		}
		if m[1] == "CephDaemon" {
			out.Set(p, n.CephNamespace+"/"+n.CephImage+":"+n.CephTag)
			continue
		}
		image := special[m[1]]
		if image == "" {
			image = kebab(m[1])
		}
		if image == "neutron-server" {
			image += drivers[n.NeutronDriver]
		}
		out.Set(p, n.Namespace+"/"+n.Prefix+image+n.Suffix+":"+n.Tag)
	}
	return out
}

// kebab writes NovaApi as nova-api.
func kebab(s string) string {
	var sb strings.Builder
	rs := []rune(s)
	for i, c := range rs {
		if unicode.IsUpper(c) && i > 0 && (!unicode.IsUpper(rs[i-1]) || i+1 < len(rs) && unicode.IsLower(rs[i+1])) {
			sb.WriteByte('-')
		}
		sb.WriteRune(unicode.ToLower(c))
	}
	return sb.String()
}
