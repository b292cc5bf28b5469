package engine

import (
	"context"
	"slices"
	"time"

	"github.com/tripleo/tripleo/internal/store"
)

// Operation is one action of a stack from its beginning to its end.
type Operation struct {
	Number                 int // 1 is the first that the events still tell of
	Action, Status, Reason string
	Start, End             time.Time // End is zero while it goes on

	first, last int64 // events
}

// Span is the time one resource took in an operation.
type Span struct {
	StackID, StackName     string
	Name, Type             string
	Path, Pos              string
	PhysicalID             string
	Action, Status, Reason string
	Start, End             time.Time // End is the end of the operation, or now, where the resource's own is not known
	Wait                   time.Duration
	Critical               bool
	Depth                  int
}

// Timeline is when the resources of a tree of stacks worked during an operation. Critical are those that
// determined how long it took: each began when the one before it on the path had ended. Wait is how long a
// resource of the path could have begun but did not.
type Timeline struct {
	Operations []Operation
	Operation  Operation
	Spans      []*Span // in the order in which they began
	Critical   []*Span // from the first to the last; a nested stack is followed by its own path
}

// Timeline reads the timeline of an operation of a stack from its events; 0 is the last one.
func (e *Engine) Timeline(ctx context.Context, st *Stack, number int) (*Timeline, error) {
	tl := &Timeline{}
	b := timelineBuilder{open: map[string]*Span{}, byStack: map[string][]*Span{}, requires: map[string][]string{}}
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) error {
		err := readEvents(tx, "stack_id = ? AND resource_type = 'OS::Heat::Stack' AND physical_id = ? ORDER BY seq", []any{st.ID, st.ID}, func(ev *Event) bool {
			tl.operation(ev)
			return true
		})
		if err != nil || len(tl.Operations) == 0 {
			return err
		}
		tl.pick(number)
		stacks, err := ListStacks(tx, "root_id = ?", st.RootID)
		if err != nil {
			return err
		}
		b.within(st, stacks)
		last := tl.Operation.last
		if last == 0 {
			last = 1<<63 - 1
		}
		err = readEvents(tx, "root_id = ? AND seq >= ? AND seq <= ? ORDER BY seq", []any{st.RootID, tl.Operation.first, last}, func(ev *Event) bool {
			b.add(ev)
			return true
		})
		if err != nil {
			return err
		}
		return b.readRequires(tx)
	})
	if err != nil || len(tl.Operations) == 0 {
		return tl, err
	}
	end := tl.Operation.End
	if end.IsZero() {
		end = e.now()
	}
	for _, s := range b.open {
		s.End = end
	}
	tl.Spans = b.spans
	tl.Critical = b.critical(st.ID, tl.Operation.Start)
	return tl, nil
}

// operation takes in an event of the stack itself.
func (tl *Timeline) operation(ev *Event) {
	n := len(tl.Operations)
	if ev.Status == InProgress {
		tl.Operations = append(tl.Operations, Operation{Number: n + 1, Action: ev.Action, Status: ev.Status, Reason: ev.Reason, Start: ev.Created, first: ev.Seq})
		return
	}
	if n == 0 || !tl.Operations[n-1].End.IsZero() {
		return
	}
	o := &tl.Operations[n-1]
	o.Status, o.Reason, o.End, o.last = ev.Status, ev.Reason, ev.Created, ev.Seq
}

func (tl *Timeline) pick(number int) {
	tl.Operation = tl.Operations[len(tl.Operations)-1]
	if number > 0 && number <= len(tl.Operations) {
		tl.Operation = tl.Operations[number-1]
	}
	if tl.Operation.last == 0 && tl.Operation.Number < len(tl.Operations) { // another one took its place
		next := tl.Operations[tl.Operation.Number]
		tl.Operation.last, tl.Operation.End = next.first-1, next.Start
	}
}

type timelineBuilder struct {
	stacks   map[string]*Stack
	base     int // depth of the stack asked for
	open     map[string]*Span
	spans    []*Span
	byStack  map[string][]*Span
	requires map[string][]string // stack, resource -> names
}

// within keeps the stacks in and below st.
func (b *timelineBuilder) within(st *Stack, all []*Stack) {
	b.stacks, b.base = map[string]*Stack{st.ID: st}, st.Depth
	slices.SortFunc(all, func(x, y *Stack) int { return x.Depth - y.Depth })
	for _, s := range all {
		if b.stacks[s.ParentID] != nil {
			b.stacks[s.ID] = s
		}
	}
}

func (b *timelineBuilder) add(ev *Event) {
	st := b.stacks[ev.StackID]
	if st == nil || ev.ResourceType == "OS::Heat::Stack" && ev.PhysicalID == ev.StackID || ev.Action == "SIGNAL" || ev.Action == Init {
		return
	}
	key := ev.StackID + "/" + ev.ResourceName
	if ev.Status == InProgress {
		s := &Span{StackID: ev.StackID, StackName: st.Name, Name: ev.ResourceName, Type: ev.ResourceType, Path: ev.Path, Pos: ev.Pos, PhysicalID: ev.PhysicalID,
			Action: ev.Action, Status: ev.Status, Reason: ev.Reason, Start: ev.Created, End: ev.Created, Depth: st.Depth - b.base}
		if old := b.open[key]; old != nil {
			old.End = ev.Created // replaced
		}
		b.open[key] = s
		b.spans = append(b.spans, s)
		b.byStack[ev.StackID] = append(b.byStack[ev.StackID], s)
		return
	}
	s := b.open[key]
	if s == nil || s.Action != ev.Action {
		return
	}
	delete(b.open, key)
	s.Status, s.Reason, s.End = ev.Status, ev.Reason, ev.Created
	if ev.PhysicalID != "" {
		s.PhysicalID = ev.PhysicalID
	}
}

func (b *timelineBuilder) readRequires(tx *store.Tx) error {
	for id := range b.byStack {
		rows, err := FindBriefs(tx, "stack_id = ? AND replaced = 0", id)
		if err != nil {
			return err
		}
		for _, r := range rows {
			b.requires[id+"/"+r.Name] = r.Requires()
		}
	}
	return nil
}

// critical walks back from the span that ended last: before it comes, of what it had to wait for, the one
// that ended last. Where nothing is known of that any more, it is any that ended before it began.
func (b *timelineBuilder) critical(stackID string, start time.Time) []*Span {
	list := b.byStack[stackID]
	if len(list) == 0 {
		return nil
	}
	at := list[0]
	for _, s := range list {
		if !s.End.Before(at.End) {
			at = s
		}
	}
	var back []*Span
	for at != nil && !at.Critical {
		at.Critical = true
		back = append(back, at)
		before := b.before(list, at)
		since := start
		if before != nil {
			since = before.End
		}
		at.Wait = max(at.Start.Sub(since), 0)
		at = before
	}
	slices.Reverse(back)
	var out []*Span
	for _, s := range back {
		out = append(out, s)
		if b.stacks[s.PhysicalID] != nil {
			out = append(out, b.critical(s.PhysicalID, s.Start)...)
		}
	}
	return out
}

func (b *timelineBuilder) before(list []*Span, at *Span) *Span {
	names, known := b.requires[at.StackID+"/"+at.Name]
	forward := at.Action != Delete && at.Action != Suspend
	var best *Span
	for _, s := range list {
		if s == at || s.Critical || s.End.After(at.Start) {
			continue
		}
		if forward && known && !slices.Contains(names, s.Name) {
			continue
		}
		if best == nil || s.End.After(best.End) {
			best = s
		}
	}
	return best
}
