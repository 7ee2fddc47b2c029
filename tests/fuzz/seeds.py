"""Inputs that the fuzzers begin with: the vectors of the specification, and one right body of each other kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import base45
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstlight.core.model import Beat, Facts, Hardware, Metrics, MissedBeat, Moment, Secret, parse_endpoint
from firstlight.wire import heartbeat, payload_cbor, receipt, redeem
from firstlight.wire.receipt_claims import KeptBeats, Told

FILE = Path(__file__).resolve().parents[2] / "docs/offline-payload-vectors.json"
READ: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
TRUSTED = {READ["key"]["id"]: bytes.fromhex(READ["key"]["public"])}
TYPED = [each["code"] for each in READ["typed"]] + ["o123 4567 89ab cdef 4l", "0123-4567-89AB-CDEF-42"]
UNSIGNED_START = "FL1:RRQT78"  # D2 84 40 A0: what begins so has no header
PIN = "sha256//" + "A" * 43 + "="


def text_of(body: bytes) -> str:
    """``FL1:`` and Base45."""
    encoded: bytes = base45.b45encode(body)
    return "FL1:" + encoded.decode()


def unsigned(claims: bytes) -> str:
    """A payload that nobody signed, with any bytes as claims."""
    return text_of(b"\xd2" + payload_cbor.encode([b"", {}, claims, b""]))


def texts() -> list[bytes]:
    """Whole payloads, good and bad."""
    return [each["text"].encode() for each in (*READ["good"], *READ["bad"]) if len(each["text"]) < 1000]


def envelopes() -> list[bytes]:
    """What Base45 holds."""
    return [bytes.fromhex(each["cose"]) for each in READ["good"]]


def claims() -> list[bytes]:
    """The claims of the good ones."""
    return [payload_cbor.decode(body, 18)[2] for body in envelopes()]  # type: ignore[index]


def part_sets() -> list[bytes]:
    """A set of parts, in order and not."""
    cut = READ["parts"]["parts"]
    return ["\n".join(lines).encode() for lines in (cut, cut[::-1], [cut[0], cut[0], cut[2]])]


def invitations() -> list[bytes]:
    """What the desk prints, and lines."""
    lines = f"hub = https://hub.example:8443\npin = {PIN}\ninstall_id = abcdefghijklmnop1234\ntransport = mqtt\n"
    command = f"curl --pinnedpubkey '{PIN}' -fsS https://hub.example/devices/v2/abcdefghijklmnop1234/install.sh | sh"
    return [lines.encode(), lines.encode("utf-16"), command.encode(), READ["good"][0]["text"].encode()]


def scanned() -> list[bytes]:
    """One of each kind of code."""
    others = ['WIFI:T:WPA;S:Warehouse;P:"12\\;34\\:5678";H:true;;', "MT:Y.K9042C00KA0648G00", "DPP:V:2;K:MDkw;;"]
    others += ["4006381333931", "BEGIN:VCARD\nEND:VCARD", "HTTPS://HUB.EXAMPLE/R/ABCDEFGH", "https://hub.example/"]
    return [each.encode() for each in (*others, READ["good"][0]["text"], READ["parts"]["parts"][0], TYPED[0])]


def receipts() -> list[bytes]:
    """Signed receipts, with and without what may be missing; one without its signature; one as a link."""
    key = ec.derive_private_key(7, ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    full = receipt.Receipt(
        "acme",
        "dock-door-7",
        point,
        7,
        Moment("0" * 32, 12.0, 1_795_000_000.0),
        Told(True, 1_794_000_000, 12),
        "provisioned",
        "connect_timeout",
        "0.3.0",
        Facts(hostname="box", type="jetson", architecture="aarch64"),
        "0" * 16,
        Metrics(0.5, 0.25, 0.75, -4.5),
        KeptBeats(3, 4, 6, bytes(16)),
        bytes(16),
        bytes(8),
    )
    bare = full._replace(workspace="", device_id="", facts=Facts(), metrics=Metrics(), beats=KeptBeats(), proof=b"")
    signed = [receipt.encode(each, lambda body: key.sign(body, ec.ECDSA(SHA256()))) for each in (full, bare)]
    return [*signed, signed[0][:-64], receipt.link(parse_endpoint("https://hub.example"), signed[1]).encode()]


def bodies() -> list[bytes]:
    """One body for each decoder in ``targets.WIRE``, behind the byte that chooses it."""
    moment = Moment("0" * 32, 12.5, 1_795_000_000.25)
    missed = MissedBeat(6, moment, Metrics(), "connect_timeout")
    facts = Facts("box", "Linux", "6.1", "#1", "aarch64", "jetson", Hardware("arm", "orin", 8192, 65536))
    beat = Beat(7, moment, Metrics(0.5, 0.25, 0.75, 41.5), "0.3.0", facts, "0" * 16, (missed,), True)
    answer = redeem.RedeemAnswer("acme", "dock-7", Secret("k" * 20), 60, "https://hub.example", "", 1_795_000_000.0)
    found = [
        heartbeat.encode_beat(beat),
        b'{"serverTime":1795000000.0,"intervalS":60}',
        redeem.encode_redeem(redeem.RedeemRequest("0" * 32, "PEM", "0.3.0", moment, facts, "mqtt", "secret")),
        redeem.encode_redeem_answer(answer._replace(endpoint=parse_endpoint("https://hub.example").url)),
        redeem.encode_take_back("PEM", "0.3.0"),
        b'{"csr":"PEM","agent":"0.3.0"}',
    ]
    return [bytes([number]) + body for number, body in enumerate(found)]
