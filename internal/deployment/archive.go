package deployment

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
)

// untar reads the regular files of a tar.gz: names are relative and clean, sizes and counts bounded.
func untar(data []byte, each func(name string, content []byte) error) error {
	gz, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("not a tar.gz: %w", err)
	}
	tr := tar.NewReader(gz)
	var total int64
	for count := 0; ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tarball: %w", err)
		}
		total += h.Size // of all entries: what is passed over is unpacked, too
		if count++; count > maxEntries || total > maxTarball || h.Size < 0 {
			return fmt.Errorf("the tarball holds more than %d files or %d bytes", maxEntries, maxTarball)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		name := path.Clean("/" + h.Name)[1:]
		content, err := io.ReadAll(io.LimitReader(tr, h.Size))
		if err != nil {
			return fmt.Errorf("tarball: %s: %w", name, err)
		}
		if name == "" || strings.HasSuffix(h.Name, "/") {
			continue
		}
		if err := each(name, content); err != nil {
			return err
		}
	}
}

// tokenCheck asks Keystone about the token itself.
func tokenCheck(token string) *gophercloud.RequestOpts {
	return &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}, KeepResponseBody: true, MoreHeaders: map[string]string{"X-Subject-Token": token}}
}
