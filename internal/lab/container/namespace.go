package container

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/netns"
)

// netnsDir is where named network namespaces live (ip-netns(8)).
const netnsDir = "/run/netns"

// CreateNamespace makes a named network namespace with its loopback up, as
// `ip netns add` does. A namespace of that name must not exist.
func CreateNamespace(name string) error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return fmt.Errorf("network namespace %q: %w", name, err)
	}
	if err := shareNamespaces(); err != nil {
		return fmt.Errorf("network namespace %q: %w", name, err)
	}
	path := filepath.Join(netnsDir, name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return fmt.Errorf("network namespace %q: %w", name, err)
	}
	_ = f.Close()
	// The thread that enters the new namespace is not given back to the runtime.
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- bindNewNamespace(path)
	}()
	if err := <-done; err != nil {
		return errors.Join(fmt.Errorf("network namespace %q: %w", name, err), os.Remove(path))
	}
	return nil
}

// shareNamespaces makes the folder a shared mount of itself, as the first `ip
// netns add` of a machine does: when that came after us it would cover our
// namespaces, and they could not be removed.
func shareNamespaces() error {
	err := unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) { // EINVAL: it is no mount point yet
		return err
	}
	if err := unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", netnsDir, err)
	}
	if err := unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share %s: %w", netnsDir, err)
	}
	return nil
}

func bindNewNamespace(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	return nil
}

// DeleteNamespace removes a named network namespace; one that does not exist is fine.
func DeleteNamespace(name string) error {
	path := filepath.Join(netnsDir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("network namespace %q: unmount: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("network namespace %q: %w", name, err)
	}
	return nil
}

// LabNamespaces lists the named namespaces of the lab name: its own and its
// machines' (name-node0 and on).
func LabNamespaces(name string) ([]string, error) {
	entries, err := os.ReadDir(netnsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	ours, err := regexp.Compile("^" + regexp.QuoteMeta(name) + "(-node[0-9]+)?$")
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if ours.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// AddAddress gives an interface of a namespace an address in CIDR form.
func AddAddress(ns, link, cidr string) error {
	err := netns.Do(ns, func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		return netlink.AddrReplace(l, a)
	})
	if err != nil {
		return fmt.Errorf("address %s on %s of %q: %w", cidr, link, ns, err)
	}
	return nil
}

// resetInterface puts a machine's network back to what a freshly started
// kernel shows: only the loopback and its NIC, without address, link up, and no
// firewall of the system that ran before.
func resetInterface(ns, name string, mac net.HardwareAddr, mtu int) error {
	err := netns.Do(ns, func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			if n := l.Attrs().Name; n != name && n != "lo" {
				// What the last system made: bridges, VLANs, dummies. Some go with one that went before.
				if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
					return fmt.Errorf("delete %s: %w", n, err)
				}
			}
		}
		if err := flushFirewall(); err != nil {
			return err
		}
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return resetLink(l, mac, mtu)
	})
	if err != nil {
		return fmt.Errorf("reset %s of %q: %w", name, ns, err)
	}
	return nil
}

// flushFirewall removes all tables of nftables, iptables' and ebtables' among
// them, from the namespace that the thread is in.
func flushFirewall() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	c.FlushRuleset()
	if err := c.Flush(); err != nil {
		return fmt.Errorf("firewall: %w", err)
	}
	return nil
}

func resetLink(l netlink.Link, mac net.HardwareAddr, mtu int) error {
	if err := netlink.LinkSetNoMaster(l); err != nil {
		return fmt.Errorf("no master: %w", err)
	}
	if err := netlink.LinkSetDown(l); err != nil { // also drops its routes and IPv6 addresses
		return fmt.Errorf("down: %w", err)
	}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	for i := range addrs {
		if err := netlink.AddrDel(l, &addrs[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("delete %s: %w", addrs[i], err)
		}
	}
	if err := netlink.LinkSetHardwareAddr(l, mac); err != nil {
		return fmt.Errorf("MAC: %w", err)
	}
	if err := netlink.LinkSetMTU(l, mtu); err != nil {
		return fmt.Errorf("MTU: %w", err)
	}
	return netlink.LinkSetUp(l)
}
