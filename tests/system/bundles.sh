#!/usr/bin/env bash
# Makes the agent's bundle for the boxes that the tests boot, once for each state of the sources:
#   tests/system/bundles.sh PYTHON FOLDER      prints its path; PYTHON: that of the checkout's environment
# Run it before the tests where the registry is reached through a proxy: the tests themselves run without one.
set -euo pipefail

main() {
  python=$1 folder=$2
  cd "$(dirname "$0")/../.."
  mkdir -p "$folder"
  exec 9>"$folder/.making" # one at a time: the second finds what the first has made
  flock 9
  if [ ! -e "$folder/.made" ] || [ -n "$(newer)" ]; then
    new=$(mktemp -d "$folder/.new.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    touch "$new/.made"
    packaging/bundle.sh "$python" "$new" "" "$(uname -m)" >&2
    # Only now, and each as a whole: others may be copying what is there.
    for old in "$folder"/firstlight-*; do
      [ -e "$new/${old##*/}" ] || rm -f "$old"
    done
    mv "$new"/firstlight-* "$new/.made" "$folder/"
  fi
  ls "$folder"/firstlight-*
}

newer() { # sources changed since
  find agent systemd pyproject.toml packaging/bundle.sh packaging/*.txt hub/firstlight_hub install.sh.j2 \
    tests/system/bundles.sh \( -name __pycache__ -o -path 'hub/firstlight_hub/*/*' \) -prune -o \
    -type f -newer "$folder/.made" -print -quit
}

main "$@"
