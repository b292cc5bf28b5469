package objectstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// maxManifest bounds the JSON of a static large object's manifest, in bytes.
const maxManifest = 8 << 20

// sloSegment is one segment of a static large object.
type sloSegment struct {
	Path string `json:"path"` // "/container/object"
	Hash string `json:"hash"`
	Size int64  `json:"size"`          // bytes that count
	Off  int64  `json:"off,omitempty"` // where they begin in the segment
	Rng  string `json:"range,omitempty"`
	Full int64  `json:"full"` // bytes of the whole segment
}

func (g sloSegment) target(account string) target {
	c, o, _ := strings.Cut(strings.TrimPrefix(g.Path, "/"), "/")
	return target{account, c, o}
}

// segmentsAllowed checks that a caller who reads a manifest by an ACL may also
// read the containers its segments lie in.
func (s *Service) segmentsAllowed(r *http.Request, tempURL bool, o *object) error {
	if tempURL || o.slo == nil && o.dlo == "" || ownerMay(r, o.account, reading) {
		return nil
	}
	seen := map[string]bool{o.container: true}
	con, _, _ := strings.Cut(o.dlo, "/")
	targets := []target{{o.account, con, ""}}
	for _, g := range o.slo {
		targets = append(targets, g.target(o.account))
	}
	for _, t := range targets {
		if t.container == "" || seen[t.container] {
			continue
		}
		seen[t.container] = true
		if err := s.byACL(r, t, reading); err != nil {
			return err
		}
	}
	return nil
}

// dynamic collects the segments of a dynamic large object.
func (s *Service) dynamic(ctx context.Context, o *object, c *content) error {
	con, prefix, _ := strings.Cut(o.dlo, "/")
	c.size = 0
	var sums []string
	err := s.db.View(ctx, func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			seg, err := scanObject(target{account: o.account, container: con}, scan)
			if err != nil {
				return err
			}
			if seg.target == o.target { // its own manifest may lie below its prefix
				return nil
			}
			c.parts = append(c.parts, part{at: seg.target, size: seg.size, etag: seg.etag})
			c.size += seg.size
			sums = append(sums, seg.etag)
			return nil
		}, `SELECT `+objectColumns+` FROM objectstore_objects WHERE account = ? AND container = ? AND name >= ? AND name < ? ORDER BY name LIMIT ?`,
			o.account, con, prefix, prefix+afterAll, maxListing)
	})
	c.etag = etagOf(sums)
	return err
}

// putManifest makes a static large object of segments that exist.
func (s *Service) putManifest(w http.ResponseWriter, r *http.Request, c *call) error {
	if !c.owner { // it would open other containers to whoever may write here
		return denied(r)
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1))
	if err != nil {
		return clientGone(err)
	}
	if len(data) > maxManifest {
		return api.TooLarge("the manifest is larger than %d bytes", maxManifest)
	}
	var wanted []struct {
		Path string `json:"path"`
		Etag string `json:"etag"`
		Size *int64 `json:"size_bytes"`
		Rng  string `json:"range"`
	}
	if err := api.DecodeJSON(data, &wanted); err != nil {
		return err
	}
	if len(wanted) == 0 || len(wanted) > maxSegments {
		return api.Invalid("the manifest names %d segments, expected 1 to %d", len(wanted), maxSegments)
	}
	o, err := s.newObject(r, c.target)
	if err != nil {
		return err
	}
	err = s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := getContainer(tx, o.account, o.container); err != nil {
			return noContainer(err)
		}
		if err := s.checkIfNone(tx, r, o.target); err != nil {
			return err
		}
		o.slo, o.size = []sloSegment{}, 0
		var sums []string
		for i, want := range wanted {
			seg := sloSegment{Path: "/" + strings.TrimPrefix(want.Path, "/"), Rng: want.Rng}
			row, err := s.get(tx, seg.target(c.account))
			if err != nil {
				return segmentError(err, i, want.Path, "404 Not Found")
			}
			seg.Hash, seg.Size, seg.Full = row.etag, row.size, row.size
			switch {
			case row.slo != nil || row.dlo != "":
				return segmentError(nil, i, want.Path, "is a manifest itself")
			case want.Etag != "" && want.Etag != row.etag:
				return segmentError(nil, i, want.Path, "Etag Mismatch")
			case want.Size != nil && *want.Size != row.size:
				return segmentError(nil, i, want.Path, "Size Mismatch")
			}
			if err := seg.cut(); err != nil {
				return segmentError(err, i, want.Path, err.Error())
			}
			o.slo = append(o.slo, seg)
			o.size += seg.Size
			sum := seg.Hash
			if seg.Rng != "" {
				sum += ":" + seg.Rng + ";"
			}
			sums = append(sums, sum)
		}
		o.etag = etagOf(sums)
		if want := strings.Trim(r.Header.Get("Etag"), `"`); want != "" && want != o.etag {
			return api.Unprocessable("the ETag of the segments is %s, header ETag says %s", o.etag, want)
		}
		return s.put(tx, o, &body{inline: []byte{}})
	})
	if err != nil {
		return err
	}
	created(w, o)
	return nil
}

func segmentError(err error, i int, path, what string) error {
	if err != nil && !isNotFound(err) {
		var e *api.Error
		if !errors.As(err, &e) {
			return err
		}
	}
	return api.Invalid("segment %d (%s): %s", i, path, what)
}

// cut applies a segment's range "FIRST-LAST".
func (g *sloSegment) cut() error {
	if g.Rng == "" {
		return nil
	}
	first, last, ok := strings.Cut(g.Rng, "-")
	a, err1 := strconv.ParseInt(first, 10, 64)
	b, err2 := strconv.ParseInt(last, 10, 64)
	switch {
	case ok && first == "" && err2 == nil && b > 0: // the last b bytes
		a, b = max(0, g.Full-b), g.Full-1
	case ok && last == "" && err1 == nil:
		b = g.Full - 1
	case !ok || err1 != nil || err2 != nil:
		return api.Invalid("range is %q, expected FIRST-LAST", g.Rng)
	}
	b = min(b, g.Full-1)
	if a < 0 || a > b {
		return api.Invalid("range %q is outside of the segment's %d bytes", g.Rng, g.Full)
	}
	g.Off, g.Size = a, b-a+1
	return nil
}

// writeManifest answers GET with multipart-manifest=get.
func (s *Service) writeManifest(w http.ResponseWriter, o *object) error {
	type item struct {
		Name  string `json:"name"`
		Hash  string `json:"hash"`
		Bytes int64  `json:"bytes"`
		Range string `json:"range,omitempty"`
	}
	out := []item{}
	for _, g := range o.slo {
		out = append(out, item{g.Path, g.Hash, g.Full, g.Rng})
	}
	data, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h["Etag"] = []string{etagOf([]string{string(data)})}
	h.Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = io.Copy(w, bytes.NewReader(data)) // the client may have gone
	return nil
}

// deleteManifest removes a static large object and its segments.
func (s *Service) deleteManifest(w http.ResponseWriter, r *http.Request, c *call) error {
	if !c.owner {
		return denied(r)
	}
	res := &bulkResult{deletes: true, status: "200 OK"}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		*res = bulkResult{deletes: true, status: "200 OK"}
		o, err := s.get(tx, c.target)
		if err != nil {
			return noContainer(err)
		}
		if o.slo == nil {
			return api.Invalid("%s is not a static large object", c.path())
		}
		targets := []target{c.target}
		for _, g := range o.slo {
			targets = append(targets, g.target(c.account))
		}
		for _, t := range targets {
			row, err := getRow(tx, t)
			if isNotFound(err) {
				res.notFound++
				continue
			}
			if err != nil {
				return err
			}
			if err := s.remove(tx, row); err != nil {
				return err
			}
			res.done++
		}
		return nil
	})
	if err != nil {
		return err
	}
	return res.write(w, r)
}
