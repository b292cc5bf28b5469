package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// InstackenvPath is where a lab in dir leaves its node file, mode 0600 (it
// holds the BMCs' passwords).
func InstackenvPath(dir string) string { return filepath.Join(dir, "instackenv.json") }

// instackNode is a node as TripleO's instackenv.json has it (numbers are
// strings there).
type instackNode struct {
	Name         string        `json:"name"`
	Type         string        `json:"pm_type"`
	Address      string        `json:"pm_addr"`
	Port         string        `json:"pm_port,omitempty"`
	User         string        `json:"pm_user"`
	Password     string        `json:"pm_password"`
	SystemID     string        `json:"pm_system_id,omitempty"`
	MACs         []string      `json:"mac"`
	Ports        []instackPort `json:"ports"`
	CPU          string        `json:"cpu"`
	Memory       string        `json:"memory"`
	Disk         string        `json:"disk"`
	Arch         string        `json:"arch"`
	Capabilities string        `json:"capabilities,omitempty"`
}

type instackPort struct {
	Address         string `json:"address"`
	PhysicalNetwork string `json:"physical_network,omitempty"`

	LocalLink map[string]string `json:"local_link_connection,omitempty"`
}

// Instackenv renders nodes as a node file for `tripleo overcloud node import`.
func Instackenv(nodes []Node) ([]byte, error) {
	out := make([]instackNode, 0, len(nodes))
	for _, n := range nodes {
		in := instackNode{
			Name: n.Name, Type: n.PMType, User: n.User, Password: n.Password,
			MACs: []string{n.MAC.String()}, Ports: []instackPort{{Address: n.MAC.String(), PhysicalNetwork: physicalNetwork, LocalLink: n.link()}},
			CPU: strconv.Itoa(n.Info.CPUs), Memory: strconv.Itoa(n.Info.MemoryMiB), Disk: strconv.FormatInt(n.Info.DiskBytes>>30, 10), Arch: "x86_64",
		}
		if n.Profile != "" {
			in.Capabilities = "profile:" + n.Profile
		}
		if n.Firmware != "" {
			in.Capabilities = strings.TrimPrefix(in.Capabilities+",boot_mode:"+n.Firmware, ",")
		}
		if n.PMType == "redfish" {
			// A URL, because the default scheme would be https.
			in.Address, in.SystemID = n.RedfishURL(), "/redfish/v1/Systems/"+n.RedfishSystem
		} else {
			in.Address, in.Port = n.BMCAddress, strconv.Itoa(n.IPMIPort)
		}
		out = append(out, in)
	}
	b, err := json.MarshalIndent(map[string]any{"nodes": out}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("instackenv.json: %w", err)
	}
	return append(b, '\n'), nil
}

func writeInstackenv(dir string, nodes []Node) error {
	b, err := Instackenv(nodes)
	if err != nil {
		return err
	}
	if err := os.WriteFile(InstackenvPath(dir), b, fileMode); err != nil {
		return fmt.Errorf("instackenv.json: %w", err)
	}
	return nil
}
