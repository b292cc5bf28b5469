package deployment

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripleo/tripleo/internal/yaml11"
)

const (
	leastDisk   = 5 << 30 // bytes free on the undercloud
	leastMemory = 256     // MiB available on the undercloud
	leastRAM    = 2048    // MiB of a node
	leastRoot   = 8       // GiB of a node's root disk
	certWarning = 30      // days before the end of a certificate
)

func undercloudValidations() []validation {
	return []validation{
		{"undercloud-disk-space", "Disk space of the undercloud", "At least 5 GiB are free where the undercloud keeps its data.", []string{groupPrep, groupPreIntrospection, groupPreUpgrade}, checkDiskSpace},
		{"undercloud-memory", "Memory of the undercloud", "At least 256 MiB of memory are available on the undercloud.", []string{groupPrep, groupPreIntrospection, groupPreUpgrade}, checkMemory},
		{"undercloud-services", "Services of the undercloud", "Every service of the catalog answers.", []string{groupPreIntrospection, groupPreDeployment, groupPostDeployment, groupPreUpgrade, groupPostUpgrade}, checkServices},
		{"certificates", "Certificates", "No certificate of the undercloud or of the plan has expired or ends within 30 days.", []string{groupPrep, groupPreDeployment, groupPreUpgrade}, checkCertificates},
	}
}

func nodeValidations() []validation {
	return []validation{
		{"boot-images", "Images of the deployment", "Kernel and ramdisk of the deployment are in Glance, once each.", []string{groupPreIntrospection, groupPreDeployment}, checkBoot},
		{"overcloud-images", "Images of the nodes", "The image of every role is in Glance and active.", []string{groupPreDeployment}, checkOvercloudImages},
		{"bmc-access", "BMCs", "Ironic reaches the BMC of every node.", []string{groupPreIntrospection, groupPreDeployment, groupPreUpgrade}, checkBMCs},
		{"duplicate-macs", "Duplicate MACs and BMCs", "No two nodes have a MAC address or a BMC in common.", []string{groupPreIntrospection, groupPreDeployment}, checkDuplicates},
		{"node-ports", "Ports of the nodes", "Every node has a port to boot from.", []string{groupPreIntrospection, groupPreDeployment}, checkPorts},
		{"node-states", "States of the nodes", "No node is in a failed state or in maintenance.", []string{groupPreIntrospection, groupPreDeployment, groupPostDeployment}, checkStates},
		{"node-count", "Number of nodes", "There are as many nodes as the plan's roles want.", []string{groupPreDeployment}, checkNodeCount},
		{"node-profiles", "Profiles of the nodes", "For every flavor of a role there are enough nodes with its profile.", []string{groupPreDeployment}, checkProfiles},
		{"node-memory", "Memory of the nodes", "Every node has at least 2 GiB of memory.", []string{groupPreDeployment}, checkNodeMemory},
		{"node-disks", "Disks of the nodes", "Every node has a root disk of at least 8 GiB, and its hint names one of the disks that introspection found.", []string{groupPreDeployment}, checkNodeDisks},
		{"flavors", "Flavors", "The flavors of all roles exist and ask for the resource class of bare metal.", []string{groupPreDeployment}, checkPlanFlavors},
	}
}

func checkDiskSpace(c *checker) error {
	dir := c.cfg.Undercloud.DataDir
	if dir == "" {
		c.warn("the undercloud does not say where it keeps its data")
		return nil
	}
	free, total, err := diskSpace(dir)
	if err != nil {
		return err
	}
	if free < leastDisk {
		c.fail("%s: %d MiB of %d MiB are free, at least %d are needed", dir, free>>20, total>>20, leastDisk>>20)
		return nil
	}
	c.ok("%s: %d MiB of %d MiB are free", dir, free>>20, total>>20)
	return nil
}

func checkMemory(c *checker) error {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		words := strings.Fields(sc.Text())
		if len(words) < 2 || words[0] != "MemAvailable:" {
			continue
		}
		kb, err := strconv.Atoi(words[1])
		if err != nil {
			return err
		}
		if kb/1024 < leastMemory {
			c.fail("%d MiB of memory are available, at least %d are needed", kb/1024, leastMemory)
		} else {
			c.ok("%d MiB of memory are available", kb/1024)
		}
		return nil
	}
	return errors.New("/proc/meminfo has no MemAvailable")
}

func checkServices(c *checker) error {
	services := [][3]string{{"compute", "flavors", ""}, {"baremetal", "drivers", ""}, {"orchestration", "build_info", ""}, {"network", "networks", "v2.0"}, {"image", "images", "v2"},
		{"workflow", "workbooks", "v2"}, {"object-store", "", ""}, {"messaging", "queues", "v2"}}
	for _, s := range services {
		if !c.s.Has(s[0]) {
			c.warn("the catalog has no service of type %s", s[0])
			continue
		}
		client, err := c.s.Client(s[0])
		if err == nil {
			u := strings.TrimSuffix(client.Endpoint, "/") + "/" + s[1]
			if s[2] != "" {
				u = versioned(client, s[2], s[1])
			}
			_, err = c.request(client, "GET", u, nil, nil, 200, 204)
		}
		if err != nil {
			c.fail("%s does not answer: %v", s[0], err)
			continue
		}
		c.ok("%s answers", s[0])
	}
	return nil
}

// checkCertificates looks at the undercloud's files and at every parameter of the plan that holds a certificate.
func checkCertificates(c *checker) error {
	for _, file := range c.cfg.Undercloud.Certs {
		data, err := os.ReadFile(file) //nolint:gosec // the undercloud's own configuration names it
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		c.certificates(file, data)
	}
	params, err := c.parameters()
	if err != nil {
		return skipNoPlan(err)
	}
	for name, v := range params.All() {
		if s, ok := v.(string); ok && strings.Contains(s, "BEGIN CERTIFICATE") {
			c.certificates("parameter "+name, []byte(s))
		}
	}
	return nil
}

func (c *checker) certificates(where string, data []byte) {
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			return
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			c.fail("%s: %v", where, err)
			continue
		}
		days := int(cert.NotAfter.Sub(c.ac.Now()).Hours() / 24)
		switch {
		case c.ac.Now().After(cert.NotAfter):
			c.fail("%s: the certificate of %s ended on %s", where, cert.Subject, cert.NotAfter.Format(time.DateOnly))
		case c.ac.Now().Before(cert.NotBefore):
			c.fail("%s: the certificate of %s begins only on %s: is the clock right?", where, cert.Subject, cert.NotBefore.Format(time.DateOnly))
		case days < certWarning:
			c.warn("%s: the certificate of %s ends in %d days", where, cert.Subject, days)
		default:
			c.ok("%s: the certificate of %s holds for %d days", where, cert.Subject, days)
		}
	}
}

// images lists Glance's images.
func (r *run) images() ([]any, error) {
	c, err := r.s.Image()
	if err != nil {
		return nil, err
	}
	var out any
	if _, err := r.request(c, "GET", c.ServiceURL("images")+"?limit=1000", nil, &out); err != nil {
		return nil, err
	}
	list, _ := dig(out, "images").([]any)
	return list, nil
}

func checkBoot(c *checker) error {
	images, err := c.images()
	if err != nil {
		return err
	}
	for _, want := range [][2]string{{"bm-deploy-kernel", "aki"}, {"bm-deploy-ramdisk", "ari"}} {
		n := 0
		for _, im := range images {
			if text(im, "name") == want[0] && text(im, "disk_format") == want[1] && text(im, "status") == "active" {
				n++
			}
		}
		switch n {
		case 0:
			c.fail("there is no active image %s of disk format %s: run `tripleo overcloud image upload`", want[0], want[1])
		case 1:
			c.ok("image %s", want[0])
		default:
			c.fail("there are %d images %s: only one may have the name", n, want[0])
		}
	}
	return nil
}

func checkOvercloudImages(c *checker) error {
	roles, err := c.roleCounts()
	if err != nil {
		return skipNoPlan(err)
	}
	params, err := c.parameters()
	if err != nil {
		return skipNoPlan(err)
	}
	images, err := c.images()
	if err != nil {
		return err
	}
	for _, role := range roles {
		if role.count == 0 {
			continue
		}
		name := firstText(text(params, role.name+"Image"), text(params, text(role.data, "deprecated_param_image")), text(role.data, "ImageDefault"), "overcloud-full")
		i := slices.IndexFunc(images, func(im any) bool { return text(im, "name") == name || text(im, "id") == name })
		switch {
		case i < 0:
			c.fail("role %s: there is no image %s", role.name, name)
		case text(images[i], "status") != "active":
			c.fail("role %s: image %s is %s", role.name, name, text(images[i], "status"))
		case text(images[i], "checksum") == "" && text(images[i], "os_hash_value") == "":
			c.warn("role %s: image %s has no checksum", role.name, name)
		default:
			c.ok("role %s: image %s", role.name, name)
		}
	}
	return nil
}

func nodeName(n any) string { return firstText(text(n, "name"), text(n, "uuid")) }

func checkBMCs(c *checker) error {
	nodes, err := c.allNodes()
	if err != nil {
		return err
	}
	client, err := c.s.Baremetal()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		var v any
		if _, err := c.request(client, "GET", client.ServiceURL("nodes", text(n, "uuid"), "validate"), nil, &v); err != nil {
			return err
		}
		state := text(n, "power_state")
		switch {
		case !truthy(dig(v, "power", "result")):
			c.fail("node %s: its BMC is not configured: %s", nodeName(n), text(v, "power", "reason"))
		case text(n, "fault") == "power failure", state == "error":
			c.fail("node %s: its BMC does not answer: %s", nodeName(n), text(n, "last_error"))
		case state == "" && text(n, "provision_state") != "enroll":
			c.warn("node %s: its power state is not known yet", nodeName(n))
		default:
			c.ok("node %s: power %s", nodeName(n), firstText(state, "not read before `manage`"))
		}
	}
	return nil
}

func checkDuplicates(c *checker) error {
	nodes, err := c.allNodes()
	if err != nil {
		return err
	}
	ports, err := c.allPorts()
	if err != nil {
		return err
	}
	name := map[string]string{}
	bmc := map[string]string{}
	for _, n := range nodes {
		name[text(n, "uuid")] = nodeName(n)
		d := driverFor(text(n, "driver"))
		if d == nil {
			continue
		}
		id := d.identity(dig(n, "driver_info"))
		if id != "" && bmc[id] != "" {
			c.fail("nodes %s and %s have the same BMC, %s", bmc[id], nodeName(n), id)
		}
		if id != "" {
			bmc[id] = nodeName(n)
		}
	}
	seen := map[string]string{}
	for _, p := range ports {
		mac, node := strings.ToLower(text(p, "address")), name[text(p, "node_uuid")]
		if other, ok := seen[mac]; ok {
			c.fail("MAC %s belongs to nodes %s and %s", mac, other, node)
		}
		seen[mac] = node
	}
	c.ok("%d MACs and %d BMCs of %d nodes", len(seen), len(bmc), len(nodes))
	return nil
}

func checkPorts(c *checker) error {
	nodes, err := c.allNodes()
	if err != nil {
		return err
	}
	ports, err := c.allPorts()
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, p := range ports {
		if v := dig(p, "pxe_enabled"); v == nil || truthy(v) {
			count[text(p, "node_uuid")]++
		}
	}
	for _, n := range nodes {
		if count[text(n, "uuid")] == 0 {
			c.fail("node %s has no port that boots from the network", nodeName(n))
		} else {
			c.ok("node %s: %d ports", nodeName(n), count[text(n, "uuid")])
		}
	}
	return nil
}

func checkStates(c *checker) error {
	nodes, err := c.allNodes()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		state := text(n, "provision_state")
		switch {
		case truthy(dig(n, "maintenance")):
			c.fail("node %s is in maintenance: %s", nodeName(n), firstText(text(n, "maintenance_reason"), text(n, "last_error"), "no reason given"))
		case strings.HasSuffix(state, "failed"), state == "error":
			c.fail("node %s is in state %q: %s", nodeName(n), state, text(n, "last_error"))
		default:
			c.ok("node %s: %s", nodeName(n), state)
		}
	}
	return nil
}

// usable tells whether a node can be or is a member of the cloud.
func usable(n any) bool {
	return !truthy(dig(n, "maintenance")) && (text(n, "provision_state") == "available" || text(n, "provision_state") == "active")
}

func checkNodeCount(c *checker) error {
	roles, err := c.roleCounts()
	if err != nil {
		return skipNoPlan(err)
	}
	nodes, err := c.allNodes()
	if err != nil {
		return err
	}
	want, have := 0, 0
	for _, role := range roles {
		want += role.count
	}
	for _, n := range nodes {
		if usable(n) {
			have++
		}
	}
	if have < want {
		c.fail("the plan wants %d nodes, %d are available or active (of %d registered)", want, have, len(nodes))
		return nil
	}
	c.ok("the plan wants %d nodes, %d are available or active", want, have)
	return nil
}

func checkProfiles(c *checker) error {
	roles, err := c.roleCounts()
	if err != nil {
		return skipNoPlan(err)
	}
	all, err := c.flavors()
	if err != nil {
		return err
	}
	nodes, err := c.allNodes()
	if err != nil {
		return err
	}
	have := map[string]int{}
	for _, n := range nodes {
		if !usable(n) {
			continue
		}
		caps, err := ParseCapabilities(dig(n, "properties", "capabilities"))
		if err != nil {
			c.fail("node %s: %v", nodeName(n), err)
			continue
		}
		have[caps["profile"]]++
	}
	for _, role := range roles {
		f := all[role.flavor]
		profile := text(f, "extra_specs", "capabilities:profile")
		if role.count == 0 || f == nil || profile == "" {
			continue
		}
		// Roles of one profile share its nodes.
		if have[profile] < role.count {
			c.fail("role %s wants %d nodes of profile %s (flavor %s), there are %d for it", role.name, role.count, profile, role.flavor, have[profile])
		} else {
			c.ok("role %s: %d nodes of profile %s", role.name, have[profile], profile)
		}
		have[profile] = max(have[profile]-role.count, 0)
	}
	return nil
}

func checkPlanFlavors(c *checker) error {
	roles, err := c.roleCounts()
	if err != nil {
		return skipNoPlan(err)
	}
	all, err := c.flavors()
	if err != nil {
		return err
	}
	for _, role := range roles {
		if role.count == 0 {
			continue
		}
		f := all[role.flavor]
		if f == nil {
			c.fail("role %s: there is no flavor %s", role.name, role.flavor)
			continue
		}
		class := ""
		specs, _ := dig(f, "extra_specs").(*yaml11.OrderedMap)
		for k, v := range specs.All() {
			if strings.HasPrefix(k, "resources:CUSTOM_") && truthy(v) {
				class = k
			}
		}
		if class == "" {
			c.fail("role %s: flavor %s asks for no resource class (resources:CUSTOM_BAREMETAL=1)", role.name, role.flavor)
			continue
		}
		c.ok("role %s: flavor %s, %s", role.name, role.flavor, class)
	}
	return nil
}

func checkNodeMemory(c *checker) error {
	nodes, err := c.allNodes()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		mb := intOf(dig(n, "properties", "memory_mb"))
		switch {
		case mb == 0:
			c.warn("node %s: its memory is not known; introspect it", nodeName(n))
		case mb < leastRAM:
			c.fail("node %s has %d MiB of memory, at least %d are needed", nodeName(n), mb, leastRAM)
		default:
			c.ok("node %s: %d MiB", nodeName(n), mb)
		}
	}
	return nil
}

func checkNodeDisks(c *checker) error {
	nodes, err := c.allNodes()
	if err != nil {
		return err
	}
	client, err := c.s.Introspection()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		gb := intOf(dig(n, "properties", "local_gb"))
		if gb > 0 && gb < leastRoot-1 { // Ironic keeps one GiB less, for partitions
			c.fail("node %s: its root disk has %d GiB, at least %d are needed", nodeName(n), gb+1, leastRoot)
			continue
		}
		hint, _ := dig(n, "properties", "root_device").(*yaml11.OrderedMap)
		var data any
		_, err := c.request(client, "GET", versioned(client, "v1", "introspection", text(n, "uuid"), "data"), nil, &data)
		switch {
		case isStatus(err, 404):
			if gb == 0 {
				c.warn("node %s: its disks are not known; introspect it", nodeName(n))
			}
			continue
		case err != nil:
			return err
		}
		disks, _ := dig(data, "inventory", "disks").([]any)
		if len(disks) == 0 {
			c.fail("node %s: introspection found no disk", nodeName(n))
			continue
		}
		if hint.Len() == 0 && len(disks) > 1 {
			c.warn("node %s has %d disks and no root device hint: the smallest is used", nodeName(n), len(disks))
			continue
		}
		if hint.Len() > 0 && !hintNames(hint, disks) {
			c.fail("node %s: no disk fits its root device hint %v", nodeName(n), yaml11.Plain(hint))
			continue
		}
		c.ok("node %s: %d disks", nodeName(n), len(disks))
	}
	return nil
}

// hintNames tells whether a disk fits the hints that name one; hints with operators are Ironic's to judge.
func hintNames(hint *yaml11.OrderedMap, disks []any) bool {
	return slices.ContainsFunc(disks, func(d any) bool {
		for k, v := range hint.All() {
			switch k {
			case "wwn", "serial", "wwn_with_extension", "wwn_vendor_extension", "name", "hctl", "vendor":
				if want := strings.ToLower(strings.TrimPrefix(fmt.Sprint(v), "s== ")); !strings.ContainsAny(want, "<>=") && strings.ToLower(text(d, k)) != want {
					return false
				}
			}
		}
		return true
	})
}
