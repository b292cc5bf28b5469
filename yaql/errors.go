package yaql

import (
	"errors"
	"fmt"
)

// ErrorKind says what went wrong, so that callers can tell a bad expression
// from bad data or an exceeded limit.
type ErrorKind int

// The kinds of errors.
const (
	ErrSyntax   ErrorKind = iota + 1 // the expression does not parse
	ErrName                          // no such function, method or property
	ErrArgs                          // no overload takes these arguments
	ErrKey                           // missing key, index out of range, empty sequence
	ErrValue                         // a value cannot be converted or computed with
	ErrLimit                         // a limit of Options was exceeded
	ErrCanceled                      // the context was canceled
	ErrFunction                      // a function of the caller's failed; see Unwrap
)

// Error is every error of this package.
type Error struct {
	Kind    ErrorKind
	Message string
	Column  int    // 1-based, in characters; 0 when unknown
	Source  string // the expression
	Err     error  // cause, may be nil
}

func (e *Error) Error() string {
	msg := e.Message
	if e.Column > 0 {
		msg += fmt.Sprintf(" (column %d of %q)", e.Column, shorten(e.Source, 200))
	}
	return msg
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// IsKind reports whether err is an *Error of the given kind.
func IsKind(err error, kind ErrorKind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

func errorf(kind ErrorKind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n]) + "…"
}
