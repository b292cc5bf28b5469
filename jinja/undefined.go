package jinja

import "fmt"

// UndefinedMode says what an unknown name or attribute does.
type UndefinedMode int

const (
	// Lenient prints nothing, iterates over nothing, is false; everything else is an error. Jinja2's default.
	Lenient UndefinedMode = iota
	// Strict makes every use an error, except asking whether it is defined.
	Strict
	// Chainable is Lenient whose attributes and items are again undefined.
	Chainable
	// Debug is Lenient that prints its own expression.
	Debug
)

// Undefined is the value of an unknown name, attribute or item.
type Undefined struct {
	hint   string
	obj    any
	hasObj bool
	name   any
	strict bool
	unsafe bool // the sandbox keeps it out of reach
	mode   UndefinedMode
}

func (u *Undefined) message() string {
	if u.hint != "" {
		return u.hint
	}
	if !u.hasObj {
		return fmt.Sprintf("'%s' is undefined", Str(u.name))
	}
	if s, ok := u.name.(string); ok {
		return fmt.Sprintf("'%s' has no attribute '%s'", objectTypeRepr(u.obj), s)
	}
	return fmt.Sprintf("%s has no element %s", objectTypeRepr(u.obj), Repr(u.name))
}

// Message says what is undefined, in Jinja2's words.
func (u *Undefined) Message() string { return u.message() }

func (u *Undefined) err() *Error {
	if u.unsafe {
		return errorf(SecurityError, "access to attribute '%s' of '%s' object is unsafe.", Str(u.name), typeName(u.obj))
	}
	return errorf(UndefinedError, "%s", u.message())
}

func (u *Undefined) str() string {
	if u.mode != Debug {
		return ""
	}
	if u.hint != "" {
		return "{{ undefined value printed: " + u.hint + " }}"
	}
	if !u.hasObj {
		return "{{ " + Str(u.name) + " }}"
	}
	return "{{ no such element: " + objectTypeRepr(u.obj) + "[" + Repr(u.name) + "] }}"
}

func objectTypeRepr(v any) string {
	if v == nil {
		return "None"
	}
	switch v.(type) {
	case *namespace:
		return "jinja2.utils.Namespace object"
	case *Macro:
		return "jinja2.runtime.Macro object"
	case *loopContext:
		return "jinja2.runtime.LoopContext object"
	case Markup:
		return "markupsafe.Markup object"
	}
	return typeName(v) + " object"
}
