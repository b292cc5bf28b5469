package drivers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/command/transport"
	"github.com/bougou/go-ipmi/pkg/types"
)

// InjectNMI sends a diagnostic interrupt (IPMI 2.0, section 28.3).
func (s *ipmiSession) InjectNMI(ctx context.Context) error {
	_, err := s.c.ChassisControl(ctx, chassis.ChassisControlDiagnosticInterrupt)
	return s.wrap("inject NMI", err)
}

// ResetController restarts the BMC (IPMI 2.0, sections 20.2 and 20.3).
func (s *ipmiSession) ResetController(ctx context.Context, warm bool) error {
	if warm {
		return s.wrap("warm reset of the BMC", s.c.WarmReset(ctx))
	}
	return s.wrap("cold reset of the BMC", s.c.ColdReset(ctx))
}

// RawCommand sends a command of the operator's own.
func (s *ipmiSession) RawCommand(ctx context.Context, netFn, cmd uint8, data []byte) ([]byte, error) {
	res, err := s.c.RawCommand(ctx, types.NetFn(netFn), cmd, data, "raw")
	if err != nil {
		return nil, s.wrap("raw command", err)
	}
	return res.Response, nil
}

// BootState is unknown to IPMI: its boot flags tell what is asked for, not how
// the machine boots.
func (s *ipmiSession) BootState(context.Context) (string, *bool, error) { return "", nil, nil }

// SetBootMode keeps the boot device and changes its mode.
func (s *ipmiSession) SetBootMode(ctx context.Context, mode string) error {
	d, err := s.BootDevice(ctx)
	if err != nil {
		return err
	}
	d.Mode = mode
	return s.SetBootDevice(ctx, d)
}

// SetSecureBoot is beyond IPMI.
func (s *ipmiSession) SetSecureBoot(context.Context, bool) error {
	return fmt.Errorf("secure boot over IPMI: %w", ErrUnsupported)
}

// Console carries the serial console of a machine (serial over LAN, IPMI 2.0,
// section 15) until ctx is done or in ends. It has a session of its own, so
// that power and boot device stay within reach meanwhile. ErrUnsupported for a
// driver without.
func (s *Set) Console(ctx context.Context, t Target, in io.Reader, out io.Writer) error {
	if t.Driver != "ipmi" {
		return fmt.Errorf("console with driver %s: %w", t.Driver, ErrUnsupported)
	}
	info, err := parseIPMI(t.Info)
	if err != nil {
		return err
	}
	if info.v15 {
		return fmt.Errorf("console over IPMI 1.5: %w", ErrUnsupported)
	}
	opening, cancel := context.WithTimeout(ctx, s.o.Timeout)
	sess, err := s.openIPMI(opening, info)
	cancel()
	if err != nil {
		return classify(ctx, err)
	}
	defer sess.close(context.WithoutCancel(ctx))
	is, ok := sess.(*ipmiSession)
	if !ok {
		return errors.New("not an IPMI session") // openIPMI makes no other
	}
	const instance = 1
	_, err = is.c.ActivatePayload(ctx, &transport.ActivatePayloadRequest{PayloadType: types.PayloadTypeSOL, PayloadInstance: instance})
	if err != nil {
		return is.wrap("activate the console", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_, _ = is.c.DeactivatePayload(ctx, &transport.DeactivatePayloadRequest{PayloadType: types.PayloadTypeSOL, PayloadInstance: instance}) // the BMC ends it with the session, too
	}()
	err = is.c.SOLStream(ctx, in, out, &client.SOLStreamOptions{})
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return nil //nolint:nilerr // the end was asked for
	}
	return is.wrap("console", err)
}
