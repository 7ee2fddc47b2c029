"""A platform in memory that renews credentials and moves, and a box on a real disk that can be killed at any step."""

from __future__ import annotations

import datetime
import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from firstlight.cli.change_parts import Parts, situation
from firstlight.cli.changing import Changing
from firstlight.core import change
from firstlight.core.change import Notes
from firstlight.core.exchange import Call, HttpCall, HttpReply, MqttCall, MqttReply, Reply
from firstlight.core.interfaces import DevicePlatform, Session
from firstlight.core.model import Credential, Facts, Registration, Secret, Trust, parse_broker, parse_endpoint
from firstlight.errors import UnreachableError
from firstlight.platforms.hub import device, renewal
from firstlight.system import changes
from firstlight.system.keys import KeyFile, certificate_fingerprint
from firstlight.system.store import CANDIDATE, WISH, StateDirectory, key_name
from firstlight.wire.heartbeat import BeatReply, decode_beat, encode_beat_reply
from firstlight.wire.move import Move, encode_statement, seal
from firstlight.wire.problem import Problem, encode_problem
from firstlight.wire.redeem import RedeemAnswer, encode_redeem_answer
from firstlight.wire.renewal import decode_renewal, statement
from tests.fakes import FakeClock

OLD, NEW = "https://old.example", "https://new.example"
NOW_S = 1_795_000_000.0


class Killed(BaseException):
    """The process ends here, without any clean-up."""


class Authority:
    """A CA that signs statements and device certificates."""

    def __init__(self, *, is_rsa: bool = False) -> None:
        self.key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
        self.key = rsa.generate_private_key(65537, 2048) if is_rsa else ec.generate_private_key(ec.SECP256R1())
        self.pem = self.certificate(self.key.public_key())

    def certificate(self, public_key: object, days: int = 100) -> str:
        """One for a key, in PEM."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        begins = datetime.datetime.fromtimestamp(NOW_S, datetime.timezone.utc)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public_key)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + datetime.timedelta(days=days))
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def move(self, move: Move) -> str:
        """A signed statement, as it travels."""
        body = encode_statement(move)
        if isinstance(self.key, rsa.RSAPrivateKey):
            from cryptography.hazmat.primitives.asymmetric import padding

            return seal(body, self.key.sign(body, padding.PKCS1v15(), hashes.SHA256()))
        return seal(body, self.key.sign(body, ec.ECDSA(hashes.SHA256())))


class Known(NamedTuple):
    """A credential as the platform knows it."""

    key_fingerprint: str
    credential: Credential


class FakeHub:
    """One device's record, its renewals and its addresses."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.authority, self.next_authority = Authority(), Authority()
        self.at = {OLD: self.authority.pem}  # where it can be reached, and by which CA
        self.present: Known | None = None
        self.candidate: Known | None = None
        self.public_der = b""
        self.former: list[str] = []
        self.renewals = 0
        self.answers: dict[str, Callable[[], HttpReply]] = {}  # by verb: instead of what it would answer
        self.beats: list[tuple[str, int]] = []
        self._numbers = itertools.count(1)

    def issue(self, public_der: bytes) -> Credential:
        """A new credential for a key."""
        if self.kind == "secret":
            return Credential("secret", Secret(f"secret-{next(self._numbers)}"))
        key = serialization.load_der_public_key(public_der)
        return Credential("certificate", certificate_pem=self.authority.certificate(key))

    def answer(self, call: Call, shown: Credential | None) -> Reply:
        """What it says to a call that came with that client certificate, if any."""
        if isinstance(call, MqttCall):
            return MqttReply(0, self._beat(call.payload, shown).body)
        verb = call.url.rsplit("/", 1)[1]
        if verb in self.answers:
            return self.answers[verb]()
        if verb == "credential":
            return self._renew(call)
        bearer = dict(call.headers).get("Authorization", "").removeprefix("Bearer ")
        return self._beat(call.body or b"", Credential("secret", Secret(bearer)) if bearer else shown)

    def _renew(self, call: HttpCall) -> HttpReply:
        request = decode_renewal(call.body or b"")
        assert self.present is not None
        signed = statement("acme", "dev-1", request.attempt_id, request.csr_pem)
        key = serialization.load_der_public_key(request.current_key)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(request.signature, signed, ec.ECDSA(hashes.SHA256()))
        if fingerprint_of(request.current_key) != self.present.key_fingerprint:
            return no(401, "key_invalid")
        self.renewals += 1
        csr = x509.load_pem_x509_csr(request.csr_pem.encode())
        public = csr.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        if self.candidate is None or self.candidate.key_fingerprint != fingerprint_of(public):
            self.candidate = Known(fingerprint_of(public), self.issue(public))
        credential = self.candidate.credential
        answer = RedeemAnswer(
            "acme", "dev-1", credential.secret, 60, OLD, self.authority.pem, NOW_S,
            certificate_pem=credential.certificate_pem,
        )  # fmt: skip
        return HttpReply(200, {}, encode_redeem_answer(answer))

    def _beat(self, body: bytes, shown: Credential | None) -> HttpReply:
        beat = decode_beat(body)
        if self.candidate is not None and shown == self.candidate.credential:
            assert self.present is not None
            self.former.append(self.present.key_fingerprint)
            self.present, self.candidate = self.candidate, None
        if self.present is None or shown != self.present.credential:
            return no(401, "key_invalid")
        assert (beat.moment.boot_id, beat.sequence) not in self.beats, "a beat's number was used twice"
        self.beats.append((beat.moment.boot_id, beat.sequence))
        return HttpReply(200, {}, encode_beat_reply(BeatReply(NOW_S, 60)))


def fingerprint_of(public_der: bytes) -> str:
    """As the platform names keys."""
    return f"sha256:{hashlib.sha256(public_der).hexdigest()}"


def no(status: int, code: str) -> HttpReply:
    """A named no."""
    return HttpReply(status, {}, encode_problem(Problem(code, "No.")))


class Line:
    """A session of one registration to the fake hub; a step before each call and after each reply."""

    def __init__(self, box: Box, registration: Registration, *, shows: bool) -> None:
        self.box, self.registration, self.shows = box, registration, shows
        self.connections = 0

    def exchange(self, call: Call, deadline_s: float) -> Reply:
        """Reaches the hub only where it is, and trusts only what the registration trusts."""
        hub, registration = self.box.hub, self.registration
        name = call.topic if isinstance(call, MqttCall) else call.url
        self.box.step(f"send {name.rsplit('/', 1)[1]}")
        if registration.endpoint.url not in hub.at:
            raise UnreachableError("connect_refused", "Nobody is there.")
        if hub.at[registration.endpoint.url] != registration.trust.ca_pem:
            raise UnreachableError("tls_untrusted", "Not that CA.")
        if isinstance(call, HttpCall):
            assert call.url.startswith(registration.endpoint.url)
        shows = self.shows and registration.credential.kind == "certificate"
        credential = registration.credential if shows or isinstance(call, MqttCall) else None
        self.box.calls.append(f"{name.rsplit('/', 1)[1]} at {registration.endpoint.url}")
        reply = hub.answer(call, credential)
        self.box.step(f"reply to {name.rsplit('/', 1)[1]}")
        self.box.clock.now_s += 0.5
        return reply

    def close(self) -> None:
        """Nothing to end."""


class Box:
    """An enrolled box on a real disk."""

    def __init__(self, folder: Path, hub: FakeHub, transport: str = "http") -> None:
        self.hub, self.clock = hub, FakeClock()
        self.burns_at = -1
        self.steps: list[str] = []
        self.calls: list[str] = []
        self.log: list[str] = []
        self.store = StateDirectory(str(folder), on_step=self.step)
        self.store.prepare()
        key = KeyFile().make_or_load(self.store)
        hub.public_der = key.public_der
        hub.present = Known(key.key_fingerprint, hub.issue(key.public_der))
        self.first_key = key.key_fingerprint
        self.store.save_registration(
            Registration(
                "hub",
                parse_endpoint(OLD),
                Trust(hub.authority.pem),
                "acme",
                "dev-1",
                hub.present.credential,
                60,
                key.key_fingerprint,
                key.csr_pem,
                NOW_S,
                transport,
                parse_broker("mqtts://old.example") if transport == "mqtt" else None,
            )
        )
        self.steps.clear()

    def step(self, name: str) -> None:
        """One step is about to be taken."""
        self.steps.append(name)
        if self.burns_at >= 0 and len(self.steps) > self.burns_at:
            raise Killed(name)

    @property
    def registration(self) -> Registration:
        """The one on disk."""
        found = self.store.load_registration()
        assert found is not None
        return found

    @property
    def notes(self) -> Notes:
        """Those on disk."""
        return changes.load(self.store)

    def parts(self) -> Parts:
        """What a change is made of here."""
        return Parts(
            store=self.store,
            keys=KeyFile(),
            dialect=cast(DevicePlatform, device),
            renewal=renewal,
            open_plain=lambda registration: cast(Session, Line(self, registration, shows=False)),
            open_proving=lambda registration: cast(Session, Line(self, registration, shows=True)),
            fingerprint_of=certificate_fingerprint,
            renew_at_s=lambda pem, now_s, chance: now_s + 1000,
            clock=self.clock,
            chance=lambda: 0.5,
            facts=Facts(),
            make_attempt_id=lambda: "1" * 32,
            saw_time=lambda server_time_s: None,
            alive=lambda: None,
            log=lambda priority, line: self.log.append(line),
        )

    def start(self) -> Notes:
        """What ``firstlight run`` does first."""
        self.clock.now_s += 1
        now = situation(self.store, self.registration, self.clock, self.notes)
        if self.notes.begun or change.due(now, goes_on=True):
            Changing(self.parts(), self.registration).perform()
        return self.notes

    def ask(self, **notes: object) -> None:
        """As the beating process notes it when it gives way."""
        changes.save(self.store, change.begun(self.notes._replace(**notes)))  # type: ignore[arg-type]

    def beats(self) -> bool:
        """Whether one beat as the present registration is accepted."""
        self.clock.now_s += 1
        event = Changing(self.parts(), self.registration)._prove(self.registration, self.registration.transport)
        return type(event).__name__ == "Accepted"

    def files(self) -> list[str]:
        """What of a change is still there."""
        return [*self.store.key_names(), *filter(self.store.has, (CANDIDATE, WISH))]


KINDS = ["secret", "certificate"]
MOST_STEPS = 200


def made(folder: Path, kind: str = "secret", transport: str = "http") -> Box:
    """An enrolled box and its hub."""
    return Box(folder, FakeHub(kind), transport)


def move_of(box: Box, issued_at_s: float = NOW_S, endpoint: str = NEW, signer: Authority | None = None) -> str:
    """The hub is at the new address, under the new CA, from now on."""
    ca_pem = box.hub.next_authority.pem
    return (signer or box.hub.authority).move(
        Move(
            endpoint,
            ca_pem,
            (("certificate", "mqtts://new.example"), ("secret", "mqtts://new.example:8884")),
            issued_at_s,
        )
    )


def assert_rotated(box: Box) -> None:
    """One device, a new key and credential, and nothing left behind."""
    registration = box.registration
    assert registration.key_fingerprint != box.first_key
    assert box.hub.present is not None and box.hub.present.key_fingerprint == registration.key_fingerprint
    assert box.hub.former == [box.first_key], "rotated more than once"
    assert box.files() == [key_name(registration.key_fingerprint)]
    assert box.notes.begun == 0 and not box.notes.attempt_id
    assert box.beats()


def killed_at_each_step(folder: Path, make: Callable[[Path], Box]) -> Iterator[Box]:
    """A box for each step, killed there and started again; the last one, which had no such step, is whole."""
    for number in range(MOST_STEPS):
        box = make(folder / str(number))
        box.steps.clear()
        box.burns_at = number
        try:
            box.start()
        except Killed:
            box.burns_at = -1
            box.store.prepare()
            box.start()
            yield box
        else:
            box.burns_at = -1
            yield box
            return
    raise AssertionError(f"more than {MOST_STEPS} steps")
