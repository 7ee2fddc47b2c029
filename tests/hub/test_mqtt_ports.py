"""A port that mosquitto would not get is named with its setting before mosquitto starts."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from firstlight.errors import StateError
from firstlight_hub.mqtt.ports import check_free

WHERE = "127.0.0.1"
FIRST = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
NOBODY = 65_534


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which something listens."""
    with socket.create_server((WHERE, 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def ordinary() -> Iterator[None]:
    """No longer root, where the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    yield
    os.seteuid(before)


def refused(address: str, ports: dict[str, int]) -> StateError:
    """The error about these ports."""
    with pytest.raises(StateError) as caught:
        check_free(address, ports, 0.2)
    assert caught.value.code == "broker_failed"
    return caught.value


@pytest.mark.parametrize("address", [WHERE, "0.0.0.0"])
def test_port_in_use_is_named(taken: int, address: str) -> None:
    """With the setting and its number; a setting without a port is passed over."""
    error = refused(address, {"mqtt_port": 0, "mqtt_certificate_port": taken})
    assert error.message == f"mqtt_certificate_port {taken} is in use."
    assert "another mqtt_certificate_port" in error.hint


@pytest.mark.skipif(FIRST <= 883, reason="this machine lets everybody have any port")
@pytest.mark.usefixtures("ordinary")
def test_port_for_root_is_named() -> None:
    """An ordinary user's hub cannot have a port below 1024."""
    assert refused(WHERE, {"mqtt_port": 883}).message == "mqtt_port 883 needs root: choose one from 1024 on."


def test_address_of_another_machine_is_named() -> None:
    """What listen names must be here."""
    assert refused("192.0.2.1", {"mqtt_port": 18_883}).message.startswith("mqtt_port: port 18883 of 192.0.2.1 cannot")


def test_port_that_becomes_free_is_waited_for() -> None:
    """The mosquitto of a killed hub still has it for a moment."""
    listening = socket.create_server((WHERE, 0))
    ending = threading.Timer(0.3, listening.close)
    ending.start()
    check_free(WHERE, {"mqtt_port": listening.getsockname()[1]}, 30)
    ending.join()


def test_free_ports_stay_free(taken: int) -> None:
    """Looking takes nothing: the port can be had right after it."""
    with socket.create_server((WHERE, 0)) as listening:
        free = listening.getsockname()[1]
    for _ in range(2):
        check_free(WHERE, {"mqtt_port": free})
    socket.create_server((WHERE, free)).close()
