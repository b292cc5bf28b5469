package messaging_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/crashtest"
)

// A full disk: who is not told 201 is told 507, no batch is there in part, what
// was acknowledged can be read, claimed and deleted, and that makes room.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED ON A FULL DISK: mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("SKIPPED, NOT TESTED ON A FULL DISK: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	srv := httptest.NewServer(serveDir(t, dir))
	t.Cleanup(srv.Close)
	v := &crashtest.Victim{URL: srv.URL}
	batch := func(name string) string {
		one := fmt.Sprintf(`{"ttl": 3600, "body": {"batch": %q, "text": %q}}`, name, strings.Repeat("x", 20_000))
		return `{"messages": [` + strings.Repeat(one+",", perBatch-1) + one + `]}`
	}
	stored := 0
	for ; ; stored++ {
		code, answer := try(v, "POST", "/v2/queues/q/messages", batch(fmt.Sprint(stored)))
		if code == http.StatusInsufficientStorage {
			break
		}
		if code != http.StatusCreated || stored > 120 {
			t.Fatalf("batch %d: %d %s", stored, code, answer)
		}
	}
	count := map[string]int{}
	for next := "/v2/queues/q/messages?limit=20&echo=true"; next != ""; {
		code, answer := try(v, "GET", next, "")
		var page struct {
			Messages []struct{ Body struct{ Batch string } }
			Links    []struct{ Href string }
		}
		if err := json.Unmarshal(answer, &page); err != nil || code != http.StatusOK {
			t.Fatalf("list on a full disk: %d %.200s (%v)", code, answer, err)
		}
		next = ""
		for _, m := range page.Messages {
			count[m.Body.Batch]++
		}
		if len(page.Messages) > 0 {
			next = page.Links[0].Href
		}
	}
	for i := range stored {
		if n := count[fmt.Sprint(i)]; n != perBatch {
			t.Errorf("batch %d was acknowledged, and %d of its %d messages are there", i, n, perBatch)
		}
	}
	if len(count) != stored {
		t.Errorf("%d batches are there, expected the %d that were acknowledged", len(count), stored)
	}
	for range stored * perBatch / 20 / 2 { // half of it
		if code, answer := try(v, "DELETE", "/v2/queues/q/messages?pop=20", ""); code != http.StatusOK {
			t.Fatalf("pop on a full disk: %d %.200s", code, answer)
		}
	}
	if code, answer := try(v, "POST", "/v2/queues/q/messages", batch("again")); code != http.StatusCreated {
		t.Errorf("with space again: %d %s", code, answer)
	}
	code, answer := try(v, "POST", "/v2/queues/q/claims?limit=1", `{"ttl": 300, "grace": 60}`)
	if code != http.StatusCreated || len(claimsOf(answer)) != 1 {
		t.Errorf("a claim with space again: %d %.200s", code, answer)
	}
}

// A subscriber that takes nothing holds nobody up and does not fill the memory:
// it is disconnected, and told why if it reads in time.
func TestSlowSubscriber(t *testing.T) {
	s := start(t)
	admin := s.Admin()
	k := dial(t, s, "/messaging/v2/websocket")
	k.login(admin)
	k.call(201, "queue_create", nil, object{"queue_name": "q"})
	k.call(201, "subscription_create", nil, object{"queue_name": "q", "ttl": 3600})
	var bodies []string
	for range 20 {
		bodies = append(bodies, strings.Repeat("x", 10_000))
	}
	c := client(t, admin)
	const posts = 150 // more than sockets buffer and the service keeps
	for range posts {
		post(t, c, "q", bodies...)
	}
	k.conn.SetReadLimit(-1)
	taken := 0
	var err error
	for ; err == nil && taken <= posts*len(bodies); taken++ {
		_, _, err = k.conn.Read(t.Context())
	}
	var closed websocket.CloseError
	if err == nil || errors.As(err, &closed) && closed.Code != websocket.StatusPolicyViolation {
		t.Errorf("a subscriber that was too slow read %d frames and then: %v; expected it to be disconnected for that", taken, err)
	}
}
