package messaging_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/messaging/v2/claims"
	"github.com/gophercloud/gophercloud/v2/openstack/messaging/v2/messages"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/messaging"
	"github.com/tripleo/tripleo/internal/store"
)

// startWith runs the service with a configuration of the test's.
func startWith(t testing.TB, change func(*messaging.Config)) *identitytest.Server {
	t.Helper()
	s := identitytest.Start(t)
	cfg := messaging.Config{DB: s.DB, Bus: s.Bus, Jobs: s.Jobs, Log: s.Log, Auth: s.Tokens, Cloud: s.Cloud, BaseURL: s.URL + "/messaging", Secret: []byte("secret")}
	change(&cfg)
	svc, err := messaging.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Mount("/messaging", svc.Handler())
	return s
}

// request calls the API and returns status and body; token "" sends none.
func request(t testing.TB, s *identitytest.Server, method, path, token string, body any, headers map[string]string) (int, map[string]any) {
	t.Helper()
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		in = strings.NewReader(string(data))
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/messaging"+path, in)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
		req.Header.Set("Client-ID", uuid.NewString())
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var out map[string]any
	_ = json.NewDecoder(res.Body).Decode(&out)
	return res.StatusCode, out
}

func messageBody(n string) object {
	return object{"messages": []object{{"ttl": 300, "body": object{"n": n}}}}
}

// receiver is a webhook that remembers what came.
type receiver struct {
	*httptest.Server
	got chan received
}

type received struct {
	body    string
	headers http.Header
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{got: make(chan received, 100)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		data, _ := io.ReadAll(req.Body)
		r.got <- received{string(data), req.Header}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) next(t *testing.T) received {
	t.Helper()
	select {
	case got := <-r.got:
		return got
	case <-time.After(30 * time.Second):
		t.Fatal("nothing was delivered")
		return received{}
	}
}

func TestDeadLetters(t *testing.T) {
	now := time.Now()
	s := startWith(t, func(c *messaging.Config) { c.Now = func() time.Time { return now } })
	c := client(t, s.Admin())
	token := s.Admin().Provider.Token()
	meta := object{"_max_claim_count": 2, "_dead_letter_queue": "dead", "_dead_letter_queue_messages_ttl": 7799}
	if code, out := request(t, s, "PUT", "/v2/queues/work", token, meta, nil); code != 201 {
		t.Fatalf("%d %v", code, out)
	}
	post(t, c, "work", "poison")
	for i := range 2 {
		got, err := claims.Create(t.Context(), c, "work", claims.CreateOpts{TTL: 60, Grace: 60}).Extract()
		if err != nil || len(got) != 1 {
			t.Fatalf("claim %d: %v, %v, expected the message", i, got, err)
		}
		now = now.Add(61 * time.Second) // the claim lapses, its message is free again
	}
	code, _ := request(t, s, "POST", "/v2/queues/work/claims", token, object{"ttl": 60, "grace": 60}, nil)
	if code != http.StatusNoContent {
		t.Errorf("the third claim: %d, expected nothing: the message was claimed as often as it may be", code)
	}
	dead := list(t, c, "dead", messages.ListOpts{Echo: true})
	if len(dead) != 1 || dead[0] != "poison" {
		t.Errorf("dead letter queue holds %v, expected the message", dead)
	}
	now = now.Add(7700 * time.Second)
	if dead := list(t, c, "dead", messages.ListOpts{Echo: true}); len(dead) != 1 {
		t.Errorf("holds %v, expected the message to live 7799 s there, not its own 300", dead)
	}
	for _, bad := range []object{{"_max_claim_count": 0}, {"_max_claim_count": 1.5}, {"_dead_letter_queue": "a b"}, {"_dead_letter_queue": 3}, {"_enable_encrypt_messages": "yes"}} {
		if code, _ := request(t, s, "PUT", "/v2/queues/bad", token, bad, nil); code != 400 {
			t.Errorf("metadata %v: %d, expected 400", bad, code)
		}
	}
}

func TestEncryptedQueues(t *testing.T) {
	s := start(t)
	admin := s.Admin()
	c, token := client(t, admin), admin.Provider.Token()
	hook := newReceiver(t)
	request(t, s, "PUT", "/v2/queues/secret", token, object{"_enable_encrypt_messages": true}, nil)
	request(t, s, "POST", "/v2/queues/secret/subscriptions", token, object{"subscriber": hook.URL}, nil)
	k := dial(t, s, "/messaging/v2/websocket")
	k.login(admin)
	k.call(201, "subscription_create", nil, object{"queue_name": "secret"})
	post(t, c, "secret", "hunter2")
	for _, table := range []string{"messaging_messages", "messaging_deliveries"} {
		err := s.DB.View(t.Context(), func(tx *store.Tx) error {
			rows := 0
			err := tx.Each(func(scan func(...any) error) error {
				var body string
				err := scan(&body)
				if rows++; strings.Contains(body, "hunter2") {
					t.Errorf("%s holds the message in the clear", table)
				}
				return err
			}, `SELECT body FROM `+table)
			if rows != 1 {
				t.Errorf("%s has %d rows, expected one", table, rows)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := list(t, c, "secret", messages.ListOpts{Echo: true}); len(got) != 1 || got[0] != "hunter2" {
		t.Errorf("listed %v, expected the message as it was posted", got)
	}
	if got := k.receive()["body"].(object)["n"]; got != "hunter2" {
		t.Errorf("pushed %v", got)
	}
	s.RunJobs()
	if got := hook.next(t).body; !strings.Contains(got, "hunter2") {
		t.Errorf("delivered %s", got)
	}
	popped, err := messages.PopMessages(t.Context(), c, "secret", messages.PopMessagesOpts{Pop: 1}).Extract()
	if err != nil || len(popped) != 1 || popped[0].Body["n"] != "hunter2" {
		t.Errorf("popped %v, %v", popped, err)
	}
}

func TestPresignedURLs(t *testing.T) {
	now := time.Now()
	s := startWith(t, func(c *messaging.Config) { c.Now = func() time.Time { return now } })
	token := s.Admin().Provider.Token()
	code, g := request(t, s, "POST", "/v2/queues/q/share", token, object{"paths": []string{"messages"}, "methods": []string{"GET", "POST"}}, nil)
	if code != 200 {
		t.Fatalf("%d %v", code, g)
	}
	headers := func() map[string]string {
		join := func(v any) string {
			var parts []string
			for _, x := range v.([]any) {
				parts = append(parts, fmt.Sprint(x))
			}
			return strings.Join(parts, ",")
		}
		return map[string]string{"URL-Signature": fmt.Sprint(g["signature"]), "URL-Expires": fmt.Sprint(g["expires"]),
			"URL-Methods": join(g["methods"]), "URL-Paths": join(g["paths"]), "X-Project-ID": fmt.Sprint(g["project"])}
	}
	if code, out := request(t, s, "POST", "/v2/queues/q/messages", "", messageBody("x"), headers()); code != 201 {
		t.Errorf("post by signature: %d %v", code, out)
	}
	_, out := request(t, s, "GET", "/v2/queues/q/messages?echo=true", "", nil, headers())
	if list, _ := out["messages"].([]any); len(list) != 1 {
		t.Errorf("list by signature: %v", out)
	}
	for _, tc := range []struct {
		reason, method, path string
		change               func(h map[string]string)
	}{
		{"a method that was not signed", "DELETE", "/v2/queues/q/messages?pop=1", nil},
		{"a path that was not signed", "GET", "/v2/queues/q/stats", nil},
		{"a queue that was not signed", "GET", "/v2/queues/p/messages", nil},
		{"the way out of a path", "GET", "/v2/queues/q/messages/../../p/messages", nil},
		{"more methods than were signed", "DELETE", "/v2/queues/q/messages?pop=1", func(h map[string]string) { h["URL-Methods"] = "GET,POST,DELETE" }},
		{"another project", "GET", "/v2/queues/q/messages", func(h map[string]string) { h["X-Project-ID"] = "other" }},
		{"a longer life", "GET", "/v2/queues/q/messages", func(h map[string]string) { h["URL-Expires"] = "2999-01-01T00:00:00" }},
		{"no signature that is one", "GET", "/v2/queues/q/messages", func(h map[string]string) { h["URL-Signature"] = "zz" }},
		{"fields that read alike", "GET", "/v2/queues/q/messages", func(h map[string]string) {
			h["URL-Methods"], h["URL-Paths"] = "GET", "POST,/v2/queues/q/messages"
		}},
	} {
		h := headers()
		if tc.change != nil {
			tc.change(h)
		}
		if code, _ := request(t, s, tc.method, tc.path, "", nil, h); code != 404 {
			t.Errorf("%s: %d, expected 404", tc.reason, code)
		}
	}
	k := dial(t, s, "/messaging/v2/websocket")
	got := k.call(200, "message_list", headers(), object{"queue_name": "q", "echo": true})
	if list, _ := got["body"].(object)["messages"].([]any); len(list) != 1 {
		t.Errorf("by signature on a socket: %v", got)
	}
	k.call(403, "message_list", headers(), object{"queue_name": "p", "echo": true})
	k.call(403, "queue_delete", headers(), object{"queue_name": "q"})
	now = now.Add(25 * time.Hour)
	if code, _ := request(t, s, "GET", "/v2/queues/q/messages", "", nil, headers()); code != 404 {
		t.Errorf("after its time: %d, expected 404", code)
	}
	for _, bad := range []object{{"paths": []string{"stats"}}, {"methods": []string{"STEAL"}}, {"expires": "soon"}, {"expires": "2001-01-01T00:00:00"}} {
		if code, _ := request(t, s, "POST", "/v2/queues/q/share", s.Admin().Provider.Token(), bad, nil); code != 400 {
			t.Errorf("%v: %d, expected 400", bad, code)
		}
	}
}

func TestConfirmation(t *testing.T) {
	s := startWith(t, func(c *messaging.Config) { c.RequireConfirmation = true })
	s.RunJobs()
	c, token := client(t, s.Admin()), s.Admin().Provider.Token()
	hook := newReceiver(t)
	sub := object{"subscriber": hook.URL, "ttl": 600}
	_, made := request(t, s, "POST", "/v2/queues/q/subscriptions", token, sub, nil)
	id := fmt.Sprint(made["subscription_id"])
	var ask map[string]any
	if err := json.Unmarshal([]byte(hook.next(t).body), &ask); err != nil || ask["Message_Type"] != "SubscriptionConfirmation" {
		t.Fatalf("%v %v, expected to be asked", ask, err)
	}
	post(t, c, "q", "before")
	if _, again := request(t, s, "POST", "/v2/queues/q/subscriptions", token, sub, nil); again["subscription_id"] != id {
		t.Errorf("%v, expected the same subscription, asked again", again)
	}
	hook.next(t)
	headers := map[string]string{}
	for _, name := range []string{"URL-Signature", "URL-Expires", "URL-Methods", "URL-Paths", "X-Project-ID"} {
		headers[name] = fmt.Sprint(ask[name])
	}
	path := strings.TrimPrefix(fmt.Sprint(ask["WSGISubscribeURL"]), s.URL+"/messaging")
	if code, out := request(t, s, "PUT", path, "", ask["SubscribeBody"], headers); code != 204 {
		t.Fatalf("confirm: %d %v", code, out)
	}
	post(t, c, "q", "after")
	if got := hook.next(t).body; !strings.Contains(got, "after") {
		t.Errorf("%s, expected only what came after the confirmation", got)
	}
	if code, _ := request(t, s, "POST", "/v2/queues/q/subscriptions", token, sub, nil); code != 409 {
		t.Errorf("%d, expected a conflict: it is confirmed", code)
	}
	if code, _ := request(t, s, "PUT", path, "", ask["UnsubscribeBody"], headers); code != 204 {
		t.Fatalf("%d", code)
	}
	if got := hook.next(t).body; !strings.Contains(got, "UnsubscribeConfirmation") {
		t.Errorf("%s, expected to be told of the end", got)
	}
}

// A trust+ subscription calls in its owner's name and with its owner's data.
func TestTrustSubscription(t *testing.T) {
	s := startWith(t, func(*messaging.Config) {})
	s.RunJobs()
	alice := s.User("alice", "works", "member")
	c, token := client(t, alice), alice.Provider.Token()
	subscriber := "trust+" + s.URL + "/messaging/v2/queues/copy/messages"
	options := object{"post_data": `{"messages": [{"body": "$zaqar_message$", "ttl": 60}]}`, "post_headers": object{"Client-ID": uuid.NewString()}}
	code, made := request(t, s, "POST", "/v2/queues/q/subscriptions", token, object{"subscriber": subscriber, "options": options}, nil)
	if code != 201 {
		t.Fatalf("%d %v", code, made)
	}
	post(t, c, "q", "hello")
	var got []any
	for deadline := time.Now().Add(30 * time.Second); len(got) == 0; {
		_, out := request(t, s, "GET", "/v2/queues/copy/messages?echo=true", token, nil, nil)
		got, _ = out["messages"].([]any)
		if time.Now().After(deadline) {
			t.Fatal("not delivered")
		}
		time.Sleep(10 * time.Millisecond) // delivery is a job of another goroutine
	}
	body, _ := got[0].(object)["body"].(object)
	if inner, _ := body["body"].(object); inner["n"] != "hello" || body["Message_Type"] != "Notification" {
		t.Errorf("%v, expected the notification in the place of the mark", body)
	}
	if n := trustCount(t, s); n != 1 {
		t.Errorf("%d trusts, expected one", n)
	}
	if code, _ := request(t, s, "DELETE", "/v2/queues/q/subscriptions/"+fmt.Sprint(made["subscription_id"]), token, nil, nil); code != 204 {
		t.Fatal(code)
	}
	for deadline := time.Now().Add(30 * time.Second); trustCount(t, s) != 0; {
		if time.Now().After(deadline) {
			t.Fatal("the trust outlives its subscription")
		}
		time.Sleep(10 * time.Millisecond) // as above
	}
	for _, bad := range []object{
		{"subscriber": hookURL, "options": object{"post_headers": object{"X\r\nEvil": "1"}}},
		{"subscriber": hookURL, "options": object{"post_headers": object{"X": "1\r\nEvil: 2"}}},
		{"subscriber": hookURL, "options": object{"subject": "a\nBcc: x"}},
		{"subscriber": "mailto:a@example.org"}, {"subscriber": "gopher://x"}, {},
	} {
		if code, _ := request(t, s, "POST", "/v2/queues/q/subscriptions", token, bad, nil); code != 400 {
			t.Errorf("%v: %d, expected 400", bad, code)
		}
	}
}

const hookURL = "http://192.0.2.1:9/"

func trustCount(t *testing.T, s *identitytest.Server) int {
	t.Helper()
	keystone, err := s.Admin().Identity()
	if err != nil {
		t.Fatal(err)
	}
	var out struct{ Trusts []any }
	if _, err := keystone.Get(t.Context(), keystone.ServiceURL("OS-TRUST", "trusts"), &out, nil); err != nil {
		t.Fatal(err)
	}
	return len(out.Trusts)
}

// mailServer speaks as much SMTP as a client needs and gives the mails it takes.
func mailServer(t *testing.T) (addr string, mails chan string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	mails = make(chan string, 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveMail(conn, mails)
		}
	}()
	return l.Addr().String(), mails
}

func serveMail(conn net.Conn, mails chan<- string) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewScanner(conn)
	say := func(line string) { _, _ = io.WriteString(conn, line+"\r\n") }
	say("220 test")
	var envelope strings.Builder
	for in.Scan() {
		switch verb, _, _ := strings.Cut(strings.ToUpper(in.Text()), " "); verb {
		case "EHLO":
			say("250 test")
		case "DATA":
			say("354 go on")
			for in.Scan() && in.Text() != "." {
				envelope.WriteString(in.Text() + "\n")
			}
			mails <- envelope.String()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			envelope.WriteString(in.Text() + "\n")
			say("250 fine")
		}
	}
}

func TestMail(t *testing.T) {
	addr, mails := mailServer(t)
	s := startWith(t, func(c *messaging.Config) { c.SMTP = &messaging.SMTP{Addr: addr, From: "cloud@example.org"} })
	s.RunJobs()
	c, token := client(t, s.Admin()), s.Admin().Provider.Token()
	code, out := request(t, s, "POST", "/v2/queues/q/subscriptions", token, object{"subscriber": "mailto:op@example.org", "options": object{"subject": "Störung"}}, nil)
	if code != 201 {
		t.Fatalf("%d %v", code, out)
	}
	post(t, c, "q", strings.Repeat("long, ", 300))
	select {
	case mail := <-mails:
		for _, want := range []string{"MAIL FROM:<cloud@example.org>", "RCPT TO:<op@example.org>", "Subject: =?utf-8?q?St=C3=B6rung?=", "From: <cloud@example.org>", `"queue_name":"q"`} {
			if !strings.Contains(mail, want) {
				t.Errorf("the mail lacks %q:\n%s", want, mail)
			}
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no mail")
	}
}

func TestMessagePackSocket(t *testing.T) {
	s := start(t)
	admin := s.Admin()
	k := dial(t, s, "/messaging/v2/websocket")
	call := func(action string, headers map[string]string, body any) map[string]any {
		data, err := msgpack.Marshal(map[string]any{"action": action, "headers": headers, "body": body})
		if err != nil {
			t.Fatal(err)
		}
		if err := k.conn.Write(t.Context(), websocket.MessageBinary, data); err != nil {
			t.Fatal(err)
		}
		return k.unpack()
	}
	call("authenticate", map[string]string{"X-Auth-Token": admin.Provider.Token(), "Client-ID": uuid.NewString()}, object{})
	call("subscription_create", nil, object{"queue_name": "q"})
	got := call("message_post", nil, object{"queue_name": "q", "messages": []object{{"ttl": 60, "body": object{"n": 7}}}})
	pushed := k.unpack()
	if got["headers"] == nil { // the push may overtake the reply
		got, pushed = pushed, got
	}
	if head, _ := got["headers"].(object); fmt.Sprint(head["status"]) != "201" {
		t.Errorf("%v, expected 201", got)
	}
	if fmt.Sprint(pushed["body"]) != "map[n:7]" || pushed["Message_Type"] != "Notification" {
		t.Errorf("pushed %v, expected the message, in MessagePack as the client speaks", pushed)
	}
	k.call(200, "queue_get", nil, object{"queue_name": "q"}) // and JSON is answered in JSON
}

func (k *socket) unpack() map[string]any {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 10*time.Second)
	defer cancel()
	kind, data, err := k.conn.Read(ctx)
	if err != nil || kind != websocket.MessageBinary {
		k.t.Fatalf("%v frame, %v; expected a binary one", kind, err)
	}
	var out map[string]any
	if err := msgpack.Unmarshal(data, &out); err != nil {
		k.t.Fatal(err)
	}
	return out
}

// Two consumers that claim at once never get the same message, and each message
// is claimed once.
func TestClaimsAreExclusive(t *testing.T) {
	s := start(t)
	admin := s.Admin()
	c := client(t, admin)
	const total = 60
	for i := range total / 10 {
		var bodies []string
		for j := range 10 {
			bodies = append(bodies, fmt.Sprint(i*10+j))
		}
		post(t, c, "q", bodies...)
	}
	taken := make(chan string, 2*total)
	done := make(chan struct{})
	for range 8 {
		go func(c *gophercloud.ServiceClient) {
			defer func() { done <- struct{}{} }()
			for {
				got, err := claims.Create(t.Context(), c, "q", claims.CreateOpts{TTL: 300, Grace: 60, Limit: 3}).Extract()
				if err != nil || len(got) == 0 {
					return
				}
				for _, m := range got {
					taken <- fmt.Sprint(m.Body["n"])
				}
			}
		}(client(t, admin))
	}
	for range 8 {
		<-done
	}
	close(taken)
	seen := map[string]int{}
	for n := range taken {
		seen[n]++
	}
	if len(seen) != total {
		t.Errorf("%d of %d messages were claimed", len(seen), total)
	}
	for n, times := range seen {
		if times != 1 {
			t.Errorf("message %s was claimed %d times", n, times)
		}
	}
}
