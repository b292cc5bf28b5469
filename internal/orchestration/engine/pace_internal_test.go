package engine

import (
	"testing"
	"time"
)

// TestLargeStacksRest: after a run a large stack rests four times as long, but never longer than two seconds, and only
// while it has something to do.
func TestLargeStacksRest(t *testing.T) {
	at := time.Unix(1000, 0)
	for _, tc := range []struct {
		reason    string
		resources int
		over      bool
		ran, want time.Duration
	}{
		{"small stacks do not rest", largeStack - 1, false, time.Second, 0},
		{"large ones do", largeStack, false, 100 * time.Millisecond, 400 * time.Millisecond},
		{"not for long", largeStack, false, time.Minute, longestRest},
		{"not when all is done", largeStack, true, time.Minute, 0},
	} {
		var p pace
		p.ran("s", largeStack, false, at, at.Add(time.Hour)) // an earlier run leaves nothing
		p.ran("s", tc.resources, tc.over, at, at.Add(tc.ran))
		if got := max(p.left("s", at.Add(tc.ran)), 0); got != tc.want {
			t.Errorf("%s: rests %v, expected %v", tc.reason, got, tc.want)
		}
	}
}
