// Package timeline orders the tasks of an execution in time and finds its
// critical path: the chain of tasks each of which waited for the one before,
// back from the last to end. It is pure.
package timeline

import (
	"sort"
	"time"
)

// Task is a task execution. ID, By and Execution tie them together.
type Task struct {
	ID, Name, State string
	Execution       string
	Workflow        string
	Child           []string // executions it runs
	By              []string // tasks that led to it
	Created, Start  time.Time
	End             time.Time // zero: it runs
	Depth           int
	Critical        bool
}

// Of marks the critical path of the root execution in tasks, sorts them by
// their start, those of one start as they were given, and returns the ids along
// the path, first to last.
func Of(root string, tasks []*Task, now time.Time) []string {
	byID, byExec := map[string]*Task{}, map[string][]*Task{}
	for _, t := range tasks {
		byID[t.ID] = t
		byExec[t.Execution] = append(byExec[t.Execution], t)
	}
	end := func(t *Task) time.Time {
		if t.End.IsZero() {
			return now
		}
		return t.End
	}
	// Of tasks that end at once the one that began last is last, else the one that
	// was listed last: a task may take no time at all.
	last := func(list []*Task) (out *Task) {
		for _, t := range list {
			if out == nil || end(t).After(end(out)) || end(t).Equal(end(out)) && !t.Created.Before(out.Created) {
				out = t
			}
		}
		return out
	}
	var path []string
	seen := map[string]bool{}
	var walk func(t *Task)
	walk = func(t *Task) {
		for t != nil && !seen[t.ID] {
			seen[t.ID], t.Critical = true, true
			var below []*Task
			for _, c := range t.Child {
				below = append(below, byExec[c]...)
			}
			walk(last(below))
			path = append(path, t.ID)
			var before []*Task
			for _, id := range t.By {
				if b := byID[id]; b != nil {
					before = append(before, b)
				}
			}
			t = last(before)
		}
	}
	walk(last(byExec[root]))
	sort.SliceStable(tasks, func(i, j int) bool {
		a, b := tasks[i], tasks[j]
		if !a.Created.Equal(b.Created) {
			return a.Created.Before(b.Created)
		}
		return a.Depth < b.Depth
	})
	order := map[string]int{}
	for i, t := range tasks {
		order[t.ID] = i
	}
	sort.SliceStable(path, func(i, j int) bool { return order[path[i]] < order[path[j]] })
	return path
}
