#!/usr/bin/env bash
# Makes the agent's bundles, one file per architecture for every Python that a box may have, from the locked wheels:
#   packaging/bundle.sh PYTHON OUTPUT SIGN [ARCH...]      PYTHON: that of the checkout's environment; SIGN: a private
#                                                         Ed25519 key in PEM, or ""
# "make bundle OUTPUT=DIR" calls it. Needs the package registry; the hub that serves OUTPUT does not. The variable
# TRUST may name public keys, with spaces, that boxes which install from these files trust as well.
set -euo pipefail

main() {
  python=$1 output=$2 sign=$3
  shift 3
  [ $# -gt 0 ] || set -- x86_64 aarch64
  mkdir -p .cache
  cache=$(mktemp -d .cache/bundle.XXXXXX) # several may be at work
  trap 'rm -rf "$cache"' EXIT
  "$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$cache/own" .
  options=()
  [ -z "$sign" ] || options+=(--sign "$sign")
  for each in ${TRUST:-}; do options+=(--trust "$each"); done
  for arch in "$@"; do
    mkdir -p "$cache/$arch"
    cp "$cache"/own/*.whl "$cache/$arch"
    for version in 3.10 3.11 3.12 3.13; do fetch "$version" "$arch"; done
    "$python" -m firstlight_hub.bundle --wheels "$cache/$arch" --arch "$arch" --output "$output" "${options[@]}"
  done
}

fetch() { # VERSION ARCH: the wheels of one kind of box into $cache/ARCH
  fitting "$1" "$2" <packaging/requirements-scan.txt >"$cache/$2/requirements-$1.txt"
  "$python" -m pip download --quiet --quiet --no-deps --require-hashes --only-binary=:all: --dest "$cache/$2" \
    --implementation cp --python-version "$1" --platform "manylinux_2_28_$2" --platform "manylinux_2_17_$2" \
    --platform "manylinux2014_$2" -r "$cache/$2/requirements-$1.txt"
}

fitting() { # VERSION ARCH: the requirements on standard input whose marker holds there (pip asks the running Python)
  "$python" -c '
import sys
from packaging.requirements import Requirement
version, machine = sys.argv[1:]
box = {"python_version": version, "python_full_version": version + ".0", "platform_machine": machine,
       "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix",
       "platform_python_implementation": "CPython", "implementation_name": "cpython"}
for block in sys.stdin.read().replace("\\\n", "").splitlines():
    marker = Requirement(block.split(" --hash")[0]).marker
    if marker is None or marker.evaluate(box):
        print(block.split(";")[0].split(" --hash")[0], *["--hash" + part for part in block.split(" --hash")[1:]])
' "$1" "$2"
}

main "$@"
