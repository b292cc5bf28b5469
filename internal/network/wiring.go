package network

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/network/switches"
	"github.com/tripleo/tripleo/internal/store"
)

// A bare-metal port that is bound has cables: the ends that its
// binding:profile lists in local_link_information, as Ironic fills them in.
// Each end is a row of network_switch_ports that says which VLANs the switch's
// port is to have; a job for each brings the switch there (wiringjob.go). The
// port is DOWN until the switches have confirmed all of its ends, then ACTIVE;
// where that cannot be it is ERROR with binding:vif_type "binding_failed".
// Without switches in the configuration a port is ACTIVE as soon as it is
// bound: somebody else wires it.

const (
	vifFailed   = "binding_failed"
	vnicMetal   = "baremetal"
	statusError = "ERROR"

	// maxLinks is the most cables of one port: links of a bond.
	maxLinks = 16
)

// place is a port of a switch.
type place struct{ sw, port string }

func comparePlaces(a, b place) int {
	return cmp.Or(strings.Compare(a.sw, b.sw), strings.Compare(a.port, b.port))
}

// end is where a cable of a port ends.
type end struct {
	place
	aggregate bool
}

// bindingError is why a port cannot be bound; its text is for the
// administrator.
type bindingError struct{ text string }

func (p *bindingError) Error() string { return p.text }

func problemf(format string, args ...any) error {
	return &bindingError{fmt.Sprintf(format, args...)}
}

// cabled says whether a port's cables are the switches' business.
func (s *Service) cabled(p doc) bool {
	return s.fabric != nil && p.str("binding:host_id") != "" && p.str("binding:vnic_type") == vnicMetal && p.str("device_owner") != ownerTrunk
}

// ends tells where a port's cables end, none if it has none that we know of. A
// port that is administratively down has none either.
func (c *call) ends(p doc) ([]end, error) {
	if !c.s.cabled(p) || !p.flag("admin_state_up") {
		return nil, nil
	}
	profile, _ := p["binding:profile"].(map[string]any)
	if profile["local_link_information"] == nil {
		return nil, nil
	}
	links, ok := profile["local_link_information"].([]any)
	if !ok || len(links) > maxLinks {
		return nil, problemf("binding:profile: local_link_information is %.200s, expected a list of at most %d cables", show(profile["local_link_information"]), maxLinks)
	}
	var out []end
	for i, l := range links {
		m, _ := l.(map[string]any)
		link := doc(m)
		sw, port, err := c.s.fabric.Find(switches.Link{SwitchID: link.str("switch_id"), PortID: link.str("port_id"), SwitchInfo: link.str("switch_info")})
		if err != nil {
			return nil, problemf("binding:profile: local_link_information[%d]: %v", i, err)
		}
		if err := c.carries(sw, p); err != nil {
			return nil, err
		}
		e := end{place{sw.Name, port.Name}, port.Aggregate}
		if !slices.Contains(out, e) { // links of a bond may be one interface of the switch
			out = append(out, e)
		}
	}
	return out, nil
}

// carries says why a switch cannot carry the network of a port.
func (c *call) carries(sw *switches.Switch, p doc) error {
	n, err := c.load(c.s.kinds["network"], p.str("network_id"))
	if err != nil {
		return err
	}
	if physical := n.str("provider:physical_network"); physical != "" && !sw.Carries(physical) {
		return problemf("network %s is on the physical network %q, switch %q is on %q", n.id(), physical, sw.Name, sw.PhysicalNetworks)
	}
	v, err := c.vlans(p)
	if err != nil {
		return err
	}
	if err := v.Validate(); err != nil {
		return problemf("%v", err)
	}
	return nil
}

// vlan is the VLAN of a network on its wire.
func (c *call) vlan(network string) (int, error) {
	n, err := c.load(c.s.kinds["network"], network)
	if err != nil {
		return 0, err
	}
	switch n.str("provider:network_type") {
	case "vlan":
		return n.num("provider:segmentation_id"), nil
	case "flat":
		physical := n.str("provider:physical_network")
		if v := c.s.cfg.FlatVLANs[physical]; v != 0 {
			return v, nil
		}
		return 0, problemf("network %s is flat on the physical network %q, for which network.flat_vlans names no VLAN", n.id(), physical)
	default:
		return 0, problemf("network %s is of type %s and has no VLAN", n.id(), n.str("provider:network_type"))
	}
}

// vlans are those a port's cables carry: its network's without tags, and with
// tags those of the subports of its trunk.
func (c *call) vlans(p doc) (switches.VLANs, error) {
	var v switches.VLANs
	var err error
	if v.Untagged, err = c.vlan(p.str("network_id")); err != nil {
		return v, err
	}
	trunk, err := c.trunkFor(p.id())
	if err != nil || trunk == nil {
		return v, err
	}
	for _, s := range trunk.docs("sub_ports") {
		n, err := c.subPortVLAN(s)
		if err != nil {
			return v, err
		}
		v.Tagged = append(v.Tagged, n)
	}
	slices.Sort(v.Tagged)
	return v, nil
}

// trunkFor returns the trunk whose parent a port is, nil if there is none.
func (c *call) trunkFor(port string) (doc, error) {
	ids, err := c.referrers(port, "port_id")
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		t, err := c.load(c.s.kinds["trunk"], id)
		if !isNotFound(err) {
			return t, err
		}
	}
	return nil, nil
}

// subPortVLAN is the tag of a subport. Switches change no tags, so it has to
// be that of the subport's network.
func (c *call) subPortVLAN(s doc) (int, error) {
	p, err := c.load(c.s.kinds["port"], s.str("port_id"))
	if err != nil {
		return 0, err
	}
	n, err := c.vlan(p.str("network_id"))
	if err == nil && n != s.num("segmentation_id") {
		err = problemf("subport %s has the segmentation_id %d, expected %d, the VLAN of its network %s: switches change no tags", p.id(), s.num("segmentation_id"), n, p.str("network_id"))
	}
	return n, err
}

// wire brings a port's cables in line with its binding after it was stored: the
// switch ports it had and has are aimed anew, and the port's status follows.
// old is nil for a new port, retry lets switches be asked again at once that
// have failed.
func (c *call) wire(d, old doc, retry bool) error {
	if c.s.fabric == nil {
		return nil
	}
	have, err := c.cables(d.id())
	if err != nil {
		return err
	}
	var bad *bindingError
	want, err := c.ends(d)
	if errors.As(err, &bad) {
		want = nil
	} else if err != nil {
		return err
	}
	if len(have) == 0 && len(want) == 0 && bad == nil {
		return c.told(d, old)
	}
	touched := slices.Clone(have)
	for _, e := range want {
		touched = append(touched, e.place)
	}
	slices.SortFunc(touched, comparePlaces)
	touched = slices.Compact(touched)
	for _, at := range touched {
		i := slices.IndexFunc(want, func(e end) bool { return e.place == at })
		if i < 0 {
			_, err = c.tx.Exec(`DELETE FROM network_cables WHERE port_id = ? AND switch = ? AND port = ?`, d.id(), at.sw, at.port)
		} else if err = c.plug(d.id(), want[i], slices.Contains(have, at)); err == nil && retry {
			err = c.retry(at)
		}
		if err != nil {
			return err
		}
		if err := c.aim(at); err != nil {
			return err
		}
	}
	for _, at := range touched {
		if err := c.settleOthers(at, d.id()); err != nil {
			return err
		}
	}
	if bad != nil {
		failBinding(d, bad.text)
	} else if _, err := c.settle(d); err != nil {
		return err
	}
	if err := c.rewrite(d); err != nil {
		return err
	}
	if err := c.followTrunk(d); err != nil {
		return err
	}
	return c.told(d, old)
}

func failBinding(p doc, why string) {
	p["binding:vif_type"], p["status"] = vifFailed, statusError
	p["binding:vif_details"] = map[string]any{"binding_error": why}
}

// cables are the ends that a port has taken.
func (c *call) cables(port string) ([]place, error) {
	var out []place
	err := c.tx.Each(func(scan func(...any) error) error {
		var p place
		err := scan(&p.sw, &p.port)
		out = append(out, p)
		return err
	}, `SELECT switch, port FROM network_cables WHERE port_id = ? ORDER BY switch, port`, port)
	return out, err
}

// plug notes that a port has an end, which is locked: of several ports that
// claim it the last one has it.
func (c *call) plug(port string, e end, has bool) error {
	_, err := c.tx.Exec(`INSERT INTO network_switch_ports (switch, port, aggregate, wanted, version, applied, attempts, failing_since, failed, failure)
		VALUES (?, ?, ?, 'null', 0, -1, 0, 0, 0, '') ON CONFLICT DO NOTHING`, e.sw, e.port, e.flag())
	if err != nil {
		return err
	}
	if _, err := c.tx.Exec(`UPDATE network_switch_ports SET aggregate = ? WHERE switch = ? AND port = ?`, e.flag(), e.sw, e.port); err != nil {
		return err
	}
	if has {
		return nil
	}
	_, err = c.tx.Exec(`INSERT INTO network_cables (port_id, switch, port, since)
		SELECT ?, ?, ?, 1 + COALESCE(MAX(since), 0) FROM network_cables WHERE switch = ? AND port = ?`, port, e.sw, e.port, e.sw, e.port)
	return err
}

func (e end) flag() int {
	if e.aggregate {
		return 1
	}
	return 0
}

// retry forgets that a switch port has failed.
func (c *call) retry(at place) error {
	n, err := c.tx.Exec(`UPDATE network_switch_ports SET attempts = 0, failing_since = 0, failed = 0, failure = '' WHERE switch = ? AND port = ? AND attempts > 0`, at.sw, at.port)
	if err != nil || n == 0 {
		return err
	}
	return c.s.cfg.Jobs.Poke(c.tx, switchJob(at.sw), at.port, nil)
}

// aim decides which VLANs a switch port is to have: those of the port that
// claimed it last, else the switch's for nobody.
func (c *call) aim(at place) error {
	sw := c.s.fabric.Named(at.sw)
	if sw == nil { // it has left the configuration
		_, err := c.tx.Exec(`DELETE FROM network_switch_ports WHERE switch = ? AND port = ?`, at.sw, at.port)
		return err
	}
	var was switches.VLANs
	var version int64
	err := c.tx.Get([]any{store.JSON(&was), &version}, `SELECT wanted, version FROM network_switch_ports WHERE switch = ? AND port = ?`+c.tx.ForUpdate(), at.sw, at.port)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	want := switches.VLANs{Untagged: sw.DefaultVLAN}
	owners, err := c.claims(at)
	if err != nil {
		return err
	}
	if len(owners) > 0 {
		p, err := c.load(c.s.kinds["port"], owners[0])
		if err != nil {
			return err
		}
		var bad *bindingError
		if v, err := c.vlans(p); err == nil {
			want = v
		} else if !errors.As(err, &bad) { // what has a problem is off its network
			return err
		}
	}
	if version > 0 && was.Equal(want) {
		return nil
	}
	_, err = c.tx.Exec(`UPDATE network_switch_ports SET wanted = ?, version = version + 1, attempts = 0, failing_since = 0, failed = 0, failure = '' WHERE switch = ? AND port = ?`,
		store.JSON(want), at.sw, at.port)
	if err != nil {
		return err
	}
	return c.s.cfg.Jobs.Poke(c.tx, switchJob(at.sw), at.port, nil)
}

// claims are the ports that claim a switch port, the one that has it first.
func (c *call) claims(at place) ([]string, error) {
	return texts(c.tx, `SELECT port_id FROM network_cables WHERE switch = ? AND port = ? ORDER BY since DESC`, at.sw, at.port)
}

// settle sets the status of a port with cables by what the switches say of
// them, and reports whether it has changed.
func (c *call) settle(p doc) (bool, error) {
	before := [2]string{p.str("status"), p.str("binding:vif_type")}
	cables, ready, failure := 0, true, ""
	err := c.tx.Each(func(scan func(...any) error) error {
		var sw, port, text string
		var version, applied, failed, mine, last int64
		if err := scan(&sw, &port, &version, &applied, &failed, &text, &mine, &last); err != nil {
			return err
		}
		cables++
		if failed != 0 && failure == "" && applied != version && mine == last {
			failure = fmt.Sprintf("switch %q, port %q: %s", sw, port, text)
		}
		ready = ready && applied == version && mine == last
		return nil
	}, `SELECT e.switch, e.port, e.version, e.applied, e.failed, e.failure, c.since, (SELECT MAX(o.since) FROM network_cables o WHERE o.switch = c.switch AND o.port = c.port)
		FROM network_cables c JOIN network_switch_ports e ON e.switch = c.switch AND e.port = c.port WHERE c.port_id = ? ORDER BY e.switch, e.port`, p.id())
	switch {
	case err != nil || cables == 0:
		return false, err
	case failure != "":
		failBinding(p, failure)
	default:
		p["binding:vif_type"], p["binding:vif_details"], p["status"] = "other", map[string]any{}, "DOWN"
		if ready {
			p["status"] = "ACTIVE"
		}
	}
	return before != [2]string{p.str("status"), p.str("binding:vif_type")}, nil
}

// settleOthers sets the status of the other ports that claim a switch port.
func (c *call) settleOthers(at place, but string) error {
	ids, err := c.claims(at)
	if err != nil {
		return err
	}
	slices.Sort(ids)
	for _, id := range ids {
		if id == but {
			continue
		}
		p, err := c.lock(c.s.kinds["port"], id)
		if err != nil {
			return err
		}
		if err := c.resettle(p); err != nil {
			return err
		}
	}
	return nil
}

// resettle is settle for a port that nobody is changing now.
func (c *call) resettle(p doc) error {
	old := p.clone()
	changed, err := c.settle(p)
	if err != nil || !changed {
		return err
	}
	if err := c.save(c.s.kinds["port"], p, old); err != nil {
		return err
	}
	c.changed(p.id())
	if err := c.followTrunk(p); err != nil {
		return err
	}
	return c.told(p, old)
}

// rewrite stores a port whose status was found out after it had been stored.
func (c *call) rewrite(p doc) error {
	_, err := c.tx.Exec(`UPDATE network_resources SET doc = ? WHERE id = ?`, store.JSON(p), p.id())
	return err
}

// changed wakes whoever waits for a port, once this is committed.
func (c *call) changed(port string) { c.tx.AfterCommit(func() { c.s.portChanged(port) }) }

// followTrunk gives the subports of a port with cables its host and status.
func (c *call) followTrunk(p doc) error {
	t, err := c.trunkFor(p.id())
	if err != nil || t == nil {
		return err
	}
	for _, s := range t.docs("sub_ports") {
		if err := c.followParent(s.str("port_id"), p); err != nil {
			return err
		}
	}
	return nil
}

// followParent gives a subport its parent's host and status; parent nil: none.
func (c *call) followParent(id string, parent doc) error {
	sub, err := c.lock(c.s.kinds["port"], id)
	if err != nil {
		return err
	}
	old := sub.clone()
	host, vif, status := parent.str("binding:host_id"), "other", parent.str("status")
	switch {
	case host == "":
		vif, status = "unbound", "DOWN"
	case parent.str("binding:vif_type") == vifFailed:
		vif = vifFailed
	}
	sub["binding:host_id"], sub["binding:vif_type"], sub["status"] = host, vif, status
	if old.str("binding:host_id") == host && old.str("binding:vif_type") == vif && old.str("status") == status {
		return nil
	}
	c.changed(id)
	return c.save(c.s.kinds["port"], sub, old)
}

// unwire frees the switch ports of a port that is deleted.
func (c *call) unwire(d doc) error {
	if c.s.fabric == nil {
		return nil
	}
	have, err := c.cables(d.id())
	if err != nil {
		return err
	}
	if _, err := c.tx.Exec(`DELETE FROM network_cables WHERE port_id = ?`, d.id()); err != nil {
		return err
	}
	for _, at := range have {
		if err := c.aim(at); err != nil {
			return err
		}
	}
	for _, at := range have {
		if err := c.settleOthers(at, d.id()); err != nil {
			return err
		}
	}
	return c.toldDeleted(d)
}

// rewire is wire for the parent of a trunk whose subports have changed.
func (c *call) rewire(parent string) error {
	if c.s.fabric == nil {
		return nil
	}
	p, err := c.lock(c.s.kinds["port"], parent)
	if err != nil || !c.s.cabled(p) {
		return err
	}
	old := p.clone()
	c.changed(parent)
	return c.wire(p, old, false)
}

// mayTag refuses subports that the switches of a bound parent cannot carry.
func (c *call) mayTag(parent doc, subs []doc) error {
	if profile, _ := parent["binding:profile"].(map[string]any); !c.s.cabled(parent) || profile["local_link_information"] == nil {
		return nil
	}
	for _, s := range subs {
		var bad *bindingError
		if _, err := c.subPortVLAN(s); errors.As(err, &bad) {
			return badInput("sub_ports", bad.text)
		} else if err != nil {
			return err
		}
	}
	return nil
}
