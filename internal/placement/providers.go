package placement

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/resourceclass"
	"github.com/tripleo/tripleo/internal/store"
)

type inventory struct {
	Total    int     `json:"total"`
	Reserved int     `json:"reserved"`
	MinUnit  int     `json:"min_unit"`
	MaxUnit  int     `json:"max_unit"`
	StepSize int     `json:"step_size"`
	Ratio    float64 `json:"allocation_ratio"`
}

// capacity is how many units may be allocated together.
func (i inventory) capacity() int { return int(float64(i.Total-i.Reserved) * i.Ratio) }

type provider struct {
	UUID        string               `json:"uuid"`
	Name        string               `json:"name"`
	Generation  int                  `json:"generation"`
	Parent      string               `json:"parent"`
	Inventories map[string]inventory `json:"inventories"`
	Traits      []string             `json:"traits"`
	Aggregates  []string             `json:"aggregates"`

	machine bool // from the bare-metal service
}

// consumer is who has something allocated.
type consumer struct {
	UUID       string                    `json:"uuid"`
	Generation int                       `json:"generation"`
	ProjectID  string                    `json:"project_id"`
	UserID     string                    `json:"user_id"`
	Type       string                    `json:"type"`
	Resources  map[string]map[string]int `json:"resources"` // provider -> class -> amount

	machine bool
}

// world is everything at one moment.
type world struct {
	providers []*provider
	consumers []*consumer
}

func (w *world) provider(id string) (*provider, error) {
	i := slices.IndexFunc(w.providers, func(p *provider) bool { return p.UUID == id })
	if i < 0 {
		return nil, api.NotFound("No resource provider with uuid %s found", id)
	}
	return w.providers[i], nil
}

func (w *world) consumer(id string) *consumer {
	i := slices.IndexFunc(w.consumers, func(c *consumer) bool { return c.UUID == id })
	if i < 0 {
		return nil
	}
	return w.consumers[i]
}

// root is the provider at the top of p's tree.
func (w *world) root(p *provider) string {
	for range w.providers { // at most as deep as there are providers
		parent, err := w.provider(p.Parent)
		if p.Parent == "" || err != nil {
			break
		}
		p = parent
	}
	return p.UUID
}

// sameTree says whether p is in the tree of the provider named.
func (w *world) sameTree(p *provider, id string) bool {
	other, err := w.provider(id)
	return err == nil && w.root(p) == w.root(other)
}

// within says whether p is the provider named, or below it.
func (w *world) within(p *provider, id string) bool {
	for range w.providers { // at most as deep as there are providers
		if p.UUID == id {
			return true
		}
		parent, err := w.provider(p.Parent)
		if p.Parent == "" || err != nil {
			break
		}
		p = parent
	}
	return false
}

// used sums what is allocated of a provider, by class.
func (w *world) used(rp string, but *consumer) map[string]int {
	out := map[string]int{}
	for _, c := range w.consumers {
		if c == but {
			continue
		}
		for class, n := range c.Resources[rp] {
			out[class] += n
		}
	}
	return out
}

// machines asks the bare-metal service for its nodes.
func (s *Service) machines(ctx context.Context) ([]nodes.Node, error) {
	session, err := s.cfg.Cloud.Service(ctx)
	if err != nil {
		return nil, err
	}
	ironic, err := session.Baremetal()
	if err != nil {
		return nil, err
	}
	page, err := nodes.ListDetail(ironic, nodes.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return nodes.ExtractNodes(page)
}

// fromMachines turns nodes into providers and their instances into consumers,
// as Nova's ironic driver reports them: a node that cannot take a server now,
// and has none, has all of its one unit reserved.
func fromMachines(all []nodes.Node) world {
	var out world
	for i := range all {
		n := &all[i]
		if n.ResourceClass == "" || n.ProvisionState == "enroll" {
			continue
		}
		class := resourceclass.Custom(n.ResourceClass)
		inv := inventory{Total: 1, MinUnit: 1, MaxUnit: 1, StepSize: 1, Ratio: 1}
		if n.InstanceUUID == "" && (n.ProvisionState != "available" || n.Maintenance || n.Retired) {
			inv.Reserved = 1
		}
		out.providers = append(out.providers, &provider{
			UUID: n.UUID, Name: n.UUID, Inventories: map[string]inventory{class: inv}, Traits: slices.Sorted(slices.Values(n.Traits)), machine: true,
		})
		if n.InstanceUUID != "" {
			out.consumers = append(out.consumers, &consumer{
				UUID: n.InstanceUUID, Generation: 1, Type: "INSTANCE", Resources: map[string]map[string]int{n.UUID: {class: 1}}, machine: true,
			})
		}
	}
	return out
}

// see runs fn on everything there is; write, in a transaction that may change
// what is ours: one at a time, so that two requests never allocate the same
// unit.
func (s *Service) see(r *http.Request, write bool, fn func(tx *store.Tx, w *world) error) error {
	all, err := s.machines(r.Context())
	if err != nil {
		return err
	}
	if write {
		return s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
			if err := lockAll(tx); err != nil {
				return err
			}
			w := fromMachines(all)
			if err := w.read(tx); err != nil {
				return err
			}
			return fn(tx, &w)
		})
	}
	return s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		w := fromMachines(all)
		if err := w.read(tx); err != nil {
			return err
		}
		return fn(tx, &w)
	})
}

// lockAll takes the one row that all changes take first.
func lockAll(tx *store.Tx) error {
	_, err := tx.Exec(`INSERT INTO placement_names (kind, name) VALUES ('lock', '') ON CONFLICT (kind, name) DO UPDATE SET name = excluded.name`)
	return err
}

// read adds what clients made themselves.
func (w *world) read(tx *store.Tx) error {
	err := tx.Each(func(scan func(...any) error) error {
		p := new(provider)
		err := scan(store.JSON(p))
		w.providers = append(w.providers, p)
		return err
	}, `SELECT doc FROM placement_providers ORDER BY uuid`)
	if err != nil {
		return err
	}
	return tx.Each(func(scan func(...any) error) error {
		c := new(consumer)
		err := scan(store.JSON(c))
		w.consumers = append(w.consumers, c)
		return err
	}, `SELECT doc FROM placement_allocations ORDER BY consumer`)
}

// change alters a provider of ours.
func (s *Service) change(r *http.Request, fn func(w *world, p *provider) error) (*provider, error) {
	var p *provider
	err := s.see(r, true, func(tx *store.Tx, w *world) (err error) {
		if p, err = w.provider(r.PathValue("rp")); err != nil {
			return err
		}
		if p.machine {
			return api.Conflict("resource provider %s is a bare-metal node: change it there (openstack baremetal node set)", p.UUID)
		}
		if err := fn(w, p); err != nil {
			return err
		}
		return save(tx, p)
	})
	return p, err
}

func save(tx *store.Tx, p *provider) error {
	p.Generation++
	_, err := tx.Exec(`UPDATE placement_providers SET name = ?, doc = ? WHERE uuid = ?`, p.Name, store.JSON(p), p.UUID)
	if errors.Is(err, store.ErrConflict) {
		return api.Conflict("Conflicting resource provider name: %s already exists.", p.Name).Named("placement.duplicate_name")
	}
	return err
}

func (s *Service) view(r *http.Request, w *world, p *provider) map[string]any {
	base := s.cfg.BaseURL + "/resource_providers/" + p.UUID
	links := []any{map[string]any{"rel": "self", "href": base}}
	for _, rel := range []string{"inventories", "usages", "aggregates", "traits", "allocations"} {
		if rel == "aggregates" && !api.AtLeast(r, "1.1") || rel == "traits" && !api.AtLeast(r, "1.6") || rel == "allocations" && !api.AtLeast(r, "1.11") {
			continue
		}
		links = append(links, map[string]any{"rel": rel, "href": base + "/" + rel})
	}
	v := map[string]any{"uuid": p.UUID, "name": p.Name, "generation": p.Generation, "links": links}
	if api.AtLeast(r, "1.14") {
		v["parent_provider_uuid"], v["root_provider_uuid"] = nil, w.root(p)
		if p.Parent != "" {
			v["parent_provider_uuid"] = p.Parent
		}
	}
	return v
}

// filter is what a list of providers is narrowed by.
type filter struct {
	resources      map[string]int
	traits         traitSet
	member         memberSet
	tree, name, id string
}

func parseFilter(r *http.Request) (*filter, error) {
	q := r.URL.Query()
	f := &filter{tree: q.Get("in_tree"), name: q.Get("name"), id: q.Get("uuid")}
	var err error
	if text := q.Get("resources"); text != "" {
		if f.resources, err = parseResources(text); err != nil {
			return nil, err
		}
	}
	if v := q["required"]; len(v) > 0 {
		if f.traits, err = parseTraits(r, "required", v); err != nil {
			return nil, err
		}
	}
	f.member, err = parseMembers(r, "member_of", q["member_of"])
	return f, err
}

func has(have, want []string) bool {
	return slices.ContainsFunc(want, func(w string) bool { return slices.Contains(have, w) })
}

func (f *filter) fits(w *world, p *provider) bool {
	if f.name != "" && f.name != p.Name || f.id != "" && f.id != p.UUID || f.tree != "" && !w.sameTree(p, f.tree) {
		return false
	}
	return f.traits.fits(p.Traits) && f.member.fits(p.Aggregates) && room(p, w.used(p.UUID, nil), f.resources) == ""
}

// room says why amounts cannot be allocated of a provider, or "".
func room(p *provider, used, amounts map[string]int) string {
	for class, n := range amounts {
		inv, ok := p.Inventories[class]
		switch {
		case !ok:
			return fmt.Sprintf("Inventory for '%s' on resource provider '%s' invalid.", class, p.UUID)
		case n < inv.MinUnit || n > inv.MaxUnit || inv.StepSize > 0 && n%inv.StepSize != 0:
			return fmt.Sprintf("Unable to allocate inventory for '%s' on resource provider '%s': %d is not between %d and %d in steps of %d.", class, p.UUID, n, inv.MinUnit, inv.MaxUnit, inv.StepSize)
		case used[class]+n > inv.capacity():
			return fmt.Sprintf("Unable to allocate inventory: The requested amount would exceed the capacity: %s on %s has %d of %d used, %d are asked for.", class, p.UUID, used[class], inv.capacity(), n)
		}
	}
	return ""
}

func (s *Service) listProviders(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilter(r)
	if err != nil {
		return err
	}
	out := []any{}
	err = s.see(r, false, func(_ *store.Tx, all *world) error {
		for _, p := range all.providers {
			if f.fits(all, p) {
				out = append(out, s.view(r, all, p))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"resource_providers": out})
}

type providerBody struct {
	UUID   string `json:"uuid"`
	Name   string `json:"name"`
	Parent parent `json:"parent_provider_uuid"`
}

// parent is the provider above another: null makes a provider the root of a
// tree of its own.
type parent struct {
	id    string
	given bool
}

// UnmarshalJSON takes a UUID or null.
func (p *parent) UnmarshalJSON(b []byte) error {
	p.given = true
	return json.Unmarshal(b, &p.id)
}

func (in *providerBody) check(w *world, self string) error {
	if in.Name == "" || len(in.Name) > 200 {
		return api.Invalid("the name of a resource provider has %d characters, expected 1 to 200", len(in.Name))
	}
	for _, p := range w.providers {
		if p.Name == in.Name && p.UUID != self {
			return api.Conflict("Conflicting resource provider name: %s already exists.", in.Name).Named("placement.duplicate_name")
		}
	}
	if in.Parent.id == "" {
		return nil
	}
	parent, err := w.provider(in.Parent.id)
	if err != nil || self != "" && w.within(parent, self) {
		return api.Invalid("parent provider %s does not exist, or is %s or below it", in.Parent.id, self)
	}
	return nil
}

// move puts p where it is asked for: since 1.37 anywhere, before that only what
// has no parent below one.
func (in *providerBody) move(r *http.Request, p *provider) error {
	if !in.Parent.given || in.Parent.id == p.Parent {
		return nil
	}
	if p.Parent != "" && !api.AtLeast(r, "1.37") {
		return api.Invalid("Unable to save resource provider %s: re-parenting a provider is not currently allowed.", p.UUID)
	}
	p.Parent = in.Parent.id
	return nil
}

func (s *Service) createProvider(w http.ResponseWriter, r *http.Request) error {
	var in providerBody
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if in.UUID == "" {
		in.UUID = uuid.NewString()
	}
	if _, err := uuid.Parse(in.UUID); err != nil {
		return api.Invalid("uuid is %q, expected a UUID", in.UUID).Wrap(err)
	}
	var v map[string]any
	err := s.see(r, true, func(tx *store.Tx, all *world) error {
		if _, err := all.provider(in.UUID); err == nil {
			return api.Conflict("Conflicting resource provider uuid: %s already exists.", in.UUID)
		}
		if err := in.check(all, ""); err != nil {
			return err
		}
		p := &provider{UUID: in.UUID, Name: in.Name, Parent: in.Parent.id, Inventories: map[string]inventory{}}
		all.providers = append(all.providers, p)
		v = s.view(r, all, p)
		_, err := tx.Exec(`INSERT INTO placement_providers (uuid, name, doc) VALUES (?, ?, ?)`, p.UUID, p.Name, store.JSON(p))
		return err
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", s.cfg.BaseURL+"/resource_providers/"+in.UUID)
	if !api.AtLeast(r, "1.20") {
		w.WriteHeader(http.StatusCreated)
		return nil
	}
	return api.WriteJSON(w, http.StatusOK, v)
}

// one answers with something about one provider.
func (s *Service) one(w http.ResponseWriter, r *http.Request, fn func(all *world, p *provider) (any, error)) error {
	var out any
	err := s.see(r, false, func(_ *store.Tx, all *world) error {
		p, err := all.provider(r.PathValue("rp"))
		if err != nil {
			return err
		}
		out, err = fn(all, p)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

func (s *Service) showProvider(w http.ResponseWriter, r *http.Request) error {
	return s.one(w, r, func(all *world, p *provider) (any, error) { return s.view(r, all, p), nil })
}

func (s *Service) updateProvider(w http.ResponseWriter, r *http.Request) error {
	var in providerBody
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	var v map[string]any
	_, err := s.change(r, func(all *world, p *provider) error {
		if err := in.check(all, p.UUID); err != nil {
			return err
		}
		p.Name = in.Name
		if err := in.move(r, p); err != nil {
			return err
		}
		p.Generation-- // a name is no part of the generation
		v = s.view(r, all, p)
		v["generation"] = p.Generation + 1
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, v)
}

func (s *Service) deleteProvider(w http.ResponseWriter, r *http.Request) error {
	err := s.see(r, true, func(tx *store.Tx, all *world) error {
		p, err := all.provider(r.PathValue("rp"))
		if err != nil {
			return err
		}
		if p.machine {
			return api.Conflict("resource provider %s is a bare-metal node: delete it there", p.UUID)
		}
		if len(all.used(p.UUID, nil)) > 0 {
			return api.Conflict("Unable to delete resource provider %s: Resource provider has allocations.", p.UUID).Named("placement.resource_provider.inuse")
		}
		if slices.ContainsFunc(all.providers, func(o *provider) bool { return o.Parent == p.UUID }) {
			return api.Conflict("Unable to delete parent resource provider %s: It has child resource providers.", p.UUID).Named("placement.resource_provider.cannot_delete_parent")
		}
		_, err = tx.Exec(`DELETE FROM placement_providers WHERE uuid = ?`, p.UUID)
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
