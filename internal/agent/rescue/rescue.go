// Package rescue lets an operator into the ramdisk of a machine that is being
// rescued: an SSH server (RFC 4252 to 4254) for the one user "rescue", whose
// password the bare metal service has set, with a shell of root on the
// machine's hardware. Nothing else is served: no forwarding, no subsystems.
package rescue

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/GehirnInc/crypt"
	_ "github.com/GehirnInc/crypt/sha256_crypt" // the forms that Ironic hashes to
	_ "github.com/GehirnInc/crypt/sha512_crypt"
	"github.com/creack/pty"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// User is the name to log in with, as ironic-python-agent's ramdisks have it.
const User = "rescue"

const (
	maxConns     = 16
	loginTimeout = time.Minute
	maxTries     = 3
	triesPause   = time.Second // after a wrong password
	endWait      = 2 * time.Second
)

// Server is the SSH server.
type Server struct {
	// Password in crypt(3)'s form ($2…, $5$, $6$), or as it is if Plain.
	Password string
	Plain    bool
	// Shell is the command of a session without one, its arguments included.
	Shell []string
	Log   *slog.Logger

	mu sync.Mutex // of the password, which may change while it serves
}

// SetPassword has the server take another password from now on.
func (s *Server) SetPassword(password string, plain bool) error {
	if err := (&Server{Password: password, Plain: plain}).Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Password, s.Plain = password, plain
	return nil
}

// Check says whether the password is usable.
func (s *Server) Check() error {
	if s.Password == "" {
		return errors.New("the rescue password is empty")
	}
	if s.Plain || strings.HasPrefix(s.Password, "$2") || crypt.IsHashSupported(s.Password) {
		return nil
	}
	return errors.New("the rescue password is hashed in a form that is not known here, expected $2b$, $5$ or $6$")
}

// matches compares in constant time.
func (s *Server) matches(password []byte) bool {
	s.mu.Lock()
	want, plain := s.Password, s.Plain
	s.mu.Unlock()
	switch {
	case plain:
		return subtle.ConstantTimeCompare([]byte(want), password) == 1
	case strings.HasPrefix(want, "$2"):
		return bcrypt.CompareHashAndPassword([]byte(want), password) == nil
	default:
		return crypt.NewFromHash(want).Verify(want, password) == nil
	}
}

// Serve serves until ctx is done. The host key is made anew: the machine has no
// place to keep one.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if err := s.Check(); err != nil {
		return errors.Join(err, l.Close())
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	conf := &ssh.ServerConfig{MaxAuthTries: maxTries, PasswordCallback: func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if s.matches(password) && c.User() == User {
			return nil, nil //nolint:nilnil // no restrictions
		}
		time.Sleep(triesPause)
		return nil, fmt.Errorf("wrong user or password from %s", c.RemoteAddr())
	}}
	conf.AddHostKey(signer)
	s.Log.Info("rescue: SSH is open", "user", User, "address", l.Addr().String(), "fingerprint", ssh.FingerprintSHA256(signer.PublicKey()))
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxConns)
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the end was asked for
			}
			return err
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = conn.Close() // too many
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			if err := s.login(ctx, conn, conf); err != nil && ctx.Err() == nil {
				s.Log.Info("rescue: connection ended", "from", conn.RemoteAddr().String(), "reason", err)
			}
		})
	}
}

func (s *Server) login(ctx context.Context, conn net.Conn, conf *ssh.ServerConfig) error {
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(loginTimeout)); err != nil {
		return err
	}
	client, channels, requests, err := ssh.NewServerConn(conn, conf)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	s.Log.Info("rescue: logged in", "from", client.RemoteAddr().String())
	go ssh.DiscardRequests(requests)
	var wg sync.WaitGroup
	defer wg.Wait()
	for n := range channels {
		if n.ChannelType() != "session" {
			_ = n.Reject(ssh.UnknownChannelType, "only sessions are served")
			continue
		}
		ch, reqs, err := n.Accept()
		if err != nil {
			return err
		}
		wg.Go(func() { (&session{ch: ch, shell: s.Shell}).run(ctx, reqs) })
	}
	return nil
}

// session is one shell or command.
type session struct {
	ch    ssh.Channel
	shell []string
	env   []string
	size  *pty.Winsize // nil: no terminal was asked for
	tty   *os.File
	began bool
}

func (s *session) run(ctx context.Context, reqs <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	for r := range reqs {
		ok := false
		switch r.Type {
		case "pty-req":
			ok = s.terminal(r.Payload)
		case "window-change":
			if w := windowSize(r.Payload); w != nil && s.tty != nil {
				ok = resize(s.tty, w) == nil
			}
		case "env":
			var e struct{ Name, Value string }
			if ssh.Unmarshal(r.Payload, &e) == nil && (e.Name == "LANG" || strings.HasPrefix(e.Name, "LC_")) {
				s.env, ok = append(s.env, e.Name+"="+e.Value), true
			}
		case "shell", "exec":
			if !s.began {
				s.began = true
				ok = s.start(ctx, r, func() { close(done) })
			}
		}
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
	}
	cancel() // the client is gone: the command goes, too
	if s.began {
		<-done
	}
}

// terminal reads pty-req (RFC 4254, section 6.2).
func (s *session) terminal(payload []byte) bool {
	var p struct {
		Term                      string
		Columns, Rows, Width, Hgt uint32
		Modes                     string
	}
	if ssh.Unmarshal(payload, &p) != nil {
		return false
	}
	s.size = size(p.Columns, p.Rows)
	s.env = append(s.env, "TERM="+p.Term)
	return true
}

// windowSize reads window-change (RFC 4254, section 6.7).
func windowSize(payload []byte) *pty.Winsize {
	if len(payload) < 8 {
		return nil
	}
	return size(binary.BigEndian.Uint32(payload), binary.BigEndian.Uint32(payload[4:]))
}

func size(columns, rows uint32) *pty.Winsize {
	return &pty.Winsize{Cols: uint16(min(columns, 10_000)), Rows: uint16(min(rows, 10_000))}
}

// start runs the command; end is called when it has ended, its exit status
// told and the channel closed.
func (s *session) start(ctx context.Context, r *ssh.Request, end func()) bool {
	command := s.shell
	if r.Type == "exec" {
		var e struct{ Command string }
		if ssh.Unmarshal(r.Payload, &e) != nil {
			end()
			return false
		}
		command = append(append([]string{}, s.shell[:1]...), "-c", e.Command)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append([]string{"HOME=/", "USER=root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, s.env...)
	cmd.Dir, cmd.WaitDelay = "/", endWait
	// What the command started goes with it; with a terminal it leads a session of its own.
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
			return err
		}
		return os.ErrProcessDone
	}
	if s.size == nil {
		return s.plain(cmd, end)
	}
	tty, err := startOnTerminal(cmd, s.size)
	if err != nil {
		_, _ = fmt.Fprintf(s.ch.Stderr(), "cannot start %s: %v\r\n", command[0], err)
		s.finish(err)
		end()
		return true
	}
	s.tty = tty
	go func() {
		_, _ = io.Copy(tty, s.ch)
	}()
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(s.ch, tty) // ends with EIO when the last process of the terminal has
	}()
	go func() {
		defer end()
		err := cmd.Wait()
		select {
		case <-copied:
		case <-time.After(endWait): // somebody in the background holds the terminal
		}
		_ = tty.Close() // hangs up on who is left
		s.finish(err)
	}()
	return true
}

// startOnTerminal starts the command on a new terminal. Closing what it returns
// ends a read of it, which package pty's own file, in blocking mode, does not do.
func startOnTerminal(cmd *exec.Cmd, w *pty.Winsize) (*os.File, error) {
	tty, err := pty.StartWithSize(cmd, w)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tty.Close() }()
	fd, err := unix.FcntlInt(tty.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, errors.Join(err, cmd.Cancel(), cmd.Wait())
	}
	return os.NewFile(uintptr(fd), tty.Name()), nil
}

// resize tells the terminal its size, and leaves its file non-blocking.
func resize(tty *os.File, w *pty.Winsize) error {
	c, err := tty.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = c.Control(func(fd uintptr) {
		set = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: w.Rows, Col: w.Cols})
	})
	return errors.Join(err, set)
}

func (s *session) plain(cmd *exec.Cmd, end func()) bool {
	in, err := cmd.StdinPipe()
	if err != nil {
		end()
		return false
	}
	cmd.Stdout, cmd.Stderr = s.ch, s.ch.Stderr()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		_, _ = fmt.Fprintf(s.ch.Stderr(), "cannot start %s: %v\n", cmd.Path, err)
		s.finish(err)
		end()
		return true
	}
	go func() {
		_, _ = io.Copy(in, s.ch)
		_ = in.Close()
	}()
	go func() {
		defer end()
		s.finish(cmd.Wait())
	}()
	return true
}

// finish tells the exit status (RFC 4254, section 6.10) and closes the channel.
func (s *session) finish(err error) {
	code := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = max(exit.ExitCode(), 0)
		if exit.ExitCode() < 0 { // a signal
			code = 255
		}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // it ended well, its children hold the channel
		code = 127
	}
	_, _ = s.ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(code)})) //nolint:gosec // 0 to 255
	_ = s.ch.Close()
}
