package orchestration_test

import (
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/endpoints"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/services"

	"github.com/gophercloud/gophercloud/v2"
)

//go:embed testdata/cinder_one.py
var cinderProgram string

// startCinder runs OpenStack's own Cinder (Debian's packages) in one process and puts it into the catalog.
func startCinder(t *testing.T, u *undercloud) {
	t.Helper()
	const python = "/usr/bin/python3"
	if err := exec.CommandContext(t.Context(), python, "-c", "import cinder").Run(); err != nil {
		t.Skip("SKIPPED, NOT TESTED WITH OPENSTACK'S CINDER: apt-get install cinder-api cinder-scheduler cinder-volume")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	dir := t.TempDir()
	program, conf := filepath.Join(dir, "cinder_one.py"), filepath.Join(dir, "cinder.conf")
	var password string
	for _, v := range u.ClientEnv() {
		if s, ok := strings.CutPrefix(v, "OS_PASSWORD="); ok {
			password = s
		}
	}
	for file, text := range map[string]string{program: cinderProgram, conf: fmt.Sprintf(`[DEFAULT]
transport_url = fake:/
auth_strategy = keystone
osapi_volume_listen = 127.0.0.1
osapi_volume_listen_port = %[1]s
osapi_volume_workers = 1
state_path = %[2]s/state
enabled_backends = files
api_paste_config = /etc/cinder/api-paste.ini
[database]
connection = sqlite:///%[2]s/cinder.sqlite
[files]
volume_backend_name = files
volume_driver = cinder_one.FileDriver
[oslo_concurrency]
lock_path = %[2]s
[coordination]
backend_url = file://%[2]s/coordination
[keystone_authtoken]
www_authenticate_uri = %[3]s
auth_url = %[3]s
auth_type = password
username = admin
password = %[4]s
project_name = admin
user_domain_id = default
project_domain_id = default
`, port, dir, u.AuthURL, password)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "cinder-manage", "--config-file", conf, "db", "sync").CombinedOutput(); err != nil {
		t.Fatalf("cinder-manage: %v\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, program, "--config-file", conf)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("cinder: %s", text[max(0, len(text)-4000):])
		}
	})
	url := "http://127.0.0.1:" + port
	u.eventually("Cinder", func() bool {
		res, err := http.Get(url + "/healthcheck") //nolint:noctx // on loopback, in a test
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	keystone, err := u.admin.Identity()
	if err != nil {
		t.Fatal(err)
	}
	s, err := services.Create(t.Context(), keystone, services.CreateOpts{Type: "volumev3", Extra: map[string]any{"name": "cinderv3"}}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	for _, face := range []gophercloud.Availability{gophercloud.AvailabilityPublic, gophercloud.AvailabilityInternal, gophercloud.AvailabilityAdmin} {
		_, err := endpoints.Create(t.Context(), keystone, endpoints.CreateOpts{Availability: face, Name: "cinder", Region: "regionOne", ServiceID: s.ID, URL: url + "/v3/%(project_id)s"}).Extract()
		if err != nil {
			t.Fatal(err)
		}
	}
}

const volumes = hot + `parameters:
  size: {type: number, default: 1}
  name: {type: string, default: first}
resources:
  fast:
    type: OS::Cinder::VolumeType
    properties: {name: fast, description: files, metadata: {volume_backend_name: files}}
  qos:
    type: OS::Cinder::QoSSpecs
    properties: {name: slow, specs: {consumer: back-end, read_iops_sec: "100"}}
  association:
    type: OS::Cinder::QoSAssociation
    properties: {qos_specs: {get_resource: qos}, volume_types: [{get_resource: fast}]}
  crypt_type: {type: OS::Cinder::VolumeType, properties: {name: secret}}
  encryption:
    type: OS::Cinder::EncryptedVolumeType
    properties: {volume_type: {get_resource: crypt_type}, provider: luks, cipher: aes-xts-plain64, key_size: 256, control_location: front-end}
  quota: {type: OS::Cinder::Quota, properties: {project: admin, volumes: 7, gigabytes: 70}}
  volume:
    type: OS::Cinder::Volume
    depends_on: [association, quota]
    properties: {size: {get_param: size}, name: {get_param: name}, volume_type: {get_resource: fast}, metadata: {a: b}, description: d}
  copy: {type: OS::Cinder::Volume, properties: {source_volid: {get_resource: volume}, size: {get_param: size}}}
outputs:
  size: {value: {get_attr: [volume, size]}}
  status: {value: {get_attr: [volume, status]}}
  type: {value: {get_attr: [volume, volume_type]}}
  name: {value: {get_attr: [volume, display_name]}}
  id: {value: {get_resource: volume}}
`

// TestVolumesOnCinder: the types of a service that an undercloud has not work when it is in the catalog.
func TestVolumesOnCinder(t *testing.T) {
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	u := newUndercloud(t)
	if code, out := u.request("POST", "validate", map[string]any{"template": hot + "resources: {v: {type: OS::Cinder::Volume, properties: {size: 1}}}"}); code != 400 || !strings.Contains(text(out), "cinder") {
		t.Errorf("without Cinder: %d %v", code, out)
	}
	startCinder(t, u)
	id := u.createStack("v", map[string]any{"template": volumes})
	o := outputsOf(u.stack("v", "CREATE_COMPLETE"))
	if got := fmt.Sprintf("%v %v %v %v", o["size"], o["status"], o["type"], o["name"]); got != "1 available fast first" {
		t.Errorf("outputs %v", o)
	}
	if code, out := u.request("PATCH", "stacks/v/"+id, map[string]any{"parameters": map[string]any{"size": 2, "name": "second"}}); code != 202 {
		t.Fatal(code, out)
	}
	after := outputsOf(u.stack("v", "UPDATE_COMPLETE"))
	if after["id"] != o["id"] || fmt.Sprint(after["size"]) != "2" || after["name"] != "second" {
		t.Errorf("after an update %v, before %v", after, o)
	}
	if code, out := u.request("POST", "stacks/v/"+id+"/actions", map[string]any{"check": nil}); code >= 300 {
		t.Fatal(code, out)
	}
	u.stack("v", "CHECK_COMPLETE")
	if code, out := u.request("DELETE", "stacks/v/"+id, nil); code >= 300 {
		t.Fatal(code, out)
	}
	u.stack("v", "DELETE_COMPLETE")
}
