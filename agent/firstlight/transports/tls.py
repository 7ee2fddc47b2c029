"""One context maker for everything that speaks TLS: trust, pins and dates.

Each context checks its pins by itself, in the handshake, before one byte of a request can leave: the request's address
may hold an installId, and its headers a key. Nothing here or elsewhere reads ``SSLSocket.session`` (each reading leaks
6 kB on many Python versions, CPython issue 116810).
"""

from __future__ import annotations

import os
import re
import ssl

from firstlight.errors import InvitationError
from firstlight.transports.certificate import described, spki_pin

__all__ = ["PinMismatchError", "client_context", "spki_pin"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firstlight.core.model import Trust

# X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h; the ssl module has no name for it.
NO_CHECK_TIME = 0x20_0000
HASH_LINK = re.compile(r"[0-9a-f]{8}\.[0-9]+\Z")
SYSTEM_DIRECTORY = "/etc/ssl/certs"


class PinMismatchError(ssl.SSLError):
    """The server's public key is none of the pinned ones; ``seen`` says what it showed."""

    def __init__(self, seen: str) -> None:
        super().__init__(seen)
        self.seen = seen


def client_context(trust: Trust, *, check_dates: bool = True) -> ssl.SSLContext:
    """A context that believes exactly what ``trust`` says: TLS 1.2 or later, host names checked.

    Built from ``PROTOCOL_TLS_CLIENT`` and not ``create_default_context``, whose strictness differs between versions.

    Args:
        trust: a CA of the platform's own, pins, both, or neither for the system's store.
        check_dates: False accepts certificates outside their dates, for a box whose clock is wrong. It counts only
            where a CA or a pin was given: the system's store is never believed without dates.

    Raises:
        InvitationError: ``ca_malformed``.
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
    return context


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
