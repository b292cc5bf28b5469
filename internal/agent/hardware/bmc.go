package hardware

import (
	"context"
	"net/netip"
	"time"

	"github.com/bougou/go-ipmi/pkg/open"
)

// What is asked of the machine's own controller (IPMI 2.0): which of its
// channels are networks (22.24), and their addresses (23.2, table 23-4).
const (
	netFnApp, cmdChannelInfo       = 0x06, 0x42
	netFnTransport, cmdLANSettings = 0x0c, 0x02
	mediumLAN                      = 0x04 // 802.3, table 6-3
	maxChannel                     = 0x0b // table 6-1: the highest that may be a network
	settingIPv4                    = 3
	settingIPv6Static              = 56
	settingIPv6Dynamic             = 59
	ipv6Sets                       = 4 // how many addresses of a kind are looked at

	bmcPatience = 10 * time.Second // for all questions together
	bmcAnswer   = 2 * time.Second
)

// ask sends a command to the controller and returns what follows the completion
// code; ok is false if it was refused or there is nobody.
type ask func(netFn, cmd uint8, data ...byte) (answer []byte, ok bool)

// BMCAddresses asks the controller, by the kernel's IPMI driver, under which
// addresses it is reached. Without a driver, a controller or an address they
// are invalid.
func BMCAddresses(ctx context.Context) (v4, v6 netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, bmcPatience)
	defer cancel()
	dev := &open.DeviceBackend{}
	if dev.Connect(ctx, 0) != nil {
		return v4, v6
	}
	defer func() { _ = dev.Close(ctx) }()
	return bmcAddresses(func(netFn, cmd uint8, data ...byte) ([]byte, bool) {
		if ctx.Err() != nil {
			return nil, false
		}
		b, err := dev.Send(ctx, &open.Request{NetFn: netFn, Cmd: cmd, Data: data}, bmcAnswer)
		if err != nil || len(b) < 1 || b[0] != 0 { // the completion code, 5.2
			return nil, false
		}
		return b[1:], true
	})
}

func bmcAddresses(ask ask) (v4, v6 netip.Addr) {
	for channel := uint8(1); channel <= maxChannel && (!v4.IsValid() || !v6.IsValid()); channel++ {
		info, ok := ask(netFnApp, cmdChannelInfo, channel)
		if !ok || len(info) < 2 || info[1]&0x7f != mediumLAN {
			continue
		}
		if b, ok := ask(netFnTransport, cmdLANSettings, channel, settingIPv4, 0, 0); ok && len(b) >= 5 && !v4.IsValid() {
			if a := netip.AddrFrom4([4]byte(b[1:5])); usable(a) { // the revision is before it
				v4 = a
			}
		}
		for _, setting := range []uint8{settingIPv6Static, settingIPv6Dynamic} {
			for set := range uint8(ipv6Sets) {
				b, ok := ask(netFnTransport, cmdLANSettings, channel, setting, set, 0)
				if !ok || v6.IsValid() {
					break
				}
				if len(b) < 19 || setting == settingIPv6Static && b[2]&0x80 == 0 { // bit 7: in use
					continue
				}
				if a := netip.AddrFrom16([16]byte(b[3:19])); usable(a) && !a.Is4In6() {
					v6 = a
				}
			}
		}
	}
	return v4, v6
}

func usable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
