// Package undercloud is the composition root: from a configuration it opens
// the stores, makes the services, binds the listeners, runs everything and
// shuts it down. It knows every service; only cli and the tests import it.
package undercloud

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tripleo/tripleo/internal/blob"
	"github.com/tripleo/tripleo/internal/orchestration"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// LabNamespace is the network namespace of the virtual lab's undercloud side.
// Without a provisioning interface in the configuration the undercloud uses
// the lab as soon as there is one.
const LabNamespace = "tripleo-lab"

// Config is the undercloud's configuration. The zero value of a field means
// its default.
type Config struct {
	DataDir  string // folder of everything the undercloud keeps
	Shared   string // folder of what several processes on one database share: secrets, token keys, blobs; default DataDir
	Listen   string // address:port of the API; default 127.0.0.1:8000
	Host     string // name or address by which clients reach the API; default that of Listen
	Database string // "sqlite:PATH" or "postgres://…"; default a file in DataDir
	Region   string // default regionOne
	LogLevel string // debug, info, warn, error; default info
	OverTCP  bool   // services reach each other through the listener instead of in process
	Profile  string // loopback address:port of Go's profiles; "" serves none

	TLS          TLS
	Provisioning Provisioning
	Baremetal    Baremetal
	Blob         Blob
	Messaging    Messaging
	Workflow     Workflow
	Identity     Identity
	Image        Image
	Network      Network

	Orchestration orchestration.Limits
}

// Messaging is what Zaqar may do.
type Messaging struct {
	MaxPostSize         int    // bytes of one post; default 2 MiB
	RequireConfirmation bool   // subscribers must confirm
	SMTPServer          string // host:port that takes mail for mailto: subscriptions; "" sends none
	SMTPFrom            string
	SMTPUser, SMTPPass  string
}

// Workflow says when ended executions of workflows are deleted, as
// instack-undercloud set Mistral up, and bounds the std.* actions.
type Workflow struct {
	OlderThan   int // minutes since the end; default 2880, negative keeps them
	MaxFinished int // how many ended ones stay at most; 0 is no bound

	AllowLocal bool           // std.http, std.email and std.ssh reach this machine and the link
	Allowed    []netip.Prefix // networks they reach all the same
	CA         string         // PEM file of authorities they trust besides the system's
	SSHKeys    string         // folder of the keys that private_key_filename may name
	KnownHosts string         // file of SSH host keys; "" takes any
	JSTime     int            // seconds a script may run; default 10
	JSMemory   int            // MiB it may use; default 256
}

// Blob says where bodies of images and large objects lie: the zero value in
// DataDir, with S3 in a bucket.
type Blob struct{ S3 blob.S3Config }

// Provisioning is the network the machines boot from.
type Provisioning struct {
	Namespace string       // network namespace of the interface; "" is the host's own
	Interface string       // e.g. eth1; "" together with an empty Namespace means the lab
	Address   netip.Prefix // the undercloud's own address there; default 192.168.24.1/24
	PoolStart netip.Addr   // default .100 to .200 of the network
	PoolEnd   netip.Addr
	Port      int // of the HTTP listener for machines; default 8088
	DNS       []string
	// DHCP is "server" (default), "proxy": another server gives the addresses and this one says what to boot, or "none".
	DHCP string
}

// What the undercloud does about DHCP on the provisioning network.
const (
	DHCPServer = "server"
	DHCPProxy  = "proxy"
	DHCPNone   = "none"
)

// LoadConfig reads a YAML file; path "" gives the defaults. Unknown keys are
// errors, so that a typing mistake is not silently ignored.
func LoadConfig(path string) (Config, error) {
	var c Config
	if path == "" {
		return c, nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // the operator's own file
	if err != nil {
		return c, fmt.Errorf("configuration: %w", err)
	}
	root, _, err := yaml11.Parse(path, data, yaml11.Limits{})
	if err != nil {
		return c, fmt.Errorf("configuration: %w", err)
	}
	r := &reader{}
	top := r.section(root, "", "data_dir", "shared_dir", "listen", "host", "tls", "database", "region", "log_level", "over_tcp", "profiling", "provisioning", "baremetal", "messaging", "blob", "workflow", "identity", "image", "network", "orchestration")
	r.text(top, "data_dir", &c.DataDir)
	r.text(top, "shared_dir", &c.Shared)
	r.text(top, "listen", &c.Listen)
	r.text(top, "host", &c.Host)
	r.text(top, "database", &c.Database)
	r.text(top, "region", &c.Region)
	r.text(top, "log_level", &c.LogLevel)
	r.boolean(top, "over_tcp", &c.OverTCP)
	r.text(top, "profiling", &c.Profile)
	if t := top.Get("tls"); t != nil {
		t = r.section(t, "tls", "enabled", "cert", "key", "ca")
		r.text(t, "cert", &c.TLS.Cert)
		r.text(t, "key", &c.TLS.Key)
		r.text(t, "ca", &c.TLS.CA)
		value(r, t, "enabled", "true or false", func(on bool) error {
			c.TLS.Mode = map[bool]string{true: "on", false: "off"}[on]
			return nil
		})
	}
	if p := top.Get("provisioning"); p != nil {
		p = r.section(p, "provisioning", "namespace", "interface", "address", "pool_start", "pool_end", "port", "dns", "dhcp")
		r.text(p, "namespace", &c.Provisioning.Namespace)
		r.text(p, "interface", &c.Provisioning.Interface)
		r.prefix(p, "address", &c.Provisioning.Address)
		r.addr(p, "pool_start", &c.Provisioning.PoolStart)
		r.addr(p, "pool_end", &c.Provisioning.PoolEnd)
		r.number(p, "port", &c.Provisioning.Port)
		r.texts(p, "dns", &c.Provisioning.DNS)
		r.choice(p, "dhcp", &c.Provisioning.DHCP, DHCPServer, DHCPProxy, DHCPNone)
	}
	r.baremetalSection(top.Get("baremetal"), &c.Baremetal)
	if w := top.Get("workflow"); w != nil {
		w = r.section(w, "workflow", "older_than", "max_finished_executions",
			"allow_local", "allowed_targets", "ca", "ssh_keys", "ssh_known_hosts", "js_time", "js_memory")
		r.number(w, "older_than", &c.Workflow.OlderThan)
		r.number(w, "max_finished_executions", &c.Workflow.MaxFinished)
		r.actions(w, &c.Workflow)
	}
	if b := top.Get("blob"); b != nil {
		r.s3(r.section(b, "blob", "s3").Get("s3"), &c.Blob.S3)
	}
	r.identitySection(top.Get("identity"), &c.Identity)
	r.imageSection(top.Get("image"), &c.Image)
	r.networkSection(top.Get("network"), &c.Network)
	r.orchestrationSection(top.Get("orchestration"), &c.Orchestration)
	if m := top.Get("messaging"); m != nil {
		m = r.section(m, "messaging", "max_messages_post_size", "require_confirmation", "smtp")
		r.number(m, "max_messages_post_size", &c.Messaging.MaxPostSize)
		r.boolean(m, "require_confirmation", &c.Messaging.RequireConfirmation)
		if smtp := m.Get("smtp"); smtp != nil {
			smtp = r.section(smtp, "messaging.smtp", "server", "from", "username", "password")
			r.text(smtp, "server", &c.Messaging.SMTPServer)
			r.text(smtp, "from", &c.Messaging.SMTPFrom)
			r.text(smtp, "username", &c.Messaging.SMTPUser)
			r.text(smtp, "password", &c.Messaging.SMTPPass)
		}
	}
	return c, errors.Join(r.errs...)
}

// reader collects the errors of a configuration file, each with its place.
type reader struct{ errs []error }

func (r *reader) errorf(n *yaml11.Node, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s: %s", n.Pos(), fmt.Sprintf(format, args...)))
}

func (r *reader) section(n *yaml11.Node, name string, keys ...string) *yaml11.Node {
	m, ok := n.Value().(*yaml11.OrderedMap)
	if !ok {
		if n.Value() != nil {
			r.errorf(n, "%s is %T, expected a mapping", name, n.Value())
		}
		return n
	}
	for _, key := range m.Keys() {
		if !slices.Contains(keys, key) {
			r.errorf(n.Get(key), "unknown key %q, expected one of %v", key, keys)
		}
	}
	return n
}

// value gives the value of a key, if it is there.
func value[T any](r *reader, n *yaml11.Node, key, expected string, set func(T) error) {
	at := n.Get(key)
	if at == nil || at.Value() == nil {
		return
	}
	v, ok := at.Value().(T)
	if !ok {
		r.errorf(at, "%s is %v, expected %s", key, at.Value(), expected)
		return
	}
	if err := set(v); err != nil {
		r.errorf(at, "%s is %v, expected %s: %v", key, at.Value(), expected, err)
	}
}

func (r *reader) s3(n *yaml11.Node, c *blob.S3Config) {
	if n == nil {
		return
	}
	n = r.section(n, "blob.s3", "endpoint", "bucket", "prefix", "region", "access_key", "secret_key", "insecure")
	r.text(n, "endpoint", &c.Endpoint)
	r.text(n, "bucket", &c.Bucket)
	r.text(n, "prefix", &c.Prefix)
	r.text(n, "region", &c.Region)
	r.text(n, "access_key", &c.AccessKey)
	r.text(n, "secret_key", &c.SecretKey)
	r.boolean(n, "insecure", &c.Insecure)
	for key, v := range map[string]string{"endpoint": c.Endpoint, "bucket": c.Bucket, "access_key": c.AccessKey, "secret_key": c.SecretKey} {
		if v == "" {
			r.errorf(n, "blob.s3.%s is missing", key)
		}
	}
}

func (r *reader) text(n *yaml11.Node, key string, to *string) {
	value(r, n, key, "text", func(s string) error { *to = s; return nil })
}

// choice reads a text that is one of a few.
func (r *reader) choice(n *yaml11.Node, key string, to *string, of ...string) {
	value(r, n, key, strings.Join(of, ", "), func(s string) error {
		if !slices.Contains(of, s) {
			return fmt.Errorf("%q is none of them", s)
		}
		*to = s
		return nil
	})
}

func (r *reader) number(n *yaml11.Node, key string, to *int) {
	value(r, n, key, "a whole number", func(i int64) error { *to = int(i); return nil })
}

func (r *reader) boolean(n *yaml11.Node, key string, to *bool) {
	value(r, n, key, "true or false", func(b bool) error { *to = b; return nil })
}

func (r *reader) prefix(n *yaml11.Node, key string, to *netip.Prefix) {
	value(r, n, key, "an address with its prefix length, such as 192.168.24.1/24", func(s string) (err error) {
		*to, err = netip.ParsePrefix(s)
		return err
	})
}

func (r *reader) addr(n *yaml11.Node, key string, to *netip.Addr) {
	value(r, n, key, "an IP address", func(s string) (err error) { *to, err = netip.ParseAddr(s); return err })
}

func (r *reader) texts(n *yaml11.Node, key string, to *[]string) {
	value(r, n, key, "a list of texts", func(list []any) error {
		for _, v := range list {
			s, ok := v.(string)
			if !ok {
				return fmt.Errorf("%v is not text", v)
			}
			*to = append(*to, s)
		}
		return nil
	})
}

// DefaultDataDir is where the undercloud keeps its data unless told otherwise.
func DefaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/tripleo"
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "tripleo-data"
	}
	return filepath.Join(home, ".local", "share", "tripleo")
}

func (c *Config) setDefaults() error {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&c.DataDir, DefaultDataDir())
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return fmt.Errorf("data folder %q: %w", c.DataDir, err)
	}
	c.DataDir = dir
	def(&c.Shared, c.DataDir)
	def(&c.Listen, "127.0.0.1:8000")
	def(&c.Database, "sqlite:"+filepath.Join(c.DataDir, "undercloud.db"))
	def(&c.Region, "regionOne")
	def(&c.LogLevel, "info")
	p := &c.Provisioning
	if p.Namespace == "" && p.Interface == "" {
		p.Namespace = LabNamespace
	}
	if !p.Address.IsValid() {
		p.Address = netip.MustParsePrefix("192.168.24.1/24")
	}
	base := p.Address.Masked().Addr()
	if !p.PoolStart.IsValid() {
		p.PoolStart = plus(base, 100)
	}
	if !p.PoolEnd.IsValid() {
		p.PoolEnd = plus(base, 200)
	}
	if p.Port == 0 {
		p.Port = 8088
	}
	def(&c.Baremetal.BMCNamespace, p.Namespace)
	return c.setEndpoint()
}

// setEndpoint decides by which name and with which protection the API is served.
func (c *Config) setEndpoint() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen address %q, expected ADDRESS:PORT: %w", c.Listen, err)
	}
	ip := net.ParseIP(host)
	loopback := host == "localhost" || ip != nil && ip.IsLoopback()
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return fmt.Errorf("tls.cert is %q and tls.key is %q, expected both or neither", c.TLS.Cert, c.TLS.Key)
	}
	if c.TLS.Mode == "" && (!loopback || c.TLS.Cert != "") {
		c.TLS.Mode = "on"
	}
	if c.TLS.Mode == "off" && !loopback {
		return fmt.Errorf("listen address %q is not a loopback address; without TLS the API may only be offered on loopback: remove tls.enabled: false", c.Listen)
	}
	if c.Host == "" {
		c.Host = host
	}
	if ip := net.ParseIP(c.Host); c.Host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("listen address %q stands for all addresses of this machine: name in `host` the one by which clients reach it", c.Listen)
	}
	return nil
}

// Endpoint is the URL of the API and the file with the authority that clients
// have to trust; "" means that of the system. Defaults are applied; with port 0
// in Listen the URL says 0.
func (c Config) Endpoint() (apiURL, caFile string, err error) {
	if err := c.setDefaults(); err != nil {
		return "", "", err
	}
	_, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", "", err
	}
	return c.baseURL(port), c.caFile(), nil
}

func (c *Config) baseURL(port string) string {
	scheme := "http://"
	if c.TLS.Mode == "on" {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(c.Host, port)
}

func (c *Config) tlsDir() string { return filepath.Join(c.DataDir, "tls") }

func (c *Config) caFile() string {
	switch {
	case c.TLS.Mode != "on":
		return ""
	case c.TLS.Cert == "":
		return filepath.Join(c.tlsDir(), "ca.pem")
	default:
		return c.TLS.CA
	}
}

// certificateNames are what the own certificate is good for: the name clients
// use, and this machine seen from itself.
func (c *Config) certificateNames() []string {
	names := []string{c.Host, "localhost", "127.0.0.1", "::1"}
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && host != "" {
		if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
			names = append(names, host)
		}
	}
	slices.Sort(names[1:])
	return slices.Compact(names)
}

func plus(a netip.Addr, n int) netip.Addr {
	b := a.AsSlice()
	for i := len(b) - 1; i >= 0 && n > 0; i-- {
		n += int(b[i])
		b[i] = byte(n)
		n >>= 8
	}
	out, _ := netip.AddrFromSlice(b)
	return out
}

// NodeURL is the address under which machines reach the undercloud.
func (c *Config) NodeURL() string {
	return fmt.Sprintf("http://%s", netip.AddrPortFrom(c.Provisioning.Address.Addr(), uint16(c.Provisioning.Port))) //nolint:gosec // a port
}
