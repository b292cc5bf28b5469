package messaging_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/auth/authtest"
	"github.com/tripleo/tripleo/internal/crashtest"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/messaging"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

// TestServeUntilKilled is the process that TestKilledService kills.
func TestServeUntilKilled(t *testing.T) {
	crashtest.ServeUntilKilled(t, func(dir string) http.Handler { return serveDir(t, dir) })
}

// serveDir is the service on the data in a folder.
func serveDir(t *testing.T, dir string) http.Handler {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "m.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	log, bus := slog.New(slog.DiscardHandler), notify.New()
	queue, err := jobs.New(db, bus, log)
	if err != nil {
		t.Fatal(err)
	}
	svc, err := messaging.New(messaging.Config{DB: db, Bus: bus, Jobs: queue, Log: log, Auth: authtest.Default()})
	if err != nil {
		t.Fatal(err)
	}
	return svc.Handler()
}

func try(v *crashtest.Victim, method, path, body string) (int, []byte) {
	status, _, data := v.Try(method, path, strings.NewReader(body), "X-Auth-Token: member", "Client-ID: "+uuid.NewString())
	return status, data
}

const perBatch = 5

// A service that is killed while clients post and claim: every batch that was
// acknowledged is there, no batch is there in part, and every claim that was
// acknowledged still holds its messages.
func TestKilledService(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	claimed := map[string]string{} // message -> claim
	for round := range 3 {
		v := crashtest.Start(t, dir)
		var mu sync.Mutex
		var wg sync.WaitGroup
		enough := make(chan struct{})
		var once sync.Once
		for worker := range 6 {
			wg.Go(func() {
				for i := 0; ; i++ {
					name := fmt.Sprintf("%d-%d-%d", round, worker, i)
					one := fmt.Sprintf(`{"ttl": 3600, "body": {"batch": %q}}`, name)
					code, _ := try(v, "POST", "/v2/queues/q/messages", `{"messages": [`+strings.Repeat(one+",", perBatch-1)+one+`]}`)
					if code != http.StatusCreated {
						return
					}
					mu.Lock()
					acknowledged[name] = true
					n := len(acknowledged)
					mu.Unlock()
					if n >= 40*(round+1) {
						once.Do(func() { close(enough) })
					}
					code, data := try(v, "POST", "/v2/queues/q/claims?limit=2", `{"ttl": 43200, "grace": 60}`)
					if code == http.StatusCreated {
						mu.Lock()
						for id, claim := range claimsOf(data) {
							claimed[id] = claim
						}
						mu.Unlock()
					}
				}
			})
		}
		<-enough
		v.Kill()
		wg.Wait()
	}
	v := crashtest.Start(t, dir)
	batches := map[string]int{}
	for next := "/v2/queues/q/messages?limit=20&echo=true&include_claimed=true"; next != ""; {
		code, data := try(v, "GET", next, "")
		var page struct {
			Messages []struct {
				ID, ClaimID string
				Body        struct{ Batch string }
			}
			Links []struct{ Href string }
		}
		if err := json.Unmarshal(data, &page); err != nil || code != 200 {
			t.Fatalf("%d %v", code, err)
		}
		next = ""
		for _, m := range page.Messages {
			batches[m.Body.Batch]++
		}
		if len(page.Messages) > 0 {
			next = page.Links[0].Href
		}
	}
	for name := range acknowledged {
		if batches[name] != perBatch {
			t.Errorf("batch %s was acknowledged, but %d of its %d messages are there", name, batches[name], perBatch)
		}
	}
	for name, n := range batches {
		if n != perBatch {
			t.Errorf("batch %s is there in part: %d of %d messages", name, n, perBatch)
		}
	}
	if len(claimed) == 0 {
		t.Error("nothing was claimed: the test proves less than it says")
	}
	for id, claim := range claimed {
		_, data := try(v, "GET", "/v2/queues/q/messages/"+id, "")
		if !strings.Contains(string(data), claim) {
			t.Errorf("message %s was claimed by %s, but is %s", id, claim, data)
		}
	}
}

func claimsOf(data []byte) map[string]string {
	var got struct {
		Messages []struct {
			ID      string `json:"id"`
			ClaimID string `json:"claim_id"`
		}
	}
	out := map[string]string{}
	if json.Unmarshal(data, &got) == nil {
		for _, m := range got.Messages {
			out[m.ID] = m.ClaimID
		}
	}
	return out
}
