package resources

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/store"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// Software config transports: how a server gets its metadata.
const (
	PollTempURL    = "POLL_TEMP_URL"    // an object of Swift
	PollServerCFN  = "POLL_SERVER_CFN"  // DescribeStackResource of the CloudFormation-compatible API
	PollServerHeat = "POLL_SERVER_HEAT" // metadata of the resource in the orchestration API
	ZaqarMessage   = "ZAQAR_MESSAGE"    // messages in a queue
)

// novaServer is OS::Nova::Server as the undercloud overrides it: every property may be updated, a server
// is never replaced, changes of image are dropped (inventory 0).
func novaServer() *Type {
	return &Type{Name: "OS::Nova::Server", NeverReplace: true, DeleteFirst: true,
		Create: createServer, Update: updateServer, Delete: deleteServer, Attr: serverAttr,
		Snapshot: snapshotServer, DropSnapshot: dropServerSnapshot,
		Restore: func(r *Resource, props *Map) {
			if id, ok := r.Snapshot["snapshot_image_id"]; ok {
				props.Set("image", id)
			}
		},
		Keep: func(ctx context.Context, r *Resource) (bool, error) {
			if r.PhysicalID == "" {
				return false, nil
			}
			c, err := r.compute(ctx)
			if err != nil {
				return false, err
			}
			s, err := c.call(ctx, "GET", "servers/"+r.PhysicalID, nil)
			if isNotFound(err) {
				return false, nil
			}
			st := hot.PyStr(get(s, "server", "status"))
			return st != "ERROR" && st != "DELETED", err
		},
		Check: func(ctx context.Context, r *Resource) error {
			c, err := r.compute(ctx)
			if err != nil {
				return err
			}
			s, err := c.call(ctx, "GET", "servers/"+r.PhysicalID, nil)
			if err != nil {
				return err
			}
			if st := hot.PyStr(get(s, "server", "status")); st != "ACTIVE" {
				return Failed("Server %s is not ACTIVE but %s", r.PhysicalID, st)
			}
			return nil
		},
	}
}

func serverName(r *Resource) string {
	if n := r.Props.Str("name"); n != "" {
		return n
	}
	return r.PhysicalName(53)
}

func createServer(ctx context.Context, r *Resource) (Step, error) {
	c, err := r.compute(ctx)
	if err != nil {
		return Step{}, err
	}
	if r.PhysicalID == "" {
		if err := bootServer(ctx, r, c); err != nil {
			return Step{}, err
		}
	}
	if len(r.Props.Strs("tags")) > 0 && r.Data["tagged"] != true {
		if err := updateTags(ctx, r, c, nil); err != nil {
			return Step{}, err
		}
		r.Data["tagged"] = true
	}
	if r.Data["target"] != true && software(r) {
		if err := publishTarget(ctx, r, r.PhysicalID); err != nil {
			return Step{}, err
		}
		r.Data["target"] = true
		if err := r.Host.Save(ctx, r); err != nil {
			return Step{}, err
		}
	}
	return serverReady(ctx, r, c)
}

func software(r *Resource) bool { return r.Props.Str("user_data_format") == "SOFTWARE_CONFIG" }

// resourceKey is the metadata by which a repeated creation finds the server an earlier attempt made.
const resourceKey = "heat_resource_id"

func bootServer(ctx context.Context, r *Resource, c client) error {
	if r.Data["creating"] == true {
		m, err := c.call(ctx, "GET", "servers/detail?name="+url.QueryEscape("^"+serverName(r)+"$"), nil)
		if err != nil {
			return err
		}
		for _, s := range items(m, "servers") {
			if get(s, "metadata", resourceKey) == r.ID {
				return r.SetID(ctx, str(s, "id"))
			}
		}
	}
	b := yaml11.MapOf("name", serverName(r), "min_count", int64(1), "max_count", int64(1))
	flavor, err := flavorID(ctx, c, r.Props.Str("flavor"))
	if err != nil {
		return err
	}
	b.Set("flavorRef", flavor)
	if img := r.Props.Str("image"); img != "" {
		glance, err := r.image(ctx)
		if err != nil {
			return err
		}
		id, err := glance.idOf(ctx, "images", "images", img)
		if err != nil {
			return err
		}
		b.Set("imageRef", id)
	}
	nets, err := serverNetworks(ctx, r)
	if err != nil {
		return err
	}
	if nets != nil {
		b.Set("networks", nets)
	}
	data, err := userData(ctx, r)
	if err != nil {
		return err
	}
	if data != "" {
		b.Set("user_data", base64.StdEncoding.EncodeToString([]byte(data)))
	}
	copyProps(b, r.Props, "key_name", "availability_zone", "config_drive")
	if v := r.Props.Str("admin_pass"); v != "" {
		b.Set("adminPass", v)
	}
	b.Set("metadata", serverMetadata(r))
	blockDevices(r, b)
	if v := r.Props.Str("diskConfig"); v != "" {
		b.Set("OS-DCF:diskConfig", v)
	}
	if files := personality(r); len(files) > 0 {
		b.Set("personality", files)
	}
	if sg := r.Props.Strs("security_groups"); len(sg) > 0 {
		var l []any
		for _, g := range sg {
			l = append(l, yaml11.MapOf("name", g))
		}
		b.Set("security_groups", l)
	}
	r.Data["creating"] = true
	if err := r.Host.Save(ctx, r); err != nil {
		return err
	}
	body := yaml11.MapOf("server", b)
	if h := r.Props.Map("scheduler_hints"); h.Len() > 0 {
		body.Set("os:scheduler_hints", h)
	}
	m, err := c.call(ctx, "POST", "servers", body)
	if err != nil {
		return err
	}
	return r.SetID(ctx, hot.PyStr(get(m, "server", "id")))
}

// personality are files that Nova puts onto the disk, before microversion 2.57.
func personality(r *Resource) []any {
	var out []any
	for path, text := range r.Props.Map("personality").All() {
		out = append(out, yaml11.MapOf("path", path, "contents", base64.StdEncoding.EncodeToString([]byte(hot.PyStr(text)))))
	}
	return out
}

func scalarText(v any) any {
	switch v.(type) {
	case *Map, []any:
		return v
	}
	return hot.PyStr(v)
}

func flavorID(ctx context.Context, c client, nameOrID string) (string, error) {
	m, err := c.call(ctx, "GET", "flavors/detail?is_public=None", nil)
	if err != nil {
		return "", err
	}
	for _, key := range []string{"id", "name"} {
		for _, f := range items(m, "flavors") {
			if str(f, key) == nameOrID {
				return str(f, "id"), nil
			}
		}
	}
	return "", Failed("The Nova Flavor ID (%s) could not be found.", nameOrID)
}

// serverNetworks makes the list for Nova. An entry with a subnet needs a port of our own, which the
// resource deletes with the server (inventory 4.4).
func serverNetworks(ctx context.Context, r *Resource) (any, error) {
	l := r.Props.List("networks")
	if len(l) == 0 {
		return nil, nil
	}
	c, err := r.network(ctx)
	if err != nil {
		return nil, err
	}
	out := []any{}
	for i, v := range l {
		n := v.(*Map)
		if p := str(n, "port"); p != "" {
			id, err := c.idOf(ctx, "ports", "ports", p)
			if err != nil {
				return nil, err
			}
			out = append(out, yaml11.MapOf("port", id))
			continue
		}
		if a := str(n, "allocate_network"); a != "" {
			return a, nil
		}
		net := str(n, "network")
		if net == "" {
			net = str(n, "uuid")
		}
		if str(n, "subnet") == "" && submap(n, "port_extra_properties") == nil {
			id, err := c.idOf(ctx, "networks", "networks", net)
			if err != nil {
				return nil, err
			}
			e := yaml11.MapOf("uuid", id)
			if ip := str(n, "fixed_ip"); ip != "" {
				e.Set("fixed_ip", ip)
			}
			out = append(out, e)
			continue
		}
		id, err := internalPort(ctx, r, c, i, net, n)
		if err != nil {
			return nil, err
		}
		if err := r.notePort(ctx, id); err != nil {
			return nil, err
		}
		out = append(out, yaml11.MapOf("port", id))
	}
	return out, nil
}

func hasText(l []any, s string) bool {
	for _, v := range l {
		if v == s {
			return true
		}
	}
	return false
}

// internalPort finds or makes the port of one networks entry; its name is deterministic.
func internalPort(ctx context.Context, r *Resource, c client, i int, net string, n *Map) (string, error) {
	return internalPortNamed(ctx, r, c, portName(r, i), net, n)
}

func portName(r *Resource, i int) string { return fmt.Sprintf("%s-port-%d", r.PhysicalName(0), i) }

func internalPortNamed(ctx context.Context, r *Resource, c client, name, net string, n *Map) (string, error) {
	m, err := c.call(ctx, "GET", "ports?name="+url.QueryEscape(name), nil)
	if err != nil {
		return "", err
	}
	if l := items(m, "ports"); len(l) > 0 {
		return str(l[0], "id"), nil
	}
	subnet := str(n, "subnet")
	b := yaml11.MapOf("name", name, "admin_state_up", true)
	if net == "" {
		id, err := c.idOf(ctx, "subnets", "subnets", subnet)
		if err != nil {
			return "", err
		}
		s, err := c.call(ctx, "GET", "subnets/"+id, nil)
		if err != nil {
			return "", err
		}
		net = hot.PyStr(get(s, "subnet", "network_id"))
	}
	netID, err := c.idOf(ctx, "networks", "networks", net)
	if err != nil {
		return "", err
	}
	b.Set("network_id", netID)
	ip := yaml11.NewMap()
	if subnet != "" {
		ip.Set("subnet", subnet)
	}
	if a := str(n, "fixed_ip"); a != "" {
		ip.Set("ip_address", a)
	}
	if ip.Len() > 0 {
		ips, err := fixedIPs(ctx, c, netID, []any{ip})
		if err != nil {
			return "", err
		}
		b.Set("fixed_ips", ips)
	}
	for k, v := range submap(n, "port_extra_properties").All() {
		b.Set(k, v)
	}
	if sg := r.Props.List("security_groups"); len(sg) > 0 {
		b.Set("security_groups", sg)
	}
	m, err = c.call(ctx, "POST", "ports", yaml11.MapOf("port", b))
	return hot.PyStr(get(m, "port", "id")), err
}

// userData assembles what the machine reads from its config drive.
func userData(ctx context.Context, r *Resource) (string, error) {
	data := r.Props.Str("user_data")
	if IsUUID(data) {
		c, err := r.Host.Config(ctx, r, data)
		if err == nil {
			data = configText(c.Config)
		} else if !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
	}
	switch r.Props.Str("user_data_format") {
	case "RAW":
		return data, nil
	case "HEAT_CFNTOOLS":
		return cfnUserData(r, data), nil
	}
	t, err := target(ctx, r)
	if err != nil {
		return "", err
	}
	if err := publishInitial(ctx, r, t); err != nil {
		return "", err
	}
	first := t.Metadata.Clone()
	first.Set("deployments", []any{})
	parts := []MimePart{{Text: hot.PyJSON(first, false), Subtype: "x-cfninitdata", Filename: "cfn-init-data"}}
	if data != "" {
		more, err := SplitMultipart(data)
		if err != nil {
			return "", err
		}
		parts = append(parts, more...)
	}
	return Multipart(r.ID, parts), nil
}

// target says where the metadata of a server is published, and what it holds besides deployments: the
// metadata of the resource with the transport merged into its os-collect-config (inventory 5.2).
func target(ctx context.Context, r *Resource) (*Target, error) {
	t := &Target{Metadata: yaml11.NewMap()}
	for k, v := range r.Metadata.All() {
		t.Metadata.Set(k, v)
	}
	occ := yaml11.NewMap()
	if m := submap(t.Metadata, "os-collect-config"); m != nil {
		occ = m.Clone()
	}
	collector, access, err := serverTransport(ctx, r, t)
	if err != nil {
		return nil, err
	}
	occ.Set(collector, access)
	occ.Set("collectors", []any{"ec2", collector, "local"})
	t.Metadata.Set("os-collect-config", occ)
	return t, nil
}

// serverTransport returns the collector of os-collect-config that a transport needs, and its settings.
func serverTransport(ctx context.Context, r *Resource, t *Target) (collector string, access *Map, err error) {
	transport := r.Props.Str("software_config_transport")
	if transport == PollTempURL {
		swiftData := r.Props.Map("deployment_swift_data")
		if t.Container = str(swiftData, "container"); t.Container == "" {
			t.Container = serverName(r)
		}
		if t.Object = str(swiftData, "object"); t.Object == "" {
			t.Object = r.ID
		}
		s, err := r.swift(ctx)
		if err != nil {
			return "", nil, err
		}
		u, err := s.tempURL(ctx, r, "GET", t.Container, t.Object)
		return "request", yaml11.MapOf("metadata_url", u), err
	}
	u, err := r.Host.StackUser(ctx, r)
	if err != nil {
		return "", nil, err
	}
	if transport == PollServerCFN {
		return "cfn", yaml11.MapOf("metadata_url", r.Host.CFNURL()+"/", "stack_name", r.StackName, "secret_access_key", u.Secret, "access_key_id", u.Access,
			"path", r.Name+".Metadata"), nil
	}
	access = yaml11.MapOf("user_id", u.UserID, "password", u.Password, "auth_url", r.Host.AuthURL(), "project_id", u.ProjectID, "region_name", r.Host.Region())
	if transport == ZaqarMessage {
		if r.Str("queue") == "" {
			if _, err := userZaqar(ctx, r); err != nil {
				return "", nil, err
			}
			r.Data["queue"] = configID(r.ID, "queue")
			if err := r.Host.Save(ctx, r); err != nil {
				return "", nil, err
			}
		}
		t.Queue = r.Str("queue")
		access.Set("queue_id", t.Queue)
		return "zaqar", access, nil
	}
	access.Set("stack_id", r.StackName+"/"+r.StackID)
	access.Set("resource_name", r.Name)
	return "heat", access, nil
}

// publishInitial makes container and object, so that the machine finds something from the first boot on.
func publishInitial(ctx context.Context, r *Resource, t *Target) error {
	if t.Container == "" {
		return nil
	}
	s, err := r.swift(ctx)
	if err != nil {
		return err
	}
	if err := s.putContainer(ctx, t.Container); err != nil {
		return fmt.Errorf("container for the metadata: %w", err)
	}
	m := t.Metadata.Clone()
	m.Set("deployments", []any{})
	b, err := yaml11.EncodeJSON(m)
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	return s.put(ctx, t.Container, t.Object, b)
}

// publishTarget tells the engine whose metadata goes where; from then on it follows the deployments.
func publishTarget(ctx context.Context, r *Resource, serverID string) error {
	t, err := target(ctx, r)
	if err != nil {
		return err
	}
	t.ServerID = serverID
	return r.Host.PutTarget(ctx, r, t)
}

// serverReady waits until the server is active.
func serverReady(ctx context.Context, r *Resource, c client) (Step, error) {
	m, err := c.call(ctx, "GET", "servers/"+r.PhysicalID, nil)
	if err != nil {
		return Step{}, err
	}
	s := submap(m, "server")
	switch st := str(s, "status"); st {
	case "ACTIVE":
		return Done(), nil
	case "ERROR":
		msg, code := "Unknown", "Unknown"
		if f := submap(s, "fault"); f != nil {
			msg, code = str(f, "message"), str(f, "code")
		}
		return Step{}, Failed("Went to status ERROR due to \"Message: %s, Code: %s\"", msg, code)
	case "DELETED":
		return Step{}, Failed("Server %s was deleted by somebody else", r.PhysicalID)
	}
	return Wait(15*time.Second, "compute/server/"+r.PhysicalID), nil
}

func deleteServer(ctx context.Context, r *Resource) (Step, error) {
	c, err := r.compute(ctx)
	if err != nil {
		return Step{}, err
	}
	if r.PhysicalID == "" && r.Data["creating"] == true {
		// An attempt before a crash may have made it.
		m, err := c.call(ctx, "GET", "servers/detail?name="+url.QueryEscape("^"+serverName(r)+"$"), nil)
		if err != nil {
			return Step{}, err
		}
		for _, s := range items(m, "servers") {
			if get(s, "metadata", resourceKey) == r.ID {
				r.PhysicalID = str(s, "id")
			}
		}
	}
	if r.PhysicalID != "" {
		m, err := c.call(ctx, "GET", "servers/"+r.PhysicalID, nil)
		if err != nil && !isNotFound(err) {
			return Step{}, err
		}
		if err == nil && str(submap(m, "server"), "status") != "DELETED" {
			if r.Data["deleting"] != true || str(submap(m, "server"), "OS-EXT-STS:task_state") != "deleting" && r.Host.Now().Sub(r.Begun) > time.Minute {
				if err := c.remove(ctx, "servers/"+r.PhysicalID); err != nil && status(err) != 409 {
					return Step{}, err
				}
				r.Data["deleting"] = true
			}
			if str(submap(m, "server"), "status") == "ERROR" && r.Host.Now().Sub(r.Begun) > 20*time.Minute {
				return Step{}, Failed("Server %s delete failed: it is in status ERROR", r.PhysicalID)
			}
			return Wait(10*time.Second, "compute/server/"+r.PhysicalID), nil
		}
	}
	if ports, ok := r.Data["ports"].([]any); ok && len(ports) > 0 {
		n, err := r.network(ctx)
		if err != nil {
			return Step{}, err
		}
		for _, p := range ports {
			if err := n.remove(ctx, "ports/"+hot.PyStr(p)); err != nil {
				return Step{}, err
			}
		}
	}
	return Done(), dropMetadata(ctx, r)
}

// dropMetadata removes the published metadata of a server.
func dropMetadata(ctx context.Context, r *Resource) error {
	if r.Data["target"] != true && r.Data["creating"] != true {
		return nil
	}
	if err := r.Host.DropTarget(ctx, r, r.PhysicalID); err != nil {
		return err
	}
	if r.TypeName == "OS::Nova::Server" && !software(r) {
		return nil
	}
	if err := dropQueue(ctx, r, "queue"); err != nil {
		return err
	}
	if r.Str("user_id") != "" {
		if err := r.Host.DropStackUser(ctx, r); err != nil {
			return err
		}
	}
	if r.Props.Str("software_config_transport") != PollTempURL {
		return nil
	}
	container, object := str(r.Props.Map("deployment_swift_data"), "container"), str(r.Props.Map("deployment_swift_data"), "object")
	if container == "" {
		container = serverName(r)
	}
	if object == "" {
		object = r.ID
	}
	s, err := r.swift(ctx)
	if err != nil {
		return err
	}
	return s.drop(ctx, container, object)
}

func serverAttr(ctx context.Context, r *Resource, name string) (any, error) {
	switch name {
	case "name":
		return serverName(r), nil
	case "os_collect_config":
		t, err := target(ctx, r)
		if err != nil {
			return nil, err
		}
		return submap(t.Metadata, "os-collect-config"), nil // what is under the key, as heat/engine/resources/server_base.py has it
	}
	c, err := r.compute(ctx)
	if err != nil {
		return nil, err
	}
	m, err := c.call(ctx, "GET", "servers/"+r.PhysicalID, nil)
	if err != nil {
		return nil, err
	}
	s := submap(m, "server")
	switch name {
	case "show":
		return s, nil
	case "tags":
		m, err := c.at(tagsVersion).call(ctx, "GET", "servers/"+r.PhysicalID+"/tags", nil)
		return get(m, "tags"), err
	case "instance_name":
		return get(s, "OS-EXT-SRV-ATTR:instance_name"), nil
	case "networks", "addresses":
		return serverAddresses(ctx, r, s, name == "networks")
	case "first_address":
		for _, l := range submap(s, "addresses").All() {
			return hot.Dig(l, []any{int64(0), "addr"}), nil
		}
		return "", nil
	}
	return get(s, name), nil
}

// serverAddresses lists addresses by network, under the network's name and its id.
func serverAddresses(ctx context.Context, r *Resource, s *Map, plain bool) (any, error) {
	out := yaml11.NewMap()
	n, err := r.network(ctx)
	if err != nil {
		return nil, err
	}
	var ports []*Map
	if !plain {
		m, err := n.call(ctx, "GET", "ports?device_id="+url.QueryEscape(r.PhysicalID), nil)
		if err != nil {
			return nil, err
		}
		ports = items(m, "ports")
	}
	for net, v := range submap(s, "addresses").All() {
		l, _ := v.([]any)
		values := []any{}
		for _, e := range l {
			a, _ := e.(*Map)
			if plain {
				values = append(values, str(a, "addr"))
				continue
			}
			a = a.Clone()
			for _, p := range ports {
				if str(p, "mac_address") == str(a, "OS-EXT-IPS-MAC:mac_addr") {
					a.Set("port", str(p, "id"))
				}
			}
			values = append(values, a)
		}
		out.Set(net, values)
		id, err := n.idOf(ctx, "networks", "networks", net)
		if err == nil {
			out.Set(id, values)
		}
	}
	return out, nil
}

func heatDeployedServer() *Type {
	return &Type{Name: "OS::Heat::DeployedServer",
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			if r.PhysicalID == "" {
				if err := r.SetID(ctx, r.ID); err != nil {
					return Step{}, err
				}
			}
			t, err := target(ctx, r)
			if err != nil {
				return Step{}, err
			}
			if err := publishInitial(ctx, r, t); err != nil {
				return Step{}, err
			}
			r.Data["target"] = true
			t.ServerID = r.PhysicalID
			return Done(), r.Host.PutTarget(ctx, r, t)
		},
		Update: func(ctx context.Context, r *Resource) (Step, error) {
			return Done(), publishTarget(ctx, r, r.PhysicalID)
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) { return Done(), dropMetadata(ctx, r) },
		Keep:   func(context.Context, *Resource) (bool, error) { return true, nil },
		Attr: func(ctx context.Context, r *Resource, name string) (any, error) {
			if name == "name" {
				return serverName(r), nil
			}
			t, err := target(ctx, r)
			if err != nil {
				return nil, err
			}
			return submap(t.Metadata, "os-collect-config"), nil // what is under the key, as heat/engine/resources/server_base.py has it
		},
	}
}
