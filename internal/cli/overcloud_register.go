package cli

import (
	"fmt"

	"github.com/spf13/pflag"
)

// registration are the flags that register nodes of Red Hat Enterprise Linux; the plan has the environments for it.
type registration struct {
	on, force                           bool
	method, org, satelliteURL, activate string
}

func (r *registration) add(fl *pflag.FlagSet) {
	fl.BoolVar(&r.on, "rhel-reg", false, "register the nodes with the customer portal or a satellite (plans for Red Hat Enterprise Linux)")
	fl.StringVar(&r.method, "reg-method", "satellite", "satellite or portal")
	fl.StringVar(&r.org, "reg-org", "", "organization of the registration")
	fl.BoolVar(&r.force, "reg-force", false, "register nodes that are registered already")
	fl.StringVar(&r.satelliteURL, "reg-sat-url", "", "URL of the satellite")
	fl.StringVar(&r.activate, "reg-activation-key", "", "activation key of the registration")
}

// check completes the parameters of the registration.
func (r *registration) check(params map[string]any) error {
	if !r.on {
		return nil
	}
	switch r.method {
	case "portal":
	case "satellite":
		if r.satelliteURL == "" {
			return fmt.Errorf("--rhel-reg with --reg-method satellite needs --reg-sat-url")
		}
	default:
		return fmt.Errorf("--reg-method is %q, expected satellite or portal", r.method)
	}
	if r.org == "" || r.activate == "" {
		return fmt.Errorf("--rhel-reg needs --reg-org and --reg-activation-key")
	}
	force := ""
	if r.force {
		force = "true"
	}
	for k, v := range map[string]string{"rhel_reg_method": r.method, "rhel_reg_org": r.org, "rhel_reg_force": force, "rhel_reg_sat_url": r.satelliteURL, "rhel_reg_activation_key": r.activate} {
		params[k] = v
	}
	return nil
}

// registrationEnvironments are the files of a plan that registers.
func registrationEnvironments() []string {
	const dir = "extraconfig/pre_deploy/rhel-registration/"
	return []string{dir + "rhel-registration-resource-registry.yaml", dir + "environment-rhel-registration.yaml"}
}
