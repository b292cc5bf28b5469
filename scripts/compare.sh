#!/usr/bin/env bash
# compare.sh SERVICE...: the same load (test/compare) on a service of this undercloud and on OpenStack's own from Debian's
# packages, one after the other on this machine, on loopback. Services: swift, keystone (both without an
# argument). The packages are installed when they are missing; of OpenStack's services nothing is left running. They run
# as Debian ships them, with as many workers as there are processors, on SQLite and files.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
[ $# -gt 0 ] || set -- keystone swift
dir=$(mktemp -d /tmp/tripleo-compare.XXXXXX)
pids=()
workers=$(nproc)
finish() {
  status=$?
  for p in "${pids[@]}"; do kill -- "-$p" 2>/dev/null || true; done
  "$root/bin/tripleo" undercloud down --data-dir "$dir/undercloud" >/dev/null 2>&1 || true
  [ $status = 0 ] || tail -n 15 "$dir"/*.log || true
  rm -rf "$dir"
  exit $status
}
trap finish EXIT

install() { # install PACKAGE...: without starting what comes with them
  local p missing=()
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] || DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >"$dir/apt.log" 2>&1
}

start() { # start NAME COMMAND...
  local name=$1
  shift
  setsid "$@" >"$dir/$name.log" 2>&1 &
  pids+=($!)
}

await() { # await PORT
  local try
  for try in $(seq 300); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    [ "$try" -lt 300 ] || { echo "nothing listens on port $1" >&2; return 1; }
    sleep 0.1
  done
}

load() { "$dir/compare" "$@"; }

uwsgi() { # uwsgi NAME PORT PROGRAM [VARIABLE...]
  local name=$1 port=$2 program=$3
  shift 3
  start "$name" env "$@" uwsgi_python3 --http-socket "127.0.0.1:$port" --wsgi-file "$program" --master --lazy-apps --processes "$workers" \
    --threads 4 --buffer-size 65535 --add-header 'Connection: close' --die-on-term --disable-logging --thunder-lock
  await "$port"
}

real_keystone() {
  install keystone uwsgi-plugin-python3
  cat >"$dir/keystone.conf" <<CONF
[database]
connection = sqlite:///$dir/keystone.sqlite
[token]
provider = fernet
[fernet_tokens]
key_repository = $dir/fernet
[credential]
key_repository = $dir/credential
CONF
  mkdir -p "$dir/fernet" "$dir/credential"
  local manage=(keystone-manage --config-file "$dir/keystone.conf")
  "${manage[@]}" db_sync >"$dir/keystone-db.log" 2>&1
  "${manage[@]}" fernet_setup --keystone-user root --keystone-group root >>"$dir/keystone-db.log" 2>&1
  "${manage[@]}" bootstrap --bootstrap-password secret --bootstrap-public-url http://127.0.0.1:18555/v3 --bootstrap-region-id regionOne >>"$dir/keystone-db.log" 2>&1
  uwsgi keystone 18555 /usr/bin/keystone-wsgi-public "OS_KEYSTONE_CONFIG_FILES=$dir/keystone.conf" "OS_KEYSTONE_CONFIG_DIR=$dir"
  # Its policies want the scope of the system for validating tokens.
  sed -e "s/\"password\": \"[^\"]*\"/\"password\": \"secret\"/" -e 's/"scope": .*/"scope": {"system": {"all": true}}}}/' "$dir/auth.json" >"$dir/auth-real.json"
}

real_swift() {
  install swift-proxy swift-account swift-container swift-object memcached
  mkdir -p "$dir/swift" "$dir/devices/sda"
  printf '[swift-hash]\nswift_hash_path_suffix = compare\n' >"$dir/swift/swift.conf"
  local ring port
  (cd "$dir/swift" && for ring in account:18562 container:18561 object:18560; do
    port=${ring#*:} ring=${ring%:*}
    swift-ring-builder "$ring.builder" create 10 1 1
    swift-ring-builder "$ring.builder" add "r1z1-127.0.0.1:$port/sda" 1
    swift-ring-builder "$ring.builder" rebalance
    printf '[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = %d\nworkers = %d\nuser = root\nswift_dir = %s\ndevices = %s\nmount_check = false\nlog_level = ERROR\n[pipeline:main]\npipeline = %s-server\n[app:%s-server]\nuse = egg:swift#%s\n' \
      "$port" "$workers" "$dir/swift" "$dir/devices" "$ring" "$ring" "$ring" >"$ring.conf"
  done) >"$dir/rings.log"
  cat >"$dir/swift/proxy.conf" <<CONF
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = 18563
workers = $workers
user = root
swift_dir = $dir/swift
log_level = ERROR
[pipeline:main]
pipeline = catch_errors cache tempauth proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:18564
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
CONF
  start memcached memcached -u nobody -l 127.0.0.1 -p 18564
  for ring in account container object; do start "swift-$ring" "swift-$ring-server" "$dir/swift/$ring.conf"; done
  start swift-proxy swift-proxy-server "$dir/swift/proxy.conf"
  for port in 18560 18561 18562 18563 18564; do await "$port"; done
}

[ -x bin/tripleo ] || { echo "bin/tripleo is missing: make build" >&2; exit 1; }
go build -o "$dir/compare" ./test/compare
printf 'listen: 127.0.0.1:18550\n' >"$dir/undercloud.yaml"
bin/tripleo undercloud up --config "$dir/undercloud.yaml" --data-dir "$dir/undercloud" >/dev/null
export OS_CLIENT_CONFIG_FILE=$dir/undercloud/clouds.yaml OS_CLOUD=undercloud
unset OS_AUTH_URL OS_USERNAME OS_PASSWORD OS_PROJECT_NAME OS_TOKEN 2>/dev/null || true
/usr/bin/python3 - "$OS_CLIENT_CONFIG_FILE" >"$dir/auth.json" <<'PYTHON'
import json, sys, yaml
a = yaml.safe_load(open(sys.argv[1]))["clouds"]["undercloud"]["auth"]
print(json.dumps({"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": a["password"]}}},
    "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}}))
PYTHON
COMPARE_TOKEN=$(openstack token issue -f value -c id)
export COMPARE_TOKEN
project=$(openstack token issue -f value -c project_id)
api=http://127.0.0.1:18550

for service in "$@"; do
  echo "== $service: this undercloud"
  case $service in
    keystone) load -service tokens -url "$api/identity/v3" -auth "$dir/auth.json" -connections 8 ;;
    swift) load -service objects -url "$api/object-store/v1/AUTH_$project" ;;
    *) echo "$service: expected keystone or swift" >&2; exit 2 ;;
  esac
  "real_$service"
  echo "== $service: OpenStack's own"
  case $service in
    keystone) load -service tokens -url http://127.0.0.1:18555/v3 -auth "$dir/auth-real.json" -connections 8 ;;
    swift)
      COMPARE_TOKEN=$(curl -si -H 'X-Storage-User: test:tester' -H 'X-Storage-Pass: testing' http://127.0.0.1:18563/auth/v1.0 | awk 'tolower($1) == "x-auth-token:" { sub(/\r$/, "", $2); print $2 }') \
        load -service objects -url http://127.0.0.1:18563/v1/AUTH_test ;;
  esac
done
