package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/undercloud"
)

// installSpace is how much disk an undercloud begins with, in bytes: two node images and their copies for boot.
const installSpace = 5 << 30

func (f *undercloudFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dataDir, "data-dir", "", "folder of everything the undercloud keeps (default "+undercloud.DefaultDataDir()+")")
	cmd.Flags().StringVar(&f.listen, "listen", "", "ADDR:PORT of the API (default 127.0.0.1:8000)")
	cmd.Flags().StringVar(&f.config, "config", "", "configuration file (YAML)")
}

// oldInstallFlags are flags of the original that have nothing left to do; each says so when it is used.
func oldInstallFlags(cmd *cobra.Command) {
	for name, why := range map[string]string{"use-heat": "the undercloud is one program", "force": "it can be run again at any time"} {
		_ = cmd.Flags().Bool(name, false, "no effect")
		_ = cmd.Flags().MarkDeprecated(name, why+"; it has no effect")
	}
}

func newUndercloudInstall(a *app) *cobra.Command {
	f := &undercloudFlags{}
	var noChecks bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Check this machine and start the undercloud on it",
		Long: `Check this machine (the configuration, the disk, the address of the API) and start the undercloud on it, as
"tripleo undercloud up" does; the first start makes everything that it needs. It can be run again: an undercloud that
runs is left as it is.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if !noChecks && undercloudPID(cfg.DataDir) == 0 {
				if err := checkMachine(cmd.Context(), cfg, installSpace); err != nil {
					return fmt.Errorf("%w\n(--no-validations installs nevertheless)", err)
				}
			}
			return a.startUndercloud(cmd.Context(), f, cfg)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&noChecks, "no-validations", false, "do not check the machine")
	oldInstallFlags(cmd)
	return cmd
}

// checkMachine finds what the undercloud would fail for; space is in bytes.
func checkMachine(ctx context.Context, cfg undercloud.Config, space int) error {
	dir := cfg.DataDir
	for { // the folder is made at the first start: its disk is that of the nearest folder above
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	if err := enoughSpace(dir, space); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if cfg.Listen == "" {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("address of the API: %w", err)
	}
	return l.Close()
}

func newUndercloudUpgrade(a *app) *cobra.Command {
	f := &undercloudFlags{}
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Put this program in the place of the undercloud that runs",
		Long: `Stop the undercloud that runs, if one does, and start this program in its place, with the same flags unless others
are given. Its data are brought to what this program needs as it starts; what was under way goes on. Make a backup
before ("tripleo undercloud backup"): an older program does not read newer data.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if pid := undercloudPID(cfg.DataDir); pid != 0 {
				old, err := flagsOfProcess(pid)
				if err != nil {
					return err
				}
				f.listen, f.config = firstNonEmpty(f.listen, old.listen), firstNonEmpty(f.config, old.config)
				dir := cfg.DataDir
				if cfg, err = f.load(); err != nil {
					return err
				}
				cfg.DataDir = dir
				if err := stopUndercloud(cmd.Context(), dir, pid); err != nil {
					return err
				}
				_, _ = fmt.Fprintf(a.stdout, "The undercloud (process %d) has stopped.\n", pid)
			}
			return a.startUndercloud(cmd.Context(), f, cfg)
		},
	}
	f.add(cmd)
	oldInstallFlags(cmd)
	return cmd
}

// flagsOfProcess reads the flags that an undercloud was started with.
func flagsOfProcess(pid int) (undercloudFlags, error) {
	var f undercloudFlags
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return f, fmt.Errorf("process %d: %w", pid, err)
	}
	args := strings.Split(strings.TrimRight(string(data), "\x00"), "\x00")
	for i, arg := range args {
		for name, to := range map[string]*string{"--listen": &f.listen, "--config": &f.config, "--data-dir": &f.dataDir} {
			if arg == name && i+1 < len(args) {
				*to = args[i+1]
			} else if v, ok := strings.CutPrefix(arg, name+"="); ok {
				*to = v
			}
		}
	}
	if f.config != "" && !filepath.IsAbs(f.config) {
		cwd, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
		if err != nil {
			return f, fmt.Errorf("process %d: %w", pid, err)
		}
		f.config = filepath.Join(cwd, f.config)
	}
	return f, nil
}

// stopTime is how long an undercloud may take to stop.
const stopTime = 30 * time.Second

// stopUndercloud ends the process and waits until it has let go of its data.
func stopUndercloud(ctx context.Context, dir string, pid int) error {
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	for deadline := time.Now().Add(stopTime); undercloudPID(dir) != 0; {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not stop", pid)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

func newUndercloudBackup(a *app) *cobra.Command {
	var add, exclude []string
	cmd := a.verb("backup", "Copy the undercloud's database and files into a container", cobra.NoArgs, func(ctx context.Context, o *operator, _ []string) error {
		out, err := o.run(ctx, "tripleo.undercloud_backup.v1.backup", map[string]any{
			"sources_path": strings.Join(append([]string{"/home/stack/"}, add...), ","), "exclude_path": strings.Join(exclude, ","), "queue_name": defaultQueue})
		if err != nil {
			return err
		}
		if object := str(lookup(out.last, "object")); object != "" {
			_, err = fmt.Fprintf(a.stdout, "The backup is %s/%s: `openstack object save %s %s`\n", str(lookup(out.last, "container")), object, str(lookup(out.last, "container")), object)
		}
		return err
	})
	cmd.Flags().StringArrayVar(&add, "add-path", nil, "folder to copy beside the undercloud's data folder, may be repeated")
	cmd.Flags().StringArrayVar(&exclude, "exclude-path", nil, "folder not to copy with what is below it, may be repeated; /home/stack/ is the undercloud's data folder")
	return cmd
}

// newUndercloudDeploy is the verb that once made an undercloud of a stack; what it makes now is what install makes.
func newUndercloudDeploy(a *app) *cobra.Command {
	f := &undercloudFlags{}
	var localIP string
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Start an undercloud that answers on an address of this machine",
		Long: `Check this machine and start an undercloud on it whose API is at port 8000 of --local-ip. No stack is made for that: the undercloud is this
program, and what is to be set of it is in the file of --config.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ip, _, _ := strings.Cut(localIP, "/")
			if net.ParseIP(ip) == nil {
				return fmt.Errorf("--local-ip is %q, expected an address or ADDRESS/PREFIX", localIP)
			}
			f.listen = net.JoinHostPort(ip, "8000")
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if undercloudPID(cfg.DataDir) == 0 {
				if err := checkMachine(cmd.Context(), cfg, installSpace); err != nil {
					return err
				}
			}
			return a.startUndercloud(cmd.Context(), f, cfg)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&localIP, "local-ip", "", "address of this machine, with or without its prefix")
	fl.StringVar(&f.dataDir, "output-dir", "", "folder of everything the undercloud keeps (default "+undercloud.DefaultDataDir()+")")
	fl.StringVar(&f.config, "config", "", "configuration file (YAML)")
	_ = cmd.MarkFlagRequired("local-ip")
	const program = "the undercloud is this program, not a stack"
	for _, name := range []string{"templates", "roles-file", "heat-container-image", "heat-user", "local-domain", "heat-api-port", "timeout"} {
		_ = fl.StringP(name, map[string]string{"roles-file": "r", "timeout": "t"}[name], "", "no effect")
		_ = fl.MarkDeprecated(name, program+"; it has no effect")
	}
	_ = fl.StringArrayP("environment-file", "e", nil, "no effect")
	_ = fl.MarkDeprecated("environment-file", program+"; it has no effect")
	for name, short := range map[string]string{"heat-native": "", "keep-running": "k"} {
		_ = fl.BoolP(name, short, false, "no effect")
		_ = fl.MarkDeprecated(name, program+"; it has no effect")
	}
	return cmd
}
