package placement

import (
	"maps"
	"math"
	"net/http"
	"slices"

	"github.com/tripleo/tripleo/internal/api"
)

// inventoryBody is an inventory as clients give it.
type inventoryBody struct {
	Generation *int     `json:"resource_provider_generation"`
	Class      string   `json:"resource_class"`
	Total      int      `json:"total"`
	Reserved   int      `json:"reserved"`
	MinUnit    *int     `json:"min_unit"`
	MaxUnit    *int     `json:"max_unit"`
	StepSize   *int     `json:"step_size"`
	Ratio      *float64 `json:"allocation_ratio"`
}

func or[T any](p *T, unset T) T {
	if p == nil {
		return unset
	}
	return *p
}

func (in *inventoryBody) inventory(class string) (inventory, error) {
	i := inventory{
		Total: in.Total, Reserved: in.Reserved, MinUnit: or(in.MinUnit, 1), MaxUnit: or(in.MaxUnit, math.MaxInt32), StepSize: or(in.StepSize, 1), Ratio: or(in.Ratio, 1),
	}
	if i.Total < 1 || i.Reserved < 0 || i.Reserved > i.Total || i.MinUnit < 1 || i.MaxUnit < i.MinUnit || i.StepSize < 1 || i.Ratio <= 0 {
		return i, api.Invalid("inventory of %s is %+v, expected total ≥ 1, 0 ≤ reserved ≤ total, 1 ≤ min_unit ≤ max_unit, step_size ≥ 1, allocation_ratio > 0", class, i)
	}
	return i, nil
}

func (s *Service) listInventories(w http.ResponseWriter, r *http.Request) error {
	return s.one(w, r, func(_ *world, p *provider) (any, error) {
		return map[string]any{"resource_provider_generation": p.Generation, "inventories": p.Inventories}, nil
	})
}

func inventoryView(p *provider, i inventory) map[string]any {
	return map[string]any{
		"resource_provider_generation": p.Generation, "total": i.Total, "reserved": i.Reserved, "min_unit": i.MinUnit, "max_unit": i.MaxUnit,
		"step_size": i.StepSize, "allocation_ratio": i.Ratio,
	}
}

func (s *Service) showInventory(w http.ResponseWriter, r *http.Request) error {
	return s.one(w, r, func(_ *world, p *provider) (any, error) {
		i, ok := p.Inventories[r.PathValue("class")]
		if !ok {
			return nil, api.NotFound("No inventory of class %s for %s", r.PathValue("class"), p.UUID)
		}
		return inventoryView(p, i), nil
	})
}

// keepUsed refuses to take away what is allocated.
func keepUsed(w *world, p *provider, next map[string]inventory) error {
	for class := range w.used(p.UUID, nil) {
		if _, ok := next[class]; !ok {
			return api.Conflict("Inventory for '%s' on resource provider '%s' in use.", class, p.UUID).Named("placement.inventory.inuse")
		}
	}
	return nil
}

// checkNames refuses names that there are not.
func (s *Service) checkNames(r *http.Request, kind, complaint string, names ...string) error {
	all, err := s.names(r, kind)
	for _, n := range names {
		if err == nil && !slices.Contains(all, n) {
			err = api.Invalid(complaint, n)
		}
	}
	return err
}

const unknownClass = "Unknown resource class in inventory: %s"

func (s *Service) putInventories(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Generation  int                      `json:"resource_provider_generation"`
		Inventories map[string]inventoryBody `json:"inventories"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	next := map[string]inventory{}
	for class, b := range in.Inventories {
		i, err := b.inventory(class)
		if err != nil {
			return err
		}
		next[class] = i
	}
	if err := s.checkNames(r, classes, unknownClass, slices.Sorted(maps.Keys(next))...); err != nil {
		return err
	}
	p, err := s.change(r, func(all *world, p *provider) error {
		if in.Generation != p.Generation {
			return stale(p, in.Generation)
		}
		if err := keepUsed(all, p, next); err != nil {
			return err
		}
		p.Inventories = next
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"resource_provider_generation": p.Generation, "inventories": p.Inventories})
}

// putInventory sets one class: with PUT the one of the path, with POST the one
// of the body, which must be new.
func (s *Service) putInventory(w http.ResponseWriter, r *http.Request) error {
	var in inventoryBody
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	class := r.PathValue("class")
	fresh := class == ""
	if fresh {
		class = in.Class
	}
	i, err := in.inventory(class)
	if err != nil {
		return err
	}
	if err := s.checkNames(r, classes, unknownClass, class); err != nil {
		return err
	}
	p, err := s.change(r, func(_ *world, p *provider) error {
		_, have := p.Inventories[class]
		switch {
		case in.Generation != nil && *in.Generation != p.Generation:
			return stale(p, *in.Generation)
		case fresh && have:
			return api.Conflict("Update conflict: inventory of %s exists", class)
		case !fresh && !have:
			return api.NotFound("No inventory of class %s found for update", class)
		}
		p.Inventories[class] = i
		return nil
	})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if fresh {
		status = http.StatusCreated
		w.Header().Set("Location", s.cfg.BaseURL+"/resource_providers/"+p.UUID+"/inventories/"+class)
	}
	return api.WriteJSON(w, status, inventoryView(p, i))
}

func (s *Service) deleteInventories(w http.ResponseWriter, r *http.Request) error {
	class := r.PathValue("class")
	_, err := s.change(r, func(all *world, p *provider) error {
		next := map[string]inventory{}
		for name, i := range p.Inventories {
			if class != "" && name != class {
				next[name] = i
			}
		}
		if _, ok := p.Inventories[class]; class != "" && !ok {
			return api.NotFound("No inventory of class %s found for delete", class)
		}
		if err := keepUsed(all, p, next); err != nil {
			return err
		}
		p.Inventories = next
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) providerUsages(w http.ResponseWriter, r *http.Request) error {
	return s.one(w, r, func(all *world, p *provider) (any, error) {
		used := all.used(p.UUID, nil)
		for class := range p.Inventories {
			used[class] += 0 // those of which nothing is used too
		}
		return map[string]any{"resource_provider_generation": p.Generation, "usages": used}, nil
	})
}

func (s *Service) listAggregates(w http.ResponseWriter, r *http.Request) error {
	return s.one(w, r, func(_ *world, p *provider) (any, error) { return aggregateView(r, p), nil })
}

func aggregateView(r *http.Request, p *provider) map[string]any {
	v := map[string]any{"aggregates": append([]string{}, p.Aggregates...)}
	if api.AtLeast(r, "1.19") {
		v["resource_provider_generation"] = p.Generation
	}
	return v
}

func (s *Service) putAggregates(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Generation int      `json:"resource_provider_generation"`
		Aggregates []string `json:"aggregates"`
	}
	if api.AtLeast(r, "1.19") {
		if err := api.ReadJSON(r, &in); err != nil {
			return err
		}
	} else if err := api.ReadJSON(r, &in.Aggregates); err != nil {
		return err
	}
	p, err := s.change(r, func(_ *world, p *provider) error {
		if api.AtLeast(r, "1.19") && in.Generation != p.Generation {
			return stale(p, in.Generation)
		}
		slices.Sort(in.Aggregates)
		p.Aggregates = slices.Compact(in.Aggregates)
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, aggregateView(r, p))
}

func traitView(p *provider) map[string]any {
	return map[string]any{"resource_provider_generation": p.Generation, "traits": append([]string{}, p.Traits...)}
}

func (s *Service) listProviderTraits(w http.ResponseWriter, r *http.Request) error {
	return s.one(w, r, func(_ *world, p *provider) (any, error) { return traitView(p), nil })
}

func (s *Service) putProviderTraits(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Generation int      `json:"resource_provider_generation"`
		Traits     []string `json:"traits"`
	}
	if r.Method == http.MethodPut {
		if err := api.ReadJSON(r, &in); err != nil {
			return err
		}
	}
	if err := s.checkNames(r, traits, "No such trait %s.", in.Traits...); err != nil {
		return err
	}
	p, err := s.change(r, func(_ *world, p *provider) error {
		if r.Method == http.MethodPut && in.Generation != p.Generation {
			return stale(p, in.Generation)
		}
		slices.Sort(in.Traits)
		next := slices.Compact(in.Traits)
		if slices.Equal(next, p.Traits) {
			p.Generation-- // nothing changes, nor does the generation
		}
		p.Traits = next
		return nil
	})
	if err != nil {
		return err
	}
	if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return api.WriteJSON(w, http.StatusOK, traitView(p))
}
