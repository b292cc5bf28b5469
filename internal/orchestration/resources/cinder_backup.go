package resources

import (
	"context"
	"time"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// backUpVolume makes a backup of a volume for a snapshot of its stack, or for the deletion policy Snapshot.
func backUpVolume(ctx context.Context, r *Resource) (Step, error) {
	c, err := r.service(ctx, "cinder")
	if err != nil {
		return Step{}, err
	}
	id := r.Str("backup")
	if id == "" {
		m, err := c.call(ctx, "POST", "backups", yaml11.MapOf("backup", yaml11.MapOf("volume_id", r.PhysicalID, "name", r.PhysicalName(0), "force", true)))
		if err != nil {
			return Step{}, err
		}
		id = str(submap(m, "backup"), "id")
		r.Data["backup"] = id
		if err := r.Host.Save(ctx, r); err != nil {
			return Step{}, err
		}
	}
	m, err := c.call(ctx, "GET", "backups/"+id, nil)
	if err != nil {
		return Step{}, err
	}
	switch st := str(submap(m, "backup"), "status"); st {
	case "available":
		delete(r.Data, "backup")
		r.Snapshot = map[string]any{"backup_id": id}
		return Done(), nil
	case "error":
		delete(r.Data, "backup")
		return Step{}, Failed("The backup %s of volume %s failed: %s", id, r.PhysicalID, str(submap(m, "backup"), "fail_reason"))
	}
	return Wait(5 * time.Second), nil
}

// dropBackup deletes the backup of a snapshot.
func dropBackup(ctx context.Context, r *Resource) error {
	id, _ := r.Snapshot["backup_id"].(string)
	if id == "" {
		return nil
	}
	c, err := r.service(ctx, "cinder")
	if err != nil {
		return err
	}
	return c.remove(ctx, "backups/"+id)
}
