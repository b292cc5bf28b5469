package jobs

import "time"

// Result says what becomes of a job after its handler has run.
type Result struct {
	kind   resultKind
	delay  time.Duration
	topics []string
	err    error
}

type resultKind int

const (
	resultDone resultKind = iota
	resultAfter
	resultFail
)

// Done ends the job; a Poke that came meanwhile runs it again.
func Done() Result { return Result{kind: resultDone} }

// After runs the job again after d.
func After(d time.Duration) Result { return Result{kind: resultAfter, delay: d} }

// Wait runs the job again as soon as one of the topics is published, and after
// atMost in any case. Publications since the handler began count.
func Wait(atMost time.Duration, topics ...string) Result {
	return Result{kind: resultAfter, delay: atMost, topics: topics}
}

// Fail reports an error of the handler itself (not of the entity it drives,
// whose failure belongs in the store): the job is logged and run again with a
// growing delay, 1 s to 60 s.
func Fail(err error) Result { return Result{kind: resultFail, err: err} }
