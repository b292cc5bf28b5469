package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/hardware"
	"github.com/tripleo/tripleo/internal/lab/machine"
)

const (
	// agentVersion is the ironic-python-agent whose protocol is spoken.
	agentVersion = "9.4.0"
	apiVersion   = "1.68"
	maxAnswer    = 8 << 20
	callTimeout  = 60 * time.Second
)

// ramdisk is the agent while it runs.
type ramdisk struct {
	m       *Machine
	ctx     context.Context //nolint:containedctx // the ramdisk's life; commands run in it
	api     string
	node    string
	token   string
	beat    chan struct{}
	ended   chan machine.Outcome // what a power command asks for
	started time.Time
	jobs    jobs
}

// kernelArgs reads the arguments that have a value.
func kernelArgs(cmdline string) map[string]string {
	args := map[string]string{}
	for _, f := range strings.Fields(cmdline) {
		if k, v, ok := strings.Cut(f, "="); ok {
			args[k] = v
		}
	}
	return args
}

// runRamdisk is the agent's life: inspection if asked for, then the node's
// commands until one of them ends it or the power is cut.
func (m *Machine) runRamdisk(ctx context.Context, cmdline string) (machine.Outcome, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	args := kernelArgs(cmdline)
	r := &ramdisk{m: m, ctx: ctx, api: strings.TrimRight(args["ipa-api-url"], "/"), beat: make(chan struct{}, 1), ended: make(chan machine.Outcome, 1), started: m.cfg.Now()}
	if u := args["ipa-inspection-callback-url"]; u != "" {
		if err := r.inspect(ctx, u); err != nil {
			return 0, err
		}
	}
	if r.api == "" {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	timeout, err := r.lookup(ctx)
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	m.agent = r
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.agent = nil
		m.mu.Unlock()
	}()
	return r.heartbeats(ctx, timeout)
}

// call does one JSON request.
func (r *ramdisk) call(ctx context.Context, method, target string, in, out any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return 0, fmt.Errorf("encode: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return 0, fmt.Errorf("request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-OpenStack-Ironic-API-Version", apiVersion)
	res, err := r.m.cfg.Client.Do(req)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode/100 != 2 {
		return res.StatusCode, fmt.Errorf("%s: %.200s", res.Status, b)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			return res.StatusCode, fmt.Errorf("understand the answer: %w", err)
		}
	}
	return res.StatusCode, nil
}

// inspect posts the inventory until it is taken; a refusal (4xx) is final, and
// the agent goes on to lookup.
func (r *ramdisk) inspect(ctx context.Context, target string) error {
	inv := r.m.inventory()
	data := map[string]any{
		"inventory": inv, "boot_interface": inv.Boot.PXEInterface, "root_disk": inv.Disks[0],
		"configuration": map[string]any{"collectors": []string{"default"}, "managers": []map[string]string{{"name": managerName, "version": managerVersion}}},
	}
	for n := 0; ; n++ {
		code, err := r.call(ctx, http.MethodPost, target, data, nil)
		if err == nil {
			return nil
		}
		if code/100 == 4 && code != http.StatusConflict && code != http.StatusTooManyRequests {
			r.m.cfg.Log.Info("the inspector refused the data", "err", err)
			return nil
		}
		if err := r.m.backoff(ctx, n); err != nil {
			return err
		}
	}
}

// lookup asks which node this is and returns the heartbeat timeout.
func (r *ramdisk) lookup(ctx context.Context) (time.Duration, error) {
	target := r.api + "/v1/lookup?" + url.Values{"addresses": {r.m.cfg.MAC}}.Encode()
	for n := 0; ; n++ {
		var a struct {
			Node   struct{ UUID string }
			Config struct {
				HeartbeatTimeout int    `json:"heartbeat_timeout"`
				AgentToken       string `json:"agent_token"`
			}
		}
		_, err := r.call(ctx, http.MethodGet, target, nil, &a)
		if err == nil && a.Node.UUID != "" {
			r.node, r.token = a.Node.UUID, a.Config.AgentToken
			return time.Duration(max(a.Config.HeartbeatTimeout, 30)) * time.Second, nil
		}
		if err := r.m.backoff(ctx, n); err != nil {
			return 0, err
		}
	}
}

// heartbeats runs until the power is cut or a power command was carried out.
func (r *ramdisk) heartbeats(ctx context.Context, timeout time.Duration) (machine.Outcome, error) {
	body := map[string]string{"callback_url": r.m.cfg.CallbackURL, "agent_version": agentVersion, "agent_token": r.token}
	failed := 0
	for {
		wait := time.Duration(float64(timeout) / 3 * (0.9 + 0.2*r.m.random()))
		if _, err := r.call(ctx, http.MethodPost, r.api+"/v1/heartbeat/"+url.PathEscape(r.node), body, nil); err != nil {
			failed++
			wait = min(wait, time.Second<<min(failed, 4))
			r.m.cfg.Log.Debug("heartbeat failed", "err", err)
		} else {
			failed = 0
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return 0, ctx.Err()
		case out := <-r.ended:
			t.Stop()
			return out, r.m.wait(ctx, graceTime)
		case <-r.beat:
			t.Stop()
		case <-t.C:
		}
	}
}

// inventory is what the agent would find in this machine.
func (m *Machine) inventory() hardware.Inventory {
	i := m.cfg.Info
	serial := i.Serial + "-0"
	return hardware.Inventory{
		Interfaces: []hardware.Interface{{
			Name: "eth0", MACAddress: m.cfg.MAC, IPv4Address: m.cfg.Address, HasCarrier: true,
			Vendor: "0x8086", Product: "0x1572", Driver: "i40e", SpeedMbps: 10000,
		}},
		CPU: hardware.CPU{ModelName: i.CPUModel, Frequency: "2400.0000", Count: i.CPUs, Architecture: "x86_64", Flags: []string{"fpu", "lm", "vmx", "aes", "hypervisor"}, SocketCount: 1},
		Disks: []hardware.Disk{{
			Name: "/dev/sda", Model: "SIM-DISK", Size: i.DiskBytes, Vendor: "TRIPLEO", Serial: serial,
			WWN: fmt.Sprintf("0x5000%012x", m.cfg.Index+1), HCTL: "0:0:0:0", ByPath: "/dev/disk/by-path/pci-0000:00:04.0-scsi-0:0:0:0",
		}},
		Memory:       hardware.Memory{Total: int64(i.MemoryMiB) << 20 / 64 * 63, PhysicalMB: int64(i.MemoryMiB)},
		SystemVendor: hardware.SystemVendor{ProductName: i.Product, SerialNumber: i.Serial, Manufacturer: i.Manufacturer},
		Boot:         hardware.Boot{CurrentBootMode: "bios", PXEInterface: m.cfg.MAC},
	}
}

// withoutURL takes the address out of an error of net/http: it may carry a signature.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
