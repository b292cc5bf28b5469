package baremetal

import (
	"net/netip"
	"strings"

	"github.com/tripleo/tripleo/internal/baremetal/drivers"
)

// isBootOption says whether bootOptions sets an option of this name.
func isBootOption(name string) bool {
	if strings.HasPrefix(name, "tag:") {
		return true
	}
	switch name {
	case "59", "66", "67", "150", "server-ip-address", "tftp-server", "bootfile-name", "bootfile-url":
		return true
	default:
		return false
	}
}

// bootOptions are the DHCP options a card of a node boots the ramdisk with:
// firmware gets iPXE over TFTP, or over HTTP where it asks so (UEFI HTTP boot),
// iPXE gets the node's script over HTTP. They are for the protocol of the
// undercloud's address, because everything that follows is fetched from there:
// what [pxe]ip_version decides in ironic.conf. Where several apply the last one
// wins, hence the architecture's loaders after the general one.
func (s *Service) bootOptions(n *Node, mac string) []dhcpOption {
	host := s.nodeHost()
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		return s.bootOptions6(n, mac, a)
	}
	first := s.cfg.BIOSLoader
	if n.wantedBootMode() == drivers.BootModeUEFI {
		first = s.cfg.UEFILoader
	}
	opts := []dhcpOption{
		{Name: "tag:!ipxe,67", Value: first},
		{Name: "tag:!ipxe,tag:efi-x86_64,67", Value: s.cfg.UEFILoader},
		{Name: "tag:!ipxe,tag:efi-arm64,67", Value: s.cfg.ARM64Loader},
	}
	if n.Interfaces["boot"] == bootHTTP {
		opts = nil // firmware that asks for TFTP gets nothing
	}
	opts = append(opts,
		dhcpOption{Name: "tag:!ipxe,tag:http,tag:efi-x86_64,67", Value: s.loaderURL(s.cfg.UEFILoader)},
		dhcpOption{Name: "tag:!ipxe,tag:http,tag:efi-arm64,67", Value: s.loaderURL(s.cfg.ARM64Loader)},
		dhcpOption{Name: "tag:ipxe,67", Value: s.scriptURL(mac)})
	if host != "" {
		opts = append(opts, dhcpOption{Name: "66", Value: host}, dhcpOption{Name: "150", Value: host}, dhcpOption{Name: "server-ip-address", Value: host})
	}
	for i := range opts {
		opts[i].IP = 4
	}
	return opts
}

// bootOptions6 are those of DHCPv6 (RFC 5970): one option, whose URL names
// server and protocol too. Only UEFI boots by IPv6; a BIOS has to come with
// iPXE. The tag ipxe6 is dnsmasq's for iPXE in DHCPv6, as Ironic writes it.
func (s *Service) bootOptions6(n *Node, mac string, host netip.Addr) []dhcpOption {
	var opts []dhcpOption
	if n.Interfaces["boot"] != bootHTTP {
		tftp := "tftp://[" + host.String() + "]/"
		opts = append(opts, dhcpOption{Name: "tag:!ipxe6,tag:efi-x86_64,59", Value: tftp + s.cfg.UEFILoader},
			dhcpOption{Name: "tag:!ipxe6,tag:efi-arm64,59", Value: tftp + s.cfg.ARM64Loader})
	}
	opts = append(opts,
		dhcpOption{Name: "tag:!ipxe6,tag:http,tag:efi-x86_64,59", Value: s.loaderURL(s.cfg.UEFILoader)},
		dhcpOption{Name: "tag:!ipxe6,tag:http,tag:efi-arm64,59", Value: s.loaderURL(s.cfg.ARM64Loader)},
		dhcpOption{Name: "tag:ipxe6,59", Value: s.scriptURL(mac)})
	for i := range opts {
		opts[i].IP = 6
	}
	return opts
}

func (s *Service) loaderURL(file string) string { return s.nodeBase() + "/boot/loaders/" + file }

func (s *Service) scriptURL(mac string) string {
	return s.nodeBase() + "/boot/" + strings.ReplaceAll(mac, ":", "-") + ".ipxe"
}
