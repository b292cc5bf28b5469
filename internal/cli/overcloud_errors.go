package cli

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

var (
	uuidText = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`)
	// What Mistral puts before the error of an action in a failed execution's result.
	actionFailed = regexp.MustCompile(`(?s)^.*Failed to run action \[[^\]]*\]\s*(?:Failure caused by error in tasks:[^\n]*\n)?(.*)$`)
	nodeState    = regexp.MustCompile(`(?s)^Node (\S+) is (?:still )?in state "([^"]*)"(?:, not| instead of) "[^"]*": (.*)$`)
)

// maxNames bounds how many nodes are looked up for one message.
const maxNames = 100

// problemLines makes lines for people of a workflow's message: text, or a list with an entry for every member of a
// with-items task, empty for those that went well.
func problemLines(v any) []string {
	switch x := v.(type) {
	case nil:
		return nil
	case []any:
		var out []string
		for _, it := range x {
			out = append(out, problemLines(it)...)
		}
		return out
	case string:
		if m := actionFailed.FindStringSubmatch(x); m != nil {
			x = m[1]
		}
		x = strings.TrimSpace(x)
		if m := nodeState.FindStringSubmatch(x); m != nil {
			x = fmt.Sprintf("%s  %s  %s", m[1], m[2], m[3])
		}
		if x == "" {
			return nil
		}
		return []string{x}
	}
	if r := lookup(v, "result"); r != nil {
		return problemLines(r)
	}
	return nil
}

// problem is the text of problemLines: one stays in the line, more are listed below it.
func problem(v any) string {
	lines := problemLines(v)
	if len(lines) == 1 && !strings.Contains(lines[0], "\n") {
		return lines[0]
	}
	text := ""
	for _, l := range lines {
		text += "\n  " + strings.ReplaceAll(l, "\n", "\n  ")
	}
	return text
}

// nameNodes puts the names of nodes in the place of their UUIDs; what has no name stays as it is.
func (o *operator) nameNodes(ctx context.Context, text string) string {
	c, err := o.s.Baremetal()
	if err != nil {
		return text
	}
	names := map[string]string{}
	return uuidText.ReplaceAllStringFunc(text, func(id string) string {
		if n, ok := names[id]; ok || len(names) >= maxNames {
			return firstNonEmpty(n, id)
		}
		v, _, err := o.call(ctx, c, http.MethodGet, below(c, "v1", "nodes", id)+"?fields=name", nil, nil)
		if err == nil {
			names[id] = str(lookup(v, "name"))
		} else {
			names[id] = ""
		}
		return firstNonEmpty(names[id], id)
	})
}
