package deployment

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed workbooks/*.yaml
var workbookFiles embed.FS

// ManagedTag is on every built-in workflow: what carries it is replaced when the undercloud starts.
const ManagedTag = "tripleo-common-managed"

// Workbook is a built-in workbook: its name and its text in Mistral's DSL v2.
type Workbook struct {
	Name string // tripleo.baremetal.v1
	YAML string
}

// Workbooks returns the built-in workbooks, sorted by file name.
func Workbooks() ([]Workbook, error) {
	var out []Workbook
	err := fs.WalkDir(workbookFiles, "workbooks", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := workbookFiles.ReadFile(name)
		if err != nil {
			return err
		}
		m, err := parseMap(name, data)
		if err != nil {
			return err
		}
		if text(m, "name") == "" {
			return fmt.Errorf("%s: no name", name)
		}
		out = append(out, Workbook{Name: text(m, "name"), YAML: string(data)})
		return nil
	})
	return out, err
}
