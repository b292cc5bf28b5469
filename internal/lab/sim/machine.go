package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/agent/installed/collect"
	"github.com/tripleo/tripleo/internal/lab/bmc"
	"github.com/tripleo/tripleo/internal/lab/firmware"
	"github.com/tripleo/tripleo/internal/lab/machine"
)

// Times of ordinary hardware, before Config.Speed.
const (
	postTime     = 40 * time.Second // power-on self test
	kernelTime   = 20 * time.Second // kernel and ramdisk start
	osTime       = 40 * time.Second // installed system start
	imageTime    = 90 * time.Second // writing an image
	eraseTime    = 60 * time.Second
	metadataTime = 5 * time.Second
	deployTime   = 10 * time.Second // one software deployment
	noDeviceTime = 10 * time.Second
	graceTime    = 2 * time.Second // between a power command's answer and its effect
)

// Config describes a simulated machine.
type Config struct {
	Info bmc.Info
	MAC  string
	// NodeURL is the undercloud's provisioning listener, e.g. http://127.0.0.1:8088.
	NodeURL string
	// CallbackURL is where this machine's agent is reached (ServeHTTP is behind it).
	CallbackURL string
	// Address is the IPv4 address the inventory shows for the NIC.
	Address string
	// Speed divides all times.
	Speed float64
	// FailureRate is how many of the software deployments fail, 0 to 1.
	FailureRate float64
	Seed        int64
	Index       int
	Client      *http.Client
	Log         *slog.Logger
	Now         func() time.Time
}

// Machine is simulated hardware. It implements machine.Hardware, and
// http.Handler as the ramdisk agent's API.
type Machine struct {
	cfg Config

	mu     sync.Mutex
	rng    *rand.Rand
	disk   contents
	agent  *ramdisk // while the ramdisk runs
	button func()   // asks the installed system to shut down
	media  string   // URL of what is in the virtual CD drive; "" is nothing
}

// contents is what is on the disk.
type contents struct {
	image string // id of the image, "" for an empty disk
	drive *collect.ConfigDrive
	// done holds the results of finished deployments by id.
	done map[string]*result
}

// New returns a machine with an empty disk.
func New(cfg Config) *Machine {
	return &Machine{cfg: cfg, rng: rand.New(rand.NewPCG(uint64(cfg.Seed), uint64(cfg.Index)))} //nolint:gosec // a simulation must be repeatable
}

// random returns a number in [0,1).
func (m *Machine) random() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rng.Float64()
}

// wait lets d of the machine's time pass, 20 % more or less.
func (m *Machine) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(time.Duration(float64(d) * (0.8 + 0.4*m.random()) / m.cfg.Speed))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// backoff waits before attempt n+1 of a request: 1, 2, 4 … 30 seconds of real
// time (the undercloud is not simulated), with jitter.
func (m *Machine) backoff(ctx context.Context, n int) error {
	d := min(time.Second<<min(n, 5), 30*time.Second)
	t := time.NewTimer(time.Duration(float64(d) * (0.5 + m.random())))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Boot implements machine.Hardware.
func (m *Machine) Boot(ctx context.Context, b machine.Board, order []bmc.BootDevice) machine.Outcome {
	if m.wait(ctx, postTime) != nil {
		return machine.PoweredOff
	}
	for _, dev := range order {
		var out machine.Outcome
		var err error
		switch dev {
		case bmc.PXE:
			out, err = m.bootNetwork(ctx, b)
		case bmc.Disk:
			out, err = m.bootDisk(ctx, b)
		case bmc.CDROM:
			out, err = m.bootCD(ctx, b)
		default:
			continue
		}
		switch {
		case ctx.Err() != nil:
			return machine.PoweredOff
		case err == nil:
			return out
		case errors.Is(err, firmware.ErrReboot):
			return machine.Restart
		case errors.Is(err, firmware.ErrPowerOff):
			return machine.PoweredOff
		}
		m.cfg.Log.Debug("boot device failed", "device", dev, "err", err)
		b.Phase("firmware", fmt.Sprintf("%s: %v", dev, err))
	}
	if m.wait(ctx, noDeviceTime) != nil {
		return machine.PoweredOff
	}
	return machine.Restart
}

// PowerButton implements machine.Hardware.
func (m *Machine) PowerButton() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.button != nil {
		m.button()
	}
}

// bootNetwork asks for the boot script as iPXE would and runs what it boots.
func (m *Machine) bootNetwork(ctx context.Context, b machine.Board) (machine.Outcome, error) {
	b.Phase("pxe", "")
	script := firmware.NewScript(&loader{m: m}, m.settings())
	img, err := script.Run(ctx, m.cfg.NodeURL+"/baremetal/boot/"+strings.ReplaceAll(m.cfg.MAC, ":", "-")+".ipxe")
	if err != nil {
		return 0, err
	}
	b.Phase("ramdisk", img.Kernel.Args)
	if err := m.wait(ctx, kernelTime); err != nil {
		return 0, err
	}
	return m.runRamdisk(ctx, img.Kernel.Args)
}

func (m *Machine) settings() map[string]string {
	return map[string]string{
		"mac": m.cfg.MAC, "ip": m.cfg.Address, "uuid": m.cfg.Info.UUID, "platform": "pcbios", "buildarch": "x86_64",
		"manufacturer": m.cfg.Info.Manufacturer, "product": m.cfg.Info.Product, "serial": m.cfg.Info.Serial,
	}
}

// loader is the firmware's side of boot scripts.
type loader struct{ m *Machine }

// touch is how much of a file is fetched, in bytes: scripts are shorter, and of
// kernels and ramdisks it is enough to know that they are there.
const touch = 64 << 10

func (l *loader) DHCP(context.Context) (map[string]string, error) { return l.m.settings(), nil }
func (l *loader) Printf(string, ...any)                           {}

func (l *loader) Fetch(ctx context.Context, u *url.URL) (firmware.Blob, error) {
	b, err := l.m.peek(ctx, u.String(), touch)
	if err != nil {
		return nil, err
	}
	return strings.NewReader(string(b)), nil
}

// peek reads the first n bytes of what an address serves.
func (m *Machine) peek(ctx context.Context, address string, n int64) ([]byte, error) {
	return m.fetchRange(ctx, address, 0, n)
}

// fetchRange reads at most n bytes from first on of what an address serves.
func (m *Machine) fetchRange(ctx context.Context, address string, first, n int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("the address cannot be parsed") // it may carry a signature
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, first+n-1))
	res, err := m.cfg.Client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer func() { _ = res.Body.Close() }()
	if whole := res.StatusCode == http.StatusOK && first == 0; !whole && res.StatusCode != http.StatusPartialContent {
		return nil, fmt.Errorf("the server answered %s", res.Status)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, n))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if len(b) == 0 {
		return nil, errors.New("the file is empty")
	}
	return b, nil
}
