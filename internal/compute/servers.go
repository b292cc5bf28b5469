package compute

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// maxUserData is Nova's bound, in bytes of base64.
const maxUserData = 65535

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
		MinCount    int               `json:"min_count"`
		MaxCount    int               `json:"max_count"`
		Tags        []string          `json:"tags"`
		Hints       map[string]any    `json:"OS-SCH-HNT:scheduler_hints"`
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
	if err := svc.checkRefs(r.Context(), s, in.Server.FlavorRef); err != nil {
		return err
	}
	if s.Networks, err = svc.networkRequests(r, in.Server.Networks); err != nil {
		return err
	}
	if in.Server.MinCount > 1 || in.Server.MaxCount > 1 {
		return svc.createMany(w, r, s, max(in.Server.MinCount, in.Server.MaxCount))
	}
	if err := svc.storeNew(r.Context(), []*Server{s}); err != nil {
		return err
	}
	return svc.created(w, s)
}

func (svc *Service) created(w http.ResponseWriter, s *Server) error {
	w.Header().Set("Location", svc.cfg.BaseURL+"/v2.1/servers/"+s.ID)
	return api.WriteJSON(w, http.StatusAccepted, map[string]any{"server": map[string]any{
		"id": s.ID, "links": svc.links("servers", s.ID), "OS-DCF:diskConfig": "MANUAL",
		"security_groups": []any{map[string]any{"name": "default"}},
	}})
}

// createMany makes count servers named NAME-1, NAME-2, …, as Nova does.
func (svc *Service) createMany(w http.ResponseWriter, r *http.Request, s *Server, count int) error {
	const most = 1000
	if count > most {
		return api.Invalid("max_count is %d, expected at most %d", count, most)
	}
	var all []*Server
	for i := range count {
		c := *s
		c.ID, c.Name = uuid.NewString(), fmt.Sprintf("%s-%d", s.Name, i+1)
		all = append(all, &c)
	}
	if err := svc.storeNew(r.Context(), all); err != nil {
		return err
	}
	return svc.created(w, all[0])
}

func (svc *Service) storeNew(ctx context.Context, servers []*Server) error {
	return svc.cfg.DB.Tx(ctx, func(tx *store.Tx) error {
		for _, s := range servers {
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
	if strings.TrimSpace(req.Name) == "" || len(req.Name) > 255 {
		return nil, api.Invalid("server name has %d characters, expected 1 to 255", len(req.Name))
	}
	if len(req.UserData) > maxUserData {
		return nil, api.Invalid("user_data has %d bytes of base64, expected at most %d", len(req.UserData), maxUserData)
	}
	if _, err := base64.StdEncoding.DecodeString(req.UserData); err != nil {
		return nil, api.Invalid("user_data is not base64").Wrap(err)
	}
	if len(req.Personality) > 0 {
		return nil, api.Invalid("personality is not supported: pass files in user_data")
	}
	if req.ImageRef == "" || req.FlavorRef == "" {
		return nil, api.Invalid("a server needs imageRef and flavorRef")
	}
	id := caller(r)
	now := time.Now().UTC()
	s := &Server{
		ID: uuid.NewString(), ProjectID: id.ProjectID, UserID: id.UserID, Name: req.Name, Description: req.Description,
		Status: statusBuild, Task: taskScheduling, ImageID: lastSegment(req.ImageRef), KeyName: req.KeyName, UserData: req.UserData,
		Metadata: req.Metadata, Hints: map[string]string{}, ConfigDrive: true, Tags: req.Tags,
		Created: now, Updated: now,
	}
	if s.Metadata == nil {
		s.Metadata = map[string]string{}
	}
	for _, hints := range []map[string]any{req.Hints, in.Hints, in.Hints2} {
		for k, v := range hints {
			s.Hints[k] = fmt.Sprint(v)
		}
	}
	zone := strings.SplitN(req.Zone, ":", 3)
	s.Zone = zone[0]
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

func (svc *Service) checkRefs(ctx context.Context, s *Server, flavorRef string) error {
	err := svc.cfg.DB.View(ctx, func(tx *store.Tx) error {
		f, err := flavorOf(tx, lastSegment(flavorRef))
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
	session, err := svc.cfg.Cloud.Service(ctx)
	if err != nil {
		return err
	}
	glance, err := session.Image()
	if err != nil {
		return err
	}
	img, err := images.Get(ctx, glance, s.ImageID).Extract()
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return api.Invalid("Can not find requested image").Wrap(err)
	}
	if err != nil {
		return fmt.Errorf("get image %s: %w", s.ImageID, err)
	}
	if img.Status != images.ImageStatusActive {
		return api.Invalid("Image %s is %s, not active.", img.ID, img.Status)
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
	}
	if len(reqs) > 0 {
		return reqs, nil
	}
	return svc.onlyNetwork(r)
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

// load reads the server of the path, if the caller may see it.
func (svc *Service) load(tx *store.Tx, r *http.Request) (*Server, error) {
	s, err := serverOf(tx, r.PathValue("id"))
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
		s, err = svc.load(tx, r)
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

func (svc *Service) serverMetadata(w http.ResponseWriter, r *http.Request) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"metadata": s.Metadata})
}

func (svc *Service) serverInterfaces(w http.ResponseWriter, r *http.Request) error {
	s, err := svc.get(r)
	if err != nil {
		return err
	}
	out := []any{}
	for _, p := range s.Ports {
		ips := []any{}
		for _, ip := range p.FixedIPs {
			ips = append(ips, map[string]any{"subnet_id": ip.SubnetID, "ip_address": ip.Address})
		}
		out = append(out, map[string]any{"port_state": "ACTIVE", "port_id": p.ID, "net_id": p.NetworkID, "mac_addr": p.MAC, "fixed_ips": ips})
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"interfaceAttachments": out})
}

func (svc *Service) change(r *http.Request, fn func(tx *store.Tx, s *Server) error) (*Server, error) {
	var s *Server
	err := svc.cfg.DB.Tx(r.Context(), func(tx *store.Tx) (err error) {
		if s, err = svc.load(tx, r); err != nil {
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
		} `json:"server"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	s, err := svc.change(r, func(_ *store.Tx, s *Server) error {
		if in.Server.Name != nil {
			s.Name = *in.Server.Name
		}
		if in.Server.Description != nil {
			s.Description = in.Server.Description
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"server": svc.view(r, s)})
}

func (svc *Service) setServerMetadata(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Metadata map[string]string `json:"metadata"`
	}
	if err := api.ReadJSON(r, &in); err != nil {
		return err
	}
	s, err := svc.change(r, func(_ *store.Tx, s *Server) error {
		for k, v := range in.Metadata {
			s.Metadata[k] = v
		}
		return nil
	})
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, map[string]any{"metadata": s.Metadata})
}

func (svc *Service) deleteServer(w http.ResponseWriter, r *http.Request) error {
	_, err := svc.change(r, func(tx *store.Tx, s *Server) error {
		s.Task = taskDeleting
		return svc.cfg.Jobs.Poke(tx, serverJob, s.ID, nil)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (svc *Service) listed(r *http.Request) ([]*Server, bool, error) {
	q := r.URL.Query()
	page, err := api.ParsePage(r, 1000)
	if err != nil {
		return nil, false, err
	}
	all := q.Get("all_tenants") != "" && q.Get("all_tenants") != "0" && !strings.EqualFold(q.Get("all_tenants"), "false")
	if all && !caller(r).HasRole("admin", "service") {
		return nil, false, api.Forbidden("only an administrator may list the servers of all projects")
	}
	var name *regexp.Regexp
	if q.Get("name") != "" {
		if name, err = regexp.Compile(q.Get("name")); err != nil {
			return nil, false, api.Invalid("filter name %q is not a regular expression", q.Get("name")).Wrap(err)
		}
	}
	var out []*Server
	err = svc.cfg.DB.View(r.Context(), func(tx *store.Tx) error {
		return tx.Each(func(scan func(...any) error) error {
			s := new(Server)
			if err := scan(store.JSON(s)); err != nil {
				return err
			}
			keep := (all || s.ProjectID == caller(r).ProjectID) && (name == nil || name.MatchString(s.Name)) &&
				(q.Get("status") == "" || strings.EqualFold(q.Get("status"), s.Status)) &&
				(q.Get("image") == "" || lastSegment(q.Get("image")) == s.ImageID) &&
				(q.Get("flavor") == "" || lastSegment(q.Get("flavor")) == s.Flavor.ID) &&
				(q.Get("host") == "" || q.Get("host") == s.NodeID) && (q.Get("uuid") == "" || q.Get("uuid") == s.ID)
			if keep {
				out = append(out, s)
			}
			return nil
		}, `SELECT doc FROM compute_servers ORDER BY created_at DESC, id`)
	})
	if err != nil {
		return nil, false, err
	}
	if page.Marker != "" {
		i := slices.IndexFunc(out, func(s *Server) bool { return s.ID == page.Marker })
		if i < 0 {
			return nil, false, api.Invalid("marker [%s] not found", page.Marker)
		}
		out = out[i+1:]
	}
	if len(out) > page.Limit {
		return out[:page.Limit], true, nil
	}
	return out, false, nil
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
