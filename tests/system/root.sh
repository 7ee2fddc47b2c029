#!/usr/bin/env bash
# Makes the root file systems that the tested boxes boot from: a plain Debian with systemd and Python.
#   tests/system/root.sh FOLDER [RELEASE...]     bookworm (also when none is named), trixie, bullseye
# Prints the path of each tree in FOLDER; makes those that are missing or were made otherwise. The boxes write into layers
# of their own: one tree serves them all, also those of several test processes.
set -euo pipefail

# sudo, curl and wget are what the pasted command may meet; libfaketime gives a box a wrong clock; a hub starts mosquitto
# itself, so Debian's own service of that name stays off.
PACKAGES=systemd,systemd-sysv,dbus,python3,sudo,curl,wget,iproute2,libfaketime,mosquitto

main() {
  folder=$1
  shift
  mkdir -p "$folder"
  exec 9>"$folder/.making" # one at a time: the second finds what the first has made
  flock 9
  for release in "${@:-bookworm}"; do
    root=$folder/$release-$(sha256sum "$0" | cut -c 1-12)
    if [ ! -d "$root" ]; then
      remove_old "$folder/$release" "$folder/root" # "root": what an earlier version of this script named them
      start=$SECONDS
      make_tree "$release" "$root.new" || { cat "$root.log" >&2; exit 1; }
      mv "$root.new" "$root"
      rm "$root.log"
      echo "system tests: made a Debian $release tree, $(du -sm "$root" | cut -f 1) MB in $((SECONDS - start)) s" >&2
    fi
    echo "$root"
  done
}

remove_old() { # PREFIX...: trees that no box stands on at the moment
  for prefix in "$@"; do
    for old in "$prefix"-*; do
      grep -qsF "lowerdir=$(realpath -m "$old")," /proc/[0-9]*/mountinfo || rm -rf "$old"
    done
  done
}

make_tree() { # RELEASE FOLDER
  mmdebstrap --quiet --mode=root --variant=minbase --include="$PACKAGES" \
    --dpkgopt=path-exclude='/usr/share/doc/*' --dpkgopt=path-exclude='/usr/share/man/*' \
    --dpkgopt=path-exclude='/usr/share/locale/*' --dpkgopt=path-exclude='/usr/share/info/*' \
    "$1" "$2" 2>"${2%.new}.log" >&2 || return
  # What a box does at its own pace in its first minutes is none of our business.
  for each in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-firstboot.service console-getty.service getty.target mosquitto.service; do
    ln -sf /dev/null "$2/etc/systemd/system/$each"
  done
  printf '127.0.0.1 localhost\n' >"$2/etc/hosts"
  rm -f "$2/etc/hostname" # each box has a name of its own
  echo uninitialized >"$2/etc/machine-id"
  : >"$2/etc/resolv.conf"
}

main "$@"
