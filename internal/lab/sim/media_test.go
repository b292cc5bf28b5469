package sim

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"github.com/tripleo/tripleo/internal/lab/bmc"
)

// makeCD writes a CD with the given files and, behind them, as much as a ramdisk has.
func makeCD(t *testing.T, files map[string]string) string {
	t.Helper()
	tree, name := t.TempDir(), filepath.Join(t.TempDir(), "cd.iso")
	files["initrd"] = strings.Repeat("x", 20<<20)
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	fsys, err := iso9660.Create(file.New(f, false), 0, 0, cdSector, tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := fsys.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: "RAMDISK"}); err != nil {
		t.Fatal(err)
	}
	return name
}

// counted serves one file and counts the bytes that were fetched of it.
func counted(t *testing.T, name string, bytes *int) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/secret/cd.iso" {
			http.NotFound(w, r)
			return
		}
		http.ServeFile(&counter{w, bytes}, r, name)
	}))
	t.Cleanup(s.Close)
	return s
}

type counter struct {
	http.ResponseWriter
	bytes *int
}

func (c *counter) Write(p []byte) (int, error) {
	*c.bytes += len(p)
	return c.ResponseWriter.Write(p)
}

// A machine boots the ramdisk of the CD in its drive once, with the arguments that are on the CD, and not from the
// network; an empty drive boots nothing.
func TestBootsFromVirtualMedia(t *testing.T) {
	u := newUndercloud(t)
	fetched := 0
	cd := counted(t, makeCD(t, map[string]string{"isolinux/isolinux.cfg": "DEFAULT ramdisk\nLABEL ramdisk\n  KERNEL kernel\n  append ipa-api-url=" + u.URL + "/baremetal quiet\n"}), &fetched)
	m, _ := start(t, u, 0)
	drive := m.Drive()
	if drive == nil {
		t.Fatal("the machine shows no drive")
	}
	if err := drive.InsertMedia(t.Context(), cd.URL+"/secret/cd.iso"); err != nil || drive.Media() != cd.URL+"/secret/cd.iso" {
		t.Fatalf("in the drive: %q, %v", drive.Media(), err)
	}
	if err := m.SetBoot(bmc.BootOverride{Device: bmc.CDROM}); err != nil {
		t.Fatal(err)
	}
	if err := m.Power(bmc.On); err != nil {
		t.Fatal(err)
	}
	<-u.heartbeats
	if st := m.Status(); st.Phase != "ramdisk" || st.Detail != "ipa-api-url="+u.URL+"/baremetal quiet" {
		t.Errorf("status %q %q", st.Phase, st.Detail)
	}
	if fetched > 8*cdChunk {
		t.Errorf("%d bytes of the CD were fetched, its folders have some hundred", fetched)
	}
	select {
	case got := <-u.inspected:
		t.Errorf("the network's boot script was used: its inspection was told %v", got)
	default:
	}
	if err := drive.EjectMedia(); err != nil || drive.Media() != "" {
		t.Errorf("after ejecting: %q, %v", drive.Media(), err)
	}
}

func TestMediaThatCannotBeUsed(t *testing.T) {
	u := newUndercloud(t)
	fetched := 0
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no CD ", 20000)), 0o600); err != nil {
		t.Fatal(err)
	}
	noCD, bare := counted(t, text, &fetched), counted(t, makeCD(t, map[string]string{"readme": "hello"}), &fetched)
	noArgs := counted(t, makeCD(t, map[string]string{"isolinux/isolinux.cfg": "DEFAULT x\n"}), &fetched)
	m, _ := start(t, u, 0)
	hw, ok := m.Drive().(*Machine)
	if !ok {
		t.Fatal("the drive is not the machine's")
	}
	for url, want := range map[string]string{noCD.URL + "/secret/cd.iso": "not a CD", noCD.URL + "/other": "404", "http://127.0.0.1:1/secret/cd.iso": "refused"} {
		err := hw.InsertMedia(t.Context(), url)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "/secret/") {
			t.Errorf("%s: %v, expected %q and not the address", url, err, want)
		}
	}
	for url, want := range map[string]string{bare.URL: "has no " + cdConfig, noArgs.URL: "no APPEND", "": "no medium"} {
		if url != "" {
			if err := hw.InsertMedia(t.Context(), url+"/secret/cd.iso"); err != nil {
				t.Fatal(err)
			}
		} else if err := hw.EjectMedia(); err != nil {
			t.Fatal(err)
		}
		if _, err := hw.bootCD(context.Background(), m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("boot: %v, expected %q", err, want)
		}
	}
}
