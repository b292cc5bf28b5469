package undercloud_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tripleo/tripleo/internal/clienttest"
	"github.com/tripleo/tripleo/internal/undercloud"
)

// shell is Debian's client with an administrator's account.
type shell struct {
	t  *testing.T
	sh *clienttest.Shell

	kept map[string]string // what run kept, by name
}

func startShell(t *testing.T, env ...string) shell {
	t.Helper()
	if testing.Short() {
		t.Skip("client tests run without -short")
	}
	u := start(t, undercloud.Config{DataDir: t.TempDir()})
	rc, err := os.ReadFile(u.RCFile())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(rc), "\n") {
		if v, ok := strings.CutPrefix(line, "export "); ok {
			env = append(env, strings.ReplaceAll(v, "'", ""))
		}
	}
	return shell{t, clienttest.Start(t, env...), map[string]string{}}
}

// run runs commands, one a line; "$name" stands for what "name=" before a line
// kept: the id that it printed.
func (s shell) run(script string) {
	s.t.Helper()
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		for name, v := range s.kept {
			line = strings.ReplaceAll(line, "$"+name, v)
		}
		name, rest, keep := strings.Cut(line, ":= ")
		if keep {
			line = rest
		}
		args := strings.Fields(line)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "~", " ")
		}
		fails := args[0] == "!"
		if fails {
			args = args[1:]
		}
		if keep {
			args = append(args, "-f", "value", "-c", keptColumn(name))
		}
		r := s.sh.Try("openstack", args...)
		if fails == (r.Code == 0) {
			s.t.Errorf("openstack %s: exit %d, printed %q; errors: %s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
		}
		if keep {
			s.kept[strings.TrimSpace(strings.Split(name, "/")[0])] = strings.TrimSpace(r.Stdout)
		}
	}
}

// keptColumn is the column of "name/column", id unless it is given.
func keptColumn(name string) string {
	if _, column, ok := strings.Cut(strings.TrimSpace(name), "/"); ok {
		return column
	}
	return "id"
}

// TestOpenstackClientOfNetwork runs every network verb of the client.
func TestOpenstackClientOfNetwork(t *testing.T) {
	s := startShell(t)
	s.run(`
network create --provider-network-type flat --provider-physical-network px --mtu 9000 --description d --tag t1 n1
network create --provider-network-type vlan --provider-physical-network px --provider-segment 101 --share n2
network create --external --default ext
network list --long
network list --tags t1
network set --name n1b --tag t2 n1
network unset --tag t1 n1b
network show n1b
address scope create --ip-version 4 --share as
address scope list
address scope set --name as2 as
address scope show as2
subnet pool create --pool-prefix 10.20.0.0/16 --default-prefix-length 24 --address-scope as2 --default sp
subnet pool set --pool-prefix 10.21.0.0/16 --tag x sp
subnet pool unset --tag x sp
subnet pool list --long
subnet pool show sp
subnet create --network n1b --subnet-range 192.0.2.0/24 --dns-nameserver 192.0.2.2 --host-route destination=10.0.0.0/8,gateway=192.0.2.9 s1
subnet create --network n1b --ip-version 6 --subnet-range 2001:db8::/64 --ipv6-ra-mode slaac --ipv6-address-mode slaac s6
subnet create --network n2 --subnet-pool sp s2
subnet create --network ext --subnet-range 203.0.113.0/24 --no-dhcp sx
subnet list --long
subnet set --name s1b --description d --tag z s1
subnet unset --tag z --dns-nameserver 192.0.2.2 s1b
subnet show s1b
port create --network n1b --fixed-ip subnet=s1b,ip-address=192.0.2.77 --vnic-type baremetal --binding-profile a=b --dns-name host1 --allowed-address ip-address=192.0.2.200 p1
port create --network n2 --no-security-group --disable-port-security p2
port create --network n2 p3
port list --long --network n1b
port set --name p1b --host h1 --tag q p1
port unset --tag q --binding-profile a p1b
port show p1b
security group create --description d sg
security group list
security group set --name sg2 --tag w sg
security group unset --tag w sg2
security group show sg2
rule := security group rule create --protocol tcp --dst-port 80:90 --remote-ip 10.0.0.0/8 sg2
security group rule list sg2
security group rule show $rule
security group rule delete $rule
security group delete sg2
address group create --address 10.0.0.0/8 ag
address group list
address group set --address 192.168.0.0/16 --name ag2 ag
address group unset --address 10.0.0.0/8 ag2
address group show ag2
address group delete ag2
router create --description d r1
router list --long
router set --external-gateway ext --name r1b r1
router add subnet r1b s2
router add port r1b p1b
router add route --route destination=10.99.0.0/16,gateway=10.20.0.9 r1b
router show r1b
router remove route --route destination=10.99.0.0/16,gateway=10.20.0.9 r1b
fip := floating ip create --description d ext
floating ip list --long
floating ip set --port p3 $fip
floating ip show $fip
floating ip unset --port $fip
floating ip delete $fip
router remove subnet r1b s2
router remove port r1b p1b
router unset --external-gateway r1b
router delete r1b
network qos policy create --share q1
network qos policy list
network qos policy set --description d q1
network qos rule create --type bandwidth-limit --max-kbps 1000 --max-burst-kbits 100 --egress q1
qr := network qos rule create --type dscp-marking --dscp-mark 26 q1
network qos rule list q1
network qos rule set --dscp-mark 28 q1 $qr
network qos rule show q1 $qr
network qos rule delete q1 $qr
network qos rule type list
network qos rule type show bandwidth_limit
network qos policy show q1
network qos policy delete q1
rb := network rbac create --type network --action access_as_shared --target-all-projects n1b
network rbac list --long
network rbac set --target-project admin $rb
network rbac show $rb
network rbac delete $rb
sgm := network segment create --network n2 --network-type vlan --physical-network px --segment 102 seg
network segment list --long
network segment set --name seg2 $sgm
network segment show $sgm
network segment delete $sgm
network agent list
network agent show 8f3d7a4e-5c1b-4f60-9a5e-6d1f0c2b7e31
network agent set --description d --disable 8f3d7a4e-5c1b-4f60-9a5e-6d1f0c2b7e31
ip availability list --ip-version 4
ip availability show n1b
network service provider list
network auto allocated topology create
network auto allocated topology delete
port create --network n2 parent
port create --network n1b child
network trunk create --parent-port parent --subport port=child,segmentation-type=vlan,segmentation-id=7 tr
network trunk list --long
network trunk show tr
network subport list --trunk tr
network trunk unset --subport child tr
network trunk set --name tr2 --subport port=child,segmentation-type=vlan,segmentation-id=8 tr
network trunk delete tr2
port delete parent child p2 p3
! network delete n2x
subnet delete s2
subnet pool delete sp
address scope delete as2
network delete n2 n1b
availability zone list --network
extension list --network
quota set --ports 10 admin
quota show admin
`)
	const flavors, meters, logs = "no router of this service forwards packets: there is nothing to choose from", "no router of this service forwards packets: nothing is metered", "floating IPs lead where the fabric leads them"
	except := map[string]string{
		"floating ip pool list":     "the client answers itself: network API v2 has no pools",
		"network agent delete":      "the one agent is this service itself",
		"network agent add network": "the one agent serves all networks", "network agent remove network": "the one agent serves all networks",
		"network agent add router": "no agent carries routers", "network agent remove router": "no agent carries routers",
	}
	for _, v := range strings.Fields("create delete list set show") {
		except["network flavor "+v], except["network flavor profile "+v] = flavors, flavors
		except["network segment range "+v] = "the ranges of VLANs are in undercloud.yaml"
		except["network l3 conntrack helper "+v] = flavors
		except["floating ip port forwarding "+v], except["local ip "+v] = logs, logs
		if v != "set" {
			except["network meter rule "+v], except["network meter "+v] = meters, meters
			except["local ip association "+v] = logs
		}
	}
	delete(except, "local ip association show")
	except["network flavor add profile"], except["network flavor remove profile"] = flavors, flavors
	s.sh.EveryVerb("python_openstackclient", "openstack.network.v2", except)
}

// TestOpenstackClientOfCompute runs every compute verb of the client on machines
// of the fake driver.
func TestOpenstackClientOfCompute(t *testing.T) {
	s := startShell(t, "OS_COMPUTE_API_VERSION=2.87")
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, []byte("image"), 0o600); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for i := range 4 {
		fmt.Fprintf(&script, "baremetal node create --driver fake-hardware --name m%d --resource-class baremetal --property cpus=4 --property memory_mb=4096 --property local_gb=40\n", i)
		for nic := range 3 {
			fmt.Fprintf(&script, "node%d/uuid := baremetal node show m%d --fields uuid\nbaremetal port create --node $node%d 52:54:00:00:%02x:%02x\n", i, i, i, i, nic)
		}
		fmt.Fprintf(&script, "baremetal node manage --wait 60 m%d\nbaremetal node provide --wait 60 m%d\n", i, i)
	}
	fmt.Fprintf(&script, "image create --disk-format raw --container-format bare --file %s img\n", image)
	s.run(script.String() + `
network create net
subnet create --network net --subnet-range 192.0.2.0/24 sub
flavor create --ram 512 --disk 10 --vcpus 1 --private --property resources:CUSTOM_BAREMETAL=1 fl
flavor set --project admin --property a=b fl
flavor list --all
flavor show fl
flavor unset --property a fl
keypair create --user admin k
keypair list
keypair show k
server group create --policy anti-affinity sg
server group list
server group show sg
aggregate create --zone rack1 agg
aggregate add host agg $node3
aggregate set --property x=y agg
aggregate unset --property x agg
aggregate list
aggregate show agg
web := security group create web
server create --wait --flavor fl --image img --network net --key-name k --property a=b --security-group $web v1
server create --wait --flavor fl --image img --network net --availability-zone rack1 v2
server list --long --all-projects
groups/security_groups := server show v1
`)
	if got := s.kept["groups"]; got != "[{'name': 'web'}]" {
		t.Errorf("a server made with the id of group web shows %q, want its name", got)
	}
	s.run(`
server set --name v1b --property c=d --tag t v1
server unset --property c --tag t v1b
server lock v1b
server unlock v1b
server stop v1b
server start v1b
server reboot --hard v1b
port create --network net extra
server add port v1b extra
server remove port v1b extra
server add network v1b net
server remove network v1b net
server add fixed ip v1b net
server remove security group v1b $web
server add security group v1b web
server event list v1b
server rebuild --wait --image img v1b
server migration list
server volume list v1b
hypervisor list --long
hypervisor show $node0
hypervisor stats show
compute service list --long
compute service set --disable --disable-reason r $node2 nova-compute
compute service set --enable $node2 nova-compute
usage list
usage show --project admin
limits show --absolute
quota set --instances 5 admin
quota show admin
availability zone list --compute --long
! server pause v1b
! server migrate v1b
server delete --wait v1b
server delete --wait v2
aggregate remove host agg $node3
aggregate delete agg
server group delete sg
keypair delete k
flavor delete fl
`)
	const (
		still    = "a machine has no hypervisor that could hold it"
		moves    = "machines do not move"
		volumes  = "an undercloud has no block storage service"
		ended    = "ended long ago: it asks for what Nova 2.93 does not have either"
		floating = "the network service's: nothing here forwards packets to a server"
	)
	except := map[string]string{
		"aggregate cache image": "images are written by the bare-metal service, which caches them itself", "compute service delete": "a host is there as long as its machine is",
		"compute agent create": ended, "compute agent delete": ended, "compute agent list": ended, "compute agent set": ended, "host list": ended, "host set": ended, "host show": ended,
		"console log show": "serial consoles keep no history", "console url show": "machines of the fake driver have no console",
		"server add floating ip": floating, "server remove floating ip": floating, "server remove fixed ip": "takes the address that add fixed ip printed nowhere",
		"server add volume": volumes, "server remove volume": volumes, "server volume update": volumes,
		"server backup create": "the disk of a running machine cannot be read by others", "server image create": "the disk of a running machine cannot be read by others",
		"server dump create": still, "server pause": still, "server unpause": still, "server suspend": still, "server resume": still,
		"server evacuate": moves, "server migrate": moves, "server migrate confirm": moves, "server migrate revert": moves, "server migration abort": moves, "server migration confirm": moves,
		"server migration force complete": moves, "server migration revert": moves, "server migration show": moves,
		"server resize": "a machine cannot change its size", "server resize confirm": "a machine cannot change its size", "server resize revert": "a machine cannot change its size",
		"server rescue": "the bare-metal service's: openstack baremetal node rescue", "server unrescue": "the bare-metal service's: openstack baremetal node unrescue",
		"server restore": "deleted servers are cleaned from their machines", "server shelve": "a machine's disk stays with the machine", "server unshelve": "a machine's disk stays with the machine",
		"server ssh": "it starts ssh", "server event show": "takes the id of a request, which the list prints",
	}
	s.sh.EveryVerb("python_openstackclient", "openstack.compute.v2", except)
}

// TestOpenstackClientOfPlacement runs every verb of the placement client.
func TestOpenstackClientOfPlacement(t *testing.T) {
	s := startShell(t, "OS_PLACEMENT_API_VERSION=1.29")
	s.run(`
resource class create CUSTOM_GPU
resource class set CUSTOM_FPGA
resource class list
resource class show CUSTOM_GPU
trait create CUSTOM_FAST
trait list --name startswith:CUSTOM_
trait show CUSTOM_FAST
rp/uuid := resource provider create one
resource provider list
resource provider set --name two $rp
resource provider show $rp
resource provider inventory set --resource VCPU=8 --resource CUSTOM_GPU=2 $rp
resource provider inventory class set --total 16 $rp VCPU
resource provider inventory list $rp
resource provider inventory show $rp VCPU
resource provider aggregate set --aggregate 11111111-2222-3333-4444-555555555555 --generation 2 $rp
resource provider aggregate list $rp
resource provider trait set --trait CUSTOM_FAST $rp
resource provider trait list $rp
allocation candidate list --resource VCPU=2 --required CUSTOM_FAST
resource provider allocation set --allocation rp=$rp,VCPU=2 --allocation rp=$rp,CUSTOM_GPU=1 --project-id p --user-id u aaaaaaaa-2222-3333-4444-555555555555
resource provider allocation show aaaaaaaa-2222-3333-4444-555555555555
resource provider usage show $rp
resource usage show p
! resource provider allocation set --allocation rp=$rp,VCPU=15 --project-id p --user-id u bbbbbbbb-2222-3333-4444-555555555555
resource provider allocation unset --resource-class CUSTOM_GPU aaaaaaaa-2222-3333-4444-555555555555
resource provider allocation delete aaaaaaaa-2222-3333-4444-555555555555
resource provider trait delete $rp
resource provider inventory delete --resource-class VCPU $rp
resource provider inventory delete --resource-class CUSTOM_GPU $rp
resource provider delete $rp
trait delete CUSTOM_FAST
resource class delete CUSTOM_GPU
`)
	s.sh.EveryVerb("osc_placement", "openstack.placement.v1", nil)
}
