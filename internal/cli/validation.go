package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

// newValidationCommand is `tripleo validation`: the checks before and after a deployment.
func newValidationCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "validation", Short: "Check machines, plans and clouds"}
	cmd.AddCommand(newValidationList(a), newValidationShow(a), newValidationRun(a))
	return cmd
}

// validations lists those of some groups, all if there are none: maps with id, name, description and groups.
func (o *operator) validations(ctx context.Context, groups []string) ([]any, error) {
	var in any
	if len(groups) > 0 {
		in = groups
	}
	v, err := o.action(ctx, "tripleo.validations.list_validations", map[string]any{"groups": in})
	return items(v), err
}

func groupsOf(v any) string {
	var out []string
	for _, g := range items(lookup(v, "groups")) {
		out = append(out, str(g))
	}
	return strings.Join(out, ", ")
}

func newValidationList(a *app) *cobra.Command {
	out := &outputFlags{}
	var groups []string
	cmd := &cobra.Command{
		Use: "list", Short: "List validations", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.operator(cmd.Context())
			if err != nil {
				return err
			}
			list, err := o.validations(cmd.Context(), groups)
			if err != nil {
				return err
			}
			var rows [][]any
			for _, v := range list {
				rows = append(rows, []any{str(lookup(v, "id")), str(lookup(v, "name")), groupsOf(v)})
			}
			return out.list(a, []string{"ID", "Name", "Groups"}, rows)
		},
	}
	cmd.Flags().StringSliceVar(&groups, "group", nil, "only those of these groups")
	out.add(cmd)
	return cmd
}

func newValidationShow(a *app) *cobra.Command {
	out := &outputFlags{}
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show a validation", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := a.operator(cmd.Context())
			if err != nil {
				return err
			}
			list, err := o.validations(cmd.Context(), nil)
			if err != nil {
				return err
			}
			for _, v := range list {
				if str(lookup(v, "id")) == args[0] {
					return out.show(a, []string{"id", "name", "groups", "description"},
						[]any{args[0], str(lookup(v, "name")), groupsOf(v), str(lookup(v, "description"))})
				}
			}
			return fmt.Errorf("there is no validation %q: see `tripleo validation list`", args[0])
		},
	}
	out.add(cmd)
	return cmd
}

func newValidationRun(a *app) *cobra.Command {
	out := &outputFlags{}
	plan := "overcloud"
	var groups []string
	cmd := &cobra.Command{
		Use: "run [ID…]", Short: "Run validations, by their ids or by groups",
		Long: "Run validations, by their ids or by groups. The exit code is 1 when one of them fails; a warning fails none.",
		RunE: func(cmd *cobra.Command, ids []string) error {
			if (len(ids) == 0) == (len(groups) == 0) {
				return errors.New("give either ids of validations or --group")
			}
			ctx := cmd.Context()
			o, err := a.operator(ctx)
			if err != nil {
				return err
			}
			if len(groups) > 0 {
				list, err := o.validations(ctx, groups)
				if err != nil {
					return err
				}
				for _, v := range list {
					ids = append(ids, str(lookup(v, "id")))
				}
			}
			failed := 0
			var rows [][]any
			for _, id := range ids {
				status, details, err := o.validate(ctx, id, plan)
				if err != nil {
					return err
				}
				if status == "FAILED" {
					failed++
				}
				rows = append(rows, []any{id, status, details})
			}
			if err := out.list(a, []string{"Validation", "Status", "Details"}, rows); err != nil {
				return err
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d validations failed", failed, len(ids))
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&groups, "group", nil, "run all of these groups")
	cmd.Flags().StringVar(&plan, "plan", plan, "name of the plan")
	out.add(cmd)
	return cmd
}

// validate runs one validation: PASSED, WARNING or FAILED, and the lines that say why.
func (o *operator) validate(ctx context.Context, id, plan string) (status, details string, err error) {
	c, err := o.s.Workflow()
	if err != nil {
		return "", "", err
	}
	text, err := json.Marshal(map[string]string{"validation": id, "plan": plan})
	if err != nil {
		return "", "", err
	}
	v, _, err := o.call(ctx, c, http.MethodPost, below(c, "v2", "action_executions"), map[string]any{
		"name": "tripleo.validations.run_validation", "input": string(text), "params": `{"save_result": true, "run_sync": true}`}, nil)
	if err != nil {
		return "", "", fmt.Errorf("validation %s: %w", id, err)
	}
	result, err := jsonText(lookup(v, "output"))
	if err != nil {
		return "", "", fmt.Errorf("validation %s: %w", id, err)
	}
	result = lookup(result, "result")
	errs, warnings := items(lookup(result, "errors")), items(lookup(result, "warnings"))
	if str(lookup(v, "state")) != "SUCCESS" && len(errs) == 0 {
		return "", "", fmt.Errorf("validation %s: %s", id, str(result)) // it could not be run at all
	}
	status = "PASSED"
	if len(warnings) > 0 {
		status = "WARNING"
	}
	if len(errs) > 0 {
		status = "FAILED"
	}
	var lines []string
	for _, l := range append(errs, warnings...) {
		lines = append(lines, str(l))
	}
	return status, strings.Join(lines, "\n"), nil
}
