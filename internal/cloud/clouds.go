package cloud

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/tripleo/tripleo/internal/yaml11"
)

// Entry is a cloud of clouds.yaml with password authentication in the
// domain Default.
type Entry struct {
	AuthURL, Username, Password, Project, Region string
	CACert                                       string // file of the authority to trust; "" is the system's
}

// MergeFile writes the entry name into the clouds.yaml at path, keeping all
// others. The file is private (0600).
func MergeFile(path, name string, e Entry) error {
	root := yaml11.NewMap()
	data, err := os.ReadFile(path) //nolint:gosec // the operator's own file
	if err == nil {
		node, _, err := yaml11.Parse(path, data, yaml11.Limits{})
		if err != nil {
			return fmt.Errorf("clouds.yaml: %w", err)
		}
		if m, ok := node.Value().(*yaml11.OrderedMap); ok {
			root = m
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clouds.yaml: %w", err)
	}
	clouds, ok := func() (*yaml11.OrderedMap, bool) {
		v, _ := root.Get("clouds")
		m, ok := v.(*yaml11.OrderedMap)
		return m, ok
	}()
	if !ok {
		clouds = yaml11.NewMap()
	}
	entry := yaml11.MapOf(
		"auth", yaml11.MapOf(
			"auth_url", e.AuthURL, "username", e.Username, "password", e.Password, "project_name", e.Project,
			"user_domain_name", "Default", "project_domain_name", "Default",
		),
		"region_name", e.Region, "identity_api_version", "3",
	)
	if e.CACert != "" {
		entry.Set("cacert", e.CACert)
	}
	clouds.Set(name, entry)
	root.Set("clouds", clouds)
	out, err := yaml11.Marshal(root)
	if err != nil {
		return fmt.Errorf("clouds.yaml: %w", err)
	}
	if err := writePrivate(path, out); err != nil {
		return fmt.Errorf("clouds.yaml: %w", err)
	}
	return nil
}

// writePrivate replaces a private file in one step.
func writePrivate(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
