// Command tripleo-agent runs on the servers: "tripleo-agent ramdisk" in the deployment ramdisk, where it is the
// first process, and "tripleo-agent run" in the installed system.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/agent/installed"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
	"github.com/tripleo/tripleo/internal/agent/installed/oac"
	"github.com/tripleo/tripleo/internal/agent/ramdisk"
)

func main() {
	if err := run(os.Args); err != nil {
		if code, ok := errors.AsType[oac.ExitError](err); ok {
			os.Exit(int(code))
		}
		fmt.Fprintln(os.Stderr, "tripleo-agent:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if os.Getpid() == 1 && len(args) == 1 || filepath.Base(args[0]) == "init" {
		return ramdisk.Main(context.Background(), os.Stderr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if filepath.Base(args[0]) == "os-apply-config" { // the name under which scripts of operators call it
		cmd := oac.Command(host.NewReal("/"))
		cmd.SetArgs(args[1:])
		return cmd.ExecuteContext(ctx)
	}
	return newCommand().ExecuteContext(ctx)
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "tripleo-agent",
		Short:         "What runs on a server: inspects and deploys it in the ramdisk, configures it afterwards",
		Version:       ramdisk.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(&cobra.Command{
		Use:   "ramdisk",
		Short: "Inspect the machine and serve Ironic, as ironic-python-agent does",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return ramdisk.Main(cmd.Context(), os.Stderr) },
	}, newRunCommand(), newJoinCommand(), oac.Command(host.NewReal("/")))
	return root
}

func newRunCommand() *cobra.Command {
	var o installed.Options
	var debug bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Collect the node's metadata, apply it and signal the results",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if debug {
				level = slog.LevelDebug
			}
			o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
			return installed.Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Once, "once", false, "collect once, apply, signal and return")
	f.BoolVar(&o.AllowApt, "allow-apt", false, "install missing packages from the node's package sources")
	f.StringVar(&o.ConfigDrive, "config-drive", "", "device, image file or directory (default: the device labelled config-2)")
	f.StringVar(&o.MetadataURL, "metadata-url", "", "overrides the metadata URL of the config drive")
	f.BoolVar(&debug, "debug", false, "log more")
	return cmd
}

func newJoinCommand() *cobra.Command {
	var o installed.JoinOptions
	cmd := &cobra.Command{
		Use:   "join URL|CONFIG",
		Short: "Make this machine a node of a stack: install the agent and start it",
		Long: "Make this machine, which somebody else installed, a node of a stack: install the agent and start it.\n\n" +
			"URL is the address of its metadata; CONFIG is its os_collect_config in base64. `tripleo overcloud node join` prints the command with them.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Out = cmd.OutOrStdout()
			return installed.Join(cmd.Context(), args[0], o)
		},
	}
	cmd.Flags().BoolVar(&o.NoStart, "no-start", false, "write the files, do not start the agent")
	return cmd
}
