"""A call, checked before anything is opened: where it goes, and that nothing in it can break out of its line."""

from __future__ import annotations

import re

from firstlight.core.model import parse_endpoint
from firstlight.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from firstlight.core.exchange import HttpCall
else:
    from firstlight.core.record import NamedTuple

TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
PATH = re.compile(r"[!-~]*\Z")
VALUE = re.compile(r"[ -~]*\Z")
# The bounds of an answer's head, for both clients (http.client has the same number of headers built in).
MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 100


class Target(NamedTuple):
    """Where a call goes.

    Args:
        is_secure: over TLS.
        host: name or address, IPv6 without brackets.
        port: 1 to 65535.
        name: value of the Host header.
        path: with its query.
        peer: host and port, as messages name them.
    """

    is_secure: bool
    host: str
    port: int
    name: str
    path: str
    peer: str


def target_of(call: HttpCall) -> Target:
    """Takes the call's address apart and checks its method and headers.

    Raises:
        InvitationError: ``endpoint_malformed``, or ``endpoint_insecure`` for http:// to another machine.
        UsageError: ``bad_request`` for characters that cannot be sent; the message shows none of them.
    """
    scheme, _, rest = call.url.partition("://")
    authority, slash, path = rest.partition("/")
    endpoint = parse_endpoint(f"{scheme}://{authority}")
    if not PATH.match(path) or not TOKEN.match(call.method):
        raise UsageError("bad_request", "The address of the request has characters that cannot be sent.")
    for name, value in call.headers:
        if not TOKEN.match(name) or not VALUE.match(value):
            raise UsageError("bad_request", "A header of the request has characters that cannot be sent.")
    host, port = endpoint.host.strip("[]"), endpoint.port
    peer = f"{endpoint.host}:{port}"
    return Target(endpoint.scheme == "https", host, port, endpoint.url.partition("://")[2], slash + path or "/", peer)


def request_headers(call: HttpCall, target: Target) -> list[tuple[str, str]]:
    """The call's headers and the two that are the transport's: the least of RFC 9112 (3.2, 6.2)."""
    headers = [("Host", target.name), *call.headers]
    if call.body is not None or call.method in ("POST", "PUT", "PATCH"):
        headers.append(("Content-Length", str(len(call.body or b""))))
    return headers
