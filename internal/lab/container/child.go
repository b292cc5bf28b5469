package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// childArgs are the arguments with which the lab re-executes its own binary to
// take steps in a new process. The command line tool routes them to ChildMain;
// test binaries do so in TestMain.
var childArgs = [...]string{"lab", "child"}

// specFD is where a child reads what to do; initrds follow.
const specFD = 3

// childSpec tells a child what to do.
type childSpec struct {
	// Ramdisk or Exec, not both.
	Ramdisk *ramdiskSpec `json:",omitempty"`
	Exec    *execSpec    `json:",omitempty"`
	// Cgroup is the machine's group, joined first.
	Cgroup string
}

// execSpec is a program to become, with the limits a server has.
type execSpec struct {
	Path string
	Args []string
	Env  []string
}

// IsChild reports whether this process was started as a lab's child.
func IsChild(args []string) bool {
	return len(args) > len(childArgs) && slices.Equal(args[1:1+len(childArgs)], childArgs[:])
}

// ChildMain does a child's work. It returns only if it failed.
func ChildMain() error {
	order := os.NewFile(specFD, "order")
	b, err := io.ReadAll(io.LimitReader(order, 1<<20))
	if err := errors.Join(err, order.Close()); err != nil {
		return fmt.Errorf("lab child: read the order: %w", err)
	}
	var spec childSpec
	if err := json.Unmarshal(b, &spec); err != nil {
		return fmt.Errorf("lab child: read the order: %w", err)
	}
	if err := cgroup(spec.Cgroup).join(); err != nil {
		return fmt.Errorf("lab child: %w", err)
	}
	switch {
	case spec.Ramdisk != nil:
		err = spec.Ramdisk.run()
	case spec.Exec != nil:
		err = spec.Exec.run()
	default:
		err = errors.New("no order")
	}
	return fmt.Errorf("lab child: %w", err)
}

// run raises the limits and becomes the program.
func (e *execSpec) run() error {
	if err := raiseLimits(); err != nil {
		return err
	}
	if err := unix.Exec(e.Path, e.Args, e.Env); err != nil {
		return fmt.Errorf("execute %s: %w", e.Path, err)
	}
	return nil
}

// maxFiles is the hard limit of open files; MariaDB and RabbitMQ ask for 64 Ki and more.
const maxFiles = 1 << 20

// raiseLimits gives the machine the limits of a server of its own, or as much
// of them as the lab itself was given (raising needs CAP_SYS_RESOURCE).
func raiseLimits() error {
	const infinity = ^uint64(0)
	limits := []struct {
		which int
		limit unix.Rlimit
	}{
		{unix.RLIMIT_NOFILE, unix.Rlimit{Cur: 1024, Max: maxFiles}},
		{unix.RLIMIT_MEMLOCK, unix.Rlimit{Cur: infinity, Max: infinity}},
		{unix.RLIMIT_NPROC, unix.Rlimit{Cur: infinity, Max: infinity}},
	}
	for _, l := range limits {
		err := unix.Setrlimit(l.which, &l.limit)
		if errors.Is(err, unix.EPERM) {
			var have unix.Rlimit
			if err := unix.Getrlimit(l.which, &have); err != nil {
				return fmt.Errorf("read limit %d: %w", l.which, err)
			}
			have.Cur = min(l.limit.Cur, have.Max)
			err = unix.Setrlimit(l.which, &have)
		}
		if err != nil {
			return fmt.Errorf("raise limit %d: %w", l.which, err)
		}
	}
	return nil
}
