package baremetal

import (
	"context"
	"strconv"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/store"
)

// inspectRedfish records the hardware as the controller tells it: properties,
// a port for each card that has none, and the inventory in the form of the
// ramdisk's.
func inspectRedfish(ctx context.Context, w *work) outcome {
	var h drivers.HardwareInfo
	out := w.ask(ctx, func(ctx context.Context, m drivers.Machine) error {
		return drivers.Ask(ctx, m, "inspection", func(ctx context.Context, i drivers.Inspected) (err error) {
			h, err = i.Hardware(ctx)
			return err
		})
	})
	if out.kind != stepDone {
		return out
	}
	var missing []string
	if h.CPUs == 0 {
		missing = append(missing, "cpus")
	}
	if h.MemoryMB == 0 {
		missing = append(missing, "memory_mb")
	}
	if len(missing) > 0 {
		return failf("the controller does not tell %v", missing)
	}
	err := w.save(ctx, func(n *Node) {
		if n.Properties == nil {
			n.Properties = map[string]any{}
		}
		n.Properties["cpus"] = strconv.Itoa(h.CPUs)
		if h.Arch != "" {
			n.Properties["cpu_arch"] = h.Arch
		}
		n.Properties["memory_mb"] = strconv.Itoa(h.MemoryMB)
		if gb := smallestDiskGB(h.Disks); gb > 0 {
			n.Properties["local_gb"] = strconv.FormatInt(gb, 10)
		}
		if h.BootMode != "" {
			n.BootMode = h.BootMode
		}
	})
	if err != nil {
		return broken(err)
	}
	return brokenOr(w.s.noteHardware(ctx, w.n.UUID, h), done())
}

// smallestDiskGB is the size of the smallest disk of at least 4 GiB, less one
// for partitioning, the way root devices are chosen without hints.
func smallestDiskGB(disks []drivers.HardwareDisk) int64 {
	var best int64
	for _, d := range disks {
		if gb := d.Size >> 30; gb >= 4 && (best == 0 || gb < best) {
			best = gb
		}
	}
	return max(best-1, 0)
}

func (s *Service) noteHardware(ctx context.Context, node string, h drivers.HardwareInfo) error {
	var disks, nics []any
	for _, d := range h.Disks {
		disks = append(disks, map[string]any{"name": d.Name, "model": d.Model, "serial": d.Serial, "size": d.Size, "rotational": d.Rotational})
	}
	for _, n := range h.NICs {
		nic := map[string]any{"name": n.Name, "mac_address": n.MAC}
		if n.Carrier != nil {
			nic["has_carrier"] = *n.Carrier
		}
		nics = append(nics, nic)
	}
	inventory := map[string]any{
		"cpu":           map[string]any{"count": h.CPUs, "architecture": nilIfEmpty(h.Arch), "model_name": h.CPUModel},
		"memory":        map[string]any{"physical_mb": h.MemoryMB},
		"disks":         disks,
		"interfaces":    nics,
		"system_vendor": map[string]any{"manufacturer": h.Manufacturer, "product_name": h.Model, "serial_number": h.Serial},
		"boot":          map[string]any{"current_boot_mode": h.BootMode},
	}
	return s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		if err := putBody(tx, node, bodyInventory, jsonText(map[string]any{"inventory": inventory, "plugin_data": map[string]any{}})); err != nil {
			return err
		}
		ports, err := portsOf(tx, node)
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for _, p := range ports {
			known[p.Address] = true
		}
		for _, card := range h.NICs {
			mac, err := normMAC(card.MAC)
			if err != nil || known[mac] {
				continue //nolint:nilerr // a card without a MAC, say InfiniBand, gets no port
			}
			known[mac] = true
			p := &Port{UUID: uuid.NewString(), Address: mac, NodeUUID: node, PXEEnabled: true, Extra: map[string]any{}, InternalInfo: map[string]any{},
				LocalLinkConnection: map[string]any{}, CreatedAt: s.now()}
			if _, err := tx.Exec(`INSERT INTO baremetal_ports (uuid, address, node_uuid, portgroup_uuid, doc) VALUES (?, ?, ?, ?, ?)`,
				p.UUID, p.Address, p.NodeUUID, p.PortgroupUUID, store.JSON(p)); err != nil {
				return macConflict(err, p)
			}
		}
		return nil
	})
}
