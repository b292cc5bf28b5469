package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

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

// checkNetworks finds CIDRs that overlap, pools outside of their networks, and VLANs that two networks have.
func checkNetworks(env *yaml11.OrderedMap) []error {
	params, _ := lookup(env, "parameter_defaults").(*yaml11.OrderedMap)
	var errs []error
	nets := map[string]netip.Prefix{}
	vlans := map[string]string{}
	for key, v := range params.All() {
		if name, ok := strings.CutSuffix(key, "NetCidr"); ok {
			p, err := netip.ParsePrefix(str(v))
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %q is no network like 192.0.2.0/24", key, str(v)))
				continue
			}
			if p != p.Masked() {
				errs = append(errs, fmt.Errorf("%s: %s has host bits set, the network is %s", key, p, p.Masked()))
			}
			nets[name] = p.Masked()
		}
		if strings.HasSuffix(key, "NetworkVlanID") {
			if n, err := strconv.Atoi(str(v)); err != nil || n < 1 || n > 4094 {
				errs = append(errs, fmt.Errorf("%s: %q is no VLAN, expected 1 to 4094", key, str(v)))
			} else if other := vlans[strconv.Itoa(n)]; other != "" {
				errs = append(errs, fmt.Errorf("%s and %s: both are VLAN %d", other, key, n))
			} else {
				vlans[strconv.Itoa(n)] = key
			}
		}
	}
	names := make([]string, 0, len(nets))
	for n := range nets {
		names = append(names, n)
	}
	sort.Strings(names)
	for i, a := range names {
		for _, b := range names[i+1:] {
			if nets[a].Overlaps(nets[b]) {
				errs = append(errs, fmt.Errorf("%sNetCidr %s and %sNetCidr %s overlap", a, nets[a], b, nets[b]))
			}
		}
		errs = append(errs, checkPools(params, a, nets[a])...)
	}
	return errs
}

func checkPools(params *yaml11.OrderedMap, name string, network netip.Prefix) []error {
	var errs []error
	key := name + "AllocationPools"
	for i, pool := range items(lookup(params, key)) {
		start, serr := netip.ParseAddr(str(lookup(pool, "start")))
		end, eerr := netip.ParseAddr(str(lookup(pool, "end")))
		at := fmt.Sprintf("%s[%d]", key, i)
		switch {
		case serr != nil || eerr != nil:
			errs = append(errs, fmt.Errorf("%s: expected {start: ADDRESS, end: ADDRESS}, got %s", at, str(pool)))
		case !network.Contains(start) || !network.Contains(end):
			errs = append(errs, fmt.Errorf("%s: %s to %s is not all within %s", at, start, end, network))
		case end.Less(start):
			errs = append(errs, fmt.Errorf("%s: the end %s is before the start %s", at, end, start))
		}
	}
	return errs
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
