package cli

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/yaml11"
)

func newNodeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Bare-metal nodes: registration, introspection, states"}
	cmd.AddCommand(newNodeImport(a), newNodeIntrospect(a), newNodeProvide(a), newNodeConfigure(a), newNodeDiscover(a), newNodeDelete(a), newNodeJoin(a))
	return cmd
}

// run starts a workflow, shows its messages, and turns a failure into an error.
func (o *operator) run(ctx context.Context, name string, input map[string]any) (*outcome, error) {
	return o.runShowing(ctx, name, input, nil)
}

// runShowing is run with a look at every message. An interrupt only ends the watching.
func (o *operator) runShowing(ctx context.Context, name string, input map[string]any, each func(m message)) (*outcome, error) {
	p := o.a.newProgress(false)
	p.each = each
	out, err := o.workflow(ctx, name, input, p)
	p.done()
	if errors.Is(err, context.Canceled) && out != nil {
		p.say("detached; workflow %s goes on: `openstack workflow execution show %s` tells how", name, out.id)
		return out, exitError{130}
	}
	if err == nil {
		err = out.failed(name)
	}
	if err != nil {
		return out, errors.New(o.nameNodes(context.WithoutCancel(ctx), err.Error()))
	}
	if m := lookup(out.last, "message"); m != nil && m != "" {
		if _, isText := m.(string); isText {
			p.say("%s", m)
		}
	}
	return out, nil
}

func newNodeImport(a *app) *cobra.Command {
	var w nodeWishes
	var validateOnly, noDeployImage bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Register the nodes of an instackenv.json (or YAML, or CSV)",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			nodes, err := readNodes(args[0])
			if err != nil {
				return err
			}
			o, err := a.operator(cmd.Context())
			if err != nil {
				return err
			}
			if validateOnly {
				_, err := o.run(cmd.Context(), "tripleo.baremetal.v1.validate_nodes", map[string]any{"nodes_json": nodes})
				return err
			}
			return o.importNodes(cmd.Context(), nodes, w, !noDeployImage)
		},
	}
	fl := cmd.Flags()
	w.add(cmd)
	fl.BoolVar(&validateOnly, "validate-only", false, "check the file, register nothing")
	fl.BoolVar(&noDeployImage, "no-deploy-image", false, "do not set the deployment kernel and ramdisk")
	return cmd
}

// nodeWishes are what is to be done with nodes that are new.
type nodeWishes struct {
	introspect, provide, validations bool
	bootOption                       string
}

func (w *nodeWishes) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&w.introspect, "introspect", false, "introspect the new nodes")
	fl.BoolVar(&w.provide, "provide", false, "make the new nodes available")
	fl.BoolVar(&w.validations, "run-validations", false, "run the pre-introspection validations")
	fl.StringVar(&w.bootOption, "instance-boot-option", "local", "local or netboot")
}

func (w *nodeWishes) check() error {
	if w.bootOption != "local" && w.bootOption != "netboot" {
		return fmt.Errorf("--instance-boot-option must be local or netboot, not %q", w.bootOption)
	}
	return nil
}

// prepare introspects and provides new nodes as wished.
func (o *operator) prepare(ctx context.Context, uuids []any, w nodeWishes) error {
	if w.introspect {
		if _, err := o.run(ctx, "tripleo.baremetal.v1.introspect", map[string]any{"node_uuids": uuids, "run_validations": w.validations, "queue_name": defaultQueue}); err != nil {
			return err
		}
	}
	if !w.provide {
		return nil
	}
	_, err := o.run(ctx, "tripleo.baremetal.v1.provide", map[string]any{"node_uuids": uuids, "queue_name": defaultQueue})
	return err
}

func (o *operator) importNodes(ctx context.Context, nodes []any, w nodeWishes, images bool) error {
	if err := w.check(); err != nil {
		return err
	}
	input := map[string]any{"nodes_json": nodes, "queue_name": defaultQueue, "instance_boot_option": w.bootOption}
	if images {
		input["kernel_name"], input["ramdisk_name"] = "bm-deploy-kernel", "bm-deploy-ramdisk"
	}
	out, err := o.run(ctx, "tripleo.baremetal.v1.register_or_update", input)
	if err != nil {
		return err
	}
	var uuids []any
	for _, n := range items(lookup(out.last, "registered_nodes")) {
		uuids = append(uuids, lookup(n, "uuid"))
		_, _ = fmt.Fprintf(o.a.stdout, "Successfully registered node UUID %s\n", str(lookup(n, "uuid")))
	}
	return o.prepare(ctx, uuids, w)
}

// readNodes reads an instackenv file by its extension; the list may stand below the key `nodes`.
func readNodes(file string) ([]any, error) {
	data, err := os.ReadFile(file) //nolint:gosec // the operator's own file
	if err != nil {
		return nil, err
	}
	var v any
	switch strings.ToLower(filepath.Ext(file)) {
	case ".csv":
		return readNodesCSV(string(data))
	case ".json", ".yaml", ".yml":
		node, _, err := yaml11.Parse(file, data, yaml11.Limits{}) // YAML has all of JSON
		if err != nil {
			return nil, err
		}
		v = node.Value()
	default:
		return nil, fmt.Errorf("%s: expected a .json, .yaml or .csv file", file)
	}
	if m := lookup(v, "nodes"); m != nil {
		v = m
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf("%s: expected a list of nodes, or one below the key \"nodes\"", file)
	}
	return list, nil
}

// readNodesCSV reads pm_type,pm_addr,pm_user,pm_password,mac[,pm_port]; several MACs are separated by spaces.
func readNodesCSV(data string) ([]any, error) {
	r := csv.NewReader(strings.NewReader(data))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	names := []string{"pm_type", "pm_addr", "pm_user", "pm_password", "mac", "pm_port"}
	var out []any
	for i, row := range rows {
		if len(row) < 5 || len(row) > 6 {
			return nil, fmt.Errorf("line %d has %d fields, expected %s", i+1, len(row), strings.Join(names, ","))
		}
		n := yaml11.NewMap()
		for k, v := range row {
			if names[k] == "mac" {
				var macs []any
				for _, m := range strings.Fields(v) {
					macs = append(macs, m)
				}
				n.Set("mac", macs)
			} else if v != "" {
				n.Set(names[k], v)
			}
		}
		out = append(out, n)
	}
	return out, nil
}

// nodeChoice is the pair of arguments "UUID… or --all-manageable".
func nodeChoice(args []string, all bool) error {
	if all == (len(args) > 0) {
		return errors.New("give either nodes or --all-manageable")
	}
	return nil
}

// nodeUUIDs turns names or UUIDs of nodes into UUIDs.
func (o *operator) nodeUUIDs(ctx context.Context, args []string) ([]any, error) {
	c, err := o.s.Baremetal()
	if err != nil {
		return nil, err
	}
	var out []any
	for _, n := range args {
		v, _, err := o.call(ctx, c, http.MethodGet, below(c, "v1", "nodes", n), nil, nil)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", n, err)
		}
		out = append(out, lookup(v, "uuid"))
	}
	return out, nil
}

func newNodeIntrospect(a *app) *cobra.Command {
	var all, provide, validations bool
	var concurrency int
	cmd := &cobra.Command{
		Use:   "introspect [NODE...]",
		Short: "Find out what hardware nodes have",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := nodeChoice(args, all); err != nil {
				return err
			}
			ctx := cmd.Context()
			o, err := a.operator(ctx)
			if err != nil {
				return err
			}
			var uuids []any
			if all {
				if uuids, err = o.manageableNodes(ctx); err == nil && len(uuids) == 0 {
					err = errors.New("no node is manageable: import nodes first, or move them with `openstack baremetal node manage`")
				}
			} else {
				uuids, err = o.nodeUUIDs(ctx, args)
			}
			if err != nil {
				return err
			}
			if _, err := o.run(ctx, "tripleo.baremetal.v1.introspect", map[string]any{"node_uuids": uuids, "queue_name": defaultQueue, "concurrency": concurrency, "run_validations": validations}); err != nil {
				return err
			}
			if provide {
				_, err = o.run(ctx, "tripleo.baremetal.v1.provide", map[string]any{"node_uuids": uuids, "queue_name": defaultQueue})
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all-manageable", false, "all nodes in the state manageable")
	cmd.Flags().BoolVar(&provide, "provide", false, "make the nodes available afterwards")
	cmd.Flags().BoolVar(&validations, "run-validations", false, "run the pre-introspection validations")
	cmd.Flags().IntVar(&concurrency, "concurrency", 20, "how many nodes at a time")
	return cmd
}

func (o *operator) manageableNodes(ctx context.Context) ([]any, error) {
	c, err := o.s.Baremetal()
	if err != nil {
		return nil, err
	}
	v, _, err := o.call(ctx, c, http.MethodGet, below(c, "v1", "nodes")+"?provision_state=manageable&maintenance=False&limit=1000", nil, nil)
	if err != nil {
		return nil, err
	}
	var out []any
	for _, n := range items(lookup(v, "nodes")) {
		out = append(out, lookup(n, "uuid"))
	}
	return out, nil
}

// onNodes runs a workflow on the nodes of the arguments, or its like for all manageable nodes.
func (a *app) onNodes(ctx context.Context, args []string, all bool, forThese, forAll string, input map[string]any) error {
	if err := nodeChoice(args, all); err != nil {
		return err
	}
	o, err := a.operator(ctx)
	if err != nil {
		return err
	}
	input["queue_name"] = defaultQueue
	name := forAll
	if !all {
		name = forThese
		if input["node_uuids"], err = o.nodeUUIDs(ctx, args); err != nil {
			return err
		}
	}
	_, err = o.run(ctx, name, input)
	return err
}

func newNodeProvide(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "provide [NODE...]",
		Short: "Make nodes available for deployment",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onNodes(cmd.Context(), args, all, "tripleo.baremetal.v1.provide", "tripleo.baremetal.v1.provide_manageable_nodes", map[string]any{})
		},
	}
	cmd.Flags().BoolVar(&all, "all-manageable", false, "all nodes in the state manageable")
	return cmd
}

func newNodeConfigure(a *app) *cobra.Command {
	var all, overwrite bool
	var kernel, ramdisk, bootOption, rootDevice string
	var minimum int
	cmd := &cobra.Command{
		Use:   "configure [NODE...]",
		Short: "Set the deployment images, the boot option and the root disk of nodes",
		RunE: func(cmd *cobra.Command, args []string) error {
			input := map[string]any{"kernel_name": kernel, "ramdisk_name": ramdisk,
				"root_device_minimum_size": minimum, "overwrite_root_device_hints": overwrite}
			if bootOption != "" {
				input["instance_boot_option"] = bootOption
			}
			if rootDevice != "" {
				input["root_device"] = rootDevice
			}
			return a.onNodes(cmd.Context(), args, all, "tripleo.baremetal.v1.configure", "tripleo.baremetal.v1.configure_manageable_nodes", input)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&all, "all-manageable", false, "all nodes in the state manageable")
	fl.StringVar(&kernel, "deploy-kernel", "bm-deploy-kernel", "image of the deployment kernel")
	fl.StringVar(&ramdisk, "deploy-ramdisk", "bm-deploy-ramdisk", "image of the deployment ramdisk")
	fl.StringVar(&bootOption, "instance-boot-option", "", "local or netboot")
	fl.StringVar(&rootDevice, "root-device", "", "smallest, largest, or device names in order of preference: sdb,vda")
	fl.IntVar(&minimum, "root-device-minimum-size", 4, "smallest root disk, in GiB")
	fl.BoolVar(&overwrite, "overwrite-root-device-hints", false, "choose again for nodes that have a hint")
	return cmd
}
