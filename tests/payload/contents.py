"""Any payload that the specification allows, for hypothesis."""

from __future__ import annotations

import base64
import ipaddress

from hypothesis import strategies as st

from firstlight.core.model import Endpoint, Secret, parse_endpoint
from firstlight.core.provision import Audience, Network, Payload
from firstlight.wire.payload_claims import _UNFIT

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
SHOWN = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")).filter(lambda one: not _UNFIT.search(one))
PINS = st.binary(min_size=32, max_size=32).map(lambda raw: f"sha256//{base64.b64encode(raw).decode()}")
HEX = st.text("0123456789abcdefABCDEF", min_size=64, max_size=64)
ADDRESSES = st.ip_addresses().filter(lambda each: "%" not in str(each)).map(str)


def shown(most: int) -> st.SearchStrategy[str]:
    """A text of 1 to ``most`` characters that can be shown."""
    return st.text(SHOWN, min_size=1, max_size=most)


def maybe(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One of the texts, or none."""
    return st.just("") | texts


def endpoints() -> st.SearchStrategy[Endpoint]:
    """Hosts and ports of https, and of http on this machine."""
    hosts = st.from_regex(r"[A-Za-z0-9._-]{1,60}", fullmatch=True) | st.ip_addresses(v=6).map(lambda each: f"[{each}]")
    hosts = hosts.filter(lambda host: "%" not in host)
    https = st.builds("https://{}:{}".format, hosts, st.integers(1, 65535))
    http = st.builds("http://{}:{}".format, st.sampled_from(["localhost", "127.0.0.1", "[::1]"]), st.integers(1, 65535))
    return (https | http).map(parse_endpoint)


TOKENS = st.from_regex(r"[0-9abcdefghjkmnpqrstvwxyz]{16}", fullmatch=True) | st.from_regex(
    r"[A-Za-z0-9_-]{16,64}", fullmatch=True
)


@st.composite
def networks(draw: st.DrawFn) -> Network | None:
    """Wi-Fi or wire, static or not; None where nothing was drawn."""
    ssid = draw(maybe(shown(32).filter(lambda text: len(text.encode()) <= 32)))
    security = draw(st.sampled_from(["wpa", "sae", "wep", "open"])) if ssid else "wpa"
    plain = st.characters(min_codepoint=32, max_codepoint=126)
    passphrases = {
        "wpa": st.text(plain, min_size=8, max_size=63) | HEX,
        "sae": shown(30),
        "wep": st.text(plain, min_size=5, max_size=5) | HEX.map(lambda text: text[:26]),
    }
    passphrase = draw(passphrases[security]) if ssid and security != "open" else ""
    address = draw(maybe(ADDRESSES.map(lambda each: ipaddress.ip_interface(each).with_prefixlen)))
    family = ipaddress.ip_interface(address).version if address else 4
    gateway = (
        draw(maybe(st.ip_addresses(v=family).filter(lambda each: "%" not in str(each)).map(str))) if address else ""
    )
    found = Network(
        ssid,
        Secret(passphrase) if passphrase else None,
        security,
        bool(ssid) and draw(st.booleans()),
        address,
        gateway,
        tuple(draw(st.lists(ADDRESSES, max_size=3))),
    )
    return found if found != Network() else None


@st.composite
def audiences(draw: st.DrawFn) -> Audience | None:
    """Some of the three, or None."""
    key_hash = draw(maybe(st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)))
    found = Audience(draw(maybe(shown(64))), draw(maybe(shown(64))), key_hash)
    return found if any(found) else None


@st.composite
def payloads(draw: st.DrawFn) -> Payload:
    """Any payload that the specification allows."""
    issued = draw(st.integers(0, 253_402_300_798))
    is_finished = draw(st.booleans())
    credential = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=256)
    return Payload(
        issued,
        draw(st.integers(issued + 1, 253_402_300_799)),
        draw(st.binary(min_size=16, max_size=16)),
        "hub",
        draw(endpoints()),
        tuple(draw(st.lists(PINS, max_size=4))),
        None if is_finished else Secret(draw(TOKENS)),
        Secret(draw(credential)) if is_finished else None,
        draw(NAMES) if is_finished else draw(maybe(NAMES)),
        draw(maybe(NAMES)),
        draw(maybe(shown(64))),
        draw(st.sampled_from(["", "http", "mqtt", "websocket"])),
        draw(audiences()),
        draw(networks()),
    )
