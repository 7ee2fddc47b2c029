"""The claims of an offline payload: ``Payload`` <-> a map with whole numbers as keys (docs/offline-payload.md).

4, 6 and 7 are CWT's (RFC 8392): expiry, issue, id. The others are ours, negative. What is left out is "" or None. Each
value is checked in both directions, and has one form only, so that there is one text for one payload.
"""

from __future__ import annotations

import binascii
import ipaddress
import re

from firstlight.core.model import IDENTIFIER, INSTALL_ID, Endpoint, Secret, parse_endpoint
from firstlight.core.provision import Audience, Network, Payload
from firstlight.errors import InvitationError
from firstlight.wire import typed_code
from firstlight.wire.bounded import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

# Those whose boxes take in a payload; with "hub" the claim is left out.
PLATFORMS = ("hub",)
TRANSPORTS = ("http", "mqtt", "websocket")
SECURITIES = ("wpa", "sae", "wep", "open")

EXPIRES, ISSUED, NONCE = 4, 6, 7
ENDPOINT, PINS, TOKEN, CREDENTIAL, DEVICE_ID, WORKSPACE, NAME, PLATFORM, TRANSPORT, AUDIENCE, NETWORK = range(
    -1, -12, -1
)
TYPE, SERIAL, KEY_HASH = 1, 2, 3
SSID, PASSPHRASE, SECURITY, HIDDEN, ADDRESS, GATEWAY, DNS = 1, 2, 3, 4, 5, 6, 7
KNOWN = (EXPIRES, ISSUED, NONCE, *range(ENDPOINT, NETWORK - 1, -1))

MAX_MOMENT_S = 253_402_300_799  # the end of the year 9999
NONCE_BYTES = 16
PIN_BYTES = 32
MAX_PINS = 4
MAX_NAME = 256
MAX_WORD = 64  # of a device type or a serial
MAX_SSID_BYTES = 32
MAX_DNS = 3
_HTTPS = "https://"
_SECRET = re.compile(r"[\x21-\x7e]{8,256}\Z")
_KEY_HASH = re.compile(r"sha256:[0-9a-f]{64}\Z")
# Control characters, halves of a pair, and those that turn the direction of a line: they would spoil what is shown.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_WEP_BYTES = (5, 13)
_HEX = re.compile(r"[0-9A-Fa-f]+\Z")


def to_claims(payload: Payload) -> dict[int, object]:
    """``Payload`` -> claims. What would be refused on a box is not checked here: ``payload.encode`` does."""
    audience, network = payload.audience or Audience(), payload.network
    token = payload.token.reveal() if payload.token else ""
    packed = typed_code.pack(token)
    claims: dict[int, object] = {
        EXPIRES: payload.expires_at_s,
        ISSUED: payload.issued_at_s,
        NONCE: payload.nonce,
        ENDPOINT: payload.endpoint.url.removeprefix(_HTTPS),
        PINS: b"".join(binascii.a2b_base64(pin.removeprefix("sha256//")) for pin in payload.pins),
        TOKEN: token if packed is None else packed,
        CREDENTIAL: payload.credential.reveal() if payload.credential else "",
        DEVICE_ID: payload.device_id,
        WORKSPACE: payload.workspace,
        NAME: payload.name,
        PLATFORM: "" if payload.platform == PLATFORMS[0] else payload.platform,
        TRANSPORT: payload.transport,
        AUDIENCE: _given(
            {
                TYPE: audience.device_type,
                SERIAL: audience.serial,
                KEY_HASH: bytes.fromhex(audience.key_hash.removeprefix("sha256:")),
            }
        ),
        NETWORK: _network_claims(network) if network else None,
    }
    return {name: value for name, value in claims.items() if name in (EXPIRES, ISSUED) or value}


def _network_claims(network: Network) -> dict[int, object]:
    return _given(
        {
            SSID: network.ssid,
            PASSPHRASE: network.passphrase.reveal() if network.passphrase else "",
            SECURITY: "" if network.security == SECURITIES[0] or not network.ssid else network.security,
            HIDDEN: network.is_hidden,
            ADDRESS: network.address,
            GATEWAY: network.gateway,
            DNS: list(network.dns),
        }
    )


def _given(source: dict[int, object]) -> dict[int, object]:
    return {name: value for name, value in source.items() if value}


def from_claims(source: object) -> Payload:
    """Claims -> ``Payload``.

    Raises:
        WireError: not what the specification allows; with the code ``payload_unsupported`` where it may be right, but
            not for this version.
    """
    claims = _map(source, "the whole")
    for name in claims:
        if name not in KNOWN:
            raise WireError(f"there is a claim {name}, which this version does not know", "payload_unsupported")
    platform = _optional(claims, PLATFORM, "platform", str, IDENTIFIER) or PLATFORMS[0]
    if platform not in PLATFORMS:
        raise WireError(f"it is for the platform {platform!r}, which this version does not know", "payload_unsupported")
    issued, expires = _moment(claims, ISSUED, "the moment of issue"), _moment(claims, EXPIRES, "the expiry")
    if issued >= expires:
        raise WireError("it expires before it was issued")
    token, credential = _token(claims.get(TOKEN)), _optional(claims, CREDENTIAL, "credential", str, _SECRET)
    device_id = _optional(claims, DEVICE_ID, "device id", str, IDENTIFIER)
    if bool(token) == bool(credential):
        raise WireError("it has not exactly one of token and credential")
    if credential and not device_id:
        raise WireError("it has a credential, but no device id")
    return Payload(
        issued,
        expires,
        _required(claims, NONCE, "nonce", bytes, lambda nonce: len(nonce) == NONCE_BYTES),
        platform,
        _endpoint(_required(claims, ENDPOINT, "endpoint", str, lambda text: len(text) <= 300)),
        _pins(_optional(claims, PINS, "list of pins", bytes, None) or b""),
        Secret(token) if token else None,
        Secret(credential) if credential else None,
        device_id or "",
        _optional(claims, WORKSPACE, "workspace", str, IDENTIFIER) or "",
        _shown(claims, NAME, "name", MAX_NAME),
        _one_of(claims, TRANSPORT, "transport", TRANSPORTS),
        _audience(claims[AUDIENCE]) if AUDIENCE in claims else None,
        _network(claims[NETWORK]) if NETWORK in claims else None,
    )


def _map(source: object, what: str) -> dict[object, object]:
    if not isinstance(source, dict) or not source or not all(type(name) is int for name in source):
        raise WireError(f"{what} is not a map with whole numbers as keys")
    return source


def _optional(
    source: dict[object, object], key: int, what: str, kind: type[T], shape: re.Pattern[str] | None
) -> T | None:
    """A value of the kind that fits the shape, None where the claim is absent. Raises WireError."""
    if key not in source:
        return None
    value = source[key]
    if not isinstance(value, kind) or not value:
        raise WireError(f"its {what} is empty or of the wrong kind")
    if shape is not None and not (isinstance(value, str) and shape.match(value)):
        raise WireError(f"its {what} has characters or a length that are not allowed")
    return value


def _required(source: dict[object, object], key: int, what: str, kind: type[T], fits: Callable[[T], bool]) -> T:
    value = _optional(source, key, what, kind, None)
    if value is None or not fits(value):
        raise WireError(f"its {what} is missing or has a wrong length")
    return value


def _moment(source: dict[object, object], key: int, what: str) -> int:
    value = source.get(key)
    if type(value) is not int or not 0 <= value <= MAX_MOMENT_S:
        raise WireError(f"{what} is missing or no number of seconds since 1970")
    return value


def _one_of(source: dict[object, object], key: int, what: str, known: tuple[str, ...]) -> str:
    value = _optional(source, key, what, str, None) or ""
    if value and value not in known:
        raise WireError(f"its {what} is none of {', '.join(known)}")
    return value


def _token(value: object) -> str:
    """80 bits -> 16 characters; any other installId is text as it is."""
    if value is None:
        return ""
    if isinstance(value, bytes) and len(value) == typed_code.TOKEN_BYTES:
        return typed_code.unpack(value)
    if isinstance(value, str) and INSTALL_ID.match(value):
        return value
    raise WireError("its token is none")


def _endpoint(text: str) -> Endpoint:
    try:
        return parse_endpoint(text if "://" in text else _HTTPS + text)
    except InvitationError as error:
        raise WireError(f"its endpoint cannot be used: {error.message.rstrip('.')}") from None


def _pins(joined: bytes) -> tuple[str, ...]:
    if len(joined) % PIN_BYTES or len(joined) > PIN_BYTES * MAX_PINS:
        raise WireError(f"its pins are not 1 to {MAX_PINS} times {PIN_BYTES} bytes")
    each = (joined[start : start + PIN_BYTES] for start in range(0, len(joined), PIN_BYTES))
    return tuple(f"sha256//{binascii.b2a_base64(pin, newline=False).decode()}" for pin in each)


def _shown(source: dict[object, object], key: int, what: str, most: int) -> str:
    """A text that a person is shown, "" where the claim is absent. Raises WireError."""
    value = _optional(source, key, what, str, None) or ""
    if len(value) > most or _UNFIT.search(value):
        raise WireError(f"its {what} is not 1 to {most} characters that can be shown")
    return value


def _audience(value: object) -> Audience:
    source = _map(value, "its audience")
    _only(source, (TYPE, SERIAL, KEY_HASH), "audience")
    key_hash = _optional(source, KEY_HASH, "audience", bytes, None)
    if key_hash is not None and len(key_hash) != PIN_BYTES:
        raise WireError("its audience has a key hash of a wrong length")
    return Audience(
        _shown(source, TYPE, "device type", MAX_WORD),
        _shown(source, SERIAL, "serial", MAX_WORD),
        f"sha256:{key_hash.hex()}" if key_hash else "",
    )


def _only(source: dict[object, object], known: tuple[int, ...], what: str) -> None:
    for name in source:
        if name not in known:
            raise WireError(f"its {what} says more than this version knows", "payload_unsupported")


def _network(value: object) -> Network:
    source = _map(value, "its network")
    _only(source, (SSID, PASSPHRASE, SECURITY, HIDDEN, ADDRESS, GATEWAY, DNS), "network")
    ssid = _shown(source, SSID, "Wi-Fi's name", MAX_SSID_BYTES)
    security = _one_of(source, SECURITY, "Wi-Fi's security", SECURITIES) or SECURITIES[0]
    passphrase = _optional(source, PASSPHRASE, "Wi-Fi's passphrase", str, None)
    address = _optional(source, ADDRESS, "address", str, None) or ""
    gateway = _optional(source, GATEWAY, "gateway", str, None) or ""
    if len(ssid.encode()) > MAX_SSID_BYTES:
        raise WireError(f"its Wi-Fi's name has more than {MAX_SSID_BYTES} bytes")
    if ssid:
        _check_passphrase(security, passphrase or "")
    elif {PASSPHRASE, SECURITY, HIDDEN} & set(source):
        raise WireError("its network says something of a Wi-Fi, but not its name")
    _check_addresses(address, gateway)
    return Network(
        ssid,
        Secret(passphrase) if passphrase else None,
        security,
        _optional(source, HIDDEN, "mark of a hidden Wi-Fi", bool, None) or False,
        address,
        gateway,
        _dns(source.get(DNS)),
    )


def _check_passphrase(security: str, passphrase: str) -> None:
    """Raises WireError: one that this kind of Wi-Fi cannot have."""
    length = len(passphrase)
    plain = passphrase.isascii() and passphrase.isprintable()
    is_key = _HEX.match(passphrase) is not None
    fits = {
        "open": not passphrase,
        "wpa": (plain and 8 <= length <= 63) or (is_key and length == 64),
        "sae": 1 <= len(passphrase.encode()) <= 128 and not _UNFIT.search(passphrase),
        "wep": plain and (length in _WEP_BYTES or (is_key and length in (10, 26))),
    }
    if not fits[security]:
        raise WireError(f"its Wi-Fi's passphrase is none of {security!r}")


def _check_addresses(address: str, gateway: str) -> None:
    """Raises WireError: not addresses in their usual form, or a gateway that the address cannot reach."""
    try:
        own = ipaddress.ip_interface(address) if address else None
    except ValueError:
        raise WireError("its static address is none") from None
    if own and (own.with_prefixlen != address or "%" in address):
        raise WireError("its static address is not in its usual form, with a prefix length")
    if gateway and (own is None or own.version != _ip(gateway).version):
        raise WireError("its gateway does not fit its static address")


def _ip(value: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address in its usual form, without a zone. Raises WireError."""
    try:
        found = ipaddress.ip_address(value) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        found = None
    if found is None or str(found) != value:
        raise WireError("the address of its gateway or of a DNS server is none, or not in its usual form")
    return found


def _dns(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not 0 < len(value) <= MAX_DNS:
        raise WireError(f"its DNS servers are not 1 to {MAX_DNS} addresses")
    return tuple(str(_ip(each)) for each in value)
