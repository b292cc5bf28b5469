package deployment

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const gib = 1 << 30

// validateNodes checks the nodes of an instackenv.json; null when there is nothing to say.
func validateNodes(_ *run, in input) (any, error) {
	nodes, err := cleanNodes(in.list("nodes_json"))
	if err != nil {
		return nil, err
	}
	return nil, checkNodes(nodes)
}

// registerOrUpdateNodes makes Ironic's nodes what nodes_json says: a node is recognised by uuid, MAC or BMC.
// With remove, nodes that are not listed are deleted. It returns the nodes.
func registerOrUpdateNodes(r *run, in input) (any, error) {
	nodes, err := cleanNodes(in.list("nodes_json"))
	if err != nil {
		return nil, err
	}
	if err := checkNodes(nodes); err != nil {
		return nil, err
	}
	kernel, err := r.imageID(in.str("kernel_name"), "aki")
	if err != nil {
		return nil, err
	}
	ramdisk, err := r.imageID(in.str("ramdisk_name"), "ari")
	if err != nil {
		return nil, err
	}
	c, err := r.s.Baremetal()
	if err != nil {
		return nil, err
	}
	known, err := r.knownNodes(c)
	if err != nil {
		return nil, err
	}
	out := []any{}
	kept := map[string]bool{}
	for i, n := range nodes {
		body, err := nodeBody(n, in.str("instance_boot_option"), kernel, ramdisk)
		if err != nil {
			return nil, err
		}
		uuid, err := known.find(n, body)
		if err != nil {
			return nil, fmt.Errorf("node #%d: %w", i, err)
		}
		node, err := r.saveNode(c, uuid, n, body)
		if err != nil {
			return nil, fmt.Errorf("node #%d %s: %w", i, text(n, "name"), err)
		}
		kept[text(node, "uuid")] = true
		out = append(out, node)
	}
	if in.boolean("remove") {
		for uuid := range known.all {
			if !kept[uuid] {
				if _, err := r.request(c, http.MethodDelete, c.ServiceURL("nodes", uuid), nil, nil, 204, 404); err != nil {
					return nil, fmt.Errorf("remove node %s: %w", uuid, err)
				}
			}
		}
	}
	return out, nil
}

// nodeIndex finds registered nodes.
type nodeIndex struct {
	all        map[string]any
	byMAC, bmc map[string]string
}

func (r *run) knownNodes(c *gophercloud.ServiceClient) (*nodeIndex, error) {
	idx := &nodeIndex{all: map[string]any{}, byMAC: map[string]string{}, bmc: map[string]string{}}
	nodes, err := r.pages(c, c.ServiceURL("nodes")+"?detail=True&limit=1000", "nodes", "uuid")
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		uuid := text(n, "uuid")
		idx.all[uuid] = n
		// A driver outside of the table is somebody else's node: it can still be recognised by its MACs.
		if d := driverFor(text(n, "driver")); d != nil {
			if id := d.identity(dig(n, "driver_info")); id != "" {
				idx.bmc[id] = uuid
			}
		}
	}
	ports, err := r.pages(c, c.ServiceURL("ports")+"?detail=True&limit=1000", "ports", "uuid")
	if err != nil {
		return nil, err
	}
	for _, p := range ports {
		idx.byMAC[strings.ToLower(text(p, "address"))] = text(p, "node_uuid")
	}
	return idx, nil
}

// find returns the uuid of the registered node that n is, "" if there is none, an error if it could be two.
func (x *nodeIndex) find(n, body *yaml11.OrderedMap) (string, error) {
	found := map[string]string{}
	if u := text(n, "uuid"); u != "" && x.all[u] != nil {
		found[u] = "uuid"
	}
	for _, p := range nodePorts(n) {
		if u := x.byMAC[text(p, "address")]; u != "" {
			found[u] = "MAC " + text(p, "address")
		}
	}
	d := driverFor(text(n, "pm_type"))
	if id := d.identity(dig(body, "driver_info")); id != "" {
		if u := x.bmc[id]; u != "" {
			found[u] = "BMC " + id
		}
	}
	uuid := ""
	for u, why := range found {
		if uuid != "" {
			return "", fmt.Errorf("is both node %s (by its %s) and node %s (by its %s)", uuid, found[uuid], u, why)
		}
		uuid = u
	}
	return uuid, nil
}

// saveNode creates or updates one node with its ports.
func (r *run) saveNode(c *gophercloud.ServiceClient, uuid string, n, body *yaml11.OrderedMap) (any, error) {
	var node any
	if uuid == "" {
		if u := text(n, "uuid"); u != "" {
			body.Set("uuid", u)
		}
		if _, err := r.request(c, http.MethodPost, c.ServiceURL("nodes"), body, &node, 201); err != nil {
			return nil, err
		}
		uuid = text(node, "uuid")
	} else {
		var patch []any
		for k, v := range body.All() {
			m, nested := v.(*yaml11.OrderedMap)
			if !nested {
				patch = append(patch, yaml11.MapOf("op", "add", "path", "/"+k, "value", v))
				continue
			}
			for kk, vv := range m.All() { // leave what introspection and operators put there
				patch = append(patch, yaml11.MapOf("op", "add", "path", "/"+k+"/"+kk, "value", vv))
			}
		}
		if _, err := r.request(c, http.MethodPatch, c.ServiceURL("nodes", uuid), patch, &node, 200); err != nil {
			return nil, err
		}
	}
	var have any
	if _, err := r.request(c, http.MethodGet, c.ServiceURL("nodes", uuid, "ports"), nil, &have); err != nil {
		return nil, err
	}
	macs := map[string]bool{}
	list, _ := dig(have, "ports").([]any)
	for _, p := range list {
		macs[strings.ToLower(text(p, "address"))] = true
	}
	for _, p := range nodePorts(n) {
		if macs[text(p, "address")] {
			continue
		}
		p.Set("node_uuid", uuid)
		if text(p, "physical_network") == "" {
			p.Set("physical_network", "ctlplane")
		}
		if _, err := r.request(c, http.MethodPost, c.ServiceURL("ports"), p, nil, 201); err != nil {
			return nil, fmt.Errorf("port %s: %w", text(p, "address"), err)
		}
	}
	return node, nil
}

// imageID finds an image by name and disk format; "" for no name.
func (r *run) imageID(name, format string) (string, error) {
	if name == "" {
		return "", nil
	}
	c, err := r.s.Image()
	if err != nil {
		return "", err
	}
	var out any
	if _, err := r.request(c, http.MethodGet, c.ServiceURL("images")+"?name="+url.QueryEscape(name), nil, &out); err != nil {
		return "", err
	}
	list, _ := dig(out, "images").([]any)
	for _, im := range list {
		if text(im, "name") == name && text(im, "disk_format") == format {
			return text(im, "id"), nil
		}
	}
	return "", fmt.Errorf("there is no image %q with disk format %s: run `tripleo overcloud image upload`", name, format)
}

func (r *run) node(uuid string) (*gophercloud.ServiceClient, any, error) {
	c, err := r.s.Baremetal()
	if err != nil {
		return nil, nil, err
	}
	var node any
	_, err = r.request(c, http.MethodGet, c.ServiceURL("nodes", url.PathEscape(uuid)), nil, &node)
	return c, node, err
}

func (r *run) patchNode(c *gophercloud.ServiceClient, uuid string, pairs ...any) error {
	var patch []any
	for i := 0; i+1 < len(pairs); i += 2 {
		patch = append(patch, yaml11.MapOf("op", "add", "path", pairs[i], "value", pairs[i+1]))
	}
	_, err := r.request(c, http.MethodPatch, c.ServiceURL("nodes", url.PathEscape(uuid)), patch, nil, 200)
	return err
}

// configureBoot sets the deployment images and the boot option of a node.
func configureBoot(r *run, in input) (any, error) {
	uuid := in.str("node_uuid")
	kernel, err := r.imageID(in.str("kernel_name"), "aki")
	if err != nil {
		return nil, err
	}
	ramdisk, err := r.imageID(in.str("ramdisk_name"), "ari")
	if err != nil {
		return nil, err
	}
	c, node, err := r.node(uuid)
	if err != nil {
		return nil, err
	}
	caps, err := ParseCapabilities(dig(node, "properties", "capabilities"))
	if err != nil {
		return nil, err
	}
	if b := in.str("instance_boot_option"); b != "" {
		caps["boot_option"] = b
	} else if caps["boot_option"] == "" {
		caps["boot_option"] = "local"
	}
	pairs := []any{"/properties/capabilities", JoinCapabilities(caps)}
	if kernel != "" {
		pairs = append(pairs, "/driver_info/deploy_kernel", kernel)
	}
	if ramdisk != "" {
		pairs = append(pairs, "/driver_info/deploy_ramdisk", ramdisk)
	}
	return nil, r.patchNode(c, uuid, pairs...)
}

// configureRootDevice chooses the root disk of a node from what introspection found.
func configureRootDevice(r *run, in input) (any, error) {
	want := in.str("root_device")
	if want == "" {
		return nil, nil
	}
	uuid := in.str("node_uuid")
	c, node, err := r.node(uuid)
	if err != nil {
		return nil, err
	}
	if dig(node, "properties", "root_device") != nil && !in.boolean("overwrite") {
		return nil, nil
	}
	minimum, err := in.integer("minimum_size", 4)
	if err != nil {
		return nil, err
	}
	ic, err := r.s.Introspection()
	if err != nil {
		return nil, err
	}
	var data any
	if _, err := r.request(ic, http.MethodGet, versioned(ic, "v1", "introspection", uuid, "data"), nil, &data); err != nil {
		return nil, fmt.Errorf("No introspection data found for node %s, root device cannot be detected: %w", uuid, err) //nolint:staticcheck // the text clients know
	}
	disks, _ := dig(data, "inventory", "disks").([]any)
	disk, err := chooseDisk(disks, want, int64(minimum))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", uuid, err)
	}
	hint, err := diskHint(disk)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", uuid, err)
	}
	size, _ := dig(disk, "size").(int64)
	return nil, r.patchNode(c, uuid, "/properties/root_device", hint, "/properties/local_gb", strconv.FormatInt(size/gib-1, 10))
}

// chooseDisk picks by "smallest", "largest" or a list of device names; at least minimum GiB.
func chooseDisk(disks []any, want string, minimum int64) (any, error) {
	var best any
	var bestSize int64
	byName := map[string]any{}
	for _, d := range disks {
		size, _ := dig(d, "size").(int64)
		if size < minimum*gib {
			continue
		}
		byName[strings.TrimPrefix(text(d, "name"), "/dev/")] = d
		if best == nil || want == "smallest" && size < bestSize || want == "largest" && size > bestSize {
			best, bestSize = d, size
		}
	}
	if best == nil {
		return nil, fmt.Errorf("no disk of at least %d GiB", minimum)
	}
	if want == "smallest" || want == "largest" {
		return best, nil
	}
	for _, name := range strings.Split(want, ",") {
		if d := byName[strings.TrimPrefix(strings.TrimSpace(name), "/dev/")]; d != nil {
			return d, nil
		}
	}
	return nil, fmt.Errorf("no disk is named %s and has at least %d GiB", want, minimum)
}

func diskHint(disk any) (*yaml11.OrderedMap, error) {
	for _, k := range []string{"wwn_with_extension", "wwn", "serial"} {
		if v := text(disk, k); v != "" {
			return yaml11.MapOf(k, v), nil
		}
	}
	return nil, fmt.Errorf("disk %s has no wwn and no serial number to recognise it by", text(disk, "name"))
}

// updateNodeCapability sets, or with a null value removes, a capability.
func updateNodeCapability(r *run, in input) (any, error) {
	c, node, err := r.node(in.str("node_uuid"))
	if err != nil {
		return nil, err
	}
	caps, err := ParseCapabilities(dig(node, "properties", "capabilities"))
	if err != nil {
		return nil, err
	}
	if in.value("value") == nil {
		delete(caps, in.str("capability"))
	} else {
		caps[in.str("capability")] = in.str("value")
	}
	return nil, r.patchNode(c, in.str("node_uuid"), "/properties/capabilities", JoinCapabilities(caps))
}

// capabilityOf makes the actions get_profile and get_node_hint.
func capabilityOf(capability, key string) actionFunc {
	return func(_ *run, in input) (any, error) {
		node := in.mapping("node")
		if node == nil {
			return nil, errors.New("node must be a mapping")
		}
		caps, err := ParseCapabilities(dig(node, "properties", "capabilities"))
		if err != nil {
			return nil, err
		}
		var v any
		if s, ok := caps[capability]; ok {
			v = s
		}
		return yaml11.MapOf("uuid", text(node, "uuid"), key, v), nil
	}
}
