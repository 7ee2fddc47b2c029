"""The header in which a trusted proxy hands over a certificate: whatever is in it, it is refused or passed by."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firstlight_hub import tls
from firstlight_hub.authorities import Authorities
from firstlight_hub.client_certificate import SHOWN, DeviceCertificate, FromProxies
from tests.hub.identities import certify, new_authority

# cryptography warns of a serial number that is not positive; the hub goes on.
pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")
NAMES = {"O": "demo", "CN": "cam", "serialNumber": "1"}
AUTHORITY = new_authority()
RIGHT = tls.certificate_der(certify(AUTHORITY, tls.make_key(), NAMES))


def handed_over(*values: bytes) -> object:
    """What the app is given for such a header: a certificate, a reason, None; or the status of the refusal."""
    came: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        came.append(scope.get(SHOWN))

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            came.append(message["status"])

    headers = [(b"client-cert", value) for value in values]
    scope = {"type": "http", "client": ("127.0.0.1", 1), "headers": headers}
    checked = FromProxies(app, lambda: Authorities(AUTHORITY), ("127.0.0.1",), "Client-Cert")
    asyncio.run(checked(scope, None, send))
    (found,) = came
    return found


def test_right_certificate_passes() -> None:
    """What the others are compared with."""
    assert isinstance(handed_over(b":" + base64.b64encode(RIGHT) + b":"), DeviceCertificate)


@given(st.binary(max_size=400))
def test_any_bytes(value: bytes) -> None:
    """No bytes end in anything but a refusal by name; white space alone is as no header."""
    assert handed_over(value) == (400 if value.strip() else None)


@given(st.binary(max_size=400))
def test_any_der(der: bytes) -> None:
    """The same within RFC 9440's form."""
    assert handed_over(b":" + base64.b64encode(der) + b":") == 400


@example(RIGHT.index(b"\xa0\x03\x02\x01\x02") * 8 + 32)  # the version: its error is none of ValueError's kind
@given(st.integers(0, len(RIGHT) * 8 - 1))
def test_one_turned_bit(bit: int) -> None:
    """A certificate with one bit turned cannot be read, or is not from the hub's CA."""
    turned = bytearray(RIGHT)
    turned[bit // 8] ^= 1 << bit % 8
    found = handed_over(b":" + base64.b64encode(turned) + b":")
    assert found == 400 or isinstance(found, str)
