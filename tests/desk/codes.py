"""Offline payloads as a hub makes them, for the desk's verbs."""

from __future__ import annotations

from firstlight.core.model import Secret, parse_endpoint
from firstlight.core.provision import Audience, Network, Payload
from firstlight.wire import payload as wire

TOKEN = Secret("gnbk12vah9ph8ra9")
PIN = "sha256//" + "A" * 43 + "="


def payload(name: str = "Cam", *, long: bool = False, serial: str = "") -> str:
    """A payload, unsigned: the desk leaves signatures to the box."""
    network = (
        Network("S" * 32, Secret("p" * 63), dns=("2001:db8:1::1", "2001:db8:2::2", "192.0.2.53")) if long else None
    )
    pins = tuple("sha256//" + letter * 42 + "A=" for letter in "BCDE") if long else (PIN,)
    said = Payload(
        issued_at_s=1_795_000_000,
        expires_at_s=1_797_592_000,
        nonce=b"n" * 16,
        platform="hub",
        endpoint=parse_endpoint("https://hub.site.example:8443"),
        pins=pins,
        token=TOKEN,
        device_id="cam-1",
        workspace="demo",
        name=name,
        audience=Audience(serial=serial, device_type="ai1"),
        network=network,
    )
    return wire.encode(said, "", lambda body: body)
