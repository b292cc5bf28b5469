package jinja

import (
	"errors"
	"fmt"
)

// Kind says what sort of error a template ended with; the names are those of Jinja2 and Python.
type Kind string

// The kinds of errors.
const (
	SyntaxError      Kind = "TemplateSyntaxError"
	UndefinedError   Kind = "UndefinedError"
	TemplateNotFound Kind = "TemplateNotFound"
	NoneFound        Kind = "TemplatesNotFound"
	PythonRuntime    Kind = "RuntimeError"
	RuntimeError     Kind = "TemplateRuntimeError"
	FilterError      Kind = "FilterArgumentError"
	TypeError        Kind = "TypeError"
	ValueError       Kind = "ValueError"
	KeyError         Kind = "KeyError"
	IndexError       Kind = "IndexError"
	ZeroDivision     Kind = "ZeroDivisionError"
	AttributeError   Kind = "AttributeError"
	OverflowError    Kind = "OverflowError"
	SecurityError    Kind = "SecurityError"
	LimitError       Kind = "LimitError" // a bound of Options was exceeded
)

// Error is any failure of a template. Message has no position; Error() has.
type Error struct {
	Kind     Kind
	Message  string
	Template string // name of the template, "" if it was parsed without one
	Line     int    // 1-based, 0 if unknown
	cause    error
}

func (e *Error) Error() string {
	where := e.Template
	if where == "" {
		where = "<template>"
	}
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", where, e.Line)
	}
	return fmt.Sprintf("%s: %s: %s", where, e.Kind, e.Message)
}

// Unwrap returns the cause, for instance the error of a loader or of the context.
func (e *Error) Unwrap() error { return e.cause }

func errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}
func typeErrorf(format string, args ...any) *Error  { return errorf(TypeError, format, args...) }
func valueErrorf(format string, args ...any) *Error { return errorf(ValueError, format, args...) }

// locate gives an error the position where it left the innermost node.
func locate(err error, template string, line int) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		if e.Line == 0 {
			e.Template, e.Line = template, line
		}
		return e
	}
	return &Error{Kind: RuntimeError, Message: err.Error(), Template: template, Line: line, cause: err}
}
