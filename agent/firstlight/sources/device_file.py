"""A device file -> an invitation: one JSON object that the desk made for one box, with its credential in it.

    {"format": 1, "platform": "huawei", "road": "finished", "deviceId": "…", "broker": "mqtts://…", "secret": "…"}

docs/device_files.md has every name. A name that is not known is refused: it may be what the box cannot do without.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

from firstlight.core.model import (
    Broker,
    Endpoint,
    Invitation,
    Secret,
    Trust,
    parse_broker,
    parse_endpoint,
    parse_install_id,
    parse_pin,
)
from firstlight.errors import InvitationError

MAX_BYTES = 32_768
FORMAT = 1
ROADS = ("finished", "bootstrap", "redeem")
TRANSPORTS = ("", "http", "mqtt")
SECRET = re.compile(r"[!-~]*\Z")  # it goes into headers and packets as it is
TEXTS = ("platform", "road", "deviceId", "workspace", "endpoint", "broker", "ca", "secret", "certificate", "key")
NAMES = frozenset({"format", "pins", "transport", "extra", *TEXTS})
PLATFORM = re.compile(r"[a-z][a-z0-9]{0,31}\Z")
DEVICE_ID = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")
WORKSPACE = re.compile(r"[A-Za-z0-9._-]{1,256}\Z")
EXTRA = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
MAX_EXTRAS, MAX_PINS, MAX_SECRET = 32, 8, 4096
CERTIFICATES = re.compile(r"(?:\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]{1,16000}-----END CERTIFICATE-----)+\s*\Z")
PRIVATE_KEY = re.compile(r"\s*-----BEGIN ((?:EC |RSA )?PRIVATE KEY)-----[A-Za-z0-9+/=\s]{1,16000}-----END \1-----\s*\Z")


class DeviceFile(NamedTuple):
    """What a device file says.

    Args:
        invitation: all but the key.
        key: the private key of its certificate, PEM, for the key store; None = the file has none.
    """

    invitation: Invitation
    key: Secret | None = None


def is_device_file(body: bytes) -> bool:
    """Whether a text wants to be one: no other kind of invitation begins with a brace."""
    return body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


def read_bytes(given: str) -> bytes:
    """The bytes of a file, or of standard input for ``-``, at most one more than ``MAX_BYTES``.

    Raises:
        InvitationError: ``source_unreadable``.
    """
    try:
        if given == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with Path(given).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        where = "Standard input" if given == "-" else given
        raise InvitationError("source_unreadable", f"{where} cannot be read: {error.strerror}.") from None


def read_device_file(body: bytes) -> DeviceFile:
    """Bytes of a device file -> what it says.

    Raises:
        InvitationError: ``device_file_malformed``, ``device_file_newer``, ``endpoint_malformed``,
            ``endpoint_insecure``, ``pin_malformed``, ``install_id_malformed``; no text has a value of the file in it.
    """
    found = _object(body)
    texts = {name: _text(found, name) for name in TEXTS}
    road = texts["road"]
    if not PLATFORM.match(texts["platform"]):
        raise _malformed("'platform' is missing or no platform's name")
    if road not in ROADS:
        raise _malformed(f"'road' is none of: {', '.join(ROADS)}")
    _check_identity(texts)
    endpoint, broker = _places(texts)
    transport = _one_of(found, "transport", TRANSPORTS)
    if transport == "mqtt" and broker is None and road != "redeem":
        raise _malformed("'transport' is mqtt, and there is no 'broker'")
    secret = Secret(texts["secret"])
    invitation = Invitation(
        platform=texts["platform"],
        endpoint=endpoint,
        trust=Trust(_certificates(texts, "ca"), _pins(found)),
        proof=parse_install_id(texts["secret"]) if road == "redeem" else secret,
        transport=transport,
        credential="" if road == "redeem" else "certificate" if texts["certificate"] else "secret",
        road=road,
        device_id=texts["deviceId"],
        workspace=texts["workspace"],
        broker=broker,
        certificate_pem=_certificates(texts, "certificate"),
        extra=_extra(found),
    )
    return DeviceFile(invitation, _key(texts))


def _object(body: bytes) -> dict[str, object]:
    """The JSON object, its names checked."""
    if len(body) > MAX_BYTES:
        raise _malformed(f"it has more than {MAX_BYTES} bytes")
    try:
        found = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _malformed("it is no JSON object, or names something twice") from None
    if not isinstance(found, dict):
        raise _malformed("it is no JSON object")
    number = found.get("format")
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise _malformed("'format' is missing or no number")
    if number > FORMAT:
        raise InvitationError("device_file_newer", f"The device file has format {number}; this agent reads {FORMAT}.")
    if unknown := sorted(set(found) - NAMES):
        raise _malformed(f"the name {unknown[0][:32]!r} is not known")
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name twice")
    return dict(pairs)


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _text(found: dict[str, object], name: str) -> str:
    value = found.get(name, "")
    if not isinstance(value, str):
        raise _malformed(f"'{name}' is no text")
    return value


def _one_of(found: dict[str, object], name: str, allowed: tuple[str, ...]) -> str:
    value = _text(found, name)
    if value not in allowed:
        raise _malformed(f"'{name}' is none of: {', '.join(filter(None, allowed))}")
    return value


def _check_identity(texts: dict[str, str]) -> None:
    """Who the device is, and one proof of it."""
    is_redeem = texts["road"] == "redeem"
    if texts["deviceId"] and not DEVICE_ID.match(texts["deviceId"]):
        raise _malformed("'deviceId' is not 1 to 256 letters, digits, - and _")
    if not texts["deviceId"] and not is_redeem:
        raise _malformed("there is no 'deviceId'")
    if texts["workspace"] and not WORKSPACE.match(texts["workspace"]):
        raise _malformed("'workspace' is not 1 to 256 letters, digits, . - and _")
    if bool(texts["secret"]) == bool(texts["certificate"]):
        raise _malformed("it must have either 'secret' or 'certificate'")
    if texts["key"] and not texts["certificate"]:
        raise _malformed("there is a 'key' without a 'certificate'")
    if is_redeem and not texts["secret"]:
        raise _malformed("there is no 'secret' to redeem")
    if len(texts["secret"]) > MAX_SECRET or not SECRET.match(texts["secret"]):
        raise _malformed(f"'secret' is not of 1 to {MAX_SECRET} characters from '!' to '~'")


def _places(texts: dict[str, str]) -> tuple[Endpoint, Broker | None]:
    """Where the platform is; the broker's place stands for both where there is no other."""
    broker = parse_broker(texts["broker"]) if texts["broker"] else None
    if texts["endpoint"]:
        return parse_endpoint(texts["endpoint"]), broker
    if broker is None:
        raise _malformed("there is neither 'endpoint' nor 'broker'")
    return Endpoint("https", broker.host, broker.port), broker


def _certificates(texts: dict[str, str], name: str) -> str:
    text = texts[name]
    if text and not CERTIFICATES.match(text):
        raise _malformed(f"'{name}' holds something other than PEM certificates")
    return text.strip() + "\n" if text else ""


def _key(texts: dict[str, str]) -> Secret | None:
    if texts["key"] and not PRIVATE_KEY.match(texts["key"]):
        raise _malformed("'key' is no private key in PEM without a passphrase")
    return Secret(texts["key"].strip() + "\n") if texts["key"] else None


def _pins(found: dict[str, object]) -> tuple[str, ...]:
    pins = found.get("pins", [])
    if not isinstance(pins, list) or len(pins) > MAX_PINS or not all(isinstance(pin, str) for pin in pins):
        raise _malformed(f"'pins' is no list of at most {MAX_PINS} pins")
    return tuple(parse_pin(pin) for pin in pins)


def _extra(found: dict[str, object]) -> tuple[tuple[str, str], ...]:
    extra = found.get("extra", {})
    if not isinstance(extra, dict) or len(extra) > MAX_EXTRAS:
        raise _malformed(f"'extra' is no object of at most {MAX_EXTRAS} names")
    if not all(EXTRA.match(name) and isinstance(value, str) for name, value in extra.items()):
        raise _malformed("a name in 'extra' is none, or its value is no text")
    return tuple(sorted(extra.items()))


def _malformed(what: str) -> InvitationError:
    return InvitationError("device_file_malformed", f"The device file cannot be used: {what}.")
