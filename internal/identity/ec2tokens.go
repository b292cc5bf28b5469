package identity

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // what signatures of S3 before version 4 are made with
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"hash"
	"net/http"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/auth/ec2sig"
	"github.com/tripleo/tripleo/internal/store"
)

// signedRequest is a request of an EC2 or S3 client, as the service that got it
// describes it.
type signedRequest struct {
	Access    string            `json:"access"`
	Signature string            `json:"signature"`
	Token     string            `json:"token"` // S3: the text that was signed, in base64
	Host      string            `json:"host"`
	Verb      string            `json:"verb"`
	Path      string            `json:"path"`
	Params    map[string]string `json:"params"`
	Headers   map[string]string `json:"headers"`
	BodyHash  string            `json:"body_hash"`
}

// maxSkew is how old a signature may be, against its being played again.
const maxSkew = 15 * time.Minute

func mac(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// ec2Valid checks the signature of an EC2 request, and that it is not old.
func (q *signedRequest) ec2Valid(secret string, now time.Time) bool {
	req := ec2sig.Request{Host: q.Host, Verb: q.Verb, Path: q.Path, Params: q.Params, Headers: q.Headers, BodyHash: q.BodyHash}
	if !req.Valid(secret, q.Signature) {
		return false
	}
	if d := req.Date(); d != "" {
		at, err := parseEC2Date(d)
		return err == nil && now.Sub(at).Abs() <= maxSkew
	}
	return true
}

func parseEC2Date(v string) (t time.Time, err error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "20060102T150405Z"} {
		if t, err = time.Parse(layout, v); err == nil {
			return t, nil
		}
	}
	return t, err
}

func sign4(secret string, scope []string, text string) string {
	key := []byte("AWS4" + secret)
	for _, p := range scope {
		key = mac(sha256.New, key, p)
	}
	return hex.EncodeToString(mac(sha256.New, key, text))
}

// s3Valid checks the signature of the text that an S3 service has made of a
// request; the service has checked its date.
func (q *signedRequest) s3Valid(secret string, _ time.Time) bool {
	raw, err := base64.StdEncoding.DecodeString(q.Token)
	if err != nil {
		if raw, err = base64.URLEncoding.DecodeString(q.Token); err != nil {
			return false
		}
	}
	text := string(raw)
	want := base64.StdEncoding.EncodeToString(mac(sha1.New, []byte(secret), text))
	if strings.HasPrefix(text, "AWS4-HMAC-SHA256\n") {
		lines := strings.Split(text, "\n")
		scope := strings.Split(lines[min(2, len(lines)-1)], "/")
		if len(scope) != 4 {
			return false
		}
		want = sign4(secret, scope, text)
	}
	return hmac.Equal([]byte(want), []byte(q.Signature))
}

// ec2Tokens answers POST /v3/ec2tokens, s3Tokens POST /v3/s3tokens: a service
// asks for the token of whom a signature belongs to. It needs a token of its
// own: a signature that somebody has seen must not be worth a token.
func (s *Service) ec2Tokens(w http.ResponseWriter, r *http.Request) error {
	return s.signatureToken(w, r, (*signedRequest).ec2Valid)
}

func (s *Service) s3Tokens(w http.ResponseWriter, r *http.Request) error {
	return s.signatureToken(w, r, (*signedRequest).s3Valid)
}

func (s *Service) signatureToken(w http.ResponseWriter, r *http.Request, valid func(*signedRequest, string, time.Time) bool) error {
	q, err := readSigned(r)
	if err != nil {
		return err
	}
	id := &auth.Identity{Methods: []string{"ec2credential"}, IssuedAt: s.now(), ExpiresAt: s.now().Add(s.cfg.TokenLife).Truncate(time.Second), AuditID: newAuditID()}
	err = s.db.Tx(r.Context(), func(tx *store.Tx) error {
		doc, err := s.entities.credentials.find(tx, `id = ? AND type = 'ec2'`, ec2ID(q.Access))
		if isNotFound(err) {
			return unauthorized().Wrap(err)
		}
		if err != nil {
			return err
		}
		var b ec2Blob
		if err := json.Unmarshal([]byte(str(doc["blob"])), &b); err != nil || b.Secret == "" {
			return unauthorized().Wrap(err)
		}
		if !valid(q, b.Secret, s.now()) {
			return unauthorized()
		}
		return s.scopeEC2(tx, id, doc)
	})
	if err != nil {
		return err
	}
	if err := s.tokens.Issue(id); err != nil {
		return err
	}
	return s.replyToken(w, r, http.StatusOK, id)
}

// readSigned reads the body, whose parts are under "credentials", or under
// "ec2Credentials" as the oldest clients have it.
func readSigned(r *http.Request) (*signedRequest, error) {
	var in struct {
		Credentials *signedRequest `json:"credentials"`
		Older       *signedRequest `json:"ec2Credentials"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return nil, err
	}
	q := in.Credentials
	if q == nil {
		q = in.Older
	}
	if q == nil || q.Access == "" || q.Signature == "" {
		return nil, api.Invalid("credentials with access and signature are required")
	}
	return q, nil
}

// scopeEC2 gives the token what the credential was made with: a trust, an
// application credential, or the user's roles on the project.
func (s *Service) scopeEC2(tx *store.Tx, id *auth.Identity, doc document) error {
	if err := s.describeUser(tx, id, str(doc["user_id"])); err != nil {
		return err
	}
	if t := str(doc["trust_id"]); t != "" {
		found, err := s.trust(tx, t)
		if err != nil {
			return unauthorized().Wrap(err)
		}
		if err := s.describeUser(tx, id, found.trustee); err != nil {
			return err
		}
		return s.scopeTrust(tx, id, t)
	}
	if c := str(doc["app_cred_id"]); c != "" {
		cred, err := s.appCred(tx, c)
		if err != nil || cred.expired(s.now()) {
			return unauthorized().Wrap(err)
		}
		return s.scopeAppCred(tx, id, cred, scopeRequest{})
	}
	return s.scopeProject(tx, id, &projectRef{ID: str(doc["project_id"])})
}
