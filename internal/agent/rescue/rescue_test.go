package rescue_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/GehirnInc/crypt/sha256_crypt"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"

	"github.com/tripleo/tripleo/internal/agent/rescue"
)

func serve(t *testing.T, s *rescue.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Log, s.Shell = slog.New(slog.DiscardHandler), []string{"/bin/sh"}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func dial(addr, user, password string) (*ssh.Client, error) {
	return ssh.Dial("tcp", addr, &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.Password(password)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey()}) // made a moment ago
}

func TestPasswords(t *testing.T) {
	b, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	sha, err := sha256_crypt.New().Generate([]byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		server *rescue.Server
	}{
		{"bcrypt", &rescue.Server{Password: string(b)}}, {"sha256_crypt", &rescue.Server{Password: sha}}, {"plain", &rescue.Server{Password: "secret", Plain: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := serve(t, c.server)
			client, err := dial(addr, "rescue", "secret")
			if err != nil {
				t.Fatal(err)
			}
			_ = client.Close()
			if _, err := dial(addr, "root", "secret"); err == nil {
				t.Error("another user is let in")
			}
			if _, err := dial(addr, "rescue", "wrong"); err == nil {
				t.Error("a wrong password is let in")
			}
		})
	}
	if err := (&rescue.Server{Password: "$y$j9T$x"}).Check(); err == nil {
		t.Error("a hash that nothing here verifies is taken")
	}
}

func TestSessions(t *testing.T) {
	client, err := dial(serve(t, &rescue.Server{Password: "secret", Plain: true}), "rescue", "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	session := func() *ssh.Session {
		t.Helper()
		s, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := session()
	s.Stdin = strings.NewReader("from here")
	if out, err := s.Output("cat; echo; pwd"); err != nil || string(out) != "from here\n/\n" {
		t.Errorf("a command printed %q, %v", out, err)
	}
	var exit *ssh.ExitError
	if err := session().Run("exit 7"); !errors.As(err, &exit) || exit.ExitStatus() != 7 {
		t.Errorf("exit 7 gave %v", err)
	}
	s = session()
	if err := s.RequestPty("vt100", 33, 120, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s.Stdin, s.Stdout = strings.NewReader("stty size; echo $TERM; exit 3\n"), &out
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 3 || !strings.Contains(out.String(), "33 120") || !strings.Contains(out.String(), "vt100") {
		t.Errorf("the shell on a terminal said %q, %v", out.String(), err)
	}
	if _, err := client.Dial("tcp", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "only sessions") {
		t.Errorf("forwarding: %v", err)
	}
}

// TestSessionsEndWithTheirClient: what runs in them is killed, also what ignores
// a hang-up or holds the terminal in the background, and the server is free again.
func TestSessionsEndWithTheirClient(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	server := &rescue.Server{Password: "secret", Plain: true}
	addr := serve(t, server)
	for _, tty := range []bool{false, true} {
		client, err := dial(addr, "rescue", "secret")
		if err != nil {
			t.Fatal(err)
		}
		s, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if tty {
			if err := s.RequestPty("vt100", 24, 80, ssh.TerminalModes{}); err != nil {
				t.Fatal(err)
			}
		}
		out, err := s.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start("trap '' HUP; sleep 600 & echo $! >>" + pids + "; echo ready; wait; sleep 600"); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
			t.Fatalf("%q, %v", line, err)
		}
		_ = client.Close()
	}
	data, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for _, pid := range strings.Fields(string(data)) {
		for {
			b, err := os.ReadFile("/proc/" + pid + "/cmdline")
			if err != nil || !strings.Contains(string(b), "sleep") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("process %s survives its client", pid)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if err := server.SetPassword("other", true); err != nil {
		t.Fatal(err)
	}
	if _, err := dial(addr, "rescue", "secret"); err == nil {
		t.Error("the password of before is let in")
	}
	client, err := dial(addr, "rescue", "other")
	if err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
}

// TestTerminalEndsWithItsShell, though somebody in the background holds it.
func TestTerminalEndsWithItsShell(t *testing.T) {
	client, err := dial(serve(t, &rescue.Server{Password: "secret", Plain: true}), "rescue", "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RequestPty("vt100", 24, 80, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Run("trap '' HUP; setsid sleep 15 & exit 0"); err != nil || time.Since(began) > 10*time.Second {
		t.Errorf("it ended after %s, %v", time.Since(began), err)
	}
}
