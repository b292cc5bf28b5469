package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tripleo/tripleo/internal/lab/container"
	"github.com/tripleo/tripleo/internal/lab/qemu"
)

// serveArgs are the arguments of the lab process; the folder follows.
var serveArgs = [...]string{"lab", "serve", "--dir"}

const (
	readyFD    = 3
	readyLine  = "ready"
	stopWait   = 60 * time.Second
	killWait   = 10 * time.Second
	nameWait   = 2 * time.Second // a dying process gives its lock back a little before its sockets
	lockRetry  = 20 * time.Millisecond
	maxMessage = 64 << 10
)

// ErrRunning says that there is a lab already.
var ErrRunning = errors.New("a lab is running already")

// ChildMain runs this process as a part of a lab if it was started as one, and
// reports whether it did. It is for TestMain; the command line tool has
// commands for the same purpose.
func ChildMain(args []string) (code int, was bool) {
	var err error
	switch {
	case container.IsChild(args):
		err = container.ChildMain()
	case len(args) == len(serveArgs)+2 && slices.Equal(args[1:1+len(serveArgs)], serveArgs[:]):
		err = ServeMain(context.Background(), args[len(args)-1])
	default:
		return 0, false
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// ServeMain is the lab process: Serve with signals, a log on standard error,
// and readiness told on descriptor 3.
func ServeMain(ctx context.Context, dir string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: logLevel(dir)}))
	tell := os.NewFile(readyFD, "ready")
	err := Serve(ctx, dir, log, func() error {
		_, err := io.WriteString(tell, readyLine+"\n")
		return errors.Join(err, tell.Close())
	})
	if err != nil {
		_, _ = io.WriteString(tell, strings.ReplaceAll(err.Error(), "\n", "; ")+"\n") // no one listens any more if it was ready
		log.Error("the lab ended", "err", err)
	}
	return err
}

// Up starts a lab as a process of its own and waits until it serves. What a
// crashed lab of the same name or folder left behind is removed first; a
// running one is ErrRunning. Disks of an earlier lab in the folder are reused
// if Down kept them.
func Up(ctx context.Context, cfg Config) (*Status, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if os.Geteuid() != 0 && cfg.real() {
		return nil, fmt.Errorf("lab: the %s backend makes namespaces and network devices and needs root", cfg.Backend)
	}
	if pid := lockHolder(cfg.Dir); pid != 0 {
		return nil, fmt.Errorf("%w: process %d in %s", ErrRunning, pid, cfg.Dir)
	}
	if !waitFor(ctx, nameWait, func() bool { return !nameTaken(cfg.Name) }) {
		return nil, fmt.Errorf("%w: one named %s, in another folder", ErrRunning, cfg.Name)
	}
	old, err := loadRecord(cfg.Dir)
	if err != nil {
		old = record{Config: cfg}
	}
	// Virtual machines of a lab that crashed go on in its successor, if that has them.
	if !old.sameMachines(cfg) {
		if err := old.sweepMachines(); err != nil {
			return nil, err
		}
	}
	// The folder's last lab, and one of the same name that had another folder.
	if err := errors.Join(sweep(ctx, old, true), sweep(ctx, record{Config: cfg}, true)); err != nil {
		return nil, err
	}
	rec := record{Config: cfg, Secret: old.Secret}
	if rec.Secret == "" {
		if rec, err = newRecord(cfg); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(cfg.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := rec.save(); err != nil {
		return nil, err
	}
	if err := launch(ctx, rec); err != nil {
		return nil, errors.Join(err, rec.sweepMachines(), sweep(context.WithoutCancel(ctx), rec, true))
	}
	return NewClient(cfg.Dir).Status(ctx)
}

// launch makes the namespaces, which must be seen by the host's tools, and
// starts the lab process, whose mounts must not.
func launch(ctx context.Context, rec record) error {
	for _, ns := range rec.namespaces() {
		if err := container.CreateNamespace(ns); err != nil {
			return err
		}
	}
	dir := rec.Config.Dir
	out, err := os.OpenFile(filepath.Join(dir, "lab.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, fileMode)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer func() { _ = out.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer func() { _ = r.Close() }()
	cmd := exec.Command("/proc/self/exe", append(serveArgs[:], dir)...) //nolint:noctx,gosec // outlives this process
	cmd.Args[0] = os.Args[0]                                            // what ps shows
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, []*os.File{w}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if rec.Config.real() {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNS
	}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("lab: start: %w", err)
	}
	go func() { _ = cmd.Wait() }() // it lives on; if it ends first, its state is collected
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(r, maxMessage)).ReadString('\n')
	if strings.TrimSpace(line) == readyLine {
		return nil
	}
	_ = cmd.Process.Kill()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if line != "" {
		return fmt.Errorf("lab: it did not start: %s", strings.TrimSpace(line))
	}
	return fmt.Errorf("lab: it did not start, see %s: %w", out.Name(), err)
}

// Down ends the lab in dir ("" means DefaultDir) and removes every trace of
// it: processes, namespaces, cgroups, loop devices and files; with keepDisks
// the folder stays. It is fine if there is none.
func Down(ctx context.Context, dir string, keepDisks bool) error {
	if dir == "" {
		dir = DefaultDir
	}
	rec, err := loadRecord(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir != DefaultDir:
		return nil // there is no lab, and which name it would have had nobody knows
	case errors.Is(err, fs.ErrNotExist):
		rec = record{Config: Config{Dir: dir}.WithDefaults()}
	case err != nil:
		return err
	}
	if pid := lockHolder(dir); pid != 0 {
		_ = NewClient(dir).shutdown(ctx) // if it does not hear, it is killed
		if !waitUnlocked(ctx, dir, stopWait) {
			_ = unix.Kill(pid, unix.SIGKILL)
			if !waitUnlocked(ctx, dir, killWait) {
				return fmt.Errorf("lab: process %d does not end", pid)
			}
		}
	}
	return errors.Join(rec.sweepMachines(), sweep(ctx, rec, keepDisks))
}

// sameMachines reports whether a lab configured as c has the recorded lab's machines.
func (r record) sameMachines(c Config) bool {
	o := r.Config
	o.MTU, o.NodeURL, o.Profiles = c.MTU, c.NodeURL, c.Profiles // of no concern to a running machine
	return reflect.DeepEqual(o, c)
}

// sweepMachines ends the virtual machines that a lab left running.
func (r record) sweepMachines() error {
	if r.Config.Backend != QEMU {
		return nil
	}
	var errs []error
	for _, n := range r.nodes() {
		errs = append(errs, qemu.Sweep(filepath.Join(r.Config.Dir, n.Name)))
	}
	return errors.Join(errs...)
}

// sweep removes what a lab that does not run any more left behind.
func sweep(ctx context.Context, rec record, keepFiles bool) error {
	c := rec.Config
	var errs []error
	if os.Geteuid() == 0 && c.real() {
		// What goes by the name is left alone if a lab in another folder has it.
		if waitFor(ctx, nameWait, func() bool { return !nameTaken(c.Name) }) {
			errs = append(errs, sweepName(ctx, c.Name))
		}
		errs = append(errs, container.DetachLoops(c.Dir))
	}
	for _, socket := range []string{SocketPath(c.Dir), filepath.Join(c.Dir, switchSocket)} {
		if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("lab: %w", err))
		}
	}
	if !keepFiles {
		errs = append(errs, removeFiles(rec))
	}
	return errors.Join(errs...)
}

// sweepName removes processes, cgroups and namespaces of a lab by its name.
func sweepName(ctx context.Context, name string) error {
	errs := []error{container.RemoveCgroup(ctx, name)}
	names, err := container.LabNamespaces(name)
	errs = append(errs, err)
	for _, n := range names {
		errs = append(errs, container.DeleteNamespace(n))
	}
	return errors.Join(errs...)
}

// removeFiles removes the lab's own files and then the folder if it is empty:
// the folder may have been somebody's home.
func removeFiles(rec record) error {
	dir := rec.Config.Dir
	names := []string{"lab.json", "lab.log", "lab.lock", "instackenv.json", "undercloud.yaml", switchSocket, switchPassword}
	for _, n := range rec.nodes() {
		names = append(names, n.Name)
	}
	for _, n := range names {
		if err := os.RemoveAll(filepath.Join(dir, n)); err != nil {
			return fmt.Errorf("lab: %w", err)
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("lab: remove %s: %w", dir, err)
	}
	return nil
}

// The lab process holds a POSIX record lock on lab.lock as long as it lives,
// so that others know whether it does and which process it is.
func lockPath(dir string) string { return filepath.Join(dir, "lab.lock") }

func lockLab(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(lockPath(dir), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lab: lock: %w", err)
	}
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lk); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%w in %s: %w", ErrRunning, dir, err)
	}
	return func() { _ = f.Close() }, nil
}

// lockHolder returns the process of the lab in dir, 0 if there is none.
func lockHolder(dir string) int {
	f, err := os.OpenFile(lockPath(dir), os.O_RDWR, 0)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lk); err != nil || lk.Type == unix.F_UNLCK {
		return 0
	}
	return int(lk.Pid)
}

func waitUnlocked(ctx context.Context, dir string, limit time.Duration) bool {
	return waitFor(ctx, limit, func() bool { return lockHolder(dir) == 0 })
}

// claimName holds a lab's name: an abstract socket of the host's network
// namespace, which leaves no file and goes with the process.
func claimName(name string) (net.Listener, error) {
	l, err := net.Listen("unix", nameSocket(name)) //nolint:noctx // lives as long as the lab
	if err != nil {
		return nil, fmt.Errorf("%w: one named %s: %w", ErrRunning, name, err)
	}
	return l, nil
}

func nameSocket(name string) string { return "@tripleo-lab/" + name }

// nameTaken reports whether a running lab has the name.
func nameTaken(name string) bool {
	c, err := net.Dial("unix", nameSocket(name)) //nolint:noctx // answers at once
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func waitFor(ctx context.Context, limit time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(lockRetry)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// logLevel keeps thousands of simulated machines from telling their lives.
func logLevel(dir string) slog.Level {
	if rec, err := loadRecord(dir); err == nil && rec.Config.Backend == Sim {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}
