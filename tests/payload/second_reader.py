"""A second reader of offline payloads, written from docs/offline-payload.md alone: it shares no code with the first.

Standard library, and Ed25519 from cryptography. Where the first proves canonical form by encoding again, this one
refuses every other form while it reads, so that each checks the other.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
UNFIT = [(0, 0x1F), (0x7F, 0x9F), (0x2028, 0x2029), (0x202A, 0x202E), (0x2066, 0x2069), (0xD800, 0xDFFF)]
LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|\[::1\]")
WEP_LENGTHS = {5, 13}


class Refused(Exception):
    """Not to be taken in; ``args[0]`` is the code."""


def need(condition: object, code: str = "payload_malformed") -> None:
    """Raises Refused where the condition does not hold."""
    if not condition:
        raise Refused(code)


def read(text: str, trusted: dict[str, bytes], allow_unsigned: bool = False) -> dict[str, Any]:
    """The text of a whole payload -> its claims by name, and ``signed_by`` ("" = nobody who counts)."""
    need(len(text) <= 5000, "payload_too_large")
    text = text.strip(" \t\r\n")
    need(len(text) <= 4296, "payload_too_large")
    need(text.startswith("FL1:"), "payload_unsupported" if re.match("FL[0-9]{1,4}:", text) else "payload_malformed")
    body = base45(text[4:])
    need(body[:1] == b"\xd2")
    envelope = Cbor(body[1:]).whole()
    need(isinstance(envelope, list) and len(envelope) == 4)
    header, unprotected, claims, signature = envelope
    need(unprotected == {} and all(isinstance(each, bytes) for each in (header, claims, signature)))
    signed_by = signer(header, claims, signature, trusted, allow_unsigned)
    return {"signed_by": signed_by, **named(Cbor(claims).whole())}


def base45(text: str) -> bytes:
    """RFC 9285, strictly."""
    need(len(text) % 3 != 1)
    found = bytearray()
    for start in range(0, len(text), 3):
        values = [DIGITS.find(character) for character in text[start : start + 3]]
        need(min(values) >= 0)
        number = sum(value * 45**place for place, value in enumerate(values))
        size = len(values) - 1
        need(number < 256**size)
        found += number.to_bytes(size, "big")
    return bytes(found)


def signer(header: bytes, claims: bytes, signature: bytes, trusted: dict[str, bytes], allow_unsigned: bool) -> str:
    """Section 4, steps 3 and 4."""
    if header == b"" and signature == b"":
        need(allow_unsigned, "payload_unsigned")
        return ""
    need(len(header) == 13 and header[:5].hex() == "a201270448" and len(signature) == 64)
    name = header[5:].hex()
    if name not in trusted:
        need(allow_unsigned, "payload_key_unknown")
        return ""
    context = b"firstlight-offline-payload"
    signed = b"\x84\x6aSignature1" + head(2, len(header)) + header + head(2, len(context)) + context
    signed += head(2, len(claims)) + claims
    try:
        Ed25519PublicKey.from_public_bytes(trusted[name]).verify(signature, signed)
    except InvalidSignature:
        raise Refused("payload_forged") from None
    return name


def head(kind: int, number: int) -> bytes:
    """The head of an item, in its shortest form."""
    if number < 24:
        return bytes([kind << 5 | number])
    size = next(size for size in (1, 2, 4, 8) if number < 256**size)
    return bytes([kind << 5 | 23 + size.bit_length()]) + number.to_bytes(size, "big")


class Cbor:
    """Reads one item and insists on its deterministic form."""

    def __init__(self, body: bytes) -> None:
        self.body, self.place, self.items = body, 0, 0

    def whole(self) -> Any:
        """The one item that there is."""
        found = self.item(0)
        need(self.place == len(self.body))
        return found

    def take(self, count: int) -> bytes:
        """That many bytes, which must be there."""
        need(count <= len(self.body) - self.place)
        self.place += count
        return self.body[self.place - count : self.place]

    def item(self, depth: int) -> Any:
        """The item that begins here."""
        self.items += 1
        need(self.items <= 96)
        first = self.take(1)[0]
        if first in (0xF4, 0xF5):
            return first == 0xF5
        kind, number = first >> 5, first & 31
        need(kind < 6 and number < 28)
        if number >= 24:
            number = int.from_bytes(self.take(1 << number - 24), "big")
        need(self.body[: self.place].endswith(head(kind, number)))
        if kind in (0, 1):
            return -1 - number if kind else number
        if kind in (2, 3):
            content = self.take(number)
            try:
                return content if kind == 2 else content.decode("utf-8")
            except UnicodeDecodeError:
                raise Refused("payload_malformed") from None
        need(depth < 4 and number <= 96)
        return self.pairs(number, depth + 1) if kind == 5 else [self.item(depth + 1) for _ in range(number)]

    def pairs(self, count: int, depth: int) -> dict[int, Any]:
        """A map whose keys are whole numbers, sorted by their bytes, each once."""
        found: dict[int, Any] = {}
        before = b""
        for _ in range(count):
            start = self.place
            key = self.item(depth)
            need(type(key) is int and self.body[start : self.place] > before)
            before = self.body[start : self.place]
            found[key] = self.item(depth)
        return found


def named(claims: Any) -> dict[str, Any]:
    """Section 3: the claims by name, each checked."""
    need(isinstance(claims, dict) and claims)
    need(set(claims) <= {4, 6, 7, *range(-11, 0)}, "payload_unsupported")
    if -8 in claims:
        need(identifier(claims[-8]) and claims[-8] != "hub")
        raise Refused("payload_unsupported")  # this reader knows the hub only
    need(isinstance(claims.get(7), bytes) and len(claims[7]) == 16)
    for key in (4, 6):
        need(type(claims.get(key)) is int and 0 <= claims[key] <= 253402300799)
    need(claims[4] > claims[6])
    need((-3 in claims) != (-4 in claims) and (-4 not in claims or -5 in claims))
    found: dict[str, Any] = {"expires": claims[4], "issued": claims[6], "nonce": claims[7].hex()}
    found["endpoint"] = endpoint(claims.get(-1))
    readers = {
        -2: ("pins", pins),
        -3: ("token", token),
        -4: ("credential", lambda value: fits(value, r"[!-~]{8,256}")),
        -5: ("device_id", lambda value: fits(value, "[A-Za-z0-9_-]{1,64}")),
        -6: ("workspace", lambda value: fits(value, "[A-Za-z0-9_-]{1,64}")),
        -7: ("name", lambda value: shown(value, 256)),
        -9: ("transport", lambda value: fits(value, "http|mqtt|websocket")),
        -10: ("audience", audience),
        -11: ("network", network),
    }
    return found | {name: reader(claims[key]) for key, (name, reader) in readers.items() if key in claims}


def identifier(value: Any) -> bool:
    """A device or workspace id, or the name of a platform."""
    return isinstance(value, str) and re.fullmatch("[A-Za-z0-9_-]{1,64}", value) is not None


def fits(value: Any, pattern: str) -> str:
    """A text of that form."""
    need(isinstance(value, str) and re.fullmatch(pattern, value))
    return str(value)


def shown(value: Any, most: int) -> str:
    """A text that can be shown."""
    need(isinstance(value, str) and 1 <= len(value) <= most)
    need(not any(low <= ord(character) <= high for character in value for low, high in UNFIT))
    return str(value)


def endpoint(value: Any) -> str:
    """The address with its scheme."""
    need(isinstance(value, str))
    found = re.fullmatch(r"(http://)?(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::([1-9][0-9]{0,4}))?", value)
    need(found)
    assert found
    scheme, host, port = found[1] or "https://", found[2], found[3]
    need(port is None or (int(port) < 65536 and int(port) != (80 if found[1] else 443)))
    need(found[1] is None or LOOPBACK.fullmatch(host))
    return scheme + str(value).removeprefix("http://")


def pins(value: Any) -> list[str]:
    """Hex of each."""
    need(isinstance(value, bytes) and len(value) in (32, 64, 96, 128))
    return [value[start : start + 32].hex() for start in range(0, len(value), 32)]


def token(value: Any) -> str:
    """As the hub knows it."""
    if isinstance(value, bytes):
        need(len(value) == 10)
        bits = f"{int.from_bytes(value, 'big'):080b}"
        return "".join(CROCKFORD[int(bits[start : start + 5], 2)] for start in range(0, 80, 5))
    found = fits(value, "[A-Za-z0-9_-]{16,64}")
    need(len(found) != 16 or set(found) - set(CROCKFORD))
    return found


def audience(value: Any) -> dict[str, str]:
    """By name."""
    need(isinstance(value, dict) and value)
    need(set(value) <= {1, 2, 3}, "payload_unsupported")
    need(3 not in value or (isinstance(value[3], bytes) and len(value[3]) == 32))
    found = {name: shown(value[key], 64) for key, name in ((1, "device_type"), (2, "serial")) if key in value}
    return found | ({"key_hash": value[3].hex()} if 3 in value else {})


def network(value: Any) -> dict[str, Any]:
    """By name."""
    need(isinstance(value, dict) and value)
    need(set(value) <= set(range(1, 8)), "payload_unsupported")
    found: dict[str, Any] = {}
    if 1 in value:
        found = {"ssid": shown(value[1], 32), "security": fits(value.get(3, "wpa"), "wpa|sae|wep|open")}
        need(len(found["ssid"].encode()) <= 32 and value.get(3) != "wpa" and value.get(4, True) is True)
        found |= {"hidden": True} if 4 in value else {}
        passphrase(found["security"], value.get(2))
        found |= {"passphrase": value[2]} if 2 in value else {}
    else:
        need(not {2, 3, 4} & set(value))
    try:
        found |= addresses(value)
    except ValueError:
        raise Refused("payload_malformed") from None
    return found


def passphrase(security: str, value: Any) -> None:
    """One that this kind of Wi-Fi can have."""
    if security == "open":
        return need(value is None)
    need(isinstance(value, str))
    is_hex = re.fullmatch("[0-9A-Fa-f]+", value) is not None
    plain = re.fullmatch("[ -~]+", value) is not None
    if security == "sae":
        need(len(value.encode("utf-8", "replace")) <= 128)
        shown(value, 128)
    elif security == "wpa":
        need((plain and 8 <= len(value) <= 63) or (is_hex and len(value) == 64))
    else:
        need((plain and len(value) in WEP_LENGTHS) or (is_hex and len(value) in (10, 26)))
    return None


def addresses(value: dict[int, Any]) -> dict[str, Any]:
    """Static address, gateway and DNS servers. Raises ValueError for what is no address."""
    found: dict[str, Any] = {}
    if 5 in value:
        own = ipaddress.ip_interface(fits(value[5], "[^%]+/[0-9]+"))
        need(str(own) == value[5])
        found["address"] = value[5]
    if 6 in value:
        need(5 in value and str(ipaddress.ip_address(fits(value[6], "[^%]+"))) == value[6])
        need((":" in value[5]) == (":" in value[6]))
        found["gateway"] = value[6]
    if 7 in value:
        need(isinstance(value[7], list) and 1 <= len(value[7]) <= 3)
        need(all(str(ipaddress.ip_address(fits(each, "[^%]+"))) == each for each in value[7]))
        found["dns"] = value[7]
    return found
