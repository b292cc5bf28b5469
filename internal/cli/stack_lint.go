package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/orchestration/lint"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// maxLintFile bounds a file that lint reads.
const maxLintFile = 32 << 20

type lintFlags struct {
	environments, parameters []string
	format                   string
	strict                   bool
}

func newStackLintCommand(a *app) *cobra.Command {
	var f lintFlags
	cmd := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Check templates, and all they lead to, without an undercloud",
		Long: `Checks each FILE as the root of a stack, with every template it leads to through types, resource_registry
mappings and groups: syntax, unknown types, properties and attributes, names that lead nowhere, missing
properties, constraints with the given environments, unused parameters and conditions, conditions that never
change, keys given twice.

Exit code: 0 if there is no error, 1 if there is one (with --strict: or a warning).`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, a, args) },
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.environments, "environment", "e", nil, "environment file, may be repeated; later ones win")
	fl.StringArrayVar(&f.parameters, "parameter", nil, "value of a parameter, NAME=VALUE, may be repeated")
	fl.StringVarP(&f.format, "format", "f", "text", "output format: text or json")
	fl.BoolVar(&f.strict, "strict", false, "let warnings count as errors")
	return cmd
}

func (f *lintFlags) run(cmd *cobra.Command, a *app, args []string) error {
	if f.format != "text" && f.format != "json" {
		return fmt.Errorf("format must be text or json, got %q", f.format)
	}
	params := yaml11.NewMap()
	for _, p := range f.parameters {
		name, value, ok := strings.Cut(p, "=")
		if !ok {
			return fmt.Errorf("--parameter must be NAME=VALUE, got %q", p)
		}
		params.Set(name, value)
	}
	types := resources.All()
	found := []lint.Finding{}
	for _, file := range args {
		found = append(found, lint.Run(cmd.Context(), lint.Input{Template: file, Environments: f.environments, Parameters: params, Read: readFile, Types: types})...)
	}
	errs, warnings := 0, 0
	for _, x := range found {
		if x.Severity == lint.Error {
			errs++
		} else {
			warnings++
		}
	}
	if f.format == "json" {
		if err := writeJSON(a, found); err != nil {
			return err
		}
	} else {
		for _, x := range found {
			_, _ = fmt.Fprintln(a.stdout, x)
		}
		if len(found) > 0 {
			_, _ = fmt.Fprintf(a.stderr, "%d errors, %d warnings\n", errs, warnings)
		}
	}
	if errs > 0 || f.strict && warnings > 0 {
		return exitError{1}
	}
	return nil
}

// readFile reads a file that a template names.
func readFile(name string) (string, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return "", pathReason(err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("it is no regular file")
	case info.Size() > maxLintFile:
		return "", fmt.Errorf("it is larger than %d bytes", maxLintFile)
	}
	b, err := os.ReadFile(name) //nolint:gosec // named by the operator's templates, read as the operator
	return string(b), pathReason(err)
}

// pathReason drops the name from an error of package os, which the message gives already.
func pathReason(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func writeJSON(a *app, v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
