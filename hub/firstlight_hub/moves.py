"""Where the hub is to be found from now on: said, signed, in answers to beats (``firstlight.wire.move``).

Three things make a statement: ``firstlight-hub move`` (another address, a CA of the operator's choice, or both), a
successor of the hub's CA, and a former CA, whose devices do not know the present one. The hub does not know which CA a
device trusts: one that has all this already sees that nothing would change, and passes over it before the signature.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from firstlight.errors import FirstlightError
from firstlight.wire.heartbeat import MAX_MOVE
from firstlight.wire.move import Move, encode_statement, seal
from firstlight_hub import tls
from firstlight_hub.authorities import Authorities, Authority
from firstlight_hub.folder import HubFolder
from firstlight_hub.private_files import parsed, write_private

FILE = "move.json"
OWN, SYSTEM = "own", "system"
LOOK_EVERY_S = 3.0
LOG = logging.getLogger(__name__)


class Order(NamedTuple):
    """What the operator asked for.

    Args:
        endpoint: ``https://HOST:PORT``.
        trust: what to trust there: ``own`` (this hub's CA, which goes along), ``system`` (the box's store), or PEM.
        brokers: address by kind, as in ``Move``; empty = brokers stay.
        issued_at_s: seconds since 1970.
    """

    endpoint: str
    trust: str
    brokers: tuple[tuple[str, str], ...]
    issued_at_s: float


def read_order(folder: Path) -> Order | None:
    """What ``move.json`` says, or None without one. Raises StateError ``hub_damaged``."""
    path = folder / FILE
    return parsed(path, _order) if path.exists() else None


def _order(content: bytes) -> Order:
    read = json.loads(content)
    if not isinstance(read, dict) or set(read) != set(Order._fields) or not isinstance(read["brokers"], dict):
        raise ValueError
    brokers = tuple((str(kind), str(url)) for kind, url in read["brokers"].items())
    return Order(str(read["endpoint"]), str(read["trust"]), brokers, float(read["issued_at_s"]))


def write_order(folder: Path, order: Order) -> None:
    """Writes ``move.json``. Raises OSError."""
    write_private(folder / FILE, json.dumps({**order._asdict(), "brokers": dict(order.brokers)}).encode())


def sealed(known: Authorities, order: Order | None, url: str) -> str:
    """The signed text for devices, "" where there is nothing to say.

    Args:
        known: the hub's CAs.
        order: what the operator asked for, or None.
        url: where the hub is now.

    Raises:
        ValueError: it is larger than an answer may be.
    """
    newest = known.successor or known.present
    signer = known.present if order or known.successor else known.formers[0] if known.formers else None
    if signer is None:
        return ""
    if order is None:
        move = Move(url, newest.pem, (), _made_at_s(newest))
    else:
        trust = {OWN: newest.pem, SYSTEM: ""}.get(order.trust, order.trust)
        move = Move(order.endpoint, trust, order.brokers, max(order.issued_at_s, _made_at_s(known.successor)))
    statement = encode_statement(move)
    text = seal(statement, signer.sign(statement))
    if len(text) > MAX_MOVE:
        raise ValueError(f"the statement has {len(text)} characters, which is more than {MAX_MOVE}")
    return text


def _made_at_s(authority: Authority | None) -> float:
    return (authority.certificate.not_valid_before_utc + tls.BACKDATED).timestamp() if authority else 0.0


class Moves:
    """What answers to beats carry; looks at the files every few seconds, signs only when they changed.

    Args:
        folder: the hub's.
        url: where it is now.
        clock: seconds that only grow.
        every_s: seconds between two looks at the files.
    """

    def __init__(
        self,
        folder: HubFolder,
        url: str,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._folder = folder
        self._url = url
        self._clock = clock
        self._every_s = every_s
        self._look_at_s = 0.0
        self._state: object = None
        self._text = ""

    def text(self) -> str:
        """The signed text, "" = nothing new. Never raises: what cannot be read is logged, and nothing is said."""
        now_s = self._clock()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + self._every_s
            try:
                self._look()
            except (FirstlightError, OSError, ValueError) as error:
                LOG.warning("Devices are not told where the hub moves: %s", error)
                self._text = ""
        return self._text

    async def watch(self, changed: Callable[[], None]) -> None:
        """Says whenever there is something else to tell; runs until it is cancelled, in the loop that answers beats."""
        before = ""
        while True:
            await asyncio.sleep(self._every_s)
            text = self.text()
            if text not in ("", before):
                before = text
                changed()

    def _look(self) -> None:
        path = self._folder.path / FILE
        state = (self._folder.ca_files.state(), path.stat().st_mtime_ns if path.exists() else 0)
        if state != self._state:
            self._text = sealed(self._folder.authorities(), read_order(self._folder.path), self._url)
            self._state = state
