"""Everything on a box that an install could leave behind: to be compared with what was there before."""

from __future__ import annotations

from tests.system.box import Box

# What any booted system writes by itself; without the journal, which Box.files leaves out.
BY_ITSELF = (
    *("/var/log/", "/var/lib/systemd/", "/etc/machine-id", "/etc/.updated", "/var/.updated", "/var/cache/ldconfig"),
    *("/var/lib/private", "/var/lib/dbus", "/var/lib/sudo", "/run/sudo"),
)
PRIVATE = "/systemd-private-"  # the /tmp of other services
MEMORY = ("/run", "/dev/shm")
ASKED = {
    "users": "getent passwd; getent group; cat /etc/shadow",
    "unit files": "systemctl list-unit-files --no-pager --no-legend",
    "units": "systemctl list-units --all --no-pager --plain --no-legend --type=service,path,timer,socket,target | "
    "cut -d' ' -f1 | grep -i -e firstlight -e failed || echo none",
    "processes": "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -i '[f]irstlight' || echo none",
    "mounts": "cut -d' ' -f2 /proc/mounts | sort",
    "listening": "ss -lnx | grep -i firstlight || echo none",
}


def disk(box: Box) -> dict[str, tuple[int, int, int, int]]:
    """Every file on the disk with mode, owner, size and time of change, without what a system writes by itself."""
    return {
        name: found for name, found in box.files().items() if not name.startswith(BY_ITSELF) and PRIVATE not in name
    }


def state(box: Box) -> dict[str, str]:
    """What else a box has."""
    found = {what: box.sh(command).stdout for what, command in ASKED.items()}
    shown = box.sh(f"find {' '.join(MEMORY)} -iname '*firstlight*'").stdout
    return {**found, "memory": shown, "systemd": box.sh("ls /var/lib/systemd /var/lib/private 2>&1; true").stdout}
