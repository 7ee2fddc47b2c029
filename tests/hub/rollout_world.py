"""A hub's roll-out without its network: the real store and use cases, devices that beat when a test says so."""

from __future__ import annotations

from pathlib import Path

from firstlight.core.model import Beat, Facts, Metrics, Moment, Offer, Upgraded
from firstlight.wire.heartbeat import BeatReply
from firstlight_hub.model import Device
from firstlight_hub.rollout import RUNNING, Rollout
from firstlight_hub.service.beats import Beats
from firstlight_hub.service.offering import Offering
from firstlight_hub.service.rollouts import Progress, Rollouts
from firstlight_hub.shelf import Offered
from firstlight_hub.store.sqlite import SqliteStore
from tests.hub.hub_world import BOOT, TurnedClock

OLD, NEW = "0.2.0", "0.3.0"
ID = "5eed" * 16
WINDOW_S = 300


def asked(percent: int = 0, tag: str | None = None, ids: tuple[str, ...] = (), **more: int) -> Rollout:
    """What an operator asks for."""
    return Rollout(0, NEW, percent, tag, ids, more.get("halt_after"), more.get("at_once", 50), RUNNING, 0, 0)


class SomeReleases:
    """Implements ``Releases``: bundles for these processors, of any version that is asked for."""

    def __init__(self, *archs: str) -> None:
        self.archs = archs

    def newest(self, arch: str, python: str, *, is_signed: bool = True, version: str | None = None) -> Offered | None:
        """The one that is asked for."""
        if arch not in self.archs:
            return None
        version = version or NEW
        return Offered(version, arch, ("3.11",), ID, f"firstlight-{version}-{arch}.tar", True)


class Fleet:
    """Devices of one hub, and its operator."""

    def __init__(self, folder: Path, archs: tuple[str, ...] = ("x86_64",)) -> None:
        self.clock = TurnedClock()
        self.store = SqliteStore(folder / "hub.sqlite3")
        releases = SomeReleases(*archs)
        self.operator = Rollouts(self.store, self.clock, releases, WINDOW_S)
        self.offering = Offering(self.store, self.clock, releases, WINDOW_S)
        self.beats = Beats(self.store, self.clock, 60, 7, offer_for=self.offering.for_beat)
        self.versions: dict[str, str] = {}
        self.sequence = 0

    def restart(self) -> None:
        """The hub is stopped and served again."""
        self.offering = Offering(self.store, self.clock, SomeReleases("x86_64"), WINDOW_S)
        self.beats = Beats(self.store, self.clock, 60, 7, offer_for=self.offering.for_beat)

    def add(self, count: int, *tags: str, arch: str = "x86_64", version: str = OLD, prefix: str = "cam") -> list[str]:
        """So many enrolled devices, which have not beaten yet -> their ids."""
        names = [f"{prefix}-{number}" for number in range(len(self.versions), len(self.versions) + count)]
        with self.store.writing() as transaction:
            for name in names:
                plain = Device(0, "demo", name, name, None, None, tags, False, 1, facts=Facts(architecture=arch))
                transaction.add_device(plain._replace(key_hash=name.encode(), transport="http"))
        self.versions.update(dict.fromkeys(names, version))
        return names

    def beat(self, name: str, upgraded: Upgraded | None = None) -> BeatReply:
        """One beat, written and answered."""
        self.sequence += 1
        moment = Moment(BOOT, float(self.sequence), self.clock.now_ms / 1000)
        beat = Beat(self.sequence, moment, Metrics(), self.versions[name], None, "0" * 16, upgraded=upgraded)
        beater = self.beats.known("demo", name) or self.beats.look_up("demo", name, name.encode())
        assert not self.store.write_beats([self.beats.row(beater, beat)])
        return self.beats.reply(beater, beat)

    def all_beat(self, *silent: str) -> dict[str, Offer]:
        """A minute later every device but these beats -> who was offered what; then the hub looks again."""
        self.clock.forward(60)
        found = {name: offer for name in self.versions if name not in silent and (offer := self.beat(name).upgrade)}
        self.look()
        return found

    def look(self) -> list[str]:
        """The hub looks after its roll-out -> who is offered something new."""
        fresh = list(self.offering.look())
        self.beats.have_news(fresh)
        return fresh

    def ends(self, name: str, offer: Offer, code: str = "", message: str = "") -> None:
        """A box has tried, says so, and runs what it then runs."""
        if not code:
            self.versions[name] = offer.version
        self.beat(name, Upgraded(offer.version, offer.id, offer.attempt, code, message))

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        found = self.operator.progress()
        assert found is not None
        return found

    def device(self, name: str) -> Device:
        """Its record."""
        with self.store.reading() as view:
            found = view.device(name)
        assert found is not None
        return found
