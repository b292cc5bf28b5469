package deployment

import (
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
		params, _ := dig(m, "parameters").(*yaml11.OrderedMap)
		for p := range params.All() {
			if imageParameter.MatchString(p) {
				found[p] = true
			}
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	defaults := imageDefaults(found)
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

// imageDefaults gives each parameter an image of the public registry of the release.
func imageDefaults(params map[string]bool) *yaml11.OrderedMap {
	special := map[string]string{
		"CephDaemon": "ceph/daemon:v3.0-stable-3.0-luminous-centos-7-x86_64", "NeutronDHCP": "neutron-dhcp-agent", "NeutronL3Agent": "neutron-l3-agent",
		"NeutronApi": "neutron-server", "Neutron": "neutron-server", "Mysql": "mariadb", "MysqlClient": "mariadb", "HAProxy": "haproxy", "Cinder": "cinder-api",
		"Nova": "nova-base", "NovaMetadata": "nova-api", "NovaVncProxy": "nova-novncproxy", "NovaLibvirt": "nova-libvirt", "Glance": "glance-api", "Heat": "heat-api",
		"Aodh": "aodh-api", "Gnocchi": "gnocchi-api", "Panko": "panko-api", "Ceilometer": "ceilometer-central", "Barbican": "barbican-api", "Swift": "swift-proxy-server",
		"OpenvswitchPlugin": "neutron-openvswitch-agent", "OpenvswitchAgent": "neutron-openvswitch-agent", "Ironic": "ironic-pxe", "Octavia": "octavia-api", "Sahara": "sahara-api",
		"Manila": "manila-api", "Mistral": "mistral-api", "Designate": "designate-worker", "Zaqar": "zaqar", "Collectd": "collectd", "Rabbitmq": "rabbitmq",
	}
	out := yaml11.NewMap()
	names := make([]string, 0, len(params))
	for p := range params {
		names = append(names, p)
	}
	slices.Sort(names)
	for _, p := range names {
		m := imageParameter.FindStringSubmatch(p)
		image := special[m[1]]
		if image == "" {
			image = kebab(m[1])
		}
		if strings.Contains(image, "/") {
			out.Set(p, "docker.io/"+image)
			continue
		}
		out.Set(p, "docker.io/tripleoqueens/centos-binary-"+image+":current-tripleo")
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
