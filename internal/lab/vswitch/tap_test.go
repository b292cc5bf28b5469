package vswitch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/tripleo/tripleo/internal/netns"
)

// testNamespace makes a network namespace that lives as long as the test.
func testNamespace(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root (network namespaces)")
	}
	b := make([]byte, 4)
	_, _ = rand.Read(b)
	name := "vswt-" + hex.EncodeToString(b)
	if out, err := exec.CommandContext(context.Background(), "ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "ip", "netns", "del", name).Run() })
	return name
}

func plug(t testing.TB, sw *Switch, addr string) string {
	t.Helper()
	ns := testNamespace(t)
	tap, err := OpenTap(TapConfig{Namespace: ns, Name: "eth0"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sw.AddPort(ns, tap, Access(1)); err != nil {
		t.Fatal(err)
	}
	err = netns.Do(ns, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, a)
	})
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

// TestTapThroughput moves TCP between two namespaces through the switch. The
// floor is far below what it does, so that a busy machine passes.
func TestTapThroughput(t *testing.T) {
	sw := New()
	t.Cleanup(func() { _ = sw.Close() })
	server, client := plug(t, sw, "10.99.0.1/24"), plug(t, sw, "10.99.0.2/24")
	l, err := netns.Listen(server, "tcp", "10.99.0.1:5001")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	const total = 512 << 20
	got := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- err
			return
		}
		n, err := io.Copy(io.Discard, struct{ io.Reader }{c})
		if err == nil && n != total {
			err = fmt.Errorf("received %d bytes, want %d", n, total)
		}
		got <- err
	}()
	c, err := netns.Dialer(client)(t.Context(), "tcp", "10.99.0.1:5001")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	chunk := make([]byte, 1<<20)
	for range total / len(chunk) {
		if _, err := c.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	rate := float64(total) / 1e6 / time.Since(start).Seconds()
	t.Logf("%.0f MB/s of TCP through the switch", rate)
	if rate < 50 {
		t.Errorf("%.0f MB/s, want at least 50", rate)
	}
}
