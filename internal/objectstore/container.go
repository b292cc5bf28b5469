package objectstore

import (
	"net/http"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// containerExtras are the headers besides X-Container-Meta-… that clients set.
func containerExtras() []string { return []string{"X-Container-Read", "X-Container-Write"} }

// policy is the one storage policy there is.
const policy = "Policy-0"

func noContainer(err error) error {
	if isNotFound(err) {
		return api.NotFound("The resource could not be found.").Wrap(err)
	}
	return err
}

func (s *Service) containerHeaders(h http.Header, c *call) error {
	con := c.con
	if con == nil {
		return noContainer(store.ErrNotFound)
	}
	h.Set("X-Container-Object-Count", itoa(con.objects))
	h.Set("X-Container-Bytes-Used", itoa(con.bytes+con.versionBytes))
	h.Set("X-Timestamp", timestamp(con.created))
	h.Set("Last-Modified", httpTime(con.modified))
	h.Set("X-Storage-Policy", policy)
	h.Set("Accept-Ranges", "bytes")
	con.meta.write(h, c.owner)
	switch con.versioning() {
	case versioningEnabled:
		h.Set(metaVersionsEnabled, "True")
	case versioningDisabled:
		h.Set(metaVersionsEnabled, "False")
	case versioningStack:
		h.Set(metaVersionsStack, escapePath(con.meta[metaVersionsStack]))
	case versioningHistory:
		h.Set(metaVersionsHistory, escapePath(con.meta[metaVersionsHistory]))
	case versioningOff:
	}
	return nil
}

func (s *Service) headContainer(w http.ResponseWriter, r *http.Request, c *call) error {
	if _, err := parseListing(r); err != nil {
		return err
	}
	if err := s.containerHeaders(w.Header(), c); err != nil {
		return err
	}
	headListing(w, r)
	return nil
}

func (s *Service) listContainer(w http.ResponseWriter, r *http.Request, c *call) error {
	q, err := parseListing(r)
	if err != nil {
		return err
	}
	if err := s.containerHeaders(w.Header(), c); err != nil {
		return err
	}
	versioned := c.con.meta[metaVersionsEnabled] != ""
	if q.versions {
		if err := checkVersionsQuery(r, c, q, versioned); err != nil {
			return err
		}
	}
	var entries []entry
	err = s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		if q.versions {
			entries, err = s.listVersions(tx, c, q)
			return err
		}
		entries, err = q.run(func(b bounds, limit int, take func(*entry) bool) error {
			where, args := b.where(q.reverse)
			return each(tx, take, func(scan func(...any) error) (*entry, error) {
				e := &entry{account: c.account, container: c.container}
				return e, scan(&e.Name, &e.Hash, &e.Bytes, &e.ContentType, store.Time(&e.Modified), &e.manifestETag, store.JSON(&e.link), &e.version)
			}, `SELECT name, etag, size, content_type, modified, manifest_etag, link, version FROM objectstore_objects WHERE account = ? AND container = ?`+where,
				append([]any{c.account, c.container}, append(args, limit)...)...)
		})
		return err
	})
	if err != nil {
		return err
	}
	return q.write(w, "container", c.container, entries)
}

// checkVersionsQuery refuses listings of versions that make no sense. Versions
// are for the account's own users: an ACL shares what is current.
func checkVersionsQuery(r *http.Request, c *call, q *listingQuery, versioned bool) error {
	if !c.owner && !ownerMay(r, c.account, reading) {
		return denied(r)
	}
	if q.versionMarker == "" || !versioned { // where nothing was ever kept the marker alone says it
		return nil
	}
	if q.marker == "" {
		return api.Invalid("version_marker param requires marker")
	}
	_, err := parseVersionID(q.versionMarker)
	return err
}

// putContainer makes a container or updates its metadata; with extract-archive
// it unpacks an archive into it.
func (s *Service) putContainer(w http.ResponseWriter, r *http.Request, c *call) error {
	if r.URL.Query().Has("extract-archive") {
		return s.extractArchive(w, r, c)
	}
	if p := r.Header.Get("X-Storage-Policy"); p != "" && !strings.EqualFold(p, policy) {
		return api.Invalid("Invalid X-Storage-Policy %q", p)
	}
	made := false
	err := s.db.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if made, err = s.ensureContainer(tx, c.target); err != nil {
			return err
		}
		if err := s.rememberDomain(tx, r, c.account); err != nil {
			return err
		}
		return s.mergeContainer(tx, r, c)
	})
	if err != nil {
		return err
	}
	if made {
		w.WriteHeader(http.StatusCreated)
	} else {
		w.WriteHeader(http.StatusAccepted)
	}
	return nil
}

func (s *Service) mergeContainer(tx *store.Tx, r *http.Request, c *call) error {
	con, err := getContainer(tx, c.account, c.container)
	if err != nil {
		return noContainer(err)
	}
	if err := checkQuotaHeaders(r.Header, "Container"); err != nil {
		return err
	}
	h := r.Header.Clone()
	for _, name := range containerExtras() {
		v := h.Get(name)
		if v == "" {
			continue
		}
		clean, err := cleanACL(name, v)
		if err != nil {
			return err
		}
		h.Set(name, clean)
	}
	if !c.owner { // an account's read-write ACL makes containers, but not what shares them
		for _, name := range containerExtras() {
			h.Del(name)
			h.Del(strings.Replace(name, "X-", "X-Remove-", 1))
		}
	}
	if err := con.meta.merge(h, "Container", containerExtras()...); err != nil {
		return err
	}
	if err := con.applyVersioning(h); err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE objectstore_containers SET meta = ?, modified = ? WHERE account = ? AND name = ?`, store.JSON(con.meta), store.At(s.now()), c.account, c.container)
	s.bus.PublishTx(tx, target{account: c.account, container: c.container}.topics()...)
	return err
}

func (s *Service) postContainer(w http.ResponseWriter, r *http.Request, c *call) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error { return s.mergeContainer(tx, r, c) })
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) deleteContainer(w http.ResponseWriter, r *http.Request, c *call) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error { return s.dropContainer(tx, c.target) })
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) dropContainer(tx *store.Tx, t target) error {
	con, err := getContainer(tx, t.account, t.container)
	if err != nil {
		return noContainer(err)
	}
	if con.versions > 0 {
		return api.Conflict("Delete all versions before deleting container.")
	}
	if con.objects > 0 {
		return api.Conflict("There was a conflict when trying to complete your request. The container holds %d objects.", con.objects)
	}
	_, err = tx.Exec(`DELETE FROM objectstore_containers WHERE account = ? AND name = ?`, t.account, t.container)
	s.bus.PublishTx(tx, t.topics()...)
	return err
}
