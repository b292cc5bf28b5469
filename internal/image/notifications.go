package image

import (
	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

// tell notifies of a change of an image, as Glance does: image.create, .update,
// .upload, .activate, .delete on exchange glance.
func (s *Service) tell(tx *store.Tx, m *image, events ...string) error {
	for _, event := range events {
		err := s.cfg.Bus.Tell(tx, notify.Notification{Exchange: "glance", Topic: "notifications", EventType: event, Publisher: "image.tripleo", Project: m.owner,
			Payload: map[string]any{"id": m.id, "name": m.name, "status": m.status, "visibility": m.visibility, "owner": m.owner, "size": m.size,
				"virtual_size": m.virtualSize, "checksum": m.checksum, "os_hash_algo": "sha512", "os_hash_value": m.hash, "disk_format": m.disk, "container_format": m.container,
				"min_disk": m.minDisk, "min_ram": m.minRAM, "protected": m.protected, "tags": m.tags, "properties": m.properties,
				"created_at": m.created.UTC().Format(api.TimeFormat), "updated_at": s.now().UTC().Format(api.TimeFormat),
				"deleted": event == "image.delete"}})
		if err != nil {
			return err
		}
	}
	return nil
}
