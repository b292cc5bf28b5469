package hooks

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// Hiera writes Puppet's data: `hierarchy`, a list of levels, to /etc/puppet/hiera.yaml, and each of `datafiles` to a level's
// file in /etc/puppet/hieradata. All are 0600, because passwords of services are in them.
type Hiera struct {
	Host *host.Host
	// Legacy tells whether the node's metadata has data of the older way, under hiera.datafiles; both cannot be served.
	Legacy func() bool
}

// Run implements Hook.
func (h Hiera) Run(_ context.Context, d Deployment, log io.Writer) (Result, error) {
	config, err := d.ConfigMap()
	if err != nil {
		return Failed("%v", err), nil
	}
	if h.Legacy != nil && h.Legacy() {
		return Failed("hiera: the node's metadata has hieradata of os-apply-config (hiera.datafiles); change what gives it to group hiera"), nil
	}
	done, err := h.write(config)
	_, _ = io.WriteString(log, done)
	if err != nil {
		r := Failed("hiera: %v", err)
		r.Stdout = done
		return r, nil
	}
	return Result{Stdout: done}, nil
}

func (h Hiera) write(config map[string]any) (string, error) {
	var done strings.Builder
	if v, ok := config["hierarchy"]; ok {
		levels, ok := v.([]any)
		if !ok {
			return "", fmt.Errorf("hierarchy: expected a list of levels, got %T", v)
		}
		var text strings.Builder
		// Puppet 7 reads this format of Hiera 3 with its JSON backend; it is what plans write their levels for.
		text.WriteString("---\n:backends:\n  - json\n:json:\n  :datadir: " + hieraDataDir + "\n:hierarchy:\n")
		for i, l := range levels {
			level, ok := l.(string)
			if !ok || strings.ContainsAny(level, "\n\r") {
				return "", fmt.Errorf("hierarchy, entry %d: expected the name of a level, got %q", i, fmt.Sprint(l))
			}
			text.WriteString("  - " + level + "\n")
		}
		changed, err := h.Host.Put(host.FileSpec{Path: hieraFile, Data: []byte(text.String()), Mode: 0o600})
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&done, "%s changed=%t\n", hieraFile, changed)
	}
	files, ok := config["datafiles"].(map[string]any)
	if !ok && config["datafiles"] != nil {
		return done.String(), fmt.Errorf("datafiles: expected a map of levels, got %T", config["datafiles"])
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := putHieraData(h.Host, name, files[name]); err != nil {
			return done.String(), err
		}
		done.WriteString(name + "\n")
	}
	return done.String(), nil
}

// putHieraData writes the file of one level.
func putHieraData(h *host.Host, level string, data any) error {
	if level == "" || strings.ContainsAny(level, "/\x00") {
		return fmt.Errorf("level %q cannot be the name of a file", level)
	}
	text, err := marshal(data)
	if err != nil {
		return fmt.Errorf("level %s: %w", level, err)
	}
	if _, err := h.PutDir(hieraDataDir, 0o700, "", ""); err != nil {
		return err
	}
	_, err = h.Put(host.FileSpec{Path: path.Join(hieraDataDir, level+".json"), Data: text, Mode: 0o600})
	return err
}
