// Package states is the provision state machine of a bare metal node as Ironic
// documents it, written as one table. It is pure: no I/O, no clock. The engine
// asks it what an event does in a state; the API asks it whether a verb is
// allowed; the picture in docs/ is printed from it.
//
// Source of the rules: Ironic API reference, "Bare metal state machine"
// (https://docs.openstack.org/ironic/latest/user/states.html).
package states

import (
	"fmt"
	"sort"
	"strings"
)

// State is a provision state as clients see it in `provision_state`.
type State string

// The provision states.
const (
	Enroll       State = "enroll"
	Verifying    State = "verifying"
	Manageable   State = "manageable"
	Available    State = "available"
	Active       State = "active"
	DeployWait   State = "wait call-back"
	Deploying    State = "deploying"
	DeployFail   State = "deploy failed"
	Deleting     State = "deleting"
	Cleaning     State = "cleaning"
	CleanWait    State = "clean wait"
	CleanFail    State = "clean failed"
	Error        State = "error"
	Inspecting   State = "inspecting"
	InspectWait  State = "inspect wait"
	InspectFail  State = "inspect failed"
	Adopting     State = "adopting"
	AdoptFail    State = "adopt failed"
	Rescue       State = "rescue"
	Rescuing     State = "rescuing"
	RescueWait   State = "rescue wait"
	RescueFail   State = "rescue failed"
	Unrescuing   State = "unrescuing"
	UnrescueFail State = "unrescue failed"
)

// Event moves a node from one state to the next: a verb of an operator or a
// result of the engine's work.
type Event string

// Events that an operator's verb causes.
const (
	Deploy   Event = "deploy"
	Rebuild  Event = "rebuild"
	Delete   Event = "delete"
	Manage   Event = "manage"
	Provide  Event = "provide"
	Inspect  Event = "inspect"
	Abort    Event = "abort"
	Clean    Event = "clean"
	Adopt    Event = "adopt"
	ToRescue Event = "rescue"
	Unrescue Event = "unrescue"
)

// Events that the engine causes.
const (
	Wait   Event = "wait"
	Resume Event = "resume"
	Done   Event = "done"
	Fail   Event = "fail"
)

// Transition is one arrow of the picture.
type Transition struct {
	From  State
	Event Event
	To    State
}

// Table returns every transition, grouped by the state it leaves.
func Table() []Transition {
	return []Transition{
		{Enroll, Manage, Verifying},
		{Verifying, Done, Manageable},
		{Verifying, Fail, Enroll},

		{Manageable, Provide, Cleaning},
		{Manageable, Clean, Cleaning},
		{Manageable, Inspect, Inspecting},
		{Manageable, Adopt, Adopting},

		{Inspecting, Done, Manageable},
		{Inspecting, Wait, InspectWait},
		{Inspecting, Fail, InspectFail},
		{InspectWait, Done, Manageable},
		{InspectWait, Resume, Inspecting},
		{InspectWait, Fail, InspectFail},
		{InspectWait, Abort, InspectFail},
		{InspectFail, Inspect, Inspecting},
		{InspectFail, Manage, Manageable},

		{Cleaning, Done, Available},
		{Cleaning, Manage, Manageable}, // the end of a manual cleaning
		{Cleaning, Wait, CleanWait},
		{Cleaning, Fail, CleanFail},
		{CleanWait, Resume, Cleaning},
		{CleanWait, Fail, CleanFail},
		{CleanWait, Abort, CleanFail},
		{CleanFail, Manage, Manageable},

		{Available, Deploy, Deploying},
		{Available, Manage, Manageable},

		{Deploying, Done, Active},
		{Deploying, Wait, DeployWait},
		{Deploying, Fail, DeployFail},
		{DeployWait, Resume, Deploying},
		{DeployWait, Fail, DeployFail},
		{DeployWait, Delete, Deleting},
		{DeployFail, Deploy, Deploying},
		{DeployFail, Rebuild, Deploying},
		{DeployFail, Delete, Deleting},

		{Active, Rebuild, Deploying},
		{Active, Delete, Deleting},
		{Active, ToRescue, Rescuing},

		{Deleting, Clean, Cleaning},
		{Deleting, Fail, Error},
		{Error, Rebuild, Deploying},
		{Error, Delete, Deleting},

		{Adopting, Done, Active},
		{Adopting, Fail, AdoptFail},
		{AdoptFail, Adopt, Adopting},
		{AdoptFail, Manage, Manageable},

		{Rescuing, Done, Rescue},
		{Rescuing, Wait, RescueWait},
		{Rescuing, Fail, RescueFail},
		{RescueWait, Resume, Rescuing},
		{RescueWait, Fail, RescueFail},
		{RescueWait, Abort, RescueFail},
		{RescueWait, Delete, Deleting},
		{RescueFail, ToRescue, Rescuing},
		{RescueFail, Unrescue, Unrescuing},
		{RescueFail, Delete, Deleting},
		{Rescue, ToRescue, Rescuing},
		{Rescue, Unrescue, Unrescuing},
		{Rescue, Delete, Deleting},
		{Unrescuing, Done, Active},
		{Unrescuing, Fail, UnrescueFail},
		{UnrescueFail, ToRescue, Rescuing},
		{UnrescueFail, Unrescue, Unrescuing},
		{UnrescueFail, Delete, Deleting},
	}
}

// Next says where the event leads from a state; ok is false when the table has
// no such arrow.
func Next(from State, ev Event) (to State, ok bool) {
	for _, t := range Table() {
		if t.From == from && t.Event == ev {
			return t.To, true
		}
	}
	return "", false
}

// All lists every state, in the order of their constants.
func All() []State {
	return []State{
		Enroll, Verifying, Manageable, Available, Active, DeployWait, Deploying, DeployFail, Deleting,
		Cleaning, CleanWait, CleanFail, Error, Inspecting, InspectWait, InspectFail, Adopting, AdoptFail,
		Rescue, Rescuing, RescueWait, RescueFail, Unrescuing, UnrescueFail,
	}
}

// Events lists every event.
func Events() []Event {
	return []Event{
		Deploy, Rebuild, Delete, Manage, Provide, Inspect, Abort, Clean, Adopt, ToRescue, Unrescue,
		Wait, Resume, Done, Fail,
	}
}

// Target is what `target_provision_state` shows in a state: where the node is
// going by itself, or "" in a stable state. A manual cleaning overrides it
// with "manageable".
func Target(s State) State {
	switch s {
	case Verifying, Inspecting, InspectWait, InspectFail:
		return Manageable
	case Deploying, DeployWait, DeployFail, Adopting, AdoptFail, Unrescuing, UnrescueFail:
		return Active
	case Cleaning, CleanWait, CleanFail, Deleting:
		return Available
	case Rescuing, RescueWait, RescueFail:
		return Rescue
	default:
		return ""
	}
}

// Verb maps the `target` of PUT /v1/nodes/<id>/states/provision to its event
// and to the first microversion that knows it (a minor number of version 1).
func Verb(target string) (ev Event, sinceMinor int, ok bool) {
	switch target {
	case "active":
		return Deploy, 1, true
	case "deploy":
		return Deploy, 73, true
	case "rebuild":
		return Rebuild, 1, true
	case "deleted":
		return Delete, 1, true
	case "undeploy":
		return Delete, 73, true
	case "manage":
		return Manage, 4, true
	case "provide":
		return Provide, 4, true
	case "inspect":
		return Inspect, 6, true
	case "abort":
		return Abort, 13, true
	case "clean":
		return Clean, 15, true
	case "adopt":
		return Adopt, 17, true
	case "rescue":
		return ToRescue, 38, true
	case "unrescue":
		return Unrescue, 38, true
	default:
		return "", 0, false
	}
}

// Busy says that the engine itself is acting on a node in this state, so the
// node is locked against others; in the wait states it is not.
func Busy(s State) bool {
	switch s {
	case Verifying, Deploying, Cleaning, Deleting, Inspecting, Adopting, Rescuing, Unrescuing:
		return true
	default:
		return false
	}
}

// Waiting says that the node waits for its ramdisk.
func Waiting(s State) bool {
	return s == DeployWait || s == CleanWait || s == InspectWait || s == RescueWait
}

// LookupAllowed says that a ramdisk may look the node up in this state.
func LookupAllowed(s State) bool {
	switch s {
	case Deploying, DeployWait, Cleaning, CleanWait, Inspecting, InspectWait, Rescuing, RescueWait:
		return true
	default:
		return false
	}
}

// DeleteAllowed says that a node in this state may be deleted (outside
// maintenance only when it is not associated with an instance).
func DeleteAllowed(s State) bool {
	switch s {
	case Available, Manageable, Enroll, AdoptFail:
		return true
	default:
		return false
	}
}

// Dot prints the machine for graphviz: operator's verbs as solid arrows, the
// engine's own events dashed.
func Dot() string {
	internal := map[Event]bool{Wait: true, Resume: true, Done: true, Fail: true}
	var b strings.Builder
	b.WriteString("// Generated from internal/baremetal/states; `go test ./internal/baremetal/states -update` prints it anew.\n")
	b.WriteString("digraph baremetal {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n")
	all := All()
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	for _, s := range all {
		attr := ""
		switch {
		case Target(s) == "":
			attr = " [penwidth=2]"
		case strings.HasSuffix(string(s), "failed"):
			attr = " [color=red]"
		case Waiting(s):
			attr = " [style=\"rounded,dashed\"]"
		}
		fmt.Fprintf(&b, "  %q%s;\n", s, attr)
	}
	for _, t := range Table() {
		style := ""
		if internal[t.Event] || (t.From == Deleting && t.Event == Clean) || (t.From == Cleaning && t.Event == Manage) {
			style = ", style=dashed"
		}
		fmt.Fprintf(&b, "  %q -> %q [label=%q%s];\n", t.From, t.To, t.Event, style)
	}
	b.WriteString("}\n")
	return b.String()
}
