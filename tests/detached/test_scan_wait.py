"""``firstlight scan`` after the agent was started: it waits for the registration, but not for a network."""

from __future__ import annotations

import time
from collections.abc import Callable

from firstlight.cli import scan
from firstlight.cli.settings import Settings
from tests.detached.conftest import Road
from tests.e2e.conftest import Hub

MakeRoad = Callable[..., Road]
WAIT_S = 60.0


def settings(road: Road) -> Settings:
    """Those of its box."""
    return Settings(state_dir=str(road.box.state_dir))


def test_nobody_waits_for_a_network(make_road: MakeRoad, own_hub: Hub) -> None:
    """The agent has said why it cannot register: the wait is over at once, not after all its seconds."""
    device = own_hub.create()
    own_hub.stop()
    road = make_road(own_hub)
    road.provision(road.label(device))
    road.box.run()
    road.until("the agent says why", lambda status: status.get("reason"))
    began_s = time.monotonic()
    assert scan.registered(settings(road), WAIT_S) == ""
    assert time.monotonic() - began_s < WAIT_S / 2


def test_the_registration_is_waited_for(make_road: MakeRoad, hub: Hub) -> None:
    """With a hub in reach the person hears the device id."""
    device = hub.create()
    road = make_road(hub)
    road.provision(road.label(device))
    road.box.run()
    assert scan.registered(settings(road), WAIT_S) == device.device_id
