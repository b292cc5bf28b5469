package engine

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/cloud"
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
		_, err := tx.Exec("UPDATE heat_resources SET physical_id=?, data=? WHERE id=?", res.PhysicalID, store.JSON(res.Data), res.ID)
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
	return h.tx(ctx, res, func(tx *store.Tx) error { return PutConfig(tx, c) })
}

func (h *host) Config(ctx context.Context, _ *resources.Resource, id string) (*resources.Config, error) {
	if c := h.r.configs.get(id); c != nil {
		return c, nil
	}
	var c *resources.Config
	err := h.r.e.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		c, err = GetConfig(tx, id)
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
		_, err := tx.Exec(`INSERT INTO heat_targets (server_id, stack_id, trust_id, container, object, metadata, published) VALUES (?, ?, ?, ?, ?, ?, '')
 ON CONFLICT (server_id) DO UPDATE SET stack_id=excluded.stack_id, trust_id=excluded.trust_id, container=excluded.container, object=excluded.object, metadata=excluded.metadata`,
			t.ServerID, res.StackID, h.trust, t.Container, t.Object, store.JSON(t.Metadata))
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

// SignalURL returns the address a machine posts a signal to; the signature in it is the permission.
func (h *host) SignalURL(ctx context.Context, res *resources.Resource) (string, error) {
	sig, err := h.r.e.SignalSignature(ctx, res.ID)
	if err != nil {
		return "", err
	}
	return h.r.e.cfg.NodeURL + "/orchestration/v1/signal/" + res.ID + "?signature=" + sig, nil
}

// SignalSignature signs a resource's id for its signal URL.
func (e *Engine) SignalSignature(ctx context.Context, resourceID string) (string, error) {
	secret, err := e.Secret(ctx, "signal")
	if err != nil {
		return "", err
	}
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(resourceID))
	return hex.EncodeToString(m.Sum(nil)), nil
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

func (h *host) Signals(ctx context.Context, _ *resources.Resource, handle string) (*Map, error) {
	var rows []*Row
	err := h.r.e.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		rows, err = FindRows(tx, "physical_id = ? AND stack_id IN (SELECT id FROM heat_stacks WHERE root_id = ?)", handle, h.r.st.RootID)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if m, ok := row.Data["signals"].(*Map); ok {
			return m, nil
		}
	}
	return yaml11.NewMap(), nil
}
