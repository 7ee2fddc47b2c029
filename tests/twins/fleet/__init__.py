"""A twin of Fleet: batch create (seed 004), list, show, change and remove, below ``/platform/v1``.

What it makes up where the pages are silent stands in docs/platforms/fleet.md, and is a switch of ``State`` where a
platform could well do otherwise: whether a batch with one bad device makes none or the others, for one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from tests.twins.fleet.api import Api
from tests.twins.fleet.state import State
from tests.twins.kit.clock import TwinClock
from tests.twins.kit.faults import Faults
from tests.twins.kit.http import HttpServer
from tests.twins.kit.log import Log
from tests.twins.kit.tls import authority, make_context, make_server
from tests.twins.kit.twin import Twin

__all__ = ["FleetTwin", "serve"]

FleetTwin = Twin[State]


@contextlib.contextmanager
def serve(*, is_plain: bool = False, clock: TwinClock | None = None, limit: int | None = 100) -> Iterator[FleetTwin]:
    """Runs one, with one company, one user in it (number 1) and one secret with both scopes.

    Args:
        is_plain: HTTP without TLS.
        clock: its time.
        limit: calls a minute that a secret is good for, None = no end.
    """
    clock, log, faults = clock or TwinClock(), Log(), Faults()
    state = State(clock, limit)
    company = state.add_company()
    secret = state.add_secret(company)
    ca = None if is_plain else authority("Fleet twin")
    context = make_context(make_server(ca)) if ca else None
    with HttpServer(Api(state).app(), context=context, clock=clock, log=log, faults=faults) as http:
        yield Twin(
            "fleet",
            http.url,
            "",
            ca.pem if ca else "",
            secret,
            state,
            log,
            clock,
            faults,
            {},
            lambda key_file, ca_file: _examples(http.url, key_file, ca_file if ca else None),
        )


def _examples(url: str, key_file: Path, ca_file: Path | None) -> list[str]:
    """A device created and listed with the desk, and listed with curl; the secret stays out of what others see."""
    curl = f"curl -sS{f' --cacert {ca_file}' if ca_file else ''}"
    key = f'-H "@-" < <(printf "Authorization: Bearer %s" "$(cat {key_file})")'
    body = json.dumps({"devices": [{"name": "Dock camera", "type": "Camera", "category": "IoT"}]})
    devices = f"{url}/platform/v1/devices"
    ours = f"firstlight device list --platform fleet --base {url} --key-file {key_file}"
    return [
        f"{curl} {devices} -H 'Content-Type: application/json' -d '{body}' {key}",
        f"{curl} {devices} {key}",
        ours + (f" --ca-file {ca_file}" if ca_file else ""),
    ]
