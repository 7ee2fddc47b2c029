say() { printf 'firstlight: %s\n' "$1"; }
fail() { printf 'firstlight: %s\n  %s\n' "$1" "$2${note:+ $note}" >&2; exit 1; } # SENTENCE NEXT_STEP
settle_prefix() { # sets agent, config, state and service from prefix
  case $prefix in # it goes into a unit file and a script's first line
    '' | [!/]* | *[!A-Za-z0-9_./+@,-]* | */.. | */../*)
      fail "--prefix needs an absolute path, not '$prefix'." "Use letters, digits and . _ - + @ , only." ;;
    /home/* | /root[!a-z]* | /tmp/* | /var/tmp/* | /run/*) service=no ;; # the service's sandbox hides these
  esac
  if [ ! -d /run/systemd/system ] || [ "$(id -u)" != 0 ]; then service=no; fi
  agent=$prefix/bin/firstlight config=$prefix/etc/agent.toml state=/var/lib/firstlight
  if [ "$prefix" = /opt/firstlight ]; then config=/etc/firstlight/agent.toml
  elif [ "$service" = no ]; then state=$prefix/var; fi
}

check_place() {
  [ "$(uname -s)" = Linux ] || fail "The agent runs on Linux, not on $(uname -s)." "Run the command on the box itself."
  [ "$(id -u)" = 0 ] || [ "$prefix" != /opt/firstlight ] ||
    fail "Installing into $prefix needs root." "Run it with sudo, or give --prefix DIR that you may write."
  [ ! -e /usr/lib/firstlight/share/managed ] || [ "$prefix" != /opt/firstlight ] || fail "This box has the Debian package firstlight." \
    "Use its agent: sudo firstlight enroll INSTALL_ID --hub ${hub_url:-https://HOST:8443} --pin '${pin:-sha256//...}'"
  set -- "${state%/*}" "${config%/*}" "$prefix"
  [ "$service" = no ] || set -- /etc/systemd/system "$@"
  for place in "$@"; do
    while [ ! -e "$place" ]; do place=$(dirname "$place"); done
    { [ -d "$place" ] && [ -w "$place" ]; } || fail "$place cannot be written." "Check its rights, and if it is read-only."
  done
  [ ! -d "$prefix" ] || [ -e "$prefix/.firstlight" ] || [ -z "$(ls -A "$prefix")" ] ||
    fail "$prefix holds other things." "Give --prefix with an own, empty directory."
  free_kb=$(df -Pk "$place" 2>/dev/null | { read -r _ && read -r _ _ _ free _ && echo "$free"; }) || free_kb=999999
  need_kb=60000; [ "$scanning" = no ] || need_kb=100000
  [ "$free_kb" -ge "$need_kb" ] ||
    fail "$place has $((free_kb / 1000)) MB free; $((need_kb / 1000)) MB are needed." "Free some space there."
}

find_python() { # sets python, kind, id and proxy; bundles: ARCH=ID=PYTHON,PYTHON...
  seen='' fitting=''
  for name in python3 python3.13 python3.12 python3.11 python3.10; do
    answer=$("$name" -I -c 'import os, sys, sysconfig
version, where, arch, proxy, verdict = sys.version_info[:2], os.path.realpath(sys.executable), "-", "", "ok"
try:
    import ctypes, fcntl, json, lzma, ssl, tarfile, urllib.parse, urllib.request as web
    _, number, arch, _, libc = sysconfig.get_config_var("SOABI").split("-")
    arch += ("-musl" if libc == "musl" else "") + ("" if number.isdigit() else "-threaded")
    if not web.proxy_bypass_environment(urllib.parse.urlsplit(sys.argv[2]).hostname or ""):
        proxy = web.getproxies_environment().get("https", "")  # kept for the service, which has no https_proxy of its own
except ImportError: verdict = "is incomplete: install the package python3"
if sys.argv[1] == "yes" and where.startswith(("/home", "/root")): verdict = "is in a home, which is hidden from services"
if not (3, 10) <= version <= (3, 13): verdict = "is too " + ("old" if version < (3, 10) else "new")
print("%d.%d" % version, where, arch, "-" if set(proxy) & set("@\"\\ ") else proxy or "-", verdict)
' "$service" "$hub_url" 2>/dev/null) || continue
    # shellcheck disable=SC2086 # words
    set -- $answer && version=$1 python=$2 arch=$3 proxy=$4 && shift 4 && verdict=$*
    [ "$verdict" = ok ] || { seen="$seen, $version $verdict"; continue; }
    kind="$arch with Python $version"; case $fitting, in *", $kind,"*) ;; *) fitting="$fitting, $kind" ;; esac
    for each in $bundles; do
      id=${each#*=} && id=${id%%=*}
      case "${each%%=*} ,${each##*=}," in "$arch "*",$version,"*) return 0 ;; esac
    done
  done
  [ -z "$fitting" ] || fail "There is no agent here for this box (${fitting#, }), only for: $offered." "$instead"
  fail "The agent needs Python 3.10 to 3.13; here${seen:-, there is none}." \
    "apt-get install python3 brings one from Debian 12, Ubuntu 22.04, JetPack 6 on; older systems must be upgraded first."
}

keep_proxy() { # sudo takes the proxy out of our surroundings, but has it in its own
  [ -z "${https_proxy:-}${HTTPS_PROXY:-}" ] && [ "$(cat "/proc/$PPID/comm" 2>/dev/null || :)" = sudo ] || return 0
  for name in https_proxy HTTPS_PROXY no_proxy NO_PROXY; do
    value=$(tr '\000' '\n' <"/proc/$PPID/environ" | sed -n "s/^$name=//p") && [ -z "$value" ] || export "$name=$value"
  done
}
make_room() { # sets tmp; others may be at work here, and what a killed run left goes
  mkdir -p "$prefix/lib" && : >>"$prefix/.firstlight" && chmod 600 "$prefix/.firstlight" # who may read may lock
  me=$$.$(cut -c 1-8 /proc/sys/kernel/random/boot_id 2>/dev/null || :) # after a power cut others have that number
  for each in "$prefix"/.new.*; do owner=${each##*/.new.}
    [ "${owner#*".${me#*.}."}" != "$owner" ] && [ -d "/proc/${owner%%.*}" ] || rm -rf "$each"; done
  tmp=$(mktemp -d "$prefix/.new.$me.XXXXXX")
}
clean_up() { # still nothing in lib: then it is as if we had never been here
  [ -z "$tmp" ] || rm -rf "$tmp"
  ! rmdir "$prefix/lib" 2>/dev/null || [ "$(ls -A "$prefix")" != .firstlight ] || rm -rf "$prefix"
}
has_registration() { "$agent" status --json 2>/dev/null | grep -q '"deviceId"'; } # whichever installId it was
proves() { # whether an agent beats as a service that can prove another release, and go back to its own
  [ "$service" = yes ] && ! grep -qsF "\"$release/lib\"" "$agent" && has_registration && "$agent" upgrade --help >/dev/null 2>&1; }
remove() { # what an earlier run installed
  set -- "$prefix"/lib/*/share/uninstall.sh
  [ -e "$1" ] || [ ! -e "$prefix/.firstlight" ] || [ "$dry_run" = yes ] || { make_room && clean_up; } # a run was killed
  [ -e "$1" ] || fail "There is no firstlight in $prefix." "Give --prefix as it was given to install."
  exec sh "$1" "$purge" "$dry_run"
}

