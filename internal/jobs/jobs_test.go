package jobs_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

func newQueue(t testing.TB, db *store.DB, bus *notify.Bus) *jobs.Queue {
	t.Helper()
	q, err := jobs.New(db, bus, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// start runs the queue until stop is called.
func start(t testing.TB, q *jobs.Queue) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := q.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func poke(t testing.TB, db *store.DB, q *jobs.Queue, key string) {
	t.Helper()
	if err := db.Tx(t.Context(), func(tx *store.Tx) error { return q.Poke(tx, "k", key, nil) }); err != nil {
		t.Fatal(err)
	}
}

func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came within 10 s")
		panic("unreachable")
	}
}

func TestPokeWhileRunningRunsOnceMore(t *testing.T) {
	storetest.Each(t, testPokeWhileRunningRunsOnceMore)
}

func testPokeWhileRunningRunsOnceMore(t *testing.T, db *store.DB) {
	bus := notify.New()
	q := newQueue(t, db, bus)
	entered, leave := make(chan int, 10), make(chan struct{})
	var parallel, runs atomic.Int32
	q.Register("k", 8, func(context.Context, jobs.Job) jobs.Result {
		if parallel.Add(1) > 1 {
			t.Error("two handlers of one key run at the same time")
		}
		defer parallel.Add(-1)
		entered <- int(runs.Add(1))
		<-leave
		return jobs.Done()
	})
	start(t, q)
	poke(t, db, q, "a")
	receive(t, entered)
	for range 5 {
		poke(t, db, q, "a") // five pokes merge into one more run
	}
	leave <- struct{}{}
	if n := receive(t, entered); n != 2 {
		t.Errorf("run %d, expected 2", n)
	}
	close(leave)
}

func TestWaitIsWokenByTopicPublishedDuringRun(t *testing.T) {
	storetest.Each(t, testWaitIsWokenByTopicPublishedDuringRun)
}

func testWaitIsWokenByTopicPublishedDuringRun(t *testing.T, db *store.DB) {
	bus := notify.New()
	q := newQueue(t, db, bus)
	ran := make(chan int, 10)
	n := 0
	q.Register("k", 1, func(context.Context, jobs.Job) jobs.Result {
		n++
		ran <- n
		if n == 1 {
			bus.Publish("x/1") // before the wait is known to the queue
			return jobs.Wait(time.Hour, "x/1")
		}
		if n == 2 {
			return jobs.Wait(time.Hour, "x/2")
		}
		return jobs.Done()
	})
	start(t, q)
	poke(t, db, q, "a")
	receive(t, ran)
	receive(t, ran)
	for { // publish until the third run: the wait begins some time after the second
		bus.Publish("x/2")
		select {
		case <-ran:
			return
		case <-time.After(5 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("never woken")
		}
	}
}

func TestInterruptedAndWaitingJobsRunAfterRestart(t *testing.T) {
	storetest.Each(t, testInterruptedAndWaitingJobsRunAfterRestart)
}

func testInterruptedAndWaitingJobsRunAfterRestart(t *testing.T, db *store.DB) {
	first := newQueue(t, db, notify.New())
	entered := make(chan string, 4)
	first.Register("k", 4, func(ctx context.Context, j jobs.Job) jobs.Result {
		entered <- j.Key
		if j.Key == "waiting" {
			return jobs.Wait(time.Hour, "never")
		}
		<-ctx.Done()
		return jobs.Fail(ctx.Err())
	})
	stop := start(t, first)
	poke(t, db, first, "interrupted")
	poke(t, db, first, "waiting")
	receive(t, entered)
	receive(t, entered)
	stop()

	second := newQueue(t, db, notify.New())
	got := make(chan string, 4)
	second.Register("k", 4, func(_ context.Context, j jobs.Job) jobs.Result {
		got <- j.Key
		return jobs.Done()
	})
	start(t, second)
	seen := map[string]bool{receive(t, got): true, receive(t, got): true}
	if !seen["interrupted"] || !seen["waiting"] {
		t.Errorf("ran %v after the restart, expected both jobs", seen)
	}
}

func TestFailedAndPanickingJobsAreTriedAgain(t *testing.T) {
	storetest.Each(t, testFailedAndPanickingJobsAreTriedAgain)
}

func testFailedAndPanickingJobsAreTriedAgain(t *testing.T, db *store.DB) {
	q := newQueue(t, db, notify.New())
	attempts := make(chan int, 4)
	q.Register("k", 1, func(_ context.Context, j jobs.Job) jobs.Result {
		attempts <- j.Attempt
		if j.Attempt == 0 {
			panic("first run breaks")
		}
		return jobs.Done()
	})
	start(t, q)
	poke(t, db, q, "a")
	if a, b := receive(t, attempts), receive(t, attempts); a != 0 || b != 1 {
		t.Errorf("attempts %d, %d, expected 0, 1", a, b)
	}
}

func BenchmarkPokeToRun(b *testing.B) {
	db := storetest.Open(b)
	q := newQueue(b, db, notify.New())
	ran := make(chan struct{})
	q.Register("k", 1, func(context.Context, jobs.Job) jobs.Result { ran <- struct{}{}; return jobs.Done() })
	start(b, q)
	for b.Loop() {
		poke(b, db, q, "a")
		<-ran
	}
}

// BenchmarkPokeToRunAmongMany is BenchmarkPokeToRun where 5,000 jobs wait for something else.
func BenchmarkPokeToRunAmongMany(b *testing.B) {
	db := storetest.Open(b)
	q := newQueue(b, db, notify.New())
	ran := make(chan struct{})
	q.Register("k", 1, func(context.Context, jobs.Job) jobs.Result { ran <- struct{}{}; return jobs.Done() })
	err := db.Tx(b.Context(), func(tx *store.Tx) error {
		for i := range 5000 {
			if err := q.PokeAt(tx, "k", "waits"+strconv.Itoa(i), nil, time.Now().Add(time.Hour)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	start(b, q)
	for b.Loop() {
		poke(b, db, q, "a")
		<-ran
	}
}

// TestFirstGoesBeforeOthers: a job that goes first is the next to run, however many wait for their turn.
func TestFirstGoesBeforeOthers(t *testing.T) {
	storetest.Each(t, testFirstGoesBeforeOthers)
}

func testFirstGoesBeforeOthers(t *testing.T, db *store.DB) {
	q := newQueue(t, db, notify.New())
	ran := make(chan string, 10)
	q.Register("k", 1, func(_ context.Context, j jobs.Job) jobs.Result {
		ran <- j.Key
		return jobs.Done()
	})
	for _, key := range []string{"a", "b", "c"} {
		poke(t, db, q, key)
	}
	if err := db.Tx(t.Context(), func(tx *store.Tx) error { return q.PokeFirst(tx, "k", "first") }); err != nil {
		t.Fatal(err)
	}
	start(t, q)
	for i, want := range []string{"first", "a", "b", "c"} {
		if got := receive(t, ran); got != want {
			t.Errorf("job %d was %s, expected %s", i, got, want)
		}
	}
}
