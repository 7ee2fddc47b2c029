"""``cli.provisioning.provision``: what it takes in, what it refuses without a trace, and what stays on the disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from firstlight.cli import enrolling
from firstlight.cli.provisioning import explained, provision
from firstlight.cli.settings import Settings
from firstlight.core.admission import Identity, TimeBounds
from firstlight.core.model import Secret
from firstlight.core.provision import Audience, Payload, Provision
from firstlight.errors import FirstlightError, InvitationError, StateError
from firstlight.system import nonces, provision_file
from firstlight.system.keys import KeyFile
from firstlight.system.store import StateDirectory
from firstlight.wire import typed_code
from tests.detached.labels import DAY_S, PIN, TOKEN, Signer, everything, payload, settings_of

LATER_TOKEN = "zyxwvtsrqpnmkjhg"


class Box:
    """A state directory, a trusted key, and what was told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.signer = folder, Signer()
        self.settings = settings_of(folder, self.signer)
        self.store = StateDirectory(self.settings.state_dir)
        self.told: list[str] = []
        self.bounds: TimeBounds | None = None

    def take(self, text: str, settings: Settings | None = None) -> Provision:
        """One text comes in; no service starts."""
        return provision(
            settings or self.settings, text, "picture", self.told.append, bounds=self.bounds, start=lambda path: ""
        )

    def refuses(self, text: str, settings: Settings | None = None) -> str:
        """The code by which it is refused; nothing on the disk has changed."""
        before = everything(self.folder)
        with pytest.raises(FirstlightError) as caught:
            self.take(text, settings)
        assert everything(self.folder) == before
        assert caught.value.hint
        return caught.value.code


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """One that was never provisioned."""
    return Box(tmp_path)


def test_a_payload_provisions_the_box(box: Box) -> None:
    """Key, provision and nonce are on the disk, private, and the time of the payload is the last one seen."""
    claims = payload()
    made = box.take(f"  {box.signer.label(claims)}\n")
    kept = provision_file.load(box.store)
    assert kept is not None and kept.provision == made and kept.nonce == claims.nonce
    assert made.invitation.proof == claims.token and made.invitation.trust.pins == claims.pins
    assert (made.device_id, made.workspace, made.name, made.source) == ("dev-1", "demo", "Gate 4", "picture")
    assert made.key_fingerprint == KeyFile().make_or_load(box.store).key_fingerprint
    assert nonces.seen(box.store, claims.nonce)
    assert box.store.seen_s() == claims.issued_at_s
    for name in ("provisioned.json", "device.key", "nonces.json"):
        assert stat.S_IMODE(Path(box.store.path, name).stat().st_mode) == 0o600
    assert TOKEN not in " ".join(box.told) + repr(made)
    assert (
        box.told[-1] == "provisioned as dev-1 for https://hub.example:8443; it registers by itself as soon as it "
        "can reach the hub"
    )


def test_the_same_text_again_changes_nothing(box: Box) -> None:
    """Also after it has expired, and with white space around it."""
    text = box.signer.label(payload())
    first = box.take(text)
    before = everything(box.folder)
    box.bounds = TimeBounds(4e9, True, 4e9)
    assert box.take(f"\n{text} ") == first
    assert everything(box.folder) == before
    assert "nothing to do" in box.told[-1]


def test_another_payload_takes_the_place_of_the_first(box: Box) -> None:
    """A corrected label counts until the box is registered; the first one is spent for this box."""
    first, second = payload(), payload(token=LATER_TOKEN, device_id="dev-2")
    box.take(box.signer.label(first))
    made = box.take(box.signer.label(second))
    kept = provision_file.load(box.store)
    assert kept is not None and kept.provision == made and made.device_id == "dev-2"
    assert any("takes the place" in line and "dev-1" in line for line in box.told)
    assert box.refuses(box.signer.label(first)) == "payload_seen"


def test_what_others_took_in_meanwhile_counts(box: Box) -> None:
    """Between the first look and the lock the same code was taken in, and after it another: it was seen before."""
    first, second = (box.signer.label(payload(nonce=bytes([one]) * 16, device_id=f"dev-{one}")) for one in (1, 2))

    class Slow(StateDirectory):
        def prepare(self) -> None:
            box.take(first)
            box.take(second)
            super().prepare()

    with pytest.raises(InvitationError) as caught:
        provision(
            box.settings, first, "picture", box.told.append, store=Slow(box.store.path), start=lambda state_dir: ""
        )
    assert caught.value.code == "payload_seen"
    kept = provision_file.load(box.store)
    assert kept is not None and kept.provision.device_id == "dev-2"


def test_a_typed_code(box: Box) -> None:
    """The hub comes from the settings; the code alone says nothing of it."""
    code = typed_code.make(Secret(TOKEN))
    assert box.refuses(code) == "usage"
    made = box.take(code.lower().replace("-", " "), box.settings._replace(hub="https://hub.example", pin=PIN))
    assert made.invitation.proof == Secret(TOKEN) and made.invitation.endpoint.url == "https://hub.example"
    assert made.invitation.trust.pins == (PIN,) and made.device_id == ""


def test_an_install_command(box: Box) -> None:
    """Any text that ``read_invitation`` knows provisions the box as well."""
    made = box.take(f"hub = https://hub.example:8443\npin = {PIN}\ninstall_id = {'n' * 24}\ntransport = mqtt\n")
    assert made.invitation.transport == "mqtt" and made.invitation.proof == Secret("n" * 24)
    kept = provision_file.load(box.store)
    assert kept is not None and kept.nonce == b"" and kept.provision == made


def _refused_payloads() -> dict[str, Payload]:
    now_s = payload().issued_at_s
    return {
        "payload_expired": payload(issued_at_s=now_s - 40 * DAY_S, expires_at_s=now_s - DAY_S),
        "payload_from_future": payload(issued_at_s=now_s + DAY_S),
        "payload_not_for_this_box": payload(audience=Audience(device_type="jetson")),
    }


@pytest.mark.parametrize("code", ["payload_expired", "payload_from_future", "payload_not_for_this_box"])
def test_what_is_not_admitted_leaves_no_trace(box: Box, code: str) -> None:
    """On a box that was never provisioned, and on one that was."""
    claims = _refused_payloads()[code]
    box.bounds = TimeBounds(float(payload().issued_at_s), True, 0.0)
    assert box.refuses(box.signer.label(claims)) == code
    assert not Path(box.store.path).exists()
    box.take(box.signer.label(payload()))
    assert box.refuses(box.signer.label(claims)) == code


def test_what_cannot_be_believed_leaves_no_trace(box: Box) -> None:
    """A stranger's signature, a part alone, and what is no code at all."""
    stranger = Signer().label(payload())
    assert box.refuses(stranger) == "payload_key_unknown"
    assert box.refuses(f"FL1P:1-2:{'0' * 16}:ABC") == "payload_part_missing"
    assert box.refuses("hello") == "invitation_malformed"
    assert not Path(box.store.path).exists()
    made = box.take(stranger, box.settings._replace(payload_trust="any"))
    assert made.device_id == "dev-1"
    assert box.store.seen_s() == 0.0, "what nobody vouches for does not set the time"


def test_the_audience_of_this_box(box: Box) -> None:
    """Device type and serial come from the settings."""
    text = box.signer.label(payload(audience=Audience(device_type="jetson", serial="S-1")))
    assert box.refuses(text, box.settings._replace(device_type="jetson")) == "payload_not_for_this_box"
    assert box.take(text, box.settings._replace(device_type="jetson", serial="S-1")).device_id == "dev-1"


@pytest.mark.parametrize(
    ("own", "is_hidden", "says"), [("", True, "sudo"), ("", False, "RESULT.txt"), ("S-2", True, "RESULT.txt")]
)
def test_a_serial_number_that_may_not_be_read(own: str, is_hidden: bool, says: str) -> None:
    """Where only root knows it the next step is another than for a code of another box."""
    claims = payload(audience=Audience(serial="S-1"))
    error = InvitationError("payload_not_for_this_box", "It is for serial S-1.")
    assert says in explained(error, claims, Identity("", own, ""), is_hidden=is_hidden).hint


def test_a_clock_at_1970(box: Box) -> None:
    """A box without a trustworthy clock takes in what seems of its future, and refuses what surely has expired."""
    now_s = float(payload().issued_at_s)
    box.bounds = TimeBounds(1000.0, False, now_s - DAY_S)
    gone = payload(issued_at_s=int(now_s) - 60 * DAY_S, expires_at_s=int(now_s) - 2 * DAY_S)
    assert box.refuses(box.signer.label(gone)) == "payload_expired"
    box.take(box.signer.label(payload()))
    assert box.store.seen_s() >= now_s - 5


def test_a_hub_that_is_decades_ahead_does_not_set_the_time(box: Box) -> None:
    """A payload of a hub with a wrong clock is taken in, but does not make later, honest ones seem expired."""
    now_s = payload().issued_at_s
    box.bounds = TimeBounds(1000.0, False, float(now_s) - DAY_S)
    box.take(box.signer.label(payload(issued_at_s=now_s + 25_000 * DAY_S, expires_at_s=now_s + 25_030 * DAY_S)))
    assert box.store.seen_s() < now_s


def test_an_enrolled_box_is_left_alone(box: Box) -> None:
    """Another code is refused by name; the very code it was registered with is nothing to do."""
    own, other = payload(), payload(token=LATER_TOKEN)
    made = box.take(box.signer.label(payload(token=None, credential=Secret("planted-device-key"))))
    registration = box.store.load_registration()
    assert registration is not None and registration.credential.secret == Secret("planted-device-key")
    assert provision_file.load(box.store) is None and made.device_id == registration.device_id
    assert box.refuses(box.signer.label(other)) == "already_enrolled"
    box.store.write_json(
        enrolling.ENROLLED, {"installIdHash": enrolling.id_hash(made.invitation._replace(proof=Secret(TOKEN)))}
    )
    box.take(box.signer.label(own))
    assert "nothing to do" in box.told[-1]


def test_a_damaged_provision_is_replaced_by_the_next_scan(box: Box) -> None:
    """Damage is named, and repaired by scanning again; what a later version wrote is left as it is."""
    text = box.signer.label(payload())
    box.take(text)
    file = Path(box.store.path, provision_file.NAME)
    good = file.read_text()
    file.write_text(good.replace("Gate 4", "Gate 5"))
    with pytest.raises(StateError) as caught:
        provision_file.load(box.store)
    assert caught.value.code == "state_corrupt" and "Scan the code again" in caught.value.hint
    assert box.refuses(text) == "payload_seen"
    box.take(box.signer.label(payload(name="Gate 6")))
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 2}))
    assert box.refuses(box.signer.label(payload())) == "state_newer"


def test_forgetting_keeps_the_nonce(box: Box) -> None:
    """Whoever removes a provision writes its nonce down first, also where a power cut came before that."""
    claims = payload()
    box.take(box.signer.label(claims))
    box.store.remove(nonces.NAME)
    provision_file.forget(box.store)
    assert not box.store.has(provision_file.NAME)
    with pytest.raises(InvitationError):
        box.take(box.signer.label(claims))


def test_nonces_are_bounded_and_the_newest_stay(tmp_path: Path) -> None:
    """A thousand payloads later the file is as small, and the last ones are still known."""
    store = StateDirectory(str(tmp_path))
    store.write_json(nonces.NAME, {"format": 1, "nonces": [f"{n:032x}" for n in range(nonces.MAX_NONCES)]})
    nonces.note(store, b"\xff" * 16)
    nonces.note(store, b"\xff" * 16)
    assert nonces.seen(store, b"\xff" * 16) and nonces.seen(store, (1).to_bytes(16, "big"))
    assert not nonces.seen(store, (0).to_bytes(16, "big"))
    store.write_json(nonces.NAME, {"format": 2})
    with pytest.raises(StateError):
        nonces.note(store, b"\xff" * 16)
