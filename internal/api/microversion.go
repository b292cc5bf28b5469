package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
)

// Microversions are the versions one service offers and how clients ask.
// See https://docs.openstack.org/api-guide/compute/microversions.html.
type Microversions struct {
	Type     string // as in "OpenStack-API-Version: TYPE X.Y"
	Min, Max string
	Default  string // when the client asks for none; "" means Min
	Legacy   string // an older header with the bare version, e.g. "X-OpenStack-Ironic-API-Version"
}

type versionKey struct{}

// Version returns the microversion negotiated for the request.
func Version(r *http.Request) string { return versionOf(r.Context()) }

func versionOf(ctx context.Context) string {
	v, _ := ctx.Value(versionKey{}).(string)
	return v
}

// AtLeast says whether the request's microversion is v or later.
func AtLeast(r *http.Request, v string) bool { return versionAtLeast(Version(r), v) }

func (m *Microversions) negotiate(w http.ResponseWriter, r *http.Request) (string, error) {
	version := m.asked(r)
	switch version {
	case "":
		version = m.Default
		if version == "" {
			version = m.Min
		}
	case "latest":
		version = m.Max
	}
	h := w.Header()
	if m.Legacy != "" {
		h.Set(m.Legacy, version)
		base := strings.TrimSuffix(m.Legacy, "-Version")
		h.Set(base+"-Minimum-Version", m.Min)
		h.Set(base+"-Maximum-Version", m.Max)
	}
	h.Set("OpenStack-API-Version", m.Type+" "+version)
	h.Add("Vary", "OpenStack-API-Version")
	if _, _, ok := parseVersion(version); !ok {
		return "", Invalid("API version %q is malformed, expected X.Y or latest", version)
	}
	if !versionAtLeast(version, m.Min) || !versionAtLeast(m.Max, version) {
		return "", NotAcceptable("Version %s was requested but the minor version is not supported by this service. The supported version range is: [%s, %s].", version, m.Min, m.Max)
	}
	return version, nil
}

func (m *Microversions) asked(r *http.Request) string {
	for _, value := range r.Header.Values("OpenStack-API-Version") {
		for part := range strings.SplitSeq(value, ",") {
			typ, version, ok := strings.Cut(strings.TrimSpace(part), " ")
			if ok && typ == m.Type {
				return strings.TrimSpace(version)
			}
		}
	}
	if m.Legacy != "" {
		return strings.TrimSpace(r.Header.Get(m.Legacy))
	}
	return ""
}

func parseVersion(v string) (major, minor int, ok bool) {
	a, b, found := strings.Cut(v, ".")
	if !found {
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, err1 == nil && err2 == nil
}

func versionAtLeast(v, least string) bool {
	a, b, ok1 := parseVersion(v)
	c, d, ok2 := parseVersion(least)
	return ok1 && ok2 && (a > c || a == c && b >= d)
}
