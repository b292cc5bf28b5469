package deployment

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestRangesAreBounded: what is left out counts as what is in.
func TestRangesAreBounded(t *testing.T) {
	if got, err := rangesToNumbers("0-3,^2,8"); err != nil || got != "0,1,3,8" {
		t.Errorf("%s %v", got, err)
	}
	for _, s := range []string{"0-65536", "^0-65536", "0," + strings.Repeat("^70000-135000,", 2) + "1"} {
		if _, err := rangesToNumbers(s); err == nil {
			t.Errorf("%s has no bound", s)
		}
	}
}

// TestArchivesAreBounded: links and folders count, too.
func TestArchivesAreBounded(t *testing.T) {
	var data bytes.Buffer
	gz := gzip.NewWriter(&data)
	w := tar.NewWriter(gz)
	for i := range maxEntries + 1 {
		if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint(i), Linkname: "x", Typeflag: tar.TypeSymlink}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), gz.Close()); err != nil {
		t.Fatal(err)
	}
	if err := untar(data.Bytes(), func(string, []byte) error { return nil }); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("an archive of links: %v", err)
	}
}
