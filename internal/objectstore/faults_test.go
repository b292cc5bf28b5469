package objectstore_test

import (
	"crypto/md5" //nolint:gosec // ETags
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/crashtest"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/objectstore"
	"github.com/tripleo/tripleo/internal/store"
)

// node is a server with its data in one folder, so that it can be stopped,
// killed and started again on what it left.
type node struct {
	t   testing.TB
	dir string
	url string
}

// serveDir starts the service on the data in dir; everybody owns AUTH_p.
func serveDir(t testing.TB, dir string, now func() time.Time) (http.Handler, *jobs.Queue) {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	bus, log := notify.New(), slog.New(slog.DiscardHandler)
	queue, err := jobs.New(db, bus, log)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.OpenDir(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := objectstore.New(objectstore.Config{DB: db, Bus: bus, Jobs: queue, Log: log, Auth: everybody{}, Blob: blobs, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s.Handler(), queue
}

func startNode(t *testing.T, dir string, now func() time.Time) *node {
	t.Helper()
	h, queue := serveDir(t, dir, now)
	done := make(chan error, 1)
	go func() { done <- queue.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &node{t: t, dir: dir, url: srv.URL}
}

// do sends a request and returns status, ETag and body; status 0 when the
// server did not answer to the end.
func (n *node) do(method, path, body string, headers ...string) (int, string, string) {
	req, err := http.NewRequestWithContext(n.t.Context(), method, n.url+"/v1/AUTH_p"+path, strings.NewReader(body))
	if err != nil {
		n.t.Error(err)
		return 0, "", ""
	}
	req.Header.Set("X-Auth-Token", "t")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", ""
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, "", ""
	}
	return res.StatusCode, strings.Trim(res.Header.Get("Etag"), `"`), string(data)
}

func (n *node) want(status int, method, path, body string, headers ...string) string {
	n.t.Helper()
	got, _, data := n.do(method, path, body, headers...)
	if got != status {
		n.t.Fatalf("%s %s: status %d, expected %d: %.200s", method, path, got, status, data)
	}
	return data
}

// files counts the files below a folder of blobs, unfinished ones too.
func (n *node) files() int {
	count := 0
	err := filepath.WalkDir(filepath.Join(n.dir, "blobs"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			count++
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return count
}

// waitFiles waits until so many files are left.
func (n *node) waitFiles(want int) {
	n.t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n.files() != want {
		select {
		case <-deadline:
			n.t.Fatalf("%d bodies lie in the folder, expected %d", n.files(), want)
		case <-tick.C:
		}
	}
}

// TestServeUntilKilled is the process that TestKill kills.
func TestServeUntilKilled(t *testing.T) {
	crashtest.ServeUntilKilled(t, func(dir string) http.Handler {
		h, queue := serveDir(t, dir, nil)
		go func() { _ = queue.Run(t.Context()) }()
		return h
	})
}

// TestKill kills the server while objects of all kinds are being written,
// again and again: what was acknowledged is there, nothing is there by half,
// and what the dead left is collected.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	acknowledged := map[string]string{} // path -> ETag
	large := strings.Repeat("0123456789abcdef", 30_000)
	for round := range 4 {
		v := crashtest.Start(t, dir)
		n := &node{t: t, dir: dir, url: v.URL}
		if round == 0 {
			n.want(201, "PUT", "/c", "")
			n.want(201, "PUT", "/old", "")
			n.want(201, "PUT", "/v", "", "X-Versions-Location: old")
		}
		var wg sync.WaitGroup
		progress := make(chan struct{}, 1)
		for writer := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					name := fmt.Sprintf("/c/r%d-w%d-%d", round, writer, i)
					body := name + large[:[]int{100, 100_000, len(large)}[i%3]]
					status, etag, _ := n.do("PUT", name, body)
					if status == 0 {
						return
					}
					mu.Lock()
					acknowledged[name] = etag
					mu.Unlock()
					slo := name + "-slo"
					status, etag, _ = n.do("PUT", slo+"?multipart-manifest=put", `[{"path": "`+name+`"}]`)
					if status == 0 {
						return
					}
					mu.Lock()
					acknowledged[slo] = etag
					mu.Unlock()
					if status, _, _ = n.do("PUT", "/v/same", body); status == 0 {
						return
					}
					select {
					case progress <- struct{}{}:
					case <-t.Context().Done():
						return
					default:
					}
				}
			})
		}
		for range 20 { // the work is under way in all writers
			<-progress
		}
		v.Kill()
		wg.Wait()
	}
	n := startNode(t, dir, nil)
	for path, etag := range acknowledged {
		if status, got, _ := n.do("HEAD", path, ""); status != 200 || got != etag {
			t.Fatalf("%s was acknowledged with ETag %s; now: status %d, ETag %s", path, etag, status, got)
		}
	}
	bodies := 0
	for _, name := range strings.Fields(n.want(200, "GET", "/c", "") + n.want(200, "GET", "/old", "") + "/v/same") {
		path := "/c/" + name
		switch {
		case strings.Contains(name, "same/"):
			path = "/old/" + name
		case strings.HasPrefix(name, "/"):
			path = name
		}
		status, etag, data := n.do("GET", path, "")
		if status != 200 {
			t.Fatalf("%s is listed and gives %d", path, status)
		}
		if strings.HasSuffix(name, "-slo") {
			continue
		}
		if sum := md5.Sum([]byte(data)); hex.EncodeToString(sum[:]) != etag { //nolint:gosec // its ETag
			t.Fatalf("%s has not the content of its ETag", path)
		}
		if len(data) > 64<<10 {
			bodies++
		}
	}
	old := time.Now().Add(-time.Hour)
	left, _ := filepath.Glob(filepath.Join(dir, "blobs", ".tmp", "*")) // the pattern is sound
	for _, f := range left {
		_ = os.Chtimes(f, old, old)
	}
	if _, err := blob.OpenDir(filepath.Join(dir, "blobs")); err != nil { // as the next start would
		t.Fatal(err)
	}
	n.waitFiles(bodies)
}

// smallDisk is a folder on a disk of its own, of 12 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
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
	return dir
}

// fill puts objects until one is refused with 507, and returns how many there are.
func (n *node) fill(body string) int {
	n.t.Helper()
	for stored := 0; ; stored++ {
		status, _, text := n.do("PUT", fmt.Sprintf("/c/%d", stored), body)
		if status == 507 {
			return stored
		}
		if status != 201 || stored > 12<<20/len(body) {
			n.t.Fatalf("object %d: status %d: %s", stored, status, text)
		}
	}
}

// TestDiskFullOfRows fills a small disk with objects that are kept in the
// database: all of them can be deleted, and then others stored.
func TestDiskFullOfRows(t *testing.T) {
	n := startNode(t, smallDisk(t), nil)
	n.want(201, "PUT", "/c", "")
	body := strings.Repeat("x", 50_000)
	stored := n.fill(body)
	if got := n.want(200, "GET", fmt.Sprintf("/c/%d", stored-1), ""); got != body {
		t.Error("the last object is not what was stored")
	}
	for i := range stored {
		n.want(204, "DELETE", fmt.Sprintf("/c/%d", i), "")
	}
	n.want(201, "PUT", "/c/again", body)
}

// TestDiskFull fills a small disk: who is not told 201 is told 507, nothing is
// there by half, and deleting gives the space back.
func TestDiskFull(t *testing.T) {
	n := startNode(t, smallDisk(t), nil)
	n.want(201, "PUT", "/c", "")
	body := strings.Repeat("x", 1<<20)
	stored := n.fill(body)
	if status, _, _ := n.do("HEAD", fmt.Sprintf("/c/%d", stored), ""); status != 404 {
		t.Errorf("what was refused is there: %d", status)
	}
	for i := range stored {
		if got := n.want(200, "GET", fmt.Sprintf("/c/%d", i), ""); got != body {
			t.Errorf("object %d is not what was stored", i)
		}
	}
	n.waitFiles(stored)
	n.want(204, "DELETE", "/c/0", "")
	n.waitFiles(stored - 1)
	n.want(201, "PUT", "/c/again", body[:1<<19])
}

// TestBrokenUploads breaks connections off in the middle of bodies.
func TestBrokenUploads(t *testing.T) {
	n := startNode(t, t.TempDir(), nil)
	n.want(201, "PUT", "/c", "")
	n.want(201, "PUT", "/c/kept", "as it was")
	for _, tc := range []struct{ reason, head, body string }{
		{"small, with a length", "Content-Length: 100\r\n", "half"},
		{"large, with a length", "Content-Length: 1000000\r\n", strings.Repeat("x", 500_000)},
		{"chunked, inside a chunk", "Transfer-Encoding: chunked\r\n", "100000\r\n" + strings.Repeat("x", 500_000)},
		{"chunked, between chunks", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"},
	} {
		for _, name := range []string{"new", "kept"} {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(n.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = fmt.Fprintf(conn, "PUT /v1/AUTH_p/c/%s HTTP/1.1\r\nHost: x\r\nX-Auth-Token: t\r\n%s\r\n%s", name, tc.head, tc.body)
			if err == nil {
				err = conn.(*net.TCPConn).CloseWrite()
			}
			if err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(conn) // the server may close without one
			_ = conn.Close()
			if strings.Contains(string(answer), " 201 ") {
				t.Errorf("%s: half a body was acknowledged", tc.reason)
			}
		}
		if status, _, _ := n.do("HEAD", "/c/new", ""); status != 404 {
			t.Errorf("%s: half an object is there (%d)", tc.reason, status)
		}
		if got := n.want(200, "GET", "/c/kept", ""); got != "as it was" {
			t.Errorf("%s: half a body has replaced an object: %q", tc.reason, got)
		}
	}
	n.waitFiles(0)
}

// TestClockSteps turns the clock back: what is written later still wins, and
// is newer.
func TestClockSteps(t *testing.T) {
	var offset atomic.Int64
	n := startNode(t, t.TempDir(), func() time.Time { return time.Now().Add(time.Duration(offset.Load())) })
	n.want(201, "PUT", "/c", "", "X-Versions-Enabled: true")
	n.want(201, "PUT", "/c/o", "one")
	offset.Store(-int64(time.Hour))
	n.want(201, "PUT", "/c/o", "two")
	n.want(202, "POST", "/c/o", "", "X-Object-Meta-A: b")
	n.want(204, "DELETE", "/c/o", "")
	n.want(404, "GET", "/c/o", "")
	n.want(201, "PUT", "/c/o", "three")
	if got := n.want(200, "GET", "/c/o", ""); got != "three" {
		t.Errorf("after the clock went back the object is %q", got)
	}
	if got := n.want(200, "GET", "/c?versions", ""); strings.Count(got, "version_id") != 4 {
		t.Errorf("versions are %s, expected four", got)
	}
}

// TestRotIsNotHandedOut flips a bit of a stored body.
func TestRotIsNotHandedOut(t *testing.T) {
	n := startNode(t, t.TempDir(), nil)
	n.want(201, "PUT", "/c", "")
	n.want(201, "PUT", "/c/o", strings.Repeat("x", 100_000))
	files, err := filepath.Glob(filepath.Join(n.dir, "blobs", "objects", "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, expected one (%v)", len(files), err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[50_000] ^= 1
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, body := n.do("GET", "/c/o", ""); status != 500 || strings.Contains(body, "xxx") {
		t.Errorf("a rotten body is answered with %d and %d bytes", status, len(body))
	}
}
