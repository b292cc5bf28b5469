package switches_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/network/switches"
)

// slow is a switch whose calls wait until they are let go on.
type slow struct {
	begun chan []string // the ports of each call
	on    chan error    // what each call answers
	after func(ports []string) error
}

func (s *slow) SetPort(ctx context.Context, port switches.Port, v switches.VLANs) error {
	return s.SetPorts(ctx, []switches.Change{{Port: port, VLANs: v}})
}

func (s *slow) SetPorts(_ context.Context, changes []switches.Change) error {
	var names []string
	for _, c := range changes {
		names = append(names, c.Port.Name)
	}
	if s.after != nil {
		return s.after(names)
	}
	s.begun <- names
	return <-s.on
}

// TestWhoWaitsForASessionGoesTogether: one call is under way, the others wait
// for it and then share the next.
func TestWhoWaitsForASessionGoesTogether(t *testing.T) {
	d := &slow{begun: make(chan []string), on: make(chan error)}
	f, err := switches.NewFabric([]switches.Switch{{Name: "leaf1", Driver: d}})
	if err != nil {
		t.Fatal(err)
	}
	sw := f.Named("leaf1")
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]string{}
	set := func(ctx context.Context, port string) {
		wg.Go(func() {
			err := sw.Set(ctx, switches.Port{Name: port}, switches.VLANs{Untagged: 5})
			mu.Lock()
			defer mu.Unlock()
			got[port] = fmt.Sprint(err)
		})
	}
	set(t.Context(), "p0")
	if diff := cmp.Diff([]string{"p0"}, <-d.begun); diff != "" {
		t.Error(diff)
	}
	gone, cancel := context.WithCancel(t.Context())
	set(gone, "left")
	for i := range 70 {
		set(t.Context(), fmt.Sprintf("p%d", i+1))
	}
	for sw.Waiting() < 71 {
		// they are on their way
	}
	cancel()
	for sw.Waiting() > 70 {
		// it leaves
	}
	d.on <- nil
	second := <-d.begun
	d.on <- errors.New("busy")
	third := <-d.begun
	d.on <- nil
	wg.Wait()
	if len(second) != switches.MaxTogether || len(third) != 70-switches.MaxTogether {
		t.Errorf("calls for %d and %d ports, expected %d and the rest", len(second), len(third), switches.MaxTogether)
	}
	want := map[string]string{"p0": "<nil>", "left": "context canceled"}
	for _, p := range second {
		want[p] = "busy"
	}
	for _, p := range third {
		want[p] = "<nil>"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOneThatIsRefusedSpoilsNoOther: a switch refuses a call as a whole.
func TestOneThatIsRefusedSpoilsNoOther(t *testing.T) {
	d := &slow{begun: make(chan []string), on: make(chan error)}
	f, err := switches.NewFabric([]switches.Switch{{Name: "leaf1", Driver: d}})
	if err != nil {
		t.Fatal(err)
	}
	sw := f.Named("leaf1")
	errs := make([]error, 4)
	var wg sync.WaitGroup
	set := func(i int) {
		wg.Go(func() {
			errs[i] = sw.Set(t.Context(), switches.Port{Name: fmt.Sprintf("p%d", i)}, switches.VLANs{Untagged: 5})
		})
	}
	set(0)
	<-d.begun
	for i := 1; i < 4; i++ {
		set(i)
	}
	for sw.Waiting() < 3 {
		// they are on their way
	}
	d.after = func(ports []string) error {
		for _, p := range ports {
			if p == "p2" {
				return fmt.Errorf("%w: no interface p2", switches.ErrRefused)
			}
		}
		return nil
	}
	d.on <- nil
	wg.Wait()
	for i, err := range errs {
		if (err != nil) != (i == 2) {
			t.Errorf("p%d: %v", i, err)
		}
	}
}
