"""A registration as a file: format number, checksum, fields; damage is noticed and never guessed at."""

from __future__ import annotations

import hashlib
import json

from firstlight.core.model import Credential, Registration, Secret, Trust, parse_broker, parse_endpoint
from firstlight.errors import InvitationError, StateError

FORMAT = 3  # of one with what only its platform knows
SEVERAL_FORMAT = 2  # of one over MQTT, or with a certificate
PLAIN_FORMAT = 1  # of a registration over HTTP with a secret: agents of the first version read it


def encode(registration: Registration) -> bytes:
    """``Registration`` -> file content. Holds the credential in clear: the file is 0600."""
    secret = registration.credential.secret
    fields: dict[str, object] = {
        "platform": registration.platform,
        "endpoint": registration.endpoint.url,
        "caPem": registration.trust.ca_pem,
        "pins": list(registration.trust.pins),
        "workspace": registration.workspace,
        "deviceId": registration.device_id,
        "credential": {
            "kind": registration.credential.kind,
            "secret": secret.reveal() if secret else None,
            "certificatePem": registration.credential.certificate_pem,
        },
        "intervalS": registration.interval_s,
        "keyFingerprint": registration.key_fingerprint,
        "csrPem": registration.csr_pem,
        "registeredAtS": registration.registered_at_s,
    }
    is_plain = registration.transport == "http" and registration.credential.kind == "secret"
    if registration.broker or registration.renew_at_s or not is_plain:
        fields["transport"] = registration.transport
        fields["broker"] = registration.broker.url if registration.broker else None
        fields["renewAtS"] = registration.renew_at_s
    if registration.extra:
        fields["extra"] = dict(registration.extra)
    known = FORMAT if registration.extra else PLAIN_FORMAT if is_plain else SEVERAL_FORMAT
    whole = {"format": known, "sha256": _checksum(fields), "registration": fields}
    return json.dumps(whole, indent=1).encode() + b"\n"


def decode(body: bytes, path: str) -> Registration:
    """File content -> ``Registration``.

    Args:
        body: as read, already bounded.
        path: named in the error.

    Raises:
        StateError: ``state_corrupt`` or ``state_newer``.
    """
    try:
        whole = json.loads(body)
        if not isinstance(whole, dict):
            raise ValueError("not an object")
        if isinstance(whole.get("format"), int) and whole["format"] > FORMAT:
            raise StateError("state_newer", f"{path} has format {whole['format']}; this agent reads up to {FORMAT}.")
        fields = whole["registration"]
        if whole["format"] not in (PLAIN_FORMAT, SEVERAL_FORMAT, FORMAT) or whole["sha256"] != _checksum(fields):
            raise ValueError("checksum")
        return _registration(fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvitationError):
        raise StateError("state_corrupt", f"{path} is damaged.") from None


def _checksum(fields: object) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _registration(fields: dict[str, object]) -> Registration:
    """The checksum has shown that an agent wrote these fields; this shows that it was one that knew what it wrote."""
    credential = fields["credential"]
    pins, interval_s, registered_at_s = fields["pins"], fields["intervalS"], fields["registeredAtS"]
    if not isinstance(credential, dict) or not isinstance(pins, list) or not all(isinstance(pin, str) for pin in pins):
        raise ValueError("credential or pins")
    if not isinstance(interval_s, int) or not isinstance(registered_at_s, (int, float)):
        raise ValueError("intervalS or registeredAtS")
    secret = credential["secret"]
    renew_at_s, broker = fields.get("renewAtS", 0.0), fields.get("broker")
    if not isinstance(renew_at_s, (int, float)) or fields.get("transport", "http") not in ("http", "mqtt"):
        raise ValueError("renewAtS or transport")
    extra = fields.get("extra", {})
    if not isinstance(extra, dict) or not all(isinstance(value, str) for value in extra.values()):
        raise ValueError("extra")
    return Registration(
        platform=_text(fields, "platform"),
        endpoint=parse_endpoint(_text(fields, "endpoint")),
        trust=Trust(_text(fields, "caPem"), tuple(pins)),
        workspace=_text(fields, "workspace"),
        device_id=_text(fields, "deviceId"),
        credential=Credential(
            _text(credential, "kind"),
            None if secret is None else Secret(_text(credential, "secret")),
            _text(credential, "certificatePem"),
        ),
        interval_s=interval_s,
        key_fingerprint=_text(fields, "keyFingerprint"),
        csr_pem=_text(fields, "csrPem"),
        registered_at_s=registered_at_s,
        transport=_text(fields, "transport") if "transport" in fields else "http",
        broker=parse_broker(_text(fields, "broker")) if broker is not None else None,
        renew_at_s=float(renew_at_s),
        extra=tuple(extra.items()),
    )


def _text(fields: dict[str, object], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise ValueError(name)
    return value
