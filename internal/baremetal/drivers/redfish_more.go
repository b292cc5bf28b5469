package drivers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stmcginnis/gofish/schemas"
)

// InjectNMI resets the machine by its type "Nmi" (DSP0268, ComputerSystem.Reset).
func (s *redfishSession) InjectNMI(ctx context.Context) error {
	sys, err := s.get(ctx)
	if err != nil {
		return err
	}
	_, err = sys.Reset(schemas.NmiResetType)
	return s.info.wrap("inject NMI", err)
}

// ResetController restarts the manager of the system.
func (s *redfishSession) ResetController(ctx context.Context, warm bool) error {
	sys, err := s.get(ctx)
	if err != nil {
		return err
	}
	list, err := sys.ManagedBy()
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("the system names no manager: %w", ErrUnsupported)
	}
	if err != nil {
		return s.info.wrap("read the managers", err)
	}
	kind := schemas.ForceRestartResetType
	if warm {
		kind = schemas.GracefulRestartResetType
	}
	_, err = list[0].Reset(kind)
	return s.info.wrap("reset the manager", err)
}

// BIOSSettings reads the attributes of the firmware and, where the service has
// a registry for them, their types and bounds.
func (s *redfishSession) BIOSSettings(ctx context.Context) ([]BIOSSetting, error) {
	bios, err := s.bios(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]schemas.Attributes{}
	for _, a := range s.registry(ctx, bios.AttributeRegistry) {
		known[a.AttributeName] = a
	}
	var out []BIOSSetting
	for _, name := range slices.Sorted(maps.Keys(bios.Attributes)) {
		b := BIOSSetting{Name: name, Value: bios.Attributes[name], AllowableValues: []string{}}
		if a, ok := known[name]; ok {
			b.describe(a)
		}
		out = append(out, b)
	}
	return out, nil
}

// describe copies what the registry says of an attribute.
func (b *BIOSSetting) describe(a schemas.Attributes) {
	b.AttributeType, b.ReadOnly, b.ResetRequired, b.Unique = string(a.Type), a.ReadOnly, a.ResetRequired, a.IsSystemUniqueProperty
	for _, v := range a.Value {
		b.AllowableValues = append(b.AllowableValues, v.ValueName)
	}
	switch a.Type {
	case schemas.IntegerAttributeType:
		if a.LowerBound != nil {
			b.LowerBound = *a.LowerBound
		}
		if a.UpperBound != nil {
			b.UpperBound = *a.UpperBound
		}
	case schemas.StringAttributeType, schemas.PasswordAttributeType:
		if a.MinLength != nil {
			b.MinLength = *a.MinLength
		}
		if a.MaxLength != nil {
			b.MaxLength = *a.MaxLength
		}
	}
	if a.Type == schemas.PasswordAttributeType {
		b.Value = nil
	}
}

func (s *redfishSession) bios(ctx context.Context) (*schemas.Bios, error) {
	sys, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	bios, err := sys.Bios()
	if err == nil && bios == nil {
		err = fmt.Errorf("the system has no Bios resource: %w", ErrUnsupported)
	}
	return bios, s.info.wrap("read the BIOS settings", err)
}

// registry returns the attributes that a registry describes; none when the
// service does not have it, as many do not.
func (s *redfishSession) registry(ctx context.Context, name string) []schemas.Attributes {
	if name == "" {
		return nil
	}
	files, err := s.api.WithContext(ctx).Service.Registries()
	if err != nil {
		return nil
	}
	for _, f := range files {
		if f.ID != name && !strings.HasPrefix(f.Registry, name) {
			continue
		}
		for _, l := range f.Location {
			if l.URI == "" || l.Language != "" && !strings.HasPrefix(l.Language, "en") {
				continue
			}
			if reg, err := schemas.GetAttributeRegistry(s.api.WithContext(ctx), l.URI); err == nil {
				return reg.RegistryEntries.Attributes
			}
		}
	}
	return nil
}

// SetBIOSSettings makes settings pending until the next reset.
func (s *redfishSession) SetBIOSSettings(ctx context.Context, settings map[string]any) error {
	bios, err := s.bios(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if _, ok := bios.Attributes[name]; !ok {
			return fmt.Errorf("redfish %s: %w: there is no BIOS setting %q", s.info.address, ErrConfig, name)
		}
	}
	return s.info.wrap("change the BIOS settings", bios.UpdateBiosAttributes(settings))
}

// ResetBIOSSettings makes the factory's settings pending until the next reset.
func (s *redfishSession) ResetBIOSSettings(ctx context.Context) error {
	bios, err := s.bios(ctx)
	if err != nil {
		return err
	}
	_, err = bios.ResetBios()
	return s.info.wrap("reset the BIOS settings", err)
}

// BootState reads boot mode and Secure Boot.
func (s *redfishSession) BootState(ctx context.Context) (string, *bool, error) {
	d, err := s.BootDevice(ctx)
	if err != nil {
		return "", nil, err
	}
	sys, err := s.get(ctx)
	if err != nil {
		return "", nil, err
	}
	sb, err := sys.SecureBoot()
	if err != nil || sb == nil {
		return d.Mode, nil, nil //nolint:nilerr // a service without Secure Boot is a common one
	}
	on := sb.SecureBootEnable
	return d.Mode, &on, nil
}

// SetBootMode keeps the boot device and changes its mode.
func (s *redfishSession) SetBootMode(ctx context.Context, mode string) error {
	d, err := s.BootDevice(ctx)
	if err != nil {
		return err
	}
	if d.Mode == "" {
		return fmt.Errorf("redfish %s: the service tells no boot mode: %w", s.info.address, ErrUnsupported)
	}
	d.Mode = mode
	return s.SetBootDevice(ctx, d)
}

// SetSecureBoot takes effect at the next boot.
func (s *redfishSession) SetSecureBoot(ctx context.Context, on bool) error {
	sys, err := s.get(ctx)
	if err != nil {
		return err
	}
	sb, err := sys.SecureBoot()
	if err == nil && sb == nil {
		err = ErrUnsupported
	}
	if err != nil {
		return s.info.wrap("read the SecureBoot resource", err)
	}
	sb.SecureBootEnable = on
	return s.info.wrap("change Secure Boot", sb.Update())
}

// Indicators lists the location lights of the system and of its chassis.
//
//nolint:staticcheck // IndicatorLED is deprecated, but all that older services have
func (s *redfishSession) Indicators(ctx context.Context) ([]Indicator, error) {
	sys, err := s.get(ctx)
	if err != nil {
		return nil, err
	}
	var out []Indicator
	if i, ok := indicator("system", sys.ID, sys.IndicatorLED, sys.LocationIndicatorActive); ok {
		out = append(out, i)
	}
	list, err := sys.Chassis()
	if err != nil {
		return nil, s.info.wrap("read the chassis", err)
	}
	for _, c := range list {
		if i, ok := indicator("chassis", c.ID, c.IndicatorLED, c.LocationIndicatorActive); ok {
			out = append(out, i)
		}
	}
	return out, nil
}

func indicator(component, id string, led schemas.IndicatorLED, active *bool) (Indicator, bool) {
	i := Indicator{Component: component, ID: id, State: IndicatorUnknown, Settable: []string{IndicatorOff, IndicatorOn}}
	switch {
	case led == schemas.LitIndicatorLED:
		i.State = IndicatorOn
	case led == schemas.OffIndicatorLED:
		i.State = IndicatorOff
	case led == schemas.BlinkingIndicatorLED:
		i.State = IndicatorBlinking
	case active != nil && *active:
		i.State = IndicatorOn
	case active != nil:
		i.State = IndicatorOff
	case led == "":
		return i, false
	}
	if led != "" {
		i.Settable = append(i.Settable, IndicatorBlinking)
	}
	return i, true
}

// SetIndicator switches a light.
//
//nolint:staticcheck // IndicatorLED is deprecated, but all that older services have
func (s *redfishSession) SetIndicator(ctx context.Context, component, id, state string) error {
	sys, err := s.get(ctx)
	if err != nil {
		return err
	}
	led := map[string]schemas.IndicatorLED{IndicatorOn: schemas.LitIndicatorLED, IndicatorOff: schemas.OffIndicatorLED,
		IndicatorBlinking: schemas.BlinkingIndicatorLED}[state]
	on := state != IndicatorOff
	if component == "system" && id == sys.ID {
		if sys.IndicatorLED != "" {
			sys.IndicatorLED = led
		} else {
			sys.LocationIndicatorActive = &on
		}
		return s.info.wrap("switch the indicator", sys.Update())
	}
	list, err := sys.Chassis()
	if err != nil {
		return s.info.wrap("read the chassis", err)
	}
	for _, c := range list {
		if component == "chassis" && c.ID == id {
			if c.IndicatorLED != "" {
				c.IndicatorLED = led
			} else {
				c.LocationIndicatorActive = &on
			}
			return s.info.wrap("switch the indicator", c.Update())
		}
	}
	return fmt.Errorf("%w: there is no indicator %s of component %s", ErrConfig, id, component)
}

// Hardware reads processors, memory, disks and network cards.
func (s *redfishSession) Hardware(ctx context.Context) (HardwareInfo, error) {
	sys, err := s.get(ctx)
	if err != nil {
		return HardwareInfo{}, err
	}
	h := HardwareInfo{Manufacturer: sys.Manufacturer, Model: sys.Model, Serial: sys.SerialNumber, CPUModel: sys.ProcessorSummary.Model}
	if gib := sys.MemorySummary.TotalSystemMemoryGiB; gib != nil {
		h.MemoryMB = int(*gib * 1024)
	}
	cpus, err := sys.Processors()
	if err != nil {
		return h, s.info.wrap("read the processors", err)
	}
	for _, c := range cpus {
		if c.ProcessorType != "" && c.ProcessorType != schemas.CPUProcessorType {
			continue
		}
		switch {
		case c.TotalThreads != nil:
			h.CPUs += *c.TotalThreads
		case c.TotalCores != nil:
			h.CPUs += *c.TotalCores
		default:
			h.CPUs++
		}
		if h.CPUModel == "" {
			h.CPUModel = c.Model
		}
		if a := redfishArch(string(c.ProcessorArchitecture), string(c.InstructionSet)); a != "" {
			h.Arch = a
		}
	}
	if h.Disks, err = redfishDisks(sys); err != nil {
		return h, s.info.wrap("read the storage", err)
	}
	nics, err := sys.EthernetInterfaces()
	if err != nil {
		return h, s.info.wrap("read the network cards", err)
	}
	for _, n := range nics {
		mac := n.MACAddress
		if mac == "" {
			mac = n.PermanentMACAddress
		}
		card := HardwareNIC{Name: n.ID, MAC: strings.ToLower(mac)}
		if n.LinkStatus != "" {
			up := n.LinkStatus == schemas.LinkUpLinkStatus
			card.Carrier = &up
		}
		h.NICs = append(h.NICs, card)
	}
	d, err := s.BootDevice(ctx)
	h.BootMode = d.Mode
	return h, err
}

// redfishArch is the architecture as the kernel calls it, "" if the controller
// does not tell it. An instruction set x86 is the one of 32 bits (DSP0268,
// Processor); the architecture x86 by itself is every server's of today, and
// Ironic takes it for x86_64 too.
func redfishArch(architecture, set string) string {
	switch set {
	case "ARM-A64":
		return "aarch64"
	case "ARM-A32":
		return "arm"
	case "x86-64":
		return "x86_64"
	case "x86":
		return "i686"
	case "":
		if architecture == "x86" {
			return "x86_64"
		}
		return ""
	default:
		return strings.ToLower(set)
	}
}

// redfishDisks reads the drives, of old services the simple storage.
func redfishDisks(sys *schemas.ComputerSystem) (out []HardwareDisk, err error) {
	stores, err := sys.Storage()
	if err != nil {
		return nil, err
	}
	for _, st := range stores {
		drives, err := st.Drives()
		if err != nil {
			return nil, err
		}
		for _, d := range drives {
			disk := HardwareDisk{Name: d.Name, Model: d.Model, Serial: d.SerialNumber, Rotational: d.MediaType == schemas.HDDMediaType}
			if d.CapacityBytes != nil {
				disk.Size = int64(*d.CapacityBytes)
			}
			out = append(out, disk)
		}
	}
	if len(stores) > 0 {
		return out, nil
	}
	simple, err := sys.SimpleStorage()
	if err != nil {
		return nil, err
	}
	for _, st := range simple {
		for _, d := range st.Devices {
			disk := HardwareDisk{Name: d.Name, Model: d.Model}
			if d.CapacityBytes != nil {
				disk.Size = int64(*d.CapacityBytes)
			}
			out = append(out, disk)
		}
	}
	return out, nil
}
