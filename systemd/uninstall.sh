#!/bin/sh
# Removes what install.sh put here: service, program, settings; the registration too when told so. Needs no hub:
#   sh /opt/firstlight/lib/*/share/uninstall.sh [PURGE [DRY_RUN]]     each "yes" or "no", by default "no"
set -eu

main() {
  # The pattern above finds the release before, too.
  while :; do case ${1:-} in */uninstall.sh) shift ;; *) break ;; esac; done
  purge=${1:-no} dry_run=${2:-no}
  here=$(cd "$(dirname "$0")" && pwd)
  prefix=${here%/lib/*/share} units=/etc/systemd/system link=/usr/local/bin/firstlight
  agent=$prefix/bin/firstlight config=$prefix/etc/agent.toml
  [ "$prefix" != /opt/firstlight ] || config=/etc/firstlight/agent.toml
  if [ ! -e "$prefix/.firstlight" ] || [ "$prefix" = "$here" ]; then
    printf 'firstlight: %s is no installed agent; nothing was removed.\n' "$prefix" >&2
    exit 1
  fi
  state=$(sed -n 's/^state_dir = "\(.*\)"$/\1/p' "$config" 2>/dev/null || :)
  if grep -qs "^ExecStart=$agent " "$units/firstlight.service"; then
    remove_units
  fi
  pid=$(running_pid)
  [ -z "$pid" ] || stop_agent
  if [ "$(readlink "$link" || :)" = "$agent" ]; then act "remove $link" rm -f "$link"; fi
  if [ -n "$state" ] && [ -e "$state" ]; then
    if [ "$purge" = yes ]; then
      act "remove the registration in $state" :
      [ "$dry_run" = yes ] || purge_state
    else
      printf 'firstlight: the registration stays in %s\n' "$state"
    fi
  fi
  act "remove $config" rm -f "$config" "$config.ca"
  [ ! -d "${config%/*}/trust.d" ] || act "remove the release keys in ${config%/*}/trust.d" rm -f "${config%/*}"/trust.d/*.pub
  # This script too: nothing of it is read after main.
  act "remove the program in $prefix" rm -rf "$prefix/bin" "$prefix/lib" "$prefix/upgrade.json" "$prefix"/.new.*
  # An own prefix that still holds the registration stays ours.
  [ -e "$prefix/var" ] || act "remove $prefix" rm -f "$prefix/.firstlight"
  [ "$dry_run" = yes ] || rmdir "${config%/*}/trust.d" "${config%/*}" "$prefix" 2>/dev/null || :
  [ "$dry_run" = yes ] || printf 'firstlight: removed. The hub still lists this device.\n'
}

remove_units() {
  for name in firstlight-provision.service firstlight-hooks.path firstlight-hooks.service firstlight-network.path firstlight-network.service firstlight-upgrade.path firstlight-upgrade.service \
    firstlight-firstboot.service firstlight.service; do
    [ -e "$units/$name" ] || continue
    act "stop and disable $name" systemctl --quiet disable --now "$name"
    [ "$dry_run" = yes ] || systemctl --quiet reset-failed "$name" 2>/dev/null || : # or systemd would not forget it
    act "remove $units/$name" rm -f "$units/$name"
  done
  for each in "$units/firstlight-stick@.service" /etc/udev/rules.d/70-firstlight-stick.rules; do # nothing runs of it now
    [ ! -e "$each" ] || act "remove $each" rm -f "$each"
  done
  drop_in=$units/firstlight.service.d
  [ ! -e "$drop_in/firstlight-restart.conf" ] || act "remove $drop_in/firstlight-restart.conf" rm -f "$drop_in/firstlight-restart.conf"
  [ "$dry_run" = yes ] || rmdir "$drop_in" 2>/dev/null || : # what others put there stays
  act "let systemd forget them" systemctl daemon-reload
}

purge_state() { # only what the agent makes: the settings may name a folder that others use too
  real=$(readlink -f "$state") # the service's state directory is a link to where systemd keeps it
  for each in "$real"/registration*.json* "$real"/device.key* "$real"/device-*.key* "$real"/attempt.json* \
    "$real"/enrolled.json* "$real"/facts.json* "$real"/run.json* "$real"/seen.json* "$real"/status.json* \
    "$real"/candidate.json* "$real"/change.json* "$real"/wish.json* "$real"/upgrade-wish.json* \
    "$real"/network-wish.json* "$real"/network-result.json* "$real"/provisioned.json* "$real"/nonces.json* \
    "$real"/receipts.json* "$real"/receipts.lock "$real"/hook-*.json* "$state-hooks" \
    "$real"/upgraded.json* "$real"/firstboot.json* "$real"/spool* "$real"/lock "$real"/running "$real"/retired \
    "$real"/.*.tmp; do
    rm -rf "$each"
  done
  rmdir "$real" 2>/dev/null || printf 'firstlight: %s holds other things; they stay\n' "$real"
  if [ -L "$state" ] && [ ! -e "$state" ]; then rm -f "$state"; fi
}

running_pid() { # of the agent of this prefix, started by hand or by something else than systemd; nothing without one
  found=$("$agent" status --json 2>/dev/null | sed -n 's/.*"pid": \([0-9][0-9]*\).*/\1/p') || :
  [ -z "$found" ] || ! grep -qF "$prefix/lib/" "/proc/$found/cmdline" 2>/dev/null || printf '%s' "$found"
}

stop_agent() {
  act "stop the agent (pid $pid)" :
  [ "$dry_run" = no ] || return 0
  kill "$pid" 2>/dev/null || :
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    if [ -z "$(running_pid)" ]; then printf 'firstlight: the agent (pid %s) was stopped\n' "$pid"; return; fi
    sleep 1
  done
  printf 'firstlight: the agent (pid %s) does not end; nothing else was removed.\n  Run: kill -9 %s\n' "$pid" "$pid" >&2
  exit 1
}

act() { # WHAT COMMAND...: does it and says so, or only says so
  if [ "$dry_run" = yes ]; then printf 'firstlight: would %s\n' "$1"; return; fi
  shift
  "$@"
}

{ main "$@"; exit; }
