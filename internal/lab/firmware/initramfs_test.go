package firmware

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"
	"github.com/ulikunitz/xz"
)

func archive(t *testing.T, records ...cpio.Record) []byte {
	t.Helper()
	var b bytes.Buffer
	w := cpio.Newc.Writer(&b)
	if err := cpio.WriteRecords(w, records); err != nil {
		t.Fatal(err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compressed(t *testing.T, b []byte, mk func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := mk(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root (archives carry owners and devices)")
	}
	main := archive(t, cpio.Directory("sub", 0o755), cpio.StaticFile("sub/file", "hello", 0o644), cpio.Symlink("init", "sub/file"))
	early := archive(t, cpio.StaticFile("early", "cpu microcode", 0o600))
	gz := func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }
	zs := func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }
	xzw := func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }
	tests := []struct {
		name   string
		initrd []byte
		early  bool
	}{
		{"plain", main, false},
		{"gzip", compressed(t, main, gz), false},
		{"zstd", compressed(t, main, zs), false},
		{"xz", compressed(t, main, xzw), false},
		{"early archive, padding, compressed archive", append(append(bytes.Clone(early), make([]byte, 1024)...), compressed(t, main, zs)...), true},
		{"two plain archives", append(bytes.Clone(early), main...), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := Unpack(bytes.NewReader(tt.initrd), int64(len(tt.initrd)), dir, t.TempDir()); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(dir, "init"))
			if err != nil || string(got) != "hello" {
				t.Errorf("init -> %q, %v", got, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "early")); (err == nil) != tt.early {
				t.Errorf("early file: %v, want there %v", err, tt.early)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root (archives carry owners and devices)")
	}
	outside := t.TempDir()
	whole := archive(t, cpio.StaticFile("a", "b", 0o644))
	tests := []struct {
		name   string
		initrd []byte
	}{
		{"a link out of the archive", archive(t, cpio.Symlink("x", outside), cpio.StaticFile("x/evil", "!", 0o644))},
		{"a relative link out of the archive", archive(t, cpio.Symlink("x", "../../../../.."), cpio.StaticFile("x"+outside+"/evil", "!", 0o644))},
		{"garbage", []byte("this is not an initramfs")},
		{"a truncated archive", whole[:len(whole)-120]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := Unpack(bytes.NewReader(tt.initrd), int64(len(tt.initrd)), t.TempDir(), t.TempDir()); err == nil {
				t.Error("it was unpacked")
			}
			if _, err := os.Stat(filepath.Join(outside, "evil")); !errors.Is(err, os.ErrNotExist) {
				t.Error("a file was written outside of the archive's folder")
			}
		})
	}
}
