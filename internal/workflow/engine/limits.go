package engine

import (
	"fmt"
	"regexp"

	"github.com/tripleo/tripleo/yaql"
)

// TooLargeError is a value above the limit of a field.
type TooLargeError struct {
	What        string
	Size, Limit int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("Field size limit exceeded [%s, size=%dKB, limit=%dKB]", e.What, e.Size>>10, e.Limit>>10)
}

func (e *Engine) fit(what string, v any) error {
	if small(v, min(1000, e.limit/200)) {
		return nil
	}
	s, err := text(v)
	if err != nil {
		return err
	}
	if len(s) > e.limit {
		return &TooLargeError{what, len(s), e.limit}
	}
	return nil
}

// fits checks the fields of an execution.
func (e *Engine) fits(x *Execution) error {
	for _, f := range []struct {
		name string
		v    any
	}{{"input", x.Input}, {"params", x.Params}, {"context", x.Context}, {"output", x.Output}} {
		if err := e.fit("class=WorkflowExecution, field="+f.name, f.v); err != nil {
			return err
		}
	}
	return nil
}

// bounded checks what a step is about to write.
func (r *run) bounded() error {
	if err := r.e.fits(r.x); err != nil {
		return err
	}
	for _, x := range r.started {
		if err := r.e.fits(x); err != nil {
			return err
		}
	}
	for _, t := range r.tasks {
		if !t.dirty || !t.full {
			continue
		}
		for _, f := range []struct {
			name string
			v    any
		}{{"in_context", t.In}, {"published", t.Published}, {"result", t.Result}} {
			if err := r.e.fit("class=TaskExecution, name="+t.Name+", field="+f.name, f.v); err != nil {
				return err
			}
		}
	}
	return nil
}

// small says that a value has few parts and short texts, so that it need not be
// measured: less than budget pieces of at most a hundred bytes.
func small(v any, budget int) bool {
	left := budget
	var walk func(v any) bool
	walk = func(v any) bool {
		if left--; left < 0 {
			return false
		}
		switch v := v.(type) {
		case string:
			left -= len(v) / 100
			return left >= 0
		case []any:
			for _, x := range v {
				if !walk(x) {
					return false
				}
			}
		case *yaql.Map:
			if v == nil {
				return true
			}
			for k, x := range v.All() {
				if !walk(k) || !walk(x) {
					return false
				}
			}
		case nil, bool, int64, float64, int:
		default:
			return false
		}
		return true
	}
	return walk(v)
}

// secretPattern finds "password: x", "token=x", `"secret": "x"` and the like.
var secretPattern = regexp.MustCompile(
	`(?i)([\w.-]*(?:password|passwd|passphrase|secret|auth_?token|api_?key|private_?key|x-auth-token|adminpass|ipmi_pass)[\w-]*["']?\s*(?:=>|[:=])\s*)("[^"]*"|'[^']*'|[^\s,;&}\])]+)`)

// urlSecret finds the password of a URL.
var urlSecret = regexp.MustCompile(`(\w+://[^\s:/@]+:)[^\s/@]+@`)

// maskSecrets takes what looks like a secret out of a text for logs and errors.
func maskSecrets(s string) string {
	return urlSecret.ReplaceAllString(secretPattern.ReplaceAllString(s, "$1***"), "$1***@")
}

func text(v any) (string, error) {
	b, err := yaql.JSON(v)
	return string(b), err
}
