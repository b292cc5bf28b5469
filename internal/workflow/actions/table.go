package actions

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/yaql"
)

// The table of the OpenStack actions, one file a project, one line an action:
// what the project's Python client sends for the method of that name. The tables
// are made by testdata/record.py and testdata/tables.py; rows and corrections by
// hand go into testdata/overlay.json, which tables.py lays over the rest.
//
//go:embed table/*.json
var tables embed.FS

// project is an OpenStack project that has actions.
type project struct {
	name    string   // of the actions: "nova"
	types   []string // of the catalog, the first found is used
	version string   // of the API, added to an endpoint that names none
	region  bool     // whether the actions take action_region
	objects bool     // whether the client returns objects with _info
}

func projects() []project {
	return []project{
		{name: "nova", types: []string{"compute"}, version: "v2.1", region: true, objects: true},
		{name: "glance", types: []string{"image"}, region: true},
		{name: "keystone", types: []string{"identity"}, version: "v3", objects: true},
		{name: "heat", types: []string{"orchestration"}, region: true},
		{name: "neutron", types: []string{"network"}, region: true},
		{name: "cinder", types: []string{"volumev3", "block-storage", "volume"}, region: true, objects: true},
		{name: "ironic", types: []string{"baremetal"}, region: true},
		{name: "mistral", types: []string{"workflowv2", "workflow"}, version: "v2"},
		{name: "barbican", types: []string{"key-manager"}},
		{name: "designate", types: []string{"dns"}, version: "v2", region: true},
		{name: "gnocchi", types: []string{"metric"}, region: true},
		{name: "aodh", types: []string{"alarming"}, region: true},
		{name: "magnum", types: []string{"container-infra"}, version: "v1"},
		{name: "manila", types: []string{"sharev2", "shared-file-system"}, objects: true},
		{name: "trove", types: []string{"database"}, region: true, objects: true},
		{name: "vitrage", types: []string{"rca"}},
		{name: "zun", types: []string{"container", "appcontainer"}},
		{name: "tacker", types: []string{"nfv-orchestration"}, region: true},
	}
}

// open returns the client of the project in a region ("" is the session's).
func (p project) open(c *Context, region string) (*gophercloud.ServiceClient, error) {
	if c.Session == nil {
		return nil, errNoSession
	}
	for _, kind := range p.types {
		base, err := c.Session.Provider.EndpointLocator(gophercloud.EndpointOpts{Type: kind, Region: region, Availability: gophercloud.AvailabilityPublic})
		if err != nil || base == "" {
			continue
		}
		s := &gophercloud.ServiceClient{ProviderClient: c.Session.Provider, Endpoint: strings.TrimSuffix(base, "/"), Type: kind}
		s.Microversion = map[string]string{"baremetal": "1.81", "sharev2": "2.55"}[kind]
		return s, nil
	}
	where := ""
	if region != "" {
		where = " of region " + region
	}
	return nil, fmt.Errorf("service %s is not in the catalog%s: %s actions need it", p.types[0], where, p.name)
}

// row is an action of the table. Texts hold parameters as {x}; a text that is
// nothing but {x} is the parameter's value, and is left out when that is null;
// {x|default} gives the default then (JSON). A dict under a key that ends in "?"
// is left out when it is empty. A parameter that has the default of the client's
// method counts as null, so that the template alone says what is sent for it.
type row struct {
	Name   string             `json:"name"`
	Input  string             `json:"input"` // as Mistral writes it: "server, limit=null, **kwargs"
	Method string             `json:"method"`
	Path   string             `json:"path"`
	Query  map[string]string  `json:"query"`
	Spread []string           `json:"spread"` // dicts whose items are the query
	If     map[string]variant `json:"if"`     // other paths, when a parameter is set, or not as by default
	Body   any                `json:"body"`
	Extra  string             `json:"extra"` // where **kwargs go: "query", "body", "body.KEY"; "" refuses them
	Bare   bool               `json:"bare"`  // an empty body is none
	Key    string             `json:"key"`   // of the answer, whose value is the result

	// Over are the fields of the object at Path that are not sent back: the body is
	// laid over the others. Nil sends the body alone.
	Over []string `json:"over"`

	Caller  map[string]string `json:"caller"`  // parameters that are the caller's own when they are null: "user" or "project"
	Resolve [][2]string       `json:"resolve"` // parameters that may be names, each with the list that has the id

	Version string `json:"version"` // of the API that the call needs, when it is not the oldest: "volume 3.27"
	Each    string `json:"each"`    // a list parameter: one request for each of its items

	Irregular []string `json:"irregular"` // parameters that have no plain place in the request: for [shapes], or refused
	Ignored   []string `json:"ignored"`   // parameters that the client was not seen to send: refused as well
}

type variant struct {
	Path  string            `json:"path"`
	Query map[string]string `json:"query"`
}

// parseInput reads a signature as Mistral writes it.
func parseInput(text string) (list []Param, extra bool) {
	for _, part := range splitInput(text) {
		name, def, opt := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case name == "":
		case strings.HasPrefix(name, "*"):
			extra = true
		case !opt:
			list = append(list, Req(name))
		default:
			v, err := yaql.ParseJSON([]byte(def))
			if err != nil {
				v = nil
			}
			list = append(list, Opt(name, v))
		}
	}
	return list, extra
}

// splitInput splits at the commas outside of brackets and strings.
func splitInput(text string) []string {
	var out []string
	depth, start, quoted := 0, 0, false
	for i, c := range text {
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
		case strings.ContainsRune("[{(", c):
			depth++
		case strings.ContainsRune("]})", c):
			depth--
		case c == ',' && depth == 0:
			out = append(out, text[start:i])
			start = i + 1
		}
	}
	return append(out, text[start:])
}

// tableActions returns the actions of the table.
func tableActions() []Action {
	var out []Action
	for _, p := range projects() {
		data, err := tables.ReadFile("table/" + p.name + ".json")
		if err != nil {
			panic(err) // embedded: a test calls this
		}
		var rows []row
		if err := json.Unmarshal(data, &rows); err != nil {
			panic(fmt.Errorf("table of %s: %w", p.name, err))
		}
		for _, r := range rows {
			out = append(out, r.action(p))
			if find := r.finders(p); find != nil {
				out = append(out, find...)
			}
		}
	}
	return append(out, aliases(out)...)
}

func (r row) action(p project) Action {
	input, extra := parseInput(r.Input)
	if p.region {
		input = append(input, Opt("action_region", ""))
	}
	return Action{Name: r.Name, Description: describe(r.Name), Input: input, Extra: extra, Once: r.Method == http.MethodPost,
		Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
			client, err := p.open(c, String(in, "action_region"))
			if err != nil {
				return nil, err
			}
			in = r.asCaller(c, in)
			if r.Each != "" {
				return nil, r.runEach(ctx, client, p, input, in)
			}
			return r.run(ctx, client, p, input, in)
		}}
}

// runEach sends a request for each item of the parameter r.Each.
func (r row) runEach(ctx context.Context, client *gophercloud.ServiceClient, p project, input []Param, in map[string]any) error {
	for _, item := range List(in, r.Each) {
		one := make(map[string]any, len(in))
		for k, v := range in {
			one[k] = v
		}
		one[r.Each] = item
		if _, err := r.run(ctx, client, p, input, one); err != nil {
			return err
		}
	}
	return nil
}

// asCaller fills in the caller's own ids.
func (r row) asCaller(c *Context, in map[string]any) map[string]any {
	for name, kind := range r.Caller {
		if yaql.Truth(in[name]) {
			continue
		}
		in[name] = map[string]any{"user": c.UserID, "project": c.ProjectID}[kind]
	}
	return in
}

// describe words an action by its name: "nova: servers list".
func describe(name string) string {
	service, verb, _ := strings.Cut(name, ".")
	words := strings.Split(verb, "_")
	return fmt.Sprintf("Calls %s of %s.", strings.Join(words, " "), service)
}

// call is a request made of a row and the input.
type call struct {
	method, path string
	query        url.Values
	body         any
	headers      map[string]string
}

// homely parameters say how the client works, not what it asks for.
func homely() []string {
	return []string{"retrieve_all", "allow_md5_fallback", "do_checksum", "refetch_metric", "image_size", "os_ironic_api_version", "global_request_id"}
}

// places are the parameters that have a place in the request.
func (r row) places() ([]string, error) {
	text, err := json.Marshal([]any{r.Path, r.Query, r.Body, r.If})
	if err != nil {
		return nil, err
	}
	out := append(homely(), r.Spread...)
	out = append(out, shapes()[r.Name].takes...)
	for name := range r.If {
		out = append(out, name)
	}
	for _, m := range mentioned.FindAllSubmatch(text, -1) {
		out = append(out, string(m[1]))
	}
	return out, nil
}

// refuse names a parameter that is given and would not be sent.
func (r row) refuse(input []Param, in map[string]any) error {
	places, err := r.places()
	if err != nil {
		return err
	}
	taken := shapes()[r.Name].takes
	for _, p := range input {
		v := in[p.Name]
		if p.Required || p.Name == "action_region" || v == nil || yaql.Str(v) == yaql.Str(p.Default) {
			continue
		}
		odd := slices.Contains(r.Irregular, p.Name) && !slices.Contains(taken, p.Name)
		if odd || !slices.Contains(places, p.Name) {
			return fmt.Errorf("%s: parameter %s is not supported: leave it out", r.Name, p.Name)
		}
	}
	return nil
}

func (r row) call(input []Param, in map[string]any) (*call, error) {
	defaults := make(map[string]any, len(input))
	for _, p := range input {
		defaults[p.Name] = p.Default
	}
	if err := r.refuse(input, in); err != nil {
		return nil, err
	}
	path, query := r.Path, map[string]string{}
	for k, v := range r.Query {
		query[k] = v
	}
	for _, name := range sortedKeys(r.If) {
		if yaql.Truth(in[name]) == yaql.Truth(defaults[name]) {
			continue
		}
		path = r.If[name].Path
		for k, v := range r.If[name].Query {
			query[k] = v
		}
	}
	all := in
	in = make(map[string]any, len(all))
	for _, p := range input {
		if v := all[p.Name]; p.Required || yaql.Str(v) != yaql.Str(p.Default) {
			in[p.Name] = v
		}
	}
	for name := range r.Caller {
		in[name] = all[name]
	}
	out := &call{method: r.Method, query: url.Values{}}
	var err error
	if out.path, err = fillPath(path, in); err != nil {
		return nil, fmt.Errorf("%s: %w", r.Name, err)
	}
	for k, tmpl := range query {
		if v, ok := fill(tmpl, in); ok {
			addQuery(out.query, k, v)
		}
	}
	for _, name := range r.Spread {
		for k, v := range Map(in, name) {
			addQuery(out.query, k, v)
		}
	}
	if r.Body != nil {
		out.body, _ = fill(r.Body, in)
	}
	if err := r.addExtra(out, defaults, all); err != nil {
		return nil, err
	}
	if m, ok := out.body.(map[string]any); ok && r.Bare && len(m) == 0 {
		out.body = nil
	}
	if r.Version != "" {
		out.header("OpenStack-API-Version", r.Version)
	}
	if id := String(all, "global_request_id"); id != "" {
		out.header("X-OpenStack-Request-ID", id)
	}
	if s, has := shapes()[r.Name]; has {
		if err := s.apply(out, in); err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	return out, nil
}

// addExtra puts what no parameter is named for where the client puts it.
func (r row) addExtra(c *call, known, in map[string]any) error {
	for k, v := range in {
		if _, named := known[k]; named || r.Caller[k] != "" {
			continue
		}
		at, key, _ := strings.Cut(r.Extra, ".")
		switch {
		case at == "query":
			addQuery(c.query, k, v)
			continue
		case at != "body":
			return fmt.Errorf("%s: there is no parameter %s", r.Name, k)
		}
		m, _ := c.body.(map[string]any)
		if key != "" && m != nil {
			m, _ = m[key].(map[string]any)
		}
		if m == nil {
			return fmt.Errorf("%s: parameter %s has no place in the request", r.Name, k)
		}
		m[k] = v
	}
	return nil
}

func (r row) run(ctx context.Context, client *gophercloud.ServiceClient, p project, input []Param, in map[string]any) (any, error) {
	in, err := r.resolve(ctx, client, p, in)
	if err != nil {
		return nil, err
	}
	c, err := r.call(input, in)
	if err != nil {
		return nil, err
	}
	if v := String(in, "os_ironic_api_version"); v != "" {
		client.Microversion = v
	}
	target := p.url(client.Endpoint, c.path)
	if r.Over != nil {
		if c.body, err = r.layOver(ctx, client, target, c.body); err != nil {
			return nil, err
		}
	}
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	var answer any
	if c.method == http.MethodGet && r.Key != "" && strings.HasSuffix(r.Name, "_list") {
		answer, err = allPages(ctx, client, target, r.Key, in["limit"] != nil)
	} else if text, plain := c.body.(string); plain {
		answer, err = sendText(ctx, client, c.method, target, text, c.headers)
		answer = unwrapOr(answer, r.Key)
	} else {
		answer, _, err = request(ctx, client, c.method, target, c.body, c.headers)
		answer = unwrapOr(answer, r.Key)
	}
	if err != nil || !p.objects {
		return answer, err
	}
	return objects(answer), nil
}

// layOver lays a body over the object as it is now. Of an alarm's rule, a dict
// under a key of its own, the fields that are not given stay as well.
func (r row) layOver(ctx context.Context, client *gophercloud.ServiceClient, target string, body any) (any, error) {
	answer, _, err := request(ctx, client, http.MethodGet, target, nil, nil)
	if err != nil {
		return nil, err
	}
	now, isObject := answer.(map[string]any)
	more, isDict := body.(map[string]any)
	if !isObject || !isDict {
		return nil, fmt.Errorf("%s: the change is %T of %T, expected a dict of an object", r.Name, body, answer)
	}
	for _, name := range r.Over {
		delete(now, name)
	}
	for k, v := range more {
		rule, _ := v.(map[string]any)
		if old, has := now[k].(map[string]any); has && rule != nil && strings.HasSuffix(k, "_rule") && k != "composite_rule" {
			maps.Copy(old, rule)
			continue
		}
		now[k] = v
	}
	return now, nil
}

// unwrapOr returns the value of key, or all of the answer when it has none.
func unwrapOr(answer any, key string) any {
	if m, ok := answer.(map[string]any); ok {
		if v, has := m[key]; has && key != "" {
			return v
		}
	}
	return answer
}

func objects(v any) any {
	switch x := v.(type) {
	case map[string]any:
		return object(x)
	case []any:
		for i, it := range x {
			if m, ok := it.(map[string]any); ok {
				x[i] = object(m)
			}
		}
	}
	return v
}

// sendText sends a text (a workflow, a workbook, a zone) as it is, as plain text
// unless the headers say otherwise.
func sendText(ctx context.Context, client *gophercloud.ServiceClient, method, target, text string, headers map[string]string) (any, error) {
	more := map[string]string{"Content-Type": "text/plain"}
	maps.Copy(more, headers)
	resp, err := client.Request(ctx, method, target, &gophercloud.RequestOpts{RawBody: strings.NewReader(text), KeepResponseBody: true,
		MoreHeaders: more, OkCodes: []int{200, 201, 202, 204}})
	if err != nil {
		return nil, readable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return decodeAnswer(resp.Body), nil
}

var versionSegment = regexp.MustCompile(`^/?(v\d+(\.\d+)?)(/|$)`) //nolint:gochecknoglobals // constant

// url joins an endpoint and a path, with the version of the API once.
func (p project) url(endpoint, path string) string {
	base, last, _ := cutLast(endpoint, "/")
	if path == "//" { // the versions of the API themselves
		if versionSegment.MatchString(last) {
			endpoint = base
		}
		return endpoint + "/"
	}
	named := versionSegment.FindStringSubmatch(path)
	switch {
	case named != nil && last == named[1]:
		return endpoint + strings.TrimPrefix(path, "/"+named[1])
	case named == nil && p.version != "" && !strings.Contains(endpoint+"/", "/"+p.version+"/") && !versionSegment.MatchString(last):
		return endpoint + "/" + p.version + path
	}
	return endpoint + path
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

var (
	mentioned   = regexp.MustCompile(`\{(\w+)[}:|]`)                   //nolint:gochecknoglobals // constant
	placeholder = regexp.MustCompile(`\{(\w+)\}`)                      //nolint:gochecknoglobals // constant
	whole       = regexp.MustCompile(`^\{(\w+)(:json)?(?:\|(.*))?\}$`) //nolint:gochecknoglobals // constant
)

func fillPath(path string, in map[string]any) (string, error) {
	var missing string
	out := placeholder.ReplaceAllStringFunc(path, func(m string) string {
		name := m[1 : len(m)-1]
		v := identifier(in[name])
		if strings.HasSuffix(name, "_ref") { // an address, of which the id is the end
			_, v, _ = cutLast(strings.TrimSuffix(v, "/"), "/")
		}
		if v == "" || v == "." || v == ".." {
			missing = name
		}
		return url.PathEscape(v)
	})
	if missing != "" {
		return "", fmt.Errorf("parameter %s is empty", missing)
	}
	return out, nil
}

// identifier is the id of an object, or the value itself (as base.getid of the
// clients does).
func identifier(v any) string {
	if m, ok := v.(map[string]any); ok {
		for _, key := range []string{"id", "uuid", "name"} {
			if s := String(m, key); s != "" {
				return s
			}
		}
	}
	if v == nil {
		return ""
	}
	return yaql.Str(v)
}

// fill replaces the parameters in a template. It reports false for what is left
// out: a parameter that is null.
func fill(tmpl any, in map[string]any) (any, bool) {
	switch t := tmpl.(type) {
	case string:
		return fillText(t, in)
	case map[string]any:
		out := make(map[string]any, len(t))
		for k, item := range t {
			if m := whole.FindStringSubmatch(k); m != nil && item == any(k) { // a dict whose items stand here
				for name, v := range Map(in, m[1]) {
					out[name] = v
				}
				continue
			}
			if placeholder.MatchString(k) {
				filled, _ := fillText("-"+k, in)
				k = yaql.Str(filled)[1:]
			}
			v, ok := fill(item, in)
			name, may := strings.CutSuffix(k, "?")
			if m, isMap := v.(map[string]any); ok && !(may && isMap && len(m) == 0) {
				out[name] = v
			}
		}
		return out, true
	case []any:
		out := make([]any, 0, len(t))
		for _, item := range t {
			if v, ok := fill(item, in); ok {
				out = append(out, v)
			}
		}
		return out, true
	}
	return tmpl, true
}

// fillText fills a text; {x:json} is the value as JSON text, as which Mistral's
// API takes dicts.
func fillText(t string, in map[string]any) (any, bool) {
	m := whole.FindStringSubmatch(t)
	if m == nil {
		return placeholder.ReplaceAllStringFunc(t, func(p string) string { return yaql.Str(in[strings.Trim(p, "{}")]) }), true
	}
	if v := in[m[1]]; v != nil {
		if _, text := v.(string); text || m[2] == "" {
			return v, true
		}
		b, err := yaql.JSON(v)
		return string(b), err == nil
	}
	if m[3] == "" {
		return nil, false
	}
	def, err := yaql.ParseJSON([]byte(m[3]))
	return yaql.Plain(def), err == nil
}

// finders are the searches that the clients build on a list.
func (r row) finders(p project) []Action {
	base, isList := strings.CutSuffix(r.Name, "_list")
	if !isList || r.Method != http.MethodGet || !p.objects && p.name != "mistral" || strings.Contains(r.Path, "{") && !slices.Contains(ofParent(), base) {
		return nil
	}
	input, _ := parseInput(r.Input)
	var parent []Param // whose list it is
	for _, param := range input {
		if param.Required {
			parent = append(parent, param)
		}
	}
	find := func(ctx context.Context, c *Context, in map[string]any) ([]any, error) {
		client, err := p.open(c, String(in, "action_region"))
		if err != nil {
			return nil, err
		}
		args := map[string]any{}
		for _, param := range input {
			args[param.Name] = param.Default
		}
		for _, param := range parent {
			args[param.Name] = in[param.Name]
		}
		got, err := r.run(ctx, client, p, input, args)
		if err != nil {
			return nil, err
		}
		want := map[string]any{}
		for k, v := range in {
			if k != "action_region" && !slices.ContainsFunc(parent, func(p Param) bool { return p.Name == k }) {
				want[k] = v
			}
		}
		items, _ := got.([]any)
		return matching(items, want), nil
	}
	keys := parent
	if p.region {
		keys = append(keys, Opt("action_region", ""))
	}
	all := Action{Name: base + "_findall", Description: describe(base + "_findall"), Extra: true, Input: keys,
		Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) { return find(ctx, c, in) }}
	if p.name == "mistral" { // whose client calls it find
		all.Name, all.Description = base+"_find", describe(base+"_find")
		return []Action{all}
	}
	return []Action{all,
		{Name: base + "_find", Description: describe(base + "_find"), Extra: true, Input: keys,
			Run: func(ctx context.Context, c *Context, in map[string]any) (any, error) {
				found, err := find(ctx, c, in)
				return only(found, base, in, err)
			}},
	}
}

// ofParent are the managers whose lists are those of one object, which a search
// has to name.
func ofParent() []string {
	return []string{"nova.flavor_access", "nova.server_migrations", "cinder.volume_type_access", "trove.databases", "trove.datastore_versions", "trove.users",
		"manila.share_export_locations", "manila.share_instance_export_locations", "manila.share_snapshot_export_locations",
		"manila.share_snapshot_instance_export_locations", "manila.share_group_type_access", "manila.share_type_access", "mistral.members"}
}

// aliases are actions that Mistral names otherwise than the client's method.
func aliases(list []Action) []Action {
	var out []Action
	for _, a := range list {
		name := map[string]string{"gnocchi.status_get": "gnocchi.status", "gnocchi.resource_batch_delete": "gnocchi.resource_batch_delete_resource"}[a.Name]
		if verb, is := strings.CutPrefix(a.Name, "designate.recordsets_"); is {
			name = "designate.recordset_" + verb
		}
		if name != "" {
			a.Name = name
			out = append(out, a)
		}
	}
	return out
}

// only returns the one that was found; none or many are errors.
func only(found []any, what string, in map[string]any, err error) (any, error) {
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("No %s matching %s. (HTTP 404)", what, yaql.Str(in)) //nolint:revive,staticcheck // the clients' wording
	case len(found) > 1:
		return nil, fmt.Errorf("%d %s match %s, not one", len(found), what, yaql.Str(in))
	}
	return found[0], nil
}
