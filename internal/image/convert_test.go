package image_test

import (
	"bytes"
	"crypto/md5" //nolint:gosec // Glance's checksum
	"crypto/sha512"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/identity/identitytest"
)

// toQcow2 has QEMU, which nobody here wrote, make an image.
func toQcow2(t *testing.T, raw []byte, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("SKIPPED, NO QCOW2 IMAGE TO TEST WITH: qemu-img is not installed (apt-get install qemu-utils)")
	}
	in, out := filepath.Join(t.TempDir(), "raw"), filepath.Join(t.TempDir(), "qcow2")
	if err := os.WriteFile(in, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	args = append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), in, out)
	if msg, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput(); err != nil { //nolint:gosec // constants
		t.Fatalf("%v: %s", err, msg)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const mib = 1 << 20

// disk has data, an empty MiB, a MiB with one byte, two empty ones, and a tail.
func disk() []byte {
	raw, random := make([]byte, 5*mib+1024), rand.NewChaCha8([32]byte{})
	_, _ = random.Read(raw[:mib])
	raw[2*mib+77] = 1
	_, _ = random.Read(raw[5*mib:])
	return raw
}

func uploaded(t *testing.T, c *gophercloud.ServiceClient, format string, data []byte) string {
	t.Helper()
	m := create(t, c, images.CreateOpts{Name: "i", DiskFormat: format, ContainerFormat: "bare"})
	if err := imagedata.Upload(t.Context(), c, m.ID, bytes.NewReader(data)).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	return m.ID
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func download(t *testing.T, c *gophercloud.ServiceClient, id, format string, header map[string]string) answer {
	t.Helper()
	res, err := c.Request(t.Context(), http.MethodGet, c.ServiceURL("images", id, "file")+"?format="+format,
		&gophercloud.RequestOpts{KeepResponseBody: true, MoreHeaders: header, OkCodes: []int{200, 202, 204, 206, 304, 400, 404, 409, 412, 416}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, body}
}

// converted asks for the raw form until there is an answer.
func converted(t *testing.T, s *identitytest.Server, c *gophercloud.ServiceClient, id string) answer {
	t.Helper()
	sub := s.Bus.Subscribe("image/" + id)
	defer sub.Close()
	for {
		got := download(t, c, id, "raw", nil)
		if got.status != http.StatusAccepted {
			return got
		}
		if got.header.Get("Retry-After") == "" || len(got.body) != 0 {
			t.Errorf("while it is converted: %v %q, expected Retry-After and no data", got.header, got.body)
		}
		<-sub.C()
	}
}

func stored(t *testing.T, blobs blob.Store) (n int, bytes int64) {
	t.Helper()
	if err := blobs.List(t.Context(), "images/", func(_ string, info blob.Info) error {
		n, bytes = n+1, bytes+info.Size
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n, bytes
}

func TestConversion(t *testing.T) {
	for _, tc := range []struct {
		reason string
		args   []string
	}{
		{"as it is made by default", nil},
		{"compressed", []string{"-c"}},
		{"compressed by zstd", []string{"-c", "-o", "compression_type=zstd"}},
		{"the older version", []string{"-o", "compat=0.10"}},
		{"small clusters", []string{"-o", "cluster_size=512"}},
		{"large clusters", []string{"-o", "cluster_size=2M"}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			s, blobs := start(t)
			s.RunJobs()
			c := client(t, s.Admin())
			want := disk()
			source := toQcow2(t, want, tc.args...)
			id := uploaded(t, c, "qcow2", source)
			got := converted(t, s, c, id)
			if got.status != http.StatusOK || !bytes.Equal(got.body, want) {
				t.Fatalf("status %d, %d bytes, expected the %d of the disk", got.status, len(got.body), len(want))
			}
			sum5, sum512 := md5.Sum(want), sha512.Sum512(want) //nolint:gosec // Glance's checksum
			if got.header.Get("Content-Md5") != hex.EncodeToString(sum5[:]) || got.header.Get("X-Image-Hash-Sha512") != hex.EncodeToString(sum512[:]) {
				t.Errorf("headers %v, expected the sums of the disk", got.header)
			}
			if n, size := stored(t, blobs); n != 2 || size != int64(len(source))+2*mib+1024 {
				t.Errorf("%d bodies of %d bytes, expected the file's %d and three chunks that are not empty", n, size, len(source))
			}
			if plain := download(t, c, id, "", nil); !bytes.Equal(plain.body, source) {
				t.Error("the file is not what was uploaded")
			}
			ranges(t, c, id, want, got.header.Get("Etag"))
			if err := images.Delete(t.Context(), c, id).ExtractErr(); err != nil {
				t.Fatal(err)
			}
			waitEmpty(t, blobs)
		})
	}
}

func ranges(t *testing.T, c *gophercloud.ServiceClient, id string, want []byte, etag string) {
	t.Helper()
	for _, r := range [][2]int{{0, 0}, {mib - 10, mib + 10}, {mib + 5, 2*mib + 100}, {2*mib + 77, 2*mib + 77}, {3 * mib, 5*mib + 5}, {5*mib + 1000, 5*mib + 1023}} {
		span := "bytes=" + strconv.Itoa(r[0]) + "-" + strconv.Itoa(r[1])
		got := download(t, c, id, "raw", map[string]string{"Range": span, "If-Match": etag})
		if got.status != http.StatusPartialContent || !bytes.Equal(got.body, want[r[0]:r[1]+1]) {
			t.Errorf("%s: status %d, %d bytes, expected those of the disk", span, got.status, len(got.body))
		}
	}
	if got := download(t, c, id, "raw", map[string]string{"If-Match": `"other"`}); got.status != http.StatusPreconditionFailed {
		t.Errorf("another entity tag: status %d, expected 412", got.status)
	}
}

func TestWhatIsNotConverted(t *testing.T) {
	s, blobs := start(t)
	s.RunJobs()
	c := client(t, s.Admin())
	encrypted := toQcow2(t, disk())
	encrypted[35] = 1
	cut := toQcow2(t, disk())
	cut = cut[:len(cut)/2]
	bomb := toQcow2(t, bytes.Repeat([]byte{1}, 64*mib), "-c")
	for _, tc := range []struct {
		reason, disk, format string
		data                 []byte
		status               int
		says                 string
	}{
		{"what is raw is answered as it is", "raw", "raw", []byte("data"), 200, "data"},
		{"an entity tag is there for files too", "aki", "", []byte("kernel"), 200, "kernel"},
		{"no disk", "aki", "raw", []byte("kernel"), 409, "only qcow2"},
		{"no such conversion", "raw", "vmdk", []byte("data"), 400, "expected raw"},
		{"encrypted", "qcow2", "raw", encrypted, 409, "encrypted"},
		{"cut off", "qcow2", "raw", cut, 409, "cannot be converted"},
		{"a header of a disk without tables", "qcow2", "raw", qcow2(0, 0), 409, "cluster size"},
		{"made to fill the disk", "qcow2", "raw", bomb, 409, "64 times"},
	} {
		id := uploaded(t, c, tc.disk, tc.data)
		got := download(t, c, id, tc.format, nil)
		if got.status == http.StatusAccepted {
			got = converted(t, s, c, id)
		}
		if got.status != tc.status || !strings.Contains(string(got.body), tc.says) {
			t.Errorf("%s: %d %.200q, expected %d and %q", tc.reason, got.status, got.body, tc.status, tc.says)
		}
		if got.status == 200 && got.header.Get("Etag") == "" {
			t.Errorf("%s: no entity tag", tc.reason)
		}
		if err := images.Delete(t.Context(), c, id).ExtractErr(); err != nil {
			t.Fatal(err)
		}
	}
	waitEmpty(t, blobs)
}
