package ramdisk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/tripleo/tripleo/internal/agent/disk"
	"github.com/tripleo/tripleo/internal/agent/hardware"
)

// The hardware manager the steps are announced under; the names are the original's, Ironic shows them.
const (
	managerName    = "generic_hardware_manager"
	managerClass   = "GenericHardwareManager"
	managerVersion = "1.3"
)

var errVersionMismatch = errors.New("the agent's hardware managers changed since the steps were listed")

// step is a clean or deploy step as Ironic reads it.
type step struct {
	Step      string         `json:"step"`
	Priority  int            `json:"priority"`
	Interface string         `json:"interface"`
	Reboot    bool           `json:"reboot_requested"`
	Abortable bool           `json:"abortable"`
	Args      map[string]any `json:"argsinfo,omitempty"`
}

// The steps. Priorities are the original's: erase_devices_metadata before erase_devices, which operators switch
// off by Ironic's own priority override; write_image only runs when it is asked for.
func cleanSteps() []step {
	return []step{
		{Step: "erase_devices", Priority: 10, Interface: "deploy", Abortable: true},
		{Step: "erase_devices_metadata", Priority: 99, Interface: "deploy", Abortable: true},
		{Step: "erase_devices_express", Priority: 0, Interface: "deploy", Abortable: true},
		{Step: stepDeleteRAID, Priority: 0, Interface: "raid"},
		{Step: stepCreateRAID, Priority: 0, Interface: "raid"},
	}
}

func deploySteps() []step {
	return []step{
		{Step: "write_image", Priority: 0, Interface: "deploy", Args: map[string]any{
			"image_info":  map[string]any{"description": "the image as Ironic describes it to standby.prepare_image", "required": true},
			"configdrive": map[string]any{"description": "base64 of a gzipped file system image, or its URL", "required": false},
		}},
		{Step: "erase_devices_metadata", Priority: 0, Interface: "deploy"},
		{Step: stepApplyRAID, Priority: 0, Interface: "raid", Args: map[string]any{
			"raid_config":     map[string]any{"description": "the RAID configuration to apply, as target_raid_config", "required": true},
			"delete_existing": map[string]any{"description": "whether to delete the software RAID that is there first; true if not given", "required": false},
		}},
	}
}

func managers() map[string]string { return map[string]string{managerName: managerVersion} }

// stepParams are the parameters of every command about steps.
type stepParams struct {
	Step struct {
		Step string          `json:"step"`
		Args json.RawMessage `json:"args"`
	} `json:"step"`
	RawStep        json.RawMessage   `json:"-"`
	Node           Node              `json:"node"`
	CleanVersion   map[string]string `json:"clean_version"`
	DeployVersion  map[string]string `json:"deploy_version"`
	ServiceVersion map[string]string `json:"service_version"`
}

func (a *agent) stepParams(c call) (stepParams, error) {
	var p stepParams
	if err := c.decode(&p); err != nil {
		return p, err
	}
	var raw struct {
		Step json.RawMessage `json:"step"`
	}
	if err := c.decode(&raw); err != nil {
		return p, err
	}
	p.RawStep = raw.Step
	a.setNode(p.Node)
	for _, v := range []map[string]string{p.CleanVersion, p.DeployVersion, p.ServiceVersion} {
		if have, ok := v[managerName]; ok && have != managerVersion {
			return p, commandErr("VersionMismatch", http.StatusBadRequest, "Hardware managers version mismatch",
				fmt.Errorf("%w: %s is %s here, %s was given", errVersionMismatch, managerName, managerVersion, have))
		}
	}
	return p, nil
}

// listSteps answers get_<kind>_steps. The steps of kind service, which are done to a machine that carries an instance,
// are those of a deployment: nothing that takes its disks away by itself, hence no step has a priority.
func (a *agent) listSteps(kind string) commandFunc {
	return func(_ context.Context, c call) (any, error) {
		if _, err := a.stepParams(c); err != nil {
			return nil, err
		}
		steps := deploySteps()
		if kind == "clean" {
			steps = cleanSteps()
		}
		steps = slices.DeleteFunc(steps, func(s step) bool {
			return s.Interface == "raid" && (a.o.Arrays == nil || kind == "service")
		})
		return map[string]any{kind + "_steps": map[string]any{managerClass: steps}, "hardware_manager_version": managers()}, nil
	}
}

// executeStep answers execute_<kind>_step.
func (a *agent) executeStep(kind string) commandFunc {
	return func(ctx context.Context, c call) (any, error) {
		p, err := a.stepParams(c)
		if err != nil {
			return nil, err
		}
		result, err := a.runStep(ctx, p, c, kind)
		if err != nil {
			return nil, err
		}
		return map[string]any{kind + "_result": result, kind + "_step": p.RawStep}, nil
	}
}

func (a *agent) runStep(ctx context.Context, p stepParams, c call, kind string) (any, error) {
	switch name := p.Step.Step; {
	case name == "erase_devices_metadata":
		return nil, a.eachDisk(func(d disk.Device, _ int) error { return disk.EraseMetadata(d) })
	case name == "erase_devices_express" && kind == "clean":
		return nil, a.eachDisk(func(d disk.Device, _ int) error { return disk.EraseExpress(d) })
	case name == "erase_devices" && kind == "clean":
		n := max(len(hardware.Disks(a.o.Sources.Sys, a.o.Sources.Dev)), 1)
		return nil, a.eachDisk(func(d disk.Device, i int) error {
			return a.erase(ctx, d, func(percent int) { c.progress((100*i + percent) / n) })
		})
	case name == stepDeleteRAID && kind == "clean":
		return nil, a.deleteRAID()
	case name == stepCreateRAID && kind == "clean":
		return a.createRAID(p.Node.TargetRAID, p.Step.Args, false)
	case name == stepApplyRAID && kind == "deploy":
		return a.applyRAID(p.Step.Args)
	case name == "write_image" && kind != "clean":
		return a.prepareImage(ctx, call{params: p.Step.Args, progress: c.progress})
	default:
		return nil, commandErr("HardwareManagerMethodNotFound", http.StatusBadRequest, "No HardwareManager found to handle method",
			fmt.Errorf("there is no %s step %q", kind, name))
	}
}

// erase has a disk erase itself where it can, and overwrites it otherwise: also when it refuses, because a disk that is
// overwritten is better than one that is not.
func (a *agent) erase(ctx context.Context, d disk.Device, progress func(percent int)) error {
	how, err := disk.SelfErase(d)
	if err == nil {
		a.log.Info("the disk has erased itself", "disk", d.Path(), "how", how)
		return disk.EraseMetadata(d)
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		a.log.Warn("the disk did not erase itself and is overwritten", "disk", d.Path(), "err", err)
	}
	return disk.Erase(ctx, d, progress)
}

// eachDisk does something to every disk of the machine and goes on after an error: an erased disk less is
// better than none. Of a software RAID the array is done, not its members: what it is made of is kept until
// delete_configuration, as with ironic-python-agent.
func (a *agent) eachDisk(f func(d disk.Device, i int) error) error {
	a.mu.Lock()
	a.cached, a.cachedDisk, a.layout = "", "", disk.Layout{}
	a.mu.Unlock()
	var failed []error
	for i, d := range hardware.Disks(a.o.Sources.Sys, a.o.Sources.Dev) {
		if len(d.Holders) > 0 {
			a.log.Info("disk left as it is", "disk", d.Name, "part_of", d.Holders)
			continue
		}
		dev, err := a.o.OpenDisk(d.Name)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", d.Name, err))
			continue
		}
		if err := errors.Join(f(dev, i), dev.Close()); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", d.Name, err))
			continue
		}
		a.log.Info("disk erased", "disk", d.Name)
	}
	if err := errors.Join(failed...); err != nil {
		return commandErr("BlockDeviceEraseError", http.StatusInternalServerError, "Error erasing block device", err)
	}
	return nil
}

func (a *agent) collectSystemLogs(context.Context, call) (any, error) {
	logs, err := a.bundle()
	if err != nil {
		return nil, err
	}
	return map[string]any{"system_logs": logs}, nil
}

func (a *agent) getHardwareInfo(context.Context, call) (any, error) {
	return map[string]any{"hardware_info": hardware.Collect(a.o.Sources)}, nil
}

func (a *agent) setNodeInfo(_ context.Context, c call) (any, error) {
	var p struct {
		NodeInfo struct {
			Node Node `json:"node"`
		} `json:"node_info"`
	}
	if err := c.decode(&p); err != nil {
		return nil, err
	}
	a.setNode(p.NodeInfo.Node)
	return "node information stored", nil
}
