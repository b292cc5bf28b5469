package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/deployment"
	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/internal/workflow/expr"
	"github.com/tripleo/tripleo/internal/workflow/graph"
	"github.com/tripleo/tripleo/internal/workflow/lint"
	"github.com/tripleo/tripleo/plan"
)

func newWorkflowCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "workflow", Short: "Check, draw, run and time workflows"}
	cmd.AddCommand(newWorkflowLint(a), newWorkflowGraph(a), newWorkflowRun(a), newWorkflowTimeline(a))
	return cmd
}

// readDefinition reads a file; "-" is the standard input.
func readDefinition(name string) (string, error) {
	if name == "-" {
		data, err := io.ReadAll(io.LimitReader(os.Stdin, 4<<20))
		return string(data), err
	}
	data, err := os.ReadFile(name) //nolint:gosec // the operator's own file
	return string(data), err
}

// known is what workflows may call on this undercloud.
func known() (lint.Known, error) {
	reg, err := actions.NewRegistry(actions.Std(actions.StdOptions{}), actions.OpenStack(), deployment.Actions(deployment.Config{Templates: plan.FS()}))
	if err != nil {
		return lint.Known{}, err
	}
	books, err := deployment.Workbooks()
	if err != nil {
		return lint.Known{}, err
	}
	ev, err := expr.New(nil)
	if err != nil {
		return lint.Known{}, err
	}
	workflows := map[string]*lint.Callee{}
	for _, b := range books {
		wb, err := dsl.ParseWorkbook(b.YAML, nil)
		if err != nil {
			return lint.Known{}, fmt.Errorf("built-in workbook %s: %w", b.Name, err)
		}
		for _, w := range wb.Workflows {
			c := &lint.Callee{}
			for _, p := range w.Input {
				c.Inputs = append(c.Inputs, p.Name)
				if p.Required {
					c.Required = append(c.Required, p.Name)
				}
			}
			workflows[wb.Name+"."+w.Name] = c
		}
	}
	return lint.Known{
		Check:    ev.Check,
		Workflow: func(name string) *lint.Callee { return workflows[name] },
		Action: func(name string) *lint.Callee {
			act := reg.Get(name)
			if act == nil {
				return nil
			}
			c := &lint.Callee{Extra: act.Extra}
			for _, p := range act.Input {
				c.Inputs = append(c.Inputs, p.Name)
				if p.Required {
					c.Required = append(c.Required, p.Name)
				}
			}
			return c
		},
	}, nil
}

func newWorkflowLint(a *app) *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Say what is wrong in workbooks, workflows and ad-hoc actions, without an undercloud",
		Long: `Say what is wrong in workbooks, workflows and ad-hoc actions, without an undercloud.

Each finding is FILE:LINE:COLUMN. Errors are what the workflow service refuses or what cannot work: unknown tasks, actions and
workflows, missing inputs, expressions that do not parse, joins that can never be satisfied. Warnings are tasks that nothing leads
to, variables that nothing uses, parameters that are silently dropped. The exit code is 1 when there are errors.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			k, err := known()
			if err != nil {
				return err
			}
			failed := false
			for _, name := range args {
				text, err := readDefinition(name)
				if err != nil {
					return err
				}
				for _, f := range lint.Text(text, k) {
					failed = failed || strict || f.Severity == lint.Error
					if _, err := fmt.Fprintf(a.stdout, "%s:%s\n", name, f); err != nil {
						return err
					}
				}
			}
			if failed {
				return exitError{1}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 for warnings too")
	return cmd
}

// definitions returns the workflows of a text.
func definitions(text string) (book string, list []*dsl.Workflow, err error) {
	list, err = dsl.ParseWorkflows(text, nil)
	if err == nil {
		return "", list, nil
	}
	if wb, bookErr := dsl.ParseWorkbook(text, nil); bookErr == nil {
		return wb.Name, wb.Workflows, nil
	} else if strings.Contains(text, "\nworkflows:") {
		err = bookErr
	}
	return "", nil, err
}

func newWorkflowGraph(a *app) *cobra.Command {
	var format, name string
	cmd := &cobra.Command{
		Use:   "graph FILE",
		Short: "Draw the tasks of workflows as text, Mermaid or SVG",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := readDefinition(args[0])
			if err != nil {
				return err
			}
			_, list, err := definitions(text)
			if err != nil {
				return err
			}
			if name == "" && format == "svg" && len(list) > 1 {
				return errors.New("an SVG shows one workflow: name it with --workflow")
			}
			found := false
			for _, w := range list {
				if name != "" && w.Name != name {
					continue
				}
				found = true
				g := graph.New(w)
				out := map[string]func() string{"text": g.Text, "mermaid": g.Mermaid, "svg": g.SVG}[format]
				if out == nil {
					return fmt.Errorf("format is %q, must be text, mermaid or svg", format)
				}
				if _, err := io.WriteString(a.stdout, out()); err != nil {
					return err
				}
			}
			if !found {
				return fmt.Errorf("%s has no workflow %q", args[0], name)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "text", "text, mermaid or svg")
	cmd.Flags().StringVarP(&name, "workflow", "w", "", "only this workflow")
	return cmd
}
