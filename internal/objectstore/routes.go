package objectstore

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/tripleo/tripleo/internal/api"
)

// routes is the contents page. Who may do what depends on the account, on the
// container's ACL or on a temporary URL, so the data routes are public here
// and every handler is wrapped in account, container or object below, which
// decide before it runs.
func (s *Service) routes() []api.Route {
	const (
		account   = "/v1/{account}"
		container = "/v1/{account}/{container}"
		object    = "/v1/{account}/{container}/{object}"
	)
	return []api.Route{
		{Method: http.MethodGet, Pattern: "/healthcheck", Policy: api.Public, Handler: s.health},
		{Method: http.MethodGet, Pattern: "/info", Policy: api.Public, Handler: s.info},

		{Method: http.MethodHead, Pattern: account, Policy: api.Public, Handler: s.account(reading, s.headAccount)},
		{Method: http.MethodGet, Pattern: account, Policy: api.Public, Handler: s.account(reading, s.listAccount)},
		{Method: http.MethodPost, Pattern: account, Policy: api.Public, Handler: s.account(writing, s.postAccount)},
		{Method: http.MethodPut, Pattern: account, Policy: api.Public, Handler: s.account(writing, s.putAccount)},
		{Method: http.MethodDelete, Pattern: account, Policy: api.Public, Handler: s.account(writing, s.deleteAccount)},

		{Method: http.MethodHead, Pattern: container, Policy: api.Public, Handler: s.container(listing, s.headContainer)},
		{Method: http.MethodGet, Pattern: container, Policy: api.Public, Handler: s.container(listing, s.listContainer)},
		{Method: http.MethodPut, Pattern: container, Policy: api.Public, Handler: s.account(writing, s.putContainer)},
		{Method: http.MethodPost, Pattern: container, Policy: api.Public, Handler: s.postContainerOrForm},
		{Method: http.MethodDelete, Pattern: container, Policy: api.Public, Handler: s.account(writing, s.deleteContainer)},

		{Method: http.MethodHead, Pattern: object, Policy: api.Public, Handler: s.object(reading, s.getObject)},
		{Method: http.MethodGet, Pattern: object, Policy: api.Public, Handler: s.object(reading, s.getObject)},
		{Method: http.MethodPut, Pattern: object, Policy: api.Public, Handler: s.object(writing, s.putObject)},
		{Method: http.MethodPost, Pattern: object, Policy: api.Public, Handler: s.object(writing, s.postObject)},
		{Method: http.MethodDelete, Pattern: object, Policy: api.Public, Handler: s.object(writing, s.deleteObject)},
		{Method: "COPY", Pattern: object, Policy: api.Public, Handler: s.object(reading, s.copyObject)},
	}
}

// target is the account, container and object of a request.
type target struct{ account, container, object string }

func (t target) path() string {
	p := "/v1/" + t.account
	if t.container != "" {
		p += "/" + t.container
	}
	if t.object != "" {
		p += "/" + t.object
	}
	return p
}

type rawPathKey struct{}

// rawPath is the path of a request as it was sent, below the service's prefix.
func rawPath(r *http.Request) string {
	raw, _ := r.Context().Value(rawPathKey{}).(string)
	return raw
}

// prefixOf is what stood before the service's paths when the request came in:
// clients sign temporary URLs and forms with it or without.
func prefixOf(r *http.Request) string {
	sent, _, _ := strings.Cut(r.RequestURI, "?")
	if u, err := url.Parse(sent); err == nil && u.IsAbs() {
		sent = u.EscapedPath()
	}
	prefix, _, ok := strings.Cut(sent, "/v1/")
	if !ok {
		return ""
	}
	return prefix
}

// reroute makes each name of the path one segment: object names hold slashes,
// dots and emptiness that the mux would take for path syntax and clean away.
func reroute(r *http.Request) *http.Request {
	rest, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok {
		return r
	}
	escaped := r.URL.EscapedPath()
	parts := strings.SplitN(rest, "/", 3)
	for len(parts) > 1 && parts[len(parts)-1] == "" { // "/v1/account/" and "/v1/account/container/"
		parts = parts[:len(parts)-1]
	}
	path := "/v1"
	for _, p := range parts {
		path += "/" + segment(p)
	}
	r = r.Clone(context.WithValue(r.Context(), rawPathKey{}, escaped))
	r.URL.Path, r.URL.RawPath = path, ""
	for name, values := range r.Header { // as servers do that keep headers as CGI has them
		if strings.HasPrefix(name, "X-") && strings.Contains(name, "_") {
			r.Header[http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))] = values
			delete(r.Header, name)
		}
	}
	if r.Header.Get("X-Auth-Token") == "" && r.Header.Get("X-Storage-Token") != "" {
		r.Header.Set("X-Auth-Token", r.Header.Get("X-Storage-Token"))
	}
	return r
}

func segment(name string) string {
	switch name {
	case ".", "..":
		return strings.ReplaceAll(name, ".", "%2E")
	case "":
		return "%"
	}
	return url.PathEscape(name)
}

// targetOf returns the names a request is about, within their bounds.
func targetOf(r *http.Request) (target, error) {
	var t target
	for _, p := range []struct {
		name string
		to   *string
		max  int
	}{{"account", &t.account, maxAccountName}, {"container", &t.container, maxContainerName}, {"object", &t.object, maxObjectName}} {
		v, err := url.PathUnescape(r.PathValue(p.name))
		if err != nil {
			return t, api.NotFound("The resource could not be found.").Wrap(err)
		}
		if err := checkName(p.name, v, p.max); err != nil {
			return t, err
		}
		*p.to = v
	}
	return t, nil
}

func checkName(what, v string, limit int) error {
	switch {
	case len(v) > limit:
		return api.Invalid("%s name length of %d longer than %d", strings.ToUpper(what[:1])+what[1:], len(v), limit)
	case !utf8.ValidString(v) || strings.ContainsRune(v, 0):
		return api.PreconditionFailed("Invalid UTF8 or contains NULL")
	case what == "container" && strings.Contains(v, "/"):
		return api.Invalid("the container name holds a slash")
	}
	return nil
}

// postContainerOrForm answers POST of a container: a browser's form, or its
// metadata.
func (s *Service) postContainerOrForm(w http.ResponseWriter, r *http.Request) error {
	if !formPost(r) {
		return s.account(writing, s.postContainer)(w, r)
	}
	t, err := targetOf(r)
	if err != nil {
		return err
	}
	return s.formPost(w, r, t)
}

func (s *Service) health(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write([]byte("OK")) // the client may have gone
	return nil
}

func (s *Service) info(w http.ResponseWriter, _ *http.Request) error {
	type section = map[string]any
	digests := []string{"sha1", "sha256", "sha512"}
	return api.WriteJSON(w, http.StatusOK, section{
		"swift": section{
			"version": "2.30.1", "max_file_size": int64(maxObject), "max_object_name_length": maxObjectName, "max_account_name_length": maxAccountName,
			"max_container_name_length": maxContainerName, "container_listing_limit": maxListing, "account_listing_limit": maxListing,
			"max_meta_count": maxMetaCount, "max_meta_name_length": maxMetaName, "max_meta_value_length": maxMetaValue,
			"max_meta_overall_size": maxMetaTotal, "max_header_size": maxHeader, "extra_header_count": 0, "strict_cors_mode": true,
			"allow_account_management": false, "account_autocreate": true,
			"policies": []section{{"name": policy, "default": true, "aliases": policy}},
		},
		"tempurl": section{
			"methods": []string{"GET", "HEAD", "PUT", "POST", "DELETE"}, "allowed_digests": digests,
			"incoming_remove_headers": []string{"x-timestamp"}, "incoming_allow_headers": []string{}, "outgoing_remove_headers": []string{"x-object-meta-*"},
			"outgoing_allow_headers": []string{"x-object-meta-public-*"},
		},
		"formpost":          section{"allowed_digests": digests},
		"bulk_delete":       section{"max_deletes_per_request": maxBulkDelete, "max_failed_deletes": maxFailures},
		"bulk_upload":       section{"max_containers_per_extraction": maxListing, "max_failed_extractions": maxFailures},
		"slo":               section{"max_manifest_segments": maxSegments, "max_manifest_size": maxManifest, "min_segment_size": 1, "yield_frequency": 10, "allow_async_delete": true},
		"dlo":               section{"max_segments": maxListing},
		"symlink":           section{"symloop_max": maxLinks, "static_links": true},
		"staticweb":         section{},
		"versioned_writes":  section{"allowed_flags": []string{"x-versions-location", "x-history-location"}},
		"object_versioning": section{},
		"account_quotas":    section{},
		"container_quotas":  section{},
		"keystoneauth":      section{"version": "2.30.1"},
		"long_poll":         section{"max_seconds": int(maxLongPoll.Seconds())},
	})
}
