package dhcp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/ipv6"

	"github.com/tripleo/tripleo/internal/netns"
	"github.com/tripleo/tripleo/internal/network/dhcp"
)

// run runs a command and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput() //nolint:gosec // fixed by the test
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// cable makes two namespaces with a cable between them: the server's end is
// "srv", the client's "cli" and has the MAC of the tests' machine.
func cable(t *testing.T) (server, client string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: network namespaces need root")
	}
	server, client = fmt.Sprintf("dhcp6s%d", os.Getpid()), fmt.Sprintf("dhcp6c%d", os.Getpid())
	for _, ns := range []string{server, client} {
		run(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "ip", "netns", "del", ns).Run() }) //nolint:gosec // our own name
		run(t, "ip", "netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.disable_ipv6=0")
	}
	run(t, "ip", "link", "add", "srv", "netns", server, "type", "veth", "peer", "name", "cli", "netns", client)
	run(t, "ip", "-n", client, "link", "set", "cli", "address", mac.String())
	ends := map[string]string{server: "srv", client: "cli"}
	for ns, dev := range ends {
		run(t, "ip", "-n", ns, "link", "set", dev, "up")
	}
	for ns, dev := range ends { // link-local addresses come some time after the carrier
		for try := 0; !strings.Contains(run(t, "ip", "-n", ns, "-6", "addr", "show", "dev", dev, "scope", "link"), "fe80::"); try++ {
			if try == 600 {
				t.Fatalf("%s has no link-local address", dev)
			}
			time.Sleep(50 * time.Millisecond) // the kernel works
		}
	}
	return server, client
}

// listen6 opens a socket of the server's side.
func listen6(t *testing.T, ns, network, addr, group string) net.PacketConn {
	t.Helper()
	var conn net.PacketConn
	err := netns.Do(ns, func() error {
		i, err := net.InterfaceByName("srv")
		if err != nil {
			return err
		}
		if conn, err = new(net.ListenConfig).ListenPacket(t.Context(), network, addr); err != nil {
			return err
		}
		six := ipv6.NewPacketConn(conn)
		return errors.Join(six.JoinGroup(i, &net.UDPAddr{IP: net.ParseIP(group)}), six.SetMulticastInterface(i), six.SetMulticastHopLimit(255))
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// realClient6 has ISC's client ask for addresses and for information, and
// Linux make an address of an advertisement.
func realClient6(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("tests with clients nobody here wrote run without -short")
	}
	if _, err := exec.LookPath("dhclient"); err != nil {
		t.Skip("CLIENT MISSING: install the package isc-dhcp-client")
	}
	server, client := cable(t)
	conn, router := listen6(t, server, "udp6", "[::]:547", "ff02::1:2"), listen6(t, server, "ip6:ipv6-icmp", "::", "ff02::2")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- server6().Serve(ctx, conn) }()
	go func() {
		done <- dhcp.Advertise(ctx, router, func(context.Context) (*dhcp.Advertisement, error) {
			return &dhcp.Advertisement{Other: true, MTU: 1400, Prefixes: []dhcp.AdvertisedPrefix{{Prefix: netip.MustParsePrefix("fd00:25::/64"), Auto: true, Valid: time.Hour, Preferred: time.Hour}}}, nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		_, _ = conn.Close(), router.Close()
	})
	slaac := ""
	for range 200 {
		if slaac = run(t, "ip", "-n", client, "-6", "addr", "show", "dev", "cli", "scope", "global"); strings.Contains(slaac, "fd00:25::5054:ff:fe24:1/64") {
			break
		}
		time.Sleep(50 * time.Millisecond) // the kernel works
	}
	if !strings.Contains(slaac, "fd00:25::5054:ff:fe24:1/64") {
		t.Errorf("Linux made no address of the advertisement:\n%s", slaac)
	}
	if got := run(t, "ip", "netns", "exec", client, "cat", "/proc/sys/net/ipv6/conf/cli/mtu"); strings.TrimSpace(got) != "1400" {
		t.Errorf("Linux took the MTU %s", got)
	}
	env := dhclient(t, client, "-D", "LL")
	if !strings.Contains(env, "new_ip6_address=fd00:24::55\n") || !strings.Contains(env, "new_dhcp6_name_servers=fd00:24::1\n") || !strings.Contains(env, "new_dhcp6_domain_search=example.org.\n") {
		t.Errorf("ISC's client was told:\n%s", env)
	}
	env = dhclient(t, client, "-S", "-D", "LL")
	if strings.Contains(env, "new_ip6_address") || !strings.Contains(env, "new_dhcp6_name_servers=fd00:24::1\n") {
		t.Errorf("ISC's client, asking for information only, was told:\n%s", env)
	}
}

// dhclient runs ISC's client once, and returns what its script was told.
func dhclient(t *testing.T, ns string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	script, told := filepath.Join(dir, "script"), filepath.Join(dir, "told")
	// PREINIT6 is before anything is known.
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$reason\" = PREINIT6 ] || env >> "+told+"\n"), 0o700); err != nil { //nolint:gosec // a script
		t.Fatal(err)
	}
	all := append([]string{"netns", "exec", ns, "dhclient", "-6", "-1", "-d", "-v", "-sf", script, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid")}, args...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", append(all, "cli")...) //nolint:gosec // fixed by the test
	cmd.WaitDelay = time.Second
	var log strings.Builder
	cmd.Stderr, cmd.Stdout = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out []byte
	for range 600 {
		out, _ = os.ReadFile(told)
		if len(out) > 0 {
			break
		}
		time.Sleep(50 * time.Millisecond) // another process works
	}
	cancel()
	_ = cmd.Wait() // says that it was killed
	if len(out) == 0 {
		t.Errorf("ISC's client was told nothing:\n%s", log.String())
	}
	return string(out)
}
