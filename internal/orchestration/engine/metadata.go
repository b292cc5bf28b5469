package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/trusts"
	"github.com/gophercloud/gophercloud/v2/openstack/objectstorage/v1/objects"

	"github.com/tripleo/tripleo/internal/jobs"
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
	var trust, container, object, published string
	var deployments []any
	meta := yaml11.NewMap()
	err := e.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		if err := tx.Get([]any{&trust, &container, &object, &published, store.JSON(meta)},
			"SELECT trust_id, container, object, published, metadata FROM heat_targets WHERE server_id = ?", j.Key); err != nil {
			return err
		}
		deployments, err = DeploymentsMetadata(tx, j.Key)
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
	s, err := e.session(ctx, trust)
	if err != nil {
		return jobs.Fail(err)
	}
	swift, err := s.ObjectStore()
	if err != nil {
		return jobs.Fail(err)
	}
	if r := objects.Create(ctx, swift, container, object, objects.CreateOpts{Content: bytes.NewReader(body), ContentType: "application/json"}); r.Err != nil {
		return jobs.Fail(fmt.Errorf("publish metadata of server %s: %w", j.Key, r.Err))
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
	s, err := r.e.cfg.Cloud.Trust(ctx, id)
	if err != nil {
		return // the trust is gone already, or its user: nothing is left to delete
	}
	keystone, err := s.Identity()
	if err == nil {
		err = trusts.Delete(ctx, keystone, id).ExtractErr()
	}
	if err != nil {
		r.e.cfg.Log.WarnContext(r.ctx, "trust not deleted", "stack", r.st.Name, "error", err)
	}
	r.e.cfg.Cloud.Forget(id)
}
