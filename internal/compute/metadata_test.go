package compute_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"github.com/tripleo/tripleo/internal/netns"
)

// machine is a network namespace with the address of a server and that of the
// metadata service, from which curl asks as the server.
type machine struct {
	*testing.T

	ns, address string
}

func (m *machine) run(args ...string) {
	m.Helper()
	if out, err := exec.CommandContext(m.Context(), "ip", args...).CombinedOutput(); err != nil { //nolint:gosec // fixed by the test
		m.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

func newMachine(t *testing.T, handler http.Handler, address string) *machine {
	t.Helper()
	m := &machine{t, fmt.Sprintf("metadata%d", os.Getpid()), address}
	m.run("netns", "add", m.ns)
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "ip", "netns", "del", m.ns).Run() }) //nolint:gosec // our own name
	m.run("-n", m.ns, "link", "set", "lo", "up")
	for _, a := range []string{"169.254.169.254/32", address + "/32"} {
		m.run("-n", m.ns, "addr", "add", a, "dev", "lo")
	}
	l := must[net.Listener](t)(netns.Listen(m.ns, "tcp", "169.254.169.254:80"))
	srv := &http.Server{Handler: handler} //nolint:gosec // of a test
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return m
}

// curl asks for a path and returns the status and the body.
func (m *machine) curl(path string, args ...string) (string, string) {
	m.Helper()
	args = append([]string{"netns", "exec", m.ns, "curl", "-s", "--noproxy", "*", "--interface", m.address, "-w", "\n%{http_code}", "http://169.254.169.254" + path}, args...)
	out, err := exec.CommandContext(m.Context(), "ip", args...).Output() //nolint:gosec // fixed by the test
	if err != nil {
		m.Fatalf("curl %s: %v", path, err)
	}
	i := strings.LastIndexByte(string(out), '\n')
	return string(out[i+1:]), string(out[:i])
}

// TestMetadataOverTheWire has curl walk the metadata service from a machine's
// address, as cloud-init does.
func TestMetadataOverTheWire(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: network namespaces need root")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("CLIENT MISSING: install the package curl")
	}
	u := newUndercloud(t)
	admin := u.as(u.Admin())
	n := must[*networks.Network](t)(networks.Create(t.Context(), admin.neutron, provisioning{networks.CreateOpts{Name: "ctlplane"}}).Extract())
	must[*subnets.Subnet](t)(subnets.Create(t.Context(), admin.neutron, subnets.CreateOpts{NetworkID: n.ID, CIDR: "192.168.24.0/24", IPVersion: gophercloud.IPv4, DNSNameservers: []string{"192.168.24.1"}}).Extract())
	must[*groups.SecGroup](t)(groups.Create(t.Context(), admin.neutron, groups.CreateOpts{Name: "web"}).Extract())
	key := must[*keypairs.KeyPair](t)(keypairs.Create(t.Context(), admin.nova, keypairs.CreateOpts{Name: "k"}).Extract())
	s := must[*servers.Server](t)(servers.Create(t.Context(), admin.nova, keypairs.CreateOptsExt{KeyName: "k", CreateOptsBuilder: servers.CreateOpts{
		Name: "s", ImageRef: imageID, FlavorRef: u.flavor(), Networks: []servers.Network{{UUID: n.ID}}, UserData: []byte("#!/bin/sh\n"),
		Metadata: map[string]string{"role": "db"}, SecurityGroups: []string{"default", "web"},
	}}, nil).Extract())
	for must[*servers.Server](t)(servers.Get(t.Context(), admin.nova, s.ID).Extract()).Status != "ACTIVE" {
		u.Bus.Publish("baremetal/node/n1") // the job is under way
	}
	pages := must[pagination.Page](t)(ports.List(admin.neutron, ports.ListOpts{DeviceID: s.ID}).AllPages(t.Context()))
	m := newMachine(t, u.svc.MetadataHandler(), must[[]ports.Port](t)(ports.ExtractPorts(pages))[0].FixedIPs[0].IPAddress)

	for _, tc := range []struct{ path, code, want string }{
		{"/", "200", "1.0\n2007-01-19\n2007-03-01\n2007-08-29\n2007-10-10\n2007-12-15\n2008-02-01\n2008-09-01\n2009-04-04\nlatest"},
		{"/openstack", "200", "2012-08-10\n2013-04-04\n2013-10-17\n2015-10-15\n2016-06-30\n2016-10-06\n2017-02-22\n2018-08-27\n2020-10-14\nlatest"},
		{"/openstack/", "200", "2012-08-10\n2013-04-04\n2013-10-17\n2015-10-15\n2016-06-30\n2016-10-06\n2017-02-22\n2018-08-27\n2020-10-14\nlatest"},
		{"/openstack/2012-08-10", "200", "meta_data.json\nuser_data"},
		{"/openstack/2015-10-15/", "200", "meta_data.json\nuser_data\npassword\nvendor_data.json\nnetwork_data.json"},
		{"/openstack/latest", "200", "meta_data.json\nuser_data\npassword\nvendor_data.json\nnetwork_data.json\nvendor_data2.json"},
		{"/openstack/2011-01-01/meta_data.json", "404", ""},
		{"/openstack/2012-08-10/network_data.json", "404", ""},
		{"/openstack/latest/nothing", "404", ""},
		{"/openstack/latest/user_data", "200", "#!/bin/sh\n"},
		{"/openstack/latest/vendor_data.json", "200", "{}"},
		{"/openstack/latest/vendor_data2.json", "200", "{}"},
		{"/openstack/latest/password", "200", ""},
		{"/2010-01-01/meta-data", "404", ""},
		{"/latest/", "200", "meta-data/\nuser-data"},
		{"/2009-04-04/user-data", "200", "#!/bin/sh\n"},
		{"/latest/meta-data/public-keys/", "200", "0=k"},
		{"/latest/meta-data/public-keys/0/", "200", "openssh-key"},
		{"/latest/meta-data/public-keys/0/openssh-key", "200", key.PublicKey},
		{"/latest/meta-data/security-groups", "200", "default\nweb"},
		{"/latest/meta-data/local-ipv4", "200", m.address},
		{"/latest/meta-data/placement/availability-zone", "200", "nova"},
		{"/latest/meta-data/none", "404", ""},
	} {
		code, body := m.curl(tc.path)
		if code != tc.code || code == "200" && strings.TrimSpace(body) != strings.TrimSpace(tc.want) {
			t.Errorf("%s: %s %q, expected %s %q", tc.path, code, body, tc.code, tc.want)
		}
	}
	m.documents(s.ID, key.PublicKey)
	m.password()
}

// documents looks into the JSON files.
func (m *machine) documents(id, key string) {
	m.Helper()
	for version, fields := range map[string]map[string]bool{
		"latest":     {"random_seed": true, "project_id": true, "devices": true, "dedicated_cpus": true},
		"2018-08-27": {"random_seed": true, "project_id": true, "devices": true, "dedicated_cpus": false},
		"2012-08-10": {"random_seed": false, "project_id": false, "devices": false, "dedicated_cpus": false},
	} {
		_, body := m.curl("/openstack/" + version + "/meta_data.json")
		var meta map[string]any
		if err := json.Unmarshal([]byte(body), &meta); err != nil {
			m.Fatal(err)
		}
		keys, _ := meta["public_keys"].(map[string]any)
		if meta["uuid"] != id || keys["k"] != key || fmt.Sprint(meta["meta"]) != "map[role:db]" {
			m.Errorf("%s: %s", version, body)
		}
		for f, want := range fields {
			if _, ok := meta[f]; ok != want {
				m.Errorf("%s has %s: %t, expected %t", version, f, ok, want)
			}
		}
	}
	_, body := m.curl("/openstack/latest/network_data.json")
	var data struct {
		Networks []struct {
			Address string `json:"ip_address"`
		} `json:"networks"`
		Services []struct{ Address string }
	}
	if err := json.Unmarshal([]byte(body), &data); err != nil || len(data.Networks) != 1 || data.Networks[0].Address != m.address || len(data.Services) != 1 {
		m.Errorf("network_data.json: %s, %v", body, err)
	}
}

// password leaves one, which happens once only.
func (m *machine) password() {
	m.Helper()
	secret := base64.StdEncoding.EncodeToString([]byte("encrypted"))
	for _, want := range []string{"200", "409"} {
		if code, body := m.curl("/openstack/latest/password", "-d", secret); code != want {
			m.Errorf("leaving the password: %s %s, expected %s", code, body, want)
		}
	}
	if code, body := m.curl("/openstack/latest/password"); code != "200" || body != secret {
		m.Errorf("the password: %s %q", code, body)
	}
	if code, _ := m.curl("/openstack/2012-08-10/password", "-d", secret); code != "404" {
		m.Errorf("leaving a password before there were any: %s, expected 404", code)
	}
}
