package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/openconfig/gnmi/proto/gnmi"
	"google.golang.org/grpc"

	"github.com/tripleo/tripleo/internal/lab/vswitch"
	"github.com/tripleo/tripleo/internal/lab/vswitch/openconfig"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// The switch's management: gNMI on the unix socket switch.sock, for the
// undercloud that is configured with the lab's undercloud.yaml.
const (
	switchSocket   = "switch.sock"
	switchPassword = "switch.password"
	switchUser     = "admin"

	// firstTenantVLAN to lastTenantVLAN are for networks of which nothing else is said.
	firstTenantVLAN = 100
	lastTenantVLAN  = 199

	// physicalNetwork is the wire of the lab, as the undercloud's provisioning network names it.
	physicalNetwork = "ctlplane"
)

// UndercloudPath is where a lab in dir leaves its part of an undercloud's
// configuration.
func UndercloudPath(dir string) string { return filepath.Join(dir, "undercloud.yaml") }

// link is where the machine's cable ends, as Ironic's local_link_connection
// has it and LLDP tells it; nil in the simulation.
func (n Node) link() map[string]string {
	if n.SwitchPort == "" {
		return nil
	}
	return map[string]string{"switch_id": n.SwitchID, "port_id": n.SwitchPort, "switch_info": n.SwitchName}
}

// manageSwitch opens the switch's management and writes what the undercloud has
// to know of it.
func (s *server) manageSwitch(sw *vswitch.Switch) error {
	dir := s.rec.Config.Dir
	password := s.rec.derive("switch")[:16]
	if err := os.WriteFile(filepath.Join(dir, switchPassword), []byte(password+"\n"), fileMode); err != nil {
		return fmt.Errorf("password of the switch: %w", err)
	}
	text, err := s.rec.undercloud()
	if err != nil {
		return err
	}
	if err := os.WriteFile(UndercloudPath(dir), text, fileMode); err != nil {
		return fmt.Errorf("the undercloud's configuration: %w", err)
	}
	path := filepath.Join(dir, switchSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("management of the switch: %w", err)
	}
	l, err := net.Listen("unix", path) //nolint:noctx // lives as long as the lab
	if err != nil {
		return fmt.Errorf("management of the switch: %w", err)
	}
	if err := os.Chmod(path, fileMode); err != nil {
		return errors.Join(fmt.Errorf("management of the switch: %w", err), l.Close())
	}
	srv := grpc.NewServer()
	gnmi.RegisterGNMIServer(srv, &openconfig.Server{Switch: sw, User: switchUser, Password: password})
	s.close = append(s.close, func() error { srv.Stop(); _ = l.Close(); return nil })
	s.run = append(s.run, func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, srv.Stop)
		defer stop()
		if err := srv.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("management of the switch: %w", err)
		}
		return nil
	})
	return nil
}

// undercloud is the lab's part of an undercloud's configuration: where its
// provisioning network is, and its switch.
func (r record) undercloud() ([]byte, error) {
	c := r.Config
	out, err := yaml11.Marshal(yaml11.MapOf(
		"provisioning", yaml11.MapOf("namespace", c.Name, "address", c.provisioningAddress()),
		"network", yaml11.MapOf(
			"vlan_ranges", []any{fmt.Sprintf("%s:%d:%d", physicalNetwork, firstTenantVLAN, lastTenantVLAN)},
			"flat_vlans", []any{fmt.Sprintf("%s:%d", physicalNetwork, provisioning)},
			"switches", []any{yaml11.MapOf(
				"name", c.Name, "switch_id", chassisOf(c.Name).String(), "switch_info", c.Name,
				"driver", "gnmi", "address", "unix:"+filepath.Join(c.Dir, switchSocket), "tls", yaml11.MapOf("enabled", false),
				"username", switchUser, "password_file", filepath.Join(c.Dir, switchPassword),
				"default_vlan", int64(provisioning), "resync", int64(30),
			)},
		),
	))
	if err != nil {
		return nil, fmt.Errorf("the undercloud's configuration: %w", err)
	}
	return append([]byte("# The undercloud's part for this lab: tripleo undercloud up --config THIS_FILE\n"), out...), nil
}
