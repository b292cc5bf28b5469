#!/usr/bin/env bash
# How the undercloud copes with many machines: bench-sim.sh NODES [small|default] takes that many simulated machines from
# nothing to enrolled, introspected, available and active, deploys again in several ways, and deletes the deployment. The
# plan is a small one of one role with a software deployment on each node, or the default plan with its five roles, three
# controllers in high availability and network isolation. Printed are the seconds of each stage and what the undercloud's
# process used. Environment: BENCH_DIR (a new temporary folder; one that is given stays), BENCH_PORT (18300; +50, +60, +61
# and +62 are used too), BENCH_SPEED (how many times faster than hardware machines boot and write: 50), BENCH_PROFILE (a
# folder for profiles of the processor, 20 s each, and of the heap).
set -euo pipefail
cd "$(dirname "$0")/.."
nodes=${1:?usage: bench-sim.sh NODES [small|default]}
plan=${2:-small}
root=$PWD tripleo=$PWD/bin/tripleo
dir=${BENCH_DIR:-$(mktemp -d)}
port=${BENCH_PORT:-18300}
speed=${BENCH_SPEED:-50}
export OS_CLIENT_CONFIG_FILE=$dir/undercloud/clouds.yaml OS_CLOUD=undercloud HOME=$dir
unset OS_AUTH_URL OS_USERNAME OS_PASSWORD OS_PROJECT_NAME OS_TOKEN 2>/dev/null || true

mkdir -p "$dir"
cat >"$dir/undercloud.yaml" <<YAML
listen: 127.0.0.1:$port
provisioning: {interface: lo, address: 127.0.0.1/8, pool_start: 127.1.0.1, pool_end: 127.1.250.250, port: $((port + 50))}
baremetal: {clean_metadata: false, power_timeout: 60, callback_timeout: 300, inspect_timeout: 300}
profiling: 127.0.0.1:$((port + 62))
YAML

finish() {
  status=$?
  if [ -n "${profiler:-}" ]; then kill "$profiler" 2>/dev/null || true; fi
  [ $status = 0 ] || tail -n 20 "$dir/undercloud/undercloud.log" 2>/dev/null || true
  "$tripleo" lab down --dir "$dir/lab" >/dev/null 2>&1 || true
  "$tripleo" undercloud down --data-dir "$dir/undercloud" >/dev/null 2>&1 || true
  if [ -z "${BENCH_DIR:-}" ]; then rm -rf "$dir"; fi
  exit $status
}
trap finish EXIT

usage() { # seconds of a processor, highest and present resident MiB of the undercloud
  local pid
  pid=$(pgrep -o -f "^$tripleo undercloud up .*--data-dir $dir/undercloud")
  awk -v hz="$(getconf CLK_TCK)" '{ printf "%.1f ", ($14 + $15) / hz }' "/proc/$pid/stat"
  awk '/VmHWM/ { printf "%d ", $2 / 1024 } /VmRSS/ { printf "%d\n", $2 / 1024 }' "/proc/$pid/status"
}

stage() { # stage NAME COMMAND...
  local name=$1 start before after
  shift
  echo "$name" >"$dir/stage"
  read -r before _ < <(usage)
  start=$(date +%s.%N)
  "$@" >"$dir/stage.log" 2>&1 || { tail -n 30 "$dir/stage.log"; echo "failed: $name" >&2; exit 1; }
  end=$(date +%s.%N)
  read -r after high now < <(usage)
  awk -v n="$name" -v a="$start" -v b="$end" -v c="$before" -v d="$after" -v h="$high" -v r="$now" -v k="$nodes" \
    'BEGIN { printf "%-30s %8.1f s   %8.1f s of a processor, %6.1f ms a node   %5d MiB (highest %d)\n", n, b - a, d - c, 1000 * (d - c) / k, r, h }'
}

profiles() { # one profile of the processor after the other, named after the stage in which it began
  local n=0 name
  while name=$(printf '%s/%03d %s' "$BENCH_PROFILE" $n "$(cat "$dir/stage")"); do
    curl -fsS -o "$name.cpu" "http://127.0.0.1:$((port + 62))/debug/pprof/profile?seconds=20" || return 0
    curl -fsS -o "$name.heap" "http://127.0.0.1:$((port + 62))/debug/pprof/heap" || return 0
    n=$((n + 1))
  done
}

images() {
  local name
  for name in bm-deploy-kernel:aki:aki bm-deploy-ramdisk:ari:ari overcloud-full:raw:bare; do
    IFS=: read -r name disk container <<<"$name"
    head -c 10000 /dev/zero | tr '\0' x >"$dir/$name"
    openstack image create --public --disk-format "$disk" --container-format "$container" --file "$dir/$name" "$name"
  done
}

all_in_state() { # all_in_state STATE
  local n
  n=$(openstack baremetal node list --provision-state "$1" -f value -c UUID | wc -l)
  [ "$n" = "$nodes" ] || { echo "$n of $nodes nodes are $1"; return 1; }
}

# The machines' profiles and the deployment's arguments.
environment=$dir/bench.yaml profiles=compute templates=
case $plan in
small)
  cp -r "$root/test/e2e/testdata/smallplan" "$dir/plan"
  templates=$dir/plan
  printf 'parameter_defaults:\n  ComputeCount: %d\n  Script: |\n    #!/bin/sh\n    echo configured\n' "$nodes" >"$environment"
  ;;
default)
  [ "$nodes" -ge 10 ] || { echo "the default plan's five roles need 10 nodes at least, not $nodes" >&2; exit 1; }
  storage=$((nodes * 6 / 100 + 1))
  compute=$((nodes - 3 - 3 * storage))
  repeat() { printf "$1,%.0s" $(seq "$2"); }
  profiles=$(repeat control 3)$(repeat block-storage $storage)$(repeat swift-storage $storage)$(repeat networker $storage)compute
  {
    printf 'parameter_defaults:\n  ComputeCount: %d\n  BlockStorageCount: %d\n  ObjectStorageCount: %d\n  NetworkerCount: %d\n' $compute $storage $storage $storage
    printf '  OvercloudNetworkerFlavor: networker\n'
    # The plan's networks have room for 247 nodes each.
    i=20
    for net in Storage StorageMgmt InternalApi Tenant External; do
      printf "  %sNetCidr: '172.%d.0.0/16'\n  %sAllocationPools: [{start: 172.%d.0.10, end: 172.%d.250.250}]\n" $net $i $net $i $i
      i=$((i + 1))
    done
    printf "  ExternalInterfaceDefaultRoute: '172.24.0.1'\n"
  } >"$environment"
  ;;
*) echo "plan $plan: want small or default" >&2; exit 1 ;;
esac
deploy() { # deploy ARGUMENTS...
  local -a from=(--templates)
  if [ -n "$templates" ]; then from+=("$templates"); else from+=(-e environments/ha.yaml -e environments/network-isolation.yaml); fi
  (cd "$dir" && "$tripleo" overcloud deploy --no-progress --timeout 180 "${from[@]}" -e "$environment" "$@")
}

"$tripleo" undercloud up --config "$dir/undercloud.yaml" --data-dir "$dir/undercloud" >/dev/null
images >/dev/null
if [ $plan = default ]; then
  openstack flavor create --id networker --ram 4096 --disk 40 --vcpus 1 --property capabilities:profile=networker --property capabilities:boot_option=local \
    --property resources:CUSTOM_BAREMETAL=1 --property resources:VCPU=0 --property resources:MEMORY_MB=0 --property resources:DISK_GB=0 networker >/dev/null
fi
"$tripleo" lab up --backend sim --nodes "$nodes" --dir "$dir/lab" --name "bench$port" --profiles "$profiles" \
  --node-url "http://127.0.0.1:$((port + 50))" --sim-port $((port + 60)) --sim-speed "$speed" >/dev/null
if [ -n "${BENCH_PROFILE:-}" ]; then
  mkdir -p "$BENCH_PROFILE"
  echo start >"$dir/stage"
  profiles 2>/dev/null &
  profiler=$!
fi
began=$(date +%s)
stage 'enroll, manage' "$tripleo" overcloud node import "$dir/lab/instackenv.json"
stage 'introspect, provide' "$tripleo" overcloud node introspect --all-manageable --provide --concurrency 100
stage 'all are available' all_in_state available
stage 'deploy' deploy
stage 'all are active' all_in_state active
echo "from nothing to active: $(($(date +%s) - began)) s"
timeline() { "$tripleo" stack timeline overcloud >"$dir/timeline.txt" && [ -s "$dir/timeline.txt" ]; }
stage 'timeline' timeline
stage 'deploy again' deploy
stage 'deploy, nothing new' deploy --skip-deploy-identifier
if [ $plan = default ]; then
  printf 'parameter_defaults:\n  MemcachedMaxMemory: 64\n' >"$dir/changed.yaml"
  stage 'deploy, a setting changed' deploy --skip-deploy-identifier -e "$dir/changed.yaml"
fi
du -k --total "$dir"/undercloud/undercloud.db* | awk 'END { printf "database: %.1f MiB\n", $1 / 1024 }'
stage 'delete' "$tripleo" overcloud delete -y overcloud
