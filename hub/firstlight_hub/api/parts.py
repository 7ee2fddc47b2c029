"""What the routes work with, put together once by ``app.build_app``."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, NamedTuple

from fastapi import Depends, Request
from fastapi.security import APIKeyQuery, HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from firstlight_hub.model import Caller
from firstlight_hub.service import Clock
from firstlight_hub.service.access import Access
from firstlight_hub.service.beats import Beats
from firstlight_hub.service.credentials import Credentials
from firstlight_hub.service.devices import Devices
from firstlight_hub.service.enrolling import Enrolling
from firstlight_hub.service.receipts import Receipts
from firstlight_hub.shelf import Shelf


class Site(NamedTuple):
    """How boxes reach this hub.

    Args:
        url: ``https://HOST:PORT``.
        pin: ``sha256//`` + base64 of the server's key, or None where a public certificate stands before the hub.
        ca_pem: the hub's own CA, or "" where the system's store is to be trusted.
        bundles: where the agent's bundles are.
        brokers: addresses for beats over MQTT, by kind of credential: ``secret``, ``certificate``, ``secretWebsocket``,
            ``certificateWebsocket``; empty on a hub without MQTT.
        release_keys: key id -> public key in PEM, whose releases boxes are to trust.
    """

    url: str
    pin: str | None
    ca_pem: str
    bundles: Shelf
    brokers: Mapping[str, str] = MappingProxyType({})
    release_keys: Mapping[str, bytes] = MappingProxyType({})


class Parts(NamedTuple):
    """The use cases, how this hub is reached, and what makes a status.

    Args:
        devices: management.
        access: keys and callers.
        enrolling: redeem and take-back.
        credentials: what becomes of a credential after that.
        beats: recording beats.
        receipts: heartbeats that came by hand.
        site: how boxes reach this hub.
        now_ms: the hub's clock.
        window_s: seconds that a device counts as online after a beat.
    """

    devices: Devices
    access: Access
    enrolling: Enrolling
    credentials: Credentials
    beats: Beats
    receipts: Receipts
    site: Site
    now_ms: Clock
    window_s: int


def get_parts(request: Request) -> Parts:
    """The parts of the running app."""
    found: Parts = request.app.state.parts
    return found


BEARER = HTTPBearer(auto_error=False, scheme_name="bearer", description="An operator's or a device's key.")
QUERY = APIKeyQuery(name="api_key", auto_error=False, scheme_name="api_key", description="The same key, in the query.")


async def get_caller(
    request: Request,
    in_header: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    in_query: Annotated[str | None, Depends(QUERY)],
) -> Caller:
    """Whose key came with the request, in the header or else in the query. Raises Refusal ``unauthorized``."""
    key = in_header.credentials if in_header else in_query or ""
    return await run_in_threadpool(get_parts(request).access.caller, key)


OurParts = Annotated[Parts, Depends(get_parts)]
WhoCalls = Annotated[Caller, Depends(get_caller)]
