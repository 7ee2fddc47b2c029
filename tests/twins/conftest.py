"""A twin of Huawei IoTDA for each test that wants one, and an operator at its desk."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import httpx
import pytest

from tests.twins.client import Client
from tests.twins.huawei import HuaweiTwin, example, logins, serve
from tests.twins.kit.clock import TwinClock
from tests.twins.kit.tls import Identity

SECRET = "a-secret_of-16ch"


class Desk:
    """The operator of a project, and its devices."""

    def __init__(self, twin: HuaweiTwin, clock: TwinClock) -> None:
        self.twin, self.clock = twin, clock
        self.headers = {"X-Auth-Token": twin.operator_key}
        self.http = httpx.Client(base_url=twin.http_url, verify=ssl.create_default_context(cadata=twin.ca_pem))
        self.base = f"/v5/iot/{twin.project_id}/devices"

    def ask(self, method: str, path: str = "", **words: Any) -> httpx.Response:
        """A request below the project's devices."""
        return self.http.request(method, self.base + path, headers=self.headers, **words)

    def create(self, node_id: str = "box-1", **fields: Any) -> httpx.Response:
        """A create with the least that is needed, and further fields."""
        body = {"node_id": node_id, "product_id": self.twin.product_id, **fields}
        return self.ask("POST", json={name: value for name, value in body.items() if value is not ...})

    def made(self, node_id: str = "box-1", **auth: Any) -> str:
        """A device with ``SECRET``, or as ``auth`` says; its id."""
        reply = self.create(node_id, auth_info=auth or {"auth_type": "SECRET", "secret": SECRET})
        assert reply.status_code == 201, reply.text
        return str(reply.json()["device_id"])

    def status(self, device_id: str) -> str:
        """As a show tells it."""
        return str(self.ask("GET", f"/{device_id}").json()["status"])

    def stamp(self, hours: int = 0) -> str:
        """The platform's hour, or one so many hours later."""
        at_s = self.clock.now_s() + hours * 3600
        return datetime.fromtimestamp(at_s, timezone.utc).strftime("%Y%m%d%H")

    def login(self, device_id: str, secret: str = SECRET, sign: str = "0", hours: int = 0) -> tuple[str, str, str]:
        """Client id, user name and password."""
        stamp = self.stamp(hours)
        return f"{device_id}_0_{sign}_{stamp}", device_id, logins.password_of(secret, stamp)

    def link(self, identity: Identity | None = None) -> Client:
        """A connection over TLS."""
        return Client(self.twin.mqtt_url, self.twin.ca_pem, identity)

    def online(self, device_id: str, **words: Any) -> Client:
        """A device that is let in."""
        client = self.link()
        code = client.connect(*self.login(device_id, **words))
        if code:
            client.close()
        assert code == 0
        return client


@pytest.fixture
def clock() -> TwinClock:
    """A clock that stands still at the moment of the vendor's example."""
    return TwinClock(example.CREATED_S, runs=False)


@pytest.fixture
def desk(clock: TwinClock) -> Iterator[Desk]:
    """A twin of its own for each test, and who manages it."""
    with serve(clock=clock) as twin:
        example.arrange(twin.state)
        one = Desk(twin, clock)
        yield one
        one.http.close()
