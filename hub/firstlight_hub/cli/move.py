"""``firstlight-hub move``: tells the boxes where the hub is to be found from now on."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509

from firstlight.core.model import parse_broker, parse_endpoint
from firstlight.errors import FirstlightError, StateError, UsageError
from firstlight_hub import moves, tls
from firstlight_hub.cli.broker import FOLDER, addresses
from firstlight_hub.folder import HubFolder
from firstlight_hub.private_files import sync_folder
from firstlight_hub.renewal import clock_warning
from firstlight_hub.settings import Settings

KINDS = ("secret", "certificate", "secretWebsocket", "certificateWebsocket")
SCHEMES = ("mqtts", "wss")


def move(arguments: argparse.Namespace) -> None:
    """Orders a move, takes the order back, or shows it."""
    folder = HubFolder(arguments.dir)
    settings = folder.settings()
    if arguments.cancel:
        _cancel(arguments)
        return
    if not arguments.to:
        _show(arguments)
        return
    if settings.behind_proxy:
        said = "The boxes of a hub behind a proxy trust no CA of its own, so they could not believe it."
        raise UsageError("usage", said, "Keep the name of public_url, and let it lead to the new machine.")
    wrong = clock_warning(folder.ca_pem(), datetime.now(timezone.utc))
    if wrong:  # boxes take the order that was made last: one from the future would outlive every later one
        raise UsageError("usage", wrong, "Set the clock, then order the move.")
    endpoint = parse_endpoint(arguments.to).url
    trust = moves.SYSTEM if arguments.system_trust else _trust(arguments.ca) if arguments.ca else moves.OWN
    brokers = _brokers(arguments.broker)
    if not arguments.keep_brokers:
        _check_none_is_left(_kinds(settings, arguments.dir), dict(brokers))
    order = moves.Order(endpoint, trust, brokers, round(time.time(), 3))
    try:
        moves.sealed(folder.authorities(), order, endpoint)
        moves.write_order(arguments.dir, order)
    except ValueError as error:
        raise UsageError("usage", f"The move cannot be told: {error}.") from None
    except OSError as error:
        raise _unwritable(arguments.dir, error) from None
    print(f"Boxes are told to go to {endpoint}; each tries it out before it lets go of the present address.")
    print(f"To stop telling them: firstlight-hub move --dir {arguments.dir} --cancel")


def _kinds(settings: Settings, folder: Path) -> Sequence[str]:
    """The kinds of broker that this hub's boxes may have been given."""
    if settings.mqtt == "off" and (folder / FOLDER).is_dir():
        settings = settings._replace(mqtt="mosquitto")  # it was served with --mqtt
    return tuple(addresses(settings))


def _check_none_is_left(kinds: Sequence[str], given: Mapping[str, str]) -> None:
    left = [kind for kind in kinds if kind not in given]
    if left:
        each = " ".join(f"--broker {kind}={SCHEMES[kind.endswith('Websocket')]}://HOST:PORT" for kind in left)
        said = f"This hub has boxes on MQTT: say where their broker is from now on with {each}, or --keep-brokers."
        raise UsageError("usage", said, "Boxes on MQTT keep their broker where nobody tells them of another.")


def _show(arguments: argparse.Namespace) -> None:
    if _has_more(arguments):
        raise UsageError("usage", "Say where the hub is from now on: --to https://HOST:PORT.")
    order = moves.read_order(arguments.dir)
    if order is None:
        print("No move is ordered.")
        return
    words = {moves.OWN: "this hub's own CA", moves.SYSTEM: "what the box's system trusts"}
    print(f"Boxes are told to go to {order.endpoint}.")
    print(f"They are to trust there: {words.get(order.trust, 'a CA that --ca gave')}.")
    for kind, url in order.brokers:
        print(f"Broker for {kind}: {url}")
    if not order.brokers:
        print("MQTT brokers stay as they are.")
    print(f"Ordered at {datetime.fromtimestamp(order.issued_at_s, timezone.utc):%Y-%m-%d %H:%M:%S} UTC.")


def _has_more(arguments: argparse.Namespace) -> bool:
    return bool(arguments.ca or arguments.broker or arguments.system_trust or arguments.keep_brokers)


def _cancel(arguments: argparse.Namespace) -> None:
    if _has_more(arguments):
        raise UsageError("usage", "--cancel stands alone.")
    path: Path = arguments.dir / moves.FILE
    try:
        path.unlink()
        sync_folder(path.parent)
    except FileNotFoundError:
        print("There was no move to cancel.")
        return
    except OSError as error:
        raise _unwritable(arguments.dir, error) from None
    print("Boxes are not told any more. Those that have moved already stay there.")


def _trust(path: Path) -> str:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise UsageError("ca_malformed", f"{path} cannot be read: {error.strerror}.") from None
    except tls.UNREADABLE:
        raise UsageError("ca_malformed", f"{path} is not a certificate in PEM.") from None
    return b"".join(map(tls.certificate_pem, found)).decode("ascii")


def _brokers(given: list[str]) -> tuple[tuple[str, str], ...]:
    found = {}
    for one in given:
        kind, _, url = one.partition("=")
        if kind not in KINDS:
            raise UsageError("usage", f"--broker is KIND=URL, and KIND one of {', '.join(KINDS)}.")
        try:
            found[kind] = parse_broker(url).url
        except FirstlightError as error:
            raise UsageError("usage", f"--broker {kind}: {error.message}") from None
    return tuple(sorted(found.items()))


def _unwritable(path: Path, error: OSError) -> StateError:
    return StateError("state_unwritable", f"{path} cannot be written: {error.strerror}.")
