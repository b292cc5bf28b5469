package hardware

import (
	"io/fs"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// arphrdEther is the ARP hardware type of Ethernet (if_arp.h).
const arphrdEther = "1"

// Physical reports whether an interface is a port of the machine rather than something made in software: an
// Ethernet device with a device behind it. A TAP counts: seen from inside a machine of the lab it is the NIC.
func Physical(sys fs.FS, name string) bool {
	base := "class/net/" + name
	if name == "lo" || readLine(sys, base+"/type") != arphrdEther {
		return false
	}
	for _, mark := range []string{"/device", "/tun_flags"} {
		if _, err := fs.Stat(sys, base+mark); err == nil {
			return true
		}
	}
	return false
}

// Connected reports whether an interface is up and has a link.
func Connected(sys fs.FS, name string) bool {
	return readLine(sys, "class/net/"+name+"/carrier") == "1"
}

// PhysicalNames lists the machine's ports by name.
func PhysicalNames(sys fs.FS) []string {
	entries, err := fs.ReadDir(sys, "class/net")
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries { // ReadDir sorts by name
		if Physical(sys, e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

func (s Sources) interfaces() []Interface {
	nics := []Interface{}
	for _, name := range PhysicalNames(s.Sys) {
		base := "class/net/" + name
		nic := Interface{
			Name:       name,
			MACAddress: strings.ToLower(readLine(s.Sys, base+"/address")),
			HasCarrier: Connected(s.Sys, name),
			Vendor:     readLine(s.Sys, base+"/device/vendor"),
			Product:    readLine(s.Sys, base+"/device/device"),
			LLDP:       s.LLDP[name],
		}
		if target, err := fs.ReadLink(s.Sys, base+"/device"); err == nil {
			nic.PCIAddress = path.Base(target)
		}
		if target, err := fs.ReadLink(s.Sys, base+"/device/driver"); err == nil {
			nic.Driver = path.Base(target)
		}
		if speed, err := strconv.Atoi(readLine(s.Sys, base+"/speed")); err == nil && speed > 0 {
			nic.SpeedMbps = speed
		}
		nic.IPv4Address, nic.IPv6Address = s.firstAddresses(name)
		nics = append(nics, nic)
	}
	return nics
}

// firstAddresses picks the first IPv4 address and the first IPv6 address, a global one before a link-local one.
func (s Sources) firstAddresses(name string) (v4, v6 string) {
	if s.Addresses == nil {
		return "", ""
	}
	var local netip.Addr
	for _, a := range s.Addresses(name) {
		a = a.Unmap().WithZone("")
		switch {
		case a.Is4() && v4 == "":
			v4 = a.String()
		case a.Is6() && a.IsLinkLocalUnicast():
			local = a
		case a.Is6() && v6 == "":
			v6 = a.String()
		}
	}
	if v6 == "" && local.IsValid() {
		v6 = local.String()
	}
	return v4, v6
}
