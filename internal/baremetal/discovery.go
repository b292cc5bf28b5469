package baremetal

import (
	"net/http"
	"strings"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/baremetal/boot"
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

// DiscoveryOption is a DHCP option, named as Neutron's extra_dhcp_opts are.
type DiscoveryOption struct{ Name, Value string }

// DiscoveryOptions are what the DHCP server tells a machine that nobody knows;
// nil: it is left alone.
func (s *Service) DiscoveryOptions(mac string) []DiscoveryOption {
	if !s.cfg.Discovery {
		return nil
	}
	var out []DiscoveryOption
	for _, o := range s.bootOptions(unknown(), mac) {
		if v, ok := o.Value.(string); ok {
			out = append(out, DiscoveryOption{o.Name, v})
		}
	}
	return out
}
