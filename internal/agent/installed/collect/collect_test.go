package collect

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"
)

func TestMerge(t *testing.T) {
	tests := []struct {
		reason string
		in     []map[string]any
		want   map[string]any
	}{
		{"maps deeply, later scalars win", []map[string]any{{"a": map[string]any{"x": 1, "y": 2}}, {"a": map[string]any{"y": 3}}}, map[string]any{"a": map[string]any{"x": 1, "y": 3}}},
		{"lists are replaced: deployments of one collector only", []map[string]any{{"l": []any{1}}, {"l": []any{2}}}, map[string]any{"l": []any{2}}},
		{"null takes a key away, as Heat does when the transport changes", []map[string]any{{"o": map[string]any{"cfn": map[string]any{"u": 1}}}, {"o": map[string]any{"cfn": nil}}}, map[string]any{"o": map[string]any{}}},
		{"a map replaces a scalar", []map[string]any{{"a": 1}, {"a": map[string]any{"b": 1}}}, map[string]any{"a": map[string]any{"b": 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Merge(tt.in...)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestMergeLeavesItsInputs(t *testing.T) {
	a := map[string]any{"m": map[string]any{"x": 1}}
	b := map[string]any{"m": map[string]any{"y": 2}}
	_ = Merge(a, b)
	if diff := cmp.Diff(map[string]any{"m": map[string]any{"x": 1}}, a); diff != "" {
		t.Errorf("first input changed: %s", diff)
	}
}

func TestRequestBacksOff(t *testing.T) {
	r := &Request{}
	tests := []struct {
		reason string
		err    error
		took   time.Duration
		want   time.Duration
	}{
		{"news: ask again at once", nil, 0, 0},
		{"the server held the poll", ErrNotModified, LongPoll, 0},
		{"the server does not hold polls", ErrNotModified, time.Millisecond, time.Second},
		{"still not", ErrNotModified, time.Millisecond, 2 * time.Second},
		{"away", errors.New("refused"), 0, 4 * time.Second},
		{"away", errors.New("refused"), 0, 8 * time.Second},
		{"away", errors.New("refused"), 0, 16 * time.Second},
		{"never longer than 30 s", errors.New("refused"), 0, 30 * time.Second},
		{"never longer than 30 s", errors.New("refused"), 0, 30 * time.Second},
		{"back", nil, 0, 0},
		{"away again: from the start", errors.New("refused"), 0, time.Second},
	}
	for i, tt := range tests {
		if got := r.Next(tt.err, tt.took); got != tt.want {
			t.Errorf("row %d (%s): %s, want %s", i, tt.reason, got, tt.want)
		}
	}
}

func TestRequestFetch(t *testing.T) {
	var status int
	body, etag := `{"a": 1.50}`, `"1"`
	var seen []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("If-None-Match")+"|"+r.Header.Get("X-Long-Poll"))
		if r.Header.Get("If-None-Match") == etag && etag != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if status != 0 {
			w.WriteHeader(status)
			return
		}
		w.Header().Set("ETag", etag)
		_, _ = io.WriteString(w, body)
	}))
	defer s.Close()
	r := &Request{Client: s.Client()}
	url := s.URL + "/o?temp_url_sig=SECRETSIG"
	m, err := r.Fetch(t.Context(), url, true)
	if err != nil || Lookup(m, "a").(interface{ String() string }).String() != "1.50" {
		t.Fatalf("first: %v %v", m, err)
	}
	if _, err := r.Fetch(t.Context(), url, true); !errors.Is(err, ErrNotModified) {
		t.Errorf("unchanged: %v", err)
	}
	if diff := cmp.Diff([]string{"|", `"1"|60`}, seen); diff != "" {
		t.Errorf("requests: -want +got\n%s", diff)
	}
	etag = "" // a server without validators sends the same content again
	if _, err := r.Fetch(t.Context(), url, true); !errors.Is(err, ErrNotModified) {
		t.Errorf("same content without ETag: %v", err)
	}
	status = 404
	if _, err := r.Fetch(t.Context(), url, true); err == nil || strings.Contains(err.Error(), "SECRETSIG") {
		t.Errorf("404: %v", err)
	}
	s.Close()
	if _, err := r.Fetch(t.Context(), url, true); err == nil || strings.Contains(err.Error(), "SECRETSIG") {
		t.Errorf("away: %v", err)
	}
}

// drive writes a disk image that has the config drive as its last partition, as the ramdisk agent leaves it.
func drive(t *testing.T, whole bool) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk.img")
	const size, start = 24 << 20, 8 << 20
	iso := filepath.Join(t.TempDir(), "config.iso")
	d, err := diskfs.Create(iso, 8<<20, diskfs.SectorSizeDefault)
	if err != nil {
		t.Fatal(err)
	}
	d.LogicalBlocksize = 2048
	fsys, err := d.CreateFilesystem(disk.FilesystemSpec{FSType: filesystem.TypeISO9660, VolumeLabel: ConfigDriveLabel})
	if err != nil {
		t.Fatal(err)
	}
	if err := fsys.Mkdir("openstack/latest"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"meta_data.json": `{"uuid":"u"}`, "user_data": "#!/bin/sh\n"} {
		f, err := fsys.OpenFile("openstack/latest/"+name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	isoFS, _ := fsys.(*iso9660.FileSystem)
	if err := isoFS.Finalize(iso9660.FinalizeOptions{RockRidge: true, VolumeIdentifier: ConfigDriveLabel}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(iso)
	if err != nil {
		t.Fatal(err)
	}
	if whole {
		return iso
	}
	img, err := diskfs.Create(file, size, diskfs.SectorSizeDefault)
	if err != nil {
		t.Fatal(err)
	}
	if err := img.Partition(&gpt.Table{LogicalSectorSize: 512, PhysicalSectorSize: 512, ProtectiveMBR: true, Partitions: []*gpt.Partition{
		{Index: 1, Start: 2048, End: 4095, Type: gpt.LinuxFilesystem, Name: "root"},
		{Index: 2, Start: start / 512, End: (start + int64ToSectors(len(data))) / 512, Type: gpt.LinuxFilesystem, Name: "config-2"},
	}}); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, start); err != nil {
		t.Fatal(err)
	}
	return file
}

func int64ToSectors(n int) uint64 { return uint64(n) }

func TestConfigDriveIsReadFromTheDevice(t *testing.T) {
	for _, tt := range []struct {
		reason string
		whole  bool
	}{{"the whole device", true}, {"a partition without a device node", false}} {
		t.Run(tt.reason, func(t *testing.T) {
			dev := t.TempDir()
			if err := os.Symlink(drive(t, tt.whole), filepath.Join(dev, "vda")); err != nil {
				t.Fatal(err)
			}
			sys := t.TempDir()
			for _, name := range []string{"ram0", "vda"} {
				if err := os.Mkdir(filepath.Join(sys, name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			d, err := FindConfigDrive(dev, sys)
			if err != nil {
				t.Fatal(err)
			}
			if string(d.MetaData) != `{"uuid":"u"}` || string(d.UserData) != "#!/bin/sh\n" || d.NetworkData != nil {
				t.Errorf("read %q %q %q", d.MetaData, d.UserData, d.NetworkData)
			}
		})
	}
	if _, err := FindConfigDrive(t.TempDir(), t.TempDir()); !errors.Is(err, ErrNoConfigDrive) {
		t.Errorf("no device: %v", err)
	}
}
