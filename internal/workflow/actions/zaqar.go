package actions

import (
	"context"
	"net/http"
	"net/url"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/cloud"
)

// messaging opens Zaqar with a client id of the action's own: a client does
// not see its own messages, so that it must not be shared with a reader.
func messaging(c *Context) (*gophercloud.ServiceClient, error) {
	if c.Session == nil {
		return nil, errNoSession
	}
	id := uuid.NewSHA1(uuid.NameSpaceOID, []byte("mistral-action-"+c.ActionExecutionID)).String()
	return clientFor(c, func(s *cloud.Session) (*gophercloud.ServiceClient, error) { return s.Messaging(id) })
}

func zaqarActions() []Action {
	act := func(name, desc string, input []Param, run func(ctx context.Context, s *sender, in map[string]any) (any, error)) Action {
		return Action{Name: "zaqar." + name, Description: desc, Input: append([]Param{Req("queue_name")}, input...),
			Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
				client, err := messaging(c)
				if err != nil {
					return nil, err
				}
				return run(ctx, &sender{client}, in)
			}}
	}
	return []Action{
		act("queue_post", "Posts messages ({body, ttl} or a list of them).", required("messages"), zaqarPost),
		act("queue_messages", "Reads messages.", params(optional("marker", "limit"), []Param{Opt("echo", true), Opt("include_claimed", false)}), zaqarMessages),
		act("queue_pop", "Takes messages off a queue.", []Param{Opt("count", int64(1))}, func(ctx context.Context, s *sender, in map[string]any) (any, error) {
			target := s.client.ServiceURL("v2", "queues", url.PathEscape(String(in, "queue_name")), "messages") + "?pop=" + String(in, "count")
			answer, _, err := request(ctx, s.client, http.MethodDelete, target, nil, nil)
			return messagesOf(answer), err
		}),
		act("claim_messages", "Claims messages.", []Param{Opt("ttl", int64(60)), Opt("grace", int64(60)), Opt("limit", nil)}, zaqarClaim),
		act("delete_messages", "Deletes messages by their ids.", required("messages"), func(ctx context.Context, s *sender, in map[string]any) (any, error) {
			// By ids, as zaqarclient does: so that claimed ones go without their claim.
			ids := []any{}
			for _, m := range List(in, "messages") {
				if obj, ok := m.(map[string]any); ok {
					m = String(obj, "_id")
				}
				ids = append(ids, m)
			}
			if len(ids) == 0 {
				return nil, nil
			}
			q := url.Values{}
			addQuery(q, "ids", ids)
			target := s.client.ServiceURL("v2", "queues", url.PathEscape(String(in, "queue_name")), "messages") + "?" + q.Encode()
			_, _, err := request(ctx, s.client, http.MethodDelete, target, nil, nil)
			return nil, err
		}),
	}
}

func zaqarPost(ctx context.Context, s *sender, in map[string]any) (any, error) {
	var list []any
	for _, m := range List(in, "messages") {
		msg, ok := m.(map[string]any)
		if !ok || msg["body"] == nil && len(msg) != 2 {
			msg = map[string]any{"body": m}
		}
		if msg["ttl"] == nil {
			with := map[string]any{"ttl": int64(3600)}
			for k, v := range msg {
				if v != nil {
					with[k] = v
				}
			}
			msg = with
		}
		list = append(list, msg)
	}
	return s.send(ctx, http.MethodPost, map[string]any{"messages": list}, "v2", "queues", url.PathEscape(String(in, "queue_name")), "messages")
}

func zaqarMessages(ctx context.Context, s *sender, in map[string]any) (any, error) {
	q := url.Values{}
	for _, k := range []string{"marker", "limit", "echo", "include_claimed"} {
		addQuery(q, k, in[k])
	}
	target := s.client.ServiceURL("v2", "queues", url.PathEscape(String(in, "queue_name")), "messages") + "?" + q.Encode()
	answer, _, err := request(ctx, s.client, http.MethodGet, target, nil, nil)
	return messagesOf(answer), err
}

func zaqarClaim(ctx context.Context, s *sender, in map[string]any) (any, error) {
	target := s.client.ServiceURL("v2", "queues", url.PathEscape(String(in, "queue_name")), "claims")
	if n := Int(in, "limit", 0); n > 0 {
		target += "?limit=" + String(in, "limit")
	}
	answer, _, err := request(ctx, s.client, http.MethodPost, target, map[string]any{"ttl": in["ttl"], "grace": in["grace"]}, nil)
	return messagesOf(answer), err
}

// messagesOf gives each message the attributes of zaqarclient's object.
func messagesOf(answer any) any {
	var items []any
	switch v := answer.(type) {
	case []any:
		items = v
	case map[string]any:
		items, _ = v["messages"].([]any)
	}
	out := []any{}
	for _, it := range items {
		m, _ := it.(map[string]any)
		if m == nil {
			continue
		}
		id := String(m, "id")
		if id == "" {
			if u, err := url.Parse(String(m, "href")); err == nil {
				id = u.Path[lastSlash(u.Path)+1:]
			}
		}
		m["id"], m["_id"] = id, id
		out = append(out, m)
	}
	return out
}

func lastSlash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}
