package service

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// masks takes secrets out of what is reported. Commands print their configuration when they fail, and connection strings
// hold passwords.
type masks struct {
	seen     map[string]bool
	replacer *strings.Replacer
}

const (
	minSecret = 6 // shorter ones would blank out ordinary words
	hidden    = "***"
)

var secretKeyRE = regexp.MustCompile(`(?i)(pass|secret|token$|_key$|cookie|connection$|transport_url|private)`)

// plainEnvRE are environment variables that say where and who, such as OS_PROJECT_NAME: their values are words that a
// report needs.
var plainEnvRE = regexp.MustCompile(`(?i)(name|_url|_version|_interface)$`)

func newMasks() *masks { return &masks{seen: map[string]bool{}} }

// collect finds the secret values of a config: those under secret-looking keys, everything under `secrets`, of `env` all but names,
// URLs and versions, the content of files marked secret line by line, and passwords in the user part of URLs.
func (m *masks) collect(config map[string]any) {
	m.walk("", config, false)
	values := make([]string, 0, len(m.seen))
	for v := range m.seen {
		values = append(values, v)
	}
	// The longest first, so that a secret inside another does not leave the rest of it.
	slices.SortFunc(values, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	pairs := make([]string, 0, 2*len(values))
	for _, v := range values {
		pairs = append(pairs, v, hidden)
	}
	m.replacer = strings.NewReplacer(pairs...)
}

func (m *masks) walk(key string, v any, secret bool) {
	secret = secret || secretKeyRE.MatchString(key) || key == "secrets"
	switch v := v.(type) {
	case map[string]any:
		if isTrue(v["secret"]) {
			if text, ok := v["content"].(string); ok {
				for line := range strings.Lines(text) {
					m.add(strings.TrimSpace(line))
				}
			}
		}
		if sets, ok := v["file_sets"].([]any); ok {
			for _, set := range sets {
				m.fileSet(set)
			}
		}
		for k, e := range v {
			m.walk(k, e, key == "secrets" || key == "env" && !plainEnvRE.MatchString(k))
		}
	case []any:
		for _, e := range v {
			m.walk(key, e, secret)
		}
	case string:
		if secret {
			m.add(v)
		}
		if u, err := url.Parse(v); err == nil && u.User != nil {
			if p, ok := u.User.Password(); ok {
				m.add(p)
			}
		}
	}
}

// fileSet takes the contents of a set's files: sets are for keys.
func (m *masks) fileSet(v any) {
	set, _ := v.(map[string]any)
	files, _ := set["files"].(map[string]any)
	for _, f := range files {
		if f, ok := f.(map[string]any); ok {
			if text, ok := f["content"].(string); ok {
				m.add(strings.TrimSpace(text))
			}
		}
	}
}

func isTrue(v any) bool { return v != nil && strings.EqualFold(fmt.Sprint(v), "true") }

func (m *masks) add(s string) {
	if len(s) < minSecret || strings.HasPrefix(s, "/") && !strings.Contains(s, "=") {
		return
	}
	m.seen[s] = true
	if q := url.QueryEscape(s); q != s {
		m.seen[q] = true
	}
}

func (m *masks) text(s string) string {
	if m.replacer == nil {
		return s
	}
	return m.replacer.Replace(s)
}
