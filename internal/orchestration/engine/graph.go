package engine

// graph keeps which resources may begin. Names are taken in the order of the template.
type graph struct {
	missing    map[string]int // dependencies that are not done
	dependents map[string][]string
	ready      []string
	open       int // resources that are not done
	running    map[string]bool
	limit      int
}

func newGraph(r *run) *graph {
	g := &graph{missing: map[string]int{}, dependents: map[string][]string{}, running: map[string]bool{}, open: len(r.names), limit: r.st.Def.BatchSize}
	var inProgress, rest []string
	for _, n := range r.names {
		if r.done(n) {
			continue
		}
		if row := r.rows[n]; row != nil && row.Op == r.st.Op && row.Status == InProgress {
			inProgress = append(inProgress, n)
		} else {
			rest = append(rest, n)
		}
	}
	for _, n := range r.names {
		if r.done(n) {
			g.open--
			continue
		}
		for _, d := range r.deps[n] {
			if !r.done(d) {
				g.missing[n]++
				g.dependents[d] = append(g.dependents[d], n)
			}
		}
	}
	for _, n := range append(inProgress, rest...) {
		if g.missing[n] == 0 {
			g.ready = append(g.ready, n)
		}
	}
	return g
}

// done tells whether a resource has been taken care of in this operation.
func (r *run) done(name string) bool {
	row := r.rows[name]
	return row != nil && row.Op == r.st.Op && row.Status == Complete && row.Hook() == ""
}

func (g *graph) next() (string, bool) {
	if len(g.ready) == 0 || g.limit > 0 && len(g.running) >= g.limit {
		return "", false
	}
	n := g.ready[0]
	g.ready = g.ready[1:]
	g.running[n] = true
	return n, true
}

func (g *graph) finished(name string) {
	delete(g.running, name)
	g.open--
	for _, d := range g.dependents[name] {
		if g.missing[d]--; g.missing[d] == 0 {
			g.ready = append(g.ready, d)
		}
	}
}

// waiting leaves a resource in progress for a later run.
func (g *graph) waiting(string) {}

// requeue begins a resource again in this run.
func (g *graph) requeue(name string) {
	delete(g.running, name)
	g.ready = append(g.ready, name)
}
