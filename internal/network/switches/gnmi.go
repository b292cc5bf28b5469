package switches

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/openconfig/gnmi/proto/gnmi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	maxAnswer     = 1 << 20          // bytes of an answer
	maxReason     = 500              // bytes of a switch's reason that are kept
	connectWithin = 10 * time.Second // of one attempt
	connectAgain  = 15 * time.Second // longest pause between two attempts
)

// GNMI is a switch with a gNMI server.
type GNMI struct {
	conn     *grpc.ClientConn
	user     string
	password func() (string, error)
}

// NewGNMI prepares the way to a switch at host:port, or at a socket
// unix:/path; nothing is dialled before the first call. User and password go
// along as gNMI's metadata (gnmi-authentication.md), hence never without TLS
// but to loopback and sockets. The password is asked for at each call, so that
// its file may change; nil: no credentials.
func NewGNMI(address string, tls credentials.TransportCredentials, user string, password func() (string, error)) (*GNMI, error) {
	if err := CheckAddress(address, tls.Info().SecurityProtocol != "insecure"); err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(tls), grpc.WithNoProxy(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: connectWithin, Backoff: backoff.Config{
			BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: connectAgain}}))
	if err != nil {
		return nil, fmt.Errorf("switch address %q: %w", address, err)
	}
	return &GNMI{conn: conn, user: user, password: password}, nil
}

// CheckAddress says what is wrong with the address of a switch that is spoken
// to with or without TLS.
func CheckAddress(address string, tls bool) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("switch address %q, expected HOST:PORT or unix:/PATH", address)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("switch address %q, expected HOST:PORT or unix:/PATH: %w", address, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return fmt.Errorf("switch address %q, expected HOST:PORT or unix:/PATH", address)
	}
	if ip := net.ParseIP(host); !tls && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("switch address %q: expected TLS, user and password would be readable on the way", address)
	}
	return nil
}

// Close ends the connection.
func (g *GNMI) Close() error { return g.conn.Close() }

// switchedVLAN is the config of openconfig-vlan's vlan-switched-top.
type switchedVLAN struct {
	Mode   string `json:"openconfig-vlan:interface-mode"`
	Access int    `json:"openconfig-vlan:access-vlan,omitempty"`
	Native int    `json:"openconfig-vlan:native-vlan,omitempty"`
	Trunk  []int  `json:"openconfig-vlan:trunk-vlans,omitempty"`
}

// pathOf is where the models have a port's VLANs: those of an aggregate are in
// another container (openconfig-if-aggregate).
func pathOf(port Port) (*gnmi.Path, error) {
	if port.Name == "" {
		return nil, errors.New("the port of a switch has no name, expected one such as Ethernet1")
	}
	container := "ethernet"
	if port.Aggregate {
		container = "aggregation"
	}
	return &gnmi.Path{Origin: "openconfig", Elem: []*gnmi.PathElem{
		{Name: "interfaces"}, {Name: "interface", Key: map[string]string{"name": port.Name}}, {Name: container}, {Name: "switched-vlan"}, {Name: "config"},
	}}, nil
}

func (g *GNMI) credentials(ctx context.Context) (context.Context, error) {
	if g.user == "" || g.password == nil {
		return ctx, nil
	}
	password, err := g.password()
	if err != nil {
		return nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, "username", g.user, "password", password), nil
}

// SetPort implements Driver: a replace, or a delete where there is no VLAN;
// both say the whole state, so that they may come twice.
func (g *GNMI) SetPort(ctx context.Context, port Port, v VLANs) error {
	return g.SetPorts(ctx, []Change{{port, v}})
}

// SetPorts implements Batcher: a Set is a transaction (gNMI specification, 3.4.3).
func (g *GNMI) SetPorts(ctx context.Context, changes []Change) error {
	req, names := &gnmi.SetRequest{}, make([]string, 0, len(changes))
	for _, c := range changes {
		if err := c.addTo(req); err != nil {
			return fmt.Errorf("port %s: %w: %w", c.Port.Name, ErrInvalid, err)
		}
		names = append(names, c.Port.Name)
	}
	ctx, err := g.credentials(ctx)
	if err != nil {
		return err
	}
	if _, err := gnmi.NewGNMIClient(g.conn).Set(ctx, req); err != nil {
		return fmt.Errorf("set VLANs of port %s: %w", strings.Join(names[:min(len(names), 10)], ", "), reason(err))
	}
	return nil
}

// addTo adds the change to a request.
func (c Change) addTo(req *gnmi.SetRequest) error {
	path, err := pathOf(c.Port)
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Untagged == 0 && len(c.Tagged) == 0 {
		req.Delete = append(req.Delete, path)
		return nil
	}
	config := switchedVLAN{Mode: "ACCESS", Access: c.Untagged}
	if len(c.Tagged) > 0 {
		config = switchedVLAN{Mode: "TRUNK", Native: c.Untagged, Trunk: c.Tagged}
	}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	req.Replace = append(req.Replace, &gnmi.Update{Path: path, Val: &gnmi.TypedValue{Value: &gnmi.TypedValue_JsonIetfVal{JsonIetfVal: text}}})
	return nil
}

// Port implements Reader. A port without configuration has no VLANs.
func (g *GNMI) Port(ctx context.Context, port Port) (VLANs, error) {
	path, err := pathOf(port)
	if err != nil {
		return VLANs{}, err
	}
	if ctx, err = g.credentials(ctx); err != nil {
		return VLANs{}, err
	}
	res, err := gnmi.NewGNMIClient(g.conn).Get(ctx, &gnmi.GetRequest{Path: []*gnmi.Path{path}, Type: gnmi.GetRequest_CONFIG, Encoding: gnmi.Encoding_JSON_IETF})
	if err != nil {
		return VLANs{}, fmt.Errorf("read VLANs of port %s: %w", port.Name, reason(err))
	}
	var text []byte
	for _, n := range res.GetNotification() {
		for _, u := range n.GetUpdate() {
			if text != nil {
				return VLANs{}, fmt.Errorf("read VLANs of port %s: the switch answers with several values, expected one", port.Name)
			}
			text = u.GetVal().GetJsonIetfVal()
		}
	}
	v, err := parseSwitched(text)
	if err != nil {
		return VLANs{}, fmt.Errorf("read VLANs of port %s: %w", port.Name, err)
	}
	return v, nil
}

// parseSwitched reads the config of a port; names may be without the module's
// (RFC 7951, 4), trunk VLANs are numbers or ranges "10..20" (openconfig-vlan-types).
func parseSwitched(text []byte) (VLANs, error) {
	if len(text) == 0 {
		return VLANs{}, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return VLANs{}, fmt.Errorf("the configuration is not understood: %w", err)
	}
	for name, value := range fields {
		if _, bare, ok := strings.Cut(name, ":"); ok {
			fields[bare] = value
		}
	}
	var mode string
	var access, native int
	var trunk []json.RawMessage
	for name, to := range map[string]any{"interface-mode": &mode, "access-vlan": &access, "native-vlan": &native, "trunk-vlans": &trunk} {
		if raw, ok := fields[name]; ok {
			if err := json.Unmarshal(raw, to); err != nil {
				return VLANs{}, fmt.Errorf("%s is not understood: %w", name, err)
			}
		}
	}
	if mode != "TRUNK" {
		return VLANs{Untagged: access}, nil
	}
	v := VLANs{Untagged: native}
	for _, raw := range trunk {
		first, last, err := vlanRange(raw)
		if err != nil {
			return VLANs{}, err
		}
		for n := first; n <= last && len(v.Tagged) <= MaxVLAN; n++ {
			v.Tagged = append(v.Tagged, n)
		}
	}
	return v, nil
}

func vlanRange(raw json.RawMessage) (first, last int, err error) {
	text := strings.Trim(string(raw), `"`)
	low, high, ranged := strings.Cut(text, "..")
	if !ranged {
		high = low
	}
	first, err1 := strconv.Atoi(low)
	last, err2 := strconv.Atoi(high)
	if err := errors.Join(err1, err2); err != nil || first < 1 || last > MaxVLAN || first > last {
		return 0, 0, fmt.Errorf("trunk-vlans holds %.40q, expected numbers or ranges of 1 to %d", text, MaxVLAN)
	}
	return first, last, nil
}

// reason keeps a switch's answer to a readable length and marks refusals.
func reason(err error) error {
	st, _ := status.FromError(err)
	text := st.Message()
	err = fmt.Errorf("%s: %s", st.Code(), text[:min(len(text), maxReason)])
	switch st.Code() {
	case codes.InvalidArgument, codes.NotFound, codes.OutOfRange, codes.Unimplemented, codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case codes.Canceled:
		return fmt.Errorf("%w: %w", context.Canceled, err)
	default:
		return err
	}
}
