"""One scanned text after the other, until the box is provisioned: what it is, its parts, its network."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from firstlight.cli import networks, options, service
from firstlight.cli.settings import Settings
from firstlight.core.model import Trust, parse_endpoint
from firstlight.core.provision import Network, Provision
from firstlight.errors import InvitationError
from firstlight.sources import invitation, kinds, wifi

Tell = Callable[[str], None]
TYPED = "standard input"


class Outcome(NamedTuple):
    """What a text led to: the box is provisioned, or it has a network, or both.

    Args:
        provision: what the box keeps, None where the text was a network only.
        network: code of what became of a network, "" = there was none.
    """

    provision: Provision | None = None
    network: str = ""


class Taking:
    """Takes texts in.

    Args:
        settings: of this box.
        tell: takes one line for the person.
        start: starts the service on a state directory, as ``service.start``.
        take_in: as ``provisioning.provision``.
    """

    def __init__(
        self,
        settings: Settings,
        tell: Tell,
        start: Callable[[str], str] = service.start,
        take_in: Callable[..., Provision] | None = None,
    ) -> None:
        from firstlight.wire.parts import Parts

        self._settings, self._tell, self._start = settings, tell, start
        self._take_in = take_in
        self._parts = Parts()

    def take(self, text: str, source: str) -> Outcome | None:
        """Takes one text in.

        Args:
            text: as scanned.
            source: as in ``core.provision.Provision``.

        Returns:
            what it led to; None for a part that leaves others missing.

        Raises:
            InvitationError: ``code_not_ours`` with a sentence that says what it is, or why it is refused; nothing on
                the disk has changed.
            FirstlightError: as ``provisioning.provision``.
        """
        kind = kinds.require(text)
        if kind.name == kinds.WIFI:
            return self._join(wifi.read_wifi(text))
        if kind.name == kinds.PART:
            whole = self._parts.add_or_begin_anew(text)
            if whole is None:
                self._tell(self._parts.progress)
                return None
            self._tell(f"all {self._parts.total} parts read")
            text = whole
        elif kind.name == kinds.TYPED_CODE:
            from firstlight.wire import typed_code

            typed_code.read(text)  # says which character is wrong
        elif kind.name == kinds.INVITATION:
            self._refuse_stranger(text, source)
        return self._provision(text, source)

    def end(self) -> None:
        """No more texts come. Raises InvitationError (``payload_part_missing``) where a code was begun."""
        if self._parts.have and self._parts.missing:
            self._parts.take()

    def _join(self, network: Network) -> Outcome:
        networks.require(self._settings, network)
        return Outcome(network=networks.offer(self._settings, network, self._tell))

    def _refuse_stranger(self, text: str, source: str) -> None:
        """Raises InvitationError: nobody signed this text, and the settings do not vouch for the hub that it names."""
        found, own = invitation.read_invitation(text), self._settings.hub
        if own and found.endpoint != parse_endpoint(own):
            raise InvitationError(
                kinds.NOT_OURS,
                f"This is an install command of another hub ({found.endpoint.url}); the settings of this box name "
                f"{own}.",
                "Ask the operator which is right; the setting is hub in /etc/firstlight/agent.toml.",
            )
        # What somebody holds in front of a box is anybody's: a sticker over the label must not choose the hub.
        if source == TYPED or self._settings.payload_trust == "any":
            return
        if not own or not _vouches(options.hub_of(self._settings)[1], found.trust):
            raise InvitationError(
                "payload_unsigned",
                "Nobody signed this install command, and the settings of this box do not name its hub and pin.",
                "Scan the label's own code, or give the command to: firstlight enroll",
            )

    def _provision(self, text: str, source: str) -> Outcome:
        if self._take_in is None:
            from firstlight.cli.provisioning import provision

            self._take_in = provision
        return Outcome(self._take_in(self._settings, text, source, self._tell, start=self._start))


def _vouches(own: Trust, asked: Trust) -> bool:
    """Whether the settings recognise their hub by all that a text would have it recognised by."""
    is_pinned_alike = set(asked.pins) <= set(own.pins) and bool(asked.pins) == bool(own.pins)
    return is_pinned_alike and asked.ca_pem in ("", own.ca_pem)
