"""State directories as released versions of the agent left them, written down literally: never by today's encoders.

Keys and certificates are made at test time; everything else is text as that version wrote it. A version that changes a
format gets a writer of its own here, and the ones before stay: every later version must read them all.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

PLAIN, CERTIFICATE = "HTTP with a secret, format 1", "MQTT with a certificate, format 2"
KINDS = (PLAIN, CERTIFICATE)
BOOT_ID, ATTEMPT = "b" * 32, "a" * 32
RENEW_AT_S = 1_797_000_000.0


class Left(NamedTuple):
    """What a version left.

    Args:
        folder: the state directory.
        fingerprint: of the present key.
        next_fingerprint: of the key of a rotation under way, "" without one.
    """

    folder: Path
    fingerprint: str
    next_fingerprint: str


def write_0_1(folder: Path, kind: str, *, is_rotating: bool) -> Left:
    """The directory of version 0.1.0, whose agent was stopped while the hub was away.

    Args:
        folder: made.
        kind: one of ``KINDS``.
        is_rotating: the next key and the candidate were there, not yet proved.
    """
    folder.mkdir(mode=0o700)
    fingerprint = _key(folder, "device.key")
    registration = _registration(kind, fingerprint, "1.planted-key")
    for name in ("registration.json", "registration.backup.json"):
        _put(folder, name, registration)
    _put(folder, "enrolled.json", '{"installIdHash": "%s"}\n' % ("0" * 64))
    _put(folder, "facts.json", '{"hostname": "box", "hardware": {}}\n')
    _put(folder, "seen.json", '{"serverTimeS": 1795000100}\n')
    _put(folder, "run.json", json.dumps({"stateDir": str(folder), "runtimeDir": "", "again": []}) + "\n")
    status = '{"state": "stopped", "deviceId": "cam-1", "lastAcceptedAt": "2026-11-20T14:13:20Z", "pid": 1}\n'
    _put(folder, "status.json", status, 0o644)
    for name in ("lock", "running"):
        _put(folder, name, "")
    _put(
        folder,
        "spool.jsonl",
        "".join(
            f'{{"seq":{seq},"bootId":"{BOOT_ID}","mono":{seq}.5,"wall":1795000{seq}.25,'
            '"metrics":{"load1":0.5,"memoryUsed":0.25},"reason":"connect_refused"}\n'
            for seq in (100, 160, 220)
        )
        + '{"dropped": 1}\n',
    )
    next_fingerprint = ""
    if is_rotating:
        beside = folder / "next"
        next_fingerprint = _key(folder, "next")
        beside.rename(folder / f"device-{next_fingerprint.partition(':')[2][:16]}.key")
        _put(folder, "candidate.json", _registration(kind, next_fingerprint, "2.planted-key"))
    _put(folder, "change.json", _notes(next_fingerprint, is_rotating=is_rotating))
    return Left(folder, fingerprint, next_fingerprint)


def _registration(kind: str, fingerprint: str, secret: str) -> str:
    fields: dict[str, object] = {
        "platform": "hub",
        "endpoint": "https://hub.example:8443",
        "caPem": "",
        "pins": ["sha256//" + "A" * 43 + "="],
        "workspace": "demo",
        "deviceId": "cam-1",
        "credential": {"kind": "secret", "secret": secret, "certificatePem": ""},
        "intervalS": 60,
        "keyFingerprint": fingerprint,
        "csrPem": "csr",
        "registeredAtS": 1_795_000_000.0,
    }
    if kind == CERTIFICATE:
        certificate = trustme.CA().issue_cert("cam-1").cert_chain_pems[0].bytes().decode()
        fields["credential"] = {"kind": "certificate", "secret": None, "certificatePem": certificate}
        fields.update({"transport": "mqtt", "broker": "mqtts://hub.example:8884", "renewAtS": RENEW_AT_S})
    checksum = hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    number = 2 if kind == CERTIFICATE else 1
    return json.dumps({"format": number, "sha256": checksum, "registration": fields}, indent=1) + "\n"


def _notes(next_key: str, *, is_rotating: bool) -> str:
    never = {"failures": 0, "bootId": "", "atS": 0.0, "troubles": []}
    ended = {"code": "", "message": "", "wish": "", "atS": 0.0}
    later = {"failures": 1, "bootId": BOOT_ID, "atS": 400.0, "troubles": []} if is_rotating else never
    why = "The credential could not be replaced: The hub or the line is slow."
    last = {"code": "reply_timeout", "message": why, "wish": "", "atS": 1_795_000_050.0} if is_rotating else ended
    notes = {
        "rotate": is_rotating,
        "heard": "",
        "move": "",
        "movedAtS": 0.0,
        "settled": [],
        "attemptId": ATTEMPT if is_rotating else "",
        "nextKey": next_key,
        "trouble": "",
        "begun": 0,
        "rotationLater": later,
        "moveLater": never,
        "lastRotation": last,
        "lastMove": ended,
        "rotationRest": never,
        "heardLater": never,
    }
    return json.dumps(notes) + "\n"


def _key(folder: Path, name: str) -> str:
    key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())
    _put(folder, name, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def _put(folder: Path, name: str, text: str, mode: int = 0o600) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(mode)
