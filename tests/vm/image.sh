#!/usr/bin/env bash
# Makes what the tested virtual machine boots: Debian 12 with its cloud kernel, once for each state of this folder.
#   tests/vm/image.sh FOLDER      prints the folder with vmlinuz, initrd and root.img; makes it if it is missing
# Nothing is mounted: the tree becomes a file system image by mke2fs alone.
set -euo pipefail

PACKAGES=systemd,systemd-sysv,udev,dbus,kmod,procps,python3,sudo,curl,iproute2,libnss-myhostname,linux-image-cloud-amd64
# What the kernel needs to see its root disk; everything later is the machine's own udev's business.
MODULES="virtio_pci virtio_blk"
SIZE=1536M # sparse

main() {
  here=$(cd "$(dirname "$0")" && pwd)
  mkdir -p "$1"
  exec 9>"$1/.making" # one at a time: the second finds what the first has made
  flock 9
  image=$(realpath "$1")/vm-$(cat "$here/image.sh" "$here/hand.py" "$here/hand.service" | sha256sum | cut -c 1-12)
  if [ ! -d "$image" ]; then
    rm -rf "$1"/vm-*
    start=$SECONDS
    mkdir "$image.new"
    { make_tree "$image.new" && make_initrd "$image.new" && make_disk "$image.new"; } >"$image.log" 2>&1 ||
      { cat "$image.log" >&2; exit 1; }
    mv "$image.new" "$image"
    rm "$image.log"
    echo "vm tests: made a Debian bookworm machine, $(du -sm "$image" | cut -f 1) MB in $((SECONDS - start)) s" >&2
  fi
  echo "$image"
}

make_tree() { # FOLDER
  tree=$1/tree
  # INITRD=No: the kernel's own initial disk would take 15 MB, and as many seconds to make.
  INITRD=No mmdebstrap --quiet --mode=root --variant=minbase --include="$PACKAGES" \
    --dpkgopt=path-exclude='/usr/share/doc/*' --dpkgopt=path-exclude='/usr/share/man/*' \
    --dpkgopt=path-exclude='/usr/share/locale/*' --dpkgopt=path-exclude='/usr/share/info/*' bookworm "$tree" || return
  units=$tree/etc/systemd/system
  for each in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-firstboot.service getty.target getty@tty1.service serial-getty@ttyS0.service \
    systemd-pstore.service systemd-hwdb-update.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    systemd-timesyncd.service; do
    ln -sf /dev/null "$units/$each"
  done
  mkdir -p "$units/multi-user.target.wants" "$units/network-online.target.wants" "$units/sysinit.target.wants"
  # Address and name stand on the kernel's command line.
  ln -s /lib/systemd/system/systemd-networkd.service "$units/multi-user.target.wants/"
  ln -s /lib/systemd/system/systemd-networkd-wait-online.service "$units/network-online.target.wants/"
  ln -s /lib/systemd/system/systemd-network-generator.service "$units/sysinit.target.wants/"
  # Nobody advertises IPv6 here; waiting for that would take 13 s.
  mkdir -p "$tree/etc/systemd/network/70-eth0.network.d"
  printf '[Network]\nIPv6AcceptRA=no\n' >"$tree/etc/systemd/network/70-eth0.network.d/no-router.conf"
  install -m 644 "$here/hand.service" "$units/hand.service"
  install -m 755 "$here/hand.py" "$tree/usr/local/sbin/hand"
  ln -s ../hand.service "$units/multi-user.target.wants/"
  mkdir -p "$tree/var/log/journal" # kept over boots
  echo '/dev/vda / ext4 defaults 0 1' >"$tree/etc/fstab"
  printf '127.0.0.1 localhost\n' >"$tree/etc/hosts"
  rm -f "$tree/etc/hostname"
  echo uninitialized >"$tree/etc/machine-id"
  : >"$tree/etc/resolv.conf"
}

make_initrd() { # FOLDER
  ram=$1/ram
  mkdir -p "$ram/bin" "$ram/dev" "$ram/proc" "$ram/root"
  cp "$(command -v busybox)" "$ram/bin/busybox"
  modules=$(echo "$1"/tree/lib/modules/*)
  order=$(for name in $MODULES; do # what a module needs stands after it in modules.dep, the first to be loaded last
    sed -n "s|^\\([^:]*/$name\\.ko\\): *\\(.*\\)|\\1 \\2|p" "$modules/modules.dep" | tr ' ' '\n' | grep . | tac
  done | awk '!seen[$0]++')
  {
    echo '#!/bin/busybox sh'
    echo '/bin/busybox mount -t devtmpfs dev /dev'
    for file in $order; do
      cp "$modules/$file" "$ram/"
      echo "/bin/busybox insmod /${file##*/}"
    done
    # shellcheck disable=SC2016 # the machine's variable
    echo 'n=0; until [ -b /dev/vda ]; do /bin/busybox usleep 10000; n=$((n + 1)); [ $n -lt 1000 ] || /bin/busybox reboot -f; done'
    echo '/bin/busybox mount -t ext4 /dev/vda /root || /bin/busybox reboot -f'
    echo 'exec /bin/busybox switch_root /root /sbin/init'
  } >"$ram/init"
  chmod 755 "$ram/init"
  (cd "$ram" && find . | busybox cpio -o -H newc | gzip -1) >"$1/initrd"
  cp "$1"/tree/boot/vmlinuz-* "$1/vmlinuz"
}

make_disk() { # FOLDER
  rm -rf "$1"/tree/boot/* "$1/ram"
  mke2fs -q -t ext4 -d "$1/tree" "$1/root.img" "$SIZE"
  rm -rf "$1/tree"
}

main "$@"
