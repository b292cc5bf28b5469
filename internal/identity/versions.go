package identity

import (
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
)

type document = map[string]any

func (s *Service) version() document {
	return document{
		"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
		"links":       []document{{"rel": "self", "href": s.base + "/"}},
		"media-types": []document{{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}},
	}
}

func (s *Service) getVersions(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusMultipleChoices, document{"versions": document{"values": []document{s.version()}}})
}

func (s *Service) getVersion(w http.ResponseWriter, _ *http.Request) error {
	return api.WriteJSON(w, http.StatusOK, document{"version": s.version()})
}
