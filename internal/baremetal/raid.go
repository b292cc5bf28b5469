package baremetal

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/store"
)

// logicalDisk is an element of target_raid_config, whose schema Ironic
// documents ("RAID configuration").
type logicalDisk struct {
	SizeGB       any    `json:"size_gb"` // a number, or "MAX"
	RAIDLevel    string `json:"raid_level"`
	Controller   string `json:"controller"`
	IsRootVolume bool   `json:"is_root_volume"`
	VolumeName   string `json:"volume_name"`
}

func raidProperties() map[string]string {
	return map[string]string{
		"size_gb":        "Size in GiB (Integer) for the logical disk. Use 'MAX' as size_gb if this logical disk is supposed to use the rest of the space available. Required.",
		"raid_level":     "RAID level for the logical disk. Valid values are 0, 1, 1+0, 5 and 6 (software RAID: 0, 1 and 1+0). Required.",
		"is_root_volume": "Specifies whether this disk is a root volume. By default, this is False. At most one logical disk may be it.",
		"volume_name":    "Name of the volume to be created. If this is not specified, it will be auto-generated.",
		"controller":     "Controller to use for this logical disk: \"software\" for software RAID.",
		"physical_disks": "Hints of the disks to use, as in root device hints; all suitable ones if not given.",
	}
}

// checkRAID validates a target configuration.
func checkRAID(data []byte) (map[string]any, error) {
	var doc map[string]any
	if err := api.DecodeJSON(data, &doc); err != nil {
		return nil, err
	}
	if len(doc) == 0 {
		return nil, nil
	}
	var in struct {
		Disks []logicalDisk `json:"logical_disks"`
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, api.Invalid("target_raid_config: %s", err.Error())
	}
	if len(in.Disks) == 0 || len(in.Disks) > maxSteps {
		return nil, api.Invalid("target_raid_config: logical_disks has %d entries, expected 1 to %d", len(in.Disks), maxSteps)
	}
	roots := 0
	for i, d := range in.Disks {
		switch size := d.SizeGB.(type) {
		case float64:
			if size < 1 || size != float64(int64(size)) {
				return nil, api.Invalid("target_raid_config: logical_disks[%d].size_gb is %v, expected a positive integer or \"MAX\"", i, size)
			}
		case string:
			if size != "MAX" {
				return nil, api.Invalid("target_raid_config: logical_disks[%d].size_gb is %q, expected a positive integer or \"MAX\"", i, size)
			}
		default:
			return nil, api.Invalid("target_raid_config: logical_disks[%d].size_gb is required", i)
		}
		if !has([]string{"JBOD", "0", "1", "2", "5", "6", "1+0", "5+0", "6+0"}, d.RAIDLevel) {
			return nil, api.Invalid("target_raid_config: logical_disks[%d].raid_level is %q, expected 0, 1, 1+0, 5 or 6", i, d.RAIDLevel)
		}
		if d.IsRootVolume {
			roots++
		}
	}
	if roots > 1 {
		return nil, api.Invalid("target_raid_config: %d logical disks have is_root_volume, at most one may", roots)
	}
	return doc, nil
}

func (s *Service) setRAID(w http.ResponseWriter, r *http.Request) error {
	var body json.RawMessage
	if err := api.ReadJSON(r, &body); err != nil {
		return err
	}
	conf, err := checkRAID(body)
	if err != nil {
		return err
	}
	_, err = s.mutate(r.Context(), r.PathValue("node"), func(_ *store.Tx, n *Node) error {
		if n.locked() {
			return s.lockedError(n)
		}
		if n.Interfaces["raid"] == "no-raid" {
			return api.Invalid("Node %s: driver %s does not support RAID configuration (raid_interface is %s)", n.UUID, n.Driver, n.Interfaces["raid"])
		}
		n.TargetRAIDConfig = conf
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// noteRAID keeps what the agent has made of the target configuration.
func (w *work) noteRAID(ctx context.Context, result any) error {
	m, _ := result.(map[string]any)
	var conf map[string]any
	for _, key := range []string{"clean_result", "deploy_result", "service_result"} {
		if c, ok := m[key].(map[string]any); ok {
			conf = c
		}
	}
	err := w.save(ctx, func(n *Node) {
		n.RAIDConfig = conf
		if conf != nil {
			conf["last_updated"] = wireTime(w.s.now())
		}
	})
	if errors.Is(err, errSuperseded) {
		return nil
	}
	return err
}

func (s *Service) raidLogicalDiskProperties(w http.ResponseWriter, r *http.Request) error {
	h, ok := drivers.Hardware(r.PathValue("driver"))
	if !ok {
		return driverNotFound(r.PathValue("driver"))
	}
	if len(h.Interfaces["raid"]) < 2 { // no-raid only
		return api.Invalid("Driver %s does not support RAID.", h.Name)
	}
	return api.WriteJSON(w, http.StatusOK, raidProperties())
}
