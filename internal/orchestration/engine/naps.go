package engine

import (
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/resources"
)

// naps remembers what resources in progress wait for. A stack runs as soon as one of its resources may go on; without
// this it would ask all the others too, and a group of n members would ask n times n questions. What is forgotten, by a
// restart too, is asked once more.
type naps struct {
	mu sync.Mutex
	m  map[string]nap // by the row's id
}

// nap is the outcome of a step that was not done.
type nap struct {
	op     int64
	begun  time.Time
	until  time.Time
	seq    uint64 // publication before the step
	topics []string
}

// maxNaps bounds what is remembered.
const maxNaps = 100_000

// put notes what a step asked for. Without topics a resource may be woken by anything, and is always asked.
func (n *naps) put(row *Row, s resources.Step, seq uint64, now time.Time, safety time.Duration) {
	if len(s.Topics) == 0 {
		n.drop(row.ID)
		return
	}
	again := s.Again
	if again <= 0 {
		again = safety
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.m == nil || len(n.m) >= maxNaps {
		n.m = map[string]nap{}
	}
	n.m[row.ID] = nap{op: row.Op, begun: row.Begun, until: now.Add(again), seq: seq, topics: s.Topics}
}

// drop has the resource asked when its stack runs next.
func (n *naps) drop(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.m, id)
}

func (n *naps) get(id string) (nap, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.m[id]
	return p, ok
}

// asleep tells whether a resource in progress need not be asked yet, and what it still waits for.
func (e *Engine) asleep(row *Row) (resources.Step, bool) {
	p, ok := e.naps.get(row.ID)
	if !ok || p.op != row.Op || !p.begun.Equal(row.Begun) {
		return resources.Step{}, false
	}
	left := p.until.Sub(e.now())
	if left <= 0 || e.cfg.Bus.Since(p.seq, p.topics...) {
		return resources.Step{}, false
	}
	return resources.Wait(left, p.topics...), true
}
