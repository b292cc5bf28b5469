package identity

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth/ec2sig"
	"github.com/tripleo/tripleo/internal/store"
)

// ec2Life is how old the date in a signed request may be, as in Keystone.
const ec2Life = 15 * time.Minute

// createEC2Token gives a service a token of the user who signed a request with an EC2 credential. The
// service passes on what was signed; only services may ask, as a signature is good for one request.
func (s *Service) createEC2Token(w http.ResponseWriter, r *http.Request) error {
	type credentials struct {
		Access    string            `json:"access"`
		Signature string            `json:"signature"`
		Host      string            `json:"host"`
		Verb      string            `json:"verb"`
		Path      string            `json:"path"`
		Params    map[string]string `json:"params"`
		Headers   map[string]string `json:"headers"`
		BodyHash  string            `json:"body_hash"`
	}
	var in struct {
		Credentials *credentials `json:"credentials"`
		Old         *credentials `json:"ec2Credentials"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	c := in.Credentials
	if c == nil {
		c = in.Old
	}
	if c == nil || c.Access == "" || c.Signature == "" {
		return api.Invalid("EC2 access key or signature is missing")
	}
	req := ec2sig.Request{Host: c.Host, Verb: c.Verb, Path: c.Path, Params: c.Params, Headers: c.Headers, BodyHash: c.BodyHash}
	var doc document
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		doc, err = s.entities.credentials.find(tx, `id = ? AND type = 'ec2'`, ec2ID(c.Access))
		return err
	})
	if err != nil {
		return unauthorized().Wrap(err)
	}
	var blob ec2Blob
	if err := json.Unmarshal([]byte(str(doc["blob"])), &blob); err != nil {
		return err
	}
	if !req.Valid(blob.Secret, c.Signature) {
		return api.Unauthorized("EC2 signature not supplied or invalid.")
	}
	if d := req.Date(); d != "" {
		at, err := parseEC2Date(d)
		if err != nil || s.now().Sub(at).Abs() > ec2Life {
			return api.Unauthorized("Credential is expired.")
		}
	}
	scope, err := json.Marshal(map[string]any{"project": map[string]any{"id": doc["project_id"]}})
	if trust := str(doc["trust_id"]); trust != "" && err == nil {
		scope, err = json.Marshal(map[string]any{"OS-TRUST:trust": map[string]any{"id": trust}})
	}
	if err != nil {
		return err
	}
	p := &principal{userID: str(doc["user_id"]), methods: []string{"ec2credential"}, expires: s.now().Add(s.cfg.TokenLife).Truncate(time.Second)}
	id, err := s.issue(r, p, scope)
	if err != nil {
		return err
	}
	return s.replyToken(w, r, http.StatusOK, id)
}

func parseEC2Date(v string) (t time.Time, err error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "20060102T150405Z"} {
		if t, err = time.Parse(layout, v); err == nil {
			return t, nil
		}
	}
	return t, err
}
