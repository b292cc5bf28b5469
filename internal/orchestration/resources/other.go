package resources

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/orchestration/hot"
	"github.com/tripleo/tripleo/internal/yaml11"
)

// otherObjects are the types of the services beside Neutron and Keystone that are one object of a
// collection. An undercloud has Nova, Ironic and Mistral of these; the others work where they are in the
// catalog.
func otherObjects() []object {
	out := []object{
		{Type: "OS::Nova::ServerGroup", Path: "os-server-groups", Key: "server_group", Method: "-", Rename: map[string]string{"rules": ""}},
		{Type: "OS::Nova::HostAggregate", Path: "os-aggregates", Key: "aggregate", Rename: map[string]string{"hosts": "", "metadata": ""}, After: aggregateLinks, Before: func(ctx context.Context, r *Resource, c client) error {
			return aggregateHosts(ctx, r, c, nil)
		}},
		{Type: "OS::Ironic::Port", Path: "ports", Key: "", List: "ports", ID: "uuid", NoName: true, Method: "-", Rename: map[string]string{"node": "node_uuid", "portgroup": "portgroup_uuid"},
			Find: map[string]string{"node": "nodes", "portgroup": "portgroups"}},
		{Type: "OS::Mistral::CronTrigger", Path: "cron_triggers", Key: "", List: "cron_triggers", ID: "name", Method: "-",
			Rename: map[string]string{"workflow": "", "count": "remaining_executions", "first_time": "first_execution_time"}, Body: cronBody},
	}
	return append(append(append(out, octaviaObjects()...), cinderObjects()...), moreObjects()...)
}

// octaviaObjects are load balancers. All but quotas and flavors have a provisioning_status, and refuse
// changes while their load balancer is busy.
func octaviaObjects() []object {
	const st = "provisioning_status"
	lb := func(o object) object {
		o.Type, o.Status, o.Gone = "OS::Octavia::"+o.Type, st, true
		o.Path = "lbaas/" + o.Path
		return o
	}
	tenant := map[string]string{"tenant_id": "project_id"}
	return []object{
		lb(object{Type: "LoadBalancer", Path: "loadbalancers", Key: "loadbalancer", Find: map[string]string{"vip_subnet": "neutron:subnets", "flavor": "lbaas/flavors"}, Rename: tenant}),
		lb(object{Type: "Listener", Path: "listeners", Key: "listener", Find: map[string]string{"loadbalancer": "lbaas/loadbalancers", "default_pool": "lbaas/pools"}, Rename: tenant}),
		lb(object{Type: "Pool", Path: "pools", Key: "pool", Find: map[string]string{"loadbalancer": "lbaas/loadbalancers", "listener": "lbaas/listeners"}}),
		lb(object{Type: "PoolMember", Path: "pools/{pool}/members", Key: "member", NoName: true, Find: map[string]string{"pool": "lbaas/pools", "subnet": "neutron:subnets"}}),
		lb(object{Type: "HealthMonitor", Path: "healthmonitors", Key: "healthmonitor", NoName: true, Find: map[string]string{"pool": "lbaas/pools"}, Rename: tenant}),
		lb(object{Type: "L7Policy", Path: "l7policies", Key: "l7policy", List: "l7policies", Find: map[string]string{"listener": "lbaas/listeners", "redirect_pool": "lbaas/pools"}}),
		lb(object{Type: "L7Rule", Path: "l7policies/{l7policy}/rules", Key: "rule", NoName: true, Find: map[string]string{"l7policy": "lbaas/l7policies"}}),
		{Type: "OS::Octavia::FlavorProfile", Path: "lbaas/flavorprofiles", Key: "flavorprofile"},
		{Type: "OS::Octavia::Flavor", Path: "lbaas/flavors", Key: "flavor", Find: map[string]string{"flavor_profile": "lbaas/flavorprofiles"}},
	}
}

func cinderObjects() []object {
	return []object{
		{Type: "OS::Cinder::Volume", Path: "volumes", Key: "volume", Gone: true, Find: map[string]string{"image": "glance:images"},
			Rename: map[string]string{"image": "imageRef", "scheduler_hints": "", "read_only": "", "multiattach": ""}, Body: volumeBody, After: volumeChanges, Attr: volumeAttr},
		{Type: "OS::Cinder::VolumeType", Path: "types", Key: "volume_type", Rename: map[string]string{"metadata": "extra_specs", "is_public": "os-volume-type-access:is_public", "projects": ""}},
		{Type: "OS::Cinder::EncryptedVolumeType", Path: "types/{volume_type}/encryption", Key: "encryption", ID: "volume_type_id", Only: true, NoName: true, Find: map[string]string{"volume_type": "types"}, Status: "-"},
		{Type: "OS::Cinder::QoSSpecs", Path: "qos-specs", Key: "qos_specs", List: "qos_specs", Rename: map[string]string{"specs": ""}, Method: "-", Body: func(_ context.Context, r *Resource, _ client, b *Map, _ map[string]bool) error {
			for k, v := range r.Props.Map("specs").All() {
				b.Set(k, hot.PyStr(v))
			}
			return nil
		}},
	}
}

// moreObjects are the types of DNS, shares, secrets, container clusters and databases.
func moreObjects() []object {
	ref := func(typ, path, key, id string) object {
		return object{Type: "OS::Barbican::" + typ, Path: path, List: path, ID: id, Method: "-"}
	}
	secret := ref("Secret", "secrets", "", "secret_ref")
	secret.Attr = func(ctx context.Context, r *Resource, c client, _ *Map, name string) (any, bool, error) {
		if name != "decrypted_payload" {
			return nil, false, nil
		}
		b, err := c.text(ctx, "secrets/"+r.PhysicalID+"/payload")
		return b, true, err
	}
	order := ref("Order", "orders", "", "order_ref")
	order.Body = func(_ context.Context, r *Resource, _ client, b *Map, _ map[string]bool) error {
		meta := b.Clone()
		meta.Delete("type")
		for _, k := range meta.Keys() {
			b.Delete(k)
		}
		b.Set("meta", meta)
		return nil
	}
	order.NoName = false
	container := func(typ, kind string, refs ...string) object {
		o := ref(typ, "containers", "", "container_ref")
		o.Rename = map[string]string{"secrets": ""}
		for _, name := range refs {
			o.Rename[name+"_ref"] = ""
		}
		o.Body = func(_ context.Context, r *Resource, _ client, b *Map, _ map[string]bool) error {
			list := []any{}
			for _, name := range refs {
				if v := r.Props.Str(name + "_ref"); v != "" {
					list = append(list, yaml11.MapOf("name", name, "secret_ref", v))
				}
			}
			for _, v := range r.Props.List("secrets") {
				if m, ok := v.(*Map); ok {
					list = append(list, yaml11.MapOf("name", str(m, "name"), "secret_ref", str(m, "ref")))
				}
			}
			b.Set("type", kind)
			b.Set("secret_refs", list)
			return nil
		}
		return o
	}
	return []object{
		container("GenericContainer", "generic"), container("RSAContainer", "rsa", "private_key", "private_key_passphrase", "public_key"),
		container("CertificateContainer", "certificate", "certificate", "private_key", "private_key_passphrase", "intermediates"),
		{Type: "OS::Designate::Zone", Path: "zones", Key: "", List: "zones", Method: "PATCH", NoName: true, Gone: true, Rename: map[string]string{"primaries": "masters"}},
		{Type: "OS::Designate::RecordSet", Path: "zones/{zone}/recordsets", Key: "", List: "recordsets", NoName: true, Gone: true, Find: map[string]string{"zone": "zones"}},
		{Type: "OS::Manila::Share", Path: "shares", Key: "share", Gone: true, Find: map[string]string{"share_network": "share-networks", "share_type": "types", "snapshot": "snapshots"},
			Rename: map[string]string{"share_protocol": "share_proto", "share_type": "share_type", "access_rules": ""}, After: shareRules},
		{Type: "OS::Manila::ShareNetwork", Path: "share-networks", Key: "share_network", Rename: map[string]string{"neutron_network": "neutron_net_id", "neutron_subnet": "neutron_subnet_id", "nova_network": "nova_net_id", "security_services": ""},
			Find: map[string]string{"neutron_network": "neutron:networks", "neutron_subnet": "neutron:subnets"}},
		{Type: "OS::Manila::SecurityService", Path: "security-services", Key: "security_service"},
		{Type: "OS::Manila::ShareType", Path: "types", Key: "share_type", Method: "-", Rename: map[string]string{"is_public": "share_type_access:is_public", "driver_handles_share_servers": "", "snapshot_support": "", "extra_specs": ""}, Body: shareTypeBody},
		secret, order,
		{Type: "OS::Magnum::ClusterTemplate", Path: "clustertemplates", Key: "", List: "clustertemplates", ID: "uuid", Method: "-", Rename: map[string]string{"image": "image_id", "flavor": "flavor_id", "master_flavor": "master_flavor_id",
			"keypair": "keypair_id", "external_network": "external_network_id"}},
		{Type: "OS::Magnum::Cluster", Path: "clusters", Key: "", List: "clusters", ID: "uuid", Method: "-", Gone: true, Find: map[string]string{"cluster_template": "clustertemplates"}},
	}
}

func cronBody(_ context.Context, r *Resource, _ client, b *Map, _ map[string]bool) error {
	wf := r.Props.Map("workflow")
	b.Set("workflow_name", str(wf, "name"))
	if in := submap(wf, "input"); in != nil {
		b.Set("workflow_input", hot.PyJSON(in, false))
	}
	return nil
}

func aggregateLinks(ctx context.Context, r *Resource, c client, changed map[string]bool) error {
	if m := r.Props.Map("metadata"); m.Len() > 0 && (changed == nil || changed["metadata"]) {
		if _, err := c.call(ctx, "POST", "os-aggregates/"+r.PhysicalID+"/action", yaml11.MapOf("set_metadata", yaml11.MapOf("metadata", m))); err != nil {
			return err
		}
	}
	return aggregateHosts(ctx, r, c, r.Props.List("hosts"))
}

func aggregateHosts(ctx context.Context, r *Resource, c client, want []any) error {
	m, err := c.call(ctx, "GET", "os-aggregates/"+r.PhysicalID, nil)
	if err != nil {
		return err
	}
	have, _ := get(m, "aggregate", "hosts").([]any)
	for _, e := range []struct {
		verb     string
		from, to []any
	}{{"remove_host", have, want}, {"add_host", want, have}} {
		for _, h := range e.from {
			if hasText(e.to, hot.PyStr(h)) {
				continue
			}
			if _, err := c.call(ctx, "POST", "os-aggregates/"+r.PhysicalID+"/action", yaml11.MapOf(e.verb, yaml11.MapOf("host", h))); err != nil {
				return err
			}
		}
	}
	return nil
}

func volumeBody(_ context.Context, _ *Resource, _ client, b *Map, changed map[string]bool) error {
	if changed != nil { // these have calls of their own
		for _, k := range []string{"size", "volume_type", "backup_id"} {
			b.Delete(k)
		}
	}
	return nil
}

func volumeChanges(ctx context.Context, r *Resource, c client, changed map[string]bool) error {
	action := func(name string, body *Map) error {
		_, err := c.call(ctx, "POST", "volumes/"+r.PhysicalID+"/action", yaml11.MapOf(name, body))
		return err
	}
	// Each change takes the volume a while, and it takes one at a time: what was asked for is noted, and the rest
	// follows when the volume is ready again.
	asked := func(property string, ask func() error) error {
		key, now := "asked_"+property, r.Begun.Format(time.RFC3339Nano)
		if !changed[property] || r.Str(key) == now {
			return nil
		}
		if err := ask(); err != nil {
			return err
		}
		r.Data[key] = now
		if err := r.Host.Save(ctx, r); err != nil {
			return err
		}
		return waitError{time.Second}
	}
	err := asked("size", func() error {
		m, err := c.call(ctx, "GET", "volumes/"+r.PhysicalID, nil)
		if err != nil || hot.PyStr(get(m, "volume", "size")) == hot.PyStr(r.Props.Get("size")) { // asked for before a crash
			return err
		}
		return action("os-extend", yaml11.MapOf("new_size", r.Props.Get("size")))
	})
	if err != nil {
		return err
	}
	err = asked("backup_id", func() error {
		id := r.Props.Str("backup_id")
		if id == "" {
			return nil
		}
		_, err := c.call(ctx, "POST", "backups/"+url.PathEscape(id)+"/restore", yaml11.MapOf("restore", yaml11.MapOf("volume_id", r.PhysicalID)))
		return err
	})
	if err != nil {
		return err
	}
	err = asked("volume_type", func() error {
		return action("os-retype", yaml11.MapOf("new_type", r.Props.Str("volume_type"), "migration_policy", "on-demand"))
	})
	if err != nil {
		return err
	}
	if v := r.Props.Get("read_only"); v != nil && (changed == nil || changed["read_only"]) {
		return action("os-update_readonly_flag", yaml11.MapOf("readonly", v))
	}
	return nil
}

func volumeAttr(_ context.Context, _ *Resource, _ client, m *Map, name string) (any, bool, error) {
	field := map[string]string{"display_name": "name", "display_description": "description", "metadata_values": "metadata", "attachments_list": "attachments"}[name]
	if field == "" {
		return nil, false, nil
	}
	v, _ := m.Get(field)
	return v, true, nil
}

func shareTypeBody(_ context.Context, r *Resource, _ client, b *Map, _ map[string]bool) error {
	specs := yaml11.NewMap()
	for k, v := range r.Props.Map("extra_specs").All() {
		specs.Set(k, hot.PyStr(v))
	}
	specs.Set("driver_handles_share_servers", hot.PyStr(r.Props.Get("driver_handles_share_servers")))
	if v := r.Props.Get("snapshot_support"); v != nil {
		specs.Set("snapshot_support", hot.PyStr(v))
	}
	b.Set("extra_specs", specs)
	return nil
}

func shareRules(ctx context.Context, r *Resource, c client, changed map[string]bool) error {
	if changed != nil && !changed["access_rules"] {
		return nil
	}
	m, err := c.call(ctx, "POST", "shares/"+r.PhysicalID+"/action", yaml11.MapOf("access_list", nil))
	if err != nil {
		return err
	}
	same := func(a, b *Map) bool {
		return str(a, "access_to") == str(b, "access_to") && str(a, "access_type") == str(b, "access_type") && str(a, "access_level") == str(b, "access_level")
	}
	have := items(m, "access_list")
	var want []*Map
	for _, v := range r.Props.List("access_rules") {
		want = append(want, v.(*Map))
	}
	for _, h := range have {
		if !anyOf(want, func(w *Map) bool { return same(h, w) }) {
			if _, err := c.call(ctx, "POST", "shares/"+r.PhysicalID+"/action", yaml11.MapOf("deny_access", yaml11.MapOf("access_id", str(h, "id")))); err != nil {
				return err
			}
		}
	}
	for _, w := range want {
		if !anyOf(have, func(h *Map) bool { return same(h, w) }) {
			if _, err := c.call(ctx, "POST", "shares/"+r.PhysicalID+"/action", yaml11.MapOf("allow_access", w)); err != nil {
				return err
			}
		}
	}
	return nil
}

// otherTypes are types of the other services that join objects.
func otherTypes() []*Type {
	return []*Type{quota("OS::Nova::Quota", "os-quota-sets", "quota_set"), quota("OS::Cinder::Quota", "os-quota-sets", "quota_set"), quota("OS::Octavia::Quota", "lbaas/quotas", "quota"),
		volumeAttachment(), qosAssociation(), glanceWebImage()}
}

// qosAssociation gives volume types the limits of QoS specs. Both calls may be repeated.
func qosAssociation() *Type {
	set := func(ctx context.Context, r *Resource, c client, verb, typ string) error {
		_, err := c.call(ctx, "GET", "qos-specs/"+url.PathEscape(r.PhysicalID)+"/"+verb+"?vol_type_id="+url.QueryEscape(typ), nil)
		return err
	}
	// make associates what is wished and dissociates what was associated and is wished no longer.
	make := func(ctx context.Context, r *Resource) (Step, error) {
		c, err := r.client(ctx)
		if err != nil {
			return Step{}, err
		}
		if r.PhysicalID == "" {
			id, err := c.find(ctx, "qos-specs", r.Props.Str("qos_specs"))
			if err != nil {
				return Step{}, err
			}
			if err := r.SetID(ctx, id); err != nil {
				return Step{}, err
			}
		}
		wanted, err := c.findAll(ctx, "types", r.Props.List("volume_types"))
		if err != nil {
			return Step{}, err
		}
		had, _ := r.Data["types"].([]any)
		all := slices.Clone(had)
		for _, t := range wanted {
			if !slices.Contains(all, t) {
				all = append(all, t)
			}
		}
		r.Data["types"] = all // what deletion has to undo, before it is done
		if err := r.Host.Save(ctx, r); err != nil {
			return Step{}, err
		}
		for _, t := range all {
			verb := "associate"
			if !slices.Contains(wanted, t) {
				verb = "disassociate"
			}
			if err := set(ctx, r, c, verb, hot.PyStr(t)); err != nil {
				return Step{}, err
			}
		}
		r.Data["types"] = wanted
		return Done(), nil
	}
	return &Type{Name: "OS::Cinder::QoSAssociation", Attr: noAttr, Create: make, Update: make,
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			c, err := r.client(ctx)
			if err != nil || r.PhysicalID == "" {
				return Done(), err
			}
			had, _ := r.Data["types"].([]any)
			for _, t := range had {
				if err := set(ctx, r, c, "disassociate", hot.PyStr(t)); err != nil && status(err) != 404 {
					return Step{}, err
				}
			}
			return Done(), nil
		},
	}
}

func volumeAttachment() *Type {
	server := func(r *Resource) string {
		return "servers/" + url.PathEscape(r.Props.Str("instance_uuid")) + "/os-volume_attachments"
	}
	return &Type{Name: "OS::Cinder::VolumeAttachment", Attr: noAttr,
		Create: func(ctx context.Context, r *Resource) (Step, error) {
			n, err := r.service(ctx, "nova")
			if err != nil {
				return Step{}, err
			}
			b := yaml11.MapOf("volumeId", r.Props.Str("volume_id"))
			if d := r.Props.Str("mountpoint"); d != "" {
				b.Set("device", d)
			}
			m, err := n.call(ctx, "POST", server(r), yaml11.MapOf("volumeAttachment", b))
			if err != nil && !(r.Data["creating"] == true && status(err) == 409) {
				return Step{}, err
			}
			id := hot.PyStr(get(m, "volumeAttachment", "id"))
			if m == nil || id == "" || id == "None" {
				id = r.Props.Str("volume_id")
			}
			return Done(), r.SetID(ctx, id)
		},
		Delete: func(ctx context.Context, r *Resource) (Step, error) {
			n, err := r.service(ctx, "nova")
			if err != nil || r.PhysicalID == "" {
				return Done(), err
			}
			return Done(), n.remove(ctx, server(r)+"/"+url.PathEscape(r.PhysicalID))
		},
	}
}

// glanceWebImage is an image that Glance fetches from a web address.
func glanceWebImage() *Type {
	base := object{Type: "OS::Glance::WebImage", Path: "images", List: "images", Method: "-",
		Rename: map[string]string{"location": "", "extra_properties": "", "active": "", "members": "", "tags": "tags"},
		Body: func(_ context.Context, r *Resource, _ client, b *Map, _ map[string]bool) error {
			for k, v := range r.Props.Map("extra_properties").All() {
				b.Set(k, hot.PyStr(v))
			}
			return nil
		}}
	t := base.typ()
	t.Create = func(ctx context.Context, r *Resource) (Step, error) {
		c, err := r.client(ctx)
		if err != nil {
			return Step{}, err
		}
		if r.PhysicalID == "" {
			b, err := base.fields(ctx, r, c, nil)
			if err != nil {
				return Step{}, err
			}
			if err := (object{List: "images", ID: "id", Path: "images"}).make(ctx, r, c, b); err != nil {
				return Step{}, err
			}
		}
		if r.Data["importing"] != true {
			_, err := c.call(ctx, "POST", "images/"+r.PhysicalID+"/import", yaml11.MapOf("method", yaml11.MapOf("name", "web-download", "uri", r.Props.Str("location"))))
			if err != nil && status(err) != 409 {
				return Step{}, err
			}
			r.Data["importing"] = true
			if err := r.Host.Save(ctx, r); err != nil {
				return Step{}, err
			}
		}
		return imageReady(ctx, r, c)
	}
	t.Update = imageUpdate
	return t
}

func imageReady(ctx context.Context, r *Resource, c client) (Step, error) {
	m, err := c.call(ctx, "GET", "images/"+r.PhysicalID, nil)
	if err != nil {
		return Step{}, err
	}
	switch st := str(m, "status"); st {
	case "active":
		if err := imageMembers(ctx, r, c); err != nil {
			return Step{}, err
		}
		if !r.Props.Bool("active") {
			_, err := c.call(ctx, "POST", "images/"+r.PhysicalID+"/actions/deactivate", nil)
			return Done(), err
		}
		return Done(), nil
	case "deactivated":
		return Done(), imageMembers(ctx, r, c)
	case "killed", "deleted":
		return Step{}, Failed("Image %s went to status %s", r.PhysicalID, st)
	default:
		if failed := str(m, "os_glance_failed_import"); failed != "" && st == "queued" {
			return Step{}, Failed("Import of image %s from %s failed in %s", r.PhysicalID, r.Props.Str("location"), failed)
		}
	}
	return Wait(imagePoll, "image/"+r.PhysicalID), nil
}

func imageMembers(ctx context.Context, r *Resource, c client) error {
	want := r.Props.List("members")
	if want == nil && r.Data["members"] == nil {
		return nil
	}
	had, _ := r.Data["members"].([]any)
	for _, m := range had {
		if !hasText(want, hot.PyStr(m)) {
			if err := c.remove(ctx, "images/"+r.PhysicalID+"/members/"+url.PathEscape(hot.PyStr(m))); err != nil {
				return err
			}
		}
	}
	for _, m := range want {
		if _, err := c.call(ctx, "POST", "images/"+r.PhysicalID+"/members", yaml11.MapOf("member", m)); err != nil && status(err) != 409 {
			return err
		}
	}
	r.Data["members"] = want
	return r.Host.Save(ctx, r)
}

// imageUpdate writes changed fields as a JSON patch.
func imageUpdate(ctx context.Context, r *Resource) (Step, error) {
	c, err := r.client(ctx)
	if err != nil {
		return Step{}, err
	}
	old, err := c.call(ctx, "GET", "images/"+r.PhysicalID, nil)
	if err != nil {
		return Step{}, err
	}
	patch := []any{}
	set := func(field string, v any) {
		op := "add"
		if _, ok := old.Get(field); ok {
			op = "replace"
		}
		patch = append(patch, yaml11.MapOf("op", op, "path", "/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(field), "value", v))
	}
	for name := range r.Changed {
		switch name {
		case "members", "active":
		case "extra_properties":
			for k, v := range r.Props.Map(name).All() {
				set(k, hot.PyStr(v))
			}
		default:
			if v := r.Props.Get(name); v != nil {
				set(name, v)
			}
		}
	}
	if len(patch) > 0 {
		if err := c.patch(ctx, "images/"+r.PhysicalID, "application/openstack-images-v2.1-json-patch", patch); err != nil {
			return Step{}, err
		}
	}
	if r.Changed["active"] && r.Props.Bool("active") {
		if _, err := c.call(ctx, "POST", "images/"+r.PhysicalID+"/actions/reactivate", nil); err != nil {
			return Step{}, err
		}
	}
	return imageReady(ctx, r, c)
}
