package image

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/jobs"
	"github.com/tripleo/tripleo/internal/store"
)

// image is a row of image_images.
type image struct {
	id, owner, visibility, status string
	name, container, disk         *string
	size, virtualSize             *int64
	checksum, hash                *string
	minDisk, minRAM               int64
	protected, hidden             bool
	blobKey                       string // also of data that is still arriving
	tags                          []string
	properties                    map[string]string
	created, updated              time.Time
}

const imageColumns = `id, owner, visibility, status, name, container_format, disk_format, size, virtual_size, checksum, os_hash_value,
	min_disk, min_ram, protected, hidden, blob_key, tags, properties, created, updated`

func scanImage(scan func(...any) error) (*image, error) {
	m := &image{tags: []string{}, properties: map[string]string{}}
	var protected, hidden int64
	err := scan(&m.id, &m.owner, &m.visibility, &m.status, &m.name, &m.container, &m.disk, &m.size, &m.virtualSize, &m.checksum, &m.hash,
		&m.minDisk, &m.minRAM, &protected, &hidden, &m.blobKey, store.JSON(&m.tags), store.JSON(&m.properties), store.Time(&m.created), store.Time(&m.updated))
	m.protected, m.hidden = protected != 0, hidden != 0
	return m, store.Wrap(err)
}

// hasData says whether all of the image's data have come.
func (m *image) hasData() bool { return m.status == "active" || m.status == "deactivated" }

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (m *image) values() []any {
	return []any{
		m.id, m.owner, m.visibility, m.status, m.name, m.container, m.disk, m.size, m.virtualSize, m.checksum, m.hash,
		m.minDisk, m.minRAM, flag(m.protected), flag(m.hidden), m.blobKey, store.JSON(m.tags), store.JSON(m.properties), store.At(m.created), store.At(m.updated),
	}
}

func get(tx *store.Tx, id string) (*image, error) {
	return scanImage(tx.QueryRow(`SELECT `+imageColumns+` FROM image_images WHERE id = ?`, id).Scan)
}

func insert(tx *store.Tx, m *image) error {
	values := m.values()
	_, err := tx.Exec(`INSERT INTO image_images (`+imageColumns+`) VALUES `+store.In(len(values)), values...)
	return err
}

func (s *Service) save(tx *store.Tx, m *image) error {
	m.updated = s.now()
	set := strings.ReplaceAll(imageColumns, ",", " = ?,") + " = ?"
	_, err := tx.Exec(`UPDATE image_images SET `+set+` WHERE id = ?`, append(m.values(), m.id)...)
	return err
}

// seesAll says whether images of all projects are the caller's business.
func seesAll(id *auth.Identity) bool { return id.HasRole("admin", "service") }

func memberStatus(tx *store.Tx, imageID, project string) (string, error) {
	var status string
	err := tx.Get([]any{&status}, `SELECT status FROM image_members WHERE image_id = ? AND member_id = ?`, imageID, project)
	if isNotFound(err) {
		return "", nil
	}
	return status, err
}

// visible returns an image the caller may see. Others do not exist for it.
func visible(tx *store.Tx, c *auth.Identity, id string) (*image, error) {
	m, err := get(tx, id)
	if isNotFound(err) {
		return nil, api.NotFound("Failed to find image %s", id).Wrap(err)
	}
	if err != nil || m.visibility == "public" || m.visibility == "community" || mayChange(c, m) || c.HasRole("service") {
		return m, err
	}
	if m.visibility == "shared" && c.ProjectID != "" {
		status, err := memberStatus(tx, id, c.ProjectID)
		if err != nil || status != "" {
			return m, err
		}
	}
	return nil, api.NotFound("Failed to find image %s", id)
}

func mayChange(c *auth.Identity, m *image) bool {
	return c.IsAdmin() || c.ProjectID != "" && c.ProjectID == m.owner
}

// changeable returns an image the caller may change.
func changeable(tx *store.Tx, c *auth.Identity, id string) (*image, error) {
	m, err := visible(tx, c, id)
	if err == nil && !mayChange(c, m) {
		return nil, api.Forbidden("You are not authorized to change image %s: it belongs to another project.", id)
	}
	return m, err
}

// maxUpload is how long the data of one image may take to arrive.
const maxUpload = 24 * time.Hour

func newKey() string { return "images/" + uuid.NewString() }

// reserve marks a key that is about to be written as garbage-to-be.
func (s *Service) reserve(tx *store.Tx, key string) error {
	return s.discard(tx, key, s.now().Add(maxUpload))
}

// discard has the body under key deleted at the given time.
func (s *Service) discard(tx *store.Tx, key string, at time.Time) error {
	if key == "" {
		return nil
	}
	_, err := tx.Exec(`INSERT INTO image_garbage (key, after) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET after = excluded.after`, key, store.At(at))
	if err != nil {
		return err
	}
	return s.cfg.Jobs.PokeAt(tx, kindGarbage, jobKey, nil, at)
}

// keep makes a reserved key's body permanent.
func keep(tx *store.Tx, key string) error {
	n, err := tx.Exec(`DELETE FROM image_garbage WHERE key = ?`, key)
	if err == nil && n == 0 {
		return fmt.Errorf("the data took longer than %s and was collected", maxUpload)
	}
	return err
}

// recover gives up the uploads a crash broke off, if no other process can be
// receiving them.
func (s *Service) recover(ctx context.Context) error {
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		if !tx.Shared() {
			if _, err := tx.Exec(`UPDATE image_garbage SET after = ?`, store.At(s.now())); err != nil {
				return err
			}
		}
		return s.cfg.Jobs.Poke(tx, kindGarbage, jobKey, nil)
	})
}

// collectGarbage is the job that deletes data no image names. An image whose
// upload never ended goes back to queued.
func (s *Service) collectGarbage(ctx context.Context, _ jobs.Job) jobs.Result {
	var keys []string
	var next time.Time
	err := s.db.Tx(ctx, func(tx *store.Tx) error {
		keys, next = nil, time.Time{}
		err := tx.Each(func(scan func(...any) error) error {
			var k string
			err := scan(&k)
			keys = append(keys, k)
			return err
		}, `SELECT key FROM image_garbage WHERE after <= ? LIMIT 100`, store.At(s.now()))
		if err != nil {
			return err
		}
		for _, k := range keys {
			_, err := tx.Exec(`UPDATE image_images SET status = 'queued', blob_key = '' WHERE blob_key = ? AND status IN ('saving', 'uploading', 'importing')`, k)
			if err != nil {
				return err
			}
		}
		return tx.Get([]any{store.Time(&next)}, `SELECT MIN(after) FROM image_garbage`)
	})
	if err != nil {
		return jobs.Fail(err)
	}
	for _, k := range keys {
		if err := s.blobs.Delete(ctx, k); err != nil {
			return jobs.Fail(err)
		}
	}
	if len(keys) > 0 {
		err := s.db.Tx(ctx, func(tx *store.Tx) error {
			_, err := tx.Exec(`DELETE FROM image_garbage WHERE key IN `+store.In(len(keys)), store.Args(keys)...)
			return err
		})
		if err != nil {
			return jobs.Fail(err)
		}
		return jobs.After(0)
	}
	if next.IsZero() {
		return jobs.Done()
	}
	return jobs.After(max(0, next.Sub(s.now())))
}
