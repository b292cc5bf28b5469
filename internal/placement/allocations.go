package placement

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
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
			out["consumer_type"] = c.kind()
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

// claim is a consumer with what it asks for in place of what it has.
type claim struct {
	id   string
	in   *allocationBody
	want map[string]map[string]int
	had  *consumer
}

// allocate gives consumers what they ask for in place of what they have, or
// nothing to any of them. First all give back, so that they may exchange.
func (all *world) allocate(tx *store.Tx, r *http.Request, bodies map[string]*allocationBody) error {
	var claims []*claim
	for _, id := range slices.Sorted(maps.Keys(bodies)) {
		c, err := all.claim(r, id, bodies[id])
		if err != nil {
			return err
		}
		claims = append(claims, c)
	}
	for _, c := range claims {
		if c.had == nil {
			continue
		}
		if _, err := tx.Exec(`DELETE FROM placement_allocations WHERE consumer = ?`, c.id); err != nil {
			return err
		}
		all.consumers = slices.DeleteFunc(all.consumers, func(o *consumer) bool { return o == c.had })
	}
	for _, c := range claims {
		if err := all.grant(tx, c); err != nil {
			return err
		}
	}
	return nil
}

// consumerTypes are what Placement takes for one (1.38).
var consumerTypes = regexp.MustCompile(`^[A-Z0-9_]{1,255}$`) //nolint:gochecknoglobals // constant

func (all *world) claim(r *http.Request, id string, in *allocationBody) (*claim, error) {
	if _, err := uuid.Parse(id); err != nil {
		return nil, api.Invalid("consumer %q is no UUID", id).Wrap(err)
	}
	want, err := in.resources()
	if err != nil {
		return nil, err
	}
	if api.AtLeast(r, "1.8") && (in.Project == "" || in.User == "") {
		return nil, api.Invalid("JSON does not validate: 'project_id' and 'user_id' are required")
	}
	if api.AtLeast(r, "1.38") && !consumerTypes.MatchString(in.Type) {
		return nil, api.Invalid("JSON does not validate: 'consumer_type' is %q, expected capitals, digits and _", in.Type)
	}
	had := all.consumer(id)
	if had != nil && had.machine {
		return nil, api.Conflict("consumer %s is the instance of a bare-metal node: its allocation ends with the deployment", id)
	}
	if api.AtLeast(r, "1.28") {
		if had == nil && in.Generation != nil || had != nil && (in.Generation == nil || *in.Generation != had.Generation) {
			return nil, api.Conflict("consumer generation conflict - expected %s but got %s", generationText(had), numberText(in.Generation)).Named(concurrent)
		}
	}
	return &claim{id, in, want, had}, nil
}

func (all *world) grant(tx *store.Tx, c *claim) error {
	for _, rp := range slices.Sorted(maps.Keys(c.want)) {
		p, err := all.provider(rp)
		if err != nil {
			return api.Invalid("Allocation for resource provider '%s' that does not exist.", rp).Wrap(err)
		}
		if p.machine {
			return api.Conflict("resource provider %s is a bare-metal node: nodes are allocated by deploying on them", rp)
		}
		if why := room(p, all.used(rp, nil), c.want[rp]); why != "" {
			return api.Conflict("Unable to allocate: %s", why)
		}
		if err := save(tx, p); err != nil {
			return err
		}
	}
	if len(c.want) == 0 {
		return nil
	}
	now := &consumer{UUID: c.id, Generation: 1, ProjectID: c.in.Project, UserID: c.in.User, Type: c.in.Type, Resources: c.want}
	if c.had != nil {
		now.Generation = c.had.Generation + 1
		if now.Type == "" { // older clients know no types
			now.Type = c.had.Type
		}
	}
	all.consumers = append(all.consumers, now)
	_, err := tx.Exec(`INSERT INTO placement_allocations (consumer, project_id, user_id, doc) VALUES (?, ?, ?, ?)`, c.id, now.ProjectID, now.UserID, store.JSON(now))
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
	err := s.see(r, true, func(tx *store.Tx, all *world) error {
		return all.allocate(tx, r, map[string]*allocationBody{r.PathValue("consumer"): &in})
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// postAllocations changes those of many consumers, all or none.
func (s *Service) postAllocations(w http.ResponseWriter, r *http.Request) error {
	var in map[string]*allocationBody
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	err := s.see(r, true, func(tx *store.Tx, all *world) error { return all.allocate(tx, r, in) })
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
	typed := api.AtLeast(r, "1.38")
	kind := q.Get("consumer_type")
	if kind != "" && (!typed || kind != "all" && kind != "unknown" && !consumerTypes.MatchString(kind)) {
		return api.Invalid("Invalid query string parameters: consumer_type is %q, expected a type, all or unknown, since version 1.38", kind)
	}
	sum := map[string]int{}
	by := map[string]map[string]int{}
	err := s.see(r, false, func(_ *store.Tx, all *world) error {
		for _, c := range all.consumers {
			if c.ProjectID != project || q.Get("user_id") != "" && q.Get("user_id") != c.UserID {
				continue
			}
			group := c.kind()
			if kind != "" && kind != "all" && kind != group {
				continue
			}
			if kind == "all" {
				group = kind
			}
			if by[group] == nil {
				by[group] = map[string]int{}
			}
			by[group]["consumer_count"]++
			for _, res := range c.Resources {
				for class, n := range res {
					sum[class] += n
					by[group][class] += n
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if typed {
		return api.WriteJSON(w, http.StatusOK, map[string]any{"usages": by})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"usages": sum})
}

// kind is the consumer's type: those that clients of before 1.38 made have none.
func (c *consumer) kind() string {
	if c.Type == "" {
		return "unknown"
	}
	return c.Type
}
