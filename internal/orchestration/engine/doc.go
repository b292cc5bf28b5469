// Package engine runs stacks: it drives the graph of resources of each stack through create, update,
// delete, check, suspend, resume and rollback, durably.
//
// A stack is an actor: the job "heat.stack" with the stack's id as key. One run of it loads the stack and
// its resources, starts what the graph allows, looks at what is under way, stores the results and says
// what to wait for. Everything it knows is in the store, so a crash at any moment costs nothing but the
// repetition of a re-entrant step. A nested stack is a stack with a job of its own; it wakes its parent
// when it is done.
//
// States of a stack and of a resource are those of Heat: an action (CREATE, UPDATE, DELETE, ROLLBACK,
// CHECK, SUSPEND, RESUME) and a status (IN_PROGRESS, COMPLETE, FAILED); a resource that was not touched yet
// is INIT_COMPLETE. A resource marked unhealthy is CHECK_FAILED.
package engine
