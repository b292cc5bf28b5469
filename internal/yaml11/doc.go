// Package yaml11 reads YAML as PyYAML's SafeLoader does, because every file an operator of TripleO has
// was written for it: YAML 1.1 scalars (yes, off, 0644, 22:22, unquoted dates), the last of two equal
// keys wins, merge keys, anchors and aliases.
//
// It differs where a person is better served: nodes keep file, line and column, duplicate keys are
// reported as warnings, mappings keep their order, dates stay the text that was written (as Heat and
// Mistral load them), and size, depth and alias expansion are bounded.
//
// Syntax is parsed by go.yaml.in/yaml/v3 at Node level; this package only resolves. The rules are those
// of PyYAML's resolver.py and constructor.py and are checked against the real PyYAML in the tests.
package yaml11
