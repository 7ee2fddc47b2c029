"""``firstlight-hub move``: tells the boxes where the hub is to be found from now on."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from cryptography import x509

from firstlight.core.model import parse_broker, parse_endpoint
from firstlight.errors import FirstlightError, StateError, UsageError
from firstlight_hub import moves, tls
from firstlight_hub.folder import HubFolder
from firstlight_hub.private_files import sync_folder

KINDS = ("secret", "certificate", "secretWebsocket", "certificateWebsocket")


def move(arguments: argparse.Namespace) -> None:
    """Orders a move, or takes the order back."""
    folder = HubFolder(arguments.dir)
    settings = folder.settings()
    if arguments.cancel:
        _cancel(arguments)
        return
    if settings.behind_proxy:
        said = "The boxes of a hub behind a proxy trust no CA of its own, so they could not believe it."
        raise UsageError("usage", said, "Keep the name of public_url, and let it lead to the new machine.")
    endpoint = parse_endpoint(arguments.to).url
    trust = moves.SYSTEM if arguments.system_trust else _trust(arguments.ca) if arguments.ca else moves.OWN
    order = moves.Order(endpoint, trust, _brokers(arguments.broker), round(time.time(), 3))
    try:
        moves.sealed(folder.authorities(), order, endpoint)
        moves.write_order(arguments.dir, order)
    except ValueError as error:
        raise UsageError("usage", f"The move cannot be told: {error}.") from None
    except OSError as error:
        raise _unwritable(arguments.dir, error) from None
    print(f"Boxes are told to go to {endpoint}; each tries it out before it lets go of the present address.")
    print(f"To stop telling them: firstlight-hub move --dir {arguments.dir} --cancel")


def _cancel(arguments: argparse.Namespace) -> None:
    if arguments.to or arguments.ca or arguments.broker or arguments.system_trust:
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
