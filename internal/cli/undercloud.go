package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tripleo/tripleo/internal/cloud"
	"github.com/tripleo/tripleo/internal/undercloud"
)

func newUndercloudCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "undercloud", Short: "Run and look after the undercloud"}
	cmd.AddCommand(newUndercloudUp(a), newUndercloudDown(a), newUndercloudStatus(a),
		newUndercloudInstall(a), newUndercloudDeploy(a), newUndercloudUpgrade(a), newUndercloudBackup(a))
	return cmd
}

// undercloudFlags say which undercloud is meant.
type undercloudFlags struct {
	dataDir, listen, config string
	foreground              bool
}

func (f *undercloudFlags) load() (undercloud.Config, error) {
	cfg, err := undercloud.LoadConfig(f.config)
	if err != nil {
		return cfg, err
	}
	if f.dataDir != "" {
		cfg.DataDir = f.dataDir
	}
	if f.listen != "" {
		cfg.Listen = f.listen
	}
	if cfg.DataDir == "" {
		cfg.DataDir = undercloud.DefaultDataDir()
	}
	return cfg, nil
}

func newUndercloudUp(a *app) *cobra.Command {
	f := &undercloudFlags{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the undercloud and wait until it answers",
		Long: `Start the undercloud in the background and wait until it answers.

The data folder then holds clouds.yaml (cloud "undercloud"), undercloudrc (the
OS_* variables) and undercloud.log. An undercloud that runs already is left as
it is. With --foreground the process is the undercloud itself, as a systemd
unit wants it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if f.foreground {
				return serveUndercloud(cmd.Context(), cfg, a.stderr)
			}
			return a.startUndercloud(cmd.Context(), f, cfg)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.foreground, "foreground", false, "run in the foreground and log to standard error")
	return cmd
}

func serveUndercloud(ctx context.Context, cfg undercloud.Config, logTo io.Writer) error {
	var level slog.Level
	if cfg.LogLevel != "" {
		if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
			return fmt.Errorf("log_level is %q, expected debug, info, warn or error", cfg.LogLevel)
		}
	}
	log := slog.New(slog.NewTextHandler(logTo, &slog.HandlerOptions{Level: level}))
	u, err := undercloud.New(ctx, cfg, log)
	if err != nil {
		return err
	}
	return u.Run(ctx)
}

const undercloudStartTime = 60 * time.Second

func (a *app) startUndercloud(ctx context.Context, f *undercloudFlags, cfg undercloud.Config) error {
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return err
	}
	if pid := undercloudPID(dir); pid == 0 {
		if err := spawnUndercloud(dir, f); err != nil {
			return err
		}
	}
	url, caFile, err := cfg.Endpoint()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := awaitHealthy(ctx, url+"/healthz", caFile, dir, began.Add(undercloudStartTime)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, `The undercloud answers at %s (after %s).

  export OS_CLIENT_CONFIG_FILE=%s OS_CLOUD=undercloud
or
  source %s

Its log is %s.
`, url, time.Since(began).Round(time.Millisecond), filepath.Join(dir, "clouds.yaml"), filepath.Join(dir, "undercloudrc"), filepath.Join(dir, "undercloud.log"))
	return err
}

// spawnUndercloud starts this program once more, detached, as the undercloud.
func spawnUndercloud(dir string, f *undercloudFlags) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "undercloud.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	defer func() { _ = log.Close() }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"undercloud", "up", "--foreground", "--data-dir", dir}
	if f.listen != "" {
		args = append(args, "--listen", f.listen)
	}
	if f.config != "" {
		path, err := filepath.Abs(f.config)
		if err != nil {
			return err
		}
		args = append(args, "--config", path)
	}
	child := exec.Command(self, args...) //nolint:gosec,noctx // this program itself, and it outlives us
	child.Stdout, child.Stderr, child.Dir = log, log, dir
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start the undercloud: %w", err)
	}
	return child.Process.Release()
}

func awaitHealthy(ctx context.Context, url, caFile, dir string, deadline time.Time) error {
	for {
		if healthy(ctx, url, caFile) {
			return nil
		}
		if undercloudPID(dir) == 0 && time.Since(deadline.Add(-undercloudStartTime)) > 2*time.Second {
			return fmt.Errorf("the undercloud has stopped; its log ends with:\n%s", tail(filepath.Join(dir, "undercloud.log"), 5))
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the undercloud does not answer at %s; its log ends with:\n%s", url, tail(filepath.Join(dir, "undercloud.log"), 5))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func healthy(ctx context.Context, url, caFile string) bool {
	transport, err := cloud.Transport(caFile)
	if err != nil {
		return false // a first start makes the authority
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Timeout: 2 * time.Second, Transport: transport}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func tail(path string, lines int) string {
	data, err := os.ReadFile(path) //nolint:gosec // our own log
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// undercloudPID returns the process that holds the data folder, 0 for none.
func undercloudPID(dir string) int {
	f, err := os.OpenFile(filepath.Join(dir, "undercloud.pid"), os.O_RDWR, 0) //nolint:gosec // our own folder
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil { //nolint:gosec // a file descriptor
		return 0 // nobody holds the lock; it goes with our descriptor
	}
	data, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return pid
}

func newUndercloudDown(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the undercloud; its data stay",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dataDir == "" {
				dataDir = undercloud.DefaultDataDir()
			}
			pid := undercloudPID(dataDir)
			if pid == 0 {
				_, err := fmt.Fprintln(a.stdout, "no undercloud runs on", dataDir)
				return err
			}
			if err := stopUndercloud(cmd.Context(), dataDir, pid); err != nil {
				return err
			}
			_, err := fmt.Fprintln(a.stdout, "the undercloud has stopped")
			return err
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "the undercloud's data folder")
	return cmd
}

func newUndercloudStatus(a *app) *cobra.Command {
	var dataDir string
	out := &outputFlags{}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show whether the undercloud runs, and what it takes",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if dataDir == "" {
				dataDir = undercloud.DefaultDataDir()
			}
			pid := undercloudPID(dataDir)
			state := "running"
			if pid == 0 {
				state = "stopped"
			}
			err := out.show(a, []string{"status", "pid", "rss_mib", "data_dir"}, []any{state, pid, rssMiB(pid), dataDir})
			if err == nil && pid == 0 {
				err = exitError{code: 3}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "the undercloud's data folder")
	out.add(cmd)
	return cmd
}

// rssMiB is a process's resident memory.
func rssMiB(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if errors.Is(err, os.ErrNotExist) || err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")))
			if err == nil {
				return kib / 1024
			}
		}
	}
	return 0
}
