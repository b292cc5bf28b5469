package disk

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/klauspost/compress/zstd"
)

const mib = 1 << 20

func newDisk(t testing.TB, size int64) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	// Old content everywhere: what is not written must not look like zeros by luck.
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	dirt := bytes.Repeat([]byte("old data"), mib/8)
	for off := int64(0); off < size; off += mib {
		if _, err := f.WriteAt(dirt[:min(mib, size-off)], off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// testImage is a GPT image of size MiB with one growing root partition and data in it.
func testImage(t testing.TB, sizeMiB int64) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, sizeMiB*mib); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	table := &gpt.Table{ProtectiveMBR: true, LogicalSectorSize: 512, PhysicalSectorSize: 512, Partitions: []*gpt.Partition{
		{Index: 1, Start: 2048, End: 4095, Type: gpt.EFISystemPartition, Name: "ESP"},
		{Index: 3, Start: 4096, End: uint64(sizeMiB-1)*2048 - 1, Type: gpt.LinuxFilesystem, Name: "root", Attributes: GrowFileSystem},
	}}
	if err := table.Write(&gptFile{Device: d}, sizeMiB*mib); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 3*mib+12345)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(data)
	if _, err := d.WriteAt(data, 5*mib+4096); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func packZstd(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func packGzip(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func sha(b []byte) Checksum {
	s := sha512.Sum512(b)
	return Checksum{"sha512", hex.EncodeToString(s[:])}
}

// serve is an image server that knows ranges and entity tags.
func serve(t testing.TB, body []byte) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "image", time.Time{}, bytes.NewReader(body))
	}))
	t.Cleanup(s.Close)
	return s
}

func options() Options {
	return Options{Client: http.DefaultClient, Log: slog.New(slog.DiscardHandler), Backoff: func(int) time.Duration { return 0 }}
}

func content(t testing.TB, d *File, n int64) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := d.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWriteImage(t *testing.T) {
	raw := testImage(t, 20)
	qcow := toQcow2(t, raw)
	m, s256 := md5.Sum(raw), sha256.Sum256(raw)
	tests := []struct {
		reason    string
		body      []byte
		image     Image
		wantError string
	}{
		{"raw, announced as such", raw, Image{DiskFormat: "raw", Checksum: sha(raw)}, ""},
		{"the legacy MD5 is enough", raw, Image{DiskFormat: "raw", Checksum: Checksum{"md5", hex.EncodeToString(m[:])}}, ""},
		{"sha256", raw, Image{DiskFormat: "raw", Checksum: Checksum{"sha256", hex.EncodeToString(s256[:])}}, ""},
		{"zstd, as our image build makes it", packZstd(t, raw), Image{DiskFormat: "raw", ContainerFormat: "compressed"}, ""},
		{"gzip by its magic alone", packGzip(t, raw), Image{DiskFormat: "raw", ContainerFormat: "bare"}, ""},
		{"two zstd frames are one image", append(packZstd(t, raw[:7*mib]), packZstd(t, raw[7*mib:])...), Image{DiskFormat: "raw"}, ""},
		{"qcow2 over ranges", qcow, Image{DiskFormat: "qcow2"}, ""},
		{"wrong checksum", raw, Image{DiskFormat: "raw", Checksum: sha([]byte("other"))}, "checksum mismatch: image id: expected sha512 "},
		{"qcow2 with a wrong checksum", qcow, Image{DiskFormat: "qcow2", Checksum: sha([]byte("other"))}, "checksum mismatch"},
		{"a broken zstd file is reported by its checksum", flip(packZstd(t, raw)), Image{DiskFormat: "raw", Checksum: sha(packZstd(t, raw))}, "checksum mismatch"},
		{"a zstd file broken before it was hashed is a decoding error", flip(packZstd(t, raw)), Image{DiskFormat: "raw"}, "write image id to"},
		{"qcow2 must not pass as raw", qcow, Image{DiskFormat: "raw"}, "announced as raw but is qcow2"},
		{"raw must not pass as qcow2", raw, Image{DiskFormat: "qcow2"}, "does not begin like one"},
		{"a container that is not compressed", raw, Image{DiskFormat: "raw", ContainerFormat: "compressed"}, "neither zstd nor gzip"},
		{"unknown formats are not guessed", raw, Image{DiskFormat: "vmdk"}, `disk format "vmdk"`},
		{"too large for the disk", make([]byte, 25*mib), Image{DiskFormat: "raw"}, "larger than"},
		{"an empty image is no image", nil, Image{DiskFormat: "raw"}, "empty"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			d := newDisk(t, 24*mib)
			img := tt.image
			img.ID, img.URLs = "id", []string{serve(t, tt.body).URL + "/x?temp_url_sig=secret"}
			if img.Checksum.Hex == "" {
				img.Checksum = sha(tt.body)
			}
			o, last := options(), -1
			o.Progress = func(p int) {
				if p < last || p > 100 {
					t.Errorf("progress %d after %d", p, last)
				}
				last = p
			}
			res, err := WriteImage(t.Context(), d, img, o)
			if tt.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantError) || strings.Contains(err.Error(), "secret") {
					t.Fatalf("error %v, want %q and no secret", err, tt.wantError)
				}
				if got := content(t, d, mib); !bytes.Equal(got, make([]byte, mib)) {
					t.Error("the start of the disk is not wiped: it might boot")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if res.Written != int64(len(raw)) || res.Downloaded != int64(len(tt.body)) || last != 100 {
				t.Errorf("result %+v, last progress %d", res, last)
			}
			if got := content(t, d, int64(len(raw))); !bytes.Equal(got, raw) {
				t.Error("the disk differs from the image")
			}
		})
	}
}

func flip(b []byte) []byte {
	b = bytes.Clone(b)
	for i := len(b) / 2; i < len(b)/2+64; i++ {
		b[i] ^= 0xff
	}
	return b
}

func toQcow2(t *testing.T, raw []byte) []byte {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is not installed: no qcow2 image to test with")
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "raw"), filepath.Join(dir, "qcow2")
	if err := os.WriteFile(in, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if msg, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", in, out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A server that dies in the middle and comes back must not cost the deployment.
func TestWriteImageResumes(t *testing.T) {
	raw := testImage(t, 20)
	var requests, changed atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := requests.Add(1)
		etag := `"one"`
		if changed.Load() == 1 && n > 1 {
			etag = `"two"`
		}
		w.Header().Set("ETag", etag)
		if n == 2 && changed.Load() == 0 {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		if n <= 3 {
			off := 0
			if v := r.Header.Get("Range"); v != "" {
				off, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(v, "bytes="), "-"))
				w.Header().Set("Content-Range", "bytes "+strconv.Itoa(off)+"-"+strconv.Itoa(len(raw)-1)+"/"+strconv.Itoa(len(raw)))
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(raw)-off))
			if off > 0 {
				w.WriteHeader(http.StatusPartialContent)
			}
			_, _ = w.Write(raw[off : off+5*mib])
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "image", time.Time{}, bytes.NewReader(raw))
	}))
	defer s.Close()
	img := Image{ID: "id", URLs: []string{s.URL}, DiskFormat: "raw", Checksum: sha(raw)}
	d := newDisk(t, 64*mib)
	if _, err := WriteImage(t.Context(), d, img, options()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content(t, d, int64(len(raw))), raw) {
		t.Error("the disk differs from the image")
	}
	if n := requests.Load(); n != 4 {
		t.Errorf("%d requests, want 4: broken, unavailable, broken, rest", n)
	}

	requests.Store(0)
	changed.Store(1)
	if _, err := WriteImage(t.Context(), d, img, options()); !errors.Is(err, ErrImageChanged) {
		t.Errorf("error %v, want ErrImageChanged: two halves of two images are no image", err)
	}
}

// A server that knows no ranges sends everything again; what is on the disk already is skipped.
func TestWriteImageResumesWithoutRanges(t *testing.T) {
	raw := testImage(t, 20)
	var requests atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
		if requests.Add(1) == 1 {
			_, _ = w.Write(raw[:7*mib+5])
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(raw)
	}))
	defer s.Close()
	d := newDisk(t, 24*mib)
	img := Image{ID: "id", URLs: []string{s.URL}, DiskFormat: "raw", Checksum: sha(raw)}
	if _, err := WriteImage(t.Context(), d, img, options()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content(t, d, int64(len(raw))), raw) || requests.Load() != 2 {
		t.Errorf("the disk differs from the image, or %d requests instead of 2", requests.Load())
	}
}

func TestWriteImageStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000000")
		_, _ = w.Write(make([]byte, 2*mib))
		cancel()
		<-ctx.Done()
		panic(http.ErrAbortHandler)
	}))
	defer s.Close()
	d := newDisk(t, 8*mib)
	img := Image{ID: "id", URLs: []string{s.URL}, DiskFormat: "raw", Checksum: sha(nil)}
	if _, err := WriteImage(ctx, d, img, options()); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}

// Until the checksum is known to be right, the partition table must not be on the disk.
func TestFirstChunkComesLast(t *testing.T) {
	raw := testImage(t, 20)
	d := newDisk(t, 64*mib)
	if err := WipeEnds(d); err != nil {
		t.Fatal(err)
	}
	w := NewStreamWriter(d)
	if _, err := io.Copy(struct{ io.Writer }{w}, bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLayout(d); !errors.Is(err, ErrNoGPT) {
		t.Fatalf("before Commit: %v, want no partition table", err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLayout(d); err != nil {
		t.Fatal(err)
	}
}

func TestFinish(t *testing.T) {
	raw := testImage(t, 20)
	drive := bytes.Repeat([]byte("config"), 100_000)
	d := newDisk(t, 64*mib)
	img := Image{ID: "id", URLs: []string{serve(t, raw).URL}, DiskFormat: "raw", Checksum: sha(raw)}
	if _, err := WriteImage(t.Context(), d, img, options()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time replaces the first
		layout, err := Finish(d, FinishOptions{ConfigDrive: drive})
		if err != nil {
			t.Fatal(err)
		}
		if len(layout.Partitions) != 3 {
			t.Fatalf("partitions %+v", layout.Partitions)
		}
		root, conf := layout.Partitions[1], layout.Partitions[2]
		if conf.Name != ConfigDriveName || conf.Size != mib || conf.Number != 4 || conf.Start+conf.Size != 63*mib {
			t.Errorf("config drive %+v, want 1 MiB at the end as number 4", conf)
		}
		if root.Start+root.Size != conf.Start {
			t.Errorf("root ends at %d, the config drive begins at %d", root.Start+root.Size, conf.Start)
		}
		got := make([]byte, len(drive))
		if _, err := d.ReadAt(got, conf.Start); err != nil || !bytes.Equal(got, drive) {
			t.Errorf("config drive content differs (%v)", err)
		}
	}
	if path, err := exec.LookPath("sgdisk"); err == nil {
		out, err := exec.Command(path, "--verify", d.Path()).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "No problems found") {
			t.Errorf("sgdisk: %v\n%s", err, out)
		}
	} else {
		t.Log("sgdisk is not installed: partition table checked only by our own reader")
	}

	small := newDisk(t, 20*mib)
	img.URLs = []string{serve(t, raw).URL}
	if _, err := WriteImage(t.Context(), small, img, options()); err != nil {
		t.Fatal(err)
	}
	if _, err := Finish(small, FinishOptions{ConfigDrive: drive}); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("error %v, want that there is no room", err)
	}
}

func TestFinishWithoutTable(t *testing.T) {
	d := newDisk(t, 8*mib)
	if _, err := Finish(d, FinishOptions{}); err != nil {
		t.Errorf("an image without partitions is left alone: %v", err)
	}
	if _, err := Finish(d, FinishOptions{ConfigDrive: []byte("x")}); !errors.Is(err, ErrNoGPT) {
		t.Errorf("error %v, want ErrNoGPT", err)
	}
}

func TestHostileGPTHeader(t *testing.T) {
	raw := testImage(t, 20)
	copy(raw[512+80:], []byte{0xff, 0xff, 0xff, 0xff}) // four thousand million entries
	path := filepath.Join(t.TempDir(), "d")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := ReadLayout(d); err == nil || !strings.Contains(err.Error(), "entries") {
		t.Errorf("error %v", err)
	}
}

func TestErase(t *testing.T) {
	raw := testImage(t, 20)
	newWritten := func() *File {
		d := newDisk(t, 20*mib)
		if _, err := d.WriteAt(raw, 0); err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := newWritten()
	if err := EraseMetadata(d); err != nil {
		t.Fatal(err)
	}
	got := content(t, d, 20*mib)
	for _, z := range []struct{ off, n int }{{0, mib}, {19 * mib, mib}, {2 * mib, mib}, {18 * mib, mib}} {
		if !bytes.Equal(got[z.off:z.off+z.n], make([]byte, z.n)) {
			t.Errorf("%d bytes at %d are not wiped", z.n, z.off)
		}
	}
	if !bytes.Equal(got[6*mib:7*mib], raw[6*mib:7*mib]) {
		t.Error("metadata erasure must not touch the data")
	}
	d = newWritten()
	if err := Erase(t.Context(), d, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content(t, d, 20*mib), make([]byte, 20*mib)) {
		t.Error("not everything is zero")
	}
	d = newWritten()
	if err := EraseExpress(d); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLayout(d); !errors.Is(err, ErrNoGPT) {
		t.Errorf("after express erasure: %v", err)
	}
}

func TestDecodeConfigDrive(t *testing.T) {
	image := bytes.Repeat([]byte("iso"), 1000)
	good := base64.StdEncoding.EncodeToString(packGzip(t, image))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/text":
			_, _ = io.WriteString(w, good)
		case "/gzip":
			_, _ = w.Write(packGzip(t, image))
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	tests := []struct{ reason, value, wantError string }{
		{"as Nova sends it", good, ""},
		{"wrapped lines", good[:40] + "\n" + good[40:], ""},
		{"from a URL, base64", s.URL + "/text", ""},
		{"from a URL, plain gzip", s.URL + "/gzip", ""},
		{"a URL that is gone, its signature unsaid", s.URL + "/none?temp_url_sig=secret", "404"},
		{"no base64", "!!!", "not base64"},
		{"no gzip", base64.StdEncoding.EncodeToString(image), "not gzip"},
		{"a gzip bomb", base64.StdEncoding.EncodeToString(packGzip(t, make([]byte, MaxConfigDrive+1))), "larger than 64 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got, err := DecodeConfigDrive(t.Context(), http.DefaultClient, tt.value)
			if tt.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantError) || strings.Contains(err.Error(), "secret") {
					t.Fatalf("error %v, want %q", err, tt.wantError)
				}
				return
			}
			if err != nil || !bytes.Equal(got, image) {
				t.Fatalf("%d bytes, error %v", len(got), err)
			}
		})
	}
}

func TestParseChecksum(t *testing.T) {
	md, s5 := strings.Repeat("ab", 16), strings.Repeat("AB", 64)
	tests := []struct {
		reason, algo, value, legacy string
		want                        Checksum
		wantError                   bool
	}{
		{"named algorithm, upper case digits", "sha512", s5, md, Checksum{"sha512", strings.ToLower(s5)}, false},
		{"legacy by its length", "", "", md, Checksum{"md5", md}, false},
		{"legacy that is no MD5", "", "", s5, Checksum{"sha512", strings.ToLower(s5)}, false},
		{"URL, decided later", "sha256", "http://x/SHA256SUMS", "", Checksum{"sha256", "http://x/SHA256SUMS"}, false},
		{"nothing is not enough", "sha512", "", "", Checksum{}, true},
		{"wrong length for the algorithm", "sha512", md, "", Checksum{}, true},
		{"unknown algorithm", "crc32", "abcd", "", Checksum{}, true},
		{"no hex", "md5", strings.Repeat("zz", 16), "", Checksum{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			got, err := ParseChecksum(tt.algo, tt.value, tt.legacy)
			if (err != nil) != tt.wantError || err == nil && got != tt.want {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestFindDigest(t *testing.T) {
	tests := []struct{ reason, text, want string }{
		{"one digest alone", "abc\n", "abc"},
		{"coreutils", "111 other.raw\n222 *image.raw\n", "222"},
		{"BSD", "SHA256 (image.raw) = 333\nSHA256 (x) = 4\n", "333"},
		{"not mentioned", "111 other.raw\n222 another\n", ""},
	}
	for _, tt := range tests {
		if got := findDigest(tt.text, "image.raw"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.reason, got, tt.want)
		}
	}
}
