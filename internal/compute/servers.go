package compute

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/baremetal/v1/nodes"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

type createRequest struct {
	Server struct {
		Name        string            `json:"name"`
		Description *string           `json:"description"`
		ImageRef    string            `json:"imageRef"`
		FlavorRef   string            `json:"flavorRef"`
		KeyName     string            `json:"key_name"`
		UserData    string            `json:"user_data"`
		Metadata    map[string]string `json:"metadata"`
		Personality []fileEntry       `json:"personality"`
		Networks    json.RawMessage   `json:"networks"`
		Zone        string            `json:"availability_zone"`
		ConfigDrive any               `json:"config_drive"`
		MinCount    *int              `json:"min_count"`
		MaxCount    *int              `json:"max_count"`
		Tags        []string          `json:"tags"`
		Hints       map[string]any    `json:"OS-SCH-HNT:scheduler_hints"`
		AccessIPv4  string            `json:"accessIPv4"`
		AccessIPv6  string            `json:"accessIPv6"`
		DiskConfig  string            `json:"OS-DCF:diskConfig"`
		Reservation bool              `json:"return_reservation_id"`
		Host        string            `json:"host"`
		Hypervisor  string            `json:"hypervisor_hostname"`
		Hostname    string            `json:"hostname"`
		Mappings    []json.RawMessage `json:"block_device_mapping_v2"`
		Groups      []struct {
			Name string `json:"name"`
		} `json:"security_groups"`
	} `json:"server"`
	Hints  map[string]any `json:"os:scheduler_hints"`
	Hints2 map[string]any `json:"OS-SCH-HNT:scheduler_hints"`
}

func (svc *Service) createServer(w http.ResponseWriter, r *http.Request) error {
	var in createRequest
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	s, err := svc.newServer(r, &in)
	if err != nil {
		return err
	}
	if err := svc.checkRefs(r, s, in.Server.FlavorRef); err != nil {
		return err
	}
	if err := svc.checkPlace(r, s); err != nil {
		return err
	}
	if s.Networks, err = svc.networkRequests(r, in.Server.Networks); err != nil {
		return err
	}
	if err := svc.checkNetworks(r, s); err != nil {
		return err
	}
	count, err := countOf(in.Server.MinCount, in.Server.MaxCount)
	if err != nil {
		return err
	}
	if count > 1 {
		for _, n := range s.Networks {
			if n.Port != "" || n.FixedIP != "" {
				return api.Invalid("Unable to launch multiple instances with a single configured port ID or address.")
			}
		}
	}
	if err := svc.createMany(r, s, count); err != nil {
		return err
	}
	if in.Server.Reservation {
		return api.WriteJSON(w, http.StatusAccepted, map[string]any{"reservation_id": s.Reservation})
	}
	return svc.created(w, s)
}

// countOf is how many servers a request is for: max_count, which is min_count
// unless it is given, bounded by what one request may make.
func countOf(least, most *int) (int, error) {
	const bound = 1000
	lo, hi := 1, 1
	if least != nil {
		lo, hi = *least, max(*least, 1)
	}
	if most != nil {
		hi = *most
	}
	if lo < 1 || hi < 1 || lo > hi && most != nil {
		return 0, api.Invalid("min_count is %d and max_count is %d, expected 1 ≤ min_count ≤ max_count", lo, hi)
	}
	if hi > bound {
		return 0, api.Invalid("max_count is %d, expected at most %d", hi, bound)
	}
	return hi, nil
}

func (svc *Service) created(w http.ResponseWriter, s *Server) error {
	w.Header().Set("Location", svc.cfg.BaseURL+"/v2.1/servers/"+s.ID)
	return api.WriteJSON(w, http.StatusAccepted, map[string]any{"server": map[string]any{
		"id": s.ID, "links": svc.links("servers", s.ID), "OS-DCF:diskConfig": s.diskConfig(), "security_groups": s.groupNames(),
	}})
}

// createMany makes count servers named NAME-1, NAME-2, …, as Nova does.
func (svc *Service) createMany(r *http.Request, s *Server, count int) error {
	all := []*Server{s}
	for i := 1; i < count; i++ {
		c := *s
		c.ID, c.Name, c.LaunchIndex = uuid.NewString(), fmt.Sprintf("%s-%d", s.Name, i+1), i
		all = append(all, &c)
	}
	if count > 1 {
		s.Name += "-1"
	}
	return svc.cfg.DB.Tx(r.Context(), func(tx *store.Tx) error {
		if err := checkServers(tx, all); err != nil {
			return err
		}
		if err := join(tx, all); err != nil {
			return err
		}
		for _, s := range all {
			if err := record(tx, r, s.ID, "create"); err != nil {
				return err
			}
			if err := insertServer(tx, s); err != nil {
				return err
			}
			if err := svc.tell(tx, s, "compute.instance.create.start", ""); err != nil {
				return err
			}
			if err := svc.cfg.Jobs.Poke(tx, serverJob, s.ID, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func (svc *Service) newServer(r *http.Request, in *createRequest) (*Server, error) {
	req := &in.Server
	fields := serverFields{Name: &req.Name, Description: req.Description, AccessIPv4: given(req.AccessIPv4), AccessIPv6: given(req.AccessIPv6),
		DiskConfig: given(req.DiskConfig), Hostname: given(req.Hostname), UserData: &req.UserData, Metadata: req.Metadata}
	if err := fields.check(r); err != nil {
		return nil, err
	}
	if len(req.Personality) > 0 {
		return nil, api.Invalid("personality is not supported: pass files in user_data")
	}
	if req.ImageRef == "" || req.FlavorRef == "" {
		return nil, api.Invalid("a server needs imageRef and flavorRef")
	}
	if len(req.Mappings) > 1 {
		return nil, api.Invalid("block_device_mapping_v2 holds %d devices: volumes cannot be attached, an undercloud has no block storage service", len(req.Mappings))
	}
	tags, err := checkTags(req.Tags)
	if err != nil {
		return nil, err
	}
	id := caller(r)
	now := time.Now().UTC()
	s := &Server{
		Reservation: "r-" + uuid.NewString()[:8], AccessIPv4: deref(fields.AccessIPv4), AccessIPv6: deref(fields.AccessIPv6), DiskConfig: req.DiskConfig, Hostname: req.Hostname,
		ID: uuid.NewString(), ProjectID: id.ProjectID, UserID: id.UserID, Name: req.Name, Description: req.Description,
		Status: statusBuild, Task: taskScheduling, ImageID: lastSegment(req.ImageRef), KeyName: req.KeyName, UserData: req.UserData,
		Metadata: req.Metadata, Hints: map[string]string{}, ConfigDrive: true, Tags: tags,
		Created: now, Updated: now,
	}
	if s.Metadata == nil {
		s.Metadata = map[string]string{}
	}
	for _, hints := range []map[string]any{req.Hints, in.Hints, in.Hints2} {
		for k, v := range hints {
			if list, ok := v.([]any); ok {
				words := []string{}
				for _, it := range list {
					words = append(words, fmt.Sprint(it))
				}
				s.Hints[k] = strings.Join(words, ",")
				continue
			}
			s.Hints[k] = fmt.Sprint(v)
		}
	}
	for _, g := range req.Groups {
		s.SecurityGroups = append(s.SecurityGroups, g.Name)
	}
	s.Group = s.Hints["group"]
	zone := strings.SplitN(req.Zone, ":", 3)
	s.Zone, s.AskedZone = zone[0], zone[0]
	for _, h := range []string{req.Host, req.Hypervisor} {
		if h == "" {
			continue
		}
		if !id.IsAdmin() {
			return nil, api.Forbidden("only an administrator may name a host")
		}
		s.Host = h
	}
	if len(zone) > 1 {
		if !id.IsAdmin() {
			return nil, api.Forbidden("only an administrator may name a host in the availability zone")
		}
		s.Host = zone[len(zone)-1]
	}
	return s, nil
}

// lastSegment takes the id off a reference that may be a URL.
func lastSegment(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// checkPlace refuses a zone, or a machine, that there is not.
func (svc *Service) checkPlace(r *http.Request, s *Server) error {
	if s.AskedZone == "" && s.Host == "" {
		return nil
	}
	all, err := svc.nodes(r)
	if err != nil {
		return err
	}
	names, err := svc.zoneNames(r, all)
	if err != nil {
		return err
	}
	if _, ok := names[s.AskedZone]; s.AskedZone != "" && !ok {
		return api.Invalid("The requested availability zone is not available")
	}
	if s.Host != "" && !slices.ContainsFunc(all, func(n nodes.Node) bool { return n.UUID == s.Host || n.Name == s.Host }) {
		return api.Invalid("Compute host %s could not be found.", s.Host)
	}
	return nil
}

func (svc *Service) checkRefs(r *http.Request, s *Server, flavorRef string) error {
	ctx := r.Context()
	err := svc.cfg.DB.View(ctx, func(tx *store.Tx) error {
		f, err := flavorFor(tx, r, lastSegment(flavorRef))
		if err != nil {
			return api.Invalid("Flavor %s could not be found.", lastSegment(flavorRef)).Wrap(err)
		}
		s.Flavor = *f
		if s.KeyName == "" {
			return nil
		}
		k, err := keypairOf(tx, s.UserID, s.KeyName)
		if err != nil {
			return api.Invalid("Invalid key_name provided.").Wrap(err)
		}
		s.PublicKey = k.PublicKey
		return nil
	})
	if err != nil {
		return err
	}
	return svc.checkImage(r, s.ImageID, &s.Flavor)
}

// checkImage says whether an image can be written on machines of a flavor. The
// caller has to see it: the bare-metal service sees those of every project.
func (svc *Service) checkImage(r *http.Request, id string, f *Flavor) error {
	ctx := r.Context()
	session, err := svc.cfg.Cloud.Token(ctx, caller(r).Token)
	if err != nil {
		return err
	}
	glance, err := session.Image()
	if err != nil {
		return err
	}
	img, err := images.Get(ctx, glance, id).Extract()
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return api.Invalid("Can not find requested image").Wrap(err)
	}
	if err != nil {
		return fmt.Errorf("get image %s: %w", id, err)
	}
	if img.Status != images.ImageStatusActive {
		return api.Invalid("Image %s is %s, not active.", img.ID, img.Status)
	}
	if img.MinRAMMegabytes > f.RAM {
		return api.Invalid("Flavor's memory is too small for requested image: %d MB, %d are needed.", f.RAM, img.MinRAMMegabytes)
	}
	if f.Disk > 0 && img.MinDiskGigabytes > f.Disk {
		return api.Invalid("Flavor's disk is too small for requested image: %d GB, %d are needed.", f.Disk, img.MinDiskGigabytes)
	}
	return nil
}

func (svc *Service) networkRequests(r *http.Request, raw json.RawMessage) ([]NetworkRequest, error) {
	var mode string
	if json.Unmarshal(raw, &mode) == nil && mode == "none" {
		return nil, nil
	}
	var reqs []NetworkRequest
	if mode != "auto" && len(raw) > 0 && string(raw) != "null" {
		if err := json.Unmarshal(raw, &reqs); err != nil {
			return nil, api.Invalid("networks is malformed, expected a list of {uuid, port, fixed_ip}").Wrap(err)
		}
	}
	for i, n := range reqs {
		if n.UUID == "" && n.Port == "" {
			return nil, api.Invalid("networks[%d] names neither a network (uuid) nor a port", i)
		}
		reqs[i].Ours = false // only we say so
	}
	if len(reqs) > 0 {
		return reqs, nil
	}
	return svc.onlyNetwork(r)
}

// checkNetworks refuses networks, ports and security groups that the caller
// does not see.
func (svc *Service) checkNetworks(r *http.Request, s *Server) error {
	session, err := svc.cfg.Cloud.Token(r.Context(), caller(r).Token)
	if err != nil {
		return err
	}
	neutron, err := session.Network()
	if err != nil {
		return err
	}
	for _, n := range s.Networks {
		var err error
		var p *ports.Port
		what, id := "Network", n.UUID
		if n.Port != "" {
			what, id = "Port", n.Port
			p, err = ports.Get(r.Context(), neutron, n.Port).Extract()
		} else {
			_, err = networks.Get(r.Context(), neutron, n.UUID).Extract()
		}
		if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			return api.Invalid("%s %s could not be found.", what, id).Wrap(err)
		}
		if err != nil {
			return fmt.Errorf("look for %s %s: %w", what, id, err)
		}
		if p == nil {
			continue
		}
		// Whoever owns a network sees the ports that others have on it.
		if id := caller(r); p.ProjectID != id.ProjectID && !id.HasRole("admin", "service") {
			return api.Invalid("Port %s not usable for instance %s.", p.ID, s.ID)
		}
		if p.DeviceID != "" && p.DeviceID != s.ID {
			return api.Conflict("Port %s is still in use.", p.ID)
		}
	}
	if len(s.SecurityGroups) == 0 {
		return nil
	}
	b := &build{svc: svc, s: s, session: session, neutron: neutron}
	for i, ref := range s.SecurityGroups {
		_, shown, err := b.group(r.Context(), ref)
		if err != nil {
			return api.Invalid("Security group %s not found for project %s.", ref, s.ProjectID).Wrap(err)
		}
		s.SecurityGroups[i] = shown
	}
	return nil
}

// onlyNetwork is what a server gets that asks for no network: the one network
// its project can use.
func (svc *Service) onlyNetwork(r *http.Request) ([]NetworkRequest, error) {
	session, err := svc.cfg.Cloud.Token(r.Context(), caller(r).Token)
	if err != nil {
		return nil, err
	}
	neutron, err := session.Network()
	if err != nil {
		return nil, err
	}
	page, err := networks.List(neutron, networks.ListOpts{}).AllPages(r.Context())
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	all, err := networks.ExtractNetworks(page)
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", err)
	}
	switch len(all) {
	case 0:
		return nil, nil
	case 1:
		return []NetworkRequest{{UUID: all[0].ID}}, nil
	default:
		return nil, api.Conflict("Multiple possible networks found, use a Network ID to be more specific.")
	}
}

// load reads the server of the path with read, if the caller may see it.
func (svc *Service) load(tx *store.Tx, r *http.Request, read func(tx *store.Tx, id string) (*Server, error)) (*Server, error) {
	s, err := read(tx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if id := caller(r); id.ProjectID != s.ProjectID && !id.HasRole("admin", "service") {
		return nil, api.NotFound("Instance %s could not be found.", s.ID)
	}
	return s, nil
}

func (svc *Service) get(r *http.Request) (*Server, error) {
	var s *Server
	err := svc.cfg.DB.View(r.Context(), func(tx *store.Tx) (err error) {
		s, err = svc.load(tx, r, serverOf)
		return err
	})
	return s, err
}

func (svc *Service) showServer(w http.ResponseWriter, r *http.Request) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"server": svc.view(r, s)})
}

func (svc *Service) serverIPs(w http.ResponseWriter, r *http.Request) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"addresses": s.addresses()})
}

func (svc *Service) serverInterfaces(w http.ResponseWriter, r *http.Request) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	out := []any{}
	for i := range s.Ports {
		out = append(out, interfaceView(&s.Ports[i], api.AtLeast(r, "2.70")))
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"interfaceAttachments": out})
}

func (svc *Service) change(r *http.Request, fn func(tx *store.Tx, s *Server) error) (*Server, error) {
	var s *Server
	err := svc.cfg.DB.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if s, err = svc.load(tx, r, lockServer); err != nil {
			return err
		}
		if err := fn(tx, s); err != nil {
			return err
		}
		return svc.saveServer(tx, s)
	})
	return s, err
}

func (svc *Service) updateServer(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Server struct {
			Name        *string `json:"name"`
			Description *string `json:"description"`
			AccessIPv4  *string `json:"accessIPv4"`
			AccessIPv6  *string `json:"accessIPv6"`
			DiskConfig  *string `json:"OS-DCF:diskConfig"`
			Hostname    *string `json:"hostname"`
		} `json:"server"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	fields := serverFields{Name: in.Server.Name, Description: in.Server.Description, AccessIPv4: in.Server.AccessIPv4, AccessIPv6: in.Server.AccessIPv6,
		DiskConfig: in.Server.DiskConfig, Hostname: in.Server.Hostname}
	if err := fields.check(r); err != nil {
		return err
	}
	s, err := svc.change(r, func(_ *store.Tx, s *Server) error {
		for dst, v := range map[*string]*string{&s.Name: in.Server.Name, &s.AccessIPv4: in.Server.AccessIPv4, &s.AccessIPv6: in.Server.AccessIPv6,
			&s.DiskConfig: in.Server.DiskConfig, &s.Hostname: in.Server.Hostname} {
			if v != nil {
				*dst = *v
			}
		}
		if in.Server.Description != nil {
			s.Description = in.Server.Description
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"server": svc.updated(r, s)})
}

func (svc *Service) deleteServer(w http.ResponseWriter, r *http.Request) error {
	_, err := svc.change(r, func(tx *store.Tx, s *Server) error {
		if err := s.locked(r); err != nil {
			return err
		}
		s.Task = taskDeleting
		if err := record(tx, r, s.ID, "delete"); err != nil {
			return err
		}
		return svc.cfg.Jobs.Poke(tx, serverJob, s.ID, nil)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (svc *Service) respondServers(w http.ResponseWriter, r *http.Request, view func(*Server) map[string]any) error {
	found, more, err := svc.listed(r)
	if err != nil {
		return err
	}
	out := []any{}
	for _, s := range found {
		out = append(out, view(s))
	}
	body := map[string]any{"servers": out}
	if more {
		q := r.URL.Query()
		q.Set("marker", found[len(found)-1].ID)
		body["servers_links"] = []any{map[string]any{"rel": "next", "href": svc.cfg.BaseURL + r.URL.Path + "?" + q.Encode()}}
	}
	return api.WriteJSON(w, http.StatusOK, body)
}

func (svc *Service) listServers(w http.ResponseWriter, r *http.Request) error {
	return svc.respondServers(w, r, func(s *Server) map[string]any {
		return map[string]any{"id": s.ID, "name": s.Name, "links": svc.links("servers", s.ID)}
	})
}

func (svc *Service) listServersDetail(w http.ResponseWriter, r *http.Request) error {
	return svc.respondServers(w, r, func(s *Server) map[string]any { return svc.view(r, s) })
}
