package compute

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// powerActions are the server actions that are one power command.
var powerActions = map[string]struct { //nolint:gochecknoglobals // constant table
	target nodes.TargetPowerState
	status string
}{
	"os-start": {nodes.PowerOn, statusActive},
	"os-stop":  {nodes.SoftPowerOff, statusShutoff},
	"reboot":   {nodes.Rebooting, statusActive},
}

func (svc *Service) serverAction(w http.ResponseWriter, r *http.Request) error {
	var in map[string]json.RawMessage
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if len(in) != 1 {
		return api.Invalid("the body holds %d actions, expected one", len(in))
	}
	for name, args := range in {
		action, ok := powerActions[name]
		if !ok {
			return api.Invalid("There is no such action: %s", name)
		}
		var reboot struct {
			Type string `json:"type"`
		}
		if name == "reboot" && json.Unmarshal(args, &reboot) == nil && reboot.Type == "SOFT" {
			action.target = nodes.SoftRebooting
		}
		return svc.power(w, r, name, action.target, action.status)
	}
	return nil
}

func (svc *Service) power(w http.ResponseWriter, r *http.Request, name string, target nodes.TargetPowerState, status string) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	if s.Task != "" || s.NodeID == "" || s.Status == statusBuild {
		return api.Conflict("Cannot '%s' instance %s while it is in vm_state %s", name, s.ID, vmStates[s.Status])
	}
	session, err := svc.cfg.Cloud.Service(r.Context())
	if err != nil {
		return err
	}
	ironic, err := session.Baremetal()
	if err != nil {
		return err
	}
	err = nodes.ChangePowerState(r.Context(), ironic, s.NodeID, nodes.PowerStateOpts{Target: target}).ExtractErr()
	if gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		return api.Conflict("Node %s is busy, try again", s.NodeID).Wrap(err)
	}
	if err != nil {
		return fmt.Errorf("power of node %s: %w", s.NodeID, err)
	}
	if _, err := svc.change(r, func(_ *store.Tx, s *Server) error { s.Status = status; return nil }); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}
