package cli

import "github.com/spf13/cobra"

// newStackCommand is `tripleo stack …`: what helps with any Heat stack or template.
func newStackCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "stack", Short: "Work with Heat stacks and their templates"}
	cmd.AddCommand(newStackLintCommand(a), newStackDiffCommand(a), newStackTimelineCommand(a))
	return cmd
}
