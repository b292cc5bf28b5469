package resources

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/mail"
	"strings"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// heatSoftwareConfig is OS::Heat::SoftwareConfig (config is text) and StructuredConfig (config is a map).
// A config never changes: an update replaces it.
func heatSoftwareConfig(name string, kind Kind) *Type {
	return &Type{Name: name, Pure: true,
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			r.PhysicalID = configID(r.ID, "config")
			c := &Config{ID: r.PhysicalID, ProjectID: r.ProjectID, Name: r.PhysicalName(0), Group: r.Props.Str("group"),
				Config: r.Props.Get("config"), Inputs: r.Props.List("inputs"), Outputs: r.Props.List("outputs"), Options: r.Props.Map("options"), Created: r.Host.Now()}
			if c.Config == nil && kind == String {
				c.Config = ""
			}
			return Done(), r.Host.PutConfig(ctx, r, c)
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			return Done(), r.Host.DeleteConfig(ctx, r, r.PhysicalID)
		},
		Attr: func(_ context.Context, r *Resource, _ string) (any, error) { return r.Props.Get("config"), nil },
	}
}

// configID derives the id of something a resource makes, so that a repeated step makes the same.
func configID(resourceID, what string) string {
	s := sha256.Sum256([]byte(resourceID + "\x00" + what))
	h := hex.EncodeToString(s[:16])
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:32]
}

func heatCloudConfig() *Type {
	return &Type{Name: "OS::Heat::CloudConfig", Pure: true,
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			r.PhysicalID = configID(r.ID, "config")
			m := r.Props.Map("cloud_config")
			if m == nil {
				m = yaml11.NewMap()
			}
			text, err := yaml11.Marshal(m)
			if err != nil {
				return Step{}, fmt.Errorf("cloud_config: %w", err)
			}
			return Done(), r.Host.PutConfig(ctx, r, &Config{ID: r.PhysicalID, ProjectID: r.ProjectID, Name: r.PhysicalName(0),
				Group: "Heat::Ungrouped", Config: "#cloud-config\n" + string(text), Created: r.Host.Now()})
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			return Done(), r.Host.DeleteConfig(ctx, r, r.PhysicalID)
		},
		Attr: func(ctx context.Context, r *Resource, _ string) (any, error) { return configAttr(ctx, r) },
	}
}

func configAttr(ctx context.Context, r *Resource) (any, error) {
	c, err := r.Host.Config(ctx, r, r.PhysicalID)
	if err != nil {
		return nil, err
	}
	return c.Config, nil
}

func heatMultipartMime() *Type {
	return &Type{Name: "OS::Heat::MultipartMime", Pure: true,
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			r.PhysicalID = configID(r.ID, "config")
			var parts []MimePart
			for _, v := range r.Props.List("parts") {
				p, err := mimeParts(ctx, r, v.(*Map))
				if err != nil {
					return Step{}, err
				}
				parts = append(parts, p...)
			}
			return Done(), r.Host.PutConfig(ctx, r, &Config{ID: r.PhysicalID, ProjectID: r.ProjectID, Name: r.PhysicalName(0),
				Group: r.Props.Str("group"), Config: Multipart(r.ID, parts), Created: r.Host.Now()})
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			return Done(), r.Host.DeleteConfig(ctx, r, r.PhysicalID)
		},
		Attr: func(ctx context.Context, r *Resource, _ string) (any, error) { return configAttr(ctx, r) },
	}
}

// MimePart is one part of a multipart message.
type MimePart struct {
	Text, Subtype, Filename string
}

// mimeParts reads one entry of parts: the id of a config, or text. type multipart: the parts of the
// message it holds.
func mimeParts(ctx context.Context, r *Resource, m *Map) ([]MimePart, error) {
	body := str(m, "config")
	if IsUUID(body) {
		c, err := r.Host.Config(ctx, r, body)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if err == nil {
			body = configText(c.Config)
		}
	}
	if str(m, "type") == "multipart" {
		return SplitMultipart(body)
	}
	return []MimePart{{Text: body, Subtype: subtypeOf(str(m, "subtype"), body), Filename: str(m, "filename")}}, nil
}

func configText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return hot.PyJSON(v, false)
}

// subtypeOf guesses the subtype from the first line as cloud-init does.
func subtypeOf(given, body string) string {
	if given != "" {
		return given
	}
	for prefix, sub := range map[string]string{"#cloud-config": "cloud-config", "#!": "x-shellscript", "#include": "x-include-url",
		"#cloud-boothook": "cloud-boothook", "#upstart-job": "upstart-job", "#part-handler": "part-handler"} {
		if strings.HasPrefix(body, prefix) {
			return sub
		}
	}
	return "plain"
}

// Multipart writes a multipart/mixed message; seed makes the boundary stable.
func Multipart(seed string, parts []MimePart) string {
	sum := sha256.Sum256([]byte(seed))
	boundary := "===============" + hex.EncodeToString(sum[:10]) + "=="
	var b strings.Builder
	fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=\"%s\"\nMIME-Version: 1.0\n\n", boundary)
	for _, p := range parts {
		b.WriteString("--" + boundary + "\n")
		fmt.Fprintf(&b, "Content-Type: text/%s; charset=\"utf-8\"\nMIME-Version: 1.0\n", p.Subtype)
		body, enc := p.Text, "7bit"
		if !plainASCII(body) {
			enc, body = "base64", wrap(base64.StdEncoding.EncodeToString([]byte(body)))
		}
		fmt.Fprintf(&b, "Content-Transfer-Encoding: %s\n", enc)
		if p.Filename != "" {
			fmt.Fprintf(&b, "Content-Disposition: attachment; filename=%q\n", p.Filename)
		}
		b.WriteString("\n" + body + "\n")
	}
	b.WriteString("--" + boundary + "--\n")
	return b.String()
}

func plainASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 || s[i] == '\r' || s[i] == 0 {
			return false
		}
	}
	return true
}

func wrap(s string) string {
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\n")
		s = s[76:]
	}
	return b.String() + s
}

// SplitMultipart returns the text parts of a multipart message; text that is none is one part.
func SplitMultipart(text string) ([]MimePart, error) {
	msg, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil || !strings.HasPrefix(msg.Header.Get("Content-Type"), "multipart/") {
		return []MimePart{{Text: text, Subtype: subtypeOf("", text)}}, nil //nolint:nilerr // no message: plain text
	}
	return readParts(msg)
}

// IsUUID tells whether s looks like a UUID with dashes.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
