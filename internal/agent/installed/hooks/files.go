package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// runDir is where outputs of hooks other than script are, as heat-agents has it; a program gets the path as an input.
const runDir = "/var/run/heat-config"

// outputFiles are the files <base>.<output> that a program writes the outputs of a deployment to.
type outputFiles struct {
	host *host.Host
	base string
	list []Output
}

func validOutput(name string) bool { return name != "" && !strings.ContainsAny(name, "/\x00") }

// remove takes away what an earlier, cut off run may have left.
func (o outputFiles) remove() {
	for _, out := range o.list {
		if validOutput(out.Name) {
			_ = os.Remove(o.host.Path(o.base + "." + out.Name))
		}
	}
}

// read returns the outputs that were written; one that was not is left out.
func (o outputFiles) read() (map[string]any, error) {
	values := map[string]any{}
	for _, out := range o.list {
		if !validOutput(out.Name) {
			continue
		}
		text, err := o.readOne(out.Name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("output %s: %w", out.Name, err)
		}
		values[out.Name] = text
	}
	return values, nil
}

func (o outputFiles) readOne(name string) (string, error) {
	f, err := os.Open(o.host.Path(o.base + "." + name))
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxOutputFile+1))
	if err == nil && len(data) > maxOutputFile {
		err = fmt.Errorf("larger than %d bytes", maxOutputFile)
	}
	return string(data), err
}

// program runs the command of a hook to its end, bounded by option timeout, and reads the outputs. what names the
// program's kind in messages; ok tells which exit codes are success, nil only 0.
type program struct {
	what    string
	cmd     host.Command
	outputs outputFiles
	ok      func(code int) bool
}

func (p program) run(ctx context.Context, d Deployment, log io.Writer) (Result, error) {
	p.outputs.remove()
	runCtx, cancel, err := withTimeout(ctx, d.Options)
	if err != nil {
		return Failed("%v", err), nil
	}
	defer cancel()
	p.cmd.Log = log
	res, err := p.outputs.host.Run.Run(runCtx, p.cmd)
	switch {
	case ctx.Err() != nil:
		return Result{}, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return Result{Code: 124, Stdout: string(res.Stdout), Stderr: string(res.Stderr) + "the " + p.what + " was ended: option timeout is over\n"}, nil
	case errors.Is(err, exec.ErrNotFound):
		return Failed("the %s cannot be run: %s is not installed on this node", p.what, p.cmd.Args[0]), nil
	case err != nil:
		return Failed("the %s could not be started: %v", p.what, err), nil
	}
	out := Result{Code: res.Code, Stdout: string(res.Stdout), Stderr: string(res.Stderr)}
	if p.ok != nil && p.ok(res.Code) {
		out.Code = 0
	}
	if out.Outputs, err = p.outputs.read(); err != nil {
		return Failed("%v", err), nil
	}
	return out, nil
}

// option is an option as text; a list is joined by commas, as tags are given.
func (d Deployment) option(name string) string {
	switch v := d.Options[name].(type) {
	case nil:
		return ""
	case []any:
		words := make([]string, 0, len(v))
		for _, e := range v {
			words = append(words, fmt.Sprint(e))
		}
		return strings.Join(words, ",")
	default:
		return fmt.Sprint(v)
	}
}

// flag is an option that is true or false, also as the texts templates make of them.
func (d Deployment) flag(name string, otherwise bool) bool {
	switch v := d.Options[name].(type) {
	case bool:
		return v
	case string:
		switch strings.ToLower(v) {
		case "true", "yes", "on", "1":
			return true
		case "false", "no", "off", "0", "":
			return false
		}
	}
	return otherwise
}
