"""The way out through an HTTP proxy: its address, and the CONNECT that opens a tunnel (RFC 9110, 9.3.6).

A proxy sees the platform's name and port and its own password, nothing else: TLS runs inside the tunnel. It is used for
https:// only, since plain http:// stays on this machine.
"""

from __future__ import annotations

import binascii
import re

from firstlight.core.model import Secret
from firstlight.errors import UnreachableError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from firstlight.transports.connect import Connection
else:
    from firstlight.core.record import NamedTuple

PROXY = re.compile(r"(?:http://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/?\Z")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r)")
MAX_TEXT = 512
MAX_ANSWER_BYTES = 16_384


class Proxy(NamedTuple):
    """An HTTP proxy.

    Args:
        host: name or address, IPv6 without brackets.
        port: 1 to 65535.
        authorization: value of the Proxy-Authorization header, or None for a proxy without password.
    """

    host: str
    port: int
    authorization: Secret | None = None


def parse_proxy(url_text: str, auth_text: str | None) -> Proxy:
    """A proxy as the settings have it.

    Args:
        url_text: ``http://HOST:PORT`` or ``HOST:PORT``.
        auth_text: ``USER:PASSWORD`` as its file has it, or None.

    Raises:
        UsageError: ``settings_invalid``.
    """
    found = PROXY.match(url_text.strip()) if len(url_text) <= MAX_TEXT else None
    port = int(found[2]) if found else 0
    if not found or not 0 < port < 65_536:
        # The text is not shown: people write passwords into proxy addresses.
        raise UsageError("settings_invalid", "The proxy is not of the form http://HOST:PORT (no user, no password).")
    return Proxy(found[1].strip("[]"), port, _basic(auth_text) if auth_text is not None else None)


def _basic(auth_text: str) -> Secret:
    """``USER:PASSWORD`` -> the header value of the Basic scheme (RFC 7617)."""
    trimmed = auth_text.strip("\r\n")
    if not trimmed.partition(":")[1] or len(trimmed) > MAX_TEXT or not trimmed.isprintable():
        raise UsageError("settings_invalid", "The proxy's password file does not hold one line USER:PASSWORD.")
    return Secret("Basic " + binascii.b2a_base64(trimmed.encode("utf-8"), newline=False).decode("ascii"))


def open_tunnel(connection: Connection, proxy: Proxy, host: str, port: int) -> None:
    """Asks the proxy at the other end of ``connection`` to connect it to ``host`` and ``port``.

    Raises:
        UnreachableError: ``proxy_auth_required``, ``proxy_failed``.
    """
    name = f"[{host}]" if ":" in host else host
    lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization.reveal()}")
    try:
        connection.write("\r\n".join([*lines, "", ""]).encode("ascii"))
        answer = _read_answer(connection)
    except UnreachableError as error:
        raise UnreachableError("proxy_failed", f"The proxy {connection.peer} failed: {error.message}") from None
    found = STATUS_LINE.match(answer)
    status = int(found[1]) if found else 0
    if status in (401, 407):  # tinyproxy answers a wrong password with 401
        said = "does not accept the password" if proxy.authorization else "asks for a password"
        raise UnreachableError("proxy_auth_required", f"The proxy {connection.peer} {said}.")
    if not 200 <= status < 300:
        said = f"answered {status}" if found else "did not answer in HTTP"
        raise UnreachableError("proxy_failed", f"The proxy {connection.peer} {said} when asked for {name}:{port}.")
    if not answer.endswith(b"\r\n\r\n"):
        # A TLS server never speaks first, so these bytes can only be the proxy's.
        raise UnreachableError("proxy_failed", f"The proxy {connection.peer} put something into the tunnel.")


def _read_answer(connection: Connection) -> bytes:
    """The head of the proxy's answer; of a refusal whatever has come with it."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = connection.read(4096)
        if not data:
            raise UnreachableError("proxy_failed", "it closed the connection without an answer.")
        answer += data
        if len(answer) > MAX_ANSWER_BYTES:
            raise UnreachableError("proxy_failed", "its answer has no end.")
    return answer
