package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// EC2 credentials are credentials of type ec2 whose id is the SHA-256 of the
// access key, as in Keystone.

type ec2Blob struct {
	Access string `json:"access"`
	Secret string `json:"secret"`
}

func ec2ID(access string) string {
	sum := sha256.Sum256([]byte(access))
	return hex.EncodeToString(sum[:])
}

func (s *Service) showEC2(doc document) (document, error) {
	var b ec2Blob
	if err := json.Unmarshal([]byte(str(doc["blob"])), &b); err != nil {
		return nil, err
	}
	return document{
		"access": b.Access, "secret": b.Secret, "user_id": doc["user_id"], "tenant_id": doc["project_id"], "trust_id": doc["trust_id"],
		"links": document{"self": s.base + "/users/" + str(doc["user_id"]) + "/credentials/OS-EC2/" + b.Access},
	}, nil
}

func (s *Service) createEC2(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		TenantID string `json:"tenant_id"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	user := r.PathValue("user")
	blob := ec2Blob{Access: newID(), Secret: newID()}
	text, err := json.Marshal(blob)
	if err != nil {
		return err
	}
	doc := document{"id": ec2ID(blob.Access), "user_id": user, "project_id": in.TenantID, "type": "ec2", "blob": string(text)}
	if err := bindCredential(caller(r), doc); err != nil {
		return err
	}
	err = s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := s.entities.users.get(tx, user); err != nil {
			return err
		}
		// Without a role on the project it signs nothing that is accepted; it may get one later.
		if _, err := s.entities.projects.get(tx, in.TenantID); err != nil {
			return err
		}
		return s.entities.credentials.insert(tx, doc)
	})
	if err != nil {
		return err
	}
	shown, err := s.showEC2(doc)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, document{"credential": shown})
}

func (s *Service) listEC2(w http.ResponseWriter, r *http.Request) error {
	user := r.PathValue("user")
	out := []document{}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		docs, err := s.entities.credentials.list(tx, ` WHERE user_id = ? AND type = 'ec2' ORDER BY id`, user)
		for _, d := range docs {
			shown, err := s.showEC2(d)
			if err != nil {
				return err
			}
			out = append(out, shown)
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"credentials": out, "links": s.listLinks(r)})
}

// ec2Credential is the one that a path names by its access key; whose it is
// decides who may ask (aboutEC2), not the user that the path names.
func (s *Service) ec2Credential(tx *store.Tx, r *http.Request) (document, error) {
	doc, err := s.entities.credentials.find(tx, `id = ? AND type = 'ec2'`, ec2ID(r.PathValue("access")))
	if isNotFound(err) {
		return nil, api.NotFound("Could not find credential: %s.", r.PathValue("access")).Wrap(err)
	}
	return doc, err
}

// oneEC2 answers GET and DELETE of one EC2 credential.
func (s *Service) oneEC2(w http.ResponseWriter, r *http.Request) error {
	var doc document
	err := s.db.Tx(r.Context(), func(tx *store.Tx) (err error) {
		doc, err = s.ec2Credential(tx, r)
		if err == nil && r.Method == http.MethodDelete {
			return s.entities.credentials.remove(tx, doc)
		}
		return err
	})
	if err != nil {
		return err
	}
	if r.Method == http.MethodDelete {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	shown, err := s.showEC2(doc)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"credential": shown})
}
