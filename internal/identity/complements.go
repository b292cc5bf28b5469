package identity

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// complements are the kinds beside users and the catalog: policy documents,
// limits, endpoint groups and OAuth consumers.
func (e *entities) complements(s *Service) {
	e.policies = &entity{
		s: s, singular: "policy", plural: "policies", table: "identity_policies",
		fields:   []field{idField(), {name: "type", required: true, max: 255}, {name: "blob", required: true}},
		incoming: func(_ *store.Tx, _, doc document) error { return textBlob(doc) },
	}
	e.registeredLimits = &entity{
		s: s, singular: "registered_limit", plural: "registered_limits", table: "identity_registered_limits",
		fields: []field{idField(), {name: "service_id", required: true}, {name: "region_id"}, {name: "resource_name", required: true, max: 255}, {name: "description"}},
		incoming: func(tx *store.Tx, _, doc document) error {
			return s.limitIncoming(tx, doc, "default_limit")
		},
		deleting: s.registeredLimitDeleting,
	}
	e.limits = &entity{
		s: s, singular: "limit", plural: "limits", table: "identity_limits",
		fields: []field{
			idField(),
			{name: "project_id", immutable: true},
			{name: "domain_id", immutable: true},
			{name: "service_id", required: true, immutable: true},
			{name: "region_id", immutable: true},
			{name: "resource_name", required: true, max: 255, immutable: true},
			{name: "description"},
		},
		incoming: s.projectLimitIncoming,
		listed: func(r *http.Request, doc document) bool {
			c := caller(r)
			return s.rules.Allows("identity:get_limit", c, limitTarget(doc))
		},
	}
	e.endpointGroups = &entity{
		s: s, singular: "endpoint_group", plural: "endpoint_groups", path: "OS-EP-FILTER/endpoint_groups", table: "identity_endpoint_groups",
		fields: []field{idField(), nameField(255), {name: "description"}},
		incoming: func(tx *store.Tx, _, doc document) error {
			filters, ok := doc["filters"].(map[string]any)
			if !ok {
				return api.Invalid("endpoint_group.filters is %v, expected an object", doc["filters"])
			}
			for k := range filters {
				if !slices.Contains([]string{"service_id", "region_id", "interface", "enabled"}, k) {
					return api.Invalid("endpoint_group.filters names %q, expected service_id, region_id, interface or enabled", k)
				}
			}
			return s.catalogChanged(tx, nil, nil)
		},
		deleting: func(tx *store.Tx, _ document) error { return s.catalogChanged(tx, nil, nil) },
	}
	e.consumers = &entity{
		s: s, singular: "consumer", plural: "consumers", path: "OS-OAUTH1/consumers", table: "identity_consumers",
		fields: []field{idField(), {name: "description"}, {name: "secret"}, {name: keyColumn}}, sealed: "secret",
		incoming: func(_ *store.Tx, old, doc document) error {
			switch {
			case old == nil:
				doc["secret"] = newID()
			case doc["secret"] != old["secret"]:
				return api.Invalid("consumer.secret cannot be changed")
			}
			return nil
		},
		deleting: s.consumerDeleting,
		// The secret is told once, to who made the consumer.
		hide: func(doc document) { delete(doc, "secret") },
	}
}

// federation are documents about identity providers elsewhere. They are kept
// for clients that manage them; nobody logs in by them here.
func (e *entities) federation(s *Service) {
	e.providers = &entity{
		s: s, singular: "identity_provider", plural: "identity_providers", path: "OS-FEDERATION/identity_providers", table: "identity_providers", putID: true,
		fields:   []field{{name: "id", clientID: true}, {name: "domain_id", immutable: true}, {name: "description"}, {name: "enabled", typ: boolean, def: false}},
		incoming: s.providerIncoming,
		show: func(doc document) {
			if doc["remote_ids"] == nil {
				doc["remote_ids"] = []any{}
			}
			if _, ok := doc["authorization_ttl"]; !ok {
				doc["authorization_ttl"] = nil
			}
		},
		links: []string{"protocols"},
	}
	e.mappings = &entity{
		s: s, singular: "mapping", plural: "mappings", path: "OS-FEDERATION/mappings", table: "identity_mappings", putID: true,
		fields:   []field{{name: "id", clientID: true}},
		incoming: mappingIncoming,
	}
	e.protocols = &entity{
		s: s, singular: "protocol", plural: "protocols", table: "identity_protocols",
		fields: []field{{name: "id", clientID: true}, {name: "idp_id", immutable: true}, {name: "mapping_id", required: true}},
		incoming: func(tx *store.Tx, _, doc document) error {
			if _, err := s.entities.mappings.get(tx, str(doc["mapping_id"])); err != nil {
				return api.Invalid("mapping %v does not exist", doc["mapping_id"]).Wrap(err)
			}
			return onlyKnown("protocol", doc, "id", "idp_id", "mapping_id", "remote_id_attribute")
		},
	}
	e.serviceProviders = &entity{
		s: s, singular: "service_provider", plural: "service_providers", path: "OS-FEDERATION/service_providers", table: "identity_service_providers", putID: true,
		fields: []field{
			{name: "id", clientID: true},
			{name: "auth_url", required: true},
			{name: "sp_url", required: true},
			{name: "description"},
			{name: "enabled", typ: boolean, def: false},
			{name: "relay_state_prefix", def: "ss:mem:"},
		},
		incoming: func(_ *store.Tx, _, doc document) error {
			for _, k := range []string{"auth_url", "sp_url"} {
				if u, err := url.Parse(str(doc[k])); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
					return api.Invalid("service_provider.%s is %v, expected an http or https URL", k, doc[k])
				}
			}
			return onlyKnown("service_provider", doc, "id", "auth_url", "sp_url", "description", "enabled", "relay_state_prefix")
		},
	}
}

func onlyKnown(kind string, doc document, names ...string) error {
	for k := range doc {
		if !slices.Contains(names, k) && k != "links" {
			return api.Invalid("%s has no attribute %q", kind, k)
		}
	}
	return nil
}

func (s *Service) providerIncoming(tx *store.Tx, old, doc document) error {
	if err := onlyKnown("identity_provider", doc, "id", "domain_id", "description", "enabled", "remote_ids", "authorization_ttl"); err != nil {
		return err
	}
	ids, _ := doc["remote_ids"].([]any)
	seen := map[any]bool{}
	for _, id := range ids {
		if str(id) == "" || seen[id] {
			return api.Invalid("identity_provider.remote_ids is %v, expected different strings", ids)
		}
		seen[id] = true
	}
	if old != nil {
		return nil
	}
	if str(doc["domain_id"]) == "" {
		domain := document{"name": str(doc["id"]), "description": "made for identity provider " + str(doc["id"])}
		id, err := s.ensure(tx, s.entities.domains, domain, `name = ?`, doc["id"])
		doc["domain_id"] = id
		return err
	}
	_, err := s.entities.domains.get(tx, str(doc["domain_id"]))
	return err
}

func mappingIncoming(_ *store.Tx, _, doc document) error {
	if err := onlyKnown("mapping", doc, "id", "rules", "schema_version"); err != nil {
		return err
	}
	list, ok := doc["rules"].([]any)
	if !ok || len(list) == 0 {
		return api.Invalid("mapping.rules is %v, expected a list with at least one rule", doc["rules"])
	}
	for i, rule := range list {
		r, _ := rule.(map[string]any)
		for _, part := range []string{"local", "remote"} {
			if l, ok := r[part].([]any); !ok || part == "remote" && len(l) == 0 { // who only filters has nothing local
				return api.Invalid("mapping.rules[%d].%s is %v, expected a list", i, part, r[part])
			}
		}
	}
	return nil
}

// protocolRoutes are those of an identity provider's protocols, whose ids are
// the provider's own.
func (s *Service) protocolHandler(w http.ResponseWriter, r *http.Request) error {
	e, idp, id := s.entities.protocols, r.PathValue("id"), r.PathValue("protocol")
	var patch document
	if r.Method == http.MethodPut || r.Method == http.MethodPatch {
		var err error
		if patch, err = e.decode(r); err != nil {
			return err
		}
		delete(patch, "idp_id")
	}
	var doc document
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := s.entities.providers.get(tx, idp); err != nil {
			return err
		}
		found, err := e.find(tx, `idp_id = ? AND id = ?`, idp, id)
		if r.Method != http.MethodPut && err != nil {
			return e.notFound(err, id)
		}
		doc = found
		switch r.Method {
		case http.MethodPut:
			doc = document{"id": id, "idp_id": idp}
			for k, v := range patch {
				doc[k] = v
			}
			if err := e.fill(doc); err != nil {
				return err
			}
			if err := e.incoming(tx, nil, doc); err != nil {
				return err
			}
			return e.insert(tx, doc)
		case http.MethodPatch:
			for k, v := range patch {
				doc[k] = v
			}
			if err := e.incoming(tx, found, doc); err != nil {
				return err
			}
			_, err := tx.Exec(`UPDATE identity_protocols SET mapping_id = ? WHERE idp_id = ? AND id = ?`, doc["mapping_id"], idp, id)
			return err
		case http.MethodDelete:
			_, err := tx.Exec(`DELETE FROM identity_protocols WHERE idp_id = ? AND id = ?`, idp, id)
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	status := http.StatusOK
	switch r.Method {
	case http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPut:
		status = http.StatusCreated
	}
	return api.WriteJSON(w, status, document{"protocol": s.showProtocol(doc)})
}

func (s *Service) showProtocol(doc document) document {
	base := s.base + "/OS-FEDERATION/identity_providers/" + str(doc["idp_id"])
	delete(doc, "idp_id")
	doc["links"] = document{"self": base + "/protocols/" + str(doc["id"]), "identity_provider": base}
	return doc
}

func (s *Service) listProtocols(w http.ResponseWriter, r *http.Request) error {
	var docs []document
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		if _, err := s.entities.providers.get(tx, r.PathValue("id")); err != nil {
			return err
		}
		docs, err = s.entities.protocols.list(tx, ` WHERE idp_id = ? ORDER BY id`, r.PathValue("id"))
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range docs {
		s.showProtocol(d)
	}
	return api.WriteJSON(w, http.StatusOK, document{"protocols": docs, "links": s.listLinks(r)})
}
