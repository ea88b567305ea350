#!/usr/bin/env bash
# Builds the images that a boot needs: build.sh CACHE NODE PEER
#
#   base-HASH/    from Debian: root.tar (dom0's packages), xen, vmlinuz, modules/; newer/ (vmlinuz, modules/); and peer/
#   dom0.ext4     dom0's root: the base, the kernel's modules, the host's node, lab/dom0, the guest's image
#   initrd.gz     what gets dom0's kernel to that root
set -euo pipefail
shopt -s inherit_errexit
cache=$1 node=$2 peer=$3
lab=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$cache/work

say() { echo "lab: $*" >&2; }

# pack_initrd DIR FILE
pack_initrd() { (cd "$1" && find . | cpio -o -H newc --quiet | gzip -1) >"$2"; }

# modules_of MODULES NAME...: prints the files of kernel modules and of what they need, in the order in which to load them.
modules_of() {
  local modules=$1 name
  shift
  for name in "$@"; do
    modprobe -d "$modules" -S "$(kernel_of "$modules")" --show-depends "$name" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
  done | awk '!seen[$0]++'
}

# copy_modules MODULES ROOT NAME...: copies modules and what they need, and the lists that modprobe reads.
copy_modules() {
  local modules=$1 root=$2 kernel file
  shift 2
  kernel=$(kernel_of "$modules")
  mkdir -p "$root/lib/modules/$kernel"
  cp "$modules/lib/modules/$kernel"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$kernel/"
  for file in $(modules_of "$modules" "$@"); do
    (cd "$modules" && cp --parents "${file#"$modules/"}" "$root")
  done
  # The kernel could unpack modules itself, but a guest's modprobe is busybox's, which does not ask it to.
  find "$root/lib/modules/$kernel" -name '*.ko.xz' -exec busybox unxz {} +
  depmod -b "$root" "$kernel"
}

# kernel_of MODULES: prints the version of the one kernel there.
kernel_of() { basename "$1"/lib/modules/*; }

for part in base root guest; do
  # shellcheck source=/dev/null
  . "$lab/host/$part.sh"
done

base=$(debian_base "$peer")
say 'building the images'
rm -rf "$work"
mkdir -p "$work/dom0"
dom0_root "$base" "$work/dom0" "$node"
guest_initrd "$base" "$work/dom0" "$work/dom0/lab/guest-initrd.gz"
dom0_initrd "$base" "$work/initrd" "$cache/initrd.gz"
cp "$cache/initrd.gz" "$work/dom0/lab/root-initrd.gz"

size=$(du -sm "$work/dom0" | cut -f1)
rm -f "$cache/dom0.ext4"
mke2fs -q -t ext4 -O ^has_journal,^metadata_csum -E lazy_itable_init=0 -d "$work/dom0" \
  "$cache/dom0.ext4" "$((size + size / 8 + 512))M" >/dev/null
cp "$base/xen" "$base/vmlinuz" "$cache/"
rm -rf "$work"
[ "$peer" = 0 ] || touch "$cache/with-peer"
