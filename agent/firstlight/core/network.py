"""What a network block may say: judged once where it is scanned, and again by root before anything is set up."""

from __future__ import annotations

import ipaddress
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.provision import Network

MAX_SSID_BYTES = 32
MAX_DNS = 4
MAX_ADDRESS = 64
HEX = re.compile(r"[0-9A-Fa-f]+\Z")
# How many bytes a passphrase has; where hex digits stand for the key itself, how many of those.
SIZES: dict[str, tuple[range | tuple[int, ...], tuple[int, ...]]] = {
    "wpa": (range(8, 64), (64,)),
    "sae": (range(1, 129), ()),
    "wep": ((5, 13), (10, 26)),
}


def problem_of(network: Network) -> str:
    """Why it cannot be used, as one sentence that shows no secret; "" = it can be."""
    return (_wifi_problem(network) if network.ssid else _wired_problem(network)) or _address_problem(network)


def _wired_problem(network: Network) -> str:
    if network.passphrase is not None or network.is_hidden:
        return "There is a password but no name of a Wi-Fi."
    return "" if network.address or network.dns else "It says neither a Wi-Fi nor an address."


def _wifi_problem(network: Network) -> str:
    if size_bytes(network.ssid) > MAX_SSID_BYTES or "\0" in network.ssid:
        return f"The network's name has more than {MAX_SSID_BYTES} bytes."
    if network.security == "open":
        return "" if network.passphrase is None else "An open network has no password."
    if network.security not in SIZES:
        return "The kind of security is none of wpa, sae, wep, open."
    passphrase = network.passphrase.reveal() if network.passphrase else ""
    plain, digits = SIZES[network.security]
    fits = size_bytes(passphrase) in plain or (len(passphrase) in digits and bool(HEX.match(passphrase)))
    # Its length is not said: that would tell something about a secret.
    return "" if fits and passphrase.isprintable() else "The password is missing, or none that such a network can have."


def _address_problem(network: Network) -> str:
    if network.gateway and not network.address:
        return "There is a gateway but no address."
    if any(len(each) > MAX_ADDRESS for each in (network.address, network.gateway, *network.dns)):
        return "An address in it is too long."
    try:
        own = ipaddress.ip_interface(network.address) if network.address else None
        gateway = ipaddress.ip_address(network.gateway) if network.gateway else None
        servers = [ipaddress.ip_address(each) for each in network.dns]
    except ValueError:
        return "An address in it is none."
    if own is not None and ("/" not in network.address or own.ip.is_multicast or own.ip.is_unspecified):
        return "The address needs its prefix length, as in 192.0.2.7/24."
    if own is not None and gateway is not None and own.version != gateway.version:
        return "Address and gateway are of two kinds (IPv4, IPv6)."
    if any("%" in each for each in (network.address, network.gateway, *network.dns)):
        return "An address in it names an interface."
    return f"It names more than {MAX_DNS} DNS servers." if len(servers) > MAX_DNS else ""


def size_bytes(text: str) -> int:
    """Of a text in UTF-8; what cannot be written in it counts, too."""
    return len(text.encode("utf-8", "surrogatepass"))
