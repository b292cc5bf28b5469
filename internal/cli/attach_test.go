package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/orchestration/v1/stacks"
)

// trigger is an output that does something when a text has come.
type trigger struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	on   string
	once sync.Once
	do   func()
}

func (w *trigger) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.buf.Write(p)
	if strings.Contains(w.buf.String(), w.on) {
		w.once.Do(w.do)
	}
	return n, err
}

// TestDetachAndAttach: an interrupt leaves the deployment alone, and --attach follows it to its end. A hook holds the
// deployment until it is followed again.
func TestDetachAndAttach(t *testing.T) {
	commandRig(t)
	write(t, ".", map[string]string{
		"tht/plan-environment.yaml": "template: overcloud.yaml\nenvironments: [{path: base.yaml}]\n",
		"tht/base.yaml":             "resource_registry: {resources: {Thing: {hooks: pre-create}}}\n",
		"tht/roles_data.yaml":       "- name: Controller\n",
		"tht/overcloud.yaml":        "heat_template_version: queens\nresources:\n  Thing: {type: OS::Heat::Value, properties: {value: 1}}\n",
	})
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	run := func(ctx context.Context, on string, do func(), args ...string) (string, error) {
		out := &trigger{on: on, do: do}
		root := newRoot(&app{stdout: out, stderr: out})
		root.SetArgs(append([]string{"overcloud", "deploy"}, args...))
		err := root.ExecuteContext(ctx)
		return out.buf.String(), err
	}
	out, err := run(ctx, "stage ", interrupt, "--templates", "tht", "--disable-validations", "-t", "5")
	var exit exitError
	if !errors.As(err, &exit) || exit.code != 130 || !strings.Contains(out, "detached; the deployment goes on") {
		t.Fatalf("interrupted: %v\n%s", err, out)
	}
	if out, err := tripleo(t, "overcloud", "deploy", "--templates", "tht", "--disable-validations"); err == nil || !strings.Contains(err.Error(), "--attach") {
		t.Errorf("a second deployment: %v\n%s", err, out)
	}
	o := testOperator(t)
	heat, err := o.s.Orchestration()
	if err != nil {
		t.Fatal(err)
	}
	release := func() {
		found, err := stacks.Find(t.Context(), heat, "overcloud").Extract()
		if err != nil {
			t.Error(err)
			return
		}
		if _, _, err := o.call(t.Context(), heat, "POST", heat.ServiceURL("stacks", found.Name, found.ID, "resources", "Thing", "signal"), map[string]any{"unset_hook": "pre-create"}, nil); err != nil {
			t.Error(err)
		}
	}
	out, err = run(t.Context(), "attached to the deployment of overcloud", release, "--attach")
	if err != nil || !strings.Contains(out, "Overcloud deployed.") || !strings.Contains(out, "stage ") {
		t.Errorf("attached: %v\n%s", err, out)
	}
}
