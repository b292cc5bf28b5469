package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/yaml11"
)

func newNodeDiscover(a *app) *cobra.Command {
	var w nodeWishes
	var ips, credentials []string
	var network string
	var ports []int
	var noDeployImage bool
	cmd := a.verb("discover", "Find machines by their BMCs and register them", cobra.NoArgs, func(ctx context.Context, o *operator, _ []string) error {
		if err := w.check(); err != nil {
			return err
		}
		input := map[string]any{"ports": ports, "instance_boot_option": w.bootOption, "queue_name": defaultQueue}
		switch {
		case (len(ips) > 0) == (network != ""):
			return errors.New("give either --ip or --range")
		case network != "":
			input["ip_addresses"] = network
		default:
			input["ip_addresses"] = ips
		}
		var pairs []any
		for i, c := range credentials {
			user, password, ok := strings.Cut(c, ":")
			if !ok {
				return fmt.Errorf("--credentials number %d: expected USER:PASSWORD", i+1)
			}
			pairs = append(pairs, []any{user, password})
		}
		input["credentials"] = pairs
		if !noDeployImage {
			input["kernel_name"], input["ramdisk_name"] = "bm-deploy-kernel", "bm-deploy-ramdisk"
		}
		out, err := o.run(ctx, "tripleo.baremetal.v1.discover_and_enroll_nodes", input)
		if err != nil {
			return err
		}
		var uuids []any
		for _, n := range items(lookup(out.last, "registered_nodes")) {
			uuids = append(uuids, lookup(n, "uuid"))
			_, _ = fmt.Fprintf(a.stdout, "Successfully registered node UUID %s\n", str(lookup(n, "uuid")))
		}
		if len(uuids) == 0 {
			return nil
		}
		return o.prepare(ctx, uuids, w)
	})
	fl := cmd.Flags()
	fl.StringArrayVar(&ips, "ip", nil, "address of a BMC, may be repeated")
	fl.StringVar(&network, "range", "", "network of the BMCs: 192.0.2.0/24")
	fl.StringArrayVar(&credentials, "credentials", nil, "USER:PASSWORD to try, may be repeated")
	fl.IntSliceVar(&ports, "port", []int{623}, "port of the BMCs, may be repeated")
	fl.BoolVar(&noDeployImage, "no-deploy-image", false, "do not set the deployment kernel and ramdisk")
	w.add(cmd)
	_ = cmd.MarkFlagRequired("credentials")
	return cmd
}

func newNodeDelete(a *app) *cobra.Command {
	stack := "overcloud"
	var timeout int
	var templates string
	var environments []string
	cmd := a.verb("delete NODE...", "Remove nodes from an overcloud", cobra.MinimumNArgs(1), func(ctx context.Context, o *operator, args []string) error {
		if err := o.headStack(ctx, stack); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(a.stdout, "Deleting the following nodes from stack %s:\n- %s\n", stack, strings.Join(args, "\n- "))
		_, err := o.run(ctx, "tripleo.scale.v1.delete_node", map[string]any{"container": stack, "nodes": args, "timeout": timeout, "queue_name": defaultQueue})
		return err
	})
	cmd.Long = "Remove nodes from an overcloud. NODE is the name or the ID of a server, or the physical ID of any resource of it."
	fl := cmd.Flags()
	fl.StringVar(&stack, "stack", stack, "name of the stack")
	fl.IntVarP(&timeout, "timeout", "t", 240, "minutes until it is given up")
	fl.StringVar(&templates, "templates", "", "no effect")
	fl.Lookup("templates").NoOptDefVal = builtin
	fl.StringArrayVarP(&environments, "environment-file", "e", nil, "no effect")
	for _, f := range []string{"templates", "environment-file"} {
		_ = fl.MarkDeprecated(f, "the plan has what is needed; it has no effect")
	}
	return cmd
}

func newRaidCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "raid", Short: "RAID of nodes"}
	var names []string
	create := a.verb("create CONFIGURATION", "Build the RAID of nodes", cobra.ExactArgs(1), func(ctx context.Context, o *operator, args []string) error {
		conf, err := decodeArgument("configuration", args[0])
		if err != nil {
			return err
		}
		disks := items(lookup(conf, "logical_disks"))
		if len(disks) == 0 {
			return errors.New("the configuration has no list logical_disks")
		}
		for i, d := range disks {
			if lookup(d, "size_gb") == nil || lookup(d, "raid_level") == nil {
				return fmt.Errorf("logical_disks[%d]: size_gb and raid_level are needed", i)
			}
		}
		uuids, err := o.nodeUUIDs(ctx, names)
		if err != nil {
			return err
		}
		_, err = o.run(ctx, "tripleo.baremetal.v1.create_raid_configuration", map[string]any{"node_uuids": uuids, "configuration": conf, "queue_name": defaultQueue})
		return err
	})
	create.Long = "Build the RAID of nodes, which must be manageable. CONFIGURATION is JSON or YAML with logical_disks, or a file with it."
	create.Flags().StringArrayVar(&names, "node", nil, "name or UUID of a node, may be repeated")
	_ = create.MarkFlagRequired("node")
	cmd.AddCommand(create)
	return cmd
}

func newGenerateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "generate", Short: "Make environment files"}
	var delay, cipher int
	var noLanplus bool
	var level, output, action string
	fencing := a.verb("fencing FILE", "Make the parameters of fencing of an instackenv.json", cobra.ExactArgs(1), func(ctx context.Context, o *operator, args []string) error {
		nodes, err := readNodes(args[0])
		if err != nil {
			return err
		}
		input := map[string]any{"nodes_json": nodes, "os_auth": map[string]any{}, "delay": nil, "ipmi_level": nil, "ipmi_cipher": nil, "ipmi_lanplus": !noLanplus}
		if delay > 0 {
			input["delay"] = delay
		}
		if cipher >= 0 {
			input["ipmi_cipher"] = cipher
		}
		if level != "" {
			input["ipmi_level"] = level
		}
		v, err := o.action(ctx, "tripleo.parameters.generate_fencing", input)
		if err != nil {
			return err
		}
		data, err := yaml11.Marshal(v)
		if err != nil {
			return err
		}
		if output != "" {
			return writePrivate(output, data) // it has the passwords of the BMCs
		}
		_, err = a.stdout.Write(data)
		return err
	})
	fl := fencing.Flags()
	fl.IntVar(&delay, "delay", 0, "seconds to wait before fencing")
	fl.IntVar(&cipher, "ipmi-cipher", -1, "cipher suite of ipmilan")
	fl.StringVar(&level, "ipmi-level", "", "privilege level of ipmilan: callback, user, operator or administrator")
	fl.BoolVar(&noLanplus, "ipmi-no-lanplus", false, "IPMI 1.5 instead of 2.0")
	fl.StringVar(&output, "output", "", "file to write (default: standard output)")
	fl.StringVarP(&action, "action", "a", "", "no effect")
	_ = fl.MarkDeprecated("action", "it has no effect")
	cmd.AddCommand(fencing)
	return cmd
}

// headStack fails if there is no such stack.
func (o *operator) headStack(ctx context.Context, stack string) error {
	st, err := o.stackStatus(ctx, stack)
	if err == nil && st == "" {
		err = fmt.Errorf("there is no stack %s", stack)
	}
	return err
}

// hasContainer tells whether a container is there.
func (o *operator) hasContainer(ctx context.Context, name string) (bool, error) {
	c, err := o.s.ObjectStore()
	if err != nil {
		return false, err
	}
	_, _, err = o.raw(ctx, c, http.MethodHead, objectPath(c, name, ""), nil, map[string]string{"Accept": "*/*"})
	if hasStatus(err, 404) {
		return false, nil
	}
	return err == nil, err
}
