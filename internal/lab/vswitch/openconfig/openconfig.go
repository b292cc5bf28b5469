// Package openconfig serves a switch of the lab over gNMI, with the parts of
// openconfig-interfaces and openconfig-vlan that say which VLANs a port has.
package openconfig

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"time"

	"github.com/openconfig/gnmi/proto/gnmi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tripleo/tripleo/internal/lab/vswitch"
)

// Server is the switch's management.
type Server struct {
	gnmi.UnimplementedGNMIServer

	Switch         *vswitch.Switch
	User, Password string // what clients must say
}

// config is that of a port; a trunk's VLANs are numbers here, the model's
// ranges ("10..20") are refused.
type config struct {
	Mode   string   `json:"openconfig-vlan:interface-mode"`
	Access uint16   `json:"openconfig-vlan:access-vlan,omitempty"`
	Native uint16   `json:"openconfig-vlan:native-vlan,omitempty"`
	Trunk  []uint16 `json:"openconfig-vlan:trunk-vlans,omitempty"`
}

func (s *Server) allow(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	said := func(key, want string) bool {
		v := md.Get(key)
		return len(v) == 1 && subtle.ConstantTimeCompare([]byte(v[0]), []byte(want)) == 1
	}
	if !said("username", s.User) || !said("password", s.Password) {
		return status.Error(codes.Unauthenticated, "wrong username or password")
	}
	return nil
}

// Capabilities implements gNMI.
func (s *Server) Capabilities(ctx context.Context, _ *gnmi.CapabilityRequest) (*gnmi.CapabilityResponse, error) {
	if err := s.allow(ctx); err != nil {
		return nil, err
	}
	return &gnmi.CapabilityResponse{
		SupportedModels: []*gnmi.ModelData{
			{Name: "openconfig-interfaces", Organization: "OpenConfig working group"},
			{Name: "openconfig-vlan", Organization: "OpenConfig working group"},
		},
		SupportedEncodings: []gnmi.Encoding{gnmi.Encoding_JSON_IETF}, GNMIVersion: "0.10.0",
	}, nil
}

// port finds the port whose switched-vlan config a path is.
func (s *Server) port(prefix, path *gnmi.Path) (*vswitch.Port, error) {
	elems := append(append([]*gnmi.PathElem{}, prefix.GetElem()...), path.GetElem()...)
	want := []string{"interfaces", "interface", "ethernet", "switched-vlan", "config"}
	ok := len(elems) == len(want)
	for i := 0; ok && i < len(want); i++ {
		ok = elems[i].GetName() == want[i]
	}
	if !ok {
		return nil, status.Errorf(codes.InvalidArgument, "path %v, expected /interfaces/interface[name=…]/ethernet/switched-vlan/config", elems)
	}
	name := elems[1].GetKey()["name"]
	for _, p := range s.Switch.Ports() {
		if p.Name() == name {
			return p, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "the switch has no interface %q", name)
}

// Set implements gNMI: all of it or, when something is wrong, nothing.
func (s *Server) Set(ctx context.Context, r *gnmi.SetRequest) (*gnmi.SetResponse, error) {
	if err := s.allow(ctx); err != nil {
		return nil, err
	}
	out := &gnmi.SetResponse{Prefix: r.GetPrefix(), Timestamp: time.Now().UnixNano()}
	var apply []func()
	for _, path := range r.GetDelete() {
		p, err := s.port(r.GetPrefix(), path)
		if err != nil {
			return nil, err
		}
		apply = append(apply, p.Isolate)
		out.Response = append(out.Response, &gnmi.UpdateResult{Path: path, Op: gnmi.UpdateResult_DELETE})
	}
	if len(r.GetUpdate()) > 0 || len(r.GetUnionReplace()) > 0 {
		return nil, status.Error(codes.Unimplemented, "update and union_replace are not done here, expected replace or delete")
	}
	for _, u := range r.GetReplace() {
		p, err := s.port(r.GetPrefix(), u.GetPath())
		if err != nil {
			return nil, err
		}
		m, err := modeOf(u.GetVal().GetJsonIetfVal())
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "interface %s: %v", p.Name(), err)
		}
		apply = append(apply, func() { _ = p.SetMode(m) }) // checked by modeOf
		out.Response = append(out.Response, &gnmi.UpdateResult{Path: u.GetPath(), Op: gnmi.UpdateResult_REPLACE})
	}
	for _, f := range apply {
		f()
	}
	return out, nil
}

func modeOf(text []byte) (vswitch.Mode, error) {
	var c config
	if err := json.Unmarshal(text, &c); err != nil {
		return vswitch.Mode{}, err
	}
	var m vswitch.Mode
	switch c.Mode {
	case "ACCESS":
		m = vswitch.Access(c.Access)
	case "TRUNK":
		m = vswitch.Trunk(c.Native, c.Trunk...)
	default:
		return m, status.Errorf(codes.InvalidArgument, "interface-mode is %q, expected ACCESS or TRUNK", c.Mode)
	}
	return m, m.Validate()
}

// Get implements gNMI for the paths that Set takes.
func (s *Server) Get(ctx context.Context, r *gnmi.GetRequest) (*gnmi.GetResponse, error) {
	if err := s.allow(ctx); err != nil {
		return nil, err
	}
	out := &gnmi.GetResponse{}
	for _, path := range r.GetPath() {
		p, err := s.port(r.GetPrefix(), path)
		if err != nil {
			return nil, err
		}
		m := p.Mode()
		c := config{Mode: "ACCESS", Access: m.Native}
		if len(m.Tagged) > 0 {
			c = config{Mode: "TRUNK", Native: m.Native, Trunk: m.Tagged}
		}
		text, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		out.Notification = append(out.Notification, &gnmi.Notification{Timestamp: time.Now().UnixNano(), Prefix: r.GetPrefix(), Update: []*gnmi.Update{
			{Path: path, Val: &gnmi.TypedValue{Value: &gnmi.TypedValue_JsonIetfVal{JsonIetfVal: text}}},
		}})
	}
	return out, nil
}
