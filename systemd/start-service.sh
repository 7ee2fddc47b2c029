#!/bin/sh
# Makes the installed agent a service, or says how it is run without: the end of the install scripts, from the release
# that runs.
#   start-service.sh PREFIX CONFIG STATE CHANGED SERVICE
#   CHANGED: "yes" restarts a running service; "install": this box may not be enrolled yet, then nothing is started
#   SERVICE: "yes" = as root, where systemd is
set -eu

main() {
  prefix=$1 config=$2 state=$3 changed=$4 service=${5:-yes}
  here=$(cd "$(dirname "$0")" && pwd) agent=$prefix/bin/firstlight place=/etc/systemd/system
  if [ "$service" = no ]; then without; return; fi
  put_units
  if [ "$changed" = no ] && systemctl --quiet is-active firstlight && systemctl --quiet is-enabled firstlight; then
    printf 'firstlight: nothing to do: this box is enrolled and the service runs. More: %s status\n' "$agent"
    return
  fi
  systemctl daemon-reload
  # shellcheck disable=SC2086 # several
  systemctl --quiet enable $switched_on
  # A power cut from here on finds a service that starts. Not every busybox syncs a single file system.
  { sync -f "$place" "$prefix" || sync || :; } 2>/dev/null
  [ ! -e "$place/firstlight-network.path" ] || systemctl start firstlight-network.path ||
    printf 'firstlight: networks from codes are not set up. See why: journalctl -u firstlight-network.path\n' >&2
  [ ! -e "$place/firstlight-hooks.path" ] || systemctl start firstlight-hooks.path ||
    printf 'firstlight: hooks are not run. See why: journalctl -u firstlight-hooks.path\n' >&2
  if [ "$changed" = install ] && [ ! -e "$state/registration.json" ] && [ ! -e "$state/provisioned.json" ]; then
    case $switched_on in *-provision.service*) systemctl start --no-block firstlight-provision ;; esac
    return
  fi
  # Root may just have written there. systemd hands a directory that is not the service user's over, with all in it.
  chown 0:0 "$state/."
  systemctl restart firstlight || give_up "The service does not start." "See why: journalctl -u firstlight -n 20"
  [ ! -e "$place/firstlight-upgrade.path" ] || systemctl start firstlight-upgrade.path ||
    printf 'firstlight: upgrades from the hub do not start. See why: journalctl -u firstlight-upgrade.path\n' >&2
  # Only now: until the restart the old process may still have read from the old files.
  tidy_up
  [ "$changed" != install ] || return 0
  "$agent" status --wait-online 30 >/dev/null ||
    give_up "The service runs, but no heartbeat was accepted in 30 s. It goes on trying." "See why: $agent status"
  printf 'firstlight: this box is online, and will be after each start. More:\n  %s status\n' "$agent"
}

without() {
  if [ "$changed" = yes ]; then printf 'firstlight: this box is enrolled; it beats while this runs:\n  %s run\n' "$agent"
  elif "$agent" status >/dev/null 2>&1; then printf 'firstlight: nothing to do: this box is enrolled and online\n'
  else printf 'firstlight: nothing to do: this box is enrolled; it beats while this runs: %s run\n' "$agent"; fi
}

put_units() { # sets changed, and switched_on to those that start by themselves
  switched_on=firstlight.service
  for name in firstlight.service firstlight-upgrade.service firstlight-upgrade.path firstlight-firstboot.service \
    firstlight-network.service firstlight-network.path firstlight-hooks.service firstlight-hooks.path \
    firstlight-provision.service firstlight-stick.service; do
    [ -e "$here/$name" ] || continue
    case $name in *-stick.service) target=firstlight-stick@.service ;; *) target=$name ;; esac # one for each stick
    put "$place/$target" "$(sed "s|/opt/firstlight|$prefix|g; s|/etc/firstlight/agent.toml|$config|g
      s|/etc/firstlight\([^-]\)|${config%/*}\1|g" "$here/$name")"
    case $name in
      *.path | *-firstboot.service) switched_on="$switched_on $name" ;;
      *-provision.service) [ ! -d "${here%/share}/scan" ] || switched_on="$switched_on $name" ;; # --with-scanning
    esac
  done
  if [ -d /etc/udev/rules.d ] && [ -e "$here/70-firstlight-stick.rules" ]; then
    put /etc/udev/rules.d/70-firstlight-stick.rules "$(cat "$here/70-firstlight-stick.rules")"
    udevadm control --reload 2>/dev/null || : # a container has none
  fi
  version=$(systemctl --version | sed -n '1s/^systemd \([0-9][0-9]*\).*/\1/p')
  if [ "${version:-0}" -ge 254 ] && [ -e "$here/firstlight-restart.conf" ]; then
    put "$place/firstlight.service.d/firstlight-restart.conf" "$(cat "$here/firstlight-restart.conf")"
  fi
}

put() { # FILE TEXT: whole or not at all, and only if it differs; what a killed run left goes
  for each in "$1".new.*; do [ -d "/proc/${each##*.}" ] || rm -f "$each"; done
  [ "$(cat "$1" 2>/dev/null || :)" != "$2" ] || return 0
  [ "$changed" = install ] || changed=yes
  mkdir -p "${1%/*}"
  printf '%s\n' "$2" >"$1.new.$$" # two installs at once do not share it
  chmod 644 "$1.new.$$"
  { sync "$1.new.$$" || sync || :; } 2>/dev/null && mv "$1.new.$$" "$1" # or the name reaches the disk before the text
}

tidy_up() { # what runs stays, and the one before it that could take over again
  before=''
  for each in "$prefix"/lib/*; do
    if is_named "$each" || [ ! -e "$each/lib/firstlight/cli/upgrade.py" ]; then continue; fi
    if [ -z "$before" ] || [ "$each" -nt "$before" ]; then before=$each; fi
  done
  for each in "$prefix"/lib/*; do
    is_named "$each" || [ "$each" = "$before" ] || rm -rf "$each"
  done
}

is_named() { grep -qsF "\"$1/lib\"" "$agent" "$agent-proven"; } # by a launcher

give_up() { # SENTENCE NEXT_STEP
  printf 'firstlight: %s\n  %s\n' "$1" "$2" >&2
  exit 1
}

{ main "$@"; exit; }
