// Package lint finds what is wrong or of no use in a tree of Heat templates, without a service to ask: the
// template, every template it leads to through types, mappings of the resource_registry and groups, and the
// environments that go with it.
//
// It is pure: files come from a function, resource types from the caller. Each file is looked at as text
// (names that lead nowhere, what nobody uses, conditions that never change) wherever it stands in the tree;
// each use of a file is computed with what is known of its parameters (types, properties, constraints,
// attributes).
package lint

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/orchestration/resources"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Map is the ordered mapping of all values.
type Map = yaml11.OrderedMap

// Severities.
const (
	Error   = "error"   // Heat would refuse it, or fail on it
	Warning = "warning" // it works, and is most likely not what was meant
)

// Finding is one thing that is wrong.
type Finding struct {
	File     string `json:"file"`
	Line     int    `json:"line"`   // 0: the file as a whole
	Column   int    `json:"column"` // 1-based
	Severity string `json:"severity"`
	Rule     string `json:"rule"` // such as unused-parameter
	Path     string `json:"path"` // such as resources.net.properties.name
	Message  string `json:"message"`
}

// String returns "file:line:column: severity: path: message [rule]".
func (f Finding) String() string {
	pos := f.File
	if f.Line > 0 {
		pos += ":" + strconv.Itoa(f.Line) + ":" + strconv.Itoa(f.Column)
	}
	if f.Path != "" {
		pos += ": " + f.Severity + ": " + f.Path
	} else {
		pos += ": " + f.Severity
	}
	return pos + ": " + f.Message + " [" + f.Rule + "]"
}

// Input is what is looked at.
type Input struct {
	Template     string   // name of the root template
	Environments []string // names, in the order in which they merge
	Parameters   *Map     // given besides, may be nil
	// Read returns the text of a file by its name: a path, relative ones resolved against the folder of the
	// file that names it.
	Read  func(name string) (string, error)
	Types []*resources.Type // resource types that exist
}

// Limits of what one Run looks at.
const (
	maxDepth     = 20     // of nested templates
	maxUses      = 20_000 // computed templates
	maxFindings  = 10_000
	maxCondition = 256 // combinations of parameter values a condition is tried with
)

// Run looks at a tree. The findings are in order of file and place.
func Run(ctx context.Context, in Input) []Finding {
	l := &linter{ctx: ctx, in: in, types: map[string]*resources.Type{}, files: map[string]*file{}, seen: map[Finding]bool{}, yaql: hot.NewYaql()}
	for _, t := range in.Types {
		l.types[t.Name] = t
	}
	env := l.environment()
	root := l.load(in.Template, "", nil)
	if root != nil && root.t != nil {
		given := env.Parameters.Clone()
		for k, v := range in.Parameters.All() {
			given.Set(k, v)
		}
		l.use(root, env, given, 0)
	}
	for _, f := range l.files {
		l.unused(f, f == root)
	}
	l.strayDefaults(env)
	slices.SortStableFunc(l.out, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Message, b.Message))
	})
	return l.out
}

// linter is one Run.
type linter struct {
	ctx   context.Context //nolint:containedctx // lives as long as one call of Run
	in    Input
	types map[string]*resources.Type
	files map[string]*file
	out   []Finding
	seen  map[Finding]bool
	yaql  *hot.Yaql
	uses  int
	// member is the group whose members are looked at: what is found at its place is in it.
	member struct{ pos, path string }
}

// file is a template that was read.
type file struct {
	name string
	t    *hot.Template // nil if nothing of it can be read
	// faulty: parts of it could not be read.
	faulty bool
	// given are the parameters that some use of the file sets: part of its interface, so that they may be
	// unused in it.
	given map[string]bool
}

// add keeps a finding, once: members of a group and uses of a file say the same again and again, and a name
// that leads nowhere is found by the parser, by the look at the text and by the computation.
func (l *linter) add(f Finding) {
	key := f
	key.Path, key.Severity, key.Rule = "", "", ""
	name := Finding{File: f.File, Line: f.Line, Column: f.Column}
	named := f.Rule == "undefined" || strings.Contains(f.Message, "is not defined") || strings.Contains(f.Message, "is neither a parameter")
	if l.seen[key] || named && f.Line > 0 && l.seen[name] || len(l.out) >= maxFindings {
		return
	}
	l.seen[key] = true
	if named {
		l.seen[name] = true
	}
	l.out = append(l.out, f)
}

// report adds a fault at a place "file:line:column".
func (l *linter) report(pos, at, severity, rule, format string, args ...any) {
	if l.member.pos == pos && pos != "" {
		at = l.member.path + strings.TrimPrefix(at, "resources")
	}
	f := Finding{File: pos, Path: at, Severity: severity, Rule: rule, Message: fmt.Sprintf(format, args...)}
	if parts := strings.Split(pos, ":"); len(parts) >= 3 {
		n := len(parts)
		line, err1 := strconv.Atoi(parts[n-2])
		column, err2 := strconv.Atoi(parts[n-1])
		if err1 == nil && err2 == nil {
			f.File, f.Line, f.Column = strings.Join(parts[:n-2], ":"), line, column
		}
	}
	l.add(f)
}

// errs adds the faults of an error of package hot or resources.
func (l *linter) errs(err error, rule string) {
	for _, e := range hot.List(err) {
		l.report(e.Pos, e.Path, Error, rule, "%s", e.Msg)
	}
}

func (l *linter) warnings(list yaml11.Warnings) {
	for _, w := range list {
		l.report(fmt.Sprintf("%s:%d:%d", w.File, w.Line, max(w.Column, 1)), "", Warning, "duplicate-key", "%s", w.Msg)
	}
}

// load reads and parses a template once. at is the expression or mapping that names it, for the message if
// there is no such file.
func (l *linter) load(name, pos string, at *hot.Expr) *file {
	if f, ok := l.files[name]; ok {
		return f
	}
	f := &file{name: name, given: map[string]bool{}}
	l.files[name] = f
	text, err := l.in.Read(name)
	if err != nil {
		if pos == "" {
			pos = name
		}
		l.report(pos, at.Path(), Error, "missing-file", "the template %s cannot be read: %v", name, err)
		return f
	}
	t, warnings, err := hot.Parse(name, []byte(text))
	l.warnings(warnings)
	l.errs(err, "syntax")
	if err == nil {
		l.conditions(t)
	}
	if t != nil { // what can be read of a faulty template is looked at too
		f.t, f.faulty = t, err != nil
		l.text(f, t)
	}
	return f
}

// relative resolves a reference in a file against the folder of that file. URLs and absolute paths stay.
func relative(from, ref string) string {
	ref = strings.TrimPrefix(ref, "file://")
	if strings.Contains(ref, "://") || path.IsAbs(ref) {
		return ref
	}
	return path.Join(path.Dir(from), ref)
}

// environment reads and merges the environments; templates in their registries become names of files.
func (l *linter) environment() *hot.Environment {
	texts := map[string]string{}
	var names []string
	for _, name := range l.in.Environments {
		text, err := l.in.Read(name)
		if err != nil {
			l.report(name, "", Error, "missing-file", "the environment cannot be read: %v", err)
			continue
		}
		_, warnings, err := hot.ParseEnvironment(name, []byte(text))
		l.warnings(warnings)
		if err != nil {
			l.errs(err, "environment")
			continue
		}
		names, texts[name] = append(names, name), text
	}
	root, _ := l.in.Read(l.in.Template)
	env, err := hot.MergeFiles(names, texts, func() map[string]string { return hot.ParameterTypes(root, texts) })
	l.errs(err, "environment")
	// Mappings are relative to the file they stand in, so each file's are put over what was merged.
	for _, name := range names {
		if one, _, err := hot.ParseEnvironment(name, []byte(texts[name])); err == nil {
			base := baseURL(name, texts[name])
			one.Registry.Templates(func(target string) string { return relative(base, target) })
			one.Parameters, one.Defaults = yaml11.NewMap(), yaml11.NewMap()
			env.Merge(one)
		}
	}
	return env
}

// baseURL returns the file against which the mappings of an environment are resolved: itself, or what
// base_url in its registry names.
func baseURL(name, text string) string {
	n, _, err := yaml11.Parse(name, []byte(text), yaml11.Limits{})
	if err != nil {
		return name
	}
	if b, ok := n.Get("resource_registry").Get("base_url").Value().(string); ok && b != "" {
		return relative(name, b) + "/"
	}
	return name
}

// strayDefaults warns of parameter_defaults that no template of the tree declares and that look like one
// that is declared. (Others are usual: an environment serves more than one tree.)
func (l *linter) strayDefaults(env *hot.Environment) {
	declared := map[string]bool{}
	for _, f := range l.files {
		if f.t == nil || f.faulty {
			return // what it declares is not known
		}
		for _, p := range f.t.Parameters {
			declared[p.Name] = true
		}
	}
	all := make([]string, 0, len(declared))
	for n := range declared {
		all = append(all, n)
	}
	for _, name := range l.in.Environments {
		text, err := l.in.Read(name)
		if err != nil {
			continue
		}
		n, _, err := yaml11.Parse(name, []byte(text), yaml11.Limits{})
		if err != nil || n.Get("parameter_defaults") == nil {
			continue
		}
		for _, pr := range n.Get("parameter_defaults").Pairs {
			if like := hot.DidYouMean(pr.Key, all); !declared[pr.Key] && like != "" {
				l.report(pr.KeyNode.Pos(), "parameter_defaults."+pr.Key, Warning, "unknown-default", "no template of the tree declares this parameter%s", like)
			}
		}
	}
}
