#!/bin/sh
# Removes what install.sh put here: service, program, settings; the registration too when told so. Needs no hub:
#   sh /opt/firstlight/lib/*/share/uninstall.sh [PURGE [DRY_RUN]]     each "yes" or "no", by default "no"
set -eu

main() {
  purge=${1:-no} dry_run=${2:-no}
  here=$(cd "$(dirname "$0")" && pwd)
  prefix=${here%/lib/*/share} unit=/etc/systemd/system/firstlight.service link=/usr/local/bin/firstlight
  agent=$prefix/bin/firstlight config=$prefix/etc/agent.toml
  [ "$prefix" != /opt/firstlight ] || config=/etc/firstlight/agent.toml
  if [ ! -e "$prefix/.firstlight" ] || [ "$prefix" = "$here" ]; then
    printf 'firstlight: %s is no installed agent; nothing was removed.\n' "$prefix" >&2
    exit 1
  fi
  state=$(sed -n 's/^state_dir = "\(.*\)"$/\1/p' "$config" 2>/dev/null || :)
  if grep -qs "^ExecStart=$agent " "$unit"; then
    act "stop and disable the service firstlight" systemctl --quiet disable --now firstlight
    act "remove $unit" rm -f "$unit"
    act "let systemd forget it" systemctl daemon-reload
  fi
  if [ "$(readlink "$link" || :)" = "$agent" ]; then act "remove $link" rm -f "$link"; fi
  if [ -n "$state" ] && [ -e "$state" ]; then
    if [ "$purge" = yes ]; then
      # The service's state directory is a link to where systemd keeps it.
      act "remove the registration in $state" rm -rf "$(readlink -f "$state")" "$state"
    else
      printf 'firstlight: the registration stays in %s\n' "$state"
    fi
  fi
  act "remove $config" rm -f "$config" "$config.ca"
  act "remove the program in $prefix" rm -rf "$prefix/bin" "$prefix/lib" # this script too: nothing of it is read after main
  # An own prefix that still holds the registration stays ours.
  [ -e "$prefix/var" ] || act "remove $prefix" rm -f "$prefix/.firstlight"
  [ "$dry_run" = yes ] || rmdir "${config%/*}" "$prefix" 2>/dev/null || :
  [ "$dry_run" = yes ] || printf 'firstlight: removed. The hub still lists this device.\n'
}

act() { # WHAT COMMAND...: does it and says so, or only says so
  if [ "$dry_run" = yes ]; then printf 'firstlight: would %s\n' "$1"; return; fi
  shift
  "$@"
}

{ main "$@"; exit; }
