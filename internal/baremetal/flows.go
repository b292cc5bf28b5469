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
	flowRescue   = "rescue"
	flowUnrescue = "unrescue"
	flowService  = "service"
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
			{name: "firmware", state: states.Verifying, run: readFirmware, soft: true},
		}}
	case flowAdopt:
		return flow{name: flowAdopt, event: "adoption", steps: []step{
			{name: "check", state: states.Adopting, run: checkAdoptable},
			{name: "bmc", state: states.Adopting, limit: powerLimit, run: readPower},
		}}
	case flowInspect:
		return inspectFlow(n)
	case flowClean:
		return s.cleanFlow(n)
	case flowDeploy:
		return s.deployFlow(n)
	case flowService:
		return serviceFlow(n)
	case flowRescue:
		return rescueFlow(n)
	case flowUnrescue:
		return flow{name: flowUnrescue, event: "unrescue", steps: []step{
			{name: "power-off", state: states.Unrescuing, limit: powerLimit, run: powerOff},
			{name: "eject", state: states.Unrescuing, limit: powerLimit, run: ejectMedia},
			{name: "network-tenant", state: states.Unrescuing, limit: networkLimit, run: networkTenant},
			{name: "boot-disk", state: states.Unrescuing, limit: powerLimit, run: bootInstance},
			{name: "power-on", state: states.Unrescuing, limit: powerLimit, run: powerOn},
		}}
	case flowUndeploy:
		return flow{name: flowUndeploy, event: "unprovision", steps: []step{
			{name: "power-off", state: states.Deleting, limit: powerLimit, run: powerOff},
			{name: "eject", state: states.Deleting, limit: powerLimit, run: ejectMedia},
			{name: "network-clear", state: states.Deleting, limit: networkLimit, run: networkClear},
			{name: "network-unbind", state: states.Deleting, limit: networkLimit, run: networkUnbind},
			{name: "forget", state: states.Deleting, run: forgetInstance},
		}}
	case flowCleanup:
		return flow{name: flowCleanup, event: "conductor", steps: []step{
			{name: "logs", limit: commandLimit, run: keepLogs, soft: true},
			{name: "power-off", limit: powerLimit, run: powerOff, soft: true},
			{name: "eject", limit: powerLimit, run: ejectMedia, soft: true},
			{name: "network-clear", limit: networkLimit, run: networkClear, soft: true},
		}}
	default:
		return flow{name: n.Run.Flow}
	}
}

func inspectFlow(n *Node) flow {
	fl := flow{name: flowInspect, event: "introspection"}
	switch n.Interfaces["inspect"] {
	case "fake":
		return fl
	case "redfish":
		fl.steps = []step{{name: "read", state: states.Inspecting, limit: powerLimit, run: inspectRedfish}}
		return fl
	}
	fl.tidy = true
	fl.steps = append(bootRamdisk(states.Inspecting),
		step{name: "wait-data", state: states.InspectWait, limit: inspectLimit, run: waitData},
		step{name: "power-off-after", state: states.Inspecting, limit: powerLimit, run: powerOffAfter},
		step{name: "eject", state: states.Inspecting, limit: powerLimit, run: ejectMedia},
		step{name: "network-clear", state: states.Inspecting, limit: networkLimit, run: networkClearAfter})
	return fl
}

func (s *Service) cleanFlow(n *Node) flow {
	fl := flow{name: flowClean, event: "cleaning", tidy: true}
	if !n.Run.Manual && !s.cleans(n) {
		fl.tidy = false
		return fl
	}
	if !n.usesRamdisk() {
		fl.tidy = false
		fl.steps = []step{{name: "clean-steps", state: states.Cleaning, limit: cleanLimit, run: hardwareSteps(groupAgent)}}
		return fl
	}
	fl.steps = append(bootRamdisk(states.Cleaning),
		step{name: "wait-agent", state: states.CleanWait, limit: callbackLimit, run: waitAgent},
		step{name: "list-steps", state: states.CleanWait, limit: commandLimit, run: listSteps},
		step{name: "clean-steps", state: states.CleanWait, limit: cleanLimit, run: hardwareSteps(groupAgent)},
		step{name: "power-off-after", state: states.Cleaning, limit: powerLimit, run: powerOffAfter},
		step{name: "eject", state: states.Cleaning, limit: powerLimit, run: ejectMedia},
		step{name: "network-clear", state: states.Cleaning, limit: networkLimit, run: networkClearAfter})
	return fl
}

// serviceFlow runs steps on a node that carries an instance, and gives it back
// to the instance.
func serviceFlow(n *Node) flow {
	v := states.Servicing
	fl := flow{name: flowService, event: "servicing"}
	if !n.usesRamdisk() {
		fl.steps = []step{{name: "service-steps", state: v, limit: cleanLimit, run: hardwareSteps(groupAgent)}}
		return fl
	}
	fl.tidy = true
	fl.steps = append(bootRamdisk(v),
		step{name: "wait-agent", state: states.ServiceWait, limit: callbackLimit, run: waitAgent},
		step{name: "list-steps", state: states.ServiceWait, limit: commandLimit, run: listSteps},
		step{name: "service-steps", state: states.ServiceWait, limit: cleanLimit, run: hardwareSteps(groupAgent)},
		step{name: "power-off-after", state: v, limit: powerLimit, run: powerOff},
		step{name: "eject", state: v, limit: powerLimit, run: ejectMedia},
		step{name: "boot-disk", state: v, limit: powerLimit, run: bootDisk},
		step{name: "network-tenant", state: v, limit: networkLimit, run: networkTenant},
		step{name: "power-on-instance", state: v, limit: powerLimit, run: powerOn})
	return fl
}

// rescueFlow boots the ramdisk beside the instance's disk and lets somebody in
// who knows the password.
func rescueFlow(n *Node) flow {
	fl := flow{name: flowRescue, event: "rescue", tidy: true}
	if n.Interfaces["rescue"] == "fake" {
		fl.tidy = false
		return fl
	}
	fl.steps = append(bootRamdisk(states.Rescuing),
		step{name: "wait-agent", state: states.RescueWait, limit: callbackLimit, run: waitAgent},
		step{name: "finalize", state: states.RescueWait, limit: commandLimit, run: finalizeRescue},
		step{name: "hand-over", state: states.Rescuing, run: handOver})
	return fl
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
	unlessFast := func(run func(ctx context.Context, w *work) outcome) func(ctx context.Context, w *work) outcome {
		return func(ctx context.Context, w *work) outcome {
			if w.n.Run.Fast {
				return done()
			}
			return run(ctx, w)
		}
	}
	return []step{
		{name: "prepare", state: st, run: prepareBoot},
		{name: "network", state: st, limit: networkLimit, run: unlessFast(networkProvision)},
		{name: "power-off", state: st, limit: powerLimit, run: unlessFast(powerOff)},
		{name: "boot-device", state: st, limit: powerLimit, run: unlessFast(bootPXE)},
		{name: "power-on", state: st, limit: powerLimit, run: unlessFast(powerOn)},
	}
}

// powerOffAfter and networkClearAfter end the use of a ramdisk, but for fast
// track, which keeps it for the next task.
func powerOffAfter(ctx context.Context, w *work) outcome {
	if w.s.fastTrack(w.n) {
		return done()
	}
	return powerOff(ctx, w)
}

func networkClearAfter(ctx context.Context, w *work) outcome {
	if w.s.fastTrack(w.n) {
		return done()
	}
	return networkClear(ctx, w)
}

// deployFlow is what the node's deploy interface does, with the steps of
// deploy templates and of the request between.
func (s *Service) deployFlow(n *Node) flow {
	d := states.Deploying
	fl := flow{name: flowDeploy, event: "deploying", tidy: true}
	groups := map[string]bool{}
	inBand := false
	for _, st := range n.Run.Steps {
		groups[st.Group] = true
		inBand = inBand || st.inBand()
	}
	add := func(steps ...step) { fl.steps = append(fl.steps, steps...) }
	gap := func(group string, st states.State) {
		if groups[group] {
			add(step{name: "steps-" + group, state: st, limit: cleanLimit, run: hardwareSteps(group)})
		}
	}
	boot := []step{
		{name: "eject", state: d, limit: powerLimit, run: ejectMedia},
		{name: "boot-disk", state: d, limit: powerLimit, run: bootDisk},
		{name: "network-tenant", state: d, limit: networkLimit, run: networkTenant},
	}
	start := step{name: "power-on-instance", state: d, limit: powerLimit, run: powerOn}
	switch n.Interfaces["deploy"] {
	case "fake":
		for _, g := range []string{groupAgent, groupAfterImage, groupBeforeDown, groupDown} {
			gap(g, d)
		}
		add(boot[1], step{name: "power-on", state: d, limit: powerLimit, run: powerOn})
	case "ramdisk":
		add(step{name: "image", state: d, limit: networkLimit, run: resolveRamdisk},
			step{name: "power-off", state: d, limit: powerLimit, run: powerOff},
			step{name: "network-tenant", state: d, limit: networkLimit, run: networkTenant},
			step{name: "boot-device", state: d, limit: powerLimit, run: bootPXEAlways})
		for _, g := range []string{groupAgent, groupAfterImage, groupBeforeDown, groupDown} {
			gap(g, d)
		}
		add(start)
	default: // direct, custom-agent
		image := n.Interfaces["deploy"] != "custom-agent"
		if image {
			add(step{name: "image", state: d, limit: networkLimit, run: resolveImage},
				step{name: "raw-image", state: d, limit: imageLimit, run: rawImage})
		}
		add(bootRamdisk(d)...)
		add(step{name: "wait-agent", state: states.DeployWait, limit: callbackLimit, run: waitAgent})
		if inBand {
			add(step{name: "list-steps", state: states.DeployWait, limit: commandLimit, run: listSteps})
		}
		gap(groupAgent, states.DeployWait)
		if image {
			add(step{name: "write-image", state: states.DeployWait, limit: imageLimit, run: writeImage})
		}
		gap(groupAfterImage, states.DeployWait)
		add(step{name: "bootloader", state: d, limit: commandLimit, run: installBootloader})
		gap(groupBeforeDown, states.DeployWait)
		add(step{name: "shutdown", state: d, limit: shutdownLimit, run: shutdown})
		add(boot...)
		gap(groupDown, d)
		add(start)
	}
	gap(groupBooted, d)
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
	if err := w.s.validateInterface(w.n, nil, "deploy"); err != nil {
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
	reached := func(n *Node) {
		n.PowerState = want
		if want == drivers.PowerOff {
			n.ramdiskGone()
		}
	}
	if p == want {
		return brokenOr(w.save(ctx, reached), done())
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
		if p, err := m.Power(ctx); err == nil && p == want { // many are there at once
			return brokenOr(w.save(ctx, reached), done())
		}
	}
	return again(w.s.cfg.PowerPoll)
}

func bootPXE(ctx context.Context, w *work) outcome {
	if out := insertMedia(ctx, w); out.kind != stepDone {
		return out
	}
	always, _ := w.n.DriverInfo["force_persistent_boot_device"].(string)
	return w.setBootDevice(ctx, w.n.networkDevice(), always == "Always")
}

func bootPXEAlways(ctx context.Context, w *work) outcome {
	if out := insertMedia(ctx, w); out.kind != stepDone {
		return out
	}
	return w.setBootDevice(ctx, w.n.networkDevice(), true)
}

// bootHTTP is the boot interface of UEFI HTTP boot.
const bootHTTP = "http-ipxe"

// networkDevice is what the machine boots its ramdisk from. IPMI has no number
// for HTTP boot (IPMI 2.0, table 28-14): there the firmware's own order decides.
func (n *Node) networkDevice() string {
	if n.usesMedia() {
		return drivers.DeviceCDROM
	}
	if n.Interfaces["boot"] == bootHTTP && n.Interfaces["management"] == "redfish" {
		return drivers.DeviceUEFIHTTP
	}
	return drivers.DevicePXE
}

func bootDisk(ctx context.Context, w *work) outcome {
	return w.setBootDevice(ctx, drivers.DeviceDisk, true)
}

// bootInstance has the machine boot what its instance lives on.
func bootInstance(ctx context.Context, w *work) outcome {
	if w.n.Interfaces["deploy"] == "ramdisk" {
		return bootPXEAlways(ctx, w)
	}
	return bootDisk(ctx, w)
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
