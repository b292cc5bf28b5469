package cli

import (
	"strings"
	"testing"
)

// TestValidationCommands lists, shows and runs validations against a real undercloud without a plan.
func TestValidationCommands(t *testing.T) {
	commandRig(t)
	mustRun(t, []string{"duplicate-macs", "network-ranges"}, "validation", "list", "--group", "pre-deployment")
	mustRun(t, []string{"Number of controllers"}, "validation", "show", "controller-count")
	mustRun(t, []string{"duplicate-macs", "PASSED"}, "validation", "run", "duplicate-macs", "--plan", "nowhere")
	out, err := tripleo(t, "validation", "run", "ctlplane-addresses")
	if err == nil || !strings.Contains(out, "FAILED") {
		t.Errorf("an undercloud without a provisioning network: %v\n%s", err, out)
	}
	if _, err := tripleo(t, "validation", "run", "no-such-validation"); err == nil || !strings.Contains(err.Error(), "there are") {
		t.Errorf("a validation that does not exist: %v", err)
	}
	for _, verb := range []string{"run", "list"} {
		if out, err := tripleo(t, "validation", verb, "--group", "pre-deploymnet"); err == nil || !strings.Contains(err.Error(), `no group of validations "pre-deploymnet"`) {
			t.Errorf("validation %s of a group that does not exist: %v\n%s", verb, err, out)
		}
	}
}
