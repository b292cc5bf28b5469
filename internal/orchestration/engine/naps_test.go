package engine_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// TestMembersSleepWhileOthersReport: of a stack whose resources wait for reports, each report has one of them asked, and
// not all that wait: a group of n must not ask n times n questions.
func TestMembersSleepWhileOthersReport(t *testing.T) {
	const n = 40
	var mu sync.Mutex
	asked, reported := map[string]int{}, map[string]bool{}
	all := make(chan struct{})
	typ := &resources.Type{Name: "Test::Waiter", Create: func(ctx context.Context, r *resources.Resource) (resources.Step, error) {
		if err := r.SetID(ctx, r.Name); err != nil {
			return resources.Step{}, err
		}
		mu.Lock()
		defer mu.Unlock()
		asked[r.Name]++
		if asked[r.Name] == 1 && len(asked) == n {
			close(all)
		}
		if reported[r.Name] {
			return resources.Done(), nil
		}
		return resources.Wait(time.Hour, "test/"+r.Name), nil
	}}
	h := startHouse(t, storetest.Open(t), typ)
	var text strings.Builder
	text.WriteString("heat_template_version: queens\nresources:\n")
	for i := range n {
		fmt.Fprintf(&text, "  w%d: {type: Test::Waiter}\n", i)
	}
	st := h.create("s", text.String())
	<-all
	sub := h.bus.Subscribe("orchestration/stack/" + st.ID)
	defer sub.Close()
	for i := range n {
		name := fmt.Sprintf("w%d", i)
		mu.Lock()
		reported[name] = true
		mu.Unlock()
		h.bus.Publish("test/" + name)
		for h.rows(st.ID)[name].Status != "COMPLETE" {
			<-sub.C()
		}
	}
	h.wait(st.ID, "CREATE_COMPLETE")
	total := 0
	for _, k := range asked {
		total += k
	}
	if total > 3*n {
		t.Errorf("%d members were asked %d times, expected some %d", n, total, 2*n)
	}
}
