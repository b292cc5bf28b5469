package ramdisk

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"

	"github.com/tripleo/tripleo/internal/agent/rescue"
)

const rescueOpen = "rescue is open to user " + rescue.User

// finalizeRescue opens the machine to the operator: the command of
// ironic-python-agent's extension "rescue".
func (a *agent) finalizeRescue(ctx context.Context, c call) (any, error) {
	var p struct {
		Password string `json:"rescue_password"`
		Hashed   bool   `json:"hashed"`
	}
	if err := c.decode(&p); err != nil {
		return nil, err
	}
	if a.o.ListenRescue == nil {
		return nil, commandErr("IncompatibleHardwareMethodError", http.StatusInternalServerError, "Rescue is not possible", errors.New("this agent runs where it opens no SSH"))
	}
	a.rescueMu.Lock()
	defer a.rescueMu.Unlock()
	if a.rescue != nil { // asked for again: the port is taken by ours
		if err := a.rescue.SetPassword(p.Password, !p.Hashed); err != nil {
			return nil, invalidParams("%w", err)
		}
		return rescueOpen, nil
	}
	s := &rescue.Server{Password: p.Password, Plain: !p.Hashed, Shell: []string{"/bin/sh"}, Log: a.log}
	if err := s.Check(); err != nil {
		return nil, invalidParams("%w", err)
	}
	l, err := a.o.ListenRescue()
	if err != nil {
		return nil, commandErr("RescueError", http.StatusInternalServerError, "Cannot listen for SSH", err)
	}
	installApplets(ctx)
	a.rescue = s
	go func() {
		err := s.Serve(context.WithoutCancel(ctx), l) // until the machine reboots
		a.log.Error("rescue ended", "err", err)
		a.rescueMu.Lock()
		defer a.rescueMu.Unlock()
		a.rescue = nil
	}()
	return rescueOpen, nil
}

// installApplets gives a ramdisk with busybox its commands.
func installApplets(ctx context.Context) {
	const busybox = "/bin/busybox"
	if _, err := os.Lstat("/bin/ls"); os.Getpid() != 1 || err == nil {
		return
	}
	_ = exec.CommandContext(ctx, busybox, "--install", "-s", "/bin").Run() // the shell's own commands remain
}
