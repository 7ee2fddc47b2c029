"""Opening a connection, and reading and writing on it within one deadline: the same for all clients.

Resolve, connect, tunnel, handshake. Every way this can fail is named here, once, as an UnreachableError that tells
host, port and what was seen, and never a path, a header or a body.
"""

from __future__ import annotations

import errno
import socket
import ssl
from time import monotonic

from firstlight.errors import UnreachableError
from firstlight.transports.certificate import described
from firstlight.transports.proxy import open_tunnel
from firstlight.transports.tls import PinMismatchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.transports.proxy import Proxy

NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
# OpenSSL's x509_vfy.h: certificate not yet valid, expired, the same for its signer's list; other name, e-mail, address.
DATE_ERRORS = frozenset({9, 10, 11, 12})
NAME_ERRORS = frozenset({62, 63, 64})
# Alerts of a server about our own certificate, in OpenSSL's names (RFC 8446, 6.2). In TLS 1.3 they come with the first
# read, since our side of the handshake ends before the server has looked at it.
OWN_CERTIFICATE = frozenset(
    {
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_NO_CERTIFICATE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    }
)
PROBE_S = 2.0


class Deadline:
    """One limit for a whole exchange, however many reads and writes it takes.

    Resolving a name does not count: it cannot be interrupted, and its own time-outs are the resolver's.
    """

    __slots__ = ("_until_s", "total_s")

    def __init__(self, total_s: float) -> None:
        self.start(total_s)

    def start(self, total_s: float) -> None:
        """Counts from now."""
        self.total_s = total_s
        self._until_s = monotonic() + total_s

    def extend(self, by_s: float) -> None:
        """Leaves out a time that does not count."""
        self._until_s += by_s

    def left_s(self) -> float:
        """Seconds to go, at least a millisecond: 0 would mean not to wait at all, and that is a different mode."""
        return max(self._until_s - monotonic(), 0.001)

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return monotonic() >= self._until_s


class Connection:
    """A connected socket under a deadline.

    Args:
        sock: connected; the connection owns it.
        peer: host and port, as messages name it.
        deadline: shared with the client, which starts it anew for each exchange.
    """

    farewell = ""  # a plain connection ends without words
    __slots__ = ("_deadline", "_is_deaf", "_socket", "has_ended", "has_received", "peer")

    def __init__(self, sock: socket.socket, peer: str, deadline: Deadline) -> None:
        self._socket = sock
        self._deadline = deadline
        self._is_deaf = False
        self.peer = peer
        self.has_ended = False
        self.has_received = False

    def read(self, size: int) -> bytes:
        """Some bytes, at most ``size``; none at the end.

        Raises:
            UnreachableError: ``reply_timeout``, ``reply_cut``, ``tls_failed``, ``certificate_refused``.
        """
        try:
            self._wait_at_most()
            data = self._socket.recv(size)
        except TimeoutError:
            raise self._late() from None
        except OSError as error:
            raise self._broken(error) from None
        return self._noted(data)

    def read_now(self, size: int) -> bytes | None:
        """What has come already, at most ``size``; none at the end, None when nothing has.

        Raises:
            UnreachableError: as ``read``, but for the time.
        """
        try:
            self._socket.settimeout(0)
            data = self._socket.recv(size)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except OSError as error:
            raise self._broken(error) from None
        return self._noted(data)

    def _noted(self, data: bytes) -> bytes:
        if data:
            self.has_received = True
        else:
            self.has_ended = True
        return data

    def write(self, data: bytes) -> None:
        """Sends all of ``data``.

        A server that closes while it is still being written to may have answered before; so that is no error here,
        and the next read tells.

        Raises:
            UnreachableError: ``reply_timeout``, ``tls_failed``, ``certificate_refused``.
        """
        rest = memoryview(data)
        try:
            while rest and not self._is_deaf:
                self._wait_at_most()
                rest = rest[self._socket.send(rest) :]
        except TimeoutError:
            raise self._late() from None
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            self._is_deaf = True  # OpenSSL takes no other bytes after a write that failed
        except OSError as error:
            raise self._broken(error) from None

    def is_quiet(self) -> bool:
        """Whether the idle connection still stands, with nothing come in: no bytes, no end."""
        try:
            self._socket.settimeout(0)
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def fileno(self) -> int:
        """The descriptor of the socket, -1 once it is closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Closes at once, without the TLS farewell: the other side may be gone and must not hold us up."""
        self._socket.close()

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Speaks TLS from here on.

        Raises:
            UnreachableError: one of the ``tls_`` codes, or ``certificate_refused``. The connection is closed then.
        """
        self._socket.settimeout(self._deadline.left_s())
        try:
            # As bytes, because a text would load the idna codec and its tables for good.
            self._socket = context.wrap_socket(self._socket, server_hostname=host.encode("ascii"))
        except BaseException as error:
            self.close()
            if isinstance(error, (OSError, ValueError)):  # ValueError: no name that a certificate could have
                raise _tls_error(error, self.peer, self._deadline) from None
            raise

    def certificate_der(self) -> bytes:
        """The other side's certificate, "" without TLS."""
        return (isinstance(self._socket, ssl.SSLSocket) and self._socket.getpeercert(binary_form=True)) or b""

    def _wait_at_most(self) -> None:
        if self._deadline.is_over:
            raise TimeoutError
        self._socket.settimeout(self._deadline.left_s())

    def _late(self) -> UnreachableError:
        limit = f"{self._deadline.total_s:.3g} s"
        return UnreachableError("reply_timeout", f"{self.peer} did not finish its answer within {limit}.")

    def _broken(self, error: OSError) -> UnreachableError:
        if isinstance(error, ssl.SSLError):
            if error.reason in OWN_CERTIFICATE:
                return _certificate_refused(error, self.peer)
            return UnreachableError("tls_failed", f"TLS with {self.peer} broke: {_reason(error)}.")
        return UnreachableError("reply_cut", f"The connection to {self.peer} broke: {_reason(error)}.")


def reach(
    host: str, port: int, deadline: Deadline, context: ssl.SSLContext | None = None, proxy: Proxy | None = None
) -> Connection:
    """A connection that is ready for a request.

    Args:
        host: name or address, IPv6 without brackets.
        port: 1 to 65535.
        deadline: running.
        context: for TLS; None for plain HTTP.
        proxy: the way round, or None for the straight one.

    Raises:
        UnreachableError: with the code of what went wrong; nothing of a request has been sent.
    """
    connection = _dial_through(proxy, host, port, deadline) if proxy else _dial(host, port, deadline)
    if context:
        try:
            connection.secure(context, host)
        except UnreachableError as error:
            if error.code == "tls_untrusted":
                raise _with_certificate(error, host, port, deadline, proxy) from None
            raise
    return connection


def _dial_through(proxy: Proxy, host: str, port: int, deadline: Deadline) -> Connection:
    try:
        connection = _dial(proxy.host, proxy.port, deadline)
    except UnreachableError as error:
        raise UnreachableError("proxy_failed", f"The proxy cannot be reached: {error.message}") from None
    try:
        open_tunnel(connection, proxy, host, port)
    except BaseException:
        connection.close()
        raise
    connection.peer = _peer(host, port)
    connection.has_received = False
    return connection


def _peer(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _dial(host: str, port: int, deadline: Deadline) -> Connection:
    """Tries every address of ``host``, in the system's order, each with its share of the time that is left."""
    addresses = _resolve(host, port, deadline)
    worst: OSError = OSError(errno.EHOSTUNREACH, "no address")
    for position, (family, address) in enumerate(addresses):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline.left_s() / (len(addresses) - position))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            # An address family without a route says less than an address that was tried.
            if position == 0 or error.errno not in NO_WAY:
                worst = error
        except BaseException:
            sock.close()
            raise
        else:
            return Connection(sock, _peer(host, port), deadline)
    raise _connect_error(worst, _peer(host, port), deadline)


def _resolve(host: str, port: int, deadline: Deadline) -> list[tuple[int, tuple[str, int] | tuple[str, int, int, int]]]:
    began_s = monotonic()
    try:
        found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnreachableError("dns_failed", f"The name {host} cannot be resolved: {_reason(error)}.") from None
    finally:
        deadline.extend(monotonic() - began_s)
    return [(entry[0], entry[4]) for entry in found]  # type: ignore[misc]  # no IPv6-less build of Python here


def _connect_error(error: OSError, peer: str, deadline: Deadline) -> UnreachableError:
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError("connect_refused", f"{peer} refused the connection.")
    if isinstance(error, TimeoutError):
        return UnreachableError("connect_timeout", f"{peer} did not take the connection in {deadline.total_s:.3g} s.")
    return UnreachableError("network_unreachable", f"There is no way to {peer}: {_reason(error)}.")


def _tls_error(error: OSError | ValueError, peer: str, deadline: Deadline) -> UnreachableError:
    if isinstance(error, PinMismatchError):
        return UnreachableError("tls_pin_mismatch", f"{peer} showed another key than the pinned one: {error.seen}.")
    if isinstance(error, ssl.SSLCertVerificationError):
        said = error.verify_message
        if error.verify_code in DATE_ERRORS:
            return UnreachableError("tls_expired", f"The certificate of {peer} is outside its dates: {said}.")
        if error.verify_code in NAME_ERRORS:
            return UnreachableError("tls_wrong_name", f"The certificate of {peer} is for another name: {said}.")
        return UnreachableError("tls_untrusted", f"The certificate of {peer} is not trusted: {said}.")
    if isinstance(error, TimeoutError):
        return UnreachableError("tls_failed", f"{peer} did not finish the TLS handshake in {deadline.total_s:.3g} s.")
    if isinstance(error, (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return UnreachableError("tls_failed", f"{peer} closed the connection during the TLS handshake.")
    if isinstance(error, ssl.SSLError) and error.reason in OWN_CERTIFICATE:
        return _certificate_refused(error, peer)
    said = _reason(error) if isinstance(error, OSError) else "its name cannot be checked"
    return UnreachableError("tls_failed", f"No TLS with {peer}: {said}.")


def _certificate_refused(error: ssl.SSLError, peer: str) -> UnreachableError:
    said = _reason(error).partition("alert ")[2]
    return UnreachableError("certificate_refused", f"{peer} does not accept this device's certificate: {said}.")


def _with_certificate(
    error: UnreachableError, host: str, port: int, deadline: Deadline, proxy: Proxy | None
) -> UnreachableError:
    """The same error, naming who issued what was shown: OpenSSL drops a certificate that it does not trust.

    So it is fetched by one more handshake that trusts nobody, and after which nothing is sent.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        connection = reach(host, port, Deadline(min(PROBE_S, deadline.left_s())), context, proxy)
    except UnreachableError:
        return error
    seen = described(connection.certificate_der())
    connection.close()
    return UnreachableError(error.code, f"{error.message.rstrip('.')}; {seen}.") if seen else error


def _reason(error: OSError) -> str:
    """What the system or OpenSSL says, in their words."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or type(error).__name__
