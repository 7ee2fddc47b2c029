"""Check of the network on this side: is there a cable or Wi-Fi, and a way out."""

from __future__ import annotations

import ipaddress
import os
import re

from firstlight.core.diagnosis import Finding, failed, noted, passed, warned

MAX_NAMES = 64
UP = ("up", "unknown")  # tunnels and virtual cables do not know
RTF_UP = 0x1
LOCAL = re.compile(r"localhost\Z|127\.|::1\Z|\[::1\]\Z")


def route(host: str, top: str = "/") -> Finding:
    """Interfaces and default routes as the kernel has them.

    Args:
        host: of the hub, "" where none is known; a hub on this very machine needs no network.
        top: takes the place of ``/``.
    """
    if LOCAL.match(host):
        return passed("route", "What is asked is on this machine: no network is needed.")
    interfaces = _interfaces(os.path.join(top, "sys/class/net"))
    up = [name for name, state in interfaces.items() if state in UP]
    detail = {"interfaces": interfaces}
    if not up:
        seen = ", ".join(f"{name} {state}" for name, state in interfaces.items()) or "there is none"
        fix = "Plug the network cable in at both ends, or connect the Wi-Fi; look at the light beside the socket."
        return failed("route", f"No network interface is connected ({seen}).", fix, detail=detail)
    ways = _default_routes(top)
    if not ways:
        near = _is_near(host, top)
        if near:
            return passed("route", f"Connected by {', '.join(up)}, in one network with the platform.", detail=detail)
        fix = "Check that the network gives this box an address and a gateway (DHCP): ip address; ip route"
        said = f"{', '.join(up)} is connected, but there is no default route: only its own network is reached."
        # Of a name it is not known yet where it leads: on a closed site all may be as it should be.
        return (noted if near is None else warned)("route", said, fix, detail=detail)
    return passed("route", f"Connected by {', '.join(ways)}.", ways=ways, detail=detail)


def _interfaces(folder: str) -> dict[str, str]:
    try:
        names = sorted(os.listdir(folder))[:MAX_NAMES]
    except OSError:
        return {}
    found = {name: _read(os.path.join(folder, name, "operstate")).strip() for name in names if name != "lo"}
    return {name: state for name, state in found.items() if state}


def _default_routes(top: str) -> list[str]:
    """Interfaces of default routes, with the gateway of IPv4: proc(5), /proc/net/route and ipv6_route."""
    found: dict[str, str] = {}
    for line in _read(os.path.join(top, "proc/net/route")).splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == fields[7] == "00000000" and int(fields[3], 16) & RTF_UP:
            number = bytes.fromhex(fields[2])[::-1]
            found[fields[0]] = f" (gateway {'.'.join(map(str, number))})" if any(number) else ""
    for line in _read(os.path.join(top, "proc/net/ipv6_route")).splitlines():
        fields = line.split()
        if len(fields) > 9 and fields[0].strip("0") == "" and fields[1] == "00" and fields[9] != "lo":
            found.setdefault(fields[9], " (IPv6)")
    return [name + what for name, what in found.items()]


def _is_near(host: str, top: str) -> bool | None:
    """Whether an IPv4 address lies in a network with a route of its own; None for anything else."""
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return None
    for line in _read(os.path.join(top, "proc/net/route")).splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and int(fields[3], 16) & RTF_UP:
            network, mask = (int.from_bytes(bytes.fromhex(fields[at])[::-1], "big") for at in (1, 7))
            if int(address) & mask == network:
                return True
    return False


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(65_536)
    except OSError:
        return ""
