package md

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/hardware"
)

const (
	mib = 1 << 20
	gib = 1 << 30
	// espBytes is the EFI system partition of each disk, ironic-python-agent's size.
	espBytes = 550 * mib
	// tail is left for the backup of the partition table.
	tail = mib
	// overhead of a 1.2 member.
	overhead = dataOffset * Sector
	maxDisks = 100 // logical ones of one configuration
)

// ESPDevice is the array over the disks' EFI system partitions, the last minor number that mdadm gives by itself.
const ESPDevice = "/dev/md127"

// LogicalDisk is an element of target_raid_config.
type LogicalDisk struct {
	Max        bool
	SizeGB     int64 // with Max 0
	Level      string
	Root       bool
	Name       string
	Disks      []map[string]any // hints; nil: all suitable disks
	controller string
}

// levels are what is offered, with the disks each needs at least.
func levels() map[string]struct{ number, disks int } {
	return map[string]struct{ number, disks int }{"0": {Level0, 2}, "1": {Level1, 2}, "1+0": {Level10, 3}}
}

// ParseConfig reads a target_raid_config for software RAID.
func ParseConfig(doc json.RawMessage) ([]LogicalDisk, error) {
	var in struct {
		Disks []struct {
			Size       any    `json:"size_gb"`
			Level      string `json:"raid_level"`
			Controller string `json:"controller"`
			Root       bool   `json:"is_root_volume"`
			Name       string `json:"volume_name"`
			Physical   []any  `json:"physical_disks"`
		} `json:"logical_disks"`
	}
	if len(bytes.TrimSpace(doc)) == 0 || json.Unmarshal(doc, &struct{}{}) != nil {
		return nil, errors.New("the RAID configuration is not an object")
	}
	if err := json.Unmarshal(doc, &in); err != nil {
		return nil, fmt.Errorf("RAID configuration: %w", err)
	}
	if len(in.Disks) == 0 || len(in.Disks) > maxDisks {
		return nil, fmt.Errorf("the RAID configuration has %d logical_disks, expected 1 to %d", len(in.Disks), maxDisks)
	}
	var out []LogicalDisk
	roots, names := 0, map[string]int{}
	for i, d := range in.Disks {
		bad := func(format string, args ...any) error {
			return fmt.Errorf("logical_disks[%d].%s", i, fmt.Sprintf(format, args...))
		}
		l := LogicalDisk{Level: d.Level, Root: d.Root, Name: d.Name, controller: d.Controller}
		if d.Controller != "software" {
			return nil, bad("controller is %q, the ramdisk makes \"software\" RAID only", d.Controller)
		}
		if _, ok := levels()[d.Level]; !ok {
			return nil, bad("raid_level is %q, software RAID has 0, 1 and 1+0", d.Level)
		}
		switch size := d.Size.(type) {
		case float64:
			if l.SizeGB = int64(size); size < 1 || size != float64(l.SizeGB) || l.SizeGB > 1<<24 {
				return nil, bad("size_gb is %v, expected a positive integer or \"MAX\"", size)
			}
		case string:
			if l.Max = size == "MAX"; !l.Max {
				return nil, bad("size_gb is %q, expected a positive integer or \"MAX\"", size)
			}
		default:
			return nil, bad("size_gb is %v, expected a positive integer or \"MAX\"", d.Size)
		}
		if len(d.Name) > maxName {
			return nil, bad("volume_name has %d bytes, at most %d are kept with an array", len(d.Name), maxName)
		}
		if j, twice := names[d.Name]; twice && d.Name != "" {
			return nil, bad("volume_name %q is that of logical_disks[%d] already", d.Name, j)
		}
		names[d.Name] = i
		for k, p := range d.Physical {
			hints, ok := p.(map[string]any)
			if !ok {
				return nil, bad("physical_disks[%d] is %v, software RAID takes an object of root device hints there", k, p)
			}
			if _, err := hardware.ParseHints(hints); err != nil {
				return nil, bad("physical_disks[%d]: %v", k, err)
			}
			l.Disks = append(l.Disks, hints)
		}
		if d.Root {
			roots++
		}
		out = append(out, l)
	}
	if roots > 1 {
		return nil, fmt.Errorf("%d logical_disks have is_root_volume, at most one may", roots)
	}
	return out, nil
}

// Member is a partition of a disk; Start and Size in bytes.
type Member struct {
	Disk        string // its device
	Number      int    // 0: the whole disk
	Start, Size int64
}

// Path is the member's device.
func (m Member) Path() string {
	switch {
	case m.Number == 0:
		return m.Disk
	case m.Disk[len(m.Disk)-1] >= '0' && m.Disk[len(m.Disk)-1] <= '9':
		return fmt.Sprintf("%sp%d", m.Disk, m.Number)
	}
	return fmt.Sprintf("%s%d", m.Disk, m.Number)
}

// Array is one to make.
type Array struct {
	Device  string
	Name    string
	Level   int
	Minor   int // of the superblock's version
	Members []Member
	// Bytes is what the array holds.
	Bytes int64
}

// Plan is what to make: arrays in the order of the configuration, the EFI system partitions' last.
type Plan struct {
	Disks  []string // in the order of their names
	Arrays []Array
}

// Partitions are those of one of the plan's disks, by number.
func (p Plan) Partitions(disk string) []Member {
	var out []Member
	for _, a := range p.Arrays {
		for _, m := range a.Members {
			if m.Disk == disk {
				out = append(out, m)
			}
		}
	}
	slices.SortFunc(out, func(a, b Member) int { return a.Number - b.Number })
	return out
}

// NewPlan decides which disks and partitions make which array.
func NewPlan(config []LogicalDisk, disks []hardware.Disk) (Plan, error) {
	chosen := make([][]hardware.Disk, len(config))
	count := map[string]int{}    // partitions on a disk
	fixed := map[string]int64{}  // bytes of them that are of a given size
	maxOf := map[string]int{}    // which logical disk has the rest of a disk
	size := map[string]int64{}   // of the disks in use
	cursor := map[string]int64{} // where the next partition starts
	var p Plan
	for i, l := range config {
		list, err := l.choose(disks)
		if err != nil {
			return p, fmt.Errorf("logical_disks[%d]: %w", i, err)
		}
		chosen[i] = list
		for _, d := range list {
			if size[d.Name] == 0 {
				p.Disks = append(p.Disks, d.Name)
				size[d.Name], cursor[d.Name] = d.Size, mib+espBytes
			}
			if j, taken := maxOf[d.Name]; taken && l.Max {
				return p, fmt.Errorf("logical_disks[%d]: size_gb is \"MAX\", but logical_disks[%d] has the rest of %s already", i, j, d.Name)
			}
			if l.Max {
				maxOf[d.Name] = i
			} else {
				fixed[d.Name] += l.memberBytes(len(list))
			}
		}
	}
	slices.Sort(p.Disks)
	esp := Array{Device: ESPDevice, Name: "esp", Level: Level1, Bytes: espBytes}
	for _, d := range p.Disks {
		count[d] = 1
		esp.Members = append(esp.Members, Member{Disk: d, Number: 1, Start: mib, Size: espBytes})
		if over := mib + espBytes + fixed[d] + tail - size[d]; over > 0 {
			return p, fmt.Errorf("%s has %d MiB, the configuration needs %d MiB of it", d, size[d]/mib, (size[d]+over)/mib)
		}
	}
	for i, l := range config {
		each := l.memberBytes(len(chosen[i]))
		if l.Max {
			for k, d := range chosen[i] {
				if rest := (size[d.Name] - mib - espBytes - fixed[d.Name] - tail) / mib * mib; k == 0 || rest < each {
					each = rest
				}
			}
			if each < gib {
				return p, fmt.Errorf("logical_disks[%d]: size_gb is \"MAX\", but only %d MiB of each disk are left", i, each/mib)
			}
		}
		a := Array{Device: fmt.Sprintf("/dev/md%d", i), Name: l.Name, Level: levels()[l.Level].number, Minor: 2}
		if a.Name == "" {
			a.Name = fmt.Sprint(i)
		}
		for _, d := range chosen[i] {
			count[d.Name]++
			a.Members = append(a.Members, Member{Disk: d.Name, Number: count[d.Name], Start: cursor[d.Name], Size: each})
			cursor[d.Name] += each
		}
		a.Bytes = (each - overhead) * l.dataDisks(len(a.Members)) / 2
		p.Arrays = append(p.Arrays, a)
	}
	p.Arrays = append(p.Arrays, esp)
	return p, nil
}

// dataDisks is twice the number of members whose bytes count, as a RAID 1+0 of three disks has one and a half.
func (l LogicalDisk) dataDisks(members int) int64 {
	switch l.Level {
	case "0":
		return 2 * int64(members)
	case "1+0":
		return int64(members)
	}
	return 2
}

// memberBytes is the size of each member's partition, whole MiB; 0 if the array takes what there is.
func (l LogicalDisk) memberBytes(members int) int64 {
	if l.Max {
		return 0
	}
	n := l.dataDisks(members)
	each := (2*l.SizeGB*gib + n - 1) / n
	return (each+mib-1)/mib*mib + overhead
}

// choose picks the disks of a logical disk: one for each of its hints, else all that can be used.
func (l LogicalDisk) choose(disks []hardware.Disk) ([]hardware.Disk, error) {
	var usable []hardware.Disk
	for _, d := range disks {
		if !IsArray(d.Name) {
			usable = append(usable, d)
		}
	}
	out := usable
	if l.Disks != nil {
		out = nil
		for k, hints := range l.Disks {
			d, err := hardware.SelectRoot(slices.DeleteFunc(slices.Clone(usable), func(d hardware.Disk) bool {
				return slices.ContainsFunc(out, func(o hardware.Disk) bool { return o.Name == d.Name })
			}), hints)
			if err != nil {
				return nil, fmt.Errorf("physical_disks[%d]: %w", k, err)
			}
			out = append(out, d)
		}
	}
	if need := levels()[l.Level].disks; len(out) < need || len(out) > maxRoles {
		var names []string
		for _, d := range out {
			names = append(names, d.Name)
		}
		return nil, fmt.Errorf("RAID %s needs %d to %d disks, there are %d (%s)", l.Level, need, maxRoles, len(out), strings.Join(names, ", "))
	}
	return out, nil
}

// IsArray says that a device is an array.
func IsArray(device string) bool {
	rest, ok := strings.CutPrefix(device, "/dev/md")
	return ok && rest != "" && rest[0] >= '0' && rest[0] <= '9'
}
