package cli

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/deployment"
	"github.com/tripleo/tripleo/internal/yaml11"
)

func newNetenvCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "netenv", Short: "Network environments"}
	var file string
	validate := &cobra.Command{
		Use:   "validate",
		Short: "Check the networks of an environment file, without an undercloud",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			data, err := os.ReadFile(file) //nolint:gosec // named by the operator
			if err != nil {
				return err
			}
			env, err := parseMapping(file, data)
			if err != nil {
				return err
			}
			if err := errors.Join(append(checkNetworks(env), checkNICTemplates(env, filepath.Dir(file))...)...); err != nil {
				return fmt.Errorf("%s:\n%w", file, err)
			}
			_, err = fmt.Fprintln(a.stdout, "SUCCESSFUL Validation with 0 error(s)")
			return err
		},
	}
	validate.Flags().StringVarP(&file, "file", "f", "network-environment.yaml", "environment file with the networks")
	cmd.AddCommand(validate)
	return cmd
}

// checkNetworks looks at the networks that the parameters NAMENetCidr, NAMEAllocationPools, NAMEInterfaceDefaultRoute and
// NAMENetworkVlanID make.
func checkNetworks(env *yaml11.OrderedMap) []error {
	params, _ := lookup(env, "parameter_defaults").(*yaml11.OrderedMap)
	var errs []error
	nets := map[string]*deployment.PlanNetwork{}
	network := func(name string) *deployment.PlanNetwork {
		if nets[name] == nil {
			nets[name] = &deployment.PlanNetwork{Name: name}
		}
		return nets[name]
	}
	for key, v := range params.All() {
		if name, ok := strings.CutSuffix(key, "NetCidr"); ok {
			n := network(name)
			gateway, _ := lookup(params, name+"InterfaceDefaultRoute").(string)
			errs = append(errs, n.Parse(str(v), lookup(params, name+"AllocationPools"), gateway))
			if p, err := netip.ParsePrefix(str(v)); err == nil && p != n.CIDR {
				errs = append(errs, fmt.Errorf("%s: %s has host bits set, the network is %s", key, p, n.CIDR))
			}
		}
		if name, ok := strings.CutSuffix(key, "NetworkVlanID"); ok {
			n, err := strconv.Atoi(str(v))
			if err != nil || n < 1 {
				errs = append(errs, fmt.Errorf("%s: %q is no VLAN, expected 1 to 4094", key, str(v)))
				continue
			}
			network(name).VLAN = n
		}
	}
	list := make([]deployment.PlanNetwork, 0, len(nets))
	for _, name := range slices.Sorted(maps.Keys(nets)) {
		list = append(list, *nets[name])
	}
	return append(errs, deployment.CheckNetworks(list)...)
}

// checkNICTemplates looks into the NIC templates of the roles: an OVS bridge with more than one bond, or more than one
// interface and no bond, makes a loop.
func checkNICTemplates(env *yaml11.OrderedMap, dir string) []error {
	reg, _ := lookup(env, "resource_registry").(*yaml11.OrderedMap)
	var errs []error
	for key, v := range reg.All() {
		ref, isText := v.(string)
		if !isText || !strings.HasPrefix(key, "OS::TripleO::") || !strings.HasSuffix(key, "::Net::SoftwareConfig") || !isTemplateName(ref) {
			continue
		}
		file := strings.TrimPrefix(ref, "file://")
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		data, err := os.ReadFile(file) //nolint:gosec // referred to by the operator's file
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
			continue
		}
		doc, err := parseMapping(file, data)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, checkBridges(file, doc)...)
	}
	return errs
}

func checkBridges(file string, v any) []error {
	var errs []error
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			errs = append(errs, checkBridges(file, e)...)
		}
	case *yaml11.OrderedMap:
		if str(lookup(x, "type")) == "ovs_bridge" {
			count := map[string]int{}
			for _, m := range items(lookup(x, "members")) {
				count[str(lookup(m, "type"))]++
			}
			bonds := count["ovs_bond"] + count["linux_bond"]
			if bonds > 1 {
				errs = append(errs, fmt.Errorf("%s: ovs_bridge %s has %d bonds, at most one is possible", file, str(lookup(x, "name")), bonds))
			} else if bonds == 0 && count["interface"] > 1 {
				errs = append(errs, fmt.Errorf("%s: ovs_bridge %s has %d interfaces and no bond: they make a loop", file, str(lookup(x, "name")), count["interface"]))
			}
		}
		for _, e := range x.All() {
			errs = append(errs, checkBridges(file, e)...)
		}
	}
	return errs
}
