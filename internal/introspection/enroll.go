package introspection

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/ports"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/introspection/hooks"
)

// errUnknownMachine is behind the answer to a ramdisk that runs on no node.
var errUnknownMachine = errors.New("no node has these MAC addresses")

// maxEnrolledPorts bounds what one report of an unknown machine may make.
const maxEnrolledPorts = 64

// enroll makes a node of a machine that nobody knew: in state enroll, with a
// port for each of its cards and the address of its controller. An operator, or
// a rule whose condition is auto_discovered, gives it credentials.
func (s *Service) enroll(ctx context.Context, ironic *ironic, data map[string]any) (node, error) {
	macs := hooks.MACs(data)
	if len(macs) > maxEnrolledPorts {
		return nil, api.Invalid("the data name %d network interfaces, at most %d are taken of an unknown machine", len(macs), maxEnrolledPorts)
	}
	info := map[string]any{}
	inv, _ := data["inventory"].(map[string]any)
	if addr, ok := controllerAddr(inv["bmc_address"]); ok {
		switch s.cfg.EnrollDriver {
		case "ipmi":
			info["ipmi_address"] = addr.String()
		case "redfish":
			host := addr.String()
			if addr.Is6() {
				host = "[" + host + "]"
			}
			info["redfish_address"] = "https://" + host
		}
	}
	made, err := nodes.Create(ctx, ironic.c, nodes.CreateOpts{Driver: s.cfg.EnrollDriver, DriverInfo: info}).Extract()
	if err != nil {
		return nil, api.Unavailable("the bare metal service does not take the unknown machine: %s", briefly(err)).Wrap(err)
	}
	for _, mac := range macs {
		if _, err := ports.Create(ctx, ironic.c, ports.CreateOpts{NodeUUID: made.UUID, Address: mac}).Extract(); err != nil {
			cause, text := fmt.Errorf("port %s: %w", mac, briefly(err)), api.Unavailable("the bare metal service does not take port %s of the unknown machine", mac)
			if gophercloud.ResponseCodeIs(err, http.StatusConflict) {
				// Another report of the same machine was first: its node is the one.
				text = api.Conflict("the machine is being enrolled already")
			}
			// Half a node must not stay, also when the ramdisk has hung up.
			return nil, errors.Join(text.Wrap(cause), nodes.Delete(context.WithoutCancel(ctx), ironic.c, made.UUID).ExtractErr())
		}
	}
	s.log.Info("unknown machine enrolled", "node", made.UUID, "macs", macs, "driver", s.cfg.EnrollDriver)
	return ironic.node(ctx, made.UUID)
}

// controllerAddr reads the address of a controller as a machine reports it,
// which is anybody's word: only an address is taken.
func controllerAddr(v any) (netip.Addr, bool) {
	text, _ := v.(string)
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.IsUnspecified() || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}
