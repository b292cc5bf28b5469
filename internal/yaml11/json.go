package yaml11

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
)

// ParseJSON reads JSON text as nodes with positions; Heat accepts templates as JSON, whose number syntax
// (1e3) YAML 1.1 reads otherwise. A key given twice: the last wins, with a warning.
func ParseJSON(name string, data []byte, lim Limits) (*Node, Warnings, error) {
	lim = lim.withDefaults()
	if len(data) > lim.MaxBytes {
		return nil, nil, &Error{File: name, Msg: fmt.Sprintf("document of %d bytes is larger than the limit of %d", len(data), lim.MaxBytes)}
	}
	p := &jsonParser{file: name, data: data, lim: lim, dec: json.NewDecoder(bytes.NewReader(data))}
	p.dec.UseNumber()
	for i, c := range data {
		if c == '\n' {
			p.lines = append(p.lines, i)
		}
	}
	n, err := p.value(0)
	if err != nil {
		return nil, p.warnings, err
	}
	if _, err := p.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, p.warnings, p.fail("data after the JSON value")
	}
	return n, p.warnings, nil
}

type jsonParser struct {
	file     string
	data     []byte
	lines    []int // offsets of line feeds
	lim      Limits
	dec      *json.Decoder
	nodes    int
	warnings Warnings
}

func (p *jsonParser) place() (line, column int) {
	off := int(p.dec.InputOffset())
	for off < len(p.data) && bytes.IndexByte([]byte(" \t\r\n,:"), p.data[off]) >= 0 {
		off++
	}
	i := sort.SearchInts(p.lines, off)
	if i == 0 {
		return 1, off + 1
	}
	return i + 1, off - p.lines[i-1]
}

func (p *jsonParser) fail(msg string) error {
	line, col := p.place()
	return &Error{File: p.file, Line: line, Column: col, Msg: "not valid JSON: " + msg}
}

func (p *jsonParser) value(depth int) (*Node, error) {
	p.nodes++
	if depth > p.lim.MaxDepth || p.nodes > p.lim.MaxNodes {
		return nil, p.fail("nested too deeply or too large")
	}
	n := &Node{File: p.file, size: 1}
	n.Line, n.Column = p.place()
	tok, err := p.dec.Token()
	if err != nil {
		return nil, p.fail(err.Error())
	}
	switch t := tok.(type) {
	case nil:
		n.Kind = Null
	case bool:
		n.Kind, n.scalar = Bool, t
	case string:
		n.Kind, n.scalar, n.Raw, n.Quoted = String, t, t, true
	case json.Number:
		n.Raw = t.String()
		switch v := jsonNumber(t).(type) {
		case int64:
			n.Kind, n.scalar = Int, v
		case float64:
			n.Kind, n.scalar = Float, v
		default:
			n.Kind, n.scalar = String, v
		}
	case json.Delim:
		if t == '[' {
			n.Kind = Seq
			for p.dec.More() {
				it, err := p.value(depth + 1)
				if err != nil {
					return nil, err
				}
				n.Items = append(n.Items, it)
				n.size += it.size
			}
		} else {
			n.Kind = Map
			if err := p.object(n, depth); err != nil {
				return nil, err
			}
		}
		if _, err := p.dec.Token(); err != nil {
			return nil, p.fail(err.Error())
		}
	}
	return n, nil
}

func (p *jsonParser) object(n *Node, depth int) error {
	index := map[string]int{}
	for p.dec.More() {
		k, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		name, _ := keyText(k)
		pr := Pair{Key: name, KeyNode: k, Value: v}
		if i, dup := index[name]; dup {
			p.warnings = append(p.warnings, Warning{File: p.file, Line: k.Line, Column: k.Column,
				Msg: fmt.Sprintf("key %q is given twice (first on line %d); the last one counts", name, n.Pairs[i].KeyNode.Line)})
			n.Pairs[i] = pr
			continue
		}
		index[name] = len(n.Pairs)
		n.Pairs = append(n.Pairs, pr)
		n.size += 1 + v.size
	}
	return nil
}
