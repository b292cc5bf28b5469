package objectstore

import (
	"net/http"
	"slices"
	"strings"
)

// cors answers preflights and marks answers for browsers of other sites, as the
// container's metadata allow (X-Container-Meta-Access-Control-…).
// Source: https://docs.openstack.org/swift/latest/cors.html.
func (s *Service) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		if r.Method == http.MethodOptions {
			s.preflight(w, r, origin)
			return
		}
		if origin != "" {
			if m := s.corsMeta(r); allowedOrigin(m, origin) {
				h := w.Header()
				h.Set("Access-Control-Allow-Origin", grantedOrigin(m, origin))
				expose := []string{
					"cache-control", "content-language", "content-type", "expires", "last-modified", "pragma",
					"etag", "x-timestamp", "x-trans-id", "x-openstack-request-id",
				}
				expose = append(expose, strings.Fields(m["X-Container-Meta-Access-Control-Expose-Headers"])...)
				h.Set("Access-Control-Expose-Headers", strings.Join(expose, ", "))
				if grantedOrigin(m, origin) != "*" {
					h.Add("Vary", "Origin")
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Service) corsMeta(r *http.Request) meta {
	rest, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	parts := strings.SplitN(rest, "/", 3)
	if !ok || len(parts) < 2 || parts[1] == "" {
		return nil
	}
	c := &call{target: target{account: parts[0], container: parts[1]}}
	if s.load(r, c) != nil || c.con == nil {
		return nil
	}
	return c.con.meta
}

func allowedOrigin(m meta, origin string) bool {
	return slices.ContainsFunc(strings.Fields(m["X-Container-Meta-Access-Control-Allow-Origin"]), func(o string) bool { return o == "*" || o == origin })
}

func grantedOrigin(m meta, origin string) string {
	if slices.Contains(strings.Fields(m["X-Container-Meta-Access-Control-Allow-Origin"]), "*") {
		return "*"
	}
	return origin
}

func (s *Service) preflight(w http.ResponseWriter, r *http.Request, origin string) {
	const methods = "COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT"
	h := w.Header()
	h.Set("Allow", methods)
	if origin == "" {
		w.WriteHeader(http.StatusOK)
		return
	}
	m := s.corsMeta(r)
	if r.Header.Get("Access-Control-Request-Method") == "" || !allowedOrigin(m, origin) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	h.Set("Access-Control-Allow-Origin", grantedOrigin(m, origin))
	h.Set("Access-Control-Allow-Methods", methods)
	if age := m["X-Container-Meta-Access-Control-Max-Age"]; age != "" {
		h.Set("Access-Control-Max-Age", age)
	}
	if want := r.Header.Get("Access-Control-Request-Headers"); want != "" {
		h.Set("Access-Control-Allow-Headers", want)
		h.Add("Vary", "Access-Control-Request-Headers")
	}
	w.WriteHeader(http.StatusOK)
}
