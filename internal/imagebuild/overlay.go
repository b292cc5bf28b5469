package imagebuild

import (
	"embed"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// overlayFiles are put over the root file system as they are, readable by all.
//
//go:embed all:overlay
var overlayFiles embed.FS

// agentPath is where the agent is in the installed system.
const agentPath = "usr/bin/tripleo-agent"

// overlayLinks enable our units in the image, and give the agent its other name: link, relative to the root, and its target.
func overlayLinks() map[string]string {
	const units = "/usr/lib/systemd/system/"
	return map[string]string{
		"etc/systemd/system/multi-user.target.wants/tripleo-agent.service":    units + "tripleo-agent.service",
		"etc/systemd/system/multi-user.target.wants/tripleo-ssh-keys.service": units + "tripleo-ssh-keys.service",
		"etc/systemd/system/ssh.service.requires/tripleo-ssh-keys.service":    units + "tripleo-ssh-keys.service",
		"usr/bin/os-apply-config": "/usr/bin/tripleo-agent", // which is os-apply-config under that name
		"etc/systemd/system/multi-user.target.wants/tripleo-growfs.service": units + "tripleo-growfs.service",
	}
}

// overlayHash is part of the image's key.
func overlayHash() (string, error) {
	var parts []any
	err := fs.WalkDir(overlayFiles, "overlay", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := overlayFiles.ReadFile(name)
		parts = append(parts, name, string(data))
		return err
	})
	return hashOf(append(parts, overlayLinks())...), err
}

// applyOverlay puts files, links and the agent over the tree in root. The tree may be made of hard links to a
// cached one: nothing is written in place.
func applyOverlay(root, agent string) error {
	err := fs.WalkDir(overlayFiles, "overlay", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := overlayFiles.ReadFile(name)
		if err != nil {
			return err
		}
		return replaceFile(root, strings.TrimPrefix(name, "overlay/"), data, 0o644)
	})
	if err != nil {
		return err
	}
	for name, target := range overlayLinks() {
		if err := removeIn(root, name); err != nil {
			return err
		}
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	data, err := os.ReadFile(agent)
	if err != nil {
		return err
	}
	return replaceFile(root, agentPath, data, 0o755)
}

func replaceFile(root, name string, data []byte, mode fs.FileMode) error {
	if err := removeIn(root, name); err != nil {
		return err
	}
	full := filepath.Join(root, name)
	if err := os.WriteFile(full, data, mode); err != nil {
		return err
	}
	return os.Chmod(full, mode) // whatever the umask
}

// removeIn makes the parent directories of a file below root and removes the file itself.
func removeIn(root, name string) error {
	dir := root
	for part := range strings.SplitSeq(path.Dir(name), "/") {
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { // a system directory
			return err
		}
		if err := os.Chmod(dir, 0o755); err != nil { // see above
			return err
		}
	}
	if err := os.Remove(filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// linkTree copies a tree by hard links: directories and symbolic links are made anew, files are shared.
func linkTree(from, to string) (size int64, err error) {
	type stamp struct {
		path string
		info fs.FileInfo
	}
	var dirs []stamp
	err = filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !d.IsDir() {
			if info.Mode().IsRegular() {
				size += roundUp(info.Size(), 4096)
			}
			return os.Link(name, target)
		}
		if err := os.Mkdir(target, 0o700); err != nil {
			return err
		}
		size += 4096
		dirs = append(dirs, stamp{target, info})
		return copyOwner(target, info)
	})
	for i := len(dirs) - 1; err == nil && i >= 0; i-- {
		// Last, because filling a directory changes its times.
		err = os.Chtimes(dirs[i].path, dirs[i].info.ModTime(), dirs[i].info.ModTime())
	}
	return size, err
}
