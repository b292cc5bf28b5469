package drivers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"
)

// The length limits of the IPMI 2.0 specification, 13.28 and table 22-33.
const (
	maxIPMIUser     = 16
	maxIPMIPassword = 20
)

func ipmiProperties() map[string]string {
	return map[string]string{
		"ipmi_address":              "IP address of the BMC. Required.",
		"ipmi_port":                 "UDP port of the BMC. Default 623.",
		"ipmi_username":             "User name; the null user when absent.",
		"ipmi_password":             "Password.",
		"ipmi_priv_level":           "Privilege level: ADMINISTRATOR (default), OPERATOR or USER.",
		"ipmi_protocol_version":     "IPMI version: 2.0 (default) or 1.5.",
		"ipmi_cipher_suite":         "Cipher suite of RMCP+; default 17, then 3.",
		"ipmi_disable_boot_timeout": "Whether the BMC is told to keep a boot device for longer than 60 seconds. Default true.",
	}
}

// ipmiInfo is driver_info, checked.
type ipmiInfo struct {
	host        string
	port        int
	user, pass  string
	privilege   types.PrivilegeLevel
	v15         bool
	suites      []types.CipherSuiteID
	keepTimeout bool // leave the BMC's 60 s timer of the boot device
}

func (i ipmiInfo) addr() string { return net.JoinHostPort(i.host, strconv.Itoa(i.port)) }

func (i ipmiInfo) key() string {
	return digest("ipmi", i.addr(), i.user, i.pass, fmt.Sprintf("%d %t %v", i.privilege, i.v15, i.suites))
}

// digest makes a pool key that can be shown without giving the password away.
func digest(parts ...string) string {
	h := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(h[:])
}

func parseIPMI(info map[string]any) (ipmiInfo, error) {
	out := ipmiInfo{port: 623, privilege: types.PrivilegeLevelAdministrator, suites: []types.CipherSuiteID{17, 3}}
	out.host = text(info, "ipmi_address")
	if out.host == "" {
		return out, fmt.Errorf("%w: ipmi_address is missing", ErrConfig)
	}
	var err error
	if out.port, err = number(info, "ipmi_port", 623, 1, 65535); err != nil {
		return out, err
	}
	out.user, out.pass = text(info, "ipmi_username"), text(info, "ipmi_password")
	if len(out.user) > maxIPMIUser {
		return out, fmt.Errorf("%w: ipmi_username has %d characters, IPMI allows %d", ErrConfig, len(out.user), maxIPMIUser)
	}
	if len(out.pass) > maxIPMIPassword {
		return out, fmt.Errorf("%w: ipmi_password is longer than the %d characters of IPMI", ErrConfig, maxIPMIPassword)
	}
	switch level := strings.ToUpper(text(info, "ipmi_priv_level")); level {
	case "", "ADMINISTRATOR":
	case "OPERATOR":
		out.privilege = types.PrivilegeLevelOperator
	case "USER":
		out.privilege = types.PrivilegeLevelUser
	default:
		return out, fmt.Errorf("%w: ipmi_priv_level is %q, expected ADMINISTRATOR, OPERATOR or USER", ErrConfig, level)
	}
	switch v := text(info, "ipmi_protocol_version"); v {
	case "", "2.0":
	case "1.5":
		out.v15 = true
	default:
		return out, fmt.Errorf("%w: ipmi_protocol_version is %q, expected 2.0 or 1.5", ErrConfig, v)
	}
	if text(info, "ipmi_cipher_suite") != "" {
		n, err := number(info, "ipmi_cipher_suite", 17, 0, 19)
		if err != nil {
			return out, err
		}
		out.suites = []types.CipherSuiteID{types.CipherSuiteID(n)}
	}
	out.keepTimeout = strings.EqualFold(text(info, "ipmi_disable_boot_timeout"), "false")
	return out, nil
}

func text(info map[string]any, key string) string {
	switch v := info[key].(type) {
	case nil:
		return ""
	case string:
		return strings.TrimSpace(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}

func number(info map[string]any, key string, def, low, high int) (int, error) {
	s := text(info, key)
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%w: %s is %q, expected a number from %d to %d", ErrConfig, key, s, low, high)
	}
	return n, nil
}

// udpDialer has the shape of x/net/proxy.Dialer, through which the client
// library lets others open its socket: here inside a network namespace.
type udpDialer struct {
	ctx  context.Context //nolint:containedctx // lives as long as the one Connect call it is made for
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (d udpDialer) Dial(network, addr string) (net.Conn, error) { return d.dial(d.ctx, network, addr) }

func (s *Set) openIPMI(ctx context.Context, info ipmiInfo) (session, error) {
	c, err := client.NewClient(info.host, info.port, info.user, info.pass)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	// One second and three repetitions a message, as ipmitool's lanplus does.
	c.WithUDPProxy(udpDialer{ctx: context.WithoutCancel(ctx), dial: s.o.Dial}).
		WithTimeout(time.Second).WithRetry(3).WithMaxPrivilegeLevel(info.privilege).WithCipherSuiteID(info.suites...)
	c.WithInterface(client.InterfaceLanplus)
	if info.v15 {
		c.WithInterface(client.InterfaceLan)
	}
	if err := c.Connect(ctx); err != nil {
		closeIPMI(context.WithoutCancel(ctx), c)
		if isIPMIAuth(err) {
			return nil, fmt.Errorf("ipmi %s: %w (user %q): %w", info.addr(), ErrAuth, info.user, err)
		}
		return nil, fmt.Errorf("ipmi %s: %w", info.addr(), err)
	}
	return &ipmiSession{c: c, info: info, log: s.o.Log.With("bmc", info.addr()).Debug}, nil
}

// isIPMIAuth recognises a refused user or password: a mismatching code of the
// handshake, or a status code of RAKP that says so (IPMI 2.0, table 13-15).
func isIPMIAuth(err error) bool {
	if errors.Is(err, client.ErrRAKPAuthentication) {
		return true
	}
	// Connect joins the errors of several cipher suites as text.
	msg := strings.ToLower(err.Error())
	return strings.Contains(msg, "rakp authentication failed") || strings.Contains(msg, "unauthorized name") ||
		strings.Contains(msg, "invalid integrity check value") || strings.Contains(msg, "unauthorized role")
}

type ipmiSession struct {
	c    *client.Client
	info ipmiInfo
	log  func(msg string, args ...any)
}

func (s *ipmiSession) close(ctx context.Context) { closeIPMI(ctx, s.c) }

func closeIPMI(ctx context.Context, c *client.Client) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c.WithRetry(0)
	_ = c.Close(ctx) // the controller forgets the session by itself
}

func (s *ipmiSession) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ipmi %s: %s: %w", s.info.addr(), what, err)
}

func (s *ipmiSession) Power(ctx context.Context) (Power, error) {
	st, err := s.c.GetChassisStatus(ctx)
	if err != nil {
		return PowerUnknown, s.wrap("read power state", err)
	}
	if st.PowerIsOn {
		return PowerOn, nil
	}
	return PowerOff, nil
}

func (s *ipmiSession) SetPower(ctx context.Context, a Action) error {
	var control chassis.ChassisControl
	switch a {
	case On:
		control = chassis.ChassisControlPowerUp
	case Off:
		control = chassis.ChassisControlPowerDown
	case SoftOff:
		control = chassis.ChassisControlSoftShutdown
	case Reset:
		control = chassis.ChassisControlHardReset
	default:
		return fmt.Errorf("%w: power action %q", ErrUnsupported, a)
	}
	_, err := s.c.ChassisControl(ctx, control)
	return s.wrap("power "+string(a), err)
}

func ipmiSelectors() map[string]types.BootDeviceSelector {
	return map[string]types.BootDeviceSelector{
		DevicePXE: types.BootDeviceSelectorForcePXE, DeviceDisk: types.BootDeviceSelectorForceHardDrive,
		DeviceSafe: types.BootDeviceSelectorForceHardDriveSafe, DeviceCDROM: types.BootDeviceSelectorForceCDROM,
		DeviceBIOS: types.BootDeviceSelectorForceBIOSSetup, "": types.BootDeviceSelectorNoOverride,
	}
}

func (s *ipmiSession) BootDevice(ctx context.Context) (BootDevice, error) {
	flags := &types.BootOptionParam_BootFlags{}
	if err := s.c.GetSystemBootOptionsParamFor(ctx, flags); err != nil {
		return BootDevice{}, s.wrap("read boot device", err)
	}
	d := BootDevice{Mode: BootModeBIOS}
	if flags.BIOSBootType == types.BIOSBootTypeEFI {
		d.Mode = BootModeUEFI
	}
	if !flags.BootFlagsValid {
		return d, nil
	}
	for name, sel := range ipmiSelectors() {
		if sel == flags.BootDeviceSelector {
			d.Device, d.Persistent = name, flags.Persist && name != ""
		}
	}
	return d, nil
}

func (s *ipmiSession) SetBootDevice(ctx context.Context, d BootDevice) error {
	sel, ok := ipmiSelectors()[d.Device]
	if !ok {
		return fmt.Errorf("%w: boot device %q", ErrUnsupported, d.Device)
	}
	if !s.info.keepTimeout {
		// Without this many BMCs drop the setting when the machine takes longer
		// than 60 s to reach its boot; some refuse the parameter, and then the
		// timer stays.
		err := s.c.SetSystemBootOptionsParamFor(ctx, &types.BootOptionParam_BMCBootFlagValidBitClear{DontClearOnCommandReceivedTimeout: true})
		if err != nil {
			s.log("the BMC keeps its boot device timer", "error", err)
		}
	}
	kind := types.BIOSBootTypeLegacy
	if d.Mode == BootModeUEFI {
		kind = types.BIOSBootTypeEFI
	}
	return s.wrap("set boot device "+d.Device, s.c.SetBootDevice(ctx, sel, kind, d.Persistent))
}
