package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/orchestration/v1/stacks"
	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/yaml11"
)

type diffFlags struct {
	template                        string
	environments, parameters, clear []string
	existing, unchanged, exitCode   bool
	format                          string
}

func newStackDiffCommand(a *app) *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use:   "diff STACK",
		Short: "What an update of a stack would create, change in place, replace and delete",
		Long: `Asks Heat what an update with these files would do, and shows it resource by resource, nested stacks too, and
property by property: "+" what is created, "~" what is changed in place, "-/+" what is replaced, "-" what is
deleted. Nothing is changed. What only the update can tell, because it comes from resources that are made then,
is shown as (known after the update).

Exit code: 0, with --exit-code 2 if there is something to change.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), a, args[0]) },
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.template, "template", "t", "", "the new template")
	fl.StringArrayVarP(&f.environments, "environment", "e", nil, "environment file, may be repeated; later ones win")
	fl.StringArrayVar(&f.parameters, "parameter", nil, "value of a parameter, NAME=VALUE, may be repeated")
	fl.StringArrayVar(&f.clear, "clear-parameter", nil, "with --existing: parameter to forget, may be repeated")
	fl.BoolVar(&f.existing, "existing", false, "start from the stack's present template, environment and parameters")
	fl.BoolVar(&f.unchanged, "unchanged", false, "list what stays as it is too")
	fl.BoolVar(&f.exitCode, "exit-code", false, "exit with 2 if there is something to change")
	fl.StringVarP(&f.format, "format", "f", "text", "output format: text, json or yaml")
	return cmd
}

// body is the request that an update with the flags would send.
func (f *diffFlags) body() (*yaml11.OrderedMap, error) {
	if f.template == "" && !f.existing {
		return nil, errors.New("name the new template with -t, or take the present one with --existing")
	}
	body := yaml11.NewMap()
	tree := &treeFiles{root: ".", files: map[string]string{}}
	if f.template != "" {
		text, err := tree.template(f.template)
		if err != nil {
			return nil, err
		}
		body.Set("template", text)
		body.Set("template_file", f.template)
	}
	names := []any{}
	for _, e := range f.environments {
		name, err := tree.environment(e)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	if len(names) > 0 {
		body.Set("environment_files", names)
	}
	files := yaml11.NewMap()
	for name, text := range tree.files {
		files.Set(name, text)
	}
	body.Set("files", files)
	params := yaml11.NewMap()
	for _, p := range f.parameters {
		name, value, ok := strings.Cut(p, "=")
		if !ok {
			return nil, fmt.Errorf("--parameter must be NAME=VALUE, got %q", p)
		}
		params.Set(name, value)
	}
	body.Set("parameters", params)
	if len(f.clear) > 0 {
		body.Set("clear_parameters", f.clear)
	}
	return body, nil
}

func (f *diffFlags) run(ctx context.Context, a *app, stack string) error {
	if !slices.Contains([]string{"text", "json", "yaml"}, f.format) {
		return fmt.Errorf("format must be text, json or yaml, got %q", f.format)
	}
	body, err := f.body()
	if err != nil {
		return err
	}
	heat, found, err := a.findStack(ctx, stack)
	if err != nil {
		return err
	}
	method := http.MethodPut
	if f.existing {
		method = http.MethodPatch
	}
	answer, err := heatCall(ctx, heat, method, heat.ServiceURL("stacks", found.Name, found.ID, "preview")+"?show_nested=true", body)
	if err != nil {
		return err
	}
	changes, _ := lookup(answer, "resource_changes").(*yaml11.OrderedMap)
	if f.format != "text" {
		if !f.unchanged {
			changes.Delete("unchanged")
		}
		if err := (&outputFlags{format: f.format}).encode(a, changes); err != nil {
			return err
		}
	} else if err := f.print(a, stack, changes); err != nil {
		return err
	}
	if f.exitCode && differs(changes) {
		return exitError{2}
	}
	return nil
}

// findStack returns Heat and a stack by its name or id.
func (a *app) findStack(ctx context.Context, stack string) (*gophercloud.ServiceClient, *stacks.RetrievedStack, error) {
	s, err := a.session(ctx)
	if err != nil {
		return nil, nil, err
	}
	heat, err := s.Orchestration()
	if err != nil {
		return nil, nil, err
	}
	found, err := stacks.Find(ctx, heat, stack).Extract()
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return nil, nil, fmt.Errorf("there is no stack %s", stack)
	}
	return heat, found, err
}

// heatCall sends a request that gophercloud has no call for. The answer keeps the order of its keys.
func heatCall(ctx context.Context, heat *gophercloud.ServiceClient, method, url string, body any) (any, error) {
	opts := &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}}
	if body != nil {
		opts.JSONBody = body
	}
	var raw json.RawMessage
	opts.JSONResponse = &raw
	resp, err := heat.Request(ctx, method, url, opts)
	if resp != nil {
		defer func() { _ = resp.Body.Close() }()
	}
	if err != nil {
		return nil, heatFault(err)
	}
	return yaml11.DecodeJSON(raw)
}

// heatFault takes Heat's own words out of an error.
func heatFault(err error) error {
	var unexpected gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &unexpected) {
		return err
	}
	v, jsonErr := yaml11.DecodeJSON(unexpected.Body)
	if msg := str(lookup(v, "error", "message")); jsonErr == nil && msg != "" {
		return fmt.Errorf("heat: %s", msg)
	}
	return err
}

func differs(changes *yaml11.OrderedMap) bool {
	return slices.ContainsFunc([]string{"added", "updated", "replaced", "deleted"}, func(k string) bool { return len(items(lookup(changes, k))) > 0 })
}

// diffKinds are the kinds of changes as they are printed.
func diffKinds() [][3]string {
	return [][3]string{{"added", "+", "to create"}, {"updated", "~", "to change in place"}, {"replaced", "-/+", "to replace"}, {"deleted", "-", "to delete"}, {"unchanged", " ", "unchanged"}}
}

func (f *diffFlags) print(a *app, stack string, changes *yaml11.OrderedMap) error {
	var b strings.Builder
	var counts []string
	for _, kind := range diffKinds() {
		list := items(lookup(changes, kind[0]))
		counts = append(counts, fmt.Sprintf("%d %s", len(list), kind[2]))
		if kind[0] == "unchanged" && !f.unchanged {
			continue
		}
		for _, c := range list {
			printChange(&b, kind[0], kind[1], c)
		}
	}
	if !differs(changes) {
		fmt.Fprintf(&b, "Stack %s would not change.\n", stack)
	}
	fmt.Fprintf(&b, "Stack %s: %s\n", stack, strings.Join(counts, ", "))
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

func printChange(b *strings.Builder, kind, sign string, c any) {
	path := firstNonEmpty(str(lookup(c, "resource_path")), str(lookup(c, "resource_name")))
	fmt.Fprintf(b, "%s %s (%s)", sign, path, str(lookup(c, "resource_type")))
	if pos := str(lookup(c, "position")); pos != "" && kind != "deleted" {
		fmt.Fprintf(b, "  %s", pos)
	}
	if id := str(lookup(c, "physical_resource_id")); id != "" && (kind == "deleted" || kind == "replaced") {
		fmt.Fprintf(b, "  %s", id)
	}
	b.WriteString("\n")
	switch kind {
	case "added":
		props, _ := lookup(c, "properties").(*yaml11.OrderedMap)
		for k, v := range props.All() {
			if v != nil {
				fmt.Fprintf(b, "      %s: %s\n", k, short(v))
			}
		}
	case "updated", "replaced":
		changed, _ := lookup(c, "changes").(*yaml11.OrderedMap)
		for k, v := range changed.All() {
			now := "(known after the update)"
			if lookup(v, "unknown") == nil {
				now = short(lookup(v, "new"))
			}
			fmt.Fprintf(b, "      %s: %s -> %s\n", k, short(lookup(v, "old")), now)
		}
	}
}

// short writes a value on one line of bounded length.
func short(v any) string {
	b, err := yaml11.EncodeJSON(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	const most = 200
	if r := []rune(string(b)); len(r) > most {
		return string(r[:most]) + fmt.Sprintf("… (%d characters)", len(r))
	}
	return string(b)
}
