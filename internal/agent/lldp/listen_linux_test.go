package lldp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/tripleo/tripleo/internal/lab/vswitch"
	"github.com/tripleo/tripleo/internal/netns"
)

// machineOnSwitch makes a namespace with eth0, whose cable ends in a switch
// that announces itself, and eth1, which has no cable.
func machineOnSwitch(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, LLDP IS NOT HEARD BY A SOCKET: network namespaces need root")
	}
	b := make([]byte, 4)
	_, _ = rand.Read(b)
	name := "lldp-" + hex.EncodeToString(b)
	if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "ip", "netns", "del", name).Run() })
	tap, err := vswitch.OpenTap(vswitch.TapConfig{Namespace: name, Name: "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	sw := vswitch.New()
	t.Cleanup(func() { _ = sw.Close() })
	if _, err := sw.AddPort("node-7", tap, vswitch.Access(5)); err != nil {
		t.Fatal(err)
	}
	if err := netns.Do(name, func() error {
		return netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, Mode: netlink.TUNTAP_MODE_TAP})
	}); err != nil {
		t.Fatal(err)
	}
	mac, err := net.ParseMAC("02:00:5e:00:00:07")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- sw.Announce(ctx, vswitch.Chassis{MAC: mac, Name: "lab"}, 50*time.Millisecond) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return name
}

func listenIn(t *testing.T, ns string, names []string, timeout time.Duration, connected func(string) bool) map[string][]TLV {
	t.Helper()
	var heard map[string][]TLV
	err := netns.Do(ns, func() error {
		heard = Listen(t.Context(), names, timeout, connected, slog.New(slog.DiscardHandler))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return heard
}

// The cable's end is heard; a port without cable and one that does not exist
// do not hold the others up for the minute that is allowed.
func TestSwitchIsHeard(t *testing.T) {
	ns := machineOnSwitch(t)
	begin := time.Now()
	heard := listenIn(t, ns, []string{"eth0", "eth1", "eth9"}, time.Minute, func(name string) bool { return name == "eth0" })
	if spent := time.Since(begin); spent > 50*time.Second {
		t.Errorf("listened for %s, although all that have a link were heard", spent)
	}
	got, err := json.Marshal(heard)
	if err != nil || len(heard) != 1 || !strings.Contains(string(got), `{"eth0":[[1,"0402005e000007"],[2,"05`+hex.EncodeToString([]byte("node-7"))+`"],`) {
		t.Errorf("heard %s, %v", got, err)
	}
}

// A switch that says nothing costs the time that was allowed and no more.
func TestSilenceEnds(t *testing.T) {
	ns := machineOnSwitch(t)
	if heard := listenIn(t, ns, []string{"eth1"}, 100*time.Millisecond, func(string) bool { return true }); len(heard) != 0 {
		t.Errorf("heard %v where there is no cable", heard)
	}
	if heard := listenIn(t, ns, nil, time.Minute, func(string) bool { return true }); len(heard) != 0 {
		t.Errorf("heard %v on no interface", heard)
	}
}
