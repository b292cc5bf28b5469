// Package hooks holds what can be done with a deployment on a node: one hook a config group. A hook gets the deployment as
// the orchestration service published it and returns outputs, both streams and an exit code, as heat-config's hooks do.
//
// A hook must be idempotent: when the agent or the machine dies while it runs, it is run again from the start.
package hooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Deployment is one entry of the metadata key `deployments`.
type Deployment struct {
	ID      string          `json:"id"`
	Name    string          `json:"name"`
	Group   string          `json:"group"`
	Config  json.RawMessage `json:"config"`
	Inputs  []Input         `json:"inputs"`
	Outputs []Output        `json:"outputs"`
	Options map[string]any  `json:"options"`
}

// Input is a declared input with the value the orchestration service resolved.
type Input struct {
	Name  string          `json:"name"`
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"`
}

// Output is an output the deployment declares. An error output makes the deployment fail when it is set.
type Output struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	ErrorOutput bool   `json:"error_output"`
}

// Result is how a hook ended: Code 0 is success.
type Result struct {
	Outputs map[string]any
	Stdout  string
	Stderr  string
	Code    int
}

// Failed returns a result that says what went wrong before anything could run.
func Failed(format string, args ...any) Result {
	return Result{Code: 1, Stderr: fmt.Sprintf(format, args...) + "\n"}
}

// Hook runs a deployment. An error means that it was cut off (shutdown) and has to be run again; whatever is wrong with
// the deployment itself is a Result with a code. log gets the output as it comes.
type Hook interface {
	Run(ctx context.Context, d Deployment, log io.Writer) (Result, error)
}

// Func makes a function a Hook.
type Func func(ctx context.Context, d Deployment, log io.Writer) (Result, error)

// Run implements Hook.
func (f Func) Run(ctx context.Context, d Deployment, log io.Writer) (Result, error) {
	return f(ctx, d, log)
}

// InputText is the value of an input as text: strings as they are, maps and lists as JSON, True and False as Python writes
// them, nothing for null and for an input that is not there.
func (d Deployment) InputText(name string) string {
	for _, in := range d.Inputs {
		if in.Name == name {
			return Text(in.Value)
		}
	}
	return ""
}

// Text is a JSON value as the text a script expects.
func Text(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return ""
	case string(raw) == "true":
		return "True"
	case string(raw) == "false":
		return "False"
	case raw[0] == '"':
		var s string
		if err := json.Unmarshal(raw, &s); err == nil {
			return s
		}
	}
	return string(raw)
}

// ConfigText is the config as text: a string as it is, anything else as JSON.
func (d Deployment) ConfigText() string { return Text(d.Config) }

// ConfigMap is the config as a map, given as a JSON object or as a string that holds one.
func (d Deployment) ConfigMap() (map[string]any, error) {
	text := strings.TrimSpace(d.ConfigText())
	if text == "" {
		return map[string]any{}, nil
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("config of group %s has to be a map: %w", d.Group, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("config of group %s: more than one JSON value", d.Group)
	}
	return m, nil
}

// marshal writes JSON indented, without HTML escapes, as a person would read it.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
