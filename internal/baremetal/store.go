package baremetal

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

const nodeColumns = `id, doc`

func scanNode(scan func(...any) error) (*Node, error) {
	n := &Node{}
	if err := scan(&n.ID, store.JSON(n)); err != nil {
		return nil, store.Wrap(err)
	}
	return n, nil
}

// nodeByIdent finds a node by UUID or logical name.
// nodeByIdent reads a node by UUID or name. In a writing transaction nobody else
// changes the node until its end: what was decided by the row still holds when
// it is written, so that a node is not given to two instances.
func nodeByIdent(tx *store.Tx, ident string) (*Node, error) {
	ident = strings.TrimSuffix(ident, ".json")
	column := "name"
	if _, err := uuid.Parse(ident); err == nil {
		column, ident = "uuid", strings.ToLower(ident)
	}
	n, err := scanNode(tx.QueryRow(`SELECT `+nodeColumns+` FROM baremetal_nodes WHERE `+column+` = ?`+tx.ForUpdate(), ident).Scan)
	if errors.Is(err, store.ErrNotFound) {
		return nil, api.NotFound("Node %s could not be found.", ident).Named("NodeNotFound").Wrap(err)
	}
	return n, err
}

func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func insertNode(tx *store.Tx, n *Node) error {
	_, err := tx.Exec(`INSERT INTO baremetal_nodes (uuid, name, instance_uuid, chassis_uuid, driver, resource_class,
		provision_state, maintenance, fault, conductor_group, owner, lessee, retired, description, shard, parent_node, running, created_at, updated_at, doc)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		n.UUID, null(n.Name), null(n.InstanceUUID), n.ChassisUUID, n.Driver, n.ResourceClass, string(n.ProvisionState),
		bit(n.Maintenance), n.Fault, n.ConductorGroup, n.Owner, n.Lessee, bit(n.Retired), n.Description, n.Shard, n.ParentNode,
		bit(n.Run != nil || n.Power != nil), store.At(n.CreatedAt), store.At(n.UpdatedAt), store.JSON(n))
	return nodeConflict(err, n)
}

func updateNode(tx *store.Tx, n *Node) error {
	_, err := tx.Exec(`UPDATE baremetal_nodes SET name = ?, instance_uuid = ?, chassis_uuid = ?, driver = ?, resource_class = ?,
		provision_state = ?, maintenance = ?, fault = ?, conductor_group = ?, owner = ?, lessee = ?, retired = ?, description = ?,
		shard = ?, parent_node = ?, running = ?, updated_at = ?, doc = ? WHERE uuid = ?`,
		null(n.Name), null(n.InstanceUUID), n.ChassisUUID, n.Driver, n.ResourceClass, string(n.ProvisionState),
		bit(n.Maintenance), n.Fault, n.ConductorGroup, n.Owner, n.Lessee, bit(n.Retired), n.Description, n.Shard, n.ParentNode,
		bit(n.Run != nil || n.Power != nil), store.At(n.UpdatedAt), store.JSON(n), n.UUID)
	return nodeConflict(err, n)
}

func nodeConflict(err error, n *Node) error {
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	switch text := err.Error(); {
	case strings.Contains(text, "instance_uuid"):
		return api.Conflict("Instance %s is already associated with a node, it cannot be associated with this other node %s", n.InstanceUUID, n.UUID).Named("InstanceAssociated").Wrap(err)
	case strings.Contains(text, "name"):
		return api.Conflict("A node with name %s already exists.", n.Name).Named("DuplicateName").Wrap(err)
	default:
		return api.Conflict("A node with UUID %s already exists.", n.UUID).Named("NodeAlreadyExists").Wrap(err)
	}
}

const lockRetry = 50 * time.Millisecond // most locks are gone within milliseconds

// change runs a transaction that may find a node locked, and runs it again for
// a while when it does.
func (s *Service) change(ctx context.Context, fn func(tx *store.Tx) error) error {
	end := time.NewTimer(s.cfg.LockWait)
	defer end.Stop()
	for {
		err := s.cfg.DB.Tx(ctx, fn)
		var fault *api.Error
		if !errors.As(err, &fault) || fault.Type != faultLocked {
			return err
		}
		again := time.NewTimer(lockRetry)
		select {
		case <-ctx.Done():
		case <-end.C:
		case <-again.C:
			continue
		}
		again.Stop()
		return err
	}
}

// topic is where changes of a node are announced.
func topic(uuid string) string { return "baremetal/node/" + uuid }

// mutate changes a node in one transaction and announces it. fn sees the row
// as it is now; an error of fn leaves it so.
func (s *Service) mutate(ctx context.Context, ident string, fn func(tx *store.Tx, n *Node) error) (*Node, error) {
	var out *Node
	err := s.change(ctx, func(tx *store.Tx) error {
		n, err := nodeByIdent(tx, ident)
		if err != nil {
			return err
		}
		power, provision := n.PowerState, n.ProvisionState
		if err := fn(tx, n); err != nil {
			return err
		}
		n.UpdatedAt = s.now()
		if err := updateNode(tx, n); err != nil {
			return err
		}
		if err := s.tellStates(tx, n, power, provision); err != nil {
			return err
		}
		s.cfg.Bus.PublishTx(tx, topic(n.UUID))
		out = n
		return nil
	})
	return out, err
}

func (s *Service) node(ctx context.Context, ident string) (n *Node, err error) {
	err = s.cfg.DB.View(ctx, func(tx *store.Tx) error {
		n, err = nodeByIdent(tx, ident)
		return err
	})
	return n, err
}

// filter is a WHERE clause in the making.
type filter struct {
	clauses []string
	args    []any
}

func (f *filter) add(clause string, args ...any) {
	f.clauses, f.args = append(f.clauses, clause), append(f.args, args...)
}

func (f *filter) where() string {
	if len(f.clauses) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(f.clauses, " AND ")
}

// listRows reads a page of a table that has id, uuid and doc. order is a
// column other than id or ""; marker is a UUID.
func listRows(tx *store.Tx, table string, f filter, page api.Page, order string, each func(scan func(...any) error) error) error {
	dir, cmp := "ASC", ">"
	if !page.Ascending {
		dir, cmp = "DESC", "<"
	}
	if page.Marker != "" {
		var id int64
		if err := tx.Get([]any{&id}, `SELECT id FROM `+table+` WHERE uuid = ?`, page.Marker); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				return api.Invalid("marker %q names nothing that exists", page.Marker)
			}
			return err
		}
		if order == "" {
			f.add("id "+cmp+" ?", id)
		} else {
			// Rows after the marker by (order, id).
			sub := `(SELECT COALESCE(` + order + `, '') FROM ` + table + ` WHERE id = ?)`
			f.add(`(COALESCE(`+order+`, '') `+cmp+` `+sub+` OR (COALESCE(`+order+`, '') = `+sub+` AND id `+cmp+` ?))`, id, id, id)
		}
	}
	q := `SELECT id, doc FROM ` + table + f.where() + ` ORDER BY `
	if order != "" {
		q += `COALESCE(` + order + `, '') ` + dir + `, `
	}
	q += `id ` + dir
	if page.Limit > 0 {
		q += fmt.Sprintf(" LIMIT %d", page.Limit)
	}
	return tx.Each(each, q, f.args...)
}

// Bodies kept beside the node.
const (
	bodyConfigDrive = "configdrive" // base64 of a gzipped ISO image, or a URL
	bodyInventory   = "inventory"   // {"inventory": …, "plugin_data": …}
	bodyBIOS        = "bios"        // JSON list of the firmware's settings as last read
)

func putBody(tx *store.Tx, nodeUUID, kind, body string) error {
	_, err := tx.Exec(`INSERT INTO baremetal_bodies (node_uuid, kind, body) VALUES (?, ?, ?)
		ON CONFLICT (node_uuid, kind) DO UPDATE SET body = excluded.body`, nodeUUID, kind, body)
	return err
}

func getBody(tx *store.Tx, nodeUUID, kind string) (string, error) {
	var body string
	err := tx.Get([]any{&body}, `SELECT body FROM baremetal_bodies WHERE node_uuid = ? AND kind = ?`, nodeUUID, kind)
	return body, err
}

func dropBody(tx *store.Tx, nodeUUID, kind string) error {
	_, err := tx.Exec(`DELETE FROM baremetal_bodies WHERE node_uuid = ? AND kind = ?`, nodeUUID, kind)
	return err
}

// historyEvent is one entry of a node's history.
type historyEvent struct {
	UUID      string    `json:"uuid"`
	CreatedAt time.Time `json:"created_at"`
	Severity  string    `json:"severity"` // "ERROR" or "INFO"
	EventType string    `json:"event_type"`
	Event     string    `json:"event"`
	User      string    `json:"user"`
}

const maxHistory = 300 // entries kept a node, Ironic's default

func addHistory(tx *store.Tx, nodeUUID string, e historyEvent) error {
	e.UUID = uuid.NewString()
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`INSERT INTO baremetal_history (uuid, node_uuid, doc) VALUES (?, ?, ?)`, e.UUID, nodeUUID, string(b)); err != nil {
		return err
	}
	_, err = tx.Exec(`DELETE FROM baremetal_history WHERE node_uuid = ? AND id <= (
		SELECT id FROM baremetal_history WHERE node_uuid = ? ORDER BY id DESC LIMIT 1 OFFSET ?)`, nodeUUID, nodeUUID, maxHistory)
	return err
}
