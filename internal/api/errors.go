package api

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/tripleo/tripleo/internal/store"
)

// Kind is the class of an error; it decides the HTTP status.
type Kind int

// The kinds of error a service tells its clients apart by.
const (
	KindInternal Kind = iota
	KindInvalid
	KindUnauthorized
	KindForbidden
	KindNotFound
	KindConflict
	KindOverLimit
	KindUnavailable
	KindTooLarge
	KindNotAcceptable
	KindMethodNotAllowed
	KindUnprocessable
	KindPreconditionFailed
	KindFull
	KindLengthRequired
	KindNotImplemented
)

var kindStatus = map[Kind]int{ //nolint:gochecknoglobals // constant table
	KindInternal: http.StatusInternalServerError, KindInvalid: http.StatusBadRequest,
	KindUnauthorized: http.StatusUnauthorized, KindForbidden: http.StatusForbidden,
	KindNotFound: http.StatusNotFound, KindConflict: http.StatusConflict,
	KindOverLimit: http.StatusForbidden, KindUnavailable: http.StatusServiceUnavailable,
	KindTooLarge: http.StatusRequestEntityTooLarge, KindNotAcceptable: http.StatusNotAcceptable,
	KindMethodNotAllowed: http.StatusMethodNotAllowed, KindUnprocessable: http.StatusUnprocessableEntity,
	KindPreconditionFailed: http.StatusPreconditionFailed,
	KindFull:               http.StatusInsufficientStorage,
	KindLengthRequired:     http.StatusLengthRequired,
	KindNotImplemented:     http.StatusNotImplemented,
}

// Error is an error whose Message may be shown to the client. Its cause, if
// any, is for the log only.
type Error struct {
	Kind    Kind
	Message string
	Type    string // the service's own name for it, e.g. "StackExists"; may be empty
	cause   error
}

func (e *Error) Error() string {
	if e.cause != nil {
		return e.Message + ": " + e.cause.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.cause }

// Status returns the HTTP status of the error's kind.
func (e *Error) Status() int { return kindStatus[e.Kind] }

// Wrap adds a cause for the log and returns e.
func (e *Error) Wrap(cause error) *Error { e.cause = cause; return e }

// Named sets the service's own name of the error and returns e.
func (e *Error) Named(typ string) *Error { e.Type = typ; return e }

func newf(k Kind, format string, args []any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Invalid is a request that can never succeed as it stands (400).
func Invalid(format string, args ...any) *Error { return newf(KindInvalid, format, args) }

// Unauthorized is a request without a valid token (401).
func Unauthorized(format string, args ...any) *Error { return newf(KindUnauthorized, format, args) }

// Forbidden is a request the caller may not make (403).
func Forbidden(format string, args ...any) *Error { return newf(KindForbidden, format, args) }

// NotFound is a thing that does not exist, or that the caller may not see (404).
func NotFound(format string, args ...any) *Error { return newf(KindNotFound, format, args) }

// Conflict is a request that clashes with the present state (409).
func Conflict(format string, args ...any) *Error { return newf(KindConflict, format, args) }

// OverLimit is a request beyond a quota (403).
func OverLimit(format string, args ...any) *Error { return newf(KindOverLimit, format, args) }

// Unavailable is a request that may succeed later (503).
func Unavailable(format string, args ...any) *Error { return newf(KindUnavailable, format, args) }

// TooLarge is a body beyond its bound (413).
func TooLarge(format string, args ...any) *Error { return newf(KindTooLarge, format, args) }

// NotAcceptable is an unsupported microversion or media type (406).
func NotAcceptable(format string, args ...any) *Error { return newf(KindNotAcceptable, format, args) }

// Unprocessable is a well-formed request that cannot be carried out (422).
func Unprocessable(format string, args ...any) *Error { return newf(KindUnprocessable, format, args) }

// PreconditionFailed is a failed If-Match or the like (412).
func PreconditionFailed(format string, args ...any) *Error {
	return newf(KindPreconditionFailed, format, args)
}

// Full is a request for which there is no space left (507).
func Full(format string, args ...any) *Error { return newf(KindFull, format, args) }

// NotImplemented is a part of an API that can never work here (501).
func NotImplemented(format string, args ...any) *Error {
	return newf(KindNotImplemented, format, args)
}

// asError finds the Error in err, or makes one: what the store calls not found
// or conflict keeps that meaning with a general text, everything else is
// internal and its text is not for clients.
func asError(err error) *Error {
	var e *Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &tooLarge):
		return TooLarge("the request body is larger than %d bytes", tooLarge.Limit).Wrap(err)
	case errors.Is(err, store.ErrFull):
		return Full("there is no space left to store this").Wrap(err)
	case errors.Is(err, store.ErrNotFound):
		return NotFound("the resource could not be found").Wrap(err)
	case errors.Is(err, store.ErrConflict):
		return Conflict("the resource exists already or is in use").Wrap(err)
	default:
		return (&Error{Kind: KindInternal, Message: "internal error"}).Wrap(err)
	}
}
