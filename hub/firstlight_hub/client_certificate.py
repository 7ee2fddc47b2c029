"""What a device shows instead of a key: its certificate, in the TLS handshake or from a proxy that ended TLS before us.

In the handshake OpenSSL checks chain, dates and purpose, so ``HubProtocol`` only has to read what it let through. What
a trusted proxy hands over in a header is checked here, as if there had been no proxy. Whether the certificate still
counts is for the store to say, at each beat: that is what makes a revocation immediate.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import ssl
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firstlight_hub import tls
from firstlight_hub.api.problems import answer
from firstlight_hub.authorities import Authorities, signed_by
from firstlight_hub.model import Certificate, Refusal, certificate_hash
from firstlight_hub.tls import UNREADABLE

MAX_HEADER = 8192
MAX_KNOWN = 20_000
LOOK_S = 3.0  # a CA whose file was taken away counts no longer than that
SHOWN = "firstlight.certificate"  # where a request's scope has it
GENERATION = re.compile(r"[1-9][0-9]{0,8}\Z")
BYTE_SEQUENCE = re.compile(rb":([A-Za-z0-9+/]+={0,2}):\Z")

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


class DeviceCertificate(NamedTuple):
    """A certificate that a CA of ours signed for a device.

    Args:
        workspace: the device's.
        device_id: as the hub knows it.
        generation: of the device's key.
        fingerprint: of the device's key, ``sha256:`` and hex.
        key_hash: by which the store knows it.
        begins_s: seconds since 1970 from which it counts.
        ends_s: until which.
        der: the whole of it.
    """

    workspace: str
    device_id: str
    generation: int
    fingerprint: str
    key_hash: bytes
    begins_s: float
    ends_s: float
    der: bytes

    def record(self) -> Certificate:
        """As the store keeps it."""
        certificate = x509.load_der_x509_certificate(self.der)
        pem = tls.certificate_pem(certificate).decode("ascii")
        serial, ends_ms = f"{certificate.serial_number:x}", int(self.ends_s) * 1000
        return Certificate(serial, self.device_id, self.fingerprint, pem, ends_ms)


def accept_devices(context: ssl.SSLContext, authorities: Authorities) -> None:
    """Has a server's context ask for a device's certificate and check it; a connection without one is as good.

    Args:
        context: of the server. CAs that it has already are no harm.
        authorities: whose certificates count.
    """
    context.load_verify_locations(cadata=b"".join(map(tls.certificate_der, authorities.accepted())))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate of the operator's is an anchor too
    context.verify_mode = ssl.CERT_OPTIONAL
    # A context never lets go of a CA that it has: whether it still counts is looked at after the handshake.
    context.sslobject_class = type("_Telling", (_Telling,), {"accepted": authorities.accepted()})
    # No tickets: with a certificate in them they are large. By its session id TLS 1.2 takes a session up again for some
    # minutes without a new check of the certificate; its dates, its CA and its key are looked at all the same, here,
    # in ``shown`` and in the store.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET


class _Telling(ssl.SSLObject):
    """The hub's side of a handshake, which tells a device that its certificate is refused.

    uvloop would cut the line before the alert has left. So a failure first only asks for more, which sends what is
    there; the device's next bytes, its goodbye or the deadline then end the connection.
    """

    accepted: tuple[x509.Certificate, ...] = ()
    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            self._failure = error
            raise ssl.SSLWantReadError(error.reason) from None


def shown_in_handshake(secured: ssl.SSLObject) -> DeviceCertificate | str | None:
    """The certificate of the other side, why it does not count, or None where it showed none.

    Args:
        secured: of a context that ``accept_devices`` was given.
    """
    der = secured.getpeercert(True)
    if der is None:
        return None
    found = read_certificate(der)
    if found is None:
        return "The certificate is not a device's."
    certificate = x509.load_der_x509_certificate(der)
    if not (isinstance(secured, _Telling) and any(signed_by(certificate, one) for one in secured.accepted)):
        return "The certificate is not from this hub's CA."
    return found


def read_certificate(der: bytes) -> DeviceCertificate | None:
    """A verified certificate -> what it says; None where it is not one for a device."""
    try:
        return _read(x509.load_der_x509_certificate(der))
    except UNREADABLE:
        return None


def _read(certificate: x509.Certificate) -> DeviceCertificate | None:
    subject = certificate.subject
    oids = (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME, NameOID.SERIAL_NUMBER)
    found = [[str(one.value) for one in subject.get_attributes_for_oid(oid)] for oid in oids]
    key = certificate.public_key()
    if any(len(values) != 1 for values in found) or not isinstance(key, ec.EllipticCurvePublicKey):
        return None
    (workspace,), (device_id,), (generation,) = found
    if not GENERATION.match(generation):
        return None
    fingerprint = tls.fingerprint(key)
    begins, ends = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    hashed, der = certificate_hash(fingerprint), tls.certificate_der(certificate)
    return DeviceCertificate(workspace, device_id, int(generation), fingerprint, hashed, begins, ends, der)


def shown(scope: Scope, workspace: str, device_id: str) -> DeviceCertificate:
    """The certificate that came with a request, for the device in its path.

    Raises:
        Refusal: ``key_invalid``: there is none, or it is not this device's; ``certificate_refused``: outside its dates.
    """
    found: DeviceCertificate | str | None = scope.get(SHOWN)
    if found is None:
        said = "The device's key is missing: send it as Authorization: Bearer KEY, or show the device's certificate."
        raise Refusal("key_invalid", said)
    if isinstance(found, str):
        raise Refusal("key_invalid", found)
    if (found.workspace, found.device_id) != (workspace, device_id):
        raise Refusal("key_invalid", "The certificate is another device's.")
    if not found.begins_s <= time.time() <= found.ends_s:
        raise Refusal("certificate_refused", "The device's certificate is outside its dates.")
    return found


class FromProxies:
    """The app behind a check of the header in which a trusted proxy hands over certificates; from others it is refused.

    Args:
        app: what answers.
        authorities: gives the CAs that count.
        trusted: the proxies' addresses.
        header: its name.
    """

    def __init__(self, app: App, authorities: Callable[[], Authorities], trusted: Iterable[str], header: str) -> None:
        self._app = app
        self._authorities = authorities
        self._trusted = {ipaddress.ip_address(one) for one in trusted}
        self._header = header.lower().encode("latin-1")
        self._known: dict[bytes, DeviceCertificate] = {}
        self._known_by: Authorities | None = None
        self._look_s = 0.0

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answers one request."""
        if scope["type"] == "http":
            values = [value for name, value in scope["headers"] if name == self._header]
            if values:
                try:
                    found = self._handed_over(scope, values)
                except Refusal as refusal:
                    await answer(refusal)(scope, receive, send)
                    return
                if found is not None:
                    scope[SHOWN] = found
        await self._app(scope, receive, send)

    def _handed_over(self, scope: Mapping[str, Any], values: list[bytes]) -> DeviceCertificate | str | None:
        """What the proxy saw, why it does not count, or None where it saw none."""
        if not self._is_trusted(scope.get("client")):
            name = self._header.decode("latin-1")
            raise Refusal("proxy_not_trusted", f"The header {name} is taken from trusted proxies only.")
        if len(values) > 1 or len(values[0]) > MAX_HEADER:
            raise Refusal("request_malformed", "The proxy's certificate header is there twice, or too long.")
        value = values[0].strip()
        if not value:
            return None
        hashed = hashlib.sha256(value).digest()
        self._forget_former()
        if (known := self._known.get(hashed)) is not None:
            return known
        found = self._verified(_certificate(value))
        if isinstance(found, DeviceCertificate):
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[hashed] = found
        return found

    def _forget_former(self) -> None:
        """What was checked by other CAs than those of now is checked again."""
        if (now_s := time.monotonic()) >= self._look_s:
            self._look_s = now_s + LOOK_S
            if (authorities := self._authorities()) is not self._known_by:
                self._known.clear()
                self._known_by = authorities

    def _is_trusted(self, client: tuple[str, int] | None) -> bool:
        try:
            address = ipaddress.ip_address(client[0] if client else "")
        except ValueError:
            return False
        return (getattr(address, "ipv4_mapped", None) or address) in self._trusted

    def _verified(self, certificate: x509.Certificate) -> DeviceCertificate | str:
        """As OpenSSL would in a handshake, dates aside: those are looked at whenever it is used."""
        if not any(signed_by(certificate, one) for one in self._authorities().accepted()):
            return "The certificate is not from this hub's CA."
        try:
            found = {type(extension.value): extension.value for extension in certificate.extensions}
            read = _read(certificate)
        except UNREADABLE:
            read, found = None, {}
        basic, usage = found.get(x509.BasicConstraints), found.get(x509.ExtendedKeyUsage)
        is_ca = isinstance(basic, x509.BasicConstraints) and basic.ca
        is_client = isinstance(usage, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CLIENT_AUTH in usage
        if read is None or is_ca or not is_client:
            return "The certificate is not a device's."
        return read


def _certificate(value: bytes) -> x509.Certificate:
    """RFC 9440's ``:BASE64:``, or nginx' escaped PEM. Raises Refusal ``request_malformed``."""
    try:
        sequence = BYTE_SEQUENCE.match(value)
        if sequence is not None:
            return x509.load_der_x509_certificate(base64.b64decode(sequence[1], validate=True))
        return x509.load_pem_x509_certificate(urllib.parse.unquote_to_bytes(value))
    except UNREADABLE:
        raise Refusal("request_malformed", "The proxy's certificate header cannot be read.") from None
