package compute

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

// Flavor is a size and kind of server.
type Flavor struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	RAM         int               `json:"ram"` // MiB
	VCPUs       int               `json:"vcpus"`
	Disk        int               `json:"disk"` // GiB
	Ephemeral   int               `json:"ephemeral"`
	Swap        int               `json:"swap"`
	RxTxFactor  float64           `json:"rxtx_factor"`
	Public      bool              `json:"public"`
	Description *string           `json:"description"`
	ExtraSpecs  map[string]string `json:"extra_specs"`
}

func (s *Service) flavorView(r *http.Request, f *Flavor) map[string]any {
	var swap any = ""
	if f.Swap > 0 || api.AtLeast(r, "2.75") {
		swap = f.Swap
	}
	v := map[string]any{
		"id": f.ID, "name": f.Name, "ram": f.RAM, "vcpus": f.VCPUs, "disk": f.Disk, "swap": swap,
		"OS-FLV-EXT-DATA:ephemeral": f.Ephemeral, "OS-FLV-DISABLED:disabled": false,
		"os-flavor-access:is_public": f.Public, "rxtx_factor": f.RxTxFactor, "links": s.links("flavors", f.ID),
	}
	if api.AtLeast(r, "2.55") {
		v["description"] = f.Description
	}
	if api.AtLeast(r, "2.61") {
		v["extra_specs"] = specs(f)
	}
	return v
}

func specs(f *Flavor) map[string]string {
	if f.ExtraSpecs == nil {
		return map[string]string{}
	}
	return f.ExtraSpecs
}

func (s *Service) links(kind, id string) []any {
	return []any{
		map[string]any{"rel": "self", "href": s.cfg.BaseURL + "/v2.1/" + kind + "/" + id},
		map[string]any{"rel": "bookmark", "href": s.cfg.BaseURL + "/" + kind + "/" + id},
	}
}

func flavors(tx *store.Tx, where string, args ...any) ([]Flavor, error) {
	var out []Flavor
	err := tx.Each(func(scan func(...any) error) error {
		var f Flavor
		err := scan(store.JSON(&f))
		out = append(out, f)
		return err
	}, `SELECT doc FROM compute_flavors `+where, args...)
	return out, err
}

// flavorOf finds a flavor by id.
func flavorOf(tx *store.Tx, id string) (*Flavor, error) {
	found, err := flavors(tx, `WHERE id = ?`, id)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, api.NotFound("Flavor %s could not be found.", id)
	}
	return &found[0], nil
}

// flavorFor finds a flavor that the caller may use.
func flavorFor(tx *store.Tx, r *http.Request, id string) (*Flavor, error) {
	f, err := flavorOf(tx, id)
	if err != nil || f.Public || caller(r).HasRole("admin", "service") {
		return f, err
	}
	projects, err := accessOf(tx, id)
	if err == nil && !slices.Contains(projects, caller(r).ProjectID) {
		err = api.NotFound("Flavor %s could not be found.", id)
	}
	return f, err
}

func accessOf(tx *store.Tx, flavor string) ([]string, error) {
	var out []string
	err := tx.Each(func(scan func(...any) error) error {
		var p string
		err := scan(&p)
		out = append(out, p)
		return err
	}, `SELECT project_id FROM compute_flavor_access WHERE flavor_id = ? ORDER BY project_id`, flavor)
	return out, err
}

// flavorSortKeys are what flavors may be sorted by.
var flavorSortKeys = map[string]func(a, b *Flavor) int{ //nolint:gochecknoglobals // constant table
	"flavorid": func(a, b *Flavor) int { return strings.Compare(a.ID, b.ID) }, "id": func(a, b *Flavor) int { return strings.Compare(a.ID, b.ID) },
	"name": func(a, b *Flavor) int { return strings.Compare(a.Name, b.Name) }, "memory_mb": func(a, b *Flavor) int { return a.RAM - b.RAM },
	"vcpus": func(a, b *Flavor) int { return a.VCPUs - b.VCPUs }, "root_gb": func(a, b *Flavor) int { return a.Disk - b.Disk },
	"ephemeral_gb": func(a, b *Flavor) int { return a.Ephemeral - b.Ephemeral }, "swap": func(a, b *Flavor) int { return a.Swap - b.Swap },
	"rxtx_factor": func(a, b *Flavor) int { return int(a.RxTxFactor - b.RxTxFactor) }, "is_public": func(a, b *Flavor) int { return 0 },
	"created_at": func(a, b *Flavor) int { return 0 }, "updated_at": func(a, b *Flavor) int { return 0 },
	"disabled": func(a, b *Flavor) int { return 0 }, "vcpu_weight": func(a, b *Flavor) int { return 0 },
}

// visibleFlavors are the public ones and those that the caller's project was
// given; an administrator sees all that is_public asks for.
func visibleFlavors(tx *store.Tx, r *http.Request) ([]Flavor, error) {
	all, err := flavors(tx, `ORDER BY id`)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query().Get("is_public")
	admin := caller(r).HasRole("admin", "service")
	given := map[string]bool{}
	err = tx.Each(func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		given[id] = true
		return err
	}, `SELECT flavor_id FROM compute_flavor_access WHERE project_id = ?`, caller(r).ProjectID)
	return slices.DeleteFunc(all, func(f Flavor) bool {
		switch {
		case !admin || q == "":
			return !f.Public && !given[f.ID]
		case strings.EqualFold(q, "none"):
			return false
		default:
			want := slices.Contains([]string{"true", "1", "t", "on", "yes", "y"}, strings.ToLower(q))
			return f.Public != want
		}
	}), err
}

func (s *Service) listedFlavors(r *http.Request) ([]Flavor, error) {
	var all []Flavor
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		all, err = visibleFlavors(tx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	page, err := api.ParsePage(r, 1000)
	if err != nil {
		return nil, err
	}
	least := map[string]int{}
	for _, name := range []string{"minDisk", "minRam"} {
		if v := r.URL.Query().Get(name); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 {
				return nil, api.Invalid("Invalid %s filter [%s]", name, v)
			}
			least[name] = n
		}
	}
	for _, key := range page.SortKeys {
		if flavorSortKeys[key] == nil {
			return nil, api.Invalid("Sort key %q is none of %v", key, sortedKeys(flavorSortKeys))
		}
	}
	slices.SortStableFunc(all, func(a, b Flavor) int {
		for i, key := range page.SortKeys { // the first key counts most
			c := flavorSortKeys[key](&a, &b)
			if page.SortDirs[i] == "desc" {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	out := slices.DeleteFunc(all, func(f Flavor) bool { return f.Disk < least["minDisk"] || f.RAM < least["minRam"] })
	if page.Marker != "" {
		i := slices.IndexFunc(out, func(f Flavor) bool { return f.ID == page.Marker })
		if i < 0 {
			return nil, api.Invalid("marker [%s] not found", page.Marker)
		}
		out = out[i+1:]
	}
	return out[:min(len(out), page.Limit)], nil
}

func (s *Service) listFlavors(w http.ResponseWriter, r *http.Request) error {
	found, err := s.listedFlavors(r)
	if err != nil {
		return err
	}
	out := []any{}
	for _, f := range found {
		v := map[string]any{"id": f.ID, "name": f.Name, "links": s.links("flavors", f.ID)}
		if api.AtLeast(r, "2.55") {
			v["description"] = f.Description
		}
		out = append(out, v)
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"flavors": out})
}

func (s *Service) listFlavorsDetail(w http.ResponseWriter, r *http.Request) error {
	found, err := s.listedFlavors(r)
	if err != nil {
		return err
	}
	out := []any{}
	for i := range found {
		out = append(out, s.flavorView(r, &found[i]))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"flavors": out})
}

// looseInt is a number that clients may write as text.
type looseInt int

// UnmarshalJSON takes 1 and "1".
func (n *looseInt) UnmarshalJSON(b []byte) error {
	i, err := strconv.Atoi(strings.Trim(string(b), `"`))
	if err != nil {
		return api.Invalid("%s is no integer", b).Wrap(err)
	}
	*n = looseInt(i)
	return nil
}

func (s *Service) createFlavor(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Flavor struct {
			ID          json.RawMessage `json:"id"`
			Name        string          `json:"name"`
			RAM         looseInt        `json:"ram"`
			VCPUs       looseInt        `json:"vcpus"`
			Disk        looseInt        `json:"disk"`
			Swap        looseInt        `json:"swap"`
			Ephemeral   looseInt        `json:"OS-FLV-EXT-DATA:ephemeral"`
			RxTx        *float64        `json:"rxtx_factor"`
			Public      json.RawMessage `json:"os-flavor-access:is_public"`
			Description *string         `json:"description"`
		} `json:"flavor"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	f := Flavor{
		ID: strings.Trim(string(in.Flavor.ID), `"`), Name: strings.TrimSpace(in.Flavor.Name), RAM: int(in.Flavor.RAM),
		VCPUs: int(in.Flavor.VCPUs), Disk: int(in.Flavor.Disk), Swap: int(in.Flavor.Swap), Ephemeral: int(in.Flavor.Ephemeral),
		RxTxFactor: 1, Public: true, Description: in.Flavor.Description,
	}
	if f.ID == "" || f.ID == "null" || f.ID == "auto" {
		f.ID = uuid.NewString()
	}
	if in.Flavor.RxTx != nil {
		f.RxTxFactor = *in.Flavor.RxTx
	}
	switch strings.ToLower(strings.Trim(string(in.Flavor.Public), `"`)) { // clients send it as text too
	case "", "true", "1", "t", "on", "yes", "y":
	case "false", "0", "f", "off", "no", "n":
		f.Public = false
	default:
		return api.Invalid("Invalid input for field/attribute os-flavor-access:is_public. Value: %s. It is no boolean.", in.Flavor.Public)
	}
	if f.Name == "" || f.RAM < 1 || f.VCPUs < 1 || f.Disk < 0 {
		return api.Invalid("flavor needs a name, ram ≥ 1 MiB, vcpus ≥ 1 and disk ≥ 0 GiB; got name %q, ram %d, vcpus %d, disk %d", f.Name, f.RAM, f.VCPUs, f.Disk)
	}
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		same, err := flavors(tx, `WHERE id = ? OR name = ?`, f.ID, f.Name)
		if err != nil {
			return err
		}
		if len(same) > 0 {
			return api.Conflict("Flavor with name %s or ID %s already exists.", f.Name, f.ID)
		}
		_, err = tx.Exec(`INSERT INTO compute_flavors (id, name, doc) VALUES (?, ?, ?)`, f.ID, f.Name, store.JSON(f))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"flavor": s.flavorView(r, &f)})
}

// withFlavor loads the flavor of the path, lets change alter it and saves it
// when change says so.
func (s *Service) withFlavor(r *http.Request, change func(*Flavor) (bool, error)) (*Flavor, error) {
	var f *Flavor
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if f, err = flavorFor(tx, r, r.PathValue("id")); err != nil {
			return err
		}
		dirty, err := change(f)
		if err != nil || !dirty {
			return err
		}
		_, err = tx.Exec(`UPDATE compute_flavors SET doc = ? WHERE id = ?`, store.JSON(f), f.ID)
		return err
	})
	return f, err
}

func unchanged(*Flavor) (bool, error) { return false, nil }

func (s *Service) showFlavor(w http.ResponseWriter, r *http.Request) error {
	f, err := s.withFlavor(r, unchanged)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"flavor": s.flavorView(r, f)})
}

func (s *Service) updateFlavor(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Flavor struct {
			Description *string `json:"description"`
		} `json:"flavor"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	f, err := s.withFlavor(r, func(f *Flavor) (bool, error) {
		f.Description = in.Flavor.Description
		return true, nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"flavor": s.flavorView(r, f)})
}

func (s *Service) deleteFlavor(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		n, err := tx.Exec(`DELETE FROM compute_flavors WHERE id = ?`, id)
		if err == nil && n == 0 {
			return api.NotFound("Flavor %s could not be found.", id)
		}
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *Service) listExtraSpecs(w http.ResponseWriter, r *http.Request) error {
	f, err := s.withFlavor(r, unchanged)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"extra_specs": specs(f)})
}

func (s *Service) addSpecs(w http.ResponseWriter, r *http.Request, add map[string]string, reply any) error {
	for k := range add {
		if k == "" || len(k) > 255 || len(add[k]) > 255 {
			return api.Invalid("extra spec %q is empty or longer than 255 characters", k)
		}
	}
	_, err := s.withFlavor(r, func(f *Flavor) (bool, error) {
		if f.ExtraSpecs == nil {
			f.ExtraSpecs = map[string]string{}
		}
		for k, v := range add {
			f.ExtraSpecs[k] = v
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, reply)
}

func (s *Service) setExtraSpecs(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		ExtraSpecs map[string]string `json:"extra_specs"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	return s.addSpecs(w, r, in.ExtraSpecs, in)
}

func (s *Service) setExtraSpec(w http.ResponseWriter, r *http.Request) error {
	var in map[string]string
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	key := r.PathValue("key")
	if _, ok := in[key]; !ok || len(in) != 1 {
		return api.Invalid("the body must hold just the extra spec %q", key)
	}
	return s.addSpecs(w, r, in, in)
}

func (s *Service) showExtraSpec(w http.ResponseWriter, r *http.Request) error {
	f, err := s.withFlavor(r, unchanged)
	if err != nil {
		return err
	}
	key := r.PathValue("key")
	v, ok := f.ExtraSpecs[key]
	if !ok {
		return api.NotFound("Flavor %s has no extra specs with key %s.", f.ID, key)
	}
	return api.WriteJSON(w, http.StatusOK, map[string]string{key: v})
}

func (s *Service) deleteExtraSpec(w http.ResponseWriter, r *http.Request) error {
	key := r.PathValue("key")
	_, err := s.withFlavor(r, func(f *Flavor) (bool, error) {
		if _, ok := f.ExtraSpecs[key]; !ok {
			return false, api.NotFound("Flavor %s has no extra specs with key %s.", f.ID, key)
		}
		delete(f.ExtraSpecs, key)
		return true, nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// caller returns the identity of an authenticated request.
func caller(r *http.Request) *auth.Identity {
	id, _ := auth.FromContext(r.Context())
	return id
}
