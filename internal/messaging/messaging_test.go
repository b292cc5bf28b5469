package messaging_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/messaging/v2/claims"
	"github.com/gophercloud/gophercloud/v2/openstack/messaging/v2/messages"
	"github.com/gophercloud/gophercloud/v2/openstack/messaging/v2/queues"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/messaging"
)

func start(t *testing.T) *identitytest.Server {
	t.Helper()
	return startWith(t, func(*messaging.Config) {})
}

func client(t *testing.T, s *cloud.Session) *gophercloud.ServiceClient {
	t.Helper()
	c, err := s.Messaging(uuid.NewString())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func post(t *testing.T, c *gophercloud.ServiceClient, queue string, bodies ...string) []string {
	t.Helper()
	var in messages.BatchCreateOpts
	for _, b := range bodies {
		in = append(in, messages.CreateOpts{TTL: 300, Body: map[string]any{"n": b}})
	}
	res, err := messages.Create(t.Context(), c, queue, in).Extract()
	if err != nil {
		t.Fatal(err)
	}
	return res.Resources
}

func names(in []messages.Message) []string {
	out := []string{}
	for _, m := range in {
		out = append(out, fmt.Sprint(m.Body["n"]))
	}
	return out
}

func list(t *testing.T, c *gophercloud.ServiceClient, queue string, o messages.ListOpts) []string {
	t.Helper()
	out := []string{}
	err := messages.List(c, queue, o).EachPage(t.Context(), func(_ context.Context, p pagination.Page) (bool, error) {
		got, err := messages.ExtractMessages(p)
		out = append(out, names(got)...)
		return len(got) > 0, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantStatus(t *testing.T, what string, err error, status int) {
	t.Helper()
	if !gophercloud.ResponseCodeIs(err, status) {
		t.Errorf("%s: got %v, expected status %d", what, err, status)
	}
}

func TestQueuesAndMessages(t *testing.T) {
	s := start(t)
	ctx := t.Context()
	admin := s.Admin()
	c, other := client(t, admin), client(t, admin)
	if err := queues.Create(ctx, c, queues.CreateOpts{QueueName: "tripleo", DefaultMessageTTL: 600, Extra: map[string]any{"who": "me"}}).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	q, err := queues.Get(ctx, c, "tripleo").Extract()
	if err != nil || q.DefaultMessageTTL != 600 || q.Extra["who"] != "me" {
		t.Errorf("queue is %+v (%v)", q, err)
	}
	post(t, c, "tripleo", "a", "b", "c")
	post(t, other, "tripleo", "d")
	if diff := cmp.Diff([]string{"d"}, list(t, c, "tripleo", messages.ListOpts{})); diff != "" {
		t.Errorf("without echo one's own are left out (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, list(t, c, "tripleo", messages.ListOpts{Echo: true, Limit: 2})); diff != "" {
		t.Errorf("first in, first out, over pages (-want +got):\n%s", diff)
	}
	claimed, err := claims.Create(ctx, c, "tripleo", claims.CreateOpts{TTL: 120, Grace: 60, Limit: 2}).Extract()
	if err != nil || len(claimed) != 2 {
		t.Fatalf("claimed %+v (%v), expected two", claimed, err)
	}
	if diff := cmp.Diff([]string{"c", "d"}, list(t, c, "tripleo", messages.ListOpts{Echo: true})); diff != "" {
		t.Errorf("claimed messages are hidden (-want +got):\n%s", diff)
	}
	href, claimID, _ := strings.Cut(claimed[0].Href, "?claim_id=")
	id := href[strings.LastIndex(href, "/")+1:]
	wantStatus(t, "deleting a claimed message without its claim", messages.Delete(ctx, c, "tripleo", id, messages.DeleteOpts{}).ExtractErr(), http.StatusForbidden)
	if err := messages.Delete(ctx, c, "tripleo", id, messages.DeleteOpts{ClaimID: claimID}).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	if err := claims.Delete(ctx, c, "tripleo", claimID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	popped, err := messages.PopMessages(ctx, c, "tripleo", messages.PopMessagesOpts{Pop: 2}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	if len(popped) != 2 || popped[0].Body["n"] != "b" {
		t.Errorf("popped %+v, expected b and c: what the claim gave back comes first", popped)
	}
	stats, err := queues.GetStats(ctx, c, "tripleo").Extract()
	if err != nil || stats.Total != 1 || stats.Claimed != 0 {
		t.Errorf("statistics are %+v (%v), expected one message", stats, err)
	}
	if err := queues.Delete(ctx, c, "tripleo").ExtractErr(); err != nil {
		t.Fatal(err)
	}
	if q, err := queues.Get(ctx, c, "tripleo").Extract(); err != nil || len(q.Extra) != 0 {
		t.Errorf("a deleted queue is %+v (%v), expected what one is that was never used", q, err)
	}
}

func TestRefused(t *testing.T) {
	s := start(t)
	ctx := t.Context()
	admin := s.Admin()
	c := client(t, admin)
	post(t, c, "secret", "x")
	eve, rita := s.User("eve", "evil", "member"), s.User("rita", "admin", "reader")
	if got := list(t, client(t, eve), "secret", messages.ListOpts{Echo: true}); len(got) != 0 {
		t.Errorf("another project reads %v", got)
	}
	if got := list(t, client(t, rita), "secret", messages.ListOpts{Echo: true}); len(got) != 1 {
		t.Errorf("a reader of the project reads %v, expected one message", got)
	}
	_, err := messages.Create(ctx, client(t, rita), "secret", messages.BatchCreateOpts{{TTL: 300, Body: map[string]any{}}}).Extract()
	wantStatus(t, "a reader posts", err, http.StatusForbidden)
	_, err = messages.PopMessages(ctx, client(t, rita), "secret", messages.PopMessagesOpts{Pop: 1}).Extract()
	wantStatus(t, "a reader pops", err, http.StatusForbidden)
	_, err = messages.Create(ctx, c, "secret", messages.BatchCreateOpts{{TTL: 5, Body: map[string]any{}}}).Extract()
	wantStatus(t, "a TTL too short", err, http.StatusBadRequest)
	wantStatus(t, "a bad queue name", queues.Create(ctx, c, queues.CreateOpts{QueueName: "a.b"}).ExtractErr(), http.StatusBadRequest)
	none, err := admin.Messaging("")
	if err != nil {
		t.Fatal(err)
	}
	_, err = queues.Get(ctx, none, "secret").Extract()
	wantStatus(t, "no Client-ID", err, http.StatusBadRequest)
}

// socket is a client as TripleO's: send, then take the next frame for the reply.
type socket struct {
	t    *testing.T
	conn *websocket.Conn
}

func dial(t *testing.T, s *identitytest.Server, path string) *socket {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(s.URL, "http")+path, nil) //nolint:bodyclose // the library closes it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &socket{t, conn}
}

func (k *socket) receive() map[string]any {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 10*time.Second)
	defer cancel()
	_, data, err := k.conn.Read(ctx)
	if err != nil {
		k.t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		k.t.Fatal(err)
	}
	return out
}

func (k *socket) call(status int, action string, headers map[string]string, body any) map[string]any {
	k.t.Helper()
	data, err := json.Marshal(map[string]any{"action": action, "headers": headers, "body": body})
	if err != nil {
		k.t.Fatal(err)
	}
	if err := k.conn.Write(k.t.Context(), websocket.MessageText, data); err != nil {
		k.t.Fatal(err)
	}
	got := k.receive()
	h, _ := got["headers"].(map[string]any)
	if h["status"] != float64(status) {
		k.t.Fatalf("%s: reply is %v, expected status %d", action, got, status)
	}
	return got
}

func (k *socket) login(who *cloud.Session) {
	k.t.Helper()
	got := k.call(200, "authenticate", map[string]string{"X-Auth-Token": who.Provider.Token(), "Client-ID": uuid.NewString(), "X-Project-ID": who.ProjectID}, nil)
	if text, _ := json.Marshal(got); strings.Contains(string(text), who.Provider.Token()) {
		k.t.Error("the reply repeats the token")
	}
}

type object = map[string]any

func TestWebSocket(t *testing.T) {
	s := start(t)
	admin := s.Admin()
	k := dial(t, s, "/messaging/v2/websocket")
	k.call(403, "queue_create", nil, object{"queue_name": "tripleo"})
	k.call(401, "authenticate", map[string]string{"X-Auth-Token": "nonsense", "Client-ID": uuid.NewString()}, nil)
	k.login(admin)
	k.call(201, "queue_create", nil, object{"queue_name": "tripleo"})
	k.call(204, "queue_create", nil, object{"queue_name": "tripleo"})
	c := client(t, admin)
	post(t, c, "tripleo", "before")
	k.call(201, "subscription_create", nil, object{"queue_name": "tripleo", "ttl": 10000})
	for i := range 3 {
		post(t, c, "tripleo", fmt.Sprint(i))
	}
	for i := range 3 {
		want := object{"body": object{"n": fmt.Sprint(i)}, "ttl": float64(300), "queue_name": "tripleo", "Message_Type": "Notification"}
		if diff := cmp.Diff(want, k.receive()); diff != "" {
			t.Errorf("notification %d is the bare message, in order, and only what came after (-want +got):\n%s", i, diff)
		}
	}
	other := dial(t, s, "/messaging/") // the root, as on the classic port
	other.login(admin)
	other.call(201, "subscription_create", nil, object{"queue_name": "tripleo"})
	k.call(204, "queue_delete", nil, object{"queue_name": "tripleo"})
	post(t, c, "tripleo", "again")
	if got := other.receive(); got["queue_name"] != "tripleo" {
		t.Errorf("a subscription outlives its queue; got %v", got)
	}
	k.receive() // k is subscribed too
	k.call(400, "nonsense", nil, object{})
	got := k.call(200, "message_list", nil, object{"queue_name": "tripleo", "echo": true})
	if body := got["body"].(object); len(body["messages"].([]any)) != 1 {
		t.Errorf("message_list is %v, expected the one message", body)
	}
	eve := dial(t, s, "/messaging/v2/websocket")
	eve.login(s.User("eve", "evil", "member"))
	got = eve.call(200, "message_list", nil, object{"queue_name": "tripleo", "echo": true})
	if body := got["body"].(object); len(body["messages"].([]any)) != 0 {
		t.Errorf("another project reads %v", body)
	}
	rita := dial(t, s, "/messaging/v2/websocket")
	rita.login(s.User("rita", "admin", "reader"))
	rita.call(403, "message_post", nil, object{"queue_name": "tripleo", "messages": []object{{"ttl": 60, "body": 1}}})
}

// TestConsumedMessagesArePushed posts and deletes at once: the subscriber is
// told all the same.
func TestConsumedMessagesArePushed(t *testing.T) {
	s := start(t)
	admin := s.Admin()
	k := dial(t, s, "/messaging/v2/websocket")
	k.login(admin)
	k.call(201, "subscription_create", nil, object{"queue_name": "q"})
	c := client(t, admin)
	for i := range 20 {
		post(t, c, "q", fmt.Sprint(i))
		if err := queues.Delete(t.Context(), c, "q").ExtractErr(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		if got := k.receive()["body"].(object)["n"]; got != fmt.Sprint(i) {
			t.Fatalf("notification %d is %v", i, got)
		}
	}
}

func TestWebhook(t *testing.T) {
	s := start(t)
	ctx := t.Context()
	got := make(chan string, 10)
	fail := true
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		if fail { // the first delivery is refused and comes again
			fail = false
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		got <- string(data)
	}))
	defer hook.Close()
	s.RunJobs()
	c := client(t, s.Admin())
	url := c.ServiceURL("v2", "queues", "q", "subscriptions")
	opts := &gophercloud.RequestOpts{OkCodes: []int{201}, MoreHeaders: c.MoreHeaders}
	if _, err := c.Post(ctx, url, object{"subscriber": hook.URL, "ttl": 600, "options": object{}}, nil, opts); err != nil {
		t.Fatal(err)
	}
	_, err := c.Post(ctx, url, object{"subscriber": hook.URL}, nil, opts)
	wantStatus(t, "second subscription", err, http.StatusConflict)
	_, err = c.Post(ctx, url, object{"subscriber": "file:///etc/passwd"}, nil, opts)
	wantStatus(t, "subscriber that is no webhook", err, http.StatusBadRequest)
	post(t, c, "q", "hello", "world")
	for _, want := range []string{"hello", "world"} {
		select {
		case text := <-got:
			if !strings.Contains(text, want) || !strings.Contains(text, `"Message_Type":"Notification"`) {
				t.Errorf("delivered %s, expected %s", text, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s was not delivered", want)
		}
	}
}
