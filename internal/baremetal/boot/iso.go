package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

// ISO is a CD that boots a ramdisk by BIOS and by UEFI.
type ISO struct {
	Kernel, Initrd string // files
	Args           []string
	Loaders        Loaders
}

// Loaders are the boot loaders of a CD; the defaults are where Debian's packages have them.
type Loaders struct {
	EFI      string // systemd-boot (package systemd-boot-efi)
	Isolinux string // isolinux.bin (package isolinux)
	Ldlinux  string // ldlinux.c32 for BIOS (package syslinux-common)
}

// Defaults fills in what is not set.
func (l *Loaders) Defaults() {
	for p, v := range map[*string]string{&l.EFI: "/usr/lib/systemd/boot/efi/systemd-bootx64.efi", &l.Isolinux: "/usr/lib/ISOLINUX/isolinux.bin",
		&l.Ldlinux: "/usr/lib/syslinux/modules/bios/ldlinux.c32"} {
		if *p == "" {
			*p = v
		}
	}
}

const (
	mib = 1 << 20
	// minFAT is the size from which a file system is FAT32: 65525 clusters of one sector, and its tables.
	minFAT = 36 * mib
	// efiName is the file of the EFI system partition on the CD.
	efiName = "efi.img"
	// isolinuxSectors is what a BIOS loads of isolinux, as its manual has it (-boot-load-size 4).
	isolinuxSectors = 4
)

// Write makes the CD's image at name, by way of a temporary folder beside it; name appears when it is complete.
func (i ISO) Write(name string) (err error) {
	if strings.ContainsAny(strings.Join(i.Args, " "), "\r\n") {
		return errors.New("a kernel argument has more than one line")
	}
	tmp, err := os.MkdirTemp(filepath.Dir(name), "iso-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	tree := filepath.Join(tmp, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "isolinux"), 0o700); err != nil {
		return err
	}
	for to, from := range map[string]string{"isolinux/isolinux.bin": i.Loaders.Isolinux, "isolinux/ldlinux.c32": i.Loaders.Ldlinux, "isolinux/kernel": i.Kernel, "isolinux/initrd": i.Initrd} {
		if err := copyInto(filepath.Join(tree, to), from); err != nil {
			return err
		}
	}
	args := strings.Join(i.Args, " ")
	config := "DEFAULT ramdisk\nPROMPT 0\nSERIAL 0 115200\nLABEL ramdisk\n  KERNEL kernel\n  INITRD initrd\n  APPEND " + args + "\n"
	if err := os.WriteFile(filepath.Join(tree, "isolinux/isolinux.cfg"), []byte(config), 0o600); err != nil {
		return err
	}
	if err := i.writeESP(filepath.Join(tree, efiName), args); err != nil {
		return fmt.Errorf("EFI system partition of the CD: %w", err)
	}
	image := filepath.Join(tmp, "image")
	if err := finalize(image, tree); err != nil {
		return fmt.Errorf("CD image: %w", err)
	}
	return os.Rename(image, name)
}

func copyInto(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// writeESP makes the FAT file system that UEFI starts from. Kernel and ramdisk are on it, as a loader started from a CD
// sees nothing else.
func (i ISO) writeESP(name, args string) error {
	files := map[string]string{"/EFI/BOOT/BOOTX64.EFI": i.Loaders.EFI, "/kernel": i.Kernel, "/initrd": i.Initrd}
	size := int64(4 * mib)
	for _, from := range files {
		st, err := os.Stat(from)
		if err != nil {
			return err
		}
		size += st.Size() + st.Size()/64 // and its entries in both tables
	}
	size = (max(size, minFAT) + mib - 1) / mib * mib
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // its content is checked by what boots from it
	if err := f.Truncate(size); err != nil {
		return err
	}
	fsys, err := fat32.Create(file.New(f, false), size, 0, 512, "RAMDISK", false)
	if err != nil {
		return err
	}
	for _, dir := range []string{"/EFI", "/EFI/BOOT", "/loader", "/loader/entries"} {
		if err := fsys.Mkdir(dir); err != nil {
			return err
		}
	}
	put := func(to string, from io.Reader) error {
		w, err := fsys.OpenFile(to, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
		data, err := io.ReadAll(from) // in one piece: the library looks for free clusters at each write
		if err == nil {
			_, err = w.Write(data)
		}
		if err = errors.Join(err, w.Close()); err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
		return nil
	}
	for to, from := range files {
		in, err := os.Open(from)
		if err != nil {
			return err
		}
		if err := errors.Join(put(to, in), in.Close()); err != nil {
			return err
		}
	}
	entry := "title ramdisk\nlinux /kernel\ninitrd /initrd\noptions " + args + "\n"
	return errors.Join(put("/loader/loader.conf", strings.NewReader("default ramdisk.conf\ntimeout 0\n")),
		put("/loader/entries/ramdisk.conf", strings.NewReader(entry)))
}

// finalize makes an ISO 9660 image with an El Torito catalogue of a folder.
func finalize(image, tree string) error {
	f, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // Finalize has written and tells of errors
	fsys, err := iso9660.Create(file.New(f, false), 0, 0, 2048, tree)
	if err != nil {
		return err
	}
	bios := &iso9660.ElToritoEntry{Platform: iso9660.BIOS, Emulation: iso9660.NoEmulation, BootFile: "/isolinux/isolinux.bin", BootTable: true}
	bios.SetLoadSize(isolinuxSectors)
	// The catalogue has 16 bits for the size. 0 means all that follows (EDK2, PartitionDxe: fewer than two sectors).
	uefi := &iso9660.ElToritoEntry{Platform: iso9660.EFI, Emulation: iso9660.NoEmulation, BootFile: "/" + efiName}
	uefi.SetLoadSize(0)
	return fsys.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: "RAMDISK",
		ElTorito: &iso9660.ElTorito{BootCatalog: "/boot.cat", Entries: []*iso9660.ElToritoEntry{bios, uefi}}})
}
