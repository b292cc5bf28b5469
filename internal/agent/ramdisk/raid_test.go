package ramdisk

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/agent/disk"
	"github.com/tripleo/tripleo/internal/agent/md"
)

// arraysFake is a kernel that has arrays in files: what is written to one is not on its members.
type arraysFake struct {
	dir   string
	sys   fstest.MapFS
	mu    sync.Mutex
	fails string // device that does not start
	runs  map[string]md.Array
}

func (f *arraysFake) Assemble(a md.Array) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.Device == f.fails {
		return errors.New("invalid superblock")
	}
	if _, twice := f.runs[a.Device]; twice {
		return fmt.Errorf("%s runs already", a.Device)
	}
	f.runs[a.Device] = a
	name := filepath.Base(a.Device)
	if err := os.WriteFile(filepath.Join(f.dir, name), nil, 0o600); err != nil {
		return err
	}
	return os.Truncate(filepath.Join(f.dir, name), 600<<20)
}

func (f *arraysFake) Stop(device string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.runs, device)
	return nil
}

func (f *arraysFake) running() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.runs))
}

// raidMachine is a machine with two disks of 8 GiB whose arrays are an arraysFake's.
func raidMachine(t *testing.T, i *ironic, dir string) (*machine, *arraysFake) {
	t.Helper()
	f := &arraysFake{dir: dir, runs: map[string]md.Array{}}
	m := start(t, i, func(o *Options) {
		f.sys, _ = o.Sources.Sys.(fstest.MapFS)
		for _, d := range []string{"sda", "sdb"} {
			name := filepath.Join(dir, d)
			if _, err := os.Stat(name); err != nil {
				if err := os.WriteFile(name, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(name, 8<<30); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.sys["block/sdb/size"] = f.sys["block/sda/size"]
		o.Arrays = f
		o.OpenDisk = func(path string) (disk.Device, error) {
			d, err := disk.Open(filepath.Join(dir, filepath.Base(path)))
			if err != nil {
				return nil, err
			}
			return named{d, path}, nil
		}
		o.OpenShared = o.OpenDisk
	})
	return m, f
}

// named is a device under the name that the agent knows it by.
type named struct {
	disk.Device
	path string
}

func (n named) Path() string { return n.path }

func TestSoftwareRAID(t *testing.T) {
	i := newIronic(t)
	dir := t.TempDir()
	m, f := raidMachine(t, i, dir)
	m.beat(i)
	node := map[string]any{"uuid": nodeUUID, "properties": map[string]any{}, "target_raid_config": map[string]any{"logical_disks": []any{
		map[string]any{"size_gb": 5, "raid_level": "1", "controller": "software", "is_root_volume": true, "volume_name": "system"},
		map[string]any{"size_gb": "MAX", "raid_level": "0", "controller": "software"}}}}
	step := func(name string, args any) answer {
		return m.command("clean.execute_clean_step", map[string]any{"step": map[string]any{"interface": "raid", "step": name, "args": args}, "node": node, "ports": []any{},
			"clean_version": map[string]any{managerName: managerVersion}})
	}
	list := m.command("clean.get_clean_steps", map[string]any{"node": node, "ports": []any{}})
	if text := fmt.Sprint(list.Result); !strings.Contains(text, stepCreateRAID) || !strings.Contains(text, stepDeleteRAID) {
		t.Fatalf("clean steps: %s", text)
	}
	made := step(stepCreateRAID, map[string]any{})
	want := map[string]any{"logical_disks": []any{
		map[string]any{"size_gb": 5.0, "raid_level": "1", "controller": "software", "is_root_volume": true, "volume_name": "system",
			"physical_disks": []any{"/dev/sda", "/dev/sdb"}, "root_device_hint": map[string]any{"name": "/dev/md0"}},
		map[string]any{"size_gb": 4.0, "raid_level": "0", "controller": "software", "volume_name": "1", "physical_disks": []any{"/dev/sda", "/dev/sdb"}}}}
	if diff := cmp.Diff(want, made.Result["clean_result"]); diff != "" {
		t.Fatalf("raid_config (-want +got):\n%s\n%v", diff, made)
	}
	if diff := cmp.Diff([]string{"/dev/md0", "/dev/md1", "/dev/md127"}, f.running()); diff != "" {
		t.Errorf("arrays (-want +got):\n%s", diff)
	}
	// Twice is refused, as the disks are in use.
	if again := step(stepCreateRAID, map[string]any{}); !strings.Contains(fmt.Sprint(again.Error), "/dev/sda has partitions") {
		t.Errorf("a second time: %v", again)
	}
	// Another start of the ramdisk finds the arrays.
	j := newIronic(t)
	other, g := raidMachine(t, j, dir)
	other.beat(j)
	if diff := cmp.Diff([]string{"/dev/md0", "/dev/md1", "/dev/md127"}, g.running()); diff != "" {
		t.Errorf("arrays after a restart (-want +got):\n%s", diff)
	}
	if gone := step(stepDeleteRAID, nil); gone.Status != statusSucceeded {
		t.Fatalf("delete: %v", gone)
	}
	if left := f.running(); len(left) > 0 {
		t.Errorf("arrays that still run: %v", left)
	}
	if again := step(stepDeleteRAID, nil); again.Status != statusSucceeded {
		t.Errorf("nothing to delete: %v", again)
	}
	node["target_raid_config"] = map[string]any{}
	if none := step(stepCreateRAID, nil); !strings.Contains(fmt.Sprint(none.Error), "0 logical_disks") {
		t.Errorf("no configuration: %v", none)
	}
	f.mu.Lock()
	f.fails = "/dev/md0"
	f.mu.Unlock()
	bad := m.command("deploy.execute_deploy_step", map[string]any{"node": node, "ports": []any{}, "step": map[string]any{"interface": "raid", "step": stepApplyRAID,
		"args": map[string]any{"raid_config": map[string]any{"logical_disks": []any{map[string]any{"size_gb": 1, "raid_level": "1", "controller": "software"}}}}}})
	if !strings.Contains(fmt.Sprintf("%+v", *bad.Error), "SoftwareRAIDError") || !strings.Contains(fmt.Sprint(bad.Error), "invalid superblock") {
		t.Errorf("an array that does not start: %v", bad)
	}
}
