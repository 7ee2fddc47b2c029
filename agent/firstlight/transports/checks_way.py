"""Checks of the way to the hub, step by step: name, proxy, port, TLS, pin, and what else may answer in its place.

Each opens the very connection that heartbeats use (``connect.reach``), so a failure has the name it has in the log.
Nobody but the configured hub, its proxy and this box's own DNS server is ever contacted.
"""

from __future__ import annotations

import re
import socket

from firstlight.core.diagnosis import Finding, failed, noted, passed, skipped, warned
from firstlight.errors import UnreachableError
from firstlight.transports.certificate import described
from firstlight.transports.connect import Deadline, reach
from firstlight.transports.tls import client_context, spki_pin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    from firstlight.core.model import Endpoint, Identity, Trust
    from firstlight.transports.proxy import Proxy
else:
    from firstlight.core.record import NamedTuple

CALL_S, PROBE_S = 4.0, 2.5
PLAIN_PORT = 80
MAX_ANSWER = 8192
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
LOCATION = re.compile(rb"(?i)\r\nlocation:\s*(?:https?:)?//([^/\s:]{1,253})")
HTML = re.compile(rb"(?i)\r\ncontent-type:\s*text/html|<html|<!doctype html")
NETWORK_AUTHENTICATION = 511  # RFC 6585: "Network Authentication Required"
ADDRESS = re.compile(r"[0-9.]+\Z|.*:")
NAMESERVER = re.compile(r"^\s*nameserver\s+([0-9A-Fa-f.:%\w]+)", re.MULTILINE)


class Shown(NamedTuple):
    """What came of a TLS handshake.

    Args:
        error: why it failed, None = it did not.
        pin: of the key that was shown, "" = not known.
        names: subject and issuer of the certificate, "" = not known.
    """

    error: UnreachableError | None
    pin: str = ""
    names: str = ""


def host_of(endpoint: Endpoint) -> str:
    """The host as sockets want it."""
    return endpoint.host.strip("[]")


def dns(
    host: str,
    what: str = "platform",
    resolve: Callable[..., list[object]] = socket.getaddrinfo,  # type: ignore[assignment]
    resolv_conf: str = "/etc/resolv.conf",
) -> Finding:
    """Whether a name is found. May take as long as the system's resolver likes: the caller bounds it.

    Args:
        host: name or address.
        what: whose name it is, for the message.
        resolve: as ``socket.getaddrinfo``.
        resolv_conf: where the servers stand.
    """
    if ADDRESS.match(host):
        return passed("dns", f"The {what} is given by its address, {host}: no name is needed.")
    servers = name_servers(resolv_conf)
    asked = f"asked: {', '.join(servers)}" if servers else "no DNS server is configured"
    try:
        found = resolve(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        said = f"The {what}'s name {host} is not found: {error.strerror or error} ({asked}). [dns_failed]"
        return failed("dns", said, host=host, servers=servers, code="dns_failed")
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))  # type: ignore[index]
    return passed("dns", f"{host} is {', '.join(addresses[:4])}.", host=host, addresses=addresses, servers=servers)


def name_servers(resolv_conf: str = "/etc/resolv.conf") -> list[str]:
    """The DNS servers of this box, as resolv.conf(5) names them."""
    try:
        with open(resolv_conf, encoding="utf-8", errors="replace") as file:
            return NAMESERVER.findall(file.read(65_536))
    except OSError:
        return []


def proxy(endpoint: Endpoint, way: Proxy | None, where: str, deadline_s: float = CALL_S) -> Finding:
    """Whether the proxy is reached and opens a tunnel to the hub.

    Args:
        endpoint: of the hub.
        way: the proxy, None = a direct way.
        where: where it is set, or why there is none.
        deadline_s: for all of it.
    """
    if way is None:
        return passed("proxy", f"No proxy: {where}.")
    named = f"{way.host}:{way.port}"
    try:
        reach(host_of(endpoint), endpoint.port, Deadline(deadline_s), None, way).close()
    except UnreachableError as error:
        said = f"{error.message} It is set {where}. [{error.code}]"
        return failed("proxy", said, error.hint, proxy=named, code=error.code)
    return passed("proxy", f"The proxy {named}, set {where}, lets this box through.", proxy=named)


def port(endpoint: Endpoint, way: Proxy | None, deadline_s: float = CALL_S) -> Finding:
    """Whether the hub's port takes a connection; arguments as for ``proxy``."""
    try:
        reach(host_of(endpoint), endpoint.port, Deadline(deadline_s), None, way).close()
    except UnreachableError as error:
        return failed("port", f"{error.message} [{error.code}]", error.hint, code=error.code)
    return passed("port", f"{endpoint.host}:{endpoint.port} takes a connection.")


def handshake(
    endpoint: Endpoint,
    trust: Trust,
    way: Proxy | None,
    *,
    check_dates: bool,
    identity: Identity | None = None,
    deadline_s: float = CALL_S,
) -> Shown:
    """One handshake as heartbeats make it; nothing is sent after it.

    Raises:
        InvitationError: ``ca_malformed``.
        StateError: the device's certificate or key cannot be used.
    """
    context = client_context(trust, check_dates=check_dates, identity=identity)
    try:
        connection = reach(host_of(endpoint), endpoint.port, Deadline(deadline_s), context, way)
    except UnreachableError as error:
        return Shown(error)
    der = connection.certificate_der()
    connection.close()
    try:
        return Shown(None, spki_pin(der), described(der))
    except ValueError:
        return Shown(None)


def tls(shown: Shown) -> Finding:
    """What the handshake says of TLS and of who stands on the way."""
    error = shown.error
    if error is None:
        return passed("tls", f"TLS, {shown.names or 'with a certificate'}.", certificate=shown.names, pin=shown.pin)
    if error.code == "tls_pin_mismatch":
        return passed("tls", "The other side speaks TLS.")  # the next check says whose key it is
    fix = error.hint
    if error.code == "tls_untrusted":
        fix = (
            "Something on the way opens TLS (a firewall, a virus scanner, a proxy), or this is another server. Ask the "
            "network's administrator to let this box through without inspection."
        )
    return failed("tls", f"{error.message} [{error.code}]", fix, code=error.code)


def pin(shown: Shown, pins: tuple[str, ...], *, has_ca: bool) -> Finding:
    """Whether the key that was shown is the one that this box was told."""
    if shown.error is not None and shown.error.code == "tls_pin_mismatch":
        said = f"{shown.error.message} Expected: {', '.join(pins)}. [tls_pin_mismatch]"
        return failed("pin", said, code="tls_pin_mismatch", expected=list(pins))
    if not pins:
        how = "the platform's own CA decides" if has_ca else "the system's certificates decide"
        return passed("pin", f"No pin is kept: {how}. The key shown is {shown.pin}.", shown=shown.pin)
    return passed("pin", f"The key shown is the pinned one: {shown.pin}.", shown=shown.pin)


def portal(
    endpoint: Endpoint,
    way: Proxy | None,
    *,
    is_hub_seen: bool,
    ports: tuple[int, ...] = (),
    deadline_s: float = PROBE_S,
) -> Finding:
    """Whether a login page answers in plain HTTP at the hub's own address. No other address is asked.

    Args:
        endpoint: of the hub.
        way: the proxy; behind one a login page does not show in this way.
        is_hub_seen: the TLS handshake with the hub succeeded: then there is no page in between.
        ports: to be asked, by default the hub's own and 80.
        deadline_s: for each.
    """
    if is_hub_seen:
        return passed("portal", "None: the platform itself answered.")
    if way is not None:
        return skipped("portal", "because a proxy is on the way")
    for number in ports or tuple(dict.fromkeys((endpoint.port, PLAIN_PORT))):
        answer = _plain_answer(host_of(endpoint), number, endpoint.host, deadline_s)
        found = _judged(answer, host_of(endpoint), is_own_port=number == endpoint.port)
        if found is not None:
            return found
    return passed("portal", "Nothing answers in plain HTTP in the platform's place.")


def _plain_answer(host: str, number: int, name: str, deadline_s: float) -> bytes:
    """The beginning of the answer to a plain request, b"" = none came."""
    answer = b""
    try:
        connection = reach(host, number, Deadline(deadline_s))
    except UnreachableError:
        return answer
    try:
        connection.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode("ascii"))
        while len(answer) < MAX_ANSWER and (part := connection.read(4096)):
            answer += part
    except UnreachableError:
        return answer
    finally:
        connection.close()
    return answer


def _judged(answer: bytes, host: str, *, is_own_port: bool) -> Finding | None:
    found = STATUS_LINE.match(answer)
    if not found:
        return None
    status = int(found[1])
    leads_to = LOCATION.search(answer)
    target = leads_to[1].decode("latin-1").lower() if leads_to else ""
    shown = "".join(c if c.isprintable() else "?" for c in target)
    detail: dict[str, object] = {"status": status, "leadsTo": shown}
    if 300 <= status < 400 and target and target != host.lower():
        said = f"A login page answers in the platform's place: it leads to {shown}. [redirected]"
        return failed("portal", said, f"Open http://{shown} in a browser on this network and log in.", detail=detail)
    if status == NETWORK_AUTHENTICATION:
        return failed("portal", "The network wants a login before it lets this box out.", detail=detail)
    if is_own_port and 200 <= status < 400:
        return failed(
            "portal", "The platform's port answers in plain HTTP: something else is in its place.", detail=detail
        )
    if status == 200 and HTML.search(answer):
        return warned(
            "portal", "A web page answers at the platform's address on port 80; it may be a login page.", detail=detail
        )
    return noted("portal", f"Plain HTTP is answered with status {status}; that is no login page.", detail=detail)
