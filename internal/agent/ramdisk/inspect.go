package ramdisk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/hardware"
	"github.com/tripleo/tripleo/internal/agent/lldp"
)

// inspectionPatience bounds how long the data are offered to an inspector that does not take them.
const inspectionPatience = 15 * time.Minute

// collectLLDP is the collector that sends what the switches said as lldp_raw, by interface. The inventory has it in any case.
const collectLLDP = "lldp"

// inspect collects and posts the machine's data, and returns the node's UUID if the inspector said one.
func (a *agent) inspect(ctx context.Context) (string, error) {
	if a.o.Config.CollectLLDP && a.o.ListenLLDP != nil {
		a.o.Sources.LLDP = a.o.ListenLLDP(ctx, a.o.Config.LLDPTimeout)
		a.log.Info("listened to the switches", "interfaces_heard", len(a.o.Sources.LLDP))
	}
	data := a.inspectionData()
	ctx, cancel := context.WithTimeout(ctx, inspectionPatience)
	defer cancel()
	for n := 1; ; n++ {
		var answer struct {
			UUID string `json:"uuid"`
		}
		err := a.call(ctx, http.MethodPost, a.o.Config.InspectionURL, data, &answer)
		if err == nil {
			a.log.Info("inspection data accepted", "node", answer.UUID)
			return answer.UUID, nil
		}
		var refused *httpError
		if errors.As(err, &refused) && refused.code/100 == 4 && refused.code != http.StatusConflict && refused.code != http.StatusTooManyRequests {
			return "", fmt.Errorf("the inspector refused the data: %w", err)
		}
		wait := a.o.Backoff(n, 15*time.Second)
		a.log.Warn("inspection callback failed, trying again", "err", err, "attempt", n, "after", wait)
		if err := sleep(ctx, wait); err != nil {
			return "", fmt.Errorf("inspection callback: %w", err)
		}
	}
}

// inspectionData has the keys ironic-inspector's hooks read. A collector that fails adds to "error" and does not
// keep the others from being sent.
func (a *agent) inspectionData() map[string]any {
	inv := hardware.Collect(a.o.Sources)
	data := map[string]any{"inventory": inv}
	var problems []string
	for _, name := range a.o.Config.Collectors {
		switch name {
		case "default":
			data["boot_interface"] = inv.Boot.PXEInterface
			data["configuration"] = map[string]any{"collectors": a.o.Config.Collectors,
				"managers": []map[string]string{{"name": managerName, "version": managerVersion}}}
			root, err := hardware.SelectRoot(inv.Disks, nil)
			if err != nil {
				// Inspector selects by the node's hints itself; a machine without disks is no error there.
				a.log.Warn("no root disk without hints", "err", err)
			} else {
				data["root_disk"] = root
			}
		case "logs":
			logs, err := a.bundle()
			if err != nil {
				problems = append(problems, err.Error())
			}
			data["logs"] = logs
		case "pci-devices":
			data["pci_devices"] = pciDevices(a.o.Sources.Sys)
		case "numa-topology":
			topology, err := hardware.NUMATopology(a.o.Sources.Sys)
			if err != nil { // a machine without one can be used all the same
				a.log.Warn("no NUMA topology", "err", err)
				continue
			}
			data["numa_topology"] = topology
		case collectLLDP:
			heard := a.o.Sources.LLDP
			if heard == nil {
				heard = map[string][]lldp.TLV{}
			}
			data["lldp_raw"] = heard
		default:
			a.log.Warn("inspection collector is unknown and left out", "collector", name)
		}
	}
	if len(inv.Interfaces) == 0 {
		problems = append(problems, "no network interface was found")
	}
	if len(problems) > 0 {
		data["error"] = strings.Join(problems, "; ")
	}
	return data
}

// pciDevices lists vendor and product of every PCI function, for inspector's pci_devices hook.
func pciDevices(sys fs.FS) []map[string]string {
	entries, err := fs.ReadDir(sys, "bus/pci/devices")
	if err != nil {
		return []map[string]string{}
	}
	devices := make([]map[string]string, 0, len(entries))
	for _, e := range entries {
		read := func(name string) string {
			b, _ := fs.ReadFile(sys, "bus/pci/devices/"+e.Name()+"/"+name) // absent: empty
			return strings.TrimPrefix(strings.TrimSpace(string(b)), "0x")
		}
		devices = append(devices, map[string]string{"vendor_id": read("vendor"), "product_id": read("device"),
			"class": read("class"), "revision": read("revision"), "bus": e.Name()})
	}
	return slices.Clip(devices)
}
