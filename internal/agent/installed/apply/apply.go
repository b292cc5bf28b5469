// Package apply makes the node's own configuration so as merged metadata says: host name, the block of known hosts in
// /etc/hosts, static networks. Only keys that are there are applied; what they once set is left when they go.
package apply

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

// Keys of merged metadata that Apply knows.
const (
	KeyHostname = "hostname"
	KeyHosts    = "hosts"          // lines of /etc/hosts: one text or a list
	KeyNetwork  = "network_config" // os-net-config's list
)

// The marks are those TripleO's own script uses, so a node it had set up before keeps one block.
const (
	hostsStart = "# HEAT_HOSTS_START - Do not edit manually within this section!"
	hostsEnd   = "# HEAT_HOSTS_END"
)

// Applier changes one host.
type Applier struct {
	Host *host.Host
	// Reach tries to reach the undercloud; nil when none is known. A network that ends that is taken back.
	Reach func(ctx context.Context) error
	// ReachWait is how long it may take after a change; 0 is a minute.
	ReachWait time.Duration
}

// Apply does what the keys of cfg say and tells what it changed, one sentence each.
func (a *Applier) Apply(ctx context.Context, cfg map[string]any) (changes []string, err error) {
	if name, ok := cfg[KeyHostname].(string); ok && name != "" {
		done, err := a.Hostname(ctx, name)
		if err != nil {
			return changes, fmt.Errorf("host name: %w", err)
		}
		changes = append(changes, done...)
	}
	if v, ok := cfg[KeyHosts]; ok && v != nil {
		lines, err := hostLines(v)
		if err != nil {
			return changes, err
		}
		done, err := a.Hosts(lines)
		if err != nil {
			return changes, fmt.Errorf("/etc/hosts: %w", err)
		}
		changes = append(changes, done...)
	}
	if v, ok := cfg[KeyNetwork]; ok && v != nil {
		done, err := a.Network(ctx, v)
		if err != nil {
			return changes, fmt.Errorf("%s: %w", KeyNetwork, err)
		}
		changes = append(changes, done...)
	}
	return changes, nil
}

// RFC 1123: labels of letters, digits and dashes.
var hostnameRE = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,62})(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,62}))*$`)

// Hostname sets the short name in /etc/hostname and in the kernel, and gives the name a loopback line in /etc/hosts so
// that it resolves before any host list has come.
func (a *Applier) Hostname(ctx context.Context, name string) ([]string, error) {
	if len(name) > 253 || !hostnameRE.MatchString(name) {
		return nil, fmt.Errorf("%q is no host name", name)
	}
	short, _, _ := strings.Cut(strings.ToLower(name), ".")
	var changes []string
	changed, err := a.Host.Put(host.FileSpec{Path: "/etc/hostname", Data: []byte(short + "\n"), Mode: 0o644})
	if err != nil {
		return nil, err
	}
	if changed {
		changes = append(changes, "host name is "+short)
	}
	if a.Host.Real() {
		if err := setHostname(short); err != nil {
			return changes, err
		}
	}
	names := short
	if full := strings.ToLower(name); full != short {
		names = full + " " + short
	}
	line := "127.0.1.1 " + names
	old, _ := a.Host.ReadFile("/etc/hosts")
	lines := strings.Split(strings.TrimRight(string(old), "\n"), "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "127.0.1.1") })
	inBlock := slices.Contains(lines, hostsStart)
	switch {
	case i >= 0:
		lines[i] = line
	case inBlock: // the list of hosts names this one by its real address
		return changes, nil
	default:
		lines = append(lines, line)
	}
	_, err = a.Host.Put(host.FileSpec{Path: "/etc/hosts", Data: []byte(strings.TrimLeft(strings.Join(lines, "\n"), "\n") + "\n"), Mode: 0o644})
	return changes, err
}

// Hosts writes the block of known hosts and takes the loopback line of the own name away, as services that listen on an
// address have to be found there.
func (a *Applier) Hosts(entries []string) ([]string, error) {
	old, err := a.Host.ReadFile("/etc/hosts")
	if err != nil {
		old = []byte("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	}
	var kept []string
	inside := false
	for line := range strings.Lines(string(old)) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(line, "# HEAT_HOSTS_START"):
			inside = true
		case inside && strings.HasPrefix(line, hostsEnd):
			inside = false
		case inside, strings.HasPrefix(line, "127.0.1.1"):
		default:
			kept = append(kept, line)
		}
	}
	for len(kept) > 0 && kept[len(kept)-1] == "" {
		kept = kept[:len(kept)-1]
	}
	kept = append(kept, "", hostsStart)
	kept = append(kept, entries...)
	kept = append(kept, hostsEnd, "")
	changed, err := a.Host.Put(host.FileSpec{Path: "/etc/hosts", Data: []byte(strings.Join(kept, "\n")), Mode: 0o644})
	if err != nil || !changed {
		return nil, err
	}
	return []string{fmt.Sprintf("/etc/hosts has %d known hosts", len(entries))}, nil
}

// hostLines takes a text or a list of texts; each non-empty line once, in order.
func hostLines(v any) ([]string, error) {
	var texts []string
	switch v := v.(type) {
	case string:
		texts = []string{v}
	case []any:
		for i, e := range v {
			s, ok := e.(string)
			if !ok && e != nil {
				return nil, fmt.Errorf("hosts, entry %d: expected text, got %T", i, e)
			}
			texts = append(texts, s)
		}
	default:
		return nil, fmt.Errorf("hosts: expected text or a list of texts, got %T", v)
	}
	var out []string
	for _, t := range texts {
		for line := range strings.Lines(t) {
			line = strings.TrimSpace(line)
			if line != "" && !slices.Contains(out, line) {
				out = append(out, line)
			}
		}
	}
	return out, nil
}
