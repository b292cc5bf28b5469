package deployment

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

var (
	place      = regexp.MustCompile(`(\w[\w./-]*)\.yaml:(\d+)(?::\d+)?`)
	expression = regexp.MustCompile(`\{\{.*?\}\}`)
)

// origins finds for places in rendered templates of a plan those in the Jinja templates that an operator edits.
type origins struct {
	read  func(name string) ([]byte, error)
	lines map[string][]string // of a file; nil when there is none
}

func (r *run) origins(container string) *origins {
	return &origins{lines: map[string][]string{}, read: func(name string) ([]byte, error) { return r.getObject(container, name) }}
}

func (o *origins) file(name string) []string {
	if l, ok := o.lines[name]; ok {
		return l
	}
	o.lines[name] = nil
	if data, err := o.read(name); err == nil { // else the place is shown as it is
		o.lines[name] = strings.Split(string(data), "\n")
	}
	return o.lines[name]
}

// explain adds to every place in a rendered template, such as overcloud.yaml:26:30, where it comes from.
func (o *origins) explain(text string) string {
	return place.ReplaceAllStringFunc(text, func(m string) string {
		p := place.FindStringSubmatch(m)
		source := p[1] + ".j2.yaml"
		src := o.file(source)
		if src == nil {
			return m
		}
		n, err := strconv.Atoi(p[2])
		if err != nil {
			return m
		}
		if at := sourceLine(src, o.file(p[1]+".yaml"), n); at > 0 {
			return m + " (" + source + ":" + strconv.Itoa(at) + ")"
		}
		return m + " (rendered from " + source + ")"
	})
}

// sourceLine is the line of a Jinja template that a rendered line was made of: of those that can have been it the
// one with the most text outside of expressions; 0 when there is none or more than one such.
func sourceLine(src, out []string, n int) int {
	if n < 1 || n > len(out) || strings.TrimSpace(out[n-1]) == "" {
		return 0
	}
	found, best := 0, 0
	for i, l := range src {
		parts := expression.Split(l, -1)
		literal := len(strings.TrimSpace(strings.Join(parts, "")))
		if literal == 0 || literal < best {
			continue // an expression alone can be anything
		}
		for k := range parts {
			parts[k] = regexp.QuoteMeta(parts[k])
		}
		re, err := regexp.Compile("^" + strings.Join(parts, ".*") + "$")
		if err != nil || !re.MatchString(out[n-1]) {
			continue
		}
		if literal == best {
			found = 0
			continue
		}
		found, best = i+1, literal
	}
	return found
}

// explained is err with the origins of the places it names.
func (o *origins) explained(err error) error {
	if err == nil {
		return nil
	}
	if s := o.explain(err.Error()); s != err.Error() {
		return errors.New(s)
	}
	return err
}
