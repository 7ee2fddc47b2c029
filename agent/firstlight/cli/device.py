"""``firstlight device create | list | show | invite | rotate | revoke | remove``: the verbs of the operator's desk."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from firstlight.cli import device_list, next_step, options
from firstlight.cli.settings import proxy_of, read_secret_file
from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.model import Endpoint, Secret
from firstlight.errors import UsageError
from firstlight.platforms import half

if TYPE_CHECKING:
    from firstlight.platforms.hub.management import Created

DEADLINE_S = 30.0


class Desk(NamedTuple):
    """Where the desk verbs work: platform dialect, address, workspace, key and a way to call."""

    dialect: ModuleType
    endpoint: Endpoint
    workspace: str
    key: Secret
    exchange: Callable[[HttpCall], HttpReply]


def verb(words: list[str], config: str | None) -> int:
    """Dispatches the second word. Raises FirstlightError; returns 0."""
    act = ACTS.get(words[0]) if words else None
    if act is None:
        if words and words[0] in ("-h", "--help"):
            print(
                "usage: firstlight device VERB [OPTIONS]\n\n"
                "  create   create a device; prints what to run on its box\n"
                "  list     list the devices of a workspace with their status\n"
                "  show     show one device\n"
                "  invite   make another installId for a device: its box was re-imaged, or its credential ended\n"
                "  rotate   have a device replace its key and credential\n"
                "  revoke   end a device's credential at once; its record stays\n"
                "  remove   remove a device for good\n\n"
                "'firstlight device VERB --help' explains a verb."
            )
            return 0
        raise UsageError("usage", "Say what to do: device create, list, show, invite, rotate, revoke or remove.")
    return act(words[1:], config)


def _parser(act: str, description: str) -> options.Parser:
    made = options.parser(f"device {act}", description)
    made.add_argument("--platform", default="hub", help="platform to speak to (hub)")
    options.add_hub(made)
    made.add_argument("--workspace", metavar="NAME", help="workspace on the platform")
    made.add_argument("--api-key-file", "--key-file", metavar="FILE", help="file with the operator key")
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def _at_desk(typed: argparse.Namespace, config: str | None, act: Callable[[Desk], int]) -> int:
    settings = options.load(typed, config)
    endpoint, trust = options.hub_of(settings)
    if not settings.api_key_file:
        raise UsageError("api_key_missing", "The operator key is missing.")
    if not settings.workspace:
        raise UsageError("usage", "The workspace is missing.", "Give --workspace NAME, or set FIRSTLIGHT_WORKSPACE.")
    key = read_secret_file(settings.api_key_file, "the operator key")
    from firstlight.transports.http_calls import HttpCalls

    with options.advice(endpoint, trust), HttpCalls(trust, proxy_of(settings, endpoint.host)) as calls:
        dialect = half(typed.platform, "management")
        return act(Desk(dialect, endpoint, settings.workspace, key, lambda call: calls.exchange(call, DEADLINE_S)))


def create(words: list[str], config: str | None) -> int:
    """Creates a device and prints the command for the box."""
    made = _parser("create", "Create a device; prints its id and the command to run on the box.")
    made.add_argument("name", metavar="NAME", help="human-readable name of the device")
    made.add_argument("--type", metavar="TYPE", help="device type: ai1, edge or any text")
    made.add_argument("--workflow-id", metavar="ID", help="initial workflow")
    made.add_argument("--tag", metavar="TAG", action="append", default=[], help="a tag; may be repeated")
    made.add_argument(
        "--offline",
        action="store_true",
        help="offline mode (ai1 only); prints a QR payload if the platform makes one",
    )
    made.add_argument("--like", metavar="DEVICE_ID", help="copy the configuration of that device")
    options.add_pairing(made)
    typed = made.parse_args(words)

    def act(desk: Desk) -> int:
        new = desk.dialect.NewDevice(
            typed.name,
            typed.type,
            typed.workflow_id,
            tuple(typed.tag),
            typed.offline,
            typed.like,
            typed.transport,
            typed.credential,
        )
        reply = desk.exchange(desk.dialect.create(desk.endpoint, desk.workspace, desk.key, new))
        created = desk.dialect.read_created(reply)
        if typed.json:
            print(reply.body.decode())
            return 0
        _show_invitation(created)
        if created.qr_payload:
            print(f"QR payload  {created.qr_payload}")
        elif typed.offline:
            print("The platform gave no offline payload.")
        return 0

    return _at_desk(typed, config, act)


def _show_invitation(created: Created) -> None:
    print(f"device      {created.device_id}")
    if created.expires_at:
        print(f"valid until {created.expires_at}")
    if not created.install_command:
        print(f"installId   {created.install_id.reveal()}")
        return
    print("\nRun on the box:\n\n  " + created.install_command + "\n")
    if "--pinnedpubkey" in created.install_command:
        print("(-k is safe here: instead of asking a public authority, curl checks the hub's own key, the pin.)")


def invite(words: list[str], config: str | None) -> int:
    """Makes another installId for a device and prints the command for its box."""
    made = _parser("invite", "Make another installId for a device; prints the command to run on its box.")
    made.add_argument("device_id", metavar="DEVICE_ID")
    typed = made.parse_args(words)

    def act(desk: Desk) -> int:
        call = _of(desk, "invite", typed.platform)
        reply = desk.exchange(call(desk.endpoint, desk.workspace, desk.key, typed.device_id))
        created = desk.dialect.read_created(reply)
        if typed.json:
            print(reply.body.decode())
        else:
            _show_invitation(created)
        return 0

    return _at_desk(typed, config, act)


def _of(desk: Desk, name: str, platform: str) -> Callable[..., HttpCall]:
    call: Callable[..., HttpCall] | None = getattr(desk.dialect, name, None)
    if call is None:
        raise UsageError("usage", f"The platform {platform} has no '{name}'.")
    return call


def _records(desk: Desk) -> Iterator[dict[str, object]]:
    cursor = ""
    while True:
        page, cursor = desk.dialect.read_page(
            desk.exchange(desk.dialect.list_page(desk.endpoint, desk.workspace, desk.key, cursor))
        )
        yield from page
        if not cursor:
            return


def list_devices(words: list[str], config: str | None) -> int:
    """Prints the devices of the workspace, a line each, and how many they are."""
    made = _parser("list", "List the devices of a workspace with their status.")
    made.add_argument("--status", metavar="STATUS", help="only these: online, offline, unknown or revoked")
    made.add_argument("--transport", choices=("http", "mqtt"), help="only those that beat over it")
    made.add_argument("--expires-within", metavar="DAYS", type=float, help="only those whose certificate ends by then")
    typed = made.parse_args(words)
    wanted = device_list.Wanted(typed.status, typed.transport, typed.expires_within)

    def act(desk: Desk) -> int:
        now_s = time.time()
        records = list(_records(desk))
        chosen = [record for record in records if wanted.has(record, now_s)]
        if typed.json:
            print(json.dumps({"data": chosen}))
            return 0
        for line in device_list.table(chosen):
            print(line)
        print(f"\n{device_list.totals(chosen, len(records))}")
        for line in device_list.warnings(chosen):
            print(line)
        return 0

    return _at_desk(typed, config, act)


def show(words: list[str], config: str | None) -> int:
    """Prints one device's record as JSON."""
    made = _parser("show", "Show one device, as JSON.")
    made.add_argument("device_id", metavar="DEVICE_ID")
    typed = made.parse_args(words)

    def act(desk: Desk) -> int:
        record = desk.dialect.read_shown(
            desk.exchange(desk.dialect.show(desk.endpoint, desk.workspace, desk.key, typed.device_id))
        )
        json.dump(record, sys.stdout, indent=None if typed.json else 2)
        print()
        return 0

    return _at_desk(typed, config, act)


def revoke(words: list[str], config: str | None) -> int:
    """Ends a device's credential; its record stays, and it can be invited again."""
    about = "End a device's credential at once; its record stays."
    again = "To let it in again: firstlight device invite"
    return _do(words, config, "revoke", about, "credential ended", again)


def remove(words: list[str], config: str | None) -> int:
    """Removes a device for good; its box is told so, and sets its registration aside."""
    return _do(words, config, "remove", "Remove a device for good; all it holds ends.", "removed")


def rotate(words: list[str], config: str | None) -> int:
    """Has a device replace its credential."""
    about = "Have a device replace its credential as soon as it hears of it."
    return _do(words, config, "rotate", about, "asked to replace its credential")


def _do(words: list[str], config: str | None, name: str, about: str, done: str, then: str = "") -> int:
    made = _parser(name, about)
    made.add_argument("device_id", metavar="DEVICE_ID")
    typed = made.parse_args(words)

    def act(desk: Desk) -> int:
        call = _of(desk, name, typed.platform)
        desk.dialect.read_done(desk.exchange(call(desk.endpoint, desk.workspace, desk.key, typed.device_id)))
        print(json.dumps({"deviceId": typed.device_id}) if typed.json else f"{typed.device_id}: {done}")
        if then and not typed.json:
            print(next_step.typed(f"{then} {typed.device_id}"))
        return 0

    return _at_desk(typed, config, act)


ACTS: dict[str, Callable[[list[str], str | None], int]] = {
    "create": create,
    "list": list_devices,
    "show": show,
    "invite": invite,
    "revoke": revoke,
    "rotate": rotate,
    "remove": remove,
}
