package ramdisk

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/tripleo/tripleo/internal/agent/disk"
	"github.com/tripleo/tripleo/internal/agent/hardware"
	"github.com/tripleo/tripleo/internal/agent/md"
)

// Steps of interface raid: ironic-python-agent's GenericHardwareManager has them under these names.
const (
	stepCreateRAID = "create_configuration"
	stepDeleteRAID = "delete_configuration"
	stepApplyRAID  = "apply_configuration"
)

// Assembler starts and stops arrays; md.Kernel is the real one.
type Assembler interface {
	Assemble(a md.Array) error
	Stop(device string) error
}

// plainDisks are the machine's disks without arrays.
func (a *agent) plainDisks() []hardware.Disk {
	return slices.DeleteFunc(hardware.Disks(a.o.Sources.Sys, a.o.Sources.Dev), func(d hardware.Disk) bool { return md.IsArray(d.Name) })
}

func names(disks []hardware.Disk) []string {
	out := make([]string, len(disks))
	for i, d := range disks {
		out[i] = d.Name
	}
	return out
}

// assembleRAID starts the arrays that are on the disks. One that does not start is no reason to stop: cleaning may be
// about to remove it.
func (a *agent) assembleRAID() {
	if a.o.Arrays == nil {
		return
	}
	found, err := md.Scan(a.o.OpenShared, names(a.plainDisks()))
	if err != nil {
		a.log.Warn("software RAID is not looked for everywhere", "err", err)
	}
	for _, array := range found {
		if _, err := hardware.SelectRoot(hardware.Disks(a.o.Sources.Sys, a.o.Sources.Dev), map[string]any{"name": array.Device}); err == nil {
			continue // runs since an earlier start of the agent
		}
		if err := a.o.Arrays.Assemble(array); err != nil {
			a.log.Warn("array not assembled", "device", array.Device, "name", array.Name, "err", err)
			continue
		}
		a.log.Info("array assembled", "device", array.Device, "name", array.Name, "level", array.Level, "members", len(array.Members))
	}
}

func raidErr(err error) error {
	var known *commandError
	if errors.As(err, &known) {
		return err
	}
	return commandErr("SoftwareRAIDError", http.StatusInternalServerError, "Error handling Software RAID", err)
}

// deleteRAID stops every array and takes the superblocks and partition tables of its disks away.
func (a *agent) deleteRAID() error {
	if a.o.Arrays == nil {
		return raidErr(errors.New("this ramdisk has no software RAID of its own"))
	}
	a.mu.Lock()
	a.cached, a.cachedDisk, a.layout = "", "", disk.Layout{}
	a.mu.Unlock()
	found, err := md.Scan(a.o.OpenShared, names(a.plainDisks()))
	if err != nil {
		return raidErr(err)
	}
	for _, array := range found {
		if err := a.o.Arrays.Stop(array.Device); err != nil {
			return raidErr(err)
		}
		a.log.Info("array stopped", "device", array.Device, "name", array.Name)
	}
	if err := md.Wipe(found, a.o.OpenDisk); err != nil {
		return raidErr(err)
	}
	return nil
}

// applyRAID is the deploy step: the configuration comes with it.
func (a *agent) applyRAID(args json.RawMessage) (any, error) {
	var p struct {
		Config json.RawMessage `json:"raid_config"`
	}
	if err := json.Unmarshal(args, &p); err != nil || p.Config == nil {
		return nil, invalidParams("step %s needs raid_config in args", stepApplyRAID)
	}
	return a.createRAID(p.Config, args, true)
}

// createRAID makes the arrays and returns what Ironic keeps as raid_config.
func (a *agent) createRAID(config, args json.RawMessage, deletes bool) (any, error) {
	p := struct {
		Delete *bool `json:"delete_existing"`
	}{&deletes}
	if len(args) > 0 {
		if err := json.Unmarshal(args, &p); err != nil {
			return nil, invalidParams("delete_existing: %w", err)
		}
	}
	if a.o.Arrays == nil {
		return nil, raidErr(errors.New("this ramdisk has no software RAID of its own"))
	}
	want, err := md.ParseConfig(config)
	if err != nil {
		return nil, invalidParams("%w", err)
	}
	plan, err := md.NewPlan(want, a.plainDisks())
	if err != nil {
		return nil, raidErr(err)
	}
	if p.Delete != nil && *p.Delete {
		if err := a.deleteRAID(); err != nil {
			return nil, err
		}
	}
	if err := a.makeArrays(plan); err != nil {
		return nil, raidErr(err)
	}
	return raidConfig(config, want, plan)
}

func (a *agent) makeArrays(plan md.Plan) error {
	for _, name := range plan.Disks { // all of them before the first is changed
		dev, err := a.o.OpenShared(name)
		if err != nil {
			return err
		}
		layout, err := disk.ReadLayout(dev)
		if err := dev.Close(); err != nil {
			return err
		}
		if err == nil && len(layout.Partitions) > 0 || err != nil && !errors.Is(err, disk.ErrNoGPT) {
			return fmt.Errorf("%s has partitions: clean it with erase_devices_metadata, or remove its RAID with delete_configuration first", name)
		}
	}
	for _, name := range plan.Disks {
		dev, err := a.o.OpenDisk(name)
		if err != nil {
			return err
		}
		if err := errors.Join(plan.Prepare(dev), dev.Close()); err != nil {
			return err
		}
	}
	for _, array := range plan.Arrays {
		if err := array.WriteSuperblocks(a.o.OpenDisk, a.o.Now()); err != nil {
			return err
		}
	}
	for _, name := range plan.Disks { // the kernel learns of the partitions
		dev, err := a.o.OpenDisk(name)
		if err != nil {
			return err
		}
		if err := errors.Join(dev.RereadPartitions(), dev.Close()); err != nil {
			return err
		}
	}
	for _, array := range plan.Arrays {
		if err := a.o.Arrays.Assemble(array); err != nil {
			return err
		}
		a.log.Info("array made", "device", array.Device, "name", array.Name, "level", array.Level, "members", len(array.Members), "bytes", array.Bytes)
	}
	return nil
}

// raidConfig is the configuration with what was made of it: sizes, names, disks and, for the root volume, the hint by
// which it is found.
func raidConfig(config json.RawMessage, want []md.LogicalDisk, plan md.Plan) (map[string]any, error) {
	var doc map[string]any
	if err := json.Unmarshal(config, &doc); err != nil {
		return nil, err
	}
	list, _ := doc["logical_disks"].([]any)
	out := make([]any, len(list))
	for i, v := range list {
		m, _ := v.(map[string]any)
		m = maps.Clone(m)
		array := plan.Arrays[i]
		var members []string
		for _, member := range array.Members {
			members = append(members, member.Disk)
		}
		m["size_gb"], m["volume_name"], m["physical_disks"] = array.Bytes>>30, array.Name, members
		if want[i].Root {
			m["root_device_hint"] = map[string]any{"name": array.Device}
		}
		out[i] = m
	}
	return map[string]any{"logical_disks": out}, nil
}

// membersOf lists the disks that an array is on.
func (a *agent) membersOf(device string) ([]string, error) {
	found, err := md.Scan(a.o.OpenShared, names(a.plainDisks()))
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(found, func(f md.Array) bool { return f.Device == device })
	if i < 0 {
		return nil, fmt.Errorf("%s is on none of the disks %v", device, names(a.plainDisks()))
	}
	var out []string
	for _, m := range found[i].Members {
		out = append(out, m.Disk)
	}
	return out, nil
}

const (
	bootCodeBytes = 440 // of a master boot record, before the disk's signature
	hiddenSectors = 28  // of a FAT volume's boot sector: where its partition starts
)

// spreadLoader makes a machine startable whose image is on a software RAID: firmware reads disks, not arrays, so the
// image's EFI system partition is copied to that of every disk (one array with its superblock at the end), and its
// boot code to their first sectors. The image's own is emptied, lest it be taken for the real one.
func (a *agent) spreadLoader(name string, dev disk.Device, layout disk.Layout) error {
	i := slices.IndexFunc(layout.Partitions, func(p disk.Partition) bool { return p.Type == "c12a7328-f81f-11d2-ba4b-00a0c93ec93b" })
	if i < 0 {
		return errors.New("the image has no EFI system partition: nothing could start it from a software RAID")
	}
	from := layout.Partitions[i]
	if hardware.BootMode(a.o.Sources.Sys) == "bios" && from.Attributes&disk.LegacyBIOSBootable == 0 {
		return errors.New("the image's boot loader for BIOS is not on its EFI system partition: nothing could start it from a software RAID")
	}
	boot := make([]byte, 512)
	if _, err := dev.ReadAt(boot, from.Start); err != nil {
		return err
	}
	if boot[510] != 0x55 || boot[511] != 0xaa {
		a.log.Info("the image's EFI system partition is empty, that of the disks is kept")
		return nil
	}
	members, err := a.membersOf(name)
	if err != nil {
		return err
	}
	first, err := a.o.OpenShared(members[0])
	if err != nil {
		return err
	}
	target, err := disk.ReadLayout(first)
	if err = errors.Join(err, first.Close()); err != nil {
		return err
	}
	j := slices.IndexFunc(target.Partitions, func(p disk.Partition) bool { return p.Type == from.Type })
	if j < 0 {
		return fmt.Errorf("%s has no EFI system partition beside its RAID", members[0])
	}
	esp, err := a.o.OpenDisk(md.ESPDevice)
	if err != nil {
		return err
	}
	if err := errors.Join(copyESP(esp, dev, from, target.Partitions[j].Start/512), esp.Close()); err != nil {
		return err
	}
	code := make([]byte, bootCodeBytes)
	if _, err := dev.ReadAt(code, 0); err != nil {
		return err
	}
	for _, m := range members {
		d, err := a.o.OpenShared(m)
		if err != nil {
			return err
		}
		_, err = d.WriteAt(code, 0)
		if err = errors.Join(err, d.Sync(), d.Close()); err != nil {
			return fmt.Errorf("boot code of %s: %w", m, err)
		}
	}
	a.log.Info("boot loader copied to the disks", "disks", members, "bytes", from.Size)
	return errors.Join(dev.ZeroRange(from.Start, 1<<20), dev.Sync())
}

// copyESP copies a partition of dev and tells the FAT volume its new place.
func copyESP(esp, dev disk.Device, from disk.Partition, start int64) error {
	if from.Size > esp.Size() {
		return fmt.Errorf("the image's EFI system partition has %d bytes, that of the disks %d", from.Size, esp.Size())
	}
	if _, err := io.CopyBuffer(io.NewOffsetWriter(esp, 0), struct{ io.Reader }{io.NewSectionReader(dev, from.Start, from.Size)}, make([]byte, 1<<20)); err != nil {
		return fmt.Errorf("copy the EFI system partition to %s: %w", esp.Path(), err)
	}
	where := binary.LittleEndian.AppendUint32(nil, uint32(start)) //nolint:gosec // 1 MiB in sectors
	if _, err := esp.WriteAt(where, hiddenSectors); err != nil {
		return err
	}
	return esp.Sync()
}
