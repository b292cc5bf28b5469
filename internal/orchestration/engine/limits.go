package engine

import (
	"context"
	"fmt"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
)

// Limits bound what a project and its stacks may take. The zero value of a field is its default, a negative
// number no limit. Names in comments are those of heat.conf.
type Limits struct {
	Stacks       int // of a project, nested ones not counted; default 512 (max_stacks_per_tenant)
	Resources    int // of a tree of stacks; default none, as on every undercloud (max_resources_per_stack)
	Depth        int // of nested stacks below the root; default 10 (max_nested_stack_depth)
	Events       int // of a stack; the oldest go first; default 10,000 (max_events_per_stack)
	TemplateSize int // bytes of one template; default and maximum hot.MaxTemplate (max_template_size)
	BodySize     int // bytes of a request, and of all files of a stack; default 32 MiB (max_json_body_size)
}

// unlimited stands for no limit: what no stack reaches.
const unlimited = 1<<31 - 1

// DefaultBodySize is Limits.BodySize when nothing is said: a plan's files are some 2 MB before JSON escaping.
const DefaultBodySize = 32 << 20

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		value *int
		def   int
	}{{&l.Stacks, 512}, {&l.Resources, unlimited}, {&l.Depth, 10}, {&l.Events, 10_000}, {&l.TemplateSize, hot.MaxTemplate}, {&l.BodySize, DefaultBodySize}} {
		switch {
		case *f.value == 0:
			*f.value = f.def
		case *f.value < 0:
			*f.value = unlimited
		}
	}
	l.TemplateSize = min(l.TemplateSize, hot.MaxTemplate)
	return l
}

// Limits returns the limits in force.
func (e *Engine) Limits() Limits { return e.cfg.Limits }

func overLimit(format string, args ...any) error {
	return api.Invalid(format, args...).Named("RequestLimitExceeded") // 400, as Heat answers
}

// checkStackLimit refuses one more stack of a project that has as many as it may.
func (e *Engine) checkStackLimit(tx *store.Tx, project string) error {
	n := 0
	if err := tx.Get([]any{&n}, "SELECT COUNT(*) FROM heat_stacks WHERE project_id = ? AND parent_id = '' AND deleted_at = 0", project); err != nil {
		return err
	}
	if n >= e.cfg.Limits.Stacks {
		return overLimit("You have reached the maximum stacks per tenant, %d. Please delete some stacks.", e.cfg.Limits.Stacks)
	}
	return nil
}

const tooManyResources = "Maximum resources per stack exceeded."

// checkTreeLimit refuses a template that asks for more resources than a tree of stacks may have.
func (e *Engine) checkTreeLimit(t *Tree) error {
	if t != nil && t.size() > e.cfg.Limits.Resources {
		return overLimit(tooManyResources)
	}
	return nil
}

func (t *Tree) size() int {
	n := 0
	for _, node := range t.Nodes {
		n++
		if node.Nested != nil {
			n += node.Nested.size()
		}
	}
	return n
}

// checkResourceLimit refuses a nested stack where that makes more resources in the tree than it may have.
func (r *run) checkResourceLimit(more int) error {
	if r.e.cfg.Limits.Resources == unlimited {
		return nil
	}
	n := 0
	err := r.e.cfg.DB.View(r.ctx, func(tx *store.Tx) error {
		return tx.Get([]any{&n}, "SELECT COUNT(*) FROM heat_resources WHERE stack_id IN (SELECT id FROM heat_stacks WHERE root_id = ? AND deleted_at = 0)", r.st.RootID)
	})
	if err == nil && n+more > r.e.cfg.Limits.Resources {
		err = resources.Failed(tooManyResources)
	}
	return err
}

// checkTemplateSize refuses the text of a template that is too long.
func (e *Engine) checkTemplateSize(text string) error {
	if len(text) > e.cfg.Limits.TemplateSize {
		return overLimit("Template size (%d bytes) exceeds maximum allowed size (%d bytes).", len(text), e.cfg.Limits.TemplateSize)
	}
	return nil
}

// trimEvents forgets the oldest events of a stack that has more than it may.
func (e *Engine) trimEvents(ctx context.Context, stackID string) error {
	if e.cfg.Limits.Events == unlimited {
		return nil
	}
	err := e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec("DELETE FROM heat_events WHERE stack_id = ? AND seq <= (SELECT seq FROM heat_events WHERE stack_id = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
			stackID, stackID, e.cfg.Limits.Events)
		return err
	})
	if err != nil {
		return fmt.Errorf("events of stack %s: %w", stackID, err)
	}
	return nil
}
