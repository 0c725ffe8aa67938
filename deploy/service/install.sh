#!/usr/bin/env bash
# Install the service: its user, its unit, its configuration, its log's rotation. Or take all of it away again.
#   sudo deploy/service/install.sh "$(command -v ishowtts)"
#   sudo deploy/service/install.sh --undo           the configuration and what the service wrote stay
#   sudo deploy/service/install.sh --undo --purge   they go too
# --dry-run says what would be done, and does nothing. DESTDIR writes below another folder and leaves systemd alone.
# Exit codes: 0 done, 1 installed but not running, 2 nothing was done.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
dest="${DESTDIR:-}"
units="$dest/etc/systemd/system"
config="$dest/etc/ishowtts"
files=(
  "$units/ishowtts.service"
  "$units/ishowtts.service.d/gpu.conf"
  "$dest/etc/systemd/journald@ishowtts-serve.conf"
  "$dest/etc/sysusers.d/ishowtts.conf"
)
kept=("$config" "$dest/var/lib/ishowtts" "$dest/var/cache/ishowtts") # an operator's, and what was written
undo=no purge=no dry=no ishowtts=

refuse() {
  echo "install: $1" >&2
  exit 2
}

act() { # a command, or what it would be
  if [[ "$dry" == yes ]]; then
    echo "would run: $*"
  else
    "$@"
  fi
}

system() { # the same, for what touches more than files
  [[ -n "$dest" ]] || act "$@"
}

put() { # mode, source, target: with the blanks filled in
  if [[ "$dry" == yes ]]; then
    echo "would write: $3"
    return
  fi
  install -D -m "$1" /dev/null "$3"
  sed -e "s|@ISHOWTTS@|$ishowtts|g" -e "s|@GROUPS@|$(gpu_groups)|g" "$2" >"$3"
}

gpu_groups() { # those that open a GPU's devices and exist here
  local group found=()
  for group in video render; do
    if getent group "$group" >/dev/null; then found+=("$group"); fi
  done
  echo "${found[*]}"
}

has_gpu() {
  [[ -e "$dest/dev/nvidiactl" || -e "$dest/dev/nvmap" ]]
}

remove() {
  system systemctl disable --now ishowtts.service || true # it may be gone already
  act rm -f "${files[@]}"
  if [[ -d "$units/ishowtts.service.d" ]]; then
    act rmdir --ignore-fail-on-non-empty "$units/ishowtts.service.d" # an administrator's own stay
  fi
  system systemctl daemon-reload
  if [[ "$purge" == yes ]]; then
    act rm -rf "${kept[@]}"
  fi
  for folder in "${kept[@]}"; do
    if [[ -e "$folder" && "$dry$purge" != yesyes ]]; then
      echo "install: $folder stays; --undo --purge removes it"
      return
    fi
  done
  if getent passwd ishowtts >/dev/null; then
    system userdel ishowtts
  fi
}

while (($# > 0)); do
  case "$1" in
    --undo) undo=yes ;;
    --purge) purge=yes ;;
    --dry-run) dry=yes ;;
    -*) refuse "$1 is none of --undo, --purge, --dry-run" ;;
    *) ishowtts="$1" ;;
  esac
  shift
done
if [[ -z "$dest" && "$dry" == no && "$(id -u)" -ne 0 ]]; then
  refuse "root is needed. Run: sudo $0, or look first with --dry-run"
fi
if [[ "$undo" == yes ]]; then
  remove
  exit 0
fi
if [[ "$purge" == yes ]]; then
  refuse "--purge goes with --undo"
fi
if [[ "$ishowtts" != /* || ! -x "$ishowtts" || "$ishowtts" == *['|&"\']* ]]; then
  refuse "the command is '$ishowtts', which cannot be run. Run: sudo $0 \"\$(command -v ishowtts)\""
fi

put 644 "$here/sysusers.conf" "$dest/etc/sysusers.d/ishowtts.conf"
system systemd-sysusers
if [[ -z "$dest" && "$dry" == no ]] && ! runuser -u ishowtts -- "$ishowtts" --version >/dev/null; then
  remove
  refuse "the user ishowtts cannot run $ishowtts. Install it where everybody may read, such as /opt/ishowtts"
fi
put 644 "$here/ishowtts.service" "$units/ishowtts.service"
put 644 "$here/journald@ishowtts-serve.conf" "$dest/etc/systemd/journald@ishowtts-serve.conf"
if has_gpu; then
  put 644 "$here/gpu.conf" "$units/ishowtts.service.d/gpu.conf"
fi
if [[ ! -e "$config/ishowtts.toml" ]]; then # an existing one is the operator's
  put 640 "$here/ishowtts.toml" "$config/ishowtts.toml"
fi
system chgrp ishowtts "$config/ishowtts.toml"
system systemctl daemon-reload
if ! system systemctl enable --now ishowtts.service; then
  echo "install: the service does not start. See: journalctl --namespace ishowtts-serve" >&2
  exit 1
fi
if [[ "$dry" == no ]]; then
  echo "install: the service runs as ishowtts; its log: journalctl --namespace ishowtts-serve"
fi
