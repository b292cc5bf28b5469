#!/usr/bin/env bash
# Installs the Debian packages that the lab, the image build and the tests use,
# if they are missing. Nothing is asked of the network when all are there.
set -euo pipefail
packages=(
  postgresql iproute2 kmod curl iputils-ping openssh-client
  # machines of the lab, and what boots them
  systemd-container qemu-system-x86 qemu-utils ovmf ipxe ipxe-qemu
  # images
  mmdebstrap e2fsprogs dosfstools mtools syslinux syslinux-common gdisk zstd squashfs-tools isolinux systemd-boot-efi mdadm
  # peers in tests
  ipmitool openipmi radosgw ceph-mon ceph-osd
  python3-openstackclient python3-heatclient python3-ironicclient python3-mistralclient python3-zaqarclient python3-swiftclient
  python3-jinja2 python3-yaql python3-mistral python3-yaml
  placement-api isc-dhcp-client genisoimage nftables iptables cinder-api cinder-scheduler cinder-volume
  # what configures nodes of plans that come from elsewhere
  puppet hiera ansible-core python3-os-apply-config python3-os-refresh-config python3-os-collect-config openssh-server sudo
  # make tempest, and Swift's own functional tests
  python3-swift python3-pytest tempest
  heat-tempest-plugin mistral-tempest-plugin keystone-tempest-plugin glance-tempest-plugin zaqar-tempest-plugin ironic-tempest-plugin neutron-tempest-plugin python3-osc-placement
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
