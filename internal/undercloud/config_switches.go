package undercloud

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tripleo/tripleo/internal/network/switches"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Drivers of switches.
const (
	switchGNMI = "gnmi" // OpenConfig over gNMI
	switchNoop = "noop" // somebody else configures the switch
)

const maxPassword = 4096 // bytes of a password file

// Switch is a switch whose ports the network service configures.
type Switch struct {
	switches.Switch // without its driver

	Driver       string // "gnmi" or "noop"
	Address      string // host:port, or unix:/path
	NoTLS        bool   // loopback and sockets only
	CA           string // PEM file of the authority of its certificate; "" is the system's
	ServerName   string // that the certificate is for; "" is the address's
	Cert, Key    string // PEM files of a client certificate
	User         string
	PasswordFile string // file that holds nothing but the password
	at           string // place in the configuration
}

// switchList reads network.switches.
func (r *reader) switchList(n *yaml11.Node, c *Network) {
	if n == nil || n.Kind == yaml11.Null {
		return
	}
	if n.Kind != yaml11.Seq {
		r.errorf(n, "network.switches is a %s, expected a list of switches", n.Kind)
		return
	}
	for i, item := range n.Items {
		if item.Kind != yaml11.Map {
			r.errorf(item, "network.switches[%d] is a %s, expected a mapping", i, item.Kind)
			continue
		}
		c.Switches = append(c.Switches, r.oneSwitch(item, i))
	}
	if len(r.errs) > 0 {
		return
	}
	// Names and identifiers that two have; drivers are made later.
	list := make([]switches.Switch, 0, len(c.Switches))
	for _, s := range c.Switches {
		s.Switch.Driver = switches.Noop{}
		list = append(list, s.Switch)
	}
	if _, err := switches.NewFabric(list); err != nil {
		r.errorf(n, "network.switches: %v", err)
	}
}

func (r *reader) oneSwitch(n *yaml11.Node, i int) Switch {
	place := fmt.Sprintf("network.switches[%d]", i)
	r.section(n, place, "name", "switch_id", "switch_info", "driver", "address", "tls", "username", "password_file",
		"sessions", "timeout", "give_up", "resync", "default_vlan", "physical_networks", "interfaces")
	s := Switch{at: place, Driver: switchGNMI}
	r.text(n, "name", &s.Name)
	r.text(n, "switch_id", &s.ID)
	r.text(n, "switch_info", &s.Info)
	r.choice(n, "driver", &s.Driver, switchGNMI, switchNoop)
	r.text(n, "address", &s.Address)
	r.text(n, "username", &s.User)
	r.text(n, "password_file", &s.PasswordFile)
	r.number(n, "sessions", &s.Sessions)
	r.number(n, "default_vlan", &s.DefaultVLAN)
	r.texts(n, "physical_networks", &s.PhysicalNetworks)
	for key, to := range map[string]*time.Duration{"timeout": &s.Timeout, "give_up": &s.GiveUp, "resync": &s.Resync} {
		value(r, n, key, "seconds from 1 to 86400", func(sec int64) error {
			if sec < 1 || sec > 86400 {
				return errors.New("it is out of range")
			}
			*to = time.Duration(sec) * time.Second
			return nil
		})
	}
	if t := n.Get("tls"); t != nil {
		t = r.section(t, place+".tls", "enabled", "ca", "server_name", "cert", "key")
		on := true
		r.boolean(t, "enabled", &on)
		s.NoTLS = !on
		r.text(t, "ca", &s.CA)
		r.text(t, "server_name", &s.ServerName)
		r.text(t, "cert", &s.Cert)
		r.text(t, "key", &s.Key)
	}
	if s.Interfaces = r.rules(n.Get("interfaces"), place); s.Name == "" {
		r.errorf(n, "%s.name is missing, expected a name for messages", place)
	}
	if s.ID == "" && n.Get("switch_info") == nil {
		r.errorf(n, "%s.switch_id is missing, expected the MAC address that the switch tells by LLDP, or switch_info", place)
	}
	r.access(n, place, &s)
	return s
}

// access checks how the switch is reached.
func (r *reader) access(n *yaml11.Node, place string, s *Switch) {
	if s.Driver == switchNoop {
		for key, v := range map[string]string{"address": s.Address, "username": s.User, "password_file": s.PasswordFile} {
			if v != "" {
				r.errorf(n.Get(key), "%s.%s is %q, expected nothing with the driver noop", place, key, v)
			}
		}
		return
	}
	at := n
	if a := n.Get("address"); a != nil {
		at = a
	}
	if err := switches.CheckAddress(s.Address, !s.NoTLS); err != nil {
		r.errorf(at, "%s.address: %v", place, err)
	}
	if (s.User == "") != (s.PasswordFile == "") {
		r.errorf(n, "%s: username is %q and password_file is %q, expected both or neither", place, s.User, s.PasswordFile)
	}
	if (s.Cert == "") != (s.Key == "") {
		r.errorf(n, "%s.tls: cert is %q and key is %q, expected both or neither", place, s.Cert, s.Key)
	}
}

// rules reads interfaces: how the switch calls its ports.
func (r *reader) rules(n *yaml11.Node, place string) []switches.Rule {
	if n == nil || n.Kind == yaml11.Null {
		return nil
	}
	if n.Kind != yaml11.Seq {
		r.errorf(n, "%s.interfaces is a %s, expected a list of {port, interface, aggregate}", place, n.Kind)
		return nil
	}
	var out []switches.Rule
	for i, item := range n.Items {
		var port, name string
		var aggregate bool
		r.section(item, fmt.Sprintf("%s.interfaces[%d]", place, i), "port", "interface", "aggregate")
		r.text(item, "port", &port)
		r.text(item, "interface", &name)
		r.boolean(item, "aggregate", &aggregate)
		rule, err := switches.NewRule(port, name, aggregate)
		if err != nil {
			r.errorf(item, "%s.interfaces[%d].port is %v", place, i, err)
		}
		out = append(out, rule)
	}
	return out
}

// flatVLANs reads "physical_network:vlan".
func (r *reader) flatVLANs(n *yaml11.Node, c *Network) {
	var list []string
	r.texts(n, "flat_vlans", &list)
	for _, text := range list {
		physical, number, _ := strings.Cut(text, ":")
		vlan, err := strconv.Atoi(number)
		if err != nil || physical == "" || vlan < 1 || vlan > switches.MaxVLAN {
			r.errorf(n.Get("flat_vlans"), "network.flat_vlans: %q, expected PHYSICAL_NETWORK:VLAN with a VLAN of 1 to %d", text, switches.MaxVLAN)
			continue
		}
		if c.FlatVLANs == nil {
			c.FlatVLANs = map[string]int{}
		}
		c.FlatVLANs[physical] = vlan
	}
}

// fabric makes the switches with their drivers, of which close ends the
// connections.
func (n *Network) fabric() (list []switches.Switch, end func() error, err error) {
	var open []io.Closer
	end = func() error {
		var errs []error
		for _, c := range open {
			errs = append(errs, c.Close())
		}
		return errors.Join(errs...)
	}
	for _, s := range n.Switches {
		if s.Driver == switchNoop {
			s.Switch.Driver = switches.Noop{}
			list = append(list, s.Switch)
			continue
		}
		d, err := s.driver()
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("%s (switch %q): %w", s.at, s.Name, err), end())
		}
		open = append(open, d)
		s.Switch.Driver = d
		list = append(list, s.Switch)
	}
	return list, end, nil
}

func (s *Switch) driver() (*switches.GNMI, error) {
	creds := insecure.NewCredentials()
	if !s.NoTLS {
		c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.ServerName}
		if s.CA != "" {
			pem, err := os.ReadFile(s.CA)
			if err != nil {
				return nil, fmt.Errorf("tls.ca: %w", err)
			}
			c.RootCAs = x509.NewCertPool()
			if !c.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("tls.ca: %s holds no certificate in PEM", s.CA)
			}
		}
		if s.Cert != "" {
			pair, err := tls.LoadX509KeyPair(s.Cert, s.Key)
			if err != nil {
				return nil, fmt.Errorf("tls.cert and tls.key: %w", err)
			}
			c.Certificates = []tls.Certificate{pair}
		}
		creds = credentials.NewTLS(c)
	}
	if s.User == "" {
		return switches.NewGNMI(s.Address, creds, "", nil)
	}
	if _, err := readPassword(s.PasswordFile); err != nil {
		return nil, err
	}
	return switches.NewGNMI(s.Address, creds, s.User, func() (string, error) { return readPassword(s.PasswordFile) })
}

// readPassword reads a file anew each time, so that it can be changed; what
// follows the password's line is refused rather than sent.
func readPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("password_file %s: %w", path, err)
	}
	password := strings.TrimRight(string(b), "\r\n")
	if password == "" || len(b) > maxPassword || strings.ContainsAny(password, "\r\n") {
		return "", fmt.Errorf("password_file %s: expected one line with a password of at most %d bytes", path, maxPassword)
	}
	return password, nil
}
