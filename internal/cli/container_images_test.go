package cli

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// containerPlan are templates whose services run in containers.
func containerPlan(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	write(t, ".", map[string]string{
		"tht/roles_data.yaml":                     "- {name: Controller, CountDefault: 1, ServicesDefault: ['OS::TripleO::Services::Keystone', 'OS::TripleO::Services::CephMon']}\n- {name: Compute, ServicesDefault: ['OS::TripleO::Services::NovaCompute']}\n",
		"tht/docker/services/keystone.yaml":       "parameters: {DockerKeystoneImage: {type: string}, DockerKeystoneConfigImage: {type: string}, Other: {type: string}}\nresources: {Logging: {type: OS::T::L}, Common: {type: ./common.yaml}}\n",
		"tht/docker/services/common.yaml":         "parameters: {}\nresources: {Rendered: {type: later.yaml}, Self: {type: ./common.yaml}}\n",
		"tht/docker/services/nova-compute.yaml":   "parameters: {DockerNovaComputeImage: {type: string}}\n",
		"tht/docker/services/neutron-api.yaml":    "parameters: {DockerNeutronApiImage: {type: string}}\n",
		"tht/docker/services/ceph/ceph-mon.yaml":  "resources: {Base: {type: ./ceph-base.yaml}}\n",
		"tht/docker/services/ceph/ceph-base.yaml": "parameters: {DockerCephDaemonImage: {type: string}}\n",
		"tht/environments/docker.yaml": "resource_registry:\n  OS::TripleO::Services::Keystone: ../docker/services/keystone.yaml\n  OS::TripleO::Services::CephMon: ../docker/services/ceph/ceph-mon.yaml\n" +
			"  OS::TripleO::Services::NovaCompute: ../docker/services/nova-compute.yaml\n  OS::TripleO::Services::Ntp: ../puppet/services/ntp.yaml\n  OS::TripleO::Services::NeutronApi: ../docker/services/neutron-api.yaml\n",
		"compute.yaml": "parameter_defaults: {ComputeCount: 1}\n",
		"images.j2":    "container_images_template:\n- imagename: \"{{namespace}}/{{name_prefix}}keystone{{name_suffix}}:{{tag}}\"\n  params: [DockerKeystoneImage]\n  services: ['OS::TripleO::Services::Keystone']\n- imagename: x/nova\n  params: [DockerNovaComputeImage]\n  services: ['OS::TripleO::Services::NovaCompute']\n",
	})
}

func parametersOf(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := readFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := yaml11.Plain(lookup(mapping(t, text), "parameter_defaults")).(map[string]any)
	return m
}

// TestContainerPrepare: which images there are comes from the templates, which services from environments and roles.
func TestContainerPrepare(t *testing.T) {
	containerPlan(t)
	prepare := func(args ...string) map[string]any {
		t.Helper()
		mustRun(t, nil, append([]string{"overcloud", "container", "image", "prepare", "--templates", "tht", "--output-env-file", "env.yaml", "--output-images-file", "images.yaml"}, args...)...)
		return parametersOf(t, "env.yaml")
	}
	const ceph = "docker.io/ceph/daemon:v3.0-stable-3.0-luminous-centos-7-x86_64"
	keystone := "docker.io/tripleoqueens/centos-binary-keystone:current-tripleo"
	for _, tt := range []struct {
		reason string
		args   []string
		want   map[string]any
	}{
		{"all that the templates have", nil, map[string]any{"DockerKeystoneImage": keystone, "DockerKeystoneConfigImage": keystone, "DockerCephDaemonImage": ceph,
			"DockerNovaComputeImage": "docker.io/tripleoqueens/centos-binary-nova-compute:current-tripleo", "DockerNeutronApiImage": "docker.io/tripleoqueens/centos-binary-neutron-server:current-tripleo"}},
		{"roles with nodes", []string{"-e", "tht/environments/docker.yaml"}, map[string]any{"DockerKeystoneImage": keystone, "DockerKeystoneConfigImage": keystone, "DockerCephDaemonImage": ceph}},
		{"a role gets nodes by an environment; names, exclusion and another registry", []string{"-e", "environments/docker.yaml", "-e", "compute.yaml", "--namespace", "mine", "--pull-source", "reg.example.org",
			"--prefix", "p-", "--suffix", "-s", "--tag", "1", "--set", "ceph_tag=v4", "--exclude", "keystone", "--push-destination", "192.0.2.1:8787"},
			map[string]any{"DockerCephDaemonImage": "192.0.2.1:8787/ceph/daemon:v4", "DockerNovaComputeImage": "192.0.2.1:8787/mine/p-nova-compute-s:1"}},
		{"a list as a template", []string{"-e", "environments/docker.yaml", "--template-file", "images.j2"}, map[string]any{"DockerKeystoneImage": keystone}},
	} {
		if diff := cmp.Diff(tt.want, prepare(tt.args...)); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.reason, diff)
		}
	}
	prepare("-e", "environments/docker.yaml", "--push-destination", "192.0.2.1:8787")
	images, err := readImages([]string{"images.yaml"})
	if diff := cmp.Diff([]wantedImage{{ceph, "192.0.2.1:8787"}, {keystone, "192.0.2.1:8787"}}, images, cmp.AllowUnexported(wantedImage{})); diff != "" || err != nil {
		t.Errorf("%s %v", diff, err)
	}
	mustRun(t, []string{"- imagename: docker.io/tripleoqueens/centos-binary-neutron-server-ovn:current-tripleo"}, "overcloud", "container", "image", "prepare", "--templates", "tht", "--set", "neutron_driver=ovn")
	for _, args := range [][]string{{"--templates", "nowhere"}, {"--templates", "tht", "--set", "nope=1"}, {"--templates", "tht", "--exclude", "("}, {"--templates", "tht/environments"}} {
		if out, err := tripleo(t, append([]string{"overcloud", "container", "image", "prepare"}, args...)...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}

// TestContainerRegistry copies an image and one of several platforms between registries, and finds a tag by a label.
func TestContainerRegistry(t *testing.T) {
	containerPlan(t)
	from, to := httptest.NewServer(registry.New()), httptest.NewServer(registry.New())
	t.Cleanup(from.Close)
	t.Cleanup(to.Close)
	host := func(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }
	ref := func(s string) name.Reference {
		r, err := name.ParseReference(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	img, err := random.Image(64, 2)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Config(img, v1.Config{Labels: map[string]string{"rdo_version": "abc123", "v": "1", "lost": "gone"}})
	if err != nil {
		t.Fatal(err)
	}
	idx, err := random.Index(64, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	one, many := host(from)+"/ns/one", host(from)+"/ns/many:all"
	for _, tag := range []string{":current", ":abc123", ":1-x"} {
		if err := remote.Write(ref(one+tag), img); err != nil {
			t.Fatal(err)
		}
	}
	if err := remote.WriteIndex(ref(many), idx); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ label, want, err string }{
		{"rdo_version", "abc123\n", ""}, {"{v}-x", "1-x\n", ""}, {"none", "", "has no label none"}, {"lost", "", "says that its tag is gone, but there is none"},
	} {
		out, err := tripleo(t, "overcloud", "container", "image", "tag", "discover", "--image", one+":current", "--tag-from-label", tt.label)
		if tt.err == "" && (err != nil || out != tt.want) || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %q %v", tt.label, out, err)
		}
	}
	write(t, ".", map[string]string{
		"up.yaml":   "container_images:\n- {imagename: '" + one + ":current', push_destination: '" + host(to) + "'}\n- {imagename: '" + many + "', push_destination: '" + host(to) + "'}\n",
		"bad.yaml":  "container_images:\n- {imagename: '" + host(from) + "/ns/none:1', push_destination: '" + host(to) + "'}\n",
		"none.yaml": "container_images: [{imagename: x}]\n",
	})
	for range 2 { // again: everything is there
		mustRun(t, []string{"Uploaded " + host(to) + "/ns/one:current", "Uploaded " + host(to) + "/ns/many:all"}, "overcloud", "container", "image", "upload", "--config-file", "up.yaml")
	}
	want, _ := img.Digest()
	got, err := remote.Get(ref(host(to) + "/ns/one:current"))
	if err != nil || got.Digest != want {
		t.Errorf("the image: %v, want %v", err, want)
	}
	wantIdx, _ := idx.Digest()
	if got, err = remote.Get(ref(host(to) + "/ns/many:all")); err != nil || got.Digest != wantIdx {
		t.Errorf("the index: %v, want %v", err, wantIdx)
	}
	for file, want := range map[string]string{"bad.yaml": "ns/none:1", "none.yaml": "no push_destination"} {
		if out, err := tripleo(t, "overcloud", "container", "image", "upload", "--config-file", file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
	got2, err := tagsFromLabel(t.Context(), yaml11.MapOf("A", one+":current", "B", one+":current"), "rdo_version")
	if err != nil || str(lookup(got2, "B")) != one+":abc123" {
		t.Errorf("%v %v", got2, err)
	}
}

// program puts a script into the search path, which writes down how it was called.
func fakeProgram(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

// TestContainerBuild: kolla-build and the container engines are programs of others; what they are told is looked at.
func TestContainerBuild(t *testing.T) {
	containerPlan(t)
	write(t, ".", map[string]string{
		"images.yaml":      "container_images: [{imagename: 'docker.io/tripleoqueens/centos-binary-nova-api:current'}, {imagename: 'localhost:5000/x/keystone'}, {imagename: 'y/centos-binary-nova-api:other'}]\n",
		"rpms/fix.rpm":     "package",
		"mixed/a.rpm":      "package",
		"mixed/b.deb":      "package",
		"debs/fix_1_a.deb": "package",
	})
	t.Setenv("PATH", "/nowhere")
	if _, err := tripleo(t, "overcloud", "container", "image", "build", "--config-file", "images.yaml"); err == nil || !strings.Contains(err.Error(), "pip install kolla") {
		t.Errorf("without the program: %v", err)
	}
	if _, err := tripleo(t, "container", "image", "hotfix", "--image", "x", "--rpms-path", "rpms"); err == nil || !strings.Contains(err.Error(), "no container engine") {
		t.Errorf("without an engine: %v", err)
	}
	fakeProgram(t, "kolla-build", `echo "$@"`)
	mustRun(t, []string{`--config-file kolla.conf --list-images ^keystone$` + "\n"}, "overcloud", "container", "image", "build", "--config-file", "images.yaml", "--kolla-config-file", "kolla.conf", "--exclude", "nova", "--list-images")
	mustRun(t, []string{`^nova-api$ ^keystone$` + "\n"}, "overcloud", "container", "image", "build", "--config-file", "images.yaml")
	fakeProgram(t, "podman", `if [ "$2" = inspect ]; then echo nova; else cat "$3"; ls "$6/hotfix"; echo "$@"; fi`)
	mustRun(t, []string{"FROM r:5000/ns/nova:1\nUSER root\nCOPY hotfix /tmp/hotfix\nRUN rpm -Uvh /tmp/hotfix/*.rpm && rm -rf /tmp/hotfix\nUSER nova\nfix.rpm\nbuild -f", "Made r:5000/ns/nova:fixed of r:5000/ns/nova:1 and 1 packages"},
		"container", "image", "hotfix", "--image", "r:5000/ns/nova:1", "--rpms-path", "rpms", "--tag", "fixed")
	mustRun(t, []string{"RUN dpkg -i /tmp/hotfix/*.deb", "Made r:5000/nova:latest of"}, "container", "image", "hotfix", "--image", "r:5000/nova", "--rpms-path", "debs")
	for dir, want := range map[string]string{"mixed": "both kinds", "tht": "no packages"} {
		if _, err := tripleo(t, "container", "image", "hotfix", "--image", "x", "--rpms-path", dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestGenerateAnsibleConfig(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, ".", map[string]string{"ansible.cfg": "mine\n"})
	mustRun(t, []string{"/ansible.cfg"}, "config", "generate", "ansible", "--output-dir", ".", "--deployment-user", "me")
	text, err := readFile("ansible.cfg")
	if err != nil || !strings.Contains(text, "\nremote_user = me\n") || !strings.Contains(text, "[ssh_connection]\n") {
		t.Errorf("%v\n%s", err, text)
	}
	if old, err := readFile("ansible.cfg.old"); err != nil || old != "mine\n" {
		t.Errorf("the old one: %q %v", old, err)
	}
}

func TestUndercloudDeployFlags(t *testing.T) {
	if out, err := tripleo(t, "undercloud", "deploy", "--local-ip", "nowhere", "--heat-native"); err == nil || !strings.Contains(err.Error(), "expected an address") || !strings.Contains(out, "it has no effect") {
		t.Errorf("%v\n%s", err, out)
	}
}
