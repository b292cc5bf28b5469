package messaging_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2/openstack/messaging/v2/claims"
	"github.com/gophercloud/gophercloud/v2/openstack/messaging/v2/messages"

	"github.com/tripleo/tripleo/internal/messaging"
)

// Nobody of another project sees, changes or takes what lies in a queue,
// though it knows every name and id: every route about a queue is walked.
func TestOtherProjectsSeeNothing(t *testing.T) {
	s := start(t)
	alice, eve := s.User("alice", "a", "member"), s.User("eve", "e", "member")
	ca := client(t, alice)
	token, stranger := alice.Provider.Token(), eve.Provider.Token()
	if code, _ := request(t, s, "PUT", "/v2/queues/q", token, map[string]any{"secret": "mine"}, nil); code != 201 {
		t.Fatal(code)
	}
	post(t, ca, "q", "one", "two")
	taken, err := claims.Create(t.Context(), ca, "q", claims.CreateOpts{TTL: 300, Grace: 60, Limit: 1}).Extract()
	if err != nil || len(taken) != 1 {
		t.Fatal(taken, err)
	}
	href, claim, _ := strings.Cut(taken[0].Href, "?claim_id=")
	message := href[strings.LastIndex(href, "/")+1:]
	code, made := request(t, s, "POST", "/v2/queues/q/subscriptions", token, map[string]any{"subscriber": "http://127.0.0.1:9/", "ttl": 3600}, nil)
	if code != 201 {
		t.Fatal(code, made)
	}
	subscription := made["subscription_id"].(string)
	show := func() (out []any) {
		for _, path := range []string{"", "/stats", "/messages?echo=true&include_claimed=true", "/claims/" + claim, "/subscriptions"} {
			_, got := request(t, s, "GET", "/v2/queues/q"+path, token, nil, nil)
			out = append(out, strip(got))
		}
		return out
	}
	before := show()
	for _, tc := range []struct {
		method, path string
		body         any
	}{
		{"GET", "", nil}, {"GET", "/stats", nil}, {"GET", "/messages?echo=true&include_claimed=true", nil}, {"GET", "/messages/" + message, nil},
		{"GET", "/messages?ids=" + message, nil}, {"DELETE", "/messages/" + message, nil}, {"DELETE", "/messages/" + message + "?claim_id=" + claim, nil},
		{"DELETE", "/messages?ids=" + message, nil}, {"DELETE", "/messages?pop=5", nil}, {"POST", "/purge", map[string]any{"resource_types": []string{"messages", "subscriptions"}}},
		{"POST", "/claims", map[string]any{"ttl": 60, "grace": 60}}, {"GET", "/claims/" + claim, nil}, {"PATCH", "/claims/" + claim, map[string]any{"ttl": 60}},
		{"DELETE", "/claims/" + claim, nil}, {"GET", "/subscriptions", nil}, {"GET", "/subscriptions/" + subscription, nil},
		{"PATCH", "/subscriptions/" + subscription, map[string]any{"ttl": 60}}, {"DELETE", "/subscriptions/" + subscription, nil},
		{"PUT", "/subscriptions/" + subscription + "/confirm", map[string]any{"confirmed": true}},
		{"POST", "/messages", map[string]any{"messages": []map[string]any{{"ttl": 300, "body": "hers"}}}},
		{"PATCH", "", []map[string]any{{"op": "replace", "path": "/metadata/secret", "value": "hers"}}}, {"DELETE", "", nil},
	} {
		code, got := request(t, s, tc.method, "/v2/queues/q"+tc.path, stranger, tc.body, nil)
		if text := strings.ToLower(strings.Join(leaves(got), " ")); strings.Contains(text, "mine") || strings.Contains(text, "one") && strings.Contains(text, "two") || code == http.StatusInternalServerError {
			t.Errorf("%s %s by another project: %d %v", tc.method, tc.path, code, got)
		}
	}
	if diff := cmp.Diff(before, show()); diff != "" {
		t.Errorf("another project has changed the queue (-before +after):\n%s", diff)
	}
	if _, got := request(t, s, "GET", "/v2/queues?detailed=true", stranger, nil, nil); strings.Contains(strings.Join(leaves(got), " "), "mine") {
		t.Errorf("the queues of another project: %v", got)
	}
}

// strip drops what changes by itself.
func strip(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "age")
		for _, x := range v {
			strip(x)
		}
	case []any:
		for _, x := range v {
			strip(x)
		}
	}
	return v
}

// leaves are the texts of a document.
func leaves(v any) (out []string) {
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			out = append(out, leaves(x)...)
		}
	case []any:
		for _, x := range v {
			out = append(out, leaves(x)...)
		}
	case string:
		out = append(out, v)
	}
	return out
}

// A clock that is turned back loses no message and no claim, and messages stay
// in the order in which they came.
func TestClockIsTurnedBack(t *testing.T) {
	var back atomic.Int64
	s := startWith(t, func(c *messaging.Config) {
		c.Now = func() time.Time { return time.Now().Add(-time.Duration(back.Load())) }
	})
	c := client(t, s.Admin())
	post(t, c, "q", "1", "2")
	held, err := claims.Create(t.Context(), c, "q", claims.CreateOpts{TTL: 60, Grace: 60, Limit: 1}).Extract()
	if err != nil || len(held) != 1 {
		t.Fatal(held, err)
	}
	back.Store(int64(2 * time.Minute))
	post(t, c, "q", "3")
	if got := list(t, c, "q", messages.ListOpts{Echo: true}); !cmp.Equal(got, []string{"2", "3"}) {
		t.Errorf("messages that are not claimed: %v, expected 2 and 3 in this order", got)
	}
	again, err := claims.Create(t.Context(), c, "q", claims.CreateOpts{TTL: 60, Grace: 60, Limit: 5}).Extract()
	if err != nil || len(again) != 2 {
		t.Errorf("a second claim takes %v (%v), expected the two that are free", again, err)
	}
	back.Store(-int64(90 * time.Second)) // and forward, past both claims
	if got := list(t, c, "q", messages.ListOpts{Echo: true}); !cmp.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("after the claims have ended: %v, expected all three in order", got)
	}
}
