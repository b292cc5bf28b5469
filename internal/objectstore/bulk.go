package objectstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// maxFailures ends a bulk operation that goes wrong throughout.
const maxFailures = 1000

// bulkResult is Swift's answer to bulk operations: status 200, the outcome in
// the body.
type bulkResult struct {
	deletes, slo   bool
	done, notFound int
	status, body   string
	errs           [][2]string
}

func (b *bulkResult) fail(name, status string) {
	b.errs = append(b.errs, [2]string{escapePath(name), status})
	b.status = "400 Bad Request"
}

func wantsJSON(r *http.Request) bool {
	return listingFormat(r.URL.Query().Get("format"), r.Header.Get("Accept")) == "json"
}

// encode returns the body and its content type.
func (b *bulkResult) encode(r *http.Request) (string, string) {
	first, errs := "Number Files Created", b.errs
	if b.deletes {
		first = "Number Deleted"
	}
	if errs == nil {
		errs = [][2]string{}
	}
	if wantsJSON(r) {
		out := map[string]any{"Response Status": b.status, "Response Body": b.body, "Errors": errs}
		if !b.slo {
			out[first] = b.done
		}
		if b.deletes {
			out["Number Not Found"] = b.notFound
		}
		return string(mustJSON(out)), "application/json"
	}
	if listingFormat(r.URL.Query().Get("format"), r.Header.Get("Accept")) == "xml" {
		return b.xml(), "application/xml"
	}
	var w strings.Builder
	if !b.slo {
		fmt.Fprintf(&w, "%s: %d\n", first, b.done)
	}
	if b.deletes {
		fmt.Fprintf(&w, "Number Not Found: %d\n", b.notFound)
	}
	fmt.Fprintf(&w, "Response Status: %s\nResponse Body: %s\nErrors:\n", b.status, b.body)
	for _, e := range errs {
		fmt.Fprintf(&w, "%s, %s\n", e[0], e[1])
	}
	return w.String(), "text/plain"
}

func (b *bulkResult) xml() string {
	root, counts := "extract", fmt.Sprintf("<number_files_created>%d</number_files_created>\n", b.done)
	if b.deletes {
		root, counts = "delete", fmt.Sprintf("<number_deleted>%d</number_deleted>\n<number_not_found>%d</number_not_found>\n", b.done, b.notFound)
	}
	var w strings.Builder
	fmt.Fprintf(&w, "<%s>\n%s<response_body>%s</response_body>\n<response_status>%s</response_status>\n<errors>\n", root, counts, xmlText(b.body), xmlText(b.status))
	for _, e := range b.errs {
		fmt.Fprintf(&w, "<object><name>%s</name><status>%s</status></object>\n", xmlText(e[0]), xmlText(e[1]))
	}
	fmt.Fprintf(&w, "</errors>\n</%s>\n", root)
	return w.String()
}

func (b *bulkResult) write(w http.ResponseWriter, r *http.Request) error {
	body, kind := b.encode(r)
	w.Header().Set("Content-Type", kind)
	_, _ = io.WriteString(w, body) // the client may have gone
	return nil
}

// refuse answers a manifest whose segments are not as it says.
func (b *bulkResult) refuse(w http.ResponseWriter, r *http.Request) error {
	body, kind := b.encode(r)
	if kind == "text/plain" {
		body = body[strings.Index(body, "Errors:\n"):]
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(http.StatusBadRequest)
	_, _ = io.WriteString(w, body) // the client may have gone
	return nil
}

// writeHeartbeat answers a manifest's PUT with heartbeat: the status is in the
// body. Nothing here takes so long that the connection has to be kept alive.
func (b *bulkResult) writeHeartbeat(w http.ResponseWriter, r *http.Request, o *object) error {
	if len(b.errs) > 0 {
		b.body = "Bad Request\nThe server could not comply with the request since it is either malformed or otherwise incorrect."
	}
	out := map[string]any{"Response Status": b.status, "Response Body": b.body, "Errors": append([][2]string{}, b.errs...)}
	text := ""
	if b.body == "" {
		out["Etag"], out["Last Modified"] = `"`+o.etag+`"`, httpTime(o.modified)
		text = fmt.Sprintf("Last Modified: %s\nEtag: \"%s\"\n", httpTime(o.modified), o.etag)
	}
	body, kind := string(mustJSON(out)), "application/json"
	if !wantsJSON(r) {
		body, kind = b.encode(r)
		body = text + body
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, " \n\r\n") // what keeps a connection alive elsewhere
	if err := http.NewResponseController(w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil //nolint:nilerr // the client has gone
	}
	_, _ = io.WriteString(w, body) // the client may have gone
	return nil
}

// bulkDelete removes the objects and empty containers named in the body, one
// percent-encoded path a line.
func (s *Service) bulkDelete(w http.ResponseWriter, r *http.Request, c *call) error {
	res := &bulkResult{deletes: true, status: "200 OK"}
	lines := bufio.NewScanner(io.LimitReader(r.Body, maxBulkDelete*3*(maxObjectName+maxContainerName)))
	lines.Buffer(nil, 16<<10)
	n := 0
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		if n++; n > maxBulkDelete {
			res.status, res.body = "413 Request Entity Too Large", fmt.Sprintf("Maximum Bulk Deletes: %d per request", maxBulkDelete)
			return res.write(w, r)
		}
		name, err := unescape(line)
		if err != nil {
			res.fail(line, "412 Precondition Failed")
			continue
		}
		t := target{account: c.account}
		t.container, t.object, _ = strings.Cut(strings.TrimPrefix(name, "/"), "/")
		if len(name) > maxContainerName+maxObjectName+2 || checkName("container", t.container, maxContainerName) != nil || checkName("object", t.object, maxObjectName) != nil {
			res.fail(name, "400 Bad Request")
			continue
		}
		if err := s.authorize(r, c, t, writing); err != nil {
			res.fail(name, fmt.Sprintf("%d %s", status(err), http.StatusText(status(err))))
			continue
		}
		if err := s.deleteOne(r.Context(), t, res); err != nil {
			return err
		}
		if len(res.errs) >= maxFailures {
			res.body = "Max delete failures exceeded"
			break
		}
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return api.Invalid("Invalid File Name")
		}
		return clientGone(err)
	}
	if n == 0 {
		res.status, res.body = "400 Bad Request", "Invalid bulk delete."
	}
	return res.write(w, r)
}

// deleteOne deletes an object or an empty container and counts what came of it.
func (s *Service) deleteOne(ctx context.Context, t target, res *bulkResult) error {
	missing := false
	err := s.db.Tx(ctx, func(tx *store.Tx) error {
		missing = false
		if t.object == "" {
			return s.dropContainer(tx, t)
		}
		con, err := getContainer(tx, t.account, t.container)
		if err != nil {
			return err
		}
		out, err := s.delete(tx, &con, t)
		missing = out.missing
		return err
	})
	switch code := status(err); {
	case err == nil && !missing:
		res.done++
	case err == nil || code == http.StatusNotFound:
		res.notFound++
	case code != http.StatusInternalServerError:
		name := "/" + t.container
		if t.object != "" {
			name += "/" + t.object
		}
		res.fail(name, fmt.Sprintf("%d %s", code, http.StatusText(code)))
	default:
		return err
	}
	return nil
}
