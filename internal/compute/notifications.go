package compute

import (
	"time"

	"github.com/tripleo/tripleo/internal/notify"
	"github.com/tripleo/tripleo/internal/store"
)

// changeEvent names Nova's notification of a change of status.
func changeEvent(from, to string) string {
	switch {
	case from == to:
		return ""
	case from == statusBuild && to == statusActive:
		return "compute.instance.create.end"
	case from == statusBuild && to == statusError:
		return "compute.instance.create.error"
	case from == statusActive && to == statusShutoff:
		return "compute.instance.power_off.end"
	case from == statusShutoff && to == statusActive:
		return "compute.instance.power_on.end"
	}
	return "compute.instance.update"
}

// tell notifies of a change of a server, in the form that Nova's notifications
// had before they were versioned: on exchange nova.
func (svc *Service) tell(tx *store.Tx, s *Server, event, oldStatus string) error {
	if event == "" {
		return nil
	}
	return svc.cfg.Bus.Tell(tx, notify.Notification{Exchange: "nova", Topic: "notifications", EventType: event, Publisher: "compute.tripleo", Project: s.ProjectID,
		Payload: map[string]any{"instance_id": s.ID, "display_name": s.Name, "hostname": s.Name, "tenant_id": s.ProjectID, "user_id": s.UserID, "node": s.NodeID,
			"state": vmStates[s.Status], "status": s.Status, "old_status": oldStatus, "created_at": s.Created.UTC().Format(time.RFC3339), "metadata": s.Metadata}})
}
