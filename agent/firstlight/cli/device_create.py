"""``firstlight device create`` and ``device invite``: a device and what its box needs, down to the printed label."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from firstlight.cli import desk as desks
from firstlight.cli import device_boot, device_fields, offline_output, options
from firstlight.cli.desk import Desk
from firstlight.cli.device_fields import read_network
from firstlight.cli.device_list import printable
from firstlight.cli.offline_code import STANDARD_INPUT, code_of
from firstlight.core.provision import Audience, Network
from firstlight.daemon.report import iso
from firstlight.errors import InvitationError, UnreachableError, UsageError

_CALLED = {"type": "kind"}
OFFLINE_TYPE = "ai1"  # the only type that has an offline mode

if TYPE_CHECKING:
    from firstlight.cli.offline_code import OfflineCode
    from firstlight.cli.offline_output import Outputs
    from firstlight.core.exchange import HttpReply
    from firstlight.core.management import Listed, Made
    from firstlight.platforms.hub.management import Created


def create(words: list[str], config: str | None) -> int:
    """Creates a device, or those of a table, and prints or writes what their boxes need."""
    made = desks.parser("create", "Create a device; prints its id and the command to run on the box.")
    made.add_argument("name", metavar="NAME", nargs="?", help="human-readable name of the device")
    made.add_argument("--csv", metavar="FILE", help="make many: a table whose columns are the platform's fields")
    device_fields.add(made)
    made.add_argument("--type", metavar="TYPE", help="device type: ai1, edge or any text")
    made.add_argument("--workflow-id", metavar="ID", help="initial workflow")
    made.add_argument("--tag", metavar="TAG", action="append", default=[], help="a tag; may be repeated")
    made.add_argument(
        "--offline", action="store_true", help="offline mode (ai1 only): a code for a box without a network"
    )
    made.add_argument("--like", metavar="DEVICE_ID", help="copy the configuration of that device")
    options.add_pairing(made)
    add_wish(made)
    offline_output.add(made)
    device_boot.add(made)
    made.add_argument("--journal", metavar="FILE", help="where a run with --csv keeps what it made (FILE.csv.journal)")
    made.add_argument("--report", metavar="FILE", help="write what became of each line of the table, CSV or JSON")
    typed = made.parse_args(words)
    several = bool(typed.csv) or bool(typed.facts)
    if bool(typed.name) == several and not (typed.field and not several):
        raise UsageError("usage", "Give the NAME of one device, or a table of several with --csv.")
    _check(typed)
    outputs = offline_output.Outputs(typed.qr, typed.label, typed.stick, typed.sheet, typed.font)
    if offline_output.check(outputs, is_batch=several):
        typed.offline = True
    if typed.offline and not typed.like:
        typed.type = typed.type or OFFLINE_TYPE
    device_boot.check(typed.boot)
    if several:
        from firstlight.cli.device_batch import create_all

        return create_all(typed, config, outputs)

    def act(desk: Desk) -> int:
        fields = device_fields.of(desk)
        values = device_fields.one(desk, fields, typed)
        new = desk.dialect.new_device(desk.place, values)
        _refuse_made(desk, new)
        reply = _asked(desk, new)
        made = desk.dialect.read_created(desk.place, new, reply)
        files = device_boot.write_one(typed.boot, desk, made, values)
        if hasattr(desk.dialect, "read_invited"):
            return conclude(desk.dialect.read_invited(reply), reply.body, typed, outputs, files)
        return _conclude_other(desk, made, typed, outputs, files)

    return desks.at_desk(typed, config, act)


def _refuse_made(desk: Desk, new: object) -> None:
    """Raises UsageError ``device_exists``, where the platform can be asked for a device before it is made."""
    if not hasattr(desk.dialect, "find"):
        return
    found: Listed | None = desk.dialect.read_found(desk.place, new, desk.exchange(desk.dialect.find(desk.place, new)))
    if found is not None:
        raise UsageError("device_exists", f"{desk.platform} has it already: {found.device_id}. Nothing was made.")


def _asked(desk: Desk, new: object) -> HttpReply:
    """The answer to create. Raises UnreachableError, with where to look for a device that may be there all the same."""
    try:
        return desk.exchange(desk.dialect.create(desk.place, new))
    except UnreachableError as error:
        if error.code.startswith("reply_"):
            error.hint = "The device may have been made all the same; see: firstlight device list."
        raise


def _conclude_other(desk: Desk, made: Made, typed: argparse.Namespace, outputs: Outputs, files: list[str]) -> int:
    """Writes and prints what a platform gave that is not our hub. Raises FirstlightError; returns 0."""
    names: list[str] = []
    warnings: list[str] = []
    try:
        if offline_output.check(outputs):
            payload = made.record.get(device_boot.PAYLOAD)
            if not isinstance(payload, str) or not payload:
                raise InvitationError("no_offline_payload", "The platform gave no offline payload.")
            names, warnings = offline_output.write(outputs, [code_of(payload, made.name, typed.type or "")])
    finally:
        device_boot.conclude(desk, made, typed, [*files, *names])
    say(warnings)
    return 0


def _check(typed: argparse.Namespace) -> None:
    if not typed.csv and not typed.facts and (typed.journal or typed.report):
        raise UsageError("usage", "--journal and --report belong to a table: --csv FILE.")
    if typed.csv and typed.facts:
        raise UsageError("usage", "Give a table with --csv, or facts with --facts, not both.")
    if STANDARD_INPUT == typed.csv == typed.api_key_file:
        raise UsageError("usage", "Standard input cannot bring both the table and the operator key.")


def add_wish(made: argparse.ArgumentParser) -> None:
    """Options of what an offline code is to say beside the rest."""
    made.add_argument("--serial", metavar="SERIAL", help="the only box that takes the offline code in")
    made.add_argument(
        "--network", metavar="FILE", help="JSON with the network that the offline code brings: ssid, passphrase, …"
    )


def conclude(
    created: Created, body: bytes, typed: argparse.Namespace, outputs: Outputs, files: Sequence[str] = ()
) -> int:
    """Writes and prints what the platform gave. Raises FirstlightError; returns the exit status."""
    is_written = offline_output.check(outputs)
    names: list[str] = []
    warnings: list[str] = []
    try:
        if is_written:
            names, warnings = offline_output.write(outputs, [offline_code(created, typed)])
    finally:
        # Whatever ails the files: the device is made, and only this answer holds its secrets.
        if typed.json:
            print(json.dumps({**json.loads(body), **described(typed)}))
        else:
            show_invitation(created, is_offline=typed.offline, is_written=bool(names))
    if not typed.json:
        for name in (*files, *names):
            print(f"written: {name}")
    say(warnings)
    return 0


def described(typed: argparse.Namespace) -> dict[str, str]:
    """Name, type and serial as they were typed, beside the platform's answer: labels are made of it."""
    given = ((name, getattr(typed, name, None)) for name in ("name", "type", "serial"))
    return {name: value for name, value in given if value}


def offline_code(created: Created, typed: argparse.Namespace) -> OfflineCode:
    """The offline code in an answer. Raises InvitationError ``no_offline_payload``."""
    if not created.qr_payload:
        raise InvitationError("no_offline_payload", "The platform gave no offline payload.")
    return code_of(created.qr_payload, **{_CALLED.get(key, key): one for key, one in described(typed).items()})


def say(warnings: list[str]) -> None:
    """What does not look as it should, beside the output."""
    for sentence in warnings:
        print(f"firstlight: {sentence}", file=sys.stderr)


def show_invitation(created: Created, *, is_offline: bool = False, is_written: bool = False) -> None:
    """What a person needs of an answer; the payload itself only where no file has it."""
    print(f"device      {created.device_id}")
    if created.expires_at and not is_written:  # of the installId, which is not shown then
        print(f"valid until {created.expires_at}")
    if not created.install_command:
        print(f"installId   {created.install_id.reveal()}")
    elif not is_written:
        print("\nRun on the box:\n\n  " + created.install_command + "\n")
        if "--pinnedpubkey" in created.install_command:
            print("(-k is safe here: instead of asking a public authority, curl checks the hub's own key, the pin.)")
    if created.payload_expires_at:
        print(f"scan until  {created.payload_expires_at}")
    if created.typed_code:
        print(f"typed code  {created.typed_code}")
    if created.qr_payload and not is_written:
        print(f"QR payload  {created.qr_payload}")
    elif is_offline and not created.qr_payload:
        print("The platform gave no offline payload.")


def invite(words: list[str], config: str | None) -> int:
    """Makes another installId for a device and prints the command for its box."""
    made = desks.parser("invite", "Make another installId for a device; prints the command to run on its box.")
    made.add_argument("device_id", metavar="DEVICE_ID")
    typed = made.parse_args(words)

    def act(desk: Desk) -> int:
        created, body = invited(desk, typed.device_id)
        if typed.json:
            print(body.decode())
        else:
            show_invitation(created)
        return 0

    return desks.at_desk(typed, config, act)


def invited(
    desk: Desk, device_id: str, audience: Audience | None = None, network: Network | None = None
) -> tuple[Created, bytes]:
    """Another invitation of a device, and the platform's answer as it came. Raises FirstlightError."""
    call = desks.of(desk, "invite")
    more = (audience, network) if audience or network else ()
    reply = desk.exchange(call(desk.place, device_id, *more))
    return desk.dialect.read_invited(reply), reply.body


def invited_codes(desk: Desk, device_ids: Sequence[str], typed: argparse.Namespace) -> list[OfflineCode]:
    """Fresh offline codes of devices that exist. Raises FirstlightError; ``no_offline_payload`` names the device."""
    audience = Audience(serial=typed.serial) if typed.serial else None
    if audience and len(device_ids) > 1:
        raise UsageError("usage", "One serial number cannot be that of several boxes.")
    network = read_network(typed.network) if typed.network else None
    found = []
    for device_id in device_ids:
        created, _ = invited(desk, device_id, audience, network)
        if not created.qr_payload:
            raise InvitationError("no_offline_payload", f"{device_id} has no offline payload.")
        record = desks.shown(desk, device_id).record
        name, kind = (value if isinstance(value := record.get(key), str) else "" for key in ("name", "type"))
        found.append(code_of(created.qr_payload, name, kind)._replace(device_id=device_id))
    return found


def conclude_codes(codes: Sequence[OfflineCode], names: list[str], warnings: list[str], *, as_json: bool) -> int:
    """Says what was written; never a secret. Returns 0."""
    if as_json:
        about = [{"deviceId": code.device_id or None, "name": code.name or None} for code in codes]
        print(json.dumps({"files": names, "devices": about}))
    else:
        for name in names:
            print(f"written: {name}")
        for code in codes if len(codes) == 1 else []:
            for title, text in (("device", code.device_id), ("name", code.name)):
                if text:
                    print(f"{title:<11} {printable(text)}")
            if code.expires_at_s:
                print(f"scan until  {iso(code.expires_at_s)}")
    say(warnings)
    return 0
