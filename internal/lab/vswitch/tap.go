package vswitch

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/netns"
)

// Tap is a TAP network device; it exists as long as it is open.
type Tap struct {
	*os.File
	name string
}

// Name returns the interface's name inside its namespace.
func (t *Tap) Name() string { return t.name }

// TapConfig describes a TAP device.
type TapConfig struct {
	// Namespace is the network namespace the interface lives in; empty means the current one.
	Namespace string
	// Name is the interface's name (at most 15 bytes).
	Name string
	// MAC is the interface's address; nil lets the kernel choose.
	MAC net.HardwareAddr
	// MTU in bytes; zero means 1500.
	MTU int
	// NoOffload makes the kernel finish every frame it sends, because a port of the switch cannot: a virtual machine's.
	NoOffload bool
}

// OpenTap makes a TAP device inside its namespace, with checksum and
// segmentation offload unless told otherwise (the peer is the switch, which
// passes such work on), and sets it up. The device vanishes when the Tap is closed or its process dies.
func OpenTap(cfg TapConfig) (*Tap, error) {
	var t *Tap
	err := netns.Do(cfg.Namespace, func() error {
		var err error
		if t, err = openTap(cfg.Name, cfg.NoOffload); err != nil {
			return err
		}
		if err := configureLink(cfg); err != nil {
			return errors.Join(err, t.Close())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tap %q in namespace %q: %w", cfg.Name, cfg.Namespace, err)
	}
	return t, nil
}

func openTap(name string, plain bool) (*Tap, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("interface name: %w", err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("TUNSETIFF: %w", err)
	}
	offload := unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	if plain {
		offload = 0
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offload); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("TUNSETOFFLOAD: %w", err)
	}
	// Only now may the runtime's poller see the file: before TUNSETIFF it polls as an error.
	return &Tap{File: os.NewFile(uintptr(fd), "tap:"+name), name: name}, nil
}

func configureLink(cfg TapConfig) error {
	link, err := netlink.LinkByName(cfg.Name)
	if err != nil {
		return fmt.Errorf("find the interface: %w", err)
	}
	if cfg.MAC != nil {
		if err := netlink.LinkSetHardwareAddr(link, cfg.MAC); err != nil {
			return fmt.Errorf("set address %s: %w", cfg.MAC, err)
		}
	}
	if cfg.MTU > 0 {
		if err := netlink.LinkSetMTU(link, cfg.MTU); err != nil {
			return fmt.Errorf("set MTU %d: %w", cfg.MTU, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	return nil
}
