package network

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// tagged loads the thing /{kind}/{id} and returns a pointer to its tags and
// how to save it (extension standard-attr-tag).
func tagged(tx *store.Tx, r *http.Request) (tags *[]string, save func() error, err error) {
	id := r.PathValue("id")
	hide := func(project string, shared bool) error {
		if !visible(r, project, shared) {
			return api.NotFound("%s %s could not be found.", r.PathValue("kind"), id)
		}
		return nil
	}
	switch r.PathValue("kind") {
	case "networks":
		n, err := networkOf(tx, id)
		if err != nil {
			return nil, nil, err
		}
		return &n.Tags, func() error {
			_, err := tx.Exec(`UPDATE network_networks SET doc = ? WHERE id = ?`, store.JSON(n), id)
			return err
		}, hide(n.ProjectID, n.Shared && r.Method == http.MethodGet)
	case "subnets":
		sub, err := subnetOf(tx, id)
		if err != nil {
			return nil, nil, err
		}
		return &sub.Tags, func() error {
			_, err := tx.Exec(`UPDATE network_subnets SET doc = ? WHERE id = ?`, store.JSON(sub), id)
			return err
		}, hide(sub.ProjectID, false)
	case "ports":
		p, err := portOf(tx, id)
		if err != nil {
			return nil, nil, err
		}
		return &p.Tags, func() error { return savePort(tx, p) }, hide(p.ProjectID, false)
	default:
		return nil, nil, api.NotFound("The resource could not be found.")
	}
}

func (s *Service) listTags(w http.ResponseWriter, r *http.Request) error {
	var out []string
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		tags, _, err := tagged(tx, r)
		if err == nil {
			out = append([]string{}, *tags...)
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"tags": out})
}

func (s *Service) replaceTags(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Tags []string `json:"tags"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if len(in.Tags) > 50 {
		return api.Invalid("%d tags were given, expected at most 50", len(in.Tags))
	}
	in.Tags = append([]string{}, in.Tags...)
	err := s.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		tags, save, err := tagged(tx, r)
		if err != nil {
			return err
		}
		*tags = in.Tags
		return save()
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, in)
}
