package engine

import (
	"sync"
	"time"
)

// A stack runs when something happened to one of its resources, and looks at all of them. Where they are many and finish
// one after the other, that is the number of resources times itself. So a large stack rests after a run, and what
// happens meanwhile is taken in together.
const (
	largeStack  = 256 // resources from which on a stack rests
	restFactor  = 4   // times as long as it ran
	longestRest = 2 * time.Second
)

// pace is when large stacks may run again.
type pace struct {
	mu   sync.Mutex
	next map[string]time.Time
}

// left is how long a stack still has to rest.
func (p *pace) left(id string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next[id].Sub(now)
}

// ran notes the end of a run of a stack with so many resources; over: there is nothing more to do.
func (p *pace) ran(id string, resources int, over bool, began, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if resources < largeStack || over {
		delete(p.next, id)
		return
	}
	if p.next == nil {
		p.next = map[string]time.Time{}
	}
	p.next[id] = now.Add(min(restFactor*now.Sub(began), longestRest))
}
