package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tripleo/tripleo/internal/orchestration/engine"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// disk is a resource with contents of its own: it can be copied and goes back to a copy. It writes down what
// is done to it.
type disk struct {
	mu    sync.Mutex
	calls []string
}

func (d *disk) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, fmt.Sprintf(format, args...))
}

func (d *disk) take() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := strings.Join(d.calls, " ")
	d.calls = nil
	return s
}

func (d *disk) typ() *resources.Type {
	step := func(what string) func(context.Context, *resources.Resource) (resources.Step, error) {
		return func(_ context.Context, r *resources.Resource) (resources.Step, error) {
			if what == "create" {
				r.PhysicalID = "disk-" + r.Name
			}
			if what == "copy" {
				r.Snapshot = map[string]any{"from": "copy-of-" + r.Name}
			}
			d.note("%s-%s", what, r.Name)
			return resources.Done(), nil
		}
	}
	return &resources.Type{Name: "Test::Disk", Props: []resources.Prop{{Name: "image", Kind: resources.String, Update: true}},
		Create: step("create"), Update: step("update"), Delete: step("delete"), Suspend: step("suspend"), Resume: step("resume"), Snapshot: step("copy"),
		DropSnapshot: func(_ context.Context, r *resources.Resource) error {
			d.note("drop-%v", r.Snapshot["from"])
			return nil
		},
		Restore: func(r *resources.Resource, props *resources.Map) { props.Set("image", r.Snapshot["from"]) }}
}

func (h *house) act(id, action, want string) {
	h.tb.Helper()
	if _, err := h.e.Act(context.Background(), id, action); err != nil {
		h.tb.Fatal(err)
	}
	h.wait(id, want)
}

func TestOrderCopiesAndPolicies(t *testing.T) {
	d := &disk{}
	h := startHouse(t, storetest.Open(t), d.typ())
	st := h.create("s", `heat_template_version: queens
resources:
  a: {type: Test::Disk, properties: {image: plain}}
  b: {type: Test::Disk, depends_on: a, deletion_policy: Retain}
  c: {type: Test::Disk, depends_on: b, deletion_policy: Snapshot}
`)
	h.wait(st.ID, "CREATE_COMPLETE")
	check := func(reason, want string) {
		t.Helper()
		if got := d.take(); got != want {
			t.Errorf("%s: %s, want %s", reason, got, want)
		}
	}
	check("in the order of the graph", "create-a create-b create-c")
	h.act(st.ID, engine.Suspend, "SUSPEND_COMPLETE")
	check("suspended from the end", "suspend-c suspend-b suspend-a")
	h.act(st.ID, engine.Suspend, "SUSPEND_COMPLETE")
	check("suspended already", "")
	h.act(st.ID, engine.Resume, "RESUME_COMPLETE")
	check("resumed from the beginning", "resume-a resume-b resume-c")
	snap, err := h.e.TakeSnapshot(context.Background(), st.ID, "one")
	if err != nil {
		t.Fatal(err)
	}
	h.wait(st.ID, "SNAPSHOT_COMPLETE")
	check("copied", "copy-a copy-b copy-c")
	if err := h.e.RestoreSnapshot(context.Background(), st.ID, snap.ID); err != nil {
		t.Fatal(err)
	}
	h.wait(st.ID, "RESTORE_COMPLETE")
	check("back to the copies", "update-a update-b update-c")
	if v, _ := h.rows(st.ID)["a"].Def().Props.Get("image"); v != "copy-of-a" {
		t.Errorf("a went back to %v", v)
	}
	if _, err := h.e.DeleteStack(context.Background(), st.ID, false); err != nil {
		t.Fatal(err)
	}
	h.wait(st.ID, "DELETE_COMPLETE")
	got := strings.Fields(d.take())
	if want := []string{"copy-c", "delete-c", "delete-a"}; len(got) < 3 || !slices.Equal(got[:3], want) {
		t.Errorf("deleted by policy: %v, want %v first", got, want)
	}
	slices.Sort(got)
	if want := []string{"copy-c", "delete-a", "delete-c", "drop-copy-of-a", "drop-copy-of-b", "drop-copy-of-c"}; !slices.Equal(got, want) {
		t.Errorf("the copies of the snapshot went too: %v, want %v", got, want)
	}
	src := source(t, "heat_template_version: queens\nresources: {v: {type: OS::Heat::RandomString, deletion_policy: Snapshot}}\n")
	if _, err := h.e.CreateStack(context.Background(), "t", src, engine.Options{ProjectID: "p"}); err == nil || !strings.Contains(err.Error(), "root.yaml:2:") || !strings.Contains(err.Error(), "deletion policy not supported") {
		t.Errorf("a deletion policy that the type does not know: %v", err)
	}
}

// paused waits until a resource waits at a hook.
func (h *house) paused(stackID, name, hook string) *engine.Row {
	h.tb.Helper()
	sub := h.bus.Subscribe("orchestration/stack/" + stackID)
	defer sub.Close()
	for {
		if row := h.rows(stackID)[name]; row != nil && row.Hook() == hook {
			return row
		}
		select {
		case <-sub.C():
		case <-h.tb.Context().Done():
			h.tb.Fatalf("%s never waited at %s\n%s", name, hook, h.dump(stackID))
		}
	}
}

// TestHooksOutliveTheProcess pauses at every hook there is, and kills the process while it waits.
func TestHooksOutliveTheProcess(t *testing.T) {
	d := &disk{}
	db := storetest.Open(t)
	h := startHouse(t, db, d.typ())
	text := func(image string) string {
		return "heat_template_version: queens\nresources:\n  a: {type: Test::Disk, properties: {image: " + image + "}}\n  b: {type: Test::Disk, depends_on: a}\n" +
			"-- env.yaml --\nresource_registry: {resources: {a: {hooks: [pre-create, post-create, pre-update, post-update, pre-delete, post-delete]}}}\n"
	}
	pass := func(stackID, hook, before string) {
		t.Helper()
		h.paused(stackID, "a", hook)
		h.stop()
		h = startHouse(t, db, d.typ())
		row := h.paused(stackID, "a", hook)
		if got := d.take(); got != before {
			t.Errorf("before %s was done: %q, want %q", hook, got, before)
		}
		if err := h.e.ClearHook(context.Background(), row, "pre-"+hook); err == nil {
			t.Error("a hook that does not exist was cleared")
		}
		if err := h.e.ClearHook(context.Background(), row, hook); err != nil {
			t.Fatal(err)
		}
	}
	st := h.create("s", text("one"))
	pass(st.ID, "pre-create", "")
	pass(st.ID, "post-create", "create-a")
	h.wait(st.ID, "CREATE_COMPLETE")
	d.take()
	h.update(st.ID, text("two"))
	pass(st.ID, "pre-update", "")
	pass(st.ID, "post-update", "update-a")
	h.wait(st.ID, "UPDATE_COMPLETE")
	d.take()
	if _, err := h.e.DeleteStack(context.Background(), st.ID, false); err != nil {
		t.Fatal(err)
	}
	pass(st.ID, "pre-delete", "delete-b")
	pass(st.ID, "post-delete", "delete-a")
	h.wait(st.ID, "DELETE_COMPLETE")
}

// TestAbandonAndAdopt moves a tree of stacks: nothing is made, deleted or lost on the way.
func TestAbandonAndAdopt(t *testing.T) {
	d := &disk{}
	h := startHouse(t, storetest.Open(t), d.typ())
	text := "heat_template_version: queens\nresources:\n  a: {type: Test::Disk}\n  n: {type: inner.yaml}\noutputs: {secret: {value: {get_attr: [n, secret]}}}\n" +
		"-- inner.yaml --\nheat_template_version: queens\nresources:\n  low: {type: Test::Disk}\n  r: {type: OS::Heat::RandomString}\noutputs: {secret: {value: {get_attr: [r, value]}}}\n"
	st := h.wait(h.create("s", text).ID, "CREATE_COMPLETE")
	before := outputsText(st)
	data, err := h.e.Export(context.Background(), st)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.e.DeleteStack(context.Background(), st.ID, true); err != nil {
		t.Fatal(err)
	}
	h.wait(st.ID, "DELETE_COMPLETE")
	d.take()
	again, err := h.e.CreateStack(context.Background(), "s", source(t, text), engine.Options{ProjectID: "p", Adopt: data})
	if err != nil {
		t.Fatal(err)
	}
	end := h.wait(again.ID, "ADOPT_COMPLETE")
	if got := outputsText(end); got != before {
		t.Errorf("outputs %q, want %q", got, before)
	}
	if got := d.take(); got != "" {
		t.Errorf("adoption did %s", got)
	}
	list, _ := data.Get("resources")
	list.(*engine.Map).Delete("a")
	lost, err := h.e.CreateStack(context.Background(), "u", source(t, text), engine.Options{ProjectID: "p", Adopt: data})
	if err != nil {
		t.Fatal(err)
	}
	if st := h.wait(lost.ID, "ADOPT_FAILED"); !strings.Contains(st.Reason, "Resource ID was not provided.") {
		t.Errorf("reason %q", st.Reason)
	}
}
