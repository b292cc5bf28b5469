package plan_test

import (
	"errors"
	"path"
	"testing"

	"github.com/tripleo/tripleo/internal/orchestration/lint"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
)

// TestPlanLintsClean finds nothing in the rendered plan, warnings included, in several variants.
func TestPlanLintsClean(t *testing.T) {
	for _, tt := range []struct {
		reason  string
		variant func(t *testing.T) variant
		envs    []string
	}{
		{"the stock roles and networks", stock, nil},
		{"isolated networks", stock, []string{"environments/network-isolation.yaml"}},
		{"three controllers", stock, []string{"environments/ha.yaml"}},
		{"little memory", stock, []string{"environments/low-memory-usage.yaml"}},
		{"TLS for the public, by address", stock, []string{"environments/ssl/enable-tls.yaml", "environments/ssl/inject-trust-anchor.yaml", "environments/ssl/tls-endpoints-public-ip.yaml"}},
		{"TLS for the public, by name", stock, []string{"environments/ssl/enable-tls.yaml", "environments/ssl/tls-endpoints-public-dns.yaml"}},
		{"TLS everywhere", stock, []string{"environments/ssl/enable-internal-tls.yaml"}},
		{"TLS everywhere, isolated networks, three controllers", stock, []string{"environments/network-isolation.yaml", "environments/ha.yaml", "environments/ssl/enable-internal-tls.yaml", "environments/ssl/tls-everywhere-endpoints-dns.yaml"}},
		{"TLS everywhere, another certificate for the public", stock, []string{"environments/ssl/enable-internal-tls.yaml", "environments/ssl/enable-tls.yaml"}},
		{"machines that somebody else installed", deployed, []string{"environments/deployed-server-environment.yaml"}},
		{"machines that somebody else installed, isolated networks, TLS everywhere", deployed, []string{"environments/network-isolation.yaml", "environments/deployed-server-environment.yaml", "environments/ssl/enable-internal-tls.yaml"}},
		{"custom roles", func(t *testing.T) variant {
			return variant{roles: parseList(t, "roles", custom), networks: stock(t).networks}
		}, []string{"environments/network-isolation.yaml", "environments/low-memory-usage.yaml"}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			files := render(t, tt.variant(t))
			files["passwords.yaml"] = "parameter_defaults:\n"
			for name := range passwords { // made by the deployment
				files["passwords.yaml"] += "  " + name + ": made-up-for-the-test-000000000000000000000\n"
			}
			read := func(name string) (string, error) {
				text, ok := files[path.Clean(name)]
				if !ok {
					return "", errors.New("it is not in the plan")
				}
				return text, nil
			}
			for _, f := range lint.Run(t.Context(), lint.Input{Template: "overcloud.yaml", Environments: append([]string{"overcloud-resource-registry.yaml", "passwords.yaml"}, tt.envs...),
				Read: read, Types: resources.All()}) {
				t.Error(f)
			}
		})
	}
}
