"""The test vectors of docs/offline-payload.md, made from a fixed key and fixed contents.

``python -m tests.payload.vectors`` writes docs/offline-payload-vectors.json, and the end of the page; a test compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import base45
import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstlight.core.model import Secret, parse_endpoint
from firstlight.core.provision import Audience, Network, Payload
from firstlight.wire import bundle, parts, payload, payload_cbor, payload_claims, typed_code

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, FILE = DOCS / "offline-payload.md", DOCS / "offline-payload-vectors.json"
BEGIN, END = "<!-- vectors: begin -->", "<!-- vectors: end -->"

SEED = hashlib.sha256(b"firstlight offline payload test key").digest()
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
STRANGER = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"firstlight another key").digest())


def spki(key: Ed25519PrivateKey) -> bytes:
    """The public key as SubjectPublicKeyInfo in DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


KEY_ID, STRANGER_ID = bundle.key_id(spki(KEY)), bundle.key_id(spki(STRANGER))
TRUSTED = {KEY_ID: KEY.public_key().public_bytes_raw()}

PIN = "sha256//" + "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k="
MINIMAL = Payload(
    issued_at_s=1_795_000_000,
    expires_at_s=1_797_592_000,
    nonce=bytes(range(16)),
    platform="hub",
    endpoint=parse_endpoint("https://hub.example"),
    pins=(),
    token=Secret("0123456789abcdef"),
)
# What the hub makes for a device: the size that docs and tests speak of.
NORMAL = MINIMAL._replace(
    endpoint=parse_endpoint("https://hub.example.com:8443"),
    pins=(PIN,),
    token=Secret("q7x4n0vz3m8dk2rt"),
    device_id="dock-door-7-4m8q2x7c1k",
    workspace="acme-robotics",
    name="Dock door 7, north side",
    audience=Audience("jetson-orin-nano"),
)
WIFI = Network("Warehouse-IoT", Secret("correct horse battery staple"))
WITH_WIFI = NORMAL._replace(network=WIFI)
FULL = NORMAL._replace(
    pins=(PIN, "sha256//" + "A" * 43 + "="),
    name="Dock door 7 \u2013 Nordtor",
    transport="mqtt",
    audience=Audience("jetson-orin-nano", "1423021012345", "sha256:" + hashlib.sha256(b"a device").hexdigest()),
    network=WIFI._replace(
        security="sae",
        is_hidden=True,
        address="192.168.7.20/24",
        gateway="192.168.7.1",
        dns=("192.168.7.1", "2001:db8::53"),
    ),
)
FINISHED = MINIMAL._replace(token=None, credential=Secret("fld_9bT4kX0qWm2Z"), device_id="gate-3", workspace="acme")
OTHER_ID = MINIMAL._replace(token=Secret("an-installId-of-another-kind_1"))
GOOD = {"minimal": MINIMAL, "normal": NORMAL, "wifi": WITH_WIFI, "full": FULL, "credential": FINISHED, "text": OTHER_ID}


def written(content: Payload) -> str:
    """Signed by ``KEY``."""
    return payload.encode(content, KEY_ID, KEY.sign)


def says(content: Payload, signed_by: str = KEY_ID) -> dict[str, Any]:
    """What the second reader should say of it."""
    found: dict[str, Any] = {
        "signed_by": signed_by,
        "expires": content.expires_at_s,
        "issued": content.issued_at_s,
        "nonce": content.nonce.hex(),
        "endpoint": content.endpoint.url,
        "pins": [base64_hex(pin) for pin in content.pins],
        "token": content.token.reveal() if content.token else "",
        "credential": content.credential.reveal() if content.credential else "",
        "audience": dict(content.audience._asdict()) if content.audience else {},
        "network": network_says(content.network) if content.network else {},
    }
    found |= {name: getattr(content, name) for name in ("device_id", "workspace", "name", "transport")}
    if found["audience"]:
        found["audience"]["key_hash"] = found["audience"]["key_hash"].removeprefix("sha256:")
        found["audience"] = {name: value for name, value in found["audience"].items() if value}
    return {name: value for name, value in found.items() if value or name in ("signed_by", "issued")}


def base64_hex(pin: str) -> str:
    """``sha256//BASE64`` -> hex."""
    import base64

    return base64.b64decode(pin.removeprefix("sha256//")).hex()


def network_says(network: Network) -> dict[str, Any]:
    """The network block by name."""
    found: dict[str, Any] = {"address": network.address, "gateway": network.gateway, "dns": list(network.dns)}
    if network.ssid:
        found |= {"ssid": network.ssid, "security": network.security, "hidden": network.is_hidden}
        found["passphrase"] = network.passphrase.reveal() if network.passphrase else ""
    return {name: value for name, value in found.items() if value}


# ---- bad ones: each is right but for one thing ----------------------------------------------------------------------

HEADER = payload_cbor.encode({1: -8, 4: bytes.fromhex(KEY_ID)})
CLAIMS = payload_claims.to_claims(NORMAL)


def text_of(body: bytes) -> str:
    """``FL1:`` and Base45."""
    encoded: bytes = base45.b45encode(body)
    return "FL1:" + encoded.decode()


def sealed(
    claims: bytes, header: bytes = HEADER, key: Ed25519PrivateKey = KEY, context: bytes = payload.CONTEXT
) -> str:
    """Claims of any kind, with a right signature."""
    signature = key.sign(payload_cbor.encode(["Signature1", header, context, claims]))
    return text_of(b"\xd2" + payload_cbor.encode([header, {}, claims, signature]))


def claiming(**changes: object) -> str:
    """The normal claims but for some, by key (``_3`` for -3, ``c4`` for 4); None = left out."""
    changed = CLAIMS | {int(name.replace("_", "-").replace("c", "")): value for name, value in changes.items()}
    return sealed(payload_cbor.encode({key: value for key, value in changed.items() if value is not None}))


def body_of(text: str) -> bytes:
    """What Base45 holds."""
    body: bytes = base45.b45decode(text[4:].encode())
    return body


def reshaped(change: Callable[[list[Any]], list[Any]]) -> str:
    """The envelope's four parts changed after the signature was made."""
    return text_of(b"\xd2" + cbor2.dumps(change(list(cbor2.loads(body_of(written(NORMAL))[1:])))))


def raised(signature: bytes) -> bytes:
    """Ed25519's S plus the order of the group: the same signature to a library that does not look."""
    order = 2**252 + 27742317777372353535851937790883648493
    return signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")


def bad() -> dict[str, tuple[str, str]]:
    """What is wrong -> code, text."""
    return {name: (code, text) for code, texts in _bad().items() for name, text in texts.items()}


def _bad() -> dict[str, dict[str, str]]:
    whole, body = written(NORMAL), body_of(written(NORMAL))
    forged = bytearray(body)
    forged[40] ^= 1
    return {
        "payload_malformed": {**_bad_texts(whole, body), **_bad_envelopes(body), **_bad_encodings(), **_bad_claims()},
        "payload_too_large": {"too long by one": "FL1:" + "0" * 4293},
        "payload_unsupported": {
            "another version": "FL2:" + whole[4:],
            "a platform that is not known": claiming(_8="roboflow"),
            "a claim that is not known": claiming(_12="x"),
            "a claim of the audience that is not known": claiming(_10={1: "jetson-orin-nano", 4: "x"}),
        },
        "payload_unsigned": {"nobody signed": payload.encode(NORMAL, "", KEY.sign)},
        "payload_key_unknown": {"signed by a stranger": payload.encode(NORMAL, STRANGER_ID, STRANGER.sign)},
        "payload_forged": {
            "one bit of the claims": text_of(bytes(forged)),
            "a stranger's signature under a known key id": payload.encode(NORMAL, KEY_ID, STRANGER.sign),
            "signed for another purpose": sealed(payload_cbor.encode(CLAIMS), context=b""),
            "the signature with its S raised by the order": reshaped(lambda four: [*four[:3], raised(four[3])]),
            "a signature of zeros": reshaped(lambda four: [*four[:3], bytes(64)]),
        },
    }


def _bad_texts(whole: str, body: bytes) -> dict[str, str]:
    return {
        "empty": "",
        "nothing behind the mark": "FL1:",
        "without the mark": whole[4:],
        "in small letters": whole.lower(),
        "a character that is not Base45": whole[:50] + "_" + whole[51:],
        "one character less": whole[:-1],
        "three characters above 65535": whole + ":::",
        "two characters above 255": "FL1:" + base45.b45encode(body[: len(body) & ~1]).decode() + "::",
        "a byte behind the end": text_of(body + b"\0"),
        "the whole twice": text_of(body + body),
        "a byte less": text_of(body[:-1]),
    }


def _bad_envelopes(body: bytes) -> dict[str, str]:
    four: list[Any] = cbor2.loads(body[1:])
    other = {
        "another algorithm": {1: -7, 4: bytes.fromhex(KEY_ID)},
        "no key id": {1: -8},
        "a key id of 7 bytes": {1: -8, 4: bytes.fromhex(KEY_ID)[:7]},
        "one more header": {1: -8, 3: 0, 4: bytes.fromhex(KEY_ID)},
    }
    return {
        "without the tag": text_of(body[1:]),
        "another tag": text_of(b"\xd1" + body[1:]),
        "the tag twice": text_of(b"\xd2" + body),
        "the tag in its longer form": text_of(b"\xd8\x12" + body[1:]),
        "something in the unprotected header": reshaped(lambda parts: [parts[0], {4: b"x"}, *parts[2:]]),
        "three parts": reshaped(lambda parts: parts[:3]),
        "five parts": reshaped(lambda parts: [*parts, b""]),
        "no list": text_of(b"\xd2" + cbor2.dumps({1: four[2]})),
        "a signature of 63 bytes": reshaped(lambda parts: [*parts[:3], parts[3][:63]]),
        "a signature without a header": reshaped(lambda parts: [b"", *parts[1:]]),
        "a header without a signature": reshaped(lambda parts: [*parts[:3], b""]),
        "the header's keys in another order": sealed(four[2], bytes.fromhex("a20448" + KEY_ID + "0127")),
        **{what: sealed(four[2], payload_cbor.encode(header)) for what, header in other.items()},
        "a list without a length": text_of(b"\xd2\x9f" + body[2:] + b"\xff"),
        "a list that promises 2^63 items": text_of(b"\xd2\x9b\x7f" + b"\xff" * 7),
        "a byte string that promises 2^63 bytes": text_of(b"\xd2\x84\x5b\x7f" + b"\xff" * 7),
        "lists in lists": text_of(b"\xd2" + b"\x81" * 2000 + b"\0"),
        "tags of tags": text_of(b"\xd2" * 2000),
        "no CBOR at all": text_of(b"not CBOR, but long enough"),
    }


def _bad_encodings() -> dict[str, str]:
    """Signed rightly, in a form that is not the one."""
    claims = payload_cbor.encode(CLAIMS)
    count, expires = claims[0], payload_cbor.encode(CLAIMS[4])
    issued = payload_cbor.encode(CLAIMS[6])
    return {
        "claims with a byte behind the end": sealed(claims + b"\0"),
        "a number in its longer form": sealed(claims.replace(b"\x04" + expires, b"\x04\x1b\0\0\0\0" + expires[1:], 1)),
        "a map without a length": sealed(b"\xbf" + claims[1:] + b"\xff"),
        "a key twice": sealed(bytes([count + 1]) + b"\x04" + expires + claims[1:]),
        "keys in another order": sealed(
            claims[:1] + b"\x06" + issued + b"\x04" + expires + claims[1 + 2 + len(expires) + len(issued) :]
        ),
        "a fraction": sealed(claims.replace(b"\x04" + expires, b"\x04\xfb\x41\xda\xcb\x57\x00\0\0\0", 1)),
        "a tagged number": sealed(claims.replace(b"\x04" + expires, b"\x04\xc1" + expires, 1)),
        "claims that are a list": sealed(payload_cbor.encode([1, 2, 3])),
        "no claims": sealed(b""),
        "maps in maps": sealed(b"\xa1\x20" * 900 + b"\0"),
        "a text that is not UTF-8": sealed(claims.replace(b"acme", b"ac\xff\xfe", 1)),
        "a list as key": sealed(b"\xa1\x81\x01\x01"),
    }


def _bad_claims() -> dict[str, str]:
    return {
        "no expiry": claiming(c4=None),
        "no issue": claiming(c6=None),
        "no nonce": claiming(c7=None),
        "no endpoint": claiming(_1=None),
        "expired before it was issued": claiming(c4=CLAIMS[6]),
        "an expiry before 1970": claiming(c4=-1),
        "an issue of true": claiming(c6=True),
        "a nonce of 15 bytes": claiming(c7=bytes(15)),
        "an endpoint with its scheme": claiming(_1="https://hub.example.com:8443"),
        "an endpoint in capitals": claiming(_1="HUB.example.com:8443"),
        "an endpoint with the usual port": claiming(_1="hub.example.com:443"),
        "an endpoint with a path": claiming(_1="hub.example.com/x"),
        "plain http to another machine": claiming(_1="http://hub.example.com"),
        "pins of 33 bytes": claiming(_2=bytes(33)),
        "five pins": claiming(_2=bytes(160)),
        "no pins, said so": claiming(_2=b""),
        "neither token nor credential": claiming(_3=None),
        "both token and credential": claiming(_4="a-credential"),
        "a credential without a device id": claiming(_3=None, _4="a-credential", _5=None),
        "a token as text that has to be bytes": claiming(_3="q7x4n0vz3m8dk2rt"),
        "a token of 9 bytes": claiming(_3=bytes(9)),
        "a device id with a dot": claiming(_5="dock.door"),
        "a name with a line's end": claiming(_7="Dock\ndoor"),
        "a name that turns the line's direction": claiming(_7="Dock \u202erood"),
        "an empty name": claiming(_7=""),
        "the platform hub, said so": claiming(_8="hub"),
        "a transport that there is not": claiming(_9="pigeon"),
        "an empty audience": claiming(_10={}),
        "a key hash of 31 bytes": claiming(_10={3: bytes(31)}),
        "an empty network": claiming(_11={}),
        "a passphrase that is too short": claiming(_11={1: "Warehouse", 2: "1234567"}),
        "a passphrase of an open Wi-Fi": claiming(_11={1: "Warehouse", 2: "12345678", 3: "open"}),
        "a passphrase without a Wi-Fi": claiming(_11={2: "12345678"}),
        "a Wi-Fi's name of 33 bytes": claiming(_11={1: "x" * 33, 3: "open"}),
        "security wpa, said so": claiming(_11={1: "Warehouse", 2: "12345678", 3: "wpa"}),
        "hidden: false": claiming(_11={1: "Warehouse", 2: "12345678", 4: False}),
        "a gateway without an address": claiming(_11={6: "192.168.7.1"}),
        "a gateway of the other family": claiming(_11={5: "192.168.7.2/24", 6: "2001:db8::1"}),
        "an address without a prefix length": claiming(_11={5: "192.168.7.2"}),
        "an address in an unusual form": claiming(_11={5: "2001:DB8::1/64"}),
        "an address with a zone": claiming(_11={5: "fe80::1%eth0/64"}),
        "a DNS server with a zone": claiming(_11={7: ["fe80::1%eth0"]}),
        "four DNS servers": claiming(_11={7: ["10.0.0.1"] * 4}),
    }


# ---- on paper -------------------------------------------------------------------------------------------------------


def as_json() -> str:
    """The text of docs/offline-payload-vectors.json."""
    full = written(FULL)
    token = NORMAL.token
    assert token is not None
    found = {
        "key": {"id": KEY_ID, "seed": SEED.hex(), "public": TRUSTED[KEY_ID].hex(), "spki": spki(KEY).hex()},
        "good": [
            {"name": name, "text": written(content), "cose": body_of(written(content)).hex(), "says": says(content)}
            for name, content in GOOD.items()
        ],
        "parts": {"whole": full, "parts": parts.split(full, -(-len(full) // 3) + 36)},
        "typed": [
            {"token": each, "code": typed_code.make(Secret(each))}
            for each in (token.reveal(), "0" * 16, "z" * 16, "0123456789abcdef")
        ],
        "bad": [{"name": name, "code": code, "text": text} for name, (code, text) in bad().items()],
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def as_page() -> str:
    """What stands between the marks of docs/offline-payload.md."""
    found = json.loads(as_json())
    lines = [
        "## 10. Test vectors",
        "",
        "This section and the file are made by `python -m tests.payload.vectors`, and a test compares them with",
        "the code. The key is made from the seed in the file; it signs nothing else. In the file, `says` is what a",
        "reader should find, with pins and hashes in hex.",
        "",
        f"    key id      {KEY_ID}",
        f"    public key  {found['key']['public']}",
    ]
    for each in found["good"]:
        size = f"{len(each['cose']) // 2} bytes, {len(each['text'])} characters"
        lines += ["", f"**{each['name']}**: {size}", "", f"    {each['text']}"]
        if each["name"] == "minimal":
            lines += ["", "The same as bytes, and its claims in CBOR's diagnostic notation:", ""]
            lines += [f"    {each['cose'][start : start + 96]}" for start in range(0, len(each["cose"]), 96)]
            lines += ["", f"    {diagnostic(payload_claims.to_claims(MINIMAL))}"]
    lines += ["", "**full, in three parts**", "", *(f"    {each}" for each in found["parts"]["parts"])]
    lines += ["", "**typed codes**", "", "| Token | Code |", "|---|---|"]
    lines += [f"| `{each['token']}` | `{each['code']}` |" for each in found["typed"]]
    lines += ["", "**bad ones**; their texts are in the file", "", "| What is wrong | Code |", "|---|---|"]
    lines += [f"| {each['name']} | `{each['code']}` |" for each in found["bad"]]
    return "\n".join(lines) + "\n"


def diagnostic(claims: dict[int, object]) -> str:
    """Flat claims in CBOR's diagnostic notation."""
    shown = {
        key: f"h'{value.hex()}'" if isinstance(value, bytes) else json.dumps(value) for key, value in claims.items()
    }
    return "{" + ", ".join(f"{key}: {value}" for key, value in shown.items()) + "}"


def page_with(section: str) -> str:
    """The page as it is, with another section between the marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{section}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    FILE.write_text(as_json(), encoding="utf-8")
    PAGE.write_text(page_with(as_page()), encoding="utf-8")
