package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Hooks pause the operation before or after an action of one resource until somebody clears them by the
// signal {"unset_hook": NAME}. The environment says which resources have them. A hook that a resource waits
// at stands in its data as "_hook"; one that was passed in the operation under way as "_passed". A resource
// in the pre-create hook is INIT_COMPLETE.

// Hooks returns the hooks that an environment may set.
func Hooks() []string {
	return []string{"pre-create", "pre-update", "pre-delete", "post-create", "post-update", "post-delete"}
}

// Hook returns the hook at which the resource waits, "" if it does not.
func (r *Row) Hook() string { s, _ := r.Data()["_hook"].(string); return s }

func (r *run) hookSet(name, hook string) bool {
	return r.env != nil && slices.Contains(r.env.Registry.Hooks(name), hook)
}

func (r *run) passed(row *Row, hook string) bool {
	return row.Data()["_passed"] == fmt.Sprintf("%d %s", r.st.Op, hook)
}

// pauseAt makes a resource wait at a hook if the environment sets it and nobody cleared it in this
// operation. It tells whether the resource waits.
func (r *run) pauseAt(row *Row, action, when string) bool {
	hook := when + "-" + strings.ToLower(action)
	if r.passed(row, hook) {
		return false
	}
	if !r.hookSet(row.Name, hook) {
		if row.Hook() != "" {
			delete(row.Data(), "_hook") // of an environment that was replaced
			r.touch(row)
		}
		return false
	}
	if row.Hook() == hook && row.Data()["_hook_op"] == r.st.Op {
		return true
	}
	row.Data()["_hook"], row.Data()["_hook_op"] = hook, r.st.Op
	r.touch(row)
	r.note(row, row.Status, action+" paused until Hook "+hook+" is cleared")
	return true
}

// note records an event that changes no state.
func (r *run) note(row *Row, status, reason string) {
	ev := r.eventOf(row)
	ev.Status, ev.Reason = status, reason
	r.events = append(r.events, ev)
}

// unsetHook takes in the signal that clears a hook.
func (r *run) unsetHook(row *Row, hook string) {
	if row.Hook() != hook {
		return // cleared before
	}
	delete(row.Data(), "_hook")
	delete(row.Data(), "_hook_op")
	row.Data()["_passed"] = fmt.Sprintf("%d %s", r.st.Op, hook)
	r.touch(row)
	r.note(row, row.Status, "Hook "+hook+" is cleared")
}

// forgetHooks drops what an operation that ends leaves of hooks.
func (r *run) forgetHooks() {
	for _, row := range r.allRows() {
		if row.Data()["_hook"] == nil && row.Data()["_passed"] == nil {
			continue
		}
		if row.Hook() != "" {
			r.note(row, row.Status, "Failure occurred while waiting.")
		}
		delete(row.Data(), "_hook")
		delete(row.Data(), "_hook_op")
		delete(row.Data(), "_passed")
		r.touch(row)
	}
}

// ClearHook clears the hook a resource waits at.
func (e *Engine) ClearHook(ctx ctxType, row *Row, hook string) error {
	if !slices.Contains(Hooks(), hook) {
		return api.Invalid("Invalid hook type %q for resource %s, expected one of %s", hook, row.Name, strings.Join(Hooks(), ", ")).Named("InvalidBreakPointHook")
	}
	if row.Hook() != hook {
		return api.Invalid("The %q hook is not defined on resource %s (%s)", hook, row.Name, row.Type).Named("InvalidBreakPointHook")
	}
	return e.post(ctx, row, "hook", hook)
}

// post puts a message for a resource into the inbox of its stack.
func (e *Engine) post(ctx ctxType, row *Row, kind, body string) error {
	return e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec("INSERT INTO heat_inbox (stack_id, resource_id, kind, body) VALUES (?, ?, ?, ?)", row.StackID, row.ID, kind, tx.SealedText(&body, "heat_inbox.body")); err != nil {
			return err
		}
		return e.cfg.Jobs.Poke(tx, JobStack, row.StackID, nil)
	})
}
