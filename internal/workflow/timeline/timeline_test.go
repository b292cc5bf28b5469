package timeline

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCriticalPath(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	task := func(id, exec string, from, to int, by ...string) *Task {
		x := &Task{ID: id, Execution: exec, Created: at(from), Start: at(from), By: by}
		if to >= 0 {
			x.End = at(to)
		}
		return x
	}
	sub := task("sub", "r", 1, 9, "a")
	sub.Child = []string{"s"}
	tasks := []*Task{task("join", "r", 9, 10, "fast", "sub"), task("fast", "r", 1, 2, "a"), sub, task("a", "r", 0, 1),
		task("s2", "s", 3, 8, "s1"), task("s1", "s", 1, 3), task("s3", "s", 3, 4, "s1")}
	got := Of("r", tasks, at(20))
	if d := cmp.Diff([]string{"a", "sub", "s1", "s2", "join"}, got); d != "" {
		t.Error(d)
	}
	running := []*Task{task("done", "r", 0, 5), task("runs", "r", 0, -1)}
	if d := cmp.Diff([]string{"runs"}, Of("r", running, at(20))); d != "" {
		t.Errorf("what still runs is last: %s", d)
	}
	quick := []*Task{task("one", "r", 0, 0), task("two", "r", 0, 0, "one"), task("three", "r", 0, 0, "two")}
	if d := cmp.Diff([]string{"one", "two", "three"}, Of("r", quick, at(20))); d != "" {
		t.Errorf("tasks that take no time: %s", d)
	}
	if got := Of("r", nil, at(0)); got != nil {
		t.Errorf("no tasks: %v", got)
	}
}
