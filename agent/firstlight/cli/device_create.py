"""``firstlight device create`` and ``device invite``: a device and what its box needs, down to the printed label."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from firstlight.cli import desk as desks
from firstlight.cli import offline_output, options
from firstlight.cli.desk import Desk
from firstlight.cli.device_list import printable
from firstlight.cli.offline_code import code_of
from firstlight.cli.settings import read_secret_text
from firstlight.core.model import Secret
from firstlight.core.provision import Audience, Network
from firstlight.daemon.report import iso
from firstlight.errors import InvitationError, UsageError

_CALLED = {"type": "kind"}
OFFLINE_TYPE = "ai1"  # the only type that has an offline mode

if TYPE_CHECKING:
    from firstlight.cli.offline_code import OfflineCode
    from firstlight.cli.offline_output import Outputs
    from firstlight.platforms.hub.management import Created, NewDevice


def create(words: list[str], config: str | None) -> int:
    """Creates a device, or those of a table, and prints or writes what their boxes need."""
    made = desks.parser("create", "Create a device; prints its id and the command to run on the box.")
    made.add_argument("name", metavar="NAME", nargs="?", help="human-readable name of the device")
    made.add_argument("--csv", metavar="FILE", help="make many: a table with the columns name,type,serial,tags")
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
    typed = made.parse_args(words)
    if bool(typed.name) == bool(typed.csv):
        raise UsageError("usage", "Give the NAME of one device, or a table of several with --csv.")
    outputs = offline_output.Outputs(typed.qr, typed.label, typed.stick, typed.sheet, typed.font)
    if offline_output.check(outputs, is_batch=bool(typed.csv)):
        typed.offline = True
    if typed.offline and not typed.like:
        typed.type = typed.type or OFFLINE_TYPE
    if typed.csv:
        from firstlight.cli.device_batch import create_all

        return create_all(typed, config, outputs)
    network = read_network(typed.network) if typed.network else None
    audience = Audience(serial=typed.serial) if typed.serial else None

    def act(desk: Desk) -> int:
        new = new_device(desk, typed, typed.name, typed.type, tuple(typed.tag), audience, network)
        reply = desk.exchange(desk.dialect.create(desk.endpoint, desk.workspace, desk.key, new))
        return conclude(desk.dialect.read_created(reply), reply.body, typed, outputs)

    return desks.at_desk(typed, config, act)


def add_wish(made: argparse.ArgumentParser) -> None:
    """Options of what an offline code is to say beside the rest."""
    made.add_argument("--serial", metavar="SERIAL", help="the only box that takes the offline code in")
    made.add_argument(
        "--network", metavar="FILE", help="JSON with the network that the offline code brings: ssid, passphrase, …"
    )


def read_network(path: str) -> Network:
    """The network in a JSON file, under the names of the hub's API; a secret, so never an argument.

    Raises:
        UsageError: ``settings_unreadable``, ``settings_invalid``.
    """
    try:
        found = json.loads(read_secret_text(path, "the network"))
    except (ValueError, RecursionError):
        found = None
    texts = {"ssid", "passphrase", "security", "address", "gateway"}
    if not isinstance(found, dict) or not found or set(found) - texts - {"hidden", "dns"}:
        raise _unfit(path)
    if not all(isinstance(found[name], str) for name in texts & set(found)):
        raise _unfit(path)
    hidden, dns = found.get("hidden", False), found.get("dns", [])
    if not isinstance(hidden, bool) or not isinstance(dns, list) or not all(isinstance(one, str) for one in dns):
        raise _unfit(path)
    passphrase = found.get("passphrase")
    usual = "wpa" if passphrase or "ssid" not in found else "open"
    return Network(
        ssid=found.get("ssid", ""),
        passphrase=Secret(passphrase) if passphrase else None,
        security=found.get("security", usual),
        is_hidden=hidden,
        address=found.get("address", ""),
        gateway=found.get("gateway", ""),
        dns=tuple(dns),
    )


def _unfit(path: str) -> UsageError:
    return UsageError(
        "settings_invalid",
        f"{path} is no network.",
        'Write it as {"ssid": "…", "passphrase": "…"}, with security, hidden, address, gateway and dns where needed.',
    )


def new_device(
    desk: Desk,
    typed: argparse.Namespace,
    name: str,
    kind: str | None,
    tags: tuple[str, ...],
    audience: Audience | None,
    network: Network | None,
) -> NewDevice:
    """What create is asked for. Raises UsageError where the platform cannot be told some of it."""
    made: NewDevice = desk.dialect.NewDevice(
        name, kind, typed.workflow_id, tags, typed.offline, typed.like, typed.transport, typed.credential
    )
    if audience is None and network is None:
        return made
    if not hasattr(made, "audience"):
        raise UsageError("usage", f"The platform {desk.platform} takes neither a serial number nor a network.")
    return made._replace(audience=audience, network=network)


def conclude(created: Created, body: bytes, typed: argparse.Namespace, outputs: Outputs) -> int:
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
        for name in names:
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
    reply = desk.exchange(call(desk.endpoint, desk.workspace, desk.key, device_id, *more))
    return desk.dialect.read_created(reply), reply.body


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
        record = desk.dialect.read_shown(
            desk.exchange(desk.dialect.show(desk.endpoint, desk.workspace, desk.key, device_id))
        )
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
