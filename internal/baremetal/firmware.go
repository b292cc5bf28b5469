package baremetal

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/baremetal/states"
	"github.com/tripleo/tripleo/internal/store"
)

// readFirmware keeps the BIOS settings, the boot mode and Secure Boot of a
// machine; whoever cannot tell them stays without.
func readFirmware(ctx context.Context, w *work) outcome {
	w.s.cacheBIOS(ctx, w.n, w.log)
	m, err := w.machine()
	if err != nil {
		return failed(err)
	}
	var mode string
	var secure *bool
	err = drivers.Ask(ctx, m, "boot state", func(ctx context.Context, b drivers.Booter) (err error) {
		mode, secure, err = b.BootState(ctx)
		return err
	})
	if err != nil {
		return done() //nolint:nilerr // of no importance to what follows
	}
	return brokenOr(w.save(ctx, func(n *Node) {
		if mode != "" {
			n.BootMode = mode
		}
		n.SecureBoot = secure
	}), done())
}

// cacheBIOS reads the settings of a node's firmware for GET …/bios.
func (s *Service) cacheBIOS(ctx context.Context, n *Node, log *slog.Logger) {
	if n.Interfaces["bios"] == "no-bios" {
		return
	}
	m, err := s.drivers.Machine(n.target())
	if err != nil {
		return
	}
	var list []drivers.BIOSSetting
	err = drivers.Ask(ctx, m, "BIOS settings", func(ctx context.Context, c drivers.Configurer) (err error) {
		list, err = c.BIOSSettings(ctx)
		return err
	})
	if err == nil {
		err = s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
			return putBody(tx, n.UUID, bodyBIOS, jsonText(biosCache{At: wireTime(s.now()), Settings: list}))
		})
	}
	if err != nil {
		log.Debug("the BIOS settings cannot be read", "error", err)
	}
}

type biosCache struct {
	At       any                   `json:"at"` // when they were read
	Settings []drivers.BIOSSetting `json:"settings"`
}

func (s *Service) biosOf(r *http.Request) (n *Node, c biosCache, err error) {
	err = s.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		if n, err = nodeByIdent(tx, r.PathValue("node")); err != nil {
			return err
		}
		body, err := getBody(tx, n.UUID, bodyBIOS)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(body), &c)
	})
	return n, c, err
}

// biosWire is a setting as a client sees it. The fields of the firmware's
// registry came with 1.74.
func (s *Service) biosWire(n *Node, c biosCache, b drivers.BIOSSetting, detail bool, minor int) (map[string]any, error) {
	m := map[string]any{"name": b.Name, "value": b.Value, "created_at": c.At, "updated_at": nil,
		"links": links(s.cfg.BaseURL, "nodes", n.UUID+"/bios/"+b.Name)}
	if !detail || minor < 74 {
		return m, nil
	}
	data, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	for k, v := range m {
		all[k] = v
	}
	return all, nil
}

func (s *Service) listBIOS(w http.ResponseWriter, r *http.Request) error {
	detail, err := wantBool("detail", r.URL.Query().Get("detail"))
	if err != nil {
		return err
	}
	n, c, err := s.biosOf(r)
	if err != nil {
		return err
	}
	full, err := s.biosWire(n, c, drivers.BIOSSetting{}, true, minor(r))
	if err != nil {
		return err
	}
	fields, err := fieldList(r, full)
	if err != nil {
		return err
	}
	list := []any{}
	for _, b := range c.Settings {
		m, err := s.biosWire(n, c, b, detail || len(fields) > 0, minor(r))
		if err != nil {
			return err
		}
		if len(fields) > 0 {
			m = pick(m, fields)
		}
		list = append(list, m)
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"bios": list})
}

func (s *Service) getBIOS(w http.ResponseWriter, r *http.Request) error {
	n, c, err := s.biosOf(r)
	if err != nil {
		return err
	}
	name := r.PathValue("setting")
	for _, b := range c.Settings {
		if b.Name == name {
			m, err := s.biosWire(n, c, b, true, minor(r))
			if err != nil {
				return err
			}
			return api.WriteJSON(w, http.StatusOK, map[string]any{name: m})
		}
	}
	return api.NotFound("Node %s doesn't have a BIOS setting '%s'", n.UUID, name).Named("BIOSSettingNotFound")
}

// listFirmware serves the components a firmware interface knows: no driver
// here has one yet but no-firmware.
func (s *Service) listFirmware(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.node(r.Context(), r.PathValue("node")); err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"firmware": []any{}})
}

// onMachine runs an operation of the controller on behalf of a request.
func (s *Service) onMachine(r *http.Request, fn func(ctx context.Context, n *Node, m drivers.Machine) error) error {
	n, err := s.node(r.Context(), r.PathValue("node"))
	if err != nil {
		return err
	}
	if n.locked() {
		return s.lockedError(n)
	}
	m, err := s.drivers.Machine(n.target())
	if err != nil {
		return api.Invalid("%s", err.Error())
	}
	if err := fn(r.Context(), n, m); err != nil {
		var known *api.Error
		if errors.As(err, &known) {
			return err
		}
		return driverFault(err)
	}
	return nil
}

func (s *Service) injectNMI(w http.ResponseWriter, r *http.Request) error {
	err := s.onMachine(r, func(ctx context.Context, _ *Node, m drivers.Machine) error {
		return drivers.Ask(ctx, m, "inject NMI", func(ctx context.Context, i drivers.Interrupter) error { return i.InjectNMI(ctx) })
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setBoot serves PUT states/boot_mode and states/secure_boot.
func (s *Service) setBoot(w http.ResponseWriter, r *http.Request, change func(ctx context.Context, b drivers.Booter) error) error {
	var node *Node
	err := s.onMachine(r, func(ctx context.Context, n *Node, m drivers.Machine) error {
		if n.ProvisionState == states.CleanWait || states.Waiting(n.ProvisionState) {
			return api.Conflict("Node %s is in the middle of %s, its boot mode stays as it is.", n.UUID, n.ProvisionState)
		}
		node = n
		return drivers.Ask(ctx, m, "boot mode", change)
	})
	if err != nil {
		return err
	}
	m, err := s.drivers.Machine(node.target())
	if err != nil {
		return err
	}
	var mode string
	var secure *bool
	err = drivers.Ask(r.Context(), m, "boot state", func(ctx context.Context, b drivers.Booter) (err error) {
		mode, secure, err = b.BootState(ctx)
		return err
	})
	if err != nil {
		return driverFault(err)
	}
	node, err = s.mutate(r.Context(), node.UUID, func(_ *store.Tx, n *Node) error {
		if n.SecureBoot = secure; mode != "" {
			n.BootMode = mode
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.accepted(w, node)
}

func (s *Service) setBootMode(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Target string `json:"target"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	if in.Target != drivers.BootModeBIOS && in.Target != drivers.BootModeUEFI {
		return api.Invalid("target is %q, expected bios or uefi", in.Target)
	}
	return s.setBoot(w, r, func(ctx context.Context, b drivers.Booter) error { return b.SetBootMode(ctx, in.Target) })
}

func (s *Service) setSecureBoot(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Target any `json:"target"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	on, err := wantBool("target", in.Target)
	if err != nil {
		return err
	}
	return s.setBoot(w, r, func(ctx context.Context, b drivers.Booter) error { return b.SetSecureBoot(ctx, on) })
}
