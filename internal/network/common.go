package network

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tripleo/tripleo/internal/store"
)

// common is what the ports that are made in one transaction need alike: it is
// read once for all of them. Nothing of it can change meanwhile but by them:
// SQLite has one writer, and PostgreSQL's rows that decide something (a subnet's
// cursor, a quota) are locked when they are read.
type common struct {
	networks  map[string]doc
	subnets   map[string][]doc // by network
	cursors   map[string]cursor
	groups    map[string]string // default security groups by project
	unbounded map[string]bool   // projects without a quota of ports
	shares    map[string]map[string]map[string]bool
}

// cursor is where a subnet's next address is looked for.
type cursor struct {
	pools plan
	last  netip.Addr
}

type commonKey struct{}

// shareReads makes the call use what other calls of its transaction have read.
func (c *call) shareReads() {
	c.common, _ = c.tx.Memo(commonKey{}, func() any {
		return &common{networks: map[string]doc{}, subnets: map[string][]doc{}, cursors: map[string]cursor{}, groups: map[string]string{},
			unbounded: map[string]bool{}, shares: map[string]map[string]map[string]bool{}}
	}).(*common)
	c.networks, c.shares = c.common.networks, c.common.shares[c.who.ProjectID]
}

// subnetsOn reads the subnets of a network; they are not to be changed.
func (c *call) subnetsOn(network string) ([]doc, error) {
	if c.common == nil {
		return c.children(c.s.kinds["subnet"], network)
	}
	subs, ok := c.common.subnets[network]
	if !ok {
		var err error
		if subs, err = c.children(c.s.kinds["subnet"], network); err != nil {
			return nil, err
		}
		c.common.subnets[network] = subs
	}
	return slices.Clone(subs), nil
}

// cursorOf reads a subnet's pools and cursor, which is locked, so that no two
// take addresses in turn at once.
func (c *call) cursorOf(sub doc) (cursor, error) {
	if c.common != nil {
		if at, ok := c.common.cursors[sub.id()]; ok {
			return at, nil
		}
	}
	var last string
	var at cursor
	err := c.tx.Get([]any{&last}, `SELECT last_address FROM network_cursors WHERE subnet_id = ?`+c.tx.ForUpdate(), sub.id())
	if err != nil {
		return at, err
	}
	at.last, _ = netip.ParseAddr(last)
	at.pools, err = planOf(sub)
	return at, err
}

// moveCursor notes the address that was given out last.
func (c *call) moveCursor(sub doc, at cursor) error {
	_, err := c.tx.Exec(`UPDATE network_cursors SET last_address = ? WHERE subnet_id = ?`, at.last.String(), sub.id())
	if err == nil && c.common != nil {
		c.common.cursors[sub.id()] = at
	}
	return err
}

// macTries is how many MAC addresses are tried for a port (Neutron's
// mac_generation_retries); of 16 million random ones a few thousand in use are
// enough for the first collision.
const macTries = 16

// insert stores a new thing. A port whose address was chosen here and is taken
// gets another one.
func (c *call) insert(k *resource, d doc, parent any) error {
	for try := 1; ; try++ {
		n, err := c.tx.Exec(`INSERT INTO network_resources (id, kind, project_id, name, parent_id, mac, device_id, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			d.id(), k.kind, d.project(), k.nameOf(d), parent, column(d, "mac_address"), column(d, "device_id"), store.JSON(d))
		if err != nil || n > 0 {
			return err
		}
		if given, _ := c.given["mac_address"].(string); k.kind != "port" || given != "" || try == macTries {
			break
		}
		if err := c.otherMAC(d); err != nil {
			return err
		}
	}
	if k.kind != "port" {
		return fmt.Errorf("%s %s: %w", k.kind, d.id(), store.ErrConflict)
	}
	return macInUse(d)
}
