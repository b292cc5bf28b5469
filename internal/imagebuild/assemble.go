package imagebuild

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Manifest describes a built file; it lies beside it as JSON. Sizes in bytes.
type Manifest struct {
	Name            string    `json:"name"`
	File            string    `json:"file"`
	DiskFormat      string    `json:"disk_format"`
	ContainerFormat string    `json:"container_format"`
	Size            int64     `json:"size"`
	VirtualSize     int64     `json:"virtual_size,omitempty"`
	HashAlgo        string    `json:"os_hash_algo"`
	HashValue       string    `json:"os_hash_value"`
	BuildKey        string    `json:"build_key"`
	BuiltAt         time.Time `json:"built_at"`
	Bootable        bool      `json:"bootable"`
	Packages        []Package `json:"packages,omitempty"`
}

// Package is an installed Debian package.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// assemble makes the image NAME.raw.zst of a recipe and its manifest of a cached root file system and the agent.
func (b *builder) assemble(ctx context.Context, rootfs, key string, r Recipe) error {
	start := b.o.Now()
	tree := filepath.Join(b.o.CacheDir, "tmp-tree")
	raw := filepath.Join(b.o.CacheDir, "tmp-"+r.Name+".raw")
	defer func() { // what is left over is removed at the next start at the latest
		_ = removeTree(tree)
		_ = os.Remove(raw)
	}()
	if err := removeTree(tree); err != nil {
		return err
	}
	content, err := linkTree(rootfs, tree)
	if err != nil {
		return fmt.Errorf("copy the root file system: %w", err)
	}
	if err := applyOverlay(tree, b.o.Agent); err != nil {
		return fmt.Errorf("add the agent: %w", err)
	}
	packages, err := installed(tree)
	if err != nil {
		return err
	}
	l := newLayout(content, r.Bootable)
	b.say("making a disk of %d MiB with %d MiB of files", l.Total/mib, content/mib)
	if err := b.makeDisk(ctx, raw, tree, l, r); err != nil {
		return err
	}
	b.say("compressing")
	m := Manifest{Name: r.Name, File: r.Name + ".raw.zst", DiskFormat: "raw", ContainerFormat: "compressed",
		VirtualSize: l.Total, HashAlgo: "sha512", BuildKey: key, BuiltAt: b.o.Now().UTC().Truncate(time.Second),
		Bootable: r.Bootable, Packages: packages}
	if m.Size, m.HashValue, err = compressFile(ctx, raw, filepath.Join(b.o.OutputDir, m.File)); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if err := writeManifest(b.o.OutputDir, m); err != nil {
		return err
	}
	b.say("%s: %d MiB (%d MiB unpacked) in %s", m.File, m.Size/mib, m.VirtualSize/mib, b.o.Now().Sub(start).Round(100*time.Millisecond))
	return nil
}

func (b *builder) makeDisk(ctx context.Context, raw, tree string, l layout, r Recipe) (err error) {
	f, err := os.OpenFile(raw, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(l.Total); err != nil {
		return err
	}
	if err := l.writeTable(f); err != nil {
		return err
	}
	boot := map[string][]byte{}
	if r.Bootable {
		if boot, err = bootFiles(tree); err != nil {
			return err
		}
	}
	if err := l.writeESP(f, boot); err != nil {
		return err
	}
	if r.Bootable {
		if err := b.bootBIOS(ctx, f, l); err != nil {
			return err
		}
	}
	return b.run(ctx, nil, "mke2fs", "-q", "-F", "-t", "ext4", "-L", RootLabel, "-m", "1", "-d", tree,
		"-E", "offset="+strconv.FormatInt(l.RootStart, 10)+",lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0",
		raw, strconv.FormatInt(l.RootSize/1024, 10)+"k")
}

// gptLoader is the boot code for the first sector of a disk with GPT (package syslinux-common): it starts the
// partition that is marked as bootable by a BIOS.
const gptLoader = "/usr/lib/syslinux/mbr/gptmbr.bin"

// maxBootCode is the room for boot code in a master boot record, in bytes (before the disk's signature).
const maxBootCode = 440

// bootBIOS makes the image start on machines with a BIOS: code in the first sector starts syslinux on the EFI system
// partition, which finds the same kernel there as systemd-boot does.
func (b *builder) bootBIOS(ctx context.Context, f *os.File, l layout) error {
	if err := b.run(ctx, nil, "syslinux", "--install", "--offset", strconv.FormatInt(l.ESPStart, 10), f.Name()); err != nil {
		return err
	}
	code, err := os.ReadFile(gptLoader)
	if err != nil {
		return fmt.Errorf("boot code: %w (apt-get install syslinux-common)", err)
	}
	if len(code) > maxBootCode {
		return fmt.Errorf("boot code %s has %d bytes, more than the %d there is room for", gptLoader, len(code), maxBootCode)
	}
	if _, err := f.WriteAt(code, 0); err != nil {
		return fmt.Errorf("boot code: %w", err)
	}
	return nil
}

// kernelArgs are those of the installed system; the serial line is the console that a BMC shows.
const kernelArgs = "root=LABEL=" + RootLabel + " rw console=tty0 console=ttyS0,115200n8"

// bootFiles is the content of the EFI system partition: systemd-boot where firmware looks by itself, the newest
// kernel and its initrd, and what syslinux is to do.
func bootFiles(tree string) (map[string][]byte, error) {
	kernels, err := filepath.Glob(filepath.Join(tree, "boot/vmlinuz-*"))
	if err != nil || len(kernels) == 0 {
		return nil, fmt.Errorf("the root file system has no kernel (%w)", errors.Join(err, fs.ErrNotExist))
	}
	slices.Sort(kernels)
	kernel := kernels[len(kernels)-1]
	version := strings.TrimPrefix(filepath.Base(kernel), "vmlinuz-")
	files := map[string][]byte{
		"/loader/loader.conf": []byte("timeout 1\n"),
		"/loader/entries/tripleo.conf": []byte("title TripleO overcloud node\nlinux /vmlinuz\ninitrd /initrd.img\n" +
			"options " + kernelArgs + "\n"),
		"/syslinux.cfg": []byte("DEFAULT tripleo\nPROMPT 0\nLABEL tripleo\n  LINUX /vmlinuz\n  INITRD /initrd.img\n  APPEND " + kernelArgs + "\n"),
	}
	for to, from := range map[string]string{
		"/EFI/BOOT/BOOTX64.EFI": "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
		"/vmlinuz":              "boot/vmlinuz-" + version,
		"/initrd.img":           "boot/initrd.img-" + version,
	} {
		data, err := os.ReadFile(filepath.Join(tree, from))
		if err != nil {
			return nil, fmt.Errorf("boot files: %w", err)
		}
		files[to] = data
	}
	return files, nil
}

// compressFile packs a file with zstd, fast rather than small (the link to the nodes is seldom the bottleneck),
// and returns size and SHA-512 of the result.
func compressFile(ctx context.Context, from, to string) (size int64, digest string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, "", err
	}
	defer in.Close()
	return writeAtomically(to, func(w io.Writer) error {
		z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20), zstd.WithEncoderCRC(true))
		if err != nil {
			return err
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{z}, &contextReader{ctx, in}, make([]byte, 4*mib)); err != nil {
			return errors.Join(err, z.Close())
		}
		return z.Close()
	})
}

// writeAtomically writes a file beside its final place and renames it when it is complete. It returns size and
// SHA-512.
func writeAtomically(to string, write func(io.Writer) error) (size int64, digest string, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(to), ".tmp-"+filepath.Base(to)+"-*")
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	h := sha512.New()
	if err := write(io.MultiWriter(tmp, h)); err != nil {
		return 0, "", errors.Join(err, tmp.Close())
	}
	info, err := tmp.Stat()
	if err != nil {
		return 0, "", errors.Join(err, tmp.Close())
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return 0, "", err
	}
	return info.Size(), hex.EncodeToString(h.Sum(nil)), os.Rename(tmp.Name(), to)
}

type contextReader struct {
	ctx context.Context // io.Reader has no other way to be cancelled
	r   io.Reader
}

// Read implements io.Reader.
func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// installed reads dpkg's status file below root.
func installed(root string) ([]Package, error) {
	data, err := os.ReadFile(filepath.Join(root, "var/lib/dpkg/status"))
	if err != nil {
		return nil, fmt.Errorf("installed packages: %w", err)
	}
	var out []Package
	for block := range strings.SplitSeq(string(data), "\n\n") {
		var p Package
		ok := false
		for line := range strings.Lines(block) {
			key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
			switch key {
			case "Package":
				p.Name = value
			case "Version":
				p.Version = value
			case "Status":
				ok = strings.HasSuffix(value, " installed")
			}
		}
		if ok {
			out = append(out, p)
		}
	}
	return out, nil
}

func manifestPath(dir, name string) string { return filepath.Join(dir, name+".json") }

func writeManifest(dir string, m Manifest) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	_, _, err = writeAtomically(manifestPath(dir, m.Name), func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
	return err
}

// ReadManifest reads the manifest of an image in an output directory.
func ReadManifest(dir, name string) (Manifest, error) {
	var m Manifest
	data, err := os.ReadFile(manifestPath(dir, name))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s: %w", manifestPath(dir, name), err)
	}
	return m, nil
}

// upToDate reports whether the files of a manifest are there and made from the same things.
func (b *builder) upToDate(name, key string, files ...string) bool {
	m, err := ReadManifest(b.o.OutputDir, name)
	if err != nil || m.BuildKey != key {
		return false
	}
	if info, err := os.Stat(filepath.Join(b.o.OutputDir, m.File)); err != nil || info.Size() != m.Size {
		return false
	}
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(b.o.OutputDir, f)); err != nil {
			return false
		}
	}
	return true
}
