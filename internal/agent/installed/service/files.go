package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
	"github.com/tripleo/tripleo/internal/agent/installed/ini"
)

func (r *run) directories(context.Context) error {
	for _, d := range r.service.Directories {
		begin := r.Host.Now()
		mode := fs.FileMode(d.Mode)
		if mode == 0 {
			mode = 0o755
		}
		changed, err := r.Host.PutDir(d.Path, mode, d.Owner, d.Group)
		if err != nil {
			return r.fail("directory", d.Path, err)
		}
		r.report("directory", d.Path, changed, "", begin)
	}
	return nil
}

// files writes what differs. Before the first byte of a change the memory of every unit that depends on the file is
// dropped, so that the unit is restarted even when this run ends right after the write.
func (r *run) files(context.Context) error {
	list := r.service.Files
	for _, set := range r.service.FileSets {
		more, err := r.fileSet(set)
		if err != nil {
			return err
		}
		list = append(list, more...)
	}
	for _, f := range list {
		begin := r.Host.Now()
		if bool(f.Absent) {
			if err := r.removeFile(f); err != nil {
				return err
			}
			continue
		}
		data, err := r.data(f)
		if err != nil {
			return r.fail("file", f.Path, err)
		}
		spec := host.FileSpec{Path: f.Path, Data: data, Mode: f.mode(), Owner: f.Owner, Group: f.Group}
		if r.Host.Differs(spec) {
			if err := r.forgetUnits(f.Path); err != nil {
				return r.fail("file", f.Path, err)
			}
			r.changed[f.Path] = true
			r.reload = r.reload || isUnitFile(f.Path)
		}
		changed, err := r.Host.Put(spec)
		if err != nil {
			return r.fail("file", f.Path, err)
		}
		r.report("file", f.Path, changed, "", begin)
	}
	return nil
}

// fileSet is the set as single files, those to be purged included.
func (r *run) fileSet(set FileSet) ([]File, error) {
	var out []File
	for _, p := range slices.Sorted(maps.Keys(set.Files)) {
		f := File{Path: p, Owner: set.Owner, Group: set.Group, Mode: set.Mode, verbatim: true}
		if f.Mode == 0 {
			f.Mode = 0o600
		}
		text := set.Files[p].Content
		f.Content = &text
		out = append(out, f)
	}
	if set.Purge == "" || len(set.Files) == 0 {
		return out, nil
	}
	entries, err := os.ReadDir(r.Host.Path(set.Purge))
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, r.fail("file", set.Purge, err)
	}
	for _, e := range entries {
		p := path.Join(set.Purge, e.Name())
		if _, wanted := set.Files[p]; !wanted && e.Type().IsRegular() {
			out = append(out, File{Path: p, Absent: true})
		}
	}
	return out, nil
}

func (r *run) removeFile(f File) error {
	begin := r.Host.Now()
	if !r.Host.Exists(f.Path) {
		return nil
	}
	if err := r.forgetUnits(f.Path); err != nil {
		return r.fail("file", f.Path, err)
	}
	if err := os.Remove(r.Host.Path(f.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r.fail("file", f.Path, err)
	}
	r.changed[f.Path] = true
	r.reload = r.reload || isUnitFile(f.Path)
	r.report("file", f.Path, true, "removed", begin)
	return nil
}

// isUnitFile tells whether systemd has to read its configuration again when the file changes.
func isUnitFile(p string) bool {
	for _, dir := range []string{"/etc/systemd/system/", "/lib/systemd/system/", "/usr/lib/systemd/system/", "/run/systemd/system/"} {
		if strings.HasPrefix(p, dir) {
			return true
		}
	}
	return false
}

// maxCopy bounds a file that is copied: these are keys and certificates.
const maxCopy = 1 << 20

// data is what the file has to hold.
func (r *run) data(f File) ([]byte, error) {
	if f.Copy == "" {
		return f.data()
	}
	data, err := r.Host.ReadFile(f.Copy)
	if err == nil && len(data) > maxCopy {
		err = fmt.Errorf("%s has %d bytes, at most %d are copied", f.Copy, len(data), maxCopy)
	}
	return data, err
}

// data is what the file has to hold, unless it is a copy.
func (f File) data() ([]byte, error) {
	switch {
	case f.Content != nil:
		text := *f.Content
		if text != "" && !f.verbatim && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return []byte(text), nil
	case f.INI != nil:
		return ini.Write(f.INI)
	case bool(f.Absent):
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(f.JSON))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("json: %w", err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

func (f File) mode() fs.FileMode {
	switch {
	case f.Mode != 0:
		return fs.FileMode(f.Mode)
	case bool(f.Secret) && f.Group != "":
		return 0o640
	case bool(f.Secret):
		return 0o600
	default:
		return 0o644
	}
}
