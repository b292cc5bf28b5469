package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func newExecuteCommand(a *app) *cobra.Command {
	var server, group string
	cmd := a.verb("execute FILE", "Run a file on servers and show what it says", cobra.ExactArgs(1), func(ctx context.Context, o *operator, args []string) error {
		text, err := readFile(args[0])
		if err != nil {
			return err
		}
		_, err = o.runShowing(ctx, "tripleo.deployment.v1.deploy_on_servers", map[string]any{"server_name": server, "config": text,
			"config_name": filepath.Base(args[0]), "group": group, "queue_name": defaultQueue}, func(m message) {
			if m.typ != "tripleo.deployment.v1.deploy_on_server" || lookup(m.payload, "status_code") == nil {
				return
			}
			_, _ = fmt.Fprintf(a.stdout, "%s: exit code %s\n", str(lookup(m.payload, "server_name")), str(lookup(m.payload, "status_code")))
			for _, k := range []string{"stdout", "stderr"} {
				if t := strings.TrimRight(str(lookup(m.payload, k)), "\n"); t != "" {
					_, _ = fmt.Fprintf(a.stdout, "  %s:\n    %s\n", k, indent(t))
				}
			}
		})
		return err
	})
	cmd.Flags().StringVarP(&server, "server_name", "s", "", "servers whose name has this text; all for every server")
	cmd.Flags().StringVarP(&group, "group", "g", "script", "hook that runs the file: script, puppet, ansible, …")
	_ = cmd.MarkFlagRequired("server_name")
	return cmd
}

type reportFlags struct {
	container, dir                       string
	timeout, concurrency                 int
	keepContainer, collectOnly, loadOnly bool
}

func newSupportCommand(a *app) *cobra.Command {
	f := &reportFlags{}
	collect := a.verb("collect SERVER", "Collect reports of servers and download them", cobra.ExactArgs(1), func(ctx context.Context, o *operator, args []string) error {
		return o.collectReport(ctx, args[0], f)
	})
	collect.Long = "Collect reports (sos, or logs and states) of the servers whose name has the text SERVER, \"all\" for every server, and download them."
	fl := collect.Flags()
	fl.StringVarP(&f.container, "container", "c", "overcloud_support", "container for the reports")
	fl.StringVarP(&f.dir, "output", "o", "support_logs", "folder for the reports")
	fl.BoolVar(&f.keepContainer, "skip-container-delete", false, "leave the container when all is downloaded")
	fl.IntVarP(&f.timeout, "timeout", "t", 1800, "seconds to wait for the servers")
	fl.IntVarP(&f.concurrency, "concurrency", "n", 5, "how many servers at a time")
	fl.BoolVar(&f.collectOnly, "collect-only", false, "leave the reports in the container")
	fl.BoolVar(&f.loadOnly, "download-only", false, "download what the container has")
	collect.MarkFlagsMutuallyExclusive("collect-only", "download-only")
	report := &cobra.Command{Use: "report", Short: "Reports of servers"}
	report.AddCommand(collect)
	cmd := &cobra.Command{Use: "support", Short: "What those who help ask for"}
	cmd.AddCommand(report)
	return cmd
}

func (o *operator) collectReport(ctx context.Context, server string, f *reportFlags) error {
	if !f.loadOnly {
		if _, err := o.run(ctx, "tripleo.support.v1.fetch_logs", map[string]any{"server_name": server, "container": f.container,
			"timeout": f.timeout, "concurrency": f.concurrency, "queue_name": defaultQueue}); err != nil {
			return err
		}
	}
	if f.collectOnly {
		return nil
	}
	names, err := o.download(ctx, f.container, f.dir, nil)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(o.a.stdout, "%d files are in %s\n", len(names), f.dir)
	if f.keepContainer {
		return nil
	}
	_, err = o.run(ctx, "tripleo.support.v1.delete_container", map[string]any{"container": f.container, "concurrency": f.concurrency, "timeout": 900, "queue_name": defaultQueue})
	return err
}

// download writes the objects of a container below a folder, those that want takes (nil: all), and returns their names.
func (o *operator) download(ctx context.Context, container, dir string, want func(name string) bool) ([]string, error) {
	there, err := o.hasContainer(ctx, container)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, fmt.Errorf("there is no container %s", container)
	}
	names, err := o.listObjects(ctx, container)
	if err != nil {
		return nil, err
	}
	if want != nil {
		names = slices.DeleteFunc(names, func(n string) bool { return !want(n) })
	}
	for _, n := range names {
		if strings.HasSuffix(n, "/") {
			continue
		}
		if !filepath.IsLocal(filepath.FromSlash(n)) {
			return nil, fmt.Errorf("object %s/%s: the name leads out of the folder", container, n)
		}
		data, err := o.getObject(ctx, container, n)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", container, n, err)
		}
		file := filepath.Join(dir, filepath.FromSlash(n))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, err
		}
		if err := enoughSpace(filepath.Dir(file), len(data)); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// enoughSpace fails if a folder's disk has not size bytes left.
func enoughSpace(dir string, size int) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return err
	}
	if free := st.Bavail * uint64(st.Bsize); uint64(size) > free { //nolint:gosec // sizes are not negative
		return fmt.Errorf("%s has %d bytes left, %d are needed", dir, free, size)
	}
	return nil
}

func newConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Configuration of a deployed overcloud"}
	var types string
	stack, dir := "overcloud", ""
	load := a.verb("download", "Download the configuration of a deployed overcloud", cobra.NoArgs, func(ctx context.Context, o *operator, _ []string) error {
		if err := o.headStack(ctx, stack); err != nil {
			return err
		}
		if _, err := o.run(ctx, "tripleo.package_update.v1.get_config", map[string]any{"container": stack, "queue_name": defaultQueue}); err != nil {
			return err
		}
		base := dir
		if base == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return err
			}
			base = home
		}
		if err := os.MkdirAll(base, 0o700); err != nil {
			return err
		}
		target, err := os.MkdirTemp(base, "tripleo-*-config")
		if err != nil {
			return err
		}
		names, err := o.download(ctx, "overcloud-config", target, wantedConfig(types))
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return errors.Join(fmt.Errorf("the configuration has nothing of the types %s", types), os.Remove(target))
		}
		_, err = fmt.Fprintf(a.stdout, "The TripleO configuration has been successfully generated into: %s\n", target)
		return err
	})
	load.Flags().StringVar(&stack, "name", stack, "name of the stack")
	load.Flags().StringVar(&dir, "config-dir", "", "folder below which it is put (default: the home folder)")
	load.Flags().StringVar(&types, "config-type", "", "keys of role_data to take, separated by commas (default: all)")
	cmd.AddCommand(load)
	return cmd
}

// wantedConfig takes the files of some keys of role_data; nil takes all.
func wantedConfig(types string) func(name string) bool {
	if types == "" {
		return nil
	}
	keys := strings.Split(types, ",")
	return func(name string) bool {
		base := path.Base(name)
		return slices.Contains(keys, strings.TrimSuffix(base, path.Ext(base)))
	}
}
