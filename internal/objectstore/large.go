package objectstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Bounds of a static large object's manifest.
const (
	maxManifest = 8 << 20 // bytes of JSON
	maxNesting  = 10      // manifests within manifests
)

// sloSegment is one segment of a static large object.
type sloSegment struct {
	Path string `json:"path,omitempty"` // "/container/object"
	Hash string `json:"hash,omitempty"`
	Size int64  `json:"size"`          // bytes that count
	Off  int64  `json:"off,omitempty"` // where they begin in the segment
	Rng  string `json:"range,omitempty"`
	Full int64  `json:"full"`           // bytes of the whole segment
	Sub  bool   `json:"sub,omitempty"`  // a static large object itself
	Data []byte `json:"data,omitempty"` // given in the manifest
	Type string `json:"type,omitempty"`
	At   string `json:"at,omitempty"` // last modified
}

func (g sloSegment) target(account string) target {
	c, o, _ := strings.Cut(strings.TrimPrefix(g.Path, "/"), "/")
	return target{account, c, o}
}

// segmentsAllowed checks that who reads a manifest may also read the
// containers its segments lie in.
func (s *Service) segmentsAllowed(r *http.Request, c *call, o *object) error {
	if o.slo == nil && o.dlo == "" || c.tempURL == "" && ownerMay(r, o.account, reading) {
		return nil
	}
	seen := map[string]bool{}
	con, _ := dloPlace(o.dlo)
	targets := []target{{o.account, con, ""}}
	for _, g := range o.slo {
		targets = append(targets, g.target(o.account))
	}
	for _, t := range targets {
		if t.container == "" || seen[t.container] {
			continue
		}
		seen[t.container] = true
		if err := s.authorize(r, c, t, reading); err != nil {
			if o.slo != nil && status(err) != http.StatusInternalServerError {
				return api.Conflict("segments in %s cannot be read", t.path()).Wrap(err)
			}
			return err
		}
	}
	return nil
}

// dynamic collects the segments of a dynamic large object.
func (s *Service) dynamic(ctx context.Context, o *object, c *content) error {
	con, prefix := dloPlace(o.dlo)
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

// wantedSegment is a segment as a client names it.
type wantedSegment struct {
	Path string `json:"path"`
	Etag string `json:"etag"`
	Size *int64 `json:"size_bytes"`
	Rng  string `json:"range"`
	Data string `json:"data"`
}

// readManifest decodes a manifest; its errors are told by segment.
func readManifest(r io.Reader) ([]wantedSegment, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, clientGone(err)
	}
	if len(data) > maxManifest {
		return nil, api.TooLarge("Manifest File > %d bytes", maxManifest)
	}
	var items []map[string]json.RawMessage
	if err := json.Unmarshal(data, &items); err != nil {
		return nil, api.Invalid("Manifest must be valid JSON.\n").Wrap(err)
	}
	if len(items) == 0 {
		return nil, api.Invalid("Manifest should not be empty.\n")
	}
	if len(items) > maxSegments {
		return nil, api.TooLarge("Number of object-backed segments must be <= %d", maxSegments)
	}
	var problems []string
	wanted := make([]wantedSegment, len(items))
	objects := 0
	for i, item := range items {
		if why := wanted[i].read(item); why != "" {
			problems = append(problems, fmt.Sprintf("Index %d: %s", i, why))
		}
		if wanted[i].Path != "" {
			objects++
		}
	}
	if len(problems) == 0 && objects == 0 {
		problems = append(problems, "Inline data segments require at least one object-backed segment.")
	}
	if len(problems) > 0 {
		return nil, api.Invalid("%s", strings.Join(problems, "\n")+"\n")
	}
	return wanted, nil
}

// read takes one segment's keys and says what is wrong with them, or "".
func (g *wantedSegment) read(item map[string]json.RawMessage) string {
	if item == nil {
		return "not a JSON object"
	}
	for key := range item {
		switch key {
		case "path", "etag", "size_bytes", "range", "data":
		default:
			return fmt.Sprintf("extraneous keys %q", key)
		}
	}
	text := func(key string, to *string) bool {
		raw, ok := item[key]
		return !ok || string(raw) == "null" || json.Unmarshal(raw, to) == nil
	}
	if !text("path", &g.Path) || !text("etag", &g.Etag) || !text("range", &g.Rng) || !text("data", &g.Data) {
		return "path, etag, range and data must be text"
	}
	if raw, ok := item["size_bytes"]; ok && string(raw) != "null" {
		var n int64
		if err := json.Unmarshal(bytes.Trim(raw, `"`), &n); err != nil || n < 0 {
			return "invalid size_bytes"
		}
		g.Size = &n
	}
	_, hasData := item["data"]
	switch {
	case hasData && len(item) > 1:
		return "expected either \"path\" or \"data\", not both"
	case hasData:
		if _, err := base64.StdEncoding.DecodeString(g.Data); err != nil || g.Data == "" {
			return "data must be valid base64"
		}
		return ""
	case g.Path == "":
		return "expected keys to include one of \"path\" or \"data\""
	}
	if con, obj, ok := strings.Cut(strings.TrimPrefix(g.Path, "/"), "/"); !ok || con == "" || obj == "" {
		return "path does not refer to an object. Path must be of the form /container/object."
	}
	if g.Size != nil && *g.Size < 1 && g.Rng == "" {
		return "too small; each segment must be at least 1 byte."
	}
	return ""
}

// putManifest makes a static large object of segments that exist.
func (s *Service) putManifest(w http.ResponseWriter, r *http.Request, c *call) error {
	wanted, err := readManifest(r.Body)
	if err != nil {
		return err
	}
	o, err := s.newObject(r, c.target)
	if err != nil {
		return err
	}
	if o.dlo != "" || o.link != nil {
		return api.Invalid("a static manifest cannot be a dynamic one or a symlink at once")
	}
	res := &bulkResult{status: "201 Created", slo: true}
	s.mayRead(r, c, wanted, res) // before the transaction: it reads other rows
	err = s.db.Tx(r.Context(), func(tx *store.Tx) error {
		con, err := getContainer(tx, o.account, o.container)
		if err != nil {
			return noContainer(err)
		}
		if err := s.checkIfNone(tx, r, o.target); err != nil {
			return err
		}
		if len(res.errs) == 0 {
			if err := s.assemble(tx, o, wanted, res); err != nil {
				return err
			}
		}
		if len(res.errs) > 0 {
			return nil
		}
		if want := strings.Trim(r.Header.Get("Etag"), `"`); want != "" && want != o.etag {
			return api.Unprocessable("the ETag of the segments is %s, header ETag says %s", o.etag, want)
		}
		return s.put(tx, &con, o, &body{inline: []byte{}, etag: emptyMD5})
	})
	heartbeat := truthy(r.URL.Query().Get("heartbeat"))
	if heartbeat && status(err) == http.StatusUnprocessableEntity {
		res.status, res.body = "422 Unprocessable Entity", "Unprocessable Entity\nUnable to process the contained instructions"
		return res.writeHeartbeat(w, r, o)
	}
	if err != nil {
		return err
	}
	switch {
	case heartbeat:
		return res.writeHeartbeat(w, r, o)
	case len(res.errs) > 0:
		return res.refuse(w, r)
	}
	created(w, o)
	return nil
}

// mayRead checks that the caller may read all segments.
func (s *Service) mayRead(r *http.Request, c *call, wanted []wantedSegment, res *bulkResult) {
	for _, want := range wanted {
		if want.Path == "" {
			continue
		}
		if err := s.authorize(r, c, sloSegment{Path: want.Path}.target(c.account), reading); err != nil {
			res.fail(want.Path, fmt.Sprintf("%d %s", status(err), http.StatusText(status(err))))
		}
	}
}

// assemble looks the segments up and fills in what the manifest stands for;
// what is wrong with them goes to res.
func (s *Service) assemble(tx *store.Tx, o *object, wanted []wantedSegment, res *bulkResult) error {
	o.slo, o.size = []sloSegment{}, 0
	res.errs, res.status = nil, "201 Created"
	var sums []string
	for _, want := range wanted {
		seg, sum, why, err := s.segment(tx, o, want)
		if err != nil {
			return err
		}
		if why != "" {
			res.fail(want.Path, why)
			continue
		}
		o.slo = append(o.slo, seg)
		o.size += seg.Size
		sums = append(sums, sum)
	}
	o.etag = etagOf(sums)
	o.manifestETag = etagOf([]string{string(manifestJSON(o.slo, false))})
	return nil
}

// segment checks one segment; why says what is wrong with it.
func (s *Service) segment(tx *store.Tx, o *object, want wantedSegment) (seg sloSegment, sum, why string, err error) {
	if want.Path == "" {
		data, err := base64.StdEncoding.DecodeString(want.Data)
		if err != nil {
			return seg, "", "", fmt.Errorf("decode a data segment: %w", err)
		}
		n := int64(len(data))
		return sloSegment{Data: data, Size: n, Full: n}, etagOf([]string{string(data)}), "", nil
	}
	seg = sloSegment{Path: "/" + strings.TrimPrefix(want.Path, "/"), Rng: want.Rng}
	t := seg.target(o.account)
	if t == o.target {
		return seg, "", "Manifest object name cannot be included in the manifest", nil
	}
	row, err := s.resolve(tx, t)
	if isNotFound(err) {
		return seg, "", "404 Not Found", nil
	}
	if err != nil {
		return seg, "", "", err
	}
	seg.Hash, seg.Size, seg.Full, seg.Sub, seg.Type = row.etag, row.size, row.size, row.slo != nil, row.contentType
	seg.At = row.modified.UTC().Format(listingTime)
	switch {
	case row.dlo != "":
		return seg, "", "400 Bad Request", nil
	case want.Etag != "" && strings.Trim(want.Etag, `"`) != row.etag:
		return seg, "", "Etag Mismatch", nil
	case want.Size != nil && *want.Size != row.size:
		return seg, "", "Size Mismatch", nil
	case row.size == 0:
		return seg, "", "Too Small; each segment must be at least 1 byte.", nil
	}
	if why := seg.cut(); why != "" {
		return seg, "", why, nil
	}
	sum = seg.Hash
	if seg.Rng != "" {
		sum += ":" + seg.Rng + ";"
	}
	return seg, sum, "", nil
}

// cut applies a segment's range "FIRST-LAST" and says what is wrong with it.
func (g *sloSegment) cut() string {
	if g.Rng == "" {
		return ""
	}
	ranges, err := parseRanges("bytes="+g.Rng, g.Full)
	if err != nil || len(ranges) != 1 {
		return "Unsatisfiable Range"
	}
	g.Off, g.Size = ranges[0].off, ranges[0].n
	if g.Size == g.Full {
		g.Rng = ""
		return ""
	}
	g.Rng = fmt.Sprintf("%d-%d", g.Off, g.Off+g.Size-1)
	return ""
}

// writeManifest answers GET with multipart-manifest=get: what was found of the
// segments or, with format=raw, what can be PUT again.
func (s *Service) writeManifest(w http.ResponseWriter, r *http.Request, o *object) error {
	raw := r.URL.Query().Get("format") == "raw"
	data := manifestJSON(o.slo, raw)
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	if raw {
		h.Set("Content-Type", o.contentType)
		h["Etag"] = []string{etagOf([]string{string(data)})}
	}
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // the client may have gone
	}
	return nil
}

// manifestJSON is what clients see of a manifest.
func manifestJSON(segments []sloSegment, raw bool) []byte {
	out := []map[string]any{}
	for _, g := range segments {
		item := map[string]any{}
		switch {
		case g.Data != nil:
			item["data"] = base64.StdEncoding.EncodeToString(g.Data)
		case raw:
			item["path"], item["etag"], item["size_bytes"] = g.Path, g.Hash, g.Full
		default:
			item["name"], item["hash"], item["bytes"], item["content_type"], item["last_modified"] = g.Path, g.Hash, g.Full, g.Type, g.At
			if g.Sub {
				item["sub_slo"] = true
			}
		}
		if g.Rng != "" {
			item["range"] = g.Rng
		}
		out = append(out, item)
	}
	return mustJSON(out)
}

// deleteManifest removes a static large object and its segments; with async
// the segments expire at once and the expirer takes them.
func (s *Service) deleteManifest(w http.ResponseWriter, r *http.Request, c *call) error {
	res := &bulkResult{deletes: true, status: "200 OK"}
	version := r.URL.Query().Get("version-id")
	if err := versionAllowed(r, c, version, writing); err != nil {
		return err
	}
	o, err := s.lookup(r.Context(), c.target, version)
	if err != nil {
		return err
	}
	if o.slo == nil {
		if r.URL.Query().Has("async") {
			return s.deletePlain(w, r, c)
		}
		res.fail(c.path(), "400 Bad Request")
		res.body = "Not an SLO manifest"
		return res.write(w, r)
	}
	targets := []target{c.target}
	if err := s.segmentsOf(r.Context(), o, 0, map[target]bool{c.target: true}, &targets); err != nil {
		return err
	}
	allowed := targets[:0]
	checked := map[string]error{}
	for _, t := range targets {
		err, ok := checked[t.container]
		if !ok {
			err = s.authorize(r, c, t, writing)
			checked[t.container] = err
		}
		if err != nil {
			res.fail(t.path(), fmt.Sprintf("%d %s", status(err), http.StatusText(status(err))))
			continue
		}
		allowed = append(allowed, t)
	}
	if len(res.errs) > 0 {
		return res.write(w, r)
	}
	if truthy(r.URL.Query().Get("async")) {
		return s.deleteAsync(w, r, c, allowed)
	}
	// The segments first: while the manifest is there, a second DELETE finds them.
	for i := len(allowed) - 1; i >= 0; i-- {
		if i == 0 && version != "" {
			err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
				_, err := s.deleteVersion(tx, c.target, version)
				return err
			})
			if err != nil {
				return noContainer(err)
			}
			res.done++
			break
		}
		if err := s.deleteOne(r.Context(), allowed[i], res); err != nil {
			return err
		}
	}
	return res.write(w, r)
}

func (s *Service) deletePlain(w http.ResponseWriter, r *http.Request, c *call) error {
	r = r.Clone(r.Context())
	q := r.URL.Query()
	q.Del("multipart-manifest")
	r.URL.RawQuery = q.Encode()
	return s.deleteObject(w, r, c)
}

// segmentsOf lists the segments of a manifest and of those within it.
func (s *Service) segmentsOf(ctx context.Context, o *object, depth int, seen map[target]bool, out *[]target) error {
	if depth > maxNesting {
		return api.Conflict("manifests are nested more than %d deep", maxNesting)
	}
	for _, g := range o.slo {
		t := g.target(o.account)
		if g.Data != nil || seen[t] {
			continue
		}
		seen[t] = true
		if *out = append(*out, t); len(*out) > maxBulkDelete {
			return api.TooLarge("Too many buffered slo segments to delete.")
		}
		if !g.Sub {
			continue
		}
		sub, err := s.lookup(ctx, t, "")
		if status(err) == http.StatusNotFound {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.segmentsOf(ctx, sub, depth+1, seen, out); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) deleteAsync(w http.ResponseWriter, r *http.Request, c *call, targets []target) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		for i, t := range targets {
			row, err := findRow(tx, t)
			if err != nil || row == nil {
				if err != nil {
					return err
				}
				continue
			}
			if i == 0 {
				con, err := getContainer(tx, t.account, t.container)
				if err != nil {
					return err
				}
				if _, err := s.delete(tx, &con, t); err != nil {
					return err
				}
				continue
			}
			old := *row
			row.expires = s.now()
			if err := s.replace(tx, row, &old); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return noContainer(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
