package ipam

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
)

// FreePrefix returns the lowest prefix of the given length inside one of pools
// that overlaps none of used; false when there is none.
func FreePrefix(pools, used []netip.Prefix, bits int) (netip.Prefix, bool) {
	pools, used = sorted(pools), sorted(used)
	for _, pool := range pools {
		if pool.Bits() > bits || bits > pool.Addr().BitLen() {
			continue
		}
		at, inside := pool.Masked().Addr(), true
		for inside {
			candidate := netip.PrefixFrom(at, bits)
			i := slices.IndexFunc(used, func(u netip.Prefix) bool { return u.Overlaps(candidate) })
			if i < 0 {
				return candidate, true
			}
			// Behind the later end of the two: both are powers of two, so that is aligned again.
			at = Broadcast(candidate)
			if end := Broadcast(used[i]); at.Less(end) {
				at = end
			}
			at = at.Next()
			inside = at.IsValid() && pool.Contains(at)
		}
	}
	return netip.Prefix{}, false
}

func sorted(p []netip.Prefix) []netip.Prefix {
	p = slices.Clone(p)
	slices.SortFunc(p, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	return p
}

// Compact merges prefixes: those inside others go, neighbours become one.
func Compact(p []netip.Prefix) []netip.Prefix {
	out := []netip.Prefix{}
	for _, x := range sorted(p) {
		if len(out) > 0 && out[len(out)-1].Overlaps(x) {
			continue
		}
		out = append(out, x)
		for len(out) > 1 {
			a, b := out[len(out)-2], out[len(out)-1]
			if a.Bits() != b.Bits() || a.Bits() == 0 {
				break
			}
			both := netip.PrefixFrom(a.Addr(), a.Bits()-1)
			if both.Masked().Addr() != a.Addr() || !both.Contains(b.Addr()) {
				break
			}
			out = append(out[:len(out)-2], both)
		}
	}
	return out
}

// Subtract returns what is left of prefixes without those of minus.
func Subtract(p, minus []netip.Prefix) []netip.Prefix {
	out := slices.Clone(p)
	for _, m := range minus {
		var next []netip.Prefix
		for _, x := range out {
			next = append(next, without(x, m)...)
		}
		out = next
	}
	return Compact(out)
}

// without splits x around m.
func without(x, m netip.Prefix) []netip.Prefix {
	switch {
	case !x.Overlaps(m):
		return []netip.Prefix{x}
	case m.Bits() <= x.Bits():
		return nil
	}
	low := netip.PrefixFrom(x.Addr(), x.Bits()+1)
	high := netip.PrefixFrom(Broadcast(low).Next(), x.Bits()+1)
	return append(without(low, m), without(high, m)...)
}

// Covers says whether p lies inside the union of pools.
func Covers(pools []netip.Prefix, p netip.Prefix) bool {
	return len(Subtract([]netip.Prefix{p}, pools)) == 0
}

// EUI64 is the address that a machine gives itself in a /64 (RFC 4291,
// appendix A).
func EUI64(p netip.Prefix, mac []byte) (netip.Addr, error) {
	if !p.Addr().Is6() || p.Bits() != 64 || len(mac) != 6 {
		return netip.Addr{}, fmt.Errorf("no address for %x in %s: an IPv6 prefix of 64 bits and a MAC of 48 are expected", mac, p)
	}
	b := p.Masked().Addr().As16()
	copy(b[8:11], mac[:3])
	b[8] ^= 2
	b[11], b[12] = 0xff, 0xfe
	copy(b[13:], mac[3:])
	return netip.AddrFrom16(b), nil
}

// Count returns how many addresses pools hold.
func Count(pools []Pool) *big.Int {
	sum := new(big.Int)
	for _, p := range pools {
		start, end := new(big.Int).SetBytes(p.Start.AsSlice()), new(big.Int).SetBytes(p.End.AsSlice())
		sum.Add(sum, end.Sub(end, start).Add(end, big.NewInt(1)))
	}
	return sum
}

// Contains says whether an address is in one of the pools.
func Contains(pools []Pool, a netip.Addr) bool {
	return slices.ContainsFunc(pools, func(p Pool) bool { return !a.Less(p.Start) && !p.End.Less(a) })
}
