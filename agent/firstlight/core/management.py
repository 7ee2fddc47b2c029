"""What the verbs of the desk and a platform's management half share: plain values, the same for every platform."""

from __future__ import annotations

from typing import NamedTuple

from firstlight.core.model import Endpoint, Secret


class Place(NamedTuple):
    """Where devices are managed.

    Args:
        endpoint: base address of the platform's interface.
        workspace: what the platform calls so: a workspace's slug, or a project's id; "" where the key says it.
        key: the operator's.
        extra: further settings of this platform, by the names in its ``EXTRAS``.
    """

    endpoint: Endpoint
    workspace: str
    key: Secret
    extra: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """One of ``extra``, "" where it was not given."""
        return dict(self.extra).get(name, "")


class Field(NamedTuple):
    """One thing that may be said of a new device: an option of ``device create``, a column of its table.

    Args:
        name: as the option ``--field NAME=VALUE`` and the table's column have it, in the platform's own words.
        about: one line for people.
        is_required: whether there is no device without it.
        is_secret: never shown, and never an option: from a table or a file only.
    """

    name: str
    about: str
    is_required: bool = False
    is_secret: bool = False


class Made(NamedTuple):
    """The answer to a create.

    Args:
        device_id: of the new device.
        name: as the platform has it now.
        boot_file: what its box takes in (``firstlight enroll --file``), a JSON object with secrets; None where the
            platform knows no device half.
        record: the answer as it came, secrets included: never printed unless asked for.
    """

    device_id: str
    name: str
    boot_file: dict[str, object] | None
    record: dict[str, object]

    def __repr__(self) -> str:
        """Shows neither boot file nor record."""
        return f"Made({self.device_id}, {self.name})"


class Listed(NamedTuple):
    """One device as every platform can tell it.

    Args:
        device_id, name: as the platform has them.
        status: "online", "offline" or "unknown", by our rule for that platform.
        last_heartbeat: ISO 8601 in UTC, "" = never, or the platform does not say.
        raw_status: the platform's own word, "" where that is the same.
        record: as it came.
    """

    device_id: str
    name: str
    status: str
    last_heartbeat: str
    raw_status: str
    record: dict[str, object]

    def __repr__(self) -> str:
        """Shows no record: some platforms have a device's token in it."""
        return f"Listed({self.device_id}, {self.name}, {self.status})"
