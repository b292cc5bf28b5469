package states

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// allowed is the machine a second time, in the other direction: per state the
// events that leave it. It is written by hand from the API reference, so that
// a slip in the table shows.
const allowed = `
enroll: manage>verifying
verifying: done>manageable fail>enroll
manageable: provide>cleaning inspect>inspecting clean>cleaning adopt>adopting
available: deploy>deploying manage>manageable
active: rebuild>deploying delete>deleting rescue>rescuing service>servicing
wait call-back: delete>deleting resume>deploying fail>deploy failed hold>deploy hold
deploying: wait>wait call-back done>active fail>deploy failed hold>deploy hold
deploy hold: unhold>deploying abort>deploy failed fail>deploy failed delete>deleting
deploy failed: deploy>deploying rebuild>deploying delete>deleting
deleting: clean>cleaning fail>error
cleaning: manage>manageable wait>clean wait done>available fail>clean failed hold>clean hold
clean wait: abort>clean failed resume>cleaning fail>clean failed hold>clean hold
clean hold: unhold>cleaning abort>clean failed fail>clean failed
clean failed: manage>manageable
error: rebuild>deploying delete>deleting
inspecting: wait>inspect wait done>manageable fail>inspect failed
inspect wait: abort>inspect failed resume>inspecting done>manageable fail>inspect failed
inspect failed: manage>manageable inspect>inspecting
adopting: done>active fail>adopt failed
adopt failed: manage>manageable adopt>adopting
rescue: delete>deleting rescue>rescuing unrescue>unrescuing
rescuing: wait>rescue wait done>rescue fail>rescue failed
rescue wait: delete>deleting abort>rescue failed resume>rescuing fail>rescue failed
rescue failed: delete>deleting rescue>rescuing unrescue>unrescuing
unrescuing: done>active fail>unrescue failed
unrescue failed: delete>deleting rescue>rescuing unrescue>unrescuing
servicing: wait>service wait done>active fail>service failed hold>service hold
service wait: abort>service failed resume>servicing fail>service failed hold>service hold
service hold: unhold>servicing abort>service failed fail>service failed
service failed: service>servicing rescue>rescuing abort>active delete>deleting
`

func want(t *testing.T) map[State]map[Event]State {
	t.Helper()
	out := map[State]map[Event]State{}
	for _, line := range strings.Split(strings.TrimSpace(allowed), "\n") {
		from, rest, _ := strings.Cut(line, ": ")
		m := map[Event]State{}
		// A target may hold spaces; an arrow begins at the word before '>'.
		parts := strings.Split(rest, ">")
		ev := parts[0]
		for i := 1; i < len(parts); i++ {
			to, next := parts[i], ""
			if i < len(parts)-1 {
				k := strings.LastIndex(to, " ")
				to, next = to[:k], to[k+1:]
			}
			m[Event(ev)] = State(to)
			ev = next
		}
		out[State(from)] = m
	}
	return out
}

func TestEveryPair(t *testing.T) {
	w := want(t)
	if len(w) != len(All()) {
		t.Fatalf("%d states described, %d exist", len(w), len(All()))
	}
	pairs := 0
	for _, s := range All() {
		for _, ev := range Events() {
			got, ok := Next(s, ev)
			exp, expOK := w[s][ev]
			if ok != expOK || got != exp {
				t.Errorf("%s + %s: got %q (%v), want %q (%v)", s, ev, got, ok, exp, expOK)
			}
			if ok {
				pairs++
			}
		}
	}
	if pairs != len(Table()) {
		t.Errorf("table holds %d rows but only %d are reachable: a duplicate or an unknown state", len(Table()), pairs)
	}
}

func TestNoDeadEnds(t *testing.T) {
	for _, s := range All() {
		out, unstableLeaves := 0, false
		for _, tr := range Table() {
			if tr.From == s {
				out++
				if tr.Event == Fail || tr.Event == Done {
					unstableLeaves = true
				}
			}
		}
		if out == 0 {
			t.Errorf("%s has no way out", s)
		}
		if (Busy(s) || Waiting(s)) && !unstableLeaves {
			t.Errorf("%s is worked on but can neither succeed nor fail", s)
		}
		if Busy(s) && Waiting(s) {
			t.Errorf("%s is both locked and waiting", s)
		}
		if Held(s) && (Busy(s) || Waiting(s)) {
			t.Errorf("%s is held and worked on", s)
		}
		if (Waiting(s) || Held(s)) && !LookupAllowed(s) {
			t.Errorf("%s waits for a ramdisk that may not look it up", s)
		}
	}
}

func TestVerbs(t *testing.T) {
	for _, c := range []struct {
		target string
		ev     Event
		since  int
		ok     bool
		reason string
	}{
		{"active", Deploy, 1, true, "the oldest name of deploy"},
		{"deploy", Deploy, 73, true, "synonym of active from 1.73"},
		{"deleted", Delete, 1, true, "tear down"},
		{"undeploy", Delete, 73, true, "synonym of deleted from 1.73"},
		{"provide", Provide, 4, true, "manageable state came with 1.4"},
		{"abort", Abort, 13, true, "abort came with 1.13"},
		{"adopt", Adopt, 17, true, "adopt came with 1.17"},
		{"unhold", Unhold, 85, true, "steps named hold came with 1.85"},
		{"service", Service, 87, true, "servicing came with 1.87"},
		{"available", "", 0, false, "a state is no verb"},
		{"done", "", 0, false, "an engine's event is no verb"},
	} {
		ev, since, ok := Verb(c.target)
		if ev != c.ev || since != c.since || ok != c.ok {
			t.Errorf("%s: got %v %v %v (%s)", c.target, ev, since, ok, c.reason)
		}
	}
}

//nolint:gochecknoglobals // a test flag
var update = flag.Bool("update", false, "write docs/baremetal-states.dot")

func TestPictureIsCurrent(t *testing.T) {
	file := filepath.Join("..", "..", "..", "docs", "baremetal-states.dot")
	if *update {
		if err := os.WriteFile(file, []byte(Dot()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(b), Dot()); diff != "" {
		t.Errorf("docs/baremetal-states.dot differs from the table (run with -update):\n%s", diff)
	}
}
