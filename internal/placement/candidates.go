package placement

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Who could serve a request. The request consists of groups: the one without a
// suffix may be served by several providers of one tree together, each of the
// others by one provider alone. Providers with the trait
// MISC_SHARES_VIA_AGGREGATE serve every tree that has an aggregate with them.
// https://docs.openstack.org/placement/latest/user/provider-tree.html

const sharesTrait = "MISC_SHARES_VIA_AGGREGATE"

// maxCandidates bounds an answer, and maxTried what is looked at for it: the
// number of combinations grows with the product of all choices.
const (
	maxCandidates = 10_000
	maxTried      = 1_000_000
)

// choice is one way to serve a group: amounts by provider and class, and the
// providers that serve it.
type choice struct {
	amounts map[string]map[string]int
	by      []*provider
}

// candidate is one way to serve the whole request.
type candidate struct {
	amounts  map[string]map[string]int
	mappings map[string][]string
}

// search looks for candidates in one world.
type search struct {
	w       *world
	q       *query
	used    map[string]map[string]int // provider -> class -> amount
	trees   map[string][]*provider    // root -> its tree
	roots   []string
	sharing []*provider
	tried   int
	found   []candidate
	seen    map[string]bool
}

func (s *search) index() {
	s.used, s.trees, s.seen = map[string]map[string]int{}, map[string][]*provider{}, map[string]bool{}
	for _, c := range s.w.consumers {
		for rp, amounts := range c.Resources {
			if s.used[rp] == nil {
				s.used[rp] = map[string]int{}
			}
			for class, n := range amounts {
				s.used[rp][class] += n
			}
		}
	}
	for _, p := range s.w.providers {
		root := s.w.root(p)
		if s.trees[root] == nil {
			s.roots = append(s.roots, root)
		}
		s.trees[root] = append(s.trees[root], p)
		if slices.Contains(p.Traits, sharesTrait) {
			s.sharing = append(s.sharing, p)
		}
	}
}

func (s *search) run() {
	s.index()
	for _, root := range s.roots {
		if !s.full() && s.rootFits(root) {
			s.tree(root)
		}
	}
}

func (s *search) full() bool {
	return len(s.found) >= s.q.limit || s.tried >= maxTried
}

func (s *search) rootFits(root string) bool {
	p, err := s.w.provider(root)
	return err == nil && s.q.root.fits(p.Traits)
}

// reach are the providers that may serve a tree's request.
func (s *search) reach(root string) []*provider {
	out := slices.Clone(s.trees[root])
	for _, p := range s.sharing {
		shares := func(m *provider) bool { return has(m.Aggregates, p.Aggregates) }
		if !slices.Contains(out, p) && slices.ContainsFunc(s.trees[root], shares) {
			out = append(out, p)
		}
	}
	return out
}

func (s *search) tree(root string) {
	reach := s.reach(root)
	var choices [][]choice
	for _, g := range s.q.groups {
		var of []choice
		if g.suffix == "" {
			of = s.together(g, reach)
		} else {
			of = s.alone(g, reach)
		}
		if len(of) == 0 {
			return
		}
		choices = append(choices, of)
	}
	s.combine(choices, nil)
}

// room is for one class: capacity, and what one allocation may have.
func (s *search) room(p *provider, class string, n int) bool {
	return room(p, s.used[p.UUID], map[string]int{class: n}) == ""
}

// alone are the ways to serve a group by one provider.
func (s *search) alone(g *group, reach []*provider) []choice {
	var out []choice
	for _, p := range reach {
		if !g.traits.fits(p.Traits) || !g.member.fits(p.Aggregates) || g.tree != "" && !s.w.sameTree(p, g.tree) {
			continue
		}
		if room(p, s.used[p.UUID], g.resources) == "" {
			out = append(out, choice{map[string]map[string]int{p.UUID: g.resources}, []*provider{p}})
		}
	}
	return out
}

// together are the ways to serve a group by several providers: for each class
// one of them; the traits asked for are had by one or the other.
func (s *search) together(g *group, reach []*provider) []choice {
	classes := slices.Sorted(maps.Keys(g.resources))
	options := make([][]*provider, len(classes))
	for i, class := range classes {
		for _, p := range reach {
			// An aggregate of the root is one of the whole tree.
			aggregates := p.Aggregates
			if root, err := s.w.provider(s.w.root(p)); err == nil {
				aggregates = append(slices.Clone(aggregates), root.Aggregates...)
			}
			if has(p.Traits, g.traits.no) || !g.member.fits(aggregates) || g.tree != "" && !s.w.sameTree(p, g.tree) {
				continue
			}
			if s.room(p, class, g.resources[class]) {
				options[i] = append(options[i], p)
			}
		}
	}
	var out []choice
	var next func(i int, by []*provider)
	next = func(i int, by []*provider) {
		if s.tried++; s.tried > maxTried {
			return
		}
		if i < len(classes) {
			for _, p := range options[i] {
				next(i+1, append(by[:i:i], p))
			}
			return
		}
		var traits []string
		c := choice{amounts: map[string]map[string]int{}}
		for k, p := range by {
			if c.amounts[p.UUID] == nil {
				c.amounts[p.UUID] = map[string]int{}
				c.by = append(c.by, p)
				traits = append(traits, p.Traits...)
			}
			c.amounts[p.UUID][classes[k]] = g.resources[classes[k]]
		}
		if g.traits.fits(traits) {
			out = append(out, c)
		}
	}
	next(0, nil)
	return out
}

// combine takes one choice of each group.
func (s *search) combine(choices [][]choice, taken []choice) {
	if s.full() {
		return
	}
	s.tried++
	if i := len(taken); i < len(choices) {
		for _, c := range choices[i] {
			s.combine(choices, append(taken[:i:i], c))
		}
		return
	}
	if !s.isolated(taken) || !s.related(taken) {
		return
	}
	c := candidate{amounts: map[string]map[string]int{}, mappings: map[string][]string{}}
	for i, one := range taken {
		for rp, amounts := range one.amounts {
			for class, n := range amounts {
				if c.amounts[rp] == nil {
					c.amounts[rp] = map[string]int{}
				}
				c.amounts[rp][class] += n
			}
		}
		for _, p := range one.by {
			c.mappings[s.q.groups[i].suffix] = append(c.mappings[s.q.groups[i].suffix], p.UUID)
		}
	}
	if !s.fits(c.amounts) || !s.q.nested && s.crowded(c.amounts) {
		return
	}
	for _, list := range c.mappings {
		slices.Sort(list)
	}
	if key := fmt.Sprint(c.amounts, c.mappings); !s.seen[key] {
		s.seen[key] = true
		s.found = append(s.found, c)
	}
}

// fits says whether there is room for the sums of all groups.
func (s *search) fits(amounts map[string]map[string]int) bool {
	for rp, by := range amounts {
		p, err := s.w.provider(rp)
		if err != nil {
			return false
		}
		for class, n := range by {
			inv := p.Inventories[class]
			if s.used[rp][class]+n > inv.capacity() || n > inv.MaxUnit {
				return false
			}
		}
	}
	return true
}

// crowded says whether several providers of one tree are among those of a
// candidate, which clients understand since 1.29.
func (s *search) crowded(amounts map[string]map[string]int) bool {
	seen := map[string]bool{}
	for rp := range amounts {
		p, err := s.w.provider(rp)
		if err != nil || seen[s.w.root(p)] {
			return true
		}
		seen[s.w.root(p)] = true
	}
	return false
}

// isolated says whether the groups with suffixes have providers of their own,
// if that is asked for.
func (s *search) isolated(taken []choice) bool {
	seen := map[string]bool{}
	for i, c := range taken {
		g := s.q.groups[i]
		if g.suffix == "" || !s.q.isolate || len(g.resources) == 0 {
			continue
		}
		if seen[c.by[0].UUID] {
			return false
		}
		seen[c.by[0].UUID] = true
	}
	return true
}

// related says whether, of each set of groups asked for in one subtree, one
// provider is the ancestor of all others.
func (s *search) related(taken []choice) bool {
	for _, set := range s.q.subtrees {
		var all []*provider
		for i, c := range taken {
			if slices.Contains(set, s.q.groups[i].suffix) {
				all = append(all, c.by...)
			}
		}
		top := func(a *provider) bool {
			return !slices.ContainsFunc(all, func(p *provider) bool { return !s.w.within(p, a.UUID) })
		}
		if !slices.ContainsFunc(all, top) {
			return false
		}
	}
	return true
}

// listCandidates answers GET /allocation_candidates.
func (s *Service) listCandidates(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	requests, summaries := []any{}, map[string]any{}
	err = s.see(r, false, func(tx *store.Tx, all *world) error {
		if err := q.known(tx, all); err != nil {
			return err
		}
		find := search{w: all, q: q}
		find.run()
		for _, c := range find.found {
			requests = append(requests, candidateView(r, c))
			for _, p := range find.shown(c) {
				summaries[p.UUID] = summary(r, all, p, q)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"allocation_requests": requests, "provider_summaries": summaries})
}

// shown are the providers that summaries tell of: since 1.29 all of the trees
// that a candidate is in.
func (s *search) shown(c candidate) []*provider {
	var out []*provider
	for rp := range c.amounts {
		p, err := s.w.provider(rp)
		if err != nil {
			continue
		}
		if s.q.nested {
			out = append(out, s.trees[s.w.root(p)]...)
		} else {
			out = append(out, p)
		}
	}
	return out
}

func candidateView(r *http.Request, c candidate) map[string]any {
	if !api.AtLeast(r, "1.12") {
		list := []any{}
		for _, rp := range slices.Sorted(maps.Keys(c.amounts)) {
			list = append(list, map[string]any{"resource_provider": map[string]any{"uuid": rp}, "resources": c.amounts[rp]})
		}
		return map[string]any{"allocations": list}
	}
	by := map[string]any{}
	for rp, amounts := range c.amounts {
		by[rp] = map[string]any{"resources": amounts}
	}
	v := map[string]any{"allocations": by}
	if api.AtLeast(r, "1.34") {
		v["mappings"] = c.mappings
	}
	return v
}

func summary(r *http.Request, all *world, p *provider, q *query) map[string]any {
	used := all.used(p.UUID, nil)
	res := map[string]any{}
	for class, i := range p.Inventories {
		if api.AtLeast(r, "1.27") || q.asks(class) {
			res[class] = map[string]any{"capacity": i.capacity(), "used": used[class]}
		}
	}
	v := map[string]any{"resources": res}
	if api.AtLeast(r, "1.17") {
		v["traits"] = append([]string{}, p.Traits...)
	}
	if api.AtLeast(r, "1.29") {
		v["parent_provider_uuid"], v["root_provider_uuid"] = nil, all.root(p)
		if p.Parent != "" {
			v["parent_provider_uuid"] = p.Parent
		}
	}
	return v
}

func (q *query) asks(class string) bool {
	return slices.ContainsFunc(q.groups, func(g *group) bool { return g.resources[class] > 0 })
}

// known refuses traits and classes that there are not.
func (q *query) known(tx *store.Tx, all *world) error {
	var unknown []string
	sets := []traitSet{q.root}
	for _, g := range q.groups {
		sets = append(sets, g.traits)
		for class := range g.resources {
			ok, err := all.exists(tx, classes, class)
			if err != nil {
				return err
			}
			if !ok {
				return api.Invalid("Invalid resource class in resources parameter: %s", class)
			}
		}
	}
	for _, set := range sets {
		for _, t := range slices.Concat(append(slices.Clone(set.any), set.all, set.no)...) {
			ok, err := all.exists(tx, traits, t)
			if err != nil {
				return err
			}
			if !ok {
				unknown = append(unknown, t)
			}
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return api.Invalid("No such trait(s): %s.", strings.Join(slices.Compact(unknown), ", "))
	}
	return nil
}
