package compute

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/provider"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// The metadata service tells a machine what its config drive tells: at
// 169.254.169.254, which the provisioning network routes here. A machine is
// known by the address it asks from, which the undercloud gave to its port.
// https://docs.openstack.org/nova/latest/user/metadata.html

// openstackVersions are the dated forms of the OpenStack tree.
var openstackVersions = []string{"2012-08-10", havanaBefore, "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27", "2020-10-14", latest} //nolint:gochecknoglobals // constant table

const (
	latest       = "latest"
	havanaBefore = "2013-04-04"
)

// openstackFiles are the files of the OpenStack tree, in the order of its
// listing, with the versions that brought them.
var openstackFiles = []struct{ name, since string }{ //nolint:gochecknoglobals // constant table
	{"meta_data.json", "2012-08-10"}, {"user_data", "2012-08-10"}, {"password", havanaBefore}, {"vendor_data.json", "2013-10-17"},
	{"network_data.json", "2015-10-15"}, {"vendor_data2.json", "2016-10-06"},
}

// metaSince are the fields of meta_data.json that were not there at first.
var metaSince = map[string]string{ //nolint:gochecknoglobals // constant table
	"random_seed": havanaBefore, "project_id": "2015-10-15", "devices": "2016-06-30", "dedicated_cpus": "2020-10-14",
}

// hasSince says whether a version of the tree has what another brought; latest is
// greater than all dates.
func hasSince(version, since string) bool { return version >= since }

// files names the files of a version of the server's OpenStack tree.
func (s *Server) files(version string) []string {
	var out []string
	for _, f := range openstackFiles {
		if hasSince(version, f.since) && (f.name != "user_data" || s.UserData != "") {
			out = append(out, f.name)
		}
	}
	return out
}

// metaDataOf is meta_data.json of a version.
func (s *Server) metaDataOf(version string) map[string]any {
	m := s.metaData()
	for field, since := range metaSince {
		if !hasSince(version, since) {
			delete(m, field)
		}
	}
	return m
}

// drive is the tree of the config drive: that of the metadata service, but for
// what machines write, with EC2's form in its last version.
func (s *Server) drive() (map[string]any, error) {
	user, err := base64.StdEncoding.DecodeString(s.UserData)
	if err != nil {
		return nil, fmt.Errorf("decode user data: %w", err)
	}
	out := map[string]any{}
	for _, v := range openstackVersions {
		for _, name := range s.files(v) {
			file := "openstack/" + v + "/" + name
			switch name {
			case "meta_data.json":
				out[file] = s.metaDataOf(v)
			case "network_data.json":
				out[file] = s.networkData()
			case "user_data":
				out[file] = user
			case "password":
			default:
				out[file] = map[string]any{}
			}
		}
	}
	for _, v := range []string{ec2Versions[len(ec2Versions)-1], latest} {
		out["ec2/"+v+"/meta-data.json"] = s.ec2()
		if len(user) > 0 {
			out["ec2/"+v+"/user-data"] = user
		}
	}
	return out, nil
}

// ec2Versions are those of the EC2 tree.
var ec2Versions = []string{"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01", "2009-04-04"} //nolint:gochecknoglobals // constant table

// maxPassword bounds what a machine may leave as its password, in bytes.
const maxPassword = 4 << 10

// MetadataHandler serves the metadata of the machine that asks.
func (svc *Service) MetadataHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := svc.serveMetadata(w, r); err != nil {
			status := http.StatusInternalServerError
			text := "the metadata cannot be read now"
			if e, ok := errors.AsType[*api.Error](err); ok {
				status, text = e.Status(), e.Message
			} else {
				svc.cfg.Log.Error("metadata", "from", r.RemoteAddr, "error", err)
			}
			http.Error(w, text, status)
		}
	})
}

func (svc *Service) serveMetadata(w http.ResponseWriter, r *http.Request) error {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if path[0] == "" {
		return plain(w, strings.Join(append(append([]string{}, ec2Versions...), latest), "\n"))
	}
	if path[0] == "openstack" && len(path) == 1 {
		return plain(w, strings.Join(openstackVersions, "\n"))
	}
	if path[0] == "openstack" && !slices.Contains(openstackVersions, path[1]) || path[0] != "openstack" && path[0] != latest && !slices.Contains(ec2Versions, path[0]) {
		return api.NotFound("there is no version %s", strings.Join(path[:min(2, len(path))], "/"))
	}
	s, err := svc.asking(r)
	if err != nil {
		return err
	}
	if path[0] == "openstack" {
		return svc.openstackTree(w, r, s, path[1], path[2:])
	}
	return ec2Tree(w, s, path[1:])
}

func plain(w http.ResponseWriter, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	_, err := io.WriteString(w, text)
	return err
}

// asking finds the server by the address of the connection. A header that
// claims another address is not looked at.
func (svc *Service) asking(r *http.Request) (*Server, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return nil, api.NotFound("no server asks from %s", r.RemoteAddr)
	}
	session, err := svc.cfg.Cloud.Service(r.Context())
	if err != nil {
		return nil, err
	}
	neutron, err := session.Network()
	if err != nil {
		return nil, err
	}
	page, err := ports.List(neutron, ports.ListOpts{FixedIPs: []ports.FixedIPOpts{{IPAddress: host}}}).AllPages(r.Context())
	if err != nil {
		return nil, fmt.Errorf("find the port of %s: %w", host, err)
	}
	found, err := ports.ExtractPorts(page)
	if err != nil {
		return nil, fmt.Errorf("find the port of %s: %w", host, err)
	}
	for _, p := range found {
		var s *Server
		err := svc.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
			s, err = serverOf(tx, p.DeviceID)
			return err
		})
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// Any project may have the address on a network of its own, and may
		// write any device_id on its ports.
		if !slices.ContainsFunc(s.Ports, func(sp ServerPort) bool { return sp.ID == p.ID }) {
			continue
		}
		wired, err := untagged(r.Context(), neutron, p.NetworkID)
		if err != nil {
			return nil, err
		}
		if wired {
			return s, nil
		}
	}
	return nil, api.NotFound("no server asks from %s", host)
}

// untagged says whether a network is the untagged one of a physical network,
// as that is from which machines ask.
func untagged(ctx context.Context, neutron *gophercloud.ServiceClient, id string) (bool, error) {
	var n struct {
		networks.Network
		provider.NetworkProviderExt
	}
	if err := networks.Get(ctx, neutron, id).ExtractInto(&n); err != nil {
		return false, fmt.Errorf("get network %s: %w", id, err)
	}
	return n.PhysicalNetwork != "" && n.SegmentationID == "", nil
}

func (svc *Service) openstackTree(w http.ResponseWriter, r *http.Request, s *Server, version string, path []string) error {
	file := strings.Join(path, "/")
	if file != "" && !slices.Contains(s.files(version), file) {
		return api.NotFound("there is no %s in %s", file, version)
	}
	switch file {
	case "":
		return plain(w, strings.Join(s.files(version), "\n"))
	case "meta_data.json":
		return document(w, s.metaDataOf(version))
	case "network_data.json":
		return document(w, s.networkData())
	case "vendor_data.json", "vendor_data2.json":
		return document(w, map[string]any{})
	case "user_data":
		return userData(w, s)
	case "password":
		return svc.machinePassword(w, r, s)
	default:
		return api.NotFound("there is no %s", file)
	}
}

func document(w http.ResponseWriter, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(b)
	return err
}

func userData(w http.ResponseWriter, s *Server) error {
	b, err := base64.StdEncoding.DecodeString(s.UserData)
	if err != nil || len(b) == 0 {
		return api.NotFound("there is no user_data")
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, err = w.Write(b)
	return err
}

// machinePassword lets the machine leave its encrypted password once.
func (svc *Service) machinePassword(w http.ResponseWriter, r *http.Request, s *Server) error {
	if r.Method != http.MethodPost {
		return plain(w, s.Password)
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxPassword+1))
	if err != nil {
		return err
	}
	if len(b) > maxPassword {
		return api.Invalid("the password is longer than %d bytes", maxPassword)
	}
	return svc.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		now, err := lockServer(tx, s.ID)
		if err != nil {
			return err
		}
		if now.Password != "" {
			return api.Conflict("the password is set already")
		}
		now.Password = string(bytes.TrimSpace(b))
		return svc.saveServer(tx, now)
	})
}

// ec2Tree is the tree of EC2's metadata service.
func ec2Tree(w http.ResponseWriter, s *Server, path []string) error {
	if len(path) > 0 && path[0] == "user-data" {
		return userData(w, s)
	}
	if len(path) == 0 {
		list := "meta-data/"
		if s.UserData != "" {
			list += "\nuser-data"
		}
		return plain(w, list)
	}
	if path[0] != "meta-data" {
		return api.NotFound("there is no %s", path[0])
	}
	var node any = s.ec2()
	for _, key := range path[1:] {
		m, ok := node.(map[string]any)
		if !ok || m[key] == nil {
			return api.NotFound("there is no %s", strings.Join(path, "/"))
		}
		node = m[key]
	}
	if m, ok := node.(map[string]any); ok {
		return plain(w, listing(m))
	}
	return plain(w, fmt.Sprint(node))
}

// listing names the entries of a directory; keys carry their names.
func listing(m map[string]any) string {
	var lines []string
	for _, k := range sortedKeys(m) {
		switch sub := m[k].(type) {
		case map[string]any:
			if name, ok := sub["_name"].(string); ok {
				lines = append(lines, k+"="+name)
			} else {
				lines = append(lines, k+"/")
			}
		default:
			if k != "_name" {
				lines = append(lines, k)
			}
		}
	}
	return strings.Join(lines, "\n")
}

func (s *Server) ec2() map[string]any {
	address, mac := "", ""
	for _, p := range s.Ports {
		for _, ip := range p.FixedIPs {
			if address == "" && !strings.Contains(ip.Address, ":") {
				address, mac = ip.Address, p.MAC
			}
		}
	}
	short := "i-" + strings.ReplaceAll(s.ID, "-", "")[:8]
	m := map[string]any{
		"ami-id": "ami-" + strings.ReplaceAll(s.ImageID+"00000000", "-", "")[:8], "ami-launch-index": s.LaunchIndex, "ami-manifest-path": "(none)",
		"hostname": s.Name, "local-hostname": s.Name, "public-hostname": s.Name, "instance-id": short, "instance-type": s.Flavor.Name,
		"instance-action": "none", "local-ipv4": address, "public-ipv4": "", "mac": mac, "security-groups": strings.Join(s.groups(), "\n"),
		"placement": map[string]any{"availability-zone": s.zone()}, "block-device-mapping": map[string]any{"ami": "sda", "root": "/dev/sda"},
		"reservation-id": s.Reservation,
	}
	if s.PublicKey != "" {
		m["public-keys"] = map[string]any{"0": map[string]any{"_name": s.KeyName, "openssh-key": s.PublicKey}}
	}
	return m
}
