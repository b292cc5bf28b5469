#!/usr/bin/env bash
# The demo: an undercloud on loopback, three virtual machines, an OpenStack on two of them, and the proof that it serves:
# a guest that answers. `demo.sh up` may be run again at any time and goes on from what is there; `demo.sh day2` then adds
# a compute node, changes a setting, removes a node and deletes the overcloud. `demo.sh ha` is a demo of its own: three
# controllers, of which the one with the virtual IP loses its power while clients work, and comes back. `demo.sh down`
# removes everything but the image cache. Environment: DEMO_DIR (default .tripleo), TRIPLEO_IMAGE_CACHE (default .cache/images), and for a second
# demo beside another DEMO_LAB (name of the lab, default tripleo-lab) and DEMO_PORT (of the undercloud, default 8000). DEMO_ENVIRONMENTS are
# further arguments of the deployment: DEMO_ENVIRONMENTS='-e environments/ssl/enable-internal-tls.yaml' has TLS everywhere.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
dir=${DEMO_DIR:-$root/.tripleo}
nodes=3 profiles=control,compute
images=${TRIPLEO_IMAGE_CACHE:-$root/.cache/images}
tripleo=$root/bin/tripleo
namespace=${DEMO_LAB:-tripleo-lab}
port=${DEMO_PORT:-8000}
export OS_CLIENT_CONFIG_FILE=$dir/undercloud/clouds.yaml OS_CLOUD=undercloud
unset OS_AUTH_URL OS_USERNAME OS_PASSWORD OS_PROJECT_NAME OS_TOKEN 2>/dev/null || true

stages=() # "seconds name"
began=$(date +%s)

stage() { # stage NAME COMMAND...
  local name=$1 start end
  shift
  printf '\n== %s\n' "$name"
  start=$(date +%s%N)
  "$@"
  end=$(date +%s%N)
  stages+=("$(((end - start) / 100000000)) $name")
}

summary() {
  printf '\n== how long each stage took\n'
  local s
  for s in "${stages[@]}"; do
    printf '%8d.%d s  %s\n' $((${s%% *} / 10)) $((${s%% *} % 10)) "${s#* }"
  done
  printf '%8d   s  in all\n' $(($(date +%s) - began))
}

start_undercloud() {
  mkdir -p "$dir/undercloud"
  cat >"$dir/undercloud.yaml" <<YAML
listen: 127.0.0.1:$port
provisioning: {namespace: $namespace, interface: prov0}
YAML
  "$tripleo" undercloud up --config "$dir/undercloud.yaml" --data-dir "$dir/undercloud"
  openstack catalog list -c Name -c Type
}

# What the undercloud's process has used so far, in seconds of a processor.
undercloud_seconds() {
  local pid
  pid=$(pgrep -o -f "^$tripleo undercloud up .*--data-dir $dir/undercloud")
  [ -n "$pid" ] || { echo 0; return; }
  awk -v hz="$(getconf CLK_TCK)" '{ print ($14 + $15) / hz }' "/proc/$pid/stat"
}

start_lab() {
  "$tripleo" lab up --nodes "$nodes" --name "$namespace" --backend container --dir "$dir/lab" --profiles "$profiles"
}

build_images() {
  mkdir -p "$images"
  "$tripleo" overcloud image build --output-directory "$images" --cache-directory "$(dirname "$images")/build" \
    --image-name ironic-python-agent --image-name guest --image-name overcloud-full
}

register_nodes() {
  "$tripleo" overcloud node import "$dir/lab/instackenv.json"
  openstack baremetal node list
}

introspect_nodes() {
  if [ -n "$(openstack baremetal node list --provision-state manageable -f value -c UUID)" ]; then
    "$tripleo" overcloud node introspect --all-manageable --provide
  else
    echo "no node is manageable: all were introspected before"
  fi
  openstack baremetal node list
}

deploy_overcloud() { # deploy_overcloud COMPUTE_NODES [MORE ARGUMENTS], with as many controllers as $controllers says
  [ -f "$dir/guest_key" ] || ssh-keygen -q -t ed25519 -N '' -C demo -f "$dir/guest_key"
  openstack keypair show demo >/dev/null 2>&1 || openstack keypair create --public-key "$dir/guest_key.pub" demo >/dev/null
  cat >"$dir/demo.yaml" <<YAML
parameter_defaults:
  ControllerCount: ${controllers:-1}
  ComputeCount: $1
  KeyName: demo
YAML
  shift
  # shellcheck disable=SC2086 # they are several words
  (cd "$dir" && "$tripleo" overcloud deploy --templates --libvirt-type qemu -e environments/low-memory-usage.yaml ${DEMO_ENVIRONMENTS:-} -e "$dir/demo.yaml" "$@")
}

overcloud() { # a client inside the lab, where the overcloud's network is
  ip netns exec "$namespace" openstack --os-cloud overcloud "$@"
}

on() { # on ADDRESS COMMAND: a command on a node or a guest, over SSH
  ip netns exec "$namespace" ssh -i "$dir/guest_key" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "root@$1" "$2"
}

have() { # have KIND NAME: whether the overcloud has it
  # shellcheck disable=SC2086 # a kind may be two words
  overcloud $1 show "$2" -f value -c id 2>/dev/null || overcloud $1 show "$2" -f value -c name 2>/dev/null
}

prove_overcloud() {
  overcloud endpoint list -c 'Service Name' -c Interface -c URL
  overcloud compute service list -c Binary -c Host -c Status -c State
  overcloud network agent list -c 'Agent Type' -c Host -c Alive
}

# What a user's first server needs. Each thing is made once.
prepare_guest() {
  if ! have image guest >/dev/null; then
    overcloud image create --public --container-format aki --disk-format aki --file "$images/guest.kernel" guest-kernel -f value -c id
    overcloud image create --public --container-format ari --disk-format ari --file "$images/guest.initramfs" guest-ramdisk -f value -c id
    truncate -s 1M "$dir/guest.raw" # it lives in memory; a server has a disk all the same
    overcloud image create --public --container-format bare --disk-format raw --file "$dir/guest.raw" --min-ram 128 \
      --property kernel_id="$(have image guest-kernel)" --property ramdisk_id="$(have image guest-ramdisk)" \
      --property os_command_line='console=ttyS0' --property os_shutdown_timeout=5 guest -f value -c id
  fi
  have flavor tiny >/dev/null || overcloud flavor create --ram 192 --disk 1 --vcpus 1 tiny -f value -c id
  have keypair demo >/dev/null || overcloud keypair create --public-key "$dir/guest_key.pub" demo -f value -c name
  if ! have network public >/dev/null; then
    overcloud network create --external --provider-network-type flat --provider-physical-network datacentre public -f value -c id
    overcloud subnet create --network public --subnet-range 192.168.24.0/24 --no-dhcp --gateway 192.168.24.1 \
      --allocation-pool start=192.168.24.220,end=192.168.24.240 public -f value -c id
  fi
  if ! have network private >/dev/null; then
    overcloud network create private -f value -c id
    overcloud subnet create --network private --subnet-range 10.10.0.0/24 private -f value -c id
  fi
  if ! have router router >/dev/null; then
    overcloud router create router -f value -c id
    overcloud router set --external-gateway public router
    overcloud router add subnet router private
  fi
  if ! have 'security group' web >/dev/null; then
    overcloud security group create web -f value -c id
    overcloud security group rule create --protocol icmp web -f value -c id
    overcloud security group rule create --protocol tcp --dst-port 22 web -f value -c id
    overcloud security group rule create --protocol tcp --dst-port 80 web -f value -c id
  fi
}

boot_guest() { # boot_guest NAME [MORE ARGUMENTS]
  local name=$1
  shift
  have server "$name" >/dev/null ||
    overcloud server create --image guest --flavor tiny --key-name demo --network private --security-group web --wait "$@" "$name" -f value -c id
  overcloud server show "$name" -c name -c status -c OS-EXT-SRV-ATTR:hypervisor_hostname -c addresses -c fault
  [ "$(overcloud server show "$name" -f value -c status)" = ACTIVE ]
  local fixed
  fixed=$(overcloud port list --server "$name" -f value -c id)
  if [ -z "$(overcloud floating ip list --port "$fixed" -f value -c ID)" ]; then
    overcloud floating ip create --port "$fixed" public -f value -c floating_ip_address
  fi
}

# From the lab's namespace, through the router on the controller, to the guest on the compute node.
ask_guest() { # ask_guest NAME
  local address
  address=$(overcloud floating ip list --port "$(overcloud port list --server "$1" -f value -c id)" -f value -c 'Floating IP Address')
  echo "the guest's floating address is $address"
  local try
  for try in $(seq 60); do
    if ip netns exec "$namespace" curl --silent --max-time 2 "http://$address/" | grep instance=i-; then break; fi
    [ "$try" -lt 60 ] || { echo "the guest does not answer" >&2; overcloud console log show "$1" | tail -n 30 >&2; return 1; }
    sleep 1
  done
  ip netns exec "$namespace" ping -c 3 -W 2 "$address"
  on "$address" 'echo "over SSH: I am $(hostname), up $(cut -d. -f1 /proc/uptime) s, on $(uname -r)"'
}

prepare() {
  [ "$(id -u)" = 0 ] || { echo "the lab makes network namespaces: run this as root" >&2; exit 1; }
  mkdir -p "$dir"
  stage 'start the undercloud' start_undercloud
  stage 'start the lab' start_lab
  stage 'build the images' build_images
  stage 'upload the images' "$tripleo" overcloud image upload --image-path "$images"
}

up() {
  prepare
  local bare used
  bare=$(date +%s)
  used=$(undercloud_seconds)
  stage 'register the machines' register_nodes
  stage 'introspect the machines' introspect_nodes
  stage 'deploy the overcloud' deploy_overcloud 1
  stage 'look at its services' prove_overcloud
  stage 'prepare a guest' prepare_guest
  stage 'boot the guest' boot_guest one
  stage 'the guest answers' ask_guest one
  summary
  awk -v wall="$(($(date +%s) - bare))" -v a="$used" -v b="$(undercloud_seconds)" -v n="$(nproc)" 'BEGIN {
    printf "from registered machines to a guest that answers: %d s; the undercloud used %.1f s of a processor, %.1f %% of what %d had\n",
      wall, b - a, 100 * (b - a) / (wall * n), n }'
  "$tripleo" stack timeline overcloud | head -n 40
  cat <<TEXT

Look around:
  export OS_CLIENT_CONFIG_FILE=$dir/undercloud/clouds.yaml OS_CLOUD=undercloud
  openstack stack list --nested
  $tripleo overcloud status
  ip netns exec $namespace openstack --os-cloud overcloud server list
Go on (a second compute node, a setting, a node less, and away with it): make demo-day2
Remove it all: make demo-down
TEXT
}

nodes_of_overcloud() { # lines NAME ADDRESS
  openstack server list -f json | python3 -c '
import json, sys
for s in json.load(sys.stdin):
    print(s["Name"], [a for n in s["Networks"].values() for a in n][0])'
}

# Lines NODE UNIT TIME: when each running service was last started. What a deployment left alone has not changed.
running_services() {
  local name address
  while read -r name address; do
    on "$address" 'systemctl list-units --type=service --state=running --plain --no-legend | while read -r u _; do
        echo "$u $(systemctl show --property=ActiveEnterTimestampMonotonic --value "$u")"; done' </dev/null |
      grep -vE '^(ssh|systemd-|user|session|getty|console-|tripleo-agent|logrotate|dpkg)' | sed "s/^/$name /"
  done < <(nodes_of_overcloud) | sort
}

add_compute() {
  deploy_overcloud 2
  overcloud compute service list --service nova-compute -c Host -c State
}

guest_on_second() {
  boot_guest two --availability-zone "nova:overcloud-novacompute-1.localdomain"
  ask_guest two
}

# Only Nova's own daemons read this setting; nothing else may be restarted, and guests run on.
change_setting() {
  running_services >"$dir/before"
  cat >"$dir/setting.yaml" <<YAML
parameter_defaults:
  NovaRamAllocationRatio: 1.5
YAML
  deploy_overcloud 2 -e "$dir/setting.yaml"
  running_services >"$dir/after"
  echo "services that were started anew:"
  comm -13 "$dir/before" "$dir/after" | awk '{ print "  " $1 " " $2 }'
  if comm -13 "$dir/before" "$dir/after" | awk '{ print $2 }' | grep -v '^nova-'; then
    echo "the services above do not belong to Nova" >&2
    return 1
  fi
  comm -13 "$dir/before" "$dir/after" | grep ' nova-compute' >/dev/null || { echo "nova-compute did not take the setting" >&2; return 1; }
  ask_guest two
}

# An empty compute node leaves: what it was to Nova and Neutron is deleted by the operator, as everywhere.
remove_compute() {
  local host=overcloud-novacompute-1.localdomain
  overcloud server delete --wait two
  overcloud compute service set --disable --disable-reason 'leaves' "$host" nova-compute
  deploy_overcloud 1 -e "$dir/setting.yaml"
  overcloud compute service delete "$(overcloud compute service list --host "$host" -f value -c ID)"
  overcloud network agent list --host "$host" -f value -c ID | xargs -r -n 1 ip netns exec "$namespace" openstack --os-cloud overcloud network agent delete
  overcloud compute service list -c Binary -c Host -c State
  openstack baremetal node list -c Name -c 'Provisioning State' -c 'Power State'
  ask_guest one
}

delete_overcloud() {
  "$tripleo" overcloud delete -y overcloud
  openstack server list
  local try
  for try in $(seq 120); do
    [ "$(openstack baremetal node list --provision-state available -f value -c UUID | wc -l)" = "$nodes" ] && break
    [ "$try" -lt 120 ] || { openstack baremetal node list; return 1; }
    sleep 2
  done
  openstack baremetal node list -c Name -c 'Provisioning State' -c 'Power State'
}

day2() {
  stage 'a second compute node' add_compute
  stage 'a guest on it' guest_on_second
  stage 'a changed setting' change_setting
  stage 'a node less' remove_compute
  stage 'delete the overcloud' delete_overcloud
  summary
}

# lines NAME ADDRESS of the controllers
controllers() { nodes_of_overcloud | grep -- -controller-; }

# What clients need for a round: the request for a token and where three services are.
learn_clients() {
  python3 - "$OS_CLIENT_CONFIG_FILE" >"$dir/auth.json" <<'PYTHON'
import json, sys, yaml
a = yaml.safe_load(open(sys.argv[1]))["clouds"]["overcloud"]["auth"]
print(json.dumps({"auth": {
    "identity": {"methods": ["password"], "password": {"user": {"name": a["username"], "domain": {"name": a["user_domain_name"]}, "password": a["password"]}}},
    "scope": {"project": {"name": a["project_name"], "domain": {"name": a["project_domain_name"]}}}}}))
PYTHON
  chmod 600 "$dir/auth.json"
  keystone=$(overcloud endpoint list --service identity --interface public -f value -c URL)
  glance=$(overcloud endpoint list --service image --interface public -f value -c URL)
  nova=$(overcloud endpoint list --service compute --interface public -f value -c URL)
  neutron=$(overcloud endpoint list --service network --interface public -f value -c URL)
  vip=$(echo "$keystone" | sed -E 's#^https?://([^:/]+).*#\1#')
}

# One round of what clients do: a new token (database), images, servers, networks. It ends within some seconds.
ask_cloud() {
  local token url
  token=$(ip netns exec "$namespace" curl --silent --max-time 3 --dump-header - --output /dev/null -H 'Content-Type: application/json' \
    --data "@$dir/auth.json" "${keystone%/v3}/v3/auth/tokens" | awk 'tolower($1) == "x-subject-token:" { sub(/\r$/, "", $2); print $2 }')
  [ -n "$token" ] || return 1
  for url in "$glance/v2/images?limit=1" "$nova/servers?limit=1" "$neutron/v2.0/networks?limit=1"; do
    ip netns exec "$namespace" curl --silent --fail --max-time 3 --output /dev/null -H "X-Auth-Token: $token" "$url" || return 1
  done
}

with_vip() { # the controller that has the virtual IP
  local name address
  while read -r name address; do
    if on "$address" "ip -oneline -4 address show" </dev/null | grep -F " $vip/" >/dev/null; then echo "$name"; return; fi
  done < <(controllers)
  return 1
}

# The controller with the virtual IP loses its power as by a pulled plug, while clients ask. They have to be served again
# within 30 s of the command, and a server can be made.
lose_controller() {
  local lost node began now good=0 first
  ask_cloud || { echo "the cloud does not serve before anything happened" >&2; return 1; }
  lost=$(with_vip)
  node=$(openstack baremetal node list -f value -c UUID -c 'Instance UUID' | awk -v i="$(openstack server show "$lost" -f value -c id)" '$2 == i { print $1 }')
  [ -n "$node" ] || { echo "no machine is $lost" >&2; return 1; }
  echo "$lost has the virtual IP $vip; its power goes off"
  echo "$lost $node" >"$dir/lost"
  began=$(date +%s.%N) # the command's own time counts as part of the outage
  openstack baremetal node power off "$node"
  # The command only asks for it: answers count when the machine is off, or those of before would.
  wait_for_power "$node" 'power off'
  until [ "$good" = 5 ]; do # five good rounds one after the other
    if ask_cloud; then
      now=$(date +%s.%N)
      [ "$good" -gt 0 ] || first=$now
      good=$((good + 1))
      sleep 0.5
    else
      now=$(date +%s.%N)
      good=0
    fi
    awk -v a="$began" -v b="$now" 'BEGIN { exit b - a > 120 }' || { echo "no answers for 120 s" >&2; return 1; }
  done
  awk -v a="$began" -v b="$first" 'BEGIN { printf "clients are served again after %.1f s (30 s are allowed)\n", b - a; exit b - a > 30 }'
  echo "the virtual IP is on $(with_vip) now"
}

wait_for_power() { # wait_for_power NODE STATE
  local try
  for try in $(seq 60); do
    [ "$(openstack baremetal node show "$1" -f value -c power_state)" = "$2" ] && return 0
    sleep 0.5
  done
  echo "after $try questions the power of $1 is not '$2'" >&2
  return 1
}

guest_without_controller() {
  boot_guest two
  ask_guest two
}

# It comes back and is a member again of everything, without a hand.
return_controller() {
  local lost node address began
  read -r lost node <"$dir/lost"
  address=$(nodes_of_overcloud | awk -v n="$lost" '$1 == n { print $2 }')
  openstack baremetal node power on "$node"
  began=$(date +%s)
  local try what
  for try in $(seq 100); do
    what=$(joined "$lost" "$address") && break
    [ "$try" -lt 100 ] || { echo "after $(($(date +%s) - began)) s: $what" >&2; return 1; }
    sleep 3
  done
  echo "$lost is a member again of everything after $(($(date +%s) - began)) s"
  on "$address" "mysql -BNe \"SHOW STATUS WHERE Variable_name IN ('wsrep_cluster_size', 'wsrep_local_state_comment')\"; rabbitmqctl --quiet list_queues name | wc -l"
  overcloud compute service list -c Binary -c Host -c State
  overcloud network agent list -c 'Agent Type' -c Host -c Alive
  ask_cloud
}

joined() { # joined NAME ADDRESS: says what is missing
  local rows
  on "$2" true 2>/dev/null || { echo "no SSH"; return 1; }
  [ "$(on "$2" "mysql -BNe \"SELECT GROUP_CONCAT(VARIABLE_VALUE ORDER BY VARIABLE_NAME) FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME IN ('WSREP_CLUSTER_SIZE', 'WSREP_LOCAL_STATE_COMMENT')\"" 2>&1)" = 3,Synced ] || { echo "Galera is not whole"; return 1; }
  [ "$(on "$2" "rabbitmqctl --quiet cluster_status --formatter json" 2>/dev/null | python3 -c 'import json, sys; print(len(json.load(sys.stdin)["running_nodes"]))' 2>/dev/null)" = 3 ] || { echo "RabbitMQ is not whole"; return 1; }
  # What the API says may be from before: the node itself has to run its services, too.
  rows=$(on "$2" "systemctl list-units --type=service --state=failed,activating --plain --no-legend" | awk '$1 ~ /^(nova|neutron|keystone|glance|placement|swift|heat|haproxy|keepalived|memcached)/ { print $1 }')
  [ -z "$rows" ] || { echo "not running: $rows"; return 1; }
  rows=$(overcloud compute service list -f value -c Host -c State | grep -F "$1") || { echo "Nova knows no service there"; return 1; }
  if grep -vw up <<<"$rows"; then echo "a service of Nova is down"; return 1; fi
  rows=$(overcloud network agent list -f value -c Host -c Alive | grep -F "$1") || { echo "Neutron knows no agent there"; return 1; }
  if grep -vE 'True|:-\)' <<<"$rows"; then echo "an agent of Neutron is down"; return 1; fi
}

# The same deployment again finds everything as it should be.
deploy_again() {
  running_services >"$dir/before"
  deploy_overcloud 1 -e environments/ha.yaml
  running_services >"$dir/after"
  if ! diff "$dir/before" "$dir/after"; then echo "services were started anew though nothing changed" >&2; return 1; fi
  echo "no service was started anew"
}

ha() {
  controllers=3 nodes=4 profiles=control,control,control,compute
  prepare
  stage 'register the machines' register_nodes
  stage 'introspect the machines' introspect_nodes
  stage 'deploy the overcloud' deploy_overcloud 1 -e environments/ha.yaml
  stage 'look at its services' prove_overcloud
  stage 'prepare a guest' prepare_guest
  stage 'boot the guest' boot_guest one
  stage 'the guest answers' ask_guest one
  learn_clients
  stage 'a controller loses its power' lose_controller
  stage 'a guest meanwhile' guest_without_controller
  stage 'the controller comes back' return_controller
  stage 'deploy again' deploy_again
  summary
}

down() {
  if [ -x "$tripleo" ]; then
    [ -d "$dir/undercloud" ] && "$tripleo" undercloud down --data-dir "$dir/undercloud"
    "$tripleo" lab down --dir "$dir/lab"
  fi
  rm -rf "$dir"
}

case ${1:-} in
  up) up ;;
  day2) day2 ;;
  ha) ha ;;
  down) down ;;
  *) echo "usage: demo.sh up|day2|ha|down" >&2; exit 2 ;;
esac
