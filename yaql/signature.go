package yaql

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

type paramType int

const (
	typAny paramType = iota
	typBool
	typInt
	typPyInt // also a boolean, as Python's int; it arrives as an integer
	typNum
	typStr
	typIter // list, set or lazy sequence
	typList // list only
	typSeq  // lazy sequence only
	typDict
	typSet
	typRegex
	typTime
	typSpan
	typFunc // an expression, evaluated by the callee
	typCtx
)

func paramTypeOf(name string) (paramType, bool) {
	t, ok := map[string]paramType{"any": typAny, "bool": typBool, "int": typInt, "pyint": typPyInt, "num": typNum, "str": typStr,
		"list": typIter, "tuple": typList, "seq": typSeq, "dict": typDict, "set": typSet, "regex": typRegex,
		"time": typTime, "span": typSpan, "func": typFunc, "context": typCtx}[name]
	return t, ok
}

type param struct {
	name     string
	typ      paramType
	nullable bool
	optional bool
	def      any
	variadic bool
}

type overload struct {
	name     string
	params   []param
	isFunc   bool
	isMethod bool
	rules    bool // "k => v" arguments are rules, not keyword arguments
	kwargs   bool // takes keyword arguments of any name
	impl     func(*call) (any, error)
}

// absent is the default of a parameter whose absence matters.
type absent struct{}

func parseSignature(sig string) (*overload, error) {
	name, rest, ok := strings.Cut(sig, "(")
	body, tail, ok2 := strings.Cut(rest, ")")
	if !ok || !ok2 || strings.TrimSpace(tail) != "" {
		return nil, fmt.Errorf("yaql: signature %q is not name(param: type, ...)", sig)
	}
	o := &overload{name: strings.TrimSpace(name)}
	for _, part := range strings.Split(body, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if part == "**" {
			o.kwargs = true
			continue
		}
		p, err := parseParam(part)
		if err != nil {
			return nil, fmt.Errorf("yaql: signature %q: %w", sig, err)
		}
		if n := len(o.params); n > 0 && o.params[n-1].variadic {
			return nil, fmt.Errorf("yaql: signature %q: parameter after *%s", sig, o.params[n-1].name)
		}
		o.params = append(o.params, p)
	}
	return o, nil
}

func parseParam(s string) (param, error) {
	var p param
	s, def, hasDef := strings.Cut(s, "=")
	name, typ, _ := strings.Cut(s, ":")
	name, typ = strings.TrimSpace(name), strings.TrimSpace(typ)
	if typ == "" {
		typ = "any"
	}
	p.name, p.variadic = strings.TrimPrefix(name, "*"), strings.HasPrefix(name, "*")
	typ, p.nullable = strings.CutSuffix(typ, "?")
	var ok bool
	if p.typ, ok = paramTypeOf(typ); !ok {
		return p, fmt.Errorf("unknown type %q", typ)
	}
	p.nullable = p.nullable || p.typ == typAny
	if !hasDef {
		return p, nil
	}
	p.optional = true
	def = strings.TrimSpace(def)
	switch {
	case def == "absent":
		p.def = absent{}
	case def == "null":
	case def == "true" || def == "false":
		p.def = def == "true"
	case def == "span":
		p.def = Timespan(0)
	case strings.HasPrefix(def, "'"):
		p.def = strings.Trim(def, "'")
	default:
		n, err := strconv.ParseInt(def, 10, 64)
		if err != nil {
			return p, fmt.Errorf("default %q is not a literal", def)
		}
		p.def = n
	}
	return p, nil
}

func (p *param) accepts(v any) bool {
	if v == nil {
		return p.nullable
	}
	switch p.typ {
	case typAny:
		return true
	case typBool:
		_, ok := v.(bool)
		return ok
	case typInt:
		_, ok := v.(int64)
		return ok
	case typPyInt:
		switch v.(type) {
		case int64, bool:
			return true
		}
		return false
	case typNum:
		switch v.(type) {
		case int64, float64:
			return true
		}
		return false
	case typStr:
		_, ok := v.(string)
		return ok
	case typIter:
		switch v.(type) {
		case []any, *Set, *seq:
			return true
		}
		return false
	case typList:
		_, ok := v.([]any)
		return ok
	case typSeq:
		_, ok := v.(*seq)
		return ok
	case typDict:
		_, ok := asMapping(v)
		return ok
	case typSet:
		_, ok := v.(*Set)
		return ok
	case typRegex:
		_, ok := v.(*Regex)
		return ok
	case typTime:
		_, ok := v.(time.Time)
		return ok
	case typSpan:
		_, ok := v.(Timespan)
		return ok
	case typCtx:
		_, ok := v.(*Context)
		return ok
	}
	return true
}
