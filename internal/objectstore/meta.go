package objectstore

import (
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tripleo/tripleo/internal/api"
)

// meta are the headers kept with an account, container or object, by their
// canonical names.
type meta map[string]string

// Swift's bounds on metadata, in items and bytes.
const (
	maxMetaCount  = 90
	maxMetaName   = 128
	maxMetaValue  = 256
	maxMetaTotal  = 4096
	maxPlainValue = maxHeader // of ACLs and other headers that are no metadata of the user's
)

// merge applies the headers of a POST or PUT to an account's or container's
// metadata: X-Remove-… and empty values remove.
func (m meta) merge(h http.Header, kind string, plain ...string) error {
	prefix := "X-" + kind + "-Meta-"
	remove := "X-Remove-" + kind + "-"
	for name, values := range h {
		if suffix, ok := strings.CutPrefix(name, remove); ok {
			if _, set := h["X-"+kind+"-"+suffix]; !set { // what is set and removed at once is set
				delete(m, "X-"+kind+"-"+suffix)
			}
			continue
		}
		if name == prefix && strings.TrimSpace(values[0]) != "" || name == prefix {
			return api.Invalid("Metadata name cannot be empty")
		}
		keep := strings.HasPrefix(name, prefix)
		for _, p := range plain {
			keep = keep || name == p
		}
		switch {
		case !keep:
		case values[0] == "":
			delete(m, name)
		default:
			m[name] = values[0]
		}
	}
	return m.check(prefix)
}

// check enforces the bounds.
func (m meta) check(prefix string) error {
	total, count := 0, 0
	for name, value := range m {
		suffix, user := strings.CutPrefix(name, prefix)
		switch {
		case !utf8.ValidString(value) || !utf8.ValidString(name):
			return api.Invalid("Metadata must be valid UTF-8")
		case strings.ContainsFunc(name+value, func(c rune) bool { return c < 0x20 && c != '\t' || c == 0x7f }):
			return api.Invalid("metadata %q holds a control character", name)
		case !user && len(value) > maxPlainValue:
			return api.Invalid("header %s is longer than %d bytes", name, maxPlainValue)
		case !user:
			continue
		case suffix == "":
			return api.Invalid("Metadata name cannot be empty")
		case len(suffix) > maxMetaName:
			return api.Invalid("Metadata name too long: %s", name)
		case len(value) > maxMetaValue:
			return api.Invalid("Metadata value longer than %d: %s", maxMetaValue, name)
		}
		total += len(suffix) + len(value)
		count++
	}
	if count > maxMetaCount {
		return api.Invalid("Too many metadata items; max %d", maxMetaCount)
	}
	if total > maxMetaTotal {
		return api.Invalid("Total metadata too large; max %d", maxMetaTotal)
	}
	return nil
}

// write sets the headers of a response. Signing keys and ACLs are for owners.
func (m meta) write(h http.Header, owner bool) {
	for name, value := range m {
		if owner || !ownersOnly(name) {
			h.Set(name, value)
		}
	}
}

func ownersOnly(name string) bool {
	return strings.Contains(name, "-Meta-Temp-Url-Key") || strings.HasPrefix(name, "X-Container-Sync-") ||
		name == "X-Container-Read" || name == "X-Container-Write" || name == metaAccountACL
}

// quota returns a limit kept as metadata.
func (m meta) quota(name string) (int64, bool) {
	n, err := strconv.ParseInt(m[name], 10, 64)
	return n, err == nil
}

// checkQuotaHeaders refuses quotas that are no numbers.
func checkQuotaHeaders(h http.Header, kind string) error {
	for _, what := range []string{"bytes", "count"} {
		v := h.Get("X-" + kind + "-Meta-Quota-" + what)
		if v == "" {
			continue
		}
		if n, err := strconv.ParseInt(v, 10, 64); err != nil || n < 0 {
			return api.Invalid("Invalid %s quota.", what)
		}
	}
	return nil
}
