package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// startWait is how long QEMU may take to make its control socket, killWait to die of SIGKILL.
	startWait = 60 * time.Second
	killWait  = 20 * time.Second
	poll      = 10 * time.Millisecond
)

// process is a running QEMU, ours or one of an earlier lab.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended

	mu     sync.Mutex
	fd     int  // pidfd_open(2): names the process even when its number is used again
	closed bool // fd, which may be another file's number by now
}

// openProcess watches a process until it ends.
func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	p := &process{pid: pid, fd: fd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor
		for {
			if n, err := unix.Poll(set, -1); n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.closed = true
		_ = unix.Close(fd)
	}()
	return p, nil
}

// kill ends the process and waits for its end.
func (p *process) kill() error {
	if err := p.signal(unix.SIGKILL); err != nil {
		return fmt.Errorf("kill QEMU %d: %w", p.pid, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(killWait):
		return fmt.Errorf("QEMU %d survives SIGKILL for %s", p.pid, killWait)
	}
}

// signal sends a signal; a process that has ended needs none.
func (p *process) signal(sig unix.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	if err := unix.PidfdSendSignal(p.fd, sig, nil, 0); !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// find returns the QEMU that runs on a machine's folder, nil if there is none.
// It looks at the processes themselves: a lab that was killed just after it had
// started one leaves no pid file yet.
func find(dir string) (*process, error) {
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if err != nil || !isQEMU(pid) || !sameFile(link, dir) {
			continue //nolint:nilerr // somebody else's process, or gone
		}
		p, err := openProcess(pid)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		return p, err
	}
	return nil, nil
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

func isQEMU(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	name, _, _ := bytes.Cut(b, []byte{0})
	return filepath.Base(string(name)) == program
}

// Sweep ends the QEMU that runs on a machine's folder, if there is one.
func Sweep(dir string) error {
	p, err := find(dir)
	if err != nil || p == nil {
		return err
	}
	return p.kill()
}

// start runs QEMU in the machine's folder, in a session of its own: it outlives
// a lab that crashes.
func (c Config) start(b boot) (*process, error) {
	for _, name := range []string{pidFile, qmpSocket, serialSock, netSocket} {
		if err := os.Remove(filepath.Join(c.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("start QEMU: %w", err)
		}
	}
	log, err := os.OpenFile(filepath.Join(c.Dir, logFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(program, c.arguments(b)...) //nolint:noctx,gosec // outlives this process; arguments of our own
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, log, log
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	p, err := openProcess(cmd.Process.Pid)
	go func() { _ = cmd.Wait() }() // collects its end
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill())
	}
	return p, nil
}

// complaint is what QEMU wrote before it ended.
func (c Config) complaint() string {
	b, err := os.ReadFile(filepath.Join(c.Dir, logFile))
	if err != nil {
		return err.Error()
	}
	if len(b) > 2000 {
		b = b[len(b)-2000:]
	}
	return strings.TrimSpace(string(b))
}
