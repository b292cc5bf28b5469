package lab

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/google/uuid"

	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/qemu"
)

// The backends.
const (
	Container = "container"
	QEMU      = "qemu"
	Sim       = "sim"
)

// Addresses of the lab. They exist inside its namespaces only.
const (
	// DefaultName is the lab's name and that of its namespace.
	DefaultName = "tripleo-lab"
	// DefaultDir is where a lab keeps its files.
	DefaultDir = "/var/lib/tripleo-lab"
	// ProvisioningInterface and ProvisioningAddress are the undercloud's port of the provisioning network.
	ProvisioningInterface = "prov0"
	ProvisioningAddress   = "192.168.24.1/24"
	// ProvisioningAddress6 is that port's address in a lab with IPv6.
	ProvisioningAddress6 = "fd00:24::1/64"
	// DefaultNodeURL is the undercloud's provisioning listener.
	DefaultNodeURL = "http://192.168.24.1:8088"

	bmcNetwork   = "192.168.100."
	bmcFirst     = 11
	ipmiPort     = 623
	redfishPort  = 8000
	provisioning = 1 // the switch's VLAN of the provisioning network
	nicName      = "eth0"

	maxContainers = 200   // BMC addresses .11 to .210
	maxSim        = 60000 // the MAC scheme's last two bytes
	fileMode      = 0o600
	dirMode       = 0o700
)

// Config describes a lab. Zero values mean the defaults of Defaults.
type Config struct {
	// Name names the lab's namespace; the machines' are Name-node0, ...
	Name    string
	Dir     string
	Backend string
	Nodes   int
	CPUs    int
	// MemoryMiB and DiskGiB are each machine's.
	MemoryMiB int
	DiskGiB   int
	MTU       int
	// Firmware is each machine's firmware in order, "bios" or "uefi"; the last one is repeated. Of qemu only, as is
	// what follows.
	Firmware []string
	// IPv6 has the machines boot by IPv6, and no IPv4 on the provisioning network. UEFI only: no BIOS knows IPv6.
	IPv6 bool
	// Accel is "auto", "kvm" or "tcg".
	Accel string
	// NICModel and DiskBus are what the machines are made of; see the package qemu.
	NICModel, DiskBus string
	// Profiles are given to the machines in order; the last one is repeated.
	Profiles []string
	// Seed makes the simulation reproducible.
	Seed int64
	// NodeURL is the undercloud's provisioning listener as simulated machines reach it.
	NodeURL string
	// SimPort is the sim backend's Redfish port on loopback, the agents' is the next one.
	SimPort int
	// SimSpeed divides the simulation's waits; 0 means 1.
	SimSpeed float64
	// SimFailures is the rate (0 to 1) at which simulated deployments fail.
	SimFailures float64
}

// WithDefaults fills in what is not set.
func (c Config) WithDefaults() Config {
	set := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	num := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&c.Name, DefaultName)
	set(&c.Dir, DefaultDir)
	set(&c.Backend, Container)
	num(&c.Nodes, 3)
	if c.Backend == QEMU { // theirs are real
		num(&c.CPUs, 2)
		num(&c.MemoryMiB, 1024)
	}
	num(&c.CPUs, 4)
	num(&c.MemoryMiB, 6144)
	num(&c.DiskGiB, 20)
	num(&c.MTU, 1500)
	num(&c.SimPort, 8700)
	if len(c.Profiles) == 0 {
		c.Profiles = []string{"control", "compute"}
	}
	if len(c.Firmware) == 0 {
		c.Firmware = []string{qemu.BIOS}
	}
	set(&c.Accel, qemu.Auto)
	set(&c.NICModel, qemu.NICModels()[0])
	set(&c.DiskBus, qemu.DiskBuses()[0])
	if c.NodeURL == "" {
		c.NodeURL = DefaultNodeURL
	}
	if c.SimSpeed == 0 {
		c.SimSpeed = 1
	}
	return c
}

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, a ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, a...))
		}
	}
	check(regexp.MustCompile(`^[a-z][a-z0-9-]{0,40}$`).MatchString(c.Name), "name %q: want lower-case letters, digits and dashes, at most 41", c.Name)
	check(filepath.IsAbs(c.Dir) && filepath.Clean(c.Dir) != "/", "folder %q: want an absolute path", c.Dir)
	check(slices.Contains(Backends(), c.Backend), "backend %q: want one of %v", c.Backend, Backends())
	for _, f := range c.Firmware {
		check(slices.Contains(qemu.Firmwares(), f), "firmware %q: want one of %v", f, qemu.Firmwares())
	}
	check(!c.IPv6 || c.Backend == QEMU && !slices.Contains(c.Firmware, qemu.BIOS), "IPv6 with backend %s and firmware %v: want backend %s and firmware %s", c.Backend, c.Firmware, QEMU, qemu.UEFI)
	check(slices.Contains([]string{qemu.Auto, qemu.KVM, qemu.TCG}, c.Accel), "accelerator %q: want auto, kvm or tcg", c.Accel)
	check(slices.Contains(qemu.NICModels(), c.NICModel), "NIC model %q: want one of %v", c.NICModel, qemu.NICModels())
	check(slices.Contains(qemu.DiskBuses(), c.DiskBus), "disk bus %q: want one of %v", c.DiskBus, qemu.DiskBuses())
	limit := maxContainers
	if c.Backend == Sim {
		limit = maxSim
	}
	check(c.Nodes >= 1 && c.Nodes <= limit, "%d nodes: want 1 to %d", c.Nodes, limit)
	check(c.CPUs >= 1 && c.CPUs <= 1024, "%d CPUs: want 1 to 1024", c.CPUs)
	check(c.MemoryMiB >= 512, "%d MiB of memory: want at least 512", c.MemoryMiB)
	check(c.DiskGiB >= 1, "%d GiB of disk: want at least 1", c.DiskGiB)
	check(c.MTU >= 1280 && c.MTU <= 65521, "MTU %d: want 1280 to 65521", c.MTU)
	check(c.SimFailures >= 0 && c.SimFailures <= 1, "failure rate %v: want 0 to 1", c.SimFailures)
	check(c.SimSpeed > 0, "simulation speed %v: want more than 0", c.SimSpeed)
	return errors.Join(errs...)
}

// Backends lists the backends.
func Backends() []string { return []string{Container, QEMU, Sim} }

// provisioningAddress is the undercloud's.
func (c Config) provisioningAddress() string {
	if c.IPv6 {
		return ProvisioningAddress6
	}
	return ProvisioningAddress
}

// real reports whether the machines have a network of their own.
func (c Config) real() bool { return c.Backend != Sim }

// Node is one machine of a lab.
type Node struct {
	Name    string
	Index   int
	Profile string
	Info    bmc.Info
	MAC     net.HardwareAddr
	// Namespace is the machine's network namespace; only container machines have one.
	Namespace string
	// Firmware is "bios" or "uefi"; only qemu machines have a real one.
	Firmware string
	// PMType is how the undercloud is told to reach the BMC: "ipmi" or
	// "redfish"; a container machine's BMC speaks both.
	PMType      string
	BMCAddress  string
	IPMIPort    int // 0: no IPMI
	RedfishPort int
	// RedfishSystem is the system's identifier there.
	RedfishSystem string
	User          string
	// Password is that of both protocols; it appears in instackenv.json only.
	Password string
	// SwitchPort is where the machine's cable ends, at the switch SwitchName
	// with the MAC SwitchID; empty in the simulation.
	SwitchPort, SwitchName, SwitchID string
}

// RedfishURL is the root of the machine's Redfish service.
func (n Node) RedfishURL() string {
	return fmt.Sprintf("http://%s:%d", n.BMCAddress, n.RedfishPort)
}

// record is what a lab remembers of itself between processes (lab.json, mode 0600).
type record struct {
	Config Config
	// Secret is where the BMC passwords come from.
	Secret string
}

func newRecord(c Config) (record, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return record{}, fmt.Errorf("generate a secret: %w", err)
	}
	return record{Config: c, Secret: hex.EncodeToString(b)}, nil
}

func recordPath(dir string) string { return filepath.Join(dir, "lab.json") }

func (r record) save() error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("lab record: %w", err)
	}
	if err := os.WriteFile(recordPath(r.Config.Dir), append(b, '\n'), fileMode); err != nil {
		return fmt.Errorf("lab record: %w", err)
	}
	return nil
}

func loadRecord(dir string) (record, error) {
	var r record
	b, err := os.ReadFile(recordPath(dir))
	if err != nil {
		return r, fmt.Errorf("lab record: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("lab record %s: %w", recordPath(dir), err)
	}
	return r, nil
}

// nodes derives the machines from the record: the same record, the same machines.
func (r record) nodes() []Node {
	c := r.Config
	nodes := make([]Node, 0, c.Nodes)
	for i := range c.Nodes {
		mac := net.HardwareAddr{0x52, 0x54, 0, 0x24, byte((i + 1) >> 8), byte(i + 1)}
		n := Node{
			Name: fmt.Sprintf("node-%d", i), Index: i, MAC: mac, User: "admin",
			Profile:  c.Profiles[min(i, len(c.Profiles)-1)],
			Password: r.derive(fmt.Sprintf("bmc %d", i))[:16],
			PMType:   []string{"ipmi", "redfish"}[i%2],
		}
		serial := fmt.Sprintf("LAB%06d", i+1)
		n.Info = bmc.Info{
			Name: n.Name, UUID: uuid.NewSHA1(uuid.NameSpaceOID, []byte(r.Secret+serial)).String(),
			Manufacturer: "tripleo", Product: "lab " + c.Backend, Serial: serial, BIOSVersion: "1.0",
			CPUs: c.CPUs, CPUModel: "Lab x86-64", MemoryMiB: c.MemoryMiB, DiskBytes: int64(c.DiskGiB) << 30,
			NICs: []bmc.NIC{{Name: nicName, MAC: mac.String()}},
		}
		if c.Backend == Container {
			n.Namespace = fmt.Sprintf("%s-node%d", c.Name, i)
		}
		if c.Backend == QEMU {
			n.Firmware = c.Firmware[min(i, len(c.Firmware)-1)]
			n.Info.UEFI = n.Firmware == qemu.UEFI
		}
		if c.real() {
			n.SwitchName, n.SwitchID, n.SwitchPort = c.Name, chassisOf(c.Name).String(), n.Name
			if n.Namespace != "" {
				n.SwitchPort = n.Namespace
			}
			n.BMCAddress = fmt.Sprintf("%s%d", bmcNetwork, bmcFirst+i)
			n.IPMIPort, n.RedfishPort, n.RedfishSystem = ipmiPort, redfishPort, "1"
		} else {
			// One service for all: one account, like an aggregator's.
			n.PMType, n.BMCAddress, n.RedfishPort, n.RedfishSystem = "redfish", "127.0.0.1", c.SimPort, n.Info.UUID
			n.Password = r.derive("bmc")[:16]
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// derive makes a secret of its own for a purpose, as hexadecimal text.
func (r record) derive(purpose string) string {
	mac := hmac.New(sha256.New, []byte(r.Secret))
	mac.Write([]byte(purpose)) // never fails
	return hex.EncodeToString(mac.Sum(nil))
}

// namespaces lists the network namespaces of a lab, its own first.
func (r record) namespaces() []string {
	if !r.Config.real() {
		return nil
	}
	names := []string{r.Config.Name}
	for _, n := range r.nodes() {
		if n.Namespace != "" {
			names = append(names, n.Namespace)
		}
	}
	return slices.Clip(names)
}
