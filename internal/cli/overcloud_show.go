package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/spf13/cobra"
)

func newOvercloudStatus(a *app) *cobra.Command {
	out := &outputFlags{}
	plan := "overcloud"
	cmd := &cobra.Command{
		Use:   "status",
		Short: "How the last deployment of a plan went, or goes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			o, err := a.operator(ctx)
			if err != nil {
				return err
			}
			v, err := o.action(ctx, "tripleo.deployment.get_status", map[string]any{"plan": plan})
			if err != nil {
				return err
			}
			stack, err := o.stackStatus(ctx, plan)
			if err != nil {
				return err
			}
			p := lookup(v, "workflow_status", "payload")
			return out.list(a, []string{"Plan Name", "Deployment Status", "Stack Status", "Created", "Message"},
				[][]any{{plan, str(lookup(v, "deployment_status")), stack, str(lookup(p, "execution", "created_at")), str(lookup(p, "message"))}})
		},
	}
	cmd.Flags().StringVar(&plan, "plan", plan, "name of the plan")
	out.add(cmd)
	return cmd
}

func newOvercloudFailures(a *app) *cobra.Command {
	out := &outputFlags{}
	plan := "overcloud"
	cmd := &cobra.Command{
		Use:   "failures",
		Short: "Why the last deployment of a plan failed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.operator(cmd.Context())
			if err != nil {
				return err
			}
			v, err := o.action(cmd.Context(), "tripleo.deployment.get_deployment_failures", map[string]any{"plan": plan})
			if err != nil {
				return err
			}
			list := items(lookup(v, "resources"))
			if cmd.Flags().Changed("format") {
				var rows [][]any
				for _, f := range list {
					rows = append(rows, []any{str(lookup(f, "path")), str(lookup(f, "node")), str(lookup(f, "resource_type")), str(lookup(f, "status")),
						str(lookup(f, "reason")), str(lookup(f, "deploy_status_code")), str(lookup(f, "deploy_stderr"))})
				}
				return out.list(a, []string{"Resource", "Node", "Type", "Status", "Reason", "Exit Code", "Stderr"}, rows)
			}
			if len(list) == 0 {
				// A deployment may end before there is a stack: then its last message says why.
				st, err := o.action(cmd.Context(), "tripleo.deployment.get_status", map[string]any{"plan": plan})
				if err != nil {
					return err
				}
				if str(lookup(st, "deployment_status")) == "DEPLOY_FAILED" && str(lookup(v, "stack_status")) == "" {
					_, _ = fmt.Fprintln(a.stdout, str(lookup(st, "workflow_status", "payload", "message")))
					return nil
				}
				_, _ = fmt.Fprintln(a.stdout, "No failures.")
				return nil
			}
			printFailures(a.stdout, list)
			return nil
		},
	}
	cmd.Flags().StringVar(&plan, "plan", plan, "name of the plan")
	out.add(cmd)
	return cmd
}

func newOvercloudCredentials(a *app) *cobra.Command {
	dir := "."
	cmd := &cobra.Command{
		Use:   "credentials PLAN",
		Short: "Write the rc file and the clouds.yaml entry of a deployed overcloud",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			plan := "overcloud"
			if len(args) == 1 {
				plan = args[0]
			}
			o, err := a.operator(cmd.Context())
			if err != nil {
				return err
			}
			return o.credentials(cmd.Context(), plan, dir, os.Getenv("no_proxy"))
		},
	}
	cmd.Flags().StringVar(&dir, "directory", dir, "folder of the rc file")
	return cmd
}

func newOvercloudDelete(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete [STACK]",
		Short: "Delete an overcloud and its plan",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			stack := firstNonEmpty(os.Getenv("OVERCLOUD_STACK_NAME"), "overcloud")
			if len(args) == 1 {
				stack = args[0]
			}
			if err := confirm(cmd, yes, "Are you sure you want to delete the overcloud "+stack); err != nil {
				return err
			}
			ctx := cmd.Context()
			o, err := a.operator(ctx)
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(a.stdout, "Undeploying stack %s...\n", stack)
			if _, err := o.run(ctx, "tripleo.stack.v1.delete_stack", map[string]any{"stack": stack, "queue_name": defaultQueue}); err != nil {
				return err
			}
			_, _ = fmt.Fprintf(a.stdout, "Deleting plan %s...\n", stack)
			if _, err := o.action(ctx, "tripleo.plan.delete", map[string]any{"container": stack}); err != nil {
				return err
			}
			_, _ = fmt.Fprintln(a.stdout, "Success.")
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// websocketURL is Zaqar's WebSocket endpoint of the catalog.
func (o *operator) websocketURL() (string, error) {
	u, err := o.s.Provider.EndpointLocator(gophercloud.EndpointOpts{Type: "messaging-websocket", Availability: gophercloud.AvailabilityPublic})
	if err != nil {
		return "", fmt.Errorf("the catalog has no messaging-websocket: %w", err)
	}
	u = strings.TrimSuffix(u, "/")
	if rest, ok := strings.CutPrefix(u, "http"); ok {
		u = "ws" + rest
	}
	return u, nil
}
