// Package cli is the operator's command line: `tripleo undercloud …`,
// `tripleo overcloud …` and `tripleo lab …`. It reaches an undercloud only
// through its REST APIs; `tripleo undercloud up` alone is the server itself.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// app is what every command needs of its surroundings.
type app struct {
	stdout, stderr io.Writer
	cloudName      string // --os-cloud
	clientAPI      string // --os-tripleoclient-api-version
	noProgress     bool   // --no-progress: plain lines, no live ones
}

// exitError ends the program with a code of its own; its text, if any, has
// been shown already.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// Main runs the command line args (without the program's name) and returns
// the exit code: 0 for success, 1 for a failure or wrong usage, what the command
// says of itself (exitError), 130 when interrupted.
func Main(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{stdout: stdout, stderr: stderr}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if home, err := os.UserHomeDir(); err == nil {
		if err := remember(root, home, time.Now(), args); err != nil {
			_, _ = fmt.Fprintln(stderr, "WARNING: history:", err)
		}
	}
	err := root.ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		_, _ = fmt.Fprintln(stderr, "interrupted")
		return 130
	default:
		_, _ = fmt.Fprintln(stderr, "tripleo:", err)
		return 1
	}
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "tripleo",
		Short:         "Deploy OpenStack on bare metal with OpenStack",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&a.cloudName, "os-cloud", os.Getenv("OS_CLOUD"),
		"cloud of clouds.yaml to talk to (environment OS_CLOUD); without it the OS_* variables count, else the cloud \"undercloud\"")
	root.PersistentFlags().StringVar(&a.clientAPI, "os-tripleoclient-api-version", firstNonEmpty(os.Getenv("OS_TRIPLEOCLIENT_API_VERSION"), "1"),
		"version of the commands (environment OS_TRIPLEOCLIENT_API_VERSION); there is 1")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if a.clientAPI != "1" {
			return fmt.Errorf("--os-tripleoclient-api-version is %q, there is only 1", a.clientAPI)
		}
		return nil
	}
	root.AddCommand(newUndercloudCommand(a), newOvercloudCommand(a), newStackCommand(a), newLabCommand(a), newWorkflowCommand(a), newValidationCommand(a),
		newTopConfigCommand(a), newTopContainerCommand(a))
	for _, c := range root.Commands() {
		refuseUnknown(c)
	}
	return root
}

// refuseUnknown makes a verb that a group of commands does not have an error, which cobra does for the root only: a
// script with a mistyped verb must not take the group's help for success.
func refuseUnknown(group *cobra.Command) {
	for _, c := range group.Commands() {
		refuseUnknown(c)
	}
	if !group.HasSubCommands() || group.Runnable() {
		return
	}
	group.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q for %q: run '%s --help'", args[0], cmd.CommandPath(), cmd.CommandPath())
		}
		return cmd.Help()
	}
}
