package imagebuild

import (
	"context"
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

	"github.com/u-root/u-root/pkg/cpio"

	"github.com/tripleo/tripleo/internal/agent/ramdisk/kmod"
)

// MaxRamdisk is the largest initramfs that is accepted, in bytes: 60 MB.
const MaxRamdisk = 60_000_000

// ramdiskModules are the drivers a deployment ramdisk needs: whatever a disk or the network may hang on.
// Directories end with a slash. Infiniband, wireless and consumer hardware stay out.
func ramdiskModules() []string {
	const d = "kernel/drivers/"
	return []string{
		d + "virtio/", d + "block/virtio_blk.ko", d + "net/virtio_net.ko", d + "scsi/virtio_scsi.ko", d + "net/net_failover.ko",
		d + "net/vmxnet3/", d + "scsi/vmw_pvscsi.ko", d + "net/hyperv/", d + "scsi/hv_storvsc.ko", d + "hv/hv_vmbus.ko",
		d + "net/ethernet/intel/e1000/", d + "net/ethernet/intel/e1000e/", d + "net/ethernet/intel/igb/", d + "net/ethernet/intel/igc/",
		d + "net/ethernet/intel/ixgbe/", d + "net/ethernet/intel/i40e/", d + "net/ethernet/intel/ice/", d + "net/ethernet/intel/iavf/",
		d + "net/ethernet/broadcom/bnxt/", d + "net/ethernet/broadcom/bnx2.ko", d + "net/ethernet/broadcom/bnx2x/", d + "net/ethernet/broadcom/tg3.ko",
		d + "net/ethernet/mellanox/mlx4/", d + "net/ethernet/mellanox/mlx5/", d + "net/ethernet/realtek/r8169.ko", d + "net/ethernet/realtek/8139",
		d + "net/ethernet/qlogic/qede/", d + "net/ethernet/chelsio/cxgb4/", d + "net/ethernet/emulex/", d + "net/ethernet/amd/xgbe/",
		d + "net/ethernet/amazon/", d + "net/ethernet/cisco/", d + "net/phy/",
		d + "ata/", d + "nvme/host/nvme.ko", d + "nvme/host/nvme-core.ko", d + "scsi/sd_mod.ko", d + "scsi/scsi_mod.ko", d + "scsi/ses.ko",
		d + "scsi/megaraid/", d + "scsi/mpt3sas/", d + "scsi/mpi3mr/", d + "scsi/aacraid/", d + "scsi/smartpqi/", d + "scsi/hpsa.ko",
		d + "scsi/isci/", d + "scsi/arcmsr/", d + "scsi/qla2xxx/", d + "scsi/lpfc/", d + "message/fusion/",
		d + "usb/host/xhci", d + "usb/host/ehci", d + "usb/host/uhci", d + "usb/host/ohci", d + "usb/storage/usb-storage.ko", d + "hid/usbhid/", d + "hid/hid.ko", d + "hid/hid-generic.ko",
		d + "mmc/host/sdhci", d + "mmc/core/", d + "md/md-mod.ko", d + "md/raid0.ko", d + "md/raid1.ko", d + "md/raid10.ko", d + "char/ipmi/",
		d + "char/hw_random/virtio-rng.ko", d + "input/evdev.ko", d + "acpi/button.ko", d + "cdrom/", d + "scsi/sr_mod.ko",
		"kernel/net/packet/", "kernel/fs/efivarfs/", "kernel/lib/crc", "kernel/crypto/crc", "kernel/arch/x86/crypto/crc",
	}
}

// kernelDir returns a directory with vmlinuz, release and modules/ of Debian's kernel, and busybox: the packages
// are unpacked, not installed.
func (b *builder) kernelDir(ctx context.Context, suite string, sources Sources) (string, error) {
	dir := filepath.Join(b.o.CacheDir, "kernel-"+hashOf(suite, sources.Text(), ramdiskModules(), "busybox"))
	return dir, b.cached(ctx, dir, "kernel", func(tmp string) error {
		unpacked := tmp + "-unpacked"
		defer func() { _ = removeTree(unpacked) }()
		if err := removeTree(unpacked); err != nil {
			return err
		}
		args := []string{"--mode=root", "--variant=extract", "--format=directory", "--include=linux-image-amd64,kmod,busybox-static",
			`--aptopt=Apt::Install-Recommends "false"`, `--aptopt=APT::Sandbox::User "root"`}
		for _, o := range hostProxies(ctx) {
			args = append(args, "--aptopt="+o)
		}
		if err := b.run(ctx, sources, "mmdebstrap", append(args, suite, unpacked, "-")...); err != nil {
			return err
		}
		return b.extractKernel(ctx, unpacked, tmp)
	})
}

func (b *builder) extractKernel(ctx context.Context, unpacked, to string) error {
	kernels, err := filepath.Glob(filepath.Join(unpacked, "boot/vmlinuz-*"))
	if err != nil || len(kernels) == 0 {
		return errors.New("Debian's linux-image-amd64 brought no kernel")
	}
	slices.Sort(kernels)
	kernel := kernels[len(kernels)-1]
	release := strings.TrimPrefix(filepath.Base(kernel), "vmlinuz-")
	// depmod from the same release, so that this machine needs none.
	if err := b.run(ctx, nil, "chroot", unpacked, "/sbin/depmod", release); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o755); err != nil { // nothing secret in a kernel
		return err
	}
	if err := copyFile(kernel, filepath.Join(to, "vmlinuz")); err != nil {
		return err
	}
	if err := copyFile(filepath.Join(unpacked, "bin/busybox"), filepath.Join(to, "busybox")); err != nil { // a shell for rescue
		return err
	}
	from := filepath.Join(unpacked, "lib/modules", release)
	index, err := kmod.Parse(os.DirFS(from))
	if err != nil {
		return err
	}
	want := ramdiskModules()
	files := index.Select(func(file string) bool {
		return slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(file, w) })
	})
	modules := filepath.Join(to, "modules")
	for _, f := range files {
		if err := copyFile(filepath.Join(from, f), filepath.Join(modules, f)); err != nil {
			return err
		}
	}
	if err := writeIndex(from, modules, files); err != nil {
		return err
	}
	b.say("kernel %s, %d modules for disks and networks", release, len(files))
	return os.WriteFile(filepath.Join(to, "release"), []byte(release+"\n"), 0o644) // nothing secret
}

// writeIndex copies of modules.dep and modules.alias what is about the chosen files.
func writeIndex(from, to string, files []string) error {
	names, chosen := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		names[kmod.Name(f)], chosen[f] = true, true
	}
	filter := func(name string, keep func(line string) bool) error {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		var out strings.Builder
		for line := range strings.Lines(string(data)) {
			if keep(line) {
				out.WriteString(line)
			}
		}
		return os.WriteFile(filepath.Join(to, name), []byte(out.String()), 0o644) // nothing secret
	}
	if err := filter("modules.dep", func(line string) bool {
		file, _, _ := strings.Cut(line, ":")
		return chosen[file]
	}); err != nil {
		return err
	}
	return filter("modules.alias", func(line string) bool {
		f := strings.Fields(line)
		return len(f) == 3 && names[strings.ReplaceAll(f[2], "-", "_")]
	})
}

func copyFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { // nothing secret
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644) // nothing secret
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// buildRamdisk writes ironic-python-agent.kernel, .initramfs and the manifest.
func (b *builder) buildRamdisk(ctx context.Context, kernel, key string) error {
	start := b.o.Now()
	if err := func() error {
		_, _, err := writeAtomically(filepath.Join(b.o.OutputDir, Ramdisk+".kernel"), func(w io.Writer) error {
			f, err := os.Open(filepath.Join(kernel, "vmlinuz"))
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(w, f)
			return err
		})
		return err
	}(); err != nil {
		return err
	}
	m := Manifest{Name: Ramdisk, File: Ramdisk + ".initramfs", DiskFormat: "ari", ContainerFormat: "ari", HashAlgo: "sha512",
		BuildKey: key, BuiltAt: b.o.Now().UTC().Truncate(time.Second), Bootable: true}
	var err error
	m.Size, m.HashValue, err = writeAtomically(filepath.Join(b.o.OutputDir, m.File), func(w io.Writer) error {
		return WriteInitramfs(w, b.o.Agent, os.DirFS(kernel))
	})
	if err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	if m.Size > MaxRamdisk {
		return fmt.Errorf("the initramfs has %d bytes, more than the %d a ramdisk may have", m.Size, MaxRamdisk)
	}
	if err := writeManifest(b.o.OutputDir, m); err != nil {
		return err
	}
	b.say("%s: %d MB in %s", m.File, m.Size/1_000_000, b.o.Now().Sub(start).Round(100*time.Millisecond))
	return nil
}

// WriteInitramfs writes a cpio archive packed with zstd: the agent as /init, empty mount points, /dev/console,
// and what the kernel directory has of modules (release, modules/) and of a shell (busybox).
func WriteInitramfs(w io.Writer, agent string, kernel fs.FS) error {
	binary, err := os.ReadFile(agent)
	if err != nil {
		return err
	}
	records := []cpio.Record{
		cpio.Directory("bin", 0o755), cpio.Directory("dev", 0o755), cpio.Directory("etc", 0o755), cpio.Directory("proc", 0o555),
		cpio.Directory("run", 0o755), cpio.Directory("sys", 0o555), cpio.Directory("tmp", 0o1777), cpio.Directory("var", 0o755),
		// The kernel opens it as standard input, output and error of /init before anything is mounted.
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.StaticFile("bin/tripleo-agent", string(binary), 0o755),
		cpio.Symlink("init", "bin/tripleo-agent"),
		cpio.Symlink("var/run", "../run"),
	}
	if busybox, err := fs.ReadFile(kernel, "busybox"); err == nil {
		records = append(records, cpio.StaticFile("bin/busybox", string(busybox), 0o755), cpio.Symlink("bin/sh", "busybox"))
	}
	if release, err := fs.ReadFile(kernel, "release"); err == nil {
		more, err := moduleRecords(kernel, strings.TrimSpace(string(release)))
		if err != nil {
			return err
		}
		records = append(records, more...)
	}
	return writeCpio(w, records)
}

func moduleRecords(kernel fs.FS, release string) ([]cpio.Record, error) {
	base := path.Join("lib/modules", release)
	records := []cpio.Record{cpio.Directory("lib", 0o755), cpio.Directory("lib/modules", 0o755)}
	err := fs.WalkDir(kernel, "modules", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := path.Join(base, strings.TrimPrefix(name, "modules"))
		if d.IsDir() {
			records = append(records, cpio.Directory(to, 0o755))
			return nil
		}
		data, err := fs.ReadFile(kernel, name)
		if err != nil {
			return err
		}
		records = append(records, cpio.StaticFile(to, string(data), 0o644))
		return nil
	})
	return records, err
}
