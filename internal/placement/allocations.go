package placement

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

// allocationBody is what a consumer asks for: by provider since 1.12, as a list
// before.
type allocationBody struct {
	Allocations json.RawMessage `json:"allocations"`
	Project     string          `json:"project_id"`
	User        string          `json:"user_id"`
	Generation  *int            `json:"consumer_generation"`
	Type        string          `json:"consumer_type"`
}

func (in *allocationBody) resources() (map[string]map[string]int, error) {
	out := map[string]map[string]int{}
	var list []struct {
		Provider struct {
			UUID string `json:"uuid"`
		} `json:"resource_provider"`
		Resources map[string]int `json:"resources"`
	}
	if json.Unmarshal(in.Allocations, &list) == nil {
		for _, a := range list {
			out[a.Provider.UUID] = a.Resources
		}
		return out, nil
	}
	var dict map[string]struct {
		Resources map[string]int `json:"resources"`
	}
	if err := api.DecodeJSON(in.Allocations, &dict); err != nil {
		return nil, err
	}
	for rp, a := range dict {
		out[rp] = a.Resources
	}
	return out, nil
}

func (s *Service) showAllocations(w http.ResponseWriter, r *http.Request) error {
	out := map[string]any{"allocations": map[string]any{}}
	err := s.see(r, false, func(_ *store.Tx, all *world) error {
		c := all.consumer(r.PathValue("consumer"))
		if c == nil {
			return nil
		}
		by := map[string]any{}
		for rp, res := range c.Resources {
			p, err := all.provider(rp)
			if err != nil {
				return err
			}
			by[rp] = map[string]any{"generation": p.Generation, "resources": res}
		}
		out["allocations"] = by
		if api.AtLeast(r, "1.12") {
			out["project_id"], out["user_id"] = c.ProjectID, c.UserID
		}
		if api.AtLeast(r, "1.28") {
			out["consumer_generation"] = c.Generation
		}
		if api.AtLeast(r, "1.38") {
			out["consumer_type"] = c.Type
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

func (s *Service) providerAllocations(w http.ResponseWriter, r *http.Request) error {
	return s.one(w, r, func(all *world, p *provider) (any, error) {
		by := map[string]any{}
		for _, c := range all.consumers {
			if res, ok := c.Resources[p.UUID]; ok {
				v := map[string]any{"resources": res}
				if api.AtLeast(r, "1.28") {
					v["consumer_generation"] = c.Generation
				}
				by[c.UUID] = v
			}
		}
		return map[string]any{"allocations": by, "resource_provider_generation": p.Generation}, nil
	})
}

// allocate gives a consumer what it asks for in place of what it has, or
// nothing at all.
func (all *world) allocate(tx *store.Tx, r *http.Request, id string, in *allocationBody) error {
	if _, err := uuid.Parse(id); err != nil {
		return api.Invalid("consumer %q is no UUID", id).Wrap(err)
	}
	want, err := in.resources()
	if err != nil {
		return err
	}
	have := all.consumer(id)
	if have != nil && have.machine {
		return api.Conflict("consumer %s is the instance of a bare-metal node: its allocation ends with the deployment", id)
	}
	if api.AtLeast(r, "1.28") {
		if have == nil && in.Generation != nil || have != nil && (in.Generation == nil || *in.Generation != have.Generation) {
			return api.Conflict("consumer generation conflict - expected %s but got %s", generationText(have), numberText(in.Generation)).Named(concurrent)
		}
	}
	for rp, amounts := range want {
		p, err := all.provider(rp)
		if err != nil {
			return api.Invalid("Allocation for resource provider '%s' that does not exist.", rp).Wrap(err)
		}
		if p.machine {
			return api.Conflict("resource provider %s is a bare-metal node: nodes are allocated by deploying on them", rp)
		}
		if why := room(p, all.used(rp, have), amounts); why != "" {
			return api.Conflict("Unable to allocate: %s", why)
		}
		if err := save(tx, p); err != nil {
			return err
		}
	}
	if have != nil {
		if _, err := tx.Exec(`DELETE FROM placement_allocations WHERE consumer = ?`, id); err != nil {
			return err
		}
		all.consumers = slices.DeleteFunc(all.consumers, func(c *consumer) bool { return c == have })
	}
	if len(want) == 0 {
		return nil
	}
	c := &consumer{UUID: id, Generation: 1, ProjectID: in.Project, UserID: in.User, Type: in.Type, Resources: want}
	if have != nil {
		c.Generation = have.Generation + 1
	}
	all.consumers = append(all.consumers, c)
	_, err = tx.Exec(`INSERT INTO placement_allocations (consumer, project_id, user_id, doc) VALUES (?, ?, ?, ?)`, id, c.ProjectID, c.UserID, store.JSON(c))
	return err
}

func generationText(c *consumer) string {
	if c == nil {
		return "null"
	}
	return numberText(&c.Generation)
}

func numberText(n *int) string {
	if n == nil {
		return "null"
	}
	b, _ := json.Marshal(*n)
	return string(b)
}

func (s *Service) putAllocations(w http.ResponseWriter, r *http.Request) error {
	var in allocationBody
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if api.AtLeast(r, "1.8") && (in.Project == "" || in.User == "") {
		return api.Invalid("JSON does not validate: 'project_id' and 'user_id' are required")
	}
	err := s.see(r, true, func(tx *store.Tx, all *world) error { return all.allocate(tx, r, r.PathValue("consumer"), &in) })
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// postAllocations changes those of many consumers, all or none.
func (s *Service) postAllocations(w http.ResponseWriter, r *http.Request) error {
	var in map[string]allocationBody
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	err := s.see(r, true, func(tx *store.Tx, all *world) error {
		ids := make([]string, 0, len(in))
		for id := range in {
			ids = append(ids, id)
		}
		slices.SortFunc(ids, func(a, b string) int { // those that give back come first
			return len(in[a].Allocations) - len(in[b].Allocations)
		})
		for _, id := range ids {
			body := in[id]
			if err := all.allocate(tx, r, id, &body); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) deleteAllocations(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("consumer")
	err := s.see(r, true, func(tx *store.Tx, all *world) error {
		c := all.consumer(id)
		if c == nil {
			return api.NotFound("No allocations for consumer '%s'", id)
		}
		if c.machine {
			return api.Conflict("consumer %s is the instance of a bare-metal node: its allocation ends with the deployment", id)
		}
		_, err := tx.Exec(`DELETE FROM placement_allocations WHERE consumer = ?`, id)
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// projectUsages sums what a project has allocated.
func (s *Service) projectUsages(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	project := q.Get("project_id")
	if project == "" {
		return api.Invalid("query parameter project_id is missing")
	}
	if who, _ := auth.FromContext(r.Context()); !who.HasRole("admin", "service") && who.ProjectID != project {
		return api.Forbidden("only an administrator may see the usage of another project")
	}
	sum := map[string]int{}
	consumers := 0
	err := s.see(r, false, func(_ *store.Tx, all *world) error {
		for _, c := range all.consumers {
			if c.ProjectID != project || q.Get("user_id") != "" && q.Get("user_id") != c.UserID {
				continue
			}
			consumers++
			for _, res := range c.Resources {
				for class, n := range res {
					sum[class] += n
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if api.AtLeast(r, "1.38") {
		by := map[string]any{}
		if consumers > 0 {
			v := map[string]any{"consumer_count": consumers}
			for class, n := range sum {
				v[class] = n
			}
			by["all"] = v
		}
		return api.WriteJSON(w, http.StatusOK, map[string]any{"usages": by})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"usages": sum})
}

// listCandidates answers who could serve a request: providers that have all of
// it (requests that only several providers together could serve find nobody).
func (s *Service) listCandidates(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilter(r)
	if err != nil {
		return err
	}
	if len(f.resources) == 0 {
		return api.Invalid("query parameter resources is missing")
	}
	page, err := api.ParsePage(r, 0)
	if err != nil {
		return err
	}
	requests, summaries := []any{}, map[string]any{}
	err = s.see(r, false, func(_ *store.Tx, all *world) error {
		for _, p := range all.providers {
			if !f.fits(all, p) || page.Limit > 0 && len(requests) == page.Limit {
				continue
			}
			requests = append(requests, candidate(r, p.UUID, f.resources))
			summaries[p.UUID] = summary(r, all, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"allocation_requests": requests, "provider_summaries": summaries})
}

func candidate(r *http.Request, rp string, resources map[string]int) map[string]any {
	if !api.AtLeast(r, "1.12") {
		return map[string]any{"allocations": []any{map[string]any{"resource_provider": map[string]any{"uuid": rp}, "resources": resources}}}
	}
	v := map[string]any{"allocations": map[string]any{rp: map[string]any{"resources": resources}}}
	if api.AtLeast(r, "1.34") {
		v["mappings"] = map[string]any{"": []string{rp}}
	}
	return v
}

func summary(r *http.Request, all *world, p *provider) map[string]any {
	used := all.used(p.UUID, nil)
	res := map[string]any{}
	for class, i := range p.Inventories {
		res[class] = map[string]any{"capacity": i.capacity(), "used": used[class]}
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
