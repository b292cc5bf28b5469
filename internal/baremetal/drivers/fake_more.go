package drivers

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// InjectNMI is taken by a machine that is on.
func (m *fakeMachine) InjectNMI(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.power != PowerOn {
		return fmt.Errorf("%w: NMI to a machine that is off", ErrUnsupported)
	}
	return nil
}

// BIOSSettings returns what was set.
func (m *fakeMachine) BIOSSettings(context.Context) ([]BIOSSetting, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []BIOSSetting
	for _, k := range slices.Sorted(maps.Keys(m.bios)) {
		out = append(out, BIOSSetting{Name: k, Value: m.bios[k], AllowableValues: []string{}})
	}
	return out, nil
}

// SetBIOSSettings takes any setting.
func (m *fakeMachine) SetBIOSSettings(_ context.Context, settings map[string]any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bios == nil {
		m.bios = map[string]any{}
	}
	maps.Copy(m.bios, settings)
	return nil
}

// ResetBIOSSettings forgets them.
func (m *fakeMachine) ResetBIOSSettings(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bios = nil
	return nil
}

// BootState returns what was set.
func (m *fakeMachine) BootState(context.Context) (string, *bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	secure := m.secure
	return m.boot.Mode, &secure, nil
}

// SetBootMode keeps the mode.
func (m *fakeMachine) SetBootMode(_ context.Context, mode string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boot.Mode = mode
	return nil
}

// SetSecureBoot keeps the switch.
func (m *fakeMachine) SetSecureBoot(_ context.Context, on bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.secure = on
	return nil
}

// Indicators is one light of the system.
func (m *fakeMachine) Indicators(context.Context) ([]Indicator, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state := m.light
	if state == "" {
		state = IndicatorOff
	}
	return []Indicator{{Component: "system", ID: "led", State: state, Settable: []string{IndicatorBlinking, IndicatorOff, IndicatorOn}}}, nil
}

// SetIndicator switches it.
func (m *fakeMachine) SetIndicator(_ context.Context, component, id, state string) error {
	if component != "system" || id != "led" {
		return fmt.Errorf("%w: there is no indicator %s of component %s", ErrConfig, id, component)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.light = state
	return nil
}
