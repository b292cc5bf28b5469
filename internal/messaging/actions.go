package messaging

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// actionBody holds the arguments of every action on a socket.
type actionBody struct {
	Queue          string       `json:"queue_name"`
	Metadata       document     `json:"metadata"`
	Kinds          []string     `json:"resource_types"`
	Messages       []newMessage `json:"messages"`
	Message        string       `json:"message_id"`
	MessageIDs     []string     `json:"message_ids"`
	Claim          string       `json:"claim_id"`
	ClaimIDs       []string     `json:"claim_ids"`
	Subscription   string       `json:"subscription_id"`
	TTL            *int64       `json:"ttl"`
	Grace          *int64       `json:"grace"`
	Limit          *int         `json:"limit"`
	Pop            *int         `json:"pop"`
	Marker         string       `json:"marker"`
	Detailed       bool         `json:"detailed"`
	Echo           bool         `json:"echo"`
	IncludeClaimed bool         `json:"include_claimed"`
	IncludeDelayed bool         `json:"include_delayed"`
}

// action is one line of the sockets' contents page.
type action struct {
	read bool // role reader suffices

	// The request this action is, for pre-signed URLs; "" is not reachable by them.
	method, path string

	run func(k *socket, ctx context.Context, b *actionBody) (int, any, error)
}

func actions() map[string]action {
	return map[string]action{
		"queue_create":        {run: wsQueueCreate},
		"queue_list":          {read: true, run: wsQueueList},
		"queue_get":           {read: true, run: wsQueueGet},
		"queue_delete":        {run: wsQueueDelete},
		"queue_get_stats":     {read: true, run: wsQueueStats},
		"queue_purge":         {run: wsQueuePurge},
		"message_post":        {method: "POST", path: "messages", run: wsMessagePost},
		"message_list":        {method: "GET", path: "messages", read: true, run: wsMessageList},
		"message_get":         {method: "GET", path: "messages", read: true, run: wsMessageGet},
		"message_get_many":    {method: "GET", path: "messages", read: true, run: wsMessageGetMany},
		"message_delete":      {method: "DELETE", path: "messages", run: wsMessageDelete},
		"message_delete_many": {method: "DELETE", path: "messages", run: wsMessageDeleteMany},
		"claim_create":        {method: "POST", path: "claims", run: wsClaimCreate},
		"claim_get":           {method: "GET", path: "claims", read: true, run: wsClaimGet},
		"claim_update":        {method: "PATCH", path: "claims", run: wsClaimUpdate},
		"claim_delete":        {method: "DELETE", path: "claims", run: wsClaimDelete},
		"subscription_create": {method: "POST", path: "subscriptions", read: true, run: wsSubscribe},
		"subscription_list":   {read: true, run: wsSubscriptionList},
		"subscription_get":    {read: true, run: wsSubscriptionGet},
		"subscription_delete": {read: true, run: wsSubscriptionDelete},
	}
}

func (b *actionBody) limit(most int) (int, error) {
	if b.Limit == nil {
		return defaultPage, nil
	}
	if *b.Limit < 1 || *b.Limit > most {
		return 0, api.Invalid("Limit must be at least 1 and no greater than %d.", most)
	}
	return *b.Limit, nil
}

func wsQueueCreate(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	made, err := k.s.createQueue(ctx, k.actor, b.Queue, b.Metadata)
	if !made {
		return http.StatusNoContent, "Queue " + b.Queue + " created.", err
	}
	return http.StatusCreated, "Queue " + b.Queue + " created.", err
}

func wsQueueList(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	n, err := b.limit(maxQueuesPage)
	if err != nil {
		return 0, nil, err
	}
	docs, _, _, err := k.s.queues(ctx, k.actor, pageQuery{marker: b.Marker, limit: n, detailed: b.Detailed})
	return http.StatusOK, document{"queues": docs}, err
}

func wsQueueGet(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	doc, err := k.s.showQueue(ctx, k.actor, b.Queue)
	return http.StatusOK, doc, err
}

func wsQueueDelete(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	return http.StatusNoContent, "Queue " + b.Queue + " removed.", k.s.dropQueue(ctx, k.actor, b.Queue)
}

func wsQueueStats(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	doc, err := k.s.stats(ctx, k.actor, b.Queue)
	return http.StatusOK, doc, err
}

func wsQueuePurge(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	return http.StatusNoContent, "Queue " + b.Queue + " purged.", k.s.purge(ctx, k.actor, b.Queue, b.Kinds)
}

func wsMessagePost(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	ids, err := k.s.post(ctx, k.actor, b.Queue, b.Messages)
	return http.StatusCreated, document{"message_ids": ids}, err
}

func wsMessageList(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	n, err := b.limit(maxMessages)
	if err != nil {
		return 0, nil, err
	}
	q := messageQuery{limit: n, echo: b.Echo, includeClaimed: b.IncludeClaimed, includeDelayed: b.IncludeDelayed}
	if b.Marker != "" {
		if q.after, err = strconv.ParseInt(b.Marker, 10, 64); err != nil {
			return 0, nil, api.Invalid("marker is %q, expected one from a reply", b.Marker)
		}
	}
	found, err := k.s.messages(ctx, k.actor, b.Queue, q)
	if err != nil {
		return 0, nil, err
	}
	docs, err := k.s.documents(b.Queue, found)
	out := document{"messages": docs}
	if len(found) > 0 {
		out["marker"] = strconv.FormatInt(found[len(found)-1].seq, 10)
	}
	return http.StatusOK, out, err
}

func wsMessageGet(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	var m message
	err := k.s.db.View(ctx, func(tx *store.Tx) (err error) {
		m, err = k.s.message(tx, k.actor, b.Queue, b.Message)
		return err
	})
	if err == nil {
		err = k.s.reveal(&m)
	}
	return http.StatusOK, document{"messages": m.document(b.Queue, k.s.now())}, err
}

func wsMessageGetMany(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	found, err := k.s.byIDs(ctx, k.actor, b.Queue, join(b.MessageIDs))
	if err != nil {
		return 0, nil, err
	}
	docs, err := k.s.documents(b.Queue, found)
	return http.StatusOK, document{"messages": docs}, err
}

func wsMessageDelete(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	var claims []string
	if b.Claim != "" {
		claims = []string{b.Claim}
	}
	return http.StatusNoContent, "Message " + b.Message + " deleted.", k.s.dropAll(ctx, k.actor, b.Queue, []string{b.Message}, claims)
}

func wsMessageDeleteMany(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	if b.Pop != nil {
		got, err := k.s.pop(ctx, k.actor, b.Queue, *b.Pop)
		if err != nil {
			return 0, nil, err
		}
		docs, err := k.s.documents(b.Queue, got)
		return http.StatusOK, document{"messages": docs}, err
	}
	ids, err := splitIDs(join(b.MessageIDs))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, document{}, k.s.dropAll(ctx, k.actor, b.Queue, ids, b.ClaimIDs)
}

func join(ids []string) string { return strings.Join(ids, ",") }

func wsClaimCreate(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	n, err := b.limit(maxMessages)
	if err != nil {
		return 0, nil, err
	}
	id, got, err := k.s.claim(ctx, k.actor, b.Queue, claimRequest{b.TTL, b.Grace}, n)
	if err != nil || len(got) == 0 {
		return http.StatusNoContent, document{"messages": []document{}}, err
	}
	docs, err := k.s.documents(b.Queue, got)
	return http.StatusCreated, document{"claim_id": id, "messages": docs}, err
}

func wsClaimGet(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	doc, err := k.s.showClaim(ctx, k.actor, b.Queue, b.Claim)
	return http.StatusOK, doc, err
}

func wsClaimUpdate(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	return http.StatusNoContent, "Claim " + b.Claim + " updated.", k.s.renewClaim(ctx, k.actor, b.Queue, b.Claim, claimRequest{b.TTL, b.Grace})
}

func wsClaimDelete(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	return http.StatusNoContent, "Claim " + b.Claim + " deleted.", k.s.release(ctx, k.actor, b.Queue, b.Claim)
}

func wsSubscribe(k *socket, ctx context.Context, b *actionBody) (int, any, error) {
	if b.TTL != nil && (*b.TTL < minTTL || *b.TTL > maxTTL) {
		return 0, nil, api.Invalid("ttl is %d, expected %d to %d seconds", *b.TTL, minTTL, maxTTL)
	}
	id, err := k.subscribe(ctx, b)
	return http.StatusCreated, document{"message": "Subscription to " + b.Queue + " created.", "subscription_id": id}, err
}

func (k *socket) describe(sub *socketSub) document {
	return document{
		"id": sub.id, "source": sub.queue, "subscriber": "websocket:" + k.id, "ttl": sub.ttl, "options": document{},
		"age": max(0, int64(k.s.now().Sub(sub.created).Seconds())),
	}
}

func wsSubscriptionList(k *socket, _ context.Context, b *actionBody) (int, any, error) {
	docs := []document{}
	k.mu.Lock()
	defer k.mu.Unlock()
	if sub := k.subs[topic(k.actor, b.Queue)]; sub != nil {
		docs = append(docs, k.describe(sub))
	}
	return http.StatusOK, document{"subscriptions": docs}, nil
}

func (k *socket) find(b *actionBody) (*socketSub, error) {
	sub := k.subs[topic(k.actor, b.Queue)]
	if sub == nil || sub.id != b.Subscription {
		return nil, api.NotFound("Subscription %s for queue %s does not exist on this socket.", b.Subscription, b.Queue)
	}
	return sub, nil
}

func wsSubscriptionGet(k *socket, _ context.Context, b *actionBody) (int, any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	sub, err := k.find(b)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, k.describe(sub), nil
}

func wsSubscriptionDelete(k *socket, _ context.Context, b *actionBody) (int, any, error) {
	t := topic(k.actor, b.Queue)
	k.mu.Lock()
	sub, err := k.find(b)
	if err == nil {
		delete(k.subs, t)
		sub.stop()
	}
	k.mu.Unlock()
	if err != nil {
		return 0, nil, err
	}
	k.s.hub.unsubscribe(k, t)
	return http.StatusNoContent, document{}, nil
}
