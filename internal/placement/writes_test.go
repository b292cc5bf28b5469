package placement_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// same makes a request of both and compares status and answer.
func (b *both) same(version, method, path string, body any) {
	b.Helper()
	_, got := b.ours.ask(b.T, version, method, path, body)
	code, want := b.theirs.ask(b.T, version, method, path, body)
	if code != 200 {
		b.Fatalf("%s %s: Placement says %d %v", method, path, code, want)
	}
	delete(got, "links")
	delete(want, "links")
	if diff := cmp.Diff(want, got); diff != "" {
		b.Errorf("%s %s %s (-Placement, +ours):\n%s", version, method, path, diff)
	}
}

func newBoth(t *testing.T) *both {
	t.Helper()
	theirs := openstacks(t)
	return &both{T: t, ours: ours(t), theirs: theirs}
}

// TestParentsAsInPlacement: who may be put below whom, and back.
func TestParentsAsInPlacement(t *testing.T) {
	b := newBoth(t)
	a, c, d := uuid.NewString(), uuid.NewString(), uuid.NewString()
	for _, id := range []string{a, c, d} {
		b.do("1.39", "POST", "/resource_providers", map[string]any{"uuid": id, "name": id})
	}
	put := func(version, id string, parent any) {
		t.Helper()
		b.do(version, "PUT", "/resource_providers/"+id, map[string]any{"name": id, "parent_provider_uuid": parent})
		for _, id := range []string{a, c, d} {
			b.same("1.39", "GET", "/resource_providers/"+id, nil)
		}
	}
	put("1.36", c, a)
	put("1.36", c, d)   // it has a parent: 1.37 only
	put("1.36", c, nil) // so is taking it away
	put("1.37", c, d)
	put("1.37", d, c) // below itself
	put("1.37", c, c)
	put("1.37", c, uuid.NewString())
	put("1.37", c, nil)
	b.do("1.37", "PUT", "/resource_providers/"+c, map[string]any{"name": "other"})
	b.same("1.39", "GET", "/resource_providers/"+c, nil)
}

// TestAllocationsAsInPlacement: consumers with types, and many in one request.
func TestAllocationsAsInPlacement(t *testing.T) {
	b := newBoth(t)
	var rps []string
	for range 2 {
		id := uuid.NewString()
		rps = append(rps, id)
		b.do("1.39", "POST", "/resource_providers", map[string]any{"uuid": id, "name": id})
		b.do("1.39", "PUT", "/resource_providers/"+id+"/inventories", map[string]any{"resource_provider_generation": 0, "inventories": map[string]any{"VCPU": map[string]any{"total": 2}}})
	}
	one, two := uuid.NewString(), uuid.NewString()
	wants := func(rp string, n int, more map[string]any) map[string]any {
		out := map[string]any{"allocations": map[string]any{}, "project_id": "p", "user_id": "u", "consumer_generation": nil}
		if n > 0 {
			out["allocations"] = map[string]any{rp: map[string]any{"resources": map[string]any{"VCPU": n}}}
		}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	look := func() {
		t.Helper()
		for _, id := range []string{one, two} {
			b.same("1.39", "GET", "/allocations/"+id, nil)
		}
		for _, q := range []string{"", "&consumer_type=INSTANCE", "&consumer_type=all", "&consumer_type=unknown", "&user_id=u", "&user_id=x"} {
			b.same("1.38", "GET", "/usages?project_id=p"+q, nil)
		}
		b.same("1.37", "GET", "/usages?project_id=p", nil)
		for _, rp := range rps {
			b.same("1.39", "GET", "/resource_providers/"+rp+"/allocations", nil)
			b.same("1.39", "GET", "/resource_providers/"+rp+"/usages", nil)
		}
	}
	typed := map[string]any{"consumer_type": "INSTANCE"}
	b.do("1.38", "PUT", "/allocations/"+one, wants(rps[0], 2, nil)) // without a type
	b.do("1.38", "PUT", "/allocations/"+one, wants(rps[0], 2, map[string]any{"consumer_type": "no"}))
	b.do("1.38", "PUT", "/allocations/"+one, wants(rps[0], 2, typed))
	look()
	b.do("1.37", "PUT", "/allocations/"+two, wants(rps[1], 2, nil))
	look()
	b.do("1.38", "PUT", "/allocations/"+two, wants(rps[1], 1, typed)) // another generation
	gen := func(n int, of string) map[string]any {
		return map[string]any{"consumer_generation": n, "consumer_type": of}
	}
	// Both are full: the two exchange what they have.
	b.do("1.38", "POST", "/allocations", map[string]any{one: wants(rps[1], 2, gen(1, "INSTANCE")), two: wants(rps[0], 2, gen(1, "MIGRATION"))})
	look()
	// One gives back what the other takes.
	b.do("1.38", "POST", "/allocations", map[string]any{one: wants(rps[0], 2, gen(2, "INSTANCE")), two: wants(rps[0], 0, gen(2, "MIGRATION"))})
	look()
	b.do("1.38", "POST", "/allocations", map[string]any{two: wants(rps[0], 1, gen(1, "INSTANCE"))}) // too much, and gone besides
	look()
	b.do("1.39", "DELETE", "/allocations/"+one, nil)
	look()
	b.do("1.39", "DELETE", "/allocations/"+one, nil)
}
