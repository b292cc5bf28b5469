package baremetal

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBootOptionsOfArchitectures: what DHCP tells each kind of firmware, for each boot interface.
// TestBootOptionsOfIPv6: an undercloud with an IPv6 address tells DHCPv6 everything and DHCPv4 nothing.
func TestBootOptionsOfIPv6(t *testing.T) {
	c := Config{NodeURL: "http://[fd00:24::1]:8088", ARM64Loader: "own-arm64.efi"}
	c.defaults()
	s := &Service{cfg: c}
	const loaders = "http://[fd00:24::1]:8088/baremetal/boot/loaders/"
	http := []dhcpOption{{"tag:!ipxe6,tag:http,tag:efi-x86_64,59", loaders + "snponly.efi", 6}, {"tag:!ipxe6,tag:http,tag:efi-arm64,59", loaders + "own-arm64.efi", 6},
		{"tag:ipxe6,59", "http://[fd00:24::1]:8088/baremetal/boot/52-54-00-24-00-01.ipxe", 6}}
	tftp := []dhcpOption{{"tag:!ipxe6,tag:efi-x86_64,59", "tftp://[fd00:24::1]/snponly.efi", 6}, {"tag:!ipxe6,tag:efi-arm64,59", "tftp://[fd00:24::1]/own-arm64.efi", 6}}
	for boot, want := range map[string][]dhcpOption{"ipxe": append(tftp, http...), bootHTTP: http} {
		got := s.bootOptions(&Node{Interfaces: map[string]string{"boot": boot}}, "52:54:00:24:00:01")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", boot, diff)
		}
		for _, o := range got {
			if !isBootOption(o.Name) {
				t.Errorf("%s would stay on the port after the deployment", o.Name)
			}
		}
	}
}

func TestBootOptionsOfArchitectures(t *testing.T) {
	c := Config{NodeURL: "http://192.168.24.1:8088", ARM64Loader: "own-arm64.efi"}
	c.defaults()
	s := &Service{cfg: c}
	const loaders = "http://192.168.24.1:8088/baremetal/boot/loaders/"
	tftp := map[string]string{"tag:!ipxe,67": "undionly.kpxe", "tag:!ipxe,tag:efi-x86_64,67": "snponly.efi", "tag:!ipxe,tag:efi-arm64,67": "own-arm64.efi"}
	http := map[string]string{"tag:!ipxe,tag:http,tag:efi-x86_64,67": loaders + "snponly.efi", "tag:!ipxe,tag:http,tag:efi-arm64,67": loaders + "own-arm64.efi",
		"tag:ipxe,67": "http://192.168.24.1:8088/baremetal/boot/52-54-00-24-00-01.ipxe", "66": "192.168.24.1", "150": "192.168.24.1", "server-ip-address": "192.168.24.1"}
	for boot, more := range map[string]map[string]string{"ipxe": tftp, bootHTTP: {}} {
		want := map[string]string{}
		for _, m := range []map[string]string{http, more} {
			for k, v := range m {
				want[k] = v
			}
		}
		got := map[string]string{}
		for _, o := range s.bootOptions(&Node{Interfaces: map[string]string{"boot": boot}}, "52:54:00:24:00:01") {
			got[o.Name], _ = o.Value.(string)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", boot, diff)
		}
	}
}
