package lab

import (
	"errors"
	"net/http"
	"path/filepath"
	"time"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/machine"
	"github.com/tripleo/tripleo/internal/lab/qemu"
	"github.com/tripleo/tripleo/internal/lab/vswitch"
	"github.com/tripleo/tripleo/internal/netns"
)

// buildQEMU makes switch, virtual machines and BMCs.
func (s *server) buildQEMU() error {
	s.rec.Config.Accel = qemu.Accelerator(s.rec.Config.Accel)
	s.log.Info("accelerator", "accel", s.rec.Config.Accel, "kvm", qemu.ProbeKVM())
	return s.buildSwitch(s.buildVM)
}

func (s *server) buildVM(sw *vswitch.Switch, n Node) error {
	c := s.rec.Config
	log := s.log.With("node", n.Name)
	dir := filepath.Join(c.Dir, n.Name)
	link := qemu.NewLink()
	port, err := sw.AddPort(n.Name, link, vswitch.Access(provisioning))
	if err != nil {
		return errors.Join(err, link.Close())
	}
	hw, err := qemu.New(qemu.Config{
		Info: n.Info, Dir: dir, Firmware: n.Firmware, Accel: c.Accel, NICModel: c.NICModel, DiskBus: c.DiskBus, MAC: n.MAC, Link: link, IPv6: c.IPv6,
		Fetch: &http.Client{Transport: &http.Transport{DialContext: netns.Dialer(c.Name), DisableKeepAlives: true}},
	}, log)
	if err != nil {
		return err
	}
	console, err := openConsoleLog(filepath.Join(dir, "console.log"))
	if err != nil {
		return err
	}
	s.close = append(s.close, console.Close)
	u := &unit{node: n, console: console, input: hw.Input, port: port, badDisk: hw.SetBadDisk}
	u.machine = machine.New(machine.Options{
		Info: n.Info, Hardware: hw, Console: console, Log: log, Now: time.Now, Running: hw.Running(),
		Devices: bootDevices(n),
	})
	return s.addUnit(u)
}

// bootDevices is a virtual machine's own order.
func bootDevices(n Node) []bmc.BootDevice {
	order := []bmc.BootDevice{bmc.Disk, bmc.PXE, bmc.CDROM}
	if n.Firmware == qemu.UEFI {
		order = append(order, bmc.HTTP)
	}
	return order
}
