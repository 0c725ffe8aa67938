#!/usr/bin/env bash
# Install on a Jetson: clocks locked at every start, and the gate every day. Or take both away again.
#   sudo deploy/jetson/install.sh "$(command -v nox)"
#   sudo deploy/jetson/install.sh --remove
# DESTDIR writes the files below another folder and leaves systemd alone.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
project="$(cd "$here/../.." && pwd)"
dest="${DESTDIR:-}"
units="$dest/etc/systemd/system"
names=(ishowtts-lock-clocks.service ishowtts-gate.service ishowtts-gate.timer)

control() {
  [[ -n "$dest" ]] || systemctl "$@"
}

if [[ "${1:-}" == --remove ]]; then
  control disable --now ishowtts-gate.timer ishowtts-lock-clocks.service
  rm -f "${names[@]/#/$units/}" "$dest/usr/local/sbin/ishowtts-lock-clocks" "$dest/etc/systemd/journald@ishowtts.conf"
  control daemon-reload
  exit 0
fi

nox="${1:-}"
if [[ ! -x "$nox" ]]; then
  echo "install: nox is '$nox', which cannot be run. Run: sudo $0 \"\$(command -v nox)\"" >&2
  exit 2
fi
user="${SUDO_USER:-$(id -un)}"

install -d "$units" "$dest/usr/local/sbin"
install -m 755 "$here/lock-clocks.sh" "$dest/usr/local/sbin/ishowtts-lock-clocks"
install -m 644 "$here/journald@ishowtts.conf" "$dest/etc/systemd/"
for name in "${names[@]}"; do
  sed -e "s|@USER@|$user|g" -e "s|@PROJECT@|$project|g" -e "s|@NOX@|$nox|g" "$here/$name" >"$units/$name"
done
control daemon-reload
control enable --now ishowtts-lock-clocks.service ishowtts-gate.timer
echo "install: the gate runs daily as $user in $project; its log: journalctl --namespace ishowtts"
