package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// outputFlags are -f and -c of a command, as openstackclient (cliff) has them.
type outputFlags struct {
	format  string
	columns []string
}

func (o *outputFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "format", "f", "table", "output format: table, json, yaml, value or csv")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json", "yaml", "value", "csv"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringSliceVarP(&o.columns, "column", "c", nil, "column to show, may be repeated")
}

// list writes rows under headers.
func (o *outputFlags) list(a *app, headers []string, rows [][]any) error {
	keep := make([]int, 0, len(headers))
	for i, h := range headers {
		if len(o.columns) == 0 || slices.ContainsFunc(o.columns, func(c string) bool { return strings.EqualFold(c, h) }) {
			keep = append(keep, i)
		}
	}
	if len(keep) == 0 {
		return fmt.Errorf("no column is named %s; there are: %s", strings.Join(o.columns, ", "), strings.Join(headers, ", "))
	}
	pick := func(row []any) []any {
		out := make([]any, len(keep))
		for n, i := range keep {
			out[n] = row[i]
		}
		return out
	}
	names := make([]string, len(keep))
	for n, i := range keep {
		names[n] = headers[i]
	}
	picked := make([][]any, len(rows))
	for i, row := range rows {
		picked[i] = pick(row)
	}
	return o.write(a, names, picked)
}

// show writes one thing as field and value.
func (o *outputFlags) show(a *app, fields []string, values []any) error {
	switch o.format {
	case "json", "yaml":
		m := yaml11.NewMap()
		for i, f := range fields {
			if len(o.columns) == 0 || slices.Contains(o.columns, f) {
				m.Set(f, values[i])
			}
		}
		return o.encode(a, m)
	case "value":
		for i, f := range fields {
			if len(o.columns) == 0 || slices.Contains(o.columns, f) {
				if _, err := fmt.Fprintln(a.stdout, values[i]); err != nil {
					return err
				}
			}
		}
		return nil
	}
	var rows [][]any
	for i, f := range fields {
		if len(o.columns) == 0 || slices.Contains(o.columns, f) {
			rows = append(rows, []any{f, values[i]})
		}
	}
	return o.write(a, []string{"Field", "Value"}, rows)
}

func (o *outputFlags) write(a *app, names []string, rows [][]any) error {
	switch o.format {
	case "", "table":
		w := table.NewWriter()
		w.SetOutputMirror(a.stdout)
		head := make(table.Row, len(names))
		for i, n := range names {
			head[i] = n
		}
		w.Style().Format.Header = 0
		w.AppendHeader(head)
		for _, r := range rows {
			w.AppendRow(r)
		}
		w.Render()
		return nil
	case "json", "yaml":
		out := make([]any, len(rows))
		for i, r := range rows {
			m := yaml11.NewMap()
			for n, name := range names {
				m.Set(name, r[n])
			}
			out[i] = m
		}
		return o.encode(a, out)
	case "value":
		for _, r := range rows {
			if _, err := fmt.Fprintln(a.stdout, strings.Join(texts(r), " ")); err != nil {
				return err
			}
		}
		return nil
	case "csv":
		head := make([]any, len(names))
		for i, n := range names {
			head[i] = n
		}
		for _, r := range append([][]any{head}, rows...) {
			if _, err := fmt.Fprintln(a.stdout, csvLine(r)); err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("output format %q is unknown, expected table, json, yaml, value or csv", o.format)
	}
}

// csvLine quotes all but numbers, as openstackclient does.
func csvLine(row []any) string {
	out := make([]string, len(row))
	for i, t := range texts(row) {
		switch row[i].(type) {
		case int, int64, float64:
			out[i] = t
		default:
			out[i] = `"` + strings.ReplaceAll(t, `"`, `""`) + `"`
		}
	}
	return strings.Join(out, ",")
}

func (o *outputFlags) encode(a *app, v any) error {
	if o.format == "yaml" {
		b, err := yaml11.Marshal(v)
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(b)
		return err
	}
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func texts(row []any) []string {
	out := make([]string, len(row))
	for i, v := range row {
		if v != nil {
			out[i] = fmt.Sprint(v)
		}
	}
	return out
}
