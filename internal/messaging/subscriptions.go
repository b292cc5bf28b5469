package messaging

import (
	"context"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

// trustPrefix begins a subscriber that is called with a token of whoever
// subscribed, by a trust: "trust+http://…".
const trustPrefix = "trust+"

type subscription struct {
	id, subscriber, project, queue string
	ttl                            int64 // seconds
	options                        document
	confirmed                      bool
	trust                          string
	created, expires               time.Time
}

// maxSubscriptionTTL is as long as Heat asks for where a template names no ttl: for ever, in practice.
const maxSubscriptionTTL = 220_367_260_800

// end returns when the subscription ends; a ttl may be longer than a time.Duration.
func (u *subscription) end(now time.Time) time.Time { return time.Unix(now.Unix()+u.ttl, 0).UTC() }

const subscriptionColumns = `id, subscriber, project, queue, ttl, options, confirmed, trust_id, created, expires`

func scanSubscription(scan func(...any) error) (subscription, error) {
	u := subscription{options: document{}}
	var confirmed int64
	err := scan(&u.id, &u.subscriber, &u.project, &u.queue, &u.ttl, store.JSON(&u.options), &confirmed, &u.trust, store.Time(&u.created), store.Time(&u.expires))
	u.confirmed = confirmed != 0
	return u, store.Wrap(err)
}

func (u *subscription) document(now time.Time) document {
	return document{
		"id": u.id, "subscriber": u.subscriber, "source": u.queue, "ttl": u.ttl, "options": u.options, "confirmed": u.confirmed,
		"age": max(0, int64(now.Sub(u.created).Seconds())),
	}
}

func (u *subscription) href() string { return "/v2/queues/" + u.queue + "/subscriptions/" + u.id }

type subscriptionRequest struct {
	Subscriber *string  `json:"subscriber"`
	TTL        *int64   `json:"ttl"`
	Options    document `json:"options"`
}

func (s *Service) apply(q *subscriptionRequest, u *subscription) error {
	if q.Subscriber != nil {
		u.subscriber = *q.Subscriber
	}
	if q.TTL != nil {
		u.ttl = *q.TTL
	}
	if q.Options != nil {
		u.options = q.Options
	}
	if err := s.checkSubscriber(u.subscriber); err != nil {
		return err
	}
	if u.ttl < minTTL || u.ttl > maxSubscriptionTTL {
		return api.Invalid("ttl is %d, expected %d to %d seconds", u.ttl, minTTL, int64(maxSubscriptionTTL))
	}
	if u.options == nil {
		u.options = document{}
	}
	return checkOptions(u.options)
}

func (s *Service) checkSubscriber(subscriber string) error {
	target, err := url.Parse(subscriber)
	switch {
	case err != nil:
	case target.Scheme == "mailto":
		if _, err := mail.ParseAddress(target.Opaque); err != nil {
			return api.Invalid("subscriber is %q, expected mailto: with one address", subscriber)
		}
		if s.cfg.SMTP == nil {
			return api.Invalid("subscriber is %q, but this cloud sends no mail: its operator has configured no SMTP server", subscriber)
		}
		return nil
	case strings.HasPrefix(target.Scheme, trustPrefix) && s.cfg.Cloud == nil:
		return api.Invalid("subscriber is %q, but no trusts can be made here", subscriber)
	case slices.Contains([]string{"http", "https", "trust+http", "trust+https"}, target.Scheme) && target.Host != "":
		return nil
	}
	return api.Invalid("The subscriber type of subscription must be supported in the list ['http', 'https', 'trust+http', 'trust+https', 'mailto']: subscriber is %q.", subscriber)
}

// checkOptions bounds what a subscription may have sent along.
func checkOptions(options document) error {
	if err := checkMeta(options); err != nil {
		return err
	}
	for _, name := range []string{"from", "subject", "post_data"} {
		v, has := options[name]
		text, ok := v.(string)
		if has && (!ok || name != "post_data" && strings.ContainsAny(text, "\r\n")) {
			return api.Invalid("options.%s is %v, expected one line of text", name, v)
		}
	}
	if v, has := options["post_headers"]; has {
		headers, ok := v.(document)
		if !ok {
			return api.Invalid("options.post_headers is %v, expected an object", v)
		}
		for name, value := range headers {
			text, ok := value.(string)
			if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(text) {
				return api.Invalid("options.post_headers has %q: %v, expected a header of HTTP", name, value)
			}
		}
	}
	return nil
}

// createSubscription answers POST. One that exists is a conflict, unless its
// receiver has not confirmed it: then it is asked again.
func (s *Service) createSubscription(w http.ResponseWriter, r *http.Request, a actor) error {
	var req subscriptionRequest
	if err := api.ReadJSON(r, &req); err != nil {
		return err
	}
	if req.Subscriber == nil {
		return api.Invalid("subscriber is required")
	}
	now := s.now()
	u := subscription{id: newID(), project: a.project, queue: r.PathValue("queue"), ttl: defaultTTL, created: now}
	if err := s.apply(&req, &u); err != nil {
		return err
	}
	trusted := strings.HasPrefix(u.subscriber, trustPrefix)
	u.confirmed = trusted || !s.cfg.RequireConfirmation
	if trusted {
		var err error
		if u.trust, err = s.makeTrust(r.Context()); err != nil {
			return err
		}
	}
	u.expires = u.end(now)
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error { return s.insertSubscription(tx, a, &u) })
	if err != nil {
		if u.trust != "" {
			if left := s.cfg.Cloud.DeleteTrust(context.WithoutCancel(r.Context()), u.trust); left != nil {
				s.cfg.Log.Warn("the trust of a refused subscription is left over", "error", left)
			}
		}
		return err
	}
	w.Header().Set("Location", u.href())
	return api.WriteJSON(w, http.StatusCreated, document{"subscription_id": u.id})
}

func (s *Service) makeTrust(ctx context.Context) (string, error) {
	id, ok := auth.FromContext(ctx)
	if !ok || id.Token == "" {
		return "", api.Forbidden("a trust+ subscription needs a token: a pre-signed URL cannot give a trust")
	}
	trust, err := s.cfg.Cloud.NewTrust(ctx, id, time.Time{}, false)
	if err != nil {
		return "", api.Forbidden("no trust could be made to call the subscriber in your name").Wrap(err)
	}
	return trust, nil
}

func (s *Service) insertSubscription(tx *store.Tx, a actor, u *subscription) error {
	if _, err := s.ensureQueue(tx, a, u.queue, nil); err != nil {
		return err
	}
	if err := s.dropSubscriptions(tx, `project = ? AND queue = ? AND subscriber = ? AND expires <= ?`, a.project, u.queue, u.subscriber, store.At(u.created)); err != nil {
		return err
	}
	have, err := scanSubscription(tx.QueryRow(`SELECT `+subscriptionColumns+` FROM messaging_subscriptions WHERE project = ? AND queue = ? AND subscriber = ?`,
		a.project, u.queue, u.subscriber).Scan)
	switch {
	case isNotFound(err):
		if _, err := tx.Exec(`INSERT INTO messaging_subscriptions (`+subscriptionColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			u.id, u.subscriber, a.project, u.queue, u.ttl, store.JSON(u.options), flag(u.confirmed), u.trust, store.At(u.created), store.At(u.expires)); err != nil {
			return err
		}
	case err != nil:
		return err
	case have.confirmed:
		return api.Conflict("Such subscription already exists. Subscriptions are unique by project + queue + subscriber URI.")
	default:
		u.id = have.id
		if err := saveSubscription(tx, u); err != nil {
			return err
		}
	}
	if !u.confirmed {
		if err := s.planDelivery(tx, u.id, s.confirmation(u), u.expires, false); err != nil {
			return err
		}
	}
	return s.cfg.Jobs.PokeAt(tx, kindExpire, jobKey, nil, u.expires)
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func saveSubscription(tx *store.Tx, u *subscription) error {
	_, err := tx.Exec(`UPDATE messaging_subscriptions SET subscriber = ?, ttl = ?, options = ?, expires = ?, trust_id = ?, confirmed = ? WHERE id = ?`,
		u.subscriber, u.ttl, store.JSON(u.options), store.At(u.expires), u.trust, flag(u.confirmed), u.id)
	return err
}

// dropSubscriptions deletes those that a condition names, and has their trusts
// end.
func (s *Service) dropSubscriptions(tx *store.Tx, where string, args ...any) error {
	var trusts []string
	err := tx.Each(func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		trusts = append(trusts, id)
		return err
	}, `SELECT trust_id FROM messaging_subscriptions WHERE trust_id <> '' AND `+where, args...)
	if err != nil {
		return err
	}
	for _, id := range trusts {
		if err := s.cfg.Jobs.Poke(tx, kindTrust, id, nil); err != nil {
			return err
		}
	}
	_, err = tx.Exec(`DELETE FROM messaging_subscriptions WHERE `+where, args...)
	return err
}

// endTrust is the job that deletes the trust of a subscription that is gone.
func (s *Service) endTrust(ctx context.Context, j jobs.Job) jobs.Result {
	if err := s.cfg.Cloud.DeleteTrust(ctx, j.Key); err != nil {
		return jobs.Fail(err)
	}
	return jobs.Done()
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
				next, _ = docs[len(docs)-1]["id"].(string)
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
		before := u.subscriber
		if err := s.apply(&req, &u); err != nil {
			return err
		}
		if before != u.subscriber && (strings.HasPrefix(before, trustPrefix) || strings.HasPrefix(u.subscriber, trustPrefix)) {
			return api.Invalid("a trust+ subscriber cannot be exchanged: make another subscription")
		}
		if before != u.subscriber && s.cfg.RequireConfirmation { // another receiver has to agree anew
			u.confirmed = false
			if err := s.planDelivery(tx, u.id, s.confirmation(&u), u.expires, false); err != nil {
				return err
			}
		}
		if req.TTL != nil {
			u.expires = u.end(s.now())
		}
		return saveSubscription(tx, &u)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) deleteSubscription(w http.ResponseWriter, r *http.Request, a actor) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		return s.dropSubscriptions(tx, `id = ? AND project = ? AND queue = ?`, r.PathValue("subscription"), a.project, r.PathValue("queue"))
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// confirmSubscription answers PUT …/confirm, mostly by the pre-signed URL that
// the receiver was sent. Taking the confirmation back is told to the receiver.
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
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		u, err := s.subscription(tx, a, r.PathValue("queue"), r.PathValue("subscription"))
		if err != nil {
			return err
		}
		left := u.confirmed && !*req.Confirmed
		u.confirmed = *req.Confirmed
		if err := saveSubscription(tx, &u); err != nil || !left {
			return err
		}
		return s.planDelivery(tx, u.id, s.farewell(&u), u.expires, false)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
