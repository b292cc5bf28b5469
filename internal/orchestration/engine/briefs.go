package engine

import (
	"encoding/json"
	"time"

	"github.com/tripleo/tripleo/internal/store"
)

// Brief is what lists show of a resource. It holds nothing that has to be decrypted, so that a list of ten thousands is
// read soon.
type Brief struct {
	ID, StackID, Name      string
	Type, Target           string // as in the template; resolved by the registry
	PhysicalID             string
	Action, Status, Reason string
	Created, Updated       time.Time

	facts       facts
	description string // where it is not among the facts
}

// facts is the column brief: JSON of briefDef, or "" where they have to be looked up in the definition, because the
// resource has a description, which is encrypted with the rest of it, or was written by an earlier version.
type facts string

type briefDef struct {
	Requires []string `json:"requires,omitempty"`
	Pos      string   `json:"pos,omitempty"`
}

func factsOf(d *RowDef) facts {
	if d.Description != "" {
		return ""
	}
	b, err := json.Marshal(briefDef{d.Requires, d.Pos})
	if err != nil { // strings only: cannot be
		return ""
	}
	return facts(b)
}

func (f facts) read() (d briefDef, ok bool) {
	return d, f != "" && json.Unmarshal([]byte(f), &d) == nil
}

// Requires names the resources that have to be there before this one.
func (b *Brief) Requires() []string {
	d, _ := b.facts.read()
	return d.Requires
}

// Pos is where the resource is defined, file:line:column.
func (b *Brief) Pos() string {
	d, _ := b.facts.read()
	return d.Pos
}

// Description is what the template says of the resource.
func (b *Brief) Description() string { return b.description }

// Requires names the resources that have to be there before this one.
func (r *Row) Requires() []string {
	if d, ok := r.facts.read(); ok {
		return d.Requires
	}
	return r.Def().Requires
}

// Pos is where the resource is defined, file:line:column.
func (r *Row) Pos() string {
	if d, ok := r.facts.read(); ok {
		return d.Pos
	}
	return r.Def().Pos
}

// Description is what the template says of the resource.
func (r *Row) Description() string {
	if r.facts != "" {
		return ""
	}
	return r.Def().Description
}

// InBrief is the row as lists show it.
func (r *Row) InBrief() *Brief {
	b := r.Brief
	b.description = r.Description()
	if b.facts == "" {
		d := *r.Def()
		d.Description = ""
		b.facts = factsOf(&d)
	}
	return &b
}

// FindBriefs returns resources by a condition.
func FindBriefs(tx *store.Tx, where string, args ...any) ([]*Brief, error) {
	var out []*Brief
	err := tx.Each(func(scan func(...any) error) error {
		b := &Brief{}
		def := tx.Unopened("heat_resources.definition")
		err := scan(&b.ID, &b.StackID, &b.Name, &b.Type, &b.Target, &b.PhysicalID, &b.Action, &b.Status, &b.Reason, store.Time(&b.Created), store.Time(&b.Updated), &b.facts, &def)
		if err != nil {
			return store.Wrap(err)
		}
		out = append(out, b)
		if b.facts != "" {
			return nil
		}
		var d RowDef
		if err := def.Open(&d); err != nil {
			return err
		}
		b.description, d.Description = d.Description, ""
		b.facts = factsOf(&d)
		return nil
	}, `SELECT id, stack_id, name, type, target, physical_id, action, status, status_reason, created_at, updated_at, brief,
 CASE WHEN brief = '' THEN definition ELSE '' END FROM heat_resources WHERE `+where, args...)
	return out, err
}

// CountStates counts the resources of a stack that exist, and of those nested in it down to a depth, by action and status such as
// CREATE_COMPLETE.
func CountStates(tx *store.Tx, stackIDs []string) (map[string]int, error) {
	out := map[string]int{}
	for len(stackIDs) > 0 {
		n := min(len(stackIDs), maxIDs)
		err := tx.Each(func(scan func(...any) error) error {
			var action, status string
			var k int
			err := scan(&action, &status, &k)
			out[action+"_"+status] += k
			return store.Wrap(err)
		}, "SELECT action, status, COUNT(*) FROM heat_resources WHERE replaced = 0 AND stack_id IN "+store.In(n)+" GROUP BY action, status", store.Args(stackIDs[:n])...)
		if err != nil {
			return nil, err
		}
		stackIDs = stackIDs[n:]
	}
	return out, nil
}

// maxIDs is how many ids one statement names.
const maxIDs = 500
