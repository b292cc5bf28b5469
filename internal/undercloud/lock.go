package undercloud

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockDir takes the data folder for this process until the file is closed or
// the process ends, and writes the process id into it.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "undercloud.pid")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // our own folder
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // a file descriptor
		pid, _ := os.ReadFile(path) //nolint:gosec // our own folder
		_ = f.Close()
		return nil, fmt.Errorf("data folder %s is in use by process %s", dir, strings.TrimSpace(string(pid)))
	}
	if err := f.Truncate(0); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	return f, nil
}
