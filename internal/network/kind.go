package network

import (
	"encoding/json"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// kind is what networks, subnets and ports have in common.
type kind[T any] struct {
	name     string // in bodies: {"network": {…}}
	notFound *notFoundText
	load     func(tx *store.Tx, id string) (*T, error)
	// owner returns the project a thing belongs to, and whether all may see it.
	owner func(*T) (project string, shared bool)
}

type notFoundText struct{ format, typ string }

func (n *notFoundText) err(id string) *api.Error { return api.NotFound(n.format, id).Named(n.typ) }

// get loads the thing of the path. Who may not see it, or, with write, does not
// own it, is told that it does not exist.
func (k *kind[T]) get(tx *store.Tx, r *http.Request, write bool) (*T, error) {
	v, err := k.load(tx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	project, shared := k.owner(v)
	if !visible(r, project, shared && !write) {
		return nil, k.notFound.err(r.PathValue("id"))
	}
	return v, nil
}

// show handles GET.
func show[T any](s *Service, k *kind[T]) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var v *T
		err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
			v, err = k.get(tx, r, false)
			return err
		})
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, map[string]any{k.name: v})
	}
}

// update handles PUT: change alters the thing and stores it.
func update[T any](s *Service, k *kind[T], change func(tx *store.Tx, v *T, attrs map[string]json.RawMessage) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		attrs, err := body(r, k.name)
		if err != nil {
			return err
		}
		var v *T
		err = s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) (err error) {
			if v, err = k.get(tx, r, true); err != nil {
				return err
			}
			return change(tx, v, attrs)
		})
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, map[string]any{k.name: v})
	}
}

// remove handles DELETE: drop deletes the thing, or says what still uses it.
func remove[T any](s *Service, k *kind[T], drop func(tx *store.Tx, v *T) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
			v, err := k.get(tx, r, true)
			if err != nil {
				return err
			}
			return drop(tx, v)
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func networkKind() *kind[Network] {
	return &kind[Network]{
		name: "network", notFound: &notFoundText{"Network %s could not be found.", networkNotFound}, load: networkOf,
		owner: func(n *Network) (string, bool) { return n.ProjectID, n.Shared },
	}
}

func subnetKind() *kind[Subnet] {
	return &kind[Subnet]{
		name: "subnet", notFound: &notFoundText{"Subnet %s could not be found.", subnetNotFound}, load: subnetOf,
		owner: func(sub *Subnet) (string, bool) { return sub.ProjectID, false },
	}
}

func portKind() *kind[Port] {
	return &kind[Port]{
		name: "port", notFound: &notFoundText{"Port %s could not be found.", portNotFound}, load: portOf,
		owner: func(p *Port) (string, bool) { return p.ProjectID, false },
	}
}
