// Package host is the machine as the installed agent sees it: a tree of files below a root, commands that can be run, and
// the accounts in /etc/passwd. Everything the agent changes on a node goes through it, so a test gives a temporary folder
// as the root and records the commands.
package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Host is one machine. The zero value is not usable; use New.
type Host struct {
	root string
	Run  Runner
	Now  func() time.Time
}

// New returns the machine whose files are below root ("/" on a real node).
func New(root string, run Runner) *Host {
	return &Host{root: filepath.Clean(root), Run: run, Now: time.Now}
}

// Path is where the absolute path p of the machine is found by this process. Symbolic links of the machine are followed
// by the kernel, which is right for root "/".
func (h *Host) Path(p string) string { return filepath.Join(h.root, filepath.Clean("/"+p)) }

// Real tells whether the machine is the one this process runs on.
func (h *Host) Real() bool { return h.root == "/" }

// ReadFile reads a file of the machine.
func (h *Host) ReadFile(p string) ([]byte, error) { return os.ReadFile(h.Path(p)) }

// Exists tells whether the path is there.
func (h *Host) Exists(p string) bool {
	_, err := os.Lstat(h.Path(p))
	return err == nil
}

// FileSpec says how a file has to be.
type FileSpec struct {
	Path  string
	Data  []byte
	Mode  fs.FileMode // permission bits
	Owner string      // user name or uid; "" leaves root
	Group string      // group name or gid; "" leaves the owner's or root
}

// Put makes the file so and tells whether anything had to change. It writes a sibling and renames it, so that a reader
// and a crash see the old file or the new one, never a part.
func (h *Host) Put(f FileSpec) (changed bool, err error) {
	uid, gid, err := h.ids(f.Owner, f.Group)
	if err != nil {
		return false, fmt.Errorf("file %s: %w", f.Path, err)
	}
	path := h.Path(f.Path)
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return false, fmt.Errorf("file %s: a directory is in its place", f.Path)
	case err == nil:
		old, err := os.ReadFile(path)
		if err != nil {
			return false, err
		}
		if bytes.Equal(old, f.Data) {
			return h.fixOwner(path, info, f.Mode, uid, gid)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	return true, replace(path, f.Data, f.Mode, uid, gid)
}

// Differs tells whether Put would change the content of the file.
func (h *Host) Differs(f FileSpec) bool {
	old, err := h.ReadFile(f.Path)
	return err != nil || !bytes.Equal(old, f.Data)
}

// PutDir makes the directory (and its parents, 0755) exist with that mode and owner.
func (h *Host) PutDir(p string, mode fs.FileMode, owner, group string) (changed bool, err error) {
	uid, gid, err := h.ids(owner, group)
	if err != nil {
		return false, fmt.Errorf("directory %s: %w", p, err)
	}
	path := h.Path(p)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return false, err
		}
		changed = true
	}
	info, err := os.Stat(path)
	if err != nil {
		return changed, err
	}
	if !info.IsDir() {
		return changed, fmt.Errorf("directory %s: a file is in its place", p)
	}
	fixed, err := h.fixOwner(path, info, mode, uid, gid)
	return changed || fixed, err
}

// PutState writes a file of the agent itself: 0600, parents 0700.
func (h *Host) PutState(p string, data []byte) error {
	path := h.Path(p)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return replace(path, data, 0o600, -1, -1)
}

func (h *Host) fixOwner(path string, info fs.FileInfo, mode fs.FileMode, uid, gid int) (bool, error) {
	changed := false
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		wrongUser := uid >= 0 && int(st.Uid) != uid
		wrongGroup := gid >= 0 && int(st.Gid) != gid
		if wrongUser || wrongGroup {
			if err := os.Chown(path, uid, gid); err != nil {
				return false, err
			}
			changed = true
		}
	}
	if mode != 0 && info.Mode().Perm() != mode.Perm() {
		if err := os.Chmod(path, mode.Perm()); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

func replace(path string, data []byte, mode fs.FileMode, uid, gid int) (err error) {
	if mode == 0 {
		mode = 0o644
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	if uid >= 0 || gid >= 0 {
		if err = tmp.Chown(uid, gid); err != nil {
			return err
		}
	}
	if err = tmp.Chmod(mode.Perm()); err != nil {
		return err
	}
	if _, err = tmp.Write(data); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// ids turns names into numbers; -1 leaves a number as it is.
func (h *Host) ids(owner, group string) (uid, gid int, err error) {
	uid, gid = -1, -1
	if owner != "" {
		a, err := h.Account(owner)
		if err != nil {
			return 0, 0, err
		}
		uid, gid = a.UID, a.GID
	}
	if group != "" {
		if gid, err = h.GroupID(group); err != nil {
			return 0, 0, err
		}
	}
	return uid, gid, nil
}

// Account is a line of /etc/passwd with the groups the user is in.
type Account struct {
	Name, Home, Shell string
	UID, GID          int
	Groups            []uint32
}

// ErrNoAccount is wrapped by Account and GroupID when the machine does not know the name.
var ErrNoAccount = errors.New("no such account")

// Account looks a user up by name or number.
func (h *Host) Account(name string) (Account, error) {
	data, err := h.ReadFile("/etc/passwd")
	if err != nil {
		return Account{}, err
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 7 || (f[0] != name && f[2] != name) {
			continue
		}
		uid, err1 := strconv.Atoi(f[2])
		gid, err2 := strconv.Atoi(f[3])
		if err := errors.Join(err1, err2); err != nil {
			return Account{}, fmt.Errorf("/etc/passwd, user %s: %w", f[0], err)
		}
		a := Account{Name: f[0], UID: uid, GID: gid, Home: f[5], Shell: f[6]}
		a.Groups, err = h.groupsOf(a.Name)
		return a, err
	}
	return Account{}, fmt.Errorf("user %q: %w", name, ErrNoAccount)
}

// GroupID looks a group up by name or number.
func (h *Host) GroupID(name string) (int, error) {
	data, err := h.ReadFile("/etc/group")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) >= 3 && (f[0] == name || f[2] == name) {
			return strconv.Atoi(f[2])
		}
	}
	return 0, fmt.Errorf("group %q: %w", name, ErrNoAccount)
}

func (h *Host) groupsOf(user string) ([]uint32, error) {
	data, err := h.ReadFile("/etc/group")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []uint32
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 {
			continue
		}
		for member := range strings.SplitSeq(f[3], ",") {
			if member != user {
				continue
			}
			gid, err := strconv.ParseUint(f[2], 10, 32)
			if err != nil {
				return nil, fmt.Errorf("/etc/group, group %s: %w", f[0], err)
			}
			out = append(out, uint32(gid))
		}
	}
	return out, nil
}
