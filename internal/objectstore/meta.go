package objectstore

import (
	"net/http"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
)

// meta are the headers kept with an account, container or object, by their
// canonical names.
type meta map[string]string

// Swift's bounds on metadata, in items and bytes.
const (
	maxMetaCount = 90
	maxMetaName  = 128
	maxMetaValue = 4096 // Swift has 256; ACLs and manifests are longer
	maxMetaTotal = 8192
)

// merge applies the headers of a POST or PUT to an account's or container's
// metadata: X-Remove-… and empty values remove.
func (m meta) merge(h http.Header, kind string, plain ...string) error {
	prefix := "X-" + kind + "-Meta-"
	remove := "X-Remove-" + kind + "-"
	for name, values := range h {
		if suffix, ok := strings.CutPrefix(name, remove); ok {
			delete(m, "X-"+kind+"-"+suffix)
			continue
		}
		keep := strings.HasPrefix(name, prefix) && len(name) > len(prefix)
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
		total += len(name) + len(value)
		count++
		switch {
		case len(strings.TrimPrefix(name, prefix)) > maxMetaName:
			return api.Invalid("metadata name %s is longer than %d bytes", name, maxMetaName)
		case len(value) > maxMetaValue:
			return api.Invalid("metadata value of %s is longer than %d bytes", name, maxMetaValue)
		}
	}
	if count > maxMetaCount {
		return api.Invalid("too many metadata items, the maximum is %d", maxMetaCount)
	}
	if total > maxMetaTotal {
		return api.Invalid("total metadata is larger than %d bytes", maxMetaTotal)
	}
	return nil
}

// write sets the headers of a response. Signing keys and ACLs are for owners.
func (m meta) write(h http.Header, owner bool) {
	for name, value := range m {
		secret := strings.Contains(name, "-Meta-Temp-Url-Key") || name == "X-Container-Read" || name == "X-Container-Write" || name == "X-Container-Sync-Key"
		if owner || !secret {
			h.Set(name, value)
		}
	}
}
