package collect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

const (
	// HeatLocalPath is where cloud-init or an operator leaves Heat's first metadata.
	HeatLocalPath = "/var/lib/heat-cfntools/cfn-init-data"
	// LocalDir holds JSON files of the operator; they win over everything else.
	LocalDir = "/var/lib/os-collect-config/local-data"
	// AgentLocalDir is the same in the agent's own place.
	AgentLocalDir = "/var/lib/tripleo-agent/local-data"
)

// HeatLocal reads HeatLocalPath; nil when it is absent.
func HeatLocal(h *host.Host) (map[string]any, error) {
	return readJSON(h, HeatLocalPath)
}

// Local reads and merges the JSON files of LocalDir and AgentLocalDir in the order of their names.
func Local(h *host.Host) (map[string]any, error) {
	var maps []map[string]any
	for _, dir := range []string{LocalDir, AgentLocalDir} {
		entries, err := os.ReadDir(h.Path(dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		for _, e := range entries {
			if e.IsDir() || !strings.HasSuffix(e.Name(), ".json") {
				continue
			}
			m, err := readJSON(h, path.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			maps = append(maps, m)
		}
	}
	if maps == nil {
		return nil, nil
	}
	return Merge(maps...), nil
}

func readJSON(h *host.Host, p string) (map[string]any, error) {
	data, err := h.ReadFile(p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := ParseMap(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	return m, nil
}
