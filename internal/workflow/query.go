package workflow

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/yaql"
)

// columnKind says how a filter's text is compared with a column.
type columnKind int

const (
	kindText columnKind = iota
	kindTime            // microseconds; the text is a time
	kindBool            // 0 or 1
	kindTags            // a JSON list of strings
	kindJSON            // a JSON document, encrypted: compared here, not by the database
)

// column is a field of a resource that can be filtered and sorted by.
type column struct {
	sql  string
	kind columnKind
	// doc is the member of the row's JSON document that holds the field, when it
	// has no column of its own; sql is the document's column then.
	doc string
}

func (c column) expr(tx *store.Tx) string {
	switch {
	case c.doc == "":
		return c.sql
	case tx.Shared():
		return fmt.Sprintf(`COALESCE(CAST(%s AS json) ->> '%s', '')`, c.sql, c.doc)
	}
	return fmt.Sprintf(`COALESCE(json_extract(%s, '$.%s'), '')`, c.sql, c.doc)
}

// listing is how a kind of resource is listed.
type listing struct {
	key     string // of the answer: "executions"
	from    string // tables
	selects string // columns for scan
	id      string // the id's column
	sort    string // default sort key
	columns map[string]column
	scan    func(tx *store.Tx, scan func(...any) error) (*yaql.Map, error)
}

// plain makes a listing's scan of one that has no encrypted columns to open.
func plain(scan func(scan func(...any) error) (*yaql.Map, error)) func(*store.Tx, func(...any) error) (*yaql.Map, error) {
	return func(_ *store.Tx, row func(...any) error) (*yaql.Map, error) { return scan(row) }
}

// listParam says which query parameters are no filters.
func listParam(key string) bool {
	switch key {
	case "limit", "marker", "sort_keys", "sort_dirs", "fields", "all_projects", "include_output", "nulls", "max_depth", "errors_only":
		return true
	}
	return false
}

// paging is the checked form of Mistral's parameters of lists.
type paging struct {
	limit      int
	marker     string
	keys, dirs []string
	fields     []string
}

// parsePaging reads the parameters with Mistral's rules and faults: the id is
// the last sort key, so that pages neither overlap nor leave gaps.
func parsePaging(q url.Values, def string) (*paging, error) {
	p := &paging{marker: q.Get("marker"), fields: words(q["fields"])}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, api.Invalid("Invalid input for field/attribute limit. Value: '%s'. unable to convert to int", s)
		}
		if n <= 0 {
			return nil, api.Invalid("Limit must be positive")
		}
		p.limit = n
	}
	for _, k := range words(q["sort_keys"]) {
		if !slices.Contains(p.keys, k) {
			p.keys = append(p.keys, k)
		}
	}
	p.dirs = words(q["sort_dirs"])
	if len(p.keys) == 0 {
		p.keys = []string{def}
	}
	if len(p.dirs) > len(p.keys) {
		return nil, api.Invalid("Length of sort_keys must be equal or greater than sort_dirs.")
	}
	for i, d := range p.dirs {
		p.dirs[i] = strings.ToLower(d)
		if p.dirs[i] != "asc" && p.dirs[i] != "desc" {
			return nil, api.Invalid("Unknown sort direction, must be 'desc' or 'asc', not '%s'.", d)
		}
	}
	for len(p.dirs) < len(p.keys) {
		p.dirs = append(p.dirs, "asc")
	}
	if !slices.Contains(p.keys, "id") {
		p.keys, p.dirs = append(p.keys, "id"), append(p.dirs, "asc")
	}
	return p, nil
}

func words(values []string) []string {
	var out []string
	for _, v := range values {
		for w := range strings.SplitSeq(v, ",") {
			if w = strings.TrimSpace(w); w != "" {
				out = append(out, w)
			}
		}
	}
	return out
}

// reply lists a resource: what where allows, filtered, sorted and paged by the
// request's parameters, all in the database.
func (s *Service) reply(w http.ResponseWriter, r *http.Request, l *listing, where string, args ...any) error {
	q := r.URL.Query()
	p, err := parsePaging(q, l.sort)
	if err != nil {
		return err
	}
	var items []*yaql.Map
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		query := &query{tx: tx, l: l, args: args, where: []string{"(" + where + ")"}}
		if err := query.filter(q); err != nil {
			return err
		}
		if err := query.page(p); err != nil {
			return err
		}
		items, err = query.rows(p)
		return err
	})
	if err != nil {
		return err
	}
	out := yaql.NewMap(2)
	next := ""
	if p.limit > 0 && len(items) > p.limit {
		items = items[:p.limit]
		q.Set("marker", fmt.Sprint(items[p.limit-1].Value("id")))
		q.Set("sort_keys", strings.Join(p.keys, ","))
		q.Set("sort_dirs", strings.Join(p.dirs, ","))
		next = s.cfg.BaseURL + r.URL.Path + "?" + strings.ReplaceAll(q.Encode(), "%2C", ",")
	}
	list := make([]any, len(items))
	for i, it := range items {
		list[i] = selected(it, p.fields)
	}
	out.Set(l.key, list)
	if next != "" {
		out.Set("next", next)
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

// selected keeps the wished fields of a resource, and its id.
func selected(m *yaql.Map, fields []string) *yaql.Map {
	if len(fields) == 0 {
		return m
	}
	out := yaql.NewMap(len(fields) + 1)
	for _, f := range append([]string{"id"}, fields...) {
		if v, ok := m.Get(f); ok {
			out.Set(f, v)
		}
	}
	return out
}

// query is a SELECT in the making.
type query struct {
	tx    *store.Tx
	l     *listing
	where []string
	args  []any
	docs  []docFilter
}

// docFilter is a condition on an encrypted column.
type docFilter struct {
	expr, owner string
	holds       func(text string) bool
}

var errEnough = errors.New("the page is full")

// rows runs the query. Conditions on encrypted columns are checked here, row by
// row until the page is full.
func (q *query) rows(p *paging) ([]*yaql.Map, error) {
	items := []*yaql.Map{}
	err := q.tx.Each(func(scan func(...any) error) error {
		texts, more := make([]string, len(q.docs)), make([]any, len(q.docs))
		for i, d := range q.docs {
			more[i] = q.tx.SealedText(&texts[i], d.owner)
		}
		m, err := q.l.scan(q.tx, func(dest ...any) error { return scan(append(dest, more...)...) })
		if err != nil {
			return err
		}
		for i, d := range q.docs {
			if !d.holds(texts[i]) {
				return nil
			}
		}
		if items = append(items, m); p.limit > 0 && len(items) > p.limit {
			return errEnough
		}
		return nil
	}, q.text(p), q.args...)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return items, err
}

func (q *query) text(p *paging) string {
	order := make([]string, len(p.keys))
	for i, k := range p.keys {
		order[i] = q.l.columns[k].expr(q.tx) + " " + p.dirs[i]
	}
	selects := q.l.selects
	for _, d := range q.docs {
		selects += ", " + d.expr
	}
	text := "SELECT " + selects + " FROM " + q.l.from + " WHERE " + strings.Join(q.where, " AND ") + " ORDER BY " + strings.Join(order, ", ")
	if p.limit > 0 && len(q.docs) == 0 {
		text += " LIMIT " + strconv.Itoa(p.limit+1)
	}
	return text
}

// filter adds the conditions of the parameters: "name=x" or "name=op:x" with
// eq, neq, gt, gte, lt, lte, has, in, nin; tags must all be there. "nulls"
// names fields that must be empty.
func (q *query) filter(params url.Values) error {
	for _, key := range words([]string{strings.Trim(params.Get("nulls"), "[]")}) {
		c, ok := q.l.columns[strings.Trim(key, `'" `)]
		if !ok {
			return api.Invalid("Unknown attribute: %s", key)
		}
		if c.kind == kindJSON {
			q.docs = append(q.docs, docFilter{c.expr(q.tx), q.owner(c), func(text string) bool { return text == "" || text == "null" }})
			continue
		}
		q.where = append(q.where, c.expr(q.tx)+" = ''")
	}
	for key, values := range params {
		if listParam(key) {
			continue
		}
		c, ok := q.l.columns[key]
		if !ok {
			return api.Invalid("Unknown attribute: %s", key)
		}
		for _, v := range values {
			if err := q.condition(key, c, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// operator splits "gt:5"; without a known operator the text is the value.
func operator(text string) (op, value string) {
	op, value, found := strings.Cut(text, ":")
	switch op {
	case "eq", "neq", "gt", "gte", "lt", "lte", "has", "in", "nin":
		if found {
			return op, value
		}
	}
	return "eq", text
}

func (q *query) condition(key string, c column, text string) error {
	op, value := operator(text)
	expr := c.expr(q.tx)
	values := []string{value}
	if op == "in" || op == "nin" || c.kind == kindTags {
		values = strings.Split(value, ",")
	}
	if c.kind == kindTags {
		return q.tags(expr, op, values)
	}
	if c.kind == kindTime {
		expr += " / 1000000" // the API shows whole seconds
	}
	args := make([]any, len(values))
	for i, v := range values {
		var err error
		if args[i], err = c.argument(key, v); err != nil {
			return err
		}
	}
	if c.kind == kindJSON {
		q.docs = append(q.docs, docFilter{expr, q.owner(c), comparison(op, value, args)})
		return nil
	}
	switch op {
	case "in":
		q.add(expr+" IN "+store.In(len(args)), args...)
	case "nin":
		q.add(expr+" NOT IN "+store.In(len(args)), args...)
	case "has":
		q.add(expr+` LIKE ? ESCAPE '\'`, "%"+escapeLike(value)+"%")
	default:
		q.add(expr+map[string]string{"eq": " = ?", "neq": " <> ?", "gt": " > ?", "gte": " >= ?", "lt": " < ?", "lte": " <= ?"}[op], args...)
	}
	return nil
}

// owner is the name under which a column is encrypted.
func (q *query) owner(c column) string {
	table, _, _ := strings.Cut(q.l.from, " ")
	return table + "." + c.sql[strings.LastIndexByte(c.sql, '.')+1:]
}

// comparison is what a filter says of a column that the database cannot read.
func comparison(op, value string, args []any) func(text string) bool {
	switch op {
	case "in":
		return func(text string) bool { return slices.Contains(args, any(text)) }
	case "nin":
		return func(text string) bool { return !slices.Contains(args, any(text)) }
	case "has":
		return func(text string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(value)) }
	}
	want, _ := args[0].(string)
	return func(text string) bool {
		c := strings.Compare(text, want)
		return map[string]bool{"eq": c == 0, "neq": c != 0, "gt": c > 0, "gte": c >= 0, "lt": c < 0, "lte": c <= 0}[op]
	}
}

func (q *query) add(cond string, args ...any) {
	q.where = append(q.where, cond)
	q.args = append(q.args, args...)
}

// tags wants all of the tags, or with neq and nin none of them.
func (q *query) tags(expr, op string, values []string) error {
	not := ""
	if op == "neq" || op == "nin" {
		not = " NOT"
	}
	for _, v := range values {
		b, err := yaql.JSON(v)
		if err != nil {
			return err
		}
		q.add(expr+not+` LIKE ? ESCAPE '\'`, "%"+escapeLike(string(b))+"%")
	}
	return nil
}

func escapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

// argument turns a filter's text into what the column is compared with.
func (c column) argument(key, v string) (any, error) {
	switch c.kind {
	case kindTime:
		at, err := parseMoment(v)
		if err != nil {
			return nil, api.Invalid("%s %q is not a time of the form YYYY-MM-DD HH:MM:SS", key, v)
		}
		return at.Unix(), nil
	case kindBool:
		b, err := strconv.ParseBool(v)
		if err != nil {
			return nil, api.Invalid("%s %q is not a boolean", key, v)
		}
		if b {
			return int64(1), nil
		}
		return int64(0), nil
	case kindJSON:
		data, err := yaql.ParseJSON([]byte(v))
		if err != nil {
			return nil, api.Invalid("%s is not valid JSON: %v", key, err)
		}
		return jsonText(data)
	}
	if v == "null" {
		return "", nil
	}
	return v, nil
}

// page checks the sort keys and starts behind the marker.
func (q *query) page(p *paging) error {
	exprs := make([]string, len(p.keys))
	for i, k := range p.keys {
		c, ok := q.l.columns[k]
		if !ok {
			return api.Invalid("Unknown sort key '%s'", k)
		}
		if c.kind == kindJSON {
			return api.Invalid("'%s' is no sort key: it is a document, and encrypted", k)
		}
		exprs[i] = c.expr(q.tx)
	}
	if p.marker == "" {
		return nil
	}
	at, dest := make([]any, len(exprs)), make([]any, len(exprs))
	for i := range at {
		dest[i] = &at[i]
	}
	err := q.tx.QueryRow("SELECT "+strings.Join(exprs, ", ")+" FROM "+q.l.from+" WHERE "+q.l.id+" = ?", p.marker).Scan(dest...)
	if err != nil {
		return api.NotFound("The marker %s is not in the list", p.marker)
	}
	var alternatives []string
	for i, e := range exprs {
		var parts []string
		for j := range i {
			parts = append(parts, exprs[j]+" = ?")
			q.args = append(q.args, at[j])
		}
		op := " > ?"
		if p.dirs[i] == "desc" {
			op = " < ?"
		}
		parts = append(parts, e+op)
		q.args = append(q.args, at[i])
		alternatives = append(alternatives, "("+strings.Join(parts, " AND ")+")")
	}
	q.where = append(q.where, "("+strings.Join(alternatives, " OR ")+")")
	return nil
}

func parseMoment(s string) (time.Time, error) {
	var t time.Time
	var err error
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339} {
		if t, err = time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return t, err
}
