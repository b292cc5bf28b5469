package baremetal

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

const maxEvents = 1000 // of one request

// externalEvent is what another service tells: the network service, say, that
// a port is bound.
type externalEvent struct {
	Event    string `json:"event"`
	PortID   string `json:"port_id"`
	MAC      string `json:"mac_address"`
	Status   string `json:"status"`
	DeviceID string `json:"device_id"`
	HostID   string `json:"binding:host_id"`
	VNICType string `json:"binding:vnic_type"`
}

// postEvents takes events of other services. A failure of a port to bind shows
// in its node's history; any event wakes the node's work.
func (s *Service) postEvents(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if len(in.Events) == 0 || len(in.Events) > maxEvents {
		return api.Invalid("events has %d entries, expected 1 to %d", len(in.Events), maxEvents)
	}
	known := []string{"network.bind_port", "network.unbind_port", "network.delete_port"}
	events := make([]externalEvent, 0, len(in.Events))
	for i, raw := range in.Events {
		var e externalEvent
		if err := api.DecodeJSON(raw, &e); err != nil {
			return err
		}
		if !has(known, e.Event) {
			return api.Invalid("events[%d]: event is %q, expected network.bind_port, network.unbind_port or network.delete_port", i, e.Event)
		}
		if e.PortID == "" || e.Status == "" {
			return api.Invalid("events[%d]: port_id, mac_address and status are required", i)
		}
		mac, err := normMAC(e.MAC)
		if err != nil {
			return err
		}
		e.MAC = mac
		events = append(events, e)
	}
	for _, e := range events {
		if err := s.takeEvent(r.Context(), e); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) takeEvent(ctx context.Context, e externalEvent) error {
	return s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		id, err := nodeByMACs(tx, []any{e.MAC})
		if err != nil || id == "" {
			return err
		}
		if e.Event == "network.bind_port" && e.Status != "ACTIVE" {
			text := "network port " + e.PortID + " (" + e.MAC + ") is " + e.Status
			if err := addHistory(tx, id, historyEvent{CreatedAt: s.now(), Severity: "ERROR", EventType: "network", Event: text}); err != nil {
				return err
			}
		}
		n, err := nodeByIdent(tx, id)
		if err != nil {
			return err
		}
		return s.wake(tx, n)
	})
}
