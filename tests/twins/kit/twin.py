"""What ``serve`` of a twin gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from tests.twins.kit.clock import TwinClock
from tests.twins.kit.faults import Faults
from tests.twins.kit.log import Log

State = TypeVar("State")


@dataclass
class Twin(Generic[State]):
    """A running twin.

    Args:
        name: of the platform.
        http_url: base address of its management interface.
        mqtt_url: where devices speak MQTT, "" = nowhere.
        ca_pem: the authority of its servers; "" where all is plain.
        operator_key: what management asks for: a token, an API key. A secret, made up at start.
        state: what it knows, for tests to look at and to arrange (under ``state.lock``).
        log: what it saw.
        clock: its time.
        faults: trouble over HTTP, on demand.
        addresses: further ones, by what they are for.
        examples: example commands, given the file of the operator's key and that of the CA.
    """

    name: str
    http_url: str
    mqtt_url: str
    ca_pem: str
    operator_key: str
    state: State
    log: Log
    clock: TwinClock
    faults: Faults
    addresses: dict[str, str] = field(default_factory=dict)
    examples: Callable[[Path, Path], list[str]] = lambda key_file, ca_file: []

    def __repr__(self) -> str:
        """Shows no key."""
        return f"Twin({self.name}, {self.http_url}, {self.mqtt_url})"
