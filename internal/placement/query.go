package placement

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
)

// traitSet is what is asked of traits: all of some, one of each of some sets,
// none of others.
type traitSet struct {
	all []string
	any [][]string
	no  []string
}

func (t traitSet) fits(have []string) bool {
	return !slices.ContainsFunc(t.all, func(w string) bool { return !slices.Contains(have, w) }) &&
		!slices.ContainsFunc(t.any, func(set []string) bool { return !has(have, set) }) && !has(have, t.no)
}

// memberSet is what is asked of aggregates.
type memberSet struct {
	any [][]string
	no  []string
}

func (m memberSet) fits(have []string) bool {
	return !slices.ContainsFunc(m.any, func(set []string) bool { return !has(have, set) }) && !has(have, m.no)
}

// group is one part of a request.
type group struct {
	suffix    string
	resources map[string]int
	traits    traitSet
	member    memberSet
	tree      string // provider of the tree that serves it, or ""
}

// query is a request for allocation candidates.
type query struct {
	groups   []*group
	root     traitSet
	isolate  bool
	subtrees [][]string
	limit    int
	nested   bool // the client understands trees
}

// groupParameter has a suffix: a number, since 1.33 a word.
var groupParameter = regexp.MustCompile(`^(resources|required|member_of|in_tree)([a-zA-Z0-9_-]{0,64})$`) //nolint:gochecknoglobals // constant

var numbered = regexp.MustCompile(`^([1-9][0-9]*)?$`) //nolint:gochecknoglobals // constant

// since names the versions that brought parameters.
var since = map[string]string{ //nolint:gochecknoglobals // constant table
	"resources": "1.10", "required": "1.17", "member_of": "1.21", "in_tree": "1.31", "group_policy": "1.25", "limit": "1.16", "root_required": "1.35", "same_subtree": "1.36",
}

func parseQuery(r *http.Request) (*query, error) {
	values := r.URL.Query()
	groups := map[string]*group{}
	q := &query{nested: api.AtLeast(r, "1.29"), limit: maxCandidates}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		name, suffix := key, ""
		if m := groupParameter.FindStringSubmatch(key); m != nil {
			name, suffix = m[1], m[2]
		}
		first := since[name]
		if first == "" || !api.AtLeast(r, first) || suffix != "" && (!api.AtLeast(r, "1.25") || !api.AtLeast(r, "1.33") && !numbered.MatchString(suffix)) {
			return nil, api.Invalid("Invalid query string parameters: '%s' is not known in this version", key)
		}
		var err error
		if _, ok := map[string]bool{"resources": true, "required": true, "member_of": true, "in_tree": true}[name]; ok {
			if groups[suffix] == nil {
				groups[suffix] = &group{suffix: suffix, resources: map[string]int{}}
			}
			err = groups[suffix].set(r, name, values[key])
		} else {
			err = q.set(r, name, values[key])
		}
		if err != nil {
			return nil, err
		}
	}
	for _, suffix := range slices.Sorted(maps.Keys(groups)) {
		q.groups = append(q.groups, groups[suffix])
	}
	return q, q.check(values)
}

func (q *query) set(r *http.Request, name string, values []string) (err error) {
	last := values[len(values)-1]
	switch name {
	case "limit":
		n, err := strconv.Atoi(last)
		if err != nil || n < 1 {
			return api.Invalid("limit is %q, expected a positive integer", last)
		}
		q.limit = min(n, maxCandidates)
	case "group_policy":
		if last != "none" && last != "isolate" {
			return api.Invalid("group_policy is %q, expected none or isolate", last)
		}
		q.isolate = last == "isolate"
	case "root_required":
		q.root, err = parseTraits(r, "root_required", values)
	case "same_subtree":
		for _, v := range values {
			q.subtrees = append(q.subtrees, strings.Split(v, ","))
		}
	}
	return err
}

// check looks at what parameters say of one another.
func (q *query) check(values url.Values) error {
	var in []string
	for _, set := range q.subtrees {
		in = append(in, set...)
	}
	suffixes, resources := 0, 0
	for _, g := range q.groups {
		if g.suffix != "" {
			suffixes++
		}
		resources += len(g.resources)
		if len(g.resources) == 0 && (g.suffix == "" && len(q.groups) == 1 || !slices.Contains(in, g.suffix)) {
			return api.Invalid("All member_of, required and in_tree parameters must be associated with resources: there is no resources%s", g.suffix)
		}
	}
	if resources == 0 {
		return api.Invalid("There must be at least one resources or resources[$S] parameter.")
	}
	for _, s := range in {
		if s == "" || !slices.ContainsFunc(q.groups, func(g *group) bool { return g.suffix == s }) {
			return api.Invalid("Real suffixes should be specified in same_subtree: %q is none", s)
		}
	}
	if suffixes > 1 && !values.Has("group_policy") {
		return api.Invalid("The \"group_policy\" parameter is required when specifying more than one \"resources{N}\" parameter.").Named("placement.undefined_code")
	}
	return nil
}

func (g *group) set(r *http.Request, name string, values []string) (err error) {
	switch name {
	case "resources":
		g.resources, err = parseResources(values[len(values)-1])
	case "required":
		g.traits, err = parseTraits(r, name+g.suffix, values)
	case "member_of":
		g.member, err = parseMembers(r, name+g.suffix, values)
	case "in_tree":
		g.tree = values[len(values)-1]
		if _, bad := uuid.Parse(g.tree); bad != nil {
			return api.Invalid("Expected 'in_tree' parameter to contain a UUID. Got: %s", g.tree).Wrap(bad)
		}
	}
	return err
}

func parseResources(text string) (map[string]int, error) {
	out := map[string]int{}
	for part := range strings.SplitSeq(text, ",") {
		class, n, ok := strings.Cut(part, ":")
		amount, err := strconv.Atoi(n)
		if !ok || err != nil || amount < 1 {
			return nil, api.Invalid("Badly formed resources parameter. Expected resources query string parameter in form: ?resources=VCPU:2,MEMORY_MB:1024. Got: %s", part)
		}
		out[class] = amount
	}
	return out, nil
}

// parseTraits reads "A,!B"; since 1.39 the parameter may be repeated, and be
// "in:A,B".
func parseTraits(r *http.Request, name string, values []string) (t traitSet, err error) {
	if !api.AtLeast(r, "1.39") {
		values = values[len(values)-1:]
	}
	for _, value := range values {
		if list, ok := strings.CutPrefix(value, "in:"); ok && api.AtLeast(r, "1.39") {
			if list == "" || strings.Contains(list, "!") || slices.Contains(strings.Split(list, ","), "") {
				return t, api.Invalid("Invalid query string parameters: %s is %q, expected in:TRAIT,…", name, value)
			}
			t.any = append(t.any, strings.Split(list, ","))
			continue
		}
		for word := range strings.SplitSeq(value, ",") {
			no, forbidden := strings.CutPrefix(word, "!")
			switch {
			case no == "" || strings.HasPrefix(no, "!"), forbidden && !api.AtLeast(r, "1.22"):
				return t, api.Invalid("Invalid query string parameters: Expected '%s' parameter value of the form: HW_CPU_X86_VMX,CUSTOM_MAGIC. Got: %s", name, value)
			case forbidden:
				t.no = append(t.no, no)
			default:
				t.all = append(t.all, word)
			}
		}
	}
	for _, n := range t.no {
		if slices.Contains(t.all, n) {
			return t, api.Invalid("Conflicting required and forbidden traits found in the following traits keys: %s: (%s)", name, n)
		}
	}
	return t, nil
}

// parseMembers reads "AGG", "in:A,B", and since 1.32 "!AGG" and "!in:A,B"; it
// may be repeated since 1.24.
func parseMembers(r *http.Request, name string, values []string) (m memberSet, err error) {
	if len(values) > 1 && !api.AtLeast(r, "1.24") {
		return m, api.Invalid("Multiple member_of parameters are not supported")
	}
	for _, value := range values {
		text, forbidden := strings.CutPrefix(value, "!")
		if forbidden && !api.AtLeast(r, "1.32") {
			return m, api.Invalid("Forbidden member_of parameters are not supported in the specified microversion")
		}
		list, several := strings.CutPrefix(text, "in:")
		words := []string{list}
		if several {
			words = strings.Split(list, ",")
		}
		for i, w := range words {
			id, bad := uuid.Parse(w)
			if bad != nil {
				return m, api.Invalid("Invalid query string parameters: Expected '%s' parameter to contain valid UUID(s). Got: %s", name, w).Wrap(bad)
			}
			words[i] = id.String()
		}
		if forbidden {
			m.no = append(m.no, words...)
		} else {
			m.any = append(m.any, words)
		}
	}
	return m, nil
}
