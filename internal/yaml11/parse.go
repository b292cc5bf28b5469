package yaml11

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	defaultBytes = 8 << 20
	defaultDepth = 200
	defaultNodes = 4_000_000
)

// Limits bounds what a document may cost. A zero field means the default.
type Limits struct {
	MaxBytes int // of the text; default 8 MiB
	MaxDepth int // nesting; default 200
	MaxNodes int // values with every alias expanded; default 4 million
}

func (l Limits) withDefaults() Limits {
	if l.MaxBytes == 0 {
		l.MaxBytes = defaultBytes
	}
	if l.MaxDepth == 0 {
		l.MaxDepth = defaultDepth
	}
	if l.MaxNodes == 0 {
		l.MaxNodes = defaultNodes
	}
	return l
}

// Error is a fault of a document with its place. Column is 0 where only the line is known.
type Error struct {
	File         string
	Line, Column int
	Msg          string
}

// Error returns "file:line:column: message".
func (e *Error) Error() string {
	pos := strconv.Itoa(e.Line)
	if e.Column > 0 {
		pos += ":" + strconv.Itoa(e.Column)
	}
	if e.File != "" {
		pos = e.File + ":" + pos
	}
	if e.Line == 0 {
		pos = e.File
	}
	if pos == "" {
		return e.Msg
	}
	return pos + ": " + e.Msg
}

// Warning is something PyYAML accepts in silence that is most likely a mistake.
type Warning struct {
	File         string
	Line, Column int
	Msg          string
}

// String returns "file:line:column: message".
func (w Warning) String() string {
	return (&Error{File: w.File, Line: w.Line, Column: w.Column, Msg: w.Msg}).Error()
}

// Warnings is a list of Warning in order of appearance.
type Warnings []Warning

// Parse reads exactly one document. name goes into positions and messages. An empty document is Null.
// The error, if any, is an *Error.
func Parse(name string, data []byte, lim Limits) (*Node, Warnings, error) {
	lim = lim.withDefaults()
	if len(data) > lim.MaxBytes {
		return nil, nil, &Error{File: name, Msg: fmt.Sprintf("document of %d bytes is larger than the limit of %d", len(data), lim.MaxBytes)}
	}
	if err := checkFlowDepth(name, data, lim.MaxDepth); err != nil {
		return nil, nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return &Node{File: name, Line: 1, Column: 1, size: 1}, nil, nil
		}
		// JSON is YAML, but the library refuses some of it: "\/", tabs as indentation.
		if json.Valid(data) {
			return ParseJSON(name, data, lim)
		}
		return nil, nil, firstBadLine(data, syntaxError(name, err), err)
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		return nil, nil, &Error{File: name, Line: second.Line, Column: second.Column, Msg: "a second document begins here; one document is expected"}
	} else if !errors.Is(err, io.EOF) {
		return nil, nil, syntaxError(name, err)
	}
	p := &parser{file: name, lim: lim, done: map[*yaml.Node]*Node{}, open: map[*yaml.Node]bool{}}
	root := &doc
	if doc.Kind == yaml.DocumentNode {
		root = doc.Content[0]
	}
	n, err := p.node(root, 0)
	if err != nil {
		return nil, p.warnings, err
	}
	return n, p.warnings, nil
}

// checkFlowDepth refuses documents whose brackets nest absurdly before the parser spends time on them.
func checkFlowDepth(name string, data []byte, maxDepth int) error {
	depth, line := 0, 1
	for _, c := range data {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '\n':
			line++
			if depth < 0 {
				depth = 0
			}
		}
		if depth > 50*maxDepth { // generous: brackets also occur inside text
			return &Error{File: name, Line: line, Msg: "brackets are nested too deeply"}
		}
	}
	return nil
}

func syntaxError(name string, err error) *Error {
	e := &Error{File: name, Msg: err.Error()}
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if num, tail, ok := strings.Cut(rest, ": "); ok {
			e.Line, _ = strconv.Atoi(num)
			msg = tail
		}
	}
	e.Msg = msg
	e.Msg = "not valid YAML: " + e.Msg
	return e
}

// maxSearched is the size of a document in bytes up to which the line of a syntax error is searched for.
const maxSearched = 1 << 20

// firstBadLine finds where a syntax error is. The library names the line in which the surrounding mapping or list
// begins, often far above. It reads as a stream: the shortest beginning of the document that has the same error ends
// with the line that is wrong.
func firstBadLine(data []byte, e *Error, err error) *Error {
	if len(data) > maxSearched {
		return e
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	ends := make([]int, len(lines))
	end := 0
	for i, l := range lines {
		end += len(l)
		ends[i] = end
	}
	i := sort.Search(len(lines), func(i int) bool {
		var doc yaml.Node
		got := yaml.NewDecoder(bytes.NewReader(data[:ends[i]])).Decode(&doc)
		return got != nil && got.Error() == err.Error()
	})
	for i > 0 && i < len(lines) && len(bytes.TrimSpace(lines[i])) == 0 { // the end of the text, seen after its last line
		i--
	}
	if i+1 <= e.Line || i == len(lines) {
		return e
	}
	e.Msg += fmt.Sprintf(", in what begins in line %d", e.Line)
	e.Line = i + 1
	return e
}

type parser struct {
	file     string
	lim      Limits
	warnings Warnings
	done     map[*yaml.Node]*Node // anchored nodes, shared by their aliases
	open     map[*yaml.Node]bool  // anchored nodes being built, to see recursion
}

func (p *parser) errorf(y *yaml.Node, format string, args ...any) error {
	return &Error{File: p.file, Line: y.Line, Column: y.Column, Msg: fmt.Sprintf(format, args...)}
}

func (p *parser) node(y *yaml.Node, depth int) (*Node, error) {
	if depth > p.lim.MaxDepth {
		return nil, p.errorf(y, "nested deeper than %d", p.lim.MaxDepth)
	}
	if y.Kind == yaml.AliasNode {
		if p.open[y.Alias] {
			return nil, p.errorf(y, "alias *%s contains itself", y.Value)
		}
		n, ok := p.done[y.Alias]
		if !ok {
			return nil, p.errorf(y, "unknown alias *%s", y.Value)
		}
		return n, nil
	}
	if y.Anchor != "" {
		p.open[y] = true
		defer delete(p.open, y)
	}
	n := &Node{File: p.file, Line: y.Line, Column: y.Column, size: 1}
	var err error
	switch y.Kind {
	case yaml.SequenceNode:
		err = p.sequence(n, y, depth)
	case yaml.MappingNode:
		err = p.mapping(n, y, depth)
	default:
		err = p.scalar(n, y)
	}
	if err != nil {
		return nil, err
	}
	if n.size > p.lim.MaxNodes {
		return nil, p.errorf(y, "more than %d values after expanding aliases", p.lim.MaxNodes)
	}
	if y.Anchor != "" {
		p.done[y] = n
	}
	return n, nil
}

func (p *parser) sequence(n *Node, y *yaml.Node, depth int) error {
	n.Kind = Seq
	tag := explicitTag(y)
	switch tag {
	case "", "!!seq":
	case "!!omap", "!!pairs":
		return p.pairsSequence(n, y, depth)
	default:
		return p.errorf(y, "tag %s is not known for a list", tag)
	}
	n.Items = make([]*Node, 0, len(y.Content))
	for _, c := range y.Content {
		it, err := p.node(c, depth+1)
		if err != nil {
			return err
		}
		n.Items = append(n.Items, it)
		n.size += it.size
	}
	return nil
}

// pairsSequence reads !!omap and !!pairs: PyYAML makes a list of [key, value] of them.
func (p *parser) pairsSequence(n *Node, y *yaml.Node, depth int) error {
	for _, c := range y.Content {
		if c.Kind != yaml.MappingNode || len(c.Content) != 2 {
			return p.errorf(c, "expected a map of one key")
		}
		k, err := p.node(c.Content[0], depth+1)
		if err != nil {
			return err
		}
		v, err := p.node(c.Content[1], depth+1)
		if err != nil {
			return err
		}
		pair := &Node{Kind: Seq, File: p.file, Line: c.Line, Column: c.Column, Items: []*Node{k, v}, size: 1 + k.size + v.size}
		n.Items = append(n.Items, pair)
		n.size += pair.size
	}
	return nil
}

func (p *parser) mapping(n *Node, y *yaml.Node, depth int) error {
	n.Kind = Map
	if tag := explicitTag(y); tag != "" && tag != "!!map" && tag != "!!set" {
		return p.errorf(y, "tag %s is not known for a map", tag)
	}
	index := make(map[string]int, len(y.Content)/2)
	own := make(map[string]int, len(y.Content)/2) // key -> line, to warn of duplicates but not of merges
	put := func(pr Pair) {
		if i, ok := index[pr.Key]; ok {
			n.size += pr.Value.size - n.Pairs[i].Value.size
			n.Pairs[i] = pr
			return
		}
		index[pr.Key] = len(n.Pairs)
		n.Pairs = append(n.Pairs, pr)
		n.size += 1 + pr.Value.size
	}
	// Merge keys come first, so that the mapping's own keys win (PyYAML's flatten_mapping).
	for i := 0; i+1 < len(y.Content); i += 2 {
		if isMergeKey(y.Content[i]) {
			if err := p.merge(y.Content[i+1], depth, put); err != nil {
				return err
			}
		}
	}
	for i := 0; i+1 < len(y.Content); i += 2 {
		ky := y.Content[i]
		if isMergeKey(ky) {
			continue
		}
		k, err := p.node(ky, depth+1)
		if err != nil {
			return err
		}
		name, ok := keyText(k)
		if !ok {
			return p.errorf(ky, "a %s cannot be a key", k.Kind)
		}
		v, err := p.node(y.Content[i+1], depth+1)
		if err != nil {
			return err
		}
		if line, dup := own[name]; dup {
			p.warnings = append(p.warnings, Warning{File: p.file, Line: ky.Line, Column: ky.Column,
				Msg: fmt.Sprintf("key %q is given twice (first on line %d); the last one counts", name, line)})
		} else {
			own[name] = ky.Line
		}
		put(Pair{Key: name, KeyNode: k, Value: v})
	}
	return nil
}

func isMergeKey(y *yaml.Node) bool {
	return y.Kind == yaml.ScalarNode && y.Value == "<<" && isPlain(y) || explicitTag(y) == "!!merge"
}

// merge puts the pairs of the value of a "<<" key. In a list the earlier map wins.
func (p *parser) merge(y *yaml.Node, depth int, put func(Pair)) error {
	n, err := p.node(y, depth+1)
	if err != nil {
		return err
	}
	switch n.Kind {
	case Map:
		for _, pr := range n.Pairs {
			put(pr)
		}
	case Seq:
		for i := len(n.Items) - 1; i >= 0; i-- {
			if n.Items[i].Kind != Map {
				return p.errorf(y, "a merge key takes maps, not a %s", n.Items[i].Kind)
			}
			for _, pr := range n.Items[i].Pairs {
				put(pr)
			}
		}
	default:
		return p.errorf(y, "a merge key takes a map or a list of maps, not a %s", n.Kind)
	}
	return nil
}

// keyText writes a scalar key as Python's json.dumps does.
func keyText(n *Node) (string, bool) {
	switch n.Kind {
	case String:
		return n.scalar.(string), true
	case Null:
		return "null", true
	case Bool:
		return strconv.FormatBool(n.scalar.(bool)), true
	case Int:
		return strconv.FormatInt(n.scalar.(int64), 10), true
	case Float:
		return FormatFloat(n.scalar.(float64)), true
	}
	return "", false
}

func isPlain(y *yaml.Node) bool {
	const notPlain = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle | yaml.TaggedStyle
	return y.Style&notPlain == 0
}

// explicitTag returns the tag that was written, in its short form, "" if there is none.
func explicitTag(y *yaml.Node) string {
	if y.Style&yaml.TaggedStyle == 0 {
		return ""
	}
	return y.ShortTag()
}

func (p *parser) scalar(n *Node, y *yaml.Node) error {
	n.Raw = y.Value
	tag := explicitTag(y)
	if tag == "" {
		if isPlain(y) && y.Tag != "!" {
			n.Kind, n.scalar = resolveScalar(y.Value)
			return nil
		}
		n.Kind, n.scalar, n.Quoted = String, y.Value, true
		return nil
	}
	bad := func() error { return p.errorf(y, "%q is not a value of type %s", y.Value, tag) }
	switch tag {
	case "!!str", "!", "!!timestamp", "!!value":
		n.Kind, n.scalar, n.Quoted = String, y.Value, true
	case "!!null":
		n.Kind = Null
	case "!!bool":
		k, v := resolveScalar(strings.ToLower(y.Value))
		if k != Bool {
			return bad()
		}
		n.Kind, n.scalar = k, v
	case "!!int":
		v, ok, big := parseInt(y.Value)
		if !ok || big {
			return bad()
		}
		n.Kind, n.scalar = Int, v
	case "!!float":
		f, ok := parseFloat(y.Value)
		if !ok {
			var err error
			if f, err = strconv.ParseFloat(strings.ReplaceAll(y.Value, "_", ""), 64); err != nil {
				return bad()
			}
		}
		n.Kind, n.scalar = Float, f
	case "!!binary":
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(y.Value), ""))
		if err != nil {
			return bad()
		}
		n.Kind, n.scalar, n.Quoted = String, string(b), true
	default:
		return p.errorf(y, "tag %s is not known", tag)
	}
	return nil
}
