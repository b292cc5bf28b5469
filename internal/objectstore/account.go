package objectstore

import (
	"net/http"
	"strconv"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

func (s *Service) accountHeaders(tx *store.Tx, h http.Header, c *call) error {
	m, err := getAccountMeta(tx, c.account)
	if err != nil {
		return err
	}
	var containers, objects, bytes int64
	err = tx.Get([]any{&containers, &objects, &bytes}, `SELECT COUNT(*), COALESCE(SUM(objects), 0), COALESCE(SUM(bytes), 0)
		FROM objectstore_containers WHERE account = ?`, c.account)
	if err != nil {
		return err
	}
	h.Set("X-Account-Container-Count", strconv.FormatInt(containers, 10))
	h.Set("X-Account-Object-Count", strconv.FormatInt(objects, 10))
	h.Set("X-Account-Bytes-Used", strconv.FormatInt(bytes, 10))
	h.Set("X-Timestamp", timestamp(s.now()))
	h.Set("Accept-Ranges", "bytes")
	m.write(h, c.owner)
	return nil
}

// timestamp is Swift's: seconds since the epoch with five decimals.
func timestamp(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMicro())/1e6, 'f', 5, 64)
}

func (s *Service) headAccount(w http.ResponseWriter, r *http.Request, c *call) error {
	err := s.db.View(r.Context(), func(tx *store.Tx) error { return s.accountHeaders(tx, w.Header(), c) })
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusNoContent)
	return nil
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
		entries, err = q.run(func(after, before string, limit int) ([]entry, error) {
			var out []entry
			where, args := q.bounds(after, before)
			err := tx.Each(func(scan func(...any) error) error {
				con, err := scanContainer(scan)
				out = append(out, entry{Name: con.name, Count: &con.objects, Bytes: con.bytes, Modified: con.modified})
				return err
			}, `SELECT `+containerColumns+` FROM objectstore_containers WHERE account = ?`+where, append([]any{c.account}, append(args, limit)...)...)
			return out, err
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
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if err := s.ensureAccount(tx, c.account); err != nil {
			return err
		}
		m, err := getAccountMeta(tx, c.account)
		if err != nil {
			return err
		}
		if err := m.merge(r.Header, "Account"); err != nil {
			return err
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

// putAccount unpacks an archive; making accounts is a reseller's business.
func (s *Service) putAccount(w http.ResponseWriter, r *http.Request, c *call) error {
	if r.URL.Query().Has("extract-archive") {
		return s.extractArchive(w, r, c)
	}
	return api.Forbidden("accounts are made by their first use")
}

func (s *Service) deleteAccount(w http.ResponseWriter, r *http.Request, c *call) error {
	if r.URL.Query().Has("bulk-delete") {
		return s.bulkDelete(w, r, c)
	}
	return api.Forbidden("an account goes with its project")
}
