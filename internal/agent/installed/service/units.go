package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

const (
	unitTimeout  = 120 * time.Second
	unitInterval = 200 * time.Millisecond
	journalLines = 30
)

// unitState is what `systemctl show` tells.
type unitState struct {
	Load, Active, Sub, File, Result string
}

func (r *run) show(ctx context.Context, unit string) (unitState, error) {
	res, err := r.must(ctx, "unit", unit, host.Command{Args: []string{
		"systemctl", "show", "--property=LoadState,ActiveState,SubState,UnitFileState,Result", "--", unit}})
	if err != nil {
		return unitState{}, err
	}
	v := map[string]string{}
	for line := range strings.Lines(string(res.Stdout)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		v[key] = value
	}
	return unitState{
		Load: v["LoadState"], Active: v["ActiveState"], Sub: v["SubState"], File: v["UnitFileState"], Result: v["Result"],
	}, nil
}

func (r *run) systemctl(ctx context.Context, unit string, args ...string) error {
	_, err := r.must(ctx, "unit", unit, host.Command{Args: append([]string{"systemctl"}, args...)})
	return err
}

func (r *run) units(ctx context.Context) error {
	if r.reload {
		if err := r.systemctl(ctx, "systemd", "daemon-reload"); err != nil {
			return err
		}
		r.reload = false
	}
	for _, u := range r.service.Units {
		if err := r.unit(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) unit(ctx context.Context, u Unit) error {
	begin := r.Host.Now()
	st, err := r.show(ctx, u.Name)
	if err != nil {
		return err
	}
	if st.Load == "not-found" && u.State != stateStopped {
		return r.fail("unit", u.Name, errors.New("systemd knows no such unit"))
	}
	if u.State == stateStopped {
		return r.stop(ctx, u, st, begin)
	}
	var did []string
	if st.Load == "masked" || strings.HasPrefix(st.File, "masked") {
		if err := r.systemctl(ctx, u.Name, "unmask", "--", u.Name); err != nil {
			return err
		}
		did = append(did, "unmasked")
		if st, err = r.show(ctx, u.Name); err != nil {
			return err
		}
	}
	if flagOr(u.Enable, u.State != stateAny) && st.File == "disabled" {
		if err := r.systemctl(ctx, u.Name, "enable", "--", u.Name); err != nil {
			return err
		}
		did = append(did, "enabled")
	}
	if u.State != stateAny {
		verb, err := r.bringUp(ctx, u, st)
		if err != nil {
			return err
		}
		if verb != "" {
			did = append(did, verb)
		}
	}
	changed := len(did) > 0 && !slices.Contains(did, skipped)
	r.report("unit", u.Name, changed, strings.Join(did, ", "), begin)
	return nil
}

const skipped = "not started: a condition of the unit is not met on this node"

func (r *run) stop(ctx context.Context, u Unit, st unitState, begin time.Time) error {
	var did []string
	if st.Active == "active" || st.Active == "activating" || st.Active == "reloading" {
		if err := r.systemctl(ctx, u.Name, "stop", "--", u.Name); err != nil {
			return err
		}
		did = append(did, "stopped")
	}
	if !flagOr(u.Enable, false) && (st.File == "enabled" || st.File == "enabled-runtime") {
		if err := r.systemctl(ctx, u.Name, "disable", "--", u.Name); err != nil {
			return err
		}
		did = append(did, "disabled")
	}
	if bool(u.Mask) && st.Load != "masked" {
		if err := r.systemctl(ctx, u.Name, "mask", "--", u.Name); err != nil {
			return err
		}
		did = append(did, "masked")
	}
	r.report("unit", u.Name, len(did) > 0, strings.Join(did, ", "), begin)
	return nil
}

// unitMemory is the content with which a unit was last started.
type unitMemory struct {
	Unit        string   `json:"unit"`
	Paths       []string `json:"paths"` // files that need a restart
	Hash        string   `json:"hash"`
	ReloadPaths []string `json:"reload_paths"` // files that need a reload
	Reload      string   `json:"reload"`       // their hash
}

// bringUp starts the unit, or restarts or reloads it when what it read at its start is not what it would read now.
func (r *run) bringUp(ctx context.Context, u Unit, st unitState) (string, error) {
	want := unitMemory{Unit: u.Name, Paths: r.restartPaths(u), ReloadPaths: u.ReloadOn}
	var err error
	if want.Hash, err = r.hash(want.Paths); err != nil {
		return "", r.fail("unit", u.Name, err)
	}
	if want.Reload, err = r.hash(u.ReloadOn); err != nil {
		return "", r.fail("unit", u.Name, err)
	}
	have, known := r.memory(u.Name)
	verb := ""
	switch {
	case st.Active != "active" && st.Active != "activating" && st.Active != "reloading":
		verb = "start"
	case !known || have.Hash != want.Hash:
		verb = "restart"
	case have.Reload != want.Reload:
		verb = "reload"
	}
	if verb == "" && st.Active == "active" {
		return "", nil
	}
	if verb != "" {
		if verb == "start" && st.Active == "failed" {
			// A start limit that was hit earlier would refuse this start.
			if err := r.systemctl(ctx, u.Name, "reset-failed", "--", u.Name); err != nil {
				return "", err
			}
		}
		if err := r.systemctl(ctx, u.Name, verb, "--", u.Name); err != nil {
			return "", err
		}
	}
	up, err := r.waitActive(ctx, u)
	if err != nil {
		return "", err
	}
	if !up {
		return skipped, nil
	}
	data, err := json.Marshal(want)
	if err != nil {
		return "", err
	}
	if err := r.Host.PutState(r.memoryPath(u.Name), data); err != nil {
		return "", r.fail("unit", u.Name, err)
	}
	return map[string]string{"start": "started", "restart": "restarted", "reload": "reloaded", "": "became active"}[verb], nil
}

// waitActive waits until the unit is up; false when systemd did not start it because of a condition.
func (r *run) waitActive(ctx context.Context, u Unit) (bool, error) {
	up := false
	err := r.until(ctx, u.Timeout.or(unitTimeout), unitInterval, func(ctx context.Context) error {
		st, err := r.show(ctx, u.Name)
		switch {
		case err != nil:
			return finalError{err}
		case st.Active == "active":
			up = true
			return nil
		case st.Active == "failed":
			return finalError{fmt.Errorf("it failed (%s)", st.Result)}
		case st.Active == "inactive" && r.conditionUnmet(ctx, u.Name):
			return nil
		case st.Active == "inactive":
			return finalError{fmt.Errorf("it ended right after its start (%s)", st.Result)}
		default:
			return fmt.Errorf("it is %s (%s)", st.Active, st.Sub)
		}
	})
	if err != nil {
		if e, ok := errors.AsType[*StepError](err); ok {
			return false, e
		}
		return false, r.fail("unit", u.Name, err)
	}
	return up, nil
}

// conditionUnmet tells whether a condition in the unit's own file keeps it from starting on this node, such as chrony's
// CAP_SYS_TIME in a container. (ConditionResult of `systemctl show` is lost as soon as systemd unloads the idle unit.)
func (r *run) conditionUnmet(ctx context.Context, unit string) bool {
	res, err := r.Host.Run.Run(ctx, host.Command{Args: []string{"systemd-analyze", "condition", "--unit=" + unit}})
	return err == nil && res.Code != 0 && strings.Contains(string(res.Stdout)+string(res.Stderr), "Conditions failed")
}

// restartPaths are the files whose change restarts the unit.
func (r *run) restartPaths(u Unit) []string {
	if u.RestartOn != nil {
		return u.RestartOn
	}
	var out []string
	for _, f := range r.service.Files {
		if !slices.Contains(u.ReloadOn, f.Path) {
			out = append(out, f.Path)
		}
	}
	return out
}

func (r *run) hash(paths []string) (string, error) {
	sum := sha256.New()
	for _, p := range slices.Sorted(slices.Values(paths)) {
		data, err := r.Host.ReadFile(p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d %t\n", p, len(data), err == nil)
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// memoryPath is one file a unit and a service: two services may start the same unit for their own files.
func (r *run) memoryPath(unit string) string {
	return path.Join(r.StateDir, "service/units", safe(r.service.Name)+"@"+safe(unit)+".json")
}

func (r *run) memory(unit string) (unitMemory, bool) {
	var m unitMemory
	data, err := r.Host.ReadFile(r.memoryPath(unit))
	return m, err == nil && json.Unmarshal(data, &m) == nil && m.Unit == unit
}

// forgetUnits drops the memory of all units, of any service, that were started with the file; of those that only reload
// it, what they last reloaded.
func (r *run) forgetUnits(file string) error {
	dir := path.Join(r.StateDir, "service/units")
	entries, err := os.ReadDir(r.Host.Path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := r.forgetUnit(path.Join(dir, e.Name()), file); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) forgetUnit(memory, file string) error {
	data, err := r.Host.ReadFile(memory)
	if err != nil {
		return err
	}
	var m unitMemory
	broken := json.Unmarshal(data, &m) != nil
	switch {
	case broken || slices.Contains(m.Paths, file):
		return os.Remove(r.Host.Path(memory))
	case slices.Contains(m.ReloadPaths, file):
		m.Reload = ""
		if data, err = json.Marshal(m); err != nil {
			return err
		}
		return r.Host.PutState(memory, data)
	}
	return nil
}

// journals are the last lines of the service's units and log files, for an error's report.
func (r *run) journals(ctx context.Context, s *Service) []string {
	var out []string
	for _, file := range s.Logs {
		lines := tailFile(r.Host.Path(file), journalLines)
		if len(lines) > 0 {
			out = append(append(out, "-- "+file), lines...)
		}
	}
	for _, u := range s.Units {
		res, err := r.Host.Run.Run(ctx, host.Command{Args: []string{
			"journalctl", "--no-pager", "--output=short-iso", fmt.Sprintf("--lines=%d", journalLines), "--unit", u.Name}})
		if err != nil || res.Code != 0 || strings.HasPrefix(string(res.Stdout), "-- No entries --") {
			continue
		}
		out = append(out, "-- "+u.Name)
		for line := range strings.Lines(string(res.Stdout)) {
			out = append(out, strings.TrimRight(line, "\n"))
		}
	}
	return out
}

// tailFile reads the last lines of a file, at most 32 KiB of it.
func tailFile(name string, n int) []string {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	const most = 32 << 10
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	off := max(info.Size()-most, 0)
	data, err := io.ReadAll(io.NewSectionReader(f, off, most))
	if err != nil {
		return nil
	}
	text := strings.TrimRight(string(data), "\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	return lines[max(len(lines)-n, 0):]
}
