package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Command is a program to run on the machine.
type Command struct {
	Args  []string // program and arguments; the program is looked up in PATH
	Env   []string // added to a small clean environment, "NAME=value"
	Dir   string   // "" is "/"
	Stdin []byte
	User  string    // run as this user of the machine; "" is root
	Log   io.Writer // additionally gets both streams as they come; may be nil
	Limit int       // bytes kept of each stream, the last ones; 0 means 1 MiB
}

// Result is how a command ended. A command that was ended by a signal has the code 128 + signal, as shells say it.
type Result struct {
	Stdout, Stderr []byte
	Code           int
}

// Runner runs commands. The error says that the command could not be run, or was cut off by the context; an exit code
// other than 0 is no error.
type Runner interface {
	Run(ctx context.Context, c Command) (Result, error)
}

// pathEnv is in the environment every command starts from.
const pathEnv = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// killGrace is how long a command's processes may take to end after SIGTERM.
const killGrace = 5 * time.Second

// Exec runs commands for real, each in a process group of its own that is ended as a whole.
type Exec struct {
	Host *Host // for accounts; set by NewReal
}

// NewReal returns the machine below root with commands run for real. Commands see the root of this process.
func NewReal(root string) *Host {
	e := &Exec{}
	h := New(root, e)
	e.Host = h
	return h
}

// Run implements Runner.
func (e *Exec) Run(ctx context.Context, c Command) (Result, error) {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return Result{}, errors.New("empty command")
	}
	limit := c.Limit
	if limit <= 0 {
		limit = 1 << 20
	}
	outTail, errTail := &tail{limit: limit}, &tail{limit: limit}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = append([]string{pathEnv, "LANG=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"}, c.Env...)
	cmd.Dir = c.Dir
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.Stdin = bytes.NewReader(c.Stdin)
	cmd.Stdout, cmd.Stderr = both(outTail, c.Log), both(errTail, c.Log)
	attr, env, err := e.credential(c.User)
	if err != nil {
		return Result{}, err
	}
	cmd.Env = append(cmd.Env, env...)
	attr.Setpgid = true
	cmd.SysProcAttr = attr
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = killGrace
	err = cmd.Run()
	if ctx.Err() != nil && cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	res := Result{Stdout: outTail.bytes(), Stderr: errTail.bytes()}
	if cmd.ProcessState != nil {
		res.Code = exitCode(cmd.ProcessState)
	}
	if ctx.Err() != nil {
		return res, fmt.Errorf("%s: cut off: %w", c.Args[0], context.Cause(ctx))
	}
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit && !errors.Is(err, exec.ErrWaitDelay) {
		return res, fmt.Errorf("%s: %w", c.Args[0], err)
	}
	return res, nil
}

func (e *Exec) credential(user string) (*syscall.SysProcAttr, []string, error) {
	attr := &syscall.SysProcAttr{}
	if user == "" || user == "root" {
		return attr, nil, nil
	}
	a, err := e.Host.Account(user)
	if err != nil {
		return nil, nil, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(a.UID), Gid: uint32(a.GID), Groups: a.Groups}
	return attr, []string{"HOME=" + a.Home, "USER=" + a.Name, "LOGNAME=" + a.Name}, nil
}

func exitCode(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}

func both(t *tail, log io.Writer) io.Writer {
	if log == nil {
		return t
	}
	return io.MultiWriter(t, log)
}

// tail keeps the last bytes written to it.
type tail struct {
	limit int
	buf   []byte
	cut   bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*t.limit {
		t.buf = append([]byte(nil), t.buf[len(t.buf)-t.limit:]...)
		t.cut = true
	}
	return len(p), nil
}

func (t *tail) bytes() []byte {
	b := t.buf
	if len(b) > t.limit {
		b, t.cut = b[len(b)-t.limit:], true
	}
	if t.cut {
		return append([]byte("[... earlier output is in the log]\n"), b...)
	}
	return b
}

// String shows a command without its environment or input, which may hold secrets.
func (c Command) String() string { return strings.Join(c.Args, " ") }
