package baremetal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/drivers"
	"github.com/tripleo/tripleo/internal/baremetal/states"
)

// HWStep is one step of a cleaning, a deployment or a servicing as Ironic's API
// describes it. In-band steps (deploy, raid) are commands of the ramdisk's
// agent, the others go to the controller or are the engine's own.
type HWStep struct {
	Interface string         `json:"interface"`
	Step      string         `json:"step"`
	Priority  int            `json:"priority"`
	Args      map[string]any `json:"args,omitempty"`
	Abortable bool           `json:"abortable,omitempty"`
	Group     string         `json:"group,omitempty"` // which of the flow's places it belongs to
}

func (h HWStep) name() string { return h.Interface + "." + h.Step }

// inBand says that the ramdisk's agent runs the step.
func (h HWStep) inBand() bool { return h.Interface == "deploy" || h.Interface == "raid" }

// wire is the step as clean_step, deploy_step and service_step show it.
func (h HWStep) wire() map[string]any {
	m := map[string]any{"interface": h.Interface, "step": h.Step, "priority": h.Priority, "abortable": h.Abortable}
	if len(h.Args) > 0 {
		m["args"] = h.Args
	}
	return m
}

// The steps that are the engine's own, of interface power: Ironic documents
// them as reserved functional steps.
const (
	stepHold     = "hold"
	stepPause    = "wait"
	stepPowerOn  = "power_on"
	stepPowerOff = "power_off"
	stepReboot   = "reboot"
)

const (
	maxSteps    = 100  // of one request or template
	maxWaitStep = 3600 // seconds
)

// wantSteps decodes and checks steps as clients give them; key names the field
// in errors.
func wantSteps(key string, list []map[string]any, priority bool) ([]HWStep, error) {
	if len(list) > maxSteps {
		return nil, api.Invalid("%s has %d steps, at most %d are taken", key, len(list), maxSteps)
	}
	out := make([]HWStep, 0, len(list))
	for i, m := range list {
		b, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		var st HWStep
		if err := json.Unmarshal(b, &st); err != nil {
			return nil, api.Invalid("%s[%d]: expected an object with interface, step and args: %s", key, i, err.Error())
		}
		for k := range m {
			if !has([]string{"interface", "step", "args", "priority", "execute_on_child_nodes", "limit_child_node_execution"}, k) {
				return nil, api.Invalid("%s[%d]: unknown field %q", key, i, k)
			}
		}
		if st.Interface == "" || st.Step == "" {
			return nil, api.Invalid("%s[%d]: interface and step are required", key, i)
		}
		if !has(stepInterfaces(), st.Interface) {
			return nil, api.Invalid("%s[%d]: interface is %q, expected one of %s", key, i, st.Interface, strings.Join(stepInterfaces(), ", "))
		}
		if priority && m["priority"] == nil {
			return nil, api.Invalid("%s[%d]: priority is required", key, i)
		}
		if st.Priority < 0 {
			return nil, api.Invalid("%s[%d]: priority is %d, expected a non-negative number", key, i, st.Priority)
		}
		if v, ok := m["execute_on_child_nodes"]; ok && v != false {
			return nil, api.Invalid("%s[%d]: execute_on_child_nodes: child nodes are cleaned by requests of their own", key, i)
		}
		if _, ok := m["limit_child_node_execution"]; ok {
			return nil, api.Invalid("%s[%d]: limit_child_node_execution chooses among the nodes of execute_on_child_nodes, which is not done: child nodes are cleaned by requests of their own", key, i)
		}
		st.Group, st.Abortable = "", false
		out = append(out, st)
	}
	return out, nil
}

func stepInterfaces() []string {
	return []string{"bios", "deploy", "management", "power", "raid", "vendor"}
}

// checkSteps says what of the steps the node's interfaces cannot do. In-band
// steps are checked against the agent's own list once it runs.
func (n *Node) checkSteps(steps []HWStep, ramdisk bool) error {
	for _, st := range steps {
		have := map[string][]string{
			"power": {stepHold, stepPowerOff, stepPowerOn, stepReboot, stepPause},
		}
		if impl := n.Interfaces["bios"]; impl == "redfish" || impl == "fake" {
			have["bios"] = []string{"apply_configuration", "factory_reset"}
		}
		if n.Interfaces["vendor"] == "ipmitool" {
			have["vendor"] = []string{"send_raw"}
		}
		switch {
		case st.inBand() && !ramdisk:
			return api.Invalid("step %s runs in the ramdisk, which does not boot here (deploy_interface %s, or disable_ramdisk)", st.name(), n.Interfaces["deploy"])
		case st.Interface == "raid" && n.Interfaces["raid"] != "agent":
			return api.Invalid("node %s has no step %s: its raid_interface is %s", n.UUID, st.name(), n.Interfaces["raid"])
		case !st.inBand() && !has(have[st.Interface], st.Step):
			return api.Invalid("node %s has no step %s; its %s_interface %s has: %s", n.UUID, st.name(), st.Interface, n.Interfaces[st.Interface],
				strings.Join(have[st.Interface], ", "))
		}
		if st.Interface == "raid" && st.Step != "delete_configuration" {
			if _, err := n.stepRAID(st); err != nil {
				return err
			}
		}
		if err := st.checkArgs(); err != nil {
			return err
		}
	}
	return nil
}

func (h HWStep) checkArgs() error {
	switch h.name() {
	case "power.wait":
		if v, ok := h.Args["seconds"]; ok {
			if n, isNum := v.(float64); !isNum || n < 0 || n > maxWaitStep {
				return api.Invalid("step power.wait: seconds is %v, expected a number from 0 to %d", v, maxWaitStep)
			}
		}
	case "bios.apply_configuration":
		_, err := biosArgs(h.Args)
		return err
	case "vendor.send_raw":
		_, err := rawBytes(h.Args["raw_bytes"])
		return err
	}
	return nil
}

// biosArgs reads {"settings": [{"name": …, "value": …}]}.
func biosArgs(args map[string]any) (map[string]any, error) {
	list, _ := args["settings"].([]any)
	out := map[string]any{}
	for i, v := range list {
		m, _ := v.(map[string]any)
		name, _ := m["name"].(string)
		value, ok := m["value"]
		if name == "" || !ok {
			return nil, api.Invalid("step bios.apply_configuration: settings[%d] needs name and value", i)
		}
		out[name] = value
	}
	if len(out) == 0 {
		return nil, api.Invalid("step bios.apply_configuration: args needs settings, a list of {name, value}")
	}
	return out, nil
}

// hardwareSteps runs the steps of one group, one after the other; the run
// remembers which is next.
func hardwareSteps(group string) func(ctx context.Context, w *work) outcome {
	return func(ctx context.Context, w *work) outcome {
		r := w.n.Run
		if r.Index >= len(r.Steps) || r.Steps[r.Index].Group != group {
			return done()
		}
		st := r.Steps[r.Index]
		if r.Shown != r.Index+1 {
			return brokenOr(w.save(ctx, func(n *Node) {
				n.Run.Shown = r.Index + 1
				n.showHardwareStep(st)
			}), again(0))
		}
		out := w.hardwareStep(ctx, st)
		switch out.kind {
		case stepFailed:
			return failf("%s step %s: %w", w.stepKind(), st.name(), out.err)
		case stepDone:
			return w.stepEnded(ctx)
		}
		return out
	}
}

// stepEnded moves on to the run's next hardware step.
func (w *work) stepEnded(ctx context.Context) outcome {
	_, i := w.s.find(w.n)
	return brokenOr(w.save(ctx, func(n *Node) {
		r := n.Run
		r.Index++
		r.Last, r.Command, r.Reissued, r.Phase, r.Sent, r.LastTry, r.Released = r.Command, "", 0, "", time.Time{}, "", false
		if i >= 0 {
			if st := w.s.flow(n).steps[i].state; st != "" && st != n.ProvisionState { // after a hold
				n.setState(st, w.s.now())
			}
		}
	}), again(0))
}

// stepKind is the agent's word for the steps of this flow.
func (w *work) stepKind() string {
	switch w.n.Run.Flow {
	case flowDeploy:
		return "deploy"
	case flowService:
		return "service"
	default:
		return "clean"
	}
}

func (w *work) hardwareStep(ctx context.Context, st HWStep) outcome {
	switch {
	case w.n.Run.Phase != "":
		return w.rebootPhase(ctx)
	case st.inBand() && w.n.usesRamdisk():
		return w.inBandStep(ctx, st)
	case st.Interface == "power":
		return w.powerStep(ctx, st)
	case st.Interface == "bios":
		return w.biosStep(ctx, st)
	case st.name() == "vendor.send_raw":
		netFn, cmd, data, err := rawCommand(st.Args["raw_bytes"])
		if err != nil {
			return failed(err)
		}
		return w.ask(ctx, func(ctx context.Context, m drivers.Machine) error {
			return drivers.Ask(ctx, m, "raw command", func(ctx context.Context, r drivers.Raw) error {
				_, err := r.RawCommand(ctx, netFn, cmd, data)
				return err
			})
		})
	default:
		return failf("there is no such step")
	}
}

// ask runs an operation of the controller as a step.
func (w *work) ask(ctx context.Context, fn func(ctx context.Context, m drivers.Machine) error) outcome {
	m, err := w.machine()
	if err != nil {
		return failed(err)
	}
	if err := fn(ctx, m); err != nil {
		return w.bmcTrouble(ctx, err)
	}
	return done()
}

// inBandStep has the agent run the step.
func (w *work) inBandStep(ctx context.Context, st HWStep) outcome {
	ports, err := w.s.ports(ctx, w.n.UUID)
	if err != nil {
		return broken(err)
	}
	kind := w.stepKind()
	cmd, out := w.command(ctx, kind+".execute_"+kind+"_step", func() (map[string]any, error) {
		node := w.n.forAgent()
		if st.Interface == "raid" && st.Step != "delete_configuration" {
			conf, err := w.n.stepRAID(st)
			if err != nil {
				return nil, err
			}
			if node["target_raid_config"] = conf; st.Step == "apply_configuration" {
				st.Args = maps.Clone(st.Args)
				st.Args["raid_config"] = conf
			}
		}
		return map[string]any{"step": st.wire(), "node": node, "ports": ports, kind + "_version": w.n.Run.Version}, nil
	})
	if out.kind == stepDone && st.Interface == "raid" {
		if err := w.noteRAID(ctx, cmd.Result); err != nil {
			return broken(err)
		}
	}
	return out
}

func (w *work) powerStep(ctx context.Context, st HWStep) outcome {
	now := w.s.now()
	switch st.Step {
	case stepHold:
		if w.n.Run.Released {
			return done()
		}
		if to, ok := states.Next(w.n.ProvisionState, states.Hold); ok {
			if err := w.save(ctx, func(n *Node) { n.setState(to, now) }); err != nil {
				return broken(err)
			}
		}
		return again(time.Hour) // unhold wakes the job
	case stepPause:
		if w.n.Run.Sent.IsZero() {
			return brokenOr(w.save(ctx, func(n *Node) { n.Run.Sent = now }), again(0))
		}
		sec, timed := st.Args["seconds"].(float64)
		if !timed { // until the ramdisk is heard of again
			if w.n.Run.Heartbeat.After(w.n.Run.Sent) || !w.n.ramdiskRuns() {
				return done()
			}
			return again(time.Minute)
		}
		if left := w.n.Run.Sent.Add(time.Duration(sec * float64(time.Second))).Sub(now); left > 0 {
			return again(left)
		}
		return done()
	case stepPowerOff:
		return powerOff(ctx, w)
	case stepPowerOn:
		return powerOn(ctx, w)
	default: // stepReboot
		return w.startReboot(ctx)
	}
}

func (w *work) biosStep(ctx context.Context, st HWStep) outcome {
	out := w.ask(ctx, func(ctx context.Context, m drivers.Machine) error {
		return drivers.Ask(ctx, m, "BIOS settings", func(ctx context.Context, c drivers.Configurer) error {
			if st.Step == "factory_reset" {
				return c.ResetBIOSSettings(ctx)
			}
			settings, err := biosArgs(st.Args)
			if err != nil {
				return err
			}
			return c.SetBIOSSettings(ctx, settings)
		})
	})
	if out.kind != stepDone {
		return out
	}
	return w.startReboot(ctx)
}

// The phases of a reboot within a step.
const (
	phaseOff  = "off"
	phaseOn   = "on"
	phaseWait = "wait"
)

// startReboot restarts the machine within a step, into the ramdisk if it ran
// there, and goes on when that has called back.
func (w *work) startReboot(ctx context.Context) outcome {
	return brokenOr(w.save(ctx, func(n *Node) {
		n.Run.Phase, n.Run.Sent, n.Run.LastTry = phaseOff, time.Time{}, ""
		if n.ramdiskRuns() {
			n.expectRamdisk()
		}
	}), again(0))
}

func (w *work) rebootPhase(ctx context.Context) outcome {
	next := func(phase string) outcome {
		return brokenOr(w.save(ctx, func(n *Node) { n.Run.Phase, n.Run.Sent, n.Run.LastTry = phase, time.Time{}, "" }), again(0))
	}
	switch w.n.Run.Phase {
	case phaseOff:
		if out := powerOff(ctx, w); out.kind != stepDone {
			return out
		}
		if w.n.ramdiskRuns() {
			if out := bootPXE(ctx, w); out.kind != stepDone {
				return out
			}
		}
		return next(phaseOn)
	case phaseOn:
		if out := powerOn(ctx, w); out.kind != stepDone {
			return out
		}
		return next(phaseWait)
	default:
		if w.n.ramdiskRuns() && w.n.Run.Heartbeat.IsZero() {
			return again(time.Minute) // the heartbeat wakes the job
		}
		w.s.cacheBIOS(ctx, w.n, w.log)
		return done()
	}
}

// usesRamdisk says that the run boots the ramdisk.
func (n *Node) usesRamdisk() bool {
	return n.Interfaces["deploy"] != "fake" && n.Interfaces["deploy"] != "ramdisk" && (n.Run == nil || !n.Run.NoRamdisk)
}

// ramdiskRuns says that the ramdisk runs at the run's present hardware step: a
// deployment's last steps come after its end, when the machine is the instance's.
func (n *Node) ramdiskRuns() bool {
	if !n.usesRamdisk() {
		return false
	}
	if r := n.Run; r != nil && r.Index < len(r.Steps) {
		return r.Steps[r.Index].Group != groupDown && r.Steps[r.Index].Group != groupBooted
	}
	return true
}

// listSteps asks the ramdisk's agent for its steps: an automated cleaning runs
// those with a priority, a manual one is checked against them.
func listSteps(ctx context.Context, w *work) outcome {
	ports, err := w.s.ports(ctx, w.n.UUID)
	if err != nil {
		return broken(err)
	}
	kind := w.stepKind()
	cmd, out := w.command(ctx, kind+".get_"+kind+"_steps", func() (map[string]any, error) {
		return map[string]any{"node": w.n.forAgent(), "ports": ports}, nil
	})
	if out.kind != stepDone {
		return out
	}
	known, version, err := agentSteps(cmd.Result, kind)
	if err != nil {
		return failed(err)
	}
	steps := w.n.Run.Steps
	if kind == "clean" && !w.n.Run.Manual {
		steps = w.s.automatedSteps(known)
	} else if steps, err = matchSteps(steps, known, kind); err != nil {
		return failed(err)
	}
	return brokenOr(w.save(ctx, func(n *Node) { n.Run.Version, n.Run.Steps = version, steps }), done())
}

// agentSteps reads the answer of get_<kind>_steps: the steps of each hardware
// manager, and the managers' versions.
func agentSteps(result any, kind string) (steps []HWStep, version any, err error) {
	b, err := json.Marshal(result)
	if err != nil {
		return nil, nil, err
	}
	var doc struct {
		Clean   map[string][]HWStep `json:"clean_steps"`
		Deploy  map[string][]HWStep `json:"deploy_steps"`
		Service map[string][]HWStep `json:"service_steps"`
		Version map[string]any      `json:"hardware_manager_version"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, nil, fmt.Errorf("the agent's list of %s steps is not understood: %w", kind, err)
	}
	for _, m := range []map[string][]HWStep{doc.Clean, doc.Deploy, doc.Service} {
		for _, list := range m {
			steps = append(steps, list...)
		}
	}
	if len(steps) > 10*maxSteps {
		return nil, nil, errors.New("the agent lists too many steps")
	}
	if doc.Version == nil {
		doc.Version = map[string]any{}
	}
	slices.SortStableFunc(steps, func(a, b HWStep) int { return cmp.Compare(a.name(), b.name()) })
	return steps, doc.Version, nil
}

// automatedSteps are the steps of an automated cleaning: those that have a
// priority after the operator's changes to it, the highest first.
func (s *Service) automatedSteps(known []HWStep) []HWStep {
	var out []HWStep
	for _, st := range known {
		if p, ok := s.cfg.CleanPriority[st.name()]; ok {
			st.Priority = p
		}
		if st.Priority > 0 && st.inBand() {
			st.Group = groupAgent
			out = append(out, st)
		}
	}
	slices.SortStableFunc(out, func(a, b HWStep) int { return cmp.Compare(b.Priority, a.Priority) })
	return out
}

// matchSteps checks asked in-band steps against those the agent has.
func matchSteps(asked, known []HWStep, kind string) ([]HWStep, error) {
	out := slices.Clone(asked)
	for i, st := range out {
		if !st.inBand() {
			continue
		}
		k := slices.IndexFunc(known, func(h HWStep) bool { return h.name() == st.name() })
		if k < 0 {
			var names []string
			for _, h := range known {
				names = append(names, h.name())
			}
			return nil, fmt.Errorf("the ramdisk has no %s step %s; it has: %s", kind, st.name(), strings.Join(names, ", "))
		}
		out[i].Abortable = known[k].Abortable
	}
	return out, nil
}

// Groups: where in a flow hardware steps run. groupAgent is while the agent
// runs; the others are the gaps between the core steps of a deployment, whose
// priorities Ironic documents: write_image 80, prepare_instance_boot 60,
// tear_down_agent 40, switch_to_tenant_network 30, boot_instance 20.
const (
	groupAgent      = "agent"
	groupAfterImage = "after-image"
	groupBeforeDown = "before-tear-down"
	groupDown       = "down"
	groupBooted     = "booted"
)

// placeDeploySteps sorts the steps of a deployment by priority and gives each
// its place.
func placeDeploySteps(steps []HWStep) ([]HWStep, error) {
	var out []HWStep
	for _, st := range steps {
		if st.Priority == 0 {
			continue // switched off, as Ironic has it
		}
		switch {
		case st.Priority > 80:
			st.Group = groupAgent
		case st.Priority > 60:
			st.Group = groupAfterImage
		case st.Priority > 40:
			st.Group = groupBeforeDown
		case st.Priority > 20:
			st.Group = groupDown
		default:
			st.Group = groupBooted
		}
		if st.inBand() && st.Priority <= 40 {
			return nil, api.Invalid("deploy step %s: priority is %d, but the ramdisk is gone after 40 (tear_down_agent)", st.name(), st.Priority)
		}
		out = append(out, st)
	}
	slices.SortStableFunc(out, func(a, b HWStep) int { return cmp.Compare(b.Priority, a.Priority) })
	return out, nil
}

// showHardwareStep sets the field by which clients follow.
func (n *Node) showHardwareStep(st HWStep) {
	switch n.Run.Flow {
	case flowDeploy:
		n.DeployStep = st.wire()
	case flowService:
		n.ServiceStep = st.wire()
	default:
		n.CleanStep = st.wire()
	}
}
