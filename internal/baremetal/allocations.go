package baremetal

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/states"
	"github.com/tripleo/tripleo/internal/store"
)

// Allocation reserves an available node for who deploys without Nova.
type Allocation struct {
	UUID           string         `json:"uuid"`
	Name           string         `json:"name"`
	NodeUUID       string         `json:"node_uuid"`
	State          string         `json:"state"` // "active" or "error"
	LastError      string         `json:"last_error"`
	ResourceClass  string         `json:"resource_class"`
	CandidateNodes []string       `json:"candidate_nodes"`
	Traits         []string       `json:"traits"`
	Extra          map[string]any `json:"extra"`
	Owner          string         `json:"owner"`
	CreatedAt      time.Time      `json:"created_at"`
	UpdatedAt      time.Time      `json:"updated_at"`
}

func allocationByIdent(tx *store.Tx, ident string) (*Allocation, error) {
	column := "name"
	if _, err := uuid.Parse(ident); err == nil {
		column = "uuid"
	}
	a := &Allocation{}
	err := tx.Get([]any{store.JSON(a)}, `SELECT doc FROM baremetal_allocations WHERE `+column+` = ?`, ident)
	if errors.Is(err, store.ErrNotFound) {
		return nil, api.NotFound("Allocation %s could not be found.", ident).Named("AllocationNotFound")
	}
	return a, err
}

func (s *Service) allocationDoc(r *http.Request, a *Allocation) (map[string]any, error) {
	doc, err := s.wire(a, "allocations", a.UUID, map[string]int{"owner": 60}, minor(r))
	if err != nil {
		return nil, err
	}
	for _, k := range []string{"candidate_nodes", "traits"} {
		if doc[k] == nil {
			doc[k] = []any{}
		}
	}
	if doc["extra"] == nil {
		doc["extra"] = map[string]any{}
	}
	return doc, nil
}

func (s *Service) createAllocation(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		UUID           string         `json:"uuid"`
		Name           string         `json:"name"`
		Node           string         `json:"node"`
		ResourceClass  string         `json:"resource_class"`
		CandidateNodes []string       `json:"candidate_nodes"`
		Traits         []string       `json:"traits"`
		Extra          map[string]any `json:"extra"`
		Owner          string         `json:"owner"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if in.ResourceClass == "" && in.Node == "" {
		return api.Invalid("The resource_class field is mandatory when not backfilling")
	}
	if in.UUID == "" {
		in.UUID = uuid.NewString()
	} else if _, err := uuid.Parse(in.UUID); err != nil {
		return api.Invalid("uuid is %q, expected a UUID", in.UUID)
	}
	for _, t := range in.Traits {
		if err := checkTrait(t); err != nil {
			return err
		}
	}
	a := &Allocation{UUID: strings.ToLower(in.UUID), Name: in.Name, ResourceClass: in.ResourceClass, CandidateNodes: in.CandidateNodes,
		Traits: in.Traits, Extra: in.Extra, Owner: in.Owner, CreatedAt: s.now()}
	err := s.change(r.Context(), func(tx *store.Tx) error {
		if in.Node != "" {
			n, err := nodeByIdent(tx, in.Node)
			if err != nil {
				return err
			}
			if n.InstanceUUID != "" && n.InstanceUUID != a.UUID {
				return api.Conflict("Node %s is associated with instance %s.", n.UUID, n.InstanceUUID)
			}
			a.ResourceClass = n.ResourceClass
			return s.allocate(tx, a, n)
		}
		n, reason, err := chooseNode(tx, a)
		if err != nil {
			return err
		}
		if n == nil {
			a.State, a.LastError = "error", reason
			return insertAllocation(tx, a)
		}
		return s.allocate(tx, a, n)
	})
	if err != nil {
		return err
	}
	doc, err := s.allocationDoc(r, a)
	if err != nil {
		return err
	}
	if in.Node == "" { // as it was at the beginning: clients wait for what becomes of it
		doc["state"], doc["node_uuid"], doc["last_error"] = "allocating", nil, nil
	}
	w.Header().Set("Location", s.cfg.BaseURL+"/v1/allocations/"+a.UUID)
	return api.WriteJSON(w, http.StatusCreated, doc)
}

// chooseNode takes the first node that fits, or says why none does.
func chooseNode(tx *store.Tx, a *Allocation) (*Node, string, error) {
	var candidates []string
	for _, ident := range a.CandidateNodes {
		n, err := nodeByIdent(tx, ident)
		if err != nil {
			return nil, "", err
		}
		candidates = append(candidates, n.UUID)
	}
	a.CandidateNodes = candidates
	var found *Node
	seen, lacking := 0, 0
	err := tx.Each(func(scan func(...any) error) error {
		n, err := scanNode(scan)
		if err != nil || found != nil || len(candidates) > 0 && !slices.Contains(candidates, n.UUID) {
			return err
		}
		seen++
		for _, t := range a.Traits {
			if !slices.Contains(n.Traits, t) {
				lacking++
				return nil
			}
		}
		found = n
		return nil
	}, `SELECT `+nodeColumns+` FROM baremetal_nodes WHERE provision_state = ? AND maintenance = 0 AND retired = 0
		AND instance_uuid IS NULL AND resource_class = ? ORDER BY id`+tx.ForUpdate(), string(states.Available), a.ResourceClass)
	if err != nil || found != nil {
		return found, "", err
	}
	return nil, fmt.Sprintf("Failed to process allocation %s: no available nodes match the resource class %s (%d available, %d of them without the traits %v)",
		a.UUID, a.ResourceClass, seen, lacking, a.Traits), nil
}

func (s *Service) allocate(tx *store.Tx, a *Allocation, n *Node) error {
	a.State, a.NodeUUID = "active", n.UUID
	n.AllocationUUID, n.InstanceUUID, n.UpdatedAt = a.UUID, a.UUID, s.now()
	if len(a.Traits) > 0 {
		n.InstanceInfo["traits"] = a.Traits
	}
	if err := updateNode(tx, n); err != nil {
		return err
	}
	s.cfg.Bus.PublishTx(tx, topic(n.UUID))
	return insertAllocation(tx, a)
}

func insertAllocation(tx *store.Tx, a *Allocation) error {
	_, err := tx.Exec(`INSERT INTO baremetal_allocations (uuid, name, node_uuid, state, doc) VALUES (?, ?, ?, ?, ?)`,
		a.UUID, null(a.Name), null(a.NodeUUID), a.State, store.JSON(a))
	if errors.Is(err, store.ErrConflict) {
		return api.Conflict("An allocation with name %q or UUID %s already exists.", a.Name, a.UUID).Wrap(err)
	}
	return err
}

func (s *Service) listAllocations(w http.ResponseWriter, r *http.Request) error {
	page, err := api.ParsePage(r, maxLimit)
	if err != nil {
		return err
	}
	list, last := []any{}, ""
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		var f filter
		if v := r.URL.Query().Get("state"); v != "" {
			f.add("state = ?", v)
		}
		if v := r.URL.Query().Get("node"); v != "" {
			n, err := nodeByIdent(tx, v)
			if err != nil {
				return err
			}
			f.add("node_uuid = ?", n.UUID)
		}
		class := r.URL.Query().Get("resource_class")
		return listRows(tx, "baremetal_allocations", f, page, "", func(scan func(...any) error) error {
			var id int64
			a := &Allocation{}
			if err := scan(&id, store.JSON(a)); err != nil {
				return err
			}
			if class != "" && a.ResourceClass != class {
				return nil
			}
			doc, err := s.allocationDoc(r, a)
			list, last = append(list, doc), a.UUID
			return err
		})
	})
	if err != nil {
		return err
	}
	return s.writePage(w, r, "allocations", list, page.Limit, last)
}

func (s *Service) getAllocation(w http.ResponseWriter, r *http.Request) error {
	var a *Allocation
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		a, err = allocationByIdent(tx, r.PathValue("allocation"))
		return err
	})
	if err != nil {
		return err
	}
	doc, err := s.allocationDoc(r, a)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, doc)
}

func (s *Service) patchAllocation(w http.ResponseWriter, r *http.Request) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	ops, err := readPatch(data)
	if err != nil {
		return err
	}
	var a *Allocation
	err = s.change(r.Context(), func(tx *store.Tx) error {
		if a, err = allocationByIdent(tx, r.PathValue("allocation")); err != nil {
			return err
		}
		doc := map[string]any{"name": a.Name, "extra": a.Extra}
		if a.Extra == nil {
			doc["extra"] = map[string]any{}
		}
		if err := applyPatch(doc, ops, map[string]bool{"name": true, "extra": true}); err != nil {
			return err
		}
		if a.Name, err = wantString("name", doc["name"], 255); err != nil {
			return err
		}
		if a.Extra, err = wantMap("extra", doc["extra"]); err != nil {
			return err
		}
		a.UpdatedAt = s.now()
		_, err = tx.Exec(`UPDATE baremetal_allocations SET name = ?, doc = ? WHERE uuid = ?`, null(a.Name), store.JSON(a), a.UUID)
		return err
	})
	if err != nil {
		return err
	}
	doc, err := s.allocationDoc(r, a)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, doc)
}

func (s *Service) deleteAllocation(w http.ResponseWriter, r *http.Request) error {
	err := s.change(r.Context(), func(tx *store.Tx) error {
		a, err := allocationByIdent(tx, r.PathValue("allocation"))
		if err != nil {
			return err
		}
		return s.release(tx, a)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) release(tx *store.Tx, a *Allocation) error {
	if a.NodeUUID != "" {
		n, err := nodeByIdent(tx, a.NodeUUID)
		if err != nil {
			return err
		}
		switch n.ProvisionState {
		case states.Available, states.Manageable, states.Enroll:
		default:
			if !n.Maintenance {
				return api.Conflict("Cannot remove allocation %s: node %s is in state %s.", a.UUID, n.UUID, n.ProvisionState)
			}
		}
		n.AllocationUUID, n.InstanceUUID, n.UpdatedAt = "", "", s.now()
		delete(n.InstanceInfo, "traits")
		if err := updateNode(tx, n); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`DELETE FROM baremetal_allocations WHERE uuid = ?`, a.UUID)
	return err
}

func (s *Service) allocationOf(tx *store.Tx, ident string) (*Allocation, error) {
	n, err := nodeByIdent(tx, ident)
	if err != nil {
		return nil, err
	}
	if n.AllocationUUID == "" {
		return nil, api.NotFound("Allocation for node %s was not found.", n.UUID)
	}
	return allocationByIdent(tx, n.AllocationUUID)
}

func (s *Service) nodeAllocation(w http.ResponseWriter, r *http.Request) error {
	var a *Allocation
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		a, err = s.allocationOf(tx, r.PathValue("node"))
		return err
	})
	if err != nil {
		return err
	}
	doc, err := s.allocationDoc(r, a)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, doc)
}

func (s *Service) deleteNodeAllocation(w http.ResponseWriter, r *http.Request) error {
	err := s.change(r.Context(), func(tx *store.Tx) error {
		a, err := s.allocationOf(tx, r.PathValue("node"))
		if err != nil {
			return err
		}
		return s.release(tx, a)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
