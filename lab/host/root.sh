# Sourced by build.sh: dom0's root, which is a driver domain's too, and the initramfs that reaches it.
# shellcheck shell=bash disable=SC2154 # build.sh sets lab

readonly DOM0_MODULES="virtio_console 9pnet_virtio 9p xenfs xen-evtchn xen-gntdev xen-gntalloc xen-privcmd
  tun bridge veth dummy 8021q xen-netback xen-blkback"
readonly ROOT_MODULES="virtio_pci virtio_blk xen-blkfront crc32c_generic ext4"

# dom0_root BASE ROOT NODE
dom0_root() {
  local base=$1 root=$2 node=$3
  tar -C "$root" -xf "$base/root.tar"
  rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
  # shellcheck disable=SC2086 # a list of words
  copy_modules "$base/modules" "$root" $DOM0_MODULES
  add_node "$root" "$node"
  [ ! -d "$base/peer" ] || install -m755 "$base/peer/usr/libexec/xen-qemu-system-i386" "$root/usr/local/bin/qemu-netback"
  install -m755 "$lab/dom0/init" "$root/sbin/lab-init"
  install -m755 "$lab/dom0/guest" "$root/usr/local/bin/guest"
  install -m755 "$lab/guest/agent" "$root/usr/local/bin/lab-agent"
  install -m644 "$lab"/dom0/lab.{service,target} "$lab"/guest/lab-agent.{service,target} "$root/etc/systemd/system/"
  # As lab-init starts it: guests speak through their console's log.
  echo 'XENCONSOLED_ARGS="--log=guest --log-dir=/var/log/xen/console"' >>"$root/etc/default/xen"
  mkdir -p "$root"/mnt/{vifd,out} "$root/var/log/xen/console" "$root/lab"
  cp "$base/vmlinuz" "$root/lab/guest-vmlinuz"
  [ ! -d "$base/newer" ] || cp "$base/newer/vmlinuz" "$root/lab/guest-vmlinuz-$NEWER_KERNEL"
  echo dom0 >"$root/etc/hostname"
}

# Adds the host's node, with the libraries that the root lacks, because programs that were built here need that node.
add_node() {
  local root=$1 node=$2 library
  install -m755 "$node" "$root/usr/local/bin/node"
  ldd "$node" | awk '$3 ~ /^\// { print $3 }' | while read -r library; do
    [ -e "$root$library" ] || cp -L --parents "$library" "$root"
  done
  add_npm "$root"
}

# Where npm is one folder, as node's own archives and most packages have it; Debian's npm is in many.
add_npm() {
  local npm
  npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
  [ -d "$npm/node_modules" ] || return 0
  mkdir -p "$1/usr/local/lib/node_modules"
  cp -r "$npm" "$1/usr/local/lib/node_modules/npm"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$1/usr/local/bin/npm"
}

# dom0_initrd BASE FOLDER FILE
dom0_initrd() {
  local base=$1 folder=$2 number=10 file
  mkdir -p "$folder"/{bin,dev,proc,root,modules}
  cp "$(command -v busybox)" "$folder/bin/busybox"
  install -m755 "$lab/dom0/initrd-init" "$folder/init"
  # shellcheck disable=SC2086 # a list of words
  for file in $(modules_of "$base/modules" $ROOT_MODULES); do
    cp "$file" "$folder/modules/$number-$(basename "$file")"
    number=$((number + 1))
  done
  pack_initrd "$folder" "$3"
}
