package md

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/disk"
	"github.com/tripleo/tripleo/internal/agent/hardware"
)

func disks(gib ...int64) []hardware.Disk {
	var out []hardware.Disk
	for i, n := range gib {
		out = append(out, hardware.Disk{Name: fmt.Sprintf("/dev/sd%c", 'a'+i), Size: n << 30, Rotational: n > 50})
	}
	return out
}

func TestPlan(t *testing.T) {
	const mb = mib
	for _, tt := range []struct {
		reason, config string
		disks          []hardware.Disk
		want           []string // device level bytes/MiB members
		err            string
	}{
		{reason: "a mirror over all disks, with what is left", config: `[{"size_gb": "MAX", "raid_level": "1", "controller": "software"}]`, disks: disks(10, 12),
			want: []string{"/dev/md0 1 9687 sda2@551+9688 sdb2@551+9688", "/dev/md127 1 550 sda1@1+550 sdb1@1+550"}},
		{reason: "size_gb is the volume's: its members have what makes it up", config: `[{"size_gb": 4, "raid_level": "1", "controller": "software"},
			{"size_gb": 6, "raid_level": "0", "controller": "software"}]`, disks: disks(10, 10),
			want: []string{"/dev/md0 1 4096 sda2@551+4097 sdb2@551+4097", "/dev/md1 0 6144 sda3@4648+3073 sdb3@4648+3073", "/dev/md127 1 550 sda1@1+550 sdb1@1+550"}},
		{reason: "the rest also if it comes first, and 1+0 of three disks", config: `[{"size_gb": "MAX", "raid_level": "1+0", "controller": "software"},
			{"size_gb": 1, "raid_level": "1", "controller": "software"}]`, disks: disks(10, 10, 10),
			want: []string{"/dev/md0 10 12993 sda2@551+8663 sdb2@551+8663 sdc2@551+8663", "/dev/md1 1 1024 sda3@9214+1025 sdb3@9214+1025 sdc3@9214+1025",
				"/dev/md127 1 550 sda1@1+550 sdb1@1+550 sdc1@1+550"}},
		{reason: "hints choose disks, each once", config: `[{"size_gb": 20, "raid_level": "1", "controller": "software", "physical_disks": [{"rotational": true}, {"rotational": true}]}]`,
			disks: disks(10, 60, 10, 70), want: []string{"/dev/md0 1 20480 sdb2@551+20481 sdd2@551+20481", "/dev/md127 1 550 sdb1@1+550 sdd1@1+550"}},
		{reason: "one disk is no RAID", config: `[{"size_gb": 4, "raid_level": "1", "controller": "software"}]`, disks: disks(10), err: "logical_disks[0]: RAID 1 needs 2 to 128 disks, there are 1 (/dev/sda)"},
		{reason: "too much asked", config: `[{"size_gb": 10, "raid_level": "1", "controller": "software"}]`, disks: disks(10, 10), err: "/dev/sda has 10240 MiB, the configuration needs 10793 MiB of it"},
		{reason: "one rest only", config: `[{"size_gb": "MAX", "raid_level": "1", "controller": "software"}, {"size_gb": "MAX", "raid_level": "0", "controller": "software"}]`,
			disks: disks(10, 10), err: `logical_disks[1]: size_gb is "MAX", but logical_disks[0] has the rest of /dev/sda already`},
		{reason: "nothing left", config: `[{"size_gb": 9, "raid_level": "1", "controller": "software"}, {"size_gb": "MAX", "raid_level": "0", "controller": "software"}]`,
			disks: disks(10, 10), err: `logical_disks[1]: size_gb is "MAX", but only 471 MiB of each disk are left`},
		{reason: "no such disk", config: `[{"size_gb": 4, "raid_level": "1", "controller": "software", "physical_disks": [{"name": "/dev/sda"}, {"name": "/dev/sdz"}]}]`,
			disks: disks(10, 10), err: `logical_disks[0]: physical_disks[1]: no suitable root disk`},
		{reason: "what the ramdisk cannot make", config: `[{"size_gb": 4, "raid_level": "5", "controller": "software"}]`, err: `logical_disks[0].raid_level is "5", software RAID has 0, 1 and 1+0`},
		{reason: "another's", config: `[{"size_gb": 4, "raid_level": "1"}]`, err: `logical_disks[0].controller is ""`},
		{reason: "half a gigabyte", config: `[{"size_gb": 0.5, "raid_level": "1", "controller": "software"}]`, err: `logical_disks[0].size_gb is 0.5`},
		{reason: "no size", config: `[{"raid_level": "1", "controller": "software"}]`, err: `logical_disks[0].size_gb is <nil>`},
		{reason: "names are kept in 32 bytes", config: `[{"size_gb": 1, "raid_level": "1", "controller": "software", "volume_name": "` + strings.Repeat("x", 33) + `"}]`, err: "volume_name has 33 bytes"},
		{reason: "a hint that is none", config: `[{"size_gb": 1, "raid_level": "1", "controller": "software", "physical_disks": [{"colour": "red"}]}]`, err: `physical_disks[0]: root device hint "colour" is unknown`},
		{reason: "two roots", config: `[{"size_gb": 1, "raid_level": "1", "controller": "software", "is_root_volume": true}, {"size_gb": 1, "raid_level": "1", "controller": "software", "is_root_volume": true}]`,
			err: "2 logical_disks have is_root_volume"},
		{reason: "nothing", config: `[]`, err: "has 0 logical_disks"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			config, err := ParseConfig(json.RawMessage(`{"logical_disks": ` + tt.config + `}`))
			var p Plan
			if err == nil {
				p, err = NewPlan(config, tt.disks)
			}
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range p.Arrays {
				s := fmt.Sprintf("%s %d %d", a.Device, a.Level, a.Bytes/mb)
				for _, m := range a.Members {
					s += fmt.Sprintf(" %s@%d+%d", strings.TrimPrefix(m.Path(), "/dev/"), m.Start/mb, m.Size/mb)
				}
				got = append(got, s)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMemberPath(t *testing.T) {
	for want, m := range map[string]Member{"/dev/sda2": {Disk: "/dev/sda", Number: 2}, "/dev/nvme0n1p2": {Disk: "/dev/nvme0n1", Number: 2}, "/dev/sda": {Disk: "/dev/sda"}} {
		if got := m.Path(); got != want {
			t.Errorf("%+v: %s, want %s", m, got, want)
		}
	}
}

// files are disks in files.
func files(t *testing.T, n int, size int64) (open func(path string) (disk.Device, error), list []hardware.Disk) {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		name := filepath.Join(dir, fmt.Sprintf("sd%c", 'a'+i))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, size); err != nil {
			t.Fatal(err)
		}
		list = append(list, hardware.Disk{Name: name, Size: size})
	}
	return func(path string) (disk.Device, error) { return disk.Open(path) }, list
}

// TestExamine has mdadm read what was written.
func TestExamine(t *testing.T) {
	mdadm, err := exec.LookPath("mdadm")
	if err != nil {
		t.Fatal("mdadm is needed to check superblocks: scripts/install-deps.sh")
	}
	open, list := files(t, 4, 6<<30)
	config, err := ParseConfig(json.RawMessage(`{"logical_disks": [
		{"size_gb": 1, "raid_level": "1", "controller": "software", "volume_name": "root"},
		{"size_gb": 2, "raid_level": "0", "controller": "software"},
		{"size_gb": "MAX", "raid_level": "1+0", "controller": "software", "volume_name": "data"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(config, list)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range p.Disks {
		dev, err := open(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Prepare(dev); err != nil {
			t.Fatal(err)
		}
		if err := dev.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range p.Arrays {
		if err := a.WriteSuperblocks(open, time.Unix(1700000000, 0)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string][]string{
		"root": {"Version : 1.2", "Feature Map : 0x0", "Raid Level : raid1", "Raid Devices : 4", "Array Size : 1048576 KiB", "Data Offset : 2048 sectors", "State : active", "Array State : AAAA"},
		"1":    {"Version : 1.2", "Raid Level : raid0", "Raid Devices : 4", "Chunk Size : 512K", "State : clean", "Array State : AAAA"},
		"data": {"Version : 1.2", "Raid Level : raid10", "Layout : near=2", "Chunk Size : 512K", "Raid Devices : 4", "Array State : AAAA"},
		"esp":  {"Version : 1.0", "Raid Level : raid1", "State : clean", "Array State : AAAA"},
	}
	blanks := regexp.MustCompile(`[ \t]+`)
	for _, a := range p.Arrays {
		for role, m := range a.Members {
			member := filepath.Join(t.TempDir(), "member")
			cut(t, m, member)
			out, err := exec.CommandContext(t.Context(), mdadm, "--examine", member).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v: %s", m.Path(), err, out)
			}
			text := blanks.ReplaceAllString(string(out), " ")
			for _, line := range append(want[a.Name], "Name : "+a.Name, "Checksum", "- correct", fmt.Sprintf("Device Role : Active device %d", role)) {
				if !strings.Contains(text, line) {
					t.Errorf("%s of %s: mdadm does not say %q:\n%s", m.Path(), a.Name, line, text)
				}
			}
		}
	}
	found, err := Scan(open, p.Disks)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(bare(p.Arrays), bare(found)); diff != "" {
		t.Errorf("arrays found again (-made +found):\n%s", diff)
	}
	if err := Wipe(found, open); err != nil {
		t.Fatal(err)
	}
	if found, err = Scan(open, p.Disks); err != nil || len(found) != 0 {
		t.Errorf("after wiping: %v, %v", found, err)
	}
}

// bare leaves out what no superblock tells.
func bare(arrays []Array) []Array {
	var out []Array
	for _, a := range arrays {
		a.Bytes = 0
		out = append(out, a)
	}
	return out
}

// cut makes a sparse file of the ends of a member, which is where superblocks are.
func cut(t *testing.T, m Member, to string) {
	t.Helper()
	from, err := os.Open(m.Disk)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	buf := make([]byte, mib)
	for _, at := range []int64{0, m.Size - mib} {
		if _, err := from.ReadAt(buf, m.Start+at); err != nil {
			t.Fatal(err)
		}
		if _, err := out.WriteAt(buf, at); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Superblock{Minor: 2, Name: "x", Created: time.Unix(1700000000, 0), Level: 1, Disks: 2, SuperOffset: 8}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(b, make([]byte, 4096)...)[:4096]
		if s, err := decode(b, 8); err == nil && s.Role >= int(roleFree) {
			t.Errorf("role %d", s.Role)
		}
	})
}
