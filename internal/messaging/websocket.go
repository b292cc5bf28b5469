package messaging

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

// Times of a socket's life.
const (
	pingEvery  = 30 * time.Second
	writeLimit = 30 * time.Second
	authLimit  = time.Minute // from the opening to a successful authenticate
)

// frame is a request on a socket.
type frame struct {
	Action  string            `json:"action"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
}

// socket is one connection.
type socket struct {
	s    *Service
	conn *websocket.Conn
	id   string

	// of the reading goroutine
	identity *auth.Identity
	actor    actor

	mu       sync.Mutex
	kind     websocket.MessageType // of the client's latest frame
	token    string                // as it was given last; checked again while the socket lives
	since    time.Time
	subs     map[string]*socketSub // topic -> subscription
	overflow bool
	wake     chan struct{} // cap 1
}

// socketSub is a subscription that ends with its socket.
type socketSub struct {
	id, queue string
	ttl       int64
	project   string
	created   time.Time
	sent      int64 // sequence number up to which messages were pushed
	pending   []pushedMessage
	active    bool // from its reply on: nothing is pushed before
	bus       *notify.Subscription
	stop      context.CancelFunc
}

// websocket serves one connection until either side closes it.
func (s *Service) websocket(w http.ResponseWriter, r *http.Request) error {
	if !s.hub.enter() {
		return api.Unavailable("there are %d WebSocket connections already", maxSockets)
	}
	k := &socket{s: s, id: newID(), subs: map[string]*socketSub{}, wake: make(chan struct{}, 1), since: s.now()}
	defer k.leave()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // a token in a frame authenticates, no cookie: other origins gain nothing
	})
	if err != nil {
		return nil //nolint:nilerr // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }() // after a proper close it does nothing
	conn.SetReadLimit(maxBody)
	k.conn = conn
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context())) // a hijacked request's context may end early
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.push(ctx)
	}()
	k.read(ctx)
	cancel()
	<-done
	return nil
}

func (k *socket) leave() {
	k.mu.Lock()
	topics := make([]string, 0, len(k.subs))
	for t, sub := range k.subs {
		topics = append(topics, t)
		sub.stop()
	}
	k.mu.Unlock()
	k.s.hub.leave(k, topics)
}

// read answers frames in order.
func (k *socket) read(ctx context.Context) {
	for {
		kind, data, err := k.conn.Read(ctx)
		if err != nil {
			return
		}
		k.mu.Lock()
		k.kind = kind // notifications come as the client last spoke
		k.mu.Unlock()
		answer := k.answer(ctx, kind, data)
		if !k.write(ctx, kind, answer) {
			return
		}
		k.activate()
	}
}

// activate lets pushes of new subscriptions begin: their reply has been sent,
// and clients take the first frame for it.
func (k *socket) activate() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, sub := range k.subs {
		if !sub.active {
			sub.active = true
			k.poke()
		}
	}
}

func (k *socket) write(ctx context.Context, kind websocket.MessageType, v any) bool {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	return k.conn.Write(ctx, kind, encodeFrame(kind, v)) == nil
}

// reply is the envelope of an answer.
func reply(f frame, status int, body any) document {
	headers := map[string]string{}
	for name, v := range f.Headers {
		if http.CanonicalHeaderKey(name) != "X-Auth-Token" {
			headers[name] = v
		}
	}
	request := document{"action": f.Action, "headers": headers, "api": "v2"}
	if len(f.Body) > 0 {
		request["body"] = f.Body
	} else {
		request["body"] = document{}
	}
	return document{"request": request, "headers": document{"status": status}, "body": body}
}

func (k *socket) answer(ctx context.Context, kind websocket.MessageType, data []byte) document {
	var f frame
	data, err := decodeFrame(kind, data)
	if err == nil {
		err = api.DecodeJSON(data, &f)
	}
	if err != nil {
		return reply(frame{}, http.StatusBadRequest, document{"error": err.Error()})
	}
	status, body, err := k.act(ctx, f)
	if err == nil {
		err = k.s.db.Sync(ctx) // as at any socket: what is acknowledged is on the disk
	}
	if err != nil {
		status, body = failure(k.s, f.Action, err)
	}
	return reply(f, status, body)
}

func failure(s *Service, action string, err error) (int, document) {
	var e *api.Error
	switch {
	case errors.As(err, &e):
		return e.Status(), document{"error": e.Message}
	case isNotFound(err):
		return http.StatusNotFound, document{"error": "the resource could not be found"}
	}
	s.cfg.Log.Error("request on a WebSocket failed", "action", action, "error", err)
	return http.StatusInternalServerError, document{"error": "internal error"}
}

func (f *frame) header(name string) string {
	for n, v := range f.Headers {
		if http.CanonicalHeaderKey(n) == http.CanonicalHeaderKey(name) {
			return v
		}
	}
	return ""
}

// act runs a frame's action.
func (k *socket) act(ctx context.Context, f frame) (int, any, error) {
	if f.Action == "authenticate" {
		return k.authenticate(ctx, f)
	}
	if g, signature, ok := signedGrant(f.header); ok {
		return k.actSigned(ctx, f, g, signature)
	}
	if k.identity == nil {
		return 0, nil, api.Forbidden("Not authenticated.")
	}
	a, ok := k.s.actions[f.Action]
	if !ok {
		return 0, nil, api.Invalid("%s is not a valid action", f.Action)
	}
	if k.identity.ExpiresAt.Before(k.s.now()) {
		return 0, nil, api.Unauthorized("The token has expired; authenticate again.")
	}
	allowed := k.identity.HasRole("member", "admin", "service") || a.read && k.identity.HasRole("reader")
	if !allowed {
		return 0, nil, api.Forbidden("You are not authorized to perform %s.", f.Action)
	}
	body, err := f.actionBody()
	if err != nil {
		return 0, nil, err
	}
	return a.run(k, ctx, body)
}

func (f *frame) actionBody() (*actionBody, error) {
	body := &actionBody{}
	if len(f.Body) > 0 {
		if err := api.DecodeJSON(f.Body, body); err != nil {
			return nil, err
		}
	}
	if f.Action != "queue_list" {
		if err := checkQueue(body.Queue); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// actSigned runs an action by a pre-signed URL's headers instead of a token.
func (k *socket) actSigned(ctx context.Context, f frame, g grant, signature string) (int, any, error) {
	a, ok := k.s.actions[f.Action]
	body, err := f.actionBody()
	if err != nil {
		return 0, nil, err
	}
	if !ok || a.method == "" || !k.s.verify(g, signature) || !g.permits(a.method, "/v2/queues/"+body.Queue+"/"+a.path) {
		return 0, nil, api.Forbidden("The URL's signature does not permit this action.")
	}
	client := f.header("Client-ID")
	if client == "" {
		client = anonymousClient
	}
	as, err := newActor(g.identity(), client)
	if err != nil {
		return 0, nil, err
	}
	mine := k.actor
	k.actor = as
	defer func() { k.actor = mine }()
	return a.run(k, ctx, body)
}

func (k *socket) authenticate(ctx context.Context, f frame) (int, any, error) {
	token := f.header("X-Auth-Token")
	id, err := k.s.cfg.Auth.Validate(ctx, token)
	if err != nil {
		return 0, nil, api.Unauthorized("Authentication failed.").Wrap(err)
	}
	if id.ProjectID == "" {
		return 0, nil, api.Forbidden("queues belong to a project: the token is not scoped to one")
	}
	if k.identity != nil && (k.identity.UserID != id.UserID || k.identity.ProjectID != id.ProjectID) {
		return 0, nil, api.Forbidden("a socket cannot change to another user or project")
	}
	a, err := newActor(id, f.header("Client-ID"))
	if err != nil {
		return 0, nil, err
	}
	k.identity, k.actor = id, a
	k.mu.Lock()
	k.token = token
	k.mu.Unlock()
	return http.StatusOK, document{"message": "Authentified."}, nil
}

// offer gives the socket messages of one topic.
func (k *socket) offer(topic string, in []pushedMessage) {
	k.mu.Lock()
	defer k.mu.Unlock()
	sub := k.subs[topic]
	if sub == nil {
		return
	}
	if len(sub.pending)+len(in) > maxSocketQueue {
		k.overflow = true
	} else {
		sub.pending = append(sub.pending, in...)
	}
	k.poke()
}

func (k *socket) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// push sends notifications and keeps the connection alive. It ends the socket
// when the peer does not take its messages, when its token has been revoked or
// has expired, and when the service stops.
func (k *socket) push(ctx context.Context) {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.s.stop:
			_ = k.conn.Close(websocket.StatusGoingAway, "the service stops")
			return
		case <-ticker.C:
			if reason := k.check(ctx); reason != "" {
				_ = k.conn.Close(websocket.StatusPolicyViolation, reason)
				return
			}
			pingCtx, cancel := context.WithTimeout(ctx, writeLimit)
			err := k.conn.Ping(pingCtx)
			cancel()
			if err != nil {
				_ = k.conn.CloseNow()
				return
			}
		case <-k.wake:
			for _, m := range k.take(ctx) {
				k.mu.Lock()
				kind := k.kind
				k.mu.Unlock()
				if !k.write(ctx, kind, notification(m)) {
					_ = k.conn.CloseNow()
					return
				}
			}
			k.mu.Lock()
			overflow := k.overflow
			k.mu.Unlock()
			if overflow {
				_ = k.conn.Close(websocket.StatusPolicyViolation, "notifications were not taken fast enough")
				return
			}
		}
	}
}

// check returns why a socket may not go on, or "".
func (k *socket) check(ctx context.Context) string {
	k.mu.Lock()
	token, since := k.token, k.since
	k.mu.Unlock()
	if token == "" {
		if k.s.now().Sub(since) > authLimit {
			return "not authenticated in time"
		}
		return ""
	}
	if _, err := k.s.cfg.Auth.Validate(ctx, token); err != nil {
		return "the token is no longer valid"
	}
	return ""
}

// take returns what is to be pushed, in order: what this process posted and
// what the store holds beyond it.
func (k *socket) take(ctx context.Context) []pushedMessage {
	k.mu.Lock()
	subs := make([]*socketSub, 0, len(k.subs))
	for _, sub := range k.subs {
		if sub.active {
			subs = append(subs, sub)
		}
	}
	k.mu.Unlock()
	var out []pushedMessage
	for _, sub := range subs {
		stored, err := k.s.posted(ctx, sub.project, sub.queue, sub.sent)
		if err != nil {
			if ctx.Err() == nil {
				k.s.cfg.Log.Error("cannot read messages for a WebSocket", "queue", sub.queue, "error", err)
			}
			stored = nil
		}
		k.mu.Lock()
		all := append(sub.pending, stored...)
		sub.pending = nil
		k.mu.Unlock()
		slices.SortFunc(all, func(a, b pushedMessage) int { return cmp.Compare(a.seq, b.seq) })
		for _, m := range all {
			if m.seq > sub.sent {
				sub.sent = m.seq
				out = append(out, m)
			}
		}
		if len(stored) == postedPage {
			k.poke()
		}
	}
	return out
}

const postedPage = 200

// posted reads messages behind a sequence number.
func (s *Service) posted(ctx context.Context, project, queue string, after int64) ([]pushedMessage, error) {
	var out []pushedMessage
	err := s.db.View(ctx, func(tx *store.Tx) error {
		out = nil
		now := store.At(s.now())
		return tx.Each(func(scan func(...any) error) error {
			m := pushedMessage{queue: queue}
			var id, body string
			err := scan(&m.seq, &id, &body, &m.ttl)
			if err == nil {
				m.body, err = s.open(body, id)
			}
			out = append(out, m)
			return err
		}, `SELECT seq, id, body, ttl FROM messaging_messages WHERE project = ? AND queue = ? AND seq > ? AND expires > ? ORDER BY seq LIMIT ?`,
			project, queue, after, now, postedPage)
	})
	return out, err
}

// subscribe begins to push a queue's messages; those posted before stay where
// they are.
func (k *socket) subscribe(ctx context.Context, body *actionBody) (string, error) {
	t := topic(k.actor, body.Queue)
	k.mu.Lock()
	existing, n := k.subs[t], len(k.subs)
	k.mu.Unlock()
	if existing != nil {
		return existing.id, nil
	}
	if n >= maxSocketSubs {
		return "", api.OverLimit("a socket has at most %d subscriptions", maxSocketSubs)
	}
	sub := &socketSub{id: newID(), queue: body.Queue, project: k.actor.project, ttl: defaultTTL, created: k.s.now()}
	if body.TTL != nil {
		sub.ttl = *body.TTL
	}
	err := k.s.db.Tx(ctx, func(tx *store.Tx) error {
		if _, err := k.s.ensureQueue(tx, k.actor, body.Queue, nil); err != nil {
			return err
		}
		err := tx.Get([]any{&sub.sent}, `SELECT COALESCE(MAX(seq), 0) FROM messaging_messages`)
		if err != nil {
			return err
		}
		tx.AfterCommit(func() { // still before any later message of this process is announced
			k.mu.Lock()
			k.subs[t] = sub
			k.mu.Unlock()
			k.s.hub.subscribe(k, t)
		})
		return nil
	})
	if err != nil {
		return "", err
	}
	sub.bus = k.s.bus.Subscribe(t)
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	sub.stop = func() {
		stop()
		sub.bus.Close()
	}
	k.watch(watch, sub)
	return sub.id, nil
}

// watch wakes the socket for messages that other processes post.
func (k *socket) watch(ctx context.Context, sub *socketSub) {
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-sub.bus.C():
				k.poke()
			}
		}
	}()
}
