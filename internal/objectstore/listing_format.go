package objectstore

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

const listingTime = "2006-01-02T15:04:05.000000"

// write sends the listing of an account or container.
func (l *listingQuery) write(w http.ResponseWriter, kind, name string, entries []entry) error {
	var body []byte
	var err error
	switch l.format {
	case "json":
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		body, err = listingJSON(entries)
	case "xml":
		w.Header().Set("Content-Type", "application/xml; charset=utf-8")
		body = listingXML(kind, name, entries)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		var b bytes.Buffer
		for i := range entries {
			b.WriteString(entries[i].Name)
			b.WriteString(entries[i].Subdir)
			b.WriteByte('\n')
		}
		body = b.Bytes()
	}
	if err != nil {
		return err
	}
	if len(body) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the client may have gone
	return nil
}

type listingItem struct {
	Subdir       string  `json:"subdir,omitempty"`
	Name         string  `json:"name,omitempty"`
	Hash         *string `json:"hash,omitempty"`
	Count        *int64  `json:"count,omitempty"`
	Bytes        *int64  `json:"bytes,omitempty"`
	ContentType  string  `json:"content_type,omitempty"`
	LastModified string  `json:"last_modified,omitempty"`
	SLOETag      string  `json:"slo_etag,omitempty"`
	SymlinkPath  string  `json:"symlink_path,omitempty"`
	SymlinkETag  string  `json:"symlink_etag,omitempty"`
	SymlinkBytes *int64  `json:"symlink_bytes,omitempty"`
	VersionLink  bool    `json:"version_symlink,omitempty"`
	VersionID    string  `json:"version_id,omitempty"`
	IsLatest     *bool   `json:"is_latest,omitempty"`
}

func (e *entry) item() listingItem {
	if e.Subdir != "" {
		return listingItem{Subdir: e.Subdir}
	}
	it := listingItem{Name: e.Name, Count: e.Count, Bytes: &e.Bytes, ContentType: e.ContentType, LastModified: e.Modified.UTC().Format(listingTime)}
	if e.Count == nil {
		it.Hash = &e.Hash
	}
	if e.manifestETag != "" {
		it.Hash, it.SLOETag = &e.manifestETag, `"`+e.Hash+`"`
	}
	if l := e.link; l != nil {
		it.SymlinkPath = escapePath("/v1/" + l.Account + "/" + l.Container + "/" + l.Object)
		if l.ETag != "" {
			it.SymlinkETag, it.SymlinkBytes = l.ETag, &l.Bytes
		}
		if l.SLO != "" {
			it.SLOETag = `"` + l.SLO + `"`
		}
	}
	if e.version != 0 && !e.versioned {
		it.SymlinkPath, it.VersionLink = escapePath("/v1/"+e.account+"/"+e.container+"/"+e.Name)+"?version-id="+versionID(e.version), true
	}
	if e.versioned {
		it.VersionID, it.IsLatest = versionID(e.version), &e.latest
	}
	return it
}

func listingJSON(entries []entry) ([]byte, error) {
	out := make([]listingItem, len(entries))
	for i := range entries {
		out[i] = entries[i].item()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return nil, fmt.Errorf("encode listing: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

func xmlText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return b.String()
}

func listingXML(kind, name string, entries []entry) []byte {
	esc := xmlText
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	fmt.Fprintf(&b, `<%s name="%s">`, kind, esc(name))
	for i := range entries {
		e := &entries[i]
		modified := e.Modified.UTC().Format(listingTime)
		switch {
		case e.Subdir != "":
			fmt.Fprintf(&b, `<subdir name="%s"><name>%s</name></subdir>`, esc(e.Subdir), esc(e.Subdir))
		case e.Count != nil:
			fmt.Fprintf(&b, `<container><name>%s</name><count>%d</count><bytes>%d</bytes><last_modified>%s</last_modified></container>`,
				esc(e.Name), *e.Count, e.Bytes, modified)
		default:
			hash := e.Hash
			if e.manifestETag != "" {
				hash = e.manifestETag
			}
			fmt.Fprintf(&b, `<object><name>%s</name><hash>%s</hash><bytes>%d</bytes><content_type>%s</content_type><last_modified>%s</last_modified></object>`,
				esc(e.Name), esc(hash), e.Bytes, esc(e.ContentType), modified)
		}
	}
	fmt.Fprintf(&b, `</%s>`, kind)
	return b.Bytes()
}
