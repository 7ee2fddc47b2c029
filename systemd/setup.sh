#!/bin/sh
# Makes the release that holds this script the one that runs: settings, trusted release keys, launchers, the link in
# /usr/local/bin. Run by the installers, as often as they like; prints "changed" where something was not so yet.
#   setup.sh PREFIX CONFIG STATE PYTHON PROXY KEYS     PROXY: "-" = none; KEYS: ID:BASE64 of public keys, with spaces
set -eu && umask 022

main() {
  prefix=$1 config=$2 state=$3 python=$4 proxy=$5 keys=$6
  here=$(cd "$(dirname "$0")" && pwd) agent=$prefix/bin/firstlight
  release=$prefix/lib/${here#"$prefix"/lib/} && release=${release%/share}
  [ ! -e "$prefix/upgrade.json" ] || wait_for_upgrade
  settings
  trust
  launchers
  [ "$prefix" != /opt/firstlight ] || [ -e /usr/local/bin/firstlight ] ||
    ln -sf "$agent" /usr/local/bin/firstlight 2>/dev/null ||
    printf 'firstlight: /usr/local/bin cannot be written: call %s\n' "$agent" >&2
}

wait_for_upgrade() { # until its end which release runs is its business; what was interrupted is gone on with
  printf 'firstlight: an upgrade is under way here: waiting for its end\n' >&2
  "$agent-proven" upgrade --resume >/dev/null 2>&1 || : # it may have gone back
  if [ ! -e "$prefix/upgrade.json" ] && grep -qsF "\"$release/lib\"" "$agent"; then return; fi
  printf 'firstlight: an upgrade was under way here, and nothing else was changed.\n  %s\n' \
    "Run the same command again; see also: $agent upgrade --check" >&2
  exit 1
}

put() { # FILE MODE, text on standard input: whole or not at all, also after a power cut, and only if it differs
  for left in "$1".new.*; do [ -d "/proc/${left##*.}" ] || rm -f "$left"; done
  text=$(cat)
  if [ -f "$1" ] && [ "$(cat "$1")" = "$text" ]; then return; fi
  printf 'changed\n' && mkdir -p "${1%/*}"
  (umask 077 && printf '%s\n' "$text" >"$1.new.$$" && chmod "$2" "$1.new.$$") || return
  # Otherwise the name may reach the disk before the text. Not every busybox syncs a single file.
  { sync "$1.new.$$" || sync || :; } 2>/dev/null && mv "$1.new.$$" "$1"
}

settings() {
  if [ "$proxy" = - ]; then proxy='# proxy = "http://HOST:PORT"'; else proxy="proxy = \"$proxy\""; fi
  [ -e "$config" ] || put "$config" 600 <<END
# Settings of the Firstlight agent. Made by the install script, yours to change; it is not written over.
state_dir = "$state"
$proxy
# proxy_auth_file = "FILE with USER:PASSWORD for the proxy, mode 0600"
END
}

trust() { # whose releases this box takes as an upgrade; none is ever removed here
  for each in $keys; do
    put "${config%/*}/trust.d/${each%%:*}.pub" 644 <<END
-----BEGIN PUBLIC KEY-----
${each#*:}
-----END PUBLIC KEY-----
END
  done
  for each in "$here"/trust.d/*.pub; do
    [ ! -e "$each" ] || put "${config%/*}/trust.d/${each##*/}" 644 <"$each"
  done
}

launchers() { # the first is the release that runs, the second the one that was proved last: its way back
  for each in firstlight-proven firstlight; do
    put "$prefix/bin/$each" 755 <<END
#!$python -I
import sys
sys.path.insert(0, "$release/lib")
from firstlight.cli.main import main
sys.exit(main(config="$config"))
END
  done
}

{ main "$@"; exit; }
