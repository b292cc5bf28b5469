package baremetal

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"github.com/tripleo/tripleo/internal/api"
)

const maxConfigDrive = 64 << 20 // bytes of the ISO image, as Nova's

// configDrive turns what a client sends with `active` into what the ramdisk's
// agent takes: base64 of a gzipped ISO image, or a URL. From 1.56 on a client
// may send an object {meta_data, network_data, user_data, vendor_data}, from
// which the image is built here.
func configDrive(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://") || text == "" {
			return text, nil
		}
		if _, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err != nil {
			return "", api.Invalid("configdrive is neither a URL nor base64: %s", err.Error())
		}
		return text, nil
	}
	var doc struct {
		MetaData    map[string]any  `json:"meta_data"`
		NetworkData map[string]any  `json:"network_data"`
		UserData    json.RawMessage `json:"user_data"`
		VendorData  map[string]any  `json:"vendor_data"`
	}
	if err := api.DecodeJSON(raw, &doc); err != nil {
		return "", api.Invalid("configdrive is neither a string nor an object of meta_data, network_data, user_data and vendor_data").Wrap(err)
	}
	if doc.MetaData == nil {
		doc.MetaData = map[string]any{}
	}
	files := map[string][]byte{}
	for name, v := range map[string]map[string]any{"meta_data.json": doc.MetaData, "network_data.json": doc.NetworkData, "vendor_data.json": doc.VendorData} {
		if v != nil {
			files["openstack/latest/"+name] = []byte(jsonText(v))
		}
	}
	if len(doc.UserData) > 0 && string(doc.UserData) != "null" {
		var s string
		if json.Unmarshal(doc.UserData, &s) == nil {
			files["openstack/latest/user_data"] = []byte(s)
		} else {
			files["openstack/latest/user_data"] = doc.UserData
		}
	}
	iso, err := buildISO("config-2", files)
	if err != nil {
		return "", fmt.Errorf("build the config drive: %w", err)
	}
	var buf bytes.Buffer
	enc := base64.NewEncoder(base64.StdEncoding, &buf)
	zip := gzip.NewWriter(enc)
	if _, err := zip.Write(iso); err != nil {
		return "", err
	}
	if err := zip.Close(); err != nil {
		return "", err
	}
	return buf.String(), enc.Close()
}

// buildISO makes an ISO 9660 image with Rock Ridge names.
func buildISO(label string, files map[string][]byte) (out []byte, err error) {
	size := 1 << 20
	for _, b := range files {
		size += len(b) + 4096
	}
	if size > maxConfigDrive {
		return nil, api.TooLarge("the config drive has %d bytes, at most %d are allowed", size, maxConfigDrive)
	}
	dir, err := os.MkdirTemp("", "configdrive-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	img := filepath.Join(dir, "image.iso")
	storage, err := file.CreateFromPath(img, int64(size))
	if err != nil {
		return nil, err
	}
	defer func() { _ = storage.Close() }()
	work := filepath.Join(dir, "tree")
	if err := os.Mkdir(work, 0o700); err != nil {
		return nil, err
	}
	fs, err := iso9660.Create(storage, int64(size), 0, 2048, work)
	if err != nil {
		return nil, err
	}
	for name, b := range files {
		if err := fs.Mkdir(path.Dir(name)); err != nil {
			return nil, err
		}
		f, err := fs.OpenFile(name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(f, bytes.NewReader(b)); err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	if err := fs.Finalize(iso9660.FinalizeOptions{RockRidge: true, Joliet: true, VolumeIdentifier: label}); err != nil {
		return nil, err
	}
	return os.ReadFile(img)
}
