package undercloud

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/tripleo/tripleo/internal/workflow/actions"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// actions reads the keys of section workflow that bound the std.* actions.
func (r *reader) actions(n *yaml11.Node, c *Workflow) {
	r.boolean(n, "allow_local", &c.AllowLocal)
	r.text(n, "ca", &c.CA)
	r.text(n, "ssh_keys", &c.SSHKeys)
	r.text(n, "ssh_known_hosts", &c.KnownHosts)
	positive := func(key string, to *int) {
		value(r, n, key, "a whole number from 1 to 1048576", func(i int64) error {
			if i < 1 || i > 1<<20 {
				return errors.New("out of range")
			}
			*to = int(i)
			return nil
		})
	}
	positive("js_time", &c.JSTime)
	positive("js_memory", &c.JSMemory)
	var targets []string
	r.texts(n, "allowed_targets", &targets)
	for _, text := range targets {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			r.errorf(n.Get("allowed_targets"), "allowed_targets has %q, expected networks such as 127.0.0.1/32", text)
		}
		c.Allowed = append(c.Allowed, p)
	}
}

// std are the options of the std.* actions. What they name has to be there when
// the undercloud starts, so that a mistake does not show only in a workflow.
func (c Workflow) std() (actions.StdOptions, error) {
	o := actions.StdOptions{AllowLocal: c.AllowLocal, Allowed: c.Allowed, KnownHosts: c.KnownHosts,
		JSTime: time.Duration(c.JSTime) * time.Second, JSMemory: uint64(max(c.JSMemory, 0)) << 20} //nolint:gosec // not negative
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return o, fmt.Errorf("workflow.ca: %w", err)
		}
		if o.RootCAs, err = x509.SystemCertPool(); err != nil {
			return o, fmt.Errorf("authorities of the system: %w", err)
		}
		if !o.RootCAs.AppendCertsFromPEM(pem) {
			return o, fmt.Errorf("workflow.ca: %s has no certificate in PEM", c.CA)
		}
	}
	if c.KnownHosts != "" {
		if _, err := os.Stat(c.KnownHosts); err != nil {
			return o, fmt.Errorf("workflow.ssh_known_hosts: %w", err)
		}
	}
	if c.SSHKeys != "" {
		dir, err := filepath.Abs(c.SSHKeys)
		if err != nil {
			return o, fmt.Errorf("workflow.ssh_keys: %w", err)
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return o, fmt.Errorf("workflow.ssh_keys: %s is no folder", dir)
		}
		o.KeyDir = dir
	}
	return o, nil
}
