package hardware

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// MinRootBytes is the smallest disk taken as root disk when there are no hints (ironic-python-agent: 4 GiB).
const MinRootBytes = 4 << 30

// ErrNoRootDisk means that no disk fits; errors.Is finds it under the explanation.
var ErrNoRootDisk = errors.New("no suitable root disk")

// maxHint bounds the text of one hint.
const maxHint = 1024

// SelectRoot picks the root disk: the first in the order of size (then name) that satisfies every hint, or
// without hints the smallest one of at least MinRootBytes. The hints are Ironic's properties.root_device.
// The error names each disk and why it was refused.
func SelectRoot(disks []Disk, hints map[string]any) (Disk, error) {
	matchers, err := ParseHints(hints)
	if err != nil {
		return Disk{}, err
	}
	ordered := slices.Clone(disks)
	slices.SortStableFunc(ordered, func(a, b Disk) int {
		if a.Size != b.Size {
			if a.Size < b.Size {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	var refused []string
	for _, d := range ordered {
		why := refusal(d, matchers)
		if why == "" {
			return d, nil
		}
		refused = append(refused, d.Name+": "+why)
	}
	if len(refused) == 0 {
		return Disk{}, fmt.Errorf("%w: the machine has no disks", ErrNoRootDisk)
	}
	return Disk{}, fmt.Errorf("%w: %s", ErrNoRootDisk, strings.Join(refused, "; "))
}

func refusal(d Disk, matchers []Hint) string {
	if len(d.Holders) > 0 {
		return "it is part of " + strings.Join(d.Holders, ", ")
	}
	if len(matchers) == 0 {
		if d.Size < MinRootBytes {
			return fmt.Sprintf("%d MiB is less than the %d MiB needed", d.Size>>20, int64(MinRootBytes)>>20)
		}
		return ""
	}
	for _, h := range matchers {
		if ok, have := h.Match(d); !ok {
			return fmt.Sprintf("%s is %q, the hint wants %q", h.Name, have, h.Text)
		}
	}
	return ""
}

// Hint is one parsed root device hint.
type Hint struct {
	Name string // key of the hint
	Text string // as the operator wrote it
	op   string
	args []string
}

// Operators of oslo.utils' specs_matcher as root device hints use them. "=" means "at least" for numbers there,
// an inheritance from Nova's flavors that is kept on purpose.
var (
	numericOps = [...]string{"==", "!=", ">=", "<=", "=", ">", "<"}
	stringOps  = [...]string{"s==", "s!=", "s>=", "s<=", "s>", "s<"}
)

// hintValues maps a hint's key to the disk's value as text; size in GiB, rotational as true or false.
var hintValues = map[string]func(Disk) string{
	"size":                 func(d Disk) string { return strconv.FormatInt(d.Size>>30, 10) },
	"rotational":           func(d Disk) string { return strconv.FormatBool(d.Rotational) },
	"name":                 func(d Disk) string { return d.Name },
	"by_path":              func(d Disk) string { return d.ByPath },
	"model":                func(d Disk) string { return d.Model },
	"vendor":               func(d Disk) string { return d.Vendor },
	"serial":               func(d Disk) string { return d.Serial },
	"wwn":                  func(d Disk) string { return d.WWN },
	"wwn_with_extension":   func(d Disk) string { return d.WWNWithExtension },
	"wwn_vendor_extension": func(d Disk) string { return d.WWNVendorExtension },
	"hctl":                 func(d Disk) string { return d.HCTL },
}

// ParseHints checks the hints and brings them into a fixed order. Values may be text, numbers or booleans.
func ParseHints(hints map[string]any) ([]Hint, error) {
	var out []Hint
	for _, name := range slices.Sorted(maps.Keys(hints)) {
		if _, known := hintValues[name]; !known {
			return nil, fmt.Errorf("root device hint %q is unknown; known are %s", name,
				strings.Join(slices.Sorted(maps.Keys(hintValues)), ", "))
		}
		text, err := hintText(hints[name])
		if err != nil {
			return nil, fmt.Errorf("root device hint %q: %w", name, err)
		}
		h := Hint{Name: name, Text: text}
		if err := h.parse(); err != nil {
			return nil, fmt.Errorf("root device hint %q: %w", name, err)
		}
		out = append(out, h)
	}
	return out, nil
}

func hintText(v any) (string, error) {
	var text string
	switch t := v.(type) {
	case string:
		text = strings.TrimSpace(t)
	case bool:
		text = strconv.FormatBool(t)
	case float64:
		text = strconv.FormatFloat(t, 'f', -1, 64)
	case int:
		text = strconv.Itoa(t)
	default:
		return "", fmt.Errorf("a text, number or boolean is expected, not %T", v)
	}
	if text == "" || len(text) > maxHint {
		return "", fmt.Errorf("between 1 and %d characters are expected", maxHint)
	}
	return text, nil
}

func (h *Hint) parse() error {
	text := h.Text
	if h.Name == "rotational" {
		b, err := parseBool(text)
		if err != nil {
			return err
		}
		h.op, h.args = "s==", []string{strconv.FormatBool(b)}
		return nil
	}
	for _, op := range []string{"<or>", "<all-in>", "<in>"} {
		if strings.HasPrefix(text, op) {
			h.op = op
			for part := range strings.SplitSeq(text[len(op):], op) {
				if part = strings.TrimSpace(part); part != "" {
					h.args = append(h.args, fold(part))
				}
			}
			return h.check()
		}
	}
	for _, op := range slices.Concat(stringOps[:], numericOps[:]) {
		if rest, ok := strings.CutPrefix(text, op); ok {
			h.op, h.args = op, []string{fold(strings.TrimSpace(rest))}
			return h.check()
		}
	}
	h.op, h.args = "s==", []string{fold(text)}
	if h.Name == "size" {
		h.op = "=="
	}
	return h.check()
}

func (h *Hint) check() error {
	if len(h.args) == 0 || h.args[0] == "" {
		return fmt.Errorf("operator %q needs a value after it", h.op)
	}
	if slices.Contains(numericOps[:], h.op) || h.Name == "size" {
		for _, a := range h.args {
			if _, err := strconv.ParseFloat(a, 64); err != nil {
				return fmt.Errorf("%q is not a number", a)
			}
		}
	}
	return nil
}

// Match compares the disk with the hint and also returns the disk's value.
func (h Hint) Match(d Disk) (ok bool, have string) {
	have = hintValues[h.Name](d)
	value := fold(have)
	if value == "" {
		return h.op == "s!=", have
	}
	want := h.args[0]
	switch h.op {
	case "<in>":
		return strings.Contains(value, want), have
	case "<all-in>":
		return !slices.ContainsFunc(h.args, func(a string) bool { return !strings.Contains(value, a) }), have
	case "<or>":
		return slices.Contains(h.args, value), have
	case "s==":
		return value == want, have
	case "s!=":
		return value != want, have
	case "s>=":
		return value >= want, have
	case "s<=":
		return value <= want, have
	case "s>":
		return value > want, have
	case "s<":
		return value < want, have
	}
	return compareNumbers(h.op, value, want), have
}

func compareNumbers(op, value, want string) bool {
	x, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return false
	}
	y, err := strconv.ParseFloat(want, 64)
	if err != nil {
		return false
	}
	switch op {
	case "==":
		return x == y
	case "!=":
		return x != y
	case "=", ">=":
		return x >= y
	case "<=":
		return x <= y
	case ">":
		return x > y
	}
	return x < y
}

// fold makes texts comparable as Ironic does: lower case, and percent-escapes resolved, since Ironic escapes
// blanks in the hints it passes on.
func fold(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		s = u
	}
	return strings.ToLower(strings.TrimSpace(s))
}

// parseBool knows the words oslo.utils' bool_from_string knows.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "t", "true", "on", "y", "yes":
		return true, nil
	case "0", "f", "false", "off", "n", "no":
		return false, nil
	}
	return false, fmt.Errorf("%q is not a boolean", s)
}
