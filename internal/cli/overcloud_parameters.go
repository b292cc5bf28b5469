package cli

import (
	"context"
	"fmt"
	"sort"

	"github.com/spf13/cobra"
)

func newParametersCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "parameters", Short: "Parameters of a plan"}
	cmd.AddCommand(a.verb("set PLAN FILE", "Set parameters of a plan from a JSON or YAML file", cobra.ExactArgs(2), func(ctx context.Context, o *operator, args []string) error {
		params, err := decodeArgument("parameters", args[1])
		if err != nil {
			return err
		}
		if inner, ok := params.Get("parameter_defaults"); ok {
			if params.Len() != 1 {
				return fmt.Errorf("%s: beside parameter_defaults nothing can be set", args[1])
			}
			m, err := asMapping(args[1]+": parameter_defaults", inner)
			if err != nil {
				return err
			}
			params = m
		}
		if _, err := o.action(ctx, "tripleo.parameters.update", map[string]any{"container": args[0], "parameters": params}); err != nil {
			return err
		}
		names := params.Keys()
		sort.Strings(names)
		for _, n := range names {
			_, _ = fmt.Fprintf(a.stdout, "Set %s in plan %s\n", n, args[0])
		}
		return nil
	}))
	return cmd
}
