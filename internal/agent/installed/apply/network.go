package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/hardware"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

const (
	// networkJournal keeps the files of before while a new network is on trial: whoever starts next decides.
	networkJournal = "/var/lib/tripleo-agent/network-before.json"
	// networkRefused has the hash of a configuration that cut the node off, and until when it is not tried again: it
	// may have been the undercloud that was away.
	networkRefused = "/var/lib/tripleo-agent/network-refused"
	// reachWait is how long the undercloud may be out of reach after a change, and reachPause how often it is tried.
	refusedFor = 10 * time.Minute
	reachWait  = 60 * time.Second
	reachPause = 3 * time.Second
)

// Network makes systemd-networkd's files as os-net-config's list says and has networkd apply them. When the undercloud
// could be reached before and cannot be any more, the files of before come back, and the list is refused for ten minutes.
func (a *Applier) Network(ctx context.Context, v any) ([]string, error) {
	items, err := parseNetwork(v, a.activeNICs())
	if err != nil {
		return nil, err
	}
	files := networkdFiles(items, a.macOf)
	sum := hashFiles(files)
	if until := a.refusedUntil(sum); a.Host.Now().Before(until) {
		return nil, fmt.Errorf("this network was tried and the undercloud could not be reached through it: change it, or wait until %s", until.UTC().Format(time.RFC3339))
	}
	before, stale, err := a.networkBefore(files)
	if err != nil || before == nil {
		return nil, err
	}
	trial := a.Reach != nil && a.Reach(ctx) == nil
	if trial {
		if err := a.putJournal(sum, before); err != nil {
			return nil, err
		}
	}
	changes, err := a.putNetwork(ctx, files, stale)
	if err == nil {
		err = a.deleteDevices(ctx, stale)
	}
	if err == nil && trial {
		err = a.reachable(ctx)
	}
	if err == nil || !trial {
		return changes, errors.Join(err, a.dropJournal())
	}
	if ctx.Err() != nil {
		return changes, err // the journal stays: who starts next decides
	}
	left, back := a.rollBack(ctx, before)
	if back != nil {
		return changes, errors.Join(err, fmt.Errorf("and the old network could not be put back: %w", back))
	}
	err = errors.Join(err, left)
	if err := a.refuse(sum); err != nil {
		return changes, err
	}
	return append(changes, "the network of before was put back"), fmt.Errorf("the undercloud cannot be reached with the new network, the old one is back: %w", err)
}

// refuse notes that a configuration cut the node off.
func (a *Applier) refuse(sum string) error {
	return a.Host.PutState(networkRefused, []byte(sum+" "+a.Host.Now().Add(refusedFor).UTC().Format(time.RFC3339)))
}

// refusedUntil is when a configuration may be tried again; the zero time if it was not refused.
func (a *Applier) refusedUntil(sum string) time.Time {
	data, err := a.Host.ReadFile(networkRefused)
	if err != nil {
		return time.Time{}
	}
	old, at, _ := strings.Cut(string(data), " ")
	until, err := time.Parse(time.RFC3339, at)
	if err != nil || old != sum {
		return time.Time{}
	}
	return until
}

// RecoverNetwork ends a trial that was interrupted: the new network stays if the undercloud can be reached, else the old
// one comes back. It says whether that was so.
func (a *Applier) RecoverNetwork(ctx context.Context) (rolledBack bool, err error) {
	data, err := a.Host.ReadFile(networkJournal)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var j journal
	if err := json.Unmarshal(data, &j); err != nil {
		return false, errors.Join(fmt.Errorf("%s: %w", networkJournal, err), a.dropJournal())
	}
	if a.Reach == nil || a.reachable(ctx) == nil {
		return false, a.dropJournal()
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	left, err := a.rollBack(ctx, j.Before)
	if err == nil {
		err = a.refuse(j.Sum)
	}
	return true, errors.Join(err, left)
}

// networkBefore returns what the files to be changed are now (nil: not there), and which of ours are not wanted any more.
// The map is nil if nothing is to be changed.
func (a *Applier) networkBefore(files []host.FileSpec) (before map[string]*string, stale []string, err error) {
	wanted := map[string]bool{}
	for _, f := range files {
		wanted[f.Path] = true
	}
	entries, err := os.ReadDir(a.Host.Path(networkdDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, e := range entries {
		if p := networkdDir + "/" + e.Name(); strings.HasPrefix(e.Name(), networkdPrefix) && !wanted[p] {
			stale = append(stale, p)
		}
	}
	changed := len(stale) > 0
	before = map[string]*string{}
	for _, f := range files {
		changed = changed || a.Host.Differs(f)
		wanted[f.Path] = true
	}
	if !changed {
		return nil, nil, nil
	}
	for _, p := range stale {
		wanted[p] = true
	}
	for p := range wanted {
		data, err := a.Host.ReadFile(p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			before[p] = nil
		case err != nil:
			return nil, nil, err
		default:
			text := string(data)
			before[p] = &text
		}
	}
	return before, stale, nil
}

// putNetwork writes and removes files and has networkd look at them.
func (a *Applier) putNetwork(ctx context.Context, files []host.FileSpec, stale []string) ([]string, error) {
	var changes []string
	for _, f := range files {
		changed, err := a.Host.Put(f)
		if err != nil {
			return changes, err
		}
		if changed {
			changes = append(changes, f.Path+" written")
		}
	}
	for _, p := range stale {
		if err := os.Remove(a.Host.Path(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return changes, err
		}
		changes = append(changes, p+" removed")
	}
	if err := a.networkctl(ctx, "reload"); err != nil {
		return changes, err
	}
	return append(changes, "systemd-networkd reloaded"), nil
}

// deleteDevices removes the interfaces whose .netdev went: networkd leaves them
// alone. One that networkd never made, say because the trial ended early, is no error.
func (a *Applier) deleteDevices(ctx context.Context, stale []string) error {
	var errs []error
	for _, p := range stale {
		name, ok := strings.CutSuffix(strings.TrimPrefix(path.Base(p), networkdPrefix), ".netdev")
		if ok && a.Host.Exists("/sys/class/net/"+name) {
			errs = append(errs, a.networkctl(ctx, "delete", name))
		}
	}
	return errors.Join(errs...)
}

// rollBack puts the files of before back, which ends the trial; left says which
// interfaces of the trial could not be removed.
func (a *Applier) rollBack(ctx context.Context, before map[string]*string) (left, err error) {
	var files []host.FileSpec
	var stale []string
	for p, text := range before {
		if path.Dir(p) != networkdDir || !strings.HasPrefix(path.Base(p), networkdPrefix) {
			return nil, fmt.Errorf("%s: %s is none of our files", networkJournal, p)
		}
		if text == nil {
			stale = append(stale, p)
		} else {
			files = append(files, host.FileSpec{Path: p, Mode: 0o644, Data: []byte(*text)})
		}
	}
	if _, err := a.putNetwork(ctx, files, stale); err != nil {
		return nil, err
	}
	left = a.deleteDevices(ctx, stale)
	return left, a.dropJournal()
}

// journal is what an interrupted trial is ended by: the configuration on trial, and the files of before (nil: not there).
type journal struct {
	Sum    string
	Before map[string]*string
}

func (a *Applier) putJournal(sum string, before map[string]*string) error {
	data, err := json.Marshal(journal{sum, before})
	if err != nil {
		return err
	}
	return a.Host.PutState(networkJournal, data)
}

func (a *Applier) dropJournal() error {
	if err := os.Remove(a.Host.Path(networkJournal)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// reachable waits until the undercloud answers.
func (a *Applier) reachable(ctx context.Context) error {
	limit, pause := reachWait, reachPause
	if a.ReachWait > 0 {
		limit, pause = a.ReachWait, a.ReachWait/10
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := errors.New("not tried") // the first pause is for networkd, which works on after a reload
	for {
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
		if err = a.Reach(ctx); err == nil {
			return nil
		}
	}
}

func (a *Applier) networkctl(ctx context.Context, args ...string) error {
	res, err := a.Host.Run.Run(ctx, host.Command{Args: append([]string{"networkctl"}, args...)})
	if err != nil {
		return err
	}
	if res.Code != 0 {
		return fmt.Errorf("networkctl %s: exit code %d: %s", strings.Join(args, " "), res.Code, strings.TrimSpace(string(res.Stderr)))
	}
	return nil
}

// macOf reads the MAC address of an interface of this node; "" if there is none (yet).
func (a *Applier) macOf(name string) string {
	data, err := a.Host.ReadFile("/sys/class/net/" + name + "/address")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// activeNICs are the node's ports that have a link, in the order in which os-net-config numbers them.
func (a *Applier) activeNICs() []string {
	var active []string
	for _, name := range hardware.PhysicalNames(os.DirFS(a.Host.Path("/sys"))) {
		data, err := a.Host.ReadFile("/sys/class/net/" + name + "/carrier")
		if err == nil && strings.TrimSpace(string(data)) == "1" {
			active = append(active, name)
		}
	}
	return orderNICs(active)
}

func hashFiles(files []host.FileSpec) string {
	h := sha256.New()
	for _, f := range files {
		_, _ = fmt.Fprintf(h, "%s\n%d\n%s", f.Path, len(f.Data), f.Data)
	}
	return hex.EncodeToString(h.Sum(nil))
}
