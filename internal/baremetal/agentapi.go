package baremetal

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/boot"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/baremetal/states"
	"github.com/tripleo/tripleo/internal/store"
)

const (
	maxLookupMACs    = 256
	heartbeatTimeout = 300 // seconds; the agent sends several within that time
)

// forAgent is the node as its own ramdisk sees it.
func (n *Node) forAgent() map[string]any {
	info := map[string]any{}
	for k, v := range n.InstanceInfo {
		if k != "configdrive" && k != "image_url" && k != "rescue_password" {
			info[k] = v
		}
	}
	return map[string]any{
		"uuid": n.UUID, "properties": n.Properties, "instance_info": info, "driver_internal_info": n.DriverInternalInfo,
		"provision_state": n.ProvisionState, "target_raid_config": n.TargetRAIDConfig, "raid_config": n.RAIDConfig,
	}
}

// expectsAgent says that a ramdisk's agent may be heard of now: while it is
// worked with, and between its tasks with fast track or in rescue.
func (s *Service) expectsAgent(n *Node) bool {
	switch n.ProvisionState {
	case states.Rescue:
		return true
	case states.Manageable, states.Available, states.Enroll, states.CleanFail, states.InspectFail:
		return s.fastTrack(n) && n.Secrets.AgentToken != ""
	default:
		return n.Run != nil && states.LookupAllowed(n.ProvisionState)
	}
}

// lookup tells a ramdisk which node it runs on, by UUID or by its MACs. The
// agent token goes with the first answer since the machine was booted.
func (s *Service) lookup(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	var macs []any
	for _, a := range strings.Split(q.Get("addresses"), ",") {
		if mac, err := normMAC(strings.TrimSpace(a)); err == nil && len(macs) < maxLookupMACs {
			macs = append(macs, mac)
		}
	}
	ident := q.Get("node_uuid")
	if ident == "" && len(macs) == 0 {
		return api.Invalid("Incomplete lookup: node_uuid or addresses with at least one MAC address is needed")
	}
	unknown := api.NotFound("No node was found that these addresses belong to and that a ramdisk is expected on.").Named("NodeNotFound")
	if ident == "" {
		err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
			ident, err = nodeByMACs(tx, macs)
			return err
		})
		if err != nil {
			return err
		}
	}
	if ident == "" {
		return unknown
	}
	token := ""
	n, err := s.mutate(r.Context(), ident, func(_ *store.Tx, n *Node) error {
		if !s.expectsAgent(n) {
			return unknown
		}
		token = mask
		if !n.Secrets.AgentTokenIssued {
			token, n.Secrets.AgentTokenIssued = n.Secrets.AgentToken, true
		}
		return nil
	})
	if isNotFound(err) {
		return unknown
	}
	if err != nil {
		return err
	}
	doc := n.forAgent()
	delete(doc, "provision_state")
	doc["links"] = links(s.cfg.BaseURL, "nodes", n.UUID)
	return api.WriteJSON(w, http.StatusOK, map[string]any{
		"node": doc,
		"config": map[string]any{
			"metrics":           map[string]any{"backend": "noop", "prepend_host": false, "prepend_uuid": false, "prepend_host_reverse": true, "global_prefix": nil},
			"metrics_statsd":    map[string]any{},
			"heartbeat_timeout": heartbeatTimeout, "agent_token": token, "agent_token_required": true,
			"agent_md5_checksum_enable": true,
		},
	})
}

// nodeByMACs returns the UUID of the one node that has any of the addresses,
// "" if there is none or more than one.
func nodeByMACs(tx *store.Tx, macs []any) (string, error) {
	var found []string
	err := tx.Each(func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		found = append(found, id)
		return err
	}, `SELECT DISTINCT node_uuid FROM baremetal_ports WHERE address IN `+store.In(len(macs)), macs...)
	if err != nil || len(found) != 1 {
		return "", err
	}
	return found[0], nil
}

// heartbeat notes where a ramdisk's agent listens and wakes the engine.
func (s *Service) heartbeat(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		CallbackURL  string `json:"callback_url"`
		AgentVersion string `json:"agent_version"`
		AgentToken   string `json:"agent_token"`
		VerifyCA     string `json:"agent_verify_ca"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	u, err := url.Parse(in.CallbackURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || net.ParseIP(u.Hostname()) == nil {
		return api.Invalid("callback_url is not an http or https URL with an IP address")
	}
	now := s.now()
	_, err = s.mutate(r.Context(), r.PathValue("node"), func(tx *store.Tx, n *Node) error {
		if !s.expectsAgent(n) {
			return api.Conflict("Node %s does not expect a ramdisk in state %s.", n.UUID, n.ProvisionState)
		}
		if n.Secrets.AgentToken == "" || subtle.ConstantTimeCompare([]byte(in.AgentToken), []byte(n.Secrets.AgentToken)) != 1 {
			return api.Invalid("The agent token is missing or not that of node %s.", n.UUID)
		}
		if n.Run != nil {
			n.Run.Heartbeat = now
		}
		n.DriverInternalInfo["agent_url"] = strings.TrimSuffix(in.CallbackURL, "/")
		n.DriverInternalInfo["agent_version"] = in.AgentVersion
		n.DriverInternalInfo["agent_last_heartbeat"] = wireTime(now)
		n.Secrets.AgentCA = in.VerifyCA
		return s.wake(tx, n)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// continueInspection takes what the ramdisk found, from the introspection
// service, and ends the inspection: {"inventory": …, …} or {"error": …}. The
// node is named by the query parameter node_uuid, or by its MACs in the
// inventory.
func (s *Service) continueInspection(w http.ResponseWriter, r *http.Request) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var in map[string]json.RawMessage
	if err := api.DecodeJSON(data, &in); err != nil {
		return err
	}
	var inv struct {
		Interfaces []struct {
			MAC string `json:"mac_address"`
		} `json:"interfaces"`
	}
	var problem string
	if raw := in["inventory"]; raw != nil {
		if err := api.DecodeJSON(raw, &inv); err != nil {
			return err
		}
	}
	if raw := in["error"]; raw != nil && string(raw) != "null" {
		if err := api.DecodeJSON(raw, &problem); err != nil {
			return err
		}
	}
	ident := r.URL.Query().Get("node_uuid")
	if ident == "" {
		var macs []any
		for _, i := range inv.Interfaces {
			if mac, err := normMAC(i.MAC); err == nil {
				macs = append(macs, mac)
			}
		}
		err := s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
			ident, err = nodeByMACs(tx, macs)
			return err
		})
		if err != nil {
			return err
		}
	}
	n, err := s.mutate(r.Context(), ident, func(tx *store.Tx, n *Node) error {
		if n.Run == nil || n.Run.Flow != flowInspect || n.Run.Data != nil {
			return api.Conflict("Node %s does not wait for inspection data (state %s).", n.UUID, n.ProvisionState)
		}
		n.Run.Data = &dataCame{Error: problem}
		if raw := in["inventory"]; raw != nil && problem == "" {
			plugin := map[string]json.RawMessage{}
			for k, v := range in {
				if k != "inventory" && k != "error" && k != "logs" {
					plugin[k] = v
				}
			}
			if err := putBody(tx, n.UUID, bodyInventory, jsonText(map[string]any{"inventory": raw, "plugin_data": plugin})); err != nil {
				return err
			}
			n.noteBootMode(raw)
		}
		return s.wake(tx, n)
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusAccepted, map[string]any{"uuid": n.UUID})
}

// noteBootMode keeps the mode the machine was seen to boot in.
func (n *Node) noteBootMode(inventory json.RawMessage) {
	var inv struct {
		Boot struct {
			Mode string `json:"current_boot_mode"`
		} `json:"boot"`
	}
	if json.Unmarshal(inventory, &inv) == nil && (inv.Boot.Mode == drivers.BootModeUEFI || inv.Boot.Mode == drivers.BootModeBIOS) {
		n.BootMode = inv.Boot.Mode
	}
}

// expectsRamdisk says whether the node is to boot its ramdisk now.
func (n *Node) expectsRamdisk() bool {
	if n.Run == nil || !states.LookupAllowed(n.ProvisionState) || n.Secrets.AgentToken == "" {
		return false
	}
	switch step := n.Run.Step; step {
	case "power-on", "wait-agent", "wait-data", "list-steps", "write-image", "bootloader", "clean-steps", "service-steps", "finalize":
		return n.Run.Flow != flowUnrescue
	case "steps-" + groupDown, "steps-" + groupBooted:
		return false // the disk is the instance's by now
	default:
		return strings.HasPrefix(step, "steps-")
	}
}

// bootScript serves <mac>.ipxe (colons or dashes): the ramdisk for a node that
// is to boot it now, a script that gives way to the disk for all others.
func (s *Service) bootScript(w http.ResponseWriter, r *http.Request) error {
	name, ok := strings.CutSuffix(path.Base(r.PathValue("file")), ".ipxe")
	if !ok {
		return api.NotFound("there is nothing of this name to boot")
	}
	mac, err := normMAC(strings.ReplaceAll(name, "-", ":"))
	if err != nil {
		return err
	}
	script := boot.LocalScript()
	var ident string
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		ident, err = nodeByMACs(tx, []any{mac})
		return err
	})
	if err != nil {
		return err
	}
	if ident == "" && s.cfg.Discovery {
		script = s.discoveryScript(mac)
	}
	if ident != "" {
		n, err := s.mutate(r.Context(), ident, func(_ *store.Tx, n *Node) error {
			if !n.expectsRamdisk() {
				return errSuperseded // nothing to change
			}
			n.Secrets.AgentTokenIssued = false // a new ramdisk asks for it again
			return nil
		})
		switch {
		case err == nil:
			script = boot.Script(s.ramdisk(n, mac))
			s.log.Info("machine boots its ramdisk", "node", n.display(), "mac", mac)
		case !errors.Is(err, errSuperseded):
			return err
		default:
			if n, err = s.node(r.Context(), ident); err != nil {
				return err
			}
			if n.bootsInstance() {
				script = s.instanceScript(n)
			}
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err = io.WriteString(w, script)
	return err
}

func (s *Service) ramdisk(n *Node, mac string) boot.Ramdisk {
	at := func(kind string) string {
		if ref := s.bootImage(n, kind); strings.HasPrefix(ref, "http://") || strings.HasPrefix(ref, "https://") {
			return ref
		}
		return s.nodeBase() + "/boot/" + n.UUID + "/" + kind
	}
	args := boot.KernelArgs{APIURL: s.nodeBase(), MAC: mac, Append: s.cfg.KernelAppend, Collectors: s.cfg.InspectionCollectors}
	if a := n.info("kernel_append_params"); a != "" {
		args.Append = strings.ReplaceAll(a, "%default%", s.cfg.KernelAppend)
	}
	if n.Run.Flow == flowInspect {
		args.InspectionURL = s.cfg.InspectionURL
	}
	return boot.Ramdisk{Kernel: at("kernel"), Initrd: at("ramdisk"), Args: args.List()}
}

// bootLoader serves the files of the TFTP server over HTTP, for UEFI HTTP boot.
func (s *Service) bootLoader(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	if name != path.Base(name) || strings.HasPrefix(name, ".") {
		return api.NotFound("there is no loader of this name")
	}
	err := serveFile(w, r, filepath.Join(s.cfg.TFTPRoot, name))
	if errors.Is(err, fs.ErrNotExist) {
		return api.NotFound("there is no loader %s in %s", name, s.cfg.TFTPRoot)
	}
	return err
}

// bootFile serves kernel and ramdisk of a node that is to boot them now.
func (s *Service) bootFile(w http.ResponseWriter, r *http.Request) error {
	kind := r.PathValue("kind")
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	switch {
	case (kind == "kernel" || kind == "ramdisk") && n.expectsRamdisk():
		return s.serveBootImage(w, r, s.bootImage(n, kind))
	case kind == "instance-kernel" && n.bootsInstance():
		return s.serveBootImage(w, r, n.instanceBoot().Kernel)
	case kind == "instance-ramdisk" && n.bootsInstance():
		return s.serveBootImage(w, r, n.instanceBoot().Ramdisk)
	default:
		return api.NotFound("node %s has no %s to boot now", n.UUID, kind)
	}
}

// nodeImage serves the image being written to a node, to whoever knows the
// token of this deployment.
func (s *Service) nodeImage(w http.ResponseWriter, r *http.Request) error {
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	token := n.Secrets.ImageToken
	if token == "" || n.Run == nil || n.Run.Flow != flowDeploy || subtle.ConstantTimeCompare([]byte(token), []byte(r.PathValue("token"))) != 1 {
		return api.NotFound("there is no such image")
	}
	img, err := n.image()
	if err != nil {
		return err
	}
	if img.File != "" {
		if err := s.fileAllowed(img.File); err != nil {
			return err
		}
		return serveFile(w, r, img.File)
	}
	return s.streamImage(w, r, img)
}
