package baremetal

import (
	"context"
	"errors"
	"time"

	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/baremetal/states"
)

// Flows: the word in "Failed to <flow> node …".
const (
	flowVerify   = "verify"
	flowInspect  = "inspect"
	flowClean    = "clean"
	flowDeploy   = "deploy"
	flowUndeploy = "undeploy"
	flowAdopt    = "adopt"
	flowCleanup  = "tidy up" // after a failure; changes no state
)

// flow is a sequence of steps that moves a node from one stable state to
// another.
type flow struct {
	name  string
	event string // event_type in the node's history
	tidy  bool   // a failure is followed by flowCleanup
	steps []step
}

func powerLimit(c *Config) time.Duration    { return c.PowerTimeout }
func shutdownLimit(c *Config) time.Duration { return c.SoftOffTimeout + c.PowerTimeout }
func callbackLimit(c *Config) time.Duration { return c.CallbackTimeout }
func inspectLimit(c *Config) time.Duration  { return c.InspectTimeout }
func imageLimit(c *Config) time.Duration    { return c.WriteImageTimeout }
func commandLimit(c *Config) time.Duration  { return c.CommandTimeout }
func cleanLimit(c *Config) time.Duration    { return c.CleanTimeout }
func networkLimit(c *Config) time.Duration  { return c.NetworkTimeout }

// find returns the flow of the node's run and the index of its step, -1 if it
// has none of that name.
func (s *Service) find(n *Node) (flow, int) {
	if n.Run == nil {
		return flow{}, -1
	}
	fl := s.flow(n)
	for i, st := range fl.steps {
		if st.name == n.Run.Step {
			return fl, i
		}
	}
	return fl, -1
}

// flow builds the steps of the node's run.
func (s *Service) flow(n *Node) flow {
	switch n.Run.Flow {
	case flowVerify:
		return flow{name: flowVerify, event: "verify", steps: []step{
			{name: "bmc", state: states.Verifying, limit: powerLimit, run: readPower},
		}}
	case flowAdopt:
		return flow{name: flowAdopt, event: "adoption", steps: []step{
			{name: "check", state: states.Adopting, run: checkAdoptable},
			{name: "bmc", state: states.Adopting, limit: powerLimit, run: readPower},
		}}
	case flowInspect:
		steps := bootRamdisk(states.Inspecting)
		steps = append(steps,
			step{name: "wait-data", state: states.InspectWait, limit: inspectLimit, run: waitData},
			step{name: "power-off-after", state: states.Inspecting, limit: powerLimit, run: powerOff},
			step{name: "network-clear", state: states.Inspecting, limit: networkLimit, run: networkClear})
		return flow{name: flowInspect, event: "introspection", tidy: true, steps: steps}
	case flowClean:
		fl := flow{name: flowClean, event: "cleaning", tidy: true}
		if !n.Run.Manual && !s.cleans(n) {
			fl.tidy = false
			return fl
		}
		fl.steps = append(bootRamdisk(states.Cleaning),
			step{name: "wait-agent", state: states.CleanWait, limit: callbackLimit, run: waitAgent},
			step{name: "clean-steps", state: states.CleanWait, limit: cleanLimit, run: cleanSteps},
			step{name: "power-off-after", state: states.Cleaning, limit: powerLimit, run: powerOff},
			step{name: "network-clear", state: states.Cleaning, limit: networkLimit, run: networkClear})
		return fl
	case flowDeploy:
		return s.deployFlow(n)
	case flowUndeploy:
		return flow{name: flowUndeploy, event: "unprovision", steps: []step{
			{name: "power-off", state: states.Deleting, limit: powerLimit, run: powerOff},
			{name: "network-clear", state: states.Deleting, limit: networkLimit, run: networkClear},
			{name: "network-unbind", state: states.Deleting, limit: networkLimit, run: networkUnbind},
			{name: "forget", state: states.Deleting, run: forgetInstance},
		}}
	case flowCleanup:
		return flow{name: flowCleanup, event: "conductor", steps: []step{
			{name: "power-off", limit: powerLimit, run: powerOff, soft: true},
			{name: "network-clear", limit: networkLimit, run: networkClear, soft: true},
		}}
	default:
		return flow{name: n.Run.Flow}
	}
}

// cleans says whether automated cleaning happens on this node.
func (s *Service) cleans(n *Node) bool {
	if n.Interfaces["deploy"] == "fake" {
		return false
	}
	if n.AutomatedClean != nil {
		return *n.AutomatedClean
	}
	return s.cfg.AutomatedClean
}

// bootRamdisk are the steps that start a machine into the ramdisk.
func bootRamdisk(st states.State) []step {
	return []step{
		{name: "prepare", state: st, run: prepareBoot},
		{name: "network", state: st, limit: networkLimit, run: networkProvision},
		{name: "power-off", state: st, limit: powerLimit, run: powerOff},
		{name: "boot-device", state: st, limit: powerLimit, run: bootPXE},
		{name: "power-on", state: st, limit: powerLimit, run: powerOn},
	}
}

func (s *Service) deployFlow(n *Node) flow {
	d := states.Deploying
	fl := flow{name: flowDeploy, event: "deploying", tidy: true}
	if n.Interfaces["deploy"] == "fake" {
		fl.steps = []step{
			{name: "boot-disk", state: d, limit: powerLimit, run: bootDisk},
			{name: "power-on", state: d, limit: powerLimit, run: powerOn},
		}
		return fl
	}
	fl.steps = append([]step{
		{name: "image", state: d, limit: networkLimit, run: resolveImage},
		{name: "raw-image", state: d, limit: imageLimit, run: rawImage},
	}, bootRamdisk(d)...)
	fl.steps = append(fl.steps,
		step{name: "wait-agent", state: states.DeployWait, limit: callbackLimit, run: waitAgent},
		step{name: "write-image", state: states.DeployWait, limit: imageLimit, run: writeImage},
		step{name: "bootloader", state: d, limit: commandLimit, run: installBootloader},
		step{name: "shutdown", state: d, limit: shutdownLimit, run: shutdown},
		step{name: "boot-disk", state: d, limit: powerLimit, run: bootDisk},
		step{name: "network-tenant", state: d, limit: networkLimit, run: networkTenant},
		step{name: "power-on-instance", state: d, limit: powerLimit, run: powerOn})
	return fl
}

// retryable says that a controller's error may go away by itself.
func retryable(err error) bool {
	return !errors.Is(err, drivers.ErrAuth) && !errors.Is(err, drivers.ErrConfig) && !errors.Is(err, drivers.ErrUnsupported)
}

// bmcTrouble is the outcome of an error from a controller.
func (w *work) bmcTrouble(ctx context.Context, err error) outcome {
	if !retryable(err) {
		return failed(err)
	}
	return w.note(ctx, err, w.s.cfg.PowerPoll)
}

func readPower(ctx context.Context, w *work) outcome {
	m, err := w.machine()
	if err != nil {
		return failed(err)
	}
	p, err := m.Power(ctx)
	if err != nil {
		return w.bmcTrouble(ctx, err)
	}
	return brokenOr(w.save(ctx, func(n *Node) { n.PowerState = p }), done())
}

func checkAdoptable(_ context.Context, w *work) outcome {
	if err := w.n.checkDeployable(); err != nil {
		return failed(err)
	}
	return done()
}

func powerOff(ctx context.Context, w *work) outcome {
	return w.powerTo(ctx, drivers.PowerOff, drivers.Off)
}
func powerOn(ctx context.Context, w *work) outcome {
	return w.powerTo(ctx, drivers.PowerOn, drivers.On)
}

// powerTo sends the action until the machine is in the wanted state; the
// step's limit ends that.
func (w *work) powerTo(ctx context.Context, want drivers.Power, a drivers.Action) outcome {
	m, err := w.machine()
	if err != nil {
		return failed(err)
	}
	p, err := m.Power(ctx)
	if err != nil {
		return w.bmcTrouble(ctx, err)
	}
	if p == want {
		return brokenOr(w.save(ctx, func(n *Node) { n.PowerState = p }), done())
	}
	now := w.s.now()
	if sent := w.n.Run.Sent; sent.IsZero() || now.Sub(sent) >= w.s.cfg.PowerRetry {
		text := "the BMC accepted the command, but the machine is still not in state \"" + string(want) + "\""
		if err := w.save(ctx, func(n *Node) { n.Run.Sent, n.Run.LastTry, n.PowerState = now, text, p }); err != nil {
			return broken(err)
		}
		if err := m.SetPower(ctx, a); err != nil {
			return w.bmcTrouble(ctx, err)
		}
	}
	return again(w.s.cfg.PowerPoll)
}

func bootPXE(ctx context.Context, w *work) outcome {
	always, _ := w.n.DriverInfo["force_persistent_boot_device"].(string)
	return w.setBootDevice(ctx, drivers.DevicePXE, always == "Always")
}

func bootDisk(ctx context.Context, w *work) outcome {
	return w.setBootDevice(ctx, drivers.DeviceDisk, true)
}

func (w *work) setBootDevice(ctx context.Context, device string, persistent bool) outcome {
	if w.n.Interfaces["management"] == "noop" {
		return done()
	}
	m, err := w.machine()
	if err != nil {
		return failed(err)
	}
	if err := m.SetBootDevice(ctx, drivers.BootDevice{Device: device, Persistent: persistent, Mode: w.n.bootMode()}); err != nil {
		return w.bmcTrouble(ctx, err)
	}
	return done()
}

// forgetInstance clears what belonged to the instance.
func forgetInstance(ctx context.Context, w *work) outcome {
	err := w.s.forget(ctx, w)
	return brokenOr(err, done())
}

func waitData(_ context.Context, w *work) outcome {
	d := w.n.Run.Data
	switch {
	case d == nil:
		return again(time.Minute) // continue_inspection wakes the job
	case d.Error != "":
		return failf("%s", d.Error)
	default:
		return done()
	}
}

func waitAgent(_ context.Context, w *work) outcome {
	if w.n.Run.Heartbeat.IsZero() {
		return again(time.Minute) // the heartbeat wakes the job
	}
	return done()
}
