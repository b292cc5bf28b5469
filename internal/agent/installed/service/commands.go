package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/agent/installed/hooks"
	"github.com/tripleo/tripleo/internal/agent/installed/host"
)

const (
	commandTimeout = 300 * time.Second
	retryDelay     = 2 * time.Second
)

func safe(s string) string { return hooks.SafeName(s) }

// commands runs the one-time commands of that time which are not done yet.
func (r *run) commands(ctx context.Context, when string) error {
	for _, c := range r.service.Commands {
		if (c.When == whenAfter) != (when == whenAfter) {
			continue
		}
		if bool(c.BootstrapOnly) && !r.bootstrap {
			continue
		}
		if err := r.command(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) command(ctx context.Context, c Command) error {
	begin := r.Host.Now()
	marker, err := r.marker(ctx, c)
	if err != nil {
		return err
	}
	if !bool(c.Always) && r.Host.Exists(marker) {
		return nil
	}
	if c.Creates != "" && r.Host.Exists(c.Creates) {
		return nil
	}
	if len(c.Unless) > 0 {
		res, err := r.Host.Run.Run(ctx, host.Command{Args: c.Unless, User: c.User, Env: envList(c.Env), Dir: c.Dir})
		if err != nil {
			return r.fail("command", c.Name+", unless", err)
		}
		if res.Code == 0 {
			return nil
		}
	}
	var changed bool
	for attempt := 0; ; attempt++ {
		changed, err = r.attempt(ctx, c)
		if err == nil {
			break
		}
		if attempt >= c.Retries || ctx.Err() != nil {
			return err
		}
		if err := r.Sleep(ctx, c.RetryDelay.or(retryDelay)); err != nil {
			return err
		}
	}
	if !bool(c.Always) {
		// Written after success only: a command that was cut off is run again.
		note := fmt.Sprintf("%s %s %s\n", r.Host.Now().UTC().Format(time.RFC3339), r.service.Name, c.Name)
		if err := r.Host.PutState(marker, []byte(note)); err != nil {
			return r.fail("command", c.Name, err)
		}
	}
	r.report("command", c.Name, changed, "", begin)
	return nil
}

// attempt runs the command once and tells whether it changed anything.
func (r *run) attempt(ctx context.Context, c Command) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout.or(commandTimeout))
	defer cancel()
	cmd := host.Command{Args: c.Command, User: c.User, Env: envList(c.Env), Dir: c.Dir}
	res, err := r.Host.Run.Run(ctx, cmd)
	if err == nil && slices.Contains(c.Unchanged, res.Code) {
		return false, nil
	}
	if err == nil && (res.Code == 0 || slices.Contains(c.Codes, res.Code)) {
		return true, nil
	}
	e := &StepError{Service: r.service.Name, Action: "command", Target: c.Name, Command: cmd.String(), Code: res.Code, Output: lastLines(res, 30), Err: err}
	if errors.Is(err, context.DeadlineExceeded) {
		e.Err = fmt.Errorf("not ended within %s", c.Timeout.or(commandTimeout))
		e.Code = 124 // as timeout(1) says it
	}
	return false, e
}

// marker is named after everything that makes the command what it is.
func (r *run) marker(ctx context.Context, c Command) (string, error) {
	identity := []any{c.Command, c.User, c.Dir, string(c.Key)}
	if c.PackageChange && len(r.service.Packages) > 0 {
		versions, err := r.installed(ctx, r.service.Packages)
		if err != nil {
			return "", err
		}
		identity = append(identity, versions)
	}
	data, err := json.Marshal(identity)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return path.Join(r.StateDir, "service/commands", fmt.Sprintf("%s.%s.%s", safe(r.service.Name), safe(c.Name), hex.EncodeToString(sum[:8]))), nil
}

func envList(env map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		if k != "" && !strings.ContainsAny(k, "=\x00") {
			out = append(out, k+"="+env[k])
		}
	}
	return out
}
