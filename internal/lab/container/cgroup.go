package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	// stopWait is how long a killed machine may take to be gone.
	stopWait = 20 * time.Second
	stopPoll = 5 * time.Millisecond
)

// hierarchies lists the cgroup hierarchies a machine is put in: systemd's own
// (its processes are found there) and, on version 1, devices (they are kept
// from the host's disks).
func hierarchies() []string {
	var found []string
	for _, h := range []string{"systemd", "unified", "devices", "."} {
		dir := filepath.Join(cgroupRoot, h)
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			found = append(found, dir)
		}
	}
	return found
}

// hybrid reports whether systemd's processes live in a version 1 hierarchy.
func hybrid() bool {
	_, err := os.Stat(filepath.Join(cgroupRoot, "systemd", "cgroup.procs"))
	return err == nil
}

// cgroup is a machine's group, by its path below each hierarchy, e.g. "tripleo-lab/node0".
type cgroup string

func (c cgroup) dirs() []string {
	var dirs []string
	for _, h := range hierarchies() {
		dirs = append(dirs, filepath.Join(h, string(c)))
	}
	return dirs
}

// create makes the group; block devices other than the given ones (major:minor) are refused.
func (c cgroup) create(blocks ...string) error {
	for _, dir := range c.dirs() {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cgroup %s: %w", c, err)
		}
		if strings.HasPrefix(dir, filepath.Join(cgroupRoot, "devices")+"/") {
			if err := restrictDevices(dir, blocks); err != nil {
				return fmt.Errorf("cgroup %s: %w", c, err)
			}
		}
	}
	return nil
}

// restrictDevices allows what every machine has (null, zero, full, random,
// urandom, tty, console, ptmx, pseudo-terminals, tun, fuse), nodes to be made,
// and the machine's own disks.
func restrictDevices(dir string, blocks []string) error {
	if err := os.WriteFile(filepath.Join(dir, "devices.deny"), []byte("a"), 0); err != nil {
		return err
	}
	allow := []string{"c *:* m", "b *:* m"}
	for _, c := range []string{"1:3", "1:5", "1:7", "1:8", "1:9", "1:11", "5:0", "5:1", "5:2", "136:*", "10:200", "10:229"} {
		allow = append(allow, "c "+c+" rwm")
	}
	for _, b := range blocks {
		allow = append(allow, "b "+b+" rwm")
	}
	for _, rule := range allow {
		if err := os.WriteFile(filepath.Join(dir, "devices.allow"), []byte(rule), 0); err != nil {
			return fmt.Errorf("allow %q: %w", rule, err)
		}
	}
	return nil
}

// join moves the calling process into the group.
func (c cgroup) join() error {
	for _, dir := range c.dirs() {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return fmt.Errorf("join cgroup %s: %w", dir, err)
		}
	}
	return nil
}

// kill ends every process of the group and its children groups, and removes them.
func (c cgroup) kill(ctx context.Context) error {
	if !filepath.IsLocal(string(c)) || c == "." {
		return fmt.Errorf("cgroup %q is not below the root", c) // never the host's own processes
	}
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	tick := time.NewTicker(stopPoll)
	defer tick.Stop()
	for {
		left := c.signal(unix.SIGKILL)
		if left == 0 {
			return c.remove()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cgroup %s: %d processes survive SIGKILL", c, left)
		case <-tick.C:
		}
	}
}

// signal sends sig to all processes and returns how many there were.
func (c cgroup) signal(sig unix.Signal) int {
	pids := map[int]bool{}
	for _, top := range c.dirs() {
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() != "cgroup.procs" {
				return nil //nolint:nilerr // a group that vanished holds nobody
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return nil //nolint:nilerr // likewise
			}
			for _, f := range strings.Fields(string(b)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
					pids[pid] = true
				}
			}
			return nil
		})
	}
	for pid := range pids {
		_ = unix.Kill(pid, sig)
	}
	return len(pids)
}

// remove deletes the empty groups, children first.
func (c cgroup) remove() error {
	for _, top := range c.dirs() {
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			if err := unix.Rmdir(dirs[i]); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("remove cgroup %s: %w", dirs[i], err)
			}
		}
	}
	return nil
}

// RemoveCgroup ends whatever still runs in the group name and below it, and removes it.
func RemoveCgroup(ctx context.Context, name string) error { return cgroup(name).kill(ctx) }
