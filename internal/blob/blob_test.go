package blob_test

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what Put promises
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/tripleo/tripleo/internal/blob"
)

func openDir(t testing.TB, dir string) *blob.Dir {
	t.Helper()
	d, err := blob.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func s3Config(t testing.TB) blob.S3Config {
	t.Helper()
	srv := httptest.NewServer(gofakes3.New(s3mem.New(), gofakes3.WithLogger(gofakes3.StdLog(log.New(io.Discard, "", 0)))).Server())
	t.Cleanup(srv.Close)
	return blob.S3Config{
		Endpoint: strings.TrimPrefix(srv.URL, "http://"), Bucket: "bodies", Prefix: "undercloud/", Region: "us-east-1",
		AccessKey: "access", SecretKey: "secret", Insecure: true,
	}
}

// conformance are the tests that every store must pass.
func conformance() map[string]func(*testing.T, blob.Store) {
	return map[string]func(*testing.T, blob.Store){
		"put and get": testPutGet, "sizes": testSizes, "broken puts": testBrokenPutIsInvisible, "list": testList, "keys": testKeysStayInside,
	}
}

func TestDir(t *testing.T) {
	for name, test := range conformance() {
		t.Run(name, func(t *testing.T) { test(t, openDir(t, filepath.Join(t.TempDir(), "blobs"))) })
	}
}

func TestS3(t *testing.T) {
	for name, test := range conformance() {
		t.Run(name, func(t *testing.T) {
			s, err := blob.OpenS3(t.Context(), s3Config(t))
			if err != nil {
				t.Fatal(err)
			}
			test(t, s)
		})
	}
}

func read(t *testing.T, s blob.Store, key string, off, n int64) []byte {
	t.Helper()
	r, err := s.Get(t.Context(), key, off, n)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return got
}

func testPutGet(t *testing.T, s blob.Store) {
	ctx := t.Context()
	info, err := s.Put(ctx, "a/b/c", strings.NewReader("0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (blob.Info{Size: 10, MD5: "781e5e245d69b566979b86e28d23f2c7"}); info != want {
		t.Errorf("put returned %+v, expected %+v", info, want)
	}
	for _, tc := range []struct {
		reason string
		off, n int64
		want   string
	}{
		{"all", 0, -1, "0123456789"},
		{"from the middle", 5, -1, "56789"},
		{"a piece", 2, 3, "234"},
		{"more than there is", 8, 100, "89"},
		{"nothing", 3, 0, ""},
		{"behind the end", 20, -1, ""},
		{"far behind the end", 1 << 40, 5, ""},
	} {
		if got := read(t, s, "a/b/c", tc.off, tc.n); string(got) != tc.want {
			t.Errorf("%s: %q, expected %q", tc.reason, got, tc.want)
		}
	}
	if got, err := s.Stat(ctx, "a/b/c"); err != nil || got.Size != 10 || got.Modified.IsZero() {
		t.Errorf("stat returned %+v, %v", got, err)
	}
	if _, err := s.Put(ctx, "a/b/c", strings.NewReader("new")); err != nil || string(read(t, s, "a/b/c", 0, -1)) != "new" {
		t.Errorf("a second put does not replace the first (%v)", err)
	}
	if err := s.Delete(ctx, "a/b/c"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(ctx, "a/b/c"); err != nil {
		t.Errorf("deleting what is not there is no error: %v", err)
	}
	if _, err := s.Get(ctx, "a/b/c", 0, -1); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("get of a deleted body: %v, expected ErrNotFound", err)
	}
	if _, err := s.Stat(ctx, "a/b/c"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("stat of a deleted body: %v, expected ErrNotFound", err)
	}
}

// TestSizes stores bodies whose ends lie on and beside the ends of blocks,
// buffers and parts, and reads pieces across them.
func testSizes(t *testing.T, s blob.Store) {
	const data = 128<<10 - 4 // of a block
	random := rand.New(rand.NewPCG(1, 2))
	all := make([]byte, 17<<20)
	for i := range all {
		all[i] = byte(random.Uint32())
	}
	for _, size := range []int{0, 1, data - 1, data, data + 1, 4*data - 1, 4 * data, 4*data + 1, 9 * data, len(all)} {
		body := all[:size]
		key := fmt.Sprintf("size/%d", size)
		info, err := s.Put(t.Context(), key, iotest.HalfReader(bytes.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		sum := md5.Sum(body) //nolint:gosec // see above
		if info.Size != int64(size) || info.MD5 != hex.EncodeToString(sum[:]) {
			t.Errorf("put of %d bytes returned %+v", size, info)
		}
		if got, err := s.Stat(t.Context(), key); err != nil || got.Size != int64(size) {
			t.Errorf("stat of %d bytes returned %+v, %v", size, got, err)
		}
		if got := read(t, s, key, 0, -1); !bytes.Equal(got, body) {
			t.Errorf("%d bytes do not come back as they were", size)
		}
		for range 20 {
			off := random.IntN(size + 2)
			n := random.IntN(5*data) - 1
			end := size
			if n >= 0 {
				end = min(size, off+n)
			}
			if got := read(t, s, key, int64(off), int64(n)); !bytes.Equal(got, body[min(off, size):max(end, min(off, size))]) {
				t.Fatalf("%d bytes from %d of %d are wrong", n, off, size)
			}
		}
	}
}

func testBrokenPutIsInvisible(t *testing.T, s blob.Store) {
	for _, broken := range []error{errors.New("broken"), io.ErrUnexpectedEOF} {
		for _, half := range []int{4, 20 << 20} {
			r := io.MultiReader(io.LimitReader(zeros{}, int64(half)), iotest.ErrReader(broken))
			if _, err := s.Put(t.Context(), "k", r); !errors.Is(err, broken) {
				t.Errorf("put of a reader that breaks with %q after %d bytes returned %v", broken, half, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, "k", strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("put with an ended context returned %v", err)
	}
	if got := list(t, s, ""); len(got) != 0 {
		t.Errorf("%v can be seen", got)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// What a killed process leaves is removed by the next one.
func TestLeftoversAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	d := openDir(t, dir)
	left := filepath.Join(dir, ".tmp", "left")
	if err := os.WriteFile(left, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(left, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	// Another process starts while a body is slowly being written.
	_, err := d.Put(t.Context(), "slow", io.MultiReader(io.LimitReader(zeros{}, 1<<20), readerFunc(func([]byte) (int, error) {
		names, err := os.ReadDir(filepath.Join(dir, ".tmp"))
		if err != nil {
			return 0, err
		}
		for _, n := range names {
			if err := os.Chtimes(filepath.Join(dir, ".tmp", n.Name()), time.Time{}, time.Now().Add(-time.Hour)); err != nil {
				return 0, err
			}
		}
		openDir(t, dir)
		return 0, io.EOF
	})))
	if err != nil {
		t.Errorf("a starting process broke the upload of another: %v", err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, ".tmp"))
	if err != nil || len(entries) != 0 {
		t.Errorf("%v left of interrupted writers (%v)", entries, err)
	}
}

// TestRot changes stored files in every way a disk does; nothing of what is
// changed may be handed out.
func TestRot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "blobs")
	d := openDir(t, dir)
	body := bytes.Repeat([]byte("0123456789abcdef"), 40_000) // five blocks
	put := func(key string) string {
		if _, err := d.Put(t.Context(), key, bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, key)
	}
	other := put("other")
	for _, tc := range []struct {
		reason string
		rot    func(stored []byte) []byte
		good   int // bytes before the damage, which may be read
	}{
		{"a bit of the first block", func(b []byte) []byte { b[7] ^= 1; return b }, 0},
		{"a bit of the last block", func(b []byte) []byte { b[len(b)-20] ^= 1; return b }, 4 * (128<<10 - 4)},
		{"a checksum", func(b []byte) []byte { b[128<<10-1] ^= 1; return b }, 0},
		{"two blocks changed places", func(b []byte) []byte {
			c := bytes.Clone(b)
			copy(c, b[128<<10:256<<10])
			copy(c[128<<10:], b[:128<<10])
			return c
		}, 0},
		{"cut inside a block", func(b []byte) []byte { return b[:300_000] }, 2 * (128<<10 - 4)},
		{"cut between blocks", func(b []byte) []byte { return b[:256<<10] }, 128<<10 - 4},
		{"emptied", func([]byte) []byte { return nil }, 0},
		{"another body's file", func([]byte) []byte {
			b, err := os.ReadFile(other)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}, 0},
	} {
		path := put("rotten")
		stored, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, tc.rot(stored), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []byte
		r, err := d.Get(t.Context(), "rotten", 0, -1)
		if err == nil {
			got, err = io.ReadAll(r)
			_ = r.Close()
		}
		if !errors.Is(err, blob.ErrCorrupt) || len(got) > tc.good || !bytes.HasPrefix(body, got) {
			t.Errorf("%s: %d bytes were read, error %v; expected at most %d and ErrCorrupt", tc.reason, len(got), err, tc.good)
		}
		if err := blob.Verify(t.Context(), d, "rotten"); !errors.Is(err, blob.ErrCorrupt) {
			t.Errorf("%s: verify says %v", tc.reason, err)
		}
	}
	if err := blob.Verify(t.Context(), d, "other"); err != nil {
		t.Errorf("verify of a sound body: %v", err)
	}
}

func list(t *testing.T, s blob.Store, prefix string) []string {
	t.Helper()
	got := []string{}
	err := s.List(t.Context(), prefix, func(key string, _ blob.Info) error {
		got = append(got, key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(got)
	return got
}

func testList(t *testing.T, s blob.Store) {
	for _, k := range []string{"objects/1", "objects/2", "objects/d/3", "images/1"} {
		if _, err := s.Put(t.Context(), k, strings.NewReader(k)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"objects/1", "objects/2", "objects/d/3"}, list(t, s, "objects/")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"objects/d/3"}, list(t, s, "objects/d")); diff != "" {
		t.Errorf("list of half a name (-want +got):\n%s", diff)
	}
	stop := errors.New("stop")
	if err := s.List(t.Context(), "", func(string, blob.Info) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("list returned %v, expected the callback's error", err)
	}
}

func testKeysStayInside(t *testing.T, s blob.Store) {
	for _, k := range []string{"", "..", "../x", "a/../b", "/etc/passwd", "a//b", ".tmp/x", "a/./b", "a b", "a\x00b", "ä"} {
		if _, err := s.Put(t.Context(), k, strings.NewReader("x")); err == nil {
			t.Errorf("key %q was accepted", k)
		}
		if _, err := s.Get(t.Context(), k, 0, -1); err == nil {
			t.Errorf("key %q was read", k)
		}
		if err := s.Delete(t.Context(), k); err == nil {
			t.Errorf("key %q was deleted", k)
		}
	}
}

// TestS3Refuses checks that a server that cannot be reached, or refuses, is an
// error that names it.
func TestS3Refuses(t *testing.T) {
	c := s3Config(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := blob.OpenS3(ctx, c); err == nil || !strings.Contains(err.Error(), "bodies") {
		t.Errorf("opening with an ended context: %v, expected an error that names the bucket", err)
	}
}
