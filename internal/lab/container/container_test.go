package container

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/pin/tftp/v3"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/vswitch"
	"github.com/tripleo/tripleo/internal/netns"
)

func TestMain(m *testing.M) {
	if IsChild(os.Args) {
		fmt.Fprintln(os.Stderr, ChildMain())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// console collects what a machine prints and tells when a text appears.
type console struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{}
}

func newConsole() *console { return &console{more: make(chan struct{}, 1)} }

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
	c.buf.Write(bytes.ReplaceAll(p, []byte("\r"), nil))
	return len(p), nil
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

func (c *console) wait(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !strings.Contains(c.String(), text) {
		select {
		case <-c.more:
		case <-deadline:
			t.Fatalf("the console never said %q:\n%s", text, c)
		}
	}
}

// rack is a switch with a server's namespace and one machine.
type rack struct {
	server  string
	m       *Machine
	mach    *machine.Machine
	console *console
}

const testUUID = "6b1d2f3a-0001-4c5d-8e9f-52540024b001"

func newRack(t *testing.T) *rack {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root (namespaces, loop devices)")
	}
	b := make([]byte, 3)
	_, _ = rand.Read(b)
	name := "labt-" + hex.EncodeToString(b)
	sw := vswitch.New()
	t.Cleanup(func() { _ = sw.Close() })
	mac := net.HardwareAddr{0x52, 0x54, 0, 0x24, 0, 1}
	for ns, link := range map[string]string{name: "prov0", name + "-node0": "eth0"} {
		if err := CreateNamespace(ns); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := DeleteNamespace(ns); err != nil {
				t.Error(err)
			}
		})
		tap, err := vswitch.OpenTap(vswitch.TapConfig{Namespace: ns, Name: link})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sw.AddPort(ns, tap, vswitch.Access(1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := AddAddress(name, "prov0", "192.168.24.1/24"); err != nil {
		t.Fatal(err)
	}
	info := bmc.Info{
		Name: "node-0", UUID: testUUID, Manufacturer: "tripleo", Product: "lab machine", Serial: "LAB0001", BIOSVersion: "1.0",
		CPUs: 4, MemoryMiB: 4096, DiskBytes: 64 << 20, NICs: []bmc.NIC{{Name: "eth0", MAC: mac.String()}},
	}
	hw, err := New(Config{Info: info, Name: name + "-node0", Cgroup: name + "/node0", Dir: t.TempDir(), NIC: "eth0", MAC: mac, MTU: 1500, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r := &rack{server: name, m: hw, console: newConsole()}
	r.mach = machine.New(machine.Options{Info: info, Hardware: hw, Console: r.console, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.mach.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := hw.Close(); err != nil {
			t.Error(err)
		}
		if err := RemoveCgroup(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	return r
}

// initramfs packs the test's init.
func initramfs(t *testing.T) []byte {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "init")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./testdata/init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the test's init: %v\n%s", err, out)
	}
	content, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := cpio.Newc.Writer(&b)
	if err := cpio.WriteRecords(w, []cpio.Record{cpio.StaticFile("init", string(content), 0o755)}); err != nil {
		t.Fatal(err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// bootServer answers DHCP, TFTP and HTTP in the rack's server namespace, as an
// undercloud does.
func bootServer(t *testing.T, r *rack, initrd []byte, args string) {
	t.Helper()
	handler := func(conn net.PacketConn, _ net.Addr, req *dhcpv4.DHCPv4) {
		typ := dhcpv4.MessageTypeOffer
		if req.MessageType() == dhcpv4.MessageTypeRequest {
			typ = dhcpv4.MessageTypeAck
		}
		file := "undionly.kpxe"
		if string(req.Options.Get(dhcpv4.OptionUserClassInformation)) == "iPXE" {
			file = "http://192.168.24.1:8088/boot.ipxe"
		}
		if !strings.HasPrefix(req.ClassIdentifier(), "PXEClient:Arch:00000") || len(req.Options.Get(dhcpv4.OptionClientMachineIdentifier)) != 17 {
			t.Errorf("a PXE client sends its class and machine identifier; got %s", req.Summary())
		}
		resp, err := dhcpv4.NewReplyFromRequest(req, dhcpv4.WithMessageType(typ), dhcpv4.WithYourIP(net.IPv4(192, 168, 24, 100)),
			dhcpv4.WithServerIP(net.IPv4(192, 168, 24, 1)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 168, 24, 1))),
			dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithRouter(net.IPv4(192, 168, 24, 1)), dhcpv4.WithLeaseTime(600),
			dhcpv4.WithOption(dhcpv4.OptBootFileName(file)))
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := conn.WriteTo(resp.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 68}); err != nil {
			t.Error(err)
		}
	}
	var dhcp *server4.Server
	if err := netns.Do(r.server, func() error {
		var err error
		dhcp, err = server4.NewServer("prov0", nil, handler)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	go func() { _ = dhcp.Serve() }()
	tconn, err := netns.ListenPacket(r.server, "udp4", "192.168.24.1:69")
	if err != nil {
		t.Fatal(err)
	}
	tsrv := tftp.NewServer(func(name string, rf io.ReaderFrom) error {
		_, err := rf.ReadFrom(strings.NewReader("loader " + name))
		return err
	}, nil)
	tsrv.EnableSinglePort()
	go func() { _ = tsrv.Serve(tconn.(*net.UDPConn)) }()
	l, err := netns.Listen(r.server, "tcp4", "192.168.24.1:8088")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/boot.ipxe", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "#!ipxe\nkernel kernel %s mac=${net0/mac} || goto fail\ninitrd initrd\nboot\n:fail\nreboot\n", args) //nolint:dupword // a command and the name of its file
	})
	mux.HandleFunc("/kernel", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("MZ")) })
	mux.HandleFunc("/initrd", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(initrd) })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() {
		_ = dhcp.Close()
		tsrv.Shutdown()
		_ = srv.Close()
	})
}

func TestNetworkBootToPowerOff(t *testing.T) {
	r := newRack(t)
	bootServer(t, r, initramfs(t), "end=poweroff")
	if err := r.mach.SetBoot(bmc.BootOverride{Device: bmc.PXE}); err != nil {
		t.Fatal(err)
	}
	if err := r.mach.Power(bmc.On); err != nil {
		t.Fatal(err)
	}
	r.console.wait(t, "disk written: <nil>")
	for _, want := range []string{
		"PXE: tftp://192.168.24.1/undionly.kpxe... ok",
		"hello from PID 1: end=poweroff mac=52:54:00:24:00:01",
		"mount devtmpfs: busy=true", "mount sysfs: busy=true", "mount proc: busy=true",
		"kernel settings: read-only=true", "clock: refused=true",
		"disks: 1, sda has 131072 sectors",
		"uuid: " + testUUID,
		"eth0: 52:54:00:24:00:01, has a device: true",
		"interface eth0 up=true addresses=1", // IPv6 link-local only: what DHCP gave the firmware is gone
		"cpus: 4, MemTotal: 4128768 kB",
	} {
		if !strings.Contains(r.console.String(), want) {
			t.Errorf("the console does not say %q:\n%s", want, r.console)
		}
	}
	if strings.Contains(r.console.String(), "another disk: <nil>") {
		t.Error("the ramdisk could open another disk than its own")
	}
	waitOff(t, r)
	b := make([]byte, 15)
	f, err := os.Open(r.m.disk)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.ReadAt(b, 4096); err != nil || string(b) != "written by init" {
		t.Errorf("the disk's file holds %q, %v", b, err)
	}
}

func waitOff(t *testing.T, r *rack) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for r.mach.PoweredOn() {
		if time.Now().After(deadline) {
			t.Fatalf("the machine stays on:\n%s", r.console)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestRebootAndPowerCut(t *testing.T) {
	r := newRack(t)
	bootServer(t, r, initramfs(t), "end=reboot")
	if err := r.mach.SetBoot(bmc.BootOverride{Device: bmc.PXE, Persistent: true}); err != nil {
		t.Fatal(err)
	}
	if err := r.mach.Power(bmc.On); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for r.mach.Status().Boots < 3 {
		if time.Now().After(deadline) {
			t.Fatalf("the machine does not restart:\n%s", r.console)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := r.mach.Power(bmc.Off); err != nil {
		t.Fatal(err)
	}
	waitOff(t, r)
	if n := cgroup(r.m.cfg.Cgroup).signal(0); n != 0 {
		t.Errorf("%d processes survive the power cut", n)
	}
}

func TestPanicLeavesTheMachineOn(t *testing.T) {
	r := newRack(t)
	bootServer(t, r, initramfs(t), "end=panic")
	if err := r.mach.SetBoot(bmc.BootOverride{Device: bmc.PXE}); err != nil {
		t.Fatal(err)
	}
	if err := r.mach.Power(bmc.On); err != nil {
		t.Fatal(err)
	}
	r.console.wait(t, "attempted to kill init! exitcode=0x00000700")
	if !r.mach.PoweredOn() {
		t.Error("a kernel panic does not switch a machine off")
	}
}

func TestNothingToBoot(t *testing.T) {
	r := newRack(t)
	if err := r.mach.SetBoot(bmc.BootOverride{Device: bmc.Disk}); err != nil {
		t.Fatal(err)
	}
	if err := r.mach.Power(bmc.On); err != nil {
		t.Fatal(err)
	}
	r.console.wait(t, "no bootable system on the disk")
	r.console.wait(t, "DHCP: no lease")
	r.console.wait(t, "no bootable device")
}

// TestBadDisk: a bad disk takes no data, also from who has it open already, and takes them again once it is repaired.
func TestBadDisk(t *testing.T) {
	r := newRack(t)
	disk, err := os.OpenFile(r.m.loop.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = disk.Close() }()
	writable := func() error {
		_, err := disk.WriteAt(make([]byte, 4096), 8192)
		return err
	}
	if err := writable(); err != nil {
		t.Fatalf("a good disk: %v", err)
	}
	for range 2 {
		if err := r.m.SetBadDisk(true); err != nil {
			t.Fatal(err)
		}
		if err := writable(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a bad disk took data: %v", err)
		}
		if err := r.m.SetBadDisk(false); err != nil {
			t.Fatal(err)
		}
		if err := writable(); err != nil {
			t.Errorf("a repaired disk: %v", err)
		}
	}
}
