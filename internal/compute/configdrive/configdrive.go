// Package configdrive builds a server's configuration drive: an ISO 9660 image
// labelled config-2 with the files of OpenStack's metadata service.
// https://docs.openstack.org/nova/latest/user/metadata.html
package configdrive

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

// Label is the volume label by which an installed system finds the drive.
const Label = "config-2"

// Build returns the image as Ironic takes it: gzip, then base64. The tree names
// its files by their paths; what is no []byte is written as JSON.
func Build(tree map[string]any) (string, error) {
	image, err := Image(tree)
	if err != nil {
		return "", err
	}
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	if _, err := zw.Write(image); err != nil {
		return "", fmt.Errorf("compress config drive: %w", err)
	}
	if err := zw.Close(); err != nil {
		return "", fmt.Errorf("compress config drive: %w", err)
	}
	return base64.StdEncoding.EncodeToString(buf.Bytes()), nil
}

// Image returns the raw ISO 9660 image.
func Image(tree map[string]any) ([]byte, error) {
	dir, err := os.MkdirTemp("", "configdrive")
	if err != nil {
		return nil, fmt.Errorf("config drive: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	work := filepath.Join(dir, "files")
	for name, v := range tree {
		b, ok := v.([]byte)
		if !ok {
			if b, err = json.Marshal(v); err != nil {
				return nil, fmt.Errorf("config drive: encode %s: %w", name, err)
			}
		}
		path := filepath.Join(work, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("config drive: %w", err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return nil, fmt.Errorf("config drive: %w", err)
		}
	}
	return finalize(filepath.Join(dir, "image.iso"), work)
}

func finalize(path, work string) ([]byte, error) {
	const atLeast = 1 << 20 // a maximum would be checked, the image is as large as its files
	back, err := file.CreateFromPath(path, atLeast)
	if err != nil {
		return nil, fmt.Errorf("config drive: %w", err)
	}
	fs, err := iso9660.Create(back, 0, 0, 2048, work)
	if err != nil {
		return nil, fmt.Errorf("config drive: %w", err)
	}
	// Finalize removes the work folder. ECMA-119 pads the label with spaces.
	if err := fs.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: fmt.Sprintf("%-32s", Label)}); err != nil {
		return nil, fmt.Errorf("config drive: %w", err)
	}
	if err := back.Close(); err != nil {
		return nil, fmt.Errorf("config drive: %w", err)
	}
	return os.ReadFile(path) //nolint:gosec // our own temporary file
}
