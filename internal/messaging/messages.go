package messaging

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

type requestContext = context.Context

// message is a row of messaging_messages.
type message struct {
	seq                       int64
	id, client, claimID       string
	stored                    string          // the body as the store has it, perhaps encrypted
	body                      json.RawMessage // set by reveal
	ttl                       int64           // seconds
	claimCount                int64
	created, expires, claimed time.Time
}

const messageColumns = `seq, id, client, claim_id, body, ttl, created, expires, claim_expires, claim_count`

func scanMessage(scan func(...any) error) (message, error) {
	var m message
	err := scan(&m.seq, &m.id, &m.client, &m.claimID, &m.stored, &m.ttl, store.Time(&m.created), store.Time(&m.expires), store.Time(&m.claimed), &m.claimCount)
	return m, store.Wrap(err)
}

// reveal makes bodies readable: those of encrypted queues are decrypted, outside
// any transaction.
func (s *Service) reveal(in ...*message) error {
	for _, m := range in {
		var err error
		if m.body, err = s.open(m.stored, m.id); err != nil {
			return err
		}
	}
	return nil
}

func (m *message) href(queue string) string { return "/v2/queues/" + queue + "/messages/" + m.id }

func (m *message) age(now time.Time) int64 { return max(0, int64(now.Sub(m.created).Seconds())) }

// isClaimed says whether a claim on the message is in force.
func (m *message) isClaimed(now time.Time) bool { return m.claimID != "" && m.claimed.After(now) }

func (m *message) document(queue string, now time.Time) document {
	doc := document{"id": m.id, "href": m.href(queue), "ttl": m.ttl, "age": m.age(now), "body": m.body}
	if m.isClaimed(now) {
		doc["claim_id"] = m.claimID
		doc["href"] = m.href(queue) + "?claim_id=" + m.claimID
	}
	return doc
}

// newMessage is a message as it is posted.
type newMessage struct {
	Body  json.RawMessage `json:"body"`
	TTL   *int64          `json:"ttl"`
	Delay *int64          `json:"delay"`
}

func (n *newMessage) check(i int, ttl, delay int64) (int64, int64, error) {
	if n.TTL != nil {
		ttl = *n.TTL
	}
	if n.Delay != nil {
		delay = *n.Delay
	}
	switch {
	case len(n.Body) == 0:
		return 0, 0, api.Invalid("messages[%d].body is missing", i)
	case ttl < minTTL || ttl > maxTTL:
		return 0, 0, api.Invalid("The TTL for a message may not exceed %d seconds, and must be at least %d seconds long: messages[%d].ttl is %d.", maxTTL, minTTL, i, ttl)
	case delay < 0 || delay > maxDelay:
		return 0, 0, api.Invalid("messages[%d].delay is %d, expected 0 to %d seconds", i, delay, maxDelay)
	}
	return ttl, delay, nil
}

func number(meta document, name string, def int64) int64 {
	if n, ok := meta[name].(float64); ok {
		return int64(n)
	}
	return def
}

func topic(a actor, queue string) string { return "messaging/queue/" + a.project + "/" + queue }

// post stores messages; they are durable when it returns. The queue is made if
// it does not exist.
func (s *Service) post(ctx requestContext, a actor, queue string, in []newMessage) ([]string, error) {
	if len(in) == 0 || len(in) > maxPostBatch {
		return nil, api.Invalid("messages holds %d messages, expected 1 to %d", len(in), maxPostBatch)
	}
	var ids []string
	err := s.db.Tx(ctx, func(tx *store.Tx) error {
		ids = nil
		if _, err := s.ensureQueue(tx, a, queue, nil); err != nil {
			return err
		}
		meta, err := queueMeta(tx, a, queue)
		if err != nil {
			return err
		}
		now := s.now()
		encrypted := meta["_enable_encrypt_messages"] == true
		var pushed []pushedMessage
		var first time.Time
		var size int64
		for i := range in {
			ttl, delay, err := in[i].check(i, number(meta, "_default_message_ttl", defaultTTL), number(meta, "_default_message_delay", 0))
			if err != nil {
				return err
			}
			size += int64(len(in[i].Body))
			id, expires := newID(), now.Add(time.Duration(ttl)*time.Second)
			body := string(in[i].Body)
			if encrypted {
				body = s.seal(in[i].Body, id)
			}
			var at time.Time // without a delay at once, even if the clock is turned back
			if delay > 0 {
				at = now.Add(time.Duration(delay) * time.Second)
			}
			var seq int64
			err = tx.Get([]any{&seq}, `INSERT INTO messaging_messages (id, project, queue, client, body, ttl, created, visible, expires, claim_id, claim_expires)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0) RETURNING seq`,
				id, a.project, queue, a.client, body, ttl, store.At(now), store.At(at), store.At(expires))
			if err != nil {
				return err
			}
			ids = append(ids, id)
			pushed = append(pushed, pushedMessage{seq: seq, queue: queue, body: in[i].Body, ttl: ttl})
			if first.IsZero() || expires.Before(first) {
				first = expires
			}
		}
		if most := number(meta, "_max_messages_post_size", s.cfg.MaxPostSize); size > most {
			return api.TooLarge("the messages have %d bytes, queue %s takes %d at once", size, queue, most)
		}
		if err := s.planDeliveries(tx, a, queue, pushed, encrypted); err != nil {
			return err
		}
		s.bus.PublishTx(tx, topic(a, queue))
		tx.AfterCommit(func() { s.hub.publish(topic(a, queue), pushed) })
		return s.cfg.Jobs.PokeAt(tx, kindExpire, jobKey, nil, first)
	})
	return ids, err
}

// postMessages answers POST; the body is {"messages": […]}.
func (s *Service) postMessages(w http.ResponseWriter, r *http.Request, a actor) error {
	var req struct {
		Messages []newMessage `json:"messages"`
	}
	if err := api.ReadJSON(r, &req); err != nil {
		return err
	}
	queue := r.PathValue("queue")
	ids, err := s.post(r.Context(), a, queue, req.Messages)
	if err != nil {
		return err
	}
	hrefs := make([]string, 0, len(ids))
	for _, id := range ids {
		hrefs = append(hrefs, "/v2/queues/"+queue+"/messages/"+id)
	}
	w.Header().Set("Location", "/v2/queues/"+queue+"/messages?ids="+strings.Join(ids[:min(len(ids), maxMessages)], ","))
	return api.WriteJSON(w, http.StatusCreated, document{"resources": hrefs})
}

// messageQuery is how messages are listed.
type messageQuery struct {
	after                                int64
	limit                                int
	echo, includeClaimed, includeDelayed bool
}

// messages lists a queue in order.
func (s *Service) messages(ctx requestContext, a actor, queue string, q messageQuery) ([]message, error) {
	now := s.now()
	where, args := "", []any{a.project, queue, store.At(now), q.after}
	if !q.echo {
		where += " AND client <> ?"
		args = append(args, a.client)
	}
	if !q.includeClaimed {
		where += " AND claim_expires <= ?"
		args = append(args, store.At(now))
	}
	if !q.includeDelayed {
		where += " AND visible <= ?"
		args = append(args, store.At(now))
	}
	var out []message
	err := s.db.View(ctx, func(tx *store.Tx) error {
		out = nil
		return tx.Each(func(scan func(...any) error) error {
			m, err := scanMessage(scan)
			out = append(out, m)
			return err
		}, `SELECT `+messageColumns+` FROM messaging_messages WHERE project = ? AND queue = ? AND expires > ? AND seq > ?`+where+` ORDER BY seq LIMIT ?`,
			append(args, q.limit)...)
	})
	return out, err
}

func (s *Service) documents(queue string, in []message) ([]document, error) {
	now, out := s.now(), []document{}
	for i := range in {
		if err := s.reveal(&in[i]); err != nil {
			return nil, err
		}
		out = append(out, in[i].document(queue, now))
	}
	return out, nil
}

func (s *Service) listMessages(w http.ResponseWriter, r *http.Request, a actor) error {
	queue, q := r.PathValue("queue"), r.URL.Query()
	if q.Has("ids") {
		found, err := s.byIDs(r.Context(), a, queue, q.Get("ids"))
		if err == nil && len(found) == 0 {
			err = api.NotFound("None of the messages exists in queue %s.", queue)
		}
		if err != nil {
			return err
		}
		docs, err := s.documents(queue, found)
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, document{"messages": docs})
	}
	p, err := parsePage(q, defaultPage, maxMessages)
	if err != nil {
		return err
	}
	mq := messageQuery{limit: p.limit}
	for name, to := range map[string]*bool{"echo": &mq.echo, "include_claimed": &mq.includeClaimed, "include_delayed": &mq.includeDelayed} {
		if *to, err = boolean(q, name); err != nil {
			return err
		}
	}
	if p.marker != "" {
		if mq.after, err = strconv.ParseInt(p.marker, 10, 64); err != nil {
			return api.Invalid("marker is %q, expected one from a link of this list", p.marker)
		}
	}
	found, err := s.messages(r.Context(), a, queue, mq)
	if err != nil {
		return err
	}
	docs, err := s.documents(queue, found)
	if err != nil {
		return err
	}
	out := document{"messages": docs, "links": []document{}}
	if len(found) > 0 {
		next := url.Values{"marker": {strconv.FormatInt(found[len(found)-1].seq, 10)}, "limit": {strconv.Itoa(p.limit)}}
		for _, name := range []string{"echo", "include_claimed", "include_delayed"} {
			if q.Has(name) {
				next.Set(name, q.Get(name))
			}
		}
		out["links"] = []document{{"rel": "next", "href": "/v2/queues/" + queue + "/messages?" + next.Encode()}}
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

// inOrder sorts by age without the index of the queue, which SQLite would read
// from end to end for it.
const inOrder = ` ORDER BY +seq`

func splitIDs(list string) ([]string, error) {
	ids := strings.Split(list, ",")
	if list == "" || len(ids) > maxMessages {
		return nil, api.Invalid("the request names %d messages, expected 1 to %d", len(ids), maxMessages)
	}
	return ids, nil
}

func (s *Service) byIDs(ctx requestContext, a actor, queue, list string) ([]message, error) {
	ids, err := splitIDs(list)
	if err != nil {
		return nil, err
	}
	var out []message
	err = s.db.View(ctx, func(tx *store.Tx) error {
		out = nil
		return tx.Each(func(scan func(...any) error) error {
			m, err := scanMessage(scan)
			out = append(out, m)
			return err
		}, `SELECT `+messageColumns+` FROM messaging_messages WHERE project = ? AND queue = ? AND expires > ? AND id IN `+store.In(len(ids))+inOrder,
			append([]any{a.project, queue, store.At(s.now())}, store.Args(ids)...)...)
	})
	return out, err
}

func (s *Service) message(tx *store.Tx, a actor, queue, id string) (message, error) {
	m, err := scanMessage(tx.QueryRow(`SELECT `+messageColumns+` FROM messaging_messages WHERE project = ? AND queue = ? AND id = ? AND expires > ?`,
		a.project, queue, id, store.At(s.now())).Scan)
	if isNotFound(err) {
		return m, api.NotFound("Message %s does not exist in queue %s.", id, queue).Wrap(err)
	}
	return m, err
}

func (s *Service) getMessage(w http.ResponseWriter, r *http.Request, a actor) error {
	queue := r.PathValue("queue")
	var m message
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		m, err = s.message(tx, a, queue, r.PathValue("message"))
		return err
	})
	if err == nil {
		err = s.reveal(&m)
	}
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, m.document(queue, s.now()))
}

// drop deletes one message; a claimed one only with its claim's id. A message
// that does not exist is no error.
func (s *Service) drop(tx *store.Tx, a actor, queue, id string, claims []string) error {
	m, err := s.message(tx, a, queue, id)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	named := false
	for _, c := range claims {
		named = named || c == m.claimID
	}
	switch {
	case m.isClaimed(s.now()) && !named:
		return api.Forbidden("Message %s is claimed; it can be deleted with the id of its claim.", id)
	case len(claims) > 0 && claims[0] != "" && !named:
		return api.Invalid("A claim was specified, but message %s is not claimed by it.", id)
	}
	_, err = tx.Exec(`DELETE FROM messaging_messages WHERE seq = ?`, m.seq)
	return err
}

func (s *Service) dropAll(ctx requestContext, a actor, queue string, ids, claims []string) error {
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		for _, id := range ids {
			if err := s.drop(tx, a, queue, id, claims); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) deleteMessage(w http.ResponseWriter, r *http.Request, a actor) error {
	var claims []string
	if c := r.URL.Query().Get("claim_id"); c != "" {
		claims = []string{c}
	}
	if err := s.dropAll(r.Context(), a, r.PathValue("queue"), []string{r.PathValue("message")}, claims); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// pop removes and returns the oldest messages that are not claimed.
func (s *Service) pop(ctx requestContext, a actor, queue string, n int) ([]message, error) {
	if n < 1 || n > maxMessages {
		return nil, api.Invalid("pop is %d, expected 1 to %d", n, maxMessages)
	}
	var out []message
	err := s.db.Tx(ctx, func(tx *store.Tx) error {
		var err error
		if out, err = s.free(tx, a, queue, n); err != nil {
			return err
		}
		for _, m := range out {
			if _, err := tx.Exec(`DELETE FROM messaging_messages WHERE seq = ?`, m.seq); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// free returns the oldest messages that nobody has claimed, locked.
func (s *Service) free(tx *store.Tx, a actor, queue string, n int) ([]message, error) {
	now := store.At(s.now())
	var out []message
	err := tx.Each(func(scan func(...any) error) error {
		m, err := scanMessage(scan)
		out = append(out, m)
		return err
	}, `SELECT `+messageColumns+` FROM messaging_messages WHERE project = ? AND queue = ? AND expires > ? AND visible <= ? AND claim_expires <= ?
		ORDER BY seq LIMIT ?`+tx.SkipLocked(), a.project, queue, now, now, now, n)
	return out, err
}

// deleteMessages answers DELETE with ids (and claim_ids) or pop.
func (s *Service) deleteMessages(w http.ResponseWriter, r *http.Request, a actor) error {
	queue, q := r.PathValue("queue"), r.URL.Query()
	if q.Has("ids") == q.Has("pop") {
		return api.Invalid("either ids or pop is required")
	}
	if q.Has("pop") {
		n, err := strconv.Atoi(q.Get("pop"))
		if err != nil {
			return api.Invalid("pop is %q, expected a number", q.Get("pop"))
		}
		got, err := s.pop(r.Context(), a, queue, n)
		if err != nil {
			return err
		}
		docs, err := s.documents(queue, got)
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, document{"messages": docs})
	}
	ids, err := splitIDs(q.Get("ids"))
	if err != nil {
		return err
	}
	var claims []string
	if v := q.Get("claim_ids"); v != "" {
		claims = strings.Split(v, ",")
	}
	if err := s.dropAll(r.Context(), a, queue, ids, claims); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
