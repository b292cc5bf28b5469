package baremetal

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/baremetal/agentclient"
	"github.com/tripleo/tripleo/internal/store"
)

const (
	// maxLogFiles is how many archives are kept; the oldest go.
	maxLogFiles = 200
	logSuffix   = ".tar.gz"
	// logTime sorts as text; Ironic's own format of the name.
	logTime = "2006-01-02-15-04-05"
)

// keepLogs fetches what the ramdisk has logged, before the machine that failed
// goes off and forgets it: deploy_logs_collect = on_failure in ironic.conf. It
// is no further failure if the ramdisk does not answer any more.
func keepLogs(ctx context.Context, w *work) outcome {
	if url, _ := w.n.DriverInternalInfo["agent_url"].(string); w.s.cfg.LogsDir == "" || url == "" {
		return done()
	}
	name, err := w.fetchLogs(ctx)
	if err != nil {
		w.log.Info("the ramdisk's logs cannot be had", "error", err)
		return done()
	}
	w.log.Info("the ramdisk's logs are kept", "file", name)
	return brokenOr(w.s.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		return addHistory(tx, w.n.UUID, historyEvent{CreatedAt: w.s.now(), Severity: "INFO", EventType: "conductor", Event: "the ramdisk's logs are in " + name})
	}), done())
}

func (w *work) fetchLogs(ctx context.Context) (name string, err error) {
	c, err := w.agent()
	if err != nil {
		return "", err
	}
	cmd, err := c.Start(ctx, "log.collect_system_logs", nil, true)
	if err != nil {
		return "", err
	}
	if cmd.Status != agentclient.Succeeded {
		return "", errors.New(cmd.Error.Text())
	}
	result, _ := cmd.Result.(map[string]any)
	text, _ := result["system_logs"].(string)
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(data) == 0 {
		return "", fmt.Errorf("system_logs of the agent has %d bytes, expected base64 of an archive (%w)", len(text), err)
	}
	if err := os.MkdirAll(w.s.cfg.LogsDir, 0o700); err != nil {
		return "", err
	}
	parts := []string{w.n.UUID}
	if w.n.InstanceUUID != "" {
		parts = append(parts, w.n.InstanceUUID)
	}
	name = filepath.Join(w.s.cfg.LogsDir, strings.Join(append(parts, w.s.now().UTC().Format(logTime)), "_")+logSuffix)
	if err := os.WriteFile(name, data, 0o600); err != nil {
		return "", err
	}
	return name, pruneLogs(w.s.cfg.LogsDir)
}

// pruneLogs removes the oldest archives beyond maxLogFiles.
func pruneLogs(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if base, ok := strings.CutSuffix(e.Name(), logSuffix); ok && len(base) > len(logTime) && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	if len(names) <= maxLogFiles {
		return nil
	}
	when := func(name string) string { return name[len(name)-len(logSuffix)-len(logTime):] }
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(when(a), when(b)) })
	var errs []error
	for _, name := range names[:len(names)-maxLogFiles] {
		errs = append(errs, os.Remove(filepath.Join(dir, name)))
	}
	return errors.Join(errs...)
}
