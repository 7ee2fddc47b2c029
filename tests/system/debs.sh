#!/usr/bin/env bash
# Makes the Debian packages that the tests install, once for each state of the sources:
#   tests/system/debs.sh PYTHON FOLDER      prints their paths; PYTHON: that of the checkout's environment
# Run it before the tests where the registry is reached through a proxy: the tests themselves run without one.
set -euo pipefail

main() {
  python=$1 folder=$2
  cd "$(dirname "$0")/../.."
  mkdir -p "$folder"
  exec 8>"$folder/.making" # one at a time: the second finds what the first has made
  flock 8
  if [ ! -e "$folder/.made" ] || [ -n "$(newer)" ]; then
    started=$(mktemp "$folder/.started.XXXXXX")
    rm -rf "$folder"/bundles "$folder"/*.deb
    mkdir -p "$folder/bundles"
    # A hub carries both; the one for this machine is there for other tests already.
    tests/system/bundles.sh "$python" "$folder/../bundles" | xargs -d '\n' cp -t "$folder/bundles"
    for arch in x86_64 aarch64; do
      ls "$folder/bundles"/*-"$arch".tar >/dev/null 2>&1 || packaging/bundle.sh "$python" "$folder/bundles" "" "$arch" >&2
    done
    machine=$(dpkg --print-architecture)
    packaging/deb/build.sh "$python" "$folder/bundles" "$folder" \
      "firstlight_$machine" "firstlight-scanning_$machine" "firstlight-hub~deb12_$machine" "firstlight-hub~deb13_$machine" >&2
    mv "$started" "$folder/.made"
  fi
  ls "$folder"/*.deb
}

newer() { # sources changed since
  find agent systemd packaging pyproject.toml hub tests/system/debs.sh \
    -name __pycache__ -prune -o -type f -newer "$folder/.made" -print -quit
}

main "$@"
