package ipam_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripleo/tripleo/internal/network/ipam"
)

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func pools(ranges ...string) []ipam.Pool {
	var out []ipam.Pool
	for _, r := range ranges {
		a, b, _ := strings.Cut(r, "-")
		out = append(out, ipam.Pool{Start: addr(a), End: addr(b)})
	}
	return out
}

func TestDefaultPools(t *testing.T) {
	for _, tc := range []struct {
		reason, prefix, gateway string
		want                    []ipam.Pool
	}{
		{"gateway first: one pool after it", "10.0.0.0/24", "10.0.0.1", pools("10.0.0.2-10.0.0.254")},
		{"gateway in the middle splits", "10.0.0.0/29", "10.0.0.3", pools("10.0.0.1-10.0.0.2", "10.0.0.4-10.0.0.6")},
		{"gateway last", "10.0.0.0/29", "10.0.0.6", pools("10.0.0.1-10.0.0.5")},
		{"no gateway", "10.0.0.0/30", "", pools("10.0.0.1-10.0.0.2")},
		{"point to point has no broadcast", "10.0.0.0/31", "", pools("10.0.0.0-10.0.0.1")},
		{"IPv6 has no broadcast", "fd00::/126", "fd00::1", pools("fd00::2-fd00::3")},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			got := ipam.DefaultPools(netip.MustParsePrefix(tc.prefix), addr(tc.gateway))
			if d := cmp.Diff(fmt.Sprint(tc.want), fmt.Sprint(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		reason, gateway string
		pools           []ipam.Pool
		want            string
	}{
		{"fine", "10.0.0.1", pools("10.0.0.2-10.0.0.9", "10.0.0.20-10.0.0.30"), ""},
		{"outside", "", pools("10.0.0.2-10.0.1.9"), "spans beyond"},
		{"backwards", "", pools("10.0.0.9-10.0.0.2"), "ends before"},
		{"overlap", "", pools("10.0.0.2-10.0.0.9", "10.0.0.9-10.0.0.12"), "overlap"},
		{"gateway inside", "10.0.0.5", pools("10.0.0.2-10.0.0.9"), "inside"},
		{"other family", "", pools("fd00::1-fd00::2"), "family"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			err := ipam.Check(netip.MustParsePrefix("10.0.0.0/24"), addr(tc.gateway), tc.pools)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, expected %q", err, tc.want)
			}
		})
	}
}

func TestNextGivesEachAddressOnceThenExhausts(t *testing.T) {
	p := pools("10.0.0.4-10.0.0.5", "10.0.0.8-10.0.0.9")
	used := map[netip.Addr]bool{addr("10.0.0.5"): true}
	taken := func(a netip.Addr) (bool, error) { return used[a], nil }
	var got []string
	cursor := addr("10.0.0.8") // begins in the second pool and wraps around
	for {
		a, err := ipam.Next(p, cursor, taken)
		if errors.Is(err, ipam.ErrExhausted) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		used[a], cursor = true, a
		got = append(got, a.String())
	}
	if d := cmp.Diff([]string{"10.0.0.9", "10.0.0.4", "10.0.0.8"}, got); d != "" {
		t.Error(d)
	}
}

func BenchmarkNextInSlash12(b *testing.B) {
	prefix := netip.MustParsePrefix("172.16.0.0/12")
	p := ipam.DefaultPools(prefix, ipam.DefaultGateway(prefix))
	used := map[netip.Addr]bool{}
	var cursor netip.Addr
	for b.Loop() {
		a, err := ipam.Next(p, cursor, func(a netip.Addr) (bool, error) { return used[a], nil })
		if err != nil {
			clear(used)
			continue
		}
		used[a], cursor = true, a
	}
}

// TestFreePrefixIsExact: a pool is handed out to the last prefix, lowest first,
// none overlapping, whatever the lengths asked for.
func TestFreePrefixIsExact(t *testing.T) {
	pools := []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("10.0.0.0/25")}
	var used []netip.Prefix
	left := 256 + 128
	for i := 0; ; i++ {
		bits := []int{28, 30, 26, 29}[i%4]
		p, ok := ipam.FreePrefix(pools, used, bits)
		if !ok {
			break
		}
		if !ipam.Covers(pools, p) {
			t.Fatalf("%s is outside of the pools", p)
		}
		for _, u := range used {
			if u.Overlaps(p) {
				t.Fatalf("%s overlaps %s", p, u)
			}
		}
		used = append(used, p)
		left -= 1 << (32 - p.Bits())
	}
	for { // what is left is found in the smallest pieces
		p, ok := ipam.FreePrefix(pools, used, 32)
		if !ok {
			break
		}
		used = append(used, p)
		left--
	}
	if left != 0 {
		t.Errorf("%d addresses were never given", left)
	}
	if got := ipam.Compact(used); len(got) != 2 {
		t.Errorf("all prefixes together are %v, expected the two pools", got)
	}
}

func TestSubtractAndEUI64(t *testing.T) {
	p := netip.MustParsePrefix
	if got := ipam.Subtract([]netip.Prefix{p("10.0.0.0/24")}, []netip.Prefix{p("10.0.0.64/26")}); len(got) != 2 || got[0] != p("10.0.0.0/26") || got[1] != p("10.0.0.128/25") {
		t.Errorf("got %v", got)
	}
	a, err := ipam.EUI64(p("2001:db8::/64"), []byte{0x52, 0x54, 0, 0x12, 0x34, 0x56})
	if err != nil || a.String() != "2001:db8::5054:ff:fe12:3456" { // RFC 4291, appendix A: the bit of 52 that says universal is flipped to 50
		t.Errorf("%v, %v", a, err)
	}
}
