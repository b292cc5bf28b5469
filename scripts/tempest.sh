#!/usr/bin/env bash
# tempest.sh SUITE [REGEX]: runs OpenStack's own API tests against an undercloud
# that is started for them on a free loopback port, with a data folder of its
# own, and stopped and removed afterwards.
#
# SUITE is one of those that scripts/tempest-run.py lists. Tests that cannot
# apply are named, with the reason, in test/tempest/SUITE.skip. REGEX picks
# tests by name. The log goes to TEMPEST_LOG (default bin/tempest-SUITE.log).
# TEMPEST_KEEP=1 leaves the data folder for a look at undercloud.log.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=${1:?usage: tempest.sh SUITE [REGEX]}
regex=${2:-}
log=$(realpath -m "${TEMPEST_LOG:-bin/tempest-$suite.log}")
skips=$PWD/test/tempest/$suite.skip
command -v tempest >/dev/null || { echo "tempest is not installed: make deps"; exit 1; }
[ -x bin/tripleo ] || { echo "bin/tripleo is missing: make build"; exit 1; }

dir=$(mktemp -d /tmp/tripleo-tempest.XXXXXX)
pid=
stop() {
	if [ -n "$pid" ]; then
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	if [ -z "${TEMPEST_KEEP:-}" ]; then rm -rf "$dir"; else echo "data folder: $dir"; fi
}
trap stop EXIT

port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
cat >"$dir/undercloud.yaml" <<CONFIG
data_dir: $dir/data
listen: 127.0.0.1:$port
CONFIG
[ ! -f "test/tempest/$suite.config.yaml" ] || sed "s/@PORT@/$port/" "test/tempest/$suite.config.yaml" >>"$dir/undercloud.yaml"
# A lab may run on this machine: its network is not for this undercloud.
grep -q '^provisioning:' "$dir/undercloud.yaml" || echo 'provisioning: {namespace: tripleo-tempest-absent}' >>"$dir/undercloud.yaml"
bin/tripleo undercloud up --foreground --config "$dir/undercloud.yaml" >"$dir/undercloud.log" 2>&1 &
pid=$!
for _ in $(seq 300); do
	curl -fsS -o /dev/null "$url/healthz" 2>/dev/null && break
	kill -0 "$pid" 2>/dev/null || { tail -20 "$dir/undercloud.log"; exit 1; }
	sleep 0.1
done

mkdir -p "$(dirname "$log")"
/usr/bin/python3 scripts/tempest-run.py --suite "$suite" --url "$url" --clouds "$dir/data/clouds.yaml" --work "$dir" \
	--skip "$skips" --log "$log" --regex "$regex"
