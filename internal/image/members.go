package image

import (
	"net/http"
	"slices"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

type member struct {
	id, status       string
	created, updated time.Time
}

func (m member) document(image string) document {
	return document{
		"image_id": image, "member_id": m.id, "status": m.status, "schema": "/v2/schemas/member",
		"created_at": m.created.UTC().Format(api.TimeFormat), "updated_at": m.updated.UTC().Format(api.TimeFormat),
	}
}

func members(tx *store.Tx, image string) ([]member, error) {
	var out []member
	err := tx.Each(func(scan func(...any) error) error {
		var m member
		err := scan(&m.id, &m.status, store.Time(&m.created), store.Time(&m.updated))
		out = append(out, m)
		return err
	}, `SELECT member_id, status, created, updated FROM image_members WHERE image_id = ? ORDER BY member_id`, image)
	return out, err
}

// addMember answers POST /v2/images/{id}/members.
func (s *Service) addMember(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Member string `json:"member"`
	}
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if req.Member == "" || len(req.Member) > 255 {
		return api.Invalid("member is %q, expected a project's id", req.Member)
	}
	now := s.now()
	m := member{req.Member, "pending", now, now}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		img, err := changeable(tx, caller(r), r.PathValue("id"))
		if err != nil {
			return err
		}
		if img.visibility != "shared" {
			return api.Forbidden("Only shared images have members.")
		}
		all, err := members(tx, img.id)
		if err != nil {
			return err
		}
		if len(all) >= maxMembers {
			return api.TooLarge("an image has at most %d members", maxMembers)
		}
		if slices.ContainsFunc(all, func(o member) bool { return o.id == m.id }) {
			return api.Conflict("The target member %s is already associated with image %s.", m.id, img.id)
		}
		_, err = tx.Exec(`INSERT INTO image_members (image_id, member_id, status, created, updated) VALUES (?, ?, ?, ?, ?)`,
			img.id, m.id, m.status, store.At(now), store.At(now))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, m.document(r.PathValue("id")))
}

// seen returns the members a caller may see: all for the owner, itself for a
// member.
func (s *Service) seen(r *http.Request) ([]member, error) {
	var out []member
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		c := caller(r)
		img, err := visible(tx, c, r.PathValue("id"))
		if err != nil {
			return err
		}
		if out, err = members(tx, img.id); err != nil {
			return err
		}
		if !mayChange(c, img) {
			out = slices.DeleteFunc(out, func(m member) bool { return m.id != c.ProjectID })
		}
		return nil
	})
	return out, err
}

func (s *Service) listMembers(w http.ResponseWriter, r *http.Request) error {
	all, err := s.seen(r)
	if err != nil {
		return err
	}
	docs := []document{}
	for _, m := range all {
		docs = append(docs, m.document(r.PathValue("id")))
	}
	return api.WriteJSON(w, http.StatusOK, document{"members": docs, "schema": "/v2/schemas/members"})
}

func (s *Service) showMember(w http.ResponseWriter, r *http.Request) error {
	all, err := s.seen(r)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.id == r.PathValue("member") {
			return api.WriteJSON(w, http.StatusOK, m.document(r.PathValue("id")))
		}
	}
	return api.NotFound("%s is not a member of image %s", r.PathValue("member"), r.PathValue("id"))
}

// setMember answers PUT of a member: the member's own word on the offer.
func (s *Service) setMember(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Status string `json:"status"`
	}
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	if !slices.Contains([]string{"pending", "accepted", "rejected"}, req.Status) {
		return api.Invalid("status is %q, expected pending, accepted or rejected", req.Status)
	}
	id := r.PathValue("member")
	m := member{id: id, status: req.Status, updated: s.now()}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		img, err := visible(tx, caller(r), r.PathValue("id"))
		if err != nil {
			return err
		}
		if c := caller(r); c.ProjectID != id && !c.IsAdmin() {
			return api.Forbidden("You do not have permission to modify the status of this member.")
		}
		n, err := tx.Exec(`UPDATE image_members SET status = ?, updated = ? WHERE image_id = ? AND member_id = ?`, m.status, store.At(m.updated), img.id, id)
		if err == nil && n == 0 {
			return api.NotFound("%s is not a member of image %s", id, img.id)
		}
		if err != nil {
			return err
		}
		return tx.Get([]any{store.Time(&m.created)}, `SELECT created FROM image_members WHERE image_id = ? AND member_id = ?`, img.id, id)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, m.document(r.PathValue("id")))
}

func (s *Service) removeMember(w http.ResponseWriter, r *http.Request) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		img, err := changeable(tx, caller(r), r.PathValue("id"))
		if err != nil {
			return err
		}
		n, err := tx.Exec(`DELETE FROM image_members WHERE image_id = ? AND member_id = ?`, img.id, r.PathValue("member"))
		if err == nil && n == 0 {
			return api.NotFound("%s is not a member of image %s", r.PathValue("member"), img.id)
		}
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
