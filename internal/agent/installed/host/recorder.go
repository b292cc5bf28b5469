package host

import (
	"context"
	"strings"
	"sync"
)

// Recorder is a Runner for tests and dry runs: it writes down what it is asked to run and answers from a function.
type Recorder struct {
	mu     sync.Mutex
	calls  []Command
	Answer func(c Command) (Result, error) // nil answers code 0
}

// Run implements Runner.
func (r *Recorder) Run(_ context.Context, c Command) (Result, error) {
	r.mu.Lock()
	r.calls = append(r.calls, c)
	r.mu.Unlock()
	if r.Answer == nil {
		return Result{}, nil
	}
	return r.Answer(c)
}

// Take returns the commands run since the last Take whose text starts with one of the prefixes (all, when none is given).
func (r *Recorder) Take(prefixes ...string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, c := range r.calls {
		text := c.String()
		keep := len(prefixes) == 0
		for _, p := range prefixes {
			keep = keep || strings.HasPrefix(text, p)
		}
		if keep {
			out = append(out, text)
		}
	}
	r.calls = nil
	return out
}
