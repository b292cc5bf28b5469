package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/objectstorage/v1/objects"

	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// PokeMetadata publishes a server's metadata again, after tx has committed.
func (e *Engine) PokeMetadata(tx *store.Tx, serverID string) error {
	if serverID == "" {
		return nil
	}
	return e.cfg.Jobs.Poke(tx, JobMetadata, serverID, nil)
}

// runMetadata writes a server's metadata to its Swift object when it changed.
func (e *Engine) runMetadata(ctx context.Context, j jobs.Job) jobs.Result {
	var trust, container, object, published, queue, resource string
	var deployments []any
	meta := yaml11.NewMap()
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		if err := tx.Get([]any{&trust, &container, &object, &published, tx.SealedJSON(meta, "heat_targets.metadata"), &queue, &resource},
			"SELECT trust_id, container, object, published, metadata, queue, resource_id FROM heat_targets WHERE server_id = ?", j.Key); err != nil {
			return err
		}
		deployments, err = e.DeploymentsMetadata(tx, j.Key)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return jobs.Done() // no such server (yet), or it is gone
	}
	if err != nil {
		return jobs.Fail(err)
	}
	meta.Set("deployments", deployments)
	body, err := yaml11.EncodeJSON(meta)
	if err != nil {
		return jobs.Fail(fmt.Errorf("metadata of server %s: %w", j.Key, err))
	}
	id := rawID(body)
	if id == published {
		return jobs.Done()
	}
	switch {
	case container != "":
		err = e.publishObject(ctx, trust, container, object, body)
	case queue != "":
		err = e.publishMessage(ctx, resource, queue, meta)
	}
	if err != nil {
		return jobs.Fail(fmt.Errorf("publish metadata of server %s: %w", j.Key, err))
	}
	err = e.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec("UPDATE heat_targets SET published = ? WHERE server_id = ?", id, j.Key)
		return err
	})
	if err != nil {
		return jobs.Fail(err)
	}
	return jobs.Done()
}

func (e *Engine) publishObject(ctx context.Context, trust, container, object string, body []byte) error {
	s, err := e.session(ctx, trust)
	if err != nil {
		return err
	}
	swift, err := s.ObjectStore()
	if err != nil {
		return err
	}
	return objects.Create(ctx, swift, container, object, objects.CreateOpts{Content: bytes.NewReader(body), ContentType: "application/json"}).Err
}

// publishMessage posts the metadata to the queue of the server's user.
func (e *Engine) publishMessage(ctx context.Context, resource, queue string, meta *Map) error {
	var rows []*Row
	var st *Stack
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		if rows, err = FindRows(tx, "id = ?", resource); err != nil || len(rows) == 0 {
			return err
		}
		st, err = GetStack(tx, rows[0].StackID)
		return err
	})
	if err != nil || st == nil {
		return err
	}
	typ, err := e.typeOf(rows[0].Target, nil)
	if err != nil {
		return err
	}
	res := (&run{e: e, ctx: ctx, st: st}).resource(rows[0], typ, nil)
	return resources.PostMetadata(ctx, res, queue, meta)
}

// dropTrust deletes the trusts of a tree of stacks that is gone; another stack may share one.
func (r *run) dropTrust() error {
	if r.st.TrustID == "" || r.st.ParentID != "" || r.e.cfg.Cloud == nil {
		return nil
	}
	var ids []string
	err := r.e.cfg.DB.View(r.ctx, func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var id string
			err := scan(&id)
			ids = append(ids, id)
			return err
		}, `SELECT DISTINCT trust_id FROM heat_stacks WHERE root_id = ? AND trust_id <> ''
 AND trust_id NOT IN (SELECT trust_id FROM heat_stacks WHERE deleted_at = 0 AND root_id <> ?)`, r.st.ID, r.st.ID)
	})
	for _, id := range ids {
		r.deleteTrust(id)
	}
	return err
}

func (r *run) deleteTrust(id string) {
	ctx, cancel := context.WithTimeout(r.ctx, 10*time.Second)
	defer cancel()
	if err := r.e.cfg.Cloud.DeleteTrust(ctx, id); err != nil {
		r.e.cfg.Log.WarnContext(r.ctx, "trust not deleted", "stack", r.st.Name, "error", err)
	}
}
