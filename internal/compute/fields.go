package compute

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"regexp"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
)

// Bounds of Nova's request schemas, in characters.
const (
	maxName     = 255
	maxUserData = 65535 // of base64
)

// hostnames is Nova's pattern of names that a server may ask for (2.90).
var hostnames = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,63}$`)

// serverFields are what creations, updates and rebuilds may say of a server;
// nil was not given.
type serverFields struct {
	Name, Description, AccessIPv4, AccessIPv6, DiskConfig, Hostname, UserData *string
	Metadata                                                                  map[string]string
}

// check refuses what Nova's schemas refuse, and writes addresses in their
// usual form.
func (f *serverFields) check(r *http.Request) error {
	if n := f.Name; n != nil && (strings.TrimSpace(*n) == "" || len([]rune(*n)) > maxName) {
		return api.Invalid("server name has %d characters, expected 1 to %d", len([]rune(*n)), maxName)
	}
	if d := f.Description; d != nil && len([]rune(*d)) > maxName {
		return api.Invalid("description has %d characters, expected at most %d", len([]rune(*d)), maxName)
	}
	for name, a := range map[string]*string{"accessIPv4": f.AccessIPv4, "accessIPv6": f.AccessIPv6} {
		if a == nil {
			continue
		}
		addr, err := netip.ParseAddr(*a)
		if err != nil || addr.Is4() != (name == "accessIPv4") || addr.Zone() != "" {
			return api.Invalid("Invalid input for field/attribute %s. Value: %s. It is no address of that kind.", name, *a)
		}
		*a = addr.String()
	}
	if d := f.DiskConfig; d != nil && *d != "AUTO" && *d != "MANUAL" {
		return api.Invalid("OS-DCF:diskConfig is %q, expected AUTO or MANUAL", *d)
	}
	if h := f.Hostname; h != nil {
		if !api.AtLeast(r, "2.90") {
			return api.Invalid("hostname is there since microversion 2.90 only")
		}
		if !hostnames.MatchString(*h) {
			return api.Invalid("hostname is %q, expected 1 to 63 letters, digits, - and _", *h)
		}
	}
	if err := checkUserData(f.UserData); err != nil {
		return err
	}
	return checkMetadata(f.Metadata)
}

func checkUserData(text *string) error {
	if text == nil {
		return nil
	}
	if len(*text) > maxUserData {
		return api.Invalid("user_data has %d bytes of base64, expected at most %d", len(*text), maxUserData)
	}
	if _, err := base64.StdEncoding.DecodeString(*text); err != nil {
		return api.Invalid("user_data is not base64").Wrap(err)
	}
	return nil
}

// given is nil for a text that was not given.
func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// clearable is a text of a request that null empties: "" then.
type clearable struct {
	text string
	set  bool
}

// UnmarshalJSON takes a text or null.
func (c *clearable) UnmarshalJSON(b []byte) error {
	c.set, c.text = true, ""
	return json.Unmarshal(b, &c.text)
}
