#!/usr/bin/env bash
# Makes the root file system that the tested boxes boot from: a plain Debian 12 with systemd and Python.
#   tests/system/root.sh FOLDER      prints the path of the tree in FOLDER; makes it if it is missing or was made otherwise
# The boxes write into layers of their own: one tree serves them all.
set -euo pipefail

# sudo, curl and wget are what the pasted command may meet; libfaketime gives a box a wrong clock; a hub starts mosquitto
# itself, so Debian's own service of that name stays off.
PACKAGES=systemd,systemd-sysv,dbus,python3,sudo,curl,wget,iproute2,libfaketime,mosquitto

main() {
  folder=$1
  root=$folder/root-$(sha256sum "$0" | cut -c 1-12)
  mkdir -p "$folder"
  if [ ! -d "$root" ]; then
    rm -rf "$folder"/root-*
    echo "system tests: making a Debian 12 tree in $root" >&2
    make_tree "$root.new" || { cat "$root.log" >&2; exit 1; }
    mv "$root.new" "$root"
  fi
  echo "$root"
}

make_tree() {
  mmdebstrap --quiet --mode=root --variant=minbase --include="$PACKAGES" \
    --dpkgopt=path-exclude='/usr/share/doc/*' --dpkgopt=path-exclude='/usr/share/man/*' \
    --dpkgopt=path-exclude='/usr/share/locale/*' --dpkgopt=path-exclude='/usr/share/info/*' \
    bookworm "$1" 2>"${1%.new}.log" >&2 || return
  # What a box does at its own pace in its first minutes is none of our business.
  for each in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-firstboot.service console-getty.service getty.target mosquitto.service; do
    ln -sf /dev/null "$1/etc/systemd/system/$each"
  done
  printf '127.0.0.1 localhost\n' >"$1/etc/hosts"
  rm -f "$1/etc/hostname" # each box has a name of its own
  echo uninitialized >"$1/etc/machine-id"
  : >"$1/etc/resolv.conf"
}

main "$@"
