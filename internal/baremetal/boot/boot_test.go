package boot_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pin/tftp/v3"

	"github.com/tripleo/tripleo/internal/baremetal/boot"
)

func TestTFTP(t *testing.T) {
	loader := bytes.Repeat([]byte("undionly"), 40_000)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &boot.TFTP{FS: fstest.MapFS{"undionly.kpxe": {Data: loader}, "dir/x": {Data: []byte("x")}}, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn) }()
	c, err := tftp.NewClient(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.SetBlockSize(1428)
	for _, f := range []struct {
		name, reason string
		ok           bool
	}{
		{"undionly.kpxe", "as DHCP names it", true},
		{"/undionly.kpxe", "firmware adds a slash", true},
		{`\undionly.kpxe`, "some firmware adds a backslash", true},
		{"../../../../etc/passwd", "nothing outside of the folder", false},
		{"missing", "an error, not a hang", false},
		{"dir", "a folder is no file", false},
	} {
		wt, err := c.Receive(f.name, "octet")
		if !f.ok {
			if err == nil {
				t.Errorf("%s: received (%s)", f.name, f.reason)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v (%s)", f.name, err, f.reason)
		}
		var got bytes.Buffer
		if _, err := wt.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), loader) {
			t.Errorf("%s: %d bytes of %d, %v (%s)", f.name, got.Len(), len(loader), err, f.reason)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve after cancel: %v", err)
	}
}

// TestTFTPEndsWithItsSocket: the provisioning network may be taken away; the
// server must end, not spin.
func TestTFTPEndsWithItsSocket(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &boot.TFTP{FS: fstest.MapFS{}, Log: slog.New(slog.DiscardHandler)}
	done := make(chan error, 1)
	go func() { done <- s.Serve(t.Context(), conn) }()
	_ = conn.Close()
	select {
	case err := <-done:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want net.ErrClosed", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the server goes on without a socket")
	}
}

func TestScript(t *testing.T) {
	got := boot.Script(boot.Ramdisk{Kernel: "http://h/k", Initrd: "http://h/r", Args: boot.KernelArgs{
		APIURL: "http://h/baremetal", InspectionURL: "http://h/c", Collectors: "default,logs", MAC: "52:54:00:24:00:01", Append: "ipa-debug=1"}.List()})
	want := `#!ipxe
:deploy
imgfree
kernel http://h/k initrd=ramdisk ipa-api-url=http://h/baremetal ipa-inspection-callback-url=http://h/c ipa-inspection-collectors=default,logs ipa-collect-lldp=1 BOOTIF=01-52-54-00-24-00-01 ipa-debug=1 || goto retry
initrd --name ramdisk http://h/r || goto retry
boot || goto retry
:retry
echo Booting the ramdisk failed, next attempt in 10 seconds.
sleep 10
goto deploy
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if args := (boot.KernelArgs{APIURL: "u"}).List(); strings.Contains(strings.Join(args, " "), "inspection") {
		t.Errorf("a deployment's ramdisk would inspect: %v", args)
	}
}

func TestCache(t *testing.T) {
	body := []byte("kernel")
	sum := md5.Sum(body)
	c := &boot.Cache{Dir: filepath.Join(t.TempDir(), "cache"), Keep: time.Hour}
	var opened atomic.Int32
	gate := make(chan struct{})
	open := func(context.Context) (io.ReadCloser, error) {
		opened.Add(1)
		<-gate
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			path, err := c.Get(t.Context(), "id1", boot.Sum{Algo: "md5", Hex: hex.EncodeToString(sum[:])}, open)
			if err != nil {
				t.Error(err)
				return
			}
			if b, _ := os.ReadFile(path); !bytes.Equal(b, body) {
				t.Errorf("cached %q", b)
			}
		})
	}
	close(gate)
	wg.Wait()
	if n := opened.Load(); n != 1 {
		t.Errorf("20 machines at once caused %d downloads, want 1", n)
	}
	before := opened.Load()
	if _, err := c.Get(t.Context(), "id1", boot.Sum{}, open); err != nil || opened.Load() != before {
		t.Errorf("a cached file was fetched again: %v", err)
	}
	if _, err := c.Get(t.Context(), "id2", boot.Sum{Algo: "md5", Hex: "00"}, open); err == nil {
		t.Error("a wrong checksum was accepted")
	}
	if _, err := c.Get(t.Context(), "../id3", boot.Sum{}, open); err == nil {
		t.Error("an id that leads out of the folder was accepted")
	}
	if err := c.Prune(time.Now().Add(2 * time.Hour)); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(c.Dir); len(left) != 0 {
		t.Errorf("%d files left after Prune", len(left))
	}
}
