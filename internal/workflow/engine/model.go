// Package engine runs workflows: one durable actor an execution (a job of kind
// [KindExecution]) that reads the execution's state, computes the next steps in
// memory, and commits them in one transaction together with the jobs that carry
// them out. Actions run in jobs of their own ([KindAction]). Whatever is under
// way when the process dies is taken up again: a step that was not committed is
// computed anew, an action that was running is run again (unless it is marked
// actions.Action.Once).
//
//	task states:  IDLE -> [DELAYED ->] RUNNING -> SUCCESS | ERROR | CANCELLED
//	              WAITING (join) -> IDLE;  RUNNING -> DELAYED -> RUNNING (retry)
//	execution:    RUNNING <-> PAUSED;  RUNNING -> SUCCESS | ERROR | CANCELLED;  ERROR -> RUNNING (rerun)
package engine

import (
	"time"

	"github.com/tripleo/tripleo/internal/workflow/dsl"
	"github.com/tripleo/tripleo/yaql"
)

// States, as Mistral names them.
const (
	Idle      = "IDLE"
	Waiting   = "WAITING"
	Running   = "RUNNING"
	Delayed   = "DELAYED"
	Paused    = "PAUSED"
	Success   = "SUCCESS"
	Error     = "ERROR"
	Cancelled = "CANCELLED"
	Skipped   = "SKIPPED"
)

// Completed says whether a state is final.
func Completed(state string) bool {
	switch state {
	case Success, Error, Cancelled, Skipped:
		return true
	}
	return false
}

// Caller is on whose behalf an execution runs.
type Caller struct {
	ProjectID   string `json:"project_id"`
	ProjectName string `json:"project_name,omitempty"`
	UserID      string `json:"user_id"`
	UserName    string `json:"user_name,omitempty"`
	// TrustID is the trust by which the engine acts; ServiceTrust stands for the
	// service user itself. Owned trusts are deleted when the root ends.
	TrustID string `json:"trust_id,omitempty"`
	Owned   bool   `json:"owned,omitempty"`
	// Admin: an administrator's executions find the workflows of all projects,
	// and an administrator's event triggers hear what belongs to no project.
	Admin bool `json:"admin,omitempty"`
}

// ServiceTrust as Caller.TrustID means: act as the service user.
const ServiceTrust = "service"

// Execution is a row of workflow_executions.
type Execution struct {
	ID, Workflow, WorkflowID, Namespace, Description string
	SpecID, ProjectID                                string
	State, Info                                      string
	Finalized                                        bool // what follows from the end has been done
	ParentTask, Parent, Root                         string
	Item                                             int
	Accepted                                         bool
	Version                                          int64
	Input, Params, Context                           *yaql.Map
	Output                                           any
	Created, Updated, Finished                       time.Time
	Doc                                              ExecutionDoc
}

// ExecutionDoc is what nobody searches for.
type ExecutionDoc struct {
	Caller  Caller    `json:"caller"`
	Backlog []Command `json:"backlog,omitempty"` // behind a "pause"
	Ranks   int64     `json:"ranks,omitempty"`   // last rank given to a task
	// Report is the text of the error for the one who reads state_info.
	Started bool     `json:"started,omitempty"`
	Tags    []string `json:"tags,omitempty"`   // of the workflow
	Source  string   `json:"source,omitempty"` // the execution this one repeats
}

// Command is a task to create.
type Command struct {
	Task  string `json:"task"`
	By    string `json:"by"` // id of the task that triggers it
	Event string `json:"event"`
}

// RootID is the id of the root execution, the own one for a root.
func (x *Execution) RootID() string {
	if x.Root == "" {
		return x.ID
	}
	return x.Root
}

// Task is a row of workflow_tasks.
type Task struct {
	ID, ExecutionID, Name, Type, State string
	Rank                               int64
	Processed                          bool
	Doc                                TaskDoc
	In, Published                      *yaql.Map
	Global                             *yaql.Map // what it published for the whole workflow
	Result                             any
	Created, Updated, Started, Ended   time.Time

	full  bool // In, Published and Result are loaded
	dirty bool
	fresh bool // not in the store yet
	spec  *dsl.Task
}

// TaskDoc is the working state of a task.
type TaskDoc struct {
	Info         string      `json:"info,omitempty"`
	Next         [][2]string `json:"next,omitempty"` // task, event
	By           [][2]string `json:"by,omitempty"`   // id of triggering task, event
	ErrorHandled bool        `json:"handled,omitempty"`
	Phase        string      `json:"phase,omitempty"` // of DELAYED: before, retry, after
	Pending      string      `json:"pending,omitempty"`
	PendingInfo  string      `json:"pending_info,omitempty"`
	WakeAt       time.Time   `json:"wake_at,omitzero"`
	Deadline     time.Time   `json:"deadline,omitzero"`
	RetryNo      int64       `json:"retry_no,omitempty"`
	Waited       bool        `json:"waited,omitempty"` // wait-before is over
	After        bool        `json:"after,omitempty"`  // wait-after is over
	BeforePaused bool        `json:"before_paused,omitempty"`
	Items        int         `json:"items,omitempty"`
	WithItems    bool        `json:"with_items,omitempty"`
	Limit        int64       `json:"limit,omitempty"` // concurrency
	Callee       string      `json:"callee,omitempty"`
	Reset        bool        `json:"reset,omitempty"`
	Tags         []string    `json:"tags,omitempty"`
}

// Action is a row of workflow_actions.
type Action struct {
	ID, TaskID, ExecutionID, ProjectID, Name, State, Info string
	Accepted                                              bool
	Item                                                  int
	Attempt                                               int
	Input                                                 any
	Output                                                any       // {"result": ...}
	BaseInput                                             *yaql.Map // of the registered action below an ad-hoc one
	Doc                                                   ActionDoc
	Created, Updated, Started, Ended                      time.Time

	fresh, dirty bool
}

// ActionDoc is the working state of an action.
type ActionDoc struct {
	Base        string   `json:"base"`            // registered action
	Adhoc       []string `json:"adhoc,omitempty"` // ids of the ad-hoc definitions whose output applies, innermost first
	SafeRerun   bool     `json:"safe_rerun,omitempty"`
	Caller      Caller   `json:"caller"`
	TaskName    string   `json:"task_name,omitempty"`
	Workflow    string   `json:"workflow,omitempty"`
	Root        string   `json:"root,omitempty"`
	Async       bool     `json:"async,omitempty"`
	Namespace   string   `json:"namespace,omitempty"`
	Description string   `json:"description,omitempty"`
	Tags        []string `json:"tags,omitempty"`
	Target      string   `json:"target,omitempty"` // executor group that alone may run it
}

// Child is what a task needs to know of a sub-execution.
type Child struct {
	ID, State string
	Item      int
	Accepted  bool
	Output    any
}
