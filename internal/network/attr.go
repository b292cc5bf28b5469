package network

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
)

// mode says what may be done with an attribute.
type mode int

const (
	post    mode = 1 << iota // given at creation
	put                      // changed later
	need                     // must be given at creation
	setBy                    // set by administrators only
	seenBy                   // seen by administrators only
	unlist                   // no filter of lists
	verbose                  // only in answers to requests about one thing
	both    = post | put
	ours    = mode(0) // computed, read-only
	forAdms = setBy | seenBy
)

// attr is one attribute of a resource.
type attr struct {
	name  string
	parse parser
	def   any // when it is not given; noDefault{} for none
	mode  mode
	ref   string // the kind of resource the value names, by its id
}

// parser turns a decoded JSON value into what is stored, or says what is wrong
// with it.
type parser func(v any) (any, string)

func text(limit int) parser {
	return func(v any) (any, string) {
		s, ok := v.(string)
		if !ok {
			return nil, fmt.Sprintf("'%v' is not a valid string.", v)
		}
		if len([]rune(s)) > limit {
			return nil, fmt.Sprintf("'%s' exceeds maximum length of %d.", s, limit)
		}
		return s, ""
	}
}

func orNull(p parser) parser {
	return func(v any) (any, string) {
		if v == nil {
			return nil, ""
		}
		return p(v)
	}
}

// orEmpty takes null for an empty text.
func orEmpty(p parser) parser {
	return func(v any) (any, string) {
		if v == nil {
			return "", ""
		}
		return p(v)
	}
}

func boolean(v any) (any, string) {
	switch x := v.(type) {
	case bool:
		return x, ""
	case string:
		switch strings.ToLower(x) {
		case "true", "1", "t", "on", "yes":
			return true, ""
		case "false", "0", "f", "off", "no":
			return false, ""
		}
	case float64:
		if x == 0 || x == 1 {
			return x == 1, ""
		}
	}
	return nil, fmt.Sprintf("'%v' is not a valid boolean value.", show(v))
}

func integer(least, most int) parser {
	return func(v any) (any, string) {
		n, ok := v.(float64)
		if s, isText := v.(string); isText {
			parsed, err := strconv.Atoi(strings.TrimSpace(s))
			n, ok = float64(parsed), err == nil
		}
		if !ok || n != float64(int(n)) {
			return nil, fmt.Sprintf("'%v' is not an integer.", show(v))
		}
		if int(n) < least || int(n) > most {
			return nil, fmt.Sprintf("'%v' is not in the range %d to %d.", show(v), least, most)
		}
		return n, ""
	}
}

func id(v any) (any, string) {
	s, ok := v.(string)
	if !ok {
		return nil, fmt.Sprintf("'%v' is not a valid UUID.", show(v))
	}
	if _, err := uuid.Parse(s); err != nil {
		return nil, fmt.Sprintf("'%s' is not a valid UUID.", s)
	}
	return s, ""
}

func oneOf(values ...string) parser {
	return func(v any) (any, string) {
		s, ok := v.(string)
		if !ok || !slices.Contains(values, s) {
			return nil, fmt.Sprintf("'%v' is not in %v.", show(v), values)
		}
		return s, ""
	}
}

func address(v any) (any, string) {
	s, _ := v.(string)
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return nil, fmt.Sprintf("'%v' is not a valid IP address.", show(v))
	}
	return a.String(), ""
}

// prefix takes a network; a bare address stands for itself alone.
func prefix(v any) (any, string) {
	s, _ := v.(string)
	p, err := parsePrefix(s)
	if err != nil {
		return nil, fmt.Sprintf("'%v' is not a valid IP subnet.", show(v))
	}
	return p.String(), ""
}

// networkPrefix is prefix without bits behind the mask.
func networkPrefix(v any) (any, string) {
	s, _ := v.(string)
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return nil, fmt.Sprintf("'%v' is not a valid IP subnet.", show(v))
	}
	return p.Masked().String(), ""
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

func mac(v any) (any, string) {
	s, _ := v.(string)
	m, err := net.ParseMAC(s)
	if err != nil || len(m) != 6 || s == "00:00:00:00:00:00" {
		return nil, fmt.Sprintf("'%v' is not a valid MAC address.", show(v))
	}
	return m.String(), ""
}

var dnsLabel = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)

// dnsName takes a name of a host or a domain, by RFC 1035 and 1123.
func dnsName(v any) (any, string) {
	s, ok := v.(string)
	if !ok || len(s) > 255 {
		return nil, fmt.Sprintf("'%v' is not a valid DNS name.", show(v))
	}
	trimmed := strings.TrimSuffix(s, ".")
	if trimmed == "" {
		return s, ""
	}
	for label := range strings.SplitSeq(trimmed, ".") {
		if !dnsLabel.MatchString(label) {
			return nil, fmt.Sprintf("'%s' not a valid PQDN or FQDN. Reason: Name '%s' must be 1-63 characters long, each of which can only be alphanumeric or a hyphen.", s, label)
		}
	}
	return s, ""
}

const maxList = 1000

func listOf(p parser) parser {
	return func(v any) (any, string) {
		if v == nil {
			return []any{}, ""
		}
		items, ok := v.([]any)
		if !ok {
			return nil, fmt.Sprintf("'%v' is not a list.", show(v))
		}
		if len(items) > maxList {
			return nil, fmt.Sprintf("%d items, expected at most %d", len(items), maxList)
		}
		out := make([]any, 0, len(items))
		for _, it := range items {
			parsed, why := p(it)
			if why != "" {
				return nil, why
			}
			out = append(out, parsed)
		}
		return out, ""
	}
}

// unique refuses lists that hold a value twice.
func unique(p parser) parser {
	return func(v any) (any, string) {
		out, why := p(v)
		if why != "" {
			return nil, why
		}
		seen := map[string]bool{}
		items, _ := out.([]any)
		for _, it := range items {
			if seen[show(it)] {
				return nil, fmt.Sprintf("Duplicate items in the list: '%v'.", show(it))
			}
			seen[show(it)] = true
		}
		return out, ""
	}
}

// fields are the keys of an object in a list.
type fields map[string]parser

// object takes a mapping with these keys; required are those that must be there.
func object(f fields, required ...string) parser {
	return func(v any) (any, string) {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Sprintf("'%v' is not a dictionary.", show(v))
		}
		for _, key := range required {
			if _, ok := m[key]; !ok {
				return nil, fmt.Sprintf("Validation of dictionary's keys failed. Expected keys: %v Provided keys: %v", required, sortedKeys(m))
			}
		}
		out := map[string]any{}
		for key, val := range m {
			p, ok := f[key]
			if !ok {
				return nil, fmt.Sprintf("Invalid data format: unexpected key '%s' in '%v'.", key, show(v))
			}
			parsed, why := p(val)
			if why != "" {
				return nil, why
			}
			out[key] = parsed
		}
		return out, ""
	}
}

// dict takes any mapping of at most 4 kB.
func dict(v any) (any, string) {
	if v == nil {
		return map[string]any{}, ""
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Sprintf("'%v' is not a dictionary.", show(v))
	}
	if n := len(show(m)); n > 4095 {
		return nil, fmt.Sprintf("the mapping takes %d characters, expected at most 4095", n)
	}
	return m, ""
}

// show writes a value as Python would, near enough for a message.
func show(v any) string {
	switch x := v.(type) {
	case nil:
		return "None"
	case bool:
		if x {
			return "True"
		}
		return "False"
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	case string:
		return x
	case map[string]any:
		parts := []string{}
		for _, k := range sortedKeys(x) {
			parts = append(parts, fmt.Sprintf("'%s': '%s'", k, show(x[k])))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := []string{}
		for _, it := range x {
			parts = append(parts, "'"+show(it)+"'")
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		return fmt.Sprint(x)
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func badInput(name, why string) *api.Error {
	return api.Invalid("Invalid input for %s. Reason: %s", name, why).Named("HTTPBadRequest")
}

// noDefault marks an attribute that is absent until somebody gives it.
type noDefault struct{}
