// Package ipam chooses addresses: pure arithmetic on prefixes and pools. What
// is taken the caller knows and says through a function.
package ipam

import (
	"errors"
	"fmt"
	"net/netip"
)

// Pool is an inclusive range of addresses that may be given out.
type Pool struct {
	Start netip.Addr `json:"start"`
	End   netip.Addr `json:"end"`
}

// ErrExhausted says that every address of the pools is taken.
var ErrExhausted = errors.New("no more free addresses in the allocation pools")

// DefaultGateway returns the first host address of a prefix, Neutron's choice.
func DefaultGateway(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

// Broadcast returns the last address of a prefix.
func Broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// DefaultPools returns all host addresses of a prefix but the gateway's, as
// Neutron does when a subnet is created without pools.
func DefaultPools(p netip.Prefix, gateway netip.Addr) []Pool {
	p = p.Masked()
	first, last := p.Addr().Next(), Broadcast(p)
	if p.Addr().Is4() {
		if p.Bits() >= 31 {
			first = p.Addr()
		} else {
			last = last.Prev()
		}
	}
	if !gateway.IsValid() || gateway.Less(first) || last.Less(gateway) {
		return []Pool{{first, last}}
	}
	var pools []Pool
	if first.Less(gateway) {
		pools = append(pools, Pool{first, gateway.Prev()})
	}
	if gateway.Less(last) {
		pools = append(pools, Pool{gateway.Next(), last})
	}
	return pools
}

// Check says what is wrong with pools, a gateway and a prefix taken together.
func Check(p netip.Prefix, gateway netip.Addr, pools []Pool) error {
	for i, pool := range pools {
		if pool.Start.Is4() != p.Addr().Is4() || pool.End.Is4() != p.Addr().Is4() {
			return fmt.Errorf("allocation pool %s-%s is of another address family than %s", pool.Start, pool.End, p)
		}
		if pool.End.Less(pool.Start) {
			return fmt.Errorf("allocation pool %s-%s ends before it starts", pool.Start, pool.End)
		}
		if !p.Contains(pool.Start) || !p.Contains(pool.End) {
			return fmt.Errorf("allocation pool %s-%s spans beyond the subnet %s", pool.Start, pool.End, p)
		}
		if gateway.IsValid() && !gateway.Less(pool.Start) && !pool.End.Less(gateway) {
			return fmt.Errorf("gateway %s is inside allocation pool %s-%s", gateway, pool.Start, pool.End)
		}
		for _, other := range pools[:i] {
			if !pool.End.Less(other.Start) && !other.End.Less(pool.Start) {
				return fmt.Errorf("allocation pools %s-%s and %s-%s overlap", other.Start, other.End, pool.Start, pool.End)
			}
		}
	}
	return nil
}

// maxProbes bounds how many taken addresses Next passes over.
const maxProbes = 1 << 20

// Next returns the first free address after cursor, going through the pools in
// order and from the end back to the start; an invalid cursor begins at the
// start. taken is asked for each candidate.
func Next(pools []Pool, cursor netip.Addr, taken func(netip.Addr) (bool, error)) (netip.Addr, error) {
	if len(pools) == 0 {
		return netip.Addr{}, ErrExhausted
	}
	index, at := 0, pools[0].Start
	for i, p := range pools {
		if cursor.IsValid() && !cursor.Less(p.Start) && cursor.Less(p.End) {
			index, at = i, cursor.Next()
		} else if cursor.IsValid() && cursor == p.End {
			index = (i + 1) % len(pools)
			at = pools[index].Start
		}
	}
	begin := at
	for range maxProbes {
		used, err := taken(at)
		if err != nil {
			return netip.Addr{}, err
		}
		if !used {
			return at, nil
		}
		if at == pools[index].End {
			index = (index + 1) % len(pools)
			at = pools[index].Start
		} else {
			at = at.Next()
		}
		if at == begin {
			return netip.Addr{}, ErrExhausted
		}
	}
	return netip.Addr{}, ErrExhausted
}
