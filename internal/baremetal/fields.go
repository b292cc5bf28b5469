package baremetal

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/baremetal/states"
)

// writable lists the node fields that clients may set.
func writable() map[string]bool {
	m := map[string]bool{
		"name": true, "chassis_uuid": true, "driver": true, "driver_info": true, "properties": true, "extra": true,
		"instance_info": true, "instance_uuid": true, "resource_class": true, "maintenance": true, "maintenance_reason": true,
		"console_enabled": true, "conductor_group": true, "automated_clean": true, "protected": true, "protected_reason": true,
		"owner": true, "lessee": true, "description": true, "retired": true, "retired_reason": true, "network_data": true,
		"shard": true, "parent_node": true,
	}
	for _, i := range drivers.InterfaceNames() {
		m[i+"_interface"] = true
	}
	return m
}

// document is the node as a patch sees it: real values, no links.
func (n *Node) document() (map[string]any, error) {
	b, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	for _, k := range []string{"run", "power", "secrets", "interfaces"} {
		delete(m, k)
	}
	for _, i := range drivers.InterfaceNames() {
		m[i+"_interface"] = n.Interfaces[i]
	}
	return m, nil
}

// setFields copies what differs between old and changed into the node and
// validates the result as a whole. It returns the names of the fields set.
func (n *Node) setFields(old, changed map[string]any) ([]string, error) {
	var names []string
	for k := range writable() {
		v, has := changed[k]
		if !has || reflect.DeepEqual(old[k], v) {
			continue
		}
		if err := n.setField(k, v); err != nil {
			return nil, err
		}
		names = append(names, k)
	}
	return names, n.check()
}

func wantString(key string, v any, maxLen int) (string, error) {
	switch s := v.(type) {
	case nil:
		return "", nil
	case string:
		if len(s) > maxLen {
			return "", api.Invalid("%s has %d characters, at most %d are allowed", key, len(s), maxLen)
		}
		return s, nil
	default:
		return "", api.Invalid("%s holds a %T, expected a string", key, v)
	}
}

func wantMap(key string, v any) (map[string]any, error) {
	switch m := v.(type) {
	case nil:
		return map[string]any{}, nil
	case map[string]any:
		return m, nil
	default:
		return nil, api.Invalid("%s holds a %T, expected an object", key, v)
	}
}

func wantBool(key string, v any) (bool, error) {
	switch b := v.(type) {
	case nil:
		return false, nil
	case bool:
		return b, nil
	case string: // the classic clients send text
		switch strings.ToLower(b) {
		case "true", "1", "yes", "on", "t", "y":
			return true, nil
		case "false", "0", "no", "off", "f", "n", "":
			return false, nil
		}
	}
	return false, api.Invalid("%s is %v, expected a boolean", key, v)
}

func (n *Node) setField(key string, v any) (err error) {
	str := func(dst *string, maxLen int) {
		if err == nil {
			*dst, err = wantString(key, v, maxLen)
		}
	}
	obj := func(dst *map[string]any) { *dst, err = wantMap(key, v) }
	boolean := func(dst *bool) { *dst, err = wantBool(key, v) }
	switch key {
	case "name":
		str(&n.Name, 255)
	case "chassis_uuid":
		str(&n.ChassisUUID, 36)
	case "driver":
		str(&n.Driver, 255)
	case "driver_info":
		old := n.DriverInfo
		obj(&n.DriverInfo)
		for k, val := range n.DriverInfo { // a client that writes back what it read
			if val == mask && old[k] != nil {
				n.DriverInfo[k] = old[k]
			}
		}
	case "properties":
		obj(&n.Properties)
	case "extra":
		obj(&n.Extra)
	case "instance_info":
		obj(&n.InstanceInfo)
	case "network_data":
		obj(&n.NetworkData)
	case "instance_uuid":
		str(&n.InstanceUUID, 36)
	case "resource_class":
		str(&n.ResourceClass, 80)
	case "maintenance":
		boolean(&n.Maintenance)
		if !n.Maintenance {
			n.MaintenanceReason, n.Fault = "", ""
		}
	case "maintenance_reason":
		str(&n.MaintenanceReason, 4096)
	case "console_enabled":
		boolean(&n.ConsoleEnabled)
	case "conductor_group":
		str(&n.ConductorGroup, 255)
		n.ConductorGroup = strings.ToLower(n.ConductorGroup)
	case "automated_clean":
		n.AutomatedClean = nil
		if v != nil {
			var b bool
			boolean(&b)
			n.AutomatedClean = &b
		}
	case "protected":
		if boolean(&n.Protected); !n.Protected {
			n.ProtectedReason = ""
		}
	case "protected_reason":
		str(&n.ProtectedReason, 4096)
	case "owner":
		str(&n.Owner, 255)
	case "lessee":
		str(&n.Lessee, 255)
	case "description":
		str(&n.Description, 4096)
	case "shard":
		str(&n.Shard, 255)
	case "parent_node":
		str(&n.ParentNode, 255)
	case "retired":
		boolean(&n.Retired)
	case "retired_reason":
		str(&n.RetiredReason, 4096)
	default:
		iface, ok := strings.CutSuffix(key, "_interface")
		if !ok {
			return api.Invalid("unknown field %q", key)
		}
		var impl string
		str(&impl, 255)
		if n.Interfaces == nil {
			n.Interfaces = map[string]string{}
		}
		n.Interfaces[iface] = impl // "" gets the default in check
	}
	return err
}

func namePattern() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._~-]+$`) }

// reservedNames are parts of URLs below /v1/nodes.
func reservedNames() []string {
	return []string{"detail", "maintenance", "management", "ports", "portgroups", "states", "validate", "vendor_passthru", "vifs", "volume", "traits", "bios"}
}

// check validates the node as a whole and fills in what has a default.
func (n *Node) check() error {
	if n.Name != "" {
		if _, err := uuid.Parse(n.Name); err == nil || !namePattern().MatchString(n.Name) {
			return api.Invalid("Invalid node name %q: letters, digits and -._~ are allowed, and it may not look like a UUID", n.Name)
		}
		for _, r := range reservedNames() {
			if n.Name == r {
				return api.Invalid("The node name %q is a reserved word", n.Name)
			}
		}
	}
	if n.InstanceUUID != "" {
		if _, err := uuid.Parse(n.InstanceUUID); err != nil {
			return api.Invalid("instance_uuid is %q, expected a UUID", n.InstanceUUID)
		}
	}
	if n.Driver == "" {
		return api.Invalid("driver is missing")
	}
	hw, ok := drivers.Hardware(n.Driver)
	if !ok {
		return api.Invalid("No valid host was found. Reason: No conductor service registered which supports driver %s for conductor group %q.", n.Driver, n.ConductorGroup)
	}
	if n.Interfaces == nil {
		n.Interfaces = map[string]string{}
	}
	for _, i := range drivers.InterfaceNames() {
		impl := n.Interfaces[i]
		if impl == "" {
			n.Interfaces[i] = hw.Default(i)
			continue
		}
		if err := hw.CheckInterface(i, impl); err != nil {
			return api.Invalid("%s; reset_interfaces=True gives all of them the driver's defaults", err.Error())
		}
	}
	if n.ProtectedReason != "" && !n.Protected {
		return api.Invalid("The protected_reason field can only be set when protected is True.")
	}
	if n.Protected && n.ProvisionState != states.Active && n.ProvisionState != states.Rescue {
		return api.Conflict("Node %s can be protected only in the states active and rescue, it is %s", n.UUID, n.ProvisionState)
	}
	return n.checkProperties()
}

// checkProperties accepts the sizes as numbers or as text, as Ironic does, and
// refuses what is neither.
func (n *Node) checkProperties() error {
	for _, k := range []string{"cpus", "memory_mb", "local_gb"} {
		switch v := n.Properties[k].(type) {
		case nil, float64:
		case string:
			if v == "" {
				continue
			}
			var x float64
			if _, err := fmt.Sscanf(v, "%g", &x); err != nil || x < 0 {
				return api.Invalid("properties/%s is %q, expected a non-negative number", k, v)
			}
		default:
			return api.Invalid("properties/%s holds a %T, expected a number", k, v)
		}
	}
	switch c := n.Properties["capabilities"].(type) {
	case nil, string, map[string]any:
	default:
		return api.Invalid("properties/capabilities holds a %T, expected a string of the form k1:v1,k2:v2", c)
	}
	switch r := n.Properties["root_device"].(type) {
	case nil, map[string]any:
	default:
		return api.Invalid("properties/root_device holds a %T, expected an object of hints", r)
	}
	return nil
}

func has(names []string, want string) bool {
	for _, n := range names {
		if n == want {
			return true
		}
	}
	return false
}

// mayUpdate says whether a node may be patched now and whether these fields
// may be changed in its state.
func (n *Node) mayUpdate(fields []string, before *Node) error {
	if before.TargetProvisionState != "" && !updateAllowed(before.ProvisionState) {
		return api.Conflict("Node %s can not be updated while a state transition is in progress.", n.UUID).Named("NodeInTransition")
	}
	frozen := before.Maintenance
	switch before.ProvisionState {
	case states.Enroll, states.Manageable, states.Available, states.InspectWait, states.Inspecting:
		frozen = true
	}
	for _, f := range fields {
		if (strings.HasSuffix(f, "_interface") || f == "driver") && !frozen {
			return api.Conflict("Node %s can not have %s updated unless it is in one of allowed (available, enroll, inspect wait, manageable) states or in maintenance mode.", n.UUID, f)
		}
	}
	if has(fields, "retired") && n.Retired && !before.Retired && before.ProvisionState == states.Available {
		return api.Conflict("Node %s can not be retired while it is available, because it may be taken at any moment: manage it first.", n.UUID)
	}
	if has(fields, "instance_uuid") && n.InstanceUUID != "" && before.InstanceUUID != "" {
		return api.Conflict("Node %s is associated with instance %s.", n.UUID, before.InstanceUUID).Named("NodeAssociated")
	}
	if has(fields, "instance_uuid") && n.InstanceUUID == "" && before.ProvisionState == states.Active && !before.Maintenance {
		return api.Conflict("Cannot remove instance_uuid of node %s while it is %s.", n.UUID, before.ProvisionState)
	}
	return nil
}

func updateAllowed(s states.State) bool {
	switch s {
	case states.DeployFail, states.InspectFail, states.InspectWait, states.CleanFail, states.Error, states.Verifying,
		states.AdoptFail, states.RescueFail, states.UnrescueFail:
		return true
	default:
		return false
	}
}
