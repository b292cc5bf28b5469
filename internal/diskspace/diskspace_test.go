package diskspace

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRoom(t *testing.T) {
	dir := t.TempDir()
	if got := Room(filepath.Join(dir, "absent")); got != math.MaxInt64 {
		t.Errorf("a folder that is not there has room for %d bytes, expected no bound", got)
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED ON A SMALL DISK: mounting a tmpfs needs root")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("SKIPPED, NOT TESTED ON A SMALL DISK: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if got := Room(dir); got != 7<<20 {
		t.Errorf("an empty disk of 8 MiB has room for %d bytes, expected 7 MiB", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, 15<<19), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Room(dir); got != -1<<19 {
		t.Errorf("with 7.5 MiB written there is room for %d bytes, expected half a MiB less than none", got)
	}
}
