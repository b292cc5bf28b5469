package md

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/agent/disk"
)

// raidType is the partition type of Linux RAID members (Discoverable Partitions Specification's neighbour, known to
// every partitioning tool).
const raidType = "a19d880f-05fc-4d3b-a006-743f0f84911e"

const espType = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"

// Prepare writes the partition table of one of the plan's disks and clears what its members' arrays would otherwise
// begin with.
func (p Plan) Prepare(dev disk.Device) error {
	var parts []disk.NewPartition
	for _, m := range p.Partitions(dev.Path()) {
		n := disk.NewPartition{Number: m.Number, Name: fmt.Sprintf("raid-%d", m.Number), Type: raidType, Start: m.Start, Size: m.Size}
		if m.Number == 1 {
			n.Name, n.Type, n.Attributes = "esp", espType, disk.LegacyBIOSBootable
		}
		parts = append(parts, n)
		for _, at := range []int64{m.Start, m.Start + m.Size - 2*mib} { // head, superblock and first data; superblock at the end
			if err := dev.ZeroRange(at, 2*mib); err != nil {
				return err
			}
		}
	}
	return disk.WritePartitions(dev, parts)
}

// WriteSuperblocks makes the array on its members; open opens a member's disk.
func (a Array) WriteSuperblocks(open func(path string) (disk.Device, error), now time.Time) error {
	id := uuid.New()
	for role, m := range a.Members {
		s, err := newSuperblock(a, id, role, uint64(m.Size/Sector), now) //nolint:gosec // a size is not negative
		if err != nil {
			return fmt.Errorf("%s: %w", m.Path(), err)
		}
		dev, err := open(m.Disk)
		if err != nil {
			return err
		}
		_, err = dev.WriteAt(s.encode(), m.Start+int64(s.SuperOffset)*Sector) //nolint:gosec // within the member
		if err = errors.Join(err, dev.Sync(), dev.Close()); err != nil {
			return fmt.Errorf("RAID superblock of %s: %w", m.Path(), err)
		}
	}
	return nil
}

// Scan finds the arrays whose members are on the given disks, by their superblocks, and names them as NewPlan did:
// in the order of their places, the EFI system partitions' by its own name. Members that are out of date are left out.
func Scan(open func(path string) (disk.Device, error), disks []string) ([]Array, error) {
	type member struct {
		Member
		Superblock
		esp bool
	}
	groups := map[uuid.UUID][]member{}
	var failed []error
	look := func(name string) error {
		dev, err := open(name)
		if err != nil {
			return err
		}
		defer func() { _ = dev.Close() }() // only read
		places := []Member{{Disk: name, Size: dev.Size()}}
		esp := map[int]bool{}
		if layout, err := disk.ReadLayout(dev); err == nil {
			places = nil
			for _, part := range layout.Partitions {
				if part.Start < 0 || part.Size <= 0 || part.Start+part.Size > dev.Size() {
					continue // a table that lies
				}
				places = append(places, Member{Disk: name, Number: part.Number, Start: part.Start, Size: part.Size})
				esp[part.Number] = part.Type == espType
			}
		}
		for _, m := range places {
			s, err := read(dev, m.Start, m.Size)
			if errors.Is(err, errNone) {
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", m.Path(), err)
			}
			groups[s.Array] = append(groups[s.Array], member{m, s, esp[m.Number]})
		}
		return nil
	}
	for _, d := range disks {
		if err := look(d); err != nil {
			failed = append(failed, err)
		}
	}
	var out []Array
	for _, list := range groups {
		slices.SortFunc(list, func(a, b member) int { return cmp.Compare(a.Role, b.Role) })
		a := Array{Name: list[0].Name, Level: list[0].Level, Minor: list[0].Minor}
		if list[0].esp && a.Minor == 0 {
			a.Device = ESPDevice
		}
		for _, m := range list {
			a.Members = append(a.Members, m.Member)
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Array) int {
		x, y := a.Members[0], b.Members[0]
		return cmp.Or(strings.Compare(a.Device, b.Device), cmp.Compare(x.Number, y.Number), strings.Compare(x.Disk, y.Disk))
	})
	n := 0
	for i := range out {
		if out[i].Device == "" {
			out[i].Device = fmt.Sprintf("/dev/md%d", n)
			n++
		}
	}
	return out, errors.Join(failed...)
}

// Wipe takes the arrays' superblocks and the partition tables of their disks away.
func Wipe(arrays []Array, open func(path string) (disk.Device, error)) error {
	disks := map[string][]Member{}
	for _, a := range arrays {
		for _, m := range a.Members {
			disks[m.Disk] = append(disks[m.Disk], m)
		}
	}
	var failed []error
	for name, members := range disks {
		dev, err := open(name)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
			continue
		}
		for _, m := range members {
			for _, minor := range []int{2, 0} {
				if super, _, _, err := place(minor, uint64(m.Size/Sector)); err == nil { //nolint:gosec // a size is not negative
					failed = append(failed, dev.ZeroRange(m.Start+int64(super)*Sector, 4096)) //nolint:gosec // within the member
				}
			}
		}
		failed = append(failed, disk.EraseMetadata(dev), dev.Close())
	}
	return errors.Join(failed...)
}
