"""``daemon/detached.py`` against fakes: beats, knocks, what wakes it, what it shows, and its watchdog."""

from __future__ import annotations

from collections.abc import Callable

from firstlight.core.detached import Tried
from firstlight.core.lifecycle import EXIT_AGAIN
from firstlight.core.model import Facts, Metrics
from firstlight.daemon.detached import Detached, Parts
from firstlight.daemon.stop import StopNow
from firstlight.errors import UnreachableError
from tests.fakes import FakeClock
from tests.unit.daemon.world import ListSpool

NO_ROUTE = UnreachableError("network_unreachable", "There is no way to hub.example.")
NO_NAME = UnreachableError("dns_failed", "The name hub.example cannot be resolved.")
EAR = 7


class Clock(FakeClock):
    """Ends waits early at the instants that a test names: by a signal, or by the network."""

    def __init__(self) -> None:
        super().__init__()
        self.signals: list[float] = []
        self.changes: list[float] = []
        self.heard = False

    def wait(self, seconds: float, ear: int = -1) -> bool:
        """Sleeps, or less."""
        self.waits.append(seconds)
        until_s = self.now_s + seconds
        due = [at_s for at_s in self.signals if at_s <= until_s]
        if due:
            self.signals.remove(due[0])
            self.now_s = max(self.now_s, due[0])
            return True
        changed = [at_s for at_s in self.changes if at_s <= until_s]
        if ear == EAR and changed:
            for at_s in changed:
                self.changes.remove(at_s)
            self.now_s = max(self.now_s, changed[0])
            self.heard = True
            return False
        self.now_s = until_s
        return False


class World:
    """One life: knocks end as the list says, then as its last entry for ever; ends at ``ends_s`` by a stop."""

    def __init__(self, *knocks: BaseException | None, tried: Tried = Tried(), ends_s: float = 1e9) -> None:  # noqa: B008
        self.knocks, self.tried = list(knocks), tried
        self.clock, self.spool = Clock(), ListSpool()
        self.clock.signals = [1000.0 + ends_s]
        self.is_stop = True
        self.watchdog_s: float | None = None
        self.knocked_at: list[float] = []
        self.told: list[str] = []
        self.logged: list[str] = []
        self.statuses: list[dict[str, object]] = []
        self.superseded: Callable[[], bool] = lambda: False
        self.fed_at: list[float] = []

    def run(self) -> int:
        """The whole life."""
        return Detached(
            Parts(
                tried=self.tried,
                about={"deviceId": "dev-1", "endpoint": "https://hub.example"},
                spool=self.spool,
                sensor=self,
                clock=self.clock,
                notifier=self,
                stop=self,
                ear=self,
                knock=self.knock,
                is_superseded=lambda: self.superseded(),
                chance=lambda: 0.5,
                log=lambda priority, text: self.logged.append(text),
                publish=self.statuses.append,
            )
        ).run()

    def knock(self) -> None:
        """As the list says."""
        self.knocked_at.append(self.clock.now_s - 1000.0)
        found = self.knocks.pop(0) if len(self.knocks) > 1 else self.knocks[0]
        if found is not None:
            raise found

    # -- the seams ---------------------------------------------------------------------------------------------------
    def metrics(self) -> Metrics:
        """A sensor."""
        return Metrics(load1=0.5)

    def facts(self) -> Facts:
        """Not asked for."""
        raise AssertionError

    def ready(self, status: str) -> None:
        """A notifier."""
        self.told.append(f"ready {status}")

    def status(self, status: str) -> None:
        """A notifier."""
        self.told.append(status)

    def alive(self) -> None:
        """A notifier."""
        self.fed_at.append(self.clock.now_s)

    def stopping(self) -> None:
        """A notifier."""
        self.told.append("stopping")

    def takes_hangup(self) -> bool:
        """Whether the signal was no stop."""
        return not self.is_stop

    def __enter__(self) -> None:
        """What the stop breaks off."""

    def __exit__(self, *error: object) -> None:
        """Its end."""

    def fileno(self) -> int:
        """An ear."""
        return EAR

    def heard(self) -> bool:
        """An ear."""
        heard, self.clock.heard = self.clock.heard, False
        return heard


def test_it_beats_and_knocks_until_the_endpoint_is_there() -> None:
    """Beats a minute apart are kept, each with the same reason; then the richer process takes over."""
    world = World(NO_ROUTE, NO_ROUTE, NO_ROUTE, NO_ROUTE, NO_ROUTE, NO_ROUTE, NO_NAME, None)
    assert world.run() == EXIT_AGAIN
    assert world.knocked_at == [0.0, 3.75, 11.25, 26.25, 56.25, 116.25, 236.25, 461.25]
    assert [one.sequence for one in world.spool.kept] == [1_000_001 + n for n in range(8)]
    assert {one.reason for one in world.spool.kept} == {"not_registered"}
    assert [one.moment.monotonic_s for one in world.spool.kept] == [1000.0 + 60 * n for n in range(8)]
    assert world.told[0] == "ready Provisioned, not yet registered"
    assert world.told[1].startswith("Provisioned, not yet registered: There is no way")
    assert world.told[-1] == "Provisioned, not yet registered: registering"
    assert sum("network_unreachable" in line for line in world.logged) == 1, "said once"


def test_the_status_says_why_and_when() -> None:
    """Since when, why not yet, the kept beats and the next try, with nothing secret."""
    world = World(NO_ROUTE, ends_s=100.0)
    assert world.run() == 0
    last = world.statuses[-1]
    assert (last["state"], last["reason"], last["spooled"]) == ("provisioned", "network_unreachable", 2)
    assert last["deviceId"] == "dev-1" and last["hint"]
    assert last["nextTryMonoS"] == 1116.2 and last["nextBeatMonoS"] == 1120.0
    assert world.told[-1] == "stopping"


def test_the_network_wakes_it() -> None:
    """Five minutes of waiting are cut short to seconds."""
    world = World(*[NO_ROUTE] * 9, None)
    world.clock.changes = [1000.0 + 700.0]
    assert world.run() == EXIT_AGAIN
    assert 702 <= world.knocked_at[-1] <= 704
    assert max(world.knocked_at[:-1]) < 700


def test_a_network_that_never_rests_does_not_keep_it_awake() -> None:
    """A change each second for an hour: a handful of knocks a minute, and no more wake-ups than that."""
    world = World(NO_ROUTE, ends_s=3600.0)
    world.clock.changes = [1000.0 + second for second in range(3600)]
    assert world.run() == 0
    assert len(world.knocked_at) < 6 * 60
    assert len(world.clock.waits) < 9 * 60


def test_a_signal_has_it_look_at_once() -> None:
    """A person who asks waits for nothing; another provision on the disk sends it back to the door."""
    world = World(*[NO_ROUTE] * 5, None)
    world.clock.signals, world.is_stop = [1000.0 + 70.0], False
    assert world.run() == EXIT_AGAIN
    assert world.knocked_at[-1] == 70.0
    world = World(NO_ROUTE)
    world.clock.signals, world.is_stop = [1000.0 + 70.0], False
    world.superseded = lambda: world.clock.now_s >= 1070.0
    assert world.run() == EXIT_AGAIN
    assert 70.0 not in world.knocked_at
    world = World(NO_ROUTE)
    world.superseded = lambda: len(world.spool.kept) == 3
    assert world.run() == EXIT_AGAIN, "seen without a signal, a beat later"


def test_a_stop_breaks_a_knock_off() -> None:
    """The knock under way is given up, and the end is said."""
    world = World(StopNow())
    assert world.run() == 0
    assert world.told[-1] == "stopping"


def test_the_watchdog_is_fed_through_every_wait() -> None:
    """A short watchdog cuts the waits into halves of it."""
    world = World(NO_ROUTE, ends_s=300.0)
    world.watchdog_s = 20.0
    assert world.run() == 0
    gaps = [later - earlier for earlier, later in zip(world.fed_at, world.fed_at[1:], strict=False)]
    assert max(gaps) <= 10.0


def test_a_refusal_is_shown_and_asked_again_later() -> None:
    """Parked, with the platform's reason, which a network that goes away does not take back."""
    world = World(NO_ROUTE, NO_ROUTE, None, tried=Tried("install_id_unknown", "Not known.", refusals=1))
    assert world.run() == EXIT_AGAIN
    assert world.knocked_at[0] == 900.0
    assert {status["state"] for status in world.statuses} == {"parked"}
    assert {status["reason"] for status in world.statuses} == {"install_id_unknown"}
