package baremetal

import (
	"strings"

	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/baremetal/states"
	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

// tell notifies of a node, in the form of Ironic's versioned notifications. A
// node without an owner belongs to no project.
func (s *Service) tell(tx *store.Tx, n *Node, kind, event string, more map[string]any) error {
	data := map[string]any{"uuid": n.UUID, "name": orNull(n.Name), "driver": n.Driver, "power_state": orNull(n.PowerState), "target_power_state": orNull(n.TargetPowerState),
		"provision_state": orNull(n.ProvisionState), "target_provision_state": orNull(n.TargetProvisionState), "maintenance": n.Maintenance,
		"maintenance_reason": orNull(n.MaintenanceReason), "last_error": orNull(n.LastError), "instance_uuid": orNull(n.InstanceUUID),
		"resource_class": orNull(n.ResourceClass), "owner": orNull(n.Owner), "properties": n.Properties}
	for k, v := range more {
		data[k] = v
	}
	return s.cfg.Bus.Tell(tx, notify.Notification{Exchange: "ironic", Topic: "ironic_versioned_notifications", EventType: event, Publisher: "ironic-conductor.tripleo",
		Project: n.Owner, Payload: map[string]any{"ironic_object.name": kind, "ironic_object.namespace": "ironic", "ironic_object.version": "1.0", "ironic_object.data": data}})
}

func orNull[S ~string](s S) any {
	if s == "" {
		return nil
	}
	return s
}

// tellStates notifies of what a change did to the power and the provision state.
func (s *Service) tellStates(tx *store.Tx, n *Node, power drivers.Power, provision states.State) error {
	if n.PowerState != power {
		err := s.tell(tx, n, "NodeSetPowerStatePayload", "baremetal.node.power_set.end", map[string]any{"previous_power_state": orNull(power)})
		if err != nil {
			return err
		}
	}
	if n.ProvisionState == provision {
		return nil
	}
	phase := "end" // from one step to the next
	switch {
	case strings.HasSuffix(string(n.ProvisionState), "failed") || n.ProvisionState == "error":
		phase = "error"
	case n.TargetProvisionState == "":
		phase = "success"
	case settled(provision):
		phase = "start"
	}
	return s.tell(tx, n, "NodeSetProvisionStatePayload", "baremetal.node.provision_set."+phase, map[string]any{"previous_provision_state": orNull(provision)})
}

// settled says whether a node stays in a state until somebody asks for another.
func settled(state states.State) bool {
	switch state {
	case "enroll", "manageable", "available", "active", "error", "rescue":
		return true
	}
	return strings.HasSuffix(string(state), "failed")
}
