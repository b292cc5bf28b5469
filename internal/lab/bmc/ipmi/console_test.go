package ipmi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/machine/machinetest"
)

// printed is a line on which a text was printed as soon as somebody follows.
type printed []byte

func (p printed) Follow(_ context.Context, w io.Writer) func() error {
	done := make(chan error, 1)
	go func() {
		_, err := w.Write(p)
		done <- err
	}()
	return func() error { return <-done }
}

func (p printed) Type([]byte) error { return errors.New("nothing reads the console") }

// TestDeadBMCSendsNoConsole: what is printed meanwhile waits, and one that is slow sends it.
func TestDeadBMCSendsNoConsole(t *testing.T) {
	m, _ := machinetest.New(t)
	text := bytes.Repeat([]byte("0123456789abcdef"), maxWaiting/16) // just fits
	conn, err := serial{m, printed(text)}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := conn.(*console)
	if err := c.wait(); err != nil {
		t.Fatal(err)
	}
	c.wait = func() error { return nil }
	buf := make([]byte, 16)
	for _, s := range []struct {
		fault machine.Fault
		set   bool
		want  int
	}{{machine.BMCDead, true, 0}, {machine.BMCDead, false, 16}, {machine.BMCSlow, true, 16}} {
		m.SetFault(s.fault, s.set)
		if n, err := conn.ReadAvailable(buf); n != s.want || err != nil {
			t.Errorf("fault %s %v: %d bytes, %v; want %d", s.fault, s.set, n, err, s.want)
		}
	}
	if n, err := conn.Write([]byte("root\n")); n != 5 || err != nil {
		t.Errorf("typing while the machine is off: %d, %v; it is lost, the line is whole", n, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// TestConsoleThatNobodyTakes: more than the limit waits in the console's log, and a line that is closed is not waited for.
func TestConsoleThatNobodyTakes(t *testing.T) {
	m, _ := machinetest.New(t)
	conn, err := serial{m, printed(make([]byte, maxWaiting+1))}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if n := len(conn.(*console).out.waiting); n > maxWaiting {
		t.Errorf("%d bytes wait, want at most %d", n, maxWaiting)
	}
}
