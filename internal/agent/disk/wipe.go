package disk

import (
	"context"
	"errors"
	"fmt"
)

// wipeBytes is how much of each end of a disk or partition holds metadata: partition tables, file system, LVM
// and RAID labels.
const wipeBytes = 1 << 20

// WipeEnds zeroes the first and the last MiB, so that no firmware and no kernel finds anything to boot or
// assemble on the disk.
func WipeEnds(dev Device) error {
	return errors.Join(wipeSpan(dev, 0, dev.Size()), dev.Sync())
}

func wipeSpan(dev Device, off, n int64) error {
	head := min(wipeBytes, n)
	if err := dev.ZeroRange(off, head); err != nil {
		return fmt.Errorf("wipe the start of %s: %w", dev.Path(), err)
	}
	tail := min(wipeBytes, n)
	if err := dev.ZeroRange(off+n-tail, tail); err != nil {
		return fmt.Errorf("wipe the end of %s: %w", dev.Path(), err)
	}
	return nil
}

// EraseMetadata wipes the ends of each partition and then of the disk itself: the clean step
// erase_devices_metadata.
func EraseMetadata(dev Device) error {
	if table, err := readGPT(dev); err == nil {
		sector := int64(dev.SectorSize())
		for _, p := range table.Partitions {
			start, end := int64(p.Start)*sector, (int64(p.End)+1)*sector
			if start < 0 || end <= start || end > dev.Size() {
				continue // a table that lies
			}
			if err := wipeSpan(dev, start, end-start); err != nil {
				return err
			}
		}
	}
	if err := WipeEnds(dev); err != nil {
		return err
	}
	_ = dev.RereadPartitions() // best effort: the disk is empty either way
	return nil
}

// eraseStep is how much is zeroed between two looks at the context and two progress reports.
const eraseStep = 256 << 20

// Erase overwrites the whole disk with zeros; progress gets the percentage done.
func Erase(ctx context.Context, dev Device, progress func(percent int)) error {
	for off := int64(0); off < dev.Size(); off += eraseStep {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := dev.ZeroRange(off, min(eraseStep, dev.Size()-off)); err != nil {
			return fmt.Errorf("erase %s: %w", dev.Path(), err)
		}
		if progress != nil {
			progress(int(off * 100 / dev.Size()))
		}
	}
	return dev.Sync()
}

// EraseExpress discards the whole disk where it can (solid state disks forget their content at once) and wipes
// the metadata in every case: the clean step erase_devices_express.
func EraseExpress(dev Device) error {
	metadata := EraseMetadata(dev)
	if err := dev.Discard(0, dev.Size()); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return errors.Join(metadata, fmt.Errorf("discard %s: %w", dev.Path(), err))
	}
	// Discarded blocks may read as anything: wipe once more.
	return errors.Join(metadata, WipeEnds(dev))
}
