package engine

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// host implements resources.Host for the resources of one run.
type host struct {
	r     *run
	trust string
}

func (h *host) Now() time.Time                 { return h.r.e.now() }
func (h *host) NodeURL() string                { return h.r.e.cfg.NodeURL }
func (h *host) AuthURL() string                { return h.r.e.cfg.AuthURL }
func (h *host) Region() string                 { return h.r.e.cfg.Region }
func (h *host) DefaultSignalTransport() string { return h.r.e.cfg.SignalTransport }

func (h *host) Logf(ctx context.Context, format string, args ...any) {
	h.r.e.cfg.Log.InfoContext(ctx, fmt.Sprintf(format, args...), "stack", h.r.st.Name)
}

// Save makes the id and data of a resource durable at once. Pure types are stored with their batch.
func (h *host) Save(ctx context.Context, res *resources.Resource) error {
	if h.r.isPure(res.TypeName) {
		return nil
	}
	return h.r.e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec("UPDATE heat_resources SET physical_id=?, data=? WHERE id=?", res.PhysicalID, tx.SealedJSON(res.Data, "heat_resources.data"), res.ID)
		return err
	})
}

func (h *host) Session(ctx context.Context, _ *resources.Resource) (*cloud.Session, error) {
	return h.r.e.session(ctx, h.trust)
}

func (e *Engine) session(ctx context.Context, trust string) (*cloud.Session, error) {
	if e.cfg.Cloud == nil {
		return nil, errors.New("this engine has no cloud to work with")
	}
	if trust == "" {
		return nil, errors.New("the stack has no trust: it was created without the right to act for its owner")
	}
	return e.cfg.Cloud.Trust(ctx, trust)
}

// tx runs fn now, or with the batch of a pure resource.
func (h *host) tx(ctx context.Context, res *resources.Resource, fn func(tx *store.Tx) error) error {
	if res != nil && h.r.isPure(res.TypeName) {
		h.r.later(fn)
		return nil
	}
	return h.r.e.cfg.DB.Tx(ctx, fn)
}

func (h *host) PutConfig(ctx context.Context, res *resources.Resource, c *resources.Config) error {
	h.r.configs.put(c)
	return h.tx(ctx, res, func(tx *store.Tx) error { return h.r.e.PutConfig(tx, c) })
}

func (h *host) Config(ctx context.Context, _ *resources.Resource, id string) (*resources.Config, error) {
	if c := h.r.configs.get(id); c != nil {
		return c, nil
	}
	var c *resources.Config
	err := h.r.e.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		c, err = h.r.e.GetConfig(tx, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("software config %s: %w", id, err)
	}
	return c, nil
}

func (h *host) DeleteConfig(ctx context.Context, res *resources.Resource, id string) error {
	return h.tx(ctx, res, func(tx *store.Tx) error {
		_, err := tx.Exec("DELETE FROM heat_configs WHERE id = ?", id)
		return err
	})
}

func (h *host) PutDeployment(ctx context.Context, res *resources.Resource, d *resources.Deployment) error {
	d.StackID, d.ResourceID = res.StackID, res.ID
	return h.r.e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		if err := PutDeployment(tx, d); err != nil {
			return err
		}
		return h.r.e.PokeMetadata(tx, d.ServerID)
	})
}

func (h *host) Deployment(ctx context.Context, _ *resources.Resource, id string) (*resources.Deployment, error) {
	var d *resources.Deployment
	err := h.r.e.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		d, err = GetDeployment(tx, id)
		return err
	})
	return d, err
}

func (h *host) DeleteDeployment(ctx context.Context, _ *resources.Resource, id string) error {
	return h.r.e.cfg.DB.Tx(ctx, func(tx *store.Tx) error { return h.r.e.DeleteDeployment(tx, id) })
}

func (h *host) SignalDeployment(ctx context.Context, id string, body any) (*resources.Deployment, error) {
	return h.r.e.SignalDeployment(ctx, id, body)
}

func (h *host) PutTarget(ctx context.Context, res *resources.Resource, t *resources.Target) error {
	return h.r.e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO heat_targets (server_id, stack_id, trust_id, container, object, metadata, published, queue, resource_id) VALUES (?, ?, ?, ?, ?, ?, '', ?, ?)
 ON CONFLICT (server_id) DO UPDATE SET stack_id=excluded.stack_id, trust_id=excluded.trust_id, container=excluded.container, object=excluded.object, metadata=excluded.metadata,
 queue=excluded.queue, resource_id=excluded.resource_id`,
			t.ServerID, res.StackID, h.trust, t.Container, t.Object, tx.SealedJSON(t.Metadata, "heat_targets.metadata"), t.Queue, res.ID)
		if err != nil {
			return err
		}
		return h.r.e.PokeMetadata(tx, t.ServerID)
	})
}

func (h *host) DropTarget(ctx context.Context, _ *resources.Resource, serverID string) error {
	return h.r.e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec("DELETE FROM heat_targets WHERE server_id = ?", serverID)
		return err
	})
}

// CFNURL is the CloudFormation-compatible API as machines reach it.
func (h *host) CFNURL() string { return h.r.e.cfg.NodeURL + "/orchestration-cfn/v1" }

// Arn returns the identifier of a resource: the stack's and its own name.
func (h *host) Arn(res *resources.Resource) string {
	return Arn(h.r.st) + "/resources/" + res.Name
}

// HeatSignalURL returns where in the API the resource is signalled with a token; project is that of the
// token, "" the owner's.
func (h *host) HeatSignalURL(res *resources.Resource, project string) string {
	if project == "" {
		project = res.ProjectID
	}
	return h.r.e.cfg.BaseURL + "/v1/" + project + "/stacks/" + url.PathEscape(res.StackName) + "/" + res.StackID + "/resources/" + url.PathEscape(res.Name) + "/signal"
}

// Adjust changes the size of a group of the same stack. A group that is busy, or waits after the last
// change, stays as it is.
func (h *host) Adjust(_ context.Context, _ *resources.Resource, ref string, change func(*resources.Resource) bool) error {
	r := h.r
	row, typ, err := r.sibling(ref)
	if err != nil {
		return err
	}
	if typ.Adjust == nil {
		return fmt.Errorf("resource %s is no group that can be scaled", row.Name)
	}
	child, err := r.child(row)
	if err != nil || row.Status != Complete || row.Action == Delete || child == nil || child.Status == InProgress || r.st.Status == InProgress {
		return err
	}
	if r.ev == nil {
		if err := r.prepare(); err != nil {
			return err
		}
	}
	props, err := r.rowProps(row, typ)
	if err != nil {
		return err
	}
	group := r.resource(row, typ, props)
	if !change(group) {
		return nil
	}
	group.Action, group.Outputs = Update, child.Outputs
	n, err := typ.Nested(group, r.uses[row.Name])
	if err != nil {
		return err
	}
	_, used, err := r.env.Registry.Resolve(row.Type, row.Name)
	if err != nil {
		return err
	}
	if child.Def, err = r.nestedDefinition(row, n, used); err != nil {
		return err
	}
	row.SetData(group.Data)
	r.touch(row)
	r.beginChild(child, Update)
	child.Deadline = deadline(r.e.now(), r.st.TimeoutMins)
	r.later(func(tx *store.Tx) error { return UpdateStack(tx, child) })
	return nil
}

// sibling finds the resource of the stack that ref, its id or name, stands for.
func (r *run) sibling(ref string) (*Row, *resources.Type, error) {
	for _, row := range r.rows {
		id, err := r.reference(row)
		if err == nil && hot.PyStr(id) == ref || row.Name == ref || row.PhysicalID != "" && row.PhysicalID == ref {
			typ, err := r.e.typeOf(row.Target, r.files)
			return row, typ, err
		}
	}
	return nil, nil, fmt.Errorf("the stack has no resource %q", ref)
}

// Sources returns what a stack made by a resource gets from its own: the files, and the environment without
// the parameters, which the resource gives.
func (h *host) Sources() (map[string]string, *Map) {
	if h.r.env == nil {
		return h.r.files, yaml11.NewMap()
	}
	return h.r.files, forChild(h.r.env)
}

// forChild is an environment as a stack made by a resource gets it.
func forChild(e *hot.Environment) *Map {
	env := e.Value()
	env.Delete("parameters")
	env.Delete("event_sinks")
	return env
}

// Sibling returns the properties of a resource of the same stack.
func (h *host) Sibling(_ *resources.Resource, ref string) (*resources.Props, error) {
	row, typ, err := h.r.sibling(ref)
	if err != nil {
		return nil, err
	}
	return h.r.rowProps(row, typ)
}

// overlay holds configs of the current batch that are not committed yet.
type overlay struct {
	mu sync.Mutex
	m  map[string]*resources.Config
}

func (o *overlay) put(c *resources.Config) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.m == nil {
		o.m = map[string]*resources.Config{}
	}
	o.m[c.ID] = c
}

func (o *overlay) get(id string) *resources.Config {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.m[id]
}

func (h *host) Secret(ctx context.Context, name string) (string, error) {
	return h.r.e.Secret(ctx, name)
}

// Signals returns what a handle of the same tree of stacks has received; handle is its id or its signed
// address. Transports that have to be asked are asked first.
func (h *host) Signals(ctx context.Context, _ *resources.Resource, handle string) (*Map, error) {
	where, args := "physical_id = ?", []any{handle}
	if stack, name, ok := resources.HandleOf(handle); ok {
		where, args = "stack_id = ? AND name = ? AND replaced = 0", []any{stack, name}
	}
	var rows []*Row
	var st *Stack
	err := h.r.e.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		rows, err = FindRows(tx, where+" AND stack_id IN (SELECT id FROM heat_stacks WHERE root_id = ?)", append(args, h.r.st.RootID)...)
		if err == nil && len(rows) > 0 {
			st, err = GetStack(tx, rows[0].StackID)
		}
		return err
	})
	if err != nil || st == nil {
		return yaml11.NewMap(), err
	}
	row := rows[0]
	typ, err := h.r.e.typeOf(row.Target, nil)
	if err != nil {
		return nil, err
	}
	props, err := h.r.rowProps(row, typ)
	if err != nil {
		return nil, err
	}
	res := (&run{e: h.r.e, ctx: ctx, st: st}).resource(row, typ, props)
	if err := resources.PollHandle(ctx, res); err != nil {
		return nil, err
	}
	if m, ok := yaml11.Normalize(res.Data["signals"]).(*Map); ok {
		return m, nil
	}
	return yaml11.NewMap(), nil
}
