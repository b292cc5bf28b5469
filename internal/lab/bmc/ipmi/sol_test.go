package ipmi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/tripleo/tripleo/internal/lab/bmc/ipmi"
)

// shell is the far end of a serial line: it prints what is typed in capitals.
type shell struct {
	mu    sync.Mutex
	w     io.Writer // nil: nobody follows
	ended chan struct{}
}

func (s *shell) Follow(ctx context.Context, w io.Writer) func() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = w
	return func() error {
		<-ctx.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.w = nil
		s.ended <- struct{}{}
		return nil
	}
}

func (s *shell) print(p []byte) error {
	s.mu.Lock()
	w := s.w
	s.mu.Unlock()
	if w == nil {
		return errors.New("nobody follows the line")
	}
	_, err := w.Write(p)
	return err
}

func (s *shell) Type(keys []byte) error { return s.print(bytes.ToUpper(keys)) }

// terminal is a program in a terminal.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	tty  *os.File
	seen strings.Builder
}

// solActivate runs Debian's ipmitool in a terminal, as an operator does.
func solActivate(t *testing.T, port int, suite string) *terminal {
	t.Helper()
	path, err := exec.LookPath("ipmitool")
	if err != nil {
		t.Skip("SKIPPED: ipmitool is not installed (apt-get install ipmitool)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	c := &terminal{t: t, cmd: exec.CommandContext(ctx, path, "-I", "lanplus", "-C", suite, "-H", "127.0.0.1", "-p", strconv.Itoa(port), "-U", user, "-E", "sol", "activate")}
	c.cmd.Env = append(c.cmd.Environ(), "IPMI_PASSWORD="+password, "TERM=dumb")
	if c.tty, err = pty.Start(c.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.tty.Close() })
	return c
}

// want reads until the text has come.
func (c *terminal) want(text string) {
	c.t.Helper()
	buf := make([]byte, 4096)
	for !strings.Contains(c.seen.String(), text) {
		n, err := c.tty.Read(buf)
		c.seen.Write(buf[:n])
		if err != nil {
			c.t.Fatalf("%v before %.80q; ipmitool said %.2000q", err, text, c.seen.String())
		}
	}
}

func (c *terminal) enter(keys string) {
	c.t.Helper()
	if _, err := io.WriteString(c.tty, keys); err != nil {
		c.t.Fatal(err)
	}
}

func TestSerialOverLAN(t *testing.T) {
	for _, suite := range []string{"3", "17"} {
		t.Run("cipher suite "+suite, func(t *testing.T) {
			line := &shell{ended: make(chan struct{}, 1)}
			_, _, port := startWith(t, ipmi.Config{User: user, Password: password, Line: line})
			c := solActivate(t, port, suite)
			c.want("SOL Session operational")

			c.enter("root\r")
			c.want("ROOT")

			// More than one packet (255 characters) and more than the BMC's own buffer.
			var long bytes.Buffer
			for n := range 2000 {
				long.WriteString("line " + strconv.Itoa(n) + " of a long boot\r\n")
			}
			if err := line.print(long.Bytes()); err != nil {
				t.Fatal(err)
			}
			c.want("line 1999 of")
			if !strings.Contains(c.seen.String(), long.String()) {
				t.Errorf("what was printed did not all arrive in its order; %d bytes did", c.seen.Len())
			}

			if out, err := tool(t, port, suite, "sol", "activate"); err == nil {
				t.Errorf("a second session has the line too:\n%s", out)
			} else if !strings.Contains(out, "already active on another session") {
				t.Errorf("a second session: %s", out)
			}

			c.enter("\r~.")
			c.want("terminated ipmitool")
			<-line.ended // the line is free again
			c = solActivate(t, port, suite)
			c.want("SOL Session operational")
			if out, err := tool(t, port, suite, "sol", "deactivate"); err != nil {
				t.Errorf("sol deactivate by another session: %v %s", err, out)
			}
			<-line.ended
		})
	}
}

// TestSerialOverLANWithoutALine: a machine without a serial line says so.
func TestSerialOverLANWithoutALine(t *testing.T) {
	_, _, port := start(t)
	c := solActivate(t, port, "17")
	c.want("SOL payload disabled")
}
