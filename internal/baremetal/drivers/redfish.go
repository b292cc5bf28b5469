package drivers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/stmcginnis/gofish"
	"github.com/stmcginnis/gofish/schemas"
)

func redfishProperties() map[string]string {
	return map[string]string{
		"redfish_address":   "URL of the Redfish service, e.g. https://192.0.2.1; scheme https when absent. Required.",
		"redfish_system_id": "Path of the system, e.g. /redfish/v1/Systems/1. Default: the only system of the service.",
		"redfish_username":  "User name.",
		"redfish_password":  "Password.",
		"redfish_verify_ca": "true (default), false, or a file with CA certificates to check the service's certificate against.",
		"redfish_auth_type": "basic, session or auto (default: session, then basic).",
	}
}

// redfishInfo is driver_info, checked.
type redfishInfo struct {
	address, system, user, pass string
	auth                        string // "basic", "session", "auto"
	verify                      string // "true", "false" or a file
}

func (i redfishInfo) key() string {
	return digest("redfish", i.address, i.system, i.user, i.pass, i.auth, i.verify)
}

func parseRedfish(info map[string]any) (redfishInfo, error) {
	out := redfishInfo{
		address: text(info, "redfish_address"), system: text(info, "redfish_system_id"),
		user: text(info, "redfish_username"), pass: text(info, "redfish_password"),
		auth: strings.ToLower(text(info, "redfish_auth_type")), verify: text(info, "redfish_verify_ca"),
	}
	if out.address == "" {
		return out, fmt.Errorf("%w: redfish_address is missing", ErrConfig)
	}
	if !strings.Contains(out.address, "://") {
		out.address = "https://" + out.address
	}
	u, err := url.Parse(out.address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return out, fmt.Errorf("%w: redfish_address is not an http or https URL", ErrConfig)
	}
	out.address = u.Scheme + "://" + u.Host
	if out.system != "" && !strings.HasPrefix(out.system, "/") {
		return out, fmt.Errorf("%w: redfish_system_id is %q, expected a path such as /redfish/v1/Systems/1", ErrConfig, out.system)
	}
	switch out.auth {
	case "":
		out.auth = "auto"
	case "basic", "session", "auto":
	default:
		return out, fmt.Errorf("%w: redfish_auth_type is %q, expected basic, session or auto", ErrConfig, out.auth)
	}
	switch strings.ToLower(out.verify) {
	case "", "true", "1", "yes":
		out.verify = "true"
	case "false", "0", "no":
		out.verify = "false"
	}
	return out, nil
}

func (i redfishInfo) transport(dial func(ctx context.Context, network, addr string) (net.Conn, error)) (*http.Transport, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	switch i.verify {
	case "true":
	case "false":
		conf.InsecureSkipVerify = true // the operator asked for it: redfish_verify_ca
	default:
		pem, err := os.ReadFile(i.verify)
		if err != nil {
			return nil, fmt.Errorf("%w: redfish_verify_ca: %w", ErrConfig, err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: redfish_verify_ca: no certificate in %s", ErrConfig, i.verify)
		}
	}
	return &http.Transport{
		DialContext: dial, TLSClientConfig: conf, TLSHandshakeTimeout: 10 * time.Second,
		MaxConnsPerHost: 2, IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: 15 * time.Second,
	}, nil
}

func (s *Set) openRedfish(ctx context.Context, info redfishInfo) (session, error) {
	tr, err := info.transport(s.o.Dial)
	if err != nil {
		return nil, err
	}
	conf := gofish.ClientConfig{
		Endpoint: info.address, Username: info.user, Password: info.pass, BasicAuth: info.auth == "basic",
		HTTPClient: &http.Client{Transport: tr}, NoModifyTransport: true, ReuseConnections: true,
	}
	api, err := gofish.ConnectContext(ctx, conf)
	if info.auth == "auto" && err != nil && !unauthorized(err) && ctx.Err() == nil {
		// A service without sessions.
		conf.BasicAuth = true
		api, err = gofish.ConnectContext(ctx, conf)
	}
	if err != nil {
		tr.CloseIdleConnections()
		return nil, info.wrap("connect", err)
	}
	rs := &redfishSession{api: api, tr: tr, info: info, system: info.system}
	if rs.system == "" {
		systems, err := api.WithContext(ctx).Service.Systems()
		if err == nil && len(systems) != 1 {
			err = fmt.Errorf("%w: the service has %d systems, redfish_system_id must name one", ErrConfig, len(systems))
		}
		if err != nil {
			rs.close(ctx)
			return nil, info.wrap("list systems", err)
		}
		rs.system = systems[0].ODataID
	}
	return rs, nil
}

func unauthorized(err error) bool {
	var e *schemas.Error
	return errors.As(err, &e) && (e.HTTPReturnedStatusCode == http.StatusUnauthorized || e.HTTPReturnedStatusCode == http.StatusForbidden)
}

func (i redfishInfo) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	if unauthorized(err) {
		return fmt.Errorf("redfish %s: %s: %w (user %q)", i.address, what, ErrAuth, i.user)
	}
	return fmt.Errorf("redfish %s: %s: %w", i.address, what, err)
}

type redfishSession struct {
	api    *gofish.APIClient
	tr     *http.Transport
	info   redfishInfo
	system string // path
}

func (s *redfishSession) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	s.api.WithContext(ctx).Logout()
	s.tr.CloseIdleConnections()
}

func (s *redfishSession) get(ctx context.Context) (*schemas.ComputerSystem, error) {
	sys, err := schemas.GetComputerSystem(s.api.WithContext(ctx), s.system)
	return sys, s.info.wrap("read "+s.system, err)
}

func (s *redfishSession) Power(ctx context.Context) (Power, error) {
	sys, err := s.get(ctx)
	if err != nil {
		return PowerUnknown, err
	}
	switch sys.PowerState {
	case schemas.OnPowerState:
		return PowerOn, nil
	case schemas.OffPowerState:
		return PowerOff, nil
	default: // PoweringOn, PoweringOff, Paused
		return PowerUnknown, nil
	}
}

func (s *redfishSession) SetPower(ctx context.Context, a Action) error {
	var reset schemas.ResetType
	switch a {
	case On:
		reset = schemas.OnResetType
	case Off:
		reset = schemas.ForceOffResetType
	case SoftOff:
		reset = schemas.GracefulShutdownResetType
	case Reset:
		reset = schemas.ForceRestartResetType
	default:
		return fmt.Errorf("%w: power action %q", ErrUnsupported, a)
	}
	sys, err := s.get(ctx)
	if err != nil {
		return err
	}
	// Many services answer an error when the machine is in the state already.
	if (a == On && sys.PowerState == schemas.OnPowerState) || ((a == Off || a == SoftOff) && sys.PowerState == schemas.OffPowerState) {
		return nil
	}
	_, err = sys.Reset(reset)
	return s.info.wrap("power "+string(a), err)
}

func redfishTargets() map[string]schemas.BootSource {
	return map[string]schemas.BootSource{
		DevicePXE: schemas.PxeBootSource, DeviceDisk: schemas.HddBootSource, DeviceCDROM: schemas.CdBootSource,
		DeviceBIOS: schemas.BiosSetupBootSource, DeviceUEFIHTTP: schemas.UefiHTTPBootSource, "": schemas.NoneBootSource,
	}
}

func (s *redfishSession) BootDevice(ctx context.Context) (BootDevice, error) {
	sys, err := s.get(ctx)
	if err != nil {
		return BootDevice{}, err
	}
	var d BootDevice
	switch sys.Boot.BootSourceOverrideMode {
	case schemas.UEFIBootSourceOverrideMode:
		d.Mode = BootModeUEFI
	case schemas.LegacyBootSourceOverrideMode:
		d.Mode = BootModeBIOS
	}
	if sys.Boot.BootSourceOverrideEnabled == schemas.DisabledBootSourceOverrideEnabled {
		return d, nil
	}
	for name, target := range redfishTargets() {
		if target == sys.Boot.BootSourceOverrideTarget {
			d.Device = name
			d.Persistent = name != "" && sys.Boot.BootSourceOverrideEnabled == schemas.ContinuousBootSourceOverrideEnabled
		}
	}
	return d, nil
}

func (s *redfishSession) SetBootDevice(ctx context.Context, d BootDevice) error {
	target, ok := redfishTargets()[d.Device]
	if !ok {
		return fmt.Errorf("%w: boot device %q", ErrUnsupported, d.Device)
	}
	sys, err := s.get(ctx)
	if err != nil {
		return err
	}
	boot := schemas.Boot{BootSourceOverrideTarget: target, BootSourceOverrideEnabled: schemas.OnceBootSourceOverrideEnabled}
	if d.Persistent {
		boot.BootSourceOverrideEnabled = schemas.ContinuousBootSourceOverrideEnabled
	}
	if d.Device == "" {
		boot.BootSourceOverrideEnabled = schemas.DisabledBootSourceOverrideEnabled
	}
	if sys.Boot.BootSourceOverrideMode != "" { // a service without the property refuses it
		switch d.Mode {
		case BootModeUEFI:
			boot.BootSourceOverrideMode = schemas.UEFIBootSourceOverrideMode
		case BootModeBIOS:
			boot.BootSourceOverrideMode = schemas.LegacyBootSourceOverrideMode
		}
	}
	return s.info.wrap("set boot device "+d.Device, sys.SetBoot(&boot))
}
