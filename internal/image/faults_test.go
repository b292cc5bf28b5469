package image_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/crashtest"
)

// startDir serves the data in a folder in this process.
func startDir(t *testing.T, dir string) *victim {
	t.Helper()
	return startDirAt(t, dir, nil)
}

func startDirAt(t *testing.T, dir string, now func() time.Time) *victim {
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
	return &victim{&crashtest.Victim{URL: srv.URL}, t}
}

// A full disk: who is not told 204 is told 413, as by Glance, nothing is there
// by half, and what is deleted makes room.
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
	v := startDir(t, dir)
	body := strings.Repeat("x", 2*mib)
	var stored []string
	for {
		id := v.create("raw")
		code, answer := v.try("PUT", "/v2/images/"+id+"/file", strings.NewReader(body))
		if code == http.StatusRequestEntityTooLarge {
			if s := v.status(id); s != "queued" || !strings.Contains(string(answer), "full") {
				t.Errorf("what was refused is %s, told %s; expected it queued, and told that there is no space", s, answer)
			}
			break
		}
		if code != http.StatusNoContent || len(stored) > 6 {
			t.Fatalf("image %d: %d %s", len(stored), code, answer)
		}
		stored = append(stored, id)
	}
	for _, id := range stored {
		if code, got := v.try("GET", "/v2/images/"+id+"/file", nil); code != http.StatusOK || string(got) != body {
			t.Errorf("image %s: %d with %d bytes", id, code, len(got))
		}
	}
	v.until("what was refused leaves no file", func() bool { return bodies(t, dir, false) == len(stored) })
	if code, _ := v.try("DELETE", "/v2/images/"+stored[0], nil); code != http.StatusNoContent {
		t.Fatalf("delete: %d", code)
	}
	v.until("the space is free", func() bool { return bodies(t, dir, false) == len(stored)-1 })
	if code, answer := v.try("PUT", "/v2/images/"+v.create("raw")+"/file", strings.NewReader(body[:mib])); code != http.StatusNoContent {
		t.Errorf("with space again: %d %s", code, answer)
	}
}

// Uploads that break off, and one that is slow: the first leave nothing, the
// second holds nobody up and is there when it is whole.
func TestBrokenAndSlowUploads(t *testing.T) {
	dir := t.TempDir()
	v := startDir(t, dir)
	dial := func(id, head, body string) net.Conn {
		t.Helper()
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(v.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := fmt.Fprintf(conn, "PUT /v2/images/%s/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: member\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n%s\r\n%s", id, head, body); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	slowID := v.create("raw")
	slow := dial(slowID, "Content-Length: 200000\r\n", strings.Repeat("s", 100_000))
	for _, tc := range []struct{ reason, head, body string }{
		{"with a length, in the head that is looked at", "Content-Length: 100\r\n", "half"},
		{"with a length", "Content-Length: 1000000\r\n", strings.Repeat("x", 500_000)},
		{"chunked, inside a chunk", "Transfer-Encoding: chunked\r\n", "100000\r\n" + strings.Repeat("x", 500_000)},
		{"chunked, between chunks", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"},
	} {
		id := v.create("raw")
		conn := dial(id, tc.head, tc.body)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if answer, _ := io.ReadAll(conn); strings.Contains(string(answer), " 204 ") { // the server may close without one
			t.Errorf("%s: half the data were acknowledged", tc.reason)
		}
		v.until(tc.reason+": the image is queued again", func() bool { return v.status(id) == "queued" })
		if _, err := slow.Write([]byte("s")); err != nil {
			t.Fatal(err)
		}
		if code, _ := v.try("PUT", "/v2/images/"+id+"/file", strings.NewReader("whole")); code != http.StatusNoContent {
			t.Errorf("%s: the second upload: %d", tc.reason, code)
		}
	}
	if code, data := v.try("GET", "/v2/images/"+slowID+"/file", nil); code != http.StatusNoContent || len(data) > 0 {
		t.Errorf("half a slow upload: %d with %d bytes, expected none", code, len(data))
	}
	if _, err := io.WriteString(slow, strings.Repeat("s", 99_996)); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(slow); err != nil || !strings.Contains(string(answer), " 204 ") {
		t.Errorf("the slow upload is answered with %q (%v)", answer, err)
	}
	if _, data := v.try("GET", "/v2/images/"+slowID+"/file", nil); !bytes.Equal(data, bytes.Repeat([]byte("s"), 200_000)) {
		t.Errorf("%d bytes of the slow upload", len(data))
	}
	v.until("only whole data are left", func() bool { return bodies(t, dir, false) == 5 })
}

// Nobody of another project sees, changes or learns of an image, whatever it
// asks: every route about one is walked.
func TestOtherProjectsSeeNothing(t *testing.T) {
	v := startDir(t, t.TempDir())
	id := v.create("raw")
	if code, _ := v.try("PUT", "/v2/images/"+id+"/file", strings.NewReader("secret data")); code != http.StatusNoContent {
		t.Fatal(code)
	}
	_, before := v.try("GET", "/v2/images/"+id, nil)
	patch := "application/openstack-images-v2.1-json-patch"
	for _, tc := range []struct{ method, path, body, kind string }{
		{"GET", "", "", ""}, {"PATCH", "", `[{"op": "replace", "path": "/name", "value": "mine"}]`, patch},
		{"PATCH", "", `[{"op": "replace", "path": "/visibility", "value": "community"}]`, patch}, {"DELETE", "", "", ""},
		{"GET", "/file", "", ""}, {"GET", "/file?format=raw", "", ""}, {"PUT", "/file", "mine", "application/octet-stream"},
		{"PUT", "/stage", "mine", "application/octet-stream"}, {"POST", "/import", `{"method": {"name": "glance-direct"}}`, "application/json"},
		{"GET", "/tasks", "", ""}, {"POST", "/actions/deactivate", "", ""}, {"POST", "/actions/reactivate", "", ""},
		{"PUT", "/tags/mine", "", ""}, {"DELETE", "/tags/mine", "", ""}, {"GET", "/members", "", ""},
		{"POST", "/members", `{"member": "p-other"}`, "application/json"}, {"GET", "/members/p-other", "", ""},
		{"PUT", "/members/p-other", `{"status": "accepted"}`, "application/json"}, {"DELETE", "/members/p-other", "", ""},
	} {
		code, _, answer := v.Try(tc.method, "/v2/images/"+id+tc.path, strings.NewReader(tc.body), "X-Auth-Token: other", "Content-Type: "+tc.kind)
		if code != http.StatusNotFound || strings.Contains(string(answer), "secret") {
			t.Errorf("%s %s by another project: %d %s, expected 404", tc.method, tc.path, code, answer)
		}
	}
	for _, query := range []string{"", "?visibility=all", "?owner=p-user", "?visibility=private&owner=p-user", "?id=in:" + id, "?member_status=all", "?name=i", "?marker=" + id} {
		_, _, answer := v.Try("GET", "/v2/images"+query, nil, "X-Auth-Token: other")
		var list struct{ Images []struct{ ID string } }
		if err := json.Unmarshal(answer, &list); (err == nil || query != "?marker="+id) && len(list.Images) > 0 {
			t.Errorf("GET /v2/images%s shows another project's image: %s", query, answer)
		}
	}
	if _, after := v.try("GET", "/v2/images/"+id, nil); !bytes.Equal(before, after) {
		t.Errorf("the image was %s, is %s", before, after)
	}
	if _, data := v.try("GET", "/v2/images/"+id+"/file", nil); string(data) != "secret data" {
		t.Errorf("its data are %q", data)
	}
}

// A clock that is turned back by a day loses no image and frees space as soon
// as the present allows.
func TestClockIsTurnedBack(t *testing.T) {
	dir := t.TempDir()
	var back atomic.Int64
	v := startDirAt(t, dir, func() time.Time { return time.Now().Add(-time.Duration(back.Load())) })
	kept, gone := v.create("raw"), v.create("raw")
	for _, id := range []string{kept, gone} {
		if code, _ := v.try("PUT", "/v2/images/"+id+"/file", strings.NewReader(content(id))); code != http.StatusNoContent {
			t.Fatal(code)
		}
	}
	back.Store(int64(24 * time.Hour))
	late := v.create("raw")
	if code, _ := v.try("PUT", "/v2/images/"+late+"/file", strings.NewReader(content(late))); code != http.StatusNoContent {
		t.Errorf("an upload after the clock was turned back: %d", code)
	}
	if code, _ := v.try("DELETE", "/v2/images/"+gone, nil); code != http.StatusNoContent {
		t.Errorf("a deletion after the clock was turned back: %d", code)
	}
	v.until("the space of the deleted image is free", func() bool { return bodies(t, dir, false) == 2 })
	for _, id := range []string{kept, late} {
		if code, data := v.try("GET", "/v2/images/"+id+"/file", nil); code != http.StatusOK || string(data) != content(id) {
			t.Errorf("image %s: %d with %d bytes", id, code, len(data))
		}
	}
}
