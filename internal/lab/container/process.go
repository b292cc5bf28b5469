package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// process is a running child of a machine.
type process struct {
	cmd    *exec.Cmd
	master *os.File
	done   chan struct{} // closed when it has ended and its console is read out
}

// startOptions say how a child starts.
type startOptions struct {
	spec childSpec
	// Files follow the order's descriptor.
	files []*os.File
	// namespace is the network namespace to start in; empty means the lab's.
	namespace string
	// cloneFlags are further new namespaces.
	cloneFlags uintptr
	console    io.Writer
}

// start re-executes the binary as a child on a terminal of its own. The child
// dies with the lab: its parent-death signal is tied to a thread that lives
// exactly as long as the child does.
func start(o startOptions) (*process, error) {
	master, slave, err := openPTY()
	if err != nil {
		return nil, err
	}
	defer func() { _ = slave.Close() }()
	order, orderW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a machine: %w", err), master.Close())
	}
	defer func() { _ = order.Close() }()
	// /proc/self/exe is the running binary even if its file was replaced.
	cmd := exec.Command("/proc/self/exe", childArgs[:]...) //nolint:noctx,gosec // ended by its cgroup, not by a context
	cmd.Args[0] = os.Args[0]                               // what ps shows
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.ExtraFiles = append([]*os.File{order}, o.files...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: o.cloneFlags, Pdeathsig: unix.SIGKILL, Setsid: true, Setctty: true}
	p := &process{cmd: cmd, master: master, done: make(chan struct{})}

	read := make(chan struct{}) // closed when the console is read out
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		err := enterAndStart(cmd, o.namespace)
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // the state is in cmd.ProcessState
		<-read
		_ = master.Close()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start a machine: %w", err), orderW.Close(), master.Close())
	}
	go func() {
		defer close(read)
		// Ends with EIO when the last process of the terminal is gone.
		_, _ = io.Copy(o.console, struct{ io.Reader }{master})
	}()
	err = json.NewEncoder(orderW).Encode(o.spec)
	if err := errors.Join(err, orderW.Close()); err != nil {
		_ = cmd.Process.Kill()
		return nil, fmt.Errorf("start a machine: give the order: %w", err)
	}
	return p, nil
}

func enterAndStart(cmd *exec.Cmd, namespace string) error {
	if namespace != "" {
		ns, err := vns.GetFromName(namespace)
		if err != nil {
			return fmt.Errorf("network namespace %q: %w", namespace, err)
		}
		defer func() { _ = ns.Close() }()
		if err := vns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace %q: %w", namespace, err)
		}
	}
	return cmd.Start()
}

// wait waits for the end; when ctx is done first, the cgroup is killed.
func (p *process) wait(ctx context.Context, cg cgroup) (syscall.WaitStatus, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
	}
	// Whatever the end was, nobody may be left: a system that powers off
	// takes its stray processes along.
	err := cg.kill(context.WithoutCancel(ctx))
	<-p.done
	ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		return 0, errors.Join(err, errors.New("no wait status"))
	}
	return ws, err
}
