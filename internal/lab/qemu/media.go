package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/tripleo/tripleo/internal/lab/bmc"
)

const (
	mediaFile = "media.iso"
	// maxMedia bounds an image in the virtual CD drive, in bytes.
	maxMedia   = 8 << 30
	fetchLimit = 10 * time.Minute
)

// Media implements bmc.Drive.
func (m *Machine) Media() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.media
}

// InsertMedia implements bmc.Drive: the image is fetched whole, as its server may take it away once it has been.
func (m *Machine) InsertMedia(ctx context.Context, url string) error {
	if m.cfg.Fetch == nil {
		return errors.New("the machine has no virtual CD drive")
	}
	tmp, err := m.fetch(ctx, url)
	if err != nil {
		return err
	}
	if err := m.EjectMedia(); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, m.path(mediaFile)); err != nil {
		return err
	}
	m.mu.Lock()
	m.iso, m.media = mediaFile, url
	m.mu.Unlock()
	if err := m.command("blockdev-change-medium", map[string]any{"id": "cd0", "filename": m.path(mediaFile), "format": "raw", "read-only-mode": "read-only"}); err != nil && !errors.Is(err, bmc.ErrConflict) {
		return fmt.Errorf("insert the medium: %w", err)
	}
	return nil
}

func (m *Machine) fetch(ctx context.Context, url string) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := m.cfg.Fetch.Do(req)
	if err != nil {
		return "", fmt.Errorf("fetch the medium: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("fetch the medium: the server answers %s", resp.Status)
	}
	f, err := os.CreateTemp(filepath.Dir(m.path(mediaFile)), "media-*.part")
	if err != nil {
		return "", err
	}
	n, err := io.Copy(f, io.LimitReader(resp.Body, maxMedia+1))
	if err == nil && n > maxMedia {
		err = fmt.Errorf("fetch the medium: it has more than %d bytes", int64(maxMedia))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// EjectMedia implements bmc.Drive.
func (m *Machine) EjectMedia() error {
	m.mu.Lock()
	had := m.iso != ""
	m.iso, m.media = "", ""
	m.mu.Unlock()
	if !had {
		return nil
	}
	if err := m.command("eject", map[string]any{"id": "cd0", "force": true}); err != nil && !errors.Is(err, bmc.ErrConflict) {
		return fmt.Errorf("eject the medium: %w", err)
	}
	return ignoreMissing(os.Remove(m.path(mediaFile)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
