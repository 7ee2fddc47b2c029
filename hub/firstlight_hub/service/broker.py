"""What the use cases ask of an MQTT broker; ``mqtt`` has the parts that really speak to one."""

from __future__ import annotations

from typing import Protocol


class BrokerLink(Protocol):
    """The broker, seen from the use cases. Called from worker threads, after the commit."""

    def issued(self, device_id: str) -> None:
        """A credential of this device counts from now on: returns when the broker knows, or after a few seconds."""
        ...

    def ended(self, device_id: str) -> None:
        """A credential of this device no longer counts: the broker forgets it, and its session ends within seconds."""
        ...

    def expel(self, device_id: str) -> None:
        """This device floods: its session ends, and where the broker can, it is barred for a minute."""
        ...

    def tell(self, workspace: str, device_id: str, body: bytes) -> None:
        """Says something unasked to a device that is connected; one that is not learns it at its next first beat."""
        ...


class NoBroker:
    """A hub without MQTT: implements ``BrokerLink`` with nothing."""

    def issued(self, device_id: str) -> None:
        """Nobody to tell."""

    def ended(self, device_id: str) -> None:
        """Nobody to tell."""

    def expel(self, device_id: str) -> None:
        """Nobody to tell."""

    def tell(self, workspace: str, device_id: str, body: bytes) -> None:
        """Nobody to tell."""
