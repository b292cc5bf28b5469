package compute

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/tripleo/tripleo/internal/api"
	"github.com/tripleo/tripleo/internal/store"
)

// Server states as the API shows them.
const (
	statusBuild   = "BUILD"
	statusActive  = "ACTIVE"
	statusShutoff = "SHUTOFF"
	statusError   = "ERROR"
	statusRebuild = "REBUILD"
)

// Tasks of a server under way.
const (
	taskScheduling = "scheduling"
	taskNetworking = "networking"
	taskSpawning   = "spawning"
	taskDeleting   = "deleting"
	taskRebuilding = "rebuilding"
)

// Server is a server as the store keeps it.
type Server struct {
	ID          string            `json:"id"`
	ProjectID   string            `json:"project_id"`
	UserID      string            `json:"user_id"`
	Name        string            `json:"name"`
	Description *string           `json:"description"`
	Status      string            `json:"status"`
	Task        string            `json:"task"`
	Deploying   bool              `json:"deploying"` // the node was told to deploy
	Flavor      Flavor            `json:"flavor"`
	ImageID     string            `json:"image_id"`
	KeyName     string            `json:"key_name"`
	PublicKey   string            `json:"public_key"`
	UserData    string            `json:"user_data"` // base64
	Metadata    map[string]string `json:"metadata"`
	Hints       map[string]string `json:"hints"`
	Zone        string            `json:"zone"`
	Host        string            `json:"host"` // node asked for by "zone:host:node"
	ConfigDrive bool              `json:"config_drive"`
	Networks    []NetworkRequest  `json:"networks"`
	Ports       []ServerPort      `json:"ports"`
	NodeID      string            `json:"node_id"`
	NodeName    string            `json:"node_name"`
	Fault       *ServerFault      `json:"fault,omitempty"`

	Group          string   `json:"group"` // id of its server group, or ""
	Reservation    string   `json:"reservation"`
	LaunchIndex    int      `json:"launch_index"`
	Hostname       string   `json:"hostname"`
	AccessIPv4     string   `json:"access_ipv4"`
	AccessIPv6     string   `json:"access_ipv6"`
	DiskConfig     string   `json:"disk_config"`
	Locked         bool     `json:"locked"`
	LockedReason   *string  `json:"locked_reason"`
	LockedByAdmin  bool     `json:"locked_by_admin"`
	Password       string   `json:"password"` // as the machine left it, encrypted with the server's key
	KeepEphemeral  bool     `json:"keep_ephemeral"`
	AskedZone      string   `json:"asked_zone"`
	SecurityGroups []string `json:"security_groups"` // names or ids, for ports made for the server

	InterfaceOp *interfaceOp     `json:"interface_op,omitempty"`
	Interface   *interfaceResult `json:"interface,omitempty"`

	Tags     []string  `json:"tags"`
	Created  time.Time `json:"created"`
	Updated  time.Time `json:"updated"`
	Launched time.Time `json:"launched"`
}

type fileEntry struct {
	Path     string `json:"path"`
	Contents string `json:"contents"`
}

// NetworkRequest is one interface asked for: a port, or a network with an
// optional address.
type NetworkRequest struct {
	UUID    string `json:"uuid,omitempty"`
	Port    string `json:"port,omitempty"`
	FixedIP string `json:"fixed_ip,omitempty"`
	Tag     string `json:"tag,omitempty"`
	Ours    bool   `json:"ours,omitempty"` // the port was made for the server
}

// ServerPort is one interface a server has.
type ServerPort struct {
	ID        string   `json:"id"`
	NetworkID string   `json:"network_id"`
	Network   string   `json:"network"` // name
	MAC       string   `json:"mac"`
	FixedIPs  []portIP `json:"fixed_ips"`
	MTU       int      `json:"mtu"`
	Ours      bool     `json:"ours"` // created for the server, deleted with it
	Tag       string   `json:"tag"`
}

type portIP struct {
	Address  string   `json:"address"`
	SubnetID string   `json:"subnet_id"`
	CIDR     string   `json:"cidr"`
	Gateway  string   `json:"gateway"`
	DNS      []string `json:"dns"`
	DHCP     bool     `json:"dhcp"`
	Routes   []route  `json:"routes"`
}

type route struct{ Destination, NextHop string }

// ServerFault says why a server is in ERROR.
type ServerFault struct {
	Code    int       `json:"code"`
	Message string    `json:"message"`
	Details string    `json:"details,omitempty"`
	Created time.Time `json:"created"`
}

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

func notFound(err error, format string, args ...any) error {
	if errors.Is(err, store.ErrNotFound) {
		return api.NotFound(format, args...).Wrap(err)
	}
	return err
}

func serverOf(tx *store.Tx, id string) (*Server, error) { return readServer(tx, id, "") }

// lockServer is serverOf for those that save what they read: nobody else saves
// the server until the end of the transaction.
func lockServer(tx *store.Tx, id string) (*Server, error) {
	return readServer(tx, id, tx.ForUpdate())
}

func readServer(tx *store.Tx, id, suffix string) (*Server, error) {
	var s Server
	if err := tx.Get([]any{store.JSON(&s)}, `SELECT doc FROM compute_servers WHERE id = ?`+suffix, id); err != nil {
		return nil, notFound(err, "Instance %s could not be found.", id)
	}
	return &s, nil
}

func insertServer(tx *store.Tx, s *Server) error {
	if err := account(tx, s, time.Time{}); err != nil {
		return err
	}
	_, err := tx.Exec(`INSERT INTO compute_servers (id, project_id, name, status, node_id, created_at, doc) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		s.ID, s.ProjectID, s.Name, s.Status, s.NodeID, store.At(s.Created), store.JSON(s))
	return err
}

func (svc *Service) saveServer(tx *store.Tx, s *Server) error {
	var status string
	if err := tx.Get([]any{&status}, `SELECT status FROM compute_servers WHERE id = ?`, s.ID); err != nil {
		return notFound(err, "Instance %s could not be found.", s.ID)
	}
	s.Updated = time.Now().UTC()
	_, err := tx.Exec(`UPDATE compute_servers SET name = ?, status = ?, node_id = ?, doc = ? WHERE id = ?`,
		s.Name, s.Status, s.NodeID, store.JSON(s), s.ID)
	if err == nil {
		svc.cfg.Bus.PublishTx(tx, "compute/server/"+s.ID)
		err = svc.tell(tx, s, changeEvent(status, s.Status), status)
	}
	return err
}

var vmStates = map[string]string{ //nolint:gochecknoglobals // constant table
	statusBuild: "building", statusActive: "active", statusShutoff: "stopped", statusError: "error", statusRebuild: "active",
}

var powerStates = map[string]int{statusActive: 1, statusShutoff: 4} //nolint:gochecknoglobals // constant table

// view is a server in the API, as api-ref "Show Server Details" has it.
func (svc *Service) view(r *http.Request, s *Server) map[string]any {
	var task, keyName any
	if s.Task != "" && s.Task != taskInterfaces {
		task = s.Task
	}
	if s.KeyName != "" {
		keyName = s.KeyName
	}
	configDrive := ""
	if s.ConfigDrive {
		configDrive = "True"
	}
	var image any = ""
	if s.ImageID != "" {
		image = map[string]any{"id": s.ImageID, "links": []any{map[string]any{"rel": "bookmark", "href": svc.cfg.BaseURL + "/images/" + s.ImageID}}}
	}
	v := map[string]any{
		"id": s.ID, "name": s.Name, "status": s.Status, "tenant_id": s.ProjectID, "user_id": s.UserID,
		"metadata": s.Metadata, "hostId": hostID(s), "image": image, "flavor": svc.embeddedFlavor(r, &s.Flavor),
		"created": s.Created.Format(api.TimeFormat), "updated": s.Updated.Format(api.TimeFormat),
		"addresses": s.addresses(), "accessIPv4": s.AccessIPv4, "accessIPv6": s.AccessIPv6, "links": svc.links("servers", s.ID),
		"OS-DCF:diskConfig": s.diskConfig(), "OS-EXT-AZ:availability_zone": s.zone(), "config_drive": configDrive, "key_name": keyName,
		"OS-SRV-USG:launched_at": usageTime(s.Launched), "OS-SRV-USG:terminated_at": nil,
		"security_groups": s.groupNames(), "os-extended-volumes:volumes_attached": []any{},
		"OS-EXT-STS:task_state": task, "OS-EXT-STS:vm_state": vmStates[s.Status], "OS-EXT-STS:power_state": powerStates[s.Status],
	}
	if caller(r).IsAdmin() {
		v["OS-EXT-SRV-ATTR:host"] = nullable(s.NodeID)
		v["OS-EXT-SRV-ATTR:hypervisor_hostname"] = nullable(s.NodeID)
		v["OS-EXT-SRV-ATTR:instance_name"] = "instance-" + s.ID
		if api.AtLeast(r, "2.3") {
			v["OS-EXT-SRV-ATTR:reservation_id"], v["OS-EXT-SRV-ATTR:launch_index"] = s.Reservation, s.LaunchIndex
			v["OS-EXT-SRV-ATTR:kernel_id"], v["OS-EXT-SRV-ATTR:ramdisk_id"] = "", ""
			v["OS-EXT-SRV-ATTR:root_device_name"], v["OS-EXT-SRV-ATTR:user_data"] = nil, nullable(s.UserData)
			v["OS-EXT-SRV-ATTR:hostname"] = s.hostname()
		}
	}
	if s.Status == statusError && s.Fault != nil {
		f := map[string]any{"code": s.Fault.Code, "message": s.Fault.Message, "created": s.Fault.Created.Format(api.TimeFormat)}
		if caller(r).IsAdmin() && s.Fault.Details != "" {
			f["details"] = s.Fault.Details
		}
		v["fault"] = f
	}
	if s.Status == statusActive {
		v["progress"] = 100
	} else if s.Status == statusBuild {
		v["progress"] = 0
	}
	svc.newer(r, s, v)
	if s.SecurityGroups != nil && len(s.SecurityGroups) == 0 {
		delete(v, "security_groups")
	}
	return v
}

func (s *Server) diskConfig() string {
	if s.DiskConfig == "" {
		return "MANUAL"
	}
	return s.DiskConfig
}

// zone is the availability zone of a server: that of its machine.
func (s *Server) zone() string {
	if s.Zone == "" {
		return defaultZone
	}
	return s.Zone
}

func (s *Server) hostname() string {
	if s.Hostname != "" {
		return s.Hostname
	}
	return s.Name
}

// groups are the names of the server's security groups: nil is Neutron's choice
// for ports of which nothing is said.
func (s *Server) groups() []string {
	if s.SecurityGroups == nil {
		return []string{"default"}
	}
	return s.SecurityGroups
}

func (s *Server) groupNames() []any {
	out := []any{}
	for _, g := range s.groups() {
		out = append(out, map[string]any{"name": g})
	}
	return out
}

// notInUpdates are what answers to updates and rebuilds had not before 2.75.
var notInUpdates = []string{ //nolint:gochecknoglobals // constant table
	"OS-EXT-AZ:availability_zone", "config_drive", "key_name", "OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at", "security_groups",
	"os-extended-volumes:volumes_attached", "OS-EXT-STS:task_state", "OS-EXT-STS:vm_state", "OS-EXT-STS:power_state", "OS-EXT-SRV-ATTR:host",
	"OS-EXT-SRV-ATTR:hypervisor_hostname", "OS-EXT-SRV-ATTR:instance_name", "OS-EXT-SRV-ATTR:reservation_id", "OS-EXT-SRV-ATTR:launch_index",
	"OS-EXT-SRV-ATTR:kernel_id", "OS-EXT-SRV-ATTR:ramdisk_id", "OS-EXT-SRV-ATTR:root_device_name", "OS-EXT-SRV-ATTR:user_data", "OS-EXT-SRV-ATTR:hostname", "host_status",
}

// updated is view in the answer to an update.
func (svc *Service) updated(r *http.Request, s *Server) map[string]any {
	v := svc.view(r, s)
	if !api.AtLeast(r, "2.75") {
		for _, key := range notInUpdates {
			delete(v, key)
		}
		v["addresses"] = s.plainAddresses()
	}
	return v
}

// plainAddresses are addresses without kind and MAC.
func (s *Server) plainAddresses() map[string]any {
	out := s.addresses()
	for _, list := range out {
		entries, _ := list.([]any)
		for _, e := range entries {
			if m, ok := e.(map[string]any); ok {
				delete(m, "OS-EXT-IPS:type")
				delete(m, "OS-EXT-IPS-MAC:mac_addr")
			}
		}
	}
	return out
}

// newer adds what later microversions brought.
func (svc *Service) newer(r *http.Request, s *Server, v map[string]any) {
	if api.AtLeast(r, "2.9") {
		v["locked"] = s.Locked
	}
	if api.AtLeast(r, "2.16") {
		if caller(r).IsAdmin() {
			v["host_status"] = map[bool]string{true: "UP", false: ""}[s.NodeID != ""]
		}
	}
	if api.AtLeast(r, "2.19") {
		v["description"] = s.Description
	}
	if api.AtLeast(r, "2.26") {
		v["tags"] = append([]string{}, s.Tags...)
	}
	if api.AtLeast(r, "2.63") {
		v["trusted_image_certificates"] = nil
	}
	if api.AtLeast(r, "2.71") {
		v["server_groups"] = []any{}
		if s.Group != "" {
			v["server_groups"] = []any{s.Group}
		}
	}
	if api.AtLeast(r, "2.73") {
		v["locked_reason"] = s.LockedReason
	}
	if api.AtLeast(r, "2.90") {
		v["OS-EXT-SRV-ATTR:hostname"] = s.hostname()
	}
}

func (svc *Service) embeddedFlavor(r *http.Request, f *Flavor) map[string]any {
	if !api.AtLeast(r, "2.47") {
		return map[string]any{"id": f.ID, "links": []any{map[string]any{"rel": "bookmark", "href": svc.cfg.BaseURL + "/flavors/" + f.ID}}}
	}
	return map[string]any{
		"original_name": f.Name, "ram": f.RAM, "vcpus": f.VCPUs, "disk": f.Disk, "ephemeral": f.Ephemeral, "swap": f.Swap,
		"extra_specs": specs(f),
	}
}

// hostID hides the machine from a project, but tells two of them apart.
func hostID(s *Server) string {
	if s.NodeID == "" {
		return ""
	}
	sum := sha256.Sum224([]byte(s.ProjectID + s.NodeID))
	return hex.EncodeToString(sum[:])
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func usageTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}

func (s *Server) addresses() map[string]any {
	out := map[string]any{}
	for _, p := range s.Ports {
		list, _ := out[p.Network].([]any)
		for _, ip := range p.FixedIPs {
			version := 4
			if a, err := netip.ParseAddr(ip.Address); err == nil && a.Is6() {
				version = 6
			}
			list = append(list, map[string]any{
				"addr": ip.Address, "version": version, "OS-EXT-IPS-MAC:mac_addr": p.MAC, "OS-EXT-IPS:type": "fixed",
			})
		}
		if list == nil {
			list = []any{}
		}
		out[p.Network] = list
	}
	return out
}

func (s *Server) fail(code int, format string, args ...any) {
	s.Status, s.Task = statusError, ""
	s.Fault = &ServerFault{Code: code, Message: fmt.Sprintf(format, args...), Created: time.Now().UTC()}
}
