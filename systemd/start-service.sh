#!/bin/sh
# Makes the installed agent a service: install.sh runs it from the bundle, as root, where systemd is.
#   start-service.sh PREFIX CONFIG STATE CHANGED     CHANGED: "yes" restarts a running service
set -eu

main() {
  prefix=$1 config=$2 state=$3 changed=$4
  here=$(dirname "$0") agent=$prefix/bin/firstlight unit=/etc/systemd/system/firstlight.service
  wanted=$(sed "s|/opt/firstlight|$prefix|; s|:/etc/firstlight/agent.toml|:$config|" "$here/firstlight.service")
  if [ "$(cat "$unit" 2>/dev/null || :)" != "$wanted" ]; then
    changed=yes
    printf '%s\n' "$wanted" >"$unit.new"
    chmod 644 "$unit.new"
    mv "$unit.new" "$unit"
  fi
  if [ "$changed" = no ] && systemctl --quiet is-active firstlight && systemctl --quiet is-enabled firstlight; then
    printf 'firstlight: nothing to do: this box is enrolled and the service runs. More: %s status\n' "$agent"
    return
  fi
  # Root may just have written there. systemd hands a directory that is not the service user's over, with all in it.
  chown 0:0 "$state/."
  systemctl daemon-reload
  systemctl --quiet enable firstlight
  systemctl restart firstlight || give_up "The service does not start." "See why: journalctl -u firstlight -n 20"
  # Only now: until the restart the old process may still have read from the old files.
  for each in "$prefix"/lib/*; do
    [ "$each/share" -ef "$here" ] || rm -rf "$each"
  done
  "$agent" status --wait-online 30 >/dev/null ||
    give_up "The service runs, but no heartbeat was accepted in 30 s. It goes on trying." "See why: $agent status"
  printf 'firstlight: this box is online, and will be after each start. More:\n  %s status\n' "$agent"
}

give_up() { # SENTENCE NEXT_STEP
  printf 'firstlight: %s\n  %s\n' "$1" "$2" >&2
  exit 1
}

{ main "$@"; exit; }
