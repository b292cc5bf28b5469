package switches_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openconfig/gnmi/proto/gnmi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/tripleo/tripleo/internal/lab/vswitch"
	"github.com/tripleo/tripleo/internal/lab/vswitch/openconfig"
	"github.com/tripleo/tripleo/internal/network/switches"
)

// card is a machine's network card at the switch.
type card struct {
	in, got chan []byte
	closed  chan struct{}
}

func (c *card) Read(b []byte) (int, error) {
	select {
	case f := <-c.in:
		return copy(b, f), nil
	case <-c.closed:
		return 0, os.ErrClosed
	}
}

func (c *card) Write(b []byte) (int, error) {
	select {
	case c.got <- slices.Clone(b):
		return len(b), nil
	default:
		return 0, errors.New("nobody takes the frames")
	}
}

func (c *card) Close() error { close(c.closed); return nil }

// send puts a broadcast on the wire and says who got it; the port reads the
// second, too short, frame when it is done with the first.
func send(cards map[string]*card, from string) []string {
	f := slices.Concat(make([]byte, 10), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, from[1], 0x88, 0xb5}, []byte("hello"))
	cards[from].in <- f
	cards[from].in <- []byte{0}
	var to []string
	for name, c := range cards {
		select {
		case <-c.got:
			to = append(to, name)
		default:
		}
	}
	slices.Sort(to)
	return to
}

// lab is a switch with three machines, and where its gNMI server listens.
func lab(t *testing.T) (*vswitch.Switch, map[string]*card, string) {
	t.Helper()
	sw, cards := vswitch.New(), map[string]*card{}
	for _, name := range []string{"p1", "p2", "p3"} {
		cards[name] = &card{in: make(chan []byte), got: make(chan []byte, 16), closed: make(chan struct{})}
		p, err := sw.AddPort(name, cards[name], vswitch.Access(1))
		if err != nil {
			t.Fatal(err)
		}
		p.Isolate()
	}
	t.Cleanup(func() { _ = sw.Close() })
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	gnmi.RegisterGNMIServer(srv, &openconfig.Server{Switch: sw, User: "admin", Password: "right"})
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(srv.Stop)
	return sw, cards, l.Addr().String()
}

// secret is a password that does not change.
func secret(password string) func() (string, error) {
	return func() (string, error) { return password, nil }
}

func driver(t *testing.T, address, password string) *switches.GNMI {
	t.Helper()
	d, err := switches.NewGNMI(address, insecure.NewCredentials(), "admin", secret(password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestFramesPassWhereTheDriverSaysSo(t *testing.T) {
	_, cards, address := lab(t)
	d := driver(t, address, "right")
	access := func(v int) switches.VLANs { return switches.VLANs{Untagged: v} }
	steps := []struct {
		port   string
		v      switches.VLANs
		want   []string // who hears p1
		reason string
	}{
		{"p1", access(10), nil, "nobody else has a VLAN"},
		{"p2", access(10), []string{"p2"}, "the same VLAN"},
		{"p2", access(10), []string{"p2"}, "a call that is repeated changes nothing"},
		{"p3", access(20), []string{"p2"}, "another VLAN"},
		{"p3", switches.VLANs{Untagged: 20, Tagged: []int{10, 30}}, []string{"p2", "p3"}, "a trunk that carries it"},
		{"p3", switches.VLANs{}, []string{"p2"}, "the trunk is off its VLANs"},
		{"p2", switches.VLANs{}, nil, "the last neighbour is off"},
		{"p2", switches.VLANs{}, nil, "and may be taken off again"},
	}
	for _, s := range steps {
		if err := d.SetPort(t.Context(), switches.Port{Name: s.port}, s.v); err != nil {
			t.Fatalf("%s: %v", s.reason, err)
		}
		if has, err := d.Port(t.Context(), switches.Port{Name: s.port}); err != nil || !has.Equal(s.v) {
			t.Errorf("%s: the switch tells %+v, %v, expected %+v", s.reason, has, err, s.v)
		}
		if diff := cmp.Diff(s.want, send(cards, "p1")); diff != "" {
			t.Errorf("%s %+v, %s (-want +got):\n%s", s.port, s.v, s.reason, diff)
		}
	}
}

func TestWhatASwitchRefuses(t *testing.T) {
	sw, _, address := lab(t)
	good, wrong := driver(t, address, "right"), driver(t, address, "s3cret-and-wrong")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		d    switches.Driver
		ctx  context.Context
		port string
		v    switches.VLANs
		want string
	}{
		{good, t.Context(), "p9", switches.VLANs{Untagged: 1}, `no interface "p9"`},
		{good, t.Context(), "", switches.VLANs{Untagged: 1}, "has no name"},
		{good, t.Context(), "p1", switches.VLANs{Untagged: 4095}, "untagged VLAN is 4095, expected 1 to 4094"},
		{good, t.Context(), "p1", switches.VLANs{Tagged: []int{0}}, "tagged VLAN is 0"},
		{good, t.Context(), "p1", switches.VLANs{Untagged: 5, Tagged: []int{5}}, "both untagged and tagged"},
		{good, t.Context(), "p1", switches.VLANs{Tagged: []int{7, 7}}, "given twice"},
		{wrong, t.Context(), "p1", switches.VLANs{Untagged: 1}, "Unauthenticated"},
		{good, gone, "p1", switches.VLANs{Untagged: 1}, "canceled"},
	} {
		refused := tt.d == wrong || tt.port == "p9"
		err := tt.d.SetPort(tt.ctx, switches.Port{Name: tt.port}, tt.v)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("port %q %+v: %v, expected an error with %q", tt.port, tt.v, err, tt.want)
		}
		if errors.Is(err, switches.ErrRefused) != refused {
			t.Errorf("port %q %+v: %v, expected the switch's refusal: %t", tt.port, tt.v, err, refused)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
	for _, p := range sw.Ports() {
		if m := p.Mode(); m.Native != 0 || len(m.Tagged) != 0 {
			t.Errorf("port %s has %+v after calls that were all refused", p.Name(), m)
		}
	}
}

func TestLabSwitchTellsWhatItHas(t *testing.T) {
	sw, _, address := lab(t)
	if err := sw.Ports()[0].SetMode(vswitch.Trunk(5, 10, 20)); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := gnmi.NewGNMIClient(conn)
	if _, err := c.Capabilities(t.Context(), &gnmi.CapabilityRequest{}); err == nil {
		t.Error("capabilities are told without a password")
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "username", "admin", "password", "right")
	caps, err := c.Capabilities(ctx, &gnmi.CapabilityRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var models []string
	for _, m := range caps.GetSupportedModels() {
		models = append(models, m.GetName())
	}
	if diff := cmp.Diff([]string{"openconfig-interfaces", "openconfig-vlan"}, models); diff != "" {
		t.Errorf("models (-want +got):\n%s", diff)
	}
	path := &gnmi.Path{Elem: []*gnmi.PathElem{{Name: "interfaces"}, {Name: "interface", Key: map[string]string{"name": "p1"}}, {Name: "ethernet"}, {Name: "switched-vlan"}, {Name: "config"}}}
	got, err := c.Get(ctx, &gnmi.GetRequest{Path: []*gnmi.Path{path}})
	if err != nil {
		t.Fatal(err)
	}
	text := string(got.GetNotification()[0].GetUpdate()[0].GetVal().GetJsonIetfVal())
	want := `{"openconfig-vlan:interface-mode":"TRUNK","openconfig-vlan:native-vlan":5,"openconfig-vlan:trunk-vlans":[10,20]}`
	if text != want {
		t.Errorf("config of the port is %s, expected %s", text, want)
	}
}

// TestCredentialsNeedTLS: user and password go to another machine only encrypted.
func TestCredentialsNeedTLS(t *testing.T) {
	for _, address := range []string{"192.0.2.1:57400", "switch.example.org:57400", "192.0.2.1"} {
		if _, err := switches.NewGNMI(address, insecure.NewCredentials(), "u", secret("hush")); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s without TLS: %v", address, err)
		}
	}
}

// recorder is a switch that answers as it is told and keeps what it was asked.
type recorder struct {
	gnmi.UnimplementedGNMIServer
	answer string
	set    *gnmi.SetRequest
}

func (r *recorder) Set(_ context.Context, in *gnmi.SetRequest) (*gnmi.SetResponse, error) {
	r.set = in
	return &gnmi.SetResponse{}, nil
}

func (r *recorder) Get(_ context.Context, in *gnmi.GetRequest) (*gnmi.GetResponse, error) {
	return &gnmi.GetResponse{Notification: []*gnmi.Notification{{Update: []*gnmi.Update{
		{Path: in.GetPath()[0], Val: &gnmi.TypedValue{Value: &gnmi.TypedValue_JsonIetfVal{JsonIetfVal: []byte(r.answer)}}},
	}}}}, nil
}

func startRecorder(t *testing.T) (*recorder, *switches.GNMI) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	r, srv := &recorder{}, grpc.NewServer()
	gnmi.RegisterGNMIServer(srv, r)
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(srv.Stop)
	return r, driver(t, "unix:"+l.Addr().String(), "x")
}

// TestBondIsAnAggregate: openconfig-if-aggregate has the VLANs of a link
// aggregation at the aggregate, in a container of its own.
func TestBondIsAnAggregate(t *testing.T) {
	r, d := startRecorder(t)
	for port, want := range map[switches.Port]string{{Name: "Ethernet1"}: "ethernet", {Name: "Port-Channel7", Aggregate: true}: "aggregation"} {
		if err := d.SetPort(t.Context(), port, switches.VLANs{Untagged: 5}); err != nil {
			t.Fatal(err)
		}
		elems := r.set.GetReplace()[0].GetPath().GetElem()
		if elems[1].GetKey()["name"] != port.Name || elems[2].GetName() != want {
			t.Errorf("%+v is set at %v, expected the container %s", port, elems, want)
		}
	}
}

func TestConfigurationsOfRealSwitches(t *testing.T) {
	r, d := startRecorder(t)
	for answer, want := range map[string]any{
		`{"openconfig-vlan:interface-mode":"ACCESS","openconfig-vlan:access-vlan":7}`:                 switches.VLANs{Untagged: 7},
		`{"interface-mode":"ACCESS","access-vlan":7}`:                                                 switches.VLANs{Untagged: 7},
		`{"interface-mode":"TRUNK","native-vlan":1,"access-vlan":9,"trunk-vlans":[3,"10..12", "20"]}`: switches.VLANs{Untagged: 1, Tagged: []int{3, 10, 11, 12, 20}},
		`{"interface-mode":"TRUNK"}`:                                                                  switches.VLANs{},
		``:                                                                                            switches.VLANs{},
		`{"interface-mode":"TRUNK","trunk-vlans":["1..5000"]}`:                                        "1..5000",
		`{"interface-mode":"TRUNK","trunk-vlans":["x"]}`:                                              `"x"`,
		`{"access-vlan":"seven"}`:                                                                     "access-vlan",
		`[`:                                                                                           "not understood",
	} {
		r.answer = answer
		got, err := d.Port(t.Context(), switches.Port{Name: "Ethernet1"})
		if text, bad := want.(string); bad {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, expected an error with %q", answer, err, text)
			}
		} else if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", answer, err, diff)
		}
	}
}

// TestSeveralPortsAtOnce: all of them or none.
func TestSeveralPortsAtOnce(t *testing.T) {
	sw, _, address := lab(t)
	d := driver(t, address, "right")
	change := func(port string, vlan int) switches.Change {
		return switches.Change{Port: switches.Port{Name: port}, VLANs: switches.VLANs{Untagged: vlan}}
	}
	if err := d.SetPorts(t.Context(), []switches.Change{change("p1", 10), change("p2", 20), change("p3", 0)}); err != nil {
		t.Fatal(err)
	}
	err := d.SetPorts(t.Context(), []switches.Change{change("p1", 30), change("p9", 30)})
	if !errors.Is(err, switches.ErrRefused) || !strings.Contains(err.Error(), "p1, p9") {
		t.Errorf("one port that is not there: %v", err)
	}
	if err := d.SetPorts(t.Context(), []switches.Change{change("p1", 30), change("p2", 5000)}); !errors.Is(err, switches.ErrInvalid) || !strings.Contains(err.Error(), "port p2") {
		t.Errorf("a VLAN that cannot be: %v", err)
	}
	var got []uint16
	for _, p := range sw.Ports() {
		got = append(got, p.Mode().Native)
	}
	if diff := cmp.Diff([]uint16{10, 20, 0}, got); diff != "" {
		t.Errorf("VLANs of p1, p2 and p3 (-want +got):\n%s", diff)
	}
}
