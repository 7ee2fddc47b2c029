"""``audience`` and ``network`` in the body of create and of another invitation: JSON -> nouns.

Names and types are checked here, each refused by its name; what a value may be says ``wire.payload_claims``.
"""

from __future__ import annotations

import re

from firstlight.core.model import Secret
from firstlight.core.provision import Audience, Network
from firstlight_hub.model import Refusal
from firstlight_hub.service.devices import OfflineWish

AUDIENCE = ("deviceType", "serial", "keyHash")
NETWORK = ("ssid", "passphrase", "security", "hidden", "address", "gateway", "dns")


def read_wish(body: dict[str, object]) -> OfflineWish:
    """What an offline payload is to say beside the rest. Raises Refusal ``bad_request``, which names the field."""
    audience, network = _object(body, "audience", AUDIENCE), _object(body, "network", NETWORK)
    return OfflineWish(
        Audience(*(_text(audience, "audience", name) for name in AUDIENCE)) if audience else None,
        _network(network) if network else None,
    )


def _network(source: dict[str, object]) -> Network:
    ssid, passphrase, security, address, gateway = (
        _text(source, "network", name) for name in ("ssid", "passphrase", "security", "address", "gateway")
    )
    hidden, dns = source.get("hidden", False), source.get("dns", [])
    if not isinstance(hidden, bool):
        raise Refusal("bad_request", "network.hidden is not true or false.")
    if not isinstance(dns, list) or not all(isinstance(one, str) for one in dns):
        raise Refusal("bad_request", "network.dns is not a list of texts.")
    secret = Secret(passphrase) if passphrase else None
    usual = ("wpa" if secret else "open") if ssid else Network().security
    return Network(ssid, secret, security or usual, hidden, address, gateway, tuple(dns))


def _object(body: dict[str, object], name: str, known: tuple[str, ...]) -> dict[str, object]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict) or not value:
        raise Refusal("bad_request", f"{name} is not an object with something in it.")
    if unknown := [one for one in value if one not in known]:
        raise Refusal("bad_request", f"{name}.{unknown[0][:40]} is not known: use {', '.join(known)}.")
    return value


def _text(source: dict[str, object], of: str, name: str) -> str:
    if name not in source:
        return ""
    value = source[name]
    if not isinstance(value, str) or not value or len(value) > 256:
        raise Refusal("bad_request", f"{of}.{name} is not a text of 1 to 256 characters.")
    if name == "keyHash" and not re.fullmatch("sha256:[0-9a-f]{64}", value):
        raise Refusal("bad_request", f"{of}.{name} is not sha256: and 64 hex digits.")
    return value
