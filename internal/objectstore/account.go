package objectstore

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func (s *Service) accountHeaders(tx *store.Tx, h http.Header, c *call) error {
	m, err := getAccountMeta(tx, c.account)
	if err != nil {
		return err
	}
	var containers, objects, bytes int64
	err = tx.Get([]any{&containers, &objects, &bytes}, `SELECT COUNT(*), COALESCE(SUM(objects), 0), COALESCE(SUM(bytes + version_bytes), 0)
		FROM objectstore_containers WHERE account = ?`, c.account)
	if err != nil {
		return err
	}
	created := s.now()
	if err := tx.Get([]any{store.Time(&created)}, `SELECT created FROM objectstore_accounts WHERE name = ?`, c.account); err != nil && !isNotFound(err) {
		return err
	}
	for _, infix := range []string{"", "Storage-Policy-Policy-0-"} {
		h.Set("X-Account-"+infix+"Container-Count", itoa(containers))
		h.Set("X-Account-"+infix+"Object-Count", itoa(objects))
		h.Set("X-Account-"+infix+"Bytes-Used", itoa(bytes))
	}
	h.Set("X-Timestamp", timestamp(created))
	h.Set("Accept-Ranges", "bytes")
	m.write(h, c.owner)
	return nil
}

// timestamp is Swift's: seconds since the epoch, ten digits, with five decimals.
func timestamp(t time.Time) string {
	us := t.UnixMicro()
	frac := itoa(us % 1e6 / 10)
	sec := itoa(us / 1e6)
	return strings.Repeat("0", max(0, 10-len(sec))) + sec + "." + strings.Repeat("0", 5-len(frac)) + frac
}

func (s *Service) headAccount(w http.ResponseWriter, r *http.Request, c *call) error {
	if _, err := parseListing(r); err != nil {
		return err
	}
	err := s.db.View(r.Context(), func(tx *store.Tx) error { return s.accountHeaders(tx, w.Header(), c) })
	if err != nil {
		return err
	}
	headListing(w, r)
	return nil
}

// headListing answers HEAD of an account or container.
func headListing(w http.ResponseWriter, r *http.Request) {
	kind := map[string]string{"json": "application/json", "xml": "application/xml"}[listingFormat(r.URL.Query().Get("format"), r.Header.Get("Accept"))]
	if kind == "" {
		kind = "text/plain"
	}
	w.Header().Set("Content-Type", kind+"; charset=utf-8")
	w.WriteHeader(http.StatusNoContent)
}

func (s *Service) listAccount(w http.ResponseWriter, r *http.Request, c *call) error {
	q, err := parseListing(r)
	if err != nil {
		return err
	}
	var entries []entry
	err = s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		if err := s.accountHeaders(tx, w.Header(), c); err != nil {
			return err
		}
		entries, err = q.run(func(b bounds, limit int, take func(*entry) bool) error {
			where, args := b.where(q.reverse)
			return each(tx, take, func(scan func(...any) error) (*entry, error) {
				con, err := scanContainer(scan)
				return &entry{Name: con.name, Count: &con.objects, Bytes: con.bytes + con.versionBytes, Modified: con.modified}, err
			}, `SELECT `+containerColumns+` FROM objectstore_containers WHERE account = ?`+where, append([]any{c.account}, append(args, limit)...)...)
		})
		return err
	})
	if err != nil {
		return err
	}
	return q.write(w, "account", c.account, entries)
}

// postAccount sets metadata, or deletes many objects (?bulk-delete).
func (s *Service) postAccount(w http.ResponseWriter, r *http.Request, c *call) error {
	if r.URL.Query().Has("bulk-delete") {
		return s.bulkDelete(w, r, c)
	}
	if r.URL.Query().Has("extract-archive") {
		return s.extractArchive(w, r, c)
	}
	if !c.owner {
		return denied(r)
	}
	if err := checkQuotaHeaders(r.Header, "Account"); err != nil {
		return err
	}
	for _, name := range []string{"X-Account-Meta-Quota-Bytes", "X-Account-Meta-Quota-Count", "X-Remove-Account-Meta-Quota-Bytes", "X-Remove-Account-Meta-Quota-Count"} {
		if len(r.Header.Values(name)) > 0 && !reseller(r) {
			return api.Forbidden("an account's quota is set by who has the role ResellerAdmin")
		}
	}
	if acl := r.Header.Get(metaAccountACL); acl != "" {
		lists, err := parseAccountACL(acl)
		if err != nil {
			return err
		}
		if len(lists.Admin)+len(lists.ReadWrite)+len(lists.ReadOnly) == 0 {
			r.Header.Set(metaAccountACL, "")
		}
	}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if err := s.ensureAccount(tx, c.account); err != nil {
			return err
		}
		m, err := getAccountMeta(tx, c.account)
		if err != nil {
			return err
		}
		if err := m.merge(r.Header, "Account", metaAccountACL); err != nil {
			return err
		}
		if id, ok := auth.FromContext(r.Context()); ok && ownProject(id, c.account) {
			m[metaProjectDomain] = id.ProjectDomainID
		}
		_, err = tx.Exec(`UPDATE objectstore_accounts SET meta = ? WHERE name = ?`, store.JSON(m), c.account)
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// putAccount unpacks an archive; accounts are made by their first use.
func (s *Service) putAccount(w http.ResponseWriter, r *http.Request, c *call) error {
	if r.URL.Query().Has("extract-archive") {
		return s.extractArchive(w, r, c)
	}
	return noAccounts(w, "accounts are made by their first use")
}

func (s *Service) deleteAccount(w http.ResponseWriter, r *http.Request, c *call) error {
	if r.URL.Query().Has("bulk-delete") {
		return s.bulkDelete(w, r, c)
	}
	return noAccounts(w, "an account goes with its project")
}

func noAccounts(w http.ResponseWriter, why string) error {
	w.Header().Set("Allow", "GET, HEAD, OPTIONS, POST")
	return &api.Error{Kind: api.KindMethodNotAllowed, Message: why}
}
