package messaging

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

// maxAttempts is how often the delivery of one message to a webhook is tried.
const maxAttempts = 8

type subscription struct {
	id, subscriber, queue string
	ttl                   int64 // seconds
	options               document
	confirmed             bool
	created, expires      time.Time
}

const subscriptionColumns = `id, subscriber, queue, ttl, options, confirmed, created, expires`

func scanSubscription(scan func(...any) error) (subscription, error) {
	u := subscription{options: document{}}
	var confirmed int64
	err := scan(&u.id, &u.subscriber, &u.queue, &u.ttl, store.JSON(&u.options), &confirmed, store.Time(&u.created), store.Time(&u.expires))
	u.confirmed = confirmed != 0
	return u, store.Wrap(err)
}

func (u *subscription) document(now time.Time) document {
	return document{
		"id": u.id, "subscriber": u.subscriber, "source": u.queue, "ttl": u.ttl, "options": u.options, "confirmed": u.confirmed,
		"age": max(0, int64(now.Sub(u.created).Seconds())),
	}
}

type subscriptionRequest struct {
	Subscriber *string  `json:"subscriber"`
	TTL        *int64   `json:"ttl"`
	Options    document `json:"options"`
}

func (q *subscriptionRequest) apply(u *subscription) error {
	if q.Subscriber != nil {
		u.subscriber = *q.Subscriber
	}
	if q.TTL != nil {
		u.ttl = *q.TTL
	}
	if q.Options != nil {
		u.options = q.Options
	}
	target, err := url.Parse(u.subscriber)
	if err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Host == "" {
		return api.Invalid("The subscriber type of subscription must be supported in the list ['http', 'https']: subscriber is %q.", u.subscriber)
	}
	if u.ttl < minTTL || u.ttl > maxTTL {
		return api.Invalid("ttl is %d, expected %d to %d seconds", u.ttl, minTTL, maxTTL)
	}
	if u.options == nil {
		u.options = document{}
	}
	return checkMeta(u.options)
}

// createSubscription answers POST: a webhook.
func (s *Service) createSubscription(w http.ResponseWriter, r *http.Request, a actor) error {
	var req subscriptionRequest
	if err := api.ReadJSON(r, &req); err != nil {
		return err
	}
	now := s.now()
	u := subscription{id: newID(), queue: r.PathValue("queue"), ttl: defaultTTL, created: now, confirmed: true}
	if err := req.apply(&u); err != nil {
		return err
	}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := s.ensureQueue(tx, a, u.queue, nil); err != nil {
			return err
		}
		expires := now.Add(time.Duration(u.ttl) * time.Second)
		if _, err := tx.Exec(`DELETE FROM messaging_subscriptions WHERE project = ? AND queue = ? AND subscriber = ? AND expires <= ?`, a.project, u.queue, u.subscriber, store.At(now)); err != nil {
			return err
		}
		n, err := tx.Exec(`INSERT INTO messaging_subscriptions (id, project, queue, subscriber, ttl, options, confirmed, created, expires)
			VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO NOTHING`,
			u.id, a.project, u.queue, u.subscriber, u.ttl, store.JSON(u.options), store.At(now), store.At(expires))
		if err == nil && n == 0 {
			return api.Conflict("Such subscription already exists. Subscriptions are unique by project + queue + subscriber URI.")
		}
		if err != nil {
			return err
		}
		return s.cfg.Jobs.PokeAt(tx, kindExpire, jobKey, nil, expires)
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v2/queues/"+u.queue+"/subscriptions/"+u.id)
	return api.WriteJSON(w, http.StatusCreated, document{"subscription_id": u.id})
}

func (s *Service) subscription(tx *store.Tx, a actor, queue, id string) (subscription, error) {
	u, err := scanSubscription(tx.QueryRow(`SELECT `+subscriptionColumns+` FROM messaging_subscriptions WHERE id = ? AND project = ? AND queue = ? AND expires > ?`,
		id, a.project, queue, store.At(s.now())).Scan)
	if isNotFound(err) {
		return u, api.NotFound("Subscription %s for queue %s does not exist.", id, queue).Wrap(err)
	}
	return u, err
}

func (s *Service) listSubscriptions(w http.ResponseWriter, r *http.Request, a actor) error {
	queue, q := r.PathValue("queue"), r.URL.Query()
	p, err := parsePage(q, defaultPage, maxMessages)
	if err != nil {
		return err
	}
	docs, next := []document{}, ""
	err = s.db.View(r.Context(), func(tx *store.Tx) error {
		docs, next = []document{}, ""
		return tx.Each(func(scan func(...any) error) error {
			u, err := scanSubscription(scan)
			if err != nil {
				return err
			}
			if len(docs) == p.limit {
				next = docs[len(docs)-1]["id"].(string)
				return nil
			}
			docs = append(docs, u.document(s.now()))
			return nil
		}, `SELECT `+subscriptionColumns+` FROM messaging_subscriptions WHERE project = ? AND queue = ? AND expires > ? AND id > ? ORDER BY id LIMIT ?`,
			a.project, queue, store.At(s.now()), p.marker, p.limit+1)
	})
	if err != nil {
		return err
	}
	links := []document{}
	if next != "" {
		q.Set("marker", next)
		links = append(links, document{"rel": "next", "href": "/v2/queues/" + queue + "/subscriptions?" + q.Encode()})
	}
	return api.WriteJSON(w, http.StatusOK, document{"subscriptions": docs, "links": links})
}

func (s *Service) getSubscription(w http.ResponseWriter, r *http.Request, a actor) error {
	var u subscription
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		u, err = s.subscription(tx, a, r.PathValue("queue"), r.PathValue("subscription"))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, u.document(s.now()))
}

func (s *Service) updateSubscription(w http.ResponseWriter, r *http.Request, a actor) error {
	var req subscriptionRequest
	if err := api.ReadJSON(r, &req); err != nil {
		return err
	}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		u, err := s.subscription(tx, a, r.PathValue("queue"), r.PathValue("subscription"))
		if err != nil {
			return err
		}
		if err := req.apply(&u); err != nil {
			return err
		}
		if req.TTL != nil {
			u.expires = s.now().Add(time.Duration(u.ttl) * time.Second)
		}
		_, err = tx.Exec(`UPDATE messaging_subscriptions SET subscriber = ?, ttl = ?, options = ?, expires = ? WHERE id = ?`,
			u.subscriber, u.ttl, store.JSON(u.options), store.At(u.expires), u.id)
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) deleteSubscription(w http.ResponseWriter, r *http.Request, a actor) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`DELETE FROM messaging_subscriptions WHERE id = ? AND project = ? AND queue = ?`, r.PathValue("subscription"), a.project, r.PathValue("queue"))
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) confirmSubscription(w http.ResponseWriter, r *http.Request, a actor) error {
	var req struct {
		Confirmed *bool `json:"confirmed"`
	}
	if err := api.ReadJSON(r, &req); err != nil {
		return err
	}
	if req.Confirmed == nil {
		return api.Invalid("The 'confirmed' should be boolean.")
	}
	confirmed := int64(0)
	if *req.Confirmed {
		confirmed = 1
	}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		u, err := s.subscription(tx, a, r.PathValue("queue"), r.PathValue("subscription"))
		if err != nil {
			return err
		}
		_, err = tx.Exec(`UPDATE messaging_subscriptions SET confirmed = ? WHERE id = ?`, confirmed, u.id)
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// notification is what subscribers receive.
func notification(m pushedMessage) document {
	return document{"body": m.body, "ttl": m.ttl, "queue_name": m.queue, "Message_Type": "Notification"}
}

// planDeliveries queues messages for the webhooks of their queue.
func (s *Service) planDeliveries(tx *store.Tx, a actor, queue string, in []pushedMessage) error {
	var ids []string
	err := tx.Each(func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids = append(ids, id)
		return err
	}, `SELECT id FROM messaging_subscriptions WHERE project = ? AND queue = ? AND confirmed = 1 AND expires > ?`, a.project, queue, store.At(s.now()))
	if err != nil {
		return err
	}
	for _, id := range ids {
		for _, m := range in {
			if _, err := tx.Exec(`INSERT INTO messaging_deliveries (subscription, body, attempts) VALUES (?, ?, 0)`, id, store.JSON(notification(m))); err != nil {
				return err
			}
		}
		if err := s.cfg.Jobs.Poke(tx, kindDeliver, id, nil); err != nil {
			return err
		}
	}
	return nil
}

// deliver is the job that sends a webhook its messages, in order, one at a
// time. A message that cannot be delivered in maxAttempts is dropped.
func (s *Service) deliver(ctx context.Context, j jobs.Job) jobs.Result {
	var u subscription
	var seq, attempts int64
	var body string
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		u, err = scanSubscription(tx.QueryRow(`SELECT `+subscriptionColumns+` FROM messaging_subscriptions WHERE id = ?`, j.Key).Scan)
		if err != nil {
			return err
		}
		return tx.Get([]any{&seq, &body, &attempts}, `SELECT seq, body, attempts FROM messaging_deliveries WHERE subscription = ? ORDER BY seq LIMIT 1`, j.Key)
	})
	if isNotFound(err) {
		return jobs.Done()
	}
	if err != nil {
		return jobs.Fail(err)
	}
	sendErr := s.send(ctx, u.subscriber, body)
	if ctx.Err() != nil {
		return jobs.After(0)
	}
	attempts++
	retry := sendErr != nil && attempts < maxAttempts
	err = s.db.Tx(ctx, func(tx *store.Tx) error {
		if retry {
			_, err := tx.Exec(`UPDATE messaging_deliveries SET attempts = ? WHERE seq = ?`, attempts, seq)
			return err
		}
		_, err := tx.Exec(`DELETE FROM messaging_deliveries WHERE seq = ?`, seq)
		return err
	})
	if err != nil {
		return jobs.Fail(err)
	}
	if !retry {
		if sendErr != nil {
			s.cfg.Log.Warn("a message could not be delivered to a webhook", "subscription", u.id, "attempts", attempts, "error", sendErr)
		}
		return jobs.After(0)
	}
	return jobs.After(min(time.Minute, time.Second<<attempts))
}

func (s *Service) send(ctx context.Context, target, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader([]byte(body)))
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := s.cfg.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
	_ = res.Body.Close()                          // only read from
	if res.StatusCode >= 300 {
		return fmt.Errorf("webhook answered %s", res.Status)
	}
	return nil
}

// expire is the job that removes what has outlived its time.
func (s *Service) expire(ctx context.Context, _ jobs.Job) jobs.Result {
	var next time.Time
	err := s.db.Tx(ctx, func(tx *store.Tx) error {
		next = time.Time{}
		now := store.At(s.now())
		for _, q := range []string{
			`DELETE FROM messaging_messages WHERE expires <= ?`,
			`UPDATE messaging_messages SET claim_id = '', claim_expires = 0 WHERE claim_id <> '' AND claim_expires <= ?`,
			`DELETE FROM messaging_claims WHERE expires <= ?`,
			`DELETE FROM messaging_subscriptions WHERE expires <= ?`,
		} {
			if _, err := tx.Exec(q, now); err != nil {
				return err
			}
		}
		for _, table := range []string{"messages", "claims", "subscriptions"} {
			var at time.Time
			if err := tx.Get([]any{store.Time(&at)}, `SELECT MIN(expires) FROM messaging_`+table); err != nil {
				return err
			}
			if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return jobs.Fail(err)
	case next.IsZero():
		return jobs.Done()
	}
	return jobs.After(max(time.Second, next.Sub(s.now())))
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		b, _ = json.Marshal(document{"body": document{"error": "the reply could not be encoded"}, "headers": document{"status": 500}})
	}
	return b
}
