package baremetal

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBootOptionsOfArchitectures: what DHCP tells each kind of firmware, for each boot interface.
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
