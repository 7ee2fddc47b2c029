"""How a device proves who it is: over MQTT, over HTTPS, and at the bootstrap server."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from datetime import datetime, timezone
from typing import NamedTuple

from tests.twins.huawei.state import HOUR_S, Device, State

TIMESTAMP = re.compile(r"[0-9]{10}\Z")
LEAST_KEEPALIVE_S, MOST_KEEPALIVE_S = 30, 1200


class ClientId(NamedTuple):
    """The parts of a client id: of a device, or of a member of a registration group (``scope_id``)."""

    device_id: str
    sign_type: str = ""
    timestamp: str = ""
    scope_id: str = ""


def read_client_id(text: str) -> ClientId | None:
    """``ID_0_SIGN_TIMESTAMP``, None = not of that shape; an id may have underscores of its own."""
    parts = text.rsplit("_", 3)
    if len(text) > 256 or len(parts) != 4 or not parts[0] or parts[1] != "0":
        return None
    if parts[2] not in ("0", "1") or not TIMESTAMP.match(parts[3]):
        return None
    return ClientId(parts[0], parts[2], parts[3])


def read_group_id(text: str) -> ClientId | None:
    """``ID_0_SCOPE`` (certificate) or ``ID_0_SCOPE_SIGN_TIMESTAMP`` (secret), None = neither."""
    parts = text.rsplit("_", 4)
    if len(parts) == 5 and parts[0] and parts[1] == "0" and parts[3] in ("0", "1") and TIMESTAMP.match(parts[4]):
        return ClientId(parts[0], parts[3], parts[4], parts[2])
    parts = text.rsplit("_", 2)
    if len(parts) == 3 and parts[0] and parts[1] == "0" and parts[2]:
        return ClientId(parts[0], scope_id=parts[2])
    return None


def password_of(secret: str, timestamp: str) -> str:
    """HMAC-SHA256 with the timestamp as key and the device's secret as message, 64 hex digits."""
    return hmac.new(timestamp.encode(), secret.encode(), "sha256").hexdigest()


def group_secret_of(group_secret: str, device_id: str) -> str:
    """What a member of a group has for a secret: HMAC-SHA256, key = its id, message = the group's secret decoded."""
    try:
        raw = base64.b64decode(group_secret, validate=True)
    except binascii.Error:
        return ""
    return hmac.new(device_id.encode(), raw, "sha256").hexdigest()


def is_of_now(state: State, sign_type: str, timestamp: str) -> bool:
    """With sign type 1 the hour must be the platform's, or one near it; with 0 it is a key and nothing else."""
    if sign_type == "0":
        return True
    try:
        at = datetime.strptime(timestamp, "%Y%m%d%H").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return False
    hour_s = state.clock.now_s() // HOUR_S * HOUR_S
    return abs(at - hour_s) <= state.tolerance_h * HOUR_S


def knows_secret(state: State, device: Device, sign_type: str, timestamp: str, password: str | None) -> bool:
    """Whether a password is of the device's first or second secret, and of now where that counts."""
    if password is None or device.auth_type != "SECRET" or not is_of_now(state, sign_type, timestamp):
        return False
    expected = [password_of(each, timestamp) for each in (device.secret, device.secondary_secret) if each]
    return any(hmac.compare_digest(each, password) for each in expected)


def shows_certificate(device: Device, certificate: bytes | None) -> bool:
    """Whether a certificate is the device's first or second; the very first that is shown is pinned."""
    if certificate is None or device.auth_type != "CERTIFICATES":
        return False
    prints = (hashlib.sha256(certificate).hexdigest(), hashlib.sha1(certificate).hexdigest())  # noqa: S324
    if not device.fingerprint and device.secondary_fingerprint not in prints:
        device.fingerprint = prints[0]
    return bool({device.fingerprint, device.secondary_fingerprint} & set(prints))
