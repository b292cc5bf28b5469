package engine

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/store"
)

// A plan gives each of its nodes a config of the same content: the list of all nodes, the services of its role. With n
// nodes that would be n copies of what grows with n, so a long content is stored once, under its hash, and the last used
// ones stay in memory as they were decoded. Nobody changes them.

// sharedContent is from how many bytes on a config's content is stored once for all that have the same.
const sharedContent = 4 << 10

// maxContents is how many bytes of contents, as JSON, stay in memory.
const maxContents = 16 << 20

// restamp is how old the mark of use of a content gets before it is renewed; purging spares what is younger than a day.
const restamp = time.Hour

type contents struct {
	mu    sync.Mutex
	m     map[string]any // decoded, by id
	bytes int
}

func (c *contents) get(id string) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.m[id]
	return v, ok
}

func (c *contents) keep(id string, v any, size int) {
	if size > maxContents/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || c.bytes+size > maxContents {
		c.m, c.bytes = map[string]any{}, 0
	}
	if _, ok := c.m[id]; !ok {
		c.m[id] = v
		c.bytes += size
	}
}

// putContent stores a content unless it is there, and returns its id.
func (e *Engine) putContent(tx *store.Tx, text string) (string, error) {
	id := rawID([]byte(text))
	var used time.Time
	now := e.now()
	err := tx.Get([]any{store.Time(&used)}, "SELECT used_at FROM heat_contents WHERE id = ?"+tx.ForUpdate(), id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		_, err = tx.Exec("INSERT INTO heat_contents (id, used_at, data) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET used_at = excluded.used_at",
			id, store.At(now), tx.SealBytes([]byte(text), "heat_contents.data"))
	case err == nil && now.Sub(used) > restamp:
		_, err = tx.Exec("UPDATE heat_contents SET used_at = ? WHERE id = ?", store.At(now), id)
	}
	if err != nil {
		return "", fmt.Errorf("content of a config: %w", err)
	}
	return id, nil
}

// content returns a stored content, decoded; it must not be changed.
func (e *Engine) content(tx *store.Tx, id string) (any, error) {
	if v, ok := e.contents.get(id); ok {
		return v, nil
	}
	var data []byte
	if err := tx.Get([]any{&data}, "SELECT data FROM heat_contents WHERE id = ?", id); err != nil {
		return nil, fmt.Errorf("content of a config: %w", err)
	}
	text, err := tx.OpenBytes(data, "heat_contents.data")
	if err != nil {
		return nil, err
	}
	v := fromText(string(text))
	e.contents.keep(id, v, len(text))
	return v, nil
}

// purgeContents forgets contents that no config has any more.
func purgeContents(tx *store.Tx, limit any) error {
	_, err := tx.Exec("DELETE FROM heat_contents WHERE used_at < ? AND id NOT IN (SELECT content_id FROM heat_configs)", limit)
	if err != nil {
		return fmt.Errorf("purge contents of configs: %w", err)
	}
	return nil
}
