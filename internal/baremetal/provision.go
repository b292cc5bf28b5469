package baremetal

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/baremetal/states"
	"github.com/tripleo/tripleo/internal/store"
)

func (s *Service) getStates(w http.ResponseWriter, r *http.Request) error {
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	doc := n.wire(s.wireOpts(r))
	out := map[string]any{}
	for _, k := range []string{"power_state", "target_power_state", "provision_state", "target_provision_state", "last_error",
		"console_enabled", "provision_updated_at", "raid_config", "target_raid_config", "boot_mode", "secure_boot"} {
		if v, ok := doc[k]; ok {
			out[k] = v
		}
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

// Power targets of PUT states/power.
const (
	targetOn         = "power on"
	targetOff        = "power off"
	targetReboot     = "rebooting"
	targetSoftOff    = "soft power off"
	targetSoftReboot = "soft rebooting"
)

func (s *Service) setPower(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Target  string `json:"target"`
		Timeout *int   `json:"timeout"` // seconds
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	switch in.Target {
	case targetOn, targetOff, targetReboot:
	case targetSoftOff, targetSoftReboot:
		if minor(r) < 27 {
			return api.NotAcceptable("Power target %q needs API version 1.27 or later", in.Target)
		}
	default:
		return api.Invalid("The requested power state %q is not known; it is one of: power on, power off, rebooting, soft power off, soft rebooting", in.Target)
	}
	if in.Timeout != nil && *in.Timeout < 1 {
		return api.Invalid("timeout is %d, expected a positive number of seconds", *in.Timeout)
	}
	n, err := s.mutate(r.Context(), r.PathValue("node"), func(tx *store.Tx, n *Node) error {
		if n.locked() {
			return s.lockedError(n)
		}
		if n.ProvisionState == states.CleanWait {
			return api.Invalid("The requested action %q can not be performed on node %q while it is in state %q.", in.Target, n.UUID, n.ProvisionState)
		}
		if err := drivers.Validate(n.Driver, n.DriverInfo); err != nil {
			return api.Invalid("%s", err.Error())
		}
		timeout := s.cfg.PowerTimeout
		if in.Timeout != nil {
			timeout = seconds(*in.Timeout)
		}
		return s.startPower(tx, n, in.Target, timeout)
	})
	if err != nil {
		return err
	}
	return s.accepted(w, n)
}

func (s *Service) accepted(w http.ResponseWriter, n *Node) error {
	w.Header().Set("Location", s.cfg.BaseURL+"/v1/nodes/"+n.UUID+"/states")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// provisionRequest is the body of PUT states/provision.
type provisionRequest struct {
	Target         string           `json:"target"`
	ConfigDrive    json.RawMessage  `json:"configdrive"`
	CleanSteps     []map[string]any `json:"clean_steps"`
	DeploySteps    []map[string]any `json:"deploy_steps"`
	ServiceSteps   []map[string]any `json:"service_steps"`
	RescuePassword string           `json:"rescue_password"`
	DisableRamdisk bool             `json:"disable_ramdisk"`

	drive string
	steps []HWStep
}

// check validates what does not depend on the node.
func (in *provisionRequest) check(minor int) (ev states.Event, err error) {
	ev, since, ok := states.Verb(in.Target)
	if !ok {
		return ev, api.Invalid("The requested action %q is not known.", in.Target)
	}
	if minor < since {
		return ev, api.NotAcceptable("Target %q needs API version 1.%d or later", in.Target, since)
	}
	if in.drive, err = configDrive(in.ConfigDrive); err != nil {
		return ev, err
	}
	deploys := ev == states.Deploy || ev == states.Rebuild
	for _, f := range []struct {
		name  string
		given bool
		fits  bool
		since int
	}{
		{"configdrive", in.drive != "", deploys, 1},
		{"clean_steps", len(in.CleanSteps) > 0, ev == states.Clean, 15},
		{"deploy_steps", len(in.DeploySteps) > 0, deploys, 69},
		{"service_steps", len(in.ServiceSteps) > 0, ev == states.Service, 87},
		{"rescue_password", in.RescuePassword != "", ev == states.ToRescue, 38},
		{"disable_ramdisk", in.DisableRamdisk, ev == states.Clean || ev == states.Service, 70},
	} {
		if f.given && !f.fits {
			return ev, api.Invalid("%q is not valid when setting target provision state to %s", f.name, in.Target)
		}
		if f.given && minor < f.since {
			return ev, api.NotAcceptable("%q needs API version 1.%d or later", f.name, f.since)
		}
	}
	switch {
	case ev == states.Clean && len(in.CleanSteps) == 0:
		return ev, api.Invalid("\"clean_steps\" is required when setting target provision state to clean")
	case ev == states.Service && len(in.ServiceSteps) == 0:
		return ev, api.Invalid("\"service_steps\" is required when setting target provision state to service")
	case ev == states.Clean:
		in.steps, err = wantSteps("clean_steps", in.CleanSteps, false)
	case ev == states.Service:
		in.steps, err = wantSteps("service_steps", in.ServiceSteps, false)
	case deploys:
		in.steps, err = wantSteps("deploy_steps", in.DeploySteps, true)
	}
	return ev, err
}

func (s *Service) setProvision(w http.ResponseWriter, r *http.Request) error {
	var in provisionRequest
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	ev, err := in.check(minor(r))
	if err != nil {
		return err
	}
	n, err := s.mutate(r.Context(), r.PathValue("node"), func(tx *store.Tx, n *Node) error {
		return s.applyVerb(tx, n, ev, in, caller(r))
	})
	if err != nil {
		return err
	}
	return s.accepted(w, n)
}

// applyVerb checks whether the verb is allowed now and starts its flow.
func (s *Service) applyVerb(tx *store.Tx, n *Node, ev states.Event, in provisionRequest, user string) error {
	if n.locked() {
		return s.lockedError(n)
	}
	to, ok := states.Next(n.ProvisionState, ev)
	if !ok || ev == states.Clean && n.ProvisionState == states.Deleting {
		return api.Invalid("The requested action %q can not be performed on node %q while it is in state %q.", in.Target, n.UUID, n.ProvisionState).Named("InvalidStateRequested")
	}
	if n.Maintenance && ev != states.Delete && ev != states.Abort && ev != states.Manage && ev != states.Adopt {
		return api.Invalid("The %s action can't be performed on node %s because it's in maintenance mode.", in.Target, n.UUID).Named("NodeInMaintenance")
	}
	if n.Protected && (ev == states.Rebuild || ev == states.Delete) {
		return api.Forbidden("Node %s is protected and cannot be undeployed, rebuilt or deleted.", n.UUID).Named("NodeProtected")
	}
	if n.Retired && ev == states.Provide {
		return api.Conflict("Node %s can not be provided because it is retired.", n.UUID)
	}
	if err := s.verbReady(tx, n, ev); err != nil {
		return err
	}
	run := Run{Manual: ev == states.Clean, NoRamdisk: in.DisableRamdisk, Steps: in.steps}
	switch ev {
	case states.Deploy, states.Rebuild:
		steps, err := s.deploySteps(tx, n, in.steps)
		if err != nil {
			return err
		}
		run.Steps = steps
		if in.drive != "" {
			if err := putBody(tx, n.UUID, bodyConfigDrive, in.drive); err != nil {
				return err
			}
		}
	case states.Clean, states.Service:
		for i := range run.Steps {
			run.Steps[i].Group = groupAgent
		}
		ramdisk := n.Interfaces["deploy"] != "fake" && n.Interfaces["deploy"] != "ramdisk" && !in.DisableRamdisk
		if err := n.checkSteps(run.Steps, ramdisk); err != nil {
			return err
		}
	case states.ToRescue:
		if err := n.setRescuePassword(in.RescuePassword); err != nil {
			return err
		}
	}
	return s.startVerb(tx, n, ev, to, user, run)
}

// deploySteps are the steps between the core steps of a deployment: those of
// the deploy templates named by the instance's traits, and those of the
// request, which replace a template's of the same name.
func (s *Service) deploySteps(tx *store.Tx, n *Node, asked []HWStep) ([]HWStep, error) {
	steps, err := templateSteps(tx, n)
	if err != nil {
		return nil, err
	}
	for _, a := range asked {
		steps = slices.DeleteFunc(steps, func(h HWStep) bool { return h.name() == a.name() })
	}
	steps, err = placeDeploySteps(append(steps, asked...))
	if err != nil {
		return nil, err
	}
	return steps, n.checkSteps(steps, n.Interfaces["deploy"] != "fake" && n.Interfaces["deploy"] != "ramdisk")
}

// verbReady checks what can be known without traffic, so that the client is
// told at once.
func (s *Service) verbReady(tx *store.Tx, n *Node, ev states.Event) error {
	switch ev {
	case states.Abort:
		if r := n.Run; r != nil && states.Waiting(n.ProvisionState) && r.Index < len(r.Steps) && r.Shown == r.Index+1 && !r.Steps[r.Index].Abortable {
			return api.Invalid("Cannot abort node %s: the step in progress, %s, is not abortable.", n.UUID, r.Steps[r.Index].name())
		}
		return nil
	case states.Unhold:
		return nil
	case states.ToRescue, states.Unrescue:
		if n.Interfaces["rescue"] == "no-rescue" {
			return api.Invalid("Node %s: driver %s does not support rescue (rescue_interface is %s)", n.UUID, n.Driver, n.Interfaces["rescue"])
		}
	case states.Inspect:
		if strings.HasPrefix(n.Interfaces["inspect"], "no-") {
			return api.Invalid("Node %s: driver %s does not support inspection (inspect_interface is %s)", n.UUID, n.Driver, n.Interfaces["inspect"])
		}
	}
	if ev == states.Delete {
		return nil // a node must be deletable whatever was broken in it
	}
	if err := drivers.Validate(n.Driver, n.DriverInfo); err != nil {
		return api.Invalid("Failed to validate power driver interface for node %s. Error: %s", n.UUID, err.Error())
	}
	ports, err := portsOf(tx, n.UUID)
	if err != nil {
		return err
	}
	switch ev {
	case states.Deploy, states.Rebuild:
		for _, i := range []string{"deploy", "boot", "network"} {
			if err := s.validateInterface(n, ports, i); err != nil {
				return api.Invalid("Failed to validate deploy or power info for node %s. Error: %s", n.UUID, errText(err))
			}
		}
	case states.Inspect:
		if impl := n.Interfaces["inspect"]; impl != "redfish" && impl != "fake" {
			return s.validateInterface(n, ports, "boot")
		}
	case states.ToRescue, states.Service:
		if n.usesRamdisk() {
			return s.validateInterface(n, ports, "boot")
		}
	}
	return nil
}

func errText(err error) string {
	var e *api.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

func (s *Service) setMaintenance(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Reason string `json:"reason"`
	}
	if r.ContentLength != 0 {
		if err := api.ReadJSON(r, &in); err != nil {
			return err
		}
	}
	_, err := s.mutate(r.Context(), r.PathValue("node"), func(_ *store.Tx, n *Node) error {
		n.Maintenance, n.MaintenanceReason = true, in.Reason
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *Service) unsetMaintenance(w http.ResponseWriter, r *http.Request) error {
	_, err := s.mutate(r.Context(), r.PathValue("node"), func(_ *store.Tx, n *Node) error {
		n.Maintenance, n.MaintenanceReason, n.Fault = false, "", ""
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *Service) getBootDevice(w http.ResponseWriter, r *http.Request) error {
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	m, err := s.drivers.Machine(n.target())
	if err != nil {
		return api.Invalid("%s", err.Error())
	}
	d, err := m.BootDevice(r.Context())
	if err != nil {
		return driverFault(err)
	}
	out := map[string]any{"boot_device": nil, "persistent": nil}
	if d.Device != "" {
		out["boot_device"], out["persistent"] = d.Device, d.Persistent
	}
	return api.WriteJSON(w, http.StatusOK, out)
}

// driverFault is what a client is told when a controller fails.
func driverFault(err error) error {
	if errors.Is(err, drivers.ErrUnsupported) || errors.Is(err, drivers.ErrConfig) {
		return api.Invalid("%s", err.Error())
	}
	return api.Unavailable("%s", err.Error()).Wrap(err)
}

func (s *Service) setBootDevice(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Device     string `json:"boot_device"`
		Persistent bool   `json:"persistent"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	if n.locked() {
		return s.lockedError(n)
	}
	if !has(drivers.BootDevices(n.Driver), in.Device) {
		return api.Invalid("Invalid boot device %q specified; driver %s has: %s", in.Device, n.Driver, strings.Join(drivers.BootDevices(n.Driver), ", "))
	}
	m, err := s.drivers.Machine(n.target())
	if err != nil {
		return api.Invalid("%s", err.Error())
	}
	if err := m.SetBootDevice(r.Context(), drivers.BootDevice{Device: in.Device, Persistent: in.Persistent, Mode: n.bootMode()}); err != nil {
		return driverFault(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) supportedBootDevices(w http.ResponseWriter, r *http.Request) error {
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"supported_boot_devices": drivers.BootDevices(n.Driver)})
}

func (s *Service) getTraits(w http.ResponseWriter, r *http.Request) error {
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	list := n.Traits
	if list == nil {
		list = []string{}
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"traits": list})
}

func checkTrait(t string) error {
	if len(t) > 255 || !strings.HasPrefix(t, "CUSTOM_") && !strings.HasPrefix(t, "HW_") && !strings.HasPrefix(t, "COMPUTE_") && !strings.HasPrefix(t, "STORAGE_") && !strings.HasPrefix(t, "MISC_") {
		return api.Invalid("Invalid trait %q: a trait is a standard one or CUSTOM_ followed by A-Z, 0-9 and _", t)
	}
	for _, c := range t {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return api.Invalid("Invalid trait %q: a trait is a standard one or CUSTOM_ followed by A-Z, 0-9 and _", t)
		}
	}
	return nil
}

const maxTraits = 50 // Ironic's limit a node

// changeTraits serves PUT traits, PUT traits/<t>, DELETE traits and DELETE
// traits/<t>.
func (s *Service) changeTraits(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Traits []string `json:"traits"`
	}
	one := r.PathValue("trait")
	if r.Method == http.MethodPut && one == "" {
		if err := api.ReadJSON(r, &in); err != nil {
			return err
		}
		for _, t := range in.Traits {
			if err := checkTrait(t); err != nil {
				return err
			}
		}
	} else if r.Method == http.MethodPut {
		if err := checkTrait(one); err != nil {
			return err
		}
	}
	_, err := s.mutate(r.Context(), r.PathValue("node"), func(_ *store.Tx, n *Node) error {
		if n.locked() {
			return s.lockedError(n)
		}
		var kept []string
		for _, t := range n.Traits {
			if t != one {
				kept = append(kept, t)
			}
		}
		switch {
		case r.Method == http.MethodPut && one == "":
			n.Traits = slices.Compact(slices.Sorted(slices.Values(in.Traits)))
		case r.Method == http.MethodPut:
			n.Traits = append(kept, one)
		case one == "":
			n.Traits = nil
		case len(kept) == len(n.Traits):
			return api.NotFound("Node %s doesn't have a trait %q", n.UUID, one)
		default:
			n.Traits = kept
		}
		if len(n.Traits) > maxTraits {
			return api.Invalid("a node has at most %d traits", maxTraits)
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) getInventory(w http.ResponseWriter, r *http.Request) error {
	var body string
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		n, err := nodeByIdent(tx, r.PathValue("node"))
		if err != nil {
			return err
		}
		body, err = getBody(tx, n.UUID, bodyInventory)
		if errors.Is(err, store.ErrNotFound) {
			return api.NotFound("No inventory found for node %s: it was not inspected yet.", n.UUID)
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, json.RawMessage(body))
}

func (s *Service) listHistory(w http.ResponseWriter, r *http.Request) error {
	page, err := api.ParsePage(r, maxLimit)
	if err != nil {
		return err
	}
	detail, err := wantBool("detail", r.URL.Query().Get("detail"))
	if err != nil {
		return err
	}
	list, last := []any{}, ""
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		n, err := nodeByIdent(tx, r.PathValue("node"))
		if err != nil {
			return err
		}
		var f filter
		f.add("node_uuid = ?", n.UUID)
		return listRows(tx, "baremetal_history", f, page, "", func(scan func(...any) error) error {
			var id int64
			var e historyEvent
			if err := scan(&id, store.JSON(&e)); err != nil {
				return err
			}
			list, last = append(list, s.historyWire(e, n.UUID, detail)), e.UUID
			return nil
		})
	})
	if err != nil {
		return err
	}
	return s.writePage(w, r, "history", list, page.Limit, last)
}

func (s *Service) historyWire(e historyEvent, node string, detail bool) map[string]any {
	m := map[string]any{
		"uuid": e.UUID, "created_at": wireTime(e.CreatedAt), "severity": e.Severity, "event": e.Event,
		"links": links(s.cfg.BaseURL, "nodes/"+node+"/history", e.UUID),
	}
	if detail {
		m["event_type"], m["user"], m["conductor"] = e.EventType, e.User, s.cfg.Hostname
	}
	return m
}

func (s *Service) getHistory(w http.ResponseWriter, r *http.Request) error {
	var e historyEvent
	var node string
	err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		n, err := nodeByIdent(tx, r.PathValue("node"))
		if err != nil {
			return err
		}
		node = n.UUID
		err = tx.Get([]any{store.JSON(&e)}, `SELECT doc FROM baremetal_history WHERE node_uuid = ? AND uuid = ?`, n.UUID, r.PathValue("event"))
		if errors.Is(err, store.ErrNotFound) {
			return api.NotFound("Node history record %s could not be found.", r.PathValue("event"))
		}
		return err
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, s.historyWire(e, node, true))
}
