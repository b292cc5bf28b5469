package messaging_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/identity/identitytest"
	"github.com/tripleo/tripleo/internal/messaging"
)

// bench calls the handler without a socket; every change waits for the disk,
// as it does at one.
type bench struct {
	h       http.Handler
	s       *identitytest.Server
	headers http.Header
}

func newBench(b *testing.B) *bench {
	s := identitytest.Start(b)
	svc, err := messaging.New(messaging.Config{DB: s.DB, Bus: s.Bus, Jobs: s.Jobs, Log: s.Log, Auth: s.Tokens})
	if err != nil {
		b.Fatal(err)
	}
	s.Mount("/messaging", svc.Handler())
	return &bench{h: svc.Handler(), s: s, headers: http.Header{"X-Auth-Token": {s.Admin().Provider.Token()}, "Client-Id": {uuid.NewString()}}}
}

func (n *bench) call(b *testing.B, method, path, body string, want int) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(b.Context(), method, path, strings.NewReader(body))
	r.Header = n.headers.Clone()
	w := httptest.NewRecorder()
	n.h.ServeHTTP(w, r)
	if w.Code != want {
		b.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	if method != http.MethodGet {
		if err := n.s.DB.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return w
}

const benchMessage = `{"ttl": 300, "body": {"type": "tripleo.deployment.v1.deploy_plan", "payload": {"status": "RUNNING", "message": "stage 3 of 5", "execution_id": "0123456789"}}}`

func batch(n int) string {
	return `{"messages": [` + strings.TrimSuffix(strings.Repeat(benchMessage+",", n), ",") + `]}`
}

// BenchmarkPost posts durably from 32 clients; queues differ, as in life.
func BenchmarkPost(b *testing.B) {
	for _, size := range []int{1, 20} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			n := newBench(b)
			body := batch(size)
			var next atomic.Int64
			b.SetParallelism(16)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				path := fmt.Sprintf("/v2/queues/q%d/messages", next.Add(1))
				for pb.Next() {
					n.call(b, "POST", path, body, 201)
				}
			})
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkClaimAndDelete claims batches and deletes them by their claims.
func BenchmarkClaimAndDelete(b *testing.B) {
	for _, size := range []int{1, 20} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			n := newBench(b)
			for range b.N {
				n.call(b, "POST", "/v2/queues/q/messages", batch(size), 201)
			}
			b.ResetTimer()
			for range b.N {
				w := n.call(b, "POST", fmt.Sprintf("/v2/queues/q/claims?limit=%d", size), `{"ttl": 300, "grace": 60}`, 201)
				claim := w.Header().Get("Location")
				claim = claim[strings.LastIndexByte(claim, '/')+1:]
				var ids []string
				for _, part := range strings.Split(w.Body.String(), `"id":"`)[1:] {
					id, _, _ := strings.Cut(part, `"`)
					ids = append(ids, id)
				}
				n.call(b, "DELETE", "/v2/queues/q/messages?ids="+strings.Join(ids, ",")+"&claim_ids="+claim, "", 204)
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkIdleSockets measures the memory of one idle subscribed socket, both
// ends in this process.
func BenchmarkIdleSockets(b *testing.B) {
	n := newBench(b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	conns := make([]*websocket.Conn, 0, b.N)
	for range b.N {
		conn, _, err := websocket.Dial(b.Context(), "ws"+strings.TrimPrefix(n.s.URL, "http")+"/messaging/v2/websocket", nil) //nolint:bodyclose // the library closes it
		if err != nil {
			b.Fatal(err)
		}
		conns = append(conns, conn)
		frame := fmt.Sprintf(`{"action": "authenticate", "headers": {"X-Auth-Token": %q, "Client-ID": %q}}`, n.headers.Get("X-Auth-Token"), uuid.NewString())
		for _, f := range []string{frame, `{"action": "subscription_create", "body": {"queue_name": "tripleo"}}`} {
			if err := conn.Write(b.Context(), websocket.MessageText, []byte(f)); err != nil {
				b.Fatal(err)
			}
			if _, _, err := conn.Read(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/float64(b.N), "bytes/socket")
	for _, c := range conns {
		_ = c.CloseNow()
	}
}
