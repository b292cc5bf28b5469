package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/installed/collect"
	"github.com/tripleo/tripleo/internal/lab/machine"
)

// maxDeployments bounds a node's deployments.
const maxDeployments = 10_000

// deployment is one entry of the metadata key "deployments".
type deployment struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Inputs []struct {
		Name  string `json:"name"`
		Value any    `json:"value"`
	} `json:"inputs"`
	Outputs []struct {
		Name        string `json:"name"`
		ErrorOutput bool   `json:"error_output"`
	} `json:"outputs"`
}

func (d deployment) input(name string) string {
	for _, in := range d.Inputs {
		if s, ok := in.Value.(string); ok && in.Name == name {
			return s
		}
	}
	return ""
}

// result is a finished deployment; body is what is signalled.
type result struct {
	body     []byte
	signaled bool
}

// errNoSystem is an empty disk.
var errNoSystem = errors.New("no bootable system on the disk")

// bootDisk runs the installed system: it follows its metadata until the power
// is cut or the power button pressed.
func (m *Machine) bootDisk(ctx context.Context, b machine.Board) (machine.Outcome, error) {
	m.mu.Lock()
	disk := m.disk
	m.mu.Unlock()
	if disk.image == "" {
		return 0, errNoSystem
	}
	b.Phase("disk", "starts the installed system")
	if err := m.wait(ctx, osTime); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pressed := make(chan struct{}, 1)
	m.mu.Lock()
	m.button = func() {
		select {
		case pressed <- struct{}{}:
		default:
		}
	}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.button = nil
		m.mu.Unlock()
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.follow(ctx, disk, b)
	}()
	select {
	case <-ctx.Done():
	case <-pressed:
	}
	cancel()
	<-done
	return machine.PoweredOff, nil
}

// metadataURL finds where the node's metadata is, from the config drive.
func metadataURL(drive *collect.ConfigDrive) (host, address string, err error) {
	if drive == nil {
		return "", "", errors.New("there is no config drive")
	}
	var meta struct{ Hostname string }
	if err := json.Unmarshal(drive.MetaData, &meta); err != nil {
		return "", "", fmt.Errorf("meta_data.json: %w", err)
	}
	init, err := collect.CfnInitData(drive.UserData)
	if err != nil {
		return meta.Hostname, "", err
	}
	address, _ = dig(init, "os-collect-config", "request", "metadata_url").(string)
	if address == "" {
		return meta.Hostname, "", errors.New("user_data names no metadata_url")
	}
	return meta.Hostname, address, nil
}

func dig(v any, keys ...string) any {
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

// follow long-polls the metadata, and carries out and signals deployments.
func (m *Machine) follow(ctx context.Context, disk contents, b machine.Board) {
	host, address, err := metadataURL(disk.drive)
	if err != nil {
		b.Phase("disk", "runs without metadata: "+err.Error())
		<-ctx.Done()
		return
	}
	b.Phase("disk", "runs "+host)
	req := &collect.Request{Client: m.cfg.Client}
	for ctx.Err() == nil {
		start := m.cfg.Now()
		meta, err := req.Fetch(ctx, address, true)
		if err == nil {
			if u, ok := dig(meta, "os-collect-config", "request", "metadata_url").(string); ok && u != "" {
				address = u // the undercloud moved it
			}
			m.apply(ctx, disk, meta, host)
		}
		if pause := req.Next(err, m.cfg.Now().Sub(start)); pause > 0 {
			t := time.NewTimer(pause)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
		}
	}
}

// apply does what the metadata lists and is not done yet.
func (m *Machine) apply(ctx context.Context, disk contents, meta map[string]any, host string) {
	raw, err := json.Marshal(meta["deployments"])
	if err != nil {
		return
	}
	var list []deployment
	if err := json.Unmarshal(raw, &list); err != nil || len(list) > maxDeployments {
		m.cfg.Log.Warn("deployments not understood", "host", host, "err", err, "entries", len(list))
		return
	}
	for _, d := range list {
		r := disk.done[d.ID]
		if r == nil {
			if m.wait(ctx, deployTime) != nil {
				return
			}
			r = &result{body: m.outcome(d, host)}
			disk.done[d.ID] = r
		}
		for n := 0; !r.signaled; n++ {
			if err := m.signal(ctx, d, r.body); err == nil {
				r.signaled = true
			} else if m.cfg.Log.Debug("signal failed", "host", host, "deployment", d.Name, "err", err); m.backoff(ctx, n) != nil {
				return
			}
		}
	}
}

// outcome invents how a deployment ended.
func (m *Machine) outcome(d deployment, host string) []byte {
	out := map[string]any{"deploy_stdout": fmt.Sprintf("simulated %s on %s\n", d.Name, host), "deploy_stderr": "", "deploy_status_code": 0}
	for _, o := range d.Outputs {
		if _, ok := out[o.Name]; !ok && !o.ErrorOutput {
			out[o.Name] = ""
		}
	}
	if m.random() < m.cfg.FailureRate {
		out["deploy_status_code"], out["deploy_stderr"] = 1, "simulated failure\n"
	}
	b, err := json.Marshal(out)
	if err != nil {
		return []byte("{}")
	}
	return b
}

func (m *Machine) signal(ctx context.Context, d deployment, body []byte) error {
	target := d.input("deploy_signal_id")
	if target == "" {
		return nil // nobody waits for it
	}
	verb := strings.ToUpper(d.input("deploy_signal_verb"))
	if verb == "" {
		verb = http.MethodPost
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, verb, target, bytes.NewReader(body))
	if err != nil {
		return errors.New("deploy_signal_id is no address")
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := m.cfg.Client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("the server answered %s", res.Status)
	}
	return nil
}
