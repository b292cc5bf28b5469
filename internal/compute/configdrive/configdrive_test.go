package configdrive_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"github.com/tripleo/tripleo/internal/compute/configdrive"
)

func TestImageIsReadBack(t *testing.T) {
	user := bytes.Repeat([]byte("user data line\n"), 3000)
	image, err := configdrive.Image(map[string]any{
		"openstack/latest/meta_data.json": map[string]any{"uuid": "u1", "hostname": "overcloud-controller-0"}, "openstack/latest/user_data": user,
		"openstack/2018-08-27/user_data": user, "ec2/2009-04-04/user-data": user,
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cd.iso")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	back, err := file.OpenFromPath(path, true)
	if err != nil {
		t.Fatal(err)
	}
	fs, err := iso9660.Read(back, 0, 0, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimRight(fs.Label(), " ") != configdrive.Label {
		t.Errorf("label %q, expected %q", fs.Label(), configdrive.Label)
	}
	read := func(name string) []byte {
		f, err := fs.OpenFile(name, os.O_RDONLY)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var meta map[string]string
	if err := json.Unmarshal(read("openstack/latest/meta_data.json"), &meta); err != nil || meta["hostname"] != "overcloud-controller-0" {
		t.Errorf("meta_data.json holds %v, %v", meta, err)
	}
	for _, name := range []string{"openstack/latest/user_data", "openstack/2018-08-27/user_data", "ec2/2009-04-04/user-data"} {
		if !bytes.Equal(read(name), user) {
			t.Errorf("%s was changed on the way", name)
		}
	}
}
