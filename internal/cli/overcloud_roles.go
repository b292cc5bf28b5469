package cli

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/deployment"
	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/plan"
)

// verb is a command that talks to an undercloud.
func (a *app) verb(use, short string, args cobra.PositionalArgs, run func(ctx context.Context, o *operator, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		o, err := a.operator(cmd.Context())
		if err != nil {
			return err
		}
		return run(cmd.Context(), o, args)
	}}
}

func newRolesCommands(a *app) []*cobra.Command {
	roles := &cobra.Command{Use: "roles", Short: "Roles files"}
	roles.AddCommand(newRolesGenerate(a))
	role := &cobra.Command{Use: "role", Short: "Roles that can be chosen"}
	role.AddCommand(newRoleList(a), newRoleShow(a))
	return []*cobra.Command{roles, role}
}

const rolesPathHelp = "folder with a file a role, ROLE.yaml (default: the roles of the built-in plan)"

// roleSource knows roles by their name: their text, which is a list of one role, and their attributes.
type roleSource struct {
	from  string
	texts map[string]string
	roles map[string]*yaml11.OrderedMap
}

// names are sorted.
func (s *roleSource) names() []string {
	var out []string
	for n := range s.texts {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

func (s *roleSource) get(name string) (string, *yaml11.OrderedMap, error) {
	if s.texts[name] == "" {
		return "", nil, fmt.Errorf("there is no role %q in %s, only %s", name, s.from, strings.Join(s.names(), ", "))
	}
	return s.texts[name], s.roles[name], nil
}

// readRoles reads a folder of role files; "" is the built-in plan.
func readRoles(dir string) (*roleSource, error) {
	s := &roleSource{from: firstNonEmpty(dir, "the built-in plan"), texts: map[string]string{}, roles: map[string]*yaml11.OrderedMap{}}
	if dir == "" {
		data, err := fs.ReadFile(plan.FS(), "roles_data.yaml")
		if err != nil {
			return nil, err
		}
		return s, s.add("roles_data.yaml", data)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no roles: expected files ROLE.yaml", dir)
	}
	for _, f := range files {
		data, err := os.ReadFile(f) //nolint:gosec // named by the operator
		if err != nil {
			return nil, err
		}
		if err := s.add(f, data); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// add takes a file of roles apart: each begins with "- name:" at the left edge; the comments above belong to it.
func (s *roleSource) add(file string, data []byte) error {
	node, _, err := yaml11.Parse(file, data, yaml11.Limits{})
	if err != nil {
		return err
	}
	list := items(node.Value())
	parts := splitRoles(string(data))
	if len(list) == 0 || len(parts) != len(list) {
		return fmt.Errorf("%s: expected a list of roles, each beginning with \"- name:\" at the left edge", file)
	}
	for i, v := range list {
		m, ok := v.(*yaml11.OrderedMap)
		if !ok || str(lookup(m, "name")) == "" {
			return fmt.Errorf("%s: role %d has no name", file, i+1)
		}
		name := str(lookup(m, "name"))
		if s.texts[name] != "" {
			return fmt.Errorf("%s: role %s is there twice", file, name)
		}
		s.texts[name], s.roles[name] = parts[i], m
	}
	return nil
}

func splitRoles(text string) []string {
	var parts []string
	var part, comments []string
	flush := func() {
		if len(part) > 0 {
			parts = append(parts, strings.TrimRight(strings.Join(part, "\n"), "\n")+"\n")
		}
		part = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.HasPrefix(line, "- "):
			flush()
			part = append(comments, line)
			comments = nil
		case strings.HasPrefix(line, "#"):
			comments = append(comments, line)
		case line == "---":
			comments = nil
		default:
			part = append(append(part, comments...), line)
			comments = nil
		}
	}
	flush()
	return parts
}

func newRoleList(a *app) *cobra.Command {
	var dir string
	out := &outputFlags{}
	cmd := &cobra.Command{Use: "list", Short: "List the roles that can be chosen", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		s, err := readRoles(dir)
		if err != nil {
			return err
		}
		var rows [][]any
		for _, n := range s.names() {
			rows = append(rows, []any{n})
		}
		return out.list(a, []string{"Role Name"}, rows)
	}}
	cmd.Flags().StringVar(&dir, "roles-path", "", rolesPathHelp)
	out.add(cmd)
	return cmd
}

func newRoleShow(a *app) *cobra.Command {
	var dir string
	out := &outputFlags{}
	cmd := &cobra.Command{Use: "show ROLE", Short: "Show what a role is", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		s, err := readRoles(dir)
		if err != nil {
			return err
		}
		_, role, err := s.get(args[0])
		if err != nil {
			return err
		}
		var fields []string
		var values []any
		for k, v := range role.All() {
			if l, ok := v.([]any); ok && (out.format == "table" || out.format == "") {
				v = strings.Join(texts(l), "\n")
			}
			fields, values = append(fields, k), append(values, v)
		}
		return out.show(a, fields, values)
	}}
	cmd.Flags().StringVar(&dir, "roles-path", "", rolesPathHelp)
	out.add(cmd)
	return cmd
}

func newRolesGenerate(a *app) *cobra.Command {
	var dir, file string
	var skip bool
	cmd := &cobra.Command{
		Use:   "generate ROLE...",
		Short: "Put roles together to a roles_data.yaml",
		Long: `Put roles together to a roles_data.yaml. ROLE:NEW makes a role NEW of a role: its name, its host names and its
flavor parameter are those of NEW.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := readRoles(dir)
			if err != nil {
				return err
			}
			text, err := s.generate(args, !skip)
			if err != nil {
				return err
			}
			if file == "" {
				_, err = fmt.Fprint(a.stdout, text)
				return err
			}
			return os.WriteFile(file, []byte(text), 0o644) //nolint:gosec // roles are no secret
		},
	}
	cmd.Flags().StringVar(&dir, "roles-path", "", rolesPathHelp)
	cmd.Flags().StringVarP(&file, "output-file", "o", "", "file to write (default: standard output)")
	cmd.Flags().BoolVar(&skip, "skip-validate", false, "do not check the attributes of the roles")
	return cmd
}

func (s *roleSource) generate(args []string, validate bool) (string, error) {
	var b strings.Builder
	rule := strings.Repeat("#", 79)
	fmt.Fprintf(&b, "%s\n# File generated by TripleO\n%s\n", rule, rule)
	seen := map[string]bool{}
	for _, arg := range args {
		name, as, renamed := strings.Cut(arg, ":")
		text, role, err := s.get(name)
		if err != nil {
			return "", err
		}
		if validate {
			if err := deployment.CheckRoles([]any{role}); err != nil {
				return "", fmt.Errorf("%s: %w", s.from, err)
			}
		}
		if renamed {
			if as == "" || strings.ContainsAny(as, ": \t\n") {
				return "", fmt.Errorf("%q: expected ROLE or ROLE:NEW", arg)
			}
			if text, err = renameRole(role, as); err != nil {
				return "", err
			}
			name = as
		}
		if seen[name] {
			return "", fmt.Errorf("role %s is named twice", name)
		}
		seen[name] = true
		b.WriteString(text)
	}
	return b.String(), nil
}

func renameRole(role *yaml11.OrderedMap, name string) (string, error) {
	m := role.Clone()
	m.Set("name", name)
	m.Set("HostnameFormatDefault", "%stackname%-"+strings.ToLower(name)+"-%index%")
	for _, k := range []string{"uses_deprecated_params", "deprecated_param_flavor", "deprecated_param_image", "deprecated_nic_config_name"} {
		m.Delete(k) // names of the parameters of the role it was made of
	}
	data, err := yaml11.Marshal([]any{m})
	return string(data), err
}
