"""``firstlight receipt``: a signed code that a person carries to the hub of a box that reaches no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from firstlight import __version__
from firstlight.cli import next_step, options, output_file, qr_drawing, qr_terminal
from firstlight.cli.settings import Settings
from firstlight.core.model import Endpoint, Invitation
from firstlight.daemon.report import iso
from firstlight.errors import NotEnrolledError, UsageError
from firstlight.system import provision_file, receipts
from firstlight.system.clock import SystemClock, clock_floor_s
from firstlight.system.store import StateDirectory
from firstlight.wire.heartbeat import read_missed
from firstlight.wire.receipt import KeptBeats, Receipt, Told

DESCRIPTION = (
    "Show a signed code that says how this box is. Carry it to the hub: a phone's camera opens its link, or the desk "
    "reads it with 'firstlight device receipt'."
)
TEXT_NAME, PICTURE_NAME = "RECEIPT.txt", "RECEIPT.png"
MAX_REASON = 64
PROVISIONED = "provisioned"


class Identity(NamedTuple):
    """Who this box is, from its registration or from what it was provisioned with.

    Args:
        endpoint: of the hub.
        workspace, device_id: "" = not known yet.
        key_fingerprint: of the device key.
        invitation: whose proof binds the key; None once the box is registered.
    """

    endpoint: Endpoint
    workspace: str
    device_id: str
    key_fingerprint: str
    invitation: Invitation | None = None


class Made(NamedTuple):
    """A receipt that was made: its number is used up.

    Args:
        receipt: what it says.
        link: as a phone opens it.
    """

    receipt: Receipt
    link: str

    @property
    def about(self) -> str:
        """What it says, in a sentence or two."""
        receipt = self.receipt
        named = receipt.device_id or "this box"
        doubt = "" if receipt.told.is_trusted else " (not sure)"
        reason = f" [{receipt.reason}]" if receipt.reason else ""
        beats = receipt.beats.number
        kept = f" {beats} heartbeat{' waits' if beats == 1 else 's wait'} for a network." if beats else ""
        return (
            f"Receipt {receipt.counter} of {named}, {iso(receipt.moment.wall_s)} by its own clock{doubt}: "
            f"{receipt.state.replace('_', ' ')}{reason}.{kept}"
        )


def verb(words: list[str], config: str | None) -> int:
    """Makes a receipt and shows it; returns 0."""
    made = options.parser("receipt", DESCRIPTION)
    options.add_state(made)
    made.add_argument("--png", metavar="FILE", help="write the QR code as a PNG")
    made.add_argument("--svg", metavar="FILE", help="write the QR code as an SVG")
    made.add_argument("--text", action="store_true", help="print the link only, without a code")
    made.add_argument("--stick", metavar="DIR", help=f"write {TEXT_NAME} and {PICTURE_NAME} into a folder")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    typed = made.parse_args(words)
    if typed.stick and not Path(typed.stick).is_dir():
        raise UsageError("usage", f"{typed.stick} is not a folder.")
    found = make(options.load(typed, config))
    written = _written(found, typed.png, typed.svg, typed.stick)
    if typed.json:
        print(json.dumps({**_object(found), "files": written}))
        return 0
    for name in written:
        print(f"written: {name}")
    why = "" if typed.text or written else qr_terminal.show(found.link)
    if why:
        print(f"{why} Use --png FILE.\n")
    print(found.link)
    print(f"\n{found.about}")
    print("Open the link with any phone that reaches the hub, or at the desk: firstlight device receipt FILE")
    return 0


def write_to_stick(settings: Settings, folder: str) -> Made:
    """Makes a receipt and writes it into a folder, as ``RECEIPT.txt`` and ``RECEIPT.png``.

    Raises:
        NotEnrolledError, StateError: as ``make``; ``output_unwritable``.
    """
    found = make(settings)
    _to_folder(found, folder)
    return found


def make(settings: Settings) -> Made:
    """A new receipt of this box; its number is on the disk before anybody sees it. The agent may run meanwhile.

    Raises:
        NotEnrolledError: ``not_enrolled``: neither registered nor provisioned.
        UsageError: ``receipt_unsupported``: its platform takes no receipts.
        StateError: key, registration or counter cannot be read or written.
    """
    # Here: they cost time that a wrong word on the command line should not.
    from firstlight.system.facts import read_facts
    from firstlight.system.keys import KeyFile
    from firstlight.system.metrics import ProcMetrics
    from firstlight.wire import receipt as wire
    from firstlight.wire.facts import facts_hash

    store = StateDirectory(settings.state_dir)
    who = _identity(store)
    key = KeyFile().load(store, who.key_fingerprint)
    public_key, facts = wire.compressed(key.public_der), read_facts()
    state, reason = _state(settings)
    clock = SystemClock(clock_floor_s(store))
    moment = clock.moment()
    at_s, ago_s = receipts.last_told(store, moment)
    beats = receipts.waiting_beats(store.path, read_missed)
    proof = who.invitation.proof if who.invitation else None
    said = Receipt(
        workspace=who.workspace,
        device_id=who.device_id,
        public_key=public_key,
        counter=receipts.next_number(store),
        moment=moment._replace(monotonic_s=int(moment.monotonic_s), wall_s=int(moment.wall_s)),
        told=Told(receipts.trusts_clock(clock, moment, at_s, ago_s), at_s, ago_s),
        state=state,
        reason=reason,
        agent_version=__version__,
        facts=facts,
        facts_hash=facts_hash(facts),
        metrics=ProcMetrics(store.path).metrics(),
        beats=KeptBeats(len(beats), beats[0].sequence, beats[-1].sequence, wire.digest_of(beats))
        if beats
        else KeptBeats(),
        proof=wire.proof_of(proof, public_key, who.device_id) if proof else b"",
        hint=wire.hint_of(proof) if proof and not who.device_id else b"",
    )
    return Made(said, wire.link(who.endpoint, wire.encode(said, key.sign, wire.room_bytes(who.endpoint))))


def _identity(store: StateDirectory) -> Identity:
    registration = store.load_registration() if store.is_there() else None
    if registration is not None:
        _refuse_other(registration.platform)
        return Identity(
            registration.endpoint, registration.workspace, registration.device_id, registration.key_fingerprint
        )
    kept = provision_file.load(store) if store.is_there() else None
    if kept is None:
        raise NotEnrolledError(
            "not_enrolled",
            "This box is neither enrolled nor provisioned, so it has nothing to sign a receipt with.",
            "Enroll it with 'firstlight enroll', or scan its code with 'firstlight scan'.",
        )
    provision = kept.provision
    _refuse_other(provision.invitation.platform)
    return Identity(
        provision.invitation.endpoint,
        provision.workspace,
        provision.device_id,
        provision.key_fingerprint,
        provision.invitation,
    )


def _refuse_other(platform: str) -> None:
    if platform != "hub":
        raise UsageError("receipt_unsupported", f"The platform {platform} takes no receipts; only a hub does.")


def _state(settings: Settings) -> tuple[str, str]:
    """How the box is, as ``firstlight status`` says it; a box that is not registered is provisioned."""
    from firstlight.cli import status

    found = status.read(settings)
    state, reason = str(found.get("state") or ""), str(found.get("reason") or "")
    if state in ("", "not_enrolled", "enrolling"):
        state = PROVISIONED
    is_code = reason.replace("_", "").isalnum() and reason.isascii() and reason == reason.lower()
    return state, reason[:MAX_REASON] if is_code else ""


# -- showing -----------------------------------------------------------------------------------------------------------
def _written(found: Made, png: str | None, svg: str | None, stick: str | None) -> list[str]:
    """Writes what was asked for; the names of the files."""
    names = []
    if png or svg:
        rows = qr_drawing.framed(qr_drawing.squares(found.link))
        for name, draw in ((png, qr_drawing.png), (svg, qr_drawing.svg)):
            if name:
                output_file.write(name, draw(rows), output_file.PUBLIC)
                names.append(name)
    if stick:
        names += _to_folder(found, stick)
    return names


def _to_folder(found: Made, folder: str) -> list[str]:
    text = (
        f"{found.link}\n\n{found.about}\n\n"
        "Open the link above on any phone or computer that reaches the hub, or scan RECEIPT.png with a phone.\n"
        "At the operator's desk: firstlight device receipt RECEIPT.txt\n"
    )
    picture = qr_drawing.png(qr_drawing.framed(qr_drawing.squares(found.link)))
    names = []
    for name, body in ((TEXT_NAME, text.encode()), (PICTURE_NAME, picture)):
        output_file.write(Path(folder, name), body, output_file.PUBLIC)
        names.append(str(Path(folder, name)))
    return names


def _object(found: Made) -> dict[str, object]:
    receipt = found.receipt
    return {
        "link": found.link,
        "deviceId": receipt.device_id or None,
        "workspace": receipt.workspace or None,
        "counter": receipt.counter,
        "madeAt": iso(receipt.moment.wall_s),
        "clockIsTrusted": receipt.told.is_trusted,
        "state": receipt.state,
        "reason": receipt.reason or None,
        "beats": receipt.beats.number,
        "next": next_step.typed("firstlight device receipt FILE"),
    }
