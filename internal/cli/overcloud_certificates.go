package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// newCertificatesCommand rotates what environments/ssl/enable-internal-tls.yaml gives nodes. Nothing happens to a node before
// the next deployment.
func newCertificatesCommand(a *app) *cobra.Command {
	plan := func(args []string) string {
		if len(args) > 0 {
			return args[0]
		}
		return "overcloud"
	}
	cmd := &cobra.Command{Use: "certificates", Short: "Certificates of the nodes of a plan with TLS everywhere"}
	rotate := a.verb("rotate [PLAN]", "Have every node take a new key and certificate at the next deployment", cobra.MaximumNArgs(1),
		func(ctx context.Context, o *operator, args []string) error {
			id := time.Now().UTC().Format("20060102-150405")
			_, err := o.action(ctx, "tripleo.parameters.update", map[string]any{"container": plan(args), "validate": false,
				"parameters": map[string]any{"InternalTLSRotateIdentifier": id}})
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(a.stdout, "The next deployment of plan %s gives its nodes new keys and certificates (InternalTLSRotateIdentifier is %s).\n", plan(args), id)
			return nil
		})
	authority := a.verb("rotate-authority [PLAN]", "Go one of three steps from a plan's certificate authority to the next", cobra.MaximumNArgs(1),
		func(ctx context.Context, o *operator, args []string) error {
			out, err := o.action(ctx, "tripleo.certificates.rotate_authority", map[string]any{"container": plan(args)})
			if err != nil {
				return err
			}
			name, until := fmt.Sprint(lookup(out, "authority")), fmt.Sprint(lookup(out, "not_after"))
			text := map[string]string{
				"trusted": "After the next deployment nodes trust the authority %q, too (until %s). Deploy, and run this again.\n",
				"signs":   "With the next deployment nodes get certificates of the authority %q (until %s). Deploy, and run this again.\n",
				"alone":   "After the next deployment nodes trust the authority %q (until %s) only. Deploy.\n",
			}[fmt.Sprint(lookup(out, "state"))]
			_, _ = fmt.Fprintf(a.stdout, text, name, until)
			return nil
		})
	authority.Long = "Go one step from a plan's certificate authority to the next, with a deployment after each of three: the new one is trusted, it signs, " +
		"the old one is trusted no more. So no node meets a certificate that it does not trust yet. An authority of yours " +
		"(InternalTLSCACertificate, InternalTLSCAKey) in a deployment is the first step."
	cmd.AddCommand(rotate, authority)
	return cmd
}
