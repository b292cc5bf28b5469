package ramdisk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/agent/disk"
	"github.com/tripleo/tripleo/internal/agent/efi"
	"github.com/tripleo/tripleo/internal/agent/hardware"
	"github.com/tripleo/tripleo/internal/agent/md"
)

// imageInfo is Ironic's image_info.
type imageInfo struct {
	ID              string   `json:"id"`
	NodeUUID        string   `json:"node_uuid"`
	URLs            []string `json:"urls"`
	Checksum        string   `json:"checksum"`
	HashAlgo        string   `json:"os_hash_algo"`
	HashValue       string   `json:"os_hash_value"`
	DiskFormat      string   `json:"disk_format"`
	ContainerFormat string   `json:"container_format"`
	ImageType       string   `json:"image_type"`
}

// writeParams are the parameters of cache_image, prepare_image and the deploy step write_image.
type writeParams struct {
	ImageInfo   imageInfo `json:"image_info"`
	ConfigDrive string    `json:"configdrive"`
	Force       bool      `json:"force"`
}

// cacheImage writes the image unless it is on the disk already.
func (a *agent) cacheImage(ctx context.Context, c call) (any, error) {
	var p writeParams
	if err := c.decode(&p); err != nil {
		return nil, err
	}
	a.mu.Lock()
	cached, where := a.cached, a.cachedDisk
	a.mu.Unlock()
	if cached == p.ImageInfo.ID && cached != "" && !p.Force {
		return fmt.Sprintf("image (%s) already present on device %s", cached, where), nil
	}
	where, err := a.writeImage(ctx, p, c.progress)
	if err != nil {
		return nil, err
	}
	return fmt.Sprintf("image (%s) cached to device %s", p.ImageInfo.ID, where), nil
}

// prepareImage writes the image unless it is cached, and the config drive.
func (a *agent) prepareImage(ctx context.Context, c call) (any, error) {
	var p writeParams
	if err := c.decode(&p); err != nil {
		return nil, err
	}
	drive, err := disk.DecodeConfigDrive(ctx, a.o.Client, p.ConfigDrive)
	if err != nil {
		return nil, commandErr("ConfigDriveWriteError", http.StatusInternalServerError, "Error writing configdrive to device", err)
	}
	a.mu.Lock()
	where := a.cachedDisk
	present := a.cached == p.ImageInfo.ID && a.cached != ""
	a.mu.Unlock()
	if !present {
		if where, err = a.writeImage(ctx, p, c.progress); err != nil {
			return nil, err
		}
	}
	root, err := a.finishDisk(where, drive)
	if err != nil {
		return nil, err
	}
	return fmt.Sprintf("image (%s) written to device %s root_uuid=%s", p.ImageInfo.ID, where, root), nil
}

// writeImage puts the image on the root disk and returns the disk's name.
func (a *agent) writeImage(ctx context.Context, p writeParams, progress func(int)) (string, error) {
	info := p.ImageInfo
	if info.ImageType != "" && info.ImageType != "whole-disk-image" {
		return "", invalidParams("image_type %q: whole disk images can be written", info.ImageType)
	}
	sum, err := disk.ParseChecksum(info.HashAlgo, info.HashValue, info.Checksum)
	if err != nil {
		return "", invalidParams("image %s: %w", info.ID, err)
	}
	target, err := a.rootDisk()
	if err != nil {
		return "", err
	}
	dev, err := a.o.OpenDisk(target.Name)
	if err != nil {
		return "", commandErr("DeviceNotFound", http.StatusNotFound, "Error finding the disk or partition device to deploy the image onto", err)
	}
	defer func() { _ = dev.Close() }() // everything was synced before
	a.mu.Lock()
	a.cached, a.cachedDisk = "", ""
	a.mu.Unlock()
	start := a.o.Now()
	a.log.Info("writing image", "image", info.ID, "disk", target.Name, "disk_bytes", dev.Size())
	res, err := disk.WriteImage(ctx, dev, disk.Image{ID: info.ID, URLs: info.URLs, Checksum: sum,
		DiskFormat: info.DiskFormat, ContainerFormat: info.ContainerFormat},
		disk.Options{Client: a.o.Client, Log: a.log, Progress: progress, Patience: a.o.ImagePatience})
	if err != nil {
		if errors.Is(err, disk.ErrChecksum) {
			return "", commandErr("ImageChecksumError", http.StatusInternalServerError, "Error verifying image checksum", err)
		}
		return "", commandErr("ImageWriteError", http.StatusInternalServerError, "Error writing image to device", err)
	}
	a.log.Info("image written", "image", info.ID, "disk", target.Name, "downloaded", res.Downloaded, "written", res.Written,
		"format", res.Format, "elapsed", a.o.Now().Sub(start).String())
	a.mu.Lock()
	a.cached, a.cachedDisk = info.ID, target.Name
	a.mu.Unlock()
	return target.Name, nil
}

// rootDisk picks the disk by the hints of the node.
func (a *agent) rootDisk() (hardware.Disk, error) {
	target, err := hardware.SelectRoot(hardware.Disks(a.o.Sources.Sys, a.o.Sources.Dev), a.node().hints())
	if err != nil {
		return target, commandErr("DeviceNotFound", http.StatusNotFound, "Error finding the disk or partition device to deploy the image onto", err)
	}
	return target, nil
}

// finishDisk repairs the partition table, adds the config drive and returns the root partition's UUID, if there
// is one that says so.
func (a *agent) finishDisk(name string, drive []byte) (string, error) {
	dev, err := a.o.OpenDisk(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = dev.Close() }() // everything was synced before
	layout, err := disk.Finish(dev, disk.FinishOptions{ConfigDrive: drive})
	if err != nil {
		return "", commandErr("ConfigDriveWriteError", http.StatusInternalServerError, "Error writing configdrive to device", err)
	}
	if err := dev.RereadPartitions(); err != nil {
		a.log.Debug("partitions not read again; the installed system will", "err", err)
	}
	if md.IsArray(name) {
		if err := a.spreadLoader(name, dev, layout); err != nil {
			return "", commandErr("CommandExecutionError", http.StatusInternalServerError, "Command execution failed", err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.layout = layout
	for _, p := range layout.Partitions {
		a.log.Info("partition", "disk", name, "number", p.Number, "name", p.Name, "start", p.Start, "size", p.Size)
	}
	return partitionUUIDs(layout)["root uuid"], nil
}

// getPartitionUUIDs answers what it knows about the last written image.
func (a *agent) getPartitionUUIDs(context.Context, call) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return partitionUUIDs(a.layout), nil
}

// partitionUUIDs uses the keys Ironic reads. The partition types are those of the Discoverable Partitions
// Specification.
func partitionUUIDs(l disk.Layout) map[string]string {
	out := map[string]string{}
	if l.DiskGUID != "" {
		out["disk identifier"] = l.DiskGUID
	}
	for _, p := range l.Partitions {
		switch {
		case p.Type == "c12a7328-f81f-11d2-ba4b-00a0c93ec93b":
			out["efi system partition uuid"] = p.GUID
		case p.Type == "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", p.Type == "b921b045-1df0-41c3-af44-4c6f280d3fae", p.Name == "root":
			out["root uuid"] = p.GUID
		}
	}
	return out
}

// syncDisks flushes everything the kernel still holds.
func (a *agent) syncDisks(context.Context, call) (any, error) {
	unix.Sync()
	return "synced", nil
}

// installBootloader has nothing to install: a whole-disk image brings its boot loader in the place where
// firmware looks by itself, EFI/BOOT on the EFI system partition or the BIOS boot partition. On UEFI machines
// it is checked that it is there, because the machine would not start otherwise.
func (a *agent) installBootloader(_ context.Context, c call) (any, error) {
	var p struct {
		TargetBootMode string `json:"target_boot_mode"`
		Ignore         bool   `json:"ignore_bootloader_failure"`
	}
	if err := c.decode(&p); err != nil {
		return nil, err
	}
	mode := p.TargetBootMode
	if mode == "" {
		mode = hardware.BootMode(a.o.Sources.Sys)
	}
	if !strings.EqualFold(mode, "uefi") {
		return "the image boots by its own boot sector; nothing to install for " + mode, nil
	}
	target, err := a.rootDisk()
	if err != nil {
		return nil, err
	}
	said, err := a.bootEntries(target.Name)
	if err != nil {
		if p.Ignore {
			a.log.Warn("no EFI boot loader; ignored as asked", "err", err)
			return "no EFI boot loader found, ignored as asked", nil
		}
		return nil, commandErr("CommandExecutionError", http.StatusInternalServerError, "Command execution failed", err)
	}
	return said, nil
}

// bootEntries makes an entry for the loader of the root disk, or for that of each disk of a software RAID: the
// machine starts also when one of them is gone. The first disk's comes first.
func (a *agent) bootEntries(root string) (string, error) {
	disks, open := []string{root}, a.o.OpenDisk
	if md.IsArray(root) {
		members, err := a.membersOf(root)
		if err != nil {
			return "", err
		}
		disks, open = members, a.o.OpenShared
	}
	var said string
	for i, name := range slices.Backward(disks) {
		dev, err := open(name)
		if err != nil {
			return "", err
		}
		loader, err := disk.FindEFILoader(dev)
		sector := dev.SectorSize()
		if err = errors.Join(err, dev.Close()); err != nil {
			return "", err
		}
		if loader.Label == "" {
			loader.Label = "tripleo"
		}
		if i > 0 {
			loader.Label += fmt.Sprintf(" (disk %d)", i+1)
		}
		said = a.bootEntry(loader, sector)
	}
	return said, nil
}

// bootEntry gives the firmware an entry for the loader, first in its order. A firmware that takes none finds the
// loader by itself at the place where the image has it, so that is no failure.
func (a *agent) bootEntry(l disk.EFILoader, sector int) string {
	if a.o.EFIVars == "" || hardware.BootMode(a.o.Sources.Sys) != "uefi" {
		return "the firmware finds " + l.Path
	}
	guid, err := uuid.Parse(l.Partition.GUID)
	if err != nil {
		a.log.Warn("no boot entry", "partition", l.Partition.GUID, "err", err)
		return "the firmware finds " + l.Path
	}
	name, err := efi.Store{Dir: a.o.EFIVars}.Install(efi.Entry{
		Label: l.Label, Partition: uint32(l.Partition.Number), GUID: guid, //nolint:gosec // at most 1024 partitions
		Start: uint64(l.Partition.Start / int64(sector)), Size: uint64(l.Partition.Size / int64(sector)), Path: l.Path,
	})
	if err != nil {
		a.log.Warn("no boot entry; the firmware must find the loader by itself", "loader", l.Path, "err", err)
		return "the firmware finds " + l.Path
	}
	a.log.Info("boot entry", "name", name, "label", l.Label, "loader", l.Path)
	return name + " starts " + l.Path
}
