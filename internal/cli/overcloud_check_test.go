package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/yaml11"
)

func mapping(t *testing.T, text string) *yaml11.OrderedMap {
	t.Helper()
	m, err := parseMapping("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRoleWishes(t *testing.T) {
	roles := items(lookup(mapping(t, `roles:
- {name: Controller, CountDefault: 1, deprecated_param_flavor: OvercloudControlFlavor}
- {name: Compute, FlavorDefault: compute}
- {name: Storage, CountDefault: 2}
- {name: There, CountDefault: 5, disable_constraints: true}
- {}
`), "roles"))
	info, counts := roleWishes(roles, mapping(t, "ComputeCount: '7'\nOvercloudControlFlavor: control\nOvercloudStorageFlavor: ''\n"))
	want := map[string]any{"Controller": []any{"control", int64(1)}, "Compute": []any{"compute", int64(7)}, "Storage": []any{"baremetal", int64(2)}}
	if diff := cmp.Diff(want, yaml11.Plain(info)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"ControllerCount": int64(1), "ComputeCount": int64(7), "StorageCount": int64(2)}, yaml11.Plain(counts)); diff != "" {
		t.Error(diff)
	}
}

// TestLostNetworks: an update without the environment of the networks would delete them.
func TestLostNetworks(t *testing.T) {
	live := mapping(t, "resource_registry: {'OS::TripleO::Network::Storage': network/storage.yaml, 'OS::TripleO::Network::Tenant': 'OS::Heat::None', 'OS::TripleO::Network::Ports::StorageVipPort': a.yaml, 'OS::X': y.yaml}\nparameter_defaults: {CephClusterFSID: one}\n")
	for _, tt := range []struct{ next, want string }{
		{"resource_registry: {'OS::TripleO::Network::Storage': elsewhere/storage.yaml}", ""},
		{"resource_registry: {'OS::TripleO::Network::Storage': 'OS::Heat::None'}", "OS::TripleO::Network::Storage"},
		{"resource_registry: {}", "OS::TripleO::Network::Storage"},
		{"resource_registry: {'OS::TripleO::Network::Storage': s.yaml}\nparameter_defaults: {CephClusterFSID: two}", "CephClusterFSID is one, the environments say two"},
	} {
		err := lostNetworks(live, mapping(t, tt.next))
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "Ports")) {
			t.Errorf("%s: %v", tt.next, err)
		}
	}
}

func TestRegistration(t *testing.T) {
	for _, tt := range []struct {
		reason, want string
		r            registration
	}{
		{"not asked for", "", registration{method: "satellite"}},
		{"no URL", "--reg-sat-url", registration{on: true, method: "satellite", org: "o", activate: "k"}},
		{"no key", "--reg-activation-key", registration{on: true, method: "portal", org: "o"}},
		{"another method", "expected satellite or portal", registration{on: true, method: "fax"}},
		{"all there", "", registration{on: true, method: "portal", org: "o", activate: "k", force: true}},
	} {
		params := map[string]any{}
		err := tt.r.check(params)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.reason, err)
		}
		if err == nil && tt.r.on && (params["rhel_reg_force"] != "true" || params["rhel_reg_org"] != "o" || len(params) != 5) {
			t.Errorf("%s: %v", tt.reason, params)
		}
	}
}

// TestChecksBefore: what files and flags ask for is compared with the machines that are there.
func TestChecksBefore(t *testing.T) {
	commandRig(t)
	t.Setenv("HOME", t.TempDir())
	write(t, ".", map[string]string{
		"nodes.json":                `{"nodes": [{"pm_type": "fake-hardware", "name": "a", "mac": ["52:54:00:24:00:01"]}]}`,
		"tht/roles_data.yaml":       "- {name: Controller, CountDefault: 1}\n- {name: Compute, FlavorDefault: gone}\n",
		"tht/plan-environment.yaml": "environments: [{path: base.yaml}, {path: rendered.yaml}]\n",
		"tht/base.yaml":             "parameter_defaults: {ControllerCount: 2, ComputeCount: 1}\n",
		"env.yaml":                  "parameter_defaults: {ControllerCount: 3}\n",
	})
	mustRun(t, nil, "overcloud", "node", "import", "nodes.json", "--no-deploy-image", "--provide")
	f := &deployFlags{stack: "overcloud", templates: "tht", environments: []string{"env.yaml"}, parameters: map[string]any{}}
	problems, warnings, err := testOperator(t).checkWorkflow(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Not enough baremetal nodes - available: 1, requested: 4", "Flavor 'gone' provided for the role 'Compute', does not exist"} {
		if !strings.Contains(strings.Join(problems, "\n"), want) {
			t.Errorf("%q is not among %q", want, problems)
		}
	}
	if !strings.Contains(strings.Join(warnings, "\n"), "no NtpServer") {
		t.Errorf("warnings %q", warnings)
	}
}
