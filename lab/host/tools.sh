# Sourced: checks that the host has the tools that the lab needs, and installs the missing ones.
# shellcheck shell=bash

readonly TOOLS="qemu-system-x86 mmdebstrap busybox-static cpio e2fsprogs kmod util-linux"

require_tools() {
  [ "$(uname -sm)" = 'Linux x86_64' ] || skip "the lab needs Linux on x86_64, this is $(uname -sm)"
  [ "$(id -u)" = 0 ] || skip 'the lab needs root, to install the emulator and to build its images'
  command -v apt-get >/dev/null || skip 'the lab installs its emulator with apt-get, which is not here'

  local missing=() tool
  for tool in $TOOLS; do
    dpkg -s "$tool" >/dev/null 2>&1 || missing+=("$tool")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  install_packages "${missing[@]}" || skip "apt-get cannot install ${missing[*]}"
}

# The lists on this machine may be too old, or not there at all: then once more after an update.
install_packages() {
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@")
  "${install[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${install[@]}" >/dev/null; }
}
