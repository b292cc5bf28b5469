package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/deployment"
	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	builtin        = "builtin" // the value of --templates without a folder
	deployWorkflow = "tripleo.deployment.v1.deploy_plan"
)

type deployFlags struct {
	stack, templates, roles, networks, planEnv, answers string
	environments, envDirs                               []string
	timeout                                             int
	planOnly, noCleanup, noValidations, noPasswords     bool
	skipIdentifier, dryRun, attach, runValidations      bool
	errorsNonfatal, warningsFatal, deployedServer       bool
	configDownload                                      bool
	sshUser, sshKey, outputDir                          string // of Ansible's way into the nodes
	registration                                        registration
	scales                                              map[string]*roleScale
	cephPlaybook, first                                 string // of updates; first is an environment of the templates
	ntpServer, libvirtType, noProxy                     string
	parameters                                          map[string]any // of flags
}

func newDeployCommand(a *app) *cobra.Command {
	f := &deployFlags{}
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Deploy an overcloud, or bring a deployed one to what the templates say",
		Long: `Deploy an overcloud: make or refresh its plan, render it, and follow the stack to its end.
With --templates alone (or without it) the built-in plan is used; --templates=DIR takes another.
Ctrl-C only stops watching: the deployment goes on, and --attach comes back to it.

--dry-run checks, renders the plan as it would become in a plan of its own that is deleted again, and asks Heat what
would be created, changed in place, replaced and deleted, as ` + "`tripleo stack diff`" + ` shows it.

Exit code: 0 deployed; 1 failed (` + "`tripleo overcloud failures`" + ` tells why); 130 detached.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.take(args); err != nil {
				return err
			}
			o, err := a.operator(cmd.Context())
			if err != nil {
				return err
			}
			if f.attach {
				return o.attachDeployment(cmd.Context(), f)
			}
			return o.deploy(cmd.Context(), f)
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.planOnly, "update-plan-only", false, "make the plan, do not deploy it")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show what would change, change nothing")
	fl.BoolVar(&f.attach, "attach", false, "follow the deployment of the stack that runs already")
	cmd.MarkFlagsMutuallyExclusive("attach", "dry-run", "update-plan-only")
	return cmd
}

// add are the flags of deploy and of what prepares and ends updates.
func (f *deployFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.templates, "templates", "", "folder of templates (without a value: the built-in plan)")
	fl.Lookup("templates").NoOptDefVal = builtin
	fl.StringVar(&f.stack, "stack", "overcloud", "name of the stack and of its plan")
	fl.IntVarP(&f.timeout, "timeout", "t", 240, "minutes until the deployment is given up")
	fl.StringArrayVarP(&f.environments, "environment-file", "e", nil, "environment file, may be repeated; later ones win")
	fl.StringArrayVar(&f.envDirs, "environment-directory", nil, "folder whose *.yaml are environment files, before those of -e")
	fl.StringVarP(&f.roles, "roles-file", "r", "", "roles_data.yaml instead of that of the templates")
	fl.StringVarP(&f.networks, "networks-file", "n", "", "network_data.yaml instead of that of the templates")
	fl.StringVarP(&f.planEnv, "plan-environment-file", "p", "", "plan environment instead of that of the templates")
	fl.StringVar(&f.answers, "answers-file", "", "YAML file with `templates` and `environments`")
	fl.BoolVar(&f.noCleanup, "no-cleanup", false, "keep files of the old plan that the templates do not have")
	fl.BoolVar(&f.noValidations, "disable-validations", false, "do not check images and nodes before")
	fl.BoolVar(&f.noPasswords, "disable-password-generation", false, "do not generate passwords")
	fl.BoolVar(&f.skipIdentifier, "skip-deploy-identifier", false, "do not run deployments again that did not change")
	fl.BoolVar(&f.runValidations, "run-validations", false, "run the pre-deployment validations")
	fl.BoolVar(&f.errorsNonfatal, "validation-errors-nonfatal", false, "deploy although images or nodes are missing")
	fl.BoolVar(&f.warningsFatal, "validation-warnings-fatal", false, "do not deploy if a check before has a warning")
	fl.BoolVar(&f.configDownload, "config-download", false, "then deploy the plan's configuration with Ansible over SSH (plans with config-download-environment.yaml)")
	fl.StringVar(&f.sshUser, "overcloud-ssh-user", "heat-admin", "user of --overcloud-ssh-key")
	fl.StringVar(&f.sshKey, "overcloud-ssh-key", "", "private key that opens the nodes, for --config-download (default: their agents do)")
	fl.StringVar(&f.outputDir, "output-dir", "", "folder of the configuration of --config-download on the undercloud")
	f.registration.add(fl)
	fl.BoolVar(&f.deployedServer, "deployed-server", false, "the machines run already; needs --disable-validations")
	fl.StringVar(&f.ntpServer, "ntp-server", "", "NTP servers of the overcloud, separated by commas")
	fl.StringVar(&f.libvirtType, "libvirt-type", "", "kvm or qemu")
	fl.StringVar(&f.noProxy, "no-proxy", os.Getenv("no_proxy"), "hosts that overcloudrc excludes from proxies")
	f.scales = map[string]*roleScale{}
	for _, r := range deployment.StockRoles() {
		s := &roleScale{}
		f.scales[r.Profile] = s
		fl.IntVar(&s.count, r.Profile+"-scale", -1, "number of "+r.Profile+" nodes")
		fl.StringVar(&s.flavor, r.Profile+"-flavor", "", "flavor of "+r.Profile+" nodes")
		_ = fl.MarkDeprecated(r.Profile+"-scale", "set the parameter "+r.CountParam()+" in an environment file")
		_ = fl.MarkDeprecated(r.Profile+"-flavor", "set the parameter "+r.FlavorParam+" in an environment file")
	}
	// Flags of older command lines that nothing is left to do for; each says so when it is used.
	for name, why := range map[string]string{
		"skip-postconfig": "there is no post-configuration", "force-postconfig": "there is no post-configuration",
	} {
		_ = fl.Bool(name, false, "no effect")
		_ = fl.MarkDeprecated(name, why+"; it has no effect")
	}
}

// take checks the flags with what stands beside them: "--templates DIR", as operators write it.
func (f *deployFlags) take(args []string) error {
	if len(args) == 1 {
		if f.templates != builtin {
			return fmt.Errorf("unexpected argument %q", args[0])
		}
		f.templates = args[0]
	}
	return f.check()
}

// check completes and validates the flags.
func (f *deployFlags) check() error {
	if f.answers != "" {
		data, err := os.ReadFile(f.answers)
		if err != nil {
			return err
		}
		m, err := parseMapping(f.answers, data)
		if err != nil {
			return err
		}
		if f.templates == "" {
			f.templates = str(lookup(m, "templates"))
		}
		var list []string
		for _, e := range items(lookup(m, "environments")) {
			list = append(list, str(e))
		}
		f.environments = append(list, f.environments...)
	}
	if f.templates == builtin {
		f.templates = ""
	}
	if f.templates != "" {
		if st, err := os.Stat(f.templates); err != nil {
			return err
		} else if !st.IsDir() {
			return fmt.Errorf("--templates %s is no folder", f.templates)
		}
	}
	f.defaultFolder()
	if f.deployedServer && !f.noValidations {
		return errors.New("--deployed-server needs --disable-validations")
	}
	f.parameters = map[string]any{}
	if err := f.registration.check(f.parameters); err != nil {
		return err
	}
	if f.registration.on {
		f.environments = append(registrationEnvironments(), f.environments...)
	}
	for _, r := range deployment.StockRoles() {
		if s := f.scales[r.Profile]; s != nil && s.count >= 0 {
			f.parameters[r.CountParam()] = s.count
		}
		if s := f.scales[r.Profile]; s != nil && s.flavor != "" {
			f.parameters[r.FlavorParam] = s.flavor
		}
	}
	if f.ntpServer != "" {
		f.parameters["NtpServer"] = f.ntpServer
	}
	if f.libvirtType != "" {
		f.parameters["NovaComputeLibvirtType"] = f.libvirtType
	}
	return nil
}

// defaultFolder is where environments are looked for when no --environment-directory is given.
func (f *deployFlags) defaultFolder() {
	if len(f.envDirs) > 0 {
		return
	}
	if f.envDirs = filepath.SplitList(os.Getenv("TRIPLEO_ENVIRONMENT_DIRECTORY")); len(f.envDirs) > 0 {
		return
	}
	if home, err := os.UserHomeDir(); err == nil {
		f.envDirs = []string{filepath.Join(home, ".tripleo", "environments")}
	}
}

func (o *operator) deploy(ctx context.Context, f *deployFlags) error {
	st, err := o.stackStatus(ctx, f.stack)
	if err != nil {
		return err
	}
	if strings.HasSuffix(st, "_IN_PROGRESS") {
		return fmt.Errorf("stack %s is %s: wait until it is done, or watch it with `tripleo overcloud deploy --stack %s --attach`", f.stack, st, f.stack)
	}
	if err := o.checkBefore(ctx, f, st == ""); err != nil {
		return err
	}
	if f.dryRun {
		return o.dryRun(ctx, f, st != "")
	}
	if err := o.makePlan(ctx, f); err != nil {
		return err
	}
	if err := o.runPlanWorkflows(ctx, f); err != nil {
		return err
	}
	if err := o.warnOfParameters(ctx, f.stack); err != nil {
		return err
	}
	if st != "" {
		if err := o.keepNetworks(ctx, f); err != nil {
			return err
		}
	}
	if f.planOnly {
		return nil
	}
	return o.deployPlan(ctx, f)
}

// runPlanWorkflows runs the workflows that a plan environment given with -p names, which derive parameters, and shows
// what they found.
func (o *operator) runPlanWorkflows(ctx context.Context, f *deployFlags) error {
	if f.planEnv == "" {
		return nil
	}
	text, err := readFile(f.planEnv)
	if err != nil {
		return err
	}
	env, err := parseMapping(f.planEnv, []byte(text))
	if err != nil {
		return err
	}
	flows, _ := lookup(env, "workflow_parameters").(*yaml11.OrderedMap)
	for name, inputs := range flows.All() {
		out, err := o.run(ctx, name, map[string]any{"plan": f.stack, "user_inputs": inputs, "queue_name": defaultQueue})
		if err != nil {
			return err
		}
		if result := lookup(out.last, "result"); result != nil {
			data, err := yaml11.Marshal(result)
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(o.a.stdout, "%s:\n%s", name, data)
		}
	}
	return nil
}

// deployPlan starts the deployment of a plan, follows it, and writes the credentials of the new cloud.
func (o *operator) deployPlan(ctx context.Context, f *deployFlags) error {
	p := o.a.newProgress(false)
	out, err := o.workflow(ctx, deployWorkflow, map[string]any{"container": f.stack, "timeout": f.timeout, "skip_deploy_identifier": f.skipIdentifier,
		"run_validations": f.runValidations, "queue_name": defaultQueue}, p)
	return o.deployed(ctx, f, p, out, err)
}

// deployed ends the watching of a deployment.
func (o *operator) deployed(ctx context.Context, f *deployFlags, p *progress, out *outcome, err error) error {
	if errors.Is(err, context.Canceled) && out != nil {
		p.done()
		p.say("detached; the deployment goes on: `tripleo overcloud deploy --stack %s --attach` comes back to it (execution %s)", f.stack, out.id)
		return exitError{130}
	}
	if err != nil {
		return err
	}
	if ferr := out.failed(deployWorkflow); ferr != nil {
		p.done()
		list := items(lookup(out.last, "failures"))
		if out.last == nil { // its last message came before we listened
			if v, err := o.action(ctx, "tripleo.deployment.get_deployment_failures", map[string]any{"plan": f.stack}); err == nil {
				list = items(lookup(v, "resources"))
			}
		}
		if len(list) > 0 {
			p.say("deployment failed")
			printFailures(o.a.stderr, list)
			return exitError{1}
		}
		return ferr
	}
	p.stage = ""
	p.say("%s", firstNonEmpty(str(lookup(out.last, "message")), "Overcloud deployed."))
	if f.configDownload {
		p.done()
		if err := o.configDownload(ctx, f); err != nil {
			return err
		}
	}
	return o.finished(ctx, f)
}

// stackStatus is "" when there is no such stack.
func (o *operator) stackStatus(ctx context.Context, name string) (string, error) {
	c, err := o.s.Orchestration()
	if err != nil {
		return "", err
	}
	v, _, err := o.call(ctx, c, http.MethodGet, below(c, "", "stacks", name), nil, nil)
	if hasStatus(err, 404) {
		return "", nil
	}
	return str(lookup(v, "stack", "stack_status")), err
}

// printFailures shows failed resources: path, template and line, node, cause, the end of the output.
func printFailures(out io.Writer, list []any) {
	w := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }
	for _, f := range list {
		w("\n%s", str(lookup(f, "path")))
		w("  resource_type: %s", str(lookup(f, "resource_type")))
		if p := str(lookup(f, "template")); p != "" {
			w("  template: %s", p)
		}
		if n := str(lookup(f, "node")); n != "" {
			if m := str(lookup(f, "baremetal_node")); m != "" {
				n += " (bare-metal node " + m + ")"
			}
			w("  node: %s", n)
		}
		w("  status: %s", str(lookup(f, "status")))
		w("  cause: %s", indent(firstNonEmpty(str(lookup(f, "cause")), str(lookup(f, "reason")))))
		if code := lookup(f, "deploy_status_code"); code != nil {
			w("  exit code: %s", str(code))
		}
		for _, k := range []string{"deploy_stdout", "deploy_stderr"} {
			if t := str(lookup(f, k)); t != "" {
				w("  %s: |\n    %s", strings.TrimPrefix(k, "deploy_"), indent(t))
			}
		}
	}
}

func indent(s string) string { return strings.ReplaceAll(s, "\n", "\n    ") }

// credentials writes <stack>rc and the entry of the cloud in clouds.yaml.
func (o *operator) credentials(ctx context.Context, stack, dir, noProxy string) error {
	v, err := o.action(ctx, "tripleo.deployment.overcloudrc", map[string]any{"container": stack, "no_proxy": noProxy})
	if err != nil {
		return err
	}
	rc := filepath.Join(dir, stack+"rc")
	rcText, ca := str(lookup(v, "overcloudrc")), ""
	if pem := str(lookup(v, "ca_certificate")); pem != "" {
		if ca, err = filepath.Abs(filepath.Join(dir, stack+"-ca.crt")); err != nil {
			return err
		}
		if err := writePrivate(ca, []byte(pem)); err != nil {
			return err
		}
		rcText = strings.TrimRight(rcText, "\n") + "\nexport OS_CACERT='" + strings.ReplaceAll(ca, "'", `'\''`) + "'\n"
	}
	if err := writePrivate(rc, []byte(rcText)); err != nil {
		return err
	}
	auth, err := o.a.cloudAuth()
	if err != nil {
		return err
	}
	clouds := auth.Source
	if _, err := os.Stat(clouds); err != nil {
		clouds = firstNonEmpty(os.Getenv("OS_CLIENT_CONFIG_FILE"), filepath.Join(dir, "clouds.yaml"))
	}
	entry := yaml11.MapOf("auth", yaml11.MapOf("auth_url", lookup(v, "auth_url"), "username", "admin", "password", lookup(v, "password"),
		"project_name", "admin", "user_domain_name", "Default", "project_domain_name", "Default"),
		"region_name", lookup(v, "region"), "identity_api_version", int64(3))
	if ca != "" {
		entry.Set("cacert", ca)
	}
	if err := mergeCloud(clouds, stack, entry); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(o.a.stdout, "Overcloud Endpoint: %s\nOvercloud rc file: %s\nCloud %q in %s\n", str(lookup(v, "auth_url")), rc, stack, clouds)
	return nil
}

// mergeCloud sets one entry of a clouds.yaml and leaves the others as they are.
func mergeCloud(file, name string, entry *yaml11.OrderedMap) error {
	top := yaml11.NewMap()
	data, err := os.ReadFile(file) //nolint:gosec // the operator's own file
	if err == nil {
		top, err = parseMapping(file, data)
	} else if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return err
	}
	clouds, ok := lookup(top, "clouds").(*yaml11.OrderedMap)
	if !ok {
		clouds = yaml11.NewMap()
		top.Set("clouds", clouds)
	}
	clouds.Set(name, entry)
	if data, err = yaml11.Marshal(top); err != nil {
		return err
	}
	return writePrivate(file, data)
}

// writePrivate replaces a file by one that only its owner can read.
func writePrivate(file string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".tripleo-*") // 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
