package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// lifecycle is one of update, upgrade and ffwd-upgrade.
type lifecycle struct {
	verb, what        string
	prepareEnv        string // environment of the templates that the plan has meanwhile, if they have it
	convergeEnv       string
	convergeWorkflow  string
	playbooks         []string
	asks, skips, role bool // whether it asks first; --skip-tags and --roles of run
}

func lifecycles() []lifecycle {
	const env = "environments/lifecycle/"
	return []lifecycle{
		{verb: "update", what: "a minor update", prepareEnv: env + "update-prepare.yaml", convergeEnv: env + "update-converge.yaml",
			convergeWorkflow: "tripleo.package_update.v1.update_converge_plan", playbooks: []string{"update_steps_playbook.yaml"}},
		{verb: "upgrade", what: "an upgrade", prepareEnv: env + "upgrade-prepare.yaml", convergeEnv: env + "upgrade-converge.yaml",
			convergeWorkflow: "tripleo.package_update.v1.converge_upgrade_plan", skips: true, role: true,
			playbooks: []string{"upgrade_steps_playbook.yaml", "deploy_steps_playbook.yaml", "post_upgrade_steps_playbook.yaml"}},
		{verb: "ffwd-upgrade", what: "a fast forward upgrade", prepareEnv: env + "ffwd-upgrade-prepare.yaml", convergeEnv: env + "ffwd-upgrade-converge.yaml",
			convergeWorkflow: "tripleo.package_update.v1.ffwd_upgrade_converge_plan", asks: true, playbooks: []string{"fast_forward_upgrade_playbook.yaml"}},
	}
}

func newLifecycleCommands(a *app) []*cobra.Command {
	var out []*cobra.Command
	for _, l := range lifecycles() {
		cmd := &cobra.Command{Use: l.verb, Short: "Steps of " + l.what}
		cmd.AddCommand(newLifecyclePrepare(a, l), newLifecycleRun(a, l), newLifecycleConverge(a, l))
		out = append(out, cmd)
	}
	ceph := &cobra.Command{Use: "ceph-upgrade", Short: "Upgrade of Ceph"}
	f := &deployFlags{}
	run := planVerb(a, f, "run", "Update the plan and its stack for a playbook of ceph-ansible", func(ctx context.Context, o *operator) error { return o.preparePlan(ctx, f, "") })
	run.Flags().StringVar(&f.cephPlaybook, "ceph-ansible-playbook", "/usr/share/ceph-ansible/infrastructure-playbooks/rolling_update.yml", "playbook of ceph-ansible")
	ceph.AddCommand(run)
	return append(out, ceph)
}

// planVerb is a verb with the flags of deploy.
func planVerb(a *app, f *deployFlags, use, short string, run func(ctx context.Context, o *operator) error) *cobra.Command {
	cmd := a.verb(use, short, cobra.MaximumNArgs(1), func(ctx context.Context, o *operator, args []string) error {
		if err := f.take(args); err != nil {
			return err
		}
		if err := o.headStack(ctx, f.stack); err != nil {
			return err
		}
		if err := o.checkBefore(ctx, f, false); err != nil {
			return err
		}
		return run(ctx, o)
	})
	f.add(cmd)
	return cmd
}

func newLifecyclePrepare(a *app, l lifecycle) *cobra.Command {
	f := &deployFlags{}
	yes := !l.asks
	var cmd *cobra.Command
	cmd = planVerb(a, f, "prepare", "Make the plan and the stack ready for "+l.what, func(ctx context.Context, o *operator) error {
		if err := confirm(cmd, yes, "A fast forward upgrade cannot be taken back. Go on"); err != nil {
			return err
		}
		return o.preparePlan(ctx, f, l.prepareEnv)
	})
	cmd.Flags().StringVar(&f.cephPlaybook, "ceph-ansible-playbook", "", "playbook of ceph-ansible")
	if l.asks {
		cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	}
	return cmd
}

// confirm asks unless the answer was given before.
func confirm(cmd *cobra.Command, yes bool, question string) error {
	if yes {
		return nil
	}
	_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s [y/N]? ", question)
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && line == "" {
		return errors.New("nothing was done: give --yes to go on without being asked")
	}
	if l := strings.ToLower(strings.TrimSpace(line)); l != "y" && l != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// preparePlan refreshes the plan, updates the stack without running its steps, and writes the configuration anew.
func (o *operator) preparePlan(ctx context.Context, f *deployFlags, env string) error {
	f.first = env
	if err := o.makePlan(ctx, f); err != nil {
		return err
	}
	if err := o.keepNetworks(ctx, f); err != nil {
		return err
	}
	if f.runValidations {
		if _, err := o.run(ctx, "tripleo.validations.v1.run_groups", map[string]any{"group_names": []string{"pre-deployment"}, "plan": f.stack, "queue_name": defaultQueue}); err != nil {
			return err
		}
	}
	if _, err := o.run(ctx, "tripleo.package_update.v1.package_update_plan", map[string]any{"container": f.stack, "ceph_ansible_playbook": f.cephPlaybook,
		"timeout": f.timeout, "skip_deploy_identifier": f.skipIdentifier, "queue_name": defaultQueue}); err != nil {
		return err
	}
	if err := o.awaitStack(ctx, f.stack, f.timeout); err != nil {
		return err
	}
	// The update may have moved the cloud's address; a stack without KeystoneURL is no cloud yet.
	if err := o.credentials(ctx, f.stack, ".", f.noProxy); err != nil && !strings.Contains(err.Error(), "KeystoneURL") {
		return err
	}
	_, err := o.run(ctx, "tripleo.package_update.v1.get_config", map[string]any{"container": f.stack, "queue_name": defaultQueue})
	if err != nil && strings.Contains(err.Error(), "has no output RoleData") {
		_, _ = fmt.Fprintln(o.a.stdout, "The plan has no output RoleData, and so no playbooks: the agents update the nodes.")
		return nil
	}
	return err
}

// awaitStack follows an operation on a stack to its end; timeout in minutes.
func (o *operator) awaitStack(ctx context.Context, stack string, timeout int) error {
	if _, err := o.run(ctx, "tripleo.stack.v1.wait_for_stack_complete_or_failed", map[string]any{"stack": stack, "timeout": timeout * 60}); err != nil {
		return err
	}
	st, err := o.stackStatus(ctx, stack)
	if err != nil {
		return err
	}
	if strings.HasSuffix(st, "_COMPLETE") {
		_, _ = fmt.Fprintf(o.a.stdout, "Stack %s: %s\n", stack, st)
		return nil
	}
	v, err := o.action(ctx, "tripleo.deployment.get_deployment_failures", map[string]any{"plan": stack})
	if err != nil {
		return fmt.Errorf("stack %s is %s", stack, st)
	}
	printFailures(o.a.stderr, items(lookup(v, "resources")))
	return fmt.Errorf("stack %s is %s", stack, st)
}

type nodeRun struct {
	stack, nodes, roles, playbook, user, inventory, skipTags string
}

func newLifecycleRun(a *app, l lifecycle) *cobra.Command {
	r := &nodeRun{stack: "overcloud"}
	yes := !l.asks
	var cmd *cobra.Command
	cmd = a.verb("run", "Take nodes through "+l.what, cobra.NoArgs, func(ctx context.Context, o *operator, _ []string) error {
		if err := confirm(cmd, yes, "A fast forward upgrade cannot be taken back. Go on"); err != nil {
			return err
		}
		if l.role && (r.nodes == "") == (r.roles == "") {
			return errors.New("give either --nodes or --roles")
		}
		if err := o.headStack(ctx, r.stack); err != nil {
			return err
		}
		if l.asks {
			r.nodes = "all"
		}
		return o.runOnNodes(ctx, r, l.playbooks)
	})
	cmd.Long = "Take nodes through " + l.what + `: by the playbooks of the configuration if it has them, else one node after the
other by the agents. NODES are names of servers or roles, separated by commas.`
	fl := cmd.Flags()
	fl.StringVar(&r.stack, "stack", r.stack, "name of the stack")
	fl.StringVar(&r.user, "ssh-user", "heat-admin", "user that Ansible logs in as")
	fl.StringVar(&r.inventory, "static-inventory", "", "inventory file of Ansible")
	if l.asks {
		fl.BoolVar(&yes, "yes", false, "do not ask")
		return cmd
	}
	fl.StringVar(&r.nodes, "nodes", "", "nodes or roles, separated by commas; all for every node")
	fl.StringVar(&r.playbook, "playbook", "all", "playbook to run: all, "+strings.Join(l.playbooks, ", "))
	if l.role {
		fl.StringVar(&r.roles, "roles", "", "roles, separated by commas")
	} else {
		_ = cmd.MarkFlagRequired("nodes")
	}
	if l.skips {
		fl.StringVar(&r.skipTags, "skip-tags", "", "tasks to leave out: validation, pre-upgrade")
	}
	return cmd
}

func (o *operator) runOnNodes(ctx context.Context, r *nodeRun, known []string) error {
	books := known
	if r.playbook != "" && r.playbook != "all" {
		if !slices.Contains(known, r.playbook) {
			return fmt.Errorf("--playbook must be all or one of %s, not %q", strings.Join(known, ", "), r.playbook)
		}
		books = []string{r.playbook}
	} else if len(known) > 1 { // the agents do in the first what the later ones are for
		have, err := o.listObjects(ctx, "overcloud-config")
		if err != nil && !hasStatus(err, 404) {
			return err
		}
		books = slices.DeleteFunc(slices.Clone(known), func(n string) bool { return !slices.Contains(have, n) })
		if len(books) == 0 {
			books = known[:1]
		}
	}
	inventory := ""
	if r.inventory != "" {
		text, err := readFile(r.inventory)
		if err != nil {
			return err
		}
		inventory = text
	}
	for _, b := range books {
		_, _ = fmt.Fprintf(o.a.stdout, "Running %s on %s\n", b, firstNonEmpty(r.nodes, r.roles))
		if _, err := o.run(ctx, "tripleo.package_update.v1.update_nodes", map[string]any{"container": r.stack, "node_user": r.user, "nodes": firstNonEmpty(r.nodes, r.roles), "playbook": b,
			"inventory_file": inventory, "skip_tags": r.skipTags, "ansible_queue_name": defaultQueue}); err != nil {
			return err
		}
	}
	return nil
}

func newLifecycleConverge(a *app, l lifecycle) *cobra.Command {
	f := &deployFlags{}
	yes := !l.asks
	var cmd *cobra.Command
	cmd = planVerb(a, f, "converge", "End "+l.what+": deploy with all steps again", func(ctx context.Context, o *operator) error {
		if err := confirm(cmd, yes, "A fast forward upgrade cannot be taken back. Go on"); err != nil {
			return err
		}
		f.first = l.convergeEnv
		if err := o.makePlan(ctx, f); err != nil {
			return err
		}
		if _, err := o.run(ctx, l.convergeWorkflow, map[string]any{"container": f.stack, "queue_name": defaultQueue}); err != nil {
			return err
		}
		return o.deployPlan(ctx, f)
	})
	if l.asks {
		cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	}
	return cmd
}

// addFirst puts an environment of the templates before those of the operator, if the plan has it.
func (f *deployFlags) addFirst(ctx context.Context, o *operator, env *yaml11.OrderedMap) error {
	if f.first == "" {
		return nil
	}
	names, err := o.listObjects(ctx, f.stack)
	if err != nil {
		return err
	}
	if slices.Contains(names, f.first) || slices.Contains(names, strings.TrimSuffix(f.first, ".yaml")+".j2.yaml") {
		addEnvironment(env, f.first)
	}
	return nil
}
