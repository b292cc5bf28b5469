package resources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// updateServer makes an existing server what the properties say. Every step asks what is before it changes
// something, so that it may run again.
func updateServer(ctx context.Context, r *Resource) (Step, error) {
	c, err := r.compute(ctx)
	if err != nil {
		return Step{}, err
	}
	m, err := c.call(ctx, "GET", "servers/"+r.PhysicalID, nil)
	if err != nil {
		return Step{}, err
	}
	s := submap(m, "server")
	if r.Changed["name"] {
		if _, err := c.call(ctx, "PUT", "servers/"+r.PhysicalID, yaml11.MapOf("server", yaml11.MapOf("name", serverName(r)))); err != nil {
			return Step{}, err
		}
	}
	for _, change := range []struct {
		prop string
		do   func(context.Context, *Resource, client, *Map) error
	}{{"metadata", updateMetadata}, {"tags", updateTags}, {"security_groups", updateSecurityGroups}, {"admin_pass", updatePassword}} {
		if r.Changed[change.prop] {
			if err := change.do(ctx, r, c, s); err != nil {
				return Step{}, err
			}
		}
	}
	for _, change := range []struct {
		prop string
		do   func(context.Context, *Resource, client, *Map) (Step, error)
	}{{"networks", updateNetworks}, {"flavor", resizeServer}, {"image", restoreImage}} {
		if !r.Changed[change.prop] {
			continue
		}
		if step, err := change.do(ctx, r, c, s); err != nil || !step.Done {
			return step, err
		}
	}
	if software(r) {
		if err := updateTarget(ctx, r); err != nil {
			return Step{}, err
		}
	}
	return serverReady(ctx, r, c)
}

// updateTarget publishes the server's metadata where the properties say now.
func updateTarget(ctx context.Context, r *Resource) error {
	t, err := target(ctx, r)
	if err != nil {
		return err
	}
	if t.Container != "" {
		s, err := r.swift(ctx)
		if err != nil {
			return err
		}
		if err := s.putContainer(ctx, t.Container); err != nil {
			return err
		}
	}
	t.ServerID = r.PhysicalID
	return r.Host.PutTarget(ctx, r, t)
}

// serverMetadata is the metadata of a server: text, with what finds the server again after a crash.
func serverMetadata(r *Resource) *Map {
	meta := yaml11.NewMap()
	for k, v := range r.Props.Map("metadata").All() {
		meta.Set(k, configText(scalarText(v)))
	}
	meta.Set(resourceKey, r.ID)
	return meta
}

// updateMetadata sets what is wanted, then deletes the keys that are not, as Heat does: keys that others
// have set go too.
func updateMetadata(ctx context.Context, r *Resource, c client, s *Map) error {
	path, want := "servers/"+r.PhysicalID+"/metadata", serverMetadata(r)
	if _, err := c.call(ctx, "POST", path, yaml11.MapOf("metadata", want)); err != nil {
		return err
	}
	for k := range submap(s, "metadata").All() {
		if _, ok := want.Get(k); ok {
			continue
		}
		if err := c.remove(ctx, path+"/"+url.PathEscape(k)); err != nil {
			return cannot("delete metadata of", r, err)
		}
	}
	return nil
}

// Microversions of Nova that an operation needs: https://docs.openstack.org/nova/latest/reference/api-microversion-history.html
const tagsVersion = "2.26"

// updateTags gives the server the tags of the properties and no others.
func updateTags(ctx context.Context, r *Resource, c client, _ *Map) error {
	tags := []any{}
	for _, t := range r.Props.Strs("tags") {
		tags = append(tags, t)
	}
	if _, err := c.at(tagsVersion).call(ctx, "PUT", "servers/"+r.PhysicalID+"/tags", yaml11.MapOf("tags", tags)); err != nil {
		return cannot("tag", r, err)
	}
	return nil
}

// at returns the client with another microversion of Nova.
func (c client) at(version string) client {
	sc := *c.ServiceClient
	sc.Microversion = version
	return client{&sc}
}

// cannot says what a service refused to do with a server, in its words.
func cannot(do string, r *Resource, err error) error {
	if Transient(err) {
		return err
	}
	return Failed("The compute service cannot %s server %s: %v", do, r.PhysicalID, err)
}

func serverAction(ctx context.Context, r *Resource, c client, name string, args any) (*Map, error) {
	return c.call(ctx, "POST", "servers/"+r.PhysicalID+"/action", yaml11.MapOf(name, args))
}

// updateSecurityGroups gives the server the groups of the property and no others. The property may name a group
// by its name or its id, hence both are asked for: the server itself shows names only.
func updateSecurityGroups(ctx context.Context, r *Resource, c client, _ *Map) error {
	shown, err := c.call(ctx, "GET", "servers/"+r.PhysicalID+"/os-security-groups", nil)
	if err != nil {
		return cannot("list the security groups of", r, err)
	}
	have, want := items(shown, "security_groups"), r.Props.Strs("security_groups")
	is := func(g *Map, ref string) bool { return str(g, "id") == ref || str(g, "name") == ref }
	for _, ref := range want {
		if slices.ContainsFunc(have, func(g *Map) bool { return is(g, ref) }) {
			continue
		}
		if _, err := serverAction(ctx, r, c, "addSecurityGroup", yaml11.MapOf("name", ref)); err != nil && status(err) != http.StatusConflict {
			return cannot("give a security group to", r, err)
		}
	}
	for _, g := range have {
		if slices.ContainsFunc(want, func(ref string) bool { return is(g, ref) }) {
			continue
		}
		if _, err := serverAction(ctx, r, c, "removeSecurityGroup", yaml11.MapOf("name", str(g, "id"))); err != nil && !isNotFound(err) {
			return cannot("take a security group from", r, err)
		}
	}
	return nil
}

func updatePassword(ctx context.Context, r *Resource, c client, _ *Map) error {
	if _, err := serverAction(ctx, r, c, "changePassword", yaml11.MapOf("adminPass", r.Props.Str("admin_pass"))); err != nil {
		return cannot("change the password of", r, err)
	}
	return nil
}

// resizeServer gives the server another flavor and confirms it.
func resizeServer(ctx context.Context, r *Resource, c client, s *Map) (Step, error) {
	want, err := flavorID(ctx, c, r.Props.Str("flavor"))
	if err != nil {
		return Step{}, err
	}
	again := Wait(10*time.Second, "compute/server/"+r.PhysicalID)
	switch str(s, "status") {
	case "RESIZE":
		return again, nil
	case "VERIFY_RESIZE":
		_, err := serverAction(ctx, r, c, "confirmResize", nil)
		return again, err
	}
	if str(submap(s, "flavor"), "id") == want {
		delete(r.Data, "resized")
		return Done(), nil
	}
	if r.Data["resized"] == want { // it was asked for, and Nova went back
		delete(r.Data, "resized")
		return Step{}, Failed("Resizing server %s to flavor %s failed: its status is %s with the flavor it had", r.PhysicalID, want, str(s, "status"))
	}
	if _, err := serverAction(ctx, r, c, "resize", yaml11.MapOf("flavorRef", want)); err != nil {
		return Step{}, cannot("resize", r, err)
	}
	r.Data["resized"] = want
	return again, r.Host.Save(ctx, r)
}

// restoreImage rebuilds a server that goes back to the image of a snapshot. Any other change of the image is
// left alone: what runs on the server would be lost (the undercloud's override of this type).
func restoreImage(ctx context.Context, r *Resource, c client, s *Map) (Step, error) {
	mark := r.Props.Str("image") + " " + r.Begun.Format(time.RFC3339Nano) // of this operation
	if !r.Restoring || r.Data["rebuilt"] == mark {
		return Done(), nil
	}
	if str(s, "status") == "REBUILD" {
		return Wait(10*time.Second, "compute/server/"+r.PhysicalID), nil
	}
	if _, err := serverAction(ctx, r, c, "rebuild", yaml11.MapOf("imageRef", r.Props.Str("image"))); err != nil {
		return Step{}, cannot("rebuild", r, err)
	}
	r.Data["rebuilt"] = mark
	return Wait(10*time.Second, "compute/server/"+r.PhysicalID), r.Host.Save(ctx, r)
}

// nic is one interface that a server is to have.
type nic struct {
	port         string // of the template, or one of ours
	network, ip  string
	subnet       string
	entry        *Map
	index        int
	own, claimed bool
}

// updateNetworks detaches the interfaces that no entry of networks stands for, then attaches those that are
// missing. An entry without a port takes an interface on its network that has what it asks for.
func updateNetworks(ctx context.Context, r *Resource, c client, _ *Map) (Step, error) {
	if chosenByNova(r) {
		return Done(), nil
	}
	n, err := r.network(ctx)
	if err != nil {
		return Step{}, err
	}
	want, err := wantedNICs(ctx, r, n)
	if err != nil {
		return Step{}, err
	}
	m, err := c.call(ctx, "GET", "servers/"+r.PhysicalID+"/os-interface", nil)
	if err != nil {
		return Step{}, cannot("list the interfaces of", r, err)
	}
	have := items(m, "interfaceAttachments")
	left := claim(want, have, r)
	for _, i := range left {
		port := str(i, "port_id")
		if err := c.remove(ctx, "servers/"+r.PhysicalID+"/os-interface/"+port); err != nil {
			return Step{}, cannot("detach port "+port+" from", r, err)
		}
	}
	if len(left) > 0 { // Nova detaches later than it answers; an address may be needed again
		return Wait(2*time.Second, "compute/server/"+r.PhysicalID), nil
	}
	if err := dropPorts(ctx, r, n, want); err != nil {
		return Step{}, err
	}
	for _, w := range want {
		if w.claimed {
			continue
		}
		if w.own && w.port == "" {
			if w.port, err = ownPort(ctx, r, n, w); err != nil {
				return Step{}, err
			}
		}
		if _, err := c.call(ctx, "POST", "servers/"+r.PhysicalID+"/os-interface", yaml11.MapOf("interfaceAttachment", w.body())); err != nil {
			return Step{}, cannot("attach an interface to", r, err)
		}
	}
	return Done(), nil
}

// chosenByNova tells whether the networks are left to Nova by allocate_network.
func chosenByNova(r *Resource) bool {
	return slices.ContainsFunc(r.Props.List("networks"), func(v any) bool {
		m, ok := v.(*Map)
		return ok && str(m, "allocate_network") != ""
	})
}

func (w *nic) body() *Map {
	b := yaml11.NewMap()
	switch {
	case w.port != "":
		b.Set("port_id", w.port)
	case w.network != "":
		b.Set("net_id", w.network)
		if w.ip != "" {
			b.Set("fixed_ips", []any{yaml11.MapOf("ip_address", w.ip)})
		}
	}
	return b
}

// wantedNICs resolves the entries of networks. No entry at all is one that Nova fills.
func wantedNICs(ctx context.Context, r *Resource, n client) ([]*nic, error) {
	var out []*nic
	for i, v := range r.Props.List("networks") {
		e, ok := v.(*Map)
		if !ok {
			continue
		}
		w := &nic{entry: e, index: i, ip: str(e, "fixed_ip"), own: str(e, "subnet") != "" || submap(e, "port_extra_properties") != nil}
		net := str(e, "network")
		if net == "" {
			net = str(e, "uuid")
		}
		var err error
		switch {
		case str(e, "port") != "":
			w.port, err = n.idOf(ctx, "ports", "ports", str(e, "port"))
		case str(e, "subnet") != "":
			var m *Map
			if w.subnet, err = n.idOf(ctx, "subnets", "subnets", str(e, "subnet")); err == nil {
				m, err = n.call(ctx, "GET", "subnets/"+w.subnet, nil)
			}
			w.network = hot.PyStr(get(m, "subnet", "network_id"))
		default:
			w.network, err = n.idOf(ctx, "networks", "networks", net)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
	if len(out) == 0 {
		out = append(out, &nic{})
	}
	return out, nil
}

// claim gives each entry the interface that is as it says, and returns the interfaces that are left over.
func claim(want []*nic, have []*Map, r *Resource) []*Map {
	taken := map[*Map]bool{}
	take := func(fits func(*nic, *Map) bool) {
		for _, w := range want {
			for _, i := range have {
				if !w.claimed && !taken[i] && fits(w, i) {
					w.claimed, taken[i], w.port = true, true, str(i, "port_id")
				}
			}
		}
	}
	ours, _ := r.Data["ports"].([]any)
	for _, w := range want {
		if !w.own {
			continue
		}
		if id := r.Str(w.portName(r)); hasText(ours, id) {
			w.port = id
		}
	}
	take(func(w *nic, i *Map) bool { return w.port != "" && str(i, "port_id") == w.port })
	take(func(w *nic, i *Map) bool { // exact ones first
		return w.port == "" && w.network != "" && str(i, "net_id") == w.network && (w.ip != "" || w.subnet != "") && w.addressed(i) &&
			(submap(w.entry, "port_extra_properties") == nil || hasText(ours, str(i, "port_id"))) // a port of Nova's has none of them
	})
	take(func(w *nic, i *Map) bool {
		return w.port == "" && str(i, "net_id") == w.network && w.ip == "" && w.subnet == "" && !w.own
	})
	if len(want) == 1 && want[0].network == "" && want[0].port == "" && len(have) > 0 {
		want[0].claimed = true // Nova's choice stays what it was
		return nil
	}
	return slices.DeleteFunc(slices.Clone(have), func(i *Map) bool { return taken[i] })
}

// addressed tells whether an interface has the address, and is in the subnet, that an entry names.
func (w *nic) addressed(i *Map) bool {
	for _, ip := range items(i, "fixed_ips") {
		if (w.ip == "" || str(ip, "ip_address") == w.ip) && (w.subnet == "" || str(ip, "subnet_id") == w.subnet) {
			return true
		}
	}
	return false
}

// ownPort makes the port of an entry that has none on the server yet. Its name differs from that of the
// entry which had the place before, because that port may be there still.
func ownPort(ctx context.Context, r *Resource, n client, w *nic) (string, error) {
	name := w.portName(r)
	id, err := internalPortNamed(ctx, r, n, name, w.network, w.entry)
	if err != nil {
		return "", err
	}
	r.Data[name] = id
	return id, r.notePort(ctx, id)
}

// portName is the name of the port of an entry that came with an update.
func (w *nic) portName(r *Resource) string {
	sum := sha256.Sum256([]byte(hot.PyJSON(w.entry, true)))
	return portName(r, w.index) + "-" + hex.EncodeToString(sum[:4])
}

// dropPorts deletes the ports that were made for entries which are gone.
func dropPorts(ctx context.Context, r *Resource, n client, want []*nic) error {
	ports, _ := r.Data["ports"].([]any)
	left := []any{}
	for _, p := range ports {
		id := hot.PyStr(p)
		if slices.ContainsFunc(want, func(w *nic) bool { return w.port == id }) || strings.TrimSpace(id) == "" {
			left = append(left, p)
			continue
		}
		if err := n.remove(ctx, "ports/"+id); err != nil {
			return err
		}
	}
	r.Data["ports"] = left
	return r.Host.Save(ctx, r)
}

// notePort remembers a port that goes with the server.
func (r *Resource) notePort(ctx context.Context, id string) error {
	ports, _ := r.Data["ports"].([]any)
	if hasText(ports, id) {
		return nil
	}
	r.Data["ports"] = append(ports, id)
	return r.Host.Save(ctx, r)
}

// snapshotServer makes an image of the server's disk.
func snapshotServer(ctx context.Context, r *Resource) (Step, error) {
	glance, err := r.image(ctx)
	if err != nil {
		return Step{}, err
	}
	id := r.Str("snapshot_image")
	if id == "" {
		c, err := r.compute(ctx)
		if err != nil {
			return Step{}, err
		}
		m, err := serverAction(ctx, r, c.at("2.45"), "createImage", yaml11.MapOf("name", r.PhysicalName(0)+"-snapshot", "metadata", yaml11.NewMap())) // 2.45: the answer names the image
		if err != nil {
			return Step{}, cannot("make an image of", r, err)
		}
		if id = str(m, "image_id"); id == "" {
			return Step{}, Failed("The compute service does not say which image it makes of server %s", r.PhysicalID)
		}
		r.Data["snapshot_image"] = id
		if err := r.Host.Save(ctx, r); err != nil {
			return Step{}, err
		}
	}
	m, err := glance.call(ctx, "GET", "images/"+id, nil)
	if err != nil {
		return Step{}, err
	}
	switch st := str(m, "status"); st {
	case "active":
		delete(r.Data, "snapshot_image")
		r.Snapshot = map[string]any{"snapshot_image_id": id}
		return Done(), nil
	case "deleted", "killed", "error":
		delete(r.Data, "snapshot_image")
		return Step{}, Failed("The image %s of server %s went to status %s", id, r.PhysicalID, st)
	}
	return Wait(5*time.Second, "image/"+id), nil
}

// dropServerSnapshot deletes the image of a snapshot.
func dropServerSnapshot(ctx context.Context, r *Resource) error {
	id, _ := r.Snapshot["snapshot_image_id"].(string)
	if id == "" {
		return nil
	}
	glance, err := r.image(ctx)
	if err != nil {
		return err
	}
	return glance.remove(ctx, "images/"+id)
}

// blockDevices writes the disks of a server as Nova takes them.
func blockDevices(r *Resource, b *Map) {
	var v1, v2 []any
	for _, v := range r.Props.List("block_device_mapping") {
		m, ok := v.(*Map)
		if !ok {
			continue
		}
		e := yaml11.NewMap()
		for _, k := range []string{"device_name", "volume_id", "snapshot_id", "volume_size", "delete_on_termination"} {
			if x := get(m, k); x != nil {
				e.Set(k, x)
			}
		}
		v1 = append(v1, e)
	}
	for _, v := range r.Props.List("block_device_mapping_v2") {
		if m, ok := v.(*Map); ok {
			v2 = append(v2, blockDevice(m))
		}
	}
	if v1 != nil {
		b.Set("block_device_mapping", v1)
	}
	if v2 != nil {
		b.Set("block_device_mapping_v2", v2)
	}
}

// blockDevice says where a disk comes from and what it becomes, with Heat's choices for what is not given.
func blockDevice(m *Map) *Map {
	e := yaml11.NewMap()
	from := func(source, id string) {
		for _, kv := range [][2]any{{"source_type", source}, {"uuid", id}, {"destination_type", "volume"}, {"boot_index", int64(0)}, {"delete_on_termination", false}} {
			e.Set(kv[0].(string), kv[1])
		}
	}
	blank := func(size any, format string) {
		for _, kv := range [][2]any{{"source_type", "blank"}, {"destination_type", "local"}, {"boot_index", int64(-1)}, {"delete_on_termination", true}} {
			e.Set(kv[0].(string), kv[1])
		}
		if size != nil {
			e.Set("volume_size", size)
		}
		if format != "" {
			e.Set("guest_format", format)
		}
	}
	image := str(m, "image")
	if image == "" {
		image = str(m, "image_id")
	}
	switch {
	case str(m, "volume_id") != "":
		from("volume", str(m, "volume_id"))
	case str(m, "snapshot_id") != "":
		from("snapshot", str(m, "snapshot_id"))
	case image != "":
		from("image", image)
	case get(m, "swap_size") != nil:
		blank(get(m, "swap_size"), "swap")
	case get(m, "ephemeral_size") != nil || str(m, "ephemeral_format") != "":
		blank(get(m, "ephemeral_size"), str(m, "ephemeral_format"))
	}
	for _, k := range []string{"device_name", "device_type", "disk_bus", "boot_index", "volume_size", "delete_on_termination"} {
		if x := get(m, k); x != nil {
			e.Set(k, x)
		}
	}
	return e
}
