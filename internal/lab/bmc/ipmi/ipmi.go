// Package ipmi serves a machine's BMC over IPMI 2.0: RMCP+ on UDP with cipher
// suites 3 (HMAC-SHA1) and 17 (HMAC-SHA256), both with AES-CBC-128. IPMI 1.5
// sessions are refused, as on current hardware. The protocol itself is
// go-ipmi's reference server; here is the hardware below it.
package ipmi

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	gobmc "github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/handlers"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/tripleo/tripleo/internal/lab/bmc"
)

const (
	// maxPassword is the longest IPMI 2.0 password in bytes (IPMI v2.0, 22.30).
	maxPassword = 20

	lanChannel = 1
	firstUser  = 2 // slot 1 is the anonymous user
)

// Config is what a server needs beside its machine.
type Config struct {
	// User and Password (at most 20 bytes) are the only account, an administrator.
	User, Password string
	// Line is what Serial over LAN offers; nil: there is none.
	Line bmc.SerialLine
}

// Server answers IPMI requests on one socket.
type Server struct {
	srv *server.Server
}

// New prepares a server of sys on conn, which it owns from now on.
func New(conn net.PacketConn, sys bmc.System, cfg Config) (*Server, error) {
	if cfg.User == "" || len(cfg.Password) > maxPassword {
		return nil, fmt.Errorf("ipmi: need a user and a password of at most %d bytes", maxPassword)
	}
	guid, err := parseGUID(sys.Info().UUID)
	if err != nil {
		return nil, err
	}
	hw, err := newHardware(sys, cfg.Line)
	if err != nil {
		return nil, err
	}
	info := gobmc.DeviceInfo{
		DeviceID: 0x20, DeviceRevision: 1, FirmwareMajor: 1,
		IPMIVersion: 0x02, // BCD with the digits swapped: 2.0 (IPMI v2.0, table 20-2)
		// No vendor has this enterprise number; a client must not apply quirks.
		ManufacturerID: 0, ProductID: 1,
		AdditionalDeviceSupport: 0x80, // chassis device
	}
	b := gobmc.New(info, guid, hw,
		gobmc.WithCipherSuites([]types.CipherSuiteID{types.CipherSuiteID3, types.CipherSuiteID17}),
		gobmc.WithV15Disabled())
	user, err := b.Users.Add(firstUser, cfg.User)
	if err != nil {
		return nil, fmt.Errorf("ipmi: add user: %w", err)
	}
	user.SetPassword([]byte(cfg.Password))
	user.Enabled = true
	user.ChannelAccess[lanChannel] = gobmc.UserChannelAccess{MaxPrivilege: gobmc.PrivilegeLevelAdministrator, Enabled: true}
	return &Server{srv: server.NewServer(b, gated{conn, sys}, server.WithHandlerRegistry(registry(hw)))}, nil
}

// Run serves until ctx is done; then the socket is closed.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.srv.Close() })
	defer stop()
	if err := s.srv.Serve(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("ipmi: serve: %w", err)
	}
	return nil
}

// registry is the standard command set with what the reference server leaves
// out or confuses: "mc reset" restarts the BMC, never the machine; the
// diagnostic interrupt; and the set-in-progress parameter that ipmitool writes
// around every boot option.
func registry(hw *hardware) *handlers.Registry {
	reg := handlers.NewRegistry()
	handlers.RegisterAllHandlers(reg)
	ok := func(context.Context, *handlers.HandlerContext, []byte) ([]byte, types.CompletionCode, error) {
		return nil, types.CodeOK, nil
	}
	reg.RegisterFunc(types.CommandColdReset, ok)
	reg.RegisterFunc(types.CommandWarmReset, ok)
	reg.RegisterFunc(types.CommandChassisControl, func(_ context.Context, _ *handlers.HandlerContext, req []byte) ([]byte, types.CompletionCode, error) {
		return nil, hw.control(req), nil
	})
	std := handlers.NewRegistry()
	handlers.RegisterChassisHandlers(std)
	reg.RegisterFunc(types.CommandSetSystemBootOptions, func(ctx context.Context, h *handlers.HandlerContext, req []byte) ([]byte, types.CompletionCode, error) {
		if len(req) > 0 && req[0]&0x7f == uint8(types.BootOptionParamSelector_SetInProgress) {
			return nil, types.CodeOK, nil
		}
		return std.Dispatch(ctx, h, uint8(types.NetFnChassisRequest), types.CommandSetSystemBootOptions.ID, req)
	})
	return reg
}

// parseGUID turns a UUID into the byte order of Get Device GUID (least
// significant byte first, IPMI v2.0 table 20-8).
func parseGUID(uuid string) ([16]byte, error) {
	var g [16]byte
	b, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil || len(b) != len(g) {
		return g, fmt.Errorf("ipmi: %q is not a UUID", uuid)
	}
	copy(g[:], b)
	slices.Reverse(g[:])
	return g, nil
}

// gated drops the requests that the machine's BMC, being dead, does not hear.
type gated struct {
	net.PacketConn
	sys bmc.System
}

func (g gated) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, addr, err := g.PacketConn.ReadFrom(b)
		if err != nil || g.sys.Gate(context.Background()) == nil {
			return n, addr, err
		}
	}
}
