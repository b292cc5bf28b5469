package identity

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// newID returns an id as Keystone makes them: 32 hexadecimal digits.
func newID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

type fieldType int

const (
	text fieldType = iota
	boolean
)

// field is one attribute with a column of its own. Attributes without one are
// kept together in the column extra, as Keystone does.
type field struct {
	name      string
	typ       fieldType
	required  bool
	immutable bool
	def       any  // value when a create request gives none
	clientID  bool // id only: the client may choose it
	max       int  // characters; 0: only the body's bound
}

// entity is a kind of Keystone resource: a table, a path and the rules the
// kinds differ in. All of them are answered by the methods below.
type entity struct {
	s                       *Service
	singular, plural, table string
	path                    string // of the collection below /v3/; "" is plural
	putID                   bool   // made by PUT under an id of the client's choice
	inDomain                bool   // belongs to a domain, by default the caller's
	fields                  []field
	listed                  func(r *http.Request, doc document) bool  // whether a list shows a document; nil: each
	asked                   func(r *http.Request, doc document) error // of what a request says, before it is looked at
	incoming                func(tx *store.Tx, old, doc document) error
	changed                 func(tx *store.Tx, old, doc document) error // after update
	deleting                func(tx *store.Tx, doc document) error
	show                    func(doc document) // before a document leaves
	hide                    func(doc document) // the same, but not for who has just made it
	links                   []string           // collections below a document
	openlyMissing           []string           // verbs that answer 404 for what is not there before they ask who wants to know, as Keystone's do
	sealed                  string             // the field that is encrypted at rest; see sealed.go
}

// kind is the word for it in rules and actions.
func (e *entity) kind() string { return e.singular }

func (e *entity) collection() string {
	if e.path != "" {
		return e.path
	}
	return e.plural
}

func (e *entity) field(name string) *field {
	for i := range e.fields {
		if e.fields[i].name == name {
			return &e.fields[i]
		}
	}
	return nil
}

func (e *entity) columns() string {
	names := make([]string, 0, len(e.fields)+1)
	for _, f := range e.fields {
		names = append(names, f.name)
	}
	return strings.Join(append(names, "extra"), ", ")
}

// scan reads a row of columns() into a document.
func (e *entity) scan(scan func(...any) error) (document, error) {
	texts := make([]sql.NullString, len(e.fields))
	bools := make([]int64, len(e.fields))
	doc := document{}
	dest := make([]any, 0, len(e.fields)+1)
	for i, f := range e.fields {
		if f.typ == boolean {
			dest = append(dest, &bools[i])
		} else {
			dest = append(dest, &texts[i])
		}
	}
	if err := scan(append(dest, store.JSON(&doc))...); err != nil {
		return nil, store.Wrap(err)
	}
	for i, f := range e.fields {
		switch {
		case f.typ == boolean:
			doc[f.name] = bools[i] != 0
		case texts[i].Valid:
			doc[f.name] = texts[i].String
		default:
			doc[f.name] = nil
		}
	}
	return doc, e.unsealed(doc)
}

func (e *entity) get(tx *store.Tx, id string) (document, error) {
	doc, err := e.scan(tx.QueryRow(`SELECT `+e.columns()+` FROM `+e.table+` WHERE id = ?`, id).Scan)
	if err != nil {
		return nil, e.notFound(err, id)
	}
	return doc, nil
}

func (e *entity) notFound(err error, id string) error {
	if isNotFound(err) {
		return api.NotFound("Could not find %s: %s.", e.singular, id).Wrap(err)
	}
	return err
}

// find returns the only document with the given column values.
func (e *entity) find(tx *store.Tx, where string, args ...any) (document, error) {
	return e.scan(tx.QueryRow(`SELECT `+e.columns()+` FROM `+e.table+` WHERE `+where, args...).Scan)
}

func (e *entity) list(tx *store.Tx, where string, args ...any) ([]document, error) {
	out := []document{}
	err := tx.Each(func(scan func(...any) error) error {
		doc, err := e.scan(scan)
		out = append(out, doc)
		return err
	}, `SELECT `+e.columns()+` FROM `+e.table+where, args...)
	return out, err
}

// values splits a document into column values, the last being extra.
func (e *entity) values(doc document) ([]any, error) {
	doc = e.sealing(doc)
	extra := document{}
	for k, v := range doc {
		if e.field(k) == nil && k != "links" {
			extra[k] = v
		}
	}
	out := make([]any, 0, len(e.fields)+1)
	for _, f := range e.fields {
		switch v := doc[f.name].(type) {
		case nil:
			if f.typ == boolean {
				return nil, api.Invalid("%s.%s is null, expected true or false", e.singular, f.name)
			}
			out = append(out, nil)
		case bool:
			if f.typ != boolean {
				return nil, api.Invalid("%s.%s is a boolean, expected a string", e.singular, f.name)
			}
			n := int64(0)
			if v {
				n = 1
			}
			out = append(out, n)
		case string:
			if f.typ == boolean {
				return nil, api.Invalid("%s.%s is %q, expected true or false", e.singular, f.name, v)
			}
			out = append(out, v)
		default:
			return nil, api.Invalid("%s.%s is a %T, expected a string or boolean", e.singular, f.name, v)
		}
	}
	return append(out, store.JSON(extra)), nil
}

func (e *entity) insert(tx *store.Tx, doc document) error {
	values, err := e.values(doc)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO `+e.table+` (`+e.columns()+`) VALUES `+store.In(len(values)), values...)
	return e.conflict(err, doc)
}

func (e *entity) save(tx *store.Tx, doc document) error {
	values, err := e.values(doc)
	if err != nil {
		return err
	}
	set := strings.ReplaceAll(e.columns(), ", ", " = ?, ") + " = ?"
	_, err = tx.Exec(`UPDATE `+e.table+` SET `+set+` WHERE id = ?`, append(values, doc["id"])...)
	return e.conflict(err, doc)
}

func (e *entity) conflict(err error, doc document) error {
	if isConflict(err) {
		return api.Conflict("Conflict occurred attempting to store %s - Duplicate entry found with name or id %v.", e.singular, doc["name"]).Wrap(err)
	}
	return err
}

func (e *entity) decode(r *http.Request) (document, error) {
	var body map[string]json.RawMessage
	if err := api.ReadJSON(r, &body); err != nil {
		return nil, err
	}
	raw, ok := body[e.singular]
	if !ok {
		return nil, api.Invalid("the request body has no %q", e.singular)
	}
	var doc document
	if err := api.DecodeJSON(raw, &doc); err != nil {
		return nil, err
	}
	if doc == nil {
		return nil, api.Invalid("%q is null, expected an object", e.singular)
	}
	delete(doc, "links")
	if e.asked != nil {
		return doc, e.asked(r, doc)
	}
	return doc, nil
}

// fill gives the defaults of a new document and checks what is required.
func (e *entity) fill(doc document) error {
	for _, f := range e.fields {
		if f.name == "id" {
			if id, _ := doc["id"].(string); !f.clientID || id == "" {
				doc["id"] = newID()
			}
			continue
		}
		if _, ok := doc[f.name]; !ok {
			doc[f.name] = f.def
		}
		if v, _ := doc[f.name].(string); f.required && strings.TrimSpace(v) == "" {
			return api.Invalid("%s.%s is required and may not be empty", e.singular, f.name)
		}
		if v, ok := doc[f.name].(string); ok && f.max > 0 && utf8.RuneCountInString(v) > f.max {
			return api.Invalid("%s.%s is longer than %d characters", e.singular, f.name, f.max)
		}
	}
	return nil
}

func (e *entity) reply(w http.ResponseWriter, status int, doc document) error {
	return api.WriteJSON(w, status, document{e.singular: e.present(doc)})
}

func (e *entity) present(doc document) document {
	if e.hide != nil {
		e.hide(doc)
	}
	return e.presentNew(doc)
}

func (e *entity) presentNew(doc document) document {
	if e.show != nil {
		e.show(doc)
	}
	id, _ := doc["id"].(string)
	self := e.s.base + "/" + e.collection() + "/" + url.PathEscape(id)
	links := document{"self": self}
	for _, l := range e.links {
		links[l] = self + "/" + l
	}
	doc["links"] = links
	return doc
}

func (e *entity) replyList(w http.ResponseWriter, r *http.Request, docs []document) error {
	for _, d := range docs {
		e.present(d)
	}
	return api.WriteJSON(w, http.StatusOK, document{e.plural: docs, "links": e.s.listLinks(r)})
}

func (s *Service) listLinks(r *http.Request) document {
	return document{"self": strings.TrimSuffix(s.base, "/v3") + r.URL.RequestURI(), "previous": nil, "next": nil}
}

func (e *entity) handleCreate(w http.ResponseWriter, r *http.Request) error {
	doc, err := e.decode(r)
	if err != nil {
		return err
	}
	if e.putID {
		doc["id"] = r.PathValue("id")
	}
	if e.inDomain && str(doc["domain_id"]) == "" && str(doc["parent_id"]) == "" {
		doc["domain_id"] = homeDomain(r)
	}
	err = e.s.db.Tx(r.Context(), func(tx *store.Tx) error {
		if err := e.fill(doc); err != nil {
			return err
		}
		if e.incoming != nil {
			if err := e.incoming(tx, nil, doc); err != nil {
				return err
			}
		}
		return e.insert(tx, doc)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, document{e.singular: e.presentNew(doc)})
}

func (e *entity) handleGet(w http.ResponseWriter, r *http.Request) error {
	var doc document
	err := e.s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		doc, err = e.get(tx, r.PathValue("id"))
		return err
	})
	if err != nil {
		return err
	}
	return e.reply(w, http.StatusOK, doc)
}

func (e *entity) handleList(w http.ResponseWriter, r *http.Request) error {
	var docs []document
	where, args, err := e.filters(r.URL.Query())
	if err != nil {
		return err
	}
	err = e.s.db.View(r.Context(), func(tx *store.Tx) (err error) {
		docs, err = e.list(tx, where+" ORDER BY id", args...)
		return err
	})
	if err != nil {
		return err
	}
	return e.replyList(w, r, e.shown(r, docs))
}

// shown keeps what the caller may see of a list: who is scoped to a domain sees
// what belongs to it.
func (e *entity) shown(r *http.Request, docs []document) []document {
	domain := caller(r).DomainID
	return slices.DeleteFunc(docs, func(d document) bool {
		return e.inDomain && domain != "" && d["domain_id"] != domain || e.listed != nil && !e.listed(r, d)
	})
}

// homeDomain is the domain of what a caller makes without naming one.
func homeDomain(r *http.Request) string {
	if d := caller(r).DomainID; d != "" {
		return d
	}
	return defaultDomain
}

// filters turns query parameters into a WHERE clause: "name=x" and Keystone's
// inexact forms such as "name__contains=x". Unknown parameters are ignored.
func (e *entity) filters(q url.Values) (string, []any, error) {
	where, args := "", []any{}
	add := func(cond string, arg any) {
		if where == "" {
			where = " WHERE "
		} else {
			where += " AND "
		}
		where += cond
		args = append(args, arg)
	}
	escape := strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace
	for _, f := range e.fields {
		if e.sealed != "" && (f.name == e.sealed || f.name == keyColumn) {
			continue // what is encrypted cannot be looked for
		}
		for _, op := range []string{"", "__contains", "__icontains", "__startswith", "__istartswith", "__endswith", "__iendswith"} {
			values, ok := q[f.name+op]
			if !ok {
				continue
			}
			v := values[0]
			column := f.name
			if strings.HasPrefix(op, "__i") {
				column, v = "LOWER("+column+")", strings.ToLower(v)
			}
			switch {
			case f.typ == boolean:
				b, err := parseBool(v)
				if err != nil {
					return "", nil, api.Invalid("query parameter %s is %q, expected true or false", f.name, v)
				}
				add(column+" = ?", b)
			case op == "":
				add(column+" = ?", v)
			case strings.HasSuffix(op, "contains"):
				add(column+" LIKE ? ESCAPE '!'", "%"+escape(v)+"%")
			case strings.HasSuffix(op, "startswith"):
				add(column+" LIKE ? ESCAPE '!'", escape(v)+"%")
			default:
				add(column+" LIKE ? ESCAPE '!'", "%"+escape(v))
			}
		}
	}
	return where, args, nil
}

func parseBool(v string) (int64, error) {
	if v == "" {
		return 1, nil // "?enabled" means true
	}
	b, err := strconv.ParseBool(strings.ToLower(v))
	if err != nil {
		return 0, fmt.Errorf("boolean: %w", err)
	}
	if b {
		return 1, nil
	}
	return 0, nil
}

func (e *entity) handleUpdate(w http.ResponseWriter, r *http.Request) error {
	patch, err := e.decode(r)
	if err != nil {
		return err
	}
	doc, err := e.update(r, patch)
	if err != nil {
		return err
	}
	return e.reply(w, http.StatusOK, doc)
}

// update changes the attributes of a document that patch names.
func (e *entity) update(r *http.Request, patch document) (document, error) {
	var doc document
	err := e.s.db.Tx(r.Context(), func(tx *store.Tx) error {
		old, err := e.get(tx, r.PathValue("id"))
		if err != nil {
			return err
		}
		doc = document{}
		for k, v := range old {
			doc[k] = v
		}
		for k, v := range patch {
			f := e.field(k)
			if (k == "id" || f != nil && f.immutable) && v != old[k] {
				return api.Invalid("%s.%s cannot be changed", e.singular, k)
			}
			text, _ := v.(string)
			if f != nil && f.required && strings.TrimSpace(text) == "" {
				return api.Invalid("%s.%s is required and may not be empty", e.singular, k)
			}
			if f != nil && f.max > 0 && utf8.RuneCountInString(text) > f.max {
				return api.Invalid("%s.%s is longer than %d characters", e.singular, k, f.max)
			}
			doc[k] = v
		}
		if e.incoming != nil {
			if err := e.incoming(tx, old, doc); err != nil {
				return err
			}
		}
		if err := e.save(tx, doc); err != nil {
			return err
		}
		if e.changed != nil {
			return e.changed(tx, old, doc)
		}
		return nil
	})
	return doc, err
}

func (e *entity) handleDelete(w http.ResponseWriter, r *http.Request) error {
	err := e.s.db.Tx(r.Context(), func(tx *store.Tx) error {
		doc, err := e.get(tx, r.PathValue("id"))
		if err != nil {
			return err
		}
		return e.remove(tx, doc)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (e *entity) remove(tx *store.Tx, doc document) error {
	if e.deleting != nil {
		if err := e.deleting(tx, doc); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`DELETE FROM `+e.table+` WHERE id = ?`, doc["id"])
	return err
}
