package yaml11

import (
	"math"
	"strconv"
	"strings"
)

// resolveScalar gives a plain scalar the type PyYAML's implicit resolvers give it. Dates, "=" and
// integers beyond 64 bits stay strings.
func resolveScalar(s string) (Kind, any) {
	if s == "" {
		return Null, nil
	}
	switch s {
	case "~", "null", "Null", "NULL":
		return Null, nil
	case "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return Bool, true
	case "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return Bool, false
	}
	c := s[0]
	if c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') {
		return String, s
	}
	if i, ok, big := parseInt(s); ok {
		if big {
			return String, s
		}
		return Int, i
	}
	if f, ok := parseFloat(s); ok {
		return Float, f
	}
	return String, s
}

// splitSign returns the rest of s after an optional sign.
func splitSign(s string) (neg bool, rest string) {
	if s != "" && (s[0] == '-' || s[0] == '+') {
		return s[0] == '-', s[1:]
	}
	return false, s
}

func all(s string, ok func(c byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

func decimalOrUnderscore(c byte) bool { return c >= '0' && c <= '9' || c == '_' }

// parseInt implements the regular expression tag:yaml.org,2002:int of PyYAML and construct_yaml_int.
// big tells that it is an integer that does not fit.
func parseInt(s string) (v int64, ok, big bool) {
	neg, r := splitSign(s)
	base, digits := 10, r
	switch {
	case r == "":
		return 0, false, false
	case r == "0":
		return 0, true, false
	case strings.HasPrefix(r, "0b"):
		base, digits = 2, r[2:]
		ok = digits != "" && all(digits, func(c byte) bool { return c == '0' || c == '1' || c == '_' })
	case strings.HasPrefix(r, "0x"):
		base, digits = 16, r[2:]
		ok = digits != "" && all(digits, func(c byte) bool {
			return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' || c == '_'
		})
	case r[0] == '0':
		base, digits = 8, r[1:]
		ok = all(digits, func(c byte) bool { return c >= '0' && c <= '7' || c == '_' })
		if strings.Trim(digits, "_") == "" {
			digits = "0"
		}
	case r[0] >= '1' && r[0] <= '9':
		if strings.Contains(r, ":") {
			return parseSexagesimal(neg, r)
		}
		ok = all(r, decimalOrUnderscore)
	}
	if !ok {
		return 0, false, false
	}
	digits = strings.ReplaceAll(digits, "_", "")
	if digits == "" {
		return 0, false, false
	}
	if neg {
		digits = "-" + digits
	}
	v, err := strconv.ParseInt(digits, base, 64)
	return v, true, err != nil
}

// parseSexagesimal reads [1-9][0-9_]*(:[0-5]?[0-9])+, base 60.
func parseSexagesimal(neg bool, r string) (v int64, ok, big bool) {
	parts := strings.Split(r, ":")
	for i, p := range parts {
		if i == 0 {
			if !all(p, decimalOrUnderscore) {
				return 0, false, false
			}
		} else if !sixty(p) {
			return 0, false, false
		}
		d, err := strconv.ParseInt(strings.ReplaceAll(p, "_", ""), 10, 64)
		if err != nil || v > (math.MaxInt64-d)/60 {
			return 0, true, true
		}
		v = v*60 + d
	}
	if neg {
		v = -v
	}
	return v, true, false
}

// sixty matches [0-5]?[0-9].
func sixty(p string) bool {
	switch len(p) {
	case 1:
		return p[0] >= '0' && p[0] <= '9'
	case 2:
		return p[0] >= '0' && p[0] <= '5' && p[1] >= '0' && p[1] <= '9'
	}
	return false
}

// parseFloat implements the regular expression tag:yaml.org,2002:float of PyYAML 6 and
// construct_yaml_float. An exponent needs a point before it and a sign: 1e3 is a string.
func parseFloat(s string) (float64, bool) {
	switch s {
	case ".nan", ".NaN", ".NAN":
		return math.NaN(), true
	}
	neg, r := splitSign(s)
	switch r {
	case ".inf", ".Inf", ".INF":
		if neg {
			return math.Inf(-1), true
		}
		return math.Inf(1), true
	}
	whole, frac, found := strings.Cut(r, ".")
	if !found {
		return 0, false
	}
	if strings.Contains(whole, ":") {
		return parseSexagesimalFloat(neg, whole, frac)
	}
	if whole == "" {
		if len(r) != len(s) || frac == "" || frac[0] == '_' { // no sign before a bare point
			return 0, false
		}
	} else if whole[0] == '_' || !all(whole, decimalOrUnderscore) {
		return 0, false
	}
	mant := frac
	if i := strings.IndexAny(frac, "eE"); i >= 0 {
		exp := frac[i+1:]
		mant = frac[:i]
		if len(exp) < 2 || exp[0] != '-' && exp[0] != '+' ||
			!all(exp[1:], func(c byte) bool { return c >= '0' && c <= '9' }) {
			return 0, false
		}
	}
	if !all(mant, decimalOrUnderscore) || whole == "" && mant == "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(r, "_", ""), 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	if neg {
		f = -f
	}
	return f, true
}

func parseSexagesimalFloat(neg bool, whole, frac string) (float64, bool) {
	parts := strings.Split(whole, ":")
	if parts[0] == "" || parts[0][0] == '_' || !all(parts[0], decimalOrUnderscore) || !all(frac, decimalOrUnderscore) {
		return 0, false
	}
	var v float64
	for i, p := range parts {
		if i > 0 && !sixty(p) {
			return 0, false
		}
		if i == len(parts)-1 {
			p += "." + frac
		}
		d, err := strconv.ParseFloat(strings.ReplaceAll(p, "_", ""), 64)
		if err != nil {
			return 0, false
		}
		v = v*60 + d
	}
	if neg {
		v = -v
	}
	return v, true
}

// isTimestamp reports whether a plain scalar would be a date or a time for PyYAML; the emitter quotes it.
func isTimestamp(s string) bool {
	if len(s) < 8 || len(s) > 40 || s[4] != '-' {
		return false
	}
	return all(s[:4], func(c byte) bool { return c >= '0' && c <= '9' }) &&
		all(s[5:], func(c byte) bool { return c >= '0' && c <= '9' || strings.IndexByte("-:.+ \tTtZ", c) >= 0 })
}
