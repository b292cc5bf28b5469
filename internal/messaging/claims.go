package messaging

import (
	"net/http"
	"net/url"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

type claim struct {
	id               string
	ttl, grace       int64 // seconds
	updated, expires time.Time
}

// ofClaim finds a claim's messages. The second half says nothing new, but
// without it SQLite does not see that the index on claimed messages will do, and
// reads all there are.
const ofClaim = `claim_id = ? AND claim_id <> ''`

type claimRequest struct {
	TTL   *int64 `json:"ttl"`
	Grace *int64 `json:"grace"`
}

func (c *claimRequest) values(ttl, grace int64) (int64, int64, error) {
	if c.TTL != nil {
		ttl = *c.TTL
	}
	if c.Grace != nil {
		grace = *c.Grace
	}
	switch {
	case ttl < minTTL || ttl > maxGrace:
		return 0, 0, api.Invalid("The TTL for a claim may not exceed %d seconds, and must be at least %d seconds long: ttl is %d.", maxGrace, minTTL, ttl)
	case grace < minGrace || grace > maxGrace:
		return 0, 0, api.Invalid("The grace for a claim may not exceed %d seconds, and must be at least %d seconds long: grace is %d.", maxGrace, minGrace, grace)
	}
	return ttl, grace, nil
}

// claim takes the oldest free messages; they live at least as long as the
// claim and its grace.
func (s *Service) claim(ctx requestContext, a actor, queue string, req claimRequest, limit int) (string, []message, error) {
	ttl, grace, err := req.values(300, minGrace)
	if err != nil {
		return "", nil, err
	}
	id := newID()
	var got []message
	err = s.db.Tx(ctx, func(tx *store.Tx) error {
		if got, err = s.claimable(tx, a, queue, limit); err != nil || len(got) == 0 {
			return err
		}
		now := s.now()
		expires := now.Add(time.Duration(ttl) * time.Second)
		_, err := tx.Exec(`INSERT INTO messaging_claims (id, project, queue, ttl, grace, updated, expires) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			id, a.project, queue, ttl, grace, store.At(now), store.At(expires))
		if err != nil {
			return err
		}
		for i := range got {
			got[i].claimID, got[i].claimed = id, expires
			if _, err := tx.Exec(`UPDATE messaging_messages SET claim_id = ?, claim_count = claim_count + 1 WHERE seq = ?`, id, got[i].seq); err != nil {
				return err
			}
		}
		return s.extend(tx, id, expires, grace)
	})
	return id, got, err
}

// claimable returns the oldest free messages, after those that were claimed as
// often as their queue allows have gone to its dead letter queue.
func (s *Service) claimable(tx *store.Tx, a actor, queue string, limit int) ([]message, error) {
	meta, err := queueMeta(tx, a, queue)
	if err != nil {
		return nil, err
	}
	most := number(meta, "_max_claim_count", 0)
	dead, _ := meta["_dead_letter_queue"].(string)
	if most > 0 && dead != "" {
		if err := s.bury(tx, a, queue, dead, most, number(meta, "_dead_letter_queue_messages_ttl", 0)); err != nil {
			return nil, err
		}
	}
	return s.free(tx, a, queue, limit)
}

// bury moves messages that have been claimed most times to the dead letter
// queue, where they live on for ttl seconds, or as long as they had.
func (s *Service) bury(tx *store.Tx, a actor, queue, dead string, most, ttl int64) error {
	now := s.now()
	set, args := "queue = ?, claim_id = '', claim_expires = 0, claim_count = 0", []any{dead}
	if ttl > 0 {
		set += ", ttl = ?, expires = ?"
		args = append(args, ttl, store.At(now.Add(time.Duration(ttl)*time.Second)))
	}
	n, err := tx.Exec(`UPDATE messaging_messages SET `+set+` WHERE project = ? AND queue = ? AND claim_expires <= ? AND claim_count >= ?`,
		append(args, a.project, queue, store.At(now), most)...)
	if err != nil || n == 0 {
		return err
	}
	if _, err := s.ensureQueue(tx, a, dead, nil); err != nil {
		return err
	}
	s.bus.PublishTx(tx, topic(a, dead))
	return s.cfg.Jobs.PokeAt(tx, kindExpire, jobKey, nil, now.Add(minTTL*time.Second))
}

// extend has a claim's messages stay claimed until expires and live through
// the grace behind it.
func (s *Service) extend(tx *store.Tx, id string, expires time.Time, grace int64) error {
	least := store.At(expires.Add(time.Duration(grace) * time.Second))
	_, err := tx.Exec(`UPDATE messaging_messages SET claim_expires = ?, expires = CASE WHEN expires < ? THEN ? ELSE expires END WHERE `+ofClaim,
		store.At(expires), least, least, id)
	if err != nil {
		return err
	}
	return s.cfg.Jobs.PokeAt(tx, kindExpire, jobKey, nil, expires)
}

func (s *Service) createClaim(w http.ResponseWriter, r *http.Request, a actor) error {
	var req claimRequest
	if r.ContentLength != 0 {
		if err := api.ReadJSON(r, &req); err != nil {
			return err
		}
	}
	p, err := parsePage(url.Values{"limit": r.URL.Query()["limit"]}, defaultPage, maxMessages)
	if err != nil {
		return err
	}
	queue := r.PathValue("queue")
	id, got, err := s.claim(r.Context(), a, queue, req, p.limit)
	if err != nil {
		return err
	}
	if len(got) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	docs, err := s.documents(queue, got)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v2/queues/"+queue+"/claims/"+id)
	return api.WriteJSON(w, http.StatusCreated, document{"messages": docs})
}

func (s *Service) findClaim(tx *store.Tx, a actor, queue, id string) (claim, error) {
	c := claim{id: id}
	err := tx.Get([]any{&c.ttl, &c.grace, store.Time(&c.updated), store.Time(&c.expires)},
		`SELECT ttl, grace, updated, expires FROM messaging_claims WHERE id = ? AND project = ? AND queue = ? AND expires > ?`,
		id, a.project, queue, store.At(s.now()))
	if isNotFound(err) {
		return c, api.NotFound("Claim %s does not exist or has expired.", id).Wrap(err)
	}
	return c, err
}

func (s *Service) showClaim(ctx requestContext, a actor, queue, id string) (document, error) {
	var c claim
	var got []message
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		if c, err = s.findClaim(tx, a, queue, id); err != nil {
			return err
		}
		got = nil
		return tx.Each(func(scan func(...any) error) error {
			m, err := scanMessage(scan)
			got = append(got, m)
			return err
		}, `SELECT `+messageColumns+` FROM messaging_messages WHERE `+ofClaim+` ORDER BY seq`, id)
	})
	if err != nil {
		return nil, err
	}
	docs, err := s.documents(queue, got)
	if err != nil {
		return nil, err
	}
	return document{
		"age": max(0, int64(s.now().Sub(c.updated).Seconds())), "ttl": c.ttl, "grace": c.grace,
		"href": "/v2/queues/" + queue + "/claims/" + id, "messages": docs,
	}, nil
}

func (s *Service) getClaim(w http.ResponseWriter, r *http.Request, a actor) error {
	doc, err := s.showClaim(r.Context(), a, r.PathValue("queue"), r.PathValue("claim"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, doc)
}

func (s *Service) renewClaim(ctx requestContext, a actor, queue, id string, req claimRequest) error {
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		c, err := s.findClaim(tx, a, queue, id)
		if err != nil {
			return err
		}
		ttl, grace, err := req.values(c.ttl, c.grace)
		if err != nil {
			return err
		}
		now := s.now()
		expires := now.Add(time.Duration(ttl) * time.Second)
		if _, err := tx.Exec(`UPDATE messaging_claims SET ttl = ?, grace = ?, updated = ?, expires = ? WHERE id = ?`, ttl, grace, store.At(now), store.At(expires), id); err != nil {
			return err
		}
		return s.extend(tx, id, expires, grace)
	})
}

func (s *Service) updateClaim(w http.ResponseWriter, r *http.Request, a actor) error {
	var req claimRequest
	if err := api.ReadJSON(r, &req); err != nil {
		return err
	}
	if err := s.renewClaim(r.Context(), a, r.PathValue("queue"), r.PathValue("claim"), req); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// release ends a claim; its messages are free again.
func (s *Service) release(ctx requestContext, a actor, queue, id string) error {
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		n, err := tx.Exec(`DELETE FROM messaging_claims WHERE id = ? AND project = ? AND queue = ?`, id, a.project, queue)
		if err != nil || n == 0 {
			return err
		}
		_, err = tx.Exec(`UPDATE messaging_messages SET claim_id = '', claim_expires = 0 WHERE `+ofClaim, id)
		s.bus.PublishTx(tx, topic(a, queue))
		return err
	})
}

func (s *Service) deleteClaim(w http.ResponseWriter, r *http.Request, a actor) error {
	if err := s.release(r.Context(), a, r.PathValue("queue"), r.PathValue("claim")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
