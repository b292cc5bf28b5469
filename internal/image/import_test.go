package image

import (
	"net/netip"
	"testing"
)

func TestPublicAddresses(t *testing.T) {
	for _, tc := range []struct {
		reason, address string
		want            bool
	}{
		{"public", "93.184.216.34", true},
		{"public IPv6", "2606:2800:220:1::1", true},
		{"loopback", "127.0.0.1", false},
		{"loopback IPv6", "::1", false},
		{"loopback as mapped IPv6", "::ffff:127.0.0.1", false},
		{"metadata service", "169.254.169.254", false},
		{"private", "10.1.2.3", false},
		{"the provisioning network", "192.168.24.1", false},
		{"shared space of providers", "100.64.0.1", false},
		{"unspecified", "0.0.0.0", false},
		{"this network", "0.1.2.3", false},
		{"multicast", "224.0.0.1", false},
		{"broadcast", "255.255.255.255", false},
		{"unique local IPv6", "fd00::1", false},
		{"link-local IPv6", "fe80::1", false},
		{"NAT64 of a private address", "64:ff9b::a00:1", false},
		{"6to4 of a private address", "2002:a00:1::", false},
	} {
		if got := public(netip.MustParseAddr(tc.address)); got != tc.want {
			t.Errorf("%s: %s is public: %v, expected %v", tc.reason, tc.address, got, tc.want)
		}
	}
}

func TestCheckURI(t *testing.T) {
	for _, tc := range []struct {
		reason, uri   string
		want, private bool // allowed, and allowed where private addresses are
	}{
		{"http", "http://example.org/x.qcow2", true, true},
		{"https with its port", "https://example.org:443/x", true, true},
		{"another port", "http://example.org:8080/x", false, true},
		{"a file", "file:///etc/passwd", false, false},
		{"no host", "http:///x", false, false},
		{"credentials", "http://u:p@example.org/", false, false},
		{"not a URL", "::", false, false},
	} {
		if got := (&Service{}).checkURI(tc.uri) == nil; got != tc.want {
			t.Errorf("%s: %s is allowed: %v, expected %v", tc.reason, tc.uri, got, tc.want)
		}
		if got := (&Service{cfg: Config{ImportFromPrivate: true}}).checkURI(tc.uri) == nil; got != tc.private {
			t.Errorf("%s: %s is allowed where private addresses are: %v, expected %v", tc.reason, tc.uri, got, tc.private)
		}
	}
}
