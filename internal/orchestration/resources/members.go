package resources

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// members are the members of a group that is changed batch by batch, each with the definition it has at
// the moment. They are kept in the group's Data, so that a batch goes on from where the last one ended.
type members struct {
	list []member
	defs map[string]*Map // by hash
}

type member struct{ name, def string }

func loadMembers(r *Resource) *members {
	m := &members{defs: map[string]*Map{}}
	defs, _ := yaml11.Normalize(r.Data["defs"]).(*Map)
	for k, v := range defs.All() {
		m.defs[k], _ = v.(*Map)
	}
	l, _ := yaml11.Normalize(r.Data["members"]).([]any)
	for _, v := range l {
		e, _ := v.(*Map)
		m.list = append(m.list, member{str(e, "name"), str(e, "def")})
	}
	return m
}

func (m *members) save(r *Resource) {
	list, defs := []any{}, yaml11.NewMap()
	for _, e := range m.list {
		list = append(list, yaml11.MapOf("name", e.name, "def", e.def))
		defs.Set(e.def, m.defs[e.def])
	}
	r.Data["members"], r.Data["defs"] = list, defs
}

// learn adds a definition and returns its hash.
func (m *members) learn(def *Map) string {
	s := sha256.Sum256([]byte(hot.PyJSON(def, true)))
	h := hex.EncodeToString(s[:8])
	m.defs[h] = def
	return h
}

// plan gives the group total members of which at most updates more than before have the definition def. The
// first in the list go first, when there are too many and when some are to change.
func (m *members) plan(def string, total, updates int, newName func() string) {
	if over := len(m.list) - total; over > 0 {
		m.list = slices.Clone(m.list[over:])
	}
	updates -= total - len(m.list) // new members have the new definition
	for i := range m.list {
		if updates > 0 && m.list[i].def != def {
			m.list[i].def = def
			updates--
		}
	}
	for len(m.list) < total {
		m.list = append(m.list, member{newName(), def})
	}
}

// batch is one step of a rolling update: how many members there are after it, and how many of them may get
// the new definition in it.
type batch struct{ total, updates int }

// maxBatches bounds a rolling update.
const maxBatches = 10_000

// rollingBatches are the steps of a rolling update that never has fewer than minimum members in service
// and never changes more than size at once. extra tells that members beyond the target do not count as
// updated, which is where groups of numbered members differ.
func rollingBatches(target, capacity, size, minimum int, extra bool) []batch {
	var out []batch
	updated := 0
	size = max(size, 1)
	for !(updated >= capacity && capacity == target) && len(out) < maxBatches {
		least := min(minimum, target, capacity)
		n := min(size, max(target-updated, 0))
		total := n + max(min(capacity, target-n), least)
		out = append(out, batch{total, n})
		updated += n
		if extra {
			updated -= max(total-max(capacity, target), 0)
		}
		capacity = total
	}
	return out
}

// steps keeps the batches of the running operation in Data and returns the next; more tells that others
// follow. begin makes the batches of a new operation.
func steps(r *Resource, begin func() []batch) (next batch, more bool) {
	key := r.Action + r.Begun.Format(time.RFC3339Nano)
	l, _ := r.Data["batches"].([]any)
	if r.Str("batches_of") != key {
		l = nil
		for _, b := range begin() {
			l = append(l, []any{int64(b.total), int64(b.updates)})
		}
		r.Data["batches_of"] = key
	}
	if len(l) == 0 {
		return batch{-1, -1}, false
	}
	e, _ := yaml11.Normalize(l[0]).([]any)
	r.Data["batches"] = l[1:]
	return batch{int(number(e[0])), int(number(e[1]))}, len(l) > 1
}
