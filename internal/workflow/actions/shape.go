package actions

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/tripleo/tripleo/internal/yaml11"
	"github.com/tripleo/tripleo/yaql"
)

// shape completes requests with the parameters that the table cannot place: those
// that change the method or the path, or are sent in another form than given.
type shape struct {
	takes []string // parameters it answers for
	apply func(c *call, in map[string]any) error
}

// shapes are those of the rows, by name. What the clients send was recorded with
// these parameters as well: see TestShapesAreTheClients.
func shapes() map[string]shape {
	out := map[string]shape{
		"nova.servers_create": {[]string{"security_groups", "userdata", "files", "block_device_mapping", "block_device_mapping_v2", "nics", "min_count", "max_count"}, bootServer},
		"nova.servers_rebuild": {[]string{"files", "preserve_ephemeral"}, func(c *call, in map[string]any) error {
			body := c.part("rebuild")
			if in["preserve_ephemeral"] != nil {
				body["preserve_ephemeral"] = in["preserve_ephemeral"]
			}
			return personality(body, in)
		}},
		"nova.servers_rescue": {[]string{"password", "image"}, func(c *call, in map[string]any) error {
			return c.rename("rescue", in, map[string]string{"password": "adminPass", "image": "rescue_image_ref"})
		}},
		"keystone.users_create":             {[]string{"project"}, defaultProject},
		"keystone.users_update":             {[]string{"project"}, defaultProject},
		"keystone.roles_list":               {[]string{"user", "group", "system", "domain", "project", "os_inherit_extension_inherited"}, rolesOf},
		"keystone.limits_create":            {[]string{"description", "region"}, limitOf("limits")},
		"keystone.registered_limits_create": {[]string{"description", "region"}, limitOf("registered_limits")},
		"keystone.trusts_create": {[]string{"role_names", "role_ids"}, func(c *call, in map[string]any) error {
			c.roles("trust", in, "role_names", "name")
			c.roles("trust", in, "role_ids", "id")
			return nil
		}},
		"keystone.application_credentials_create": {[]string{"roles"}, func(c *call, in map[string]any) error {
			c.roles("application_credential", in, "roles", "id")
			return nil
		}},
		"glance.images_image_import": {[]string{"uri", "stores", "all_stores", "allow_failure", "backend"}, importImage},
		"glance.metadefs_tag_create_multiple": {[]string{"tags"}, func(c *call, in map[string]any) error {
			tags := []any{}
			for _, name := range List(in, "tags") {
				tags = append(tags, map[string]any{"name": name})
			}
			c.body = map[string]any{"tags": tags}
			return nil
		}},
		"glance.images_add_location": {[]string{"validation_data"}, func(c *call, in map[string]any) error {
			patch, _ := c.body.([]any)
			if len(patch) == 1 && in["validation_data"] != nil {
				op, _ := patch[0].(map[string]any)
				value, _ := op["value"].(map[string]any)
				value["validation_data"] = in["validation_data"]
			}
			c.header("Content-Type", imagePatch)
			return nil
		}},
	}
	maps.Copy(out, namedShapes())
	for name, header := range map[string][2]string{
		"designate.zone_imports_create": {"Content-Type", "text/dns"}, "designate.zone_exports_get_export": {"Accept", "text/dns"},
		"glance.images_stage": {"Content-Type", "application/octet-stream"}, "glance.images_upload": {"Content-Type", "application/octet-stream"},
	} {
		out[name] = shape{nil, func(c *call, _ map[string]any) error {
			c.header(header[0], header[1])
			return nil
		}}
	}
	for _, name := range []string{"keystone.roles_grant", "keystone.roles_check", "keystone.roles_revoke"} {
		out[name] = shape{[]string{"user", "group", "system", "domain", "project", "os_inherit_extension_inherited"}, roleOf}
	}
	for _, name := range []string{"cinder.backups_delete", "cinder.volume_snapshots_delete"} {
		out[name] = shape{[]string{"force"}, func(c *call, in map[string]any) error {
			if yaql.Truth(in["force"]) {
				c.method, c.path, c.body = http.MethodPost, c.path+"/action", map[string]any{"os-force_delete": nil}
			}
			return nil
		}}
	}
	for _, kind := range []string{"floatingip", "network", "port", "qos_policy", "router", "security_group", "segment", "subnet", "subnetpool", "trunk"} {
		out["neutron.update_"+kind] = shape{[]string{"revision_number"}, func(c *call, in map[string]any) error {
			if in["revision_number"] != nil {
				c.header("If-Match", "revision_number="+yaql.Str(in["revision_number"]))
			}
			return nil
		}}
	}
	return out
}

// namedShapes are those that name what is given by ids or names, or read it.
func namedShapes() map[string]shape {
	return map[string]shape{
		"keystone.oauth1.request_tokens_authorize": {[]string{"roles"}, func(c *call, in map[string]any) error {
			roles := []any{}
			for _, r := range List(in, "roles") {
				roles = append(roles, map[string]any{"id": identifier(r)})
			}
			c.body = map[string]any{"roles": roles}
			return nil
		}},
		"gnocchi.measures_aggregation": {[]string{"metrics", "query", "resource_type"}, aggregateMeasures},
		"trove.users_grant": {[]string{"databases"}, func(c *call, in map[string]any) error {
			named := []any{}
			for _, name := range List(in, "databases") {
				named = append(named, map[string]any{"name": name})
			}
			c.body = map[string]any{"databases": named}
			return nil
		}},
		"manila.share_group_types_create": {[]string{"share_types"}, func(c *call, in map[string]any) error {
			ids := []any{}
			for _, t := range List(in, "share_types") {
				ids = append(ids, identifier(t))
			}
			c.part("share_group_type")["share_types"] = ids
			return nil
		}},
		"vitrage.template_add":      {[]string{"template_str"}, vitrageTemplate},
		"vitrage.template_validate": {[]string{"template_str"}, vitrageTemplate},
		"barbican.secrets_retrieve": {[]string{"payload_content_type"}, func(c *call, in map[string]any) error {
			c.header("Accept", "text/plain")
			if kind := String(in, "payload_content_type"); kind != "" {
				c.header("Accept", kind)
			}
			return nil
		}},
	}
}

// part returns the dict under a key of the body, made if it is not there.
func (c *call) part(key string) map[string]any {
	body, _ := c.body.(map[string]any)
	if body == nil {
		body = map[string]any{}
		c.body = body
	}
	part, _ := body[key].(map[string]any)
	if part == nil {
		part = map[string]any{}
		body[key] = part
	}
	return part
}

func (c *call) header(key, value string) {
	if c.headers == nil {
		c.headers = map[string]string{}
	}
	c.headers[key] = value
}

// rename puts parameters under other names into a part of the body.
func (c *call) rename(key string, in map[string]any, names map[string]string) error {
	for from, to := range names {
		switch v := in[from].(type) {
		case nil:
		case map[string]any:
			c.part(key)[to] = identifier(v)
		default:
			c.part(key)[to] = v
		}
	}
	return nil
}

// roles adds the roles of a parameter to a part of the body, each as {as: role}
// unless it is a dict already.
func (c *call) roles(key string, in map[string]any, name, as string) {
	for _, r := range List(in, name) {
		one, isMap := r.(map[string]any)
		if !isMap {
			one = map[string]any{as: r}
		}
		list, _ := c.part(key)["roles"].([]any)
		c.part(key)["roles"] = append(list, one)
	}
}

func defaultProject(c *call, in map[string]any) error {
	if user := c.part("user"); in["project"] != nil && user["default_project_id"] == nil {
		user["default_project_id"] = identifier(in["project"])
	}
	return nil
}

func limitOf(key string) func(*call, map[string]any) error {
	return func(c *call, in map[string]any) error {
		body, _ := c.body.(map[string]any)
		list, _ := body[key].([]any)
		if len(list) != 1 {
			return nil
		}
		limit, _ := list[0].(map[string]any)
		if in["description"] != nil {
			limit["description"] = in["description"]
		}
		if in["region"] != nil {
			limit["region_id"] = identifier(in["region"])
		}
		return nil
	}
}

// rolesOf lists the roles that a user or group has on a target, or all roles.
func rolesOf(c *call, in map[string]any) error {
	holder := ""
	switch {
	case in["user"] != nil && in["group"] != nil:
		return fmt.Errorf("user and group are given, expected one of them")
	case in["user"] != nil:
		holder = "/users/" + url.PathEscape(identifier(in["user"]))
	case in["group"] != nil:
		holder = "/groups/" + url.PathEscape(identifier(in["group"]))
	}
	target, targets := "", 0
	for name, path := range map[string]string{"project": "/projects/", "domain": "/domains/"} {
		if in[name] != nil {
			target, targets = path+url.PathEscape(identifier(in[name])), targets+1
		}
	}
	if in["system"] != nil {
		target, targets = "/system", targets+1
	}
	switch {
	case holder == "" && targets == 0 && !yaql.Truth(in["os_inherit_extension_inherited"]):
		return nil
	case holder == "" || targets != 1:
		return fmt.Errorf("the roles of a user or group are those on one of project, domain or system, %d are given", targets)
	}
	c.path = target + holder + "/roles"
	if yaql.Truth(in["os_inherit_extension_inherited"]) {
		c.path = "/OS-INHERIT" + c.path + "/inherited_to_projects"
		c.query.Del("tail")
	}
	return nil
}

// roleOf is one role that a user or group has on a target.
func roleOf(c *call, in map[string]any) error {
	role := c.path // /roles/ID
	c.path = ""
	if err := rolesOf(c, in); err != nil {
		return err
	}
	if c.path == "" {
		return fmt.Errorf("neither user nor group is given, expected one of them")
	}
	base, tail, _ := strings.Cut(c.path, "/roles")
	c.path = base + role + tail
	return nil
}

func importImage(c *call, in map[string]any) error {
	if in["uri"] != nil {
		c.part("method")["uri"] = in["uri"]
	}
	body, _ := c.body.(map[string]any)
	failure := in["allow_failure"] == nil || yaql.Truth(in["allow_failure"])
	switch {
	case in["stores"] != nil:
		body["stores"] = List(in, "stores")
	case yaql.Truth(in["all_stores"]):
		body["all_stores"] = true
	default:
		failure = false
	}
	if failure {
		body["all_stores_must_succeed"] = false
	}
	if backend := String(in, "backend"); backend != "" {
		c.header("x-image-meta-store", backend)
	}
	return nil
}

// bootServer is the body of a new server at the API's version 2.1.
func bootServer(c *call, in map[string]any) error {
	server := c.part("server")
	least := in["min_count"]
	if least == nil {
		least = int64(1)
	}
	server["min_count"], server["max_count"] = least, least
	if in["max_count"] != nil {
		server["max_count"] = in["max_count"]
	}
	if groups := List(in, "security_groups"); len(groups) > 0 {
		named := make([]any, len(groups))
		for i, g := range groups {
			named[i] = map[string]any{"name": g}
		}
		server["security_groups"] = named
	}
	if data := String(in, "userdata"); data != "" {
		server["user_data"] = base64.StdEncoding.EncodeToString([]byte(data))
	}
	if err := personality(server, in); err != nil {
		return err
	}
	if err := blockDevices(server, in); err != nil {
		return err
	}
	return serverNetworks(server, in["nics"])
}

// personality writes files: {path: contents} as Nova takes them.
func personality(body, in map[string]any) error {
	if in["files"] == nil {
		return nil
	}
	files, isMap := in["files"].(map[string]any)
	if !isMap {
		return fmt.Errorf("files is %T, expected a dict of paths and contents", in["files"])
	}
	list := []any{}
	for _, path := range sortedKeys(files) {
		list = append(list, map[string]any{"path": path, "contents": base64.StdEncoding.EncodeToString([]byte(yaql.Str(files[path])))})
	}
	if len(list) > 0 {
		body["personality"] = list
	}
	return nil
}

// blockDevices writes block_device_mapping ({device: "ID:TYPE:SIZE:DELETE"}) or
// block_device_mapping_v2, of which the image is the first device.
func blockDevices(server, in map[string]any) error {
	if in["block_device_mapping"] != nil {
		old, isMap := in["block_device_mapping"].(map[string]any)
		if !isMap {
			return fmt.Errorf("block_device_mapping is %T, expected a dict of device names", in["block_device_mapping"])
		}
		list := []any{}
		for _, device := range sortedKeys(old) {
			parts := append(strings.Split(yaql.Str(old[device]), ":"), "", "", "")
			one := map[string]any{"device_name": device}
			kind := "volume_id"
			if strings.HasPrefix(parts[1], "snap") {
				kind = "snapshot_id"
			}
			one[kind] = parts[0]
			if parts[2] != "" {
				one["volume_size"] = parts[2]
			}
			if parts[3] != "" {
				one["delete_on_termination"] = parts[3]
			}
			list = append(list, one)
		}
		if len(list) > 0 {
			server["block_device_mapping"] = list
			return nil
		}
	}
	list := List(in, "block_device_mapping_v2")
	if len(list) == 0 {
		return nil
	}
	if image := identifier(in["image"]); image != "" {
		list = append([]any{map[string]any{"uuid": image, "source_type": "image", "destination_type": "local", "boot_index": 0, "delete_on_termination": true}}, list...)
	}
	server["block_device_mapping_v2"] = list
	return nil
}

// serverNetworks writes nics, whose keys are those of the command line, as
// networks.
func serverNetworks(server map[string]any, nics any) error {
	if nics == nil {
		return nil
	}
	list, isList := nics.([]any)
	if !isList {
		return fmt.Errorf("nics is %T, expected a list of dicts", nics)
	}
	networks := []any{}
	for i, item := range list {
		nic, isMap := item.(map[string]any)
		if !isMap {
			return fmt.Errorf("nics[%d] is %T, expected a dict", i, item)
		}
		one := map[string]any{}
		for _, key := range sortedKeys(nic) {
			to, known := map[string]string{"net-id": "uuid", "port-id": "port", "v4-fixed-ip": "fixed_ip", "v6-fixed-ip": "fixed_ip"}[key]
			if !known {
				return fmt.Errorf("nics[%d] has the key %s, expected net-id, port-id, v4-fixed-ip or v6-fixed-ip", i, key)
			}
			if v := nic[key]; yaql.Truth(v) && one[to] == nil { // version 4 goes first
				one[to] = v
			}
		}
		networks = append(networks, one)
	}
	if len(networks) > 0 {
		server["networks"] = networks
	}
	return nil
}

// aggregateMeasures asks for the metrics by their ids or, with a query, for the
// metric of that name of the resources that it finds.
func aggregateMeasures(c *call, in map[string]any) error {
	c.query.Del("metric")
	if in["query"] == nil {
		for _, m := range List(in, "metrics") {
			c.query.Add("metric", identifier(m))
		}
		return nil
	}
	kind := String(in, "resource_type")
	if kind == "" {
		kind = "generic"
	}
	c.method, c.body = http.MethodPost, in["query"]
	c.path = "/v1/aggregation/resource/" + url.PathEscape(kind) + "/metric/" + url.PathEscape(identifier(in["metrics"]))
	if text, is := in["query"].(string); is {
		c.body = nil
		c.query.Set("filter", text)
	}
	return nil
}

// vitrageTemplate sends the template of template_str, text or a dict; a path
// would be one on the server.
func vitrageTemplate(c *call, in map[string]any) error {
	content := in["template_str"]
	if text, is := content.(string); is {
		doc, _, err := yaml11.Parse("template_str", []byte(text), yaml11.Limits{MaxDepth: 200})
		if err != nil {
			return err
		}
		content = yaml11.Plain(doc.Value())
	}
	if content == nil {
		return fmt.Errorf("template_str is empty, expected the text of a template")
	}
	body, _ := c.body.(map[string]any)
	body["templates"] = []any{[]any{nil, content}}
	return nil
}
