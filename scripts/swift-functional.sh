#!/usr/bin/env bash
# swift-functional.sh [PYTEST-ARGUMENT...]: runs Swift's own functional tests,
# fetched from Debian's source package, against an undercloud that is started
# for them on a free loopback port and removed afterwards. Nothing of them is
# kept in this repository.
#
# Without arguments all that apply run. SWIFT_FUNCTIONAL_LOG is where the log
# goes (default bin/swift-functional.log), SWIFT_SOURCE an unpacked source tree
# to use instead of fetching one. Needs the packages python3-swift and
# python3-pytest, for the tests import Swift's constants.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(realpath -m "${SWIFT_FUNCTIONAL_LOG:-bin/swift-functional.log}")
python3=/usr/bin/python3
$python3 -c 'import swift, pytest' 2>/dev/null || { echo "python3-swift and python3-pytest are missing: make deps"; exit 1; }
[ -x bin/tripleo ] || { echo "bin/tripleo is missing: make build"; exit 1; }

dir=$(mktemp -d /tmp/tripleo-swift.XXXXXX)
pid=
stop() {
	if [ -n "$pid" ]; then
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	[ -n "${SWIFT_KEEP:-}" ] && echo "data folder: $dir" || rm -rf "$dir"
}
trap stop EXIT

source=${SWIFT_SOURCE:-}
if [ -z "$source" ]; then
	mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/source"
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $suite main" >"$dir/apt/sources.list"
	apt=(apt-get -qq -o "Dir::Etc::sourcelist=$dir/apt/sources.list" -o Dir::Etc::sourceparts=/nonexistent
		-o "Dir::State::lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt/cache" -o APT::Sandbox::User=root)
	"${apt[@]}" update
	(cd "$dir/source" && "${apt[@]}" source --download-only swift >/dev/null && tar xf swift_*.orig.tar.*)
	source=$(echo "$dir"/source/swift-*/)
fi

port=$($python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
# A lab may run on this machine: its network is not for this undercloud.
printf 'data_dir: %s\nlisten: 127.0.0.1:%s\nlog_level: debug\nprovisioning: {namespace: tripleo-swift-absent}\n' "$dir/data" "$port" >"$dir/undercloud.yaml"
bin/tripleo undercloud up --foreground --config "$dir/undercloud.yaml" >"$dir/undercloud.log" 2>&1 &
pid=$!
for _ in $(seq 300); do
	curl -fsS -o /dev/null "$url/healthz" 2>/dev/null && break
	kill -0 "$pid" 2>/dev/null || { tail -20 "$dir/undercloud.log"; exit 1; }
	sleep 0.1
done

# The accounts that the tests want: two owners, a member without a role that
# counts, one of another domain, a service's, and a reseller.
OS_CLIENT_CONFIG_FILE=$dir/data/clouds.yaml $python3 scripts/swift-functional-users.py
cat >"$dir/test.conf" <<CONFIG
[func_test]
auth_version = 3
auth_uri = $url/identity/v3/
account = functional
username = tester
password = testing
domain = Default
account2 = functional2
username2 = tester2
password2 = testing2
domain2 = Default
username3 = tester3
password3 = testing3
domain3 = Default
account4 = functional4
username4 = tester4
password4 = testing4
domain4 = functional-domain
account6 = functional6
username6 = tester6
password6 = testing6
domain6 = Default
collate = C
CONFIG

mkdir -p "$(dirname "$log")"
export SWIFT_TEST_CONFIG_FILE=$dir/test.conf PYTHONDONTWRITEBYTECODE=1
[ $# -gt 0 ] || set -- test/functional --ignore=test/functional/s3api --ignore=test/functional/test_domain_remap.py
(cd "$source" && PYTHONPATH=. timeout 1500 $python3 -m pytest -p no:cacheprovider -W ignore -q -rsfE --tb=short "$@") >"$log" 2>&1 || true
tail -1 "$log"
