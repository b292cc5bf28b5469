package objectstore

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Swift has three ways of keeping what is overwritten or deleted.
type versioning int

const (
	versioningOff      versioning = iota
	versioningEnabled             // X-Versions-Enabled: versions beside the object, each with an id
	versioningStack               // X-Versions-Location: DELETE brings the newest of another container back
	versioningHistory             // X-History-Location: DELETE is written down in another container
	versioningDisabled            // X-Versions-Enabled was on; versions stay, new ones are not made
)

// Names under which a container's metadata keep how it is versioned.
const (
	metaVersionsEnabled = "X-Versions-Enabled"
	metaVersionsStack   = "X-Versions-Location"
	metaVersionsHistory = "X-History-Location"
)

// deletedType is the content type by which delete markers are known.
const deletedType = "application/x-deleted;swift_versions_deleted=1"

func (c *container) versioning() versioning {
	switch {
	case c.meta[metaVersionsEnabled] == "true":
		return versioningEnabled
	case c.meta[metaVersionsEnabled] == "false":
		return versioningDisabled
	case c.meta[metaVersionsStack] != "":
		return versioningStack
	case c.meta[metaVersionsHistory] != "":
		return versioningHistory
	}
	return versioningOff
}

// archiveContainer is where the two older modes keep versions.
func (c *container) archiveContainer() string {
	return c.meta[metaVersionsStack] + c.meta[metaVersionsHistory] // one of them is empty
}

// applyVersioning reads the versioning headers of a container's PUT or POST.
func (c *container) applyVersioning(h http.Header) error {
	enabled, stack, history := h.Get(metaVersionsEnabled), h.Get(metaVersionsStack), h.Get(metaVersionsHistory)
	if stack != "" && history != "" {
		return api.Invalid("Only one of X-Versions-Location or X-History-Location may be specified")
	}
	mode := strings.ToLower(h.Get("X-Versions-Mode"))
	switch {
	case mode != "" && mode != "stack" && mode != "history":
		return api.Invalid("X-Versions-Mode is %q, expected stack or history", mode)
	case mode == "history" && stack != "":
		stack, history = "", stack
	}
	remove := h.Get("X-Remove-Versions-Location") != "" || h.Get("X-Remove-History-Location") != "" ||
		len(h.Values(metaVersionsStack)) > 0 && stack == "" && history == "" || len(h.Values(metaVersionsHistory)) > 0 && history == "" && stack == ""
	if stack != "" || history != "" {
		to, err := unescape(stack + history)
		if err != nil || strings.Contains(to, "/") {
			return api.Invalid("X-Versions-Location is %q, expected the name of a container", stack+history)
		}
		if enabled != "" || c.meta[metaVersionsEnabled] != "" {
			return api.Invalid("a container that has X-Versions-Enabled cannot have X-Versions-Location or X-History-Location")
		}
		delete(c.meta, metaVersionsStack)
		delete(c.meta, metaVersionsHistory)
		if stack != "" {
			c.meta[metaVersionsStack] = to
		} else {
			c.meta[metaVersionsHistory] = to
		}
		return nil
	}
	if remove {
		delete(c.meta, metaVersionsStack)
		delete(c.meta, metaVersionsHistory)
	}
	if enabled == "" {
		return nil
	}
	if c.archiveContainer() != "" {
		return api.Invalid("a container that has X-Versions-Location or X-History-Location cannot have X-Versions-Enabled")
	}
	on := truthy(enabled)
	if on || c.meta[metaVersionsEnabled] != "" {
		c.meta[metaVersionsEnabled] = strconv.FormatBool(on)
	}
	return nil
}

func truthy(v string) bool {
	switch strings.ToLower(v) {
	case "true", "1", "yes", "on", "t", "y":
		return true
	}
	return false
}

// versionID is how clients see a version.
func versionID(v int64) string {
	if v == 0 {
		return "null"
	}
	return timestamp(time.UnixMicro(v))
}

func parseVersionID(v string) (int64, error) {
	if v == "null" {
		return 0, nil
	}
	sec, frac, _ := strings.Cut(v, ".")
	n, err1 := strconv.ParseInt(sec, 10, 64)
	f, err2 := strconv.ParseInt((frac + "00000")[:5], 10, 64)
	if err1 != nil || err2 != nil || n <= 0 || n > 1<<40 || len(frac) > 5 {
		return 0, api.Invalid("Invalid version parameter")
	}
	return n*1e6 + f*10, nil
}

// keepVersion puts the present object aside, if the container wants that, and
// returns what the new one replaces: old, or nil when it was moved away.
func (s *Service) keepVersion(tx *store.Tx, con *container, o, old *object) (*object, error) {
	switch con.versioning() {
	case versioningEnabled:
		o.version = o.modified.UnixMicro()
		if old == nil {
			return nil, nil //nolint:nilnil // nothing is replaced
		}
		return nil, s.archive(tx, old)
	case versioningDisabled:
		if old != nil && old.version != 0 {
			return nil, s.archive(tx, old)
		}
	case versioningStack, versioningHistory:
		if old != nil {
			return nil, s.moveAway(tx, con, old)
		}
	case versioningOff:
	}
	return old, nil
}

// archive makes the current object a version that is not current.
func (s *Service) archive(tx *store.Tx, old *object) error {
	if err := s.unlink(tx, old); err != nil {
		return err
	}
	if old.version == 0 {
		old.version = old.modified.UnixMicro()
	}
	old.expires = time.Time{}
	return s.addVersion(tx, old)
}

func (s *Service) addVersion(tx *store.Tx, o *object) error {
	_, err := tx.Exec(`INSERT INTO objectstore_versions (account, container, `+objectColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		append([]any{o.account, o.container}, o.row()...)...)
	if err != nil {
		return err
	}
	return s.tallyVersions(tx, o.target, 1, o.size)
}

func (s *Service) dropVersionRow(tx *store.Tx, o *object) error {
	if _, err := tx.Exec(`DELETE FROM objectstore_versions WHERE account = ? AND container = ? AND name = ? AND version = ?`,
		o.account, o.container, o.object, o.version); err != nil {
		return err
	}
	return s.tallyVersions(tx, o.target, -1, -o.size)
}

func (s *Service) removeVersion(tx *store.Tx, o *object) error {
	if err := s.dropVersionRow(tx, o); err != nil {
		return err
	}
	return s.free(tx, o)
}

// getVersion returns a version, current or not; a delete marker too.
func (s *Service) getVersion(tx *store.Tx, t target, version int64) (*object, error) {
	o, err := findRow(tx, t)
	if err != nil {
		return nil, err
	}
	if o == nil || o.version != version {
		o, err = scanObject(t, tx.QueryRow(`SELECT `+objectColumns+` FROM objectstore_versions WHERE account = ? AND container = ? AND name = ? AND version = ?`,
			t.account, t.container, t.object, version).Scan)
		if err != nil {
			return nil, err
		}
	}
	if version == 0 && s.expired(o) {
		return nil, store.ErrNotFound
	}
	return o, nil
}

// archiveName is the name of a version in the container of the older modes.
func archiveName(name string, at time.Time) string {
	return archivePrefix(name) + timestamp(at)
}

func archivePrefix(name string) string { return fmt.Sprintf("%03x%s/", len(name), name) }

// moveAway moves an object to the container of the older modes.
func (s *Service) moveAway(tx *store.Tx, con *container, old *object) error {
	moved := *old
	moved.target = target{old.account, con.archiveContainer(), archiveName(old.object, old.modified)}
	if _, err := getContainer(tx, moved.account, moved.container); err != nil {
		if isNotFound(err) {
			return api.PreconditionFailed("the container %q, in which versions are kept, does not exist", moved.container)
		}
		return err
	}
	if err := s.unlink(tx, old); err != nil {
		return err
	}
	there, err := findRow(tx, moved.target)
	if err != nil {
		return err
	}
	return s.replace(tx, &moved, there)
}

// deleteResult is what the answer to a DELETE tells.
type deleteResult struct {
	version, current string
	missing          bool // the object did not exist, and that is written down now
}

// delete removes the current object as the container wants it: for good, or so
// that it can be had back.
func (s *Service) delete(tx *store.Tx, con *container, t target) (deleteResult, error) {
	var res deleteResult
	old, err := findRow(tx, t)
	if err != nil {
		return res, err
	}
	visible := old != nil && !s.expired(old)
	switch con.versioning() {
	case versioningEnabled:
		marker := s.marker(t, old)
		res.version = versionID(marker.version)
		if old != nil {
			if err := s.archive(tx, old); err != nil {
				return res, err
			}
		}
		if err := s.addVersion(tx, marker); err != nil {
			return res, err
		}
		res.missing = !visible
		return res, nil
	case versioningDisabled:
		if visible && old.version != 0 {
			return res, s.archive(tx, old)
		}
	case versioningHistory:
		if old != nil {
			if err := s.moveAway(tx, con, old); err != nil {
				return res, err
			}
		}
		res.missing = !visible
		marker := s.marker(t, old)
		marker.target = target{t.account, con.archiveContainer(), archiveName(t.object, marker.modified)}
		marker.version = 0
		return res, s.replace(tx, marker, nil)
	case versioningStack:
		return res, s.bringBack(tx, con, t, old)
	case versioningOff:
	}
	if !visible {
		return res, store.ErrNotFound
	}
	return res, s.remove(tx, old)
}

// marker is the row that says when an object was deleted.
func (s *Service) marker(t target, old *object) *object {
	m := &object{target: t, headers: meta{}, contentType: deletedType, modified: s.tick(), etag: emptyMD5}
	if old != nil && !m.modified.After(old.modified) {
		m.modified = old.modified.Add(tick)
	}
	m.version = m.modified.UnixMicro()
	return m
}

const emptyMD5 = "d41d8cd98f00b204e9800998ecf8427e"

// bringBack replaces an object (old, which may be nil) by the newest version of
// the older mode. Delete markers are of a time when the mode was history: one
// says that there was nothing, so it goes before what is to come back; if there
// are several, one goes and nothing comes back yet.
func (s *Service) bringBack(tx *store.Tx, con *container, t target, old *object) error {
	prefix := archivePrefix(t.object)
	from := target{account: t.account, container: con.archiveContainer()}
	var kept []*object // the two newest
	err := tx.Each(func(scan func(...any) error) error {
		o, err := scanObject(from, scan)
		kept = append(kept, o)
		return err
	}, `SELECT `+objectColumns+` FROM objectstore_objects WHERE account = ? AND container = ? AND name >= ? AND name < ? ORDER BY name DESC LIMIT 2`,
		from.account, from.container, prefix, prefix+afterAll)
	if err != nil {
		return err
	}
	marked := len(kept) > 0 && kept[0].contentType == deletedType
	switch {
	case old != nil && (len(kept) == 0 || marked):
		return s.remove(tx, old)
	case len(kept) == 0:
		return store.ErrNotFound
	case marked:
		if err := s.remove(tx, kept[0]); err != nil {
			return err
		}
		if kept = kept[1:]; len(kept) == 0 || kept[0].contentType == deletedType {
			return nil
		}
	}
	back := kept[0]
	if err := s.unlink(tx, back); err != nil {
		return err
	}
	back.target = t
	return s.replace(tx, back, old)
}

// deleteVersion answers DELETE with version-id.
func (s *Service) deleteVersion(tx *store.Tx, t target, id string) (deleteResult, error) {
	res := deleteResult{version: id}
	version, err := parseVersionID(id)
	if err != nil {
		return res, err
	}
	current, err := findRow(tx, t)
	if err != nil {
		return res, err
	}
	switch {
	case current != nil && current.version == version:
		res.current = "null"
		return res, s.remove(tx, current)
	case version == 0 && current != nil: // the version stays, but is current no more
		return res, s.archive(tx, current)
	}
	res.current = "null"
	if current != nil {
		res.current = versionID(current.version)
	}
	o, err := s.getVersion(tx, t, version)
	if err != nil {
		return res, err
	}
	return res, s.removeVersion(tx, o)
}

// restore makes a version current again (PUT with version-id).
func (s *Service) restore(tx *store.Tx, t target, id string) (*object, error) {
	version, err := parseVersionID(id)
	if err != nil {
		return nil, err
	}
	o, err := s.getVersion(tx, t, version)
	if isNotFound(err) || err == nil && o.contentType == deletedType {
		return nil, api.NotFound("The specified version does not exist")
	}
	if err != nil {
		return nil, err
	}
	current, err := findRow(tx, t)
	if err != nil {
		return nil, err
	}
	if current != nil && current.version == version {
		return current, nil
	}
	if current != nil {
		if err := s.archive(tx, current); err != nil {
			return nil, err
		}
	}
	if err := s.dropVersionRow(tx, o); err != nil {
		return nil, err
	}
	return o, s.replace(tx, o, nil)
}
