package baremetal

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"reflect"

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

// softwareRAID says what of a configuration the ramdisk cannot make: raid_interface agent is software RAID.
func softwareRAID(conf map[string]any) error {
	list, _ := conf["logical_disks"].([]any)
	for i, v := range list {
		m, _ := v.(map[string]any)
		if m["controller"] != "software" {
			return api.Invalid("target_raid_config: logical_disks[%d].controller is %v, raid_interface agent makes \"software\" only", i, wireText(m["controller"]))
		}
		if level, _ := m["raid_level"].(string); !has([]string{"0", "1", "1+0"}, level) {
			return api.Invalid("target_raid_config: logical_disks[%d].raid_level is %q, software RAID has 0, 1 and 1+0", i, level)
		}
		physical, given := m["physical_disks"]
		disks, isList := physical.([]any)
		if given && !isList {
			return api.Invalid("target_raid_config: logical_disks[%d].physical_disks is %s, expected a list of root device hints", i, wireText(physical))
		}
		for k, d := range disks {
			if _, ok := d.(map[string]any); !ok {
				return api.Invalid("target_raid_config: logical_disks[%d].physical_disks[%d] is %s, expected an object of root device hints", i, k, wireText(d))
			}
		}
	}
	return nil
}

// wireText is a value as it was sent, short.
func wireText(v any) string {
	const limit = 100
	text := jsonText(v)
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	return text
}

// stepRAID is the configuration that a step is about: that of its arguments or the node's target, less what its
// arguments leave out (create_root_volume, create_nonroot_volumes).
func (n *Node) stepRAID(st HWStep) (map[string]any, error) {
	conf := n.TargetRAIDConfig
	if st.Step == "apply_configuration" {
		b, err := json.Marshal(st.Args["raid_config"])
		if err != nil {
			return nil, err
		}
		if conf, err = checkRAID(b); err != nil {
			return nil, err
		}
	}
	if len(conf) == 0 {
		return nil, api.Invalid("step %s: node %s has no RAID configuration to make: set target_raid_config, or raid_config in the arguments of apply_configuration", st.name(), n.UUID)
	}
	keep := map[bool]bool{true: true, false: true} // root volume or not
	for key, root := range map[string]bool{"create_root_volume": true, "create_nonroot_volumes": false} {
		on, err := st.flag(key, true)
		if err != nil {
			return nil, err
		}
		keep[root] = on
	}
	if _, err := st.flag("delete_existing", false); err != nil {
		return nil, err
	}
	list, _ := conf["logical_disks"].([]any)
	out := make([]any, 0, len(list))
	for _, v := range list {
		m, _ := v.(map[string]any)
		if root, _ := m["is_root_volume"].(bool); keep[root] {
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		return nil, api.Invalid("step %s: create_root_volume and create_nonroot_volumes leave nothing of the RAID configuration", st.name())
	}
	conf = maps.Clone(conf)
	conf["logical_disks"] = out
	return conf, softwareRAID(conf)
}

// flag reads a switch among a step's arguments.
func (h HWStep) flag(key string, otherwise bool) (bool, error) {
	v, ok := h.Args[key]
	if !ok {
		return otherwise, nil
	}
	on, ok := v.(bool)
	if !ok {
		return false, api.Invalid("step %s: %s is %s, expected true or false", h.name(), key, wireText(v))
	}
	return on, nil
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
		if n.Interfaces["raid"] == "agent" {
			if err := softwareRAID(conf); err != nil {
				return err
			}
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
		// The root volume is the root device from now on, as Ironic's RAID code has it; with the volume its hint goes.
		if old := rootHint(n.RAIDConfig); old != nil && reflect.DeepEqual(old, n.Properties["root_device"]) {
			delete(n.Properties, "root_device")
		}
		if hint := rootHint(conf); hint != nil {
			if n.Properties == nil {
				n.Properties = map[string]any{}
			}
			n.Properties["root_device"] = hint
		}
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

// rootHint is how a made configuration's root volume is found; nil if it has none.
func rootHint(conf map[string]any) any {
	list, _ := conf["logical_disks"].([]any)
	for _, v := range list {
		m, _ := v.(map[string]any)
		if hint, ok := m["root_device_hint"].(map[string]any); ok && m["is_root_volume"] == true {
			return hint
		}
	}
	return nil
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
