// Package crashtest runs a service in a process of its own, which a test kills
// to see what is left.
package crashtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// folder is the variable that turns a test program into the process.
const folder = "CRASHTEST_FOLDER"

// ServeUntilKilled is the body of a test of that name, which a package that is
// tested here must have: in the process it serves what build makes of the data
// in a folder, anywhere else it does nothing.
func ServeUntilKilled(t *testing.T, build func(dir string) http.Handler) {
	t.Helper()
	dir := os.Getenv(folder)
	if dir == "" {
		return
	}
	h := build(dir)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("listening on http://" + l.Addr().String())
	t.Fatal(http.Serve(l, h)) //nolint:gosec // killed by its parent
}

// Victim is the process.
type Victim struct {
	URL string // http://127.0.0.1:PORT
	cmd *exec.Cmd
}

// Start runs TestServeUntilKilled of the calling test's package as a process,
// on the data in dir. It ends with the test at the latest.
func Start(t testing.TB, dir string) *Victim {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^TestServeUntilKilled$") //nolint:gosec // this program itself
	cmd.Env = append(os.Environ(), folder+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	v := &Victim{cmd: cmd}
	t.Cleanup(v.Kill)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			v.URL = url
			return v
		}
	}
	t.Fatal("the process does not listen")
	return nil
}

// Kill ends the process without a warning and waits until it is gone.
func (v *Victim) Kill() {
	_ = v.cmd.Process.Kill() // it may be dead
	_ = v.cmd.Wait()         // says that it was killed
}

// Try makes a request with the given headers ("Name: value"). The status is 0
// if there was no whole answer.
func (v *Victim) Try(method, path string, body io.Reader, headers ...string) (int, http.Header, []byte) {
	req, err := http.NewRequest(method, v.URL+path, body) //nolint:noctx // bounded by the client
	if err != nil {
		return 0, nil, nil
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return 0, nil, nil
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, nil
	}
	return res.StatusCode, res.Header, data
}
