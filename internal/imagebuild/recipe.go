package imagebuild

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Names of the images, as tripleoclient has them.
const (
	OvercloudFull    = "overcloud-full"
	OvercloudMinimal = "overcloud-minimal"
	Ramdisk          = "ironic-python-agent"
)

// Names lists the images that can be built.
func Names() []string { return []string{Ramdisk, OvercloudFull, OvercloudMinimal, Guest} }

// builderVersion is part of the keys of the finished files: raise it when the code gives another result. What
// goes into mmdebstrap is in the keys itself.
const builderVersion = 5

// DefaultSuite is the Debian release the images are made of.
const DefaultSuite = "bookworm"

// Recipe says what is in a root file system.
type Recipe struct {
	// Name is the image's.
	Name     string
	Suite    string
	Packages []string
	// Held are systemd units that must not start before the agent configured them.
	Held []string
	// Enabled are units that start from the beginning.
	Enabled []string
	// Debconf answers package questions: lines of debconf-set-selections.
	Debconf []string
	// Bootable adds kernel, initramfs and boot loader.
	Bootable bool
}

// Profiles of overcloud-full.
const (
	// Full has the packages of every service of the default plan.
	Full = "full"
	// Small has the base of a cloud up to Keystone: built in a third of the time, for tests and for nodes that get their packages otherwise.
	Small = "small"
)

// ProfileRecipe is overcloud-full in a profile: the base system and the packages of services, which stay stopped until a
// node's role asks for them.
func ProfileRecipe(profile string) (Recipe, error) {
	r := Recipe{
		Name: OvercloudFull, Suite: DefaultSuite,
		Packages: []string{
			// base
			"systemd", "systemd-sysv", "libpam-systemd", "dbus", "udev", "iproute2", "procps", "netbase",
			"ca-certificates", "openssh-server", "sudo", "less", "iputils-ping",
			// services
			"chrony", "mariadb-server", "rabbitmq-server", "memcached", "keystone",
			"python3-pymysql", "python3-memcache",
		},
		Held: []string{
			"chrony.service", "mariadb.service", "rabbitmq-server.service", "epmd.service", "epmd.socket",
			"memcached.service", "keystone.service",
			// nobody asked for these on a node
			"apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "e2scrub_reap.service",
		},
		Enabled: []string{"systemd-networkd.service", "ssh.service"},
		Debconf: []string{
			"keystone keystone/configure_db boolean false",
			"keystone keystone/create-admin-tenant boolean false",
			"keystone keystone/register-endpoint boolean false",
		},
	}
	switch profile {
	case Small:
		r.Packages = append(r.Packages, "haproxy", "keepalived")
		r.Held = append(r.Held, "haproxy.service", "keepalived.service")
		return r, nil
	case Full:
		r.Packages = append(r.Packages, cloudPackages()...)
		r.Held = append(r.Held, cloudUnits()...)
		return r, nil
	}
	return Recipe{}, fmt.Errorf("profile %q is unknown: %s and %s are there", profile, Full, Small)
}

// cloudPackages are the services of a whole cloud, controllers' and compute nodes' alike: one image for every role.
func cloudPackages() []string {
	return []string{
		"haproxy", "keepalived", "nftables", "openssl", "stunnel4", "python3-openstackclient",
		"glance-api", "placement-api",
		"nova-api", "nova-conductor", "nova-scheduler", "nova-consoleproxy", "nova-compute", "nova-compute-kvm", "genisoimage", // which makes config drives
		"neutron-api", "neutron-rpc-server", "neutron-linuxbridge-agent", "neutron-dhcp-agent", "neutron-l3-agent", "neutron-metadata-agent",
		"heat-api", "heat-api-cfn", "heat-engine", "python3-heatclient",
		"cinder-api", "cinder-scheduler", "cinder-volume",
		"swift-proxy", "swift-account", "swift-container", "swift-object",
		"openstack-dashboard", "openstack-dashboard-apache",
	}
}

// cloudUnits are what those packages would start at boot.
func cloudUnits() []string {
	units := []string{"virtlogd.socket", "virtlogd-admin.socket", "virtlockd.socket", "virtlockd-admin.socket",
		"libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket", "iscsid.socket", "lvm2-lvmpolld.socket"}
	for _, name := range []string{
		"haproxy", "keepalived", "stunnel4", "radvd", "rsync", "glance-api", "placement-api",
		"nova-api", "nova-api-metadata", "nova-conductor", "nova-scheduler", "nova-compute", "nova-novncproxy", "nova-serialproxy", "nova-spicehtml5proxy",
		"neutron-api", "neutron-rpc-server", "neutron-linuxbridge-agent", "neutron-dhcp-agent", "neutron-l3-agent", "neutron-metadata-agent",
		"libvirtd", "libvirt-guests", "open-iscsi", "iscsid", "tgt", "lvm2-monitor",
		"heat-api", "heat-api-cfn", "heat-engine", "cinder-api", "cinder-scheduler", "cinder-volume",
		"swift-proxy", "swift-account", "swift-account-auditor", "swift-account-reaper", "swift-account-replicator",
		"swift-container", "swift-container-auditor", "swift-container-reconciler", "swift-container-replicator", "swift-container-sync", "swift-container-sharder", "swift-container-updater",
		"swift-object", "swift-object-auditor", "swift-object-expirer", "swift-object-reconstructor", "swift-object-replicator", "swift-object-updater",
		"apache2", "apache-htcacheclean", "uwsgi",
	} {
		units = append(units, name+".service")
	}
	return units
}

// MinimalRecipe is overcloud-minimal: a base system with the agent and nothing of OpenStack, bootable on metal, for
// nodes whose services come from elsewhere.
func MinimalRecipe() Recipe {
	return Recipe{
		Name: OvercloudMinimal, Suite: DefaultSuite, Bootable: true,
		Packages: []string{
			"systemd", "systemd-sysv", "libpam-systemd", "dbus", "udev", "iproute2", "procps", "netbase",
			"ca-certificates", "openssh-server", "sudo", "iputils-ping",
		},
		Held:    []string{"apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "e2scrub_reap.service"},
		Enabled: []string{"systemd-networkd.service", "ssh.service"},
	}
}

// foreignModules are kernel modules of hardware that no server has; they are two thirds of Debian's kernel package.
func foreignModules() []string {
	var out []string
	for _, d := range []string{
		"sound", "drivers/gpu", "drivers/media", "drivers/staging", "drivers/net/wireless", "drivers/bluetooth", "net/bluetooth", "net/wireless",
		"net/mac80211", "drivers/iio", "drivers/isdn", "drivers/input/touchscreen", "drivers/input/joystick", "drivers/gnss", "drivers/nfc", "net/nfc",
		"drivers/comedi", "drivers/soundwire", "drivers/pcmcia", "drivers/parport", "drivers/platform/surface", "drivers/hid/amd-sfh-hid",
	} {
		out = append(out, "/lib/modules/*/kernel/"+d+"/*")
	}
	return out
}

// bootPackages make a root file system start on metal; mdadm puts software RAID into its initramfs.
func bootPackages() []string {
	return []string{"linux-image-amd64", "initramfs-tools", "mdadm", "systemd-boot-efi", "zstd"}
}

// packages is the complete list, sorted and without repetition.
func (r Recipe) packages() []string {
	all := slices.Clone(r.Packages)
	if r.Bootable {
		all = append(all, bootPackages()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// packageName is what dpkg allows (Debian policy 5.6.7), optionally with an architecture.
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9.+-]+(:[a-z0-9]+)?$`)

func (r Recipe) validate() error {
	for _, p := range r.Packages {
		if !packageName.MatchString(p) {
			return fmt.Errorf("%q is not a Debian package name", p)
		}
	}
	return nil
}

// hashOf is a cache key: the SHA-256 of the parts' JSON, in hex, shortened to what no accident repeats.
func hashOf(parts ...any) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, p := range parts {
		if err := enc.Encode(p); err != nil {
			panic(fmt.Sprintf("imagebuild: hashing %T: %v", p, err)) // only our own plain structs get here
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:24]
}

// baseKey identifies the root file system without the agent.
func (r Recipe) baseKey(sources Sources) string {
	debconf, held, enabled := slices.Clone(r.Debconf), slices.Clone(r.Held), slices.Clone(r.Enabled)
	slices.Sort(debconf)
	slices.Sort(held)
	slices.Sort(enabled)
	var foreign []string
	if r.Bootable {
		foreign = foreignModules()
	}
	return hashOf(r.Suite, r.packages(), debconf, held, enabled, sources.Text(), customizeScript(r), foreign)
}

// configFile is the part of TripleO's disk image YAML (disk_images) that says something here: further packages
// for an image. Lists of several files add up.
type configFile struct {
	DiskImages []struct {
		Name     string   `yaml:"imagename"`
		Packages []string `yaml:"packages"`
		Elements []string `yaml:"elements"`
		Type     string   `yaml:"type"`
	} `yaml:"disk_images"`
}

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 1 << 20

// ReadConfig returns the packages a disk image file adds per image name. Elements of diskimage-builder cannot
// be carried out and are an error, not a silent gap.
func ReadConfig(r io.Reader) (map[string][]string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("larger than %d bytes", maxConfig)
	}
	var c configFile
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	out := map[string][]string{}
	for i, img := range c.DiskImages {
		switch {
		case !slices.Contains(Names(), img.Name):
			return nil, fmt.Errorf("disk_images[%d].imagename is %q; %s can be built", i, img.Name, strings.Join(Names(), ", "))
		case len(img.Elements) > 0:
			return nil, fmt.Errorf("disk_images[%d].elements: diskimage-builder's elements are not supported; list Debian packages under \"packages\"", i)
		case (img.Name == Ramdisk || img.Name == Guest) && len(img.Packages) > 0:
			return nil, fmt.Errorf("disk_images[%d].packages: %s has no packages of its own", i, img.Name)
		}
		out[img.Name] = append(out[img.Name], img.Packages...)
	}
	return out, nil
}
