package collect

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
)

func TestConfigDriveOnVFAT(t *testing.T) {
	file := filepath.Join(t.TempDir(), "drive.img")
	d, err := diskfs.Create(file, 64<<20, diskfs.SectorSize512)
	if err != nil {
		t.Fatal(err)
	}
	fsys, err := d.CreateFilesystem(disk.FilesystemSpec{FSType: filesystem.TypeFat32, VolumeLabel: ConfigDriveLabel})
	if err != nil {
		t.Fatal(err)
	}
	if err := fsys.Mkdir("/openstack/latest"); err != nil {
		t.Fatal(err)
	}
	f, err := fsys.OpenFile("/openstack/latest/meta_data.json", os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(`{"uuid":"v"}`)); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfigDriveDevice(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.MetaData) != `{"uuid":"v"}` || got.UserData != nil {
		t.Errorf("read %q %q", got.MetaData, got.UserData)
	}
}
