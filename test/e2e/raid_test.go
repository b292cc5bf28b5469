package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/fat32"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

const raidNode = "5b6b6a2c-0000-4000-8000-00000000a1d0"

// raidIronic is as much of Ironic as the ramdisk of one machine sees.
type raidIronic struct {
	server *httptest.Server
	image  []byte
	mu     sync.Mutex
	root   map[string]any
	beats  chan struct{}
}

func newRAIDIronic(t *testing.T, image []byte) *raidIronic {
	t.Helper()
	i := &raidIronic{image: image, beats: make(chan struct{}, 1000)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/lookup", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		answer, err := json.Marshal(map[string]any{"node": map[string]any{"uuid": raidNode, "properties": map[string]any{"root_device": i.root}},
			"config": map[string]any{"heartbeat_timeout": 300}})
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(answer)
	})
	mux.HandleFunc("POST /v1/heartbeat/{node}", func(w http.ResponseWriter, _ *http.Request) {
		i.beats <- struct{}{}
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("GET /image", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(i.image))
	})
	i.server = httptest.NewServer(mux) // the machine reaches it through QEMU's own network stack
	t.Cleanup(i.server.Close)
	return i
}

// raidMachine is a virtual machine, with UEFI if not asked otherwise.
type raidMachine struct {
	t          *testing.T
	dir, agent string
	cmd        *exec.Cmd
	bios       bool // firmware is SeaBIOS, not OVMF
}

func newRAIDMachine(t *testing.T) *raidMachine {
	t.Helper()
	m := &raidMachine{t: t, dir: t.TempDir()}
	t.Cleanup(m.stop)
	vars, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "vars.fd"), vars, 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *raidMachine) start(args ...string) {
	m.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a free port; QEMU takes no open socket for a forwarding
	if err != nil {
		m.t.Fatal(err)
	}
	m.agent = l.Addr().String()
	if err := l.Close(); err != nil {
		m.t.Fatal(err)
	}
	console := filepath.Join(m.dir, "console.log")
	all := append([]string{"-machine", "q35,graphics=off", "-accel", "tcg,thread=multi", "-cpu", "Nehalem,+rdrand", "-smp", "2", "-m", "1024",
		"-nodefaults", "-display", "none", "-no-reboot", "-serial", "file:" + console,
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng", "-device", "virtio-scsi-pci",
		"-netdev", "user,id=n,hostfwd=tcp:" + m.agent + "-:9999", "-device", "virtio-net-pci,netdev=n,romfile=",
	}, args...)
	if !m.bios {
		all = append(all, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
			"-drive", "if=pflash,unit=1,format=raw,file="+filepath.Join(m.dir, "vars.fd"))
	}
	m.cmd = exec.Command("qemu-system-x86_64", all...)
	m.cmd.Stderr = os.Stderr
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
}

// disk is the argument for one of the machine's disks.
func (m *raidMachine) disk(n int) []string {
	id := fmt.Sprintf("d%d", n)
	return []string{"-drive", "if=none,format=raw,discard=unmap,id=" + id + ",file=" + m.file(n), "-device", fmt.Sprintf("scsi-hd,drive=%s,bootindex=%d", id, n+1)}
}

func (m *raidMachine) file(n int) string { return filepath.Join(m.dir, fmt.Sprintf("disk%d", n)) }

func (m *raidMachine) stop() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill() // it may have ended
	_ = m.cmd.Wait()
	m.cmd = nil
}

func (m *raidMachine) console() string {
	out, err := os.ReadFile(filepath.Join(m.dir, "console.log"))
	if err != nil {
		return err.Error()
	}
	return string(out[max(0, len(out)-6000):])
}

// awaitBeat returns when the ramdisk has called.
func (m *raidMachine) awaitBeat(i *raidIronic) {
	m.t.Helper()
	select {
	case <-i.beats:
	case <-time.After(5 * time.Minute):
		m.t.Fatalf("the ramdisk does not call; its console ends with\n%s", m.console())
	}
}

// command runs a command of the agent to its end.
func (m *raidMachine) command(name string, params any) map[string]any {
	m.t.Helper()
	body, err := json.Marshal(map[string]any{"name": name, "params": params})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+m.agent+"/v1/commands/?wait=true", bytes.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", name, err, m.console())
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(bufio.NewReader(resp.Body)).Decode(&out); err != nil {
		m.t.Fatal(err)
	}
	if out["command_status"] != "SUCCEEDED" {
		m.t.Fatalf("%s: %v\n%s", name, out, m.console())
	}
	result, _ := out["command_result"].(map[string]any)
	return result
}

// guestArgs are the kernel arguments of a guest whose processor is emulated: its timer is not tested, because the test
// takes a busy host for broken hardware and the kernel panics then ("IO-APIC + timer doesn't work!").
const guestArgs = "console=ttyS0,115200n8 no_timer_check"

// raidImage is a whole-disk image that starts by UEFI (systemd-boot) and by BIOS (syslinux): the kernel and the ramdisk
// again, which calls url.
func raidImage(t *testing.T, kernel, initrd, url string) []byte {
	t.Helper()
	const start, size, total = 1 << 20, 96 << 20, 100 << 20
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(total); err != nil {
		t.Fatal(err)
	}
	table := &gpt.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, ProtectiveMBR: true, GUID: "5B6B6A2C-0000-4000-8000-0000000000A1",
		Partitions: []*gpt.Partition{{Index: 1, Start: start / 512, End: (start+size)/512 - 1, Size: size, Type: gpt.EFISystemPartition, Name: "esp", Attributes: 1 << 2, // legacy BIOS bootable
			GUID: "5B6B6A2C-0000-4000-8000-0000000000A2"}}}
	w, err := file.New(f, false).Writable()
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Write(w, total); err != nil {
		t.Fatal(err)
	}
	fsys, err := fat32.Create(file.New(f, false), size, start, 512, "ESP", false)
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, dir := range []string{"/EFI", "/EFI/BOOT", "/loader", "/loader/entries"} {
		if err := fsys.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	for to, data := range map[string][]byte{
		"/EFI/BOOT/BOOTX64.EFI": read("/usr/lib/systemd/boot/efi/systemd-bootx64.efi"), "/vmlinuz": read(kernel), "/initrd": read(initrd),
		"/loader/entries/agent.conf": []byte("title agent\nlinux /vmlinuz\ninitrd /initrd\noptions " + guestArgs + " ipa-api-url=" + url + "\n"),
		"/syslinux.cfg":              []byte("DEFAULT agent\nPROMPT 0\nLABEL agent\n  LINUX /vmlinuz\n  INITRD /initrd\n  APPEND " + guestArgs + " ipa-api-url=" + url + "\n"),
	} {
		out, err := fsys.OpenFile(to, os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := exec.CommandContext(t.Context(), "syslinux", "--install", "--offset", fmt.Sprint(start), name).CombinedOutput(); err != nil {
		t.Fatalf("syslinux: %v\n%s", err, text)
	}
	if _, err := f.WriteAt(read("/usr/lib/syslinux/mbr/gptmbr.bin"), 0); err != nil {
		t.Fatal(err)
	}
	return read(name)
}

// TestQemuSoftwareRAID makes a RAID 1 in a virtual machine with UEFI, deploys onto it, takes one disk away and starts
// the machine from the other.
func TestQemuSoftwareRAID(t *testing.T) { testQemuRAID(t, false) }

// TestQemuSoftwareRAIDByBIOS is the same on a machine with a BIOS, which reads boot code from a disk's first sector.
func TestQemuSoftwareRAIDByBIOS(t *testing.T) { testQemuRAID(t, true) }

func testQemuRAID(t *testing.T, bios bool) {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("SKIPPED, SOFTWARE RAID IS NOT TESTED ON A KERNEL: qemu-system-x86 is not installed; run `make deps`")
	}
	kernel, initrd := ramdiskFiles(t)
	testRAID(t, kernel, initrd, bios)
}

// ramdiskFiles are the ramdisk's, built if TRIPLEO_RAMDISK names no folder with them.
func ramdiskFiles(t *testing.T) (kernel, initrd string) {
	t.Helper()
	needRoot(t)
	images := os.Getenv("TRIPLEO_RAMDISK")
	if images == "" {
		images = filepath.Join(filepath.Dir(imageCache(t)), "images-minimal")
		h := newHouse(t, 18230, "")
		h.tripleo(15*time.Minute, "overcloud", "image", "build", "--image-name", "ironic-python-agent", "--output-directory", images, "--cache-directory", filepath.Join(filepath.Dir(images), "build"))
	}
	return filepath.Join(images, "ironic-python-agent.kernel"), filepath.Join(images, "ironic-python-agent.initramfs")
}

func testRAID(t *testing.T, kernel, initrd string, bios bool) {
	t.Helper()
	i := newRAIDIronic(t, nil)
	_, port, err := net.SplitHostPort(i.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	url := "http://10.0.2.2:" + port // QEMU's name for the host's loopback
	i.image = raidImage(t, kernel, initrd, url)
	m := newRAIDMachine(t)
	m.bios = bios
	mode := map[bool]string{true: "bios", false: "uefi"}[bios]
	for n := range 2 {
		if err := os.WriteFile(m.file(n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(m.file(n), 5<<30); err != nil {
			t.Fatal(err)
		}
	}
	m.start(append(append(m.disk(0), m.disk(1)...), "-kernel", kernel, "-initrd", initrd, "-append", guestArgs+" ipa-api-url="+url)...)
	m.awaitBeat(i)
	node := map[string]any{"uuid": raidNode, "properties": map[string]any{}, "target_raid_config": map[string]any{"logical_disks": []any{
		map[string]any{"size_gb": 3, "raid_level": "1", "controller": "software", "is_root_volume": true, "volume_name": "system"},
		map[string]any{"size_gb": "MAX", "raid_level": "0", "controller": "software"}}}}
	step := func(name string) map[string]any {
		return m.command("clean.execute_clean_step", map[string]any{"step": map[string]any{"interface": "raid", "step": name}, "node": node, "ports": []any{}})
	}
	step("create_configuration")
	step("delete_configuration") // and once more, which shows that nothing is left
	step("create_configuration")
	node["properties"] = map[string]any{"root_device": map[string]any{"name": "/dev/md0"}}
	m.command("poll.set_node_info", map[string]any{"node_info": map[string]any{"node": node}})
	sum := sha256.Sum256(i.image)
	said := m.command("standby.prepare_image", map[string]any{"image_info": map[string]any{"id": "raid", "urls": []any{url + "/image"}, "disk_format": "raw", "container_format": "bare",
		"os_hash_algo": "sha256", "os_hash_value": hex.EncodeToString(sum[:])}})
	if !strings.Contains(fmt.Sprint(said), "/dev/md0") {
		t.Errorf("the image is on %v, expected /dev/md0", said)
	}
	m.command("image.install_bootloader", map[string]any{"target_boot_mode": mode})
	m.command("standby.sync", nil)
	m.stop()

	// Without the first disk, and without a kernel from outside.
	for len(i.beats) > 0 {
		<-i.beats
	}
	m.start(m.disk(1)...)
	m.awaitBeat(i)
	info, _ := m.command("poll.get_hardware_info", nil)["hardware_info"].(map[string]any)
	if boot, _ := info["boot"].(map[string]any); boot["current_boot_mode"] != mode {
		t.Errorf("started by %v, expected %s", boot, mode)
	}
	if text := fmt.Sprint(info["disks"]); !strings.Contains(text, "/dev/md0") {
		t.Errorf("the degraded mirror is not there after the machine started from the other disk: %s\n%s", text, m.console())
	}
	m.stop()
	checkMember(t, m.file(1))
}

// checkMember has mdadm judge the superblock that the kernel has written since.
func checkMember(t *testing.T, disk string) {
	t.Helper()
	const start = 551 << 20 // after the EFI system partition
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	name := filepath.Join(t.TempDir(), "member")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, io.NewSectionReader(f, start, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := out.Truncate(3073 << 20); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := exec.CommandContext(t.Context(), "mdadm", "--examine", name).CombinedOutput()
	if err != nil || !strings.Contains(string(text), "raid1") || !strings.Contains(string(text), "- correct") {
		t.Errorf("mdadm --examine: %v\n%s", err, text)
	}
}
