package imagebuild

import (
	"context"
	"debug/elf"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"
)

// Guest is the image of a small machine for users of the overcloud: kernel and initramfs with an SSH server and a web
// page, to see whether a cloud works. It boots with the image properties kernel_id and ramdisk_id.
const Guest = "guest"

//go:embed guest
var guestFiles embed.FS

// guestPackages bring the programs of the guest; they are unpacked, not installed.
func guestPackages() []string { return []string{"busybox-static", "dropbear-bin"} }

// guestModules are the drivers of a virtual machine's devices.
func guestModules() []string {
	const d = "kernel/drivers/"
	return []string{d + "virtio/", d + "block/virtio_blk.ko", d + "net/virtio_net.ko", d + "net/net_failover.ko", "kernel/net/packet/", "kernel/net/core/failover.ko"}
}

func (b *builder) guest(ctx context.Context, sources Sources) error {
	var parts []any
	for _, name := range []string{"guest/init", "guest/udhcpc.script"} {
		data, err := guestFiles.ReadFile(name)
		if err != nil {
			return err
		}
		parts = append(parts, string(data))
	}
	key := hashOf(builderVersion, b.o.Recipe.Suite, sources.Text(), guestPackages(), guestModules(), parts)
	if !b.o.NoSkip && b.upToDate(Guest, key, Guest+".kernel") {
		b.say("%s: up to date", Guest)
		return nil
	}
	if err := b.forget("guest-"); err != nil {
		return err
	}
	kernel, err := b.kernelDir(ctx, b.o.Recipe.Suite, sources)
	if err != nil {
		return err
	}
	tree := filepath.Join(b.o.CacheDir, "guest-"+hashOf(b.o.Recipe.Suite, sources.Text(), guestPackages()))
	err = b.cached(ctx, tree, "programs of the guest", func(tmp string) error {
		args := []string{"--mode=root", "--variant=extract", "--format=directory", "--include=" + strings.Join(guestPackages(), ","),
			`--aptopt=Apt::Install-Recommends "false"`, `--aptopt=APT::Sandbox::User "root"`}
		for _, o := range hostProxies(ctx) {
			args = append(args, "--aptopt="+o)
		}
		return b.run(ctx, sources, "mmdebstrap", append(args, b.o.Recipe.Suite, tmp, "-")...)
	})
	if err != nil {
		return err
	}
	start := b.o.Now()
	_, _, err = writeAtomically(filepath.Join(b.o.OutputDir, Guest+".kernel"), func(w io.Writer) error {
		data, err := os.ReadFile(filepath.Join(kernel, "vmlinuz"))
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err != nil {
		return err
	}
	m := Manifest{Name: Guest, File: Guest + ".initramfs", DiskFormat: "ari", ContainerFormat: "ari", HashAlgo: "sha512",
		BuildKey: key, BuiltAt: b.o.Now().UTC().Truncate(time.Second), Bootable: true}
	m.Size, m.HashValue, err = writeAtomically(filepath.Join(b.o.OutputDir, m.File), func(w io.Writer) error {
		return writeGuest(w, os.DirFS(tree), os.DirFS(kernel))
	})
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if err := writeManifest(b.o.OutputDir, m); err != nil {
		return err
	}
	b.say("%s: %d MB in %s", m.File, m.Size/1_000_000, b.o.Now().Sub(start).Round(100*time.Millisecond))
	return nil
}

// writeGuest writes the guest's initramfs, packed with zstd: busybox, dropbear and its libraries from the unpacked
// packages in tree, drivers from the kernel directory, and our init.
func writeGuest(w io.Writer, tree, kernel fs.FS) error {
	records := []cpio.Record{
		cpio.Directory("bin", 0o755), cpio.Directory("sbin", 0o755), cpio.Directory("dev", 0o755), cpio.Directory("etc", 0o755), cpio.Directory("lib", 0o755), cpio.Directory("lib64", 0o755),
		cpio.CharDev("dev/console", 0o600, 5, 1), cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.Symlink("bin/sh", "busybox"),
		cpio.StaticFile("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644), cpio.StaticFile("etc/group", "root:x:0:\n", 0o644),
		cpio.StaticFile("etc/shadow", "root:*:19000:0:99999:7:::\n", 0o600), cpio.StaticFile("etc/shells", "/bin/sh\n", 0o644),
	}
	for _, f := range []struct{ from, to string }{{"init", "init"}, {"udhcpc.script", "etc/udhcpc.script"}} {
		data, err := guestFiles.ReadFile("guest/" + f.from)
		if err != nil {
			return err
		}
		records = append(records, cpio.StaticFile(f.to, string(data), 0o755))
	}
	programs, err := guestPrograms(tree)
	if err != nil {
		return err
	}
	records = append(records, programs...)
	modules, err := guestDrivers(kernel)
	if err != nil {
		return err
	}
	return writeCpio(w, append(records, modules...))
}

// guestPrograms are busybox, dropbear and the libraries it is linked with.
func guestPrograms(tree fs.FS) ([]cpio.Record, error) {
	var out []cpio.Record
	seen := map[string]bool{}
	var add func(from, to string) error
	add = func(from, to string) error {
		if seen[to] {
			return nil
		}
		seen[to] = true
		data, err := fs.ReadFile(tree, from)
		if err != nil {
			return err
		}
		out = append(out, cpio.StaticFile(to, string(data), 0o755))
		f, err := elf.NewFile(strings.NewReader(string(data)))
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		libs, err := f.ImportedLibraries()
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		for _, lib := range libs {
			where, err := findLibrary(tree, lib)
			if err != nil {
				return fmt.Errorf("%s: %w", from, err)
			}
			to := path.Join("lib", lib)
			if strings.HasPrefix(lib, "ld-linux") {
				to = path.Join("lib64", lib) // where programs look for their loader
			}
			if err := add(where, to); err != nil {
				return err
			}
		}
		return nil
	}
	for _, p := range []struct{ from, to string }{{"bin/busybox", "bin/busybox"}, {"usr/sbin/dropbear", "sbin/dropbear"}} {
		if err := add(p.from, p.to); err != nil {
			return nil, err
		}
	}
	loader, err := findLibrary(tree, "ld-linux-x86-64.so.2")
	if err != nil {
		return nil, err
	}
	return out, add(loader, "lib64/ld-linux-x86-64.so.2")
}

// findLibrary is the file of a library in the unpacked packages.
func findLibrary(tree fs.FS, name string) (string, error) {
	for _, dir := range []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"} {
		if _, err := fs.Stat(tree, path.Join(dir, name)); err == nil {
			return path.Join(dir, name), nil
		}
	}
	return "", fmt.Errorf("library %s is in none of %s", name, strings.Join(guestPackages(), ", "))
}

// guestDrivers are the modules of a virtual machine with modprobe's list of them.
func guestDrivers(kernel fs.FS) ([]cpio.Record, error) {
	release, err := fs.ReadFile(kernel, "release")
	if err != nil {
		return nil, err
	}
	all, err := moduleRecords(kernel, strings.TrimSpace(string(release)))
	if err != nil {
		return nil, err
	}
	base := path.Join("lib/modules", strings.TrimSpace(string(release)))
	wanted := guestModules()
	return slices.DeleteFunc(all, func(r cpio.Record) bool {
		name := strings.TrimPrefix(strings.TrimPrefix(r.Name, base), "/")
		if !strings.HasSuffix(name, ".ko") {
			return r.Name == "lib" // there already
		}
		return !slices.ContainsFunc(wanted, func(w string) bool { return strings.HasPrefix(name, w) })
	}), nil
}

// writeCpio writes the records as one archive, packed with zstd: the same records give the same bytes.
func writeCpio(w io.Writer, records []cpio.Record) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(8*mib))
	if err != nil {
		return err
	}
	archive := cpio.NewDedupWriter(cpio.Newc.Writer(z))
	for i := range records {
		records[i] = cpio.MakeReproducible(records[i])
		records[i].Ino = uint64(i + 1)
	}
	if err := cpio.WriteRecords(archive, records); err != nil {
		return errors.Join(err, z.Close())
	}
	if err := cpio.WriteTrailer(archive); err != nil {
		return errors.Join(err, z.Close())
	}
	return z.Close()
}
