package hot

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// Error is a fault in a template, an environment or a value, with its place.
type Error struct {
	Pos  string // file:line:column
	Path string // such as resources.server.properties.name
	Msg  string
	Err  error // cause, may be nil
}

// Error returns "file:line:column: path: message".
func (e *Error) Error() string {
	var parts []string
	for _, s := range []string{e.Pos, e.Path, e.Msg} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errors is every fault found, in the order of the text.
type Errors []*Error

// Error returns one fault a line.
func (l Errors) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the faults, for errors.As.
func (l Errors) Unwrap() []error {
	out := make([]error, len(l))
	for i, e := range l {
		out[i] = e
	}
	return out
}

// maxErrors bounds the faults of one list: who reads a thousand does not miss the rest.
const maxErrors = 1000

// Or returns nil for an empty list, so that it can be returned as an error; else the list in the order of
// the text.
func (l Errors) Or() error {
	if len(l) == 0 {
		return nil
	}
	if len(l) > maxErrors {
		l = append(l[:maxErrors:maxErrors], &Error{Pos: l[maxErrors].Pos, Msg: fmt.Sprintf("and %d more", len(l)-maxErrors)})
	}
	slices.SortStableFunc(l, func(a, b *Error) int {
		fa, la, ca := splitPos(a.Pos)
		fb, lb, cb := splitPos(b.Pos)
		if fa != fb {
			return 0 // files stay in the order in which they were read
		}
		if la != lb {
			return la - lb
		}
		return ca - cb
	})
	return l
}

// Join puts the faults of several errors into one, each once.
func Join(errs ...error) error {
	var out Errors
	seen := map[string]bool{}
	for _, err := range errs {
		for _, e := range List(err) {
			if key := e.Error(); !seen[key] {
				seen[key] = true
				out = append(out, e)
			}
		}
	}
	return out.Or()
}

// splitPos takes file:line:column apart.
func splitPos(pos string) (file string, line, column int) {
	parts := strings.Split(pos, ":")
	if len(parts) < 3 {
		return pos, 0, 0
	}
	n := len(parts)
	line, errLine := strconv.Atoi(parts[n-2])
	column, errColumn := strconv.Atoi(parts[n-1])
	if errLine != nil || errColumn != nil {
		return pos, 0, 0
	}
	return strings.Join(parts[:n-2], ":"), line, column
}

// List returns the faults in err: those of an Errors, or err alone.
func List(err error) Errors {
	if err == nil {
		return nil
	}
	var l Errors
	if errors.As(err, &l) {
		return l
	}
	var e *Error
	if errors.As(err, &e) {
		return Errors{e}
	}
	var y *yaml11.Error
	if errors.As(err, &y) {
		pos := y.File
		if y.Line > 0 {
			pos = fmt.Sprintf("%s:%d:%d", y.File, y.Line, max(y.Column, 1))
		}
		return Errors{{Pos: pos, Msg: y.Msg, Err: err}}
	}
	return Errors{{Msg: err.Error(), Err: err}}
}

// undefinedError is a name that leads nowhere.
type undefinedError struct{ what, name, hint string }

func (u *undefinedError) Error() string {
	return fmt.Sprintf("%s %q is not defined%s", u.what, u.name, u.hint)
}

func undefined(what, name string, names []string) error {
	return &undefinedError{what, name, DidYouMean(name, names)}
}

// Undefined tells whether a fault is a name that leads nowhere.
func Undefined(err error) bool {
	var u *undefinedError
	return errors.As(err, &u)
}

func errAt(n *yaml11.Node, path, format string, args ...any) *Error {
	return &Error{Pos: n.Pos(), Path: path, Msg: fmt.Sprintf(format, args...)}
}

// closest names the candidate most like name, "" if none is near; for "did you mean".
func closest(name string, candidates []string) string {
	best, bestDist := "", max(2, len(name)/3)+1
	for _, c := range candidates {
		if strings.EqualFold(c, name) {
			return c
		}
		if d := distance(name, c, bestDist); d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

// maxCandidates bounds the names that DidYouMean compares.
const maxCandidates = 1000

// DidYouMean returns " (did you mean X?)" or "".
func DidYouMean(name string, candidates []string) string {
	if len(candidates) > maxCandidates {
		return ""
	}
	sorted := slices.Clone(candidates)
	slices.Sort(sorted)
	if c := closest(name, sorted); c != "" {
		return fmt.Sprintf(" (did you mean %q?)", c)
	}
	return ""
}

// distance is the Levenshtein distance, or limit if it is not below.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 200 || len(b) > 200 {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		prev := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := prev
			if a[i-1] != b[j-1] {
				cost++
			}
			prev = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
