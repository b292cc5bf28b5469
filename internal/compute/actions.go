package compute

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

type serverActionFunc func(svc *Service, w http.ResponseWriter, r *http.Request, args json.RawMessage) error

// serverActions are those that bare metal can do.
func serverActions() map[string]serverActionFunc {
	power := func(target nodes.TargetPowerState, status, from string) serverActionFunc {
		return func(svc *Service, w http.ResponseWriter, r *http.Request, _ json.RawMessage) error {
			return svc.power(w, r, target, status, from)
		}
	}
	return map[string]serverActionFunc{
		"os-start": power(nodes.PowerOn, statusActive, statusShutoff),
		"os-stop":  power(nodes.SoftPowerOff, statusShutoff, statusActive),
		"reboot":   (*Service).reboot, "rebuild": (*Service).rebuild,
		"lock": (*Service).lock, "unlock": (*Service).unlock,
		"forceDelete": func(svc *Service, w http.ResponseWriter, r *http.Request, _ json.RawMessage) error {
			return svc.deleteServer(w, r)
		},
		"os-resetState":       (*Service).resetState,
		"addFixedIp":          (*Service).addFixedIP,
		"removeFixedIp":       (*Service).removeFixedIP,
		"addSecurityGroup":    groupAction(true),
		"removeSecurityGroup": groupAction(false),
		"os-getSerialConsole": func(svc *Service, w http.ResponseWriter, r *http.Request, args json.RawMessage) error {
			return svc.console(w, r, args, false)
		},
	}
}

// refusedActions are Nova's other actions, with the reason why a machine cannot
// do them.
var refusedActions = map[string]string{ //nolint:gochecknoglobals // constant table
	"pause": "a machine has no hypervisor that could hold it", "unpause": "a machine has no hypervisor that could hold it",
	"suspend": "a machine has no hypervisor that could save its memory", "resume": "a machine has no hypervisor that could save its memory",
	"shelve": "a machine's disk stays with the machine", "unshelve": "a machine's disk stays with the machine", "shelveOffload": "a machine's disk stays with the machine",
	"resize": "a machine cannot change its size", "confirmResize": "a machine cannot change its size", "revertResize": "a machine cannot change its size",
	"migrate": "a machine cannot move", "os-migrateLive": "a machine cannot move", "evacuate": "a machine cannot move",
	"createImage":  "the disk of a running machine cannot be read by others",
	"createBackup": "the disk of a running machine cannot be read by others", "restore": "deleted servers are cleaned from their machines",
	"rescue": "ask the bare-metal service: openstack baremetal node rescue", "unrescue": "ask the bare-metal service: openstack baremetal node unrescue",
	"changePassword": "nothing of ours runs in the installed system that could change it", "resetNetwork": "the installed system configures its network itself",
	"injectNetworkInfo": "the installed system configures its network itself", "trigger_crash_dump": "machines take no NMI through this service: openstack baremetal node inject nmi",
	"os-getConsoleOutput": "the serial console of a machine keeps no history: openstack console url show --serial",
	"os-getVNCConsole":    "machines have no graphical console here", "os-getSPICEConsole": "machines have no graphical console here", "os-getRDPConsole": "machines have no graphical console here",
	"addFloatingIp": "floating IPs are Neutron's: openstack floating ip set", "removeFloatingIp": "floating IPs are Neutron's: openstack floating ip unset",
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
		if _, err := svc.get(r); err != nil {
			return err
		}
		if why, ok := refusedActions[name]; ok {
			return api.Invalid("Action %s is not possible for a bare-metal server: %s.", name, why)
		}
		action, ok := serverActions()[name]
		if !ok {
			return api.Invalid("There is no such action: %s", name)
		}
		return action(svc, w, r, args)
	}
	return nil
}

// locked keeps others than administrators from a locked server.
func (s *Server) locked(r *http.Request) error {
	if s.Locked && !caller(r).IsAdmin() {
		return api.Conflict("Instance %s is locked", s.ID)
	}
	return nil
}

func (s *Server) idle(verb string) error {
	if s.Task != "" || s.NodeID == "" || s.Status == statusBuild {
		return api.Conflict("Cannot '%s' instance %s while it is in vm_state %s", verb, s.ID, vmStates[s.Status])
	}
	return nil
}

func (svc *Service) reboot(w http.ResponseWriter, r *http.Request, args json.RawMessage) error {
	var in struct {
		Type string `json:"type"`
	}
	if err := api.DecodeJSON(args, &in); err != nil {
		return err
	}
	target := nodes.Rebooting
	switch in.Type {
	case "SOFT", "soft":
		target = nodes.SoftRebooting
	case "HARD", "hard":
	default:
		return api.Invalid("Invalid input for field/attribute type. Value: %s. 'SOFT' or 'HARD' is expected.", in.Type)
	}
	return svc.power(w, r, target, statusActive, "")
}

func (svc *Service) ironic(r *http.Request) (*gophercloud.ServiceClient, error) {
	session, err := svc.cfg.Cloud.Service(r.Context())
	if err != nil {
		return nil, err
	}
	return session.Baremetal()
}

// onNode makes sure that the machine is still the server's: an operator may have
// torn it down, and it may carry another project's server by now.
func (s *Server) onNode(ctx context.Context, ironic *gophercloud.ServiceClient) error {
	n, err := nodes.Get(ctx, ironic, s.NodeID).Extract()
	if err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return fmt.Errorf("get node %s: %w", s.NodeID, err)
	}
	if err != nil || n.InstanceUUID != s.ID {
		return api.Conflict("Node %s no longer belongs to instance %s.", s.NodeID, s.ID)
	}
	return nil
}

func (svc *Service) power(w http.ResponseWriter, r *http.Request, target nodes.TargetPowerState, status, from string) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	verb := map[nodes.TargetPowerState]string{nodes.PowerOn: "start", nodes.SoftPowerOff: "stop"}[target]
	if verb == "" {
		verb = "reboot"
	}
	if err := s.locked(r); err != nil {
		return err
	}
	if err := s.idle(verb); err != nil {
		return err
	}
	if from != "" && s.Status != from {
		return api.Conflict("Cannot '%s' instance %s while it is in vm_state %s", verb, s.ID, vmStates[s.Status])
	}
	ironic, err := svc.ironic(r)
	if err != nil {
		return err
	}
	if err := s.onNode(r.Context(), ironic); err != nil {
		return err
	}
	err = nodes.ChangePowerState(r.Context(), ironic, s.NodeID, nodes.PowerStateOpts{Target: target}).ExtractErr()
	if gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		return api.Conflict("Node %s is busy, try again", s.NodeID).Wrap(err)
	}
	if err != nil {
		return fmt.Errorf("power of node %s: %w", s.NodeID, err)
	}
	_, err = svc.change(r, func(tx *store.Tx, s *Server) error {
		s.Status = status
		if err := record(tx, r, s.ID, verb); err != nil {
			return err
		}
		return finish(tx, s.ID, "")
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (svc *Service) lock(w http.ResponseWriter, r *http.Request, args json.RawMessage) error {
	var in struct {
		Reason *string `json:"locked_reason"`
	}
	if string(args) != "null" {
		if err := api.DecodeJSON(args, &in); err != nil {
			return err
		}
	}
	return svc.setLock(w, r, true, in.Reason)
}

func (svc *Service) unlock(w http.ResponseWriter, r *http.Request, _ json.RawMessage) error {
	return svc.setLock(w, r, false, nil)
}

func (svc *Service) setLock(w http.ResponseWriter, r *http.Request, locked bool, reason *string) error {
	_, err := svc.change(r, func(tx *store.Tx, s *Server) error {
		if !locked && s.LockedByAdmin && !caller(r).IsAdmin() {
			return api.Forbidden("Instance %s was locked by an administrator", s.ID)
		}
		s.Locked, s.LockedReason, s.LockedByAdmin = locked, reason, locked && caller(r).IsAdmin() && caller(r).ProjectID != s.ProjectID
		verb := "unlock"
		if locked {
			verb = "lock"
		}
		if err := record(tx, r, s.ID, verb); err != nil {
			return err
		}
		return finish(tx, s.ID, "")
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// resetState lets an administrator set a server that is stuck to active or
// error; the machine is left alone.
func (svc *Service) resetState(w http.ResponseWriter, r *http.Request, args json.RawMessage) error {
	if !caller(r).IsAdmin() {
		return api.Forbidden("Policy doesn't allow os_compute_api:os-admin-actions:reset_state to be performed.")
	}
	var in struct {
		State string `json:"state"`
	}
	if err := api.DecodeJSON(args, &in); err != nil {
		return err
	}
	status, ok := map[string]string{"active": statusActive, "error": statusError}[in.State]
	if !ok {
		return api.Invalid("Invalid input for field/attribute state. Value: %s. 'active' or 'error' is expected.", in.State)
	}
	_, err := svc.change(r, func(_ *store.Tx, s *Server) error {
		if s.Task == taskDeleting {
			return api.Conflict("Instance %s is being deleted", s.ID)
		}
		if s.Task == taskInterfaces {
			return api.Conflict("An interface of instance %s is being attached or detached", s.ID)
		}
		s.Status, s.Task = status, ""
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// rebuild writes an image, the same or another, on the server's machine again.
func (svc *Service) rebuild(w http.ResponseWriter, r *http.Request, args json.RawMessage) error {
	var in struct {
		Image       string            `json:"imageRef"`
		Name        *string           `json:"name"`
		Description *string           `json:"description"`
		Metadata    map[string]string `json:"metadata"`
		KeyName     clearable         `json:"key_name"`
		UserData    clearable         `json:"user_data"`
		AccessIPv4  *string           `json:"accessIPv4"`
		AccessIPv6  *string           `json:"accessIPv6"`
		Ephemeral   bool              `json:"preserve_ephemeral"`
		DiskConfig  *string           `json:"OS-DCF:diskConfig"`
	}
	if err := api.DecodeJSON(args, &in); err != nil {
		return err
	}
	if in.Image == "" {
		return api.Invalid("Invalid input for field/attribute rebuild. 'imageRef' is a required property")
	}
	fields := serverFields{Name: in.Name, Description: in.Description, AccessIPv4: in.AccessIPv4, AccessIPv6: in.AccessIPv6, DiskConfig: in.DiskConfig,
		UserData: &in.UserData.text, Metadata: in.Metadata}
	if err := fields.check(r); err != nil {
		return err
	}
	if in.KeyName.set && !api.AtLeast(r, "2.54") {
		return api.Invalid("key_name is there in rebuilds since microversion 2.54 only")
	}
	if in.UserData.set && !api.AtLeast(r, "2.57") {
		return api.Invalid("user_data is there in rebuilds since microversion 2.57 only")
	}
	image := lastSegment(in.Image)
	had, err := svc.get(r)
	if err != nil {
		return err
	}
	if err := svc.checkImage(r, image, &had.Flavor); err != nil {
		return err
	}
	s, err := svc.change(r, func(tx *store.Tx, s *Server) error {
		if err := s.locked(r); err != nil {
			return err
		}
		if err := s.idle("rebuild"); err != nil {
			return err
		}
		s.ImageID, s.Status, s.Task, s.Deploying, s.Fault = image, statusRebuild, taskRebuilding, false, nil
		s.KeepEphemeral = in.Ephemeral
		for dst, v := range map[*string]*string{&s.Name: in.Name, &s.AccessIPv4: in.AccessIPv4, &s.AccessIPv6: in.AccessIPv6, &s.DiskConfig: in.DiskConfig} {
			if v != nil {
				*dst = *v
			}
		}
		if in.Description != nil {
			s.Description = in.Description
		}
		if in.Metadata != nil {
			s.Metadata = in.Metadata
		}
		if in.UserData.set { // null takes it away
			s.UserData = in.UserData.text
		}
		if in.KeyName.set {
			s.KeyName, s.PublicKey = "", ""
		}
		if in.KeyName.text != "" {
			k, err := keypairOf(tx, s.UserID, in.KeyName.text)
			if err != nil {
				return api.Invalid("Invalid key_name provided.").Wrap(err)
			}
			s.KeyName, s.PublicKey = k.Name, k.PublicKey
		}
		if err := record(tx, r, s.ID, "rebuild"); err != nil {
			return err
		}
		return svc.cfg.Jobs.Poke(tx, serverJob, s.ID, nil)
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", svc.cfg.BaseURL+"/v2.1/servers/"+s.ID)
	v := svc.updated(r, s)
	if api.AtLeast(r, "2.54") {
		v["key_name"] = nullable(s.KeyName)
	}
	delete(v, "OS-EXT-SRV-ATTR:user_data") // user_data tells it here
	if api.AtLeast(r, "2.57") {
		v["user_data"] = nullable(s.UserData)
	}
	return api.WriteJSON(w, http.StatusAccepted, map[string]any{"server": v})
}

// remoteConsole answers POST /servers/{id}/remote-consoles.
func (svc *Service) remoteConsole(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Console struct {
			Protocol string `json:"protocol"`
			Type     string `json:"type"`
		} `json:"remote_console"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if in.Console.Protocol != "serial" || in.Console.Type != "serial" {
		return api.Invalid("Unavailable console type %s: machines have serial consoles only.", in.Console.Type)
	}
	return svc.console(w, r, nil, true)
}

// console returns the address of the machine's serial console, which the
// bare-metal service serves once it was enabled there.
func (svc *Service) console(w http.ResponseWriter, r *http.Request, _ json.RawMessage, remote bool) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	if s.NodeID == "" {
		return api.Conflict("Instance %s has no machine yet", s.ID)
	}
	ironic, err := svc.ironic(r)
	if err != nil {
		return err
	}
	if err := s.onNode(r.Context(), ironic); err != nil {
		return err
	}
	var body struct {
		Enabled bool `json:"console_enabled"`
		Info    struct {
			Type string `json:"type"`
			URL  string `json:"url"`
		} `json:"console_info"`
	}
	_, err = ironic.Get(r.Context(), ironic.ServiceURL("nodes", s.NodeID, "states", "console"), &body, nil) //nolint:bodyclose // read and closed there, as body is given
	if gophercloud.ResponseCodeIs(err, http.StatusBadRequest) || gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return api.Conflict("The machine of instance %s has no serial console: %s", s.ID, reason(err)).Wrap(err)
	}
	if err != nil {
		return fmt.Errorf("console of node %s: %w", s.NodeID, err)
	}
	if !body.Enabled || body.Info.URL == "" {
		return api.Conflict("The serial console of instance %s is not enabled: openstack baremetal node console enable %s", s.ID, s.NodeID)
	}
	if remote {
		return api.WriteJSON(w, http.StatusOK, map[string]any{"remote_console": map[string]any{"protocol": "serial", "type": "serial", "url": body.Info.URL}})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"console": map[string]any{"type": "serial", "url": body.Info.URL}})
}
