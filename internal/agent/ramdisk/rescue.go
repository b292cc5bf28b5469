package ramdisk

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"

	"github.com/tripleo/tripleo/internal/agent/rescue"
)

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
	s := &rescue.Server{Password: p.Password, Plain: !p.Hashed, Shell: []string{"/bin/sh"}, Log: a.log}
	if err := s.Check(); err != nil {
		return nil, invalidParams("%w", err)
	}
	l, err := a.o.ListenRescue()
	if err != nil {
		return nil, commandErr("RescueError", http.StatusInternalServerError, "Cannot listen for SSH", err)
	}
	installApplets(ctx)
	go func() {
		if err := s.Serve(context.WithoutCancel(ctx), l); err != nil { // until the machine reboots
			a.log.Error("rescue ended", "err", err)
		}
	}()
	return "rescue is open to user " + rescue.User, nil
}

// installApplets gives a ramdisk with busybox its commands.
func installApplets(ctx context.Context) {
	const busybox = "/bin/busybox"
	if _, err := os.Lstat("/bin/ls"); os.Getpid() != 1 || err == nil {
		return
	}
	_ = exec.CommandContext(ctx, busybox, "--install", "-s", "/bin").Run() // the shell's own commands remain
}
