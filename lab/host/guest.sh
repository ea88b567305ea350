# Sourced by build.sh: a guest is an initramfs with busybox, netfront and the programs that measure.
# shellcheck shell=bash disable=SC2154 # build.sh sets lab and work

readonly GUEST_PROGRAMS="iperf3 ethtool ip"
readonly GUEST_MODULES="xen-netfront 8021q"

# guest_initrd BASE ROOT FILE
guest_initrd() {
  local base=$1 root=$2 folder=$work/guest program modules
  mkdir -p "$folder"/{bin,sbin,proc,sys,dev,tmp,etc,run,root}
  cp "$root/bin/busybox" "$folder/bin/busybox"
  chroot "$folder" /bin/busybox --install -s /bin
  for program in $GUEST_PROGRAMS; do copy_program "$root" "$folder" "$program"; done
  for modules in "$base"/modules "$base"/newer/modules; do
    # shellcheck disable=SC2086 # a list of words
    [ ! -d "$modules" ] || copy_modules "$modules" "$folder" $GUEST_MODULES
  done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$folder/etc/passwd"
  install -m755 "$lab/guest/init" "$folder/init"
  install -m755 "$lab/guest/agent" "$folder/bin/lab-agent"
  pack_initrd "$folder" "$3"
}

# Takes the place of busybox's own.
copy_program() {
  local root=$1 folder=$2 program=$3 path library
  path=$(chroot "$root" sh -c "command -v $program")
  rm -f "$folder/bin/$program"
  cp -L "$root$path" "$folder/bin/$program"
  chroot "$root" ldd "$path" | awk '$3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' | while read -r library; do
    mkdir -p "$folder$(dirname "$library")"
    cp -Lu "$root$library" "$folder$library"
  done
}
