"""The nouns, immutable. Text is parsed at the door by the ``parse`` functions here and trusted inside.

The beating process imports this module, so values are ``NamedTuple`` or hand-written ``__slots__`` classes
(see ``core/record.py``), and nothing here imports ``dataclasses`` or ``typing`` at run time.
"""

from __future__ import annotations

import re

from firstlight.errors import InvitationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from firstlight.core.record import NamedTuple

INSTALL_ID = re.compile(r"[A-Za-z0-9_-]{16,64}\Z")
IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
PIN = re.compile(r"sha256//[A-Za-z0-9+/]{43}=\Z")
ENDPOINT = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?/?\Z")
BROKER = re.compile(
    r"(mqtts?|wss?)://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?(/[A-Za-z0-9._/-]{0,64})?\Z"
)
BROKER_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
LOOPBACK = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])\Z")
LOGIN = re.compile(".*@", re.DOTALL)  # in an address: never shown, there may be a password in it
MAX_TEXT = 4096
MAX_ATTEMPT = 1_000_000
# What a box says of itself where nobody upgrades it at the platform's word: no failures.
UPGRADE_UNATTENDED, UPGRADE_MANAGED = "upgrade_unattended", "upgrade_managed"


class Secret:
    """Text that must not show: printing, formatting, logging and repr give stars; ``reveal`` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: only to be called where it leaves for the wire or the key file."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class Endpoint(NamedTuple):
    """Where a platform is: ``scheme`` http or https, ``host`` (IPv6 in brackets), ``port`` 1 to 65535."""

    scheme: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """The address without a path, the port only where it is not the scheme's own."""
        plain = self.port == (443 if self.scheme == "https" else 80)
        return f"{self.scheme}://{self.host}" + ("" if plain else f":{self.port}")


class Broker(NamedTuple):
    """Where a platform takes beats over MQTT.

    Args:
        scheme: mqtts or wss (MQTT in a WebSocket); mqtt and ws without TLS, on this machine's own loopback only.
        host: IPv6 in brackets.
        port: 1 to 65535.
        path: of the WebSocket, "" otherwise.
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def url(self) -> str:
        """The address, the port only where it is not the scheme's own."""
        plain = self.port == BROKER_PORTS[self.scheme]
        return f"{self.scheme}://{self.host}" + ("" if plain else f":{self.port}") + self.path

    @property
    def is_secure(self) -> bool:
        """Whether it is reached over TLS."""
        return self.scheme in ("mqtts", "wss")


class Trust(NamedTuple):
    """What makes the other side believable.

    Args:
        ca_pem: certificates that may have signed the server's, instead of the system's; "" = the system's store.
        pins: SHA-256 pins of the server's public key (``sha256//`` + base64, curl's notation); when given, one must
            match, and without ``ca_pem`` the match alone is the trust.
    """

    ca_pem: str = ""
    pins: tuple[str, ...] = ()


class Invitation(NamedTuple):
    """What the operator hands over; every source yields this one type.

    Args:
        platform: name in ``firstlight.platforms``.
        endpoint: where to redeem.
        trust: how the endpoint is recognised.
        proof: what entitles the bearer. An installId here; group secrets, claim certificates and finished
            credentials of other platforms take the same place.
        transport: "http", "mqtt" or "websocket" where one is asked for, "" = as the platform chooses.
        credential: "secret" or "certificate", "" likewise.
        road: "redeem" (the proof is traded for a registration), "finished" (the proof is the credential already) or
            "bootstrap" (a server of the platform's says where the device belongs).
        device_id, workspace: where they are known before the registration, "" otherwise.
        broker: where the platform speaks MQTT, None = it does not, or it is told with the registration.
        certificate_pem: the certificate that is the proof, its chain behind it; its key is in the key store, which
            finds it by the certificate. "" = the proof is a secret.
        extra: what only this platform knows, by the names its dialect gives them.
    """

    platform: str
    endpoint: Endpoint
    trust: Trust
    proof: Secret
    transport: str = ""
    credential: str = ""
    road: str = "redeem"
    device_id: str = ""
    workspace: str = ""
    broker: Broker | None = None
    certificate_pem: str = ""
    extra: tuple[tuple[str, str], ...] = ()


class Credential(NamedTuple):
    """What a device shows at each session.

    Args:
        kind: "secret" or "certificate".
        secret: set for "secret".
        certificate_pem: set for "certificate": the device's own first, then its chain; the private key stays behind
            the key store, which finds it by ``Registration.key_fingerprint``.
    """

    kind: str
    secret: Secret | None = None
    certificate_pem: str = ""


class Identity(NamedTuple):
    """A client certificate and its private key, as TLS wants them.

    Args:
        certificate_pem: the device's certificate first, then its chain.
        key_file: path of the private key, PEM.
    """

    certificate_pem: str
    key_file: str


class Registration(NamedTuple):
    """What the device keeps after enrolling.

    Args:
        platform: name in ``firstlight.platforms``.
        endpoint: where beats go.
        trust: how that endpoint is recognised.
        workspace: the operator's workspace, by slug.
        device_id: the device, as the platform knows it.
        credential: what the device shows.
        interval_s: seconds between beats, as the platform asked.
        key_fingerprint: ``sha256:`` + hex of the device key's SubjectPublicKeyInfo.
        csr_pem: the certificate request sent when enrolling; shown again to be taken back.
        registered_at_s: seconds since 1970 by the platform's clock.
        transport: "http" or "mqtt": over which the beats go.
        broker: where they go over MQTT; None where the platform has named none.
        renew_at_s: seconds since 1970 by the platform's clock at which the credential is due for renewal, 0.0 = never.
        extra: what only this platform knows, by the names its dialect gives them; never a secret.
    """

    platform: str
    endpoint: Endpoint
    trust: Trust
    workspace: str
    device_id: str
    credential: Credential
    interval_s: int
    key_fingerprint: str
    csr_pem: str
    registered_at_s: float
    transport: str = "http"
    broker: Broker | None = None
    renew_at_s: float = 0.0
    extra: tuple[tuple[str, str], ...] = ()


class Hardware(NamedTuple):
    """The ``hardware`` object of a Roboflow device record; each field optional."""

    processor: str | None = None
    gpu: str | None = None
    total_memory_mb: int | None = None
    total_disk_space_mb: int | None = None


class Facts(NamedTuple):
    """What the machine is (seed 001's monitoring fields), read once; each field optional, none may block."""

    hostname: str | None = None
    platform: str | None = None
    platform_release: str | None = None
    platform_version: str | None = None
    architecture: str | None = None
    type: str | None = None
    hardware: Hardware = Hardware()


class Metrics(NamedTuple):
    """How the machine is doing now; each field optional.

    Args:
        load1: one-minute load average.
        memory_used: share of memory in use, 0 to 1.
        disk_used: share of the state directory's file system in use, 0 to 1.
        temperature_c: the hottest thermal zone, in degrees Celsius.
    """

    load1: float | None = None
    memory_used: float | None = None
    disk_used: float | None = None
    temperature_c: float | None = None


class Moment(NamedTuple):
    """When something was on this box: three clocks side by side, so that a later correction applies backwards.

    Args:
        boot_id: 32 hex digits, new at each boot.
        monotonic_s: seconds since boot, counting sleep.
        wall_s: seconds since 1970 in UTC, by the box's own clock, right or wrong.
    """

    boot_id: str
    monotonic_s: float
    wall_s: float


class Offer(NamedTuple):
    """A release that the platform offers this box.

    Args:
        version: of the agent in it.
        id: the release, 64 hex digits: SHA-256 of its manifest.
        path: where the platform has its bundle, ``/bundles/NAME.tar``.
        attempt: 1 for the first time that this release is offered to this box, more where it is to try again.
    """

    version: str
    id: str
    path: str
    attempt: int


class Upgraded(NamedTuple):
    """How the last attempt to follow an ``Offer`` ended.

    Args:
        version, id: as in the offer.
        attempt: as in the offer; 0 = somebody on the box asked for it.
        code: why it did not come to be, "" = that release beats now.
        message: one sentence, "" where there is nothing to say.
    """

    version: str
    id: str
    attempt: int
    code: str
    message: str = ""


class Child(NamedTuple):
    """A device behind this one, by the platform's id, and whether this one, its gateway, sees it online."""

    device_id: str
    is_online: bool


class Beat(NamedTuple):
    """One heartbeat before a dialect gives it its shape.

    Args:
        sequence: grows with every beat of one boot, never repeats in it.
        moment: when it was.
        metrics: how the machine was.
        agent_version: version of this agent.
        facts: the whole facts, or None when the platform has them already.
        facts_hash: 16 hex digits that change when the facts do.
        missed: beats kept while the platform was out of reach, oldest first.
        asks: wants an answer of the platform itself, where a broker would only say that it took the beat.
        upgraded: how the last upgrade ended, with the first beat of a connection; None = there was none.
        knows_time: whether ``moment.wall_s`` is by a clock that somebody who knows has set.
        children: devices behind this one, where the platform has not been told how they are now.
    """

    sequence: int
    moment: Moment
    metrics: Metrics
    agent_version: str
    facts: Facts | None
    facts_hash: str
    missed: tuple[MissedBeat, ...] = ()
    asks: bool = False
    upgraded: Upgraded | None = None
    knows_time: bool = False
    children: tuple[Child, ...] = ()


class MissedBeat(NamedTuple):
    """A beat that could not be sent when it was due; ``reason`` is the error code that kept it back."""

    sequence: int
    moment: Moment
    metrics: Metrics
    reason: str


def parse_install_id(text: str) -> Secret:
    """An installId as typed or pasted -> its text, trimmed.

    Raises:
        InvitationError: ``install_id_malformed``.
    """
    trimmed = text[:MAX_TEXT].strip()
    if not INSTALL_ID.match(trimmed):
        shown = f"{len(trimmed)} characters" if trimmed else "nothing"
        raise InvitationError("install_id_malformed", f"This is not an installId ({shown}).")
    return Secret(trimmed)


def parse_endpoint(text: str) -> Endpoint:
    """An address as typed -> ``Endpoint``.

    Raises:
        InvitationError: ``endpoint_malformed``, or ``endpoint_insecure`` for http:// to another machine.
    """
    found = ENDPOINT.match(text[:MAX_TEXT].strip())
    if not found:
        raise InvitationError("endpoint_malformed", f"{LOGIN.sub('***@', text)[:80]!r} is no address of a server.")
    scheme, host, port_text = found.groups()
    port = int(port_text) if port_text else (443 if scheme == "https" else 80)
    if not 0 < port < 65_536:
        raise InvitationError("endpoint_malformed", f"{port} is not a port.")
    if scheme == "http" and not LOOPBACK.match(host.lower()):
        raise InvitationError("endpoint_insecure", f"{text[:80]!r} is not encrypted.")
    return Endpoint(scheme, host.lower(), port)


def parse_broker(text: str) -> Broker:
    """The address of an MQTT broker -> ``Broker``: mqtts://HOST[:PORT] or wss://HOST[:PORT][/PATH].

    Raises:
        InvitationError: ``endpoint_malformed``, or ``endpoint_insecure`` for one without TLS on another machine.
    """
    found = BROKER.match(text[:MAX_TEXT].strip())
    if not found:
        raise InvitationError("endpoint_malformed", f"{LOGIN.sub('***@', text)[:80]!r} is no address of a broker.")
    scheme, host, port_text, path = found.groups()
    port = int(port_text) if port_text else BROKER_PORTS[scheme]
    if not 0 < port < 65_536 or (path and not scheme.startswith("ws")):
        raise InvitationError("endpoint_malformed", f"{text[:80]!r} is not an address of an MQTT broker.")
    broker = Broker(scheme, host.lower(), port, (path or "/mqtt") if scheme.startswith("ws") else "")
    if not broker.is_secure and not LOOPBACK.match(broker.host):
        raise InvitationError("endpoint_insecure", f"{text[:80]!r} is not encrypted.")
    return broker


def parse_pin(text: str) -> str:
    """A public key pin in curl's notation, ``sha256//BASE64``.

    Raises:
        InvitationError: ``pin_malformed``.
    """
    trimmed = text[:MAX_TEXT].strip()
    if not PIN.match(trimmed):
        raise InvitationError("pin_malformed", "The pin is not of the form sha256//BASE64.")
    return trimmed
