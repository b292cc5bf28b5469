// Package clienttest runs OpenStack's Python clients for tests: many commands
// in one process, because starting it costs more than a command.
package clienttest

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

//go:embed shell.py
var driver string

// Shell is a Python process that runs commands of the clients one by one.
type Shell struct {
	t   testing.TB
	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Reader

	done []string // the commands that succeeded, each with a blank around its words
}

// Result is how a command ended.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Start runs the process until the test ends, with the given variables
// ("OS_AUTH_URL=…") beside the environment's. The test is skipped, loudly, if
// Debian's python3-openstackclient is not installed.
func Start(t testing.TB, env ...string) *Shell {
	t.Helper()
	const python = "/usr/bin/python3" // the one that Debian's packages belong to
	if err := exec.CommandContext(t.Context(), python, "-c", "import openstackclient").Run(); err != nil {
		t.Skip("SKIPPED, NOT TESTED WITH OPENSTACK'S CLIENTS: python3-openstackclient is not installed")
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", driver)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OS_") }),
		append([]string{"PYTHONWARNINGS=ignore", "http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=", "no_proxy=*"}, env...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &Shell{t: t, in: in, out: bufio.NewReader(out)}
}

// Try runs a command such as "openstack", "server", "list".
func (s *Shell) Try(program string, args ...string) Result {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	line, err := json.Marshal(append([]string{program}, args...))
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.in.Write(append(line, '\n')); err != nil {
		s.t.Fatalf("the clients' process has ended: %v", err)
	}
	answer, err := s.out.ReadBytes('\n')
	if err != nil {
		s.t.Fatalf("%s %s: the clients' process has ended: %v", program, strings.Join(args, " "), err)
	}
	var r Result
	if err := json.Unmarshal(answer, &r); err != nil {
		s.t.Fatalf("%s %s answered %q: %v", program, strings.Join(args, " "), answer, err)
	}
	if r.Code == 0 {
		s.done = append(s.done, " "+strings.Join(args, " ")+" ")
	}
	return r
}

// Run runs a command that must succeed and print want, and returns what it
// printed to its standard output.
func (s *Shell) Run(want, program string, args ...string) string {
	s.t.Helper()
	r := s.Try(program, args...)
	if r.Code != 0 || !strings.Contains(r.Stdout, want) {
		s.t.Errorf("%s %s: exit %d, printed %q, expected it to hold %q; errors: %s", program, strings.Join(args, " "), r.Code, r.Stdout, want, r.Stderr)
	}
	return r.Stdout
}

// EveryVerb fails for each verb that a package of Debian's announces in a group
// of its entry points ("python_openstackclient", "openstack.image.v2") and that
// no command so far succeeded with. except are verbs left out, each with the
// reason; one that was run nevertheless, or that does not exist, fails too.
func (s *Shell) EveryVerb(pkg, group string, except map[string]string) {
	s.t.Helper()
	found, err := filepath.Glob("/usr/lib/python3/dist-packages/" + pkg + "-*/entry_points.txt")
	if err != nil || len(found) != 1 {
		s.t.Fatalf("%s has the entry points %v (%v), expected one file", pkg, found, err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		s.t.Fatal(err)
	}
	_, list, ok := strings.Cut(string(data), "["+group+"]\n")
	if !ok {
		s.t.Fatalf("%s announces no group %s", pkg, group)
	}
	unused := maps.Clone(except)
	for line := range strings.Lines(list) {
		name, _, ok := strings.Cut(line, "=")
		if !ok {
			break // the end of the group
		}
		verb := strings.ReplaceAll(strings.TrimSpace(name), "_", " ")
		ran := slices.ContainsFunc(s.done, func(c string) bool { return strings.HasPrefix(c, " "+verb+" ") })
		_, left := except[verb]
		if ran == left {
			s.t.Errorf("%s: the verb %q succeeded: %t, is left out: %t; expected one of them", group, verb, ran, left)
		}
		delete(unused, verb)
	}
	for verb, reason := range unused {
		s.t.Errorf("%s: the verb %q is left out (%s), but does not exist", group, verb, reason)
	}
}
