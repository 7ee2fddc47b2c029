"""Redeeming an installId: request and answer, encode and decode side by side.

Request: ``{"attemptId", "csr", "agent", "bootId", "mono", "wall", "facts": {…}, "transport"?, "credential"?}``.
Answer: ``{"workspace", "deviceId", "intervalS", "endpoint", "caPem"?, "serverTime", "transport", "credential", "key"?,
"certificatePem"?, "broker"?}``; a renewal (wire/renewal.py) is answered in the same form.
Taking a lost device back sends ``{"csr", "agent"}`` and is answered like a heartbeat. Field by field: docs/protocol.md.
"""

from __future__ import annotations

import re

from firstlight.core.model import IDENTIFIER, Facts, Moment, Secret
from firstlight.wire import bounded
from firstlight.wire.bounded import WireError
from firstlight.wire.facts import facts_object, read_facts
from firstlight.wire.heartbeat import BOOT_ID, MAX_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from firstlight.core.record import NamedTuple

ATTEMPT_ID = re.compile(r"[0-9a-f]{32}\Z")
MAX_PEM = 8192
MAX_CHAIN = 32_768
TRANSPORTS = ("http", "mqtt")
ASKED_TRANSPORTS = (*TRANSPORTS, "websocket")
CREDENTIALS = ("secret", "certificate")


class RedeemRequest(NamedTuple):
    """What the device sends.

    Args:
        attempt_id: 32 hex digits, made once per enrolling and fsynced before the first request.
        csr_pem: PKCS#10 request, signed by the device's key: the proof that it holds that key.
        agent_version: version of the agent.
        moment: the device's clocks, for skew.
        facts: what the machine is.
        transport: "http", "mqtt" or "websocket" where the technician asks for one, "" = as the invitation has it.
        credential: "secret" or "certificate", "" likewise.
    """

    attempt_id: str
    csr_pem: str
    agent_version: str
    moment: Moment
    facts: Facts
    transport: str = ""
    credential: str = ""


class RedeemAnswer(NamedTuple):
    """What the hub answers; the same for the same key as long as the installId lives.

    Args:
        workspace: slug of the workspace.
        device_id: the device's id.
        key: device-scoped key, shown with each beat; None for a device with a certificate.
        interval_s: seconds between beats.
        endpoint: address of the hub, ``https://HOST:PORT``.
        ca_pem: the hub's CA, or "" where the system's store is to be trusted.
        server_time_s: the hub's clock, seconds since 1970.
        transport: "http" or "mqtt".
        certificate_pem: the device's certificate, then its chain; "" for a device with a secret.
        broker: address for beats over MQTT (``mqtts://`` or ``wss://``), "" where the hub has none for this device.
    """

    workspace: str
    device_id: str
    key: Secret | None
    interval_s: int
    endpoint: str
    ca_pem: str
    server_time_s: float
    transport: str = "http"
    certificate_pem: str = ""
    broker: str = ""


def encode_redeem(request: RedeemRequest) -> bytes:
    """``RedeemRequest`` -> body."""
    return bounded.encode_object(
        {
            "attemptId": request.attempt_id,
            "csr": request.csr_pem,
            "agent": request.agent_version,
            "bootId": request.moment.boot_id,
            "mono": round(request.moment.monotonic_s, 3),
            "wall": round(request.moment.wall_s, 3),
            "facts": facts_object(request.facts),
            "transport": request.transport or None,
            "credential": request.credential or None,
        }
    )


def decode_redeem(body: bytes) -> RedeemRequest:
    """Body -> ``RedeemRequest``; the certificate request itself is for the hub to verify.

    Raises:
        WireError: not what ``encode_redeem`` could have made.
    """
    source = bounded.decode_object(body, bounded.MAX_REDEEM_BYTES)
    attempt_id, boot_id = attempt_and_boot(source)
    return RedeemRequest(
        attempt_id=attempt_id,
        csr_pem=bounded.text(source, "csr", MAX_PEM),
        agent_version=bounded.text(source, "agent", 64),
        moment=Moment(
            boot_id,
            bounded.number(source, "mono", 0, MAX_SECONDS),
            bounded.number(source, "wall", -MAX_SECONDS, MAX_SECONDS),
        ),
        facts=read_facts(bounded.child(source, "facts")),
        transport=_one_of(source, "transport", ASKED_TRANSPORTS),
        credential=_one_of(source, "credential", CREDENTIALS),
    )


def attempt_and_boot(source: dict[str, object]) -> tuple[str, str]:
    """``attemptId`` and ``bootId``, 32 hex digits each. Raises WireError."""
    attempt_id, boot_id = bounded.text(source, "attemptId", 32), bounded.text(source, "bootId", 32)
    if not ATTEMPT_ID.match(attempt_id) or not BOOT_ID.match(boot_id):
        raise WireError("attemptId and bootId are 32 hex digits each")
    return attempt_id, boot_id


def _one_of(source: dict[str, object], name: str, known: tuple[str, ...]) -> str:
    value = bounded.optional_text(source, name, 16) or ""
    if value and value not in known:
        raise WireError(f"{name} is none of {', '.join(known)}")
    return value


def encode_redeem_answer(answer: RedeemAnswer) -> bytes:
    """``RedeemAnswer`` -> body. The one place where the device key is written in clear."""
    return bounded.encode_object(
        {
            "workspace": answer.workspace,
            "deviceId": answer.device_id,
            "key": answer.key.reveal() if answer.key else None,
            "intervalS": answer.interval_s,
            "endpoint": answer.endpoint,
            "caPem": answer.ca_pem or None,
            "serverTime": round(answer.server_time_s, 3),
            "transport": answer.transport,
            "credential": "secret" if answer.key else "certificate",
            "certificatePem": answer.certificate_pem or None,
            "broker": answer.broker or None,
        }
    )


def decode_redeem_answer(body: bytes) -> RedeemAnswer:
    """Body -> ``RedeemAnswer``.

    Raises:
        WireError: not what ``encode_redeem_answer`` could have made.
    """
    source = bounded.decode_object(body, bounded.MAX_REPLY_BYTES)
    workspace, device_id = bounded.text(source, "workspace", 64), bounded.text(source, "deviceId", 64)
    if not IDENTIFIER.match(workspace) or not IDENTIFIER.match(device_id):
        raise WireError("workspace or deviceId is not an identifier")
    # A hub of the first version names neither: its devices beat over HTTP with a secret.
    transport = _one_of(source, "transport", TRANSPORTS) or "http"
    is_certificate = _one_of(source, "credential", CREDENTIALS) == "certificate"
    broker = bounded.optional_text(source, "broker", 300) or ""
    if transport == "mqtt" and not broker:
        raise WireError("broker is missing")
    return RedeemAnswer(
        workspace=workspace,
        device_id=device_id,
        key=None if is_certificate else _key(source),
        interval_s=bounded.integer(source, "intervalS", 1, 86_400),
        endpoint=bounded.text(source, "endpoint", 300),
        ca_pem=bounded.optional_text(source, "caPem", bounded.MAX_REPLY_BYTES) or "",
        server_time_s=bounded.number(source, "serverTime", 0, MAX_SECONDS),
        transport=transport,
        certificate_pem=bounded.text(source, "certificatePem", MAX_CHAIN) if is_certificate else "",
        broker=broker,
    )


def _key(source: dict[str, object]) -> Secret:
    key = bounded.text(source, "key", 256)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise WireError("key has characters that no header can carry")
    return Secret(key)


def encode_take_back(csr_pem: str, agent_version: str) -> bytes:
    """The body by which a lost device asks to be taken back."""
    return bounded.encode_object({"csr": csr_pem, "agent": agent_version})


def decode_take_back(body: bytes) -> tuple[str, str]:
    """Body -> (csr_pem, agent_version). Raises WireError."""
    source = bounded.decode_object(body, bounded.MAX_REDEEM_BYTES)
    return bounded.text(source, "csr", MAX_PEM), bounded.text(source, "agent", 64)
