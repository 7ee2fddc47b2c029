#!/usr/bin/env bash
# Makes the agent's bundle for every Python and processor that a box may have, from the locked wheels:
#   packaging/bundle.sh PYTHON OUTPUT [VERSION-ARCH...]      PYTHON: that of the checkout's environment
# "make bundle OUTPUT=DIR" calls it. Needs the package registry; the hub that serves OUTPUT does not.
set -euo pipefail

main() {
  python=$1 output=$2
  shift 2
  [ $# -gt 0 ] || set -- 3.1{0,1,2,3}-{x86_64,aarch64}
  cache=.cache/bundle
  rm -rf "$cache/own"
  "$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$cache/own" .
  for target in "$@"; do
    fetch "${target%%-*}" "${target#*-}"
    "$python" -m firstlight_hub.bundle --wheels "$cache/$target" --python "${target%%-*}" --arch "${target#*-}" --output "$output"
  done
}

fetch() { # VERSION ARCH: the wheels of one kind of box into $cache/VERSION-ARCH
  folder=$cache/$1-$2
  rm -rf "$folder"
  mkdir -p "$folder"
  cp "$cache"/own/*.whl "$folder"
  fitting "$1" "$2" <packaging/requirements-agent.txt >"$folder/requirements.txt"
  "$python" -m pip download --quiet --no-deps --require-hashes --only-binary=:all: --dest "$folder" \
    --implementation cp --python-version "$1" --platform "manylinux_2_28_$2" --platform "manylinux_2_17_$2" \
    --platform "manylinux2014_$2" -r "$folder/requirements.txt"
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
