package objectstore_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/objectstore"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/store/storetest"
)

// packed is a tar, compressed.
func packed(t *testing.T, fill func(w *tar.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := fill(tar.NewWriter(z)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Archives that are made to harm: nothing is written outside of the container,
// nothing becomes a link, and what grows without bound ends.
func TestHostileArchives(t *testing.T) {
	one := func(h tar.Header, content io.Reader) func(*tar.Writer) error {
		return func(w *tar.Writer) error {
			h.Mode = 0o600
			if err := w.WriteHeader(&h); err != nil {
				return err
			}
			if content == nil {
				return nil
			}
			_, err := io.CopyN(w, content, min(h.Size, 64<<20))
			return err
		}
	}
	e := start(t)
	for _, tc := range []struct {
		reason, archive, status string
	}{
		{"a bomb: 64 MiB of nothing in 64 KiB", packed(t, one(tar.Header{Name: "bomb", Size: 64 << 20, Typeflag: tar.TypeReg}, zeros{})), "413"},
		{"a file that says it is a petabyte", packed(t, one(tar.Header{Name: "huge", Size: 1 << 50, Typeflag: tar.TypeReg}, nil)), "400"},
		{"a symlink", packed(t, one(tar.Header{Name: "s", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}, nil)), "400"},
		{"a hard link", packed(t, one(tar.Header{Name: "h", Linkname: "../../etc/passwd", Typeflag: tar.TypeLink}, nil)), "400"},
		{"a device", packed(t, one(tar.Header{Name: "d", Devmajor: 1, Devminor: 5, Typeflag: tar.TypeChar}, nil)), "400"},
		{"a file below a symlink of the same archive", packed(t, func(w *tar.Writer) error {
			if err := w.WriteHeader(&tar.Header{Name: "up", Linkname: "../other", Typeflag: tar.TypeSymlink, Mode: 0o777}); err != nil {
				return err
			}
			if err := w.WriteHeader(&tar.Header{Name: "up/f", Size: 1, Typeflag: tar.TypeReg, Mode: 0o600}); err != nil {
				return err
			}
			_, err := w.Write([]byte("x"))
			return err
		}), "201"},
		{"another container by an absolute name", packed(t, one(tar.Header{Name: "/other/f", Size: 1, Typeflag: tar.TypeReg}, strings.NewReader("x"))), "201"},
		{"a name with a line break", packed(t, one(tar.Header{Name: "a\r\nX-Evil: 1", Size: 1, Typeflag: tar.TypeReg}, strings.NewReader("x"))), "201"},
		{"metadata with a line break", packed(t, one(tar.Header{Name: "m", Size: 1, Typeflag: tar.TypeReg, PAXRecords: map[string]string{
			"SCHILY.xattr.user.meta.a": "x\r\nX-Evil: 1", "SCHILY.xattr.user.mime_type": "text/plain\r\nX-Evil: 1",
		}}, strings.NewReader("x"))), "400"},
	} {
		got := e.want(200, e.do(e.admin, "PUT", e.account+"/in?extract-archive=tar.gz", tc.archive, "Accept: application/json"))
		var out struct {
			Status string `json:"Response Status"`
		}
		if err := json.Unmarshal([]byte(got.body), &out); err != nil || !strings.HasPrefix(out.Status, tc.status) {
			t.Errorf("%s: %s (%v), expected %s", tc.reason, got.body, err, tc.status)
		}
	}
	if got := e.want(200, e.do(e.admin, "GET", e.account, "")); got.body != "in\n" {
		t.Errorf("the containers are %q, expected only the one that was named", got.body)
	}
	names := []string{}
	var list []struct{ Name string }
	if err := json.Unmarshal([]byte(e.want(200, e.do(e.admin, "GET", e.account+"/in?format=json", "")).body), &list); err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		names = append(names, o.Name)
		got := e.want(200, e.do(e.admin, "GET", e.account+"/in/"+strings.NewReplacer("\r", "%0D", "\n", "%0A", " ", "%20").Replace(o.Name), ""))
		if got.header.Get("X-Evil") != "" {
			t.Errorf("%q has the header of an archive's making: %v", o.Name, got.header)
		}
	}
	if slices.Contains(names, "bomb") || slices.Contains(names, "s") || slices.Contains(names, "h") || slices.Contains(names, "d") || !slices.Contains(names, "up/f") || !slices.Contains(names, "other/f") {
		t.Errorf("the container holds %q", names)
	}
}

// What a request brings comes back in headers of answers: none may end its line.
func TestHeadersAreNotInjected(t *testing.T) {
	e := start(t)
	const evil = "%0d%0aX-Evil:%201%0d%0a%0d%0a<script>"
	e.want(201, e.do(e.admin, "PUT", e.account+"/c"+evil, ""))
	e.want(201, e.do(e.admin, "PUT", e.account+"/c"+evil+"/o"+evil, "x"))
	e.want(204, e.do(e.admin, "POST", e.account, "", "X-Account-Meta-Temp-URL-Key: k"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/c", "", "X-Versions-Enabled: true"))
	e.want(201, e.do(e.admin, "PUT", e.account+"/c/o", "x"))
	expires := time.Now().Add(time.Hour).Unix()
	signed := e.account + "/c/o?temp_url_sig=" + sign("k", "GET", e.account+"/c/o", expires) + "&temp_url_expires=" + time.Unix(expires, 0).UTC().Format("2006-01-02T15:04:05Z")
	for _, tc := range []struct{ method, path string }{
		{"GET", e.account + "/c" + evil}, {"GET", e.account + "/c" + evil + "/o" + evil}, {"HEAD", e.account + "/c" + evil + "/o" + evil},
		{"GET", e.account + "/c" + evil + "/missing" + evil}, {"PUT", e.account + "/nowhere" + evil + "/o"},
		{"COPY", e.account + "/c" + evil + "/o" + evil}, {"GET", e.account + "/c" + evil + "?format=" + evil},
		{"GET", e.account + "/c/o?version-id=" + evil}, {"GET", signed + "&filename=" + evil}, {"GET", signed + "&inline&filename=" + evil},
	} {
		got := e.do(e.admin, tc.method, tc.path, "", "Destination: /c/copy"+evil)
		if got.header.Get("X-Evil") != "" || strings.HasPrefix(got.body, "<script>") {
			t.Errorf("%s %s is answered with %v %q", tc.method, tc.path, got.header, got.body)
		}
		if strings.Contains(got.header.Get("Content-Type"), "html") && strings.Contains(got.body, "<script>") {
			t.Errorf("%s %s is answered with a script: %q", tc.method, tc.path, got.body)
		}
	}
}

// A client that sends a byte now and then holds nobody up, and its object is
// there when it is whole, not before.
func TestSlowClient(t *testing.T) {
	n := startNode(t, t.TempDir(), nil)
	n.want(201, "PUT", "/c", "")
	type upload struct {
		conn net.Conn
		name string
	}
	var slow []upload
	for _, name := range []string{"a", "b", "c"} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(n.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		head := "PUT /v1/AUTH_p/c/" + name + " HTTP/1.1\r\nHost: x\r\nX-Auth-Token: t\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n"
		if _, err := io.WriteString(conn, head+strings.Repeat("x", 50_000)); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, upload{conn, name})
	}
	for i := range 50 {
		n.want(201, "PUT", "/c/quick", strings.Repeat("y", 100_000))
		for _, u := range slow {
			if _, err := u.conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if i%10 == 0 {
				n.want(404, "GET", "/c/"+u.name, "")
			}
		}
	}
	if got := n.want(200, "GET", "/c", ""); got != "quick\n" {
		t.Errorf("the container lists %q while three uploads are under way", got)
	}
	for _, u := range slow {
		if _, err := io.WriteString(u.conn, strings.Repeat("x", 49_950)); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(u.conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 201") {
			t.Errorf("the slow upload is answered with %q (%v)", answer, err)
		}
		if got := n.want(200, "GET", "/c/"+u.name, ""); len(got) != 100_000 {
			t.Errorf("%d bytes of a slow upload", len(got))
		}
	}
}

// records hands on what is logged.
type records chan string

func (r records) Write(p []byte) (int, error) { r <- string(p); return len(p), nil }

// The scrub finds a body that has rotted before somebody needs it, and one that
// no object has.
func TestScrub(t *testing.T) {
	root := t.TempDir()
	dir, db, bus, logged := filepath.Join(root, "blobs"), storetest.Open(t), notify.New(), make(records, 100)
	log := slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelWarn}))
	queue, err := jobs.New(db, bus, log)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	later := func() time.Time { return time.Now().Add(30 * 24 * time.Hour) } // what was written just now may be on its way
	s, err := objectstore.New(objectstore.Config{DB: db, Bus: bus, Jobs: queue, Log: log, Auth: everybody{}, Blob: blobs, Now: later})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- queue.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	put := func(path, body string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Auth-Token", "t")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, req)
		if w.Code != http.StatusCreated {
			t.Fatalf("PUT %s: %d", path, w.Code)
		}
	}
	put("/v1/AUTH_p/c", "")
	put("/v1/AUTH_p/c/rotten", strings.Repeat("r", 200_000))
	files, err := filepath.Glob(filepath.Join(dir, "objects", "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[150_000] ^= 1
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	put("/v1/AUTH_p/c/sound", strings.Repeat("s", 200_000))
	if _, err := blobs.Put(t.Context(), "objects/aa/orphan", strings.NewReader("nobody's")); err != nil {
		t.Fatal(err)
	}
	if err := db.Tx(t.Context(), func(tx *store.Tx) error { return queue.Poke(tx, "objectstore.scrub", "all", nil) }); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	for range 2 {
		seen.WriteString(<-logged)
	}
	if text := seen.String(); !strings.Contains(text, "AUTH_p/c/rotten") || !strings.Contains(text, "objects/aa/orphan") || strings.Contains(text, "sound") {
		t.Errorf("the scrub reports %s", text)
	}
	(&node{t: t, dir: root}).waitFiles(2)
}
