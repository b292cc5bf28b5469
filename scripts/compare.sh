#!/usr/bin/env bash
# compare.sh SERVICE...: the same load (test/compare) on a service of this undercloud and on OpenStack's own from Debian's
# packages, on this machine, both in turn so that what else the machine does falls on both. Services: keystone, glance, zaqar,
# swift (all without an argument). Everything speaks over the loopback of a network namespace of its own. Packages that are
# missing are installed (and stay); no daemon and no file of the comparison is left. It ends after COMPARE_MINUTES (default
# 40) at the latest. COMPARE_KEEP=1 leaves the folder for a look at the logs.
#
# OpenStack's services run as operators run them: as many workers as there are processors, MariaDB with its defaults (a
# transaction is on the disk when it is answered), Memcached for Keystone's cache and for validated tokens, every token from
# that Keystone. Glance has its file store and Debian's server (its package says uWSGI does not work). Zaqar is what TripleO's
# undercloud had: queues in the database, messages in Swift. (Of its other stores Debian has no MongoDB, and its package lacks
# the scripts that the one for Redis runs.) Swift has one copy on this machine's disk.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- keystone glance zaqar swift
[ -x bin/tripleo ] || { echo "bin/tripleo is missing: make build" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "compare.sh installs packages and starts daemons: it needs root" >&2; exit 1; }

install() { # install PACKAGE...: without starting what comes with them
  local p missing=() failed= made= policy=/usr/sbin/policy-rc.d log
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return
  echo "installing for the comparison: ${missing[*]}"
  log=$(mktemp)
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    made=1
  fi
  apt-get update >"$log" 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 || failed=1
  [ -z "$made" ] || rm -f $policy
  [ -z "$failed" ] || { tail -n 20 "$log" >&2; rm -f "$log"; return 1; }
  rm -f "$log"
}

if [ "${1:-}" = --inside ]; then # of the namespace
  shift
  ip link set lo up
else
  packages=()
  for service in "$@"; do
    case $service in
      keystone) ;;
      glance) packages+=(glance-api) ;;
      zaqar) packages+=(zaqar-server swift-proxy swift-account swift-container swift-object) ;;
      swift) packages+=(swift-proxy swift-account swift-container swift-object) ;;
      *) echo "$service: expected keystone, glance, zaqar or swift" >&2; exit 2 ;;
    esac
  done
  install "${packages[@]}" keystone mariadb-server python3-pymysql memcached python3-memcache uwsgi-plugin-python3
  exec timeout -k 30 "${COMPARE_MINUTES:-40}m" unshare --net scripts/compare.sh --inside "$@"
fi

dir=$(mktemp -d /tmp/tripleo-compare.XXXXXX)
chmod 755 "$dir" # daemons with users of their own look into it
pids=()
workers=$(nproc)
export PYTHONWARNINGS=ignore
declare -A started=() sessions=()
finish() {
  status=$?
  local p try
  for p in "${pids[@]}"; do kill -- "-$p" 2>/dev/null || true; done
  for p in "${pids[@]}"; do
    for try in $(seq 100); do
      kill -0 -- "-$p" 2>/dev/null || break
      [ "$try" -lt 100 ] || kill -9 -- "-$p" 2>/dev/null || true
      sleep 0.1
    done
  done
  [ $status = 0 ] || tail -n 15 "$dir"/*.log || true
  if [ -n "${COMPARE_KEEP:-}" ]; then echo "folder: $dir"; else rm -rf "$dir"; fi
  exit $status
}
trap finish EXIT
trap 'exit 1' INT TERM

# ports of this comparison
api=http://127.0.0.1:18550
keystone_port=18555 glance_port=18556 zaqar_port=18557 mariadb_port=18559 memcached_port=18564

start() { # start NAME COMMAND...
  local name=$1
  shift
  setsid "$@" >"$dir/$name.log" 2>&1 &
  pids+=($!)
  sessions[$name]=$!
}

await() { # await PORT
  local try
  for try in $(seq 600); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    [ "$try" -lt 600 ] || { echo "nothing listens on port $1" >&2; return 1; }
    sleep 0.1
  done
}

once() { # once NAME: whether NAME is to be started now
  [ -z "${started[$1]:-}" ] && started[$1]=1
}

uwsgi() { # uwsgi NAME PORT THREADS PROGRAM [VARIABLE...]; THREADS of each worker
  local name=$1 port=$2 threads=$3 program=$4
  shift 4
  start "$name" env "$@" uwsgi_python3 --http-socket "127.0.0.1:$port" --wsgi-file "$program" --master --lazy-apps --processes "$workers" \
    --threads "$threads" --buffer-size 65535 --add-header 'Connection: close' --die-on-term --disable-logging --thunder-lock
  await "$port"
}

mariadb_server() {
  once mariadb || return 0
  mkdir "$dir/mariadb"
  chown mysql: "$dir/mariadb"
  mariadb-install-db --no-defaults --user=mysql --datadir="$dir/mariadb" --auth-root-authentication-method=normal --skip-test-db >"$dir/mariadb-install.log" 2>&1
  start mariadb mariadbd --no-defaults --user=mysql --datadir="$dir/mariadb" --bind-address=127.0.0.1 --port="$mariadb_port" --socket="$dir/mariadb/socket" --max-connections=500
  await "$mariadb_port"
}

database() { # database NAME: made, with a user of its own
  mariadb --no-defaults --socket="$dir/mariadb/socket" -u root -e "CREATE DATABASE $1 CHARACTER SET utf8mb3; GRANT ALL ON $1.* TO '$1'@'127.0.0.1' IDENTIFIED BY 'secret'"
}

memcached_server() {
  once memcached || return 0
  start memcached memcached -u nobody -l 127.0.0.1 -p "$memcached_port"
  await "$memcached_port"
}

body() { # body PASSWORD: of a request for a token, for the project of the bootstrap's administrator
  printf '{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","domain":{"id":"default"},"password":"%s"}}},"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}\n' "$1"
}

real_keystone() {
  once keystone || return 0
  mariadb_server
  memcached_server
  database keystone
  mkdir -p -m 700 "$dir/fernet" "$dir/credential"
  cat >"$dir/keystone.conf" <<CONF
[database]
connection = mysql+pymysql://keystone:secret@127.0.0.1:$mariadb_port/keystone
[token]
provider = fernet
[fernet_tokens]
key_repository = $dir/fernet
[credential]
key_repository = $dir/credential
[cache]
enabled = true
backend = dogpile.cache.memcached
memcache_servers = 127.0.0.1:$memcached_port
CONF
  local manage=(keystone-manage --config-file "$dir/keystone.conf") keystone=http://127.0.0.1:$keystone_port/v3
  "${manage[@]}" db_sync >"$dir/keystone-db.log" 2>&1
  "${manage[@]}" fernet_setup --keystone-user root --keystone-group root >>"$dir/keystone-db.log" 2>&1
  "${manage[@]}" bootstrap --bootstrap-password secret --bootstrap-public-url "$keystone" --bootstrap-internal-url "$keystone" --bootstrap-admin-url "$keystone" --bootstrap-region-id regionOne >>"$dir/keystone-db.log" 2>&1
  # Of several threads some are answered 403 while the first one reads the rules.
  uwsgi keystone "$keystone_port" 1 /usr/bin/keystone-wsgi-public "OS_KEYSTONE_CONFIG_FILES=$dir/keystone.conf" "OS_KEYSTONE_CONFIG_DIR=$dir"
  body secret >"$dir/keystone-auth.json"
}

authtoken() { # how a service asks Keystone about tokens
  cat <<CONF
www_authenticate_uri = http://127.0.0.1:$keystone_port/v3
auth_url = http://127.0.0.1:$keystone_port/v3
auth_type = password
username = admin
password = secret
user_domain_id = default
project_name = admin
project_domain_id = default
region_name = regionOne
memcached_servers = 127.0.0.1:$memcached_port
CONF
}

real_token() { # of the real Keystone
  curl -fsS -D - -o /dev/null -H 'Content-Type: application/json' -d "@$dir/keystone-auth.json" "http://127.0.0.1:$keystone_port/v3/auth/tokens" |
    awk 'tolower($1) == "x-subject-token:" { sub(/\r$/, "", $2); print $2 }'
}

real_glance() {
  once glance || return 0
  real_keystone
  database glance
  mkdir -p "$dir/images" "$dir/glance-staging" "$dir/glance-tasks"
  cat >"$dir/glance.conf" <<CONF
[DEFAULT]
bind_host = 127.0.0.1
bind_port = $glance_port
workers = $workers
enabled_backends = files:file
[database]
connection = mysql+pymysql://glance:secret@127.0.0.1:$mariadb_port/glance
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = $dir/images
[os_glance_staging_store]
filesystem_store_datadir = $dir/glance-staging
[os_glance_tasks_store]
filesystem_store_datadir = $dir/glance-tasks
[paste_deploy]
flavor = keystone
config_file = /usr/share/glance-common/glance-api-paste.ini
[keystone_authtoken]
$(authtoken)
CONF
  glance-manage --config-file "$dir/glance.conf" db_sync >"$dir/glance-db.log" 2>&1
  start glance glance-api --config-file "$dir/glance.conf"
  await "$glance_port"
}

real_zaqar() {
  once zaqar || return 0
  real_swift
  database zaqar
  mkdir -p "$dir/zaqar"
  cat >"$dir/zaqar/zaqar.conf" <<CONF
[DEFAULT]
auth_strategy = keystone
unreliable = true
[drivers]
transport = wsgi
message_store = swift
management_store = sqlalchemy
[drivers:management_store:sqlalchemy]
uri = mysql+pymysql://zaqar:secret@127.0.0.1:$mariadb_port/zaqar
[drivers:message_store:swift]
uri = swift://admin:secret@/admin
auth_url = http://127.0.0.1:$keystone_port/v3
user_domain_id = default
project_domain_id = default
region_name = regionOne
[signed_url]
secret_key = secret
[keystone_authtoken]
$(authtoken)
CONF
  zaqar-sql-db-manage --config-file "$dir/zaqar/zaqar.conf" upgrade head >"$dir/zaqar-db.log" 2>&1
  printf 'import sys\nsys.argv = ["zaqar", "--config-file", "%s"]\nfrom zaqar.transport.wsgi.app import application\n' "$dir/zaqar/zaqar.conf" >"$dir/zaqar/wsgi.py"
  uwsgi zaqar "$zaqar_port" 4 "$dir/zaqar/wsgi.py" PYTHONDONTWRITEBYTECODE=1
}

real_swift() {
  once swift || return 0
  real_keystone
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
pipeline = catch_errors cache authtoken keystoneauth proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:$memcached_port
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
delay_auth_decision = true
$(authtoken)
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin
CONF
  for ring in account container object; do start "swift-$ring" "swift-$ring-server" "$dir/swift/$ring.conf"; done
  start swift-proxy swift-proxy-server "$dir/swift/proxy.conf"
  for port in 18560 18561 18562 18563; do await "$port"; done
  (
    unset OS_CLIENT_CONFIG_FILE OS_CLOUD
    export OS_AUTH_URL=http://127.0.0.1:$keystone_port/v3 OS_USERNAME=admin OS_PASSWORD=secret OS_PROJECT_NAME=admin OS_USER_DOMAIN_ID=default OS_PROJECT_DOMAIN_ID=default OS_IDENTITY_API_VERSION=3
    openstack service create --name swift object-store
    openstack endpoint create --region regionOne object-store public 'http://127.0.0.1:18563/v1/AUTH_%(project_id)s'
  ) >"$dir/swift-endpoint.log" 2>&1
}

load() { # load DAEMONS ARGUMENTS...: on both, with how busy the machine was; DAEMONS are what OpenStack's service consists of
  local name theirs=
  for name in $1; do theirs+=${theirs:+,}${sessions[$name]}; done
  shift
  echo "load average before: $(cut -d' ' -f1-3 /proc/loadavg)"
  "$dir/compare" -ours-sessions "${sessions[undercloud]}" -theirs-sessions "$theirs" "$@"
  echo "load average after: $(cut -d' ' -f1-3 /proc/loadavg)"
}

go build -o "$dir/compare" ./test/compare
# A lab may run on this machine: its network is not for this undercloud.
printf 'listen: 127.0.0.1:18550\nprovisioning: {namespace: tripleo-compare-absent}\n' >"$dir/undercloud.yaml"
start undercloud bin/tripleo undercloud up --foreground --config "$dir/undercloud.yaml" --data-dir "$dir/undercloud"
for try in $(seq 300); do
  curl -fsS -o /dev/null "$api/healthz" 2>/dev/null && break
  [ "$try" -lt 300 ] || { echo "the undercloud does not answer" >&2; exit 1; }
  sleep 0.1
done
export OS_CLIENT_CONFIG_FILE=$dir/undercloud/clouds.yaml OS_CLOUD=undercloud
unset OS_AUTH_URL OS_USERNAME OS_PASSWORD OS_PROJECT_NAME OS_TOKEN 2>/dev/null || true
body "$(/usr/bin/python3 -c 'import sys, yaml; print(yaml.safe_load(open(sys.argv[1]))["clouds"]["undercloud"]["auth"]["password"])' "$OS_CLIENT_CONFIG_FILE")" >"$dir/auth.json"
COMPARE_TOKEN_OURS=$(openstack token issue -f value -c id)
export COMPARE_TOKEN_OURS COMPARE_TOKEN_THEIRS
project=$(openstack token issue -f value -c project_id)

for service in "$@"; do
  "real_$service"
  echo "== $service"
  case $service in
    keystone) load "keystone mariadb memcached" -service tokens -ours "$api/identity/v3" -ours-auth "$dir/auth.json" -theirs "http://127.0.0.1:$keystone_port/v3" -theirs-auth "$dir/keystone-auth.json" ;;
    glance)
      COMPARE_TOKEN_THEIRS=$(real_token)
      load "glance keystone mariadb memcached" -service images -ours "$api/image/v2" -theirs "http://127.0.0.1:$glance_port/v2"
      ;;
    zaqar)
      COMPARE_TOKEN_THEIRS=$(real_token)
      load "zaqar swift-proxy swift-account swift-container swift-object keystone mariadb memcached" -service messages -ours "$api/messaging/v2" -theirs "http://127.0.0.1:$zaqar_port/v2"
      ;;
    swift)
      COMPARE_TOKEN_THEIRS=$(real_token)
      load "swift-proxy swift-account swift-container swift-object keystone mariadb memcached" -service objects -connections 32 -ours "$api/object-store/v1/AUTH_$project" \
        -theirs "http://127.0.0.1:18563/v1/AUTH_$(mariadb --no-defaults --socket="$dir/mariadb/socket" -u root -Ne "SELECT id FROM project WHERE name = 'admin'" keystone)"
      ;;
  esac
done
