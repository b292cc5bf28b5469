package messaging

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

// placeholder stands in options.post_data for the notification.
const placeholder = `"$zaqar_message$"`

// deliveryOwner binds the bodies of deliveries from encrypted queues.
const deliveryOwner = "delivery"

// notification is what subscribers receive.
func notification(m pushedMessage) document {
	return document{"body": m.body, "ttl": m.ttl, "queue_name": m.queue, "Message_Type": "Notification"}
}

// confirmation asks the receiver of a subscription whether it wants it.
func (s *Service) confirmation(u *subscription) document {
	return s.invitation(u, "SubscriptionConfirmation", true,
		"You have chosen to subscribe to the queue: "+u.queue+". This queue belongs to project: "+u.project+". To confirm this subscription, follow below links: ")
}

// farewell tells the receiver that it no longer gets notifications.
func (s *Service) farewell(u *subscription) document {
	return s.invitation(u, "UnsubscribeConfirmation", true,
		"You have unsubscribed successfully to the queue: "+u.queue+", you can resubscribe it by using confirmed=True. This queue belongs to project: "+u.project+".")
}

// invitation carries a pre-signed request by which a receiver without a token
// says yes or no.
func (s *Service) invitation(u *subscription, kind string, subscribe bool, text string) document {
	path := u.href() + "/confirm"
	g := grant{project: u.project, methods: []string{http.MethodPut}, paths: []string{path}, expires: u.expires.UTC().Format(signedTime)}
	return document{
		"Message": text, "Message_Type": kind, "queue_name": u.queue,
		"WSGISubscribeURL": s.cfg.BaseURL + path, "SubscribeBody": document{"confirmed": subscribe}, "UnsubscribeBody": document{"confirmed": false},
		headerMethods: strings.Join(g.methods, ","), headerPaths: strings.Join(g.paths, ","), headerExpires: g.expires,
		headerProject: g.project, headerSignature: s.signature(g),
	}
}

// planDeliveries queues messages for the confirmed subscriptions of their queue.
func (s *Service) planDeliveries(tx *store.Tx, a actor, queue string, in []pushedMessage, encrypted bool) error {
	var ids []string
	now := s.now()
	err := tx.Each(func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		ids = append(ids, id)
		return err
	}, `SELECT id FROM messaging_subscriptions WHERE project = ? AND queue = ? AND confirmed = 1 AND expires > ?`, a.project, queue, store.At(now))
	if err != nil {
		return err
	}
	for _, id := range ids {
		for _, m := range in {
			if err := s.planDelivery(tx, id, notification(m), now.Add(time.Duration(m.ttl)*time.Second), encrypted); err != nil {
				return err
			}
		}
	}
	return nil
}

// planDelivery queues one document for a subscription; it is given up at
// expires.
func (s *Service) planDelivery(tx *store.Tx, subscription string, doc document, expires time.Time, encrypted bool) error {
	body := string(marshal(doc))
	if encrypted {
		body = s.seal([]byte(body), deliveryOwner)
	}
	if _, err := tx.Exec(`INSERT INTO messaging_deliveries (subscription, body, attempts, expires) VALUES (?, ?, 0, ?)`, subscription, body, store.At(expires)); err != nil {
		return err
	}
	return s.cfg.Jobs.Poke(tx, kindDeliver, subscription, nil)
}

// delivery is the next thing to send to a subscription.
type delivery struct {
	u             subscription
	queue         document // the queue's metadata
	seq, attempts int64
	body          string
}

// nextDelivery reads it; store.ErrNotFound says that there is nothing to do.
func (s *Service) nextDelivery(ctx context.Context, id string) (delivery, error) {
	var d delivery
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		if d.u, err = scanSubscription(tx.QueryRow(`SELECT `+subscriptionColumns+` FROM messaging_subscriptions WHERE id = ?`, id).Scan); err != nil {
			return err
		}
		if d.queue, err = queueMeta(tx, actor{project: d.u.project}, d.u.queue); err != nil {
			return err
		}
		return tx.Get([]any{&d.seq, &d.body, &d.attempts}, `SELECT seq, body, attempts FROM messaging_deliveries
			WHERE subscription = ? AND expires > ? ORDER BY seq LIMIT 1`, id, store.At(s.now()))
	})
	if err != nil {
		return d, err
	}
	text, err := s.open(d.body, deliveryOwner)
	d.body = string(text)
	return d, err
}

// deliver is the job that sends a subscription its messages, in order, one at a
// time. A message that its retry policy gives up is dropped.
func (s *Service) deliver(ctx context.Context, j jobs.Job) jobs.Result {
	d, err := s.nextDelivery(ctx, j.Key)
	if isNotFound(err) {
		return jobs.Done()
	}
	if err != nil {
		return jobs.Fail(err)
	}
	policy, err := chooseRetries(d.u.options, d.queue)
	if err != nil {
		policy = defaultRetries() // checked when it was set
	}
	sendErr := s.send(ctx, &d.u, d.body)
	if ctx.Err() != nil {
		return jobs.After(0)
	}
	wait, again := time.Duration(0), false
	if sendErr != nil {
		wait, again = policy.delay(d.attempts + 1)
	}
	err = s.db.Tx(ctx, func(tx *store.Tx) error {
		q := `DELETE FROM messaging_deliveries WHERE seq = ?`
		if again {
			q = `UPDATE messaging_deliveries SET attempts = attempts + 1 WHERE seq = ?`
		}
		_, err := tx.Exec(q, d.seq)
		return err
	})
	if err != nil {
		return jobs.Fail(err)
	}
	if sendErr != nil && !again {
		s.cfg.Log.Warn("a message could not be delivered and is given up", "subscription", d.u.id, "attempts", d.attempts+1, "error", sendErr)
	}
	return jobs.After(wait)
}

// send delivers one body by the subscriber's scheme.
func (s *Service) send(ctx context.Context, u *subscription, body string) error {
	target, err := url.Parse(u.subscriber)
	if err != nil {
		return fmt.Errorf("subscriber: %w", err)
	}
	if target.Scheme == "mailto" {
		return s.mail(ctx, u, target.Opaque, body)
	}
	return s.call(ctx, u, strings.TrimPrefix(u.subscriber, trustPrefix), body)
}

// call posts to a webhook.
func (s *Service) call(ctx context.Context, u *subscription, target, body string) error {
	if data, ok := u.options["post_data"].(string); ok && data != "" {
		body = strings.ReplaceAll(data, placeholder, body)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if headers, ok := u.options["post_headers"].(document); ok {
		for name, v := range headers {
			if text, ok := v.(string); ok {
				req.Header.Set(name, text)
			}
		}
	}
	if u.trust != "" {
		session, err := s.cfg.Cloud.Trust(ctx, u.trust)
		if err != nil {
			return fmt.Errorf("webhook: token by the subscription's trust: %w", err)
		}
		req.Header.Set("X-Auth-Token", session.Provider.Token())
	}
	res, err := s.web.Do(req)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
	_ = res.Body.Close()                          // only read from
	if res.StatusCode == http.StatusUnauthorized && u.trust != "" {
		s.cfg.Cloud.Forget(u.trust) // the next attempt has a new token
	}
	if res.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("webhook answered %s", res.Status)
	}
	return nil
}
