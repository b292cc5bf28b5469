package messaging_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/auth/authtest"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/messaging"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

const crashDatabase = "MESSAGING_CRASH_DATABASE"

// TestServeUntilKilled is the process that TestKilledService kills; by itself
// it does nothing.
func TestServeUntilKilled(t *testing.T) {
	path := os.Getenv(crashDatabase)
	if path == "" {
		return
	}
	db, err := store.Open(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	log, bus := slog.New(slog.DiscardHandler), notify.New()
	queue, err := jobs.New(db, bus, log)
	if err != nil {
		t.Fatal(err)
	}
	svc, err := messaging.New(messaging.Config{DB: db, Bus: bus, Jobs: queue, Log: log, Auth: authtest.Default()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("listening", l.Addr())
	_ = http.Serve(l, svc.Handler()) //nolint:gosec // a test
}

// victim starts the process.
func victim(t *testing.T, database string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServeUntilKilled$") //nolint:gosec // this test itself
	cmd.Env = append(os.Environ(), crashDatabase+"="+database)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for in := bufio.NewScanner(out); in.Scan(); {
		if addr, ok := strings.CutPrefix(in.Text(), "listening "); ok {
			return cmd, "http://" + addr
		}
	}
	t.Fatal("the process does not listen")
	return nil, ""
}

func try(method, url, body string) (int, []byte) {
	req, err := http.NewRequest(method, url, strings.NewReader(body)) //nolint:noctx // bounded by the client
	if err != nil {
		return 0, nil
	}
	req.Header.Set("X-Auth-Token", "member")
	req.Header.Set("Client-ID", uuid.NewString())
	client := &http.Client{Timeout: 20 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = res.Body.Close() }()
	data, _ := io.ReadAll(res.Body)
	return res.StatusCode, data
}

const perBatch = 5

// A service that is killed while clients post and claim: every batch that was
// acknowledged is there, no batch is there in part, and every claim that was
// acknowledged still holds its messages.
func TestKilledService(t *testing.T) {
	database := filepath.Join(t.TempDir(), "m.db")
	acknowledged := map[string]bool{}
	claimed := map[string]string{} // message -> claim
	for round := range 3 {
		cmd, url := victim(t, database)
		var mu sync.Mutex
		var wg sync.WaitGroup
		enough := make(chan struct{})
		var once sync.Once
		for worker := range 6 {
			wg.Go(func() {
				for i := 0; ; i++ {
					name := fmt.Sprintf("%d-%d-%d", round, worker, i)
					one := fmt.Sprintf(`{"ttl": 3600, "body": {"batch": %q}}`, name)
					code, _ := try("POST", url+"/v2/queues/q/messages", `{"messages": [`+strings.Repeat(one+",", perBatch-1)+one+`]}`)
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
					code, data := try("POST", url+"/v2/queues/q/claims?limit=2", `{"ttl": 43200, "grace": 60}`)
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
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		wg.Wait()
	}
	_, url := victim(t, database)
	batches := map[string]int{}
	for next := "/v2/queues/q/messages?limit=20&echo=true&include_claimed=true"; next != ""; {
		code, data := try("GET", url+next, "")
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
		_, data := try("GET", url+"/v2/queues/q/messages/"+id, "")
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
