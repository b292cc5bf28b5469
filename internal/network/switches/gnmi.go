package switches

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"github.com/openconfig/gnmi/proto/gnmi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// GNMI is a switch with a gNMI server.
type GNMI struct {
	conn           *grpc.ClientConn
	user, password string
}

// NewGNMI prepares the way to a switch at host:port; nothing is dialled before
// the first call. User and password go along as gNMI's metadata
// (gnmi-authentication.md), hence never without TLS but to loopback.
func NewGNMI(address string, tls credentials.TransportCredentials, user, password string) (*GNMI, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("switch address %q: expected HOST:PORT: %w", address, err)
	}
	if ip := net.ParseIP(host); tls.Info().SecurityProtocol == "insecure" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("switch address %q: expected TLS, user and password would be readable on the way", address)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(tls))
	if err != nil {
		return nil, fmt.Errorf("switch address %q: %w", address, err)
	}
	return &GNMI{conn: conn, user: user, password: password}, nil
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

// SetPort implements Driver: a replace, or a delete where there is no VLAN;
// both say the whole state, so that they may come twice.
func (g *GNMI) SetPort(ctx context.Context, port string, v VLANs) error {
	if port == "" {
		return errors.New("the port of a switch has no name, expected one such as Ethernet1")
	}
	if err := v.validate(); err != nil {
		return fmt.Errorf("port %s: %w", port, err)
	}
	path := &gnmi.Path{Origin: "openconfig", Elem: []*gnmi.PathElem{
		{Name: "interfaces"}, {Name: "interface", Key: map[string]string{"name": port}}, {Name: "ethernet"}, {Name: "switched-vlan"}, {Name: "config"},
	}}
	req := &gnmi.SetRequest{}
	switch {
	case v.Untagged == 0 && len(v.Tagged) == 0:
		req.Delete = []*gnmi.Path{path}
	default:
		config := switchedVLAN{Mode: "ACCESS", Access: v.Untagged}
		if len(v.Tagged) > 0 {
			config = switchedVLAN{Mode: "TRUNK", Native: v.Untagged, Trunk: v.Tagged}
		}
		text, err := json.Marshal(config)
		if err != nil {
			return err
		}
		req.Replace = []*gnmi.Update{{Path: path, Val: &gnmi.TypedValue{Value: &gnmi.TypedValue_JsonIetfVal{JsonIetfVal: text}}}}
	}
	if g.user != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "username", g.user, "password", g.password)
	}
	if _, err := gnmi.NewGNMIClient(g.conn).Set(ctx, req); err != nil {
		return fmt.Errorf("set VLANs of port %s: %w", port, err)
	}
	return nil
}
