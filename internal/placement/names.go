package placement

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Kinds of names that clients may add to.
const (
	classes = "class"
	traits  = "trait"
)

// standard are the names that are always there: the resource classes of
// os-resource-classes, and the traits that bare metal is asked for by.
var standard = map[string][]string{ //nolint:gochecknoglobals // constant table
	classes: {"VCPU", "MEMORY_MB", "DISK_GB", "PCI_DEVICE", "SRIOV_NET_VF", "NUMA_SOCKET", "NUMA_CORE", "NUMA_THREAD", "NUMA_MEMORY_MB", "IPV4_ADDRESS", "VGPU",
		"VGPU_DISPLAY_HEAD", "NET_BW_EGR_KILOBIT_PER_SEC", "NET_BW_IGR_KILOBIT_PER_SEC", "PCPU", "MEM_ENCRYPTION_CONTEXT", "FPGA", "PGPU", "NET_PACKET_RATE_KILOPACKET_PER_SEC",
		"NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC", "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC"},
	traits: {"HW_CPU_X86_VMX", "HW_CPU_X86_SVM", "HW_CPU_X86_AVX", "HW_CPU_X86_AVX2", "HW_CPU_X86_AVX512F", "HW_CPU_X86_AESNI", "HW_CPU_X86_SGX", "HW_ARCH_X86_64", "HW_ARCH_AARCH64",
		"HW_CPU_HYPERTHREADING", "HW_NIC_SRIOV", "HW_NIC_ACCEL_SSL", "HW_GPU_API_VULKAN", "STORAGE_DISK_SSD", "STORAGE_DISK_HDD", "COMPUTE_STATUS_DISABLED", "MISC_SHARES_VIA_AGGREGATE"},
}

var customPattern = regexp.MustCompile(`^CUSTOM_[A-Z0-9_]+$`) //nolint:gochecknoglobals // constant

// names are the standard ones, those that clients made and those of machines,
// sorted behind the standard ones.
func (w *world) names(tx *store.Tx, kind string) ([]string, error) {
	seen := map[string]bool{}
	for _, p := range w.providers {
		for class := range p.Inventories {
			seen[class] = seen[class] || kind == classes
		}
		for _, t := range p.Traits {
			seen[t] = seen[t] || kind == traits
		}
	}
	err := tx.Each(func(scan func(...any) error) error {
		var n string
		err := scan(&n)
		seen[n] = true
		return err
	}, `SELECT name FROM placement_names WHERE kind = ?`, kind)
	out := slices.Clone(standard[kind])
	var custom []string
	for n, yes := range seen {
		if yes && !slices.Contains(out, n) {
			custom = append(custom, n)
		}
	}
	slices.Sort(custom)
	return append(out, custom...), err
}

func (w *world) exists(tx *store.Tx, kind, name string) (bool, error) {
	all, err := w.names(tx, kind)
	return slices.Contains(all, name), err
}

func (s *Service) names(r *http.Request, kind string) (all []string, err error) {
	err = s.see(r, false, func(tx *store.Tx, w *world) error {
		all, err = w.names(tx, kind)
		return err
	})
	return all, err
}

func (s *Service) listClasses(w http.ResponseWriter, r *http.Request) error {
	all, err := s.names(r, classes)
	if err != nil {
		return err
	}
	out := []any{}
	for _, n := range all {
		out = append(out, s.classView(n))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"resource_classes": out})
}

func (s *Service) classView(name string) map[string]any {
	return map[string]any{"name": name, "links": []any{map[string]any{"rel": "self", "href": s.cfg.BaseURL + "/resource_classes/" + name}}}
}

func (s *Service) showClass(w http.ResponseWriter, r *http.Request) error {
	all, err := s.names(r, classes)
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	if !slices.Contains(all, name) {
		return api.NotFound("No such resource class %s.", name)
	}
	return api.WriteJSON(w, http.StatusOK, s.classView(name))
}

func (s *Service) insert(r *http.Request, kind, name string) (bool, error) {
	if !customPattern.MatchString(name) || len(name) > 255 {
		return false, api.Invalid("%q is no name of a %s of yours: expected CUSTOM_ and capitals, digits and underscores, 255 characters at most", name, kind)
	}
	var n int64
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) (err error) {
		n, err = tx.Exec(`INSERT INTO placement_names (kind, name) VALUES (?, ?) ON CONFLICT DO NOTHING`, kind, name)
		return err
	})
	return n > 0, err
}

func (s *Service) createClass(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name string `json:"name"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	fresh, err := s.insert(r, classes, in.Name)
	if err != nil {
		return err
	}
	if !fresh {
		return api.Conflict("Conflicting resource class already exists: %s", in.Name)
	}
	w.Header().Set("Location", s.cfg.BaseURL+"/resource_classes/"+in.Name)
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *Service) putName(kind string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		name := r.PathValue("name")
		if kind == classes && !api.AtLeast(r, "1.7") {
			return api.Invalid("renaming resource classes ended with version 1.7")
		}
		fresh, err := s.insert(r, kind, name)
		if err != nil {
			return err
		}
		w.Header().Set("Location", s.cfg.BaseURL+r.URL.Path)
		if fresh {
			w.WriteHeader(http.StatusCreated)
		} else {
			w.WriteHeader(http.StatusNoContent)
		}
		return nil
	}
}

func (s *Service) deleteName(kind string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		name := r.PathValue("name")
		if slices.Contains(standard[kind], name) {
			return api.Invalid("Cannot delete standard %s %s.", kind, name)
		}
		err := s.see(r, true, func(tx *store.Tx, all *world) error {
			for _, p := range all.providers {
				if _, ok := p.Inventories[name]; ok && kind == classes || kind == traits && slices.Contains(p.Traits, name) {
					return api.Conflict("The %s %s is in use by resource provider %s.", kind, name, p.UUID)
				}
			}
			n, err := tx.Exec(`DELETE FROM placement_names WHERE kind = ? AND name = ?`, kind, name)
			if err == nil && n == 0 {
				err = api.NotFound("No such %s %s.", kind, name)
			}
			return err
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func (s *Service) listTraits(w http.ResponseWriter, r *http.Request) error {
	all, err := s.names(r, traits)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	out := []string{}
	used := map[string]bool{}
	if q.Get("associated") != "" {
		err := s.see(r, false, func(_ *store.Tx, all *world) error {
			for _, p := range all.providers {
				for _, t := range p.Traits {
					used[t] = true
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, t := range all {
		keep := true
		if prefix, ok := strings.CutPrefix(q.Get("name"), "startswith:"); ok {
			keep = strings.HasPrefix(t, prefix)
		} else if list, ok := strings.CutPrefix(q.Get("name"), "in:"); ok {
			keep = slices.Contains(strings.Split(list, ","), t)
		}
		if a := q.Get("associated"); a != "" && used[t] != strings.EqualFold(a, "true") {
			keep = false
		}
		if keep {
			out = append(out, t)
		}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"traits": out})
}

func (s *Service) showTrait(w http.ResponseWriter, r *http.Request) error {
	all, err := s.names(r, traits)
	if err != nil {
		return err
	}
	if !slices.Contains(all, r.PathValue("name")) {
		return api.NotFound("No such trait(s): %s.", r.PathValue("name"))
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
