#!/usr/bin/env bash
# tempest-overcloud.sh [REGEX]: tempest's smoke tests (or those that REGEX names) against the demo's overcloud, with guests
# on its compute nodes. Tests that cannot apply are named, with the reason, in test/tempest/overcloud.skip. Wants a demo
# that is up (scripts/demo.sh) and its environment variables. The log goes to TEMPEST_LOG (default bin/tempest-overcloud.log).
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(realpath "${DEMO_DIR:-.tripleo}")
namespace=${DEMO_LAB:-tripleo-lab}
log=$(realpath -m "${TEMPEST_LOG:-bin/tempest-overcloud.log}")
export OS_CLIENT_CONFIG_FILE=$dir/undercloud/clouds.yaml
unset OS_CLOUD
command -v tempest >/dev/null || { echo "tempest is not installed: make deps"; exit 1; }

overcloud() { ip netns exec "$namespace" openstack --os-cloud overcloud "$@"; }
overcloud flavor show tiny-alt -f value -c id >/dev/null 2>&1 || overcloud flavor create --ram 224 --disk 1 --vcpus 1 tiny-alt -f value -c id
work=$(mktemp -d /tmp/tripleo-tempest.XXXXXX)
trap 'rm -rf "$work"' EXIT
(cd "$work" && tempest init --workspace-path "$work/workspaces.yaml" smoke >/dev/null)
image=$(overcloud image show guest -f value -c id) tiny=$(overcloud flavor show tiny -f value -c id) alt=$(overcloud flavor show tiny-alt -f value -c id) \
  public=$(overcloud network show public -f value -c id) services=$(overcloud service list -f value -c Type | tr '\n' ' ') work=$work \
  /usr/bin/python3 - <<'PY'
import configparser
import os

import yaml

with open(os.environ["OS_CLIENT_CONFIG_FILE"], encoding="utf-8") as f:
    auth = yaml.safe_load(f)["clouds"]["overcloud"]["auth"]
env, work = os.environ, os.environ["work"]
there = env["services"].split()
uri = auth["auth_url"].rstrip("/").removesuffix("/v3")
sections = {
    "DEFAULT": {"debug": "false", "log_file": work + "/tempest.log", "use_stderr": "false"},
    "oslo_concurrency": {"lock_path": work + "/locks"},
    "auth": {
        "use_dynamic_credentials": "true",
        "admin_username": auth["username"],
        "admin_password": auth["password"],
        "admin_project_name": auth["project_name"],
        "admin_domain_name": "Default",
        "create_isolated_networks": "true",
        "tempest_roles": "member",
    },
    "identity": {"uri_v3": uri + "/v3", "auth_version": "v3", "region": "regionOne", "v3_endpoint_type": "publicURL"},
    "identity-feature-enabled": {"api_v2": "false", "api_v2_admin": "false", "api_v3": "true"},
    "image-feature-enabled": {"api_v2": "true", "api_v1": "false", "import_image": "true"},
    "image": {"container_formats": "bare,ami,ari,aki", "disk_formats": "raw,qcow2,ami,ari,aki"},
    "compute": {"image_ref": env["image"], "image_ref_alt": env["image"], "flavor_ref": env["tiny"], "flavor_ref_alt": env["alt"], "build_timeout": "300"},
    "compute-feature-enabled": {"resize": "false", "live_migration": "false", "vnc_console": "false"},
    "network": {"public_network_id": env["public"], "floating_network_name": "public", "project_network_cidr": "10.100.0.0/16"},
    "network-feature-enabled": {"ipv6": "true", "ipv6_subnet_attributes": "true", "api_extensions": "all"},
    "validation": {
        "run_validation": "true",
        "connect_method": "floating",
        "image_ssh_user": "root",
        "auth_method": "keypair",
        "ssh_key_type": "rsa",
        "ping_timeout": "180",
        "ssh_timeout": "180",
        "floating_ip_range": "192.168.24.0/24",
    },
    "scenario": {"dhcp_client": ""},
    "service_available": {
        "neutron": str("network" in there).lower(),
        "glance": str("image" in there).lower(),
        "nova": str("compute" in there).lower(),
        "cinder": str("volumev3" in there).lower(),
        "swift": str("object-store" in there).lower(),
        "horizon": "false",
        "heat": str("orchestration" in there).lower(),
    },
}
parser = configparser.ConfigParser(interpolation=None, default_section="no-defaults")
parser.read_dict(sections)
with open(work + "/smoke/etc/tempest.conf", "w", encoding="utf-8") as f:
    parser.write(f)
PY
skips=(test/tempest/overcloud.skip)
if ! grep -qw nfs4 /proc/filesystems && ! modprobe -q nfsv4; then
  echo "SKIPPED: this kernel has no NFS, by which a server has its volume: the tests of test/tempest/overcloud-no-nfs.skip"
  skips+=(test/tempest/overcloud-no-nfs.skip)
fi
sed -e '/^#/d' -e '/^$/d' -e 's/ # .*//' "${skips[@]}" >"$work/exclude"
mkdir -p "$(dirname "$log")"
select=(--smoke)
[ -z "${1:-}" ] || select=(--regex "$1")
cd "$work/smoke"
status=0
ip netns exec "$namespace" tempest run --config-file "$work/smoke/etc/tempest.conf" "${select[@]}" --exclude-list "$work/exclude" \
  --concurrency "${TEMPEST_CONCURRENCY:-1}" >"$log" 2>&1 || status=$?
sed -n '/^Totals/,$p' "$log"
grep -E '\.\.\. FAILED' "$log" || true
echo "log: $log"
exit $status
