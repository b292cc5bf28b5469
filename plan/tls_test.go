package plan_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
)

// TestTLSEverywhere evaluates the services with TLS among them.
func TestTLSEverywhere(t *testing.T) {
	all := services(t, true, "environments/ssl/enable-internal-tls.yaml")
	haproxy := all["step_1"]["haproxy"]
	const own = " transparent ssl crt /etc/pki/tripleo/node.crt\n"
	for file, want := range map[string]string{
		"10-keystone.cfg": "  bind 192.168.24.9:13000" + own + "  bind 192.168.24.9:5000" + own + "  mode http\n",
		"10-horizon.cfg":  "  cookie SERVERID insert indirect nocache httponly\n  server c0 192.168.24.9:443 ssl verify required ca-file /etc/pki/tripleo/ca.crt verifyhost c0.localdomain cookie c0",
		"10-glance.cfg":   "  server c0 192.168.24.9:13292 ssl verify required ca-file /etc/pki/tripleo/ca.crt verifyhost c0.localdomain on-marked-down shutdown-sessions",
		"10-mysql.cfg":    "  bind 192.168.24.9:3306 transparent\n", // the server speaks TLS with the clients
		"05-stats.cfg":    "  bind 192.168.24.9:1993" + own,
	} {
		if got := content(t, haproxy, "/etc/haproxy/tripleo/"+file); !strings.Contains(got, want) {
			t.Errorf("%s lacks\n%s\nit is\n%s", file, want, got)
		}
	}
	if got := content(t, all["step_1"]["rabbitmq"], "/etc/rabbitmq/conf.d/10-listeners.conf"); !strings.HasPrefix(got, "listeners.tcp = none\nlisteners.ssl.default = 5671\n") {
		t.Errorf("RabbitMQ listens so:\n%s", got)
	}
	ini := func(step, name, path, section, option string) any {
		t.Helper()
		for _, f := range all[step][name].Files {
			if f.Path == path {
				m, _ := f.INI[section].(map[string]any)
				return m[option]
			}
		}
		t.Errorf("%s has no file %s in %s", name, path, step)
		return nil
	}
	for _, tt := range []struct {
		step, name, path, section, option string
		want                              any
	}{
		{"step_1", "mysql", "/etc/mysql/mariadb.conf.d/90-tripleo.cnf", "mysqld", "require_secure_transport", "ON"},
		{"step_1", "mysql", "/etc/mysql/mariadb.conf.d/90-tripleo.cnf", "mysqld", "ssl-key", "/etc/mysql/tls/server.key"},
		{"step_3", "keystone", "/etc/keystone/keystone.conf", "database", "connection", "mysql+pymysql://keystone:databasepassword@192.168.24.9:3306/keystone?charset=utf8mb4&ssl_ca=/etc/pki/tripleo/ca.crt"},
		{"step_3", "keystone", "/etc/keystone/keystone.conf", "DEFAULT", "transport_url", "rabbit://guest:rabbitpassword@192.168.24.9:5671/"},
		{"step_3", "keystone", "/etc/keystone/keystone-uwsgi.ini", "uwsgi", "http-socket", "127.0.0.1:5000"},
		{"step_3", "glance_api", "/etc/glance/glance-api.conf", "DEFAULT", "bind_host", "127.0.0.1"},
		{"step_4", "nova_vnc_proxy", "/etc/nova/nova.conf.d/novncproxy.conf", "vnc", "novncproxy_host", "127.0.0.1"},
		{"step_4", "nova_vnc_proxy", "/etc/nova/nova.conf.d/novncproxy.conf", "vnc", "auth_schemes", "vencrypt"},
		{"step_4", "swift_proxy", "/etc/swift/proxy-server.conf", "DEFAULT", "bind_ip", "127.0.0.1"},
		{"step_4", "nova_compute", "/etc/nova/nova.conf", "keystone_authtoken", "auth_url", "https://192.168.24.9:5000"},
		{"step_4", "nova_compute", "/etc/nova/nova.conf", "oslo_messaging_rabbit", "ssl", "true"},
		{"step_4", "nova_compute", "/etc/nova/nova-compute.conf", "libvirt", "live_migration_scheme", "tls"},
		{"step_4", "neutron_metadata_agent", "/etc/neutron/metadata_agent.ini", "DEFAULT", "nova_metadata_protocol", "https"},
	} {
		if got := ini(tt.step, tt.name, tt.path, tt.section, tt.option); got != tt.want {
			t.Errorf("%s, %s: [%s] %s is %v, want %v", tt.name, tt.path, tt.section, tt.option, got, tt.want)
		}
	}
	// Whatever is listened to is either behind TLS, on loopback, or speaks TLS itself; each copy of a key is its owner's alone.
	copies := map[string]string{}
	for _, step := range all {
		for _, s := range step {
			for _, f := range s.Files {
				if f.Copy == "" {
					continue
				}
				copies[f.Path] = f.Copy
				if strings.HasSuffix(f.Copy, ".key") && (f.Mode != 0o600 || f.Owner == "") {
					t.Errorf("%s of %s has mode %o and owner %q", f.Path, s.Name, f.Mode, f.Owner)
				}
			}
		}
	}
	for _, path := range []string{"/etc/mysql/tls/server.key", "/etc/rabbitmq/tls/server.key", "/etc/nova/tls/vnc.key", "/etc/pki/libvirt/private/serverkey.pem", "/etc/pki/qemu/server-key.pem"} {
		if copies[path] != "/etc/pki/tripleo/node.crt.key" {
			t.Errorf("%s is a copy of %q", path, copies[path])
		}
	}
}

// TestNodeTLS evaluates what a node is told: which names its certificate has, and in front of which APIs there is TLS.
func TestNodeTLS(t *testing.T) {
	p := load(t, stock(t), "environments/ssl/enable-internal-tls.yaml")
	yaql := hot.NewYaql()
	netMap := (&scope{t: t, tmpl: p.templates["network/service_net_map.yaml"], yaql: yaql}).output("service_net_map")
	for _, tt := range []struct {
		reason   string
		services []any
		names    string
		proxy    []string
	}{
		{"a controller", []any{"OS::TripleO::Services::HAproxy", "OS::TripleO::Services::Keystone", "OS::TripleO::Services::Horizon"}, "c0.localdomain c0 10.0.0.4 10.0.3.4 overcloud.localdomain 10.0.0.9 10.0.3.9",
			[]string{"listen keystone\n  bind 10.0.3.4:13000 transparent ssl crt /etc/pki/tripleo/node.crt\n", "  server local 127.0.0.1:5000\n", "  bind 10.0.3.4:443 ", "  server local 127.0.0.1:80\n"}},
		{"a compute node", []any{"OS::TripleO::Services::NovaLibvirt"}, "c0.localdomain c0 10.0.0.4 10.0.3.4", nil},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			ips := map[string]any{"ctlplane": "10.0.0.4", "internal_api": "10.0.3.4", "storage": "", "storage_mgmt": "", "tenant": "", "external": ""}
			vips := map[string]any{"ctlplane": "10.0.0.9", "internal_api": "10.0.3.9", "storage": "", "storage_mgmt": "", "external": ""}
			s := &scope{t: t, tmpl: p.templates["common/node-tls.yaml"], yaql: yaql, given: ordered(t, map[string]any{"server": "s", "NodeNames": []any{"c0.localdomain", "c0"},
				"NetIpMap": ips, "VipMap": vips, "Services": tt.services, "ServiceNetMap": netMap, "CloudName": "overcloud.localdomain"})}
			var got []string
			for _, n := range s.property("Certificate", "input", "names").([]any) {
				got = append(got, n.(string))
			}
			if strings.Join(got, " ") != tt.names {
				t.Errorf("names %v, want %s", got, tt.names)
			}
			_, isLibvirt := s.property("Certificate", "input", "units").([]any)
			if !isLibvirt {
				t.Errorf("units are %v", s.property("Certificate", "input", "units"))
			}
			list := s.property("CertificateConfig", "config", "services").([]any)
			if (list[1] == nil) != (tt.proxy == nil) {
				t.Fatalf("TLS in front of APIs: %v", list[1])
			}
			if tt.proxy == nil {
				return
			}
			text := fmt.Sprint(field(field(list[1], "files").([]any)[0], "content"))
			for _, want := range tt.proxy {
				if !strings.Contains(text, want) {
					t.Errorf("the configuration lacks %q:\n%s", want, text)
				}
			}
			if strings.Contains(text, "glance") {
				t.Errorf("an API that the node does not have is there:\n%s", text)
			}
		})
	}
}

// TestRequestScript runs the script that nodes make their keys with: a key stays until rotation says otherwise, nobody else reads
// it, and the request is one of it.
func TestRequestScript(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed (Debian package openssl): the script that makes keys is not tried")
	}
	p := load(t, stock(t))
	s := &scope{t: t, tmpl: p.templates["common/node-tls.yaml"], yaql: hot.NewYaql(), given: ordered(t, map[string]any{"server": "s"})}
	dir := t.TempDir()
	script := strings.ReplaceAll(s.property("RequestConfig", "config").(string), "/etc/pki/tripleo", dir+"/pki")
	run := func(rotation string) (key string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "rotation=" + rotation, "heat_outputs_path=" + dir + "/out"}
		if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "PRIVATE") {
			t.Fatalf("%v\n%s", err, out)
		}
		file := dir + "/pki/private/" + rotation + ".key"
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("the key has mode %v, %v", fi.Mode(), err)
		}
		request, err := os.ReadFile(dir + "/out.request")
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(request)
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if err := csr.CheckSignature(); err != nil {
			t.Error(err)
		}
		block, _ = pem.Decode(data)
		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if !private.(*ecdsa.PrivateKey).PublicKey.Equal(csr.PublicKey) {
			t.Error("the request is of another key")
		}
		return string(data)
	}
	first := run("first")
	if again := run("first"); again != first {
		t.Error("the second run made another key")
	}
	if current, err := os.ReadFile(dir + "/out.current"); err != nil || len(current) != 0 {
		t.Errorf("a node without a certificate says it has %q, %v", current, err)
	}
	if err := os.WriteFile(dir+"/pki/node.crt", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if next := run("next"); next == first {
		t.Error("rotation made no new key")
	}
	if current, err := os.ReadFile(dir + "/out.current"); err != nil || string(current) != "mine" {
		t.Errorf("the node says that it has the certificate %q, %v", current, err)
	}
	if left, _ := filepath.Glob(dir + "/pki/private/*"); len(left) != 1 {
		t.Errorf("beside the new key there are %v", left)
	}
}
