package switches

import "runtime"

// Waiting tells how many ports wait for a session.
func (s *Switch) Waiting() int {
	runtime.Gosched()
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	return len(s.calls.waiting)
}

// ParseSwitched reads what a switch tells of a port.
var ParseSwitched = parseSwitched
