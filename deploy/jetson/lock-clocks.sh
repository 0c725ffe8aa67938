#!/usr/bin/env bash
# Put a Jetson into its full power mode and lock its clocks at the maximum, then check that both happened.
# Neither survives a reboot for certain: install.sh has this run at every start.
# Exit codes: 0 locked, 1 not locked, 2 cannot be run here.
set -euo pipefail

root="${ROOT:-}" # a recorded tree, for tests

if [[ "$(id -u)" -ne 0 ]]; then
  echo "lock-clocks: root is needed. Run: sudo $0" >&2
  exit 2
fi
for tool in nvpmodel jetson_clocks; do
  if ! command -v "$tool" >/dev/null; then
    echo "lock-clocks: $tool is missing. This is for a Jetson with NVIDIA's Linux" >&2
    exit 2
  fi
done

full="$(sed -n 's/^< *POWER_MODEL ID=\([0-9]*\) NAME=MAXN *>.*/\1/p' "$root/etc/nvpmodel.conf" | head -n 1)"
if [[ -z "$full" ]]; then
  echo "lock-clocks: $root/etc/nvpmodel.conf declares no mode MAXN. See its POWER_MODEL lines" >&2
  exit 2
fi
if ! nvpmodel -q | grep -q '^NV Power Mode: MAXN$'; then
  # A change that needs a reboot asks for one: answer no, and say so below.
  echo no | nvpmodel -m "$full" || true
fi
if ! nvpmodel -q | grep -q '^NV Power Mode: MAXN$'; then
  echo "lock-clocks: the mode is not MAXN. Run: sudo nvpmodel -m $full, and reboot if it asks" >&2
  exit 1
fi

jetson_clocks

unlocked=0
checked=0
check() { # lowest and highest frequency that the driver may choose, as files
  [[ -r "$1" && -r "$2" ]] || return 0
  checked=$((checked + 1))
  if [[ "$(<"$1")" != "$(<"$2")" ]]; then
    echo "lock-clocks: free from $(<"$1") to $(<"$2"): ${2%/*}" >&2
    unlocked=$((unlocked + 1))
  fi
}
shopt -s nullglob
for folder in "$root"/sys/devices/system/cpu/cpu[0-9]*/cpufreq; do
  check "$folder/scaling_min_freq" "$folder/scaling_max_freq"
done
for folder in "$root"/sys/devices/platform/{,bus@0/}*.{gpu,ga10b}/devfreq/*; do
  check "$folder/min_freq" "$folder/max_freq"
done
if ((unlocked > 0 || checked == 0)); then
  echo "lock-clocks: $unlocked of $checked clocks are not locked. Run: sudo jetson_clocks --show" >&2
  exit 1
fi
echo "lock-clocks: MAXN, $checked clocks locked"
