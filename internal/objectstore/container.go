package objectstore

import (
	"net/http"
	"strconv"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// containerExtras are the headers besides X-Container-Meta-… that clients set.
func containerExtras() []string { return []string{"X-Container-Read", "X-Container-Write"} }

func noContainer(err error) error {
	if isNotFound(err) {
		return api.NotFound("The resource could not be found.").Wrap(err)
	}
	return err
}

func (s *Service) containerHeaders(tx *store.Tx, h http.Header, c *call) error {
	con, err := getContainer(tx, c.account, c.container)
	if err != nil {
		return noContainer(err)
	}
	h.Set("X-Container-Object-Count", strconv.FormatInt(con.objects, 10))
	h.Set("X-Container-Bytes-Used", strconv.FormatInt(con.bytes, 10))
	h.Set("X-Timestamp", timestamp(con.created))
	h.Set("Last-Modified", httpTime(con.modified))
	h.Set("X-Storage-Policy", "Policy-0")
	h.Set("Accept-Ranges", "bytes")
	con.meta.write(h, c.owner)
	return nil
}

func (s *Service) headContainer(w http.ResponseWriter, r *http.Request, c *call) error {
	err := s.db.View(r.Context(), func(tx *store.Tx) error { return s.containerHeaders(tx, w.Header(), c) })
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) listContainer(w http.ResponseWriter, r *http.Request, c *call) error {
	q, err := parseListing(r)
	if err != nil {
		return err
	}
	var entries []entry
	err = s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		if err := s.containerHeaders(tx, w.Header(), c); err != nil {
			return err
		}
		entries, err = q.run(func(after, before string, limit int) ([]entry, error) {
			var out []entry
			where, args := q.bounds(after, before)
			err := tx.Each(func(scan func(...any) error) error {
				var e entry
				err := scan(&e.Name, &e.Hash, &e.Bytes, &e.ContentType, store.Time(&e.Modified))
				out = append(out, e)
				return err
			}, `SELECT name, etag, size, content_type, modified FROM objectstore_objects WHERE account = ? AND container = ?`+where,
				append([]any{c.account, c.container}, append(args, limit)...)...)
			return out, err
		})
		return err
	})
	if err != nil {
		return err
	}
	return q.write(w, "container", c.container, entries)
}

// putContainer makes a container or updates its metadata; with extract-archive
// it unpacks an archive into it.
func (s *Service) putContainer(w http.ResponseWriter, r *http.Request, c *call) error {
	if r.URL.Query().Has("extract-archive") {
		return s.extractArchive(w, r, c)
	}
	made := false
	err := s.db.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if made, err = s.ensureContainer(tx, c.target); err != nil {
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
	if err := con.meta.merge(r.Header, "Container", containerExtras()...); err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE objectstore_containers SET meta = ? WHERE account = ? AND name = ?`, store.JSON(con.meta), c.account, c.container)
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
	if con.objects > 0 {
		return api.Conflict("There was a conflict when trying to complete your request: the container holds %d objects.", con.objects)
	}
	_, err = tx.Exec(`DELETE FROM objectstore_containers WHERE account = ? AND name = ?`, t.account, t.container)
	s.bus.PublishTx(tx, t.topics()...)
	return err
}
