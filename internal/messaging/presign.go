package messaging

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
)

// A pre-signed URL lets its bearer call some methods on some paths of one
// queue until a time, without a token. What it permits travels in headers
// beside the signature.
// https://docs.openstack.org/api-ref/message/#pre-signed-queue
const (
	headerSignature = "URL-Signature"
	headerExpires   = "URL-Expires"
	headerMethods   = "URL-Methods"
	headerPaths     = "URL-Paths"
	headerProject   = "X-Project-ID"

	signedTime  = "2006-01-02T15:04:05"
	signedFor   = 24 * time.Hour // when nothing is asked
	signedMost  = 366 * 24 * time.Hour
	signedInUse = "presigned" // the token that stands for a verified signature within this package
)

// grant is what a pre-signed URL permits.
type grant struct {
	project string
	methods []string
	paths   []string // whole paths
	expires string   // UTC, in the form of signedTime
}

// signature seals a grant. Each field is preceded by its length, so that no
// two grants read alike.
func (s *Service) signature(g grant) string {
	mac := hmac.New(sha256.New, s.signKey)
	for _, f := range []string{g.project, strings.Join(g.methods, ","), strings.Join(g.paths, ","), g.expires} {
		var size [8]byte
		for i, n := 0, len(f); i < len(size); i, n = i+1, n>>8 {
			size[i] = byte(n)
		}
		_, _ = mac.Write(size[:])
		_, _ = mac.Write([]byte(f))
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// verify says whether a grant was signed here and is in force.
func (s *Service) verify(g grant, signature string) bool {
	until, err := time.Parse(signedTime, g.expires)
	given, hexErr := hex.DecodeString(signature)
	want, _ := hex.DecodeString(s.signature(g))
	return err == nil && hexErr == nil && hmac.Equal(given, want) && s.now().Before(until)
}

func (g *grant) permits(method, path string) bool {
	return slices.Contains(g.methods, method) && slices.ContainsFunc(g.paths, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

func (g *grant) identity() *auth.Identity {
	return &auth.Identity{UserID: signedInUse, ProjectID: g.project, Roles: []string{"member"}, ExpiresAt: time.Time{}}
}

type shareRequest struct {
	Paths   []string `json:"paths"`
	Methods []string `json:"methods"`
	Expires string   `json:"expires"`
}

// shareQueue answers POST /v2/queues/{queue}/share.
func (s *Service) shareQueue(w http.ResponseWriter, r *http.Request, a actor) error {
	var req shareRequest
	if r.ContentLength != 0 {
		if err := api.ReadJSON(r, &req); err != nil {
			return err
		}
	}
	queue := r.PathValue("queue")
	if err := checkQueue(queue); err != nil {
		return err
	}
	g := grant{project: a.project, methods: req.Methods}
	if len(req.Paths) == 0 {
		req.Paths = []string{"messages"}
	}
	for _, p := range req.Paths {
		if !slices.Contains([]string{"messages", "subscriptions", "claims"}, p) {
			return api.Invalid("paths holds %q, expected messages, subscriptions or claims", p)
		}
		g.paths = append(g.paths, "/v2/queues/"+queue+"/"+p)
	}
	if len(g.methods) == 0 {
		g.methods = []string{http.MethodGet}
	}
	for _, m := range g.methods {
		if !slices.Contains([]string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}, m) {
			return api.Invalid("methods holds %q, expected methods of HTTP", m)
		}
	}
	until, err := s.parseExpires(req.Expires)
	if err != nil {
		return err
	}
	g.expires = until.UTC().Format(signedTime)
	return api.WriteJSON(w, http.StatusOK, document{"project": g.project, "paths": g.paths, "methods": g.methods, "expires": g.expires, "signature": s.signature(g)})
}

func (s *Service) parseExpires(text string) (time.Time, error) {
	now := s.now()
	if text == "" {
		return now.Add(signedFor), nil
	}
	for _, layout := range []string{signedTime, time.RFC3339} {
		t, err := time.Parse(layout, text)
		switch {
		case err != nil:
			continue
		case !t.After(now):
			return t, api.Invalid("expires is %q, which is past", text)
		case t.After(now.Add(signedMost)):
			return t, api.Invalid("expires is %q, expected a time within a year", text)
		}
		return t, nil
	}
	return time.Time{}, api.Invalid("expires is %q, expected a time as 2030-12-31T23:59:59", text)
}

// signedGrant reads the grant of a request's headers; ok is false for a request
// that has none.
func signedGrant(header func(string) string) (g grant, signature string, ok bool) {
	signature = header(headerSignature)
	if signature == "" {
		return g, "", false
	}
	return grant{
		project: header(headerProject), methods: strings.Split(header(headerMethods), ","),
		paths: strings.Split(header(headerPaths), ","), expires: header(headerExpires),
	}, signature, true
}

type grantKey struct{}

// signed serves requests that bear a pre-signed URL's headers from the same
// routes; all others go on as they are. As in Zaqar a signature that does not
// hold gives 404: it tells nothing about what is there.
func (s *Service) signed(plain http.Handler) http.Handler {
	routes := api.NewHandler(api.HandlerOptions{
		Service: "messaging", Routes: s.routes(), Auth: grantAuth{}, Log: s.cfg.Log, Fault: fault, MaxBody: maxBody,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g, signature, ok := signedGrant(r.Header.Get)
		switch {
		case !ok:
			plain.ServeHTTP(w, r)
		case !s.verify(g, signature) || !g.permits(r.Method, r.URL.Path):
			fault(w, r, api.Fault{Status: http.StatusNotFound, Message: "The URL's signature does not permit this request."})
		default:
			r = r.Clone(context.WithValue(r.Context(), grantKey{}, g))
			r.Header.Set("X-Auth-Token", signedInUse)
			if r.Header.Get("Client-ID") == "" {
				r.Header.Set("Client-ID", anonymousClient)
			}
			routes.ServeHTTP(w, r)
		}
	})
}

// anonymousClient is the client of a pre-signed request that names none.
const anonymousClient = "00000000-0000-4000-8000-000000000000"

// grantAuth is the identity behind a verified signature.
type grantAuth struct{}

// Validate implements auth.Validator.
func (grantAuth) Validate(ctx context.Context, _ string) (*auth.Identity, error) {
	g, ok := ctx.Value(grantKey{}).(grant)
	if !ok {
		return nil, auth.ErrInvalidToken
	}
	return g.identity(), nil
}
