package baremetal

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/baremetal/states"
)

// Node is a bare metal node. The JSON names are those of Ironic's API; what
// the API does not show is grouped in Run and Secrets.
type Node struct {
	ID          int64  `json:"-"` // order of creation
	UUID        string `json:"uuid"`
	Name        string `json:"name"`
	ChassisUUID string `json:"chassis_uuid"`

	Driver             string            `json:"driver"`
	DriverInfo         map[string]any    `json:"driver_info"`
	DriverInternalInfo map[string]any    `json:"driver_internal_info"`
	Interfaces         map[string]string `json:"interfaces"` // "deploy" -> "direct"

	Properties    map[string]any `json:"properties"`
	Extra         map[string]any `json:"extra"`
	InstanceInfo  map[string]any `json:"instance_info"`
	InstanceUUID  string         `json:"instance_uuid"`
	ResourceClass string         `json:"resource_class"`
	Traits        []string       `json:"traits"`

	ProvisionState       states.State  `json:"provision_state"`
	TargetProvisionState states.State  `json:"target_provision_state"`
	PowerState           drivers.Power `json:"power_state"`
	TargetPowerState     string        `json:"target_power_state"`
	LastError            string        `json:"last_error"`
	Maintenance          bool          `json:"maintenance"`
	MaintenanceReason    string        `json:"maintenance_reason"`
	Fault                string        `json:"fault"`
	ConsoleEnabled       bool          `json:"console_enabled"`

	CleanStep        map[string]any `json:"clean_step"`
	DeployStep       map[string]any `json:"deploy_step"`
	ServiceStep      map[string]any `json:"service_step"`
	RAIDConfig       map[string]any `json:"raid_config"`
	TargetRAIDConfig map[string]any `json:"target_raid_config"`

	ConductorGroup  string         `json:"conductor_group"`
	AutomatedClean  *bool          `json:"automated_clean"`
	Protected       bool           `json:"protected"`
	ProtectedReason string         `json:"protected_reason"`
	Owner           string         `json:"owner"`
	Lessee          string         `json:"lessee"`
	Description     string         `json:"description"`
	AllocationUUID  string         `json:"allocation_uuid"`
	Retired         bool           `json:"retired"`
	RetiredReason   string         `json:"retired_reason"`
	NetworkData     map[string]any `json:"network_data"`
	Shard           string         `json:"shard"`
	ParentNode      string         `json:"parent_node"`
	BootMode        string         `json:"boot_mode"`
	SecureBoot      *bool          `json:"secure_boot"`

	CreatedAt            time.Time `json:"created_at"`
	UpdatedAt            time.Time `json:"updated_at"`
	ProvisionUpdatedAt   time.Time `json:"provision_updated_at"`
	InspectionStartedAt  time.Time `json:"inspection_started_at"`
	InspectionFinishedAt time.Time `json:"inspection_finished_at"`

	Run     *Run      `json:"run,omitempty"`   // provisioning under way
	Power   *PowerRun `json:"power,omitempty"` // a power change asked for through the API
	Secrets Secrets   `json:"secrets"`
}

// Secrets never leave the service but to the machine they belong to.
type Secrets struct {
	AgentToken       string `json:"agent_token,omitempty"`
	AgentTokenIssued bool   `json:"agent_token_issued,omitempty"` // handed out since the last boot of the ramdisk
	ImageToken       string `json:"image_token,omitempty"`        // in the URL the ramdisk fetches the image from
	MediaToken       string `json:"media_token,omitempty"`        // in the URL the controller fetches the ramdisk's CD from
	AgentCA          string `json:"agent_ca,omitempty"`
	ConsoleToken     string `json:"console_token,omitempty"`   // in the URL of the console, while it is enabled
	RescuePassword   string `json:"rescue_password,omitempty"` // hash in crypt(3) form, until the ramdisk has it
}

// display is how errors and logs name a node.
func (n *Node) display() string {
	if n.Name != "" {
		return n.Name
	}
	return n.UUID
}

// locked says that the engine is acting on the node right now, so that others
// have to wait; it shows as `reservation`.
func (n *Node) locked() bool {
	return n.TargetPowerState != "" || (n.Run != nil && states.Busy(n.ProvisionState))
}

// setState moves the node to a provision state and sets the target that goes
// with it.
func (n *Node) setState(to states.State, now time.Time) {
	n.ProvisionState = to
	n.TargetProvisionState = states.Target(to)
	if n.Run != nil && n.Run.Manual && n.TargetProvisionState == states.Available {
		n.TargetProvisionState = states.Manageable
	}
	n.ProvisionUpdatedAt = now
}

// capability reads one entry of properties.capabilities ("k1:v1,k2:v2").
func (n *Node) capability(name string) string {
	s, _ := n.Properties["capabilities"].(string)
	for pair := range strings.SplitSeq(s, ",") {
		if k, v, ok := strings.Cut(strings.TrimSpace(pair), ":"); ok && k == name {
			return v
		}
	}
	return ""
}

// bootMode is the mode the node is to boot in: what the instance or the
// operator asks for, what was seen last, or "" when nobody knows yet.
func (n *Node) bootMode() string {
	if m := n.wantedBootMode(); m != "" {
		return m
	}
	return n.BootMode
}

// wantedBootMode is the mode that the instance or the operator asks for.
func (n *Node) wantedBootMode() string {
	if caps, ok := n.InstanceInfo["capabilities"].(map[string]any); ok {
		if m, ok := caps["boot_mode"].(string); ok && m != "" {
			return m
		}
	}
	return n.capability("boot_mode")
}

func (n *Node) info(key string) string {
	s, _ := n.DriverInfo[key].(string)
	return s
}

func (n *Node) target() drivers.Target {
	return drivers.Target{NodeUUID: n.UUID, Driver: n.Driver, Info: n.DriverInfo, Known: n.PowerState}
}

// fieldSince is the minor microversion that brought a node field; fields not
// listed were there from the beginning. Source: Ironic's "REST API Version
// History".
func fieldSince() map[string]int {
	m := map[string]int{
		"driver_internal_info": 3, "name": 5, "inspection_finished_at": 6, "inspection_started_at": 6,
		"clean_step": 7, "raid_config": 12, "target_raid_config": 12, "states": 14, "network_interface": 20,
		"resource_class": 21, "portgroups": 23, "volume": 32, "storage_interface": 33, "traits": 37,
		"rescue_interface": 38, "bios_interface": 40, "fault": 42, "deploy_step": 44, "conductor_group": 46,
		"automated_clean": 47, "protected": 48, "protected_reason": 48, "conductor": 49, "owner": 50,
		"description": 51, "allocation_uuid": 52, "retired": 61, "retired_reason": 61, "lessee": 65,
		"network_data": 66, "boot_mode": 75, "secure_boot": 75, "shard": 82, "parent_node": 83,
		"firmware_interface": 86, "service_step": 87,
	}
	for _, i := range []string{"boot", "console", "deploy", "inspect", "management", "power", "raid", "vendor"} {
		m[i+"_interface"] = 31
	}
	return m
}

// wireOptions say how a node is shown.
type wireOptions struct {
	base  string // endpoint URL without trailing slash
	minor int    // negotiated microversion 1.minor
	// host names the conductor that a node belongs to.
	host func(n *Node) string
}

const mask = "******"

// wire turns a node into the document clients see at a microversion.
func (n *Node) wire(o wireOptions) map[string]any {
	b, err := json.Marshal(n)
	if err != nil {
		return map[string]any{"uuid": n.UUID} // a Node always encodes
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return map[string]any{"uuid": n.UUID}
	}
	for _, hidden := range []string{"run", "power", "secrets", "interfaces"} {
		delete(m, hidden)
	}
	for _, i := range drivers.InterfaceNames() {
		m[i+"_interface"] = n.Interfaces[i]
	}
	for k, v := range m {
		if s, ok := v.(string); ok && s == "" && k != "conductor_group" {
			m[k] = nil
		}
	}
	for _, k := range []string{"driver_info", "driver_internal_info", "properties", "extra", "instance_info", "raid_config",
		"target_raid_config", "clean_step", "deploy_step", "service_step", "network_data"} {
		if m[k] == nil {
			m[k] = map[string]any{}
		}
	}
	if m["traits"] == nil {
		m["traits"] = []any{}
	}
	m["reservation"] = nil
	if n.locked() {
		m["reservation"] = nilIfEmpty(o.host(n))
	}
	m["conductor"] = nilIfEmpty(o.host(n))
	for _, k := range []string{"created_at", "updated_at", "provision_updated_at", "inspection_started_at", "inspection_finished_at"} {
		m[k] = wireTimeOf(m[k])
	}
	maskSecrets(m)
	m["links"] = links(o.base, "nodes", n.UUID)
	for sub, name := range map[string]string{"ports": "ports", "portgroups": "portgroups", "states": "states", "volume": "volume"} {
		m[sub] = links(o.base, "nodes/"+n.UUID, name)
	}
	m["provision_state"] = stateAt(n.ProvisionState, o.minor)
	for k, since := range fieldSince() {
		if o.minor < since {
			delete(m, k)
		}
	}
	return m
}

// stateAt is the name of a state at a microversion: before 1.2 available was
// null, before 1.39 "inspect wait" was "inspecting".
func stateAt(s states.State, minor int) any {
	switch {
	case s == states.Available && minor < 2:
		return nil
	case s == states.InspectWait && minor < 39:
		return states.Inspecting
	default:
		return s
	}
}

func maskSecrets(m map[string]any) {
	if info, ok := m["driver_info"].(map[string]any); ok {
		for k := range info {
			if strings.Contains(k, "password") || strings.Contains(k, "secret") || strings.Contains(k, "_key") && !strings.Contains(k, "public") {
				info[k] = mask
			}
		}
	}
	if info, ok := m["instance_info"].(map[string]any); ok {
		for _, k := range []string{"configdrive", "image_url", "rescue_password"} {
			if _, has := info[k]; has {
				info[k] = mask
			}
		}
	}
}

// timeLayout is ISO 8601 with an offset, as Ironic writes it.
const timeLayout = "2006-01-02T15:04:05.000000+00:00"

func wireTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(timeLayout)
}

func wireTimeOf(v any) any {
	s, _ := v.(string)
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return nil
	}
	return wireTime(t)
}

func links(base, collection, id string) []any {
	return []any{
		map[string]any{"rel": "self", "href": base + "/v1/" + collection + "/" + id},
		map[string]any{"rel": "bookmark", "href": base + "/" + collection + "/" + id},
	}
}
