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

// Data is what the drive holds. MetaData and NetworkData are encoded as JSON;
// UserData may be empty.
type Data struct {
	MetaData    any
	NetworkData any
	UserData    []byte
}

// Build returns the image as Ironic takes it: gzip, then base64.
func Build(d Data) (string, error) {
	image, err := Image(d)
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
func Image(d Data) ([]byte, error) {
	dir, err := os.MkdirTemp("", "configdrive")
	if err != nil {
		return nil, fmt.Errorf("config drive: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	work := filepath.Join(dir, "files")
	latest := filepath.Join(work, "openstack", "latest")
	if err := os.MkdirAll(latest, 0o700); err != nil {
		return nil, fmt.Errorf("config drive: %w", err)
	}
	files := map[string]any{"meta_data.json": d.MetaData, "network_data.json": d.NetworkData, "vendor_data.json": map[string]any{}, "vendor_data2.json": map[string]any{}}
	for name, v := range files {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("config drive: encode %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(latest, name), b, 0o600); err != nil {
			return nil, fmt.Errorf("config drive: %w", err)
		}
	}
	if len(d.UserData) > 0 {
		if err := os.WriteFile(filepath.Join(latest, "user_data"), d.UserData, 0o600); err != nil {
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
