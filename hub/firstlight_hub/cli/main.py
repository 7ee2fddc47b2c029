"""Reads the command line and calls the verb; every error ends as one sentence and a hint."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from firstlight.errors import FirstlightError, UsageError
from firstlight_hub import __version__

Verb = Callable[[argparse.Namespace], None]


class Parser(argparse.ArgumentParser):
    """argparse whose complaints go the way of every other error: one sentence, a code, a next step."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raises UsageError instead of printing and exiting."""
        raise UsageError("usage", f"{message[:1].upper()}{message[1:]}.", f"Run: {self.prog} --help")


def _init(arguments: argparse.Namespace) -> None:
    from firstlight_hub.cli.init import init

    init(arguments)


def _serve(arguments: argparse.Namespace) -> None:
    from firstlight_hub.cli.serve import serve

    serve(arguments)


def _key_create(arguments: argparse.Namespace) -> None:
    from firstlight_hub.cli.key import create

    create(arguments)


def _key_list(arguments: argparse.Namespace) -> None:
    from firstlight_hub.cli.key import show

    show(arguments)


def _key_revoke(arguments: argparse.Namespace) -> None:
    from firstlight_hub.cli.key import revoke

    revoke(arguments)


def _ca_new(arguments: argparse.Namespace) -> None:
    from firstlight_hub.cli.ca import new

    new(arguments)


def _ca_switch(arguments: argparse.Namespace) -> None:
    from firstlight_hub.cli.ca import switch

    switch(arguments)


def _ca_list(arguments: argparse.Namespace) -> None:
    from firstlight_hub.cli.ca import show

    show(arguments)


def _move(arguments: argparse.Namespace) -> None:
    from firstlight_hub.cli.move import move

    move(arguments)


def _rollout(name: str) -> Verb:
    def verb(arguments: argparse.Namespace) -> None:
        from firstlight_hub.cli import rollout

        found: Verb = getattr(rollout, name)
        found(arguments)

    return verb


def _sign(arguments: argparse.Namespace) -> None:
    from firstlight_hub.cli.release import sign

    sign(arguments)


def _release_key(arguments: argparse.Namespace) -> None:
    from firstlight_hub.cli.release import key

    key(arguments)


def _backup(arguments: argparse.Namespace) -> None:
    from firstlight_hub.folder import HubFolder

    HubFolder(arguments.dir).back_up(arguments.dest)
    print(f"Backed up to {arguments.dest}. It holds this hub's secrets: keep it as safe as the hub itself.")


def _verb(
    group: argparse._SubParsersAction[argparse.ArgumentParser], name: str, verb: Verb, help: str
) -> argparse.ArgumentParser:
    parser = group.add_parser(name, help=help, description=help)
    parser.set_defaults(verb=verb)
    parser.add_argument("--dir", type=Path, required=True, metavar="DIR", help="The hub's folder.")
    return parser


def _init_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME_OR_IP",
        help="A name or address under which boxes reach this hub; give it several times, the main one first.",
    )
    parser.add_argument("--port", type=int, default=8443, help="The port to listen on (8443).")
    parser.add_argument("--workspace", default="demo", help="Slug of the first workspace (demo).")
    parser.add_argument(
        "--key-file", type=Path, metavar="PATH", help="Write the operator key there (0600), print it not."
    )


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", metavar="LISTEN", help="Listen on this address instead of the setting listen.")
    parser.add_argument("--port", type=int, metavar="N", help="Instead of the setting port; 0 takes a free one.")
    parser.add_argument("--plain-http-on-loopback", action="store_true", help="Speak plain HTTP, on 127.0.0.1 only.")
    parser.add_argument("--ready-fd", type=int, metavar="N", help="Write hub.json to this descriptor once listening.")
    parser.add_argument("--public-url", metavar="URL", help="Instead of the setting public_url.")
    parser.add_argument(
        "--mqtt",
        action="store_true",
        help='Start mosquitto too, as mqtt = "mosquitto" in hub.toml does; it must be installed.',
    )


def _key_verbs(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    help = "Creates, lists and revokes keys for the management API."
    verbs = group.add_parser("key", help=help, description=help).add_subparsers(required=True, metavar="VERB")
    parser = _verb(verbs, "create", _key_create, "Creates a key and prints it, this once.")
    parser.add_argument("--workspace", default="demo", help="The workspace it is for (demo).")
    parser.add_argument(
        "--scope", action="append", choices=["device:read", "device:update"], help="What it may do; by default all."
    )
    parser.add_argument("--device", metavar="ID", help="Bind it to one device.")
    parser.add_argument("--label", default="", help="What it is for, to recognise it in the list.")
    parser.add_argument("--key-file", type=Path, metavar="PATH", help="Write the key there (0600), print it not.")
    _verb(verbs, "list", _key_list, "Lists all keys by their handles.")
    parser = _verb(verbs, "revoke", _key_revoke, "Ends a key at once.")
    parser.add_argument("handle", help="The key's handle, from the list.")


def _ca_verbs(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    help = "Renews the hub's CA before it ends, without losing a box."
    verbs = group.add_parser("ca", help=help, description=help).add_subparsers(required=True, metavar="VERB")
    _verb(verbs, "new", _ca_new, "Makes a successor of the hub's CA; a serving hub tells its boxes of it.")
    _verb(verbs, "switch", _ca_switch, "Makes the successor the present CA; the one before it still counts.")
    _verb(verbs, "list", _ca_list, "Lists the hub's CAs with their dates.")


def _move_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--to", metavar="URL", help="Where the hub is from now on: https://HOST:PORT. Without it, shows.")
    what.add_argument("--cancel", action="store_true", help="Tell the boxes no more.")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument(
        "--ca", type=Path, metavar="FILE", help="What to trust there, PEM; without it this hub's own CA goes along."
    )
    trust.add_argument("--system-trust", action="store_true", help="Trust what the box's system trusts.")
    parser.add_argument(
        "--broker",
        action="append",
        default=[],
        metavar="KIND=URL",
        help="An MQTT broker there; KIND is secret, certificate, secretWebsocket or certificateWebsocket.",
    )
    parser.add_argument("--keep-brokers", action="store_true", help="MQTT brokers that --broker does not name stay.")


def _rollout_verbs(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    help = "Brings boxes to another version of the agent, some first; halts by itself where they fail."
    verbs = group.add_parser("rollout", help=help, description=help).add_subparsers(required=True, metavar="VERB")
    parser = _verb(verbs, "start", _rollout("start"), "Offers a version to some boxes, or all.")
    parser.add_argument(
        "--version", required=True, metavar="V", help="The version; its bundle lies in bundles, signed."
    )
    parser.add_argument("--percent", type=int, metavar="N", help="To that share of all boxes, 1 to 100.")
    parser.add_argument("--tag", metavar="TAG", help="To the boxes with this tag.")
    parser.add_argument(
        "--device", action="append", default=[], metavar="ID", help="To this box; give it several times."
    )
    parser.add_argument(
        "--halt-after",
        type=int,
        metavar="N",
        help="Halt at so many failures (5 %% of the boxes offered it, at least 1).",
    )
    parser.add_argument("--at-once", type=int, default=50, metavar="N", help="To so many boxes at once at most (50).")
    parser = _verb(verbs, "show", _rollout("show"), "Shows how far it has come, and each box that failed.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")
    parser = _verb(verbs, "widen", _rollout("widen"), "Has it go to more boxes; those it was for stay.")
    parser.add_argument("--percent", type=int, required=True, metavar="N", help="To that share of all boxes.")
    _verb(verbs, "halt", _rollout("halt"), "Offers it to no further box.")
    _verb(verbs, "resume", _rollout("resume"), "Goes on after a halt; what failed so far counts no more.")
    for name in ("end", "cancel"):
        _verb(verbs, name, _rollout("end"), "Ends it; boxes stay at what they run.")


def parser() -> argparse.ArgumentParser:
    """The whole command line; parsing raises UsageError ``usage``."""
    top: argparse.ArgumentParser = Parser(prog="firstlight-hub", description="A small platform for Firstlight devices.")
    top.add_argument("--version", action="version", version=f"firstlight-hub {__version__}")
    group = top.add_subparsers(required=True, metavar="VERB")
    _init_arguments(_verb(group, "init", _init, "Makes a new hub in a folder: CA, certificate, database, first key."))
    _serve_arguments(_verb(group, "serve", _serve, "Serves the hub until it is told to stop."))
    _key_verbs(group)
    _ca_verbs(group)
    _move_arguments(_verb(group, "move", _move, "Tells the boxes, signed, that the hub has another address."))
    _rollout_verbs(group)
    signing = _verb(group, "sign", _sign, "Adds this hub's signature to bundles, so that boxes take them as upgrades.")
    signing.add_argument("file", type=Path, nargs="+", metavar="FILE", help="firstlight-VERSION-ARCH.tar")
    help = "Prints the public keys whose releases boxes take; --new makes another, and the former goes on signing."
    _verb(group, "release-key", _release_key, help).add_argument("--new", action="store_true", help="Make a new key.")
    backup = _verb(group, "backup", _backup, "Copies the whole hub into a new folder or .tar file, while it serves.")
    backup.add_argument("dest", type=Path, metavar="DEST", help="A new folder, or a new file that ends in .tar.")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit status: 0, or the error's own."""
    try:
        arguments = parser().parse_args(argv)
        arguments.verb(arguments)
    except FirstlightError as error:
        print(f"firstlight-hub: {error}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return 0
