"""What the verbs of the operator's desk share: where they work, their options, and how they call."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

from firstlight.cli import desk_place, options
from firstlight.cli.settings import Settings, desk_tables, proxy_of
from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.management import Listed, Place
from firstlight.core.model import Secret, Trust
from firstlight.errors import UnreachableError, UsageError
from firstlight.platforms import half

DEADLINE_S = 30.0
MAX_PAGES, MAX_LIST_BYTES = 20_000, 1 << 28


class Desk(NamedTuple):
    """Where the desk verbs work.

    Args:
        platform: its name.
        dialect: its management half.
        place: where it is, and as who.
        trust: how it is recognised.
        exchange: makes a call.
    """

    platform: str
    dialect: ModuleType
    place: Place
    trust: Trust
    exchange: Callable[[HttpCall], HttpReply]


def parser(act: str, description: str, *, several: bool = False) -> options.Parser:
    """A parser with the options that every desk verb has; ``several``: it may ask more than one platform."""
    made = options.parser(f"device {act}", description)
    desk_place.add_options(made, several=several)
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def at_desk(typed: argparse.Namespace, config: str | None, act: Callable[[Desk], int]) -> int:
    """Runs ``act`` at the desk that was typed; returns its exit status. Raises FirstlightError."""
    settings = options.load(typed, config)
    table = desk_tables(typed.config or config).get(typed.platform, {})
    with opened(typed.platform, typed, settings, table) as desk:
        return act(desk)


@contextmanager
def opened(platform: str, typed: argparse.Namespace, settings: Settings, table: desk_place.Table) -> Iterator[Desk]:
    """One platform's desk, its connection kept until the end. Raises FirstlightError."""
    dialect = half(platform, "management")
    place, trust = desk_place.placed(platform, dialect, typed, settings, table)
    from firstlight.transports.http_calls import HttpCalls

    proxy = proxy_of(settings, place.endpoint.host)
    with options.advice(place.endpoint, trust), HttpCalls(trust, proxy, keeps=True) as calls:
        try:
            yield Desk(
                platform, dialect, place, trust, lambda call: _without_key(calls.exchange(call, DEADLINE_S), place.key)
            )
        except RecursionError:  # what could just be read cannot be written again
            raise UnreachableError("reply_malformed", f"An answer of {platform} is nested too deeply.") from None


def _without_key(reply: HttpReply, key: Secret) -> HttpReply:
    """A no is shown to whoever looks on, and some servers say which key it is that they do not take."""
    text = key.reveal().encode()
    return reply._replace(body=reply.body.replace(text, b"***")) if text in reply.body else reply


def of(desk: Desk, name: str) -> Callable[..., Any]:
    """A function that not every platform has. Raises UsageError where this one has not."""
    found: Callable[..., Any] | None = getattr(desk.dialect, name, None)
    if found is None:
        raise UsageError("usage", f"The platform {desk.platform} has no '{name.replace('_', '-')}'.")
    return found


def listed(desk: Desk) -> Iterator[Listed]:
    """Every device of the place. Raises FirstlightError; ``reply_too_large`` for a list without an end."""
    cursor, size_bytes = "", 0
    seen: set[str] = set()
    while cursor not in seen and len(seen) < MAX_PAGES and size_bytes < MAX_LIST_BYTES:
        seen.add(cursor)
        reply = desk.exchange(desk.dialect.list_page(desk.place, cursor))
        size_bytes += len(reply.body)
        page, cursor = desk.dialect.read_page(desk.place, reply, time.time(), cursor)
        yield from page
        if not cursor:
            return
    raise UnreachableError("reply_too_large", f"The list of {desk.platform} has no end.")


def shown(desk: Desk, device_id: str) -> Listed:
    """One device. Raises FirstlightError."""
    reply = desk.exchange(desk.dialect.show(desk.place, device_id))
    found: Listed = desk.dialect.read_shown(desk.place, reply, time.time())
    return found
