package ipmi

import (
	"context"
	"fmt"
	"sync"

	"github.com/bougou/go-ipmi/pkg/hal"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/tripleo/tripleo/internal/lab/bmc"
)

// hardware is go-ipmi's view of a machine: a chassis, its FRU and its SDR.
type hardware struct {
	sys     bmc.System
	storage *mock.Storage // in-memory FRU and SDR stores
	line    bmc.SerialLine

	mu    sync.Mutex
	ack   types.BootOptionParam_BootInfoAcknowledge
	flags types.BootOptionParam_BootFlags // as last set; device and persistence are the machine's
}

// newHardware fills the inventory a client can read: product FRU and one SDR.
func newHardware(sys bmc.System, line bmc.SerialLine) (*hardware, error) {
	hw := &hardware{sys: sys, storage: &mock.Storage{}, line: line}
	info := sys.Info()
	fru, err := types.PackFRU(types.FRUPackConfig{Product: &types.FRUPackProduct{
		Manufacturer: info.Manufacturer, Name: info.Product, Version: "1", Serial: info.Serial,
	}})
	if err != nil {
		return nil, fmt.Errorf("ipmi: pack FRU: %w", err)
	}
	ctx := context.Background()
	if err := hw.storage.FRU().Write(ctx, 0, fru); err != nil {
		return nil, fmt.Errorf("ipmi: store FRU: %w", err)
	}
	sdr := types.PackMCLocator(types.MCLocatorPackOpts{RecordID: 1, Name: "BMC"})
	if err := hw.storage.SDR().Write(ctx, 1, sdr); err != nil {
		return nil, fmt.Errorf("ipmi: store SDR: %w", err)
	}
	return hw, nil
}

func (h *hardware) Chassis() hal.ChassisHAL { return h }
func (h *hardware) Sensors() hal.SensorHAL  { return nil }
func (h *hardware) Storage() hal.StorageHAL { return h.storage }
func (h *hardware) Network() hal.NetworkHAL { return nil }
func (h *hardware) GPIO() hal.GPIOHAL       { return nil }
func (h *hardware) I2C() hal.I2CHAL         { return nil }
func (h *hardware) Close() error            { return nil }

// Console is nil without a serial line: the payload is disabled then.
func (h *hardware) Console() hal.ConsoleHAL {
	if h.line == nil {
		return nil
	}
	return serial{h.sys, h.line}
}

// control carries out Chassis Control (IPMI v2.0, table 28-4).
func (h *hardware) control(req []byte) types.CompletionCode {
	if len(req) < 1 {
		return types.CodeRequestDataTruncated
	}
	actions := [...]bmc.Action{bmc.Off, bmc.On, bmc.Cycle, bmc.Reset, bmc.NMI, bmc.Soft}
	n := int(req[0] & 0x0f)
	if n >= len(actions) {
		return types.CodeParameterOutOfRange
	}
	if err := h.sys.Power(actions[n]); err != nil { //nolint:gosec // n was compared with the length just before
		// D5h: command not supported in present state.
		return types.CompletionCode(0xd5)
	}
	return types.CodeOK
}

func (h *hardware) PowerState(context.Context) (bool, error) { return h.sys.PoweredOn(), nil }

func (h *hardware) SetPower(_ context.Context, on bool) error {
	if on {
		return h.sys.Power(bmc.On)
	}
	return h.sys.Power(bmc.Off)
}

func (h *hardware) PowerCycle(context.Context) error      { return h.sys.Power(bmc.Cycle) }
func (h *hardware) ColdReset(context.Context) error       { return h.sys.Power(bmc.Reset) }
func (h *hardware) WarmReset(context.Context) error       { return h.sys.Power(bmc.Soft) }
func (h *hardware) Identify(context.Context, uint8) error { return nil }

func (h *hardware) IntrusionState(context.Context) (bool, error) { return false, hal.ErrNotSupported }

// SetBootFlags takes over the boot device, its persistence and the boot type.
func (h *hardware) SetBootFlags(_ context.Context, f *types.BootOptionParam_BootFlags) error {
	b := bmc.BootOverride{Persistent: f.Persist, UEFI: bool(f.BIOSBootType)}
	switch {
	case !f.BootFlagsValid:
		b.Device = bmc.NoDevice
	case f.BootDeviceSelector == types.BootDeviceSelectorNoOverride:
		b.Device = bmc.NoDevice
	case f.BootDeviceSelector == types.BootDeviceSelectorForcePXE:
		b.Device = bmc.PXE
	case f.BootDeviceSelector == types.BootDeviceSelectorForceHardDrive,
		f.BootDeviceSelector == types.BootDeviceSelectorForceHardDriveSafe:
		b.Device = bmc.Disk
	case f.BootDeviceSelector == types.BootDeviceSelectorForceCDROM:
		b.Device = bmc.CDROM
	case f.BootDeviceSelector == types.BootDeviceSelectorForceBIOSSetup:
		b.Device = bmc.Setup
	default:
		return hal.ErrNotSupported
	}
	if err := h.sys.SetBoot(b); err != nil {
		return err
	}
	h.mu.Lock()
	h.flags = *f
	h.mu.Unlock()
	return nil
}

// GetBootFlags reads the override in force: a one-time override that a boot
// used up is gone.
func (h *hardware) GetBootFlags(context.Context) (*types.BootOptionParam_BootFlags, error) {
	h.mu.Lock()
	f := h.flags
	h.mu.Unlock()
	b := h.sys.Boot()
	f.Persist, f.BIOSBootType = b.Persistent, types.BIOSBootType(b.UEFI)
	f.BootFlagsValid = b.Device != bmc.NoDevice
	switch b.Device {
	case bmc.PXE, bmc.HTTP: // IPMI knows one kind of network
		f.BootDeviceSelector = types.BootDeviceSelectorForcePXE
	case bmc.Disk:
		f.BootDeviceSelector = types.BootDeviceSelectorForceHardDrive
	case bmc.CDROM:
		f.BootDeviceSelector = types.BootDeviceSelectorForceCDROM
	case bmc.Setup:
		f.BootDeviceSelector = types.BootDeviceSelectorForceBIOSSetup
	case bmc.NoDevice:
		f.BootDeviceSelector = types.BootDeviceSelectorNoOverride
	}
	return &f, nil
}

func (h *hardware) SetBootInfoAcknowledge(_ context.Context, ack *types.BootOptionParam_BootInfoAcknowledge) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ack = *ack
	return nil
}

func (h *hardware) GetBootInfoAcknowledge(context.Context) (*types.BootOptionParam_BootInfoAcknowledge, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ack := h.ack
	return &ack, nil
}
