package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// treeFiles collects a template with the local files it leads to, as Heat takes them: named by their path
// from the folder of the root template. A file that names others by other paths is rewritten; one that needs
// no change keeps its text, and with it the places that messages name.
type treeFiles struct {
	root  string            // absolute folder of the root template
	files map[string]string // by name
}

// name is how the files of a stack name the local file abs.
func (t *treeFiles) name(abs string) string {
	rel, err := filepath.Rel(t.root, abs)
	if err != nil {
		return filepath.ToSlash(abs)
	}
	return filepath.ToSlash(rel)
}

// template reads the root template.
func (t *treeFiles) template(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	t.root = filepath.Dir(abs)
	if err := t.add(abs, true); err != nil {
		return "", err
	}
	return t.files[t.name(abs)], nil
}

// environment adds an environment file and what its registry leads to, and returns its name.
func (t *treeFiles) environment(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	text, err := readFile(abs)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	env, err := parseMapping(path, []byte(text))
	if err != nil {
		return "", err
	}
	changed := false
	if reg, ok := lookup(env, "resource_registry").(*yaml11.OrderedMap); ok {
		if changed, err = t.registry(reg, filepath.Dir(abs)); err != nil {
			return "", fmt.Errorf("%s: resource_registry: %w", path, err)
		}
	}
	if changed {
		b, err := yaml11.Marshal(env)
		if err != nil {
			return "", err
		}
		text = string(b)
	}
	t.files[t.name(abs)] = text
	return t.name(abs), nil
}

func (t *treeFiles) registry(reg *yaml11.OrderedMap, dir string) (changed bool, err error) {
	for _, k := range reg.Keys() {
		v, _ := reg.Get(k)
		if m, ok := v.(*yaml11.OrderedMap); ok {
			c, err := t.registry(m, dir)
			if err != nil {
				return false, err
			}
			changed = changed || c
			continue
		}
		ref, ok := v.(string)
		if !ok || !isTemplateName(ref) {
			continue
		}
		name, err := t.reference(ref, dir, true)
		if err != nil {
			return false, fmt.Errorf("%s: %w", k, err)
		}
		if name != ref {
			reg.Set(k, name)
			changed = true
		}
	}
	return changed, nil
}

func isTemplateName(s string) bool {
	return strings.HasSuffix(s, ".yaml") || strings.HasSuffix(s, ".template")
}

// reference adds the file that ref means, seen from dir, and returns its name.
func (t *treeFiles) reference(ref, dir string, isTemplate bool) (string, error) {
	local := strings.TrimPrefix(ref, "file://")
	if strings.Contains(local, "://") {
		return "", fmt.Errorf("%s: only local files can be read", ref)
	}
	if !filepath.IsAbs(local) {
		local = filepath.Join(dir, filepath.FromSlash(local))
	}
	return t.name(local), t.add(local, isTemplate)
}

// add reads a file and, if it is a template, what it leads to.
func (t *treeFiles) add(abs string, isTemplate bool) error {
	name := t.name(abs)
	if _, done := t.files[name]; done {
		return nil
	}
	text, err := readFile(abs)
	if err != nil {
		return fmt.Errorf("%s: %w", abs, err)
	}
	t.files[name] = text
	if !isTemplate {
		return nil
	}
	doc, err := parseMapping(abs, []byte(text))
	if err != nil {
		return err
	}
	changed, err := t.relink(doc, filepath.Dir(abs))
	if err != nil {
		return fmt.Errorf("%s: %w", abs, err)
	}
	if changed {
		b, err := yaml11.Marshal(doc)
		if err != nil {
			return err
		}
		t.files[name] = string(b)
	}
	return nil
}

// relink adds what get_file and types of a template name, and puts the names of the stack's files in.
func (t *treeFiles) relink(v any, dir string) (changed bool, err error) {
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			c, err := t.relink(e, dir)
			if err != nil {
				return false, err
			}
			changed = changed || c
		}
	case *yaml11.OrderedMap:
		for _, k := range x.Keys() {
			e, _ := x.Get(k)
			ref, isText := e.(string)
			var c bool
			switch {
			case isText && (k == "get_file" || k == "type" && isTemplateName(ref)):
				var name string
				if name, err = t.reference(ref, dir, k == "type"); err == nil && name != ref {
					x.Set(k, name)
					c = true
				}
			default:
				c, err = t.relink(e, dir)
			}
			if err != nil {
				return false, err
			}
			changed = changed || c
		}
	}
	return changed, nil
}
