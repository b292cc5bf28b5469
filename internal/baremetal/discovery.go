package baremetal

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/boot"
	"github.com/tripleo/tripleo/internal/store"
)

// Discovery: a machine that no node is known for boots the ramdisk, which tells
// the introspection service what it runs on and waits; whether a node is made
// of it is decided there.

// unknown stands for the node of such a machine: it has nothing but defaults.
func unknown() *Node { return &Node{} }

func (s *Service) discoveryScript(mac string) string {
	at := func(kind string) string {
		if ref := s.bootImage(unknown(), kind); strings.HasPrefix(ref, "http://") || strings.HasPrefix(ref, "https://") {
			return ref
		}
		return s.nodeBase() + "/boot/discovery/" + kind
	}
	args := boot.KernelArgs{MAC: mac, Append: s.cfg.KernelAppend, Collectors: s.cfg.InspectionCollectors, InspectionURL: s.cfg.InspectionURL}
	return boot.Script(boot.Ramdisk{Kernel: at("kernel"), Initrd: at("ramdisk"), Args: args.List()})
}

func (s *Service) discoveryFile(w http.ResponseWriter, r *http.Request) error {
	kind := r.PathValue("kind")
	if !s.cfg.Discovery || kind != "kernel" && kind != "ramdisk" {
		return api.NotFound("there is nothing to boot for unknown machines")
	}
	return s.serveBootImage(w, r, s.bootImage(unknown(), kind))
}

// Bounds of discovery: so many machines at once, each for so long.
const (
	maxDiscoveries = 256
	discoveryKept  = time.Hour
)

// discoveries are the machines that were told to boot the ramdisk lately.
type discoveries struct {
	mu  sync.Mutex
	mac map[string]time.Time
}

// take says whether a machine may be discovered now.
func (d *discoveries) take(mac string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for m, t := range d.mac {
		if now.Sub(t) > discoveryKept {
			delete(d.mac, m)
		}
	}
	if _, again := d.mac[mac]; !again && len(d.mac) >= maxDiscoveries {
		return false
	}
	if d.mac == nil {
		d.mac = map[string]time.Time{}
	}
	d.mac[mac] = now
	return true
}

// Discover gives a machine that no DHCP server knows an address on the
// provisioning network and has it boot the ramdisk. The machines of nodes that
// expect no ramdisk are left alone.
func (s *Service) Discover(ctx context.Context, hw net.HardwareAddr) error {
	mac, err := normMAC(hw.String())
	if !s.cfg.Discovery || err != nil {
		return nil //nolint:nilerr // a client without an Ethernet address is none of ours
	}
	known := ""
	err = s.cfg.DB.View(ctx, func(tx *store.Tx) (err error) {
		known, err = nodeByMACs(tx, []any{mac})
		return err
	})
	if err != nil || known != "" || !s.discovered.take(mac, s.now()) {
		return err
	}
	s.log.Info("unknown machine boots the ramdisk", "mac", mac)
	return s.network.discover(ctx, mac, s.bootOptions(unknown(), mac))
}

// pruneDiscoveries removes the ports of machines that were discovered and came
// to nothing.
func (s *Service) pruneDiscoveries(ctx context.Context) {
	if !s.cfg.Discovery {
		return
	}
	if err := s.network.forgetDiscovered(ctx, s.now().Add(-discoveryKept)); err != nil && ctx.Err() == nil {
		s.log.Info("ports of unknown machines cannot be removed now", "error", err)
	}
}
