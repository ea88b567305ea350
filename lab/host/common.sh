# Sourced: what all parts of the host's side share.
# shellcheck shell=bash

# shellcheck disable=SC2034
cache=${VIFD_LAB_CACHE:-/var/cache/vifd-lab}

say() { echo "lab: $*" >&2; }

# This machine cannot run the lab. 77 is what automake's test drivers call "skipped".
skip() {
  say "skipped: $*"
  exit 77
}

fail() {
  say "$*"
  exit 125
}
