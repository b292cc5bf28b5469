#!/usr/bin/env bash
# How the undercloud copes with many machines: bench-sim.sh NODES takes that many simulated machines from nothing to
# enrolled, introspected, available and active (a stack of one role with a software deployment on each), does the same
# deployment again, which has nothing to do, and deletes it. Printed are the seconds of each stage and what the
# undercloud's process used. Environment: BENCH_DIR (a new temporary folder), BENCH_PORT (18300; +50, +60 and +61 are
# used too), BENCH_SPEED (how many times faster than hardware machines boot and write: 50), BENCH_PLAN and
# BENCH_ENVIRONMENT (another plan than the small one, with its counts of roles), BENCH_PROFILES (of the machines).
set -euo pipefail
cd "$(dirname "$0")/.."
nodes=${1:?usage: bench-sim.sh NODES}
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
YAML

finish() {
  status=$?
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
  read -r before _ < <(usage)
  start=$(date +%s.%N)
  "$@" >"$dir/stage.log" 2>&1 || { tail -n 30 "$dir/stage.log"; echo "failed: $name" >&2; exit 1; }
  read -r after high now < <(usage)
  awk -v n="$name" -v a="$start" -v b="$(date +%s.%N)" -v c="$before" -v d="$after" -v h="$high" -v r="$now" -v k="$nodes" \
    'BEGIN { printf "%-26s %8.1f s   %8.1f s of a processor, %5.1f ms a node   %5d MiB (highest %d)\n", n, b - a, d - c, 1000 * (d - c) / k, r, h }'
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

if [ -z "${BENCH_PLAN:-}" ]; then
  cp -r "$root/test/e2e/testdata/smallplan" "$dir/plan"
  BENCH_PLAN=$dir/plan BENCH_ENVIRONMENT=$dir/small.yaml
  printf 'parameter_defaults:\n  ComputeCount: %d\n  Script: |\n    #!/bin/sh\n    echo configured\n' "$nodes" >"$BENCH_ENVIRONMENT"
fi
deploy() { (cd "$dir" && "$tripleo" overcloud deploy --no-progress --timeout 180 --templates "$BENCH_PLAN" -e "$BENCH_ENVIRONMENT"); }

"$tripleo" undercloud up --config "$dir/undercloud.yaml" --data-dir "$dir/undercloud" >/dev/null
images >/dev/null
"$tripleo" lab up --backend sim --nodes "$nodes" --dir "$dir/lab" --name "bench$port" --profiles "${BENCH_PROFILES:-compute}" \
  --node-url "http://127.0.0.1:$((port + 50))" --sim-port $((port + 60)) --sim-speed "$speed" >/dev/null
began=$(date +%s)
stage 'enroll, manage' "$tripleo" overcloud node import "$dir/lab/instackenv.json"
stage 'introspect, provide' "$tripleo" overcloud node introspect --all-manageable --provide --concurrency 100
stage 'all are available' all_in_state available
stage 'deploy' deploy
stage 'all are active' all_in_state active
echo "from nothing to active: $(($(date +%s) - began)) s"
stage 'deploy again' deploy
stage 'delete' "$tripleo" overcloud delete -y overcloud
