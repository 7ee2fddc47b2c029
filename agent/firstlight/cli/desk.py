"""What the verbs of the operator's desk share: where they work, their options, and how they call."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple

from firstlight.cli import options
from firstlight.cli.settings import proxy_of, read_secret_file
from firstlight.core.exchange import HttpCall, HttpReply
from firstlight.core.model import Endpoint, Secret, Trust
from firstlight.errors import UsageError
from firstlight.platforms import half

DEADLINE_S = 30.0


class Desk(NamedTuple):
    """Where the desk verbs work.

    Args:
        platform: its name.
        dialect: its management half.
        endpoint, trust: where it is, and how it is recognised.
        workspace: the operator's.
        key: the operator's.
        exchange: makes a call.
    """

    platform: str
    dialect: ModuleType
    endpoint: Endpoint
    trust: Trust
    workspace: str
    key: Secret
    exchange: Callable[[HttpCall], HttpReply]


def parser(act: str, description: str) -> options.Parser:
    """A parser with the options that every desk verb has."""
    made = options.parser(f"device {act}", description)
    made.add_argument("--platform", default="hub", help="platform to speak to (hub)")
    options.add_hub(made)
    made.add_argument("--workspace", metavar="NAME", help="workspace on the platform")
    made.add_argument("--api-key-file", "--key-file", metavar="FILE", help="file with the operator key")
    made.add_argument("--json", action="store_true", help="print JSON")
    return made


def at_desk(typed: argparse.Namespace, config: str | None, act: Callable[[Desk], int]) -> int:
    """Runs ``act`` at the desk that was typed; returns its exit status. Raises FirstlightError."""
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
        return act(
            Desk(
                typed.platform,
                dialect,
                endpoint,
                trust,
                settings.workspace,
                key,
                lambda call: calls.exchange(call, DEADLINE_S),
            )
        )


def of(desk: Desk, name: str) -> Callable[..., HttpCall]:
    """A call that not every platform has. Raises UsageError where this one has not."""
    call: Callable[..., HttpCall] | None = getattr(desk.dialect, name, None)
    if call is None:
        raise UsageError("usage", f"The platform {desk.platform} has no '{name}'.")
    return call


def records(desk: Desk) -> Iterator[dict[str, object]]:
    """The record of every device of the workspace. Raises FirstlightError."""
    cursor = ""
    while True:
        page, cursor = desk.dialect.read_page(
            desk.exchange(desk.dialect.list_page(desk.endpoint, desk.workspace, desk.key, cursor))
        )
        yield from page
        if not cursor:
            return
