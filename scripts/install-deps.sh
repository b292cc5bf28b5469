#!/usr/bin/env bash
# Installs the Debian packages that the lab, the image build and the tests use,
# if they are missing. Nothing is asked of the network when all are there.
set -euo pipefail
packages=(
  postgresql iproute2 systemd-container mmdebstrap e2fsprogs qemu-utils qemu-system-x86 ovmf ipxe-qemu syslinux mtools dosfstools gdisk zstd squashfs-tools kmod ipxe openssh-client iputils-ping curl   # lab and images
  ipmitool python3-openstackclient python3-heatclient python3-ironicclient
  python3-mistralclient python3-zaqarclient python3-swiftclient python3-jinja2 python3-yaql python3-mistral python3-yaml # peers in tests
  python3-swift python3-pytest radosgw ceph-mon ceph-osd                                                                   # Swift's functional tests, Ceph's S3 server
  tempest heat-tempest-plugin mistral-tempest-plugin keystone-tempest-plugin glance-tempest-plugin zaqar-tempest-plugin ironic-tempest-plugin neutron-tempest-plugin python3-osc-placement  # make tempest
)
missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -20 "$log" >&2
  exit 1
fi
rm -f "$log"
