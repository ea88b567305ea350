# Sourced by build.sh: all that comes from Debian. Takes a minute or two, and is cached until the list of packages changes.
# shellcheck shell=bash disable=SC2154 # build.sh sets cache

readonly SUITE=bookworm
readonly XEN=4.17
readonly DOM0_PACKAGES="xen-utils-$XEN,xenstore-utils,iproute2,ethtool,tcpdump,iperf3,kmod,iputils-ping,procps,\
busybox-static,strace,ca-certificates,systemd"
# What QEMU's netback is linked to.
readonly PEER_PACKAGES=qemu-system-xen
# The other kernel of guests, which users of bookworm install from bookworm-security, and the modules that guests load.
readonly NEWER_KERNEL=6.12
readonly NEWER_MODULES='*/drivers/net/xen-netfront.ko* */net/8021q/* */net/802/* */net/llc/*'

# Prints the folder of the base. It is filled under another name first: what has its name is whole.
debian_base() {
  local peer=$1 packages=$DOM0_PACKAGES base part
  [ "$peer" = 0 ] || packages+=,$PEER_PACKAGES
  base=$cache/base-$(echo "$packages $SUITE $XEN $NEWER_KERNEL $NEWER_MODULES" | sha256sum | cut -c1-12)
  if [ ! -d "$base" ]; then
    part=$base.part
    rm -rf "$part"
    mkdir -p "$part/debs/newer" "$part/unpacked"
    say "bootstrapping Debian $SUITE with Xen $XEN (a minute or two)"
    bootstrap "$packages" "$part"
    unpack_kernel "$part"
    unpack_newer_kernel "$part"
    [ "$peer" = 0 ] || fetch_peer "$part"
    rm -rf "$part/debs" "$part/unpacked"
    mv "$part" "$base"
  fi
  echo "$base"
}

# One bootstrap also downloads the hypervisor and the kernels, so that all are from one archive, whatever runs here. A mirror
# may lack the newer kernel: then the guests lack it too, and tests that need it are skipped.
bootstrap() {
  local packages=$1 part=$2
  # shellcheck disable=SC2016 # the hook expands these
  DEBS=$part/debs HYPERVISOR=xen-hypervisor-$XEN-amd64 NEWER=linux-image-$NEWER_KERNEL-amd64 mmdebstrap --quiet --variant=minbase --include="$packages" --format=tar \
    --aptopt='APT::Install-Recommends "false"' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --customize-hook='cd "$DEBS" && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" &&
      image() { apt-cache depends "$1" | sed -n "s/.*Depends: \(linux-image-[0-9].*\)/\1/p" | head -n 1; } &&
      apt-get download -qq "$HYPERVISOR" "$(image linux-image-amd64)" &&
      newer=$(image "$NEWER") && cd newer &&
      if [ -n "$newer" ]; then apt-get download -qq "$newer"; fi' \
    "$SUITE" "$part/root.tar" "$(apt_sources "$part")" >&2
}

# Prints a file of apt sources: the host's own, which name its mirror, if it is of the same release.
apt_sources() {
  local file
  for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
    if [ -s "$file" ] && grep -q "$SUITE" "$file"; then
      echo "$file"
      return
    fi
  done
  file=$1/sources.list
  printf 'deb http://deb.debian.org/debian %s main\n' "$SUITE" "$SUITE-updates" >"$file"
  printf 'deb http://deb.debian.org/debian-security %s main\n' "$SUITE-security" >>"$file"
  echo "$file"
}

# Unpacked, never installed: the machine that runs the lab keeps its own boot.
unpack_kernel() {
  local part=$1 deb kernel
  for deb in "$part"/debs/*.deb; do dpkg -x "$deb" "$part/unpacked"; done
  mkdir -p "$part/modules/lib"
  mv "$part/unpacked/lib/modules" "$part/modules/lib/"
  kernel=$(kernel_of "$part/modules")
  depmod -b "$part/modules" "$kernel"
  zcat "$part/unpacked/boot/xen-$XEN-amd64.gz" >"$part/xen"
  cp "$part/unpacked/boot/vmlinuz-$kernel" "$part/vmlinuz"
}

# Unpacks only what guests load of the newer kernel: all of it, with the list of what its modules need, takes twenty seconds.
unpack_newer_kernel() {
  local part=$1 deb kernel
  for deb in "$part"/debs/newer/*.deb; do
    [ -e "$deb" ] || { say "the mirror has no linux-image-$NEWER_KERNEL-amd64: tests of guests with that kernel will be skipped" && return; }
    mkdir -p "$part/newer/unpacked" "$part/newer/modules/lib"
    # shellcheck disable=SC2086 # a list of words
    (set -f && dpkg-deb --fsys-tarfile "$deb" | tar -C "$part/newer/unpacked" -xf - --wildcards './boot/vmlinuz*' '*/modules.*' $NEWER_MODULES)
    mv "$part/newer/unpacked/lib/modules" "$part/newer/modules/lib/"
    kernel=$(kernel_of "$part/newer/modules")
    depmod -b "$part/newer/modules" "$kernel"
    mv "$part/newer/unpacked/boot/vmlinuz-$kernel" "$part/newer/vmlinuz"
    rm -rf "$part/newer/unpacked"
  done
}

# Debian 12's QEMU has a Xen network device that is connected to nothing; backports has one that works. Of it only
# the program is taken.
fetch_peer() {
  local part=$1 apt=$1/apt options
  say 'fetching QEMU from backports'
  mkdir -p "$apt"/{lists/partial,cache/archives/partial,parts}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $SUITE-backports main" \
    >"$apt/sources.list"
  options=(-o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/parts"
    -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache")
  apt-get "${options[@]}" update -qq >&2
  (cd "$part/debs" && apt-get "${options[@]}" download -qq qemu-system-xen >&2 && dpkg -x qemu-system-xen_*.deb "$part/peer")
  rm -rf "$apt"
}
