# Sourced: sees that the images in the cache are those that this checkout would build.
# shellcheck shell=bash disable=SC2154 # lab.sh sets lab and cache

build_images() {
  local peer=$1 node stamp
  node=$(readlink -f "$(command -v node)")
  # An image with the peer also serves runs without it.
  [ ! -e "$cache/with-peer" ] || peer=1
  stamp=$({ cat "$lab"/host/{build,base,root,guest}.sh "$lab"/{dom0,guest}/* && stat -c '%n %s %Y' "$node" && echo "$peer"; } |
    sha256sum | cut -c1-16)
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9
  if [ "$(cat "$cache/stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -f "$cache/stamp"
    "$lab/host/build.sh" "$cache" "$node" "$peer" || fail 'the images cannot be built'
    echo "$stamp" >"$cache/stamp"
  fi
  # Shared while the machine runs, so that no other lab.sh builds new images meanwhile.
  flock -s 9
}
