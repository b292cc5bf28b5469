package deployment_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// queensServices is what the outputs of testdata/queens-services.txtar are in Heat; what the services say was compared with the answers
// of the real one (Debian's python3-heat, asked as internal/orchestration/hot/testdata/oracle/record.py does).
const queensServices = `{
 "Top": 10, "FromData": "said in the plan environment itself", "After": false, "Names": ["ceph_base", "haproxy", "agent", "plain"],
 "Kernel": {"Controller": "none", "Compute": "hugepagesz=1G  iommu=on", "CephStorage": "none"},
 "Files": {"common": "#!/bin/bash\necho \"$_KERNEL_ARGS_ {{ not jinja }}\"\n", "again.sh": "#!/bin/bash\necho \"$_KERNEL_ARGS_ {{ not jinja }}\"\n"},
 "Volumes": ["one", "two", "--debug"],
 "Metadata": {
  "Controller": {"compact_HTTP": ["internalapi", "storage"], "compact_agent": ["internalapi"], "service_agentstorage": "agent/overcloud.storage.localdomain"},
  "Compute": {"compact_HTTP": ["internalapi", "storage"], "compact_agent": ["internalapi"], "service_agentstorage": "agent/overcloud.storage.localdomain"},
  "CephStorage": {"compact_HTTP": ["internalapi", "storage"], "compact_agent": ["internalapi"], "service_agentstorage": "agent/overcloud.storage.localdomain"}
 },
 "Upgrades": {
  "controller": "[{\"connection\": \"local\", \"hosts\": \"localhost\", \"tasks\": [{\"name\": \"step 1\", \"tags\": \"step1\"}]}]",
  "compute": "[{\"connection\": \"local\", \"hosts\": \"localhost\", \"tasks\": [{\"name\": \"step 1\", \"tags\": \"step1\"}]}]",
  "cephstorage": "[{\"connection\": \"local\", \"hosts\": \"localhost\", \"tasks\": [{\"name\": \"step 1\", \"tags\": \"step1\"}]}]"
 },
 "RoleData": [
  {"service_name": "ceph_base", "upgrade_tasks": [], "docker_config": {}, "metadata_settings": null, "config_settings": {"ceph_vars": {
   "host": "registry.example.org:8787", "image": "ceph/daemon", "tag": "v3-luminous", "other": "ceph/daemon", "network": "172.16.1.0/24", "missing": "",
   "pools": [{"name": "volumes", "pg_num": 64, "rule_name": ""}, {"name": "images", "pg_num": 128, "rule_name": ""}, {"name": "extra", "pg_num": "0o10"}],
   "keys": [{"name": "client.volumes", "key": "a-key", "mon_cap": "allow r, allow command \\\\\\\"auth del\\\\\\\"", "osd_cap": "allow rwx pool=volumes, allow rwx pool=images, allow rwx pool=extra", "mode": "0600"}],
   "same": [{"name": "client.volumes", "key": "a-key", "mon_cap": "allow r, allow command \\\\\\\"auth del\\\\\\\"", "osd_cap": "allow rwx pool=volumes, allow rwx pool=images, allow rwx pool=extra", "mode": "0600"}],
   "overrides": {"global": {"size": 128, "password": "a-key", "interval": "0"}}, "ip_version": "ipv6"}}},
  null,
  {"service_name": "haproxy", "config_settings": {"image": "192.0.2.1:8787/haproxy:2018", "files": ["/etc/ca.crt", "/etc/certs"], "crl_file": null,
   "latest": "192.0.2.1:8787/haproxy:latest", "ssl": "False", "debug": false, "twice": "second"},
   "puppet_config": {"step_config": "define rule( $port = undef){}\n['a', 'b'].each |String $val| { noop($val) }", "volumes": ["/etc/ca.crt:/etc/ca.crt:ro", "/etc/certs:/etc/certs:ro"]},
   "docker_config": {"step_1": {"tag": {"command": ["/bin/bash", "docker tag '192.0.2.1:8787/haproxy:2018' '192.0.2.1:8787/haproxy:latest'"]},
    "init": {"volumes": ["/etc/ca.crt:/etc/ca.crt:ro", "/etc/certs:/etc/certs:ro", "/a:/b"]}}},
   "metadata_settings": [{"service": "HTTP", "network": "internal_api", "type": "node"}, {"service": "HTTP", "network": "storage", "type": "node"}]},
  {"service_name": "agent", "config_settings": {"agent::mappings": ["tenant0:ens2f0", "tenant1:ens2f1"], "agent::excluded": [], "agent::extensions": "qos", "agent::reserved": 512, "agent::queue": 512,
   "agent::passthrough": "", "agent::mapping_text": "[\"tenant0:ens2f0\", \"tenant1:ens2f1\"]", "agent::address": "%{hiera('storage')}"},
   "metadata_settings": [{"service": "agent", "network": "storage", "type": "vip"}, {"service": "agent", "network": "internal_api", "type": "node"}]},
  {"service_name": "plain"}
 ]
}`

// TestQueensServices deploys the second plan of Queens' shapes: what only some services and extra configurations have.
func TestQueensServices(t *testing.T) {
	ar, err := txtar.ParseFile("testdata/queens-services.txtar")
	must(t, err)
	files := map[string]string{}
	for _, f := range ar.Files {
		files[f.Name] = string(f.Data)
	}
	r := start(t)
	r.upload("services", files)
	r.ok("tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": "services", "validate_stack": true})
	for name, want := range map[string]string{
		"overcloud.yaml":                      "description: 'Upgrades 2 of 3 roles'",
		"extraconfig/compute-reboot.yaml":     "  ComputeKernelArgs:\n",
		"metadata/controller-principals.yaml": "              storage: {get_param: CloudNameStorage}\n",
	} {
		if code, text := r.object("services", name); code != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d, expected %q:\n%s", name, code, want, text)
		}
	}
	r.ok("tripleo.deployment.v1.deploy_plan", map[string]any{"container": "services", "timeout": 5})
	got := map[string]any{}
	text, err := json.Marshal(r.outputs("services")) // numbers as in want
	must(t, err)
	must(t, json.Unmarshal(text, &got))
	want := map[string]any{}
	must(t, json.Unmarshal([]byte(queensServices), &want))
	if _, there := got["Conditional"]; there {
		t.Errorf("an output whose condition is false: %v", got["Conditional"])
	}
	for name, w := range want {
		if diff := cmp.Diff(w, got[name]); diff != "" {
			t.Errorf("output %s: -want +got\n%s", name, diff)
		}
	}
	// A second deployment of the same plan changes nothing that has no new input.
	r.ok("tripleo.deployment.v1.deploy_plan", map[string]any{"container": "services", "timeout": 5})
}
