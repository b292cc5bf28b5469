#!/usr/bin/env bash
# The demo: an undercloud on loopback, three virtual machines, an overcloud on
# them, and the proof that it serves. `demo.sh up` may be run again at any time
# and goes on from what is there; `demo.sh down` removes everything but the
# image cache. Environment: DEMO_DIR (default .tripleo), DEMO_NODES (3),
# TRIPLEO_IMAGE_CACHE (default .cache/images).
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
dir=${DEMO_DIR:-$root/.tripleo}
nodes=${DEMO_NODES:-3}
images=${TRIPLEO_IMAGE_CACHE:-$root/.cache/images}
tripleo=$root/bin/tripleo
namespace=tripleo-lab
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
  "$tripleo" undercloud up --data-dir "$dir/undercloud"
  openstack catalog list -c Name -c Type
}

start_lab() {
  "$tripleo" lab up --nodes "$nodes" --backend container --dir "$dir/lab"
}

build_images() {
  mkdir -p "$images"
  "$tripleo" overcloud image build --output-directory "$images" --cache-directory "$(dirname "$images")/build"
}

register_nodes() {
  "$tripleo" overcloud node import "$dir/lab/instackenv.json"
  openstack baremetal node list
}

introspect_nodes() {
  if openstack baremetal node list --provision-state manageable -f value -c UUID | grep -q .; then
    "$tripleo" overcloud node introspect --all-manageable --provide
  else
    echo "no node is manageable: all were introspected before"
  fi
  openstack baremetal node list
}

deploy_overcloud() {
  (cd "$dir" && "$tripleo" overcloud deploy --templates -e "$dir/demo.yaml")
}

overcloud() { # a client inside the lab, where the overcloud's network is
  ip netns exec "$namespace" openstack --os-cloud overcloud "$@"
}

prove_overcloud() {
  overcloud token issue -c expires -c project_id -c user_id
  overcloud endpoint list
  echo "The Keystone that was just deployed has answered."
}

up() {
  [ "$(id -u)" = 0 ] || { echo "the lab makes network namespaces: run this as root" >&2; exit 1; }
  mkdir -p "$dir"
  cat >"$dir/demo.yaml" <<YAML
parameter_defaults:
  ControllerCount: 1
  ComputeCount: $((nodes - 1))
YAML
  stage 'start the undercloud' start_undercloud
  stage 'start the lab' start_lab
  stage 'build the images' build_images
  stage 'upload the images' "$tripleo" overcloud image upload --image-path "$images"
  stage 'register the machines' register_nodes
  stage 'introspect the machines' introspect_nodes
  stage 'deploy the overcloud' deploy_overcloud
  stage 'prove that it serves' prove_overcloud
  summary
  cat <<TEXT

Look around:
  export OS_CLIENT_CONFIG_FILE=$dir/undercloud/clouds.yaml OS_CLOUD=undercloud
  openstack stack list --nested
  $tripleo overcloud status
  ip netns exec $namespace openstack --os-cloud overcloud service list
Remove it all: make demo-down
TEXT
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
  down) down ;;
  *) echo "usage: demo.sh up|down" >&2; exit 2 ;;
esac
