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
	CleanHold    State = "clean hold"
	DeployHold   State = "deploy hold"
	Servicing    State = "servicing"
	ServiceWait  State = "service wait"
	ServiceFail  State = "service failed"
	ServiceHold  State = "service hold"
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
	Service  Event = "service"
	Unhold   Event = "unhold"
)

// Events that the engine causes.
const (
	Wait   Event = "wait"
	Resume Event = "resume"
	Done   Event = "done"
	Fail   Event = "fail"
	Hold   Event = "hold"
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
		{Cleaning, Hold, CleanHold},
		{CleanWait, Hold, CleanHold},
		{CleanHold, Unhold, Cleaning},
		{CleanHold, Abort, CleanFail},
		{CleanHold, Fail, CleanFail},
		{CleanFail, Manage, Manageable},

		{Available, Deploy, Deploying},
		{Available, Manage, Manageable},

		{Deploying, Done, Active},
		{Deploying, Wait, DeployWait},
		{Deploying, Fail, DeployFail},
		{DeployWait, Resume, Deploying},
		{DeployWait, Fail, DeployFail},
		{DeployWait, Delete, Deleting},
		{Deploying, Hold, DeployHold},
		{DeployWait, Hold, DeployHold},
		{DeployHold, Unhold, Deploying},
		{DeployHold, Abort, DeployFail},
		{DeployHold, Fail, DeployFail},
		{DeployHold, Delete, Deleting},
		{DeployFail, Deploy, Deploying},
		{DeployFail, Rebuild, Deploying},
		{DeployFail, Delete, Deleting},

		{Active, Rebuild, Deploying},
		{Active, Delete, Deleting},
		{Active, ToRescue, Rescuing},

		{Active, Service, Servicing},
		{Servicing, Done, Active},
		{Servicing, Wait, ServiceWait},
		{Servicing, Hold, ServiceHold},
		{Servicing, Fail, ServiceFail},
		{ServiceWait, Resume, Servicing},
		{ServiceWait, Hold, ServiceHold},
		{ServiceWait, Fail, ServiceFail},
		{ServiceWait, Abort, ServiceFail},
		{ServiceHold, Unhold, Servicing},
		{ServiceHold, Abort, ServiceFail},
		{ServiceHold, Fail, ServiceFail},
		{ServiceFail, Service, Servicing},
		{ServiceFail, ToRescue, Rescuing},
		{ServiceFail, Abort, Active},
		{ServiceFail, Delete, Deleting},

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
		CleanHold, DeployHold, Servicing, ServiceWait, ServiceFail, ServiceHold,
	}
}

// Events lists every event.
func Events() []Event {
	return []Event{
		Deploy, Rebuild, Delete, Manage, Provide, Inspect, Abort, Clean, Adopt, ToRescue, Unrescue, Service, Unhold,
		Wait, Resume, Done, Fail, Hold,
	}
}

// Target is what `target_provision_state` shows in a state: where the node is
// going by itself, or "" in a stable state. A manual cleaning overrides it
// with "manageable".
func Target(s State) State {
	switch s {
	case Verifying, Inspecting, InspectWait, InspectFail:
		return Manageable
	case Deploying, DeployWait, DeployFail, DeployHold, Adopting, AdoptFail, Unrescuing, UnrescueFail,
		Servicing, ServiceWait, ServiceFail, ServiceHold:
		return Active
	case Cleaning, CleanWait, CleanFail, CleanHold, Deleting:
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
	case "unhold":
		return Unhold, 85, true
	case "service":
		return Service, 87, true
	default:
		return "", 0, false
	}
}

// Busy says that the engine itself is acting on a node in this state, so the
// node is locked against others; in the wait states it is not.
func Busy(s State) bool {
	switch s {
	case Verifying, Deploying, Cleaning, Deleting, Inspecting, Adopting, Rescuing, Unrescuing, Servicing:
		return true
	default:
		return false
	}
}

// Waiting says that the node waits for its ramdisk.
func Waiting(s State) bool {
	return s == DeployWait || s == CleanWait || s == InspectWait || s == RescueWait || s == ServiceWait
}

// Held says that the node waits for an operator's `unhold`.
func Held(s State) bool { return s == CleanHold || s == DeployHold || s == ServiceHold }

// LookupAllowed says that a ramdisk may look the node up in this state.
func LookupAllowed(s State) bool {
	switch s {
	case Deploying, DeployWait, DeployHold, Cleaning, CleanWait, CleanHold, Inspecting, InspectWait, Rescuing, RescueWait,
		Rescue, Servicing, ServiceWait, ServiceHold:
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
	internal := map[Event]bool{Wait: true, Resume: true, Done: true, Fail: true, Hold: true}
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
