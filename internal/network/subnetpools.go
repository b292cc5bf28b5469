package network

import (
	"fmt"
	"math"
	"math/big"
	"net/netip"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/network/ipam"
)

func scopeKind() *resource {
	return &resource{
		kind: "address_scope", plural: "address_scopes", path: "address-scopes", shared: "address_scope", plain: true,
		missing: "Address scope %s could not be found", missingType: "AddressScopeNotFound",
		inUse: "Unable to complete operation on address scope %s. There are one or more subnet pools in use on the address scope", inUseType: "AddressScopeInUse",
		attrs: []attr{
			{name: "name", parse: orEmpty(text(maxName)), def: "", mode: both},
			{name: "ip_version", parse: ipVersion, mode: post | need},
			{name: "shared", parse: boolean, def: false, mode: both | setBy},
		},
		prepare: func(c *call, d, old doc) error {
			if _, given := c.given["shared"]; !given || old == nil || d.flag("shared") {
				return nil
			}
			acts, err := c.sharing(d.id())
			if err == nil && acts[asShared] {
				err = api.Invalid("Unable to update address scope %s : Shared address scope can't be unshared", d.id()).Named("AddressScopeUpdateError")
			}
			return err
		},
	}
}

func poolKind() *resource {
	return &resource{
		kind: "subnetpool", plural: "subnetpools", path: "subnetpools", shared: "subnetpool", quota: true,
		missing: "Subnet pool %s could not be found.", missingType: "SubnetPoolNotFound",
		inUse: "Unable to complete operation on subnet pool %s: Subnet pool has existing allocations.", inUseType: "SubnetPoolDeleteError",
		attrs: described(
			attr{name: "prefixes", parse: listOf(networkPrefix), mode: both | need | unlist},
			attr{name: "default_quota", parse: orNull(integer(0, math.MaxInt32)), def: nil, mode: both},
			attr{name: "min_prefixlen", parse: integer(0, 128), def: noDefault{}, mode: both},
			attr{name: "max_prefixlen", parse: integer(0, 128), def: noDefault{}, mode: both},
			attr{name: "default_prefixlen", parse: integer(0, 128), def: noDefault{}, mode: both},
			attr{name: "address_scope_id", parse: orNull(id), def: nil, mode: both, ref: "address_scope"},
			attr{name: "is_default", parse: boolean, def: false, mode: both | setBy},
			attr{name: "shared", parse: boolean, def: false, mode: post | setBy},
			attr{name: "ip_version"},
		),
		prepare: preparePool,
		view: func(_ *call, d doc) error {
			for _, key := range []string{"min_prefixlen", "max_prefixlen", "default_prefixlen"} {
				d[key] = fmt.Sprint(d.num(key)) // Neutron answers with text
			}
			return nil
		},
	}
}

func prefixes(d doc, key string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range d.strs(key) {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, badInput(key, fmt.Sprintf("'%s' is not a valid IP subnet.", s)).Wrap(err)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func prefixDocs(p []netip.Prefix) []any {
	out := []any{}
	for _, x := range p {
		out = append(out, x.String())
	}
	return out
}

func preparePool(c *call, d, old doc) error {
	have, err := prefixes(d, "prefixes")
	if err != nil {
		return err
	}
	if len(have) == 0 {
		return api.Invalid("Subnet pool has no prefixes.").Named("EmptySubnetPoolPrefixList")
	}
	v4 := have[0].Addr().Is4()
	for _, p := range have {
		if p.Addr().Is4() != v4 {
			return api.Invalid("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.").Named("PrefixVersionMismatch")
		}
	}
	version, most, least := 6, 128, 64
	if v4 {
		version, most, least = 4, 32, 8
	}
	if old != nil {
		if version != old.num("ip_version") {
			return api.Invalid("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.").Named("PrefixVersionMismatch")
		}
		before, err := prefixes(old, "prefixes")
		if err != nil {
			return err
		}
		if left := ipam.Subtract(before, have); len(left) > 0 {
			return api.Invalid("Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes").Named("IllegalSubnetPoolPrefixUpdate")
		}
	}
	d["ip_version"], d["prefixes"] = version, prefixDocs(ipam.Compact(have))
	if err := completeLengths(d, least, most); err != nil {
		return err
	}
	if d.flag("is_default") {
		if err := c.onlyDefaultPool(d); err != nil {
			return err
		}
	}
	return c.checkScope(d, old)
}

func completeLengths(d doc, least, most int) error {
	if _, ok := d["min_prefixlen"]; !ok {
		d["min_prefixlen"] = least
	}
	if _, ok := d["max_prefixlen"]; !ok {
		d["max_prefixlen"] = most
	}
	if _, ok := d["default_prefixlen"]; !ok {
		d["default_prefixlen"] = d.num("min_prefixlen")
	}
	lo, hi, def := d.num("min_prefixlen"), d.num("max_prefixlen"), d.num("default_prefixlen")
	for name, n := range map[string]int{"min_prefixlen": lo, "max_prefixlen": hi, "default_prefixlen": def} {
		if n > most {
			return api.Invalid("Unbounded prefix length: %s is %d, expected at most %d.", name, n, most).Named("IllegalSubnetPoolPrefixBounds")
		}
	}
	if lo > hi || def < lo || def > hi {
		return api.Invalid("Illegal prefix bounds: min_prefixlen=%d, default_prefixlen=%d, max_prefixlen=%d.", lo, def, hi).Named("IllegalSubnetPoolPrefixBounds")
	}
	return nil
}

func (c *call) onlyDefaultPool(d doc) error {
	all, err := c.find(c.s.kinds["subnetpool"], ` AND id <> ?`, d.id())
	for _, o := range all {
		if o.flag("is_default") && o.num("ip_version") == d.num("ip_version") {
			return api.Invalid("Invalid input for operation: A default subnetpool for this IP family has already been set. Only one default may exist per IP family.").Named("InvalidInput")
		}
	}
	return err
}

// checkScope: pools of one address scope are of its IP version and never overlap.
func (c *call) checkScope(d, old doc) error {
	scope := d.str("address_scope_id")
	if scope == "" {
		return nil
	}
	sc, err := c.lock(c.s.kinds["address_scope"], scope)
	if err != nil {
		return err
	}
	if !c.admin() && sc.project() != c.who.ProjectID {
		if acts, err := c.sharing(scope); err != nil || !acts[asShared] {
			return c.s.kinds["address_scope"].notFound(scope)
		}
		if old != nil && show(old["prefixes"]) != show(d["prefixes"]) {
			return api.Invalid("Illegal subnetpool update: the prefixes of subnetpool %s are bound to address scope %s of another project", d.id(), scope).Named("IllegalSubnetPoolUpdate")
		}
	}
	if sc.num("ip_version") != d.num("ip_version") {
		return api.Invalid("Illegal subnetpool association: subnetpool %s cannot associate with address scope %s because subnetpool ip_version is not %d.", d.id(), scope, sc.num("ip_version")).Named("IllegalSubnetPoolIpVersionAssociationToAddressScope")
	}
	mine, err := prefixes(d, "prefixes")
	if err != nil {
		return err
	}
	ids, err := c.referrers(scope, "address_scope_id")
	if err != nil {
		return err
	}
	for _, id := range ids {
		if id == d.id() {
			continue
		}
		other, err := c.load(c.s.kinds["subnetpool"], id)
		if err != nil {
			return err
		}
		theirs, err := prefixes(other, "prefixes")
		if err != nil {
			return err
		}
		for _, a := range mine {
			for _, b := range theirs {
				if a.Overlaps(b) {
					return api.Conflict("Unable to complete operation due to address scope %s: prefix %s overlaps with %s of subnet pool %s.", scope, a, b, id).Named("AddressScopePrefixConflict")
				}
			}
		}
	}
	return nil
}

// choosePrefix gives a new subnet its cidr: the one asked for, or one of a
// subnet pool.
func (c *call) choosePrefix(d, n doc) error {
	if d.flag("use_default_subnetpool") {
		if err := c.defaultPool(d); err != nil {
			return err
		}
	}
	length, hasLength := d["prefixlen"]
	delete(d, "prefixlen")
	delete(d, "use_default_subnetpool")
	cidr := d.str("cidr")
	pool := d.str("subnetpool_id")
	switch {
	case pool == "prefix_delegation":
		return api.Invalid("subnetpool_id is prefix_delegation: prefixes are not delegated here, give a cidr")
	case pool == "" && cidr == "":
		return api.Invalid("Failed to create subnet: either cidr or subnetpool_id is expected.").Named("BadRequest")
	case pool == "":
		if hasLength {
			return api.Invalid("prefixlen is for subnets of a subnet pool; this one has the cidr %s", cidr)
		}
		return nil
	case cidr != "" && hasLength:
		return api.Invalid("cidr and prefixlen must not be supplied together").Named("BadRequest")
	}
	p, err := c.lock(c.s.kinds["subnetpool"], pool) // one after the other: that makes it exact
	if err != nil {
		return err
	}
	return c.fromPool(d, n, p, length)
}

func (c *call) defaultPool(d doc) error {
	all, err := c.find(c.s.kinds["subnetpool"], "")
	for _, p := range all {
		if p.flag("is_default") && p.num("ip_version") == d.num("ip_version") {
			d["subnetpool_id"] = p.id()
			return nil
		}
	}
	if err == nil {
		err = api.NotFound("No default subnetpool found for IPv%d", d.num("ip_version")).Named("NoDefaultSubnetpool")
	}
	return err
}

func (c *call) fromPool(d, n, p doc, length any) error {
	if p.num("ip_version") != d.num("ip_version") {
		return api.Invalid("Invalid input for operation: the subnet is IPv%d, subnet pool %s is IPv%d", d.num("ip_version"), p.id(), p.num("ip_version")).Named("InvalidInput")
	}
	pools, err := prefixes(p, "prefixes")
	if err != nil {
		return err
	}
	ids, err := c.referrers(p.id(), "subnetpool_id")
	if err != nil {
		return err
	}
	var used []netip.Prefix
	var mine []doc
	for _, id := range ids {
		sub, err := c.load(c.s.kinds["subnet"], id)
		if err != nil {
			return err
		}
		if u, err := netip.ParsePrefix(sub.str("cidr")); err == nil {
			used = append(used, u)
		}
		if sub.project() == d.project() {
			mine = append(mine, sub)
		}
	}
	chosen, err := pickPrefix(d, p, pools, used, length)
	if err != nil {
		return err
	}
	if err := checkPoolQuota(p, chosen, mine); err != nil {
		return err
	}
	d["cidr"] = chosen.String()
	if scope := p.str("address_scope_id"); scope != "" {
		d["address_scope_id"] = scope
	}
	return nil
}

func pickPrefix(d, p doc, pools, used []netip.Prefix, length any) (netip.Prefix, error) {
	lo, hi := p.num("min_prefixlen"), p.num("max_prefixlen")
	bound := func(bits int) error {
		if bits < lo {
			return api.Invalid("Unable to allocate subnet with prefix length %d, minimum allowed prefix is %d.", bits, lo).Named("MinPrefixSubnetAllocationError")
		}
		if bits > hi {
			return api.Invalid("Unable to allocate subnet with prefix length %d, maximum allowed prefix is %d.", bits, hi).Named("MaxPrefixSubnetAllocationError")
		}
		return nil
	}
	if cidr := d.str("cidr"); cidr != "" {
		want, err := netip.ParsePrefix(cidr)
		if err != nil {
			return want, badInput("cidr", err.Error())
		}
		if err := bound(want.Bits()); err != nil {
			return want, err
		}
		free := ipam.Covers(pools, want)
		for _, u := range used {
			free = free && !u.Overlaps(want)
		}
		if !free {
			return want, api.Invalid("Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes.").Named("SubnetAllocationError")
		}
		return want, nil
	}
	bits := p.num("default_prefixlen")
	if n, ok := length.(float64); ok {
		bits = int(n)
	}
	if err := bound(bits); err != nil {
		return netip.Prefix{}, err
	}
	got, ok := ipam.FreePrefix(pools, used, bits)
	if !ok {
		return got, api.Invalid("Failed to allocate subnet: Insufficient prefix space to allocate subnet size /%d.", bits).Named("SubnetAllocationError")
	}
	return got, nil
}

// checkPoolQuota counts in IPv4 addresses and IPv6 /64 networks.
func checkPoolQuota(p doc, chosen netip.Prefix, mine []doc) error {
	if p["default_quota"] == nil {
		return nil
	}
	unit := 32
	if chosen.Addr().Is6() {
		unit = 64
	}
	size := func(x netip.Prefix) *big.Int {
		return new(big.Int).Lsh(big.NewInt(1), uint(max(unit-x.Bits(), 0))) //nolint:gosec // 0 to 64
	}
	sum := size(chosen)
	for _, sub := range mine {
		if x, err := netip.ParsePrefix(sub.str("cidr")); err == nil {
			sum.Add(sum, size(x))
		}
	}
	if sum.Cmp(big.NewInt(int64(p.num("default_quota")))) > 0 {
		return api.Conflict("Per-tenant subnet pool prefix quota exceeded.").Named("SubnetPoolQuotaExceeded")
	}
	return nil
}

// addPrefixes and removePrefixes are extension subnetpool-prefix-ops.
func (c *call) changePrefixes(p doc, in map[string]any, change func(have, more []netip.Prefix) []netip.Prefix) (any, error) {
	parsed, why := listOf(networkPrefix)(in["prefixes"])
	if why != "" {
		return nil, badInput("prefixes", why)
	}
	more, err := prefixes(doc{"prefixes": parsed}, "prefixes")
	if err != nil {
		return nil, err
	}
	for _, m := range more {
		if m.Addr().Is4() != (p.num("ip_version") == 4) {
			return nil, api.Invalid("Cannot mix IPv4 and IPv6 prefixes in a subnet pool.").Named("PrefixVersionMismatch")
		}
	}
	have, err := prefixes(p, "prefixes")
	if err != nil {
		return nil, err
	}
	d := p.clone()
	d["prefixes"] = prefixDocs(change(have, more))
	c.given = map[string]any{}
	if err := c.checkScope(d, p); err != nil {
		return nil, err
	}
	return map[string]any{"subnetpool": map[string]any{"prefixes": d["prefixes"]}, "prefixes": d["prefixes"]}, c.save(c.s.kinds["subnetpool"], d, p)
}

func addPrefixes(c *call, p doc, in map[string]any) (any, error) {
	return c.changePrefixes(p, in, func(have, more []netip.Prefix) []netip.Prefix { return ipam.Compact(append(have, more...)) })
}

func removePrefixes(c *call, p doc, in map[string]any) (any, error) {
	ids, err := c.referrers(p.id(), "subnetpool_id")
	if err != nil {
		return nil, err
	}
	parsed, why := listOf(networkPrefix)(in["prefixes"])
	if why != "" {
		return nil, badInput("prefixes", why)
	}
	gone, err := prefixes(doc{"prefixes": parsed}, "prefixes")
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		sub, err := c.load(c.s.kinds["subnet"], id)
		if err != nil {
			return nil, err
		}
		for _, g := range gone {
			if used, err := netip.ParsePrefix(sub.str("cidr")); err == nil && used.Overlaps(g) {
				return nil, api.Conflict("Illegal update to prefixes: prefix %s is used by subnet %s", g, id).Named("IllegalSubnetPoolPrefixUpdate")
			}
		}
	}
	return c.changePrefixes(p, in, ipam.Subtract)
}
