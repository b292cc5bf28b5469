// Package kmod loads the kernel modules that the machine's devices ask for: every device's modalias is matched
// with modules.alias, and what matches is loaded after what it needs (modules.dep). Files: kmod's
// libkmod documentation and depmod(8). Modules are plain ELF or compressed by gzip, xz or zstd; only plain ones
// are put into our ramdisk.
package kmod

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Index is what depmod wrote about a kernel's modules.
type Index struct {
	aliases []alias
	deps    map[string][]string // file -> files it needs, nearest first
	files   map[string]string   // module name -> file
}

type alias struct{ pattern, module string }

// Parse reads modules.dep and modules.alias from the root of a kernel's module directory.
func Parse(fsys fs.FS) (*Index, error) {
	x := &Index{deps: map[string][]string{}, files: map[string]string{}}
	dep, err := fs.ReadFile(fsys, "modules.dep")
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(dep) {
		file, needs, ok := strings.Cut(strings.TrimSpace(string(line)), ":")
		if !ok {
			continue
		}
		x.deps[file] = strings.Fields(needs)
		x.files[Name(file)] = file
	}
	text, err := fs.ReadFile(fsys, "modules.alias")
	if err != nil {
		return nil, err
	}
	scan := bufio.NewScanner(bytes.NewReader(text))
	for scan.Scan() {
		if f := strings.Fields(scan.Text()); len(f) == 3 && f[0] == "alias" {
			x.aliases = append(x.aliases, alias{f[1], f[2]})
		}
	}
	return x, scan.Err()
}

// Name is the module name of a file: without directory and endings, '-' as '_'.
func Name(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// Match returns the modules for a device's modalias, each once, in the order of modules.alias.
func (x *Index) Match(modalias string) []string {
	var out []string
	for _, a := range x.aliases {
		if ok, err := path.Match(a.pattern, modalias); err == nil && ok && !slices.Contains(out, a.module) {
			out = append(out, a.module)
		}
	}
	return out
}

// Order returns the files to load for a module, what is needed first; nil if the module is built in or absent.
func (x *Index) Order(module string) []string {
	file, ok := x.files[strings.ReplaceAll(module, "-", "_")]
	if !ok {
		return nil
	}
	order := append([]string{file}, x.deps[file]...)
	slices.Reverse(order)
	return order
}

// Select returns the files of every module for which keep holds, together with all they need, sorted. It is
// what the image build packs.
func (x *Index) Select(keep func(file string) bool) []string {
	want := map[string]bool{}
	for file, needs := range x.deps {
		if !keep(file) {
			continue
		}
		want[file] = true
		for _, n := range needs {
			want[n] = true
		}
	}
	out := make([]string, 0, len(want))
	for file := range want {
		out = append(out, file)
	}
	slices.Sort(out)
	return out
}

// Loader loads modules into the running kernel.
type Loader struct {
	Index *Index
	// Insert loads one file, given relative to the module directory. An error that is fs.ErrExist means that it
	// is loaded already.
	Insert func(file string) error
	done   map[string]bool
}

// Load loads a module and what it needs.
func (l *Loader) Load(module string) error {
	if l.done == nil {
		l.done = map[string]bool{}
	}
	for _, file := range l.Index.Order(module) {
		if l.done[file] {
			continue
		}
		l.done[file] = true
		if err := l.Insert(file); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("load %s: %w", file, err)
		}
	}
	return nil
}

// maxDepth bounds how deep the device tree is walked.
const maxDepth = 24

// Coldplug loads modules for every device below devices/ of sysfs and repeats that until nothing new appears,
// because a controller's module brings up the devices behind it. It returns the loaded files and the errors of
// modules that could not be loaded; those do not stop the others.
func (l *Loader) Coldplug(sys fs.FS) (loaded []string, failed []error) {
	seen := map[string]bool{}
	for {
		fresh := false
		for _, modalias := range modaliases(sys) {
			if seen[modalias] {
				continue
			}
			seen[modalias], fresh = true, true
			for _, module := range l.Index.Match(modalias) {
				if err := l.Load(module); err != nil {
					failed = append(failed, fmt.Errorf("for %s: %w", modalias, err))
				}
			}
		}
		if !fresh {
			break
		}
	}
	for file := range l.done {
		loaded = append(loaded, file)
	}
	slices.Sort(loaded)
	return loaded, failed
}

func modaliases(sys fs.FS) []string {
	var out []string
	// WalkDir does not follow links, which in sysfs only lead to places that are walked anyway.
	_ = fs.WalkDir(sys, "devices", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fs.SkipDir // devices come and go
		case d.IsDir() && strings.Count(name, "/") > maxDepth:
			return fs.SkipDir
		case d.Name() == "modalias":
			if b, err := fs.ReadFile(sys, name); err == nil {
				out = append(out, strings.TrimSpace(string(b)))
			}
		}
		return nil
	})
	return out
}
