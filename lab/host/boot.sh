# Sourced by lab.sh: one boot of the emulated machine.
# shellcheck shell=bash disable=SC2154 # lab.sh sets cache and work

# Both clocks are the processor's counter: Xen's own is read through a trap here, at 30 to 100 us a reading. Its rate is
# passed as tsc_early_khz. On a busy host Xen's platform timer "appears to have unexpectedly wrapped" by 43 s. A Linux that
# starts in that second would measure the counter as up to 19 times as fast, and its clock would go slow by that factor.
readonly LINUX_ARGS='console=hvc0 quiet loglevel=4 mitigations=off clocksource=tsc tsc=reliable audit=0'
# `max` is not usable: with its SMAP dom0 dies at its first trap.
readonly CPU=qemu64,+npt
readonly DOM0_MEM=1536

machine=

# boot SHARE OUT TIMEOUT CPUS MEM SYSTEMD DRIVER_DOMAIN: exits with the command's exit code.
boot() {
  local share=$1 out=$2 timeout=$3 status=0
  # dom0 writes to a pipe of its own: QEMU makes what it writes to non-blocking, and stdout is not ours alone.
  mkfifo "$work/output"
  cat "$work/output" &
  local reader=$!
  qemu_command "$share" "$out" "$4" "$5" "$6"
  [ "$7" = 0 ] || add_driver_domain_disk
  timeout -k 5 "$timeout" "${qemu[@]}" </dev/null >"$out/lab/qemu" 2>&1 &
  machine=$!
  wait "$machine" || status=$?
  machine=
  wait "$reader" || true
  [ ! -e "$out/lab/status" ] || exit "$(cat "$out/lab/status")"
  { cat "$out/lab/qemu"; tail -n 40 "$out/lab/console"; } >&2 || true
  if [ "$status" = 124 ]; then
    say "the time ran out after $timeout s"
    exit 124
  fi
  fail 'the machine stopped before the command had ended; above are the last lines of its console'
}

# Prints the counter's rate in kHz, as Xen finds it: the emulator hands out the host's. Once for each start of the host.
tsc_khz() {
  local file=$cache/tsc-khz host khz='' tries=600 pid
  host=$(cat /proc/sys/kernel/random/boot_id)
  if [ "$(head -n 1 "$file" 2>/dev/null)" != "$host" ]; then
    qemu-system-x86_64 -M q35 -accel tcg -cpu "$CPU" -m 1024 -nodefaults -display none -no-reboot -nic none \
      -kernel "$cache/xen" -append 'com1=115200,8n1 console=com1 noreboot' -initrd "$cache/vmlinuz" \
      -serial "file:$work/tsc" </dev/null >/dev/null 2>&1 &
    pid=$!
    while [ -z "$khz" ] && [ $((tries -= 1)) -gt 0 ]; do
      sleep 0.1
      khz=$(sed -n 's/.*Detected \([0-9]*\)\.\([0-9]\{3\}\) MHz.*/\1\2/p' "$work/tsc" 2>/dev/null)
    done
    kill $pid
    [ -n "$khz" ] || fail 'Xen does not say how fast the processor counts'
    printf '%s\n%s\n' "$host" "$khz" >"$file"
  fi
  sed -n 2p "$file"
}

end_boot() {
  [ -z "$machine" ] || { kill "$machine" && wait "$machine"; } 2>/dev/null || true
}

# Sets the array `qemu`. dom0's disk is written to a copy that is thrown away.
qemu_command() {
  local share=$1 out=$2 cpus=$3 mem=$4 linux_args
  linux_args="$LINUX_ARGS tsc_early_khz=$(tsc_khz)"
  [ "$5" = 0 ] || linux_args+=' lab.systemd systemd.unit=lab.target systemd.log_target=console'
  local xen_args="com1=115200,8n1 console=com1 loglvl=warning guest_loglvl=warning noreboot dom0_mem=${DOM0_MEM}M,max:${DOM0_MEM}M dom0_max_vcpus=$cpus"
  # Costs without a use where nothing leaves the emulator.
  xen_args+=' spec-ctrl=no xpti=no pcid=no watchdog=no'
  # shellcheck disable=SC2054 # its options have commas
  qemu=(qemu-system-x86_64 -M q35 -accel "tcg,thread=multi,tb-size=$(translations_mib "$mem")" -cpu "$CPU" -smp "$cpus" -m "$mem"
    -nodefaults -display none -no-reboot -nic none
    -kernel "$cache/xen" -append "$xen_args" -initrd "$cache/vmlinuz $linux_args,$cache/initrd.gz"
    -chardev "file,id=console,path=$(escaped "$out/lab/console")" -serial chardev:console
    -drive "if=none,id=root,file=$(escaped "$cache/dom0.ext4"),format=raw,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=root
    -fsdev "local,id=vifd,path=$(escaped "$share"),security_model=none,readonly=on" -device virtio-9p-pci,fsdev=vifd,mount_tag=vifd
    -fsdev "local,id=out,path=$(escaped "$out"),security_model=none" -device virtio-9p-pci,fsdev=out,mount_tag=out
    -device virtio-serial-pci -chardev "file,id=output,path=$(escaped "$work/output")"
    -device virtserialport,chardev=output,name=lab.output)
}

# One more copy of dom0's disk, thrown away like the other.
add_driver_domain_disk() {
  qemu+=(-drive "if=none,id=domain,file=$(escaped "$cache/dom0.ext4"),format=raw,snapshot=on,cache=unsafe" -device 'virtio-blk-pci,drive=domain')
}

# How much of the emulator's memory is for code that it has translated. When it is full all is thrown away and translated
# again: with 512 MiB, once in some minutes of tests, and dom0 is ten times as slow for the next ten seconds. 2 GiB is what
# QEMU takes at most; it is used as it is needed.
translations_mib() {
  local available
  available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
  [ "$available" -ge $(($1 + 2048 + 1024)) ] && echo 2048 || echo 512
}

# QEMU's options are lists with commas.
escaped() { printf '%s' "${1//,/,,}"; }
