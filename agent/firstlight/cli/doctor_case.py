"""What the checks of ``firstlight doctor`` are about: the settings, the state of this box, and its hub."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

from firstlight.cli import options, provisioning, status
from firstlight.cli import settings as settings_file
from firstlight.cli.settings import Settings, proxy_address, proxy_of
from firstlight.core.diagnosis import Finding
from firstlight.core.model import Endpoint, Identity, Registration, Trust
from firstlight.errors import FirstlightError, StateError, UsageError
from firstlight.system import checks_state, provision_file
from firstlight.system.clock import SystemClock, clock_floor_s
from firstlight.system.store import StateDirectory
from firstlight.transports import checks_way
from firstlight.transports.checks_way import Shown
from firstlight.transports.proxy import Proxy

Result = TypeVar("Result")
MAX_INVITATION = 8192
TRUST_DIR = "/etc/firstlight/trust.d"


class Hub(NamedTuple):
    """The hub that is looked at.

    Args:
        endpoint, trust: where it is and how it is recognised.
        told_by: who said so: "the registration", "the provision", "the invitation", "what was typed", "the settings".
    """

    endpoint: Endpoint
    trust: Trust
    told_by: str


class Case:
    """Everything that more than one check needs, read at most once. Properties raise FirstlightError.

    Args:
        settings: as far as they could be read.
        settings_error: why not further, None = all is well.
        hub: what was typed, or an invitation says; None = what this box knows.
    """

    def __init__(self, settings: Settings, settings_error: UsageError | None = None, hub: Hub | None = None) -> None:
        self.settings = settings
        self.settings_error = settings_error
        self._typed = hub
        self.server_time_s: float | None = None  # told by the hub, since monotonic time ``told_at_s``
        self.told_at_s = 0.0

    @cached_property
    def store(self) -> StateDirectory:
        """The state directory; it may not exist."""
        return StateDirectory(self.settings.state_dir)

    @cached_property
    def clock(self) -> SystemClock:
        """This box's clock, with what is known of time."""
        return SystemClock(clock_floor_s(self.store))

    @cached_property
    def kept(self) -> tuple[Registration | None, Finding]:
        """The registration, and what there is to say about it."""
        return checks_state.read(self.settings.state_dir)

    @property
    def registration(self) -> Registration | None:
        """Of this box, None = it has none that can be read."""
        return self.kept[0]

    @property
    def is_provisioned(self) -> bool:
        """Whether this box has taken an invitation in and is not registered yet."""
        return self.kept[1].detail.get("state") == "provisioned"

    @cached_property
    def hub(self) -> Hub | None:
        """What was typed, else what this box is registered with or provisioned for, else what the settings name."""
        if self._typed:
            return self._typed
        if self.registration:
            return Hub(self.registration.endpoint, self.registration.trust, "the registration")
        try:
            provisioned = provision_file.load(self.store)
        except StateError:
            provisioned = None
        if provisioned:
            invitation = provisioned.provision.invitation
            return Hub(invitation.endpoint, invitation.trust, "the provision")
        if not self.settings.hub:
            return None
        endpoint, trust = options.hub_of(self.settings)
        return Hub(endpoint, trust, "the settings")

    @property
    def is_own_hub(self) -> bool:
        """Whether the hub that is looked at is the one this box is registered with."""
        return self.registration is not None and self.hub is not None and self.hub.told_by == "the registration"

    @cached_property
    def proxy(self) -> Proxy | None:
        """On the way to the hub; None for a direct way. Raises UsageError."""
        return proxy_of(self.settings, self.hub.endpoint.host) if self.hub else None

    def proxy_set_by(self) -> str:
        """Where the proxy is set, or why there is none, in words."""
        host = self.hub.endpoint.host.strip("[]") if self.hub else ""
        if self.settings.proxy:
            return "in the settings" if proxy_address(self.settings, host) else "this machine's own address needs none"
        given = [name for name in ("https_proxy", "HTTPS_PROXY") if os.environ.get(name)]
        if not given:
            return "none is set"
        if proxy_address(self.settings, host):
            return f"in the environment ({given[0]}); the service does not see that: set 'proxy' in agent.toml"
        return f"{given[0]} is set, but no_proxy (or loopback) leaves {host} out"

    @cached_property
    def published(self) -> dict[str, object]:
        """What ``firstlight status`` knows."""
        return status.read(self.settings)

    @cached_property
    def identity(self) -> Identity | None:
        """The device's certificate, where its own hub is looked at and it has one."""
        one = self.registration
        if one is None or not self.is_own_hub or not one.credential.certificate_pem:
            return None
        return Identity(one.credential.certificate_pem, self.store.key_file(one.key_fingerprint))

    @cached_property
    def shown(self) -> Shown:
        """One TLS handshake with the hub."""
        assert self.hub is not None  # noqa: S101 - the plan asks for it only with a hub
        return checks_way.handshake(
            self.hub.endpoint,
            self.hub.trust,
            self.proxy,
            check_dates=self.clock.is_trustworthy(),
            identity=self.identity,
        )

    def now_s(self) -> float:
        """Seconds since 1970, as near to the hub's clock as is known."""
        if self.server_time_s is not None:
            return self.server_time_s + time.monotonic() - self.told_at_s
        return max(time.time(), clock_floor_s(self.store))

    @property
    def trust_dir(self) -> str:
        """Folder of the trusted keys."""
        return self.settings.trust_dir or TRUST_DIR


def hub_named(
    settings: Settings, typed_hub: str | None, invitation: str | None, read_stdin: Callable[[], bytes]
) -> Hub | None:
    """The hub that the command line names, None = it names none.

    Args:
        settings: with what was typed in them.
        typed_hub: ``--hub``.
        invitation: ``--invitation``: a file, or "-" for standard input.
        read_stdin: at most ``MAX_INVITATION`` + 1 bytes.

    Raises:
        UsageError, InvitationError: it cannot be read.
    """
    if invitation:
        try:
            body = read_stdin() if invitation == "-" else settings_file.read_bounded(Path(invitation), MAX_INVITATION)
        except OSError as error:
            raise settings_file.unreadable(f"The invitation {invitation}", error) from None
        from firstlight.sources.invitation import decoded

        found = provisioning.read(settings, decoded(body)).invitation
        return Hub(found.endpoint, found.trust, "the invitation")
    if typed_hub:
        endpoint, trust = options.hub_of(settings)
        return Hub(endpoint, trust, "what was typed")
    return None


def settings_or_rest(load: Callable[[], Settings], flags: dict[str, str | None]) -> tuple[Settings, UsageError | None]:
    """The settings; where they cannot be read, what was typed and the usual places, and why.

    Args:
        load: reads them as every verb does.
        flags: as typed, by the settings' names.
    """
    try:
        return load(), None
    except UsageError as error:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTLIGHT_")}
        return settings_file.load(os.devnull, {"trust_dir": TRUST_DIR, **flags}, plain), error


def attempt(ask: Callable[[], Result]) -> Result | FirstlightError:
    """What ``ask`` gives, or the error it ends in."""
    try:
        return ask()
    except FirstlightError as error:
        return error
