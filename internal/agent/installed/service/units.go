package service

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
	ConditionFailed                 bool
}

func (r *run) show(ctx context.Context, unit string) (unitState, error) {
	res, err := r.must(ctx, "unit", unit, host.Command{Args: []string{
		"systemctl", "show", "--property=LoadState,ActiveState,SubState,UnitFileState,Result,ConditionResult,ConditionTimestampMonotonic", "--", unit}})
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
		ConditionFailed: v["ConditionResult"] == "no" && v["ConditionTimestampMonotonic"] != "0" && v["ConditionTimestampMonotonic"] != "",
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
	Unit   string   `json:"unit"`
	Paths  []string `json:"paths"`
	Hash   string   `json:"hash"`   // of the files that need a restart
	Reload string   `json:"reload"` // of the files that need a reload
}

// bringUp starts the unit, or restarts or reloads it when what it read at its start is not what it would read now.
func (r *run) bringUp(ctx context.Context, u Unit, st unitState) (string, error) {
	want := unitMemory{Unit: u.Name, Paths: append(r.restartPaths(u), u.ReloadOn...)}
	var err error
	if want.Hash, err = r.hash(r.restartPaths(u)); err != nil {
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
			return errors.Join(errFinal, err)
		case st.Active == "active":
			up = true
			return nil
		case st.Active == "inactive" && st.ConditionFailed:
			return nil
		case st.Active == "failed":
			return fmt.Errorf("%w: it failed (%s)", errFinal, st.Result)
		case st.Active == "inactive":
			return fmt.Errorf("%w: it ended right after its start (%s)", errFinal, st.Result)
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

// forgetUnits drops the memory of all units, of any service, that were started with the file.
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
		data, err := r.Host.ReadFile(path.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		var m unitMemory
		if json.Unmarshal(data, &m) == nil && !slices.Contains(m.Paths, file) {
			continue
		}
		if err := os.Remove(r.Host.Path(path.Join(dir, e.Name()))); err != nil {
			return err
		}
	}
	return nil
}

// journals are the last lines of the service's units, for an error's report.
func (r *run) journals(ctx context.Context, s *Service) []string {
	var out []string
	for _, u := range s.Units {
		res, err := r.Host.Run.Run(ctx, host.Command{Args: []string{
			"journalctl", "--no-pager", "--output=short-iso", fmt.Sprintf("--lines=%d", journalLines), "--unit", u.Name}})
		if err != nil || res.Code != 0 {
			continue
		}
		for line := range strings.Lines(string(res.Stdout)) {
			out = append(out, strings.TrimRight(line, "\n"))
		}
	}
	return out
}
