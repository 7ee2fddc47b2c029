"""One context maker for everything that speaks TLS: trust, pins, dates and client certificates.

Each context checks its pins by itself, in the handshake, before one byte of a request can leave: the request's address
may hold an installId, and its headers a key. Nothing here or elsewhere reads ``SSLSocket.session`` (each reading leaks
6 kB on many Python versions, CPython issue 116810).
"""

from __future__ import annotations

import os
import re
import ssl

from firstlight.errors import InvitationError, StateError
from firstlight.transports.certificate import described, spki_pin

__all__ = ["Contexts", "PinMismatchError", "client_context", "spki_pin"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from firstlight.core.model import Identity, Trust

# X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h; the ssl module has no name for it.
NO_CHECK_TIME = 0x20_0000
HASH_LINK = re.compile(r"[0-9a-f]{8}\.[0-9]+\Z")
SYSTEM_DIRECTORY = "/etc/ssl/certs"
OPEN_FILES = "/proc/self/fd/"
MAX_CHAIN_CHARACTERS = 65_536


class PinMismatchError(ssl.SSLError):
    """The server's public key is none of the pinned ones; ``seen`` says what it showed."""

    def __init__(self, seen: str) -> None:
        super().__init__(seen)
        self.seen = seen


def client_context(trust: Trust, *, check_dates: bool = True, identity: Identity | None = None) -> ssl.SSLContext:
    """A context that believes exactly what ``trust`` says: TLS 1.2 or later, host names checked.

    Built from ``PROTOCOL_TLS_CLIENT`` and not ``create_default_context``, whose strictness differs between versions.

    Args:
        trust: a CA of the platform's own, pins, both, or neither for the system's store.
        check_dates: False accepts certificates outside their dates, for a box whose clock is wrong. It counts only
            where a CA or a pin was given: the system's store is never believed without dates.
        identity: shown to a server that asks for a client certificate; None shows nothing.

    Raises:
        InvitationError: ``ca_malformed``.
        StateError: ``state_corrupt`` or ``state_unreadable``, for a certificate or key that cannot be used.
    """
    context = _PinningContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.pins = trust.pins
    if trust.ca_pem:
        _load_ca(context, trust.ca_pem)
        if not check_dates:
            context.verify_flags = ssl.VerifyFlags(int(context.verify_flags) | NO_CHECK_TIME)
    elif trust.pins:
        # Safe although it looks odd: only the holder of the pinned key can finish the handshake, so chain, name and
        # dates have nothing to add. This is how a self-signed hub is reached the first time.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        _load_system_store(context)
    if identity:
        _load_identity(context, identity)
    return context


class Contexts:
    """The context of a session that lives long: one for as long as the dates count, or do not; each costs memory.

    Args:
        trust: as for ``client_context``.
        check_dates: whether certificates' dates count, or a function that says so at each new connection (a clock that
            was wrong may have been set meanwhile).
        identity: as for ``client_context``.
    """

    __slots__ = ("_check_dates", "_identity", "_made", "_trust")

    def __init__(self, trust: Trust, check_dates: Callable[[], bool] | bool, identity: Identity | None) -> None:
        self._trust = trust
        self._check_dates = check_dates
        self._identity = identity
        self._made: tuple[bool, ssl.SSLContext] | None = None

    def now(self) -> ssl.SSLContext:
        """The context for a new connection. Raises as ``client_context``."""
        has_dates = self._check_dates if isinstance(self._check_dates, bool) else self._check_dates()
        if self._made is None or self._made[0] != has_dates:
            context = client_context(self._trust, check_dates=has_dates, identity=self._identity)
            self._made = (has_dates, context)
        return self._made[1]


def _load_identity(context: ssl.SSLContext, identity: Identity) -> None:
    """Certificate and key. ``load_cert_chain`` wants files, and the certificate is text: it gets one without a name."""
    if len(identity.certificate_pem) > MAX_CHAIN_CHARACTERS:
        raise StateError("state_corrupt", "The device's certificate is too large.")
    fd, path = _nameless()
    try:
        os.write(fd, identity.certificate_pem.encode("ascii", "replace"))
        # The empty password keeps OpenSSL from asking for one at the terminal.
        context.load_cert_chain(path, identity.key_file, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        said = (getattr(error, "reason", None) or "they are no PEM").lower().replace("_", " ")
        text = f"The device's certificate and its key in {identity.key_file} cannot be used: {said}."
        raise StateError("state_corrupt", text) from None
    except OSError as error:
        text = f"The device's key in {identity.key_file} cannot be read: {error.strerror}."
        raise StateError("state_unreadable", text) from None
    finally:
        os.close(fd)
        if not path.startswith(OPEN_FILES):
            os.unlink(path)


def _nameless() -> tuple[int, str]:
    """A file in memory, and a path to it; a private temporary one on a system that has none."""
    if hasattr(os, "memfd_create") and os.path.isdir(OPEN_FILES):
        fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
        return fd, f"{OPEN_FILES}{fd}"
    import tempfile

    return tempfile.mkstemp(prefix="firstlight-")


def _load_ca(context: ssl.SSLContext, ca_pem: str) -> None:
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError, TypeError):
        raise InvitationError("ca_malformed", "The platform's CA certificate cannot be read.") from None
    # What was handed over is the anchor, be it a root or an intermediate.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _load_system_store(context: ssl.SSLContext) -> None:
    """The system's CAs, read on demand where the directory allows it: a bundle costs 1 MB and 19 ms, links nothing."""
    if "SSL_CERT_FILE" not in os.environ and "SSL_CERT_DIR" not in os.environ:
        for directory in (ssl.get_default_verify_paths().openssl_capath, SYSTEM_DIRECTORY):
            if _has_hash_links(directory):
                context.load_verify_locations(capath=directory)
                return
    context.load_default_certs()


def _has_hash_links(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(HASH_LINK.match(entry.name) for entry in entries)
    except OSError:
        return False


def _check_pins(pins: tuple[str, ...], certificate_der: bytes | None) -> None:
    try:
        shown = spki_pin(certificate_der or b"")
    except ValueError:
        shown = "no readable key"
    if shown not in pins:
        raise PinMismatchError(f"{shown}; {described(certificate_der or b'')}".rstrip("; "))


class _PinningSocket(ssl.SSLSocket):
    """A socket whose handshake ends only when a pin matches."""

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        if isinstance(self.context, _PinningContext) and self.context.pins:
            _check_pins(self.context.pins, self.getpeercert(binary_form=True))


class _PinningObject(ssl.SSLObject):
    """The same for ``wrap_bio``, so that no way of using the context goes round its pins."""

    def do_handshake(self) -> None:
        super().do_handshake()
        if isinstance(self.context, _PinningContext) and self.context.pins:
            _check_pins(self.context.pins, self.getpeercert(binary_form=True))


class _PinningContext(ssl.SSLContext):
    pins: tuple[str, ...] = ()
    sslsocket_class = _PinningSocket
    sslobject_class = _PinningObject
