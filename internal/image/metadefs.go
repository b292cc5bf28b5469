package image

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

// Metadata definitions: a vocabulary for properties of images and other things,
// in namespaces that belong to a project. They are documents; nothing here is
// checked against them.

// Bounds of the vocabulary.
const (
	maxMetadefName = 80
	maxMetadefs    = 1000 // of one kind in a namespace
)

// metadefKind is one kind of definition in a namespace.
type metadefKind struct {
	singular, plural, path, schema string
}

func metadefKinds() []metadefKind {
	return []metadefKind{
		{"object", "objects", "objects", "/v2/schemas/metadefs/object"},
		{"property", "properties", "properties", "/v2/schemas/metadefs/property"},
		{"tag", "tags", "tags", "/v2/schemas/metadefs/tag"},
		{"resource_type", "resource_type_associations", "resource_types", "/v2/schemas/metadefs/resource_type"},
	}
}

type namespace struct {
	name, owner, visibility string
	protected               bool
	body                    document
	created, updated        time.Time
}

const namespaceColumns = `namespace, owner, visibility, protected, body, created, updated`

func scanNamespace(scan func(...any) error) (*namespace, error) {
	n := &namespace{body: document{}}
	var protected int64
	err := scan(&n.name, &n.owner, &n.visibility, &protected, store.JSON(&n.body), store.Time(&n.created), store.Time(&n.updated))
	n.protected = protected != 0
	return n, store.Wrap(err)
}

func (n *namespace) document() document {
	doc := document{}
	for k, v := range n.body {
		doc[k] = v
	}
	self := "/v2/metadefs/namespaces/" + n.name
	for k, v := range (document{
		"namespace": n.name, "owner": n.owner, "visibility": n.visibility, "protected": n.protected, "self": self,
		"schema": "/v2/schemas/metadefs/namespace", "created_at": api.FormatTime(n.created), "updated_at": api.FormatTime(n.updated),
	}) {
		doc[k] = v
	}
	return doc
}

func (n *namespace) visibleTo(c *auth.Identity) bool {
	return n.visibility == "public" || seesAll(c) || c.ProjectID != "" && c.ProjectID == n.owner
}

// namespace returns one that the caller may see.
func (s *Service) namespace(tx *store.Tx, r *http.Request) (*namespace, error) {
	name := r.PathValue("namespace")
	n, err := scanNamespace(tx.QueryRow(`SELECT `+namespaceColumns+` FROM image_namespaces WHERE namespace = ?`, name).Scan)
	if isNotFound(err) || err == nil && !n.visibleTo(caller(r)) {
		return nil, api.NotFound("Metadata definition namespace not found: %s", name)
	}
	return n, err
}

func checkName(what, name string) error {
	if name == "" || len(name) > maxMetadefName || strings.ContainsAny(name, "/\r\n") {
		return api.Invalid("%s is %q, expected 1 to %d characters without /", what, name, maxMetadefName)
	}
	return nil
}

// apply takes a request's document into a namespace.
func (n *namespace) apply(c *auth.Identity, doc document) error {
	for _, k := range []string{"created_at", "updated_at", "self", "schema", "objects", "properties", "tags", "resource_type_associations"} {
		delete(doc, k)
	}
	name := str(doc["namespace"])
	if err := checkName("namespace", name); err != nil {
		return err
	}
	n.name, n.owner, n.visibility, n.protected = name, c.ProjectID, "private", false
	if v, ok := doc["visibility"]; ok {
		n.visibility = str(v)
	}
	if n.visibility != "public" && n.visibility != "private" {
		return api.Invalid("visibility is %v, expected public or private", doc["visibility"])
	}
	if v := str(doc["owner"]); v != "" {
		n.owner = v
	}
	n.protected, _ = doc["protected"].(bool)
	for _, k := range []string{"namespace", "owner", "visibility", "protected"} {
		delete(doc, k)
	}
	n.body = doc
	return nil
}

func (s *Service) createNamespace(w http.ResponseWriter, r *http.Request) error {
	var doc document
	if err := readJSON(w, r, &doc); err != nil {
		return err
	}
	n := &namespace{created: s.now(), updated: s.now()}
	if err := n.apply(caller(r), doc); err != nil {
		return err
	}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`INSERT INTO image_namespaces (`+namespaceColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			n.name, n.owner, n.visibility, flag(n.protected), store.JSON(n.body), store.At(n.created), store.At(n.updated))
		return conflict(err, "namespace %s exists already", n.name)
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", s.cfg.BaseURL+"/v2/metadefs/namespaces/"+n.name)
	return api.WriteJSON(w, http.StatusCreated, n.document())
}

func (s *Service) listNamespaces(w http.ResponseWriter, r *http.Request) error {
	out, q := []document{}, r.URL.Query()
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			n, err := scanNamespace(scan)
			if err == nil && n.visibleTo(caller(r)) && (!q.Has("visibility") || q.Get("visibility") == n.visibility) {
				out = append(out, n.document())
			}
			return err
		}, `SELECT `+namespaceColumns+` FROM image_namespaces ORDER BY created DESC, namespace`)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, document{"namespaces": out, "first": "/v2/metadefs/namespaces", "schema": "/v2/schemas/metadefs/namespaces"})
}

func (s *Service) showNamespace(w http.ResponseWriter, r *http.Request) error {
	var doc document
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		n, err := s.namespace(tx, r)
		if err != nil {
			return err
		}
		doc = n.document()
		for _, k := range metadefKinds() {
			list, err := metadefs(tx, n.name, k)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				continue
			}
			if k.singular == "property" {
				doc[k.plural] = byName(list)
			} else {
				doc[k.plural] = list
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, doc)
}

func (s *Service) updateNamespace(w http.ResponseWriter, r *http.Request) error {
	var doc document
	if err := readJSON(w, r, &doc); err != nil {
		return err
	}
	var n *namespace
	err := s.db.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if n, err = s.namespace(tx, r); err != nil {
			return err
		}
		old, owner := n.name, n.owner
		if err := n.apply(caller(r), doc); err != nil {
			return err
		}
		if _, given := doc["owner"]; !given {
			n.owner = owner
		}
		n.updated = s.now()
		_, err = tx.Exec(`UPDATE image_namespaces SET namespace = ?, owner = ?, visibility = ?, protected = ?, body = ?, updated = ? WHERE namespace = ?`,
			n.name, n.owner, n.visibility, flag(n.protected), store.JSON(n.body), store.At(n.updated), old)
		return conflict(err, "namespace %s exists already", n.name)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, n.document())
}

func (s *Service) deleteNamespace(w http.ResponseWriter, r *http.Request) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		n, err := s.namespace(tx, r)
		if err != nil {
			return err
		}
		if n.protected {
			return api.Forbidden("Metadata definition namespace %s is protected and cannot be deleted.", n.name)
		}
		_, err = tx.Exec(`DELETE FROM image_namespaces WHERE namespace = ?`, n.name)
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func conflict(err error, format string, args ...any) error {
	if errors.Is(err, store.ErrConflict) {
		return api.Conflict(format, args...).Wrap(err)
	}
	return err
}

// metadefs returns the definitions of a kind in a namespace.
func metadefs(tx *store.Tx, ns string, k metadefKind) ([]document, error) {
	out := []document{}
	err := tx.Each(func(scan func(...any) error) error {
		doc, err := scanMetadef(scan, ns, k)
		out = append(out, doc)
		return err
	}, `SELECT name, body, created, updated FROM image_metadefs WHERE namespace = ? AND kind = ? ORDER BY created DESC, name`, ns, k.singular)
	return out, err
}

func scanMetadef(scan func(...any) error, ns string, k metadefKind) (document, error) {
	doc, name := document{}, ""
	var created, updated time.Time
	if err := scan(&name, store.JSON(&doc), store.Time(&created), store.Time(&updated)); err != nil {
		return nil, store.Wrap(err)
	}
	doc["name"] = name
	if k.singular != "property" {
		doc["created_at"], doc["updated_at"] = api.FormatTime(created), api.FormatTime(updated)
	}
	if k.singular == "object" || k.singular == "tag" {
		doc["self"], doc["schema"] = "/v2/metadefs/namespaces/"+ns+"/"+k.path+"/"+name, k.schema
	}
	return doc, nil
}

func byName(list []document) document {
	out := document{}
	for _, d := range list {
		name := str(d["name"])
		delete(d, "name")
		out[name] = d
	}
	return out
}

func cleanMetadef(doc document) {
	for _, k := range []string{"name", "created_at", "updated_at", "self", "schema"} {
		delete(doc, k)
	}
}

func (s *Service) insertMetadef(tx *store.Tx, ns string, k metadefKind, name string, doc document) error {
	if err := checkName(k.singular+" name", name); err != nil {
		return err
	}
	var n int64
	if err := tx.Get([]any{&n}, `SELECT COUNT(*) FROM image_metadefs WHERE namespace = ? AND kind = ?`, ns, k.singular); err != nil {
		return err
	}
	if n >= maxMetadefs {
		return api.TooLarge("namespace %s has %d %s already", ns, n, k.plural)
	}
	cleanMetadef(doc)
	now := store.At(s.now())
	_, err := tx.Exec(`INSERT INTO image_metadefs (namespace, kind, name, body, created, updated) VALUES (?, ?, ?, ?, ?, ?)`, ns, k.singular, name, store.JSON(doc), now, now)
	return conflict(err, "%s %s exists already in namespace %s", k.singular, name, ns)
}

// createMetadef makes one definition, named by the body or the path.
func (s *Service) createMetadef(k metadefKind) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		doc, name := document{}, r.PathValue("name")
		if name == "" {
			if err := readJSON(w, r, &doc); err != nil {
				return err
			}
			name = str(doc["name"])
		}
		return s.replyMetadef(w, r, http.StatusCreated, k, name, func(tx *store.Tx, ns string) error {
			return s.insertMetadef(tx, ns, k, name, doc)
		})
	}
}

// replyMetadef works on a namespace and answers with the definition after it.
func (s *Service) replyMetadef(w http.ResponseWriter, r *http.Request, status int, k metadefKind, name string, work func(*store.Tx, string) error) error {
	var doc document
	run := s.db.Tx
	if work == nil {
		run = s.db.View
	}
	err := run(r.Context(), func(tx *store.Tx) error {
		n, err := s.namespace(tx, r)
		if err != nil {
			return err
		}
		if work != nil {
			if err := work(tx, n.name); err != nil {
				return err
			}
		}
		doc, err = scanMetadef(tx.QueryRow(`SELECT name, body, created, updated FROM image_metadefs WHERE namespace = ? AND kind = ? AND name = ?`, n.name, k.singular, name).Scan, n.name, k)
		if isNotFound(err) {
			return api.NotFound("Metadata definition %s not found: %s", k.singular, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, status, doc)
}

func (s *Service) listMetadefs(k metadefKind) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var list []document
		err := s.db.View(r.Context(), func(tx *store.Tx) error {
			n, err := s.namespace(tx, r)
			if err == nil {
				list, err = metadefs(tx, n.name, k)
			}
			return err
		})
		if err != nil {
			return err
		}
		out := document{k.plural: list}
		if k.singular == "property" {
			out[k.plural] = byName(list)
		}
		if k.singular == "object" || k.singular == "tag" {
			out["first"] = "/v2/metadefs/namespaces/" + r.PathValue("namespace") + "/" + k.path
			out["schema"] = k.schema + "s"
		}
		return api.WriteJSON(w, http.StatusOK, out)
	}
}

func (s *Service) showMetadef(k metadefKind) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		return s.replyMetadef(w, r, http.StatusOK, k, r.PathValue("name"), nil)
	}
}

func (s *Service) updateMetadef(k metadefKind) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var doc document
		if err := readJSON(w, r, &doc); err != nil {
			return err
		}
		old, name := r.PathValue("name"), str(doc["name"])
		if err := checkName(k.singular+" name", name); err != nil {
			return err
		}
		cleanMetadef(doc)
		return s.replyMetadef(w, r, http.StatusOK, k, name, func(tx *store.Tx, ns string) error {
			n, err := tx.Exec(`UPDATE image_metadefs SET name = ?, body = ?, updated = ? WHERE namespace = ? AND kind = ? AND name = ?`, name, store.JSON(doc), store.At(s.now()), ns, k.singular, old)
			if err == nil && n == 0 {
				return api.NotFound("Metadata definition %s not found: %s", k.singular, old)
			}
			return conflict(err, "%s %s exists already in namespace %s", k.singular, name, ns)
		})
	}
}

// deleteMetadef removes one definition, or all of a kind if the path names none.
func (s *Service) deleteMetadef(k metadefKind) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		name := r.PathValue("name")
		err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
			n, err := s.namespace(tx, r)
			if err != nil {
				return err
			}
			if n.protected {
				return api.Forbidden("Metadata definition namespace %s is protected.", n.name)
			}
			count, err := tx.Exec(`DELETE FROM image_metadefs WHERE namespace = ? AND kind = ? AND (? = '' OR name = ?)`, n.name, k.singular, name, name)
			if err == nil && count == 0 && name != "" {
				return api.NotFound("Metadata definition %s not found: %s", k.singular, name)
			}
			return err
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// createTags answers POST of a namespace's tags: the list takes the place of
// those there are, or with X-Openstack-Append is added to them.
func (s *Service) createTags(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Tags []document `json:"tags"`
	}
	if err := readJSON(w, r, &in); err != nil {
		return err
	}
	k, list := metadefKinds()[2], []document{}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		n, err := s.namespace(tx, r)
		if err != nil {
			return err
		}
		if !strings.EqualFold(r.Header.Get("X-Openstack-Append"), "true") {
			if _, err := tx.Exec(`DELETE FROM image_metadefs WHERE namespace = ? AND kind = 'tag'`, n.name); err != nil {
				return err
			}
		}
		for _, t := range in.Tags {
			if err := s.insertMetadef(tx, n.name, k, str(t["name"]), document{}); err != nil {
				return err
			}
		}
		list, err = metadefs(tx, n.name, k)
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, document{"tags": list, "schema": "/v2/schemas/metadefs/tags"})
}

// listResourceTypes answers GET /v2/metadefs/resource_types: the things of a
// cloud that have properties.
func (s *Service) listResourceTypes(w http.ResponseWriter, r *http.Request) error {
	names := []string{"OS::Cinder::Volume", "OS::Glance::Image", "OS::Nova::Aggregate", "OS::Nova::Flavor", "OS::Nova::Server", "OS::Trove::Instance"}
	err := s.db.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			var name string
			err := scan(&name)
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
			return err
		}, `SELECT DISTINCT name FROM image_metadefs JOIN image_namespaces USING (namespace) WHERE kind = 'resource_type' AND (visibility = 'public' OR owner = ?) ORDER BY name`, caller(r).ProjectID)
	})
	if err != nil {
		return err
	}
	list := []document{}
	for _, n := range names {
		list = append(list, document{"name": n, "created_at": "2014-08-28T00:00:00Z", "updated_at": "2014-08-28T00:00:00Z"})
	}
	return api.WriteJSON(w, http.StatusOK, document{"resource_types": list})
}

// metadefRoutes are the routes of namespaces and of all kinds in them.
func (s *Service) metadefRoutes() []api.Route {
	const all, one = "/v2/metadefs/namespaces", "/v2/metadefs/namespaces/{namespace}"
	out := []api.Route{
		on(http.MethodGet, "/v2/metadefs/resource_types", "list_metadef_resource_types", s.listResourceTypes),
		on(http.MethodPost, all, "add_metadef_namespace", s.createNamespace),
		on(http.MethodGet, all, "get_metadef_namespaces", s.listNamespaces),
		on(http.MethodGet, one, "get_metadef_namespace", s.showNamespace),
		on(http.MethodPut, one, "modify_metadef_namespace", s.updateNamespace),
		on(http.MethodDelete, one, "delete_metadef_namespace", s.deleteNamespace),
	}
	kinds := metadefKinds()
	for i, rules := range [][5]string{ // add, list, get, modify, delete
		{"add_metadef_object", "get_metadef_objects", "get_metadef_object", "modify_metadef_object", "delete_metadef_object"},
		{"add_metadef_property", "get_metadef_properties", "get_metadef_property", "modify_metadef_property", "remove_metadef_property"},
		{"add_metadef_tag", "get_metadef_tags", "get_metadef_tag", "modify_metadef_tag", "delete_metadef_tag"},
		{"add_metadef_resource_type_association", "get_metadef_resource_type", "", "", "remove_metadef_resource_type_association"},
	} {
		k, base := kinds[i], one+"/"+kinds[i].path
		create := s.createMetadef(k)
		if k.singular == "tag" {
			create = s.createTags
			out = append(out, on(http.MethodPost, base+"/{name}", rules[0], s.createMetadef(k)))
		}
		out = append(out,
			on(http.MethodPost, base, rules[0], create),
			on(http.MethodGet, base, rules[1], s.listMetadefs(k)),
			on(http.MethodDelete, base+"/{name}", rules[4], s.deleteMetadef(k)),
		)
		if rules[2] != "" {
			out = append(out,
				on(http.MethodGet, base+"/{name}", rules[2], s.showMetadef(k)),
				on(http.MethodPut, base+"/{name}", rules[3], s.updateMetadef(k)),
				on(http.MethodDelete, base, rules[4], s.deleteMetadef(k)),
			)
		}
	}
	for i := range out {
		if strings.HasPrefix(out[i].Pattern, one) {
			out[i].Target = s.aboutNamespace
		}
	}
	return out
}

// metadefSchema answers GET /v2/schemas/metadefs/{name}.
func (s *Service) metadefSchema(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	single := map[string]string{
		"namespaces": "namespace", "objects": "object", "properties": "property", "tags": "tag", "resource_types": "resource_type_association",
	}
	text := document{"type": "string", "maxLength": 255}
	stamp := document{"type": "string", "readOnly": true, "format": "date-time"}
	one := document{"name": text, "created_at": stamp, "updated_at": stamp}
	switch name {
	case "namespace", "namespaces":
		one = document{
			"namespace": document{"type": "string", "maxLength": maxMetadefName}, "display_name": text, "description": document{"type": "string"},
			"visibility": document{"type": "string", "enum": []string{"public", "private"}}, "protected": document{"type": "boolean"},
			"owner": text, "created_at": stamp, "updated_at": stamp, "self": document{"type": "string"}, "schema": document{"type": "string"},
		}
	case "object", "objects":
		one["description"], one["required"] = document{"type": "string"}, document{"type": "array", "items": document{"type": "string"}}
		one["properties"] = document{"type": "object"}
	case "property", "properties":
		one = document{"name": text, "title": text, "description": document{"type": "string"}, "type": document{"type": "string", "enum": []string{"array", "boolean", "integer", "number", "object", "string"}}}
	case "resource_type", "resource_types":
		one["prefix"], one["properties_target"] = text, text
	case "tag", "tags":
	default:
		return api.NotFound("there is no schema metadefs/%s", name)
	}
	shown := name
	if name == "resource_type" {
		shown = "resource_type_association"
	}
	schema := document{"name": shown, "properties": one, "additionalProperties": name == "property"}
	if singular, ok := single[name]; ok {
		key := name
		if name == "resource_types" {
			key = "resource_type_associations"
		}
		schema = document{"name": key, "properties": document{
			key: document{"type": "array", "items": document{"name": singular, "properties": one}}, "first": document{"type": "string"},
			"next": document{"type": "string"}, "schema": document{"type": "string"},
		}}
	}
	return api.WriteJSON(w, http.StatusOK, schema)
}
