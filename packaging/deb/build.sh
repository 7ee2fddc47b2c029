#!/usr/bin/env bash
# Makes the Debian packages: the agent's for each processor, the hub's for each distribution's Python and processor.
#   packaging/deb/build.sh PYTHON BUNDLES OUTPUT [PACKAGE...]
#     PYTHON    that of the checkout's environment; nfpm lies beside it
#     BUNDLES   folder with the bundles of this version ("make bundle" makes them)
#     PACKAGE   firstlight_amd64, firstlight-scanning_amd64, firstlight-hub~deb12_arm64 and so on (see ALL); without one, all of them
# The variable TRUST may name public keys (Ed25519 in PEM), with spaces: the agent's package brings them into
# /etc/firstlight/trust.d, so that a box takes this hub's codes from the start.
# "make deb" calls it. Needs no root, no dpkg and no compiler; for the hub's libraries, the package registry. Two builds of
# the same sources give the same bytes.
set -euo pipefail
umask 022

ALL=(firstlight_{amd64,arm64} firstlight-scanning_{amd64,arm64} firstlight-hub~{ubuntu22.04,deb12,ubuntu24.04,deb13}_{amd64,arm64})
# Only a package brings manual pages.
DOCUMENTED='s|^Description=.*|&\nDocumentation=man:@PACKAGE@(8)|'

main() {
  python=$(absolute "$1") bundles=$(absolute "$2") output=$(mkdir -p "$3" && absolute "$3")
  shift 3
  cd "$(dirname "$0")/../.."
  here=$PWD/packaging/deb cache=$PWD/.cache/deb
  mkdir -p "$cache"
  exec 9>"$cache/.making" # one at a time
  flock 9
  # Every file in a package is as old as its changelog's newest entry.
  SOURCE_DATE_EPOCH=$(date -u +%s -d "$(sed -n '/^ -- /{s/.*>  //p;q}' "$here/changelog")")
  export SOURCE_DATE_EPOCH
  [ $# -gt 0 ] || set -- "${ALL[@]}"
  for wanted in "$@"; do
    rm -rf "$cache/stage"
    root=$cache/stage/root deb_arch=${wanted#*_}
    case $deb_arch in
      amd64) arch=x86_64 ;;
      arm64) arch=aarch64 ;;
      *) fail "There is no package $wanted." ;;
    esac
    bundle=$(the_bundle "$arch")
    version=${bundle##*/firstlight-} version=${version%-"$arch".tar}
    case $wanted in
      firstlight_*) make_agent ;;
      firstlight-scanning_*) make_scanning ;;
      firstlight-hub~*) distribution=${wanted#*~} distribution=${distribution%_*}; make_hub ;;
      *) fail "There is no package $wanted." ;;
    esac
  done
  rm -rf "$cache/stage"
}

absolute() { (cd "$(dirname "$1")" && printf '%s/%s\n' "$PWD" "$(basename "$1")"); }
fail() { echo "packaging/deb/build.sh: $1" >&2; exit 1; }

the_bundle() { # ARCH: the one bundle for it
  local found=("$bundles"/firstlight-*-"$1".tar)
  [ ${#found[@]} = 1 ] && [ -f "${found[0]}" ] || fail "$bundles does not hold one bundle for $1. Make it with: make bundle"
  printf '%s\n' "${found[0]}"
}

# ---- the agent -----------------------------------------------------------------------------------------------------

make_agent() {
  package=firstlight place=usr/lib/firstlight deb_version=$version pythons="3.10 3.14"
  unpack
  mkdir -p "$root/usr/lib/firstlight/share"
  mv "$unpacked/lib" "$root/usr/lib/firstlight/lib"
  echo deb >"$root/usr/lib/firstlight/share/managed"
  launcher firstlight "/usr/lib/firstlight/lib" "from firstlight.cli.main import main
sys.exit(main(config=\"/etc/firstlight/agent.toml\"))"
  for unit in firstlight.service firstlight-firstboot.service firstlight-network.service firstlight-network.path \
    firstlight-hooks.service firstlight-hooks.path \
    firstlight-provision.service firstlight-stick.service; do
    sed "${DOCUMENTED/@PACKAGE@/$package}; s|/opt/firstlight/bin/|/usr/bin/|" "$unpacked/share/$unit" | put "usr/lib/systemd/system/${unit/-stick./-stick@.}"
  done
  put usr/lib/udev/rules.d/70-firstlight-stick.rules <"$unpacked/share/70-firstlight-stick.rules"
  put usr/share/firstlight/firstlight-restart.conf <"$unpacked/share/firstlight-restart.conf"
  put etc/firstlight/trust.d/README <"$here/agent/trust.d-README"
  put etc/firstlight/agent.toml <"$here/agent/agent.toml"
  chmod 600 "$root/etc/firstlight/agent.toml"
  # shellcheck disable=SC2086 # several
  "$python" - "$root/etc/firstlight/trust.d" ${TRUST:-} <<'END'
import pathlib, sys
from firstlight.wire.bounded import WireError
from firstlight.wire.bundle import read_public_key

for name in sys.argv[2:]:
    try:
        pem = pathlib.Path(name).read_bytes()
        key_id, _ = read_public_key(pem)
    except (OSError, WireError) as error:
        sys.exit(f"packaging/deb/build.sh: {name}: {error}. TRUST names public Ed25519 keys in PEM.")
    pathlib.Path(sys.argv[1], f"{key_id}.pub").write_bytes(pem)
END
  manual firstlight.8 firstlight-agent.toml.5
  finish agent "$here/copyright/agent"
}

make_scanning() { # what reads codes, beside the agent's own libraries
  package=firstlight-scanning place=usr/lib/firstlight/scan deb_version=$version pythons="3.10 3.14"
  unpack
  [ -d "$unpacked/scan" ] || fail "$bundle has nothing that reads codes. Make it with: make bundle"
  mkdir -p "$root/usr/lib/firstlight"
  mv "$unpacked/scan" "$root/usr/lib/firstlight/scan"
  gzip -9n <"$(echo "$root/$place"/pillow-*.dist-info/licenses/LICENSE)" | put usr/share/doc/$package/pillow-licences.gz
  finish scanning "$here/copyright/scanning"
}

unpack() { # the payload of the bundle
  unpacked=$cache/stage/payload
  mkdir -p "$unpacked"
  tar -xOf "$bundle" payload.tar.gz | tar -xz -C "$unpacked" --no-same-owner
}

# ---- the hub -------------------------------------------------------------------------------------------------------

make_hub() {
  case $distribution in
    ubuntu22.04) pythons="3.10 3.11" ;;
    deb12) pythons="3.11 3.12" ;;
    ubuntu24.04) pythons="3.12 3.13" ;;
    deb13) pythons="3.13 3.14" ;;
    *) fail "There is no distribution $distribution." ;;
  esac
  package=firstlight-hub place=usr/lib/firstlight-hub deb_version=$version~$distribution
  fetch_wheels "${pythons% *}" "$arch"
  unpack_wheels "$cache/wheels/${pythons% *}-$arch" "$root/usr/lib/firstlight-hub"
  launcher firstlight-hub /usr/lib/firstlight-hub "from firstlight_hub.cli import main
sys.exit(main())"
  # Serves boxes of every processor from its first start, with no way to anywhere.
  mkdir -p "$root/usr/lib/firstlight-hub/firstlight_hub/bundles"
  for each in x86_64 aarch64; do
    cp "$(the_bundle "$each")" "$root/usr/lib/firstlight-hub/firstlight_hub/bundles/"
  done
  hub_unit <systemd/firstlight-hub.service | put usr/lib/systemd/system/firstlight-hub.service
  manual firstlight-hub.8
  sed 's|usr/lib/firstlight/lib/|usr/lib/firstlight-hub/|' "$here/copyright/agent" >"$cache/stage/agent-copyright"
  finish hub "$cache/stage/agent-copyright" "$here/copyright/hub"
}

hub_unit() { # the unit on standard input, for this layout; started only once a hub was set up
  sed -e "${DOCUMENTED/@PACKAGE@/$package}" -e 's|/opt/firstlight-hub/bin/|/usr/bin/|' -e '/^# .*virtual environment/d; /^# \/opt\/firstlight-hub\. Install:/d' \
    -e '/^ConditionPathExists=/d; s|^\[Unit\]$|&\nConditionPathExists=/var/lib/firstlight-hub/hub.toml|'
}

fetch_wheels() { # PYTHON ARCH: agent, hub and all they need, into $cache/wheels/PYTHON-ARCH
  local folder=$cache/wheels/$1-$2 want=$cache/stage/requirements.txt
  mkdir -p "$folder" "$cache/stage"
  rm -f "$folder"/firstlight*.whl
  "$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$folder" . ./hub
  "$python" - "$1" "$2" >"$want" <<'END'
import sys
from firstlight_hub.closure import environment, holds

where = environment(sys.argv[1] + ".0", sys.argv[2])
for block in open("packaging/requirements-hub.txt").read().replace("\\\n", "").splitlines():
    need, *hashes = block.split(" --hash")
    need, _, marker = need.partition(";")
    if holds(marker, where):
        print(need, *["--hash" + each for each in hashes])
END
  # What was fetched for this list already is taken as it is.
  ! cmp -s "$want" "$folder/requirements.txt" || return 0
  find "$folder" -name '*.whl' ! -name 'firstlight*' -delete
  "$python" -m pip download --quiet --no-deps --require-hashes --only-binary=:all: --dest "$folder" \
    --implementation cp --python-version "$1" --platform "manylinux_2_28_$2" --platform "manylinux_2_17_$2" \
    --platform "manylinux2014_$2" -r "$want"
  mv "$want" "$folder/requirements.txt"
}

unpack_wheels() { # FOLDER PLACE: what a hub reads at run time; no sources of compiled modules, types, tests, nor the C parser
  mkdir -p "$2"
  "$python" - "$1" "$2" <<'END'
import pathlib, re, sys, zipfile

unused = re.compile(r"\.(pyi|typed|pyx|pxd|c|h|rs|pyc|pth)$|(^|/)(tests?|__pycache__|[.][^/]*)/|/$|^cffi/|/RECORD$|/WHEEL$|/top_level")
wheels, place = map(pathlib.Path, sys.argv[1:])
for wheel in sorted(wheels.glob("*.whl")):
    if wheel.name.startswith("pycparser-"):
        continue
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if unused.search(name) or ".." in name:
                continue
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            with (place / name).open("xb") as file:
                file.write(archive.read(name))
END
}

# ---- both ----------------------------------------------------------------------------------------------------------

put() { # FILE of the package, its text on standard input
  mkdir -p "$root/$(dirname "$1")"
  cat >"$root/$1"
}

launcher() { # NAME FOLDER LINES
  put "usr/bin/$1" <<<"#!/usr/bin/python3 -I
import sys
sys.path.insert(0, \"$2\")
$3"
  chmod 755 "$root/usr/bin/$1"
}

manual() { # PAGE...
  for page in "$@"; do
    sed "s/@VERSION@/$version/" "packaging/man/$page" | gzip -9n | put "usr/share/man/man${page##*.}/$page.gz"
  done
}

finish() { # KIND COPYRIGHT...: what every package has, then the package itself
  local kind=$1 documents=$root/usr/share/doc/$package
  shift
  mkdir -p "$documents"
  cat "$@" "$here/copyright/licences" >"$documents/copyright"
  sed "s/^firstlight (\([^)]*\))/$package (\1${deb_version#"$version"})/" "$here/changelog" | gzip -9n >"$documents/changelog.gz"
  [ ! -f "$here/$kind/sysusers.conf" ] || put "usr/lib/sysusers.d/$package.conf" <"$here/$kind/sysusers.conf"
  [ ! -f "packaging/completion/$package.bash" ] ||
    put "usr/share/bash-completion/completions/$package" <"packaging/completion/$package.bash"
  put "usr/share/lintian/overrides/$package" <"$here/$kind/lintian-overrides"
  put "usr/share/python3/runtime.d/$package.rtupdate" <"$here/$kind/rtupdate"
  chmod 755 "$root/usr/share/python3/runtime.d/$package.rtupdate"
  find "$root/$place" -type f -exec chmod 644 {} +
  find "$root/$place" -type f \( -name '*.sh' -o -name '*.sh.j2' \) -exec grep -lZ '^#!' {} + | xargs -0r chmod 755
  # Licences are in the copyright file, as Debian wants them; scripts in libraries are not run.
  find "$root/$place" -path '*.dist-info/licenses' -prune -exec rm -rf {} +
  find "$root/$place" -path '*.dist-info/*' -iregex '.*/\(LICEN[CS]E\|COPYING\|NOTICE\|AUTHORS\)[^/]*' -delete
  find "$root/$place" -name '*.py' -exec sed -i '1{/^#!/d}' {} +
  sed -e "s/@ARCH@/$deb_arch/; s/@VERSION@/$deb_version/" \
    -e "s/@PYTHON@/python3 (>= ${pythons% *}), python3 (<< ${pythons#* })/; s/@GLIBC@/$(glibc)/" \
    -e "s|@ROOT@|$root|; s|@HERE@|$here|" "$here/$kind/nfpm.yaml" >"$cache/stage/nfpm.yaml"
  find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
  file=$output/${package}_${deb_version}_$deb_arch.deb
  "$(dirname "$python")/nfpm" package --config "$cache/stage/nfpm.yaml" --packager deb --target "$file.new" >"$cache/nfpm.log" \
    || { cat "$cache/nfpm.log" >&2; exit 1; }
  mv "$file.new" "$file"
  printf '%s  %s\n' "$(sha256sum <"$file" | cut -d ' ' -f 1)" "$file"
}

glibc() { # the newest glibc that any compiled module asks for
  find "$root" -name '*.so' -exec grep -aoh 'GLIBC_2\.[0-9]*' {} + | sort -t . -k 2 -n | tail -n 1 | cut -d _ -f 2
}

main "$@"
