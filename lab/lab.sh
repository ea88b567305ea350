#!/usr/bin/env bash
# Boots Xen and a Debian dom0 under emulation and runs COMMAND in dom0, as root:
#
#   npm run lab -- [options] COMMAND...
#
#   --prepare       only install and build the missing parts; no COMMAND
#   --guests N      start guests g1 to gN before COMMAND (default 0)
#   --no-netback    leave the kernel's xen-netback out
#   --systemd       dom0's first process is systemd, and Debian's own script starts Xen's userland
#   --driver-domain dom0 also gets a second disk, /dev/vdb: a root for a driver domain (see GUEST_DISK in `guest`)
#   --xenstored P   P is dom0's xenstored: oxenstored, Debian's default, or xenstored, the one in C
#   --peer          dom0 also gets QEMU 10's netback (see `guest peer`)
#   --out DIR       writable at /mnt/out in dom0; afterwards DIR/lab holds the logs
#   --timeout S     end after that many seconds (default 600)
#   --cpus N        processors of the machine and of dom0 (default 2)
#   --mem MIB       memory of the machine (default 3072)
#
# The checkout is read-only at /mnt/vifd, where COMMAND starts. One COMMAND word is a line of
# shell; several are one command and its arguments. Exit code: COMMAND's; 77 when this machine
# cannot run the lab; 124 when the time ran out; 125 when the lab itself failed.
set -euo pipefail
lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lab/host/common.sh
. "$lab/host/common.sh"

usage() {
  sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

prepare=0 guests=0 netback=1 systemd=0 peer=0 driver_domain=0 xenstored=oxenstored out='' timeout=600 cpus=2 mem=3072
while [ $# -gt 0 ]; do
  case $1 in
    --prepare) prepare=1 ;;
    --no-netback) netback=0 ;;
    --systemd) systemd=1 ;;
    --peer) peer=1 ;;
    --driver-domain) driver_domain=1 ;;
    --guests | --out | --timeout | --cpus | --mem | --xenstored)
      [ $# -ge 2 ] || usage
      declare "${1#--}=$2"
      shift
      ;;
    --) shift; break ;;
    -*) usage ;;
    *) break ;;
  esac
  shift
done
[ $# -gt 0 ] || [ "$prepare" = 1 ] || usage

# shellcheck source=lab/host/tools.sh
. "$lab/host/tools.sh"
# shellcheck source=lab/host/images.sh
. "$lab/host/images.sh"
# shellcheck source=lab/host/boot.sh
. "$lab/host/boot.sh"

require_tools
build_images "$peer"
[ "$prepare" = 0 ] || exit 0

work=$(mktemp -d)
trap 'end_boot; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

out=$(realpath -m "${out:-$work/out}")
rm -rf "$out/lab"
mkdir -p "$out/lab"
if [ $# = 1 ]; then printf '%s\n' "$1"; else printf '%q ' "$@"; fi >"$out/lab/command"
printf 'guests=%q\nnetback=%q\nxenstored=%q\n' "$guests" "$netback" "$xenstored" >"$out/lab/settings"

boot "$(realpath "$lab/..")" "$out" "$timeout" "$cpus" "$mem" "$systemd" "$driver_domain"
