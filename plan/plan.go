// Package plan holds the default overcloud plan: roles, networks, HOT and Jinja templates, environments. It is what
// `overcloud deploy` uploads when no other templates are given; the files are rendered as docs of the plan format say
// (`*.role.j2.yaml` once a role, `*.network.j2.yaml` once a network, other `*.j2.yaml` once).
package plan

import (
	"embed"
	"io/fs"
)

//go:embed *.yaml common deployed-server network services environments
var files embed.FS

// FS is the plan's tree, overcloud.j2.yaml and plan-environment.yaml at its root.
func FS() fs.FS { return files }
