package hooks

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// scriptDir is where heat-agents' script hook works; scripts of operators may look there.
const scriptDir = "/var/lib/heat-config/heat-config-script"

// maxOutputFile bounds an output a script writes.
const maxOutputFile = 1 << 20

// Script runs config as a program: the inputs are its environment, `$heat_outputs_path.<name>` are the files it writes its
// outputs to. Option `timeout` (seconds) ends it; without one it may run as long as the deployment.
type Script struct{ Host *host.Host }

// Run implements Hook.
func (s Script) Run(ctx context.Context, d Deployment, log io.Writer) (Result, error) {
	config := d.ConfigText()
	if strings.TrimSpace(config) == "" {
		return Failed("the script is empty"), nil
	}
	if !strings.HasPrefix(config, "#!") {
		config = "#!/bin/sh\n" + config
	}
	file := path.Join(scriptDir, SafeName(d.ID))
	if _, err := s.Host.PutDir(scriptDir, 0o700, "", ""); err != nil {
		return Result{}, err
	}
	if _, err := s.Host.Put(host.FileSpec{Path: file, Data: []byte(config), Mode: 0o700}); err != nil {
		return Result{}, err
	}
	env := []string{"heat_outputs_path=" + s.Host.Path(file)}
	for _, in := range d.Inputs {
		if in.Name == "" || strings.ContainsAny(in.Name, "=\x00") {
			continue
		}
		env = append(env, in.Name+"="+strings.ReplaceAll(Text(in.Value), "\x00", ""))
	}
	return program{
		what: "script", outputs: outputFiles{s.Host, file, d.Outputs},
		cmd: host.Command{Args: []string{s.Host.Path(file)}, Env: env, Dir: "/"},
	}.run(ctx, d, log)
}

func withTimeout(ctx context.Context, options map[string]any) (context.Context, context.CancelFunc, error) {
	v, ok := options["timeout"]
	if !ok || v == nil {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel, nil
	}
	d, err := time.ParseDuration(fmt.Sprint(v) + "s")
	if err != nil || d <= 0 {
		return nil, nil, fmt.Errorf("option timeout: expected seconds, got %q", fmt.Sprint(v))
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	return ctx, cancel, nil
}

// SafeName makes a text a file name: letters, digits, dot, dash and underscore stay.
func SafeName(s string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, s)
	safe = strings.TrimLeft(safe, ".")
	if len(safe) > 200 {
		safe = safe[:200]
	}
	if safe == "" {
		return "unnamed"
	}
	return safe
}

// JSONFile writes its config to a file: to the path in the input `path` (or `filename`), or, without one, every key that is
// an absolute path gets its value. Files are 0600, because what is in them is not known here.
type JSONFile struct{ Host *host.Host }

// Run implements Hook.
func (j JSONFile) Run(_ context.Context, d Deployment, log io.Writer) (Result, error) {
	config, err := d.ConfigMap()
	if err != nil {
		return Failed("%v", err), nil
	}
	files := map[string]any{}
	if p := d.InputText("path") + d.InputText("filename"); p != "" {
		files[p] = config
	} else {
		maps.Copy(files, config)
	}
	var done strings.Builder
	for _, p := range slices.Sorted(maps.Keys(files)) {
		if !path.IsAbs(p) {
			return Failed("json-file: %q is no absolute path; give the input path, or absolute paths as keys", p), nil
		}
		data, err := marshal(files[p])
		if err != nil {
			return Failed("json-file %s: %v", p, err), nil
		}
		changed, err := j.Host.Put(host.FileSpec{Path: p, Data: data, Mode: 0o600})
		if err != nil {
			return Failed("json-file %s: %v", p, err), nil
		}
		fmt.Fprintf(&done, "%s changed=%t\n", p, changed)
	}
	_, _ = io.WriteString(log, done.String())
	return Result{Stdout: done.String()}, nil
}
