package undercloud

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openconfig/gnmi/proto/gnmi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/tripleo/tripleo/internal/lab/vswitch"
	"github.com/tripleo/tripleo/internal/lab/vswitch/openconfig"
	"github.com/tripleo/tripleo/internal/network/switches"
)

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "undercloud.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadConfig(path)
}

func TestSwitchesOfTheConfiguration(t *testing.T) {
	c, err := load(t, `
network:
  vlan_ranges: [rack:100:199]
  flat_vlans: [rack:7]
  switches:
  - name: leaf1
    switch_id: 00:1C:73:AA:BB:01
    address: 192.0.2.1:6030
    username: admin
    password_file: /etc/tripleo/leaf1
    sessions: 2
    timeout: 5
    default_vlan: 99
    physical_networks: [rack]
    interfaces:
    - {port: 'Eth(\d+)', interface: Ethernet$1}
    - {port: bond1, interface: Port-Channel1, aggregate: true}
  - name: leaf2
    switch_info: leaf2.example.org
    driver: noop
`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Network.FlatVLANs["rack"] != 7 || len(c.Network.Switches) != 2 {
		t.Fatalf("%+v", c.Network)
	}
	s := c.Network.Switches[0]
	if s.Timeout != 5*time.Second || s.Sessions != 2 || s.DefaultVLAN != 99 || len(s.Interfaces) != 2 || s.User != "admin" || s.NoTLS {
		t.Errorf("%+v", s)
	}
	if c.Network.Switches[1].Driver != switchNoop {
		t.Errorf("%+v", c.Network.Switches[1])
	}
}

func TestErrorsOfSwitchesNameThePlace(t *testing.T) {
	one := func(lines string) string {
		return "network:\n  switches:\n  - name: leaf1\n    switch_id: 00:1c:73:aa:bb:01\n" + lines
	}
	for _, tt := range []struct{ text, want string }{
		{"network:\n  switches: leaf1\n", ":2:13: network.switches is a string, expected a list"},
		{"network:\n  switches: [leaf1]\n", ":2:14: network.switches[0] is a string, expected a mapping"},
		{one("    hostname: 192.0.2.1:1\n"), `:5:15: unknown key "hostname"`},
		{one("    driver: telnet\n"), `expected gnmi, noop`},
		{one(""), `network.switches[0].address: switch address "", expected HOST:PORT or unix:/PATH`},
		{one("    address: 192.0.2.1\n"), `:5:14: network.switches[0].address: switch address "192.0.2.1", expected HOST:PORT`},
		{one("    address: 192.0.2.1:99999\n"), `expected HOST:PORT`},
		{one("    address: 192.0.2.1:6030\n    tls: {enabled: false}\n"), "expected TLS"},
		{one("    address: 192.0.2.1:6030\n    username: admin\n"), `username is "admin" and password_file is "", expected both or neither`},
		{one("    address: 192.0.2.1:6030\n    tls: {cert: /c}\n"), `cert is "/c" and key is "", expected both or neither`},
		{one("    address: 192.0.2.1:6030\n    timeout: 0\n"), `timeout is 0, expected seconds from 1 to 86400`},
		{one("    address: 192.0.2.1:6030\n    sessions: 100\n"), `sessions is 100, expected 1 to 64`},
		{one("    address: 192.0.2.1:6030\n    interfaces:\n    - {port: '('}\n"), `:7:7: network.switches[0].interfaces[0].port is "(", expected a regular expression`},
		{one("    driver: noop\n    password_file: /x\n"), "expected nothing with the driver noop"},
		{one("    driver: noop\n  - name: leaf2\n    switch_id: 00:1c:73:aa:bb:01\n    driver: noop\n"), `is that of switch "leaf1" already`},
		{"network:\n  switches:\n  - driver: noop\n    switch_id: 00:1c:73:aa:bb:01\n", "network.switches[0].name is missing"},
		{"network:\n  switches:\n  - name: x\n    driver: noop\n", "network.switches[0].switch_id is missing"},
		{"network:\n  flat_vlans: [rack]\n", `network.flat_vlans: "rack", expected PHYSICAL_NETWORK:VLAN`},
		{"network:\n  flat_vlans: ['rack:4095']\n", "1 to 4094"},
	} {
		if _, err := load(t, tt.text); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "undercloud.yaml:") {
			t.Errorf("%q\ngot %v\nexpected the place and %q", tt.text, err, tt.want)
		}
	}
}

func TestPasswordFilesOfSwitches(t *testing.T) {
	dir := t.TempDir()
	for name, tt := range map[string]struct{ text, want string }{
		"good":  {"s3cret\n", ""},
		"empty": {"\n", "expected one line"},
		"two":   {"s3cret\nmore\n", "expected one line"},
		"long":  {strings.Repeat("x", 5000), "at most 4096 bytes"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readPassword(path)
		if tt.want == "" && (got != "s3cret" || err != nil) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%s: %v, expected the file and %q, and not what it holds", name, err, tt.want)
		}
	}
	n := Network{Switches: []Switch{{at: "network.switches[0]", Switch: switches.Switch{Name: "leaf1"}, Address: "192.0.2.1:1", User: "u", PasswordFile: filepath.Join(dir, "none")}}}
	if _, _, err := n.fabric(); err == nil || !strings.Contains(err.Error(), "network.switches[0]") || !strings.Contains(err.Error(), filepath.Join(dir, "none")) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestSwitchIsReachedOverTLS: with the switch's own authority, and not without.
func TestSwitchIsReachedOverTLS(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "leaf1"}, DNSNames: []string{"leaf1.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca, password := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "password")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(password, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sw := vswitch.New()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})))
	gnmi.RegisterGNMIServer(srv, &openconfig.Server{Switch: sw, User: "admin", Password: "right"})
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(srv.Stop)
	for _, tt := range []struct{ tls, want string }{
		{"{ca: " + ca + ", server_name: leaf1.example.org}", `no interface "eth1"`}, // it was understood
		{"{server_name: leaf1.example.org}", "unknown authority"},
		{"{ca: " + ca + ", server_name: leaf2.example.org}", "leaf1.example.org"},
	} {
		c, err := load(t, fmt.Sprintf("network:\n  switches:\n  - {name: leaf1, switch_info: x, address: '%s', username: admin, password_file: %s, timeout: 5, tls: %s}\n", l.Addr(), password, tt.tls))
		if err != nil {
			t.Fatal(err)
		}
		list, end, err := c.Network.fabric()
		if err != nil {
			t.Fatal(err)
		}
		err = list[0].Driver.SetPort(t.Context(), switches.Port{Name: "eth1"}, switches.VLANs{Untagged: 5})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, expected %q", tt.tls, err, tt.want)
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}
