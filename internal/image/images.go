package image

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/auth"
	"github.com/tripleo/tripleo/internal/store"
)

// Bounds of what an image may carry, as Glance's defaults.
const (
	maxProperties = 128
	maxTags       = 128
	maxMembers    = 128
	maxText       = 65_535 // bytes of a property's value
)

func containerFormats() []string {
	return []string{"ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"}
}

func diskFormats() []string {
	return []string{"ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"}
}

func readOnly() []string {
	return []string{
		"created_at", "updated_at", "status", "checksum", "size", "virtual_size", "self", "file", "schema", "direct_url",
		"os_hash_algo", "os_hash_value", "locations", "stores", "deleted", "deleted_at",
	}
}

func visibilities() []string { return []string{"public", "private", "shared", "community"} }

func (m *image) document() document {
	status := m.status
	if status == "staged" { // Glance shows staged data so
		status = "uploading"
	}
	doc := document{}
	for k, v := range m.properties {
		doc[k] = v
	}
	if m.status == "active" || m.status == "deactivated" {
		doc["stores"] = storeName
	}
	var algo any
	if m.hash != nil {
		algo = "sha512"
	}
	base := document{
		"id": m.id, "name": m.name, "owner": m.owner, "visibility": m.visibility, "status": status,
		"container_format": m.container, "disk_format": m.disk, "size": m.size, "virtual_size": m.virtualSize,
		"checksum": m.checksum, "os_hash_algo": algo, "os_hash_value": m.hash, "min_disk": m.minDisk, "min_ram": m.minRAM,
		"protected": m.protected, "os_hidden": m.hidden, "tags": m.tags,
		"created_at": m.created.UTC().Format(api.TimeFormat), "updated_at": m.updated.UTC().Format(api.TimeFormat),
		"self": "/v2/images/" + m.id, "file": "/v2/images/" + m.id + "/file", "schema": "/v2/schemas/image",
	}
	for k, v := range base {
		doc[k] = v
	}
	return doc
}

// set gives an attribute a value; nil removes a property.
func (m *image) set(c *auth.Identity, name string, value any) error {
	if slices.Contains(readOnly(), name) || strings.HasPrefix(name, "os_glance_") {
		return api.Forbidden("Attribute '%s' is read-only.", name)
	}
	switch name {
	case "name":
		return setText(name, value, &m.name, nil)
	case "container_format":
		return m.setFormat(name, value, &m.container, containerFormats())
	case "disk_format":
		return m.setFormat(name, value, &m.disk, diskFormats())
	case "visibility":
		v, _ := value.(string)
		if !slices.Contains(visibilities(), v) {
			return api.Invalid("visibility is %v, expected one of %s", value, strings.Join(visibilities(), ", "))
		}
		if v == "public" && !c.IsAdmin() {
			return api.Forbidden("You are not authorized to make an image public.")
		}
		m.visibility = v
		return nil
	case "owner":
		v, _ := value.(string)
		if v != m.owner && (!c.IsAdmin() || v == "") {
			return api.Forbidden("Attribute 'owner' may be set by administrators only.")
		}
		m.owner = v
		return nil
	case "protected":
		return setBool(name, value, &m.protected)
	case "os_hidden":
		return setBool(name, value, &m.hidden)
	case "min_disk":
		return setCount(name, value, &m.minDisk)
	case "min_ram":
		return setCount(name, value, &m.minRAM)
	case "tags":
		return m.setTags(value)
	}
	return m.setProperty(name, value)
}

func setText(name string, value any, to **string, allowed []string) error {
	if value == nil {
		*to = nil
		return nil
	}
	v, ok := value.(string)
	if !ok || len(v) > 255 {
		return api.Invalid("%s is %v, expected a string of at most 255 bytes or null", name, value)
	}
	if allowed != nil && !slices.Contains(allowed, v) {
		return api.Invalid("%s is %q, expected one of %s", name, v, strings.Join(allowed, ", "))
	}
	*to = &v
	return nil
}

// setFormat guards the formats the data was checked against.
func (m *image) setFormat(name string, value any, to **string, allowed []string) error {
	if m.status != "queued" {
		return api.Forbidden("Attribute '%s' can only be changed while the image is queued.", name)
	}
	return setText(name, value, to, allowed)
}

func setBool(name string, value any, to *bool) error {
	v, ok := value.(bool)
	if !ok {
		return api.Invalid("%s is %v, expected true or false", name, value)
	}
	*to = v
	return nil
}

func setCount(name string, value any, to *int64) error {
	v, ok := value.(float64)
	if !ok || v < 0 || v > 1<<31 || v != float64(int64(v)) {
		return api.Invalid("%s is %v, expected a non-negative integer", name, value)
	}
	*to = int64(v)
	return nil
}

func (m *image) setTags(value any) error {
	list, ok := value.([]any)
	if !ok || len(list) > maxTags {
		return api.Invalid("tags is %v, expected a list of at most %d strings", value, maxTags)
	}
	m.tags = []string{}
	for _, t := range list {
		s, ok := t.(string)
		if !ok || s == "" || len(s) > 255 {
			return api.Invalid("tag %v is not a string of 1 to 255 bytes", t)
		}
		if !slices.Contains(m.tags, s) {
			m.tags = append(m.tags, s)
		}
	}
	slices.Sort(m.tags)
	return nil
}

func (m *image) setProperty(name string, value any) error {
	if name == "" || len(name) > 255 {
		return api.Invalid("a property's name has 1 to 255 bytes")
	}
	switch v := value.(type) {
	case nil:
		delete(m.properties, name)
	case string:
		if len(v) > maxText {
			return api.Invalid("property %s is longer than %d bytes", name, maxText)
		}
		m.properties[name] = v
	default:
		return api.Invalid("property %s is a %T, expected a string", name, value)
	}
	if len(m.properties) > maxProperties {
		return api.TooLarge("an image has at most %d properties", maxProperties)
	}
	return nil
}

// create answers POST /v2/images.
func (s *Service) create(w http.ResponseWriter, r *http.Request) error {
	var doc document
	if err := readJSON(w, r, &doc); err != nil {
		return err
	}
	c := caller(r)
	now := s.now()
	m := &image{
		id: uuid.NewString(), owner: c.ProjectID, visibility: "shared", status: "queued",
		tags: []string{}, properties: map[string]string{}, created: now, updated: now,
	}
	if v, ok := doc["id"]; ok {
		id, _ := v.(string)
		parsed, err := uuid.Parse(id)
		if err != nil {
			return api.Invalid("id is %v, expected a UUID", v)
		}
		m.id = parsed.String()
		delete(doc, "id")
	}
	for name, value := range doc {
		if err := m.set(c, name, value); err != nil {
			return err
		}
	}
	if m.owner == "" {
		return api.Invalid("an image belongs to a project: the token is not scoped to one")
	}
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if _, err := get(tx, m.id); err == nil {
			return api.Conflict("Image ID %s already exists!", m.id)
		}
		if err := insert(tx, m); err != nil {
			return err
		}
		return s.tell(tx, m, "image.create")
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", s.cfg.BaseURL+"/v2/images/"+m.id)
	w.Header().Set("OpenStack-image-import-methods", importMethods)
	return api.WriteJSON(w, http.StatusCreated, m.document())
}

func (s *Service) show(w http.ResponseWriter, r *http.Request) error {
	var m *image
	err := s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		m, err = visible(tx, caller(r), r.PathValue("id"))
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, m.document())
}

// change is one operation of a JSON patch.
type change struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// update answers PATCH with application/openstack-images-v2.1-json-patch, and
// with the older v2.0 whose operations are {"replace": "/path", "value": …}.
func (s *Service) update(w http.ResponseWriter, r *http.Request) error {
	changes, err := readPatch(w, r)
	if err != nil {
		return err
	}
	var m *image
	err = s.db.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if m, err = changeable(tx, caller(r), r.PathValue("id")); err != nil {
			return err
		}
		for _, ch := range changes {
			if err := m.apply(caller(r), ch); err != nil {
				return err
			}
		}
		s.cfg.Bus.PublishTx(tx, "image/"+m.id)
		if err := s.tell(tx, m, "image.update"); err != nil {
			return err
		}
		return s.save(tx, m)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, m.document())
}

func readPatch(w http.ResponseWriter, r *http.Request) ([]change, error) {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch strings.TrimSpace(kind) {
	case "application/openstack-images-v2.1-json-patch":
		var changes []change
		err := readJSON(w, r, &changes)
		return changes, err
	case "application/openstack-images-v2.0-json-patch":
		var old []map[string]json.RawMessage
		if err := readJSON(w, r, &old); err != nil {
			return nil, err
		}
		var changes []change
		for _, o := range old {
			for _, op := range []string{"add", "replace", "remove"} {
				if raw, ok := o[op]; ok {
					ch := change{Op: op, Value: o["value"]}
					if err := api.DecodeJSON(raw, &ch.Path); err != nil {
						return nil, err
					}
					changes = append(changes, ch)
				}
			}
		}
		return changes, nil
	}
	return nil, api.Invalid("Content-Type is %q, expected application/openstack-images-v2.1-json-patch", kind)
}

func (m *image) apply(c *auth.Identity, ch change) error {
	name, ok := strings.CutPrefix(ch.Path, "/")
	if !ok || strings.Contains(name, "/") {
		return api.Invalid("patch path is %q, expected /ATTRIBUTE", ch.Path)
	}
	name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
	base := slices.Contains(baseAttributes(), name)
	_, exists := m.properties[name]
	switch ch.Op {
	case "add", "replace":
		if ch.Op == "replace" && !base && !exists && !slices.Contains(readOnly(), name) {
			return api.Conflict("Property %s does not exist.", name)
		}
		var value any
		if err := api.DecodeJSON(ch.Value, &value); err != nil {
			return err
		}
		if value == nil && !base {
			return api.Invalid("property %s is null, expected a string", name)
		}
		return m.set(c, name, value)
	case "remove":
		switch {
		case slices.Contains(readOnly(), name):
			return api.Forbidden("Attribute '%s' is read-only.", name)
		case base:
			return api.Forbidden("Property %s may not be removed.", name)
		case !exists:
			return api.Conflict("Property %s does not exist.", name)
		}
		return m.set(c, name, nil)
	}
	return api.Invalid("patch operation is %q, expected add, replace or remove", ch.Op)
}

func baseAttributes() []string {
	return []string{"id", "name", "container_format", "disk_format", "visibility", "owner", "protected", "os_hidden", "min_disk", "min_ram", "tags"}
}

// delete answers DELETE /v2/images/{id}.
func (s *Service) delete(w http.ResponseWriter, r *http.Request) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		m, err := changeable(tx, caller(r), r.PathValue("id"))
		if err != nil {
			return err
		}
		if m.protected {
			return api.Forbidden("Image %s is protected and cannot be deleted.", m.id)
		}
		if _, err := tx.Exec(`DELETE FROM image_images WHERE id = ?`, m.id); err != nil {
			return err
		}
		if err := s.tell(tx, m, "image.delete"); err != nil {
			return err
		}
		if m.status == "saving" || m.status == "uploading" || m.status == "importing" && m.blobKey != "" {
			return nil // who receives the data finds the image gone
		}
		s.cfg.Bus.PublishTx(tx, "image/"+m.id)
		at := s.now().Add(time.Second) // readers that have looked it up still open it
		if err := s.dropConversion(tx, m.blobKey, at); err != nil {
			return err
		}
		return s.discard(tx, m.blobKey, at)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) addTag(w http.ResponseWriter, r *http.Request) error {
	return s.editTags(w, r, func(m *image, tag string) error {
		if slices.Contains(m.tags, tag) {
			return nil
		}
		list := []any{tag}
		for _, t := range m.tags {
			list = append(list, t)
		}
		return m.setTags(list)
	})
}

func (s *Service) removeTag(w http.ResponseWriter, r *http.Request) error {
	return s.editTags(w, r, func(m *image, tag string) error {
		i := slices.Index(m.tags, tag)
		if i < 0 {
			return api.NotFound("image %s has no tag %q", m.id, tag)
		}
		m.tags = slices.Delete(m.tags, i, i+1)
		return nil
	})
}

func (s *Service) editTags(w http.ResponseWriter, r *http.Request, edit func(*image, string) error) error {
	err := s.db.Tx(r.Context(), func(tx *store.Tx) error {
		m, err := changeable(tx, caller(r), r.PathValue("id"))
		if err != nil {
			return err
		}
		if err := edit(m, r.PathValue("tag")); err != nil {
			return err
		}
		return s.save(tx, m)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
