package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const planEnvFile = "plan-environment.yaml"

func newPlanCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "plan", Short: "Deployment plans"}
	cmd.AddCommand(newPlanCreate(a), newPlanList(a), newPlanDelete(a), newPlanDeploy(a), newPlanExport(a))
	return cmd
}

func newPlanCreate(a *app) *cobra.Command {
	var templates, planEnv, source string
	var noPasswords bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a plan of templates",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := a.operator(cmd.Context())
			if err != nil {
				return err
			}
			if source != "" {
				_, err := o.run(cmd.Context(), "tripleo.plan_management.v1.create_deployment_plan", map[string]any{"container": args[0], "source_url": source,
					"generate_passwords": !noPasswords, "validate_stack": false, "queue_name": defaultQueue})
				return err
			}
			f := &deployFlags{stack: args[0], templates: templates, planEnv: planEnv, noPasswords: noPasswords}
			return o.makePlan(cmd.Context(), f)
		},
	}
	cmd.Flags().StringVar(&templates, "templates", "", "folder of templates (default: the built-in plan)")
	cmd.Flags().StringVar(&source, "source-url", "", "Git repository of templates, URL or URL@REF, that the undercloud fetches")
	cmd.Flags().StringVarP(&planEnv, "plan-environment-file", "p", "", "plan environment instead of that of the templates")
	cmd.Flags().BoolVar(&noPasswords, "disable-password-generation", false, "do not generate passwords")
	cmd.MarkFlagsMutuallyExclusive("templates", "source-url")
	cmd.MarkFlagsMutuallyExclusive("plan-environment-file", "source-url")
	return cmd
}

func newPlanList(a *app) *cobra.Command {
	out := &outputFlags{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the plans",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.operator(cmd.Context())
			if err != nil {
				return err
			}
			v, err := o.action(cmd.Context(), "tripleo.plan.list", nil)
			if err != nil {
				return err
			}
			var rows [][]any
			for _, n := range items(v) {
				rows = append(rows, []any{n})
			}
			return out.list(a, []string{"Plan Name"}, rows)
		},
	}
	out.add(cmd)
	return cmd
}

func newPlanDelete(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete plans that no stack uses",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := a.operator(cmd.Context())
			if err != nil {
				return err
			}
			for _, n := range args {
				if _, err := o.action(cmd.Context(), "tripleo.plan.delete", map[string]any{"container": n}); err != nil {
					return err
				}
				_, _ = fmt.Fprintf(a.stdout, "Deleted plan %s\n", n)
			}
			return nil
		},
	}
}

func newPlanDeploy(a *app) *cobra.Command {
	f := &deployFlags{}
	cmd := &cobra.Command{
		Use:   "deploy NAME",
		Short: "Deploy a plan as it is",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.stack = args[0]
			o, err := a.operator(cmd.Context())
			if err != nil {
				return err
			}
			return o.deployPlan(cmd.Context(), f)
		},
	}
	cmd.Flags().IntVarP(&f.timeout, "timeout", "t", 240, "minutes until the deployment is given up")
	cmd.Flags().BoolVar(&f.runValidations, "run-validations", false, "run the pre-deployment validations")
	cmd.Flags().BoolVar(&f.skipIdentifier, "skip-deploy-identifier", false, "do not run deployments again that did not change")
	return cmd
}

func newPlanExport(a *app) *cobra.Command {
	var file string
	var force bool
	cmd := &cobra.Command{
		Use:   "export NAME",
		Short: "Download a plan as a tarball",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := firstNonEmpty(file, args[0]+".tar.gz")
			flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
			if force {
				flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
			}
			o, err := a.operator(cmd.Context())
			if err != nil {
				return err
			}
			if _, err := o.run(cmd.Context(), "tripleo.plan_management.v1.export_deployment_plan", map[string]any{"plan": args[0], "queue_name": defaultQueue}); err != nil {
				return err
			}
			data, err := o.getObject(cmd.Context(), "plan-exports", args[0]+".tar.gz")
			if err != nil {
				return err
			}
			w, err := os.OpenFile(file, flags, 0o600) //nolint:gosec // named by the operator
			if errors.Is(err, os.ErrExist) {
				return fmt.Errorf("%s exists: give another name with -o, or -f to replace it", file)
			}
			if err != nil {
				return err
			}
			_, err = w.Write(data)
			return errors.Join(err, w.Close())
		},
	}
	cmd.Flags().StringVarP(&file, "output-file", "o", "", "file to write (default NAME.tar.gz)")
	cmd.Flags().BoolVarP(&force, "force-overwrite", "f", false, "replace the file")
	return cmd
}

// makePlan creates the plan of a stack or refreshes it: templates, roles, networks, environments, passwords.
func (o *operator) makePlan(ctx context.Context, f *deployFlags) error {
	old, exists, err := o.oldPlanEnv(ctx, f.stack)
	if err != nil {
		return err
	}
	if !exists {
		if _, err := o.action(ctx, "tripleo.plan.create_container", map[string]any{"container": f.stack}); err != nil {
			return err
		}
	}
	env, err := o.uploadPlan(ctx, f, exists)
	if err != nil {
		return err
	}
	if err := f.mergeEnvironments(ctx, o, env, old); err != nil {
		return err
	}
	if err := o.putPlanEnv(ctx, f.stack, env); err != nil {
		return err
	}
	name := "tripleo.plan_management.v1.create_deployment_plan"
	if exists {
		name = "tripleo.plan_management.v1.update_deployment_plan"
	}
	_, err = o.run(ctx, name, map[string]any{"container": f.stack, "generate_passwords": !f.noPasswords, "validate_stack": false, "queue_name": defaultQueue})
	return err
}

func (o *operator) putPlanEnv(ctx context.Context, plan string, env *yaml11.OrderedMap) error {
	data, err := yaml11.Marshal(env)
	if err != nil {
		return err
	}
	return o.putObject(ctx, plan, planEnvFile, data)
}

// oldPlanEnv reads the plan environment of an existing plan; exists tells whether there is such a plan.
func (o *operator) oldPlanEnv(ctx context.Context, name string) (env *yaml11.OrderedMap, exists bool, err error) {
	c, err := o.s.ObjectStore()
	if err != nil {
		return nil, false, err
	}
	_, h, err := o.raw(ctx, c, http.MethodHead, objectPath(c, name, ""), nil, map[string]string{"Accept": "*/*"})
	if hasStatus(err, 404) {
		return yaml11.NewMap(), false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if h.Get(usageHeader) != "plan" {
		return nil, false, fmt.Errorf("container %s exists and is not a plan", name)
	}
	data, err := o.getObject(ctx, name, planEnvFile)
	if hasStatus(err, 404) {
		return yaml11.NewMap(), true, nil
	}
	if err != nil {
		return nil, true, err
	}
	env, err = parseMapping(name+"/"+planEnvFile, data)
	return env, true, err
}

func parseMapping(name string, data []byte) (*yaml11.OrderedMap, error) {
	node, _, err := yaml11.Parse(name, data, yaml11.Limits{})
	if err != nil {
		return nil, err
	}
	if node.Kind == yaml11.Null {
		return yaml11.NewMap(), nil
	}
	m, ok := node.Value().(*yaml11.OrderedMap)
	if !ok {
		return nil, fmt.Errorf("%s: expected a mapping, found a %s", node.Pos(), node.Kind)
	}
	return m, nil
}

// uploadPlan puts the templates, roles and networks into the container and returns the new plan environment.
func (o *operator) uploadPlan(ctx context.Context, f *deployFlags, exists bool) (*yaml11.OrderedMap, error) {
	if exists && !f.noCleanup {
		if err := o.emptyPlan(ctx, f.stack); err != nil {
			return nil, err
		}
	}
	if f.templates == "" {
		if _, err := o.action(ctx, "tripleo.templates.upload_default", map[string]any{"container": f.stack}); err != nil {
			return nil, err
		}
	} else {
		data, err := tarDir(f.templates)
		if err != nil {
			return nil, err
		}
		if err := o.extract(ctx, f.stack, data); err != nil {
			return nil, err
		}
	}
	for object, file := range map[string]string{"roles_data.yaml": f.roles, "network_data.yaml": f.networks} {
		if file == "" {
			continue
		}
		data, err := f.localOrPlan(ctx, o, file)
		if err != nil {
			return nil, err
		}
		if _, _, err := yaml11.Parse(file, data, yaml11.Limits{}); err != nil {
			return nil, err
		}
		if err := o.putObject(ctx, f.stack, object, data); err != nil {
			return nil, err
		}
	}
	var data []byte
	var err error
	from := f.stack + "/" + planEnvFile
	if f.planEnv != "" {
		from = f.planEnv
		data, err = os.ReadFile(f.planEnv)
	} else if data, err = o.getObject(ctx, f.stack, planEnvFile); hasStatus(err, 404) {
		data, err = []byte("version: 1.0\ntemplate: overcloud.yaml\nenvironments: [{path: overcloud-resource-registry.yaml}]\n"), nil
	}
	if err != nil {
		return nil, err
	}
	env, err := parseMapping(from, data)
	if err == nil {
		env.Set("name", f.stack)
	}
	return env, err
}

// emptyPlan deletes the files of a plan but for its environment, which has the passwords.
func (o *operator) emptyPlan(ctx context.Context, plan string) error {
	names, err := o.listObjects(ctx, plan)
	if err != nil {
		return err
	}
	c, err := o.s.ObjectStore()
	if err != nil {
		return err
	}
	for _, n := range names {
		if n == planEnvFile {
			continue
		}
		if _, _, err := o.raw(ctx, c, http.MethodDelete, objectPath(c, plan, n), nil, map[string]string{"Accept": "*/*"}); err != nil && !hasStatus(err, 404) {
			return err
		}
	}
	return nil
}

func (o *operator) extract(ctx context.Context, container string, tarball []byte) error {
	c, err := o.s.ObjectStore()
	if err != nil {
		return err
	}
	v, _, err := o.call(ctx, c, http.MethodPut, objectPath(c, container, "")+"?extract-archive=tar.gz", tarball,
		map[string]string{"Content-Type": "application/gzip", "X-Detect-Content-Type": "true", "Accept": "application/json"})
	if err != nil {
		return fmt.Errorf("upload the templates: %w", err)
	}
	if errs := items(lookup(v, "Errors")); len(errs) > 0 {
		return fmt.Errorf("upload the templates: %s", str(errs[0]))
	}
	return nil
}

// tarDir packs a folder of templates, without version control and compiled Python.
func tarDir(dir string) ([]byte, error) {
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	w := tar.NewWriter(gz)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(p)
		if d.IsDir() {
			if base == ".git" || base == ".tox" {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(base, ".pyc") || strings.HasSuffix(base, ".pyo") {
			return nil
		}
		data, err := os.ReadFile(p) //nolint:gosec // the operator's own templates
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	err = gz.Close()
	return buf.Bytes(), err
}

func asMapping(what string, v any) (*yaml11.OrderedMap, error) {
	m, ok := v.(*yaml11.OrderedMap)
	if !ok {
		return nil, fmt.Errorf("%s: expected a mapping, got %s", what, short(v))
	}
	return m, nil
}
